//! Sets made of sets: more in the initrd, and the vendor's bytes untouched.

use crate::support::{Folder, Item, by_bsdtar, items, run};
use metalform_images::{
    ImageStore, Import, ModuleError, Overlay, OverlayError, Source, Unwatched, Watch, import, overlay,
};
use metalform_model::{InstalledBy, Recipe};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

const RELEASE: &str = "4.19.84-2.el7.nutanix.x86_64";

/// A store with one set, whose kernel says that release, and whose initrd is a gzipped archive of odd length.
struct World {
    folder: Folder,
    store: ImageStore,
    base: String,
}

/// The beginning of a bzImage that says its release.
fn kernel(release: &str) -> Vec<u8> {
    let mut image = vec![0; 0x3000];
    image[0x1fe..0x200].copy_from_slice(b"\x55\xaa");
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x1c00_u16.to_le_bytes());
    let text = format!("{release} (builder@somewhere) #1 SMP Tue Jan 2\0");
    image[0x1e00..0x1e00 + text.len()].copy_from_slice(text.as_bytes());
    image
}

impl World {
    fn new() -> World {
        let folder = Folder::new();
        let vendor = ["bin/busybox", "etc/vendor", "usr/lib/libc.so"];
        vendor.iter().for_each(|name| drop(folder.write(&format!("vendor/{name}"), name)));
        std::os::unix::fs::symlink("usr/lib", folder.join("vendor/lib")).unwrap();
        let pack =
            "cd vendor && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -9n > ../initrd";
        run("sh", &["-euc", pack], folder.path());
        let mut initrd = fs::read(folder.join("initrd")).unwrap();
        // Zeros after a compressed archive are nothing to Linux.
        initrd.resize(initrd.len().next_multiple_of(4) + 1, 0);
        let initrd = folder.write("initrd", initrd);
        let kernel = folder.write("kernel", kernel(RELEASE));
        let squashfs = folder.write("squashfs", "squash");
        let store = ImageStore::new(folder.join("images"));
        let what = Import {
            source: Source::Files { kernel, initrd },
            files: vec![("squashfs.img".to_owned(), squashfs)],
            sha256: None,
            name: Some("ce".to_owned()),
            make_default: false,
        };
        let base = import(&store, &what, &Unwatched).unwrap().id;
        World { folder, store, base }
    }

    fn nothing(&self) -> Overlay {
        Overlay { base: self.base.clone(), ..Overlay::default() }
    }

    /// A real module as a compiler makes it, with the texts that the kernel's build puts in.
    fn module(&self, place: &str, name: &str, needs: &str, release: &str) -> PathBuf {
        let info =
            format!("license=GPL\\0name={name}\\0depends={needs}\\0vermagic={release} SMP mod_unload modversions ");
        let source = format!("const char info[] __attribute__((section(\".modinfo\"), used)) = \"{info}\";\n");
        self.folder.write("module.c", source);
        let path = self.folder.write(place, "");
        run("cc", &["-c", "-o", path.to_str().unwrap(), "module.c"], self.folder.path());
        path
    }

    /// A program that needs no library.
    fn agent(&self) -> PathBuf {
        self.folder.write("agent.s", ".globl _start\n_start: mov $60, %eax\nxor %edi, %edi\nsyscall\n");
        run("cc", &["-nostdlib", "-static", "-o", "agent", "agent.s"], self.folder.path());
        self.folder.join("agent")
    }

    /// What the new archive holds.
    fn made(&self, id: &str) -> BTreeMap<String, Item> {
        let made = fs::read(self.store.dir().join(id).join("initrd-foundation.img")).unwrap();
        let theirs = fs::read(self.store.dir().join(&self.base).join("initrd-foundation.img")).unwrap();
        assert!(made.starts_with(&theirs), "the vendor's bytes come first, as they are");
        let ours = theirs.len().next_multiple_of(4);
        assert!(made[theirs.len()..ours].iter().all(|byte| *byte == 0));
        by_bsdtar(&self.folder.write("ours.cpio", &made[ours..]))
    }

    fn refused(&self, what: &Overlay) -> String {
        let before = items(self.store.dir());
        let error = overlay(&self.store, what, &Unwatched).unwrap_err();
        assert!(items(self.store.dir()) == before, "something stays behind");
        assert!(!error.hint().is_empty() && !error.is_transient());
        error.to_string()
    }
}

fn text(items: &BTreeMap<String, Item>, path: &str) -> String {
    match &items[path] {
        Item::File(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{path} is {other:?}"),
    }
}

fn phoenix() -> Recipe {
    Recipe::PhoenixCe { command: vec!["/installer".into()] }
}

fn certificate() -> String {
    rcgen::generate_simple_self_signed(vec!["boot.example".into()]).unwrap().cert.pem()
}

#[test]
fn modules_go_in_decompressed_in_the_order_in_which_they_need_each_other() {
    let world = World::new();
    let dir = world.folder.join("modules");
    world.module("modules/kernel/drivers/ionic.ko", "ionic", "devlink,auxiliary-bus,builtin", RELEASE);
    world.module("modules/kernel/net/devlink.ko", "devlink", "", RELEASE);
    world.module("modules/kernel/auxiliary_bus.ko", "auxiliary_bus", "devlink", RELEASE);
    world.module("modules/kernel/nvme.ko", "nvme", "nvme-core", RELEASE);
    world.module("modules/kernel/nvme-core.ko", "nvme_core", "", RELEASE);
    world.module("modules/kernel/unneeded.ko", "unneeded", "missing", RELEASE);
    world.folder.write("modules/modules.builtin", "kernel/lib/builtin.ko\n");
    std::os::unix::fs::symlink("/", dir.join("build")).unwrap();
    run("xz", &["--check=crc32", "kernel/drivers/ionic.ko"], &dir);
    run("gzip", &["kernel/net/devlink.ko"], &dir);
    run("zstd", &["-q", "--rm", "kernel/nvme.ko"], &dir);
    let what = Overlay {
        modules_dir: Some(dir.clone()),
        load: vec!["nvme".to_owned(), "ionic".to_owned()],
        ..world.nothing()
    };
    let made = overlay(&world.store, &what, &Unwatched).unwrap();
    assert_eq!(made.modules, ["nvme_core", "nvme", "devlink", "auxiliary_bus", "ionic"]);
    assert_eq!(made.expected, []);
    let items = world.made(&made.set.id);
    let root = format!("metalform/modules/{RELEASE}");
    let order: String = made.modules.iter().map(|name| format!("/{root}/{name}.ko\n")).collect();
    assert_eq!(text(&items, "metalform/modules/order"), order);
    for name in ["nvme", "ionic", "devlink"] {
        let Item::File(bytes) = &items[&format!("{root}/{name}.ko")] else { panic!("{name}") };
        assert!(bytes.starts_with(b"\x7fELF"), "{name} is decompressed");
    }
    // Nothing lies where the vendor's files could be.
    assert!(items.keys().all(|path| path.starts_with("metalform")), "{:?}", items.keys());
}

#[test]
fn modules_one_by_one_say_what_they_expect_to_be_there() {
    let world = World::new();
    let ionic = world.module("ionic.ko", "ionic", "devlink,sfp", RELEASE);
    let sfp = world.module("sfp.ko", "sfp", "", RELEASE);
    let what = Overlay { modules: vec![ionic, sfp], ..world.nothing() };
    let made = overlay(&world.store, &what, &Unwatched).unwrap();
    assert_eq!(made.modules, ["sfp", "ionic"]);
    assert_eq!(made.expected, [("ionic".to_owned(), "devlink".to_owned())]);
}

#[test]
fn a_module_that_is_built_into_the_kernel_is_told_of_and_a_folder_that_is_not_there_named() {
    let world = World::new();
    world.folder.write("modules/modules.builtin", "kernel/drivers/nvme/host/nvme-core.ko\nkernel/net/sfp.ko\n");
    let modules_dir = Some(world.folder.join("modules"));
    let load = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let built_in = Overlay { load: load(&["nvme-core", "sfp"]), modules_dir, ..world.nothing() };
    let told = format!("there is nothing to add to {}: nvme_core, sfp are built into its kernel", world.base);
    assert_eq!(world.refused(&built_in), told);
    let file = world.folder.write("file", "x");
    let with_more = Overlay { files: vec![("a".into(), file)], ..built_in };
    let made = overlay(&world.store, &with_more, &Unwatched).unwrap();
    assert_eq!((&made.built_in[..], made.modules.len()), (&["nvme_core".to_owned(), "sfp".to_owned()][..], 0));
    let nowhere = Some(world.folder.join("nowhere"));
    let told = world.refused(&Overlay { load: load(&["x"]), modules_dir: nowhere, ..world.nothing() });
    assert!(told.starts_with("the folder of kernel modules ") && told.contains("can't be read"), "{told}");
}

/// A few hundred bytes that would be gigabytes.
#[test]
fn a_module_that_unpacks_without_end_is_refused() {
    let world = World::new();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::repeat(0).take(70 << 20), &mut packed).unwrap();
    let bomb = world.folder.write("bomb.ko.gz", packed.finish().unwrap());
    let told = world.refused(&Overlay { modules: vec![bomb], ..world.nothing() });
    assert!(told.ends_with("bomb.ko.gz is no kernel module: it has more than 64 MiB"), "{told}");
}

#[test]
fn modules_for_another_kernel_are_refused_with_both_names() {
    let world = World::new();
    let other = world.module("other.ko", "other", "", "5.10.194-3.el8.x86_64");
    let right = world.module("right.ko", "right", "", RELEASE);
    let told = world.refused(&Overlay { modules: vec![right.clone(), other], ..world.nothing() });
    assert_eq!(
        told,
        format!(
            "the kernel module other was built for kernel 5.10.194-3.el8.x86_64, and the set boots kernel {RELEASE}"
        )
    );
    let without = world.folder.write("no-module.ko", "x");
    assert!(world.refused(&Overlay { modules: vec![without], ..world.nothing() }).contains("is no kernel module: "));
    let told = world.refused(&Overlay { load: vec!["none".to_owned()], ..world.nothing() });
    assert_eq!(told, "there is no kernel module none among what was given");
    let dir = world.folder.join("modules");
    world.module("modules/a.ko", "a", "b", RELEASE);
    let what = Overlay { modules_dir: Some(dir), load: vec!["a".to_owned()], ..world.nothing() };
    assert_eq!(world.refused(&what), "there is no kernel module b among what was given, and a needs it");
    let broken = world.folder.write("broken.ko.xz", "no xz at all");
    let error = overlay(&world.store, &Overlay { modules: vec![broken], ..world.nothing() }, &Unwatched).unwrap_err();
    assert!(matches!(error, OverlayError::Module(ModuleError::Unreadable { .. })), "{error:?}");
    // A kernel that doesn't say what it is can't be compared.
    let source = Source::Files { kernel: without_header(&world), initrd: world.folder.join("initrd") };
    let what = Import { source, files: Vec::new(), sha256: None, name: None, make_default: false };
    let base = import(&world.store, &what, &Unwatched).unwrap().id;
    let told = world.refused(&Overlay { base, modules: vec![right], ..Overlay::default() });
    assert_eq!(told, "the set's kernel doesn't say which release it is: no Linux bzImage");
}

fn without_header(world: &World) -> PathBuf {
    world.folder.write("raw", crate::support::kernel([1; 0x3000]))
}

#[test]
fn modules_of_an_earlier_overlay_are_not_hidden() {
    let world = World::new();
    let one = world.module("one.ko", "one", "", RELEASE);
    let two = world.module("two.ko", "two", "", RELEASE);
    let first = overlay(&world.store, &Overlay { modules: vec![one], ..world.nothing() }, &Unwatched).unwrap().set.id;
    let more = Overlay { base: first.clone(), ..Overlay::default() };
    let told = world.refused(&Overlay { modules: vec![two], ..more.clone() });
    assert_eq!(told, format!("the initrd of {first} has modules of an earlier overlay"));
    let extra = world.folder.write("extra", "x");
    overlay(&world.store, &Overlay { files: vec![("/etc/extra".into(), extra)], ..more }, &Unwatched).unwrap();
}

#[test]
fn the_agent_and_files_go_in_and_the_vendors_folders_stay_the_vendors() {
    let world = World::new();
    let agent = world.agent();
    let ca = world.folder.write("ca.pem", certificate());
    let note = world.folder.write("note", "note");
    let recipe = phoenix();
    let what = Overlay {
        agent: Some(agent.clone()),
        ca: Some(ca),
        files: vec![("/lib/firmware/x/y.bin".into(), note.clone()), ("etc/note".into(), note.clone())],
        recipe: Some(recipe.clone()),
        template: Some("phoenix".into()),
        ..world.nothing()
    };
    let made = overlay(&world.store, &what, &Unwatched).unwrap().set;
    let listed = fs::read(world.store.dir().join(&made.id).join("initrd-foundation.img")).unwrap();
    let theirs = fs::metadata(world.folder.join("initrd")).unwrap().len().next_multiple_of(4);
    world.folder.write("ours.cpio", &listed[usize::try_from(theirs).unwrap()..]);
    let names =
        String::from_utf8(run("sh", &["-euc", "cpio --quiet -tv < ours.cpio"], world.folder.path()).stdout).unwrap();
    let names: Vec<String> = names
        .lines()
        .map(|line| format!("{} {}", &line[..10], line.split_whitespace().skip(8).collect::<Vec<_>>().join(" ")))
        .collect();
    assert_eq!(
        names,
        [
            "-rw-r--r-- etc/note",
            "drwxr-xr-x lib/firmware",
            "drwxr-xr-x lib/firmware/x",
            "-rw-r--r-- lib/firmware/x/y.bin",
            "drwxr-xr-x metalform",
            "-rwxr-xr-x metalform/agent",
            "-rw-r--r-- metalform/ca.pem",
            "lrwxrwxrwx metalform/init -> agent",
        ]
    );
    assert_eq!((made.manifest.template.as_deref(), made.manifest.recipe), (Some("phoenix"), Some(recipe)));
    // The files that stay are the same ones, not copies.
    let inode = |id: &str, name: &str| fs::metadata(world.store.dir().join(id).join(name)).unwrap().ino();
    assert_eq!(inode(&made.id, "squashfs.img"), inode(&world.base, "squashfs.img"));
    assert_ne!(inode(&made.id, "initrd-foundation.img"), inode(&world.base, "initrd-foundation.img"));
    for id in [&made.id, &world.base] {
        assert_eq!(world.store.set(id).unwrap().verify(&Unwatched).unwrap(), []);
    }
    let again = overlay(&world.store, &what, &Unwatched).unwrap().set;
    assert!(again.was_there && again.id == made.id, "the same overlay is the same set");
}

#[test]
fn an_agent_that_nothing_would_start_is_refused() {
    let world = World::new();
    let agent = Some(world.agent());
    let init = Some(world.folder.write("init", "#!/bin/sh\nexec /metalform/agent\n"));
    let told = format!("{} has no recipe, and without one its machines don't start the agent", world.base);
    assert_eq!(world.refused(&Overlay { agent: agent.clone(), ..world.nothing() }), told);
    assert_eq!(world.refused(&Overlay { init, ..world.nothing() }), told);
    // The recipe may come with it, or have come before.
    let both = Overlay { agent: agent.clone(), recipe: Some(phoenix()), ..world.nothing() };
    assert!(!overlay(&world.store, &both, &Unwatched).unwrap().lacks_init);
    let before = overlay(&world.store, &Overlay { recipe: Some(phoenix()), ..world.nothing() }, &Unwatched).unwrap();
    assert!(before.lacks_init, "a recipe without an agent is told of");
    let base = before.set.id;
    let after = overlay(&world.store, &Overlay { base, agent, ..Overlay::default() }, &Unwatched).unwrap();
    assert!(!after.lacks_init);
    let base = after.set.id;
    let more = Overlay { base, template: Some("x".into()), ..Overlay::default() };
    assert!(!overlay(&world.store, &more, &Unwatched).unwrap().lacks_init, "an earlier overlay's agent is seen");
}

#[test]
fn something_may_start_in_the_agents_place() {
    let world = World::new();
    let init = world.folder.write("init", "#!/bin/sh\nexec /metalform/agent\n");
    let recipe = Some(phoenix());
    let what = Overlay { agent: Some(world.agent()), init: Some(init), recipe, ..world.nothing() };
    let made = overlay(&world.store, &what, &Unwatched).unwrap();
    assert!(!made.lacks_init);
    let items = world.made(&made.set.id);
    assert!(text(&items, "metalform/init").starts_with("#!/bin/sh\n"));
    assert!(matches!(&items["metalform/agent"], Item::File(bytes) if bytes.starts_with(b"\x7fELF")));
}

#[test]
fn places_with_options_of_their_own_are_not_for_plain_files() {
    let world = World::new();
    let file = world.folder.write("file", "#!/bin/sh\n");
    for (place, flag) in [
        ("metalform/agent", "--agent"),
        ("/metalform/agent", "--agent"),
        ("/metalform/agent/x", "--agent"),
        ("/metalform", "--agent"),
        ("metalform/init", "--init"),
        ("metalform/ca.pem", "--ca"),
        ("metalform/modules", "--module or --load"),
        ("/metalform/modules/order", "--module or --load"),
        ("metalform/modules/5.10/x.ko", "--module or --load"),
    ] {
        let what = Overlay { files: vec![(place.to_owned(), file.clone())], ..world.nothing() };
        let error = overlay(&world.store, &what, &Unwatched).unwrap_err();
        assert!(error.is_usage(), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("only {flag} puts something at /{} in the initrd", place.trim_start_matches('/'))
        );
        assert_eq!(world.refused(&what), error.to_string());
    }
    for place in ["metalform/agents", "metalform/installer", "etc/metalform/agent"] {
        let what = Overlay { files: vec![(place.to_owned(), file.clone())], ..world.nothing() };
        overlay(&world.store, &what, &Unwatched).unwrap();
    }
}

#[test]
fn what_cannot_be_in_an_initrd_is_refused_before_the_set_is_read() {
    struct Untouched;
    impl Watch for Untouched {
        fn begin(&self, what: &str, _: u64) {
            panic!("{what} is read");
        }
        fn advance(&self, _: u64) {}
        fn is_stopped(&self) -> bool {
            false
        }
    }
    let world = World::new();
    let file = world.folder.write("file", "x");
    let long = world.folder.write("long", "");
    File::options().write(true).open(&long).unwrap().set_len(1 << 32).unwrap();
    for (place, path, told) in [
        ("/a/../b", &file, "\"a/../b\" can't be a path in an initrd"),
        ("/", &file, "\"\" can't be a path in an initrd"),
        ("a//b", &file, "\"a//b\" can't be a path in an initrd"),
        ("long", &long, "long has 4294967296 bytes: an initrd holds files below 4 GiB"),
    ] {
        let what = Overlay { files: vec![(place.to_owned(), path.clone())], ..world.nothing() };
        let error = overlay(&world.store, &what, &Untouched).unwrap_err();
        assert!(error.is_usage(), "{error:?}");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), told);
    }
}

#[test]
fn a_recipe_alone_makes_a_set_whose_initrd_is_the_same() {
    let world = World::new();
    let recipe = Recipe::Command {
        command: vec!["/install".into()],
        files: vec!["squashfs.img".into()],
        installed_by: InstalledBy::Agent,
    };
    let what = Overlay { recipe: Some(recipe), name: Some("other".into()), ..world.nothing() };
    let made = overlay(&world.store, &what, &Unwatched).unwrap().set;
    assert!(made.id.starts_with("other-"));
    let base = world.store.set(&world.base).unwrap().manifest;
    assert_eq!(made.manifest.files, base.files);
    assert_eq!(made.manifest.source, format!("{} with recipe", world.base));
}

#[test]
fn what_cannot_be_added_is_refused() {
    let world = World::new();
    let file = world.folder.write("file", "x");
    let certificate = certificate();
    let (begin, end) = ("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n");
    let key = world.folder.write("key.pem", format!("{certificate}-----BEGIN PRIVATE KEY-----\n"));
    let empty = world.folder.write("empty.pem", format!("{begin}AA==\n{end}"));
    let torn = world.folder.write("torn.pem", &certificate[..certificate.len() - 100]);
    let second = world.folder.write("second.pem", format!("{certificate}{begin}no base64 at all\n{end}"));
    let long = world.folder.write("long.pem", vec![b'#'; (1 << 20) + 1]);
    let der = world.folder.write("der.pem", [0x30, 0x82, 0xff, 0x00]);
    let files = |places: &[&str]| Overlay {
        files: places.iter().map(|place| ((*place).to_owned(), file.clone())).collect(),
        ..world.nothing()
    };
    let command = |words: &[&str]| Recipe::Command {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        files: vec!["none".into()],
        installed_by: InstalledBy::Agent,
    };
    let (recipe, empty_recipe) = (command(&["/install"]), command(&[]));
    let phoenix = Overlay { recipe: Some(phoenix()), ..world.nothing() };
    for (what, told) in [
        (world.nothing(), "there is nothing to add"),
        (Overlay { base: "none".into(), ..world.nothing() }, "the set can't be used"),
        (Overlay { name: Some("a/b".into()), ..world.nothing() }, "can't be the name"),
        (Overlay { template: Some(String::new()), ..world.nothing() }, "can't be the name"),
        (files(&["a", "/a"]), "two things would be at /a"),
        (files(&["a", "a/b"]), "two things would be at /a"),
        (files(&["a/b", "a"]), "two things would be at /a"),
        (files(&["/usr/lib"]), "two things would be at /usr/lib"),
        (files(&["/a/../b"]), "the addition to the initrd can't be written"),
        (files(&["/"]), "the addition to the initrd can't be written"),
        (Overlay { agent: Some(file.clone()), ..phoenix.clone() }, "it is no 64-bit ELF program"),
        (Overlay { agent: Some("/bin/sh".into()), ..phoenix.clone() }, "it needs a loader and libraries"),
        (Overlay { agent: Some(world.folder.join("none")), ..phoenix.clone() }, "could not read"),
        (Overlay { init: Some(file.clone()), ..phoenix.clone() }, "it is neither a script (`#!`) nor an ELF program"),
        (Overlay { init: Some(world.folder.path().into()), ..phoenix.clone() }, "could not read"),
        (Overlay { ca: Some(file.clone()), ..world.nothing() }, "it holds no certificate in PEM"),
        (Overlay { ca: Some(der), ..world.nothing() }, "it holds no certificate in PEM"),
        (Overlay { ca: Some(key), ..world.nothing() }, "it holds a private key"),
        (Overlay { ca: Some(empty), ..world.nothing() }, "certificate 1 of it can't be read ("),
        (Overlay { ca: Some(torn), ..world.nothing() }, "certificate 1 of it can't be read ("),
        (Overlay { ca: Some(second), ..world.nothing() }, "certificate 2 of it can't be read ("),
        (Overlay { ca: Some(long), ..world.nothing() }, "it is longer than 1048576 bytes"),
        (Overlay { files: vec![("a".into(), world.folder.path().into())], ..world.nothing() }, "could not read"),
        (Overlay { recipe: Some(empty_recipe), ..world.nothing() }, "the recipe can't run: its command is empty"),
        (Overlay { recipe: Some(recipe), ..world.nothing() }, "the recipe names none, which is no file of ce-"),
    ] {
        let is = world.refused(&what);
        assert!(is.contains(told), "{is}");
    }
    let squashfs = world.store.dir().join(&world.base).join("squashfs.img");
    fs::write(squashfs, "Squash").unwrap();
    assert!(world.refused(&files(&["a"])).contains("is damaged: squashfs.img has SHA-256 "));
}

/// As Linux does it: one archive after the other into the same root. The vendor's links must still be links.
#[test]
fn both_archives_one_after_the_other_make_one_root() {
    let world = World::new();
    let note = world.folder.write("note", "note");
    let module = world.module("one.ko", "one", "", RELEASE);
    let what = Overlay { modules: vec![module], files: vec![("/lib/note".into(), note)], ..world.nothing() };
    let made = overlay(&world.store, &what, &Unwatched).unwrap().set;
    world.made(&made.id);
    let unpack = "mkdir root && cd root && gzip -dcq ../initrd 2>/dev/null | cpio --quiet -idu; cpio --quiet -idu < ../ours.cpio";
    run("sh", &["-c", unpack], world.folder.path());
    let root = items(&world.folder.join("root"));
    assert_eq!(root["lib"], Item::Link("usr/lib".into()));
    assert_eq!(text(&root, "usr/lib/note"), "note");
    assert_eq!(text(&root, "usr/lib/libc.so"), "usr/lib/libc.so");
    assert!(root.contains_key("metalform/modules/order"));
}
