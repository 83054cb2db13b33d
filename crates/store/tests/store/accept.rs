//! Accepting plans: all of one, or nothing.

use crate::rig::*;
use metalform_model::*;
use metalform_store::{Accepted, Changes, NewCluster, OperatorRequest, Store, StoreError};

async fn refusal(store: &Store, new: &NewCluster) -> String {
    match store.accept(new, &audit_entry("x")).await {
        Err(error @ StoreError::NodeTaken { .. }) => error.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

async fn release(store: &Store, new: &NewCluster) {
    let lease = lease(store, new.record.id).await;
    let mut record = new.record.clone();
    record.enter(ClusterPhase::Released, "gone".into(), T0);
    let mut nodes = new.nodes.clone();
    nodes.iter_mut().for_each(|n| n.enter(NodePhase::Released, "gone".into(), T0));
    let changes = Changes { cluster: Some(&record), nodes: nodes.iter().collect(), ..Changes::default() };
    store.commit(&lease, changes).await.unwrap();
}

#[tokio::test]
async fn a_plan_is_kept_as_it_was_given() {
    let store = Store::in_memory().await.unwrap();
    let new = new_cluster("prod", &[("b", Some("10.0.0.2")), ("a", None)]);
    assert_eq!(store.accept(&new, &audit_entry("x")).await.unwrap(), Accepted::New);
    let state = state(&store, new.record.id).await;
    assert_eq!((&state.plan, &state.plan_hash, &state.site), (&new.plan, &new.plan_hash, &new.site));
    assert_eq!((&state.record, state.intents, state.vip), (&new.record, Intents::default(), None));
    let nodes: Vec<&NodeRecord> = state.nodes.iter().map(|n| &n.record).collect();
    assert_eq!(nodes, new.nodes.iter().collect::<Vec<_>>(), "in the plan's order");
    assert_eq!(store.schedule().await.unwrap(), [(new.record.id, T0)]);
    let events = store.events(new.record.id, 0, 9).await.unwrap();
    assert_eq!((events.len(), events[0].seq, events[0].kind.as_str()), (1, 1, kind::DEPLOYMENT_STARTED));
    assert_eq!(events[0].cluster, "prod");
}

#[tokio::test]
async fn the_same_plan_again_changes_nothing_and_another_is_told_apart() {
    let store = Store::in_memory().await.unwrap();
    let first = new_cluster("prod", &[("a", None)]);
    store.accept(&first, &audit_entry("x")).await.unwrap();
    let before = everything(&store, first.record.id).await;
    let again = new_cluster("prod", &[("a", None)]);
    assert_eq!(store.accept(&again, &audit_entry("x")).await.unwrap(), Accepted::Same(first.record.id));
    let other = NewCluster { plan_hash: "another".into(), ..new_cluster("prod", &[("b", None)]) };
    assert_eq!(store.accept(&other, &audit_entry("x")).await.unwrap(), Accepted::Differs(first.record.id));
    assert_eq!(everything(&store, first.record.id).await, before);
    assert_eq!(store.living_clusters().await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_two_plans_at_once_one_is_new() {
    let store = Store::in_memory().await.unwrap();
    let (a, b) = (new_cluster("prod", &[("a", None)]), new_cluster("prod", &[("a", None)]));
    let line = audit_entry("x");
    let (first, second) = tokio::join!(store.accept(&a, &line), store.accept(&b, &line));
    let outcomes = [first.unwrap(), second.unwrap()];
    assert_eq!(outcomes.iter().filter(|o| **o == Accepted::New).count(), 1, "{outcomes:?}");
}

#[tokio::test]
async fn a_node_of_another_living_cluster_is_refused_and_nothing_is_left_of_the_plan() {
    let store = Store::in_memory().await.unwrap();
    let first = new_cluster("prod", &[("a", Some("10.0.0.1"))]);
    store.accept(&first, &audit_entry("x")).await.unwrap();
    let table = [
        ([("x", None), ("a", None)], "server_id a belongs to a living node already"),
        ([("x", None), ("b", Some("10.0.0.1"))], "mgmt_ip 10.0.0.1 (of a) belongs to a living node already"),
        ([("x", None), ("x", None)], "server_id x belongs to a living node already"),
    ];
    for (nodes, expected) in table {
        let second = new_cluster("test", &nodes);
        assert_eq!(refusal(&store, &second).await, expected);
        assert_eq!(store.cluster_named("test").await.unwrap(), None);
        assert_eq!(store.cluster(second.record.id).await.unwrap(), None);
        assert_eq!(store.cluster_of_node("x").await.unwrap(), None);
        assert_eq!(store.events(second.record.id, 0, 9).await.unwrap(), []);
        assert_eq!(store.schedule().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn names_and_addresses_are_free_again_once_their_cluster_is_gone() {
    let store = Store::in_memory().await.unwrap();
    let first = new_cluster("prod", &[("a", Some("10.0.0.1"))]);
    store.accept(&first, &audit_entry("x")).await.unwrap();
    release(&store, &first).await;
    assert_eq!(store.schedule().await.unwrap(), []);
    assert_eq!(store.cluster_of_address([10, 0, 0, 1].into()).await.unwrap(), None);
    let gone = store.cluster_named("prod").await.unwrap().expect("it is remembered");
    assert_eq!(gone.record.id, first.record.id);

    let second = new_cluster("prod", &[("a", Some("10.0.0.1"))]);
    assert_eq!(store.accept(&second, &audit_entry("x")).await.unwrap(), Accepted::New);
    let named = store.cluster_named("prod").await.unwrap().expect("it lives");
    assert_eq!(named.record.id, second.record.id);
    let of_node = store.cluster_of_node("a").await.unwrap().expect("it lives");
    assert_eq!(of_node.record.id, second.record.id);
    let of_address = store.cluster_of_address([10, 0, 0, 1].into()).await.unwrap().expect("it lives");
    assert_eq!(of_address.record.id, second.record.id);
}

#[tokio::test]
async fn an_address_of_the_plan_stays_taken_until_the_node_has_it() {
    let store = Store::in_memory().await.unwrap();
    let first = new_cluster("prod", &[("a", Some("10.0.0.1"))]);
    store.accept(&first, &audit_entry("x")).await.unwrap();
    let lease = lease(&store, first.record.id).await;
    // The node's record doesn't know its address yet.
    store.commit(&lease, Changes { nodes: vec![&first.nodes[0]], ..Changes::default() }).await.unwrap();
    refusal(&store, &new_cluster("test", &[("b", Some("10.0.0.1"))])).await;
}

#[tokio::test]
async fn what_an_operator_asks_for_is_kept_with_its_line_in_the_timeline() {
    let store = Store::in_memory().await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    for request in [
        OperatorRequest::Retry { formation: Some(FormationChoice::CvmSsh) },
        OperatorRequest::Form,
        OperatorRequest::Retry { formation: None },
        OperatorRequest::Absent,
    ] {
        let words = format!("{request:?}");
        let asked = NewEvent::new(T0, kind::OPERATOR, words.split(' ').next().unwrap_or_default());
        assert_eq!(store.request("prod", request, asked, &audit_entry("x")).await.unwrap(), id);
    }
    // A retry that names no driver leaves the one that was named before.
    let formation = Some(FormationChoice::CvmSsh);
    assert_eq!(state(&store, id).await.intents, Intents { absent: true, form: true, retries: 2, formation });
    let messages: Vec<String> =
        store.events(id, 1, 9).await.unwrap().into_iter().map(|e| format!("{} {}", e.seq, e.message)).collect();
    assert_eq!(messages, ["2 Retry", "3 Form", "4 Retry", "5 Absent"]);
    let unknown = store.request("other", OperatorRequest::Form, event("x"), &audit_entry("x")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "no cluster is named other");
}
