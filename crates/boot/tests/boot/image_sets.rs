//! Sets with a manifest: what is served is what it says, or nothing.

use crate::support::*;
use metalform_boot::{ImageSet, ImageSetError};
use metalform_model::{ImageFile, ImageManifest, ImageRole, MANIFEST_FORMAT};
use std::{fs, path::Path};

/// SHA-256 of `KERNEL`, `INITRD` and `SQUASH`, by `sha256sum`.
const FILES: [(&str, ImageRole, &str, &str); 3] = [
    (
        "initrd-foundation.img",
        ImageRole::Initrd,
        "INITRD",
        "f5e3dba158c542884540793cb24e361afb19e6874c5934e2a0304203b7626fe4",
    ),
    ("squashfs.img", ImageRole::Squashfs, "SQUASH", "4340f0d90e199216c0d27cd0dc028026547e876ccde571c468c9719859df2bbd"),
    (
        "vmlinuz-foundation",
        ImageRole::Kernel,
        "KERNEL",
        "a204d4ad1de3e9b07751899e5cf4d4a3017328c41372c70fdcc8db9587bb38fb",
    ),
];

fn manifest() -> ImageManifest {
    let file = |(name, role, content, sha256): (&str, ImageRole, &str, &str)| ImageFile {
        name: name.to_owned(),
        role,
        size: content.len() as u64,
        sha256: sha256.to_owned(),
        md5: None,
    };
    ImageManifest {
        format: MANIFEST_FORMAT,
        name: "ce".to_owned(),
        source: "ce.iso".to_owned(),
        template: Some("phoenix".to_owned()),
        recipe: None,
        files: FILES.map(file).to_vec(),
    }
}

fn write_set(images: &Path, id: &str) {
    let set = images.join(id);
    fs::create_dir(&set).unwrap();
    for (name, _, content, _) in FILES {
        fs::write(set.join(name), content).unwrap();
    }
    fs::write(set.join("manifest.json"), serde_json::to_vec(&manifest()).unwrap()).unwrap();
}

/// A world with plain files and a set `ce-1` beside them, which `default` names or not.
fn world(is_default: bool) -> World {
    let world = World::new();
    write_set(world.images.path(), "ce-1");
    if is_default {
        fs::write(world.images.path().join("default"), "ce-1\n").unwrap();
    }
    world
}

async fn text(world: &World, path: &str) -> String {
    let answer = world.get(&format!("/pxe/images/{path}")).await;
    if answer.status == 200 { answer.text().to_owned() } else { format!("{} {}", answer.status, answer.code()) }
}

#[tokio::test]
async fn a_set_is_served_by_name_and_as_the_default() {
    let world = world(false);
    assert_eq!(text(&world, "vmlinuz-foundation").await, "kernel", "plain files are the default without a choice");
    assert_eq!(text(&world, "ce-1/vmlinuz-foundation").await, "KERNEL");
    assert_eq!(text(&world, "squashfs.img").await, "404 unknown_image");
    fs::write(world.images.path().join("default"), "ce-1\n").unwrap();
    assert_eq!(text(&world, "vmlinuz-foundation").await, "KERNEL");
    assert_eq!(text(&world, "squashfs.img").await, "SQUASH");
    let sums: String = FILES.iter().map(|(name, _, _, sha256)| format!("{sha256}  {name}\n")).collect();
    let told = text(&world, "SHA256SUMS").await;
    assert!(sums.lines().all(|line| told.contains(line)) && told.contains("  manifest.json\n"), "{told}");
    let served: ImageManifest = serde_json::from_str(&text(&world, "manifest.json").await).unwrap();
    assert_eq!(served, manifest());
    // Nothing is mixed from both.
    fs::write(world.images.path().join("extra"), "x").unwrap();
    assert_eq!(text(&world, "extra").await, "404 unknown_image");
}

#[tokio::test]
async fn a_file_with_other_bytes_than_the_manifest_says_is_refused_and_the_others_are_not() {
    for (name, bytes) in [
        ("vmlinuz-foundation", Some("KERNEl")),
        ("initrd-foundation.img", Some("INITRD and more")),
        ("squashfs.img", None),
    ] {
        let world = world(true);
        let path = world.images.path().join("ce-1").join(name);
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert_eq!(text(&world, name).await, "503 image_unverified");
        assert_eq!(text(&world, &format!("ce-1/{name}")).await, "503 image_unverified");
        assert_eq!(text(&world, "SHA256SUMS").await, "503 image_unverified");
        let answer = world.get(&format!("/pxe/images/{name}")).await;
        assert_eq!(answer.header("retry-after"), Some("10"));
        assert!(answer.json()["error"]["hint"].as_str().unwrap().contains("metalform image verify"));
        for (other, _, content, _) in FILES.iter().filter(|(other, ..)| *other != name) {
            assert_eq!(text(&world, other).await, *content);
        }
        let error = world.plane.check_images().await.unwrap_err();
        assert!(matches!(error, ImageSetError::Unverified { .. }) && error.to_string().contains(name), "{error}");
        assert!(world.plane.prepare_images().await.is_err());
    }
}

#[tokio::test]
async fn a_manifest_that_says_nothing_stops_the_whole_set() {
    let other_format = serde_json::to_string(&manifest()).unwrap().replace("\"format\":1", "\"format\":2");
    for manifest in ["", "{}", &other_format] {
        let world = world(true);
        fs::write(world.images.path().join("ce-1/manifest.json"), manifest).unwrap();
        for name in ["vmlinuz-foundation", "manifest.json", "SHA256SUMS"] {
            assert_eq!(text(&world, name).await, "503 image_unverified", "{manifest}");
        }
        assert!(ImageSet::open(world.images.path()).is_err());
    }
}

/// Without it nothing could be compared: a damaged kernel would go out as if it were good.
#[tokio::test]
async fn a_set_that_lost_its_manifest_is_not_served_and_a_folder_that_never_had_one_is() {
    const MADE: &str = "ce-0123456789ab";
    let world = world(false);
    let images = world.images.path();
    write_set(images, MADE);
    for id in [MADE, "ce-1"] {
        fs::remove_file(images.join(id).join("manifest.json")).unwrap();
    }
    for name in ["vmlinuz-foundation", "manifest.json", "SHA256SUMS"] {
        assert_eq!(text(&world, &format!("{MADE}/{name}")).await, "503 image_unverified", "{name}");
    }
    assert!(ImageSet::open_named(images, Some(MADE)).is_err());
    assert_eq!(text(&world, "ce-1/vmlinuz-foundation").await, "KERNEL", "somebody's own folder");
    assert_eq!(text(&world, "vmlinuz-foundation").await, "kernel", "plain files");
    assert_eq!(text(&world, "ce-ba9876543210/vmlinuz-foundation").await, "404 unknown_image");
    for default in [MADE, "ce-1"] {
        fs::write(images.join("default"), default).unwrap();
        for name in ["vmlinuz-foundation", "SHA256SUMS", &format!("{default}/vmlinuz-foundation")] {
            assert_eq!(text(&world, name).await, "503 image_unverified", "{default}: {name}");
        }
        let error = world.plane.check_images().await.unwrap_err();
        assert!(matches!(error, ImageSetError::Unverified { .. }), "{error}");
        assert!(
            error
                .to_string()
                .ends_with("is damaged: it has no manifest.json, and nothing says what its files should be")
        );
        assert!(ImageSet::described(images, None).is_err());
    }
}

#[tokio::test]
async fn a_default_that_is_not_there_is_no_reason_to_serve_something_else() {
    for default in ["gone", "", "../ce-1", "ce-1/..", "ce-1\nce-1"] {
        let world = world(false);
        fs::write(world.images.path().join("default"), default).unwrap();
        assert_eq!(text(&world, "vmlinuz-foundation").await, "503 image_unverified", "{default:?}");
        let error = ImageSet::open(world.images.path()).unwrap_err();
        assert!(matches!(&error, ImageSetError::NoDefault { .. }), "{error}");
        assert!(error.hint().contains("metalform image list"));
        assert_eq!(text(&world, "ce-1/vmlinuz-foundation").await, "KERNEL");
    }
}

#[tokio::test]
async fn what_is_no_file_of_a_set_is_not_served() {
    let world = world(true);
    let images = world.images.path();
    fs::write(images.join("ce-1/stray"), "x").unwrap();
    fs::write(images.join("ce-1/SHA256SUMS"), "x").unwrap();
    fs::create_dir_all(images.join(".import-1-0/set")).unwrap();
    fs::write(images.join(".import-1-0/set/vmlinuz-foundation"), "half").unwrap();
    for path in ["default", "ce-1/stray", "ce-1/default", ".import-1-0/set", ".import-1-0/lock", ".lock"] {
        assert_eq!(text(&world, path).await, "404 unknown_image", "{path}");
    }
    fs::remove_file(images.join("default")).unwrap();
    fs::write(images.join("default"), "ce-1").unwrap();
    assert_eq!(text(&world, "default").await, "404 unknown_image");
}

#[tokio::test]
async fn a_whole_set_is_checked_and_says_its_template() {
    let world = world(true);
    let set = world.plane.check_images().await.unwrap();
    assert_eq!((set.id(), set.template()), (Some("ce-1"), Some("phoenix")));
    assert_eq!(set.manifest(), Some(&manifest()));
    assert_eq!(set.dir(), world.images.path().join("ce-1"));
    let named = ImageSet::open_named(world.images.path(), Some("ce-1")).unwrap();
    assert_eq!(named, set);
    assert!(ImageSet::open_named(world.images.path(), Some("none")).is_err());
    let plain = World::new();
    let set = plain.plane.check_images().await.unwrap();
    assert_eq!((set.id(), set.template(), set.manifest()), (None, None, None));
}
