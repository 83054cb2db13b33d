//! An export: a document a line. The first names the signed head that the export goes up to, so that one whose end was cut
//! off tells on itself; the lines follow. One head is enough: it signs by its hash all that came before.

use super::{
    check::{AuditCheck, AuditFault, AuditReport},
    head::{AuditHead, AuditPublicKey},
    line::AuditLine,
};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead};

/// Of the format.
pub const AUDIT_EXPORT_VERSION: u32 = 1;

/// The first line of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditExport {
    /// [`AUDIT_EXPORT_VERSION`].
    pub metalform_audit: u32,
    /// The export begins after this line; 0: with the first of all.
    pub after: i64,
    /// It ends with this one's line.
    pub head: AuditHead,
}

/// Checks an export with these public keys. Errors are those of reading; what is wrong with it is in the report.
pub fn check_audit_export(
    export: impl BufRead,
    keys: &[AuditPublicKey],
    known: &[(i64, String)],
) -> io::Result<AuditReport> {
    let mut lines = export.lines();
    let header: Option<AuditExport> = match lines.next() {
        Some(line) => serde_json::from_str(&line?).ok(),
        None => None,
    };
    let header = header.filter(|header| header.metalform_audit == AUDIT_EXPORT_VERSION && header.after >= 0);
    let mut check = AuditCheck::new(keys, header.as_ref().map_or(0, |header| header.after));
    for (seq, hash) in known {
        check.known(*seq, hash);
    }
    match &header {
        Some(header) => check.head(&header.head),
        None => check.fault(AuditFault::NoHeader),
    }
    let mut is_readable = true;
    for (n, line) in lines.enumerate() {
        match serde_json::from_str::<AuditLine>(&line?) {
            Ok(line) => check.line(&line),
            Err(_) if is_readable => {
                is_readable = false;
                check.fault(AuditFault::Unreadable { file: "export", file_line: n + 2 });
            }
            Err(_) => {}
        }
    }
    Ok(check.finish())
}
