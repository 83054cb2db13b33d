//! Deployments under random faults and random deaths of the process. Each seed is one run, and the same seed is the same
//! run; `METALFORM_SEEDS=1000` makes as many (`cargo xtask nightly`), `METALFORM_FIRST_SEED=n` begins elsewhere.

#![expect(clippy::print_stderr, reason = "captured, and shown when the test fails")]

use super::{
    rig::{Rig, lock},
    transports::CutOff,
};
use axum::http::StatusCode;
use metalform_model::Timestamp;
use metalform_simulator::{cvm::CvmProfile, fault::builtin};
use std::{collections::BTreeMap, time::Duration};

const HOUR: Duration = Duration::from_secs(3600);

/// What may go wrong: some of it passes by itself, some of it needs the operator once the world is mended.
const FAULTS: &[&str] = &[
    "rate_limited",
    "cloud_error",
    "cloud_unavailable",
    "create_conflict",
    "token_rejected",
    "forbidden",
    "server_reply_lost",
    "vni_reply_lost",
    "address_reply_lost",
    "delete_reply_lost",
    "server_request_lost",
    "slow_cloud",
    "server_fails",
    "server_never_boots",
    "delete_lingers",
    "list_lag",
    "machine_never_boots",
    "dhcp_fails",
    "machine_boots_twice",
    "download_breaks",
    "wrong_digest",
    "installer_hangs",
    "install_fails",
    "reports_lost",
    "cvm_html_errors",
    "formation_fails_once",
    "create_reply_lost",
    "vip_late",
    "reinitialize_reply_lost",
    "reinitialize_fails",
    "ssh_cut",
    "cvm_reboots_in_create",
    "node_undiscovered",
    "iptables_fails",
    "zeus_mapping_fails",
    "initialization_fails",
    "operation_failed",
    "zeus_never_ready",
    "destroy_leaves_node",
    "service_flaps",
    "blocked_pair",
    "clock_skew",
    "duplicate_address",
    "one_ssd",
];

/// A small generator of our own: a run must stay the same whatever a library does.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test]
async fn nightly_whatever_goes_wrong_the_cluster_is_formed_in_the_end_and_goes_without_a_trace() {
    let first = number_from("METALFORM_FIRST_SEED", 1);
    for seed in first..first + number_from("METALFORM_SEEDS", 25) {
        // Captured, and shown when the test fails.
        eprintln!("METALFORM_FIRST_SEED={seed}");
        one_run(seed).await;
    }
}

async fn one_run(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..4 {
        random.below(2);
    }
    let profile = [CvmProfile::Documented, CvmProfile::Observed][random.below(2) as usize];
    let mut rig = Rig::with(seed, |settings| settings.cvms.profile = profile).await;
    let nodes = [1, 3, 3, 4][random.below(4) as usize];
    rig.deploy(&rig.plan("c", nodes)).await;
    let mut story = Vec::new();
    for _ in 0..random.below(4) {
        let name = FAULTS[random.below(FAULTS.len() as u64) as usize];
        let mut fault = builtin(name).unwrap_or_else(|| panic!("no built-in fault is named {name}"));
        fault.skip += random.below(4) as u32;
        story.push(format!("{name} after {}", fault.skip));
        lock(&rig.world).add_fault(fault);
    }
    let now = *lock(&rig.wire.requests);
    for _ in 0..random.below(4) {
        let cut_off = CutOff { at: now + random.below(300), carried_out: random.below(2) == 0 };
        story.push(format!("{cut_off:?}"));
        lock(&rig.wire.cut_offs).push(cut_off);
    }
    eprintln!("{profile:?}, {nodes} nodes; {}", story.join(", "));

    for attempt in 1.. {
        rig.run_to_settled("c", 8 * HOUR).await;
        match rig.phase("c").await {
            "ready" => {
                let defaults = lock(&rig.world).accepted_passwords(&["admin", "nutanix/4u", "Nutanix/4u"]);
                // A node that failed on the way is no part of the cluster, and is as it was.
                let state = rig.state("c").await;
                let members = state.record.formation.as_ref().map(|a| a.members.clone()).unwrap_or_default();
                let others = state.nodes.iter().filter(|n| !members.contains(&n.record.server_id));
                let ips: Vec<String> = others
                    .flat_map(|n| [n.record.cvm_ip, n.record.ahv_ip])
                    .flatten()
                    .map(|ip| format!(" {ip} "))
                    .collect();
                let left: Vec<&String> =
                    defaults.iter().filter(|place| !ips.iter().any(|ip| place.contains(ip.as_str()))).collect();
                assert_eq!(left, [] as [&String; 0], "{}", rig.story("c").await);
                break;
            }
            _ if attempt < 6 => {
                for name in FAULTS {
                    rig.mend(name);
                }
                let (status, answer) = rig.call("POST", "/api/v1/clusters/c/retry", "").await;
                assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
            }
            phase => panic!("the sixth retry in a mended world ends in {phase}:\n{}", rig.story("c").await),
        }
    }
    let (status, _) = rig.call("DELETE", "/api/v1/clusters/c", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    rig.run_to("c", "released", 8 * HOUR).await;
    assert_eq!(rig.alive(), [], "{}", rig.story("c").await);

    let taken = rig.requests("POST", "/v2.0/clusters").into_iter().filter(|status| *status == 200).count();
    assert!(taken <= 1, "the cluster was formed {taken} times:\n{}", rig.story("c").await);
    check_no_two_lived_at_once(&rig, &rig.story("c").await);
    let seqs: Vec<i64> = rig.events("c").await.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>(), "the timeline has no gaps");
}

/// Nothing was there twice: of each name, one is gone before the next is made.
fn check_no_two_lived_at_once(rig: &Rig, story: &str) {
    let mut lives: BTreeMap<(&str, String), Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
    for entry in lock(&rig.world).ledger() {
        let life = (entry.created_at, entry.deleted_at.unwrap_or(Timestamp::NEVER));
        lives.entry((entry.kind, entry.name)).or_default().push(life);
    }
    for ((kind, name), mut lives) in lives {
        lives.sort();
        let apart = lives.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        assert!(apart, "two of {kind} {name} lived at once: {lives:?}\n{story}");
    }
}
