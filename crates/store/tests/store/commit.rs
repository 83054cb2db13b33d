//! The loop's writes: all of a step or nothing, and only under a valid fence.

use crate::rig::*;
use metalform_model::*;
use metalform_store::{Changes, Lease, OperatorRequest, Store, StoreError};

#[tokio::test]
async fn a_step_is_written_whole() {
    let store = Store::in_memory().await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let lease = lease(&store, id).await;
    let before = state(&store, id).await;
    let (mut record, mut node) = (before.record.clone(), before.nodes[1].record.clone());
    record.enter(ClusterPhase::Forming, "now".into(), T0);
    node.enter(NodePhase::Imaging, "now".into(), T0);
    node.mgmt_ip = Some([10, 240, 0, 11].into());
    let vip = resource(None, Slot::Vip, ResourceState::Created);
    let server = resource(Some("b"), Slot::Server, ResourceState::Intended);
    let changes = Changes {
        cluster: Some(&record),
        nodes: vec![&node],
        resources: vec![&vip, &server],
        events: vec![event("one"), event("two").of_node("b").entering("imaging")],
        folded: Vec::new(),
        credentials: vec![credential(id, Account::PrismAdmin)],
        forget_credentials: false,
        next_at: Some(T0 + TTL),
    };
    let written = changes.credentials.clone();
    store.commit(&lease, changes).await.unwrap();

    let after = state(&store, id).await;
    assert_eq!((&after.record, &after.nodes[1].record), (&record, &node));
    assert_eq!(after.nodes[0], before.nodes[0]);
    assert_eq!((after.vip, &after.nodes[1].resources), (Some(vip), &vec![server.clone()]));
    assert_eq!((after.next_at, store.schedule().await.unwrap()), (T0 + TTL, vec![(id, T0 + TTL)]));
    let events = store.events(id, 1, 9).await.unwrap();
    let shown: Vec<_> = events.iter().map(|e| (e.seq, e.message.as_str(), e.server_id.as_deref())).collect();
    assert_eq!(shown, [(2, "one", None), (3, "two", Some("b"))]);
    assert_eq!(events[1].phase.as_deref(), Some("imaging"));
    assert!(store.cluster_of_address([10, 240, 0, 11].into()).await.unwrap().is_some());
    assert_eq!(store.credentials(id).await.unwrap(), written);

    let made = resource(Some("b"), Slot::Server, ResourceState::Created);
    store.commit(&lease, Changes { resources: vec![&made], ..Changes::default() }).await.unwrap();
    let after = state(&store, id).await;
    assert_eq!((&after.nodes[1].resources, after.next_at), (&vec![made], T0 + TTL));
}

#[tokio::test]
async fn every_slot_and_state_of_a_resource_survives() {
    let store = Store::in_memory().await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let lease = lease(&store, id).await;
    for state_ in [ResourceState::Intended, ResourceState::Created, ResourceState::Deleting, ResourceState::Gone] {
        let slots = [Slot::Ahv, Slot::Cvm, Slot::Interface, Slot::Mgmt, Slot::Server];
        let resources = slots.map(|slot| resource(Some("a"), slot, state_));
        let vip = resource(None, Slot::Vip, state_);
        let all = resources.iter().chain([&vip]).collect();
        store.commit(&lease, Changes { resources: all, ..Changes::default() }).await.unwrap();
        let kept = state(&store, id).await;
        let mut kept_of_node = kept.nodes[0].resources.clone();
        kept_of_node.sort_by_key(|r| resources.iter().position(|other| other.slot == r.slot));
        assert_eq!((kept_of_node.as_slice(), kept.vip), (resources.as_slice(), Some(vip)));
        assert_eq!(kept.nodes[1].resources, []);
    }
}

#[tokio::test]
async fn a_commit_under_a_stale_fence_writes_nothing_at_all() {
    let store = Store::in_memory().await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let lease = lease(&store, id).await;
    store.add_evidence(&evidence(id, "a", Seen::ScriptServed)).await.unwrap();
    let written = vec![credential(id, Account::PrismAdmin)];
    store.commit(&lease, Changes { credentials: written, ..Changes::default() }).await.unwrap();
    let before = everything(&store, id).await;
    let mut record = before.0.record.clone();
    record.enter(ClusterPhase::Released, "x".into(), T0);
    let mut node = before.0.nodes[0].record.clone();
    node.enter(NodePhase::Released, "x".into(), T0);
    let server = resource(Some("a"), Slot::Server, ResourceState::Created);
    for fence in [lease.fence - 1, lease.fence + 1] {
        let changes = Changes {
            cluster: Some(&record),
            nodes: vec![&node],
            resources: vec![&server],
            events: vec![event("x")],
            folded: vec![before.2[0].0],
            credentials: vec![credential(id, Account::CvmNutanix)],
            forget_credentials: true,
            next_at: Some(Timestamp::NEVER),
        };
        let stale = Lease { fence, ..lease.clone() };
        let outcome = store.commit(&stale, changes).await;
        assert!(matches!(outcome, Err(StoreError::StaleFence)), "{outcome:?}");
        assert_eq!(everything(&store, id).await, before);
    }
}

#[tokio::test]
async fn an_address_that_another_living_node_has_is_refused_with_all_of_its_step() {
    let store = Store::in_memory().await.unwrap();
    store.accept(&new_cluster("first", &[("a", Some("10.0.0.1"))]), &audit_entry("x")).await.unwrap();
    let id = accept(&store, "second", ["b", "c"]).await;
    let lease = lease(&store, id).await;
    store.add_evidence(&evidence(id, "b", Seen::ScriptServed)).await.unwrap();
    let before = everything(&store, id).await;
    let (mut free, mut taken) = (before.0.nodes[0].record.clone(), before.0.nodes[1].record.clone());
    (free.mgmt_ip, taken.mgmt_ip) = (Some([10, 0, 0, 2].into()), Some([10, 0, 0, 1].into()));
    let address = resource(Some("c"), Slot::Mgmt, ResourceState::Created);
    let changes = || Changes {
        nodes: vec![&free, &taken],
        resources: vec![&address],
        events: vec![event("x")],
        folded: vec![before.2[0].0],
        next_at: Some(Timestamp::NEVER),
        ..Changes::default()
    };
    let error = store.commit(&lease, changes()).await.unwrap_err();
    assert_eq!(error.to_string(), "mgmt_ip 10.0.0.1 belongs to a living node already");
    assert!(!error.is_transient());
    assert_eq!(everything(&store, id).await, before);

    taken.mgmt_ip = Some([10, 0, 0, 3].into());
    let changes = Changes { nodes: vec![&free, &taken], events: vec![event("y")], ..Changes::default() };
    store.commit(&lease, changes).await.unwrap();
    assert_eq!(store.events(id, 1, 9).await.unwrap()[0].seq, 2, "the refused step left no gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_timeline_has_no_gaps_however_many_write_it() {
    const EACH: usize = 25;
    let folder = Folder::new();
    let store = Store::open(folder.path()).await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let lease = lease(&store, id).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (store, lease) = (store.clone(), lease.clone());
        writers.spawn(async move {
            for n in 0..EACH {
                if writer % 2 == 0 {
                    store
                        .request(
                            "prod",
                            OperatorRequest::Retry { formation: None },
                            event("request"),
                            &audit_entry("x"),
                        )
                        .await
                        .unwrap();
                } else {
                    let events = vec![event(&format!("{writer} {n} first")), event(&format!("{writer} {n} second"))];
                    store.commit(&lease, Changes { events, ..Changes::default() }).await.unwrap();
                }
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let events = store.events(id, 0, 10_000).await.unwrap();
    let seqs: Vec<i64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=1 + 2 * EACH as i64 + 4 * EACH as i64).collect::<Vec<_>>());
    for pair in events.windows(2).filter(|pair| pair[0].message.ends_with("first")) {
        assert_eq!(pair[1].message, pair[0].message.replace("first", "second"), "a step's lines stand together");
    }
    assert_eq!(state(&store, id).await.intents.retries, 2 * EACH as u32);
}

#[tokio::test]
async fn evidence_is_taken_in_once_in_its_order_and_only_by_its_cluster() {
    let store = Store::in_memory().await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let other = accept(&store, "test", ["c", "d"]).await;
    for server_id in ["a", "b", "a"] {
        store.add_evidence(&evidence(id, server_id, Seen::ScriptServed)).await.unwrap();
    }
    store.add_evidence(&evidence(other, "c", Seen::ConfigServed)).await.unwrap();
    let first = store.unfolded_evidence(id, 2).await.unwrap();
    let who: Vec<&str> = first.iter().map(|(_, e)| e.server_id.as_str()).collect();
    assert_eq!(who, ["a", "b"]);
    assert_eq!(first[0].1, evidence(id, "a", Seen::ScriptServed));

    let lease = lease(&store, id).await;
    let folded = first.iter().map(|(id, _)| *id).collect();
    store.commit(&lease, Changes { folded, ..Changes::default() }).await.unwrap();
    let second = store.unfolded_evidence(id, 2).await.unwrap();
    assert_eq!(second.len(), 1);
    assert!(second[0].0 > first[1].0);
    let folded = vec![second[0].0];
    store.commit(&lease, Changes { folded, ..Changes::default() }).await.unwrap();
    assert_eq!(store.unfolded_evidence(id, 2).await.unwrap(), []);
    assert_eq!(store.unfolded_evidence(other, 2).await.unwrap().len(), 1);
}

#[tokio::test]
async fn evidence_of_a_cluster_that_never_was_is_refused_loudly() {
    let store = Store::in_memory().await.unwrap();
    let nobody = evidence(uuid::Uuid::from_u128(9), "a", Seen::ScriptServed);
    assert!(store.add_evidence(&nobody).await.is_err());
}

#[tokio::test]
async fn what_no_pass_has_taken_in_makes_its_cluster_due_even_if_the_wake_is_lost() {
    let store = Store::in_memory().await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let rest = || Changes { next_at: Some(Timestamp::NEVER), ..Changes::default() };
    let due = async || store.schedule().await.unwrap()[0].1;

    let first = lease(&store, id).await;
    store.commit(&first, rest()).await.unwrap();
    assert_eq!(due().await, Timestamp::NEVER);
    for request in [OperatorRequest::Absent, OperatorRequest::Form, OperatorRequest::Retry { formation: None }] {
        store.request("prod", request, event("asked"), &audit_entry("x")).await.unwrap();
        // A pass that had loaded the cluster before ends now, and knows nothing of it.
        store.commit(&first, rest()).await.unwrap();
        assert_eq!(due().await, Timestamp(0), "{request:?}");
        lease(&store, id).await;
        assert_eq!(due().await, Timestamp::NEVER, "the next pass hears it");
    }
    store.add_evidence(&evidence(id, "a", Seen::ScriptServed)).await.unwrap();
    store.commit(&lease(&store, id).await, rest()).await.unwrap();
    assert_eq!(due().await, Timestamp(0));
    let folded = store.unfolded_evidence(id, 9).await.unwrap().iter().map(|(id, _)| *id).collect();
    store.commit(&first, Changes { folded, ..rest() }).await.unwrap();
    assert_eq!(due().await, Timestamp::NEVER);
}
