//! Whole imports: all or nothing.

use crate::support::{Folder, initrd, items, kernel, make_iso, noise, run};
use metalform_images::{ImageStore, Import, ImportError, Imported, SetFault, Source, State, Unwatched, Watch, import};
use metalform_model::{ImageRole, MANIFEST_FILE};
use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

const AHV: &str = "AHV-DVD-x86_64-el8.nutanix.20230302.101026.iso.iso";

/// A tree as a public listing of a CE image shows it.
fn ce() -> Folder {
    let folder = Folder::new();
    for (path, bytes) in [
        ("boot/kernel", kernel(noise(1, 40_000))),
        ("boot/initrd", initrd(noise(2, 90_000))),
        ("squashfs.img", noise(3, 3_000_000)),
        (&format!("images/hypervisor/kvm/{AHV}"), noise(4, 1_500_000)),
        ("images/svm/nutanix_installer_package.tar.p00", noise(5, 2_000_000)),
        ("images/svm/nutanix_installer_package.tar.p01", noise(6, 2_000_000)),
        ("images/svm/nutanix_installer_package.tar.p02", noise(7, 1234)),
        ("phoenix_version", b"phoenix-5.6.1\n".to_vec()),
        ("EFI/BOOT/BOOTX64.EFI", noise(8, 100)),
    ] {
        folder.write(&format!("tree/{path}"), bytes);
    }
    folder
}

fn of_iso(iso: &Path) -> Import {
    Import { source: Source::Iso(iso.to_owned()), files: Vec::new(), sha256: None, name: None, make_default: false }
}

fn of_files(folder: &Folder) -> Import {
    let kernel = folder.write("k", kernel("kernel"));
    let initrd = folder.write("i", initrd("initrd"));
    Import {
        source: Source::Files { kernel, initrd },
        files: Vec::new(),
        sha256: None,
        name: None,
        make_default: false,
    }
}

fn store(folder: &Folder) -> ImageStore {
    ImageStore::new(folder.join("images"))
}

/// What lies in the images folder; nothing, if there is none.
fn left(store: &ImageStore) -> Vec<String> {
    let Ok(entries) = fs::read_dir(store.dir()) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn imported(store: &ImageStore, what: &Import) -> Imported {
    import(store, what, &Unwatched).unwrap()
}

#[test]
fn an_iso_becomes_a_verified_set_and_the_default() {
    let folder = ce();
    let iso = make_iso(&folder, &["-R", "-J"]);
    let store = store(&folder);
    let Imported { id, manifest, was_there, is_default, may_lack_installer } = imported(&store, &of_iso(&iso));
    assert!(!was_there && is_default && !may_lack_installer);
    assert_eq!(left(&store), ["default".to_owned(), id.clone()]);
    let tree = folder.join("tree");
    let set = store.dir().join(&id);
    for (name, parts) in [
        ("vmlinuz-foundation", vec!["boot/kernel".to_owned()]),
        ("initrd-foundation.img", vec!["boot/initrd".to_owned()]),
        ("squashfs.img", vec!["squashfs.img".to_owned()]),
        (AHV, vec![format!("images/hypervisor/kvm/{AHV}")]),
        (
            "nutanix_installer_package.tar",
            (0..3).map(|n| format!("images/svm/nutanix_installer_package.tar.p0{n}")).collect(),
        ),
    ] {
        let expected: Vec<u8> = parts.iter().flat_map(|part| fs::read(tree.join(part)).unwrap()).collect();
        assert!(fs::read(set.join(name)).unwrap() == expected, "{name}");
        let file = manifest.file(name).unwrap();
        let sum = |program| {
            let output = run(program, &[name], &set);
            String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!((file.size, &file.sha256), (expected.len() as u64, &sum("sha256sum")));
        let has_md5 = !matches!(file.role, ImageRole::Kernel | ImageRole::Initrd);
        assert_eq!(file.md5, has_md5.then(|| sum("md5sum")));
        assert_eq!(set.join(name).metadata().unwrap().permissions().mode() & 0o7777, 0o644);
    }
    assert_eq!(set.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    let sum = String::from_utf8(run("sha256sum", &[MANIFEST_FILE], &set).stdout).unwrap();
    assert_eq!(id, format!("made-{}", &sum[..12]));
    let bytes = iso.metadata().unwrap().len();
    assert_eq!(manifest.source, format!("made.iso (PHOENIX, {bytes} bytes)"));
    assert_eq!(store.set(&id).unwrap().verify(&Unwatched).unwrap(), []);
}

#[test]
fn another_iso_than_the_one_that_was_meant_is_refused() {
    let folder = ce();
    let iso = make_iso(&folder, &["-R"]);
    let store = store(&folder);
    let other = "0".repeat(64);
    let error = import(&store, &Import { sha256: Some(other.clone()), ..of_iso(&iso) }, &Unwatched).unwrap_err();
    let sum = String::from_utf8(run("sha256sum", &["made.iso"], folder.path()).stdout).unwrap()[..64].to_owned();
    assert!(error.to_string().ends_with(&format!("has SHA-256 {sum}, and should have {other}")), "{error}");
    assert!(!error.hint().is_empty());
    assert_eq!(left(&store), [""; 0]);
    let with = imported(&store, &Import { sha256: Some(sum), ..of_iso(&iso) });
    let without = imported(&store, &of_iso(&iso));
    assert!(with.id == without.id && without.was_there);
}

#[test]
fn every_kind_of_names_gives_the_same_files() {
    let folder = ce();
    let mut digests: Vec<Vec<String>> = Vec::new();
    for options in [&["-R"][..], &["--norock", "-J", "-joliet-long"], &["--norock", "-iso-level", "3"]] {
        let iso = make_iso(&folder, options);
        // The installer's name is longer than plain names are: what is left of it is no package's.
        if options.contains(&"-iso-level") {
            let made = imported(&store(&folder), &of_iso(&iso));
            assert!(made.may_lack_installer);
            let names: Vec<String> = made.manifest.files.into_iter().map(|file| file.name).collect();
            let ahv = "ahv_dvd_x86_64_el8_nutanix_.iso";
            assert_eq!(names, [ahv, "initrd-foundation.img", "squashfs.img", "vmlinuz-foundation"]);
            continue;
        }
        let manifest = imported(&store(&folder), &of_iso(&iso)).manifest;
        digests.push(manifest.files.into_iter().map(|file| file.sha256).collect());
    }
    assert!(digests[0] == digests[1] && digests[0].len() == 5, "{digests:?}");
}

/// What is left out of a set is missed only on the machine.
#[test]
fn a_file_that_cannot_be_read_is_named_and_not_left_out() {
    let folder = ce();
    let store = store(&folder);
    for (file, shown) in [("squashfs.img", "squashfs.img"), ("boot/initrd", "boot/initrd")] {
        let compressible = folder.write("compressible", vec![0x1f; 1 << 20]);
        let at = format!("/{file}");
        let made = folder.join("made.iso");
        let _ = fs::remove_file(&made);
        let words = ["-outdev", "made.iso", "-map", "tree", "/", "-rm", &at, "--"];
        let words =
            [&words[..], &["-map", compressible.to_str().unwrap(), &at, "-set_filter", "--zisofs", &at]].concat();
        run("xorriso", &words, folder.path());
        let error = import(&store, &of_iso(&made), &Unwatched).unwrap_err();
        let told = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(told, format!("{shown} is stored compressed by zisofs, which is not read"));
        assert!(error.hint().contains("--file"), "{}", error.hint());
        assert_eq!(left(&store), [""; 0]);
    }
}

#[test]
fn an_iso_cut_short_leaves_nothing_behind() {
    let folder = ce();
    let iso = make_iso(&folder, &["-R"]);
    let bytes = fs::read(&iso).unwrap();
    let store = store(&folder);
    for part in [0, 1, 5, 20, 50, 80, 95, 99] {
        let torn = folder.write("torn.iso", &bytes[..bytes.len() / 100 * part]);
        let error = import(&store, &of_iso(&torn), &Unwatched).unwrap_err();
        assert!(matches!(error, ImportError::Iso { .. }), "{part} %: {error:?}");
        assert_eq!(left(&store), [""; 0], "{part} %");
    }
    let torn = folder.write("torn.iso", &bytes[..bytes.len() - 1]);
    assert!(import(&store, &of_iso(&torn), &Unwatched).is_err());
    assert_eq!(left(&store), [""; 0]);
}

#[test]
fn a_wrong_iso_says_what_it_lacks_and_leaves_nothing_behind() {
    let folder = ce();
    let store = store(&folder);
    fs::remove_file(folder.join("tree/images/svm/nutanix_installer_package.tar.p01")).unwrap();
    let error = import(&store, &of_iso(&make_iso(&folder, &["-R"])), &Unwatched).unwrap_err();
    let told = std::error::Error::source(&error).unwrap().to_string();
    assert!(told.starts_with("part 1 of nutanix_installer_package.tar is not there: it holds "), "{told}");
    fs::remove_file(folder.join("tree/boot/kernel")).unwrap();
    let error = import(&store, &of_iso(&make_iso(&folder, &["-R"])), &Unwatched).unwrap_err();
    let told = std::error::Error::source(&error).unwrap().to_string();
    assert!(told.starts_with("it holds no kernel: looked for boot/kernel, "), "{told}");
    assert!(told.contains("it holds EFI/BOOT/BOOTX64.EFI, boot/initrd, "), "{told}");
    assert!(!error.hint().is_empty() && !error.is_transient());
    assert_eq!(left(&store), [""; 0]);
}

#[test]
fn a_refused_import_takes_the_folders_away_that_it_made_and_no_other() {
    let folder = ce();
    let iso = make_iso(&folder, &["-R"]);
    let wrong = Import { sha256: Some("0".repeat(64)), ..of_iso(&iso) };
    let bytes = fs::read(&iso).unwrap();
    let torn = of_iso(&folder.write("torn.iso", &bytes[..bytes.len() / 2]));
    let before = items(folder.path());
    let new = ImageStore::new(folder.join("some/new/images"));
    for what in [&wrong, &torn] {
        import(&new, what, &Unwatched).unwrap_err();
        assert!(items(folder.path()) == before, "something stays behind");
    }
    // What was there stays, be it empty; so does what somebody put there.
    fs::create_dir_all(folder.join("some/new")).unwrap();
    let before = items(folder.path());
    import(&new, &wrong, &Unwatched).unwrap_err();
    assert!(items(folder.path()) == before, "what was there is gone, or something stays behind");
    folder.write("some/new/images/notes.txt", "mine");
    let before = items(folder.path());
    import(&new, &wrong, &Unwatched).unwrap_err();
    assert!(items(folder.path()) == before, "what was there is gone, or something stays behind");
    let id = imported(&new, &of_iso(&iso)).id;
    assert_eq!(left(&new), ["default", &id, "notes.txt"].map(str::to_owned));
}

/// Each takes and removes the lock and, if it is refused, a folder that the next one may be about to use.
#[test]
fn imports_side_by_side_take_no_folder_from_each_other() {
    let folder = Folder::new();
    struct Ended;
    impl Watch for Ended {
        fn begin(&self, _: &str, _: u64) {}
        fn advance(&self, _: u64) {}
        fn is_stopped(&self) -> bool {
            true
        }
    }
    let good = of_files(&folder);
    let (goes_on, ends): (&dyn Watch, &dyn Watch) = (&Unwatched, &Ended);
    for round in 0..20 {
        let store = ImageStore::new(folder.join(&format!("images-{round}")));
        let ids: Vec<Option<String>> = std::thread::scope(|scope| {
            let (store, good) = (&store, &good);
            let start = |watch: &'static dyn Watch| scope.spawn(move || import(store, good, watch));
            let started: Vec<_> = [goes_on, ends, goes_on, ends].map(start).into();
            started.into_iter().map(|import| import.join().unwrap().ok().map(|set| set.id)).collect()
        });
        let id = ids[0].clone().expect("it was good");
        assert_eq!(ids, [Some(id.clone()), None, Some(id.clone()), None]);
        assert_eq!(left(&store), [id, "default".to_owned()]);
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_copied() {
    struct Untouched;
    impl Watch for Untouched {
        fn begin(&self, what: &str, _: u64) {
            panic!("{what} is copied");
        }
        fn advance(&self, _: u64) {}
        fn is_stopped(&self) -> bool {
            false
        }
    }
    let folder = ce();
    let iso = of_iso(&make_iso(&folder, &["-R"]));
    let file = folder.write("file", "x");
    let with = |files: &[(&str, &Path)]| Import {
        files: files.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect(),
        ..iso.clone()
    };
    let none = folder.join("none");
    for (what, told) in [
        (with(&[("squashfs.img", &file)]), "there would be two files squashfs.img in the set"),
        (with(&[(AHV, &file)]), "there would be two files AHV-DVD"),
        (with(&[("nutanix_installer_package.tar", &file)]), "there would be two files nutanix_installer_package.tar"),
        (with(&[("a", &file), ("b", &file), ("a", &file)]), "there would be two files a in the set"),
        (with(&[("a", &none)]), "could not read"),
        (with(&[("a", folder.path())]), "could not read"),
        (of_iso(folder.path()), "is a folder, and no ISO"),
    ] {
        let error = import(&store(&folder), &what, &Untouched).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert!(error.is_usage(), "{error:?}");
        assert!(!folder.join("images").exists());
    }
}

#[test]
fn a_kernel_that_is_a_link_in_the_iso_is_followed() {
    let folder = Folder::new();
    folder.write("tree/other/place/linux", kernel("kernel"));
    folder.write("tree/boot/initrd", initrd("initrd"));
    symlink("../other/place/linux", folder.join("tree/boot/kernel")).unwrap();
    let manifest = imported(&store(&folder), &of_iso(&make_iso(&folder, &["-R"]))).manifest;
    assert_eq!(manifest.with_role(ImageRole::Kernel).unwrap().size, kernel("kernel").len() as u64);
}

#[test]
fn plain_files_make_a_set_with_more_files_beside() {
    let folder = Folder::new();
    let store = store(&folder);
    let squashfs = folder.write("s", "squash");
    let what = Import {
        files: vec![("squashfs.img".to_owned(), squashfs.clone()), ("extra.cfg".to_owned(), squashfs)],
        name: Some("lab".to_owned()),
        ..of_files(&folder)
    };
    let Imported { id, manifest, .. } = imported(&store, &what);
    assert!(id.starts_with("lab-"), "{id}");
    assert_eq!(manifest.source, "files k and i");
    let roles: Vec<(&str, ImageRole, bool)> =
        manifest.files.iter().map(|file| (file.name.as_str(), file.role, file.md5.is_some())).collect();
    assert_eq!(
        roles,
        [
            ("extra.cfg", ImageRole::Other, false),
            ("initrd-foundation.img", ImageRole::Initrd, false),
            ("squashfs.img", ImageRole::Squashfs, true),
            ("vmlinuz-foundation", ImageRole::Kernel, false),
        ]
    );
}

#[test]
fn the_same_import_twice_is_the_same_set() {
    let folder = Folder::new();
    let store = store(&folder);
    let first = imported(&store, &of_files(&folder));
    let before = items(store.dir());
    let second = imported(&store, &of_files(&folder));
    assert_eq!((first.was_there, second.was_there), (false, true));
    assert_eq!(first.id, second.id);
    assert!(items(store.dir()) == before);
}

#[test]
fn the_same_import_onto_a_damaged_set_says_so() {
    let folder = Folder::new();
    let store = store(&folder);
    let id = imported(&store, &of_files(&folder)).id;
    fs::write(store.dir().join(&id).join("vmlinuz-foundation"), kernel("kerneL")).unwrap();
    let error = import(&store, &of_files(&folder), &Unwatched).unwrap_err();
    let ImportError::ThereButDamaged { faults, .. } = &error else { panic!("{error:?}") };
    assert_eq!(faults.iter().map(SetFault::code).collect::<Vec<_>>(), ["digest"]);
    assert_eq!(left(&store), [id, "default".to_owned()]);
}

#[test]
fn what_cannot_be_used_is_refused_before_or_after_and_leaves_nothing() {
    let folder = Folder::new();
    let store = store(&folder);
    let good = of_files(&folder);
    let empty = folder.write("empty", "");
    let (file, initrd) = (folder.join("k"), folder.join("i"));
    let with = |name: &str| Import { files: vec![(name.to_owned(), file.clone())], ..good.clone() };
    let source = |kernel: &Path| Source::Files { kernel: kernel.to_owned(), initrd: initrd.clone() };
    for (what, told) in [
        (Import { name: Some("a b".to_owned()), ..good.clone() }, "\"a b\" can't be the name of an image set"),
        (with("../x"), "\"../x\" can't be the name of a file in an image set"),
        (with("manifest.json"), "\"manifest.json\" can't be the name of a file in an image set"),
        (with("vmlinuz-foundation"), "there would be two files vmlinuz-foundation in the set"),
        (Import { source: source(&empty), ..good.clone() }, "is empty"),
        (Import { source: source(&folder.join("none")), ..good.clone() }, "could not read"),
        (Import { source: source(folder.path()), ..good.clone() }, "could not read"),
        (of_iso(&folder.join("none.iso")), "could not read"),
        (of_iso(&file), "can't be imported"),
    ] {
        let error = import(&store, &what, &Unwatched).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert!(!error.hint().is_empty());
        assert_eq!(left(&store), [""; 0], "{error}");
    }
}

/// What nothing would boot is found out here, and not on the console of a server.
#[test]
fn a_kernel_or_initrd_that_is_something_else_is_refused_with_what_it_looks_like() {
    let folder = Folder::new();
    let store = store(&folder);
    let (random, text) = (folder.write("random", noise(1, 100_000)), folder.write("text", "<html>"));
    let (k, i) = (folder.write("k", kernel("")), folder.write("i", initrd("")));
    for (kernel, initrd, told, hint) in [
        (&random, &i, "random is no Linux kernel that can be booted: it looks like nothing known (", "a bzImage"),
        (&i, &k, "i is no Linux kernel that can be booted: it looks like a gzip file", "swapped"),
        (&text, &i, "text is no Linux kernel that can be booted: it looks like text", "a bzImage"),
        (&k, &k, "k is no initrd: it looks like a Linux kernel", "swapped"),
        (&k, &random, "random is no initrd: it looks like nothing known (", "cpio -H newc"),
    ] {
        let source = Source::Files { kernel: kernel.clone(), initrd: initrd.clone() };
        let error = import(&store, &Import { source, ..of_files(&folder) }, &Unwatched).unwrap_err();
        let is = error.to_string();
        assert!(is.contains(told) && error.hint().contains(hint), "{is}: {}", error.hint());
        assert_eq!(left(&store), [""; 0], "{error}");
    }
    for (kernel, initrd, told) in [
        (
            initrd(""),
            initrd(""),
            "boot/kernel in DIR/made.iso is no Linux kernel that can be booted: it looks like a gzip file",
        ),
        (kernel(""), kernel(""), "boot/initrd in DIR/made.iso is no initrd: it looks like a Linux kernel"),
        (kernel(""), Vec::new(), "boot/initrd in DIR/made.iso is empty"),
    ] {
        folder.write("tree/boot/kernel", kernel);
        folder.write("tree/boot/initrd", initrd);
        let error = import(&store, &of_iso(&make_iso(&folder, &["-R"])), &Unwatched).unwrap_err();
        assert_eq!(error.to_string().replace(folder.path().to_str().unwrap(), "DIR"), told);
        assert_eq!(left(&store), [""; 0], "{error}");
    }
}

/// Opening a pipe would wait, and reading some devices would never end, where nobody can end it.
#[test]
fn only_regular_files_are_read() {
    let folder = Folder::new();
    let store = store(&folder);
    run("mkfifo", &["ff"], folder.path());
    let (pipe, zero) = (folder.join("ff"), std::path::PathBuf::from("/dev/zero"));
    let good = of_files(&folder);
    let Source::Files { kernel, initrd } = good.source.clone() else { panic!("it was made of two files") };
    for (file, is) in [(pipe, "it is a pipe, and no file"), (zero, "it is a device, and no file")] {
        let source = |source| Import { source, ..good.clone() };
        for what in [
            of_iso(&file),
            source(Source::Files { kernel: file.clone(), initrd: initrd.clone() }),
            source(Source::Files { kernel: kernel.clone(), initrd: file.clone() }),
            Import { files: vec![("x".to_owned(), file.clone())], ..good.clone() },
        ] {
            let error = import(&store, &what, &Unwatched).unwrap_err();
            let told = format!("{}: {}", error, std::error::Error::source(&error).unwrap());
            assert_eq!(told, format!("could not read {}: {is}", file.display()));
            assert!(error.is_usage() && error.hint().contains("into a file"), "{error}");
            assert_eq!(left(&store), [""; 0]);
        }
    }
}

#[test]
fn an_import_that_is_stopped_leaves_nothing_behind() {
    struct After(AtomicU64);
    impl Watch for After {
        fn begin(&self, _: &str, _: u64) {}
        fn advance(&self, bytes: u64) {
            self.0.fetch_sub(bytes.min(self.0.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
        fn is_stopped(&self) -> bool {
            self.0.load(Ordering::Relaxed) == 0
        }
    }
    let folder = ce();
    let iso = make_iso(&folder, &["-R"]);
    let store = store(&folder);
    for bytes in [1, 100_000, 3_000_000, 8_600_000] {
        let error = import(&store, &of_iso(&iso), &After(bytes.into())).unwrap_err();
        assert!(matches!(error, ImportError::Stopped), "{error:?}");
        assert_eq!(left(&store), [""; 0]);
    }
}

#[test]
fn what_a_crashed_import_left_is_removed_and_a_living_one_is_left_alone() {
    let folder = Folder::new();
    let store = store(&folder);
    let living = folder.write("images/.import-1-0/lock", "");
    folder.write("images/.import-1-0/set/vmlinuz-foundation", "half");
    folder.write("images/.import-2-0/lock", "");
    folder.write("images/.import-2-0/set/vmlinuz-foundation", "half");
    folder.write("images/.import-3-0/set/vmlinuz-foundation", "half");
    folder.write("images/.import-a-file", "somebody's");
    folder.write("images/.import-notes/mine.txt", "somebody's, too");
    folder.write("images/.import-4-0/mine.txt", "and this");
    let held = File::open(living).unwrap();
    held.lock().unwrap();
    let id = imported(&store, &of_files(&folder)).id;
    assert_eq!(
        left(&store),
        [".import-1-0", ".import-4-0", ".import-a-file", ".import-notes", &id, "default"].map(str::to_owned)
    );
    drop(held);
    imported(&store, &of_files(&folder));
    assert_eq!(left(&store), [".import-4-0", ".import-a-file", ".import-notes", &id, "default"].map(str::to_owned));
}

#[test]
fn only_the_first_set_becomes_the_default_by_itself() {
    let folder = Folder::new();
    let store = store(&folder);
    let named = |name: &str| Import { name: Some(name.to_owned()), ..of_files(&folder) };
    let first = imported(&store, &named("first"));
    let second = imported(&store, &named("second"));
    assert_eq!((first.is_default, second.is_default), (true, false));
    let third = imported(&store, &Import { make_default: true, ..named("third") });
    assert!(third.is_default);
    assert_eq!(fs::read_to_string(store.dir().join("default")).unwrap(), format!("{}\n", third.id));
    let again = imported(&store, &Import { make_default: true, ..named("first") });
    assert!(again.was_there && again.is_default);
    let defaults: Vec<(Option<String>, bool)> =
        store.list().unwrap().into_iter().map(|set| (set.id, set.is_default)).collect();
    assert_eq!(defaults, [(Some(first.id), true), (Some(second.id), false), (Some(third.id), false)]);
}

#[test]
fn plain_files_stay_the_default_until_another_is_asked_for() {
    let folder = Folder::new();
    let store = store(&folder);
    folder.write("images/vmlinuz-foundation", "plain");
    folder.write("images/initrd-foundation.img", "initrd");
    let id = imported(&store, &of_files(&folder)).id;
    let shown = |store: &ImageStore| -> Vec<(Option<String>, bool, State)> {
        store.list().unwrap().into_iter().map(|set| (set.id, set.is_default, set.state)).collect()
    };
    assert_eq!(shown(&store), [(None, true, State::Plain), (Some(id.clone()), false, State::Complete)]);
    imported(&store, &Import { make_default: true, ..of_files(&folder) });
    assert_eq!(shown(&store), [(None, false, State::Plain), (Some(id), true, State::Complete)]);
}

#[test]
fn every_way_of_being_damaged_is_told() {
    let folder = Folder::new();
    let store = store(&folder);
    let id = imported(&store, &of_files(&folder)).id;
    let set = store.dir().join(&id);
    let codes = |id: &str| -> Vec<&'static str> {
        store.set(id).unwrap().verify(&Unwatched).unwrap().iter().map(SetFault::code).collect()
    };
    assert_eq!(codes(&id), [""; 0]);
    fs::write(set.join("vmlinuz-foundation"), kernel("kerneL")).unwrap();
    assert_eq!(codes(&id), ["digest"]);
    assert!(matches!(store.list().unwrap()[0].state, State::Complete), "only verify reads the bytes");
    fs::write(set.join("vmlinuz-foundation"), "longer kernel").unwrap();
    fs::remove_file(set.join("initrd-foundation.img")).unwrap();
    fs::write(set.join("stray"), "x").unwrap();
    assert_eq!(codes(&id), ["missing", "size", "unlisted"]);
    assert!(
        matches!(&store.list().unwrap()[0].state, State::Damaged(why) if why.contains("stray is not in the manifest"))
    );
    fs::rename(&set, store.dir().join("other")).unwrap();
    assert_eq!(codes("other")[0], "other_id");
    fs::write(store.dir().join("other/manifest.json"), "{}").unwrap();
    assert!(store.set("other").unwrap_err().to_string().starts_with("the manifest.json of other can't be used"));
    fs::remove_file(store.dir().join("other/manifest.json")).unwrap();
    for id in ["other", "none", "..", "a/b"] {
        let error = store.set(id).unwrap_err();
        assert!(!error.hint().is_empty() && !error.is_transient());
    }
}
