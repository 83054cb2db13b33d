//! What a machine says about itself while it is installed: the body of `POST /boot/report/{server_id}`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where the installer stands, in the node's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportPhase {
    /// The kernel is up and our agent runs.
    Booting,
    /// Hardware is compared with the configuration.
    Checking,
    /// The disks are being written.
    Installing,
    /// Written; the machine restarts from its disk.
    Rebooting,
    /// The installed system is up. Closes the boot attempt.
    Installed,
    /// The installer gave up; `message` says why.
    Failed,
}

impl ReportPhase {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ReportPhase::Booting => "booting",
            ReportPhase::Checking => "checking",
            ReportPhase::Installing => "installing",
            ReportPhase::Rebooting => "rebooting",
            ReportPhase::Installed => "installed",
            ReportPhase::Failed => "failed",
        }
    }
}

/// How the named phase goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportStatus {
    /// Under way.
    Running,
    /// Ended well.
    Ok,
    /// Ended badly.
    Failed,
}

/// One report. `seq` grows within a boot attempt; a repeated or older one changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Counts up from 1 within a boot attempt.
    pub seq: u64,
    /// Where the installer stands.
    pub phase: ReportPhase,
    /// How that phase goes.
    pub status: ReportStatus,
    /// 0 to 100, of the whole installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// One sentence for a person.
    #[serde(default)]
    pub message: String,
    /// New log lines since the last report.
    #[serde(default)]
    pub log: Vec<String>,
    /// What the node found out about itself: `node_uuid`, disks, memory.
    #[serde(default)]
    pub facts: Map<String, Value>,
}

/// Names under which a report's facts hold what the checks of the hardware found.
impl Report {
    /// Whether it says that any file was compared with the manifest: a list of names, or from older agents their number.
    pub fn has_compared_files(&self) -> bool {
        match self.facts.get(Report::FILES_COMPARED) {
            Some(Value::Array(names)) => !names.is_empty(),
            Some(number) => number.as_u64().is_some_and(|count| count > 0),
            None => false,
        }
    }

    /// `facts.findings`: a list of [`Finding`], all of them, in every report of the phase `checking` that ends it, and in
    /// a `failed` one that they caused.
    pub const FINDINGS: &'static str = "findings";

    /// `facts.failure`: the one [`Finding`] that a `failed` report is about.
    pub const FAILURE: &'static str = "failure";

    /// `facts.files_compared`: the names of the files that the agent has fetched for the installer and compared with the
    /// manifest, in the report that it makes once all of them are as that says; of older agents how many. It counts by its presence.
    pub const FILES_COMPARED: &'static str = "files_compared";

    /// What the checks found; a finding that can't be read is left out.
    pub fn findings(&self) -> Vec<Finding> {
        let listed = self.facts.get(Self::FINDINGS).and_then(Value::as_array).into_iter().flatten();
        listed.filter_map(|finding| serde_json::from_value(finding.clone()).ok()).collect()
    }

    /// Whether it says that the installation has failed.
    pub fn has_failed(&self) -> bool {
        self.phase == ReportPhase::Failed || self.status == ReportStatus::Failed
    }

    /// What made it fail, where the machine said so. A report that ends the checks comes before the one that gives up, and
    /// lists all that was found: then it is the first that stops the installation.
    pub fn failure(&self) -> Option<Finding> {
        let said = self.facts.get(Self::FAILURE).and_then(|finding| serde_json::from_value(finding.clone()).ok());
        let found = || self.findings().into_iter().find(|finding| finding.verdict == Verdict::Failed);
        said.or_else(|| if self.has_failed() { found() } else { None })
    }
}

/// One thing that a machine found out when it compared itself with its configuration, or that stopped it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable word: `disk_missing`, `disk_too_small`, `disk_in_use`, `disk_has_partitions`, `nic_missing`, …
    pub code: String,
    /// Whether it stops the installation.
    pub verdict: Verdict,
    /// What it is about: `/dev/nvme1n1`, `memory`, `eth0`.
    pub subject: String,
    /// One sentence: what was wanted, what is there.
    pub reason: String,
    /// What to do about it; empty where there is nothing to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing; the installation goes on.
    Warning,
    /// Stops the installation.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_the_same_after_it_was_stored() {
        // Found by `fuzz/targets/report.rs`: read as the nearest number but one, and another one at the next reading.
        let facts = "{\"cycles\": [8888888888888880000005831161344190170908]}";
        let heard = format!("{{\"seq\": 2, \"phase\": \"checking\", \"status\": \"ok\", \"facts\": {facts}}}");
        let report: Report = serde_json::from_str(&heard).unwrap();
        let stored = serde_json::to_string(&report).unwrap();
        let again: Report = serde_json::from_str(&stored).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), stored);
    }
}
