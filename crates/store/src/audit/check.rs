//! Checks an audit against its own chain and against signed heads. Pure: lines and heads come from wherever they are kept.

use super::{
    head::{AuditHead, AuditPublicKey},
    line::AuditLine,
};
use metalform_model::Timestamp;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};
use thiserror::Error;

/// Lines are signed within a second. A service that ended in its very first one has left a line without a head; what has lines of
/// more than this had heads once.
pub(super) const UNSIGNED: Duration = Duration::from_secs(60);

/// One thing that is wrong with an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum AuditFault {
    /// A line was edited.
    #[error("line {line} was changed after it was written")]
    Changed {
        /// Which.
        line: i64,
    },
    /// Lines were taken out.
    #[error("{} missing before line {}", lines(*line, *.next - 1, "is", "are"), .next)]
    Missing {
        /// The first that is missing.
        line: i64,
        /// The first that is there again.
        next: i64,
    },
    /// A line stands at another's place.
    #[error("line {found} stands where line {line} should be")]
    Misplaced {
        /// The number that should have come.
        line: i64,
        /// The number that came.
        found: i64,
    },
    /// A line and the one before it don't belong together.
    #[error("line {line} doesn't follow the line before it: one of the two was written anew")]
    Unchained {
        /// The later of the two.
        line: i64,
    },
    /// The end is missing.
    #[error("{}", cut_off(*line, *.signed, *.at, *.is_known_to_database))]
    CutOff {
        /// The first line that is missing.
        line: i64,
        /// The line that is known to have been there.
        signed: i64,
        /// When that was signed, if a signed head says so.
        at: Option<Timestamp>,
        /// The database still tells of it, so that it is no older copy.
        is_known_to_database: bool,
    },
    /// The lines hold together and aren't those that were signed.
    #[error("{} not what was signed at {at}: written anew since", lines(*line, *.signed, "is", "are"))]
    Rewritten {
        /// The first that may have been.
        line: i64,
        /// The line that the head names.
        signed: i64,
        /// When that was signed.
        at: Timestamp,
    },
    /// A line isn't the one that whoever checks knows.
    #[error("line {line} is not the one that was to be there by its hash")]
    NotAsKnown {
        /// Which.
        line: i64,
    },
    /// A head that the key didn't sign.
    #[error("the head of line {line} bears a signature that isn't its key's: it was changed or forged")]
    BadSignature {
        /// Which line it is of.
        line: i64,
    },
    /// A head by a key that isn't at hand.
    #[error("the head of line {line} was signed with another key ({key_id})")]
    OtherKey {
        /// Which line it is of.
        line: i64,
        /// That key's id.
        key_id: String,
    },
    /// Heads were taken out or moved.
    #[error("the head of line {line} doesn't follow the head before it: heads were taken out or moved")]
    HeadUnchained {
        /// Which line it is of.
        line: i64,
    },
    /// A later head is of an earlier line.
    #[error(
        "the audit was set back from line {from} to line {line} or before, by {at}: lines written in between are gone"
    )]
    SetBack {
        /// The line of the head that came after.
        line: i64,
        /// The line of the head before.
        from: i64,
        /// When the later one was signed.
        at: Timestamp,
    },
    /// A head of the database that its file lacks.
    #[error("audit.heads lacks the head of line {line}, which the database has: it was cut off or edited")]
    HeadCut {
        /// Which line it is of.
        line: i64,
    },
    /// There are heads in the database, and no file.
    #[error("audit.heads is not there, and the database has heads up to line {line}")]
    HeadsGone {
        /// Of the newest head in the database.
        line: i64,
    },
    /// There are lines of more than a moment, and no head at all.
    #[error(
        "there is no head, in audit.heads or in the database, for lines from {line} on: all were removed, or none was ever signed"
    )]
    NoHeads {
        /// The first line.
        line: i64,
    },
    /// A line of a file can't be read.
    #[error("line {file_line} of the {file} can't be read")]
    Unreadable {
        /// What kind of file.
        file: &'static str,
        /// The file's own line, from 1.
        file_line: usize,
    },
    /// An export without its beginning.
    #[error("the export doesn't begin with a signed head: its beginning was cut off, or it is no export")]
    NoHeader,
}

fn lines(from: i64, to: i64, one: &str, many: &str) -> String {
    if from == to { format!("line {from} {one}") } else { format!("the lines {from} to {to} {many}") }
}

fn cut_off(line: i64, signed: i64, at: Option<Timestamp>, is_known_to_database: bool) -> String {
    let ends = if line == 1 { "the audit is empty".to_owned() } else { format!("the audit ends at line {}", line - 1) };
    let until = at.map_or_else(|| "is known to have been there".to_owned(), |at| format!("was signed at {at}"));
    let how = match is_known_to_database {
        true => "the database itself still has that line's head, so lines were deleted from it",
        false => "the end was cut off, or the database is an older copy of itself (a restored backup)",
    };
    format!("{ends}, and line {signed} {until}: {how}")
}

impl AuditFault {
    /// The first line it is about; `None`: it is about a file.
    pub fn line(&self) -> Option<i64> {
        match self {
            AuditFault::Changed { line }
            | AuditFault::Missing { line, .. }
            | AuditFault::Misplaced { line, .. }
            | AuditFault::Unchained { line }
            | AuditFault::CutOff { line, .. }
            | AuditFault::Rewritten { line, .. }
            | AuditFault::NotAsKnown { line }
            | AuditFault::BadSignature { line }
            | AuditFault::OtherKey { line, .. }
            | AuditFault::HeadUnchained { line }
            | AuditFault::SetBack { line, .. }
            | AuditFault::HeadCut { line }
            | AuditFault::NoHeads { line }
            | AuditFault::HeadsGone { line } => Some(*line),
            AuditFault::Unreadable { .. } | AuditFault::NoHeader => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            AuditFault::Changed { .. }
            | AuditFault::Missing { .. }
            | AuditFault::Misplaced { .. }
            | AuditFault::Unchained { .. }
            | AuditFault::Rewritten { .. }
            | AuditFault::NotAsKnown { .. } => {
                "somebody edited it: compare with the lines that were exported or sent by syslog, and with a backup"
            }
            AuditFault::CutOff { .. } | AuditFault::SetBack { .. } => {
                "if a backup was restored, put audit.heads aside and start the service: it begins a new file; if not, the \
                 missing lines are where the audit was exported or sent to"
            }
            AuditFault::OtherKey { .. } => {
                "if the key was replaced on purpose, name the old public key with --key as well; if not, somebody else signed"
            }
            AuditFault::BadSignature { .. }
            | AuditFault::HeadUnchained { .. }
            | AuditFault::HeadCut { .. }
            | AuditFault::NoHeads { .. }
            | AuditFault::HeadsGone { .. } => {
                "restore audit.heads from a backup, or compare with the heads that were exported or sent by syslog"
            }
            AuditFault::Unreadable { .. } | AuditFault::NoHeader => "fetch the file again from where it was kept",
        }
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditReport {
    /// How many lines there are.
    pub lines: u64,
    /// Number of the first; 0: there are none.
    pub first: i64,
    /// Number of the last; 0: there are none.
    pub last: i64,
    /// Hash of the last; empty: there are none.
    pub last_hash: String,
    /// The newest head that signs lines which are there.
    pub signed: Option<AuditHead>,
    /// What is wrong.
    pub faults: Vec<AuditFault>,
    /// What whoever reads this should know, and is no fault.
    pub notes: Vec<String>,
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }

    /// The first line that isn't as it was.
    pub fn first_broken(&self) -> Option<i64> {
        self.faults.iter().filter_map(AuditFault::line).min()
    }

    /// Lines after the newest head: chained, and signed by nothing yet.
    pub fn unsigned(&self) -> i64 {
        self.last - self.signed.as_ref().map_or(self.first - 1, |head| head.seq)
    }
}

/// What a line must be.
#[derive(Debug, Clone)]
struct Claim {
    hash: String,
    /// `None`: whoever checks says so.
    head: Option<AuditHead>,
    is_in_table: bool,
}

/// A check under way: heads first, then every line in order.
#[derive(Debug, Clone)]
pub struct AuditCheck {
    keys: Vec<AuditPublicKey>,
    claims: BTreeMap<i64, Vec<Claim>>,
    /// Number and hash of the line before.
    before: Option<(i64, String)>,
    /// The number before the first.
    after: i64,
    /// Where the chain breaks first.
    broken_at: Option<i64>,
    /// Neither file nor table has a head.
    has_no_heads: bool,
    /// When the first and the last line were written.
    span: Option<(Timestamp, Timestamp)>,
    report: AuditReport,
}

impl AuditCheck {
    /// A check with these public keys, of lines that begin after that number.
    pub fn new(keys: &[AuditPublicKey], after: i64) -> AuditCheck {
        let mut notes = Vec::new();
        if after > 0 {
            notes.push(format!("it begins after line {after}: what came before isn't looked at"));
        }
        let report = AuditReport {
            lines: 0,
            first: 0,
            last: 0,
            last_hash: String::new(),
            signed: None,
            faults: Vec::new(),
            notes,
        };
        let keys = keys.to_vec();
        AuditCheck {
            keys,
            claims: BTreeMap::new(),
            before: None,
            after,
            broken_at: None,
            has_no_heads: false,
            span: None,
            report,
        }
    }

    /// Adds a fault that was found elsewhere.
    pub fn fault(&mut self, fault: AuditFault) {
        self.report.faults.push(fault);
    }

    /// Adds a note.
    pub fn note(&mut self, note: String) {
        self.report.notes.push(note);
    }

    /// Holds the lines against a line that is known from elsewhere.
    pub fn known(&mut self, seq: i64, hash: &str) {
        let claim = Claim { hash: hash.to_owned(), head: None, is_in_table: false };
        self.claims.entry(seq).or_default().push(claim);
    }

    /// Holds the lines against a head, if one of the keys signed it.
    pub fn head(&mut self, head: &AuditHead) {
        self.claim(head, false);
    }

    fn claim(&mut self, head: &AuditHead, is_in_table: bool) {
        let line = head.seq;
        let Some(key) = self.keys.iter().find(|key| key.id() == head.key_id) else {
            let key_id = head.key_id.clone();
            // One word for all of a key's heads.
            let is_told =
                |fault: &AuditFault| matches!(fault, AuditFault::OtherKey { key_id: told, .. } if *told == key_id);
            if !self.report.faults.iter().any(is_told) {
                self.fault(AuditFault::OtherKey { line, key_id });
            }
            return;
        };
        match key.signed(head) {
            true => {
                let claim = Claim { hash: head.hash.clone(), head: Some(head.clone()), is_in_table };
                self.claims.entry(line).or_default().push(claim);
            }
            false => self.fault(AuditFault::BadSignature { line }),
        }
    }

    /// Holds the lines, and the heads of the database, against the heads of the file. A head is in the file before it is in
    /// the table.
    pub fn heads(&mut self, file: &[AuditHead], in_table: &[AuditHead]) {
        let signatures: HashSet<&str> = file.iter().map(|head| head.signature.as_str()).collect();
        let of_table: HashSet<&str> = in_table.iter().map(|head| head.signature.as_str()).collect();
        match (file.first(), in_table.last()) {
            (None, Some(newest)) => self.fault(AuditFault::HeadsGone { line: newest.seq }),
            (None, None) => {
                self.has_no_heads = true;
                self.note("no head was signed yet: lines cut off at the end would not be noticed".into());
            }
            (Some(first), _) if first.prev.is_empty() => {}
            (Some(first), _) if of_table.contains(first.prev.as_str()) => {
                self.note(format!("audit.heads was begun anew after line {}", first.seq - 1));
            }
            (Some(first), _) => self.fault(AuditFault::HeadUnchained { line: first.seq }),
        }
        for pair in file.windows(2) {
            let (before, head) = (&pair[0], &pair[1]);
            if head.prev != before.signature {
                self.fault(AuditFault::HeadUnchained { line: head.seq });
            } else if head.seq <= before.seq {
                self.fault(AuditFault::SetBack { line: head.seq, from: before.seq, at: head.at });
            }
        }
        for head in file {
            self.claim(head, of_table.contains(head.signature.as_str()));
        }
        let mut is_cut = false;
        for head in in_table.iter().filter(|head| !signatures.contains(head.signature.as_str())) {
            let since = file.first().map_or(i64::MAX, |first| first.seq);
            if head.seq >= since && !std::mem::replace(&mut is_cut, true) {
                self.fault(AuditFault::HeadCut { line: head.seq });
            }
            self.claim(head, true);
        }
    }

    /// The next line.
    pub fn line(&mut self, line: &AuditLine) {
        if self.broken_at.is_none()
            && let Some(fault) = self.chain_fault(line)
        {
            // What follows is of little worth: the first is told, and where heads say otherwise.
            self.broken_at = fault.line();
            self.fault(fault);
        }
        for claim in self.claims.remove(&line.seq).unwrap_or_default() {
            let is_it = claim.hash == line.hash;
            match claim.head {
                Some(head) if is_it => self.report.signed = Some(head),
                // The chain says it better.
                Some(_) if self.broken_at.is_some_and(|line| line > self.signed_until()) => {}
                Some(head) => {
                    let line = head.seq.min(self.signed_until() + 1);
                    self.fault(AuditFault::Rewritten { line, signed: head.seq, at: head.at });
                }
                None if is_it => self.note(format!("line {} is the one that is known", line.seq)),
                None => self.fault(AuditFault::NotAsKnown { line: line.seq }),
            }
        }
        self.span = Some((self.span.map_or(line.at, |(first, _)| first), line.at));
        let report = &mut self.report;
        report.lines += 1;
        if report.lines == 1 {
            report.first = line.seq;
        }
        report.last = line.seq;
        report.last_hash.clone_from(&line.hash);
        self.before = Some((line.seq, line.hash.clone()));
    }

    fn signed_until(&self) -> i64 {
        self.report.signed.as_ref().map_or(self.after, |head| head.seq)
    }

    fn chain_fault(&self, line: &AuditLine) -> Option<AuditFault> {
        let (before, prev) = self.before.as_ref().map_or((self.after, None), |(seq, hash)| (*seq, Some(hash.as_str())));
        let wanted = before + 1;
        // The line before the first isn't there to be compared with, unless there is none.
        let prev = prev.or((self.after == 0).then_some(""));
        match line.seq {
            seq if seq > wanted => Some(AuditFault::Missing { line: wanted, next: seq }),
            seq if seq < wanted => Some(AuditFault::Misplaced { line: wanted, found: seq }),
            seq if !line.is_as_written() => Some(AuditFault::Changed { line: seq }),
            seq if prev.is_some_and(|prev| line.prev_hash != prev) => Some(AuditFault::Unchained { line: seq }),
            _ => None,
        }
    }

    /// After the last line.
    pub fn finish(mut self) -> AuditReport {
        let last = self.before.as_ref().map_or(self.after, |(seq, _)| *seq);
        let is_old = self.span.is_some_and(|(first, last)| last.since(first) > UNSIGNED);
        if self.has_no_heads && is_old {
            self.fault(AuditFault::NoHeads { line: self.report.first });
        }
        // Those of lines before the beginning were never to be found here.
        let beyond: Vec<(i64, Claim)> = std::mem::take(&mut self.claims)
            .into_iter()
            .flat_map(|(seq, claims)| claims.into_iter().map(move |claim| (seq, claim)))
            .filter(|(seq, _)| *seq > last)
            .collect();
        // The furthest that is signed, and what whoever checks knows: the rest says the same.
        let furthest = beyond.iter().rev().find(|(_, claim)| claim.head.is_some());
        let known = beyond.iter().rev().find(|(_, claim)| claim.head.is_none());
        for (signed, claim) in [furthest, known].into_iter().flatten() {
            let at = claim.head.as_ref().map(|head| head.at);
            let is_known_to_database = beyond.iter().any(|(_, claim)| claim.is_in_table);
            self.report.faults.push(AuditFault::CutOff { line: last + 1, signed: *signed, at, is_known_to_database });
        }
        if self.report.is_whole() && self.report.signed.is_some() && self.report.unsigned() > 0 {
            let unsigned = self.report.unsigned();
            self.report.notes.push(format!(
                "{unsigned} line{} after the newest head: chained, and not signed yet",
                if unsigned == 1 { "" } else { "s" }
            ));
        }
        self.report
    }
}
