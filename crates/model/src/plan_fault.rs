//! One thing that is wrong with a plan: where it stands, what stands there, why that can't be, and what to write
//! instead.
//!
//! Rules say only the path (`nodes[1].mgmt_ip`); the reader, which knows the text, turns it into a line (TOML) or a
//! pointer (JSON, RFC 6901). So one rule serves both formats, and also a plan whose text is long gone.

use serde::{Serialize, Serializer, ser::SerializeMap};
use std::fmt;

/// Where in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Line of a TOML document, from 1.
    Line(usize),
    /// Line and column, from 1, of either format: where the text stops being TOML or JSON.
    Position(usize, usize),
    /// JSON pointer.
    Pointer(String),
    /// The text is not at hand; the fault's path says where.
    Path,
}

/// Whether the plan is refused for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The plan is refused.
    Error,
    /// The plan is taken; the operator should know.
    Warning,
}

/// One fault of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanFault {
    /// A stable word, one of [`PlanFault::CODES`].
    pub code: &'static str,
    /// Where in the text.
    #[serde(flatten)]
    pub place: Place,
    /// Where in the plan: `nodes[1].mgmt_ip`; empty for the plan as a whole.
    pub path: String,
    /// What stands there, quoted and shortened; `None` when nothing does, or when the key is unknown.
    pub value: Option<String>,
    /// Why that can't be.
    pub why: String,
    /// What to write instead.
    pub instead: String,
    /// Whether the plan is refused for it.
    pub severity: Severity,
}

impl PlanFault {
    /// Every code there is.
    pub const CODES: &[&str] = &[
        "syntax",
        "too_large",
        "more_faults",
        "unknown_key",
        "duplicate_key",
        "missing_key",
        "wrong_type",
        "unknown_word",
        "out_of_range",
        "empty_list",
        "list_too_long",
        "bad_name",
        "reserved_name",
        "bad_id",
        "bad_zone",
        "bad_timezone",
        "bad_host",
        "bad_cluster_function",
        "bad_node_position",
        "bad_address",
        "unusable_address",
        "reserved_address",
        "bad_device",
        "bad_selector",
        "duplicate_value",
        "different_subnets",
        "too_few_nodes",
        "too_many_nodes",
        "foundation_one_node",
        "no_dns_servers",
        "no_ntp_servers",
        "unknown_profile",
        "profile_without_data_drives",
        "too_many_drives",
        "drive_too_large",
        "cvm_shares_a_drive",
        "wipes_any_drive",
        "drives_not_by_profile",
        "drives_on_compute_node",
        "key_has_no_effect",
        "hypervisor_unknown",
        "outside_subnet",
        "cloud_address",
    ];

    /// An error at a path of the plan.
    pub fn error(
        code: &'static str,
        path: impl Into<String>,
        why: impl Into<String>,
        instead: impl Into<String>,
    ) -> Self {
        let (path, why, instead) = (path.into(), why.into(), instead.into());
        PlanFault { code, place: Place::Path, path, value: None, why, instead, severity: Severity::Error }
    }

    /// The same, as a warning.
    #[must_use]
    pub fn as_warning(self) -> Self {
        PlanFault { severity: Severity::Warning, ..self }
    }

    /// The same, showing what stands there. Control characters are escaped and long values shortened, so a hostile plan
    /// can't reach the reader's terminal.
    #[must_use]
    pub fn with_value(self, shown: impl fmt::Debug) -> Self {
        PlanFault { value: Some(shorten(&format!("{shown:?}"))), ..self }
    }

    /// Whether the plan is refused for it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Position(line, column) => write!(f, "line {line}, column {column}"),
            Place::Pointer(pointer) if pointer.is_empty() => f.write_str("the document"),
            Place::Pointer(pointer) => write!(f, "{}", pointer.escape_debug()),
            Place::Path => f.write_str("plan"),
        }
    }
}

/// Flat keys: `{"line":12}`, `{"line":3,"column":7}`, `{"pointer":"/nodes/1"}`, or none.
impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Place::Line(line) => map.serialize_entry("line", line)?,
            Place::Position(line, column) => {
                map.serialize_entry("line", line)?;
                map.serialize_entry("column", column)?;
            }
            Place::Pointer(pointer) => map.serialize_entry("pointer", pointer)?,
            Place::Path => {}
        }
        map.end()
    }
}

/// `line 12: nodes[1].mgmt_ip = "10.0.0.300": not an IPv4 address; write …`
impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        write!(f, "{}: ", self.place)?;
        match (&self.value, self.path.is_empty()) {
            (Some(value), false) => write!(f, "{} = {value}: ", self.path)?,
            (None, false) => write!(f, "{}: ", self.path)?,
            (_, true) => {}
        }
        write!(f, "{}; {}", self.why, self.instead)
    }
}

impl std::error::Error for PlanFault {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(place: Place) -> PlanFault {
        let fault = PlanFault::error("bad_address", "nodes[1].mgmt_ip", "not an IPv4 address", "write four numbers");
        PlanFault { place, ..fault.with_value("10.0.0.300") }
    }

    #[test]
    fn a_fault_reads_as_one_line_with_place_value_why_and_instead() {
        assert_eq!(
            fault(Place::Line(12)).to_string(),
            r#"line 12: nodes[1].mgmt_ip = "10.0.0.300": not an IPv4 address; write four numbers"#
        );
        assert_eq!(
            fault(Place::Pointer("/nodes/1/mgmt_ip".into())).as_warning().to_string(),
            r#"warning: /nodes/1/mgmt_ip: nodes[1].mgmt_ip = "10.0.0.300": not an IPv4 address; write four numbers"#
        );
    }

    #[test]
    fn a_fault_is_flat_json() {
        assert_eq!(
            serde_json::to_value(fault(Place::Line(12))).unwrap(),
            json!({"code": "bad_address", "line": 12, "path": "nodes[1].mgmt_ip", "value": "\"10.0.0.300\"",
                   "why": "not an IPv4 address", "instead": "write four numbers", "severity": "error"})
        );
        let unplaced = serde_json::to_value(fault(Place::Path)).unwrap();
        assert!(
            unplaced.get("line").is_none()
                && unplaced.get("pointer").is_none()
                && unplaced["path"] == "nodes[1].mgmt_ip"
        );
        let pointed = serde_json::to_value(fault(Place::Pointer("/nodes/1/mgmt_ip".into()))).unwrap();
        assert_eq!(pointed["pointer"], "/nodes/1/mgmt_ip");
    }

    #[test]
    fn a_hostile_value_cannot_reach_the_terminal() {
        let hostile =
            PlanFault::error("bad_name", "cluster.name", "no", "x").with_value(format!("\x1b[2J{}", "a".repeat(500)));
        let shown = hostile.to_string();
        assert!(!shown.contains('\x1b') && shown.chars().count() < 140, "{shown}");
        let pointed = PlanFault { place: Place::Pointer("/\x1b[2J".into()), ..hostile };
        assert!(!pointed.to_string().contains('\x1b'));
    }
}
