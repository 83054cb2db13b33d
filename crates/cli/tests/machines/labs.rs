//! Several labs on one computer, and what is left of them.

use crate::{
    namespace::{interfaces, is_inside, run_inside},
    site::{start_world, text},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const WHOLE: Duration = Duration::from_secs(240);

#[test]
fn labs_stand_side_by_side_and_one_after_the_other_and_nothing_is_left_of_them() {
    if !is_inside() {
        return run_inside("labs::labs_stand_side_by_side_and_one_after_the_other_and_nothing_is_left_of_them", WHOLE);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machines/labs");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the folder can be made");
    assert_eq!(interfaces(), ["lo"]);
    let (first, world) = start_world("first", &folder, &[]);
    let (second, other) = start_world("second", &folder, &[]);
    for world in [&world, &other] {
        assert!(reaches_bridge(world), "{world}");
    }
    assert_eq!(interfaces(), ["lo"], "whoever starts a lab keeps the network as it was");
    // As by `kill -9`.
    drop((first, second));
    let left = labs_in(&folder);
    assert_eq!(left.len(), 2, "{left:?}");

    let (third, world) = start_world("third", &folder, &[]);
    assert!(reaches_bridge(&world));
    assert!(left.iter().all(|lab| !lab.exists()), "{left:?}");
    assert_eq!(interfaces(), ["lo"]);
    drop(third);
}

/// By the command that the document has for it.
fn reaches_bridge(world: &Value) -> bool {
    let words: Vec<&str> = text(world, "enter").split(' ').collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["ip", "-oneline", "address", "show", "dev", "vpc0"]);
    let output = command.output().expect("nsenter is there");
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("10.240.0.5/24")
}

fn labs_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("it was just made").filter_map(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| path.display().to_string().contains("/metalform-lab-")).collect()
}
