//! Archives that `cpio` and `bsdtar` read as they were meant.

use crate::support::{Folder, Item, by_bsdtar, items, run};
use metalform_images::cpio::CpioWriter;
use proptest::{collection::vec, prelude::*};
use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt};

fn archive(entries: &BTreeMap<String, Item>) -> Vec<u8> {
    let mut cpio = CpioWriter::new(Vec::new());
    for (path, item) in entries {
        match item {
            Item::Folder => cpio.folder(path, 0o755).unwrap(),
            Item::File(bytes) => cpio.file(path, 0o640, bytes.len() as u64, &mut bytes.as_slice()).unwrap(),
            Item::Link(target) => cpio.link(path, target).unwrap(),
        }
    }
    cpio.finish().unwrap()
}

fn by_cpio(archive: &[u8]) -> (Folder, BTreeMap<String, Item>) {
    let folder = Folder::new();
    folder.write("archive", archive);
    fs::create_dir(folder.join("out")).unwrap();
    run("sh", &["-euc", "cd out && cpio --quiet -id --no-absolute-filenames < ../archive"], folder.path());
    let items = items(&folder.join("out"));
    (folder, items)
}

#[test]
fn what_is_written_is_what_cpio_and_bsdtar_read() {
    let file = |text: &str| Item::File(text.into());
    let entries: BTreeMap<String, Item> = [
        ("metalform", Item::Folder),
        ("metalform/agent", file("#!/bin/sh\n")),
        ("metalform/init", Item::Link("agent".into())),
        ("metalform/empty", file("")),
        ("metalform/a", file("1")),
        ("metalform/ab", file("12")),
        ("metalform/abc", file("123")),
        ("metalform/abcd", file("1234")),
    ]
    .into_iter()
    .map(|(path, item)| (path.to_owned(), item))
    .collect();
    let bytes = archive(&entries);
    let (folder, theirs) = by_cpio(&bytes);
    assert_eq!(theirs, entries);
    assert_eq!(by_bsdtar(&folder.join("archive")), entries);
    let mode = fs::metadata(folder.join("out/metalform/agent")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    let listed = run("sh", &["-euc", "cpio --quiet -tvn < archive"], folder.path());
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().all(|line| line.contains(" 0        0 ") && line.contains("1970")), "{listed}");
    assert!(bytes == archive(&entries), "the same entries give the same bytes");
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 _.,+éß-]{1,30}".prop_filter("has a meaning of its own", |name| name != "." && name != "..")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_files_come_out_as_they_went_in(files in proptest::collection::btree_map(name(), vec(any::<u8>(), 0..5000), 1..8)) {
        let entries: BTreeMap<String, Item> =
            files.into_iter().map(|(name, bytes)| (name, Item::File(bytes))).collect();
        let bytes = archive(&entries);
        let (folder, theirs) = by_cpio(&bytes);
        prop_assert!(theirs == entries);
        prop_assert!(by_bsdtar(&folder.join("archive")) == entries);
    }
}
