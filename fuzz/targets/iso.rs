//! Any bytes as an ISO: the reader ends, with a tree or an error, within memory that the image's length bounds.
//!
//! The first 16 sectors are the system's own and nobody reads them, so the input begins behind them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use metalform_images::{find_layout, iso::Iso};
use std::io::{Cursor, Read};

/// Per file; parts of a hostile image may name the same bytes again and again.
const MOST: u64 = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let mut image = vec![0; 16 * 2048];
    image.extend_from_slice(bytes);
    let Ok(mut iso) = Iso::open(Cursor::new(image)) else { return };
    let Ok(tree) = iso.tree() else { return };
    for (path, content) in tree.files().into_iter().chain(tree.linked_files()).take(64) {
        assert!(!path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
        let mut read = Vec::new();
        iso.content(content).take(MOST).read_to_end(&mut read).expect("its place was checked");
        assert_eq!(read.len() as u64, content.len().min(MOST));
    }
    let files = tree.files();
    let paths: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    for found in find_layout(&paths).into_iter().flatten() {
        assert!(found.parts.iter().all(|part| paths.contains(&part.as_str())), "{found:?}");
    }
});
