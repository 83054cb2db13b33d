//! Images that were made or became bad: an error each, never a panic, a loop, or memory without bound.

use crate::{
    handmade::{Handmade, record},
    support::{Folder, make_iso, noise},
};
use metalform_images::iso::{Iso, IsoError, Tree};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::{
    io::{Cursor, Read},
    os::unix::fs::symlink,
    sync::OnceLock,
};

/// Reads everything, up to a limit per file: parts of a hostile image may name the same bytes again and again.
fn read(image: &[u8]) -> Result<Tree, IsoError> {
    let mut iso = Iso::open(Cursor::new(image))?;
    let tree = iso.tree()?;
    for (_, content) in tree.files().into_iter().chain(tree.linked_files()) {
        let mut bytes = Vec::new();
        iso.content(content).take(1 << 16).read_to_end(&mut bytes).expect("its place was checked");
        assert_eq!(bytes.len() as u64, content.len().min(1 << 16));
    }
    Ok(tree)
}

fn told(image: &[u8]) -> String {
    let error = read(image).unwrap_err();
    assert!(!error.hint().is_empty() && !error.is_transient());
    error.to_string()
}

/// With everything a reader has code for: Rock Ridge with continuations and links, Joliet, many folders.
fn rich() -> &'static [u8] {
    static RICH: OnceLock<Vec<u8>> = OnceLock::new();
    RICH.get_or_init(|| {
        let folder = Folder::new();
        folder.write("tree/boot/kernel", noise(1, 5000));
        folder.write(&format!("tree/long/{}", "n".repeat(250)), "x");
        symlink("a/".repeat(200), folder.join("tree/long/link")).unwrap();
        symlink("../boot/kernel", folder.join("tree/long/kernel")).unwrap();
        std::fs::read(make_iso(&folder, &["-R", "-J"])).unwrap()
    })
}

#[test]
fn what_is_no_iso_is_called_so() {
    assert_eq!(told(b""), "it is no ISO 9660 image");
    assert_eq!(told(&noise(1, 100_000)), "it is no ISO 9660 image");
    let mut udf = vec![0; 20 * 2048];
    udf[16 * 2048 + 1..16 * 2048 + 6].copy_from_slice(b"BEA01");
    assert_eq!(told(&udf), "it holds a UDF file system alone, and no ISO 9660 one");
}

#[test]
fn an_image_cut_short_anywhere_is_refused() {
    let image = rich();
    assert!(read(image).is_ok());
    for len in (0..image.len()).step_by(1021).chain([image.len() - 1]) {
        assert!(read(&image[..len]).is_err(), "{len} of {} bytes", image.len());
    }
    let told = told(&image[..image.len() - 1]);
    assert_eq!(told, format!("it is cut short: {} bytes are there, and {} are needed", image.len() - 1, image.len()));
}

#[test]
fn structures_that_contradict_themselves_are_told_with_their_place() {
    let at = 18 * 2048 + 2 * 34;
    for (image, why) in [
        (
            Handmade::new().raw(&record(b"LOOP", 18, 2048, 2)),
            "damaged at byte 36864: a folder is in itself, or in two others",
        ),
        (Handmade::new().raw(&record(b"A/B", 18, 1, 0)), "a name can't be one"),
        (Handmade::new().raw(&record(b"..;1", 18, 1, 0)), "a name can't be one"),
        (Handmade::new().raw(&record(b"F;1", 18, 2048, 0x80)), "a file of several parts lacks its last one"),
        (
            Handmade::new().raw(&record(b"F;1", 18, 2048, 0x80)).raw(&record(b"G;1", 18, 1, 0)),
            "a file of several parts lacks its last one",
        ),
        (Handmade::new().raw(&[20, 0, 0]), "a folder holds something that is no record"),
        (Handmade::new().raw(&record(b"D", 18, 1 << 30, 2)), "a folder is in itself, or in two others"),
        (
            Handmade::new().file(b"X;1", &[b"x"]).raw(&record(b"D", 17, 1 << 30, 2)),
            "a folder is larger than folders are",
        ),
        (
            Handmade::new().raw(&record(b"D", 19, 2048, 2)),
            "it is cut short: 38912 bytes are there, and 40960 are needed",
        ),
        (Handmade::new().raw(&record(b"F;1", 1 << 31, 1, 0)), "it is cut short: 38912 bytes are there"),
    ] {
        let told = told(&image.build());
        assert!(told.contains(why), "{told}");
        assert!(told.contains(&format!("byte {at}")) || !why.starts_with("a name"), "{told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes of the structure: contents come after them, and say nothing to a reader.
    #[test]
    fn no_change_of_bytes_makes_the_reader_panic(changes in vec((any::<Index>(), any::<u8>()), 1..12), cut in any::<Index>(), whole in any::<bool>()) {
        let mut image = rich().to_vec();
        for (place, byte) in changes {
            let structure = 16 * 2048..image.len().min(64 * 2048);
            image[structure.start + place.index(structure.len())] = byte;
        }
        if !whole {
            image.truncate(cut.index(image.len()));
        }
        let _ = read(&image);
    }

    #[test]
    fn no_records_at_all_make_the_reader_panic(bytes in vec(any::<u8>(), 0..1900)) {
        let _ = read(&Handmade::new().raw(&bytes).build());
    }
}
