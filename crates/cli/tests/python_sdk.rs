//! IBM's own Python SDK drives `metalform simulate`: see `sdk/drive.py`. `cargo xtask test` installs the SDK, pinned, below
//! the build folder.

#[path = "machines/process.rs"]
#[expect(dead_code, reason = "shared with the tests of emulated machines, which use all of it")]
mod process;

use process::Process;
use std::{path::Path, process::Command, time::Duration};

#[test]
fn ibms_own_sdk_makes_and_removes_a_server_in_the_simulated_cloud() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python_sdk");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("venv").join("bin/python");
    assert!(
        python.exists(),
        "IBM's Python SDK is missing ({}): `cargo xtask test` (or `cargo xtask sdk`) installs it",
        python.display()
    );
    let mut simulate = Command::new(env!("CARGO_BIN_EXE_metalform"));
    simulate.args(["simulate", "--listen", "127.0.0.1:0", "--speed", "600"]).env("TMPDIR", &folder);
    let (_cloud, world) = Process::start_and_read_line("simulate", &folder, &mut simulate, Duration::from_secs(60));

    // Every wait in the script has its own limit, so the script ends by itself.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/drive.py");
    let drive = Command::new(&python).env("NO_PROXY", "127.0.0.1").arg(&script).arg(&world).output();
    let drive = drive.unwrap_or_else(|error| panic!("{} does not start: {error}", python.display()));
    let said = String::from_utf8_lossy(&drive.stdout);
    let failed = String::from_utf8_lossy(&drive.stderr);
    assert!(drive.status.success(), "drive.py: {}\n{said}\n{failed}", drive.status);
    assert!(said.contains("-- the ledger"), "drive.py did not come to its end:\n{said}");
}
