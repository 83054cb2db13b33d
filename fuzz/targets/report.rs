//! Any bytes as a machine's report: it is refused, or it is the same after it was stored; what it says of itself is read out of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use metalform_model::Report;

fuzz_target!(|bytes: &[u8]| {
    let Some(report) = metalform_boot::fuzzing::report(bytes) else { return };
    assert!(report.seq > 0 && report.percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)), "{report:?}");
    let stored = serde_json::to_vec(&report).expect("a report can be written");
    let again: Report = serde_json::from_slice(&stored).expect("what was written is read");
    assert_eq!(serde_json::to_vec(&again).expect("a report can be written"), stored);
    // The number of findings is bounded by the report's length; a failure needs a report that failed or names it.
    let listed = report.findings().len();
    assert!(listed <= bytes.len());
    if report.failure().is_some() {
        assert!(report.has_failed() || report.facts.contains_key(Report::FAILURE), "{report:?}");
    }
});
