//! Boot scripts that stand in user data, what iPXE compares, and how far a boot can be trusted.

use super::{
    rig::{Rig, lock},
    transports::CutOff,
};
use axum::http::StatusCode;
use metalform_model::{Clock, kind};
use metalform_simulator::{
    fault::FaultEffect,
    fetch::{Answer, FetchResult},
    ipxe::{Effect, Firmware, Generation, Identity, Interpreter, Lease, Platform, Resume, Script},
    world::{LoggedRequest, WorldSettings},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{net::Ipv4Addr, time::Duration};

const HOUR: Duration = Duration::from_secs(3600);
const INLINE: &str = "user_data = \"inline\"\n";

fn old(settings: &mut WorldSettings) {
    settings.machines.platform = UEFI_OLD;
}

fn new(settings: &mut WorldSettings) {
    settings.machines.platform = UEFI_NEW;
}

/// Puts a set of that kernel beside the others and makes it the default one. Answers its id.
fn make_set(rig: &Rig, kernel: &[u8]) -> String {
    let (initrd, sha256) = (vec![9_u8; 300_000], |bytes: &[u8]| hex::encode(Sha256::digest(bytes)));
    let file = |name: &str, role: &str, bytes: &[u8]| json!({"name": name, "role": role, "size": bytes.len(), "sha256": sha256(bytes)});
    let files = [file("initrd-foundation.img", "initrd", &initrd), file("vmlinuz-foundation", "kernel", kernel)];
    let recipe = json!({"kind": "phoenix-ce", "command": ["/phoenix/phoenix"]});
    let manifest =
        json!({"format": 1, "name": "foundation-5", "source": "an ISO", "recipe": recipe, "files": files}).to_string();
    let id = format!("foundation-5-{}", &sha256(manifest.as_bytes())[..12]);
    let folder = rig.image(&id);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in
        [("manifest.json", manifest.as_bytes()), ("vmlinuz-foundation", kernel), ("initrd-foundation.img", &initrd)]
    {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    std::fs::write(rig.image("default"), &id).unwrap();
    id
}

async fn inline(seed: u64, change: impl FnOnce(&mut WorldSettings)) -> (Rig, String) {
    let rig = Rig::configured(seed, INLINE, change).await;
    let id = make_set(&rig, &[1; 70_000]);
    (rig, id)
}

async fn explain(rig: &Rig, server_id: &str) -> Value {
    let (status, told) = rig.call("GET", &format!("/api/v1/nodes/{server_id}/explain"), "").await;
    assert_eq!(status, StatusCode::OK, "{told:#}");
    told
}

/// What the timeline tells of a kind, a field of each.
async fn told(rig: &Rig, name: &str, kind: &str, field: &str) -> Vec<String> {
    let events = rig.events(name).await;
    let of_kind = events.iter().filter(|event| event.kind == kind);
    of_kind.map(|event| event.data[field].as_str().unwrap_or_default().to_owned()).collect()
}

fn asked(rig: &Rig, path: &str) -> usize {
    lock(&rig.overheard).iter().filter(|http| http.url.contains(path)).count()
}

/// How often machines got a kernel, as the timeline has it.
async fn kernels(rig: &Rig, name: &str) -> usize {
    let files = told(rig, name, kind::IMAGE_SERVED, "file").await;
    files.iter().filter(|file| *file == "vmlinuz-foundation").count()
}

fn struck(rig: &Rig, name: &str) -> u32 {
    let world = lock(&rig.world);
    world.faults().list().iter().filter(|armed| armed.fault.name == name).map(|armed| armed.struck).sum()
}

#[tokio::test]
async fn with_a_script_in_user_data_three_servers_become_a_cluster_and_what_they_booted_is_pinned() {
    let (mut rig, id) = inline(500, new).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;

    let script = rig.user_data("c-1");
    assert!(
        script.starts_with("#!ipxe\n") && script.contains(&format!("/images/{id}/vmlinuz-foundation ")),
        "{script}"
    );
    let digest = hex::encode(Sha256::digest([1; 70_000]));
    assert!(script.contains(&format!("set kernel-sha256 {digest}\n")));
    let manifest = std::fs::read(rig.image(&id).join("manifest.json")).unwrap();
    let pin = format!(" rdinit=/metalform/init manifest_sha256={} ", hex::encode(Sha256::digest(manifest)));
    assert!(script.contains(&pin), "{script}");
    assert_eq!(asked(&rig, "/boot/ipxe/"), 0, "no script went over the network");
    assert_eq!(asked(&rig, "/open?t="), 3);
    assert_eq!(told(&rig, "c", kind::SCRIPT_SERVED, "script").await, ["user_data"; 3]);
    assert_eq!(told(&rig, "c", kind::BOOT_STEP, "step").await, ["boot-checked"; 3]);
    let levels = told(&rig, "c", kind::BOOT_TRUST, "level").await;
    assert_eq!(levels.iter().filter(|level| *level == "pinned_and_compared").count(), 3, "{levels:?}");
    assert!(levels.iter().all(|level| level.starts_with("pinned")), "{levels:?}");
    let trust = explain(&rig, "c-1").await["boot_trust"].clone();
    assert_eq!(
        trust,
        json!({"level": "pinned_and_compared", "script": "user_data", "kernel_and_initrd": "compared", "agent": true,
            "session": true, "installer_files_compared": true})
    );
    // The deadline of the first script and the time to ready count from the question.
    let node = &rig.state("c").await.nodes[0].record;
    assert!(node.boot.script_at.is_some() && node.boot.scripts == 1);
}

#[tokio::test]
async fn by_default_user_data_is_a_url() {
    let mut rig = Rig::with(501, new).await;
    make_set(&rig, &[1; 70_000]);
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    assert!(rig.user_data("c-1").starts_with("http://10.240.0.5:8080/boot/ipxe/c-1?t="));
    assert_eq!(asked(&rig, "/boot/attempt/"), 0);
    // The default set may become another one while a machine boots: its manifest isn't bound to the script.
    let script = rig.text("/api/v1/nodes/c-1/script").await;
    assert!(script.contains("rdinit=") && !script.contains("manifest_sha256="), "{script}");
    let trust = explain(&rig, "c-1").await["boot_trust"].clone();
    assert_eq!((&trust["level"], &trust["script"]), (&json!("images_compared"), &json!("url")), "{trust}");
}

#[tokio::test]
async fn an_ipxe_that_can_not_compare_boots_all_the_same_and_that_is_told() {
    let (mut rig, _) = inline(502, old).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    assert_eq!(told(&rig, "c", kind::BOOT_STEP, "step").await, ["boot-unchecked"]);
    let trust = explain(&rig, "c-1").await["boot_trust"].clone();
    assert_eq!(
        (&trust["level"], &trust["kernel_and_initrd"]),
        (&json!("files_compared"), &json!("not_compared")),
        "{trust}"
    );
}

#[tokio::test]
async fn neither_script_nor_token_is_shown_or_kept() {
    let (mut rig, _) = inline(503, new).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_until_configured("c", 1).await;
    let secrets: Vec<String> = rig
        .user_data("c-1")
        .split(|c: char| !c.is_ascii_hexdigit())
        .filter(|word| word.len() == 64)
        .map(str::to_owned)
        .collect();
    let token = rig.boot_token("c-1");
    assert!(secrets.contains(&token));
    let shown = rig.text("/api/v1/nodes/c-1/script").await;
    assert!(
        shown.starts_with("#!ipxe\n") && shown.contains("/open?t=hidden") && shown.contains(":attempt_ask"),
        "{shown}"
    );
    let story = format!("{:?}", rig.events("c").await);
    let proof = rig.user_data("c-1").lines().rev().find_map(|line| line.strip_prefix("set proof ").map(str::to_owned));
    for secret in [token, proof.unwrap()] {
        assert!(!shown.contains(&secret) && !story.contains(&secret));
        assert!(!rig.database().windows(64).any(|bytes| bytes == secret.as_bytes()));
    }
}

/// What becomes of a machine's script if iPXE runs it now, and what it asked for. `forged`: somebody answers yes in our place.
async fn run_again(rig: &Rig, script: &str, platform: Platform, forged: bool) -> (Effect, Vec<String>) {
    let identity = Identity { uuid: uuid::Uuid::nil(), serial: "1".into(), product: "x".into(), mac: [2; 6] };
    let (ip, gateway) = (Ipv4Addr::new(10, 240, 0, 11), Ipv4Addr::new(10, 240, 0, 1));
    let lease = Lease { ip, netmask: [255, 255, 255, 0].into(), gateway, dns: gateway };
    let now = rig.clock.now();
    let mut ipxe = Interpreter::new(&identity, platform);
    let mut effect = ipxe.start(now, Script::parse(script).unwrap(), None);
    let mut asked = Vec::new();
    loop {
        let resume = match &effect {
            Effect::Http { url, .. } => {
                let path = url.strip_prefix("http://10.240.0.5:8080").unwrap();
                asked.push(path.split('?').next().unwrap().to_owned());
                let (status, text) = match forged && path.contains("/open?") {
                    true => (StatusCode::OK, "yes".to_owned()),
                    false => rig.boot_call("GET", path, "10.240.0.11", "").await,
                };
                // Of the image no more is wanted than that it is one.
                Resume::Fetched(FetchResult::Answered(Answer::new(status.as_u16(), text.into_bytes())))
            }
            Effect::Dhcp => Resume::Leased(lease),
            Effect::Sleep(_) => Resume::Done,
            _ => return (effect, asked),
        };
        effect = ipxe.resume(now, resume);
    }
}

const UEFI_OLD: Platform = Platform { firmware: Firmware::Uefi, generation: Generation::Old };
const UEFI_NEW: Platform = Platform { firmware: Firmware::Uefi, generation: Generation::New };

/// iPXE runs again, with the same script: it is told that the machine is installed, and by nothing that it would run.
#[tokio::test]
async fn an_installed_machine_that_runs_its_script_again_boots_from_its_disk() {
    let (mut rig, _) = inline(504, new).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    for platform in [UEFI_OLD, UEFI_NEW] {
        let (end, asked) = run_again(&rig, &rig.user_data("c-1"), platform, false).await;
        assert_eq!(
            (end, asked),
            (Effect::LocalDisk, vec!["/boot/attempt/c-1/open".into(), "/boot/attempt/c-1/done".into()])
        );
    }
    // Nobody is there to ask: ten minutes, and it boots from its disk as well.
    let script = rig.user_data("c-1").replace("/boot/attempt/c-1", "/boot/attempt/c-9");
    let (end, asked) = run_again(&rig, &script, UEFI_NEW, false).await;
    assert_eq!((end, asked.len()), (Effect::LocalDisk, 120));
}

/// Somebody who hasn't heard the word says yes to everybody who asks.
#[tokio::test]
async fn nobody_can_have_an_installed_machine_installed_again_by_answering_in_our_place() {
    let (mut rig, _) = inline(505, new).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    let script = rig.user_data("c-1");
    let (end, asked) = run_again(&rig, &script, UEFI_NEW, true).await;
    assert_eq!(
        (end, asked),
        (Effect::LocalDisk, vec!["/boot/attempt/c-1/open".into(), "/boot/attempt/c-1/done".into()])
    );

    // An iPXE that can't compare goes by the status, and starts the installer. Its agent is told that nothing is open.
    let (end, _) = run_again(&rig, &script, UEFI_OLD, true).await;
    assert!(matches!(end, Effect::Boot(_)), "{end:?}");
    let path = format!("/boot/session/c-1?t={}", rig.boot_token("c-1"));
    let key = r#"{"key":"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}"#;
    let (status, text) = rig.boot_call_over_tls("POST", &path, "10.240.0.11", key).await;
    assert_eq!((status.as_u16(), text.contains("not_installing")), (409, true), "{text}");
}

/// Both at once: whom the agent believes stands in user data, too, and it asks over TLS alone.
#[tokio::test]
async fn a_script_in_user_data_pins_our_authority() {
    let (mut rig, _) = inline(520, new).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    assert!(rig.user_data("c-1").contains(" ca_sha256="), "a pin");
    assert!(rig.state("c").await.nodes[0].record.boot.is_pinned);
    let asked: Vec<String> = lock(&rig.overheard).iter().map(|http| http.url.clone()).collect();
    for path in ["/boot/session/", "/boot/server/", "/boot/report/"] {
        let of_path: Vec<&String> = asked.iter().filter(|url| url.contains(path)).collect();
        assert!(!of_path.is_empty() && of_path.iter().all(|url| url.starts_with("https://")), "{asked:?}");
    }
}

/// The same in the world: a machine that restarts in the middle of its installation isn't told to go on, and is none the worse.
#[tokio::test]
async fn who_answers_in_our_place_keeps_a_machine_from_being_installed_and_gets_no_further() {
    let (mut rig, _) = inline(506, new).await;
    rig.fault_of("attempt_forged", "c-1");
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "failed", 6 * HOUR).await;
    assert!(struck(&rig, "attempt_forged") > 0);
    assert_eq!(kernels(&rig, "c").await, 0, "{}", rig.story("c").await);
    rig.mend("attempt_forged");
    let (status, _) = rig.call("POST", "/api/v1/clusters/c/retry", "").await;
    assert!(status.is_success());
    rig.run_to_again("c", "ready", 3 * HOUR).await;
}

#[tokio::test]
async fn a_retry_renders_the_script_anew_and_the_old_one_is_worth_nothing() {
    let (mut rig, before) = inline(507, new).await;
    rig.fault_of("install_fails", "c-1");
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "failed", 3 * HOUR).await;
    let (old_script, old_token) = (rig.user_data("c-1"), rig.boot_token("c-1"));
    let open = format!("/boot/attempt/c-1/open?t={old_token}");
    // A failed node is nobody's to install before somebody asks for it.
    let (status, text) = rig.boot_call("GET", &open, "10.240.0.11", "").await;
    assert_eq!((status.as_u16(), text.contains("not_now")), (503, true), "{text}");

    rig.mend("install_fails");
    let after = make_set(&rig, &[2; 70_000]);
    assert_ne!(before, after);
    let (status, _) = rig.call("POST", "/api/v1/clusters/c/retry", "").await;
    assert!(status.is_success());
    while rig.boot_token("c-1") == old_token {
        rig.run_for(Duration::from_secs(10)).await;
    }
    let script = rig.user_data("c-1");
    assert!(old_script.contains(&before) && script.contains(&after) && !script.contains(&before));
    let (status, text) = rig.boot_call("GET", &open, "10.240.0.11", "").await;
    assert_eq!((status.as_u16(), text.contains("token_wrong")), (403, true), "{text}");
    rig.run_to("c", "ready", 3 * HOUR).await;
    let open = format!("/boot/attempt/c-1/open?t={}", rig.boot_token("c-1"));
    let (status, text) = rig.boot_call("GET", &open, "10.240.0.11", "").await;
    assert_eq!((status.as_u16(), text.contains("installed")), (409, true), "{text}");
}

/// The default set is another one before the machines are on.
#[tokio::test]
async fn what_a_script_names_is_served_whatever_the_default_has_become() {
    let (mut rig, first) = inline(508, new).await;
    rig.deploy(&rig.plan("c", 3)).await;
    while rig.servers_ordered().len() < 3 {
        rig.run_for(Duration::from_secs(1)).await;
    }
    assert_eq!(kernels(&rig, "c").await, 0, "too late to try it");
    let second = make_set(&rig, &[2; 70_000]);
    rig.run_to("c", "ready", 3 * HOUR).await;
    assert!(rig.user_data("c-1").contains(&first) && !rig.user_data("c-1").contains(&second));
    assert_eq!(told(&rig, "c", kind::BOOT_STEP, "step").await, ["boot-checked"; 3]);
    let opened = told(&rig, "c", kind::BOOT_ATTEMPT_OPENED, "image_set").await;
    assert_eq!(opened, [first.as_str(); 3]);
}

#[tokio::test]
async fn another_kernel_on_the_wire_is_never_booted_by_a_script_that_compares() {
    let (mut rig, _) = inline(509, new).await;
    rig.fault_of("kernel_changed", "c-1");
    rig.deploy(&rig.plan("c", 1)).await;
    while told(&rig, "c", kind::BOOT_STEP, "step").await.len() < 2 {
        rig.run_for(Duration::from_secs(10)).await;
    }
    let steps = told(&rig, "c", kind::BOOT_STEP, "step").await;
    assert!(steps.iter().all(|step| step == "error-kernel-digest"), "{steps:?}");
    let told_now = explain(&rig, "c-1").await;
    assert_eq!(told_now["diagnoses"][0]["code"], "image_changed", "{told_now:#}");
    assert_eq!(told_now["boot_trust"]["kernel_and_initrd"], "differ", "{told_now:#}");
    // Thirty rounds, a restart, and again, until the node has had its time.
    rig.run_to("c", "failed", 6 * HOUR).await;
    assert!(rig.state("c").await.nodes[0].record.boot.config_at.is_none(), "nothing was started");
    assert_eq!(asked(&rig, "/boot/session/"), 0);

    // Once nobody is in between it goes on.
    rig.mend("kernel_changed");
    let (status, _) = rig.call("POST", "/api/v1/clusters/c/retry", "").await;
    assert!(status.is_success());
    rig.run_to_again("c", "ready", 3 * HOUR).await;
}

#[tokio::test]
async fn another_kernel_on_the_wire_is_recorded_as_unverified_where_ipxe_can_not_compare() {
    let (mut rig, _) = inline(510, old).await;
    rig.fault_of("kernel_changed", "c-1");
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_until_configured("c", 1).await;
    assert!(struck(&rig, "kernel_changed") > 0);
    let trust = explain(&rig, "c-1").await["boot_trust"].clone();
    assert_eq!(
        (&trust["level"], &trust["kernel_and_initrd"]),
        (&json!("unverified"), &json!("not_compared")),
        "{trust}"
    );
}

/// Where the script is fetched, whoever changes the kernel changes what it is compared with, too. In user data there is nothing
/// to change.
#[tokio::test]
async fn another_script_on_the_wire_goes_unseen_where_it_is_fetched_and_there_is_none_where_it_is_not() {
    let mut rig = Rig::with(511, new).await;
    make_set(&rig, &[1; 70_000]);
    rig.fault_of("kernel_changed", "c-1");
    rig.fault_of("script_changed", "c-1");
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_until_configured("c", 1).await;
    assert_eq!(told(&rig, "c", kind::BOOT_STEP, "step").await, ["boot"]);
    let trust = explain(&rig, "c-1").await["boot_trust"].clone();
    assert_eq!((&trust["level"], &trust["kernel_and_initrd"]), (&json!("unverified"), &json!("not_told")), "{trust}");

    let (mut rig, _) = inline(512, new).await;
    rig.fault_of("script_changed", "c-1");
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    assert_eq!(struck(&rig, "script_changed"), 0);
}

#[tokio::test]
async fn a_script_that_user_data_can_not_hold_is_refused_before_anything_is_ordered() {
    let templates = std::env::temp_dir().join(format!("metalform-long-template-{}", std::process::id()));
    std::fs::create_dir_all(&templates).unwrap();
    std::fs::write(templates.join("foundation.ipxe"), format!("#!ipxe\n{}", "echo filling\n".repeat(5000))).unwrap();
    let rig = Rig::with_templates(513, INLINE, &templates).await;
    make_set(&rig, &[1; 70_000]);
    let (status, answer) = rig.call("POST", "/api/v1/clusters", &rig.plan("c", 1).to_string()).await;
    std::fs::remove_dir_all(&templates).unwrap();
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (422, &json!("user_data_too_long")), "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains(" bytes, and user data holds 65536"), "{message}");
    assert_eq!(rig.alive(), []);
}

/// What a lost answer was to be is found by its name, and what it was given isn't asked for again.
#[tokio::test]
async fn a_lost_answer_orders_nothing_twice() {
    for (seed, fault) in [(514, "server_reply_lost"), (515, "server_request_lost")] {
        let (mut rig, _) = inline(seed, new).await;
        rig.deploy(&rig.plan("c", 3)).await;
        rig.fault(fault);
        rig.run_to("c", "ready", 4 * HOUR).await;
        ordered_once(&rig, fault);
    }
    let (mut rig, _) = inline(516, new).await;
    rig.fault_of("install_fails", "c-1");
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "failed", 3 * HOUR).await;
    rig.mend("install_fails");
    rig.fault("reinitialize_reply_lost");
    let (status, _) = rig.call("POST", "/api/v1/clusters/c/retry", "").await;
    assert!(status.is_success());
    rig.run_to_again("c", "ready", 4 * HOUR).await;
    ordered_once(&rig, "reinitialize_reply_lost");
    assert_eq!(rig.requests("PUT", "/initialization").len(), 1, "{}", rig.story("c").await);
}

fn ordered_once(rig: &Rig, what: &str) {
    for (server, times) in rig.servers_ordered() {
        assert_eq!(times, 1, "{what}: {server}");
    }
}

/// The process dies while a server is being ordered, before and after the cloud has made it.
#[tokio::test]
async fn a_death_in_an_order_is_survived_with_the_script_that_was_sent() {
    let (mut quiet, _) = inline(517, new).await;
    quiet.deploy(&quiet.plan("c", 3)).await;
    let before = lock(&quiet.world).requests().count();
    quiet.run_to("c", "ready", 3 * HOUR).await;
    let orders: Vec<u64> = {
        let world = lock(&quiet.world);
        let after = world.requests().skip(before).enumerate();
        let is_order = |r: &&LoggedRequest| r.method == "POST" && r.path.ends_with("/bare_metal_servers");
        after.filter(|(_, r)| is_order(r)).map(|(at, _)| at as u64).collect()
    };
    assert_eq!(orders.len(), 3);
    for at in orders {
        for carried_out in [false, true] {
            let (mut rig, _) = inline(517, new).await;
            rig.deploy(&rig.plan("c", 3)).await;
            let surveyed = *lock(&rig.wire.requests);
            lock(&rig.wire.cut_offs).push(CutOff { at: at + surveyed, carried_out });
            rig.run_to("c", "ready", 4 * HOUR).await;
            assert_eq!(rig.deaths, 1, "{at} {carried_out}");
            ordered_once(&rig, &format!("{at} {carried_out}"));
            assert_eq!(told(&rig, "c", kind::BOOT_STEP, "step").await, ["boot-checked"; 3]);
        }
    }
}

#[tokio::test]
async fn a_set_without_a_manifest_is_warned_of_and_boots() {
    let mut rig = Rig::configured(518, INLINE, new).await;
    let (status, answer) = rig.call("POST", "/api/v1/clusters?dry_run=true", &rig.plan("c", 1).to_string()).await;
    assert!(status.is_success() && answer.to_string().contains("images_not_pinned"), "{answer}");
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    assert_eq!(told(&rig, "c", kind::BOOT_STEP, "step").await, ["boot"]);
    assert!(rig.user_data("c-1").contains("kernel ${base-url}/images/vmlinuz-foundation "));
}

/// Whatever becomes of the set between the opening of the attempt and the order: no script goes out that compares nothing where
/// it should.
#[tokio::test]
async fn a_manifest_that_is_gone_makes_no_script_that_compares_nothing() {
    let (mut rig, id) = inline(520, new).await;
    rig.fault("cloud_error");
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_for(Duration::from_secs(1)).await;
    assert!(rig.state("c").await.nodes[0].record.attempt.is_some() && rig.servers_ordered().is_empty());
    let manifest = rig.image(&id).join("manifest.json");
    let kept = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    rig.run_for(Duration::from_secs(600)).await;
    assert!(rig.servers_ordered().is_empty(), "{}", rig.story("c").await);
    let trouble = rig.state("c").await.nodes[0].record.trouble.clone().unwrap();
    assert!(trouble.error.contains(&id) && trouble.error.contains("manifest"), "{trouble:?}");
    std::fs::write(&manifest, kept).unwrap();
    rig.run_to("c", "ready", 3 * HOUR).await;
    assert_eq!(told(&rig, "c", kind::BOOT_STEP, "step").await, ["boot-checked"]);
}

#[test]
fn the_faults_on_the_wire_are_faults_of_machines() {
    for name in ["kernel_changed", "script_changed", "attempt_forged"] {
        let fault = metalform_simulator::fault::builtin(name).unwrap();
        assert!(matches!(fault.effect, FaultEffect::Machine(_)) && fault.times.is_none(), "{name}");
    }
}

/// Plain images with a manifest have no id that their script could name, and the manifest's digest all the same.
#[tokio::test]
async fn the_manifest_of_plain_images_is_pinned_too() {
    let mut rig = Rig::configured(521, INLINE, new).await;
    super::installers::write_set(&rig, "foundation", &[]);
    let (_, answer) = rig.call("POST", "/api/v1/clusters?dry_run=true", &rig.plan("c", 1).to_string()).await;
    assert!(!answer.to_string().contains("_not_pinned"), "{answer}");
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    let manifest = std::fs::read(rig.image("manifest.json")).unwrap();
    let pin = format!(" rdinit=/metalform/init manifest_sha256={} ", hex::encode(Sha256::digest(manifest)));
    assert!(rig.user_data("c-1").contains(&pin), "{}", rig.user_data("c-1"));
}

/// Kernel and initrd are compared then; nobody compares what the installer fetches, and it asks in the clear.
#[tokio::test]
async fn a_script_in_user_data_that_starts_no_agent_is_warned_of() {
    let rig = Rig::configured(522, INLINE, new).await;
    super::installers::write_set_without_agent(&rig, "foundation");
    let (status, answer) = rig.call("POST", "/api/v1/clusters?dry_run=true", &rig.plan("c", 1).to_string()).await;
    let text = answer.to_string();
    assert!(
        status.is_success() && text.contains("installer_not_pinned") && !text.contains("images_not_pinned"),
        "{text}"
    );
}
