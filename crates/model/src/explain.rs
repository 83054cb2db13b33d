//! `metalform explain`: one node on one page. What it waits for and until when, what was heard of it, and, where it went
//! silent, which step that points to and what to look at. A pure function of what is recorded: the same record explains
//! itself the same way a week later.
//!
//! A diagnosis names the most likely cause of what is *not* there: the first step that is missing. It is told only after
//! that step has had its time, so that a machine which works is not called ill. Rejected: a confidence in percent, which
//! nobody could say the base of.

use crate::{
    BootAttempt, BootProgress, BootStep, BootTrust, CvmAnswer, Failure, Finding, HeldScript, NodePhase, NodeRecord,
    NodeView, PartialImage, RefusedImage, ReportPhase, ScriptOrigin, ServerStatus, Timestamp, Trust, in_words,
    node_deadline,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const KERNEL: &str = "vmlinuz-foundation";

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// From one step of the boot script to the next; downloads count from where they broke off.
const SCRIPT_STEP: Duration = minutes(2);
/// From the last download to the first request of what was booted.
const KERNEL_START: Duration = minutes(5);
/// From the configuration to the first report.
const FIRST_REPORT: Duration = minutes(5);
/// A script that is fetched more often goes round: a boot that works fetches it once, an installer's restarts a few times.
const MANY_SCRIPTS: u32 = 4;

/// A node, explained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The node.
    pub server_id: String,
    /// Its cluster.
    pub cluster: String,
    /// Where it stands.
    pub phase: String,
    /// Since when.
    pub since: Timestamp,
    /// How long it usually stays there, in seconds; absent where nothing is awaited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual_seconds: Option<u64>,
    /// Whether it stays there longer.
    pub late: bool,
    /// What is awaited, in words.
    pub reason: String,
    /// The deadline of the present wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<Awaited>,
    /// What was heard of the present boot attempt, oldest first.
    pub seen: Vec<Observed>,
    /// By what the machine has shown who it is in its present boot attempt; absent where it has not needed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// How far what was booted can be trusted; absent before anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_trust: Option<BootTrust>,
    /// What the checks of the hardware found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The cloud's last answer about its server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Observed>,
    /// The controller VM's last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvm: Option<Observed>,
    /// What it looks like, the likeliest first; never empty.
    pub diagnoses: Vec<Diagnosis>,
}

/// What is awaited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Awaited {
    /// In words.
    pub what: String,
    /// Until when, before the node fails.
    pub until: Timestamp,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// When.
    pub at: Timestamp,
    /// In words.
    pub what: String,
}

/// What a record looks like to somebody who has seen many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// A stable word: `kernel_not_requested`, `download_stopped`, …; `as_expected` where nothing is wrong.
    pub code: String,
    /// What is seen, and what it most likely comes from.
    pub cause: String,
    /// What to look at or do next.
    pub next: String,
}

/// A request of the node, or in its name, that the boot plane refused: a line of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRequest {
    /// When.
    pub at: Timestamp,
    /// What was asked for: `boot.script`, `boot.config`, …
    pub action: String,
    /// From which address.
    pub source: String,
    /// Stable word of the refusal.
    pub code: String,
}

fn diagnosis(code: &str, cause: impl Into<String>, next: impl Into<String>) -> Diagnosis {
    Diagnosis { code: code.into(), cause: cause.into(), next: next.into() }
}

/// Explains a node. `refusals`: of its present boot attempt, newest last.
pub fn explain_node(view: NodeView<'_>, cluster: &str, refusals: &[RefusedRequest], now: Timestamp) -> Explanation {
    let record = view.record;
    let closed_at = record.attempt.as_ref().and_then(|attempt| attempt.closed_at);
    let refusals: Vec<RefusedRequest> =
        refusals.iter().filter(|refused| !is_afterword(refused, closed_at)).cloned().collect();
    let refusals = refusals.as_slice();
    let awaited = node_deadline(view)
        .map(|(from, limit, what)| Awaited { what: what.to_owned(), until: from + limit })
        .filter(|_| !view.absent);
    Explanation {
        server_id: record.server_id.clone(),
        cluster: cluster.to_owned(),
        phase: record.phase.as_str().into(),
        since: record.since,
        usual_seconds: record.phase.expected().map(|usual| usual.as_secs()),
        late: record.is_late(now),
        reason: record.failure.as_ref().map_or(&record.reason, |failure| &failure.reason).clone(),
        awaited,
        seen: what_was_seen(view, refusals),
        trust: record.boot.trust(),
        boot_trust: record.attempt.as_ref().and_then(|attempt| BootTrust::of(&record.boot, attempt.script_origin())),
        findings: record.boot.findings.clone(),
        failure: record.failure.clone(),
        server: record.server.as_ref().map(|seen| Observed { at: seen.at, what: server_in_words(seen) }),
        cvm: record
            .cvm
            .answer
            .as_ref()
            .zip(record.cvm.probed_at)
            .map(|(answer, at)| Observed { at, what: answer.in_words() }),
        diagnoses: diagnose(view, refusals, now),
    }
}

fn server_in_words(seen: &crate::ServerSeen) -> String {
    let status = match seen.status {
        None => "the cloud knows no such server",
        Some(ServerStatus::ComingUp) => "it is coming up",
        Some(ServerStatus::Running) => "it is powered on",
        Some(ServerStatus::Stopping) => "it is being powered off",
        Some(ServerStatus::Stopped) => "it is powered off",
        Some(ServerStatus::Maintenance) => "the cloud works on its hardware",
        Some(ServerStatus::Deleting) => "it is being deleted",
        Some(ServerStatus::Failed) => "the cloud gave up on it",
        Some(ServerStatus::Unknown) => "it has a status that this version doesn't know",
    };
    match &seen.why {
        Some(why) => format!("{status}: {why}"),
        None => status.to_owned(),
    }
}

/// A machine goes on reporting for a moment after the report that ended its boot attempt: refused as it should be, and
/// nothing that a person should look into.
fn is_afterword(refused: &RefusedRequest, closed_at: Option<Timestamp>) -> bool {
    matches!(refused.action.as_str(), "boot.report" | "boot.progress")
        && refused.code == "not_installing"
        && closed_at.is_some_and(|closed| closed <= refused.at)
}

/// In the order of time.
fn what_was_seen(view: NodeView<'_>, refusals: &[RefusedRequest]) -> Vec<Observed> {
    let (record, boot) = (view.record, &view.record.boot);
    let mut seen = Vec::new();
    let mut add = |at: Option<Timestamp>, what: String| seen.extend(at.map(|at| Observed { at, what }));
    add(record.ordered_at, "its server was ordered".into());
    if let Some(attempt) = &record.attempt {
        add(Some(attempt.opened_at), format!("boot attempt {} was opened", attempt.n));
        add(attempt.closed_at, format!("boot attempt {} ended", attempt.n));
    }
    let fetched = match record.attempt.as_ref().is_some_and(|attempt| attempt.inline.is_some()) {
        true => "ran the boot script of its user data",
        false => "fetched its boot script",
    };
    match boot.last_script_at.filter(|last| Some(*last) != boot.script_at) {
        Some(last) => {
            add(boot.script_at, format!("{fetched} for the first time"));
            add(Some(last), format!("{fetched}, {} times by then", boot.scripts));
        }
        None => add(boot.script_at, fetched.into()),
    }
    if let Some(held) = &boot.held {
        add(Some(held.at), "asked for its boot script, and had to wait [image_set_unreadable]".into());
    }
    add(boot.kernel_at, "fetched the kernel".into());
    add(boot.initrd_at, "fetched the initrd".into());
    if let Some(partial) = &boot.partial {
        add(Some(partial.at), format!("stopped fetching {} after {}", partial.file, part_of(partial)));
    }
    if let Some(RefusedImage { file, code, at }) = &boot.refused {
        add(Some(*at), format!("asked for {file}, which can't go out [{code}]"));
    }
    if let Some(step) = &boot.step {
        add(Some(step.at), step.step.in_words());
    }
    if let Some(session) = &boot.session {
        add(Some(session.at), format!("exchanged its boot token for a session of the key {}", session.key.short()));
    }
    add(boot.config_at, "fetched its configuration".into());
    if let Some(report) = &boot.report {
        let percent = report.percent.map(|percent| format!(" {percent:.0} %")).unwrap_or_default();
        add(boot.reported_at, format!("reported {}{percent}: {}", report.phase.as_str(), report.message));
    }
    for RefusedRequest { at, action, source, code } in refusals {
        add(Some(*at), format!("{source} was refused [{code}] when it asked for {}", asked_for(action)));
    }
    seen.sort_by_key(|observed| observed.at);
    seen
}

fn asked_for(action: &str) -> &str {
    match action {
        "boot.script" => "the boot script",
        "boot.attempt" => "whether its boot attempt is open",
        "boot.session" => "a session",
        "boot.config" => "the configuration",
        "boot.arizona" => "the Arizona document",
        "boot.report" | "boot.progress" => "a report to be taken",
        "boot.step" => "a step to be taken",
        "boot.image" => "an image",
        other => other,
    }
}

fn part_of(partial: &PartialImage) -> String {
    let percent = partial.sent.saturating_mul(100).checked_div(partial.of).unwrap_or(0);
    format!("{} of {} bytes ({percent} %)", partial.sent, partial.of)
}

fn diagnose(view: NodeView<'_>, refusals: &[RefusedRequest], now: Timestamp) -> Vec<Diagnosis> {
    let record = view.record;
    let mut found = Vec::new();
    if let Some(trouble) = &record.trouble {
        let next = format!("it is tried again at {}; mend what the error names", trouble.next_at);
        found.push(diagnosis("trouble", trouble.in_words(), next));
    }
    // A node that failed is explained by what it waited for when it did.
    let failed_in = record.failure.as_ref().map(|failure| failure.in_phase.as_str());
    let stood = |phase: NodePhase| record.phase == phase || failed_in == Some(phase.as_str());
    // Only a passed deadline leaves the question what was missing; every other failure has named its cause.
    let is_open = record.failure.as_ref().is_none_or(Failure::is_deadline);
    if is_open && !view.absent {
        if stood(NodePhase::Ordered) || stood(NodePhase::WaitingForBoot) {
            found.extend(silent_before_script(view, refusals, now));
        } else if stood(NodePhase::Imaging) {
            found.extend(stalled_installation(record, refusals, now));
        } else if stood(NodePhase::WaitingForCvm) {
            found.extend(silent_cvm(view, now));
        }
    }
    if let Some(failure) = &record.failure {
        found.push(diagnosis(&failure.code, failure.reason.clone(), failure.hint.clone()));
    }
    if found.is_empty() {
        let next = match record.phase {
            NodePhase::Ready | NodePhase::Released => "nothing to do",
            _ => "nothing to do but wait",
        };
        found.push(diagnosis("as_expected", format!("nothing unusual: {}", record.reason), next));
    }
    found
}

/// The first script fetch is awaited.
fn silent_before_script(view: NodeView<'_>, refusals: &[RefusedRequest], now: Timestamp) -> Option<Diagnosis> {
    let record = view.record;
    let status = record.server.as_ref().and_then(|seen| seen.status);
    if let Some(held) = record.boot.held.as_ref().filter(|_| status != Some(ServerStatus::Stopped)) {
        return Some(since_held(held, refusals).unwrap_or_else(|| held_script(held)));
    }
    if let Some(refused) = last_refusal(refusals, None) {
        return Some(refused);
    }
    if status == Some(ServerStatus::Stopped) {
        return Some(diagnosis(
            "server_off",
            "the server is powered off in the cloud, and nothing of it was heard: it was stopped by hand, or never started",
            "start it in the cloud's console: it boots from the network with its permission; or `metalform retry` later",
        ));
    }
    let waited = now.since(record.since);
    if record.failure.is_none() && !record.is_late(now) {
        return None;
    }
    let cause = match status {
        Some(ServerStatus::Running) => format!(
            "powered on for {} and no request has reached the boot plane: a security group, a route, a firewall or \
             [boot] allow is in the way, or the machine does not boot from the network",
            in_words(waited)
        ),
        _ => format!("the cloud has been bringing the server up for {}, longer than usual", in_words(waited)),
    };
    Some(diagnosis(
        "script_not_requested",
        cause,
        "look at the node's console: does iPXE get an address, which URL does it ask; fetch that URL without its query \
         from another machine of the subnet; check the security groups of the node and of the service",
    ))
}

/// The script was fetched; which step is the first that is missing? A machine that fetched its script again began anew:
/// what it showed before counts no more.
fn stalled_installation(record: &NodeRecord, refusals: &[RefusedRequest], now: Timestamp) -> Option<Diagnosis> {
    let boot = &record.boot;
    let script = boot.last_script_at.or(boot.script_at)?;
    let of_this_round = |at: Option<Timestamp>| at.filter(|at| *at >= script);
    let reported = of_this_round(boot.reported_at);
    let configured = of_this_round(boot.last_config_at.or(boot.config_at));
    if let Some(held) = boot.held.as_ref().filter(|held| reported.max(configured).is_none_or(|at| at <= held.at)) {
        return Some(since_held(held, refusals).unwrap_or_else(|| held_script(held)));
    }
    if let Some(refused) = boot.refused.as_ref().filter(|refused| reported.is_none_or(|at| at <= refused.at)) {
        return Some(refused_image(refused));
    }
    if reported.is_some() {
        return silent_installer(boot, now);
    }
    if let Some(refused) = last_refusal(refusals, Some(configured.unwrap_or(script))) {
        return Some(refused);
    }
    if let Some(at) = configured {
        return (now.since(at) >= FIRST_REPORT).then(|| {
            diagnosis(
                "no_report",
                format!(
                    "the configuration was fetched {} ago and nothing was reported since: the installer runs without \
                     reporting, or stopped before its first report",
                    in_words(now.since(at))
                ),
                "look at the node's console; an image set without the agent reports nothing, and is judged by its \
                 controller VM alone",
            )
        });
    }
    let step = boot.step.as_ref().filter(|seen| seen.at >= script).map(|seen| seen.step);
    if let Some((file, digest)) = match step {
        Some(BootStep::KernelDiffers) => Some((KERNEL, "kernel")),
        Some(BootStep::InitrdDiffers) => Some(("initrd-foundation.img", "initrd")),
        _ => None,
    } {
        return Some(diagnosis(
            "image_changed",
            format!(
                "iPXE was given another {file} than the image set's manifest says, and didn't boot it; the script tries \
                 again up to 30 times: something between service and machine changes files, or a memory is broken"
            ),
            format!(
                "`metalform image verify` compares the service's own files; then fetch {file} from another machine of the \
                 subnet and compare its SHA-256 with {digest}'s in the manifest; a proxy or another machine at the boot \
                 plane's address would explain it"
            ),
        ));
    }
    if let Some(failed) = step.and_then(|step| failed_tls(step, record)) {
        return Some(failed);
    }
    if let Some(BootStep::Error(errno)) = step {
        return Some(diagnosis(
            "boot_script_failed",
            format!(
                "a command of the boot script failed with iPXE error {errno:08x}; the script tries again up to 30 \
                times"
            ),
            format!("https://ipxe.org/{errno:08x} explains the error; the node's console names the command"),
        ));
    }
    if boot.scripts >= MANY_SCRIPTS {
        return Some(diagnosis(
            "boots_again_and_again",
            format!(
                "the boot script was fetched {} times and no installer was heard of: what is booted restarts the \
                machine, or panics",
                boot.scripts
            ),
            "look at the node's console for the kernel's last lines",
        ));
    }
    let (kernel, initrd) = (of_this_round(boot.kernel_at), of_this_round(boot.initrd_at));
    if let Some(partial) = boot.partial.as_ref().filter(|partial| partial.at >= script) {
        return (now.since(partial.at) >= SCRIPT_STEP).then(|| {
            diagnosis(
                "download_stopped",
                format!("{} broke off after {}, {} ago, and was not asked for again: the link or iPXE's network driver \
                    hangs", partial.file, part_of(partial), in_words(now.since(partial.at))),
                "restart the server in the cloud's console: it boots again with the same permission; if it stops at the \
                 same byte, compare the MTU of the path",
            )
        });
    }
    let (code, since, limit, cause, next) = match (kernel, initrd) {
        (None, _) => (
            "kernel_not_requested",
            script,
            SCRIPT_STEP,
            format!("the boot script was fetched and {KERNEL} never asked for: the script's own DHCP fails, or the address \
                of the images can't be reached from the node"),
            "look at the node's console: `dhcp` must end in ok; `metalform script` shows the URLs that it asks for",
        ),
        (Some(at), None) => (
            "initrd_not_requested",
            at,
            SCRIPT_STEP,
            "the kernel was fetched and the initrd never asked for: the machine stopped in between, or a template of yours \
             has no `initrd` line"
                .to_owned(),
            "look at the node's console; `metalform script` shows the script",
        ),
        (Some(_), Some(at)) => (
            "kernel_silent",
            at.max(boot.step.as_ref().map_or(at, |seen| seen.at)),
            KERNEL_START,
            "kernel and initrd were fetched, and what was booted asked for nothing: the kernel started without its initrd, \
             or has no driver for the network card"
                .to_owned(),
            "look at the node's console: a kernel that finds no root has no initrd (UEFI needs `initrd=` on the kernel's \
             line); IBM's second and third generation needs the ionic driver in the initrd",
        ),
    };
    (now.since(since) >= limit).then(|| diagnosis(code, format!("{cause} ({} ago)", in_words(now.since(since))), next))
}

/// What the agent says with the one thing that it can still say without TLS. Anybody who has the boot token could say it, too,
/// and it moves nothing.
fn failed_tls(step: BootStep, record: &NodeRecord) -> Option<Diagnosis> {
    let origin = record.attempt.as_ref().map_or(ScriptOrigin::Url, BootAttempt::script_origin);
    let (code, cause, next) = match step {
        BootStep::TlsUntrusted => (
            "tls_untrusted",
            "the agent asked over TLS and was answered with a certificate that is not of the authority which its boot \
             script pins; it has stopped, with nothing asked for and nothing written",
            match origin {
                ScriptOrigin::Url => {
                    "if `tls/ca.pem` of the service was replaced meanwhile, restart the server in the cloud's console: its \
                     next script pins the new one. If not, something between the node and the service answers in the \
                     service's name: find it before anything is installed on that network"
                }
                // A restart runs the same script again.
                ScriptOrigin::UserData => {
                    "if `tls/ca.key` of the service was replaced meanwhile, the script in the server's user data pins the old \
                     authority, at each restart again: `metalform retry` once the node has failed gives it another. If not, \
                     something between the node and the service answers in the service's name: find it before anything is \
                     installed on that network"
                }
            },
        ),
        BootStep::TlsFailed => (
            "tls_failed",
            "the agent asked over TLS, as its boot script pins it, and no TLS came about; it has stopped, with nothing asked \
             for and nothing written",
            "a proxy between the node and the service that takes HTTP alone can't pass TLS through: let it pass the \
             connection as it is, and restart the server; or set [boot] tls = \"off\", and restart the server, or \
             `metalform retry` where its script stands in user data",
        ),
        _ => return None,
    };
    Some(diagnosis(code, cause, next))
}

/// Reports came; have they stopped?
fn silent_installer(boot: &BootProgress, now: Timestamp) -> Option<Diagnosis> {
    let (report, at) = boot.report.as_ref().zip(boot.reported_at)?;
    // The longest step of an installer that says nothing in between is 15 min by Foundation's estimate.
    let patience = match report.phase {
        ReportPhase::Booting | ReportPhase::Checking => minutes(5),
        ReportPhase::Installing => minutes(20),
        ReportPhase::Rebooting => minutes(20),
        ReportPhase::Installed | ReportPhase::Failed => return None,
    };
    let silent = now.since(at);
    (silent >= patience).then(|| {
        let what = match report.phase {
            ReportPhase::Rebooting => "it did not come back from its restart",
            _ => "the installer hangs, or its machine lost the network",
        };
        let message = format!(
            "the last report came {} ago: {} {}: {what}",
            in_words(silent),
            report.phase.as_str(),
            report.message
        );
        let next = "look at the node's console; `metalform retry` images the node again once it has failed";
        diagnosis("reports_stopped", message, next)
    })
}

/// The set was put right, and now something else is in the way.
fn since_held(held: &HeldScript, refusals: &[RefusedRequest]) -> Option<Diagnosis> {
    let newest = refusals.iter().rev().find(|refused| refused.action != "boot.image")?;
    if newest.code == "image_set_unreadable" { None } else { last_refusal(refusals, Some(held.at)) }
}

fn held_script(held: &HeldScript) -> Diagnosis {
    diagnosis(
        "image_set_unreadable",
        format!("the node asks for its boot script, and gets none: {}", held.why),
        "put the image set right: `metalform image verify` names what is wrong with its files; the node asks again by itself",
    )
}

fn refused_image(refused: &RefusedImage) -> Diagnosis {
    let RefusedImage { file, code, .. } = refused;
    let (cause, next) = match code.as_str() {
        "image_unverified" => (
            format!(
                "{file} is not what the image set's manifest says, or there is no manifest, so it is not handed out"
            ),
            "`metalform image verify` names what differs; import the set again",
        ),
        "image_unreadable" => (
            format!("the service can't read {file}"),
            "give the service read permission in [images] dir: 0644 for files, 0755 for folders; its log has the error",
        ),
        "unknown_image" => (
            format!("{file} is not in the image set any more"),
            "put it back into [images] dir, or import the set again",
        ),
        "image_not_ready" => {
            (format!("the digest of {file} is still being computed"), "the node asks again by itself; wait")
        }
        _ => (format!("{file} can't go out [{code}]"), "the service's log has the error"),
    };
    diagnosis(code, cause, next)
}

/// The newest refusal, unless something newer went well.
fn last_refusal(refusals: &[RefusedRequest], newer_than: Option<Timestamp>) -> Option<Diagnosis> {
    let refused = refusals.iter().rev().find(|refused| refused.action != "boot.image")?;
    if newer_than.is_some_and(|newer| refused.at <= newer) {
        return None;
    }
    let RefusedRequest { source, code, action, .. } = refused;
    let what = asked_for(action);
    let (cause, next) = match code.as_str() {
        "foreign_address" => (
            format!("{source} asked for {what} in this node's name, and that is not the node's address"),
            "if there is address translation in between, set [boot] source_check = \"off\"; if not, another machine has \
             this node's user data",
        ),
        "network_not_allowed" => (
            format!("{source} is not in [boot] allow"),
            "add the node's network to [boot] allow and restart the service",
        ),
        "token_missing" | "token_wrong" => (
            format!(
                "{source} asked for {what} without the token of the present boot attempt: it booted with older user data"
            ),
            "a server takes its user data when it is created or reinitialized: `metalform retry` does that for a failed node",
        ),
        "session_taken" => (
            format!("{source} showed another key after the machine, or somebody in its name, had begun its session"),
            "restart the server in the cloud's console: each fetch of the boot script allows another session; if it comes \
             back, another machine uses this node's address and token",
        ),
        "tls_required" => (
            format!("{source} asked for {what} over plain HTTP, and the boot script of this round pins TLS"),
            "an agent that is older than the service doesn't know of it: add this release's to the image set with \
             `metalform image overlay --agent`, or set [boot] tls = \"off\"; if the node goes on well, another machine has \
             its address and its user data",
        ),
        "session_needed" | "session_unknown" | "signature_wrong" | "signature_stale" => (
            format!("{source} asked for {what} without the key of the node's session [{code}]"),
            "the machine itself signs what it asks for; if it goes on well, another machine has its address and its user \
             data, or repeats what it has heard of it",
        ),
        "not_now" => (
            format!("{source} is parked: this node may not boot now"),
            "it asks again by itself every 30 s; `metalform status` says what the node waits for",
        ),
        "store_away" => (
            format!("{source} could not be served: the store did not answer"),
            "the service's log says what the store lacks; the node asks again by itself",
        ),
        _ => (format!("{source} was refused [{code}] when it asked for {what}"), "the service's log has the reason"),
    };
    Some(diagnosis(code, cause, next))
}

fn silent_cvm(view: NodeView<'_>, now: Timestamp) -> Option<Diagnosis> {
    let record = view.record;
    if record.failure.is_none() && !record.is_late(now) {
        return None;
    }
    let waited = in_words(now.since(record.since));
    let (code, cause, next) = match &record.cvm.answer {
        None | Some(CvmAnswer::Silent) => (
            "cvm_silent",
            "nothing answers at the controller VM's address: the host did not come up from its disk, its network is not \
             what the plan says, or the controller VM was not started",
            "look at the node's console: does the host boot from its disk; on the host, `virsh list --all` shows the \
             controller VM",
        ),
        Some(CvmAnswer::Refused) => (
            "cvm_refused",
            "the controller VM's address answers, and none of its services does",
            "on the controller VM, `genesis status` shows what runs",
        ),
        Some(_) => (
            "cvm_starting",
            "the controller VM answers and is not ready",
            "on the controller VM, `genesis status` and `cluster status` show what it waits for",
        ),
    };
    Some(diagnosis(code, format!("{cause} (waited {waited})"), next))
}
