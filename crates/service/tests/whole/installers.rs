//! Which script a node boots, what its installer is told and tells, and how a node explains itself.

use super::rig::Rig;
use axum::http::StatusCode;
use metalform_model::kind;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Makes the plain images of a rig a set that says of itself what an installer's does, with all of its files but `without`.
pub fn write_set(rig: &Rig, template: &str, without: &[&str]) {
    write_manifest(rig, template, without, json!({"kind": "phoenix-ce", "command": ["/phoenix/phoenix"]}));
}

/// The same without our agent, so that its installer boots by itself.
pub fn write_set_without_agent(rig: &Rig, template: &str) {
    write_manifest(rig, template, &[], Value::Null);
}

fn write_manifest(rig: &Rig, template: &str, without: &[&str], recipe: Value) {
    for name in ["AHV.iso", "AOS.tar.gz", "squashfs.img"] {
        std::fs::write(rig.image(name), name).unwrap();
    }
    // Sorted by name, as a manifest is.
    let files = [
        ("AHV.iso", "hypervisor_iso"),
        ("AOS.tar.gz", "installer"),
        ("initrd-foundation.img", "initrd"),
        ("squashfs.img", "squashfs"),
        ("vmlinuz-foundation", "kernel"),
    ];
    let files = files.into_iter().filter(|(name, _)| !without.contains(name)).map(|(name, role)| {
        let bytes = std::fs::read(rig.image(name)).unwrap();
        json!({"name": name, "role": role, "size": bytes.len(), "sha256": hex::encode(Sha256::digest(&bytes))})
    });
    let manifest = json!({
        "format": 1, "name": "ce-2.1", "source": "an ISO", "template": template,
        "recipe": recipe, "files": files.collect::<Vec<Value>>(),
    });
    std::fs::write(rig.image("manifest.json"), manifest.to_string()).unwrap();
}

async fn explain(rig: &Rig, server_id: &str) -> Value {
    let (status, told) = rig.call("GET", &format!("/api/v1/nodes/{server_id}/explain"), "").await;
    assert_eq!(status, StatusCode::OK, "{told:#}");
    told
}

async fn steps(rig: &Rig, name: &str) -> Vec<String> {
    let events = rig.events(name).await;
    let of_kind = events.iter().filter(|event| event.kind == kind::BOOT_STEP);
    of_kind.map(|event| event.data["step"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_image_set_says_by_its_manifest_how_its_machines_boot() {
    let mut rig = Rig::new(40).await;
    write_set(&rig, "phoenix-ce", &[]);
    rig.deploy(&rig.plan("ce", 3)).await;
    rig.run_until_configured("ce", 3).await;
    let script = rig.text("/api/v1/nodes/ce-1/script").await;
    for argument in [
        "rdinit=/metalform/init",
        &format!("ca_sha256={}", rig.ca_sha256()),
        "init=/ce_installer",
        "LIVEFS_URL=${base-url}/images/squashfs.img",
        "AZ_CONF_URL=http://10.240.0.5:8080/boot/arizona/10.240.0.11?t=hidden",
        "MASK=255.255.255.0",
        "GATEWAY=10.240.0.1",
        "boot_token=hidden",
    ] {
        assert!(script.split_whitespace().any(|word| word == argument), "{argument} in {script}");
    }
    // The simulated machines ran that very script, and told when they left it.
    assert_eq!(steps(&rig, "ce").await, ["boot-unchecked"; 3]);
    rig.run_to("ce", "ready", 3 * HOUR).await;
}

#[tokio::test]
async fn without_a_manifest_machines_boot_the_built_in_script_and_have_no_arizona_document() {
    let mut rig = Rig::by_token(41).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_until_configured("c", 1).await;
    let script = rig.text("/api/v1/nodes/c-1/script").await;
    assert!(script.contains("Starting Nutanix Foundation") && !script.contains("rdinit="), "{script}");
    assert!(script.contains(" images_url=${base-url}/images "), "{script}");
    let path = format!("/boot/arizona/10.240.0.11?t={}", rig.boot_token("c-1"));
    let (status, answer) = rig.boot_call("GET", &path, "10.240.0.11", "").await;
    assert!(status == StatusCode::NOT_FOUND && answer.contains("no_arizona"), "{answer}");
}

#[tokio::test]
async fn an_image_set_that_gives_no_script_is_refused_before_anything_is_ordered() {
    let rig = Rig::new(42).await;
    let plan = rig.plan("c", 3).to_string();
    write_set(&rig, "nobody's", &[]);
    let (status, answer) = rig.call("POST", "/api/v1/clusters", &plan).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (422, &json!("unknown_template")), "{answer}");
    write_set(&rig, "phoenix-ce", &["squashfs.img"]);
    let (status, answer) = rig.call("POST", "/api/v1/clusters", &plan).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (422, &json!("no_script")), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("squashfs"), "{answer}");
    assert_eq!(rig.alive(), []);

    write_set(&rig, "phoenix-ce", &[]);
    let (status, answer) = rig.call("POST", "/api/v1/clusters?dry_run=true", &plan).await;
    assert!(status.is_success() && answer.to_string().contains("eula_not_accepted"), "{answer}");
}

/// The installer of Nutanix CE alone: no agent reports.
#[tokio::test]
async fn an_installer_leads_its_node_to_installed_by_its_callbacks_alone() {
    let mut rig = Rig::by_token(43).await;
    write_set_without_agent(&rig, "phoenix-ce");
    rig.deploy(&rig.plan("ce", 1)).await;
    // The simulated installer is one with our agent: it says nothing, and gets no further than its configuration.
    rig.fault_of("reports_lost", "ce-1");
    rig.fault_of("installer_hangs", "ce-1");
    rig.run_until_configured("ce", 1).await;
    let (from, url) = ("10.240.0.11", format!("?t={}", rig.boot_token("ce-1")));
    let (status, arizona) = rig.boot_call("GET", &format!("/boot/arizona/{from}{url}"), from, "").await;
    assert_eq!(status, StatusCode::OK, "{arizona}");
    let arizona: Value = serde_json::from_str(&arizona).unwrap();
    assert_eq!(arizona["svm_installer_url"]["url"], "http://10.240.0.5:8080/pxe/images/AOS.tar.gz");
    assert_eq!(arizona["ce_eula_accepted"], false);
    let root =
        arizona["monitoring_url_root"].as_str().unwrap().strip_prefix("http://10.240.0.5:8080").unwrap().to_owned();

    let steps = [
        ("Will+run+CVM+Installer+in+a+while", ""),
        ("Running+CVM+Installer", ""),
        ("info", "copying"),
        ("Rebooting+node.+This+may+take+several+minutes", ""),
        ("Running+firstboot+scripts", ""),
        ("Last+reboot+complete", ""),
    ];
    for (offset, (step, text)) in steps.into_iter().enumerate() {
        let path = format!("{root}&step={step}&offset={offset}");
        for _ in 0..2 {
            // Sent twice, as after a lost answer.
            let (status, answer) = rig.boot_call("POST", &path, from, text).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            rig.settled().await;
        }
    }
    assert_eq!(rig.phase_of("ce", 0).await, "waiting_for_cvm", "{}", rig.story("ce").await);
    let events = rig.events("ce").await;
    let told: Vec<String> = events
        .iter()
        .filter(|event| event.kind == kind::NODE_REPORT)
        .map(|event| format!("{} {} {}", event.data["seq"], event.data["report"].as_str().unwrap(), event.data["log"]))
        .collect();
    assert_eq!(
        told,
        [
            "1 installing []",
            "2 installing []",
            "3 installing [\"info: copying\"]",
            "4 rebooting []",
            "5 rebooting []",
            "6 installed []",
        ]
    );
}

#[tokio::test]
async fn what_stopped_an_installer_is_its_nodes_failure_by_code_reason_and_hint() {
    let mut rig = Rig::by_token(44).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_until_configured("c", 1).await;
    let found = json!({"code": "disk_missing", "verdict": "failed", "subject": "/dev/nvme2n1",
        "reason": "no drive matches", "hint": "name another drive"});
    let fine = json!({"code": "memory", "verdict": "ok", "subject": "memory", "reason": "384 GiB"});
    let report = json!({"seq": 1000, "phase": "failed", "status": "failed", "message": "checks failed",
        "facts": {"failure": found, "findings": [fine, found]}});
    let path = format!("/boot/report/c-1?t={}", rig.boot_token("c-1"));
    let (status, answer) = rig.boot_call("POST", &path, "10.240.0.11", &report.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    rig.settled().await;

    let (_, node) = rig.call("GET", "/api/v1/nodes/c-1", "").await;
    let words = ["phase", "failure", "reason", "hint"].map(|key| node[key].as_str().unwrap_or_default().to_owned());
    assert_eq!(words, ["failed", "disk_missing", "/dev/nvme2n1: no drive matches", "name another drive"]);
    let told = explain(&rig, "c-1").await;
    assert_eq!(told["findings"], json!([fine, found]));
    assert_eq!(told["diagnoses"][0]["code"], "disk_missing");
}

#[tokio::test]
async fn a_script_that_fails_tells_its_error() {
    let mut rig = Rig::new(45).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.fault("download_breaks");
    rig.run_until_configured("c", 1).await;
    assert_eq!(steps(&rig, "c").await, ["error-0x1d0c6539", "boot"]);
}

#[tokio::test]
async fn a_node_explains_what_was_refused_and_what_is_missing() {
    let mut rig = Rig::new(46).await;
    rig.deploy(&rig.plan("c", 1)).await;
    let kernel = rig.image("vmlinuz-foundation");
    let aside = rig.image("aside");
    // Without a kernel there is no script. Between the two lies the script's own DHCP.
    while rig.state("c").await.nodes[0].record.boot.script_at.is_none() {
        rig.run_for(Duration::from_secs(1)).await;
    }
    std::fs::rename(&kernel, &aside).unwrap();
    while rig.state("c").await.nodes[0].record.boot.refused.is_none() {
        rig.run_for(Duration::from_secs(10)).await;
    }
    let told = explain(&rig, "c-1").await;
    assert_eq!(
        (&told["phase"], &told["diagnoses"][0]["code"]),
        (&json!("imaging"), &json!("unknown_image")),
        "{told:#}"
    );
    std::fs::rename(&aside, &kernel).unwrap();
    rig.run_until_configured("c", 1).await;
    assert_eq!(explain(&rig, "c-1").await["diagnoses"][0]["code"], "as_expected");

    let path = format!("/boot/server/10.240.0.11?t={}", rig.boot_token("c-1"));
    rig.boot_call("GET", &path, "10.240.0.99", "").await;
    rig.settled().await;
    let told = explain(&rig, "c-1").await;
    let last = told["seen"].as_array().unwrap().iter().map(|seen| seen["what"].as_str().unwrap());
    assert!(
        last.clone()
            .any(|what| what == "10.240.0.99 was refused [foreign_address] when it asked for the configuration")
    );
    assert!(!told.to_string().contains(&rig.boot_token("c-1")));
    let (status, answer) = rig.call("GET", "/api/v1/nodes/nobody/explain", "").await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!("unknown_node")));
}

/// Unreadable isn't absent: a script made without the manifest would start no agent, pin nothing and compare nothing.
#[tokio::test]
async fn a_set_that_can_not_be_read_for_a_moment_makes_no_script_without_its_pins() {
    let mut rig = Rig::pinned(47).await;
    rig.deploy(&rig.plan("c", 1)).await;
    let (manifest, aside) = (rig.image("manifest.json"), rig.image("aside"));
    while rig.servers_ordered().is_empty() {
        rig.run_for(Duration::from_secs(1)).await;
    }
    std::fs::rename(&manifest, &aside).unwrap();
    std::fs::create_dir(&manifest).unwrap();
    rig.run_until_powered_on("c-1").await;
    rig.run_for(Duration::from_secs(300)).await;
    let record = rig.state("c").await.nodes[0].record.clone();
    assert_eq!((record.boot.scripts, record.boot.script_at), (0, None), "{}", rig.story("c").await);

    // Whoever has the token already is given nothing in the clear meanwhile.
    let path = format!("/boot/server/10.240.0.11?t={}", rig.boot_token("c-1"));
    let (status, text) = rig.boot_call("GET", &path, "10.240.0.11", "").await;
    assert_eq!((status.as_u16(), text.contains("tls_required")), (403, true), "{text}");
    let path = format!("/boot/ipxe/c-1?t={}", rig.boot_token("c-1"));
    let (status, text) = rig.boot_call("GET", &path, "10.240.0.11", "").await;
    assert_eq!((status.as_u16(), text.contains("[image_set_unreadable]")), (503, true), "{text}");

    let told = rig.events("c").await.into_iter().filter(|event| event.kind == "script_held").collect::<Vec<_>>();
    assert_eq!(told.len(), 1, "once for each reason: {told:?}");
    assert!(told[0].message.contains("manifest.json"), "{told:?}");
    let diagnosis = explain(&rig, "c-1").await["diagnoses"][0].clone();
    assert_eq!(diagnosis["code"], "image_set_unreadable", "{diagnosis}");
    assert!(diagnosis["cause"].as_str().unwrap().contains("manifest.json"), "{diagnosis}");
    let (status, answer) = rig.call("GET", "/api/v1/nodes/c-1/script", "").await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (503, &json!("image_set_unreadable")));

    // A folder that is empty, as one whose drive is away, and half a set are no set either.
    std::fs::remove_dir(&manifest).unwrap();
    let kernel = rig.image("vmlinuz-foundation");
    std::fs::rename(&kernel, rig.image("kernel-aside")).unwrap();
    rig.run_for(Duration::from_secs(60)).await;
    assert_eq!(rig.state("c").await.nodes[0].record.boot.scripts, 0);
    std::fs::rename(rig.image("kernel-aside"), &kernel).unwrap();
    std::fs::rename(&aside, &manifest).unwrap();
    rig.run_until_configured("c", 1).await;
    let boot = rig.state("c").await.nodes[0].record.boot.clone();
    assert!(boot.is_pinned && boot.scripts == 1, "{}", rig.story("c").await);
    assert_eq!(explain(&rig, "c-1").await["diagnoses"][0]["code"], "as_expected");
}
