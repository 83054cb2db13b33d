//! Downloads that go wrong: the machine ends up installed or in a named state, and never half.

use crate::{
    namespace::{is_inside, run_inside},
    site::{BOOT, Site, text, wait_for},
};
use std::{fs, time::Duration};

const WHOLE: Duration = Duration::from_secs(1200);

#[test]
fn a_kernel_that_is_not_its_manifests_and_an_initrd_cut_short_are_not_served_and_named_and_then_mended() {
    if !is_inside() {
        return run_inside(
            "transfers::a_kernel_that_is_not_its_manifests_and_an_initrd_cut_short_are_not_served_and_named_and_then_mended",
            WHOLE,
        );
    }
    let site = Site::start("tampered", &[]);
    let cluster = site.deploy(&["patient"], 20, |_| {});
    for (file, spoil) in
        [("vmlinuz-foundation", flip_a_byte as fn(Vec<u8>) -> Vec<u8>), ("initrd-foundation.img", cut_short)]
    {
        let path = fs::read_dir(site.images_dir())
            .expect("the folder of images")
            .filter_map(Result::ok)
            .map(|set| set.path().join(file))
            .find(|path| path.exists())
            .expect("the set of the lab");
        let good = fs::read(&path).expect("it can be read");
        replace(&path, &spoil(good.clone()));
        wait_for(&format!("a spoilt {file} to be named"), BOOT, || {
            let said = site.explain("patient");
            if said.contains("image_unverified") && said.contains(file) { Ok(()) } else { Err(said) }
        });
        assert_eq!(text(&site.node(&cluster, "patient"), "phase"), "imaging");
        let drives = site.untouched_drives("patient");
        assert!(drives.iter().all(|(_, is_untouched)| *is_untouched), "{drives:?}");
        replace(&path, &good);
    }
    assert_eq!(site.wait_for_phase(&cluster, None, &["ready", "needs_operator", "failed"]), "ready");
}

#[test]
fn a_service_that_is_gone_in_the_middle_of_every_download_and_back_delays_the_installation_only() {
    if !is_inside() {
        return run_inside(
            "transfers::a_service_that_is_gone_in_the_middle_of_every_download_and_back_delays_the_installation_only",
            WHOLE,
        );
    }
    let mut site = Site::start("gone", &[]);
    let cluster = site.deploy(&["patient"], 20, |_| {});
    // What comes after each of these is under way or just begins when the service dies.
    for sent in ["vmlinuz-foundation", "initrd-foundation.img", "manifest.json"] {
        wait_for(&format!("{sent} to be sent"), BOOT, || {
            let events = site.events(&cluster, "patient");
            let is_sent = |event: &&serde_json::Value| {
                event["kind"] == "image_served"
                    && event["data"]["file"] == sent
                    && event["data"]["sent"] == event["data"]["of"]
            };
            events
                .iter()
                .find(is_sent)
                .map(|_| ())
                .ok_or_else(|| format!("{}", site.node(&cluster, "patient")["reason"]))
        });
        site.kill_service();
        // Long enough for whoever asks in between to be refused.
        std::thread::sleep(Duration::from_secs(3));
        site.start_service();
        wait_for("the service to answer", BOOT, || site.ask(&["status", &cluster]));
    }
    assert_eq!(site.wait_for_phase(&cluster, None, &["ready", "needs_operator", "failed"]), "ready");
}

fn flip_a_byte(mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    bytes
}

fn cut_short(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() / 2);
    bytes
}

/// In one step, as an operator's `mv` does.
fn replace(path: &std::path::Path, bytes: &[u8]) {
    let draft = path.with_extension("draft");
    fs::write(&draft, bytes).expect("it can be written");
    fs::rename(&draft, path).expect("it can be put there");
}
