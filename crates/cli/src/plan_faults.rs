//! Faults of a plan as the service sends them: documents, shown the way [`metalform_model::PlanFault`] shows itself.

use serde_json::Value;

/// `line 12: nodes[1].mgmt_ip = "10.0.0.300": not an IPv4 address; write …`
pub fn fault_line(fault: &Value) -> String {
    let text = |key: &str| fault[key].as_str();
    let place = match (fault["line"].as_u64(), fault["column"].as_u64(), text("pointer")) {
        (Some(line), Some(column), _) => format!("line {line}, column {column}"),
        (Some(line), None, _) => format!("line {line}"),
        (None, _, Some("")) => "the document".into(),
        (None, _, Some(pointer)) => pointer.to_owned(),
        (None, _, None) => "plan".into(),
    };
    let warning = if text("severity") == Some("warning") { "warning: " } else { "" };
    let subject = match (text("path").unwrap_or_default(), text("value")) {
        ("", _) => String::new(),
        (path, Some(value)) => format!("{path} = {value}: "),
        (path, None) => format!("{path}: "),
    };
    let why = text("why").unwrap_or("no reason given");
    let instead = text("instead").map(|instead| format!("; {instead}")).unwrap_or_default();
    format!("{warning}{place}: {subject}{why}{instead}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use metalform_model::{Place, PlanFault};

    #[test]
    fn a_fault_reads_the_same_whether_it_was_found_here_or_by_the_service() {
        let fault = PlanFault::error("bad_address", "nodes[1].mgmt_ip", "not an IPv4 address", "write four numbers");
        for (place, shown) in [
            (Place::Line(12), "line 12: nodes[1].mgmt_ip = \"x\": not an IPv4 address; write four numbers"),
            (
                Place::Position(3, 7),
                "line 3, column 7: nodes[1].mgmt_ip = \"x\": not an IPv4 address; write four numbers",
            ),
            (
                Place::Pointer("/nodes/1".into()),
                "/nodes/1: nodes[1].mgmt_ip = \"x\": not an IPv4 address; write four numbers",
            ),
            (
                Place::Pointer(String::new()),
                "the document: nodes[1].mgmt_ip = \"x\": not an IPv4 address; write four numbers",
            ),
            (Place::Path, "plan: nodes[1].mgmt_ip = \"x\": not an IPv4 address; write four numbers"),
        ] {
            let fault = PlanFault { place, ..fault.clone().with_value("x") };
            assert_eq!(fault_line(&serde_json::to_value(&fault).unwrap()), shown);
            assert_eq!(fault.to_string(), shown);
        }
        let warning = PlanFault::error("key_has_no_effect", "", "it has none", "leave it out").as_warning();
        assert_eq!(fault_line(&serde_json::to_value(&warning).unwrap()), warning.to_string());
    }
}
