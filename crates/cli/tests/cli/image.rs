//! `metalform image`, which needs no service.

use crate::{
    run::{Folder, Ran, command},
    site::Site,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// As much of a kernel and of an archive as import looks at.
fn boot_files() -> (Vec<u8>, Vec<u8>) {
    let mut kernel = vec![0; 0x210];
    kernel[0x1fe..0x200].copy_from_slice(b"\x55\xaa");
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    (kernel, b"070701".to_vec())
}

/// A folder with an image of an installer in it, and the files it was made of.
fn installer() -> Folder {
    let folder = Folder::new();
    let (kernel, initrd) = boot_files();
    for (path, bytes) in [
        ("boot/kernel", &*kernel),
        ("boot/initrd", &*initrd),
        ("squashfs.img", b"squash"),
        ("images/svm/nutanix_installer_package.tar.p00", b"part 0, "),
        ("images/svm/nutanix_installer_package.tar.p01", b"part 1"),
    ] {
        let path = folder.path().join("tree").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-R", "-o", "CE 2.1.iso", "tree"]).current_dir(folder.path());
    let made = xorriso.output().expect("xorriso is missing: `cargo xtask test` installs it");
    assert!(made.status.success(), "{made:?}");
    folder
}

fn image(folder: &Folder, args: &[&str]) -> Ran {
    command(folder, &[&["image"], args, &["--dir", "images"]].concat()).output().unwrap().into()
}

fn import(folder: &Folder) -> Value {
    let ran = image(folder, &["import", "CE 2.1.iso", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.document()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_iso_is_imported_listed_and_verified() {
    let folder = installer();
    let document = import(&folder);
    let id = document["id"].as_str().unwrap();
    assert!(id.starts_with("ce_2.1-"), "{id}");
    assert_eq!(
        (&document["default"], &document["was_there"], &document["name"]),
        (&json!(true), &json!(false), &json!("ce_2.1"))
    );
    let files = document["files"].as_array().unwrap();
    assert_eq!(files.len(), 4);
    assert_eq!(
        fs::read_to_string(folder.path().join("images").join(id).join("nutanix_installer_package.tar")).unwrap(),
        "part 0, part 1"
    );

    let again = image(&folder, &["import", "CE 2.1.iso"]);
    assert_eq!(again.code, 0);
    assert!(
        again.stdout.starts_with(&format!("{id}: was there already, and is whole; the default\n")),
        "{}",
        again.stdout
    );
    assert!(again.stderr.contains("vmlinuz-foundation from boot/kernel, 528 B\n"), "{}", again.stderr);

    let listed = image(&folder, &["list", "--json"]).document();
    assert_eq!((&listed["default"], listed["sets"].as_array().unwrap().len()), (&json!(id), 1));
    let set = &listed["sets"][0];
    assert_eq!((&set["id"], &set["state"], &set["bytes"]), (&json!(id), &json!("complete"), &json!(528 + 6 + 6 + 14)));
    let shown = image(&folder, &["list"]);
    assert!(shown.stdout.starts_with(&format!("* {id}")) && shown.stdout.contains("complete"), "{}", shown.stdout);

    let verified = image(&folder, &["verify"]);
    assert_eq!((verified.code, verified.stdout.as_str()), (0, format!("{id}: whole\n").as_str()));
}

#[test]
fn a_damaged_set_is_told_to_a_person_and_to_a_program() {
    let folder = installer();
    let id = import(&folder)["id"].as_str().unwrap().to_owned();
    fs::write(folder.path().join("images").join(&id).join("squashfs.img"), "sQuash").unwrap();
    let ran = image(&folder, &["verify", &id]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.starts_with(&format!("{id}: squashfs.img has SHA-256 ")), "{}", ran.stdout);
    assert!(ran.stderr.contains(&format!("error: the image set {id} is damaged\n  hint: ")), "{}", ran.stderr);
    let ran = image(&folder, &["verify", "--json"]);
    let document = ran.document();
    assert_eq!((ran.code, &document["sets"][0]["whole"]), (1, &json!(false)));
    let fault = &document["sets"][0]["faults"][0];
    assert_eq!((&fault["code"], &fault["file"]), (&json!("digest"), &json!("squashfs.img")));
    fs::write(folder.path().join("images").join(&id).join("manifest.json"), "{").unwrap();
    assert_eq!(image(&folder, &["verify", "--json"]).document()["sets"][0]["faults"][0]["code"], "manifest");
    let again = image(&folder, &["import", "CE 2.1.iso"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("error: nothing was imported\n  cause: "), "{}", again.stderr);
}

#[test]
fn a_set_without_its_manifest_is_damaged_and_plain_files_are_not() {
    let folder = installer();
    let id = import(&folder)["id"].as_str().unwrap().to_owned();
    let images = folder.path().join("images");
    fs::remove_file(images.join(&id).join("manifest.json")).unwrap();
    fs::write(images.join(&id).join("vmlinuz-foundation"), "damaged").unwrap();
    for (name, text) in [("vmlinuz-foundation", "kernel"), ("initrd-foundation.img", "initrd")] {
        folder.write(&format!("images/{name}"), text);
        fs::create_dir_all(images.join("lab")).unwrap();
        folder.write(&format!("images/lab/{name}"), text);
    }
    let listed = image(&folder, &["list", "--json"]).document();
    let states: Vec<(&Value, &Value)> =
        listed["sets"].as_array().unwrap().iter().map(|set| (&set["id"], &set["state"])).collect();
    let (set, lab, plain, damaged) = (json!(id), json!("lab"), json!("plain"), json!("damaged"));
    assert_eq!(states, [(&Value::Null, &plain), (&set, &damaged), (&lab, &plain)]);
    let told = format!("{id}: {id} has no manifest.json: nothing says what its files should be\n");
    let ran = image(&folder, &["verify"]);
    assert_eq!((ran.code, ran.stdout), (1, told));
    assert!(ran.stderr.contains("no manifest to verify by: (plain files), lab;"), "{}", ran.stderr);
    let ran = image(&folder, &["verify", &id]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("has no manifest.json") && ran.stderr.contains("import its ISO"), "{}", ran.stderr);
    // A default has to have one, whatever it is called.
    fs::remove_dir_all(images.join(&id)).unwrap();
    folder.write("images/default", "lab\n");
    let ran = image(&folder, &["verify"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("lab: lab has no manifest.json"), "{}", ran.stdout);
}

#[test]
fn to_verify_nothing_is_no_good_news() {
    let folder = Folder::new();
    folder.write("file", "x");
    fs::create_dir(folder.path().join("other")).unwrap();
    folder.write("other/notes.txt", "x");
    let verify = |dir: &str, more: &[&str]| -> Ran {
        command(&folder, &[&["image", "verify", "--dir", dir], more].concat()).output().unwrap().into()
    };
    let hint = "\n  hint: name the right one with --dir, or in `[images] dir` of the configuration; ";
    for (dir, code, told) in [
        ("typo", "no_image_folder", "error: there is no folder of image sets typo\n  cause: No such file or directory"),
        ("file", "no_image_folder", "error: there is no folder of image sets file\n  cause: Not a directory"),
        ("other", "no_image_sets", "error: there is no image set in other, and other things are"),
    ] {
        let ran = verify(dir, &[]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{dir}: {}", ran.stderr);
        assert!(ran.stderr.starts_with(told) && ran.stderr.contains(hint), "{dir}: {}", ran.stderr);
        assert_eq!(verify(dir, &["--json"]).document()["error"]["code"], code);
    }
    // A folder for images that has none yet is as it should be.
    fs::create_dir(folder.path().join("empty")).unwrap();
    let ran = verify("empty", &[]);
    let told = "no image sets in empty: `metalform image import ISO` makes one\n";
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", told));
    assert_eq!(verify("empty", &["--json"]).document(), json!({"sets": []}));
    fs::create_dir(folder.path().join("plain")).unwrap();
    folder.write("plain/vmlinuz-foundation", "kernel");
    folder.write("plain/initrd-foundation.img", "initrd");
    let ran = verify("plain", &[]);
    let told = "no manifest to verify by: (plain files); `metalform image import` writes one\n";
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", told));
}

#[test]
fn a_default_that_names_no_set_is_an_error_of_verify() {
    let folder = installer();
    let id = import(&folder)["id"].as_str().unwrap().to_owned();
    for default in ["gone-0123456789ab", "", "../x"] {
        folder.write("images/default", default);
        let ran = image(&folder, &["verify"]);
        assert_eq!(
            (ran.code, ran.stdout),
            (1, format!("{id}: whole\ndefault: there is no image set {default:?}\n")),
            "{}",
            ran.stderr
        );
        let told = format!("error: the default image set {default:?} is not in images\n  hint: machines get nothing");
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        assert!(image(&folder, &["list"]).stderr.contains("which is no set here"));
    }
    // Nor is it fine where there is no set at all.
    fs::remove_dir_all(folder.path().join("images").join(&id)).unwrap();
    let ran = image(&folder, &["verify", "--json"]);
    assert_eq!((ran.code, ran.document()), (1, json!({"sets": [], "lost_default": "../x"})), "{}", ran.stderr);
}

/// As a person sees it, with names longer and shorter than any fixed column.
#[test]
fn what_is_told_of_sets_stands_in_columns() {
    let folder = installer();
    let iso = "AHV-DVD-x86_64-el8.nutanix.20230302.101026.iso";
    folder.write("ahv", &"x".repeat(1_234_567));
    let args = ["import", "CE 2.1.iso", "--file", &format!("{iso}=ahv"), "--json"];
    let first = image(&folder, &args).document();
    let id = first["id"].as_str().unwrap();
    let digest = |file: usize| first["files"][file]["sha256"].as_str().unwrap().to_owned();
    let told = [
        format!("{id}: was there already, and is whole; the default\n"),
        format!("  AHV-DVD-x86_64-el8.nutanix.20230302.101026.iso  1234567  sha256:{}\n", digest(0)),
        format!("  initrd-foundation.img                                 6  sha256:{}\n", digest(1)),
        format!("  nutanix_installer_package.tar                        14  sha256:{}\n", digest(2)),
        format!("  squashfs.img                                          6  sha256:{}\n", digest(3)),
        format!("  vmlinuz-foundation                                  528  sha256:{}\n", digest(4)),
    ];
    assert_eq!(image(&folder, &args[..4]).stdout, told.concat());

    folder.write("images/vmlinuz-foundation", "kernel");
    folder.write("images/initrd-foundation.img", "initrd");
    folder.write("recipe.json", r#"{"kind": "phoenix-ce", "command": ["/ce_installer"]}"#);
    let args = ["overlay", id, "--recipe", "recipe.json", "--template", "phoenix-ce", "--name", "lab", "--json"];
    let other = image(&folder, &args).document();
    let other = other["id"].as_str().unwrap();
    fs::remove_file(folder.path().join("images").join(id).join("squashfs.img")).unwrap();
    let listed = image(&folder, &["list"]).stdout;
    // Stand-ins of the same width.
    let shown: Vec<String> = listed.lines().map(without_time).collect();
    let shown: Vec<String> =
        shown.iter().map(|line| line.replace(other, "lab-0123456789ab").replace(id, "ce_2.1-0123456789ab")).collect();
    let told = [
        "  (plain files)            12 B  2026-01-01T00:00:00Z  foundation, no recipe   plain files, nothing to verify by",
        "* ce_2.1-0123456789ab  1.18 MiB  2026-01-01T00:00:00Z  foundation, no recipe   DAMAGED: squashfs.img is missing",
        "  lab-0123456789ab     1.18 MiB  2026-01-01T00:00:00Z  phoenix-ce, phoenix-ce  complete",
    ];
    assert_eq!(shown, told);
}

/// With another time, of the same form.
fn without_time(line: &str) -> String {
    const TIME: &str = "2026-01-01T00:00:00Z";
    let end = line.find("Z  ").unwrap_or_else(|| panic!("no time in {line}")) + 1;
    let (before, time) = line[..end].split_at(end - TIME.len());
    let form = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!(form(time), form(TIME), "{line}");
    format!("{before}{TIME}{}", &line[end..])
}

#[test]
fn what_cannot_be_imported_says_why_and_leaves_nothing() {
    let folder = installer();
    let iso = fs::read(folder.path().join("CE 2.1.iso")).unwrap();
    fs::write(folder.path().join("torn.iso"), &iso[..iso.len() / 2]).unwrap();
    for (args, code, told) in [
        (&["import", "torn.iso"][..], 1, "  cause: it is cut short: "),
        (&["import", "tree/boot/kernel"], 1, "  cause: it is no ISO 9660 image\n  hint: give the installer's ISO "),
        (&["import", "none.iso"], 2, "  cause: could not read none.iso\n  cause: No such file"),
        (
            &["import", "CE 2.1.iso", "--name", "a b"],
            2,
            "  cause: \"a b\" can't be the name of an image set\n  hint: 1 to 40",
        ),
        (
            &["import", "tree"],
            2,
            "  cause: tree is a folder, and no ISO\n  hint: name the ISO itself; or, if these are its files, the ones that are \
             needed: --kernel PATH --initrd PATH",
        ),
        (
            &["import", "CE 2.1.iso", "--file", "squashfs.img=tree/boot/kernel"],
            2,
            "  cause: there would be two files squashfs.img in the set\n  hint: ",
        ),
        (
            &["import", "CE 2.1.iso", "--file", "x=tree"],
            2,
            "  cause: could not read tree\n  cause: is a directory\n  hint: that is a folder",
        ),
        (&["verify", "none"], 2, "  cause: there is no image set none in images\n  hint: `metalform image list`"),
        (&["overlay", "none", "--template", "x"], 2, "  cause: there is no image set none in images\n"),
    ] {
        let ran = image(&folder, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{args:?}: {}", ran.stderr);
    }
    assert!(!folder.path().join("images").exists(), "a refused command leaves a folder behind");
    let told = image(&folder, &["list"]);
    assert_eq!((told.code, told.stdout.as_str()), (0, ""));
    assert!(
        told.stderr.starts_with("no image sets in images: `metalform image import ISO` makes one"),
        "{}",
        told.stderr
    );
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let folder = installer();
    fs::write(folder.path().join("tree/squashfs.img"), vec![7; 4 << 20]).unwrap();
    fs::create_dir(folder.path().join("small")).unwrap();
    let script = "mount -t tmpfs -o size=2m none small && { \"$0\" image import --kernel tree/boot/kernel \
                  --initrd tree/boot/initrd --file squashfs.img=tree/squashfs.img --dir small/images; code=$?; \
                  ls -A small; exit $code; }";
    let mut small = Command::new("unshare");
    small.args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_metalform")]);
    let ran: Ran = small.current_dir(folder.path()).output().expect("unshare is part of util-linux").into();
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("No space left on device") && ran.stderr.contains("hint: make room"), "{}", ran.stderr);
}

/// An import that takes long enough to be held in the middle, of a file of holes; `before` is put before the command.
fn long_import(folder: &Folder, before: &[&str]) -> std::process::Child {
    fs::File::create(folder.path().join("long")).unwrap().set_len(1 << 40).unwrap();
    let args = ["image", "import", "--kernel", "tree/boot/kernel", "--initrd", "tree/boot/initrd", "--file", "x=long"];
    let script = "exec \"$@\" --dir images";
    let program = env!("CARGO_BIN_EXE_metalform");
    let words = [&["-c", script, "sh"], before, &[program], &args].concat();
    let mut shell = Command::new("sh");
    shell.args(words).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = shell.spawn().unwrap();
    wait_for(|| hidden(folder) == 1, "it never began");
    signal(&child, "STOP");
    child
}

fn wait_for(mut holds: impl FnMut() -> bool, what: &str) {
    let done = (0..1200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        holds()
    });
    assert!(done, "{what}");
}

fn signal(child: &std::process::Child, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap().success());
}

/// How many imports go on, or were killed.
fn hidden(folder: &Folder) -> usize {
    let images = folder.path().join("images");
    if images.is_dir() { names(&images).iter().filter(|name| name.starts_with(".import-")).count() } else { 0 }
}

#[test]
fn a_killed_import_is_told_of_and_cleared_away_by_the_next() {
    let folder = installer();
    let mut child = long_import(&folder, &[]);
    import(&folder);
    assert_eq!(hidden(&folder), 1, "its owner lives");
    assert_eq!(image(&folder, &["list", "--json"]).document()["left_over"], json!([]));
    child.kill().unwrap();
    child.wait().unwrap();
    for command in ["list", "verify"] {
        let ran = image(&folder, &[command]);
        let told = format!(".import-{}-0 was left by an import that was killed, ", child.id());
        assert!(ran.code == 0 && ran.stderr.contains(&told), "{command}: {}", ran.stderr);
    }
    let left = &image(&folder, &["list", "--json"]).document()["left_over"];
    assert!(left[0]["bytes"].as_u64().unwrap() >= 528, "{left}");
    import(&folder);
    assert_eq!(hidden(&folder), 0);
}

#[test]
fn the_end_of_a_terminal_ends_an_import_as_ctrl_c_does_but_not_under_nohup() {
    for name in ["HUP", "INT"] {
        let folder = installer();
        let mut child = long_import(&folder, &[]);
        signal(&child, name);
        signal(&child, "CONT");
        let ended = child.wait().unwrap();
        assert_eq!((ended.code(), hidden(&folder)), (Some(1), 0), "{name}: {ended}");
    }
    let folder = installer();
    let mut child = long_import(&folder, &["nohup"]);
    signal(&child, "HUP");
    signal(&child, "CONT");
    let grown = |folder: &Folder| -> u64 {
        let hidden = names(&folder.path().join("images")).into_iter().find(|name| name.starts_with(".import-"));
        let file = folder.path().join("images").join(hidden.expect("it goes on")).join("set/x");
        file.metadata().map_or(0, |file| file.len())
    };
    let before = grown(&folder);
    wait_for(|| grown(&folder) > before, "it ended under nohup");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_overlay_is_another_set_with_its_recipe_and_template() {
    let folder = installer();
    let base = import(&folder)["id"].as_str().unwrap().to_owned();
    folder.write("ca.pem", &rcgen::generate_simple_self_signed(vec!["boot.example".into()]).unwrap().cert.pem());
    folder.write("bad.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
    folder.write("recipe.json", r#"{"kind": "command", "command": ["/metalform/install"], "files": ["squashfs.img"]}"#);
    let args = [
        "overlay",
        &base,
        "--ca",
        "ca.pem",
        "--file",
        "/metalform/install=tree/boot/kernel",
        "--recipe",
        "recipe.json",
        "--template",
        "lab",
        "--name",
        "lab",
        "--default",
        "--json",
    ];
    let ran = image(&folder, &args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let document = ran.document();
    assert_eq!(document["lacks_init"], json!(true));
    assert_eq!(
        (
            &document["name"],
            &document["template"],
            &document["recipe"]["kind"],
            &document["default"],
            &document["source"]
        ),
        (
            &json!("lab"),
            &json!("lab"),
            &json!("command"),
            &json!(true),
            &json!(format!("{base} with ca, /metalform/install, recipe, template lab"))
        )
    );
    let listed = image(&folder, &["list", "--json"]).document();
    assert_eq!(listed["sets"].as_array().unwrap().len(), 2);
    assert_eq!(image(&folder, &["verify"]).code, 0);

    let again = image(&folder, &args[..args.len() - 1]);
    assert!(
        again.stderr.contains("a set with a recipe starts /metalform/init, which was not given"),
        "{}",
        again.stderr
    );

    let told = "the template lab is none of the built-in ones: the service needs lab.ipxe in";
    assert!(again.stderr.contains(told), "{}", again.stderr);
    let builtin = image(&folder, &["overlay", &base, "--template", "phoenix-ce"]);
    assert!(builtin.code == 0 && !builtin.stderr.contains("built-in"), "{}", builtin.stderr);

    folder.write("bad.json", r#"{"kind": "command"}"#);
    folder.write("empty.json", r#"{"kind": "phoenix-ce", "command": []}"#);
    folder.write("place.json", r#"{"kind": "command", "command": ["/x", "{disk}"]}"#);
    folder.write("other.json", r#"{"kind": "command", "command": ["x"], "files": ["none.img"]}"#);
    for (args, told) in [
        (&["overlay", &base][..], "there is nothing to add"),
        (&["overlay", &base, "--recipe", "bad.json"], "the recipe in bad.json can't be used"),
        (&["overlay", &base, "--recipe", "empty.json"], "the recipe can't run: its command is empty"),
        (
            &["overlay", &base, "--recipe", "place.json"],
            "the recipe can't run: nothing is put in the place of {disk} in",
        ),
        (&["overlay", &base, "--recipe", "other.json"], "the recipe names none.img, which is no file of "),
        (
            &["overlay", &base, "--agent", "tree/boot/kernel", "--recipe", "recipe.json"],
            "can't be the agent: it is no 64-bit ELF program",
        ),
        (&["overlay", &base, "--agent", "tree/boot/kernel"], "has no recipe, and without one its machines don't start"),
        (
            &["overlay", &base, "--file", "metalform/agent=tree/boot/kernel"],
            "only --agent puts something at /metalform/agent in the initrd",
        ),
        (&["overlay", &base, "--ca", "bad.pem"], "certificate 1 of it can't be read"),
        (&["overlay", &base, "--module", "tree/boot/kernel"], "is no kernel module"),
        (&["overlay", &base, "--ca", "recipe.json"], "it holds no certificate in PEM"),
    ] {
        let ran = image(&folder, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(told) && ran.stderr.contains("hint: "), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn modules_that_nothing_would_load_are_told_of() {
    let folder = Folder::new();
    // As much of a bzImage as says which release it is, and a module for that one.
    let mut kernel = vec![0; 0x3000];
    kernel[..0x210].copy_from_slice(&boot_files().0);
    kernel[0x20e..0x210].copy_from_slice(&0x1c00_u16.to_le_bytes());
    kernel[0x1e00..0x1e06].copy_from_slice(b"5.10.1");
    fs::write(folder.path().join("kernel"), kernel).unwrap();
    folder.write("initrd", "070701");
    folder.write(
        "module.c",
        "const char info[] __attribute__((section(\".modinfo\"), used)) = \"name=one\\0vermagic=5.10.1 SMP \";\n",
    );
    let cc = Command::new("cc").args(["-c", "-o", "one.ko", "module.c"]).current_dir(folder.path()).status();
    assert!(cc.expect("cc is missing: `cargo xtask test` installs it").success());
    folder.write("recipe.json", r#"{"kind": "phoenix-ce", "command": ["/ce_installer"]}"#);
    let base = image(&folder, &["import", "--kernel", "kernel", "--initrd", "initrd", "--json"]).document();
    let base = base["id"].as_str().unwrap();
    let told = "the agent loads the modules, and is started only in a set with a recipe: --agent and --recipe add both";
    let ran = image(&folder, &["overlay", base, "--module", "one.ko"]);
    assert!(ran.code == 0 && ran.stderr.contains(told), "{}", ran.stderr);
    assert!(ran.stdout.contains("  modules, in the order of loading: one\n"), "{}", ran.stdout);
    let ran = image(&folder, &["overlay", base, "--module", "one.ko", "--recipe", "recipe.json"]);
    assert!(ran.code == 0 && !ran.stderr.contains(told), "{}", ran.stderr);
}

#[test]
fn the_configurations_folder_is_the_default_one() {
    let folder = installer();
    folder.write("metalform.toml", "data_dir = \"data\"\n[images]\ndir = \"elsewhere\"\n");
    let ran: Ran = command(&folder, &["image", "import", "CE 2.1.iso", "--json"]).output().unwrap().into();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let id = ran.document()["id"].as_str().unwrap().to_owned();
    assert_eq!(names(&folder.path().join("elsewhere")), [id, "default".to_owned()]);
}

#[test]
fn deploy_is_refused_before_anything_is_ordered_while_the_default_set_is_damaged() {
    let site = Site::start();
    let images = site.world["images_dir"].as_str().unwrap();
    let (kernel, initrd) = (site.folder.path().join("k"), site.folder.path().join("i"));
    fs::write(&kernel, boot_files().0).unwrap();
    fs::write(&initrd, boot_files().1).unwrap();
    let (kernel, initrd) = (kernel.display().to_string(), initrd.display().to_string());
    let squashfs = site.folder.write("s", "squash");
    let file = format!("squashfs.img={squashfs}");
    let import = [
        "image",
        "import",
        "--kernel",
        &kernel,
        "--initrd",
        &initrd,
        "--file",
        &file,
        "--default",
        "--dir",
        images,
        "--json",
    ];
    let ran = site.run(&import);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let set = Path::new(images).join(ran.document()["id"].as_str().unwrap());
    // As long as it was: only its bytes show it.
    fs::write(set.join("squashfs.img"), "sQuash").unwrap();
    let refused = site.run(&["deploy", "plan.toml", "--json"]);
    let error = &refused.document()["error"];
    assert_eq!((refused.code, &error["code"]), (1, &json!("images_missing")), "{}", refused.stderr);
    assert!(error["message"].as_str().unwrap().contains("is damaged: squashfs.img has SHA-256 "), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("metalform image verify"), "{error}");
    assert_eq!(site.left(), [""; 0]);
    fs::rename(set.join("manifest.json"), set.join("lost")).unwrap();
    let refused = site.run(&["deploy", "plan.toml", "--dry-run", "--json"]);
    let error = &refused.document()["error"];
    assert_eq!((refused.code, &error["code"]), (1, &json!("images_missing")), "{}", refused.stderr);
    assert!(error["message"].as_str().unwrap().contains("is damaged: it has no manifest.json"), "{error}");
    fs::remove_dir_all(&set).unwrap();
    let gone = site.run(&["deploy", "plan.toml", "--json"]).document();
    assert!(gone["error"]["message"].as_str().unwrap().starts_with("the default image set "), "{gone}");
    assert_eq!(site.run(&import).code, 0);
    assert_eq!(site.run(&["deploy", "plan.toml"]).code, 0);
}
