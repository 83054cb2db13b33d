//! A line of the audit, and a signed head, as a message of syslog: RFC 5424.
//!
//! The element `audit@32473` holds every field, so that the line can be checked against the chain at the receiver. 32473 is
//! the enterprise number that RFC 5612 keeps for examples: we have none of our own.

use metalform_store::{AuditHead, AuditLine};

/// Facility 13, "log audit" (RFC 5424, 6.2.1).
const FACILITY: u8 = 13;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

/// One line. `host`: this machine's name.
pub(super) fn of_line(line: &AuditLine, host: &str) -> String {
    let severity = if line.outcome == "ok" { INFORMATIONAL } else { WARNING };
    let data = element(
        "audit@32473",
        &[
            ("seq", &line.seq.to_string()),
            ("who", &line.who),
            ("action", &line.action),
            ("target", &line.target),
            ("source", &line.source),
            ("outcome", &line.outcome),
            ("prevHash", &line.prev_hash),
            ("hash", &line.hash),
        ],
    );
    let text = format!("{} {} {} from {}: {}", line.who, line.action, line.target, line.source, line.outcome);
    let head = header(severity, &line.at.to_string(), host, &line.action);
    format!("{head} {data} {}", on_one_line(&text))
}

/// One head.
pub(super) fn of_head(head: &AuditHead, host: &str) -> String {
    let data = element(
        "auditHead@32473",
        &[
            ("seq", &head.seq.to_string()),
            ("hash", &head.hash),
            ("at", &head.at.to_string()),
            ("prev", &head.prev),
            ("keyId", &head.key_id),
            ("signature", &head.signature),
        ],
    );
    let start = header(INFORMATIONAL, &head.at.to_string(), host, "audit.head");
    format!("{start} {data} the audit up to line {} is signed: {}:{}", head.seq, head.seq, head.hash)
}

fn header(severity: u8, at: &str, host: &str, kind: &str) -> String {
    format!("<{}>1 {at} {} metalform - {}", FACILITY * 8 + severity, name(host, 255), name(kind, 32))
}

/// A field of the header: printable ASCII without spaces, `-` if nothing is left.
fn name(text: &str, longest: usize) -> String {
    let kept: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if kept.is_empty() { "-".to_owned() } else { kept }
}

fn element(id: &str, fields: &[(&str, &str)]) -> String {
    let mut element = format!("[{id}");
    for (name, value) in fields {
        element.push_str(&format!(" {name}=\""));
        for c in value.chars() {
            // RFC 5424, 6.3.3.
            if matches!(c, '"' | '\\' | ']') {
                element.push('\\');
            }
            element.push(c);
        }
        element.push('"');
    }
    element.push(']');
    element
}

/// A receiver that takes a line for a message must not be told two.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use metalform_model::Timestamp;

    fn line(target: &str, outcome: &str) -> AuditLine {
        AuditLine {
            seq: 7,
            at: Timestamp(1_767_322_445_006_000),
            who: "node server-001".into(),
            action: "boot.script".into(),
            target: target.into(),
            source: "10.0.0.1".into(),
            outcome: outcome.into(),
            prev_hash: "aa".into(),
            hash: "bb".into(),
        }
    }

    #[test]
    fn a_line_is_a_message_of_rfc_5424() {
        assert_eq!(
            of_line(&line("server-001", "ok"), "host one"),
            "<110>1 2026-01-02T02:54:05.006000Z hostone metalform - boot.script [audit@32473 seq=\"7\" \
             who=\"node server-001\" action=\"boot.script\" target=\"server-001\" source=\"10.0.0.1\" outcome=\"ok\" \
             prevHash=\"aa\" hash=\"bb\"] node server-001 boot.script server-001 from 10.0.0.1: ok"
        );
    }

    #[test]
    fn hostile_text_stays_in_its_field() {
        let message = of_line(&line("a\"]b\\\nc", "refused:x"), "");
        assert!(message.starts_with("<108>1 ") && message.contains(" - metalform - boot.script "), "{message}");
        assert!(message.contains("target=\"a\\\"\\]b\\\\\nc\""), "{message}");
        assert!(message.ends_with("node server-001 boot.script a\"]b\\ c from 10.0.0.1: refused:x"), "{message}");
    }
}
