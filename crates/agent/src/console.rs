//! Text for a person in front of the machine, on every console that the kernel uses: one may be a screen that nobody
//! looks at, and the other a serial line that nobody records.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

/// `O_NOCTTY | O_NONBLOCK` on Linux: a serial line without a listener must not hold the installation up, and a console must
/// not become the agent's terminal.
const OPEN_FLAGS: i32 = 0o400 | 0o4000;
/// 2 s in all, then the rest of the text is left out there, and it is not waited for again until it takes something.
const TRIES: u32 = 200;

/// The machine's consoles, with those that took nothing last time.
#[derive(Debug, Default)]
pub struct Consoles {
    stalled: Mutex<BTreeSet<PathBuf>>,
}

impl Consoles {
    /// Writes to all of them; where none can be opened, to standard error.
    pub fn write(&self, root: &Path, text: &str) {
        let mut written = false;
        for console in consoles(root) {
            let mut stalled = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
            let tries = if stalled.contains(&console) { 1 } else { TRIES };
            if let Ok(mut file) = fs::OpenOptions::new().write(true).custom_flags(OPEN_FLAGS).open(&console) {
                match write_all(&mut file, text, tries) {
                    true => stalled.remove(&console),
                    false => stalled.insert(console),
                };
                written = true;
            }
        }
        if !written {
            // There is nothing left to tell if that fails, too.
            drop(std::io::stderr().write_all(text.as_bytes()));
        }
    }
}

/// Those that the kernel lists, else `/dev/console` alone: it stands for the last one on the command line.
fn consoles(root: &Path) -> Vec<PathBuf> {
    let active = fs::read_to_string(root.join("sys/class/tty/console/active")).unwrap_or_default();
    let listed: Vec<PathBuf> = active.split_whitespace().map(|name| root.join("dev").join(name)).collect();
    if listed.iter().any(|device| device.exists()) { listed } else { vec![root.join("dev/console")] }
}

fn write_all(file: &mut impl Write, text: &str, tries: u32) -> bool {
    let mut rest = text.as_bytes();
    let mut left = tries;
    while left > 0 {
        match file.write(rest) {
            Ok(written) if written == rest.len() => return true,
            Ok(0) => return false,
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                left -= 1;
                if left > 0 {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            Err(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use std::io;

    #[test]
    fn every_active_console_gets_the_text() {
        let tree = Tree::new("consoles");
        tree.write("sys/class/tty/console/active", "tty0 ttyS0\n");
        for name in ["tty0", "ttyS0", "console"] {
            tree.write(&format!("dev/{name}"), "");
        }
        Consoles::default().write(tree.root(), "a text\n");
        let got = |name: &str| fs::read_to_string(tree.root().join("dev").join(name)).unwrap();
        assert_eq!((got("tty0"), got("ttyS0"), got("console")), ("a text\n".into(), "a text\n".into(), String::new()));
    }

    /// Takes four bytes at a time, so many times.
    struct Slow(Vec<u8>, usize);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.1 -= 1;
            let len = bytes.len().min(4);
            self.0.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_line_gets_all_of_it_and_a_stalled_one_holds_nobody_up() {
        let mut slow = Slow(vec![], 10);
        assert!(write_all(&mut slow, "more than four bytes", 1));
        assert_eq!(slow.0, b"more than four bytes");
        assert!(!write_all(&mut Slow(vec![], 2), "more than four bytes", 1));
    }
}
