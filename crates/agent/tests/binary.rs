//! The binary as it is linked: it must start where there is no other file.

use std::{fs, process::Command};

const AGENT: &str = env!("CARGO_BIN_EXE_metalform-agent");

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;

#[test]
fn it_asks_for_no_loader_and_no_library() {
    let elf = fs::read(AGENT).unwrap();
    assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "64 bits, little-endian");
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&elf[at..at + len]);
        u64::from_le_bytes(bytes)
    };
    let (table, size, count) = (number(0x20, 8) as usize, number(0x36, 2) as usize, number(0x38, 2) as usize);
    assert!(count > 0);
    for header in (0..count).map(|at| table + at * size) {
        let kind = number(header, 4) as u32;
        assert_ne!(kind, PT_INTERP, "it asks for a loader: see crates/agent/build.rs");
        if kind == PT_DYNAMIC {
            let (start, len) = (number(header + 8, 8) as usize, number(header + 0x20, 8) as usize);
            let needed = (start..start + len).step_by(16).filter(|at| number(*at, 8) == DT_NEEDED).count();
            assert_eq!(needed, 0, "it asks for {needed} libraries");
        }
    }
}

#[test]
fn it_starts_in_an_empty_environment_and_says_which_it_is() {
    let output = Command::new(AGENT).arg("--version").env_clear().output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("metalform-agent {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn words_that_it_does_not_know_are_refused_with_a_hint() {
    for words in [&["install"][..], &[], &["report"], &["check", "--config"]] {
        let output = Command::new(AGENT).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("--help"), "{words:?}");
    }
}
