//! `metalform explain`: one node on one page.

use crate::{context::Context, error::CliError, output::clean};
use clap::Args;
use metalform_model::{
    BootTrust, Explanation, Finding, ImagesInIpxe, ScriptOrigin, Timestamp, Trust, TrustLevel, Verdict, in_words,
};
use std::time::Duration;

/// Explain where a node stands, what was heard of it, and what to do next
#[derive(Debug, Args)]
pub struct Explain {
    /// The node's server id
    server_id: String,
}

/// Runs it.
pub async fn run(context: &Context, args: &Explain) -> Result<(), CliError> {
    let told = context.client().await?.explain(&args.server_id).await?;
    match context.json {
        true => context.out.json(&told),
        false => context.out.raw(&page(&told, context.now())),
    }
}

/// By what the machine has shown who it is.
fn trust_in_words(trust: Trust) -> &'static str {
    match trust {
        Trust::Session => "the key of its session: everything it asks for is signed",
        Trust::Token => "its boot token alone, from its own address: its image set has no agent, or an older one",
    }
}

/// The level as JSON has it.
fn trust_word(level: TrustLevel) -> &'static str {
    match level {
        TrustLevel::Unverified => "unverified",
        TrustLevel::FilesCompared => "files_compared",
        TrustLevel::ImagesCompared => "images_compared",
        TrustLevel::Pinned => "pinned",
        TrustLevel::PinnedAndCompared => "pinned_and_compared",
    }
}

/// What the level is made of, a line each.
fn trust_page(trust: &BootTrust) -> String {
    let script = match trust.script {
        ScriptOrigin::Url => "fetched over the network",
        ScriptOrigin::UserData => "in its user data",
    };
    let images = match trust.kernel_and_initrd {
        ImagesInIpxe::Compared => "compared by iPXE",
        ImagesInIpxe::NotCompared => "not compared: its iPXE can't",
        ImagesInIpxe::Differ => "DIFFER, and were not booted",
        ImagesInIpxe::NotTold => "not compared, or not told",
    };
    let files = if trust.installer_files_compared {
        "compared by its agent, as far as it fetched them"
    } else {
        "not compared, or not yet"
    };
    format!(
        "  {}\n  boot script         {script}\n  kernel and initrd   {images}\n  installer's files   {files}\n",
        trust.level.in_words()
    )
}

fn page(told: &Explanation, now: Timestamp) -> String {
    let late = if told.late { "  LATE" } else { "" };
    let usual =
        told.usual_seconds.map(|s| format!(" (usually {})", in_words(Duration::from_secs(s)))).unwrap_or_default();
    let mut page = format!(
        "{} of {}: {} for {}{usual}{late}\n  {}\n",
        clean(&told.server_id),
        clean(&told.cluster),
        clean(&told.phase),
        in_words(now.since(told.since)),
        clean(&told.reason)
    );
    if let Some(awaited) = &told.awaited {
        let left = match awaited.until > now {
            true => format!("in {}", in_words(awaited.until.since(now))),
            false => "passed".to_owned(),
        };
        page += &format!("  awaits {}, until {} ({left})\n", clean(&awaited.what), moment(awaited.until));
    }
    if !told.seen.is_empty() {
        page += "\nseen\n";
        for seen in &told.seen {
            page += &format!("  {}  {}\n", moment(seen.at), clean(&seen.what));
        }
    }
    if let Some(trust) = told.trust {
        page += &format!("\nshown by\n  {}\n", trust_in_words(trust));
    }
    if let Some(trust) = &told.boot_trust {
        page += &format!("\ntrust [{}]\n{}", trust_word(trust.level), trust_page(trust));
    }
    if !told.findings.is_empty() {
        page += "\nchecks\n";
        let width = told.findings.iter().map(|finding| clean(&finding.subject).len()).max().unwrap_or(0);
        told.findings.iter().for_each(|finding| page += &line_of(finding, width));
    }
    if told.server.is_some() || told.cvm.is_some() {
        page += "\nlast answers\n";
        for (who, answer) in [("cloud", &told.server), ("CVM", &told.cvm)] {
            let Some(answer) = answer else { continue };
            page += &format!("  {}  {who:<5}  {}\n", moment(answer.at), clean(&answer.what));
        }
    }
    page += "\nwhat it looks like\n";
    for diagnosis in &told.diagnoses {
        page += &format!("  [{}] {}\n", clean(&diagnosis.code), clean(&diagnosis.cause));
        page += &format!("    next: {}\n", clean(&diagnosis.next));
    }
    page
}

fn line_of(finding: &Finding, width: usize) -> String {
    let mark = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "FAILED",
    };
    let (subject, reason) = (clean(&finding.subject), clean(&finding.reason));
    let hint = match finding.hint.is_empty() {
        true => String::new(),
        false => format!("    hint: {}\n", clean(&finding.hint)),
    };
    format!("  {mark:<7}  {subject:<width$}  {reason}\n{hint}")
}

/// To the second.
fn moment(at: Timestamp) -> String {
    format!("{}Z", at.to_string().get(..19).unwrap_or("never"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use metalform_model::{Awaited, Diagnosis, Observed};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_767_322_440 + second)
    }

    fn observed(second: i64, what: &str) -> Observed {
        Observed { at: at(second), what: what.into() }
    }

    fn finding(verdict: Verdict, subject: &str, reason: &str, hint: &str) -> Finding {
        Finding { code: "x".into(), verdict, subject: subject.into(), reason: reason.into(), hint: hint.into() }
    }

    #[test]
    fn how_a_machine_shows_who_it_is_stands_there_in_words() {
        assert!(trust_in_words(Trust::Token).contains("boot token alone"));
        assert!(trust_in_words(Trust::Session).contains("session"));
    }

    #[test]
    fn a_node_is_explained_on_one_page() {
        let told = Explanation {
            server_id: "server-001".into(),
            cluster: "alpha".into(),
            phase: "imaging".into(),
            since: at(0),
            usual_seconds: Some(2100),
            late: true,
            reason: "kernel and initrd are sent\u{1b}[31m".into(),
            awaited: Some(Awaited { what: "its controller VM to be ready".into(), until: at(3600) }),
            seen: vec![observed(0, "fetched its boot script"), observed(9, "fetched the kernel")],
            trust: Some(Trust::Session),
            boot_trust: Some(BootTrust {
                level: TrustLevel::Pinned,
                script: ScriptOrigin::UserData,
                kernel_and_initrd: ImagesInIpxe::Compared,
                agent: true,
                session: true,
                installer_files_compared: false,
            }),
            findings: vec![
                finding(Verdict::Ok, "memory", "384 GiB", ""),
                finding(Verdict::Warning, "/dev/nvme2n1", "it holds a partition table", "it will be wiped"),
                finding(Verdict::Failed, "eth0", "it has no link", ""),
            ],
            failure: None,
            server: Some(observed(5, "it is powered on")),
            cvm: Some(observed(6, "it doesn't answer")),
            diagnoses: vec![Diagnosis {
                code: "kernel_silent".into(),
                cause: "it asks nothing".into(),
                next: "look".into(),
            }],
        };
        assert_eq!(
            page(&told, at(2400)),
            "\
server-001 of alpha: imaging for 40m 00s (usually 35m 00s)  LATE
  kernel and initrd are sent\\u{1b}[31m
  awaits its controller VM to be ready, until 2026-01-02T03:54:00Z (in 20m 00s)

seen
  2026-01-02T02:54:00Z  fetched its boot script
  2026-01-02T02:54:09Z  fetched the kernel

shown by
  the key of its session: everything it asks for is signed

trust [pinned]
  iPXE compared kernel and initrd with the digests in its user data: nobody on its network could change them
  boot script         in its user data
  kernel and initrd   compared by iPXE
  installer's files   not compared, or not yet

checks
  ok       memory        384 GiB
  warning  /dev/nvme2n1  it holds a partition table
    hint: it will be wiped
  FAILED   eth0          it has no link

last answers
  2026-01-02T02:54:05Z  cloud  it is powered on
  2026-01-02T02:54:06Z  CVM    it doesn't answer

what it looks like
  [kernel_silent] it asks nothing
    next: look
"
        );
    }

    #[test]
    fn what_is_not_known_leaves_no_heading_behind() {
        let told = Explanation {
            server_id: "a".into(),
            cluster: "c".into(),
            phase: "ready".into(),
            since: at(0),
            usual_seconds: None,
            late: false,
            reason: "ready".into(),
            awaited: None,
            seen: vec![],
            trust: None,
            boot_trust: None,
            findings: vec![],
            failure: None,
            server: None,
            cvm: None,
            diagnoses: vec![Diagnosis { code: "as_expected".into(), cause: "fine".into(), next: "nothing".into() }],
        };
        let expected =
            "a of c: ready for 1m 00s\n  ready\n\nwhat it looks like\n  [as_expected] fine\n    next: nothing\n";
        assert_eq!(page(&told, at(60)), expected);
    }
}
