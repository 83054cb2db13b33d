//! A real kernel takes our archive behind the vendor's: Debian's, under QEMU, with the lab's initrd as the vendor's and Debian's
//! own modules on top, in the order that we found. `cargo xtask test` prepares what is needed.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Runs instead of the vendor's `/init`, with the vendor's busybox.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc
/bin/busybox mount -t proc proc /proc
while read -r module; do
    /bin/busybox insmod "$module" || echo "lab: insmod $module failed"
done </metalform/modules/order
echo "lab: modules" $(/bin/busybox cut -d' ' -f1 /proc/modules | /bin/busybox sort)
echo "lab: vendor" $(/bin/busybox head -1 /udhcpc) "and ours" $(/bin/busybox cat /metalform/note)
/bin/busybox poweroff -f
"#;

/// What a name of a module stands for in Debian's kernel for virtual machines, where neither is built in.
const MODULE: &str = "virtio_net";

fn target() -> PathBuf {
    let tmp = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("cargo's folder for tests lies inside the build folder").to_owned()
}

fn image(folder: &Path, args: &[&str]) -> Value {
    let mut metalform = Command::new(env!("CARGO_BIN_EXE_metalform"));
    metalform.arg("image").args(args).args(["--dir", "images", "--json"]).current_dir(folder);
    let output = metalform.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_real_kernel_boots_an_overlaid_initrd_and_loads_its_modules_in_our_order() {
    let lab = target().join("lab");
    let [kernel, initrd] = ["vmlinuz-foundation", "initrd-foundation.img"].map(|name| lab.join("images").join(name));
    assert!(initrd.exists(), "{} is missing: `cargo xtask lab` makes it", initrd.display());
    let modules = fs::read_dir(lab.join("kernel/lib/modules")).unwrap().next().unwrap().unwrap().path();
    let folder = target().join("tmp").join(format!("overlay-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("init"), INIT).unwrap();
    fs::write(folder.join("note"), "a note").unwrap();
    let mode = Command::new("chmod").args(["0755", "init"]).current_dir(&folder).status().unwrap();
    assert!(mode.success());

    let path = |path: &Path| path.display().to_string();
    let base = image(&folder, &["import", "--kernel", &path(&kernel), "--initrd", &path(&initrd)]);
    let base = base["id"].as_str().unwrap();
    let files = ["--file", "/init=init", "--file", "/metalform/note=note"];
    let load = ["overlay", base, "--modules-dir", &path(&modules), "--load", MODULE];
    let made = image(&folder, &[&load[..], &files].concat());
    let order: Vec<&str> = made["modules"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(order.len() > 1 && order.last() == Some(&MODULE), "{order:?}");
    let set = folder.join("images").join(made["id"].as_str().unwrap());

    let mut qemu = Command::new("timeout");
    qemu.args(["300", "qemu-system-x86_64", "-accel", "tcg", "-machine", "q35,graphics=off", "-m", "512"]);
    qemu.args([
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-serial",
        "stdio",
        "-append",
        "console=ttyS0 panic=-1",
    ]);
    qemu.arg("-kernel").arg(set.join("vmlinuz-foundation")).arg("-initrd").arg(set.join("initrd-foundation.img"));
    let ran = qemu.output().expect("timeout is part of coreutils");
    let console = String::from_utf8_lossy(&ran.stdout).into_owned();
    let said: Vec<&str> =
        console.lines().filter_map(|line| line.trim().split_once("lab: ")).map(|(_, said)| said).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    let expected = [format!("modules {}", sorted.join(" ")), "vendor #!/bin/busybox sh and ours a note".to_owned()];
    assert_eq!(said, expected, "{}\n{console}", String::from_utf8_lossy(&ran.stderr));
    fs::remove_dir_all(folder).unwrap();
}
