//! Signed heads: what was cut off or written anew is found, and what a crash leaves is not taken for that.

use crate::rig::*;
use metalform_model::{AuditEntry, Timestamp};
use metalform_store::{
    AUDIT_EXPORT_VERSION, AuditCheck, AuditExport, AuditFault, AuditFilter, AuditHeads, AuditKey, AuditLine,
    AuditReader, AuditReport, HeadsFound, Store, check_audit_export,
};
use sqlx::{Connection, SqliteConnection};
use std::{fs, path::Path, time::Duration};

fn key() -> AuditKey {
    AuditKey::from_seed(&[7; 32]).unwrap()
}

async fn open(folder: &Path) -> (Store, AuditHeads, HeadsFound) {
    let store = Store::open(folder).await.unwrap();
    let (heads, found) = AuditHeads::open(store.clone(), folder, key()).await.unwrap();
    (store, heads, found)
}

/// Whoever has either has the folder.
async fn close(store: Store, heads: AuditHeads) {
    drop(heads);
    store.close().await;
}

async fn add(store: &Store, lines: std::ops::RangeInclusive<i64>) {
    for n in lines {
        store.add_audit(&audit_entry(&format!("cluster-{n}"))).await.unwrap();
    }
}

/// Ten lines, heads after the fifth and the tenth, closed.
async fn ten_lines(folder: &Path) {
    let (store, heads, found) = open(folder).await;
    assert_eq!(found, HeadsFound::None);
    add(&store, 1..=5).await;
    heads.sign(T0).await.unwrap();
    add(&store, 6..=10).await;
    heads.sign(T0).await.unwrap();
    close(store, heads).await;
}

async fn check(folder: &Path) -> AuditReport {
    check_with(folder, &[]).await
}

async fn check_with(folder: &Path, known: &[(i64, String)]) -> AuditReport {
    let reader = AuditReader::open(folder).await.unwrap();
    reader.check(&[key().public()], known, |_| {}).await.unwrap()
}

/// Somebody with the database file and SQL.
async fn edit(folder: &Path, statements: &[&str]) {
    let url = format!("sqlite://{}", folder.join("metalform.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    for trigger in ["audit_is_never_changed", "audit_is_never_deleted"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("DROP TRIGGER {trigger}"))).execute(&mut connection).await.unwrap();
    }
    for statement in statements {
        let done = sqlx::query(sqlx::AssertSqlSafe((*statement).to_owned())).execute(&mut connection).await.unwrap();
        assert_ne!(done.rows_affected(), 0, "{statement}");
    }
    connection.close().await.unwrap();
}

fn heads_of(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("audit.heads")).unwrap().lines().map(str::to_owned).collect()
}

fn write_heads(folder: &Path, heads: &[String]) {
    fs::write(folder.join("audit.heads"), heads.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[tokio::test]
async fn what_nobody_touched_is_whole() {
    let folder = Folder::new();
    ten_lines(folder.path()).await;
    let report = check(folder.path()).await;
    assert_eq!((report.faults.as_slice(), report.notes.len()), (&[][..], 0), "{report:?}");
    assert_eq!((report.lines, report.first, report.last, report.unsigned()), (10, 1, 10, 0));
    assert_eq!(report.signed.unwrap().hash, report.last_hash);
    assert_eq!(heads_of(folder.path()).len(), 2);
}

#[tokio::test]
async fn a_line_is_signed_once_and_a_stop_signs_the_last() {
    let folder = Folder::new();
    let (store, heads, _) = open(folder.path()).await;
    assert_eq!(heads.sign(T0).await.unwrap(), None, "there is nothing to sign");
    add(&store, 1..=1).await;
    let head = heads.sign(T0).await.unwrap().unwrap();
    assert_eq!(heads.sign(Timestamp(T0.0 + 1)).await.unwrap(), Some(head.clone()));
    close(store, heads).await;
    let (store, heads, found) = open(folder.path()).await;
    assert_eq!((found, heads.sign(T0).await.unwrap()), (HeadsFound::Whole, Some(head)));
    close(store, heads).await;
    assert_eq!(heads_of(folder.path()).len(), 1);
}

#[tokio::test]
async fn every_edit_of_the_real_database_is_found_at_its_line() {
    let changed = |line| AuditFault::Changed { line };
    let cases: [(&str, &[&str], i64); 12] = [
        ("who", &["UPDATE audit SET who = 'nobody' WHERE seq = 4"], 4),
        ("at", &["UPDATE audit SET at = at + 1 WHERE seq = 4"], 4),
        ("action", &["UPDATE audit SET action = '' WHERE seq = 1"], 1),
        ("target", &["UPDATE audit SET target = 'x' WHERE seq = 10"], 10),
        ("source", &["UPDATE audit SET source = '::1' WHERE seq = 6"], 6),
        ("outcome", &["UPDATE audit SET outcome = 'refused:x' WHERE seq = 9"], 9),
        ("prev_hash", &["UPDATE audit SET prev_hash = '' WHERE seq = 2"], 2),
        ("hash", &["UPDATE audit SET hash = 'ab' WHERE seq = 3"], 3),
        ("a removal", &["DELETE FROM audit WHERE seq = 5"], 5),
        (
            "a removal, closed up",
            &["DELETE FROM audit WHERE seq = 5", "UPDATE audit SET seq = seq - 1 WHERE seq > 5"],
            5,
        ),
        ("a removal of the first", &["DELETE FROM audit WHERE seq = 1"], 1),
        (
            "a swap",
            &[
                "UPDATE audit SET seq = -7 WHERE seq = 7",
                "UPDATE audit SET seq = 7 WHERE seq = 8",
                "UPDATE audit SET seq = 8 WHERE seq = -7",
            ],
            7,
        ),
    ];
    for (what, statements, line) in cases {
        let folder = Folder::new();
        ten_lines(folder.path()).await;
        edit(folder.path(), statements).await;
        let report = check(folder.path()).await;
        assert_eq!(report.first_broken(), Some(line), "{what}: {report:?}");
        if statements.len() == 1 && what != "a removal" && what != "a removal of the first" {
            assert_eq!(report.faults[0], changed(line), "{what}");
        }
    }
}

#[tokio::test]
async fn a_cut_off_end_is_found_though_the_table_of_heads_was_cut_with_it() {
    let signed = T0;
    for (kept, statements, knows) in [
        (7, &["DELETE FROM audit WHERE seq > 7", "DELETE FROM audit_heads WHERE seq > 7"][..], false),
        (7, &["DELETE FROM audit WHERE seq > 7"], true),
        (9, &["DELETE FROM audit WHERE seq > 9", "DELETE FROM audit_heads"], false),
        (0, &["DELETE FROM audit", "DELETE FROM audit_heads"], false),
    ] {
        let folder = Folder::new();
        ten_lines(folder.path()).await;
        edit(folder.path(), statements).await;
        let report = check(folder.path()).await;
        let cut = AuditFault::CutOff { line: kept + 1, signed: 10, at: Some(signed), is_known_to_database: knows };
        assert_eq!(report.faults, [cut], "{statements:?}");
        // The service says so when it starts, and what it writes then doesn't cover it up.
        let (store, heads, found) = open(folder.path()).await;
        let expected = heads_of(folder.path()).last().map(|line| serde_json::from_str(line).unwrap()).unwrap();
        assert_eq!(found, HeadsFound::SetBack { signed: expected, ends_at: kept });
        for n in 1..=5 {
            store.add_audit(&audit_entry(&format!("later-{n}"))).await.unwrap();
        }
        heads.sign(T0).await.unwrap();
        close(store, heads).await;
        let report = check(folder.path()).await;
        assert!(!report.is_whole() && report.first_broken() <= Some(kept + 1), "{report:?}");
    }
}

/// With every hash computed anew, the chain alone says nothing.
#[tokio::test]
async fn an_audit_written_anew_from_some_line_on_is_found() {
    for from in [1, 4, 10] {
        let (folder, other) = (Folder::new(), Folder::new());
        ten_lines(folder.path()).await;
        let (store, heads, _) = open(other.path()).await;
        for n in 1..=10 {
            let edited = if n == from { "edited".into() } else { format!("cluster-{n}") };
            store.add_audit(&audit_entry(&edited)).await.unwrap();
        }
        close(store, heads).await;
        fs::copy(folder.path().join("audit.heads"), other.path().join("audit.heads")).unwrap();
        let report = check(other.path()).await;
        let first = if from > 5 { 6 } else { 1 };
        let signed = if from > 5 { 10 } else { 5 };
        assert_eq!(report.faults[0], AuditFault::Rewritten { line: first, signed, at: T0 }, "{report:?}");
        assert!((first..=signed).contains(&from));
    }
}

#[tokio::test]
async fn a_cut_or_edited_file_of_heads_is_found() {
    let folder = Folder::new();
    let (store, heads, _) = open(folder.path()).await;
    for n in 1..=4 {
        add(&store, n..=n).await;
        heads.sign(T0).await.unwrap();
    }
    close(store, heads).await;
    let all = heads_of(folder.path());
    let without =
        |n: usize| all.iter().enumerate().filter(|(i, _)| *i != n).map(|(_, l)| l.clone()).collect::<Vec<_>>();
    let swapped = {
        let mut lines = all.clone();
        lines.swap(1, 2);
        lines
    };
    for (what, lines, fault) in [
        ("the end", all[..3].to_vec(), AuditFault::HeadCut { line: 4 }),
        ("one between", without(1), AuditFault::HeadUnchained { line: 3 }),
        ("a swap", swapped, AuditFault::HeadUnchained { line: 3 }),
        ("everything", Vec::new(), AuditFault::HeadsGone { line: 4 }),
        (
            "a signature",
            vec![all[0].replace("\"seq\":1", "\"seq\":2"), all[1].clone(), all[2].clone(), all[3].clone()],
            AuditFault::BadSignature { line: 2 },
        ),
        (
            "no document",
            vec!["x".into(), all[1].clone(), all[2].clone(), all[3].clone()],
            AuditFault::Unreadable { file: "file audit.heads", file_line: 1 },
        ),
    ] {
        write_heads(folder.path(), &lines);
        let report = check(folder.path()).await;
        assert!(report.faults.contains(&fault), "{what}: {report:?}");
    }
    write_heads(folder.path(), &all[..3]);
    let (store, heads, found) = open(folder.path()).await;
    assert_eq!(found, HeadsFound::FileCut { seq: 4 });
    close(store, heads).await;
}

/// At each point between the line, its head in the file, and that head in the table.
#[tokio::test]
async fn no_crash_looks_like_tampering() {
    let folder = Folder::new();
    ten_lines(folder.path()).await;
    // After the line.
    let store = Store::open(folder.path()).await.unwrap();
    add(&store, 11..=12).await;
    store.close().await;
    let report = check(folder.path()).await;
    assert_eq!((report.faults.as_slice(), report.unsigned()), (&[][..], 2), "{report:?}");
    assert_eq!(report.notes, ["2 lines after the newest head: chained, and not signed yet"]);
    // In the middle of the head, in the file.
    let whole = fs::read(folder.path().join("audit.heads")).unwrap();
    let half = [whole.as_slice(), &whole[..whole.len() / 3]].concat();
    fs::write(folder.path().join("audit.heads"), half).unwrap();
    assert!(check(folder.path()).await.is_whole());
    let (store, heads, found) = open(folder.path()).await;
    assert_eq!(found, HeadsFound::Whole);
    heads.sign(T0).await.unwrap();
    close(store, heads).await;
    let report = check(folder.path()).await;
    assert_eq!((report.is_whole(), report.unsigned()), (true, 0), "{report:?}");
    // After the file and before the table.
    edit(folder.path(), &["DELETE FROM audit_heads WHERE seq = 12"]).await;
    assert!(check(folder.path()).await.is_whole());
    let (store, heads, found) = open(folder.path()).await;
    assert_eq!(found, HeadsFound::Whole);
    close(store, heads).await;
}

/// The whole folder goes back together: nothing is wrong with it but for whoever knows a later head.
#[tokio::test]
async fn a_restored_backup_shows_against_a_head_that_is_known_elsewhere() {
    let folder = Folder::new();
    ten_lines(folder.path()).await;
    let hash = check(folder.path()).await.last_hash;
    let report = check_with(folder.path(), &[(10, hash.clone())]).await;
    assert_eq!(
        (report.is_whole(), report.notes.as_slice()),
        (true, &["line 10 is the one that is known".to_owned()][..])
    );
    let report = check_with(folder.path(), &[(9, hash.clone())]).await;
    assert_eq!(report.faults, [AuditFault::NotAsKnown { line: 9 }]);
    let report = check_with(folder.path(), &[(15, hash)]).await;
    let cut = AuditFault::CutOff { line: 11, signed: 15, at: None, is_known_to_database: false };
    assert_eq!(report.faults, [cut]);
}

/// What the hint says to do after a database alone was restored.
#[tokio::test]
async fn a_file_of_heads_that_was_put_aside_is_begun_anew_and_goes_on_from_the_database() {
    let folder = Folder::new();
    ten_lines(folder.path()).await;
    edit(folder.path(), &["DELETE FROM audit WHERE seq > 5", "DELETE FROM audit_heads WHERE seq > 5"]).await;
    assert!(!check(folder.path()).await.is_whole());
    fs::rename(folder.path().join("audit.heads"), folder.path().join("audit.heads.old")).unwrap();
    let (store, heads, found) = open(folder.path()).await;
    assert_eq!(found, HeadsFound::FileCut { seq: 5 });
    add(&store, 6..=6).await;
    heads.sign(T0).await.unwrap();
    close(store, heads).await;
    let report = check(folder.path()).await;
    assert_eq!((report.is_whole(), report.lines), (true, 6), "{report:?}");
    assert_eq!(report.notes, ["audit.heads was begun anew after line 5"]);
}

#[tokio::test]
async fn heads_of_another_key_are_good_with_that_key_alone() {
    let folder = Folder::new();
    ten_lines(folder.path()).await;
    let store = Store::open(folder.path()).await.unwrap();
    let new = || AuditKey::from_seed(&[8; 32]).unwrap();
    let (heads, found) = AuditHeads::open(store.clone(), folder.path(), new()).await.unwrap();
    assert_eq!(found, HeadsFound::OtherKey { key_id: key().public().id() });
    add(&store, 11..=11).await;
    heads.sign(T0).await.unwrap();
    close(store, heads).await;
    let reader = AuditReader::open(folder.path()).await.unwrap();
    let old_alone = reader.check(&[key().public()], &[], |_| {}).await.unwrap();
    assert_eq!(old_alone.faults, [AuditFault::OtherKey { line: 11, key_id: new().public().id() }]);
    let both = reader.check(&[key().public(), new().public()], &[], |_| {}).await.unwrap();
    assert!(both.is_whole(), "{both:?}");
}

/// As the export holds it, a document a line.
async fn exported(folder: &Path, after: i64) -> Vec<String> {
    let (store, heads, _) = open(folder).await;
    let head = heads.sign(T0).await.unwrap().unwrap();
    let header = AuditExport { metalform_audit: AUDIT_EXPORT_VERSION, after, head };
    let mut export = vec![serde_json::to_string(&header).unwrap()];
    for line in store.audit(after, 1000).await.unwrap() {
        export.push(serde_json::to_string(&line).unwrap());
    }
    close(store, heads).await;
    export
}

fn check_export(export: &[String]) -> AuditReport {
    check_audit_export(export.join("\n").as_bytes(), &[key().public()], &[]).unwrap()
}

#[tokio::test]
async fn an_export_that_lacks_or_moves_or_changes_anything_is_found() {
    let folder = Folder::new();
    ten_lines(folder.path()).await;
    let export = exported(folder.path(), 0).await;
    let report = check_export(&export);
    assert_eq!((report.is_whole(), report.lines, report.unsigned()), (true, 10, 0), "{report:?}");
    for cut in 0..export.len() {
        assert!(!check_export(&export[..cut]).is_whole(), "cut after {cut}");
    }
    for n in 0..export.len() {
        let mut without = export.clone();
        without.remove(n);
        assert!(!check_export(&without).is_whole(), "without {n}");
        let mut edited = export.clone();
        edited[n] = edited[n].replacen("cluster-", "cluster_", 1).replacen("\"prev\":\"", "\"prev\":\"0", 1);
        assert!(!check_export(&edited).is_whole(), "edited {n}");
        let mut cut_short = export.clone();
        let half = cut_short[n].len() / 2;
        cut_short[n].truncate(half);
        assert!(!check_export(&cut_short).is_whole(), "cut short {n}");
    }
    for n in 1..export.len() {
        let mut swapped = export.clone();
        swapped.swap(n - 1, n);
        assert!(!check_export(&swapped).is_whole(), "swapped {n}");
    }
    let later = exported(folder.path(), 6).await;
    let report = check_export(&later);
    assert_eq!((report.is_whole(), report.lines, report.first), (true, 4, 7), "{report:?}");
    assert_eq!(report.notes, ["it begins after line 6: what came before isn't looked at"]);
}

#[tokio::test]
async fn filters_take_what_they_say() {
    let store = Store::in_memory().await.unwrap();
    for (n, (who, action, outcome)) in
        [("operator", "api.get", "ok"), ("node a_1", "boot.script", "ok"), ("node ab1", "boot.config", "refused:x")]
            .into_iter()
            .enumerate()
    {
        let entry = metalform_model::AuditEntry {
            at: Timestamp(n as i64),
            who: who.into(),
            action: action.into(),
            outcome: outcome.into(),
            ..audit_entry("t")
        };
        store.add_audit(&entry).await.unwrap();
    }
    let found = async |change: fn(&mut AuditFilter)| -> Vec<i64> {
        let mut filter = AuditFilter::default();
        change(&mut filter);
        store.audit_lines(&filter).await.unwrap().into_iter().map(|line| line.seq).collect()
    };
    assert_eq!(found(|_| {}).await, [1, 2, 3]);
    assert_eq!(found(|f| f.after = 1).await, [2, 3]);
    assert_eq!(found(|f| f.limit = 1).await, [1]);
    assert_eq!(found(|f| (f.limit, f.newest) = (2, true)).await, [2, 3]);
    assert_eq!(found(|f| f.who = Some("operator".into())).await, [1]);
    assert_eq!(found(|f| f.who = Some("node a_*".into())).await, [2], "no sign of LIKE means anything");
    assert_eq!(found(|f| f.action = Some("boot.*".into())).await, [2, 3]);
    assert_eq!(found(|f| f.action = Some("BOOT.*".into())).await, [0_i64; 0]);
    assert_eq!(found(|f| f.outcome = Some("refused:*".into())).await, [3]);
    assert_eq!(found(|f| (f.since, f.until) = (Some(Timestamp(1)), Some(Timestamp(2)))).await, [2]);
    assert_eq!(found(|f| (f.source, f.target) = (Some("127.0.0.1".into()), Some("t".into()))).await, [1, 2, 3]);
}

/// A chain of so many lines, as the store would write it, and a head at its end.
async fn long_chain(lines: i64) -> (Vec<AuditLine>, metalform_store::AuditHead) {
    let store = Store::in_memory().await.unwrap();
    add(&store, 1..=lines).await;
    let mut all = Vec::new();
    while all.len() < lines as usize {
        all.extend(store.audit(all.len() as i64, 1000).await.unwrap());
    }
    let last: &AuditLine = all.last().unwrap();
    let head = key().sign(last.seq, last.hash.clone(), T0, String::new());
    (all, head)
}

/// The check of all these lines but the first `skip`, which are as they were.
fn first_fault(from: &AuditCheck, lines: &[AuditLine]) -> Option<AuditFault> {
    let mut check = from.clone();
    lines.iter().for_each(|line| check.line(line));
    check.finish().faults.first().cloned()
}

/// Nothing of a line is looked at but after all lines before it, so what was found good before an edit is found good with
/// it, and is not looked at again for each of the 150,000.
#[tokio::test]
async fn of_ten_thousand_lines_every_edit_removal_swap_and_cut_is_found() {
    let (lines, head) = long_chain(10_000).await;
    let mut check = AuditCheck::new(&[key().public()], 0);
    check.heads(std::slice::from_ref(&head), &[]);
    let edits: [fn(&mut AuditLine); 9] = [
        |l| l.seq += 1,
        |l| l.at = Timestamp(l.at.0 ^ 1),
        |l| l.who.push(' '),
        |l| l.action.make_ascii_uppercase(),
        |l| l.target = format!("{}0", l.target),
        |l| l.source = "127.0.0.2".into(),
        |l| l.outcome = "refused:no".into(),
        |l| l.prev_hash.push('0'),
        |l| l.hash.replace_range(..1, if l.hash.starts_with('0') { "1" } else { "0" }),
    ];
    let mut tried = 0;
    for (i, line) in lines.iter().enumerate() {
        let seq = line.seq;
        // Everything from here on is missing.
        let cut = check.clone().finish();
        assert_eq!(cut.first_broken(), Some(seq), "cut before {seq}");
        for edit in edits {
            let mut edited = line.clone();
            edit(&mut edited);
            let broken = first_fault(&check, std::slice::from_ref(&edited)).and_then(|fault| fault.line());
            assert_eq!(broken, Some(seq), "{edited:?}");
            tried += 1;
        }
        if let Some(next) = lines.get(i + 1) {
            let removed = first_fault(&check, std::slice::from_ref(next));
            assert_eq!(removed, Some(AuditFault::Missing { line: seq, next: seq + 1 }));
            let swapped = first_fault(&check, &[next.clone(), line.clone()]);
            assert_eq!(swapped.and_then(|fault| fault.line()), Some(seq));
            // Their numbers changed over, so that they stand in order.
            let renumbered = AuditLine { seq, ..next.clone() };
            assert_eq!(first_fault(&check, &[renumbered]), Some(AuditFault::Changed { line: seq }));
            tried += 3;
        }
        // A line further on, by steps that meet every distance sooner or later.
        let far = &lines[(i * 7919 + 13) % lines.len()];
        if far.seq != seq {
            assert_eq!(first_fault(&check, std::slice::from_ref(far)).and_then(|fault| fault.line()), Some(seq));
            tried += 1;
        }
        check.line(line);
        tried += 1;
    }
    assert!(check.clone().finish().is_whole());
    assert!(tried > 130_000, "{tried}");
    // Whole, from the first line to the last, for some.
    for at in [0, 1, 4_999, 9_998, 9_999] {
        let mut edited = lines.clone();
        edited[at].outcome.push('x');
        let mut check = AuditCheck::new(&[key().public()], 0);
        check.head(&head);
        assert_eq!(first_fault(&check, &edited), Some(AuditFault::Changed { line: at as i64 + 1 }));
    }
}

/// Who can write the whole data folder and has no key takes every head away and chains the lines anew.
#[tokio::test]
async fn lines_without_any_head_are_not_whole_and_the_next_start_says_so() {
    let folder = Folder::new();
    let (store, heads, _) = open(folder.path()).await;
    for minutes in 0..3 {
        let at = T0 + Duration::from_secs(60 * minutes);
        store.add_audit(&AuditEntry { at, ..audit_entry("x") }).await.unwrap();
        heads.sign(at).await.unwrap();
    }
    close(store, heads).await;
    edit(folder.path(), &["DELETE FROM audit_heads"]).await;
    fs::remove_file(folder.path().join("audit.heads")).unwrap();
    assert_eq!(check(folder.path()).await.faults, [AuditFault::NoHeads { line: 1 }]);
    let (store, heads, found) = open(folder.path()).await;
    assert_eq!(found, HeadsFound::Gone);
    close(store, heads).await;
}

#[tokio::test]
async fn a_line_below_the_first_number_is_none_of_ours() {
    let folder = Folder::new();
    ten_lines(folder.path()).await;
    let copied = "INSERT INTO audit SELECT -5, at, who, action, target, source, outcome, prev_hash, hash FROM audit WHERE seq = 2";
    edit(folder.path(), &[copied]).await;
    assert_eq!(check(folder.path()).await.faults[0], AuditFault::Misplaced { line: 1, found: -5 });
}
