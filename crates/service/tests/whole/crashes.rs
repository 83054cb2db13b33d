//! The process dies: at each request to the world in turn, before and after the world has carried it out. A new process on
//! the same store goes on; nothing is ordered twice, nothing is forgotten, the cluster is formed once.

use super::{
    formation::creates,
    rig::{Rig, lock},
    transports::CutOff,
};
use axum::http::StatusCode;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// One life with deaths: to `ready`, then gone.
async fn live_through(seed: u64, cut_offs: &[CutOff]) -> u64 {
    let mut rig = Rig::new(seed).await;
    rig.deploy(&rig.plan("c", 3)).await;
    let surveyed = *lock(&rig.wire.requests);
    lock(&rig.wire.cut_offs).extend(cut_offs.iter().map(|c| CutOff { at: c.at + surveyed, ..*c }));
    rig.run_to("c", "ready", 4 * HOUR).await;
    let requests = *lock(&rig.wire.requests) - surveyed;
    for (server, times) in rig.servers_ordered() {
        assert_eq!(times, 1, "{server} was ordered {times} times:\n{}", rig.story("c").await);
    }
    let taken = rig.requests("POST", "/v2.0/clusters").into_iter().filter(|status| *status == 200).count();
    assert_eq!(taken, 1, "the cluster is formed once:\n{}", rig.story("c").await);
    assert_eq!(rig.requests("PUT", "/initialization"), [] as [u16; 0]);
    let (status, _) = rig.call("DELETE", "/api/v1/clusters/c", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    rig.run_to("c", "released", 4 * HOUR).await;
    assert_eq!(rig.alive(), [], "{}", rig.story("c").await);
    requests
}

/// Which requests of a quiet run change the world, and so are worth dying at. All others are looks.
async fn requests_that_change(seed: u64) -> Vec<u64> {
    let mut rig = Rig::new(seed).await;
    rig.deploy(&rig.plan("c", 3)).await;
    let before = lock(&rig.world).requests().count();
    rig.run_to("c", "ready", 4 * HOUR).await;
    rig.call("DELETE", "/api/v1/clusters/c", "").await;
    rig.run_to("c", "released", 4 * HOUR).await;
    let world = lock(&rig.world);
    let after = world.requests().skip(before).enumerate();
    after.filter(|(_, r)| r.method != "GET").map(|(i, _)| i as u64).collect()
}

#[tokio::test]
async fn a_death_at_any_request_that_changes_the_world_changes_nothing_in_the_end() {
    let places = requests_that_change(40).await;
    assert!(places.len() > 20, "addresses, interfaces, servers, formation and the way back: {places:?}");
    for at in places {
        for carried_out in [false, true] {
            live_through(40, &[CutOff { at, carried_out }]).await;
        }
    }
}

/// What an observed world's formation changes: passwords, the create, the time zone.
async fn formation_requests(seed: u64) -> Vec<u64> {
    let mut rig = Rig::observed(seed).await;
    rig.deploy(&rig.plan("c", 3)).await;
    let surveyed = *lock(&rig.wire.requests);
    rig.run_to("c", "ready", 4 * HOUR).await;
    lock(&rig.wire.changes).iter().map(|at| at - surveyed).collect()
}

#[tokio::test]
async fn a_death_at_any_change_on_the_nodes_forms_one_cluster_and_leaves_no_default_password() {
    let places = formation_requests(41).await;
    assert!(places.len() > 15, "passwords, create, time zone: {places:?}");
    for at in places {
        for carried_out in [false, true] {
            let mut rig = Rig::observed(41).await;
            rig.deploy(&rig.plan("c", 3)).await;
            let surveyed = *lock(&rig.wire.requests);
            lock(&rig.wire.cut_offs).push(CutOff { at: at + surveyed, carried_out });
            rig.run_to("c", "ready", 5 * HOUR).await;
            assert_eq!(rig.deaths, 1, "{at} {carried_out}");
            assert_eq!(creates(&rig), 1, "{at} {carried_out}:\n{}", rig.story("c").await);
            let defaults = lock(&rig.world).accepted_passwords(&["admin", "nutanix/4u", "Nutanix/4u"]);
            assert_eq!(defaults, [] as [String; 0], "{at} {carried_out}");
        }
    }
}
