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
