//! Progress callbacks: with `monitoring_url_root` in its Arizona document, the Nutanix installer and its first-boot scripts
//! POST `<root>&step=<step>&offset=<n>` with a text as the body. A step is a phase's name, or the level of a log line.
//!
//! The names, and the minutes that Foundation allows for each, stand in docs/facts/nutanix.md: a few are
//! skipped on fast networks, and which of them CE 2.1 sends is not known. So an unknown step is a line of the log, and a
//! phase that was skipped costs nothing: `percent` is where the phase begins, of the whole.

use crate::{Report, ReportPhase, ReportStatus};
use serde::{Deserialize, Serialize};

/// One callback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallerCall {
    /// The phase's name or the log line's level, decoded; at most [`InstallerCall::LONGEST_STEP`] bytes.
    pub step: String,
    /// The installer's own counter.
    pub offset: u64,
    /// The body; at most [`InstallerCall::LONGEST_TEXT`] bytes, what is longer is cut.
    pub text: String,
}

/// The steps of an AHV installation in their order, with Foundation's estimate of each in minutes.
const STEPS: [(&str, ReportPhase, f64); 11] = [
    ("Will run CVM Installer in a while", ReportPhase::Installing, 1.0),
    ("Downloading AOS tarball", ReportPhase::Installing, 1.0),
    ("Downloading hypervisor iso", ReportPhase::Installing, 0.25),
    ("Downloading resources (slow network detected)", ReportPhase::Installing, 1.0),
    ("Running CVM Installer", ReportPhase::Installing, 10.0),
    ("Running firmware detection", ReportPhase::Installing, 15.0),
    ("Rebooting node. This may take several minutes", ReportPhase::Rebooting, 6.0),
    ("Running firstboot scripts", ReportPhase::Rebooting, 0.1),
    ("Creating a new CVM", ReportPhase::Rebooting, 1.0),
    ("CVM booted up successfully", ReportPhase::Rebooting, 0.1),
    (LAST_STEP, ReportPhase::Installed, 0.1),
];

/// Foundation's own sign that imaging is done.
const LAST_STEP: &str = "Last reboot complete";
/// The node gave up.
const FATAL: &str = "fatal";
const LEVELS: [&str; 4] = ["debug", "info", "warning", "error"];

impl InstallerCall {
    /// Bytes of the longest step that is taken.
    pub const LONGEST_STEP: usize = 200;
    /// Bytes of the longest text that is kept.
    pub const LONGEST_TEXT: usize = 4096;

    /// The report that it stands for, after the `last` one of the boot attempt.
    pub fn report(&self, last: Option<&Report>) -> Report {
        let seq = last.map_or(1, |last| last.seq.saturating_add(1));
        // The installer knows nothing of what the agent found out: that stays. What stopped a machine before is over.
        let mut facts = last.map(|last| last.facts.clone()).unwrap_or_default();
        facts.retain(|name, _| name != Report::FAILURE && name != Report::FINDINGS);
        let report = |phase, status, percent, message: &str, log| Report {
            seq,
            phase,
            status,
            percent,
            message: message.trim().to_owned(),
            log,
            facts: facts.clone(),
        };
        let text = self.text.trim();
        let step = self.step.trim();
        if step.eq_ignore_ascii_case(FATAL) {
            let message = if text.is_empty() { "the installer gave up and says nothing more" } else { text };
            return report(
                ReportPhase::Failed,
                ReportStatus::Failed,
                last.and_then(|last| last.percent),
                message,
                vec![],
            );
        }
        let Some((name, phase, percent)) = known_step(step) else {
            // A line of the log changes neither phase nor progress.
            let level = LEVELS.iter().find(|level| step.eq_ignore_ascii_case(level));
            let line = match level {
                Some(level) => format!("{level}: {text}"),
                None => format!("{step}: {text}"),
            };
            return match last {
                Some(last) => report(last.phase, last.status, last.percent, &last.message, vec![line]),
                None => report(ReportPhase::Installing, ReportStatus::Running, Some(0.0), &line, vec![line.clone()]),
            };
        };
        let log = if text.is_empty() { vec![] } else { vec![text.to_owned()] };
        let has_gone_back = last.is_some_and(|last| phase < last.phase);
        match phase {
            ReportPhase::Installed => report(phase, ReportStatus::Ok, Some(100.0), name, log),
            // The machine started its installer once more, under the same permission.
            _ if has_gone_back => {
                let message = format!("the installer starts over: {name}");
                report(ReportPhase::Booting, ReportStatus::Running, Some(percent), &message, log)
            }
            _ => report(phase, ReportStatus::Running, Some(percent), name, log),
        }
    }
}

/// The step's name as it is written above, its phase, and the percentage at which it begins.
fn known_step(step: &str) -> Option<(&'static str, ReportPhase, f64)> {
    let at = STEPS.iter().position(|(name, ..)| step.eq_ignore_ascii_case(name))?;
    let minutes = |steps: &[(&str, ReportPhase, f64)]| steps.iter().fold(0.0, |sum, (_, _, minutes)| sum + minutes);
    let percent = (1000.0 * minutes(&STEPS[..at]) / minutes(&STEPS)).round() / 10.0;
    Some((STEPS[at].0, STEPS[at].1, percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(step: &str, text: &str) -> InstallerCall {
        InstallerCall { step: step.into(), offset: 0, text: text.into() }
    }

    #[test]
    fn the_steps_lead_from_installing_to_installed_and_never_back() {
        let mut last: Option<Report> = None;
        let mut told = Vec::new();
        for (name, ..) in STEPS {
            let report = call(name, "").report(last.as_ref());
            told.push(format!(
                "{} {} {:?} {}",
                report.seq,
                report.phase.as_str(),
                report.percent.unwrap(),
                report.message
            ));
            last = Some(report);
        }
        assert_eq!(
            told,
            [
                "1 installing 0.0 Will run CVM Installer in a while",
                "2 installing 2.8 Downloading AOS tarball",
                "3 installing 5.6 Downloading hypervisor iso",
                "4 installing 6.3 Downloading resources (slow network detected)",
                "5 installing 9.1 Running CVM Installer",
                "6 installing 37.3 Running firmware detection",
                "7 rebooting 79.5 Rebooting node. This may take several minutes",
                "8 rebooting 96.3 Running firstboot scripts",
                "9 rebooting 96.6 Creating a new CVM",
                "10 rebooting 99.4 CVM booted up successfully",
                "11 installed 100.0 Last reboot complete",
            ]
        );
        assert_eq!(last.unwrap().status, ReportStatus::Ok);
    }

    #[test]
    fn a_line_of_the_log_changes_neither_phase_nor_progress() {
        let running = call("Running CVM Installer", "").report(None);
        for (step, line) in [("info", "info: x"), ("WARNING", "warning: x"), ("Polishing", "Polishing: x")] {
            let report = call(step, "x\n").report(Some(&running));
            assert_eq!(report, Report { seq: 2, log: vec![line.to_owned()], ..running.clone() });
        }
        let first = call("debug", "hello").report(None);
        assert_eq!((first.phase, first.message.as_str()), (ReportPhase::Installing, "debug: hello"));
    }

    #[test]
    fn what_the_agent_found_out_stays_and_what_stopped_it_does_not() {
        let mut last = call("Running CVM Installer", "").report(None);
        for fact in ["aos_version", Report::FAILURE, Report::FINDINGS] {
            last.facts.insert(fact.into(), "x".into());
        }
        for step in ["info", "Last reboot complete", "fatal"] {
            let facts = call(step, "y").report(Some(&last)).facts;
            assert_eq!(facts.keys().collect::<Vec<_>>(), ["aos_version"], "{step}");
        }
    }

    #[test]
    fn fatal_is_the_end() {
        let running = call("Running CVM Installer", "").report(None);
        let report = call("fatal", "no disk for the CVM\n").report(Some(&running));
        assert_eq!((report.phase, report.status), (ReportPhase::Failed, ReportStatus::Failed));
        assert_eq!((report.seq, report.percent, report.message.as_str()), (2, running.percent, "no disk for the CVM"));
        assert!(!call("fatal", "").report(None).message.is_empty());
    }

    #[test]
    fn an_installer_that_starts_over_boots_again() {
        let rebooting = call("Rebooting node. This may take several minutes", "").report(None);
        let again = call("Will run CVM Installer in a while", "").report(Some(&rebooting));
        assert_eq!((again.seq, again.phase, again.percent), (2, ReportPhase::Booting, Some(0.0)));
        let on = call("Downloading AOS tarball", "").report(Some(&again));
        assert_eq!((on.seq, on.phase), (3, ReportPhase::Installing));
    }
}
