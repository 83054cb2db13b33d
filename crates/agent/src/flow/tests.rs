use crate::{
    finding::Code,
    flow::Ended,
    session::Session,
    testing::{
        certificates::Authority,
        lab::Lab,
        plane::{Fault, TOKEN},
    },
};
use metalform_model::{Report, ReportPhase, ReportStatus, Verdict};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{fs, sync::atomic::Ordering, thread, time::Duration};

const ALL: [ReportPhase; 5] = [
    ReportPhase::Booting,
    ReportPhase::Checking,
    ReportPhase::Installing,
    ReportPhase::Rebooting,
    ReportPhase::Installed,
];

fn gpt() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[512..520].copy_from_slice(b"EFI PART");
    bytes
}

#[test]
fn a_whole_installation_goes_through_its_phases_and_ends_with_a_restart() {
    let lab = Lab::new("whole");
    lab.installs();
    assert_eq!(lab.plane.phases(), ALL);
    let reports = lab.plane.with(|state| state.reports.clone());
    let numbers: Vec<u64> = reports.iter().map(|report| report.seq).collect();
    assert_eq!(numbers, (1..=reports.len() as u64).collect::<Vec<_>>());
    let percents: Vec<f64> = reports.iter().filter_map(|report| report.percent).collect();
    assert!(percents.is_sorted() && percents.last() == Some(&100.0), "{percents:?}");
    assert_eq!(lab.plane.last().status, ReportStatus::Ok);
    assert!(lab.installer_ran());

    let told: Vec<&Report> = reports.iter().filter(|r| r.facts.contains_key(Report::FILES_COMPARED)).collect();
    assert_eq!(told.len(), 1, "once all files are there, and before the disks");
    assert_eq!(
        (told[0].phase, &told[0].facts[Report::FILES_COMPARED]),
        (ReportPhase::Installing, &json!(["large.img", "small.img"]))
    );
    let booting = &reports[0].facts;
    assert_eq!((&booting["cores"], &booting["memory_gib"]), (&json!(48), &json!(384)));
    assert_eq!(booting["macs"], json!(["52:54:00:00:00:01"]));
    assert_eq!(booting["disks"].as_array().unwrap().len(), 4);
    assert!(booting["agent_start_ms"].as_u64() <= booting["first_report_ms"].as_u64());
}

#[test]
fn the_installer_gets_the_drives_the_files_and_a_clean_environment() {
    let mut lab = Lab::new("environment");
    lab.script =
        "cat \"$METALFORM_DISKS\"; echo; ls \"$METALFORM_FILES\"; cat \"$METALFORM_REPORT\" > /dev/null && env".into();
    lab.installs();
    let console = lab.console();
    let drives =
        r#"{"boot":"/dev/sda","cvm":"/dev/nvme2n1","data":["/dev/nvme1n1","/dev/nvme0n1"],"hypervisor":"/dev/sda"}"#;
    for line in [drives, "large.img", "small.img", "METALFORM_NODE_ID=node-1"] {
        assert!(console.contains(line), "{line}: {console}");
    }
    let config = fs::read(lab.tree().root().join("run/metalform/config.json")).unwrap();
    assert_eq!(config, lab.plane.with(|state| state.config.to_string()).into_bytes(), "to the letter");
    let inherited = ["CARGO", "HOME="].iter().any(|name| console.contains(name));
    assert!(!inherited, "{console}");
}

/// The fake refuses the token from the exchange on, every signature that is wrong, and every number that is not new.
#[test]
fn the_token_is_exchanged_first_and_everything_after_is_signed() {
    let mut lab = Lab::new("session");
    lab.script = "cat \"$METALFORM_REPORT\"".into();
    lab.installs();
    let heard = lab.plane.with(|state| state.heard.clone());
    assert_eq!(heard[0], "POST /boot/session/node-1");
    assert_eq!(heard.iter().filter(|each| each.contains("/boot/session/")).count(), 1);
    let signed = lab.plane.with(|state| state.signed);
    assert_eq!(signed as usize, heard.iter().filter(|each| each.contains(" /boot/")).count() - 1, "{heard:?}");
    // What the installed system reports with is its document, and stands nowhere else.
    let text = fs::read_to_string(lab.tree().root().join("run/metalform/report.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let secret = document["session_key"].as_str().unwrap();
    assert_eq!(Session::of_installed(secret).map(|session| session.public()), lab.plane.with(|state| state.session));
    let told = lab.plane.with(|state| format!("{:?}", state.reports));
    assert!(!lab.console().contains(secret) && !told.contains(secret));
    assert!(lab.console().contains(r#""session_key":"…""#), "{}", lab.console());
}

#[test]
fn a_boot_plane_that_knows_no_sessions_is_asked_with_the_token() {
    let lab = Lab::new("older");
    lab.plane.with(|state| state.is_older = true);
    lab.installs();
    assert_eq!(lab.plane.phases(), ALL);
    let lab = Lab::new("older-still");
    lab.plane.with(|state| state.is_older = true);
    lab.plane.fault("/boot/session/", Fault::Status(405), 1);
    lab.installs();
    let text = fs::read_to_string(lab.tree().root().join("run/metalform/report.json")).unwrap();
    assert!(text.contains(TOKEN) && !text.contains("session_key"), "{text}");
}

#[test]
fn a_machine_whose_session_another_has_asks_for_nothing_and_touches_nothing() {
    let lab = Lab::new("taken");
    let other = Session::new(&[9; 32]).public();
    lab.plane.with(|state| state.session = Some(other));
    assert_eq!(lab.fails(), "session_refused");
    assert_eq!(lab.plane.heard(""), ["POST /boot/session/node-1"]);
    assert!(lab.console().contains("409 session_taken"), "{}", lab.console());
    // No server is sent to the token for having gone wrong.
    for status in [401, 403, 404, 409] {
        let lab = Lab::new(&format!("refused-session-{status}"));
        lab.plane.fault("/boot/session/", Fault::Status(status), 1);
        assert_eq!(lab.fails(), "session_refused");
    }
}

#[test]
fn a_pinned_machine_asks_over_tls_for_all_but_the_files() {
    let (lab, authority) = (Lab::new("pinned"), Authority::new());
    lab.pin(&authority);
    lab.plane.with(|state| state.tls = Some(authority.server("127.0.0.1", [2020, 2033])));
    lab.installs();
    assert_eq!(lab.plane.phases(), ALL);
    let in_clear = lab.plane.with(|state| state.heard_in_clear.clone());
    assert_eq!(in_clear, ["GET /pxe/images/large.img", "GET /pxe/images/small.img"]);
    assert!(lab.plane.heard("GET /pxe/images/manifest.json").len() == 1, "the files' digests come over TLS");
    // The installed system goes on as the agent did.
    let text = fs::read_to_string(lab.tree().root().join("run/metalform/report.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&document["ca_sha256"], &document["boot_host"]),
        (&json!(authority.pin()), &json!(lab.plane.authority))
    );
}

#[test]
fn somebody_in_the_middle_is_told_nothing_and_the_machine_stops() {
    let (lab, authority) = (Lab::new("middle"), Authority::new());
    lab.pin(&authority);
    lab.plane.with(|state| state.tls = Some(Authority::new().server("127.0.0.1", [2020, 2033])));
    assert_eq!(lab.fails(), "tls_untrusted");
    assert_eq!(lab.plane.heard(""), ["GET /boot/step/node-1/tls-untrusted"], "no session, no configuration, no report");
    assert!(lab.console().contains("ca_sha256="), "{}", lab.console());
    assert!(!lab.installer_ran());
}

#[test]
fn a_pinned_machine_never_goes_on_without_tls() {
    let (lab, authority) = (Lab::new("no-tls"), Authority::new());
    lab.pin(&authority);
    assert_eq!(lab.fails(), "tls_failed");
    assert_eq!(lab.plane.heard(""), ["GET /boot/step/node-1/tls-failed"]);
}

/// Whoever comes in between later hears nothing either, and no disk is written to without a word of the boot plane.
#[test]
fn somebody_who_comes_in_between_later_stops_it_before_the_disks() {
    let (mut lab, authority) = (Lab::new("later"), Authority::new());
    lab.limits.confirmation = Duration::from_millis(500);
    lab.limits.farewell = Duration::from_millis(100);
    lab.pin(&authority);
    lab.plane.with(|state| state.tls = Some(authority.server("127.0.0.1", [2020, 2033])));
    let plane = lab.plane.clone();
    let middle = thread::spawn(move || {
        let other = Authority::new().server("127.0.0.1", [2020, 2033]);
        while plane.heard("GET /pxe/images/").is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        plane.with(|state| state.tls = Some(other));
    });
    let code = lab.fails();
    middle.join().unwrap();
    assert!(matches!(code.as_str(), "boot_plane_away" | "tls_untrusted"), "{code}");
    assert!(!lab.installer_ran());
}

#[test]
fn a_number_that_is_taken_is_followed_by_a_greater_one() {
    let lab = Lab::new("numbers");
    lab.plane.with(|state| state.signed = 1000);
    lab.installs();
    assert_eq!(lab.plane.phases(), ALL);
    assert!(lab.plane.with(|state| state.signed) > 1000);
}

#[test]
fn a_service_that_is_away_or_busy_is_waited_for() {
    let lab = Lab::new("away");
    for path in
        ["/boot/session/", "/boot/server/", "/boot/report/", "/pxe/images/manifest.json", "/pxe/images/small.img"]
    {
        lab.plane.fault(path, Fault::Close, 2);
        lab.plane.fault(path, Fault::Busy, 1);
        lab.plane.fault(path, Fault::Status(500), 1);
    }
    lab.installs();
    assert_eq!(lab.plane.phases(), ALL);
    assert_eq!(lab.plane.heard("GET /boot/server/").len(), 5);
    assert!(lab.console().contains("it is tried again"));
}

#[test]
fn a_refused_configuration_ends_it_before_anything_else_is_asked_for() {
    let lab = Lab::new("refused");
    lab.plane.fault("/boot/server/", Fault::Status(403), 1);
    assert_eq!(lab.fails(), "config_refused");
    assert!(lab.plane.heard("GET /pxe/").is_empty());
    let failure = lab.plane.last().failure().unwrap();
    assert!(failure.reason.contains("403 told_to"), "{}", failure.reason);
}

#[test]
fn another_nodes_configuration_is_not_this_ones() {
    let lab = Lab::new("another");
    lab.configure("/server_info/server_id", json!("node-2"));
    assert_eq!(lab.fails(), "config_invalid");
    let lab = Lab::new("unreadable");
    lab.configure("/storage_config/boot_device", json!({"size": 3}));
    assert_eq!(lab.fails(), "config_invalid");
}

#[test]
fn everything_that_is_wrong_with_the_hardware_is_told_at_once() {
    let lab = Lab::new("hardware");
    lab.configure("/storage_config/data_devices", json!([{"serial": "NONE"}, "/dev/nvme0n1"]));
    lab.configure("/node_config/min_memory_gib", json!(400));
    lab.tree().content("nvme0n1", &gpt());
    lab.tree().write("proc/mounts", "/dev/sda /mnt ext4 rw 0 0\n");
    let code = lab.fails();
    let last = lab.plane.last();
    assert_eq!((last.phase, last.status), (ReportPhase::Failed, ReportStatus::Failed));
    let failed: Vec<String> = last
        .findings()
        .into_iter()
        .filter(|finding| finding.verdict == Verdict::Failed)
        .map(|finding| finding.code)
        .collect();
    for code in ["disk_missing", "memory_too_small", "disk_has_partitions", "disk_in_use"] {
        assert!(failed.iter().any(|each| each == code), "{code} in {failed:?}");
    }
    let failure = last.failure().unwrap();
    assert_eq!(failure.code, code);
    assert!(failure.reason.ends_with("(and 3 more)"), "{}", failure.reason);
    let checked =
        lab.plane.with(|state| state.reports.iter().rev().find(|r| r.phase == ReportPhase::Checking).cloned());
    assert_eq!(checked.unwrap().findings(), last.findings());
    assert!(!lab.installer_ran() && lab.plane.heard("GET /pxe/").is_empty());
}

#[test]
fn a_drive_that_is_still_starting_is_waited_for() {
    let mut lab = Lab::new("late-drive");
    lab.limits.devices = Duration::from_secs(20);
    fs::rename(lab.tree().root().join("sys/block/nvme1n1"), lab.tree().root().join("late")).unwrap();
    let root = lab.tree().root().to_owned();
    let appears = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        fs::rename(root.join("late"), root.join("sys/block/nvme1n1")).unwrap();
    });
    lab.installs();
    appears.join().unwrap();
}

#[test]
fn a_late_drive_is_there_before_a_size_is_taken_to_mean_another() {
    let mut lab = Lab::new("late-choice");
    lab.limits.devices = Duration::from_secs(20);
    lab.limits.settle = Duration::from_secs(2);
    // By size alone, the first one fits twice; the controller VM would get the second.
    lab.configure("/storage_config/data_devices", json!([{"min_gb": 2880}]));
    lab.script = "cat \"$METALFORM_DISKS\"; echo".into();
    fs::rename(lab.tree().root().join("sys/block/nvme0n1"), lab.tree().root().join("late")).unwrap();
    let root = lab.tree().root().to_owned();
    let appears = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        fs::rename(root.join("late"), root.join("sys/block/nvme0n1")).unwrap();
    });
    lab.installs();
    appears.join().unwrap();
    let console = lab.console();
    assert!(console.contains(r#""cvm":"/dev/nvme1n1","data":["/dev/nvme0n1"]"#), "{console}");
}

/// While the installer's files come, something happens to the drives.
fn changed_while_files_come(name: &str, change: impl FnOnce(&std::path::Path) + Send + 'static) -> Lab {
    let lab = Lab::new(name);
    lab.configure("/storage_config/data_devices", json!([{"min_gb": 2880, "wipe": true}]));
    lab.tree().content("nvme0n1", &gpt());
    lab.plane.fault("/pxe/images/manifest.json", Fault::Busy, 10_000);
    let (plane, root) = (lab.plane.clone(), lab.tree().root().to_owned());
    let changes = thread::spawn(move || {
        while plane.heard("GET /pxe/images/manifest.json").is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        change(&root);
        plane.with(|state| state.faults.clear());
    });
    let code = lab.fails();
    changes.join().unwrap();
    assert!(!lab.installer_ran());
    assert_eq!(read_head(&lab, "nvme0n1"), gpt(), "nothing is cleared after {code}");
    lab
}

#[test]
fn a_drive_that_is_another_one_by_the_time_the_disks_would_be_written_stops_the_node() {
    let lab = changed_while_files_come("swapped", |root| {
        fs::write(root.join("sys/block/nvme0n1/device/serial"), "OTHER\n").unwrap();
    });
    let failure = lab.plane.last().failure().unwrap();
    assert_eq!(failure.code, "drives_changed");
    assert!(failure.reason.contains("/dev/nvme0n1 (3200 GB, serial \"OTHER\")"), "{}", failure.reason);
}

#[test]
fn a_drive_that_somebody_mounts_while_the_files_come_stops_the_node() {
    let lab = changed_while_files_come("mounted", |root| {
        fs::write(root.join("proc/mounts"), "/dev/nvme0n1 /mnt ext4 rw 0 0\n").unwrap();
    });
    assert_eq!(lab.plane.last().failure().unwrap().code, "disk_in_use");
}

#[test]
fn a_silent_installer_ends_when_its_boot_attempt_is_over() {
    let mut lab = Lab::new("silent");
    lab.limits.silence = Duration::from_millis(50);
    lab.script = "echo \"$METALFORM_NODE_ID\" > \"$METALFORM_FILES/../ran\"; exec sleep 25".into();
    let (plane, root) = (lab.plane.clone(), lab.tree().root().to_owned());
    let ends = thread::spawn(move || {
        while !root.join("run/metalform/ran").exists() {
            thread::sleep(Duration::from_millis(1));
        }
        plane.fault("/boot/report/", Fault::Status(409), 100);
    });
    assert_eq!(lab.fails(), "attempt_ended");
    ends.join().unwrap();
}

#[test]
fn only_drives_that_the_plan_gives_up_are_cleared() {
    let lab = Lab::new("clears");
    lab.configure("/storage_config/data_devices", json!([{"serial": "DATA1", "wipe": true}, {"serial": "DATA0"}]));
    lab.tree().content("nvme1n1", &gpt());
    // The controller VM's own drive, where the profile says which: the installer's business.
    lab.tree().content("nvme2n1", &gpt());
    lab.configure("/storage_config/data_devices_by", json!("profile"));
    lab.installs();
    let begins = |name: &str| fs::read_dir(lab.tree().root().join("dev")).map(|_| read_head(&lab, name)).unwrap();
    assert_eq!(begins("nvme1n1"), vec![0; 4096]);
    assert_eq!(begins("nvme2n1"), gpt());
}

fn read_head(lab: &Lab, name: &str) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = vec![0; 4096];
    fs::File::open(lab.tree().root().join("dev").join(name)).unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_boot_attempt_that_is_over_touches_no_disk() {
    // The first report of the phase is taken, the one before the disks isn't.
    let lab = Lab::new("over");
    lab.configure("/storage_config/data_devices/0", json!({"serial": "DATA1", "wipe": true}));
    lab.tree().content("nvme1n1", &gpt());
    lab.plane.with(|state| state.ends_at = Some((ReportPhase::Installing, 1)));
    assert_eq!(lab.fails(), "attempt_ended");
    assert_eq!(read_head(&lab, "nvme1n1"), gpt());
    assert!(!lab.installer_ran());
    assert!(lab.console().contains("not_installing"), "{}", lab.console());
}

#[test]
fn a_service_that_never_confirms_leaves_the_disks_alone() {
    let mut lab = Lab::new("unconfirmed");
    lab.limits.confirmation = Duration::from_millis(200);
    lab.limits.farewell = Duration::from_millis(100);
    // From the phase installing on, its store is away.
    lab.plane.with(|state| state.ends_at = None);
    lab.script = "true".into();
    lab.write_manifest();
    lab.plane.fault("/pxe/images/large.img", Fault::Close, 1);
    let plane = lab.plane.clone();
    let watch = thread::spawn(move || {
        while plane.heard("GET /pxe/images/large.img").is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        plane.fault("/boot/report/", Fault::Busy, 1000);
    });
    let code = lab.fails();
    watch.join().unwrap();
    assert_eq!(code, "boot_plane_away", "{}", lab.console());
    assert!(!lab.installer_ran());
}

#[test]
fn a_boot_attempt_that_ends_in_the_middle_ends_the_installer() {
    let mut lab = Lab::new("released");
    lab.script = "echo progress 10 writes; while true; do sleep 0.05; echo progress 11 writes; done".into();
    lab.plane.with(|state| state.ends_at = Some((ReportPhase::Installing, 3)));
    assert_eq!(lab.fails(), "attempt_ended");
    assert!(!lab.machine.restarted.load(Ordering::SeqCst));
}

#[test]
fn a_download_goes_on_where_it_broke() {
    let lab = Lab::new("resume");
    lab.plane.fault("/pxe/images/large.img", Fault::CutAfter(500_000), 1);
    lab.plane.fault("/pxe/images/large.img", Fault::Close, 2);
    lab.plane.fault("/pxe/images/large.img", Fault::CutAfter(700_000), 1);
    lab.installs();
    let asked = lab.plane.heard("GET /pxe/images/large.img");
    let ends: Vec<&str> = asked.iter().map(|each| each.rsplit("large.img").next().unwrap()).collect();
    assert_eq!(ends, ["", " from 500000", " from 500000", " from 500000", " from 1200000"]);
}

#[test]
fn a_file_that_never_comes_ends_the_wait_for_it() {
    let mut lab = Lab::new("never");
    lab.limits.image_stall = Duration::from_millis(50);
    lab.plane.fault("/pxe/images/large.img", Fault::Busy, 1_000_000);
    assert_eq!(lab.fails(), "image_unavailable");
}

#[test]
fn a_file_that_changed_in_between_comes_from_its_beginning() {
    let lab = Lab::new("changed");
    lab.plane.fault("/pxe/images/large.img", Fault::CutAfter(500_000), 1);
    lab.plane.fault("/pxe/images/large.img", Fault::Replaced, 1);
    lab.installs();
    assert!(lab.installer_ran());
}

#[test]
fn a_file_that_is_not_the_manifests_is_fetched_again_and_never_used() {
    let lab = Lab::new("corrupt-once");
    lab.plane.fault("/pxe/images/small.img", Fault::Corrupt, 2);
    lab.installs();

    let lab = Lab::new("corrupt");
    lab.plane.fault("/pxe/images/small.img", Fault::Corrupt, 3);
    assert_eq!(lab.fails(), "image_digest_wrong");
    assert_eq!(lab.plane.heard("GET /pxe/images/small.img").len(), 3);
    assert!(!lab.installer_ran());
    assert!(!lab.tree().root().join("run/metalform/files/small.img").exists());
}

/// What the boot script says of the manifest holds, whatever comes over the network.
#[test]
fn a_manifest_that_the_boot_script_does_not_name_is_not_used() {
    let pinned = |name: &str, digest: &dyn Fn(&[u8]) -> String| {
        let lab = Lab::new(name);
        lab.write_manifest();
        let digest = lab.plane.with(|state| digest(&state.files["manifest.json"]));
        let line = fs::read_to_string(lab.tree().root().join("proc/cmdline")).unwrap();
        lab.tree().write("proc/cmdline", &format!("{} manifest_sha256={digest}\n", line.trim_end()));
        lab
    };
    pinned("pinned", &|manifest| hex::encode(Sha256::digest(manifest))).installs();

    let lab = pinned("pinned-other", &|manifest| hex::encode(Sha256::digest([manifest, b" "].concat())));
    assert_eq!(lab.fails(), "image_digest_wrong");
    assert!(!lab.installer_ran() && lab.plane.heard("GET /pxe/images/small.img").is_empty());
    assert!(lab.console().contains("manifest.json"), "{}", lab.console());

    let lab = pinned("pinned-wrong", &|_| "0".repeat(63));
    assert_eq!(lab.fails(), "kernel_arguments");
    assert!(lab.console().contains("manifest_sha256= is no SHA-256"), "{}", lab.console());
    assert!(!lab.installer_ran());
}

#[test]
fn a_file_of_another_length_is_not_the_manifests() {
    let lab = Lab::new("longer");
    lab.write_manifest();
    lab.plane.with(|state| state.files.get_mut("small.img").unwrap().push(1));
    assert_eq!(lab.fails(), "image_digest_wrong");
    let lab = Lab::new("shorter");
    lab.write_manifest();
    lab.plane.with(|state| state.files.get_mut("small.img").unwrap().pop());
    assert_eq!(lab.fails(), "image_digest_wrong");
}

#[test]
fn a_set_without_what_is_needed_says_which() {
    let lab = Lab::new("no-file");
    lab.write_manifest();
    lab.plane.with(|state| state.files.remove("small.img"));
    assert_eq!(lab.fails(), "image_unavailable");
    for (name, old, new) in [
        ("no-recipe", "\"recipe\"", "\"template\":null,\"was\""),
        ("unlisted", "\"name\":\"small.img\"", "\"name\":\"other.img\""),
        ("format", "\"format\":1", "\"format\":2"),
        ("path", "small.img", "../small.img"),
    ] {
        let lab = Lab::new(name);
        lab.write_manifest();
        lab.plane.with(|state| {
            let manifest = state.files.get_mut("manifest.json").unwrap();
            *manifest = String::from_utf8_lossy(manifest).replace(old, new).into_bytes();
        });
        assert_eq!(lab.fails(), "manifest_invalid", "{name}");
    }
}

#[test]
fn files_that_do_not_fit_into_memory_are_not_fetched() {
    let lab = Lab::new("no-room");
    lab.tree().write("proc/meminfo", "MemTotal:       402653184 kB\nMemAvailable:   1000 kB\n");
    assert_eq!(lab.fails(), "no_room_for_images");
    assert!(lab.plane.heard("GET /pxe/images/small.img").is_empty());
}

#[test]
fn an_installer_that_fails_is_told_with_its_last_lines_and_nothing_restarts() {
    let mut lab = Lab::new("installer");
    lab.script = "echo writes; echo no space left >&2; exit 28".into();
    assert_eq!(lab.fails(), "installer_failed");
    let last = lab.plane.last();
    assert!(last.message.contains("exit code 28") && last.message.contains("no space left"), "{}", last.message);
    let log: Vec<String> = lab.plane.with(|state| state.reports.iter().flat_map(|report| report.log.clone()).collect());
    assert!(log.contains(&"no space left".to_owned()), "{log:?}");
    assert!(!lab.machine.restarted.load(Ordering::SeqCst));
}

#[test]
fn an_installer_that_prints_the_kernels_command_line_shows_no_token() {
    // That neither console nor reports have it is looked at after every boot.
    let mut lab = Lab::new("prints");
    let print = "cat \"$METALFORM_FILES/../../../proc/cmdline\"";
    lab.script = format!("{print}; echo \"progress 10 $({print})\"; exit 1");
    assert_eq!(lab.fails(), "installer_failed");
    assert!(lab.console().contains("boot_token=…"), "{}", lab.console());
}

#[test]
fn a_machine_that_starts_again_goes_on_counting() {
    let lab = Lab::new("again");
    lab.plane.with(|state| (state.last_seq, state.last_phase) = (40, Some(ReportPhase::Installing)));
    lab.installs();
    assert_eq!(lab.plane.with(|state| state.reports[0].seq), 41);
    assert_eq!(lab.plane.phases(), ALL);
}

#[test]
fn reports_whose_replies_are_lost_are_neither_lost_nor_hold_it_up() {
    let lab = Lab::new("lost-replies");
    lab.plane.fault("/boot/report/", Fault::LoseReply, 4);
    lab.installs();
    assert_eq!(lab.plane.phases(), ALL);
}

#[test]
fn where_the_system_says_it_is_installed_the_agent_does_not() {
    let mut lab = Lab::new("by-system");
    lab.installed_by = "system";
    lab.installs();
    assert_eq!(lab.plane.phases(), ALL[..4]);
}

#[test]
fn an_installed_machine_restarts_even_when_nobody_hears_of_it() {
    let mut lab = Lab::new("unheard");
    lab.limits.farewell = Duration::from_millis(100);
    lab.script = "sleep 0.2".into();
    let plane = lab.plane.clone();
    let watch = thread::spawn(move || {
        while !plane.phases().contains(&ReportPhase::Installing) {
            thread::sleep(Duration::from_millis(1));
        }
        // The gate itself has to be heard.
        while plane.with(|state| state.reports.iter().all(|report| report.message != "starts the installer")) {
            thread::sleep(Duration::from_millis(1));
        }
        plane.fault("/boot/report/", Fault::Close, 100_000);
    });
    lab.installs();
    watch.join().unwrap();
    assert!(lab.console().contains("the last reports weren't taken"), "{}", lab.console());
}

#[test]
fn a_clock_that_is_years_off_is_set_by_the_boot_planes() {
    let lab = Lab::new("clock");
    lab.plane.with(|state| state.date = "Sun, 06 Nov 1994 08:49:37 GMT".into());
    lab.installs();
    assert_eq!(lab.clock.wall.load(Ordering::SeqCst), 784_111_777);
    let found = lab.plane.with(|state| {
        state
            .reports
            .iter()
            .any(|report| report.findings().iter().any(|finding| finding.code == Code::ClockWasWrong.as_str()))
    });
    assert!(found);
}

#[test]
fn a_driver_that_fails_is_told_and_the_others_are_loaded() {
    let lab = Lab::new("drivers");
    lab.tree().write("metalform/modules/order", "# network\nnone.ko\n\nvirtio_net.ko\n/lib/other.ko\n");
    lab.tree().write("metalform/modules/virtio_net.ko", "x");
    lab.tree().write("lib/other.ko", "x");
    lab.installs();
    let booting = lab.plane.with(|state| state.reports[0].clone());
    let findings = booting.findings();
    assert_eq!(
        (findings.len(), findings[0].code.as_str(), findings[0].subject.as_str()),
        (1, "driver_failed", "none.ko")
    );
    assert!(lab.console().contains("driver /lib/other.ko is in"));
}

#[test]
fn without_a_network_the_console_is_told() {
    let lab = Lab::new("no-network");
    lab.machine.has_network.store(false, Ordering::SeqCst);
    assert_eq!(lab.fails(), "network_failed");
    insta::assert_snapshot!(lab.console().replace(env!("CARGO_PKG_VERSION"), "VERSION"), @r#"
        metalform: agent VERSION starts
        metalform: this is node-1, to be 127.0.0.1

        ==== metalform: this machine could not be installed ====
        FAILED: network: no DHCP server gave an address on eth0, 10 times over [network_failed]
            what to do: see that a DHCP server answers on this network, or give the address on the kernel's command line (ip=)
        The machine stays as it is, so that you can look; nothing restarts it but you or the service.
        ========================================================
        "#);
}

#[test]
fn without_its_words_the_console_is_told_all_that_are_missing() {
    let lab = Lab::new("no-words");
    lab.tree().write("proc/cmdline", "quiet mgmt_ip=here\n");
    assert_eq!(lab.fails(), "kernel_arguments");
    insta::assert_snapshot!(lab.console().replace(env!("CARGO_PKG_VERSION"), "VERSION"), @r#"
        metalform: agent VERSION starts

        ==== metalform: this machine could not be installed ====
        FAILED: kernel command line: node_id= is missing; config_url= is missing; boot_token= is missing; mgmt_ip=here is no IPv4 address [kernel_arguments]
            what to do: the boot script of this release sets them all: compare its template with the documents
        The machine stays as it is, so that you can look; nothing restarts it but you or the service.
        ========================================================
        "#);
}

#[test]
fn the_consoles_last_words_are_the_failure_what_else_was_found_and_what_to_do() {
    let lab = Lab::new("last-words");
    lab.configure("/storage_config/data_devices", json!([{"serial": "DATA9"}]));
    lab.tree().content("nvme0n1", &gpt());
    lab.configure("/storage_config/cvm_device", json!("/dev/nvme0n1"));
    assert_eq!(lab.fails(), "disk_missing");
    let console = lab.console();
    let (_, last) = console.split_once("\n====").unwrap();
    insta::assert_snapshot!(last, @r#"
         metalform: this machine could not be installed ====
        FAILED: data_devices[0]: it is to be serial number DATA9, and no drive is left that fits; there is /dev/nvme0n1 3200 GB model Micron_7450 serial DATA0; /dev/nvme1n1 3200 GB model Micron_7450 serial DATA1; /dev/nvme2n1 3200 GB model Micron_7450 serial DATA2; /dev/sda 960 GB model M.2 Kit serial BOOT (and 1 more) [disk_missing]
            what to do: compare data_drives in the plan with the drives listed here; where a drive is not listed at all, its driver is missing in the image set, or the drive is broken
        also found:
        FAILED: /dev/nvme0n1: the controller VM would be put on it, the plan doesn't list it, and it holds a GPT partition table [disk_has_partitions]
            what to do: if what is on it may go, say so in the plan: data_drives = [{ serial = "…", wipe = true }]; else name another drive
        The machine stays as it is, so that you can look; nothing restarts it but you or the service.
        ========================================================
        metalform: the boot plane knows of it
        "#);
}

#[test]
fn findings_are_read_back_as_they_were_sent() {
    let lab = Lab::new("read-back");
    lab.tree().write("proc/cpuinfo", "processor : 0\n");
    lab.configure("/node_config/min_cores", json!(2));
    assert_eq!(lab.boots(), Ended::Failed(lab.plane.last().failure().unwrap()));
    assert!(lab.plane.last().facts.contains_key(Report::FINDINGS));
}
