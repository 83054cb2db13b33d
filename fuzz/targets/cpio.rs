//! Any entries as an archive: an independent reader finds what was written, and nothing is written to a place that leads out.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use metalform_images::cpio::CpioWriter;
use std::io::{Cursor, Read};

#[derive(Arbitrary, Debug)]
enum Entry {
    Folder(String),
    File(String, Vec<u8>),
    Link(String, String),
    Device(String, u8, u8),
}

fuzz_target!(|entries: Vec<Entry>| {
    let mut writer = CpioWriter::new(Vec::new());
    let mut written = Vec::new();
    for entry in &entries {
        let (path, content, outcome) = match entry {
            Entry::Folder(path) => (path, &b""[..], writer.folder(path, 0o755)),
            Entry::File(path, bytes) => {
                (path, &bytes[..], writer.file(path, 0o644, bytes.len() as u64, &mut &bytes[..]))
            }
            Entry::Link(path, target) => (path, target.as_bytes(), writer.link(path, target)),
            Entry::Device(path, major, minor) => {
                (path, &b""[..], writer.character_device(path, 0o600, (*major).into(), (*minor).into()))
            }
        };
        if outcome.is_ok() {
            assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0'), "{path:?}");
            written.push((path, content));
        }
    }
    let mut archive = Cursor::new(writer.finish().expect("memory can be written"));
    for (path, content) in written {
        let mut reader = cpio::newc::Reader::new(archive).expect("an entry follows");
        assert_eq!(reader.entry().name(), path);
        assert_eq!((reader.entry().uid(), reader.entry().gid(), reader.entry().mtime()), (0, 0, 0));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("its content follows");
        assert_eq!(read, content);
        archive = reader.finish().expect("the next one follows");
    }
    let end = cpio::newc::Reader::new(archive).expect("the end follows");
    assert!(end.entry().is_trailer());
});
