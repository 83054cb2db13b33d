//! Text for a person in front of the machine, on every console that the kernel uses: one may be a screen that nobody
//! looks at, and the other a serial line that nobody records.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// `O_NOCTTY | O_NONBLOCK` on Linux: a serial line without a listener must not hold the installation up, and a console must
/// not become the agent's terminal.
const OPEN_FLAGS: i32 = 0o400 | 0o4000;
/// 2 s in all, then the rest of the text is left out there.
const TRIES: u32 = 200;

/// Writes to all of them; where none can be opened, to standard error.
pub fn write(root: &Path, text: &str) {
    let mut written = false;
    for console in consoles(root) {
        if let Ok(mut file) = fs::OpenOptions::new().write(true).custom_flags(OPEN_FLAGS).open(console) {
            written |= write_all(&mut file, text);
        }
    }
    if !written {
        // There is nothing left to tell if that fails, too.
        drop(std::io::stderr().write_all(text.as_bytes()));
    }
}

/// Those that the kernel lists, else `/dev/console` alone: it stands for the last one on the command line.
fn consoles(root: &Path) -> Vec<PathBuf> {
    let active = fs::read_to_string(root.join("sys/class/tty/console/active")).unwrap_or_default();
    let listed: Vec<PathBuf> = active.split_whitespace().map(|name| root.join("dev").join(name)).collect();
    if listed.iter().any(|device| device.exists()) { listed } else { vec![root.join("dev/console")] }
}

fn write_all(file: &mut fs::File, text: &str) -> bool {
    let mut rest = text.as_bytes();
    for _ in 0..TRIES {
        match file.write(rest) {
            Ok(written) if written == rest.len() => return true,
            Ok(0) => return false,
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(10)),
            Err(_) => return false,
        }
    }
    rest.len() < text.len()
}
