//! Images that `xorriso` makes, byte for byte as `bsdtar` reads them.

use crate::{
    handmade::Handmade,
    support::{Folder, Item, by_bsdtar, make_iso, noise},
};
use metalform_images::iso::{Iso, Kind, Names};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Cursor, Read, Seek},
    os::unix::fs::symlink,
    path::Path,
};

/// What we take out of an image.
fn ours<R: Read + Seek>(source: R, names: Names) -> BTreeMap<String, Item> {
    let mut iso = Iso::open(source).unwrap();
    assert_eq!((iso.label(), iso.names()), ("PHOENIX", names));
    let tree = iso.tree().unwrap();
    let mut items = BTreeMap::new();
    for entry in &tree.entries {
        let item = match &entry.kind {
            Kind::Folder => Item::Folder,
            Kind::Link(target) => Item::Link(target.clone()),
            Kind::File(content) => {
                let mut bytes = Vec::new();
                iso.content(content).read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, content.len());
                Item::File(bytes)
            }
            kind => panic!("{}: {kind:?}", entry.path),
        };
        assert!(items.insert(entry.path.clone(), item).is_none(), "{} is there twice", entry.path);
    }
    items
}

fn check(made: &Path, names: Names) -> BTreeMap<String, Item> {
    let ours = ours(File::open(made).unwrap(), names);
    let theirs: BTreeMap<String, Item> = match names {
        // `bsdtar` shows plain names as they are stored.
        Names::Plain => by_bsdtar(made).into_iter().map(|(path, item)| (path.to_lowercase(), item)).collect(),
        Names::RockRidge | Names::Joliet => by_bsdtar(made),
    };
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (path, item) in &ours {
        let same = match (item, &theirs[path]) {
            // bsdtar 3.6 forgets the `/` where a target goes on in another field; the tests say what it should be.
            (Item::Link(ours), Item::Link(theirs)) => ours.replace('/', "") == theirs.replace('/', ""),
            (ours, theirs) => ours == theirs,
        };
        assert!(same, "{path} is another one to bsdtar");
    }
    ours
}

fn tree_of_a_nutanix_image() -> Folder {
    let folder = Folder::new();
    for (at, path) in ["boot/kernel", "boot/initrd", "squashfs.img", "images/svm/pkg.tar.p00", "images/svm/pkg.tar.p01"]
        .into_iter()
        .enumerate()
    {
        folder.write(&format!("tree/{path}"), noise(at as u64, 5000 * (at + 1)));
    }
    folder.write("tree/empty", "");
    folder.write("tree/one-sector", noise(9, 2048));
    folder
}

#[test]
fn rock_ridge_names_of_any_length_and_links_are_read() {
    let folder = tree_of_a_nutanix_image();
    for len in [1, 8, 60, 110, 180, 200, 230, 250, 255] {
        folder.write(&format!("tree/long/{}", "n".repeat(len)), noise(len as u64, len));
    }
    folder.write("tree/Mixed Case, ümlaut & more.txt", "x");
    let links = [
        ("short", "boot/kernel".to_owned()),
        ("up", "../images/./svm".to_owned()),
        ("absolute", "/etc/passwd".to_owned()),
        ("root", "/".to_owned()),
        ("long", format!("{}/{}", "a".repeat(250), "b".repeat(250))),
        ("many", "x/".repeat(200) + "y"),
    ];
    for (name, target) in &links {
        symlink(target, folder.join("tree/boot").join(name)).unwrap();
    }
    let items = check(&make_iso(&folder, &["-R"]), Names::RockRidge);
    assert_eq!(items[&format!("long/{}", "n".repeat(255))], Item::File(noise(255, 255)));
    for (name, target) in links {
        assert_eq!(items[&format!("boot/{name}")], Item::Link(target));
    }
}

#[test]
fn folders_of_many_sectors_and_many_levels_are_read() {
    let folder = Folder::new();
    for n in 0..400 {
        folder.write(&format!("tree/many/file-number-{n}-with-a-name-that-takes-room"), n.to_string());
    }
    folder.write(&format!("tree/{}/bottom", (0..12).map(|n| format!("level{n}")).collect::<Vec<_>>().join("/")), "b");
    let items = check(&make_iso(&folder, &["-R", "-J", "-joliet-long"]), Names::RockRidge);
    assert_eq!(items.keys().filter(|path| path.starts_with("many/")).count(), 400);
    assert_eq!(items.len(), 400 + 1 + 12 + 1);
}

#[test]
fn folders_that_were_moved_up_are_where_they_were() {
    let folder = Folder::new();
    let deep = (0..12).map(|n| format!("level{n}")).collect::<Vec<_>>().join("/");
    folder.write(&format!("tree/{deep}/bottom"), "b");
    let made = folder.join("made.iso");
    let args =
        ["-as", "mkisofs", "-quiet", "-V", "PHOENIX", "-o", "made.iso", "-R", "-rr_reloc_dir", "/rr_moved", "tree"];
    crate::support::run("xorriso", &args, folder.path());
    let items = ours(File::open(made).unwrap(), Names::RockRidge);
    assert_eq!(items[&format!("{deep}/bottom")], Item::File(b"b".to_vec()));
}

#[test]
fn joliet_names_are_read_where_there_is_no_rock_ridge() {
    let folder = tree_of_a_nutanix_image();
    folder.write("tree/A long name, with Ümlaut.txt", "x");
    let items = check(&make_iso(&folder, &["--norock", "-J"]), Names::Joliet);
    assert_eq!(items["A long name, with Ümlaut.txt"], Item::File(b"x".to_vec()));
}

#[test]
fn plain_names_of_every_level_are_read() {
    for level in ["1", "2", "3"] {
        let folder = tree_of_a_nutanix_image();
        let items = check(&make_iso(&folder, &["--norock", "-iso-level", level]), Names::Plain);
        assert_eq!(items["boot/kernel"], Item::File(noise(0, 5000)), "level {level}");
        assert_eq!(items["empty"], Item::File(Vec::new()), "level {level}");
    }
}

#[test]
fn a_file_of_several_parts_is_one_file() {
    let parts: [&[u8]; 3] = [&noise(1, 2048), &noise(2, 4096), &noise(3, 100)];
    let image = Handmade::new().file(b"BIG.BIN;1", &parts).file(b"SMALL.;1", &[b"small"]).build();
    let folder = Folder::new();
    let made = folder.write("made.iso", &image);
    let items = check(&made, Names::Plain);
    assert_eq!(items["big.bin"], Item::File(parts.concat()));
    assert_eq!(items["small"], Item::File(b"small".to_vec()));
    assert!(ours(Cursor::new(image), Names::Plain) == items);
}

/// Takes half a minute, most of it in `xorriso`.
#[test]
#[ignore = "part of `cargo xtask nightly`"]
fn nightly_a_file_above_4_gib_is_one_file() {
    let folder = Folder::new();
    let len = (1_u64 << 32) + (100 << 20) + 7;
    let big = folder.write("tree/images/svm/big.tar", noise(1, 1 << 20));
    let file = File::options().write(true).open(&big).unwrap();
    file.set_len(len).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"the end", len - 7).unwrap();
    let made = make_iso(&folder, &["-R", "-iso-level", "3"]);
    std::fs::remove_file(&big).unwrap();
    let theirs =
        crate::support::run("sh", &["-c", "bsdtar -xOf made.iso images/svm/big.tar | sha256sum"], folder.path());
    let mut iso = Iso::open(File::open(&made).unwrap()).unwrap();
    let tree = iso.tree().unwrap();
    let [(path, content)] = tree.files()[..] else { panic!("one file: {:?}", tree.entries) };
    assert_eq!((path, content.len()), ("images/svm/big.tar", len));
    let mut digest = Sha256::new();
    let mut reader = iso.content(content);
    let mut piece = vec![0; 1 << 20];
    loop {
        match reader.read(&mut piece).unwrap() {
            0 => break,
            read => digest.update(&piece[..read]),
        }
    }
    assert!(String::from_utf8(theirs.stdout).unwrap().starts_with(&hex::encode(digest.finalize())));
}
