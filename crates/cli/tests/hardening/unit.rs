//! The systemd unit, looked at by systemd's own tools.

use std::{fs, path::Path, process::Command};

/// Of 10; less is better. What systemd of Debian 12 gives is 1.6.
const MOST_EXPOSURE: &str = "20";

#[test]
fn the_unit_is_one_and_leaves_the_service_little() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unit");
    fs::create_dir_all(&folder).unwrap();
    let unit = include_str!("../../../../packaging/systemd/metalform.service");
    assert!(unit.contains("ExecStart=/usr/local/bin/metalform serve"), "{unit}");
    // systemd looks whether the program is there.
    let file = folder.join("metalform.service");
    fs::write(&file, unit.replace("/usr/local/bin/metalform", env!("CARGO_BIN_EXE_metalform"))).unwrap();
    // It complains of keys that it doesn't know and ends well all the same.
    assert_eq!(analyze(&["verify"], &file).lines().find(|line| line.contains("metalform.service")), None);
    analyze(&["security", "--offline=yes", "--no-pager", &format!("--threshold={MOST_EXPOSURE}")], &file);
}

fn analyze(words: &[&str], file: &Path) -> String {
    let output = Command::new("systemd-analyze").args(words).arg(file).output();
    let output = output.expect("systemd-analyze starts; it is in Debian's package systemd");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {told}");
    told
}
