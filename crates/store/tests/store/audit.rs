//! The audit's chain: whoever changes a line breaks it.

use crate::rig::*;
use metalform_model::{AuditEntry, Timestamp};
use metalform_store::{AuditLine, Store, first_broken_audit_line};

async fn five_lines() -> Vec<AuditLine> {
    let store = Store::in_memory().await.unwrap();
    for n in 1..=5 {
        store.add_audit(&audit_entry(&format!("cluster-{n}"))).await.unwrap();
    }
    store.audit(0, 10).await.unwrap()
}

#[tokio::test]
async fn lines_are_chained_from_the_first_to_the_last() {
    let lines = five_lines().await;
    let seqs: Vec<i64> = lines.iter().map(|l| l.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    assert_eq!(lines[0].prev_hash, "");
    for pair in lines.windows(2) {
        assert_eq!(pair[1].prev_hash, pair[0].hash);
    }
    assert_eq!(first_broken_audit_line(None, &lines), None);
    assert_eq!(first_broken_audit_line(Some(&lines[1]), &lines[2..]), None, "page by page");
    assert_eq!(first_broken_audit_line(Some(&lines[0]), &lines[2..]).map(|l| l.seq), Some(3));
}

#[tokio::test]
async fn a_line_says_what_was_recorded() {
    let line = five_lines().await.remove(2);
    let AuditLine { at, who, action, target, source, outcome, .. } = line;
    assert_eq!(AuditEntry { at, who, action, target, source, outcome }, audit_entry("cluster-3"));
}

#[tokio::test]
async fn an_edited_a_missing_and_a_moved_line_are_found() {
    let lines = five_lines().await;
    let edits: [fn(&mut AuditLine); 9] = [
        |l| l.seq += 1,
        |l| l.at = Timestamp(0),
        |l| l.who.push('x'),
        |l| l.action.clear(),
        |l| l.target = "other".into(),
        |l| l.source.push('x'),
        |l| l.outcome = "refused".into(),
        |l| l.prev_hash.push('0'),
        |l| l.hash.push('0'),
    ];
    for edit in edits {
        let mut edited = lines.clone();
        edit(&mut edited[2]);
        assert_eq!(first_broken_audit_line(None, &edited), Some(&edited[2]));
    }
    // Moving a character from one field to the next is another line, too.
    let mut shifted = lines.clone();
    (shifted[2].who, shifted[2].action) = ("operato".into(), "rcluster.deploy".into());
    assert_eq!(first_broken_audit_line(None, &shifted), Some(&shifted[2]));
    let mut missing = lines.clone();
    missing.remove(2);
    assert_eq!(first_broken_audit_line(None, &missing).map(|l| l.seq), Some(4));
    let mut moved = lines.clone();
    moved.swap(2, 3);
    assert_eq!(first_broken_audit_line(None, &moved).map(|l| l.seq), Some(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lines_written_at_once_are_one_chain() {
    let folder = Folder::new();
    let store = Store::open(folder.path()).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..30 {
        let store = store.clone();
        writers.spawn(async move { store.add_audit(&audit_entry(&n.to_string())).await.unwrap() });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let lines = store.audit(0, 100).await.unwrap();
    assert_eq!((lines.len(), first_broken_audit_line(None, &lines)), (30, None));
}

#[tokio::test]
async fn the_newest_refusals_of_a_node_are_found_by_its_id_and_its_address() {
    let folder = Folder::new();
    let store = Store::open(folder.path()).await.unwrap();
    let line = |at: i64, action: &str, target: &str, source: &str, outcome: &str| AuditEntry {
        at: Timestamp(at),
        who: "anonymous".into(),
        action: action.into(),
        target: target.into(),
        source: source.into(),
        outcome: outcome.into(),
    };
    let refused = "refused:token_wrong";
    for entry in [
        line(1, "boot.script", "a_b", "10.0.0.9", refused),
        line(2, "boot.script", "a_b", "10.0.0.1", "ok"),
        line(3, "boot.script", "axb", "10.0.0.9", refused),
        line(4, "boot.step", "a_b/boot", "10.0.0.9", refused),
        line(5, "boot.step", "axb/boot", "10.0.0.9", refused),
        line(6, "boot.config", "10.0.0.1", "10.0.0.9", refused),
        line(7, "boot.image", "x", "10.0.0.1", refused),
        line(8, "api.get", "a_b", "10.0.0.1", refused),
    ] {
        store.add_audit(&entry).await.unwrap();
    }
    let found = async |address: Option<&str>, since: i64, limit: u32| -> Vec<i64> {
        let address = address.map(|address| address.parse().unwrap());
        let lines = store.refused_boot_requests("a_b", address, Timestamp(since), limit).await.unwrap();
        lines.into_iter().map(|line| line.at.0).collect()
    };
    assert_eq!(found(Some("10.0.0.1"), 0, 9).await, [1, 4, 6, 7]);
    assert_eq!(found(Some("10.0.0.1"), 2, 2).await, [6, 7]);
    assert_eq!(found(None, 0, 9).await, [1, 4]);
}
