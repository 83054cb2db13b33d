//! What stands on the consoles of a machine that has failed. A person comes to it hours later and has nothing else.

use crate::finding::InWords;
use metalform_model::{Finding, Verdict};

/// The failure, what else stops the node, and what the machine does now.
pub fn failed(failure: &Finding, findings: &[Finding]) -> String {
    let mut text = String::from("\n==== metalform: this machine could not be installed ====\n");
    text.push_str(&format!("{}\n", InWords(failure)));
    let same = |finding: &&Finding| finding.code == failure.code && finding.subject == failure.subject;
    let others: Vec<&Finding> =
        findings.iter().filter(|finding| finding.verdict != Verdict::Ok && !same(finding)).collect();
    if !others.is_empty() {
        text.push_str("also found:\n");
    }
    for finding in others {
        text.push_str(&format!("{}\n", InWords(finding)));
    }
    text.push_str("The machine stays as it is, so that you can look; nothing restarts it but you or the service.\n");
    text.push_str("========================================================\n");
    text
}
