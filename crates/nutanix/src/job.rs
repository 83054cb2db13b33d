//! A command that goes on without us: `cluster create` takes six minutes (measured on a three-node CE cluster), longer
//! than any connection may be trusted to last, and longer than our own process may live.
//!
//! A job is a folder in the user's home. `mkdir` of it is what makes a job once-only: two of us, or one of us that has
//! lost an answer, can't start it twice. After a crash of ours it is found under its name, with its output; after a
//! restart of the CVM it is told from a running one by the boot id (random(4): made anew at every boot).

use crate::{
    ExecOutput,
    cluster_command::{command_line, quoted},
};
use std::fmt;

/// Exit status of a look at a job that isn't there.
pub(crate) const NO_SUCH_JOB: u32 = 44;

/// Name of a job: `[a-z0-9-]+`, so it needs no quoting and can't leave its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobName(String);

/// A text that is no [`JobName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} can't name a job: only a-z, 0-9 and - can")]
pub struct NotAJobName(pub String);

impl JobName {
    /// Checks the name.
    pub fn new(name: impl Into<String>) -> Result<Self, NotAJobName> {
        let name = name.into();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 100 || !name.chars().all(fits) {
            return Err(NotAJobName(name));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Starts a command as this job. Fails, and starts nothing, where the job's folder is there already.
    ///
    /// The command gets a session of its own and none of our descriptors: neither the end of the connection nor that of
    /// the login shell reaches it. The boot id is written before it starts, its own id after, its status when it ends.
    pub(crate) fn start_line(&self, command: &JobCommand, cluster: &str) -> String {
        let command = match command {
            JobCommand::Cluster(arguments) => command_line(cluster, arguments),
            JobCommand::StopCluster => format!("echo Y | {} stop", quoted(cluster)),
        };
        let inner = quoted(&format!("{{ {command}; }}; echo $? >.metalform/{self}/status"));
        format!(
            "umask 077; mkdir -p .metalform && mkdir .metalform/{self} \
             && cat /proc/sys/kernel/random/boot_id >.metalform/{self}/boot \
             && {{ setsid nohup sh -c {inner} >.metalform/{self}/output 2>&1 </dev/null \
             & echo $! >.metalform/{self}/pid; }}"
        )
    }

    /// Looks at the job, and at its output from this byte on. The order matters: a job that is found not to be alive
    /// has written its status before, if it ended by itself, and everything it wrote.
    pub(crate) fn look_line(&self, from_byte: u64) -> String {
        // tail counts from 1.
        let first = from_byte.saturating_add(1);
        format!(
            "cd .metalform/{self} 2>/dev/null || exit {NO_SUCH_JOB}; \
             echo boot $(cat boot 2>/dev/null) $(cat /proc/sys/kernel/random/boot_id); \
             echo pid $(cat pid 2>/dev/null); \
             kill -0 $(cat pid 2>/dev/null) 2>/dev/null && echo alive; \
             echo status $(cat status 2>/dev/null); \
             echo output; tail -c +{first} output 2>/dev/null"
        )
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobCommand {
    /// `cluster` with these arguments, see [`CreateArguments`](crate::CreateArguments).
    Cluster(Vec<String>),
    /// `cluster stop`, its question answered with yes.
    StopCluster,
}

/// What came of starting a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStart {
    /// It was started.
    Started,
    /// A job of this name was there: nothing was started.
    AlreadyThere,
}

/// How a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSeen {
    /// How far it is.
    pub state: JobState,
    /// What it has written since the byte asked for: whole lines while it runs, password hashes hidden.
    pub output: String,
    /// The byte to ask for next time.
    pub next_byte: u64,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// There is none of this name.
    Absent,
    /// It goes on.
    Running,
    /// It ended with this status.
    Ended {
        /// Exit status of its command.
        status: i32,
    },
    /// It was ended from outside, by a restart of the CVM or a signal: nobody knows how far it came.
    Died,
}

impl JobSeen {
    /// Reads what looking at a job prints.
    pub(crate) fn parse(text: &str, from_byte: u64) -> Option<Self> {
        let (head, output) = text.split_once("output\n")?;
        let line = |name: &str| -> Option<Vec<&str>> {
            let rest = head.lines().find_map(|line| line.strip_prefix(name))?;
            Some(rest.split_whitespace().collect())
        };
        let boot = line("boot")?;
        let has_pid = !line("pid")?.is_empty();
        let is_alive = head.lines().any(|line| line == "alive");
        let state = match (line("status")?.first(), boot.as_slice()) {
            (Some(status), _) => JobState::Ended { status: status.parse().ok()? },
            // Without a process id it is just being started.
            (None, [then, now]) if then == now && (is_alive || !has_pid) => JobState::Running,
            (None, _) => JobState::Died,
        };
        // While more may come only whole lines are taken: a password hash that is cut would not be known as one by its
        // second half.
        let is_cut = text.len() >= ExecOutput::LIMIT;
        let output = match (state, output.rfind('\n')) {
            (JobState::Running, end) => &output[..end.map_or(0, |end| end + 1)],
            (_, Some(end)) if is_cut => &output[..=end],
            _ => output,
        };
        Some(Self { state, output: output.to_owned(), next_byte: from_byte + output.len() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobName {
        JobName::new("create-1").unwrap()
    }

    #[test]
    fn a_job_name_needs_no_quoting() {
        for name in ["create-1", "a", "0123"] {
            assert_eq!(JobName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "A", "a b", "../x", "a.b", "a;b", "é", &"a".repeat(101)] {
            assert_eq!(JobName::new(name), Err(NotAJobName(name.to_owned())));
        }
    }

    #[test]
    fn a_job_is_started_once_and_apart_from_us() {
        let command = JobCommand::Cluster(vec!["--cluster_name=it's".to_owned(), "create".to_owned()]);
        let expected = concat!(
            "umask 077; mkdir -p .metalform && mkdir .metalform/create-1 ",
            "&& cat /proc/sys/kernel/random/boot_id >.metalform/create-1/boot && { setsid nohup sh -c ",
            r"'{ '\''/bin/c'\'' '\''--cluster_name=it'\''\'\'''\''s'\'' '\''create'\''; }; ",
            "echo $? >.metalform/create-1/status' ",
            ">.metalform/create-1/output 2>&1 </dev/null & echo $! >.metalform/create-1/pid; }",
        );
        assert_eq!(job().start_line(&command, "/bin/c"), expected);
        let stop = job().start_line(&JobCommand::StopCluster, "/bin/c");
        assert!(stop.contains(r"'{ echo Y | '\''/bin/c'\'' stop; }; echo $? >.metalform/create-1/status'"), "{stop}");
    }

    #[test]
    fn output_is_asked_for_from_a_byte_on() {
        assert!(job().look_line(0).ends_with("tail -c +1 output 2>/dev/null"));
        assert!(job().look_line(99).ends_with("tail -c +100 output 2>/dev/null"));
    }

    fn seen(head: &str, output: &str) -> JobSeen {
        JobSeen::parse(&format!("{head}\noutput\n{output}"), 100).unwrap()
    }

    #[test]
    fn a_job_that_goes_on_is_told_from_one_that_a_restart_has_ended() {
        for (head, state) in [
            ("boot b1 b1\npid 77\nalive\nstatus", JobState::Running),
            ("boot b1 b1\npid 77\nalive\nstatus 0", JobState::Ended { status: 0 }),
            ("boot b1 b1\npid 77\nstatus 137", JobState::Ended { status: 137 }),
            ("boot b1 b2\npid 77\nstatus 1", JobState::Ended { status: 1 }),
            ("boot b1 b1\npid 77\nstatus", JobState::Died),
            // Another process has its number now.
            ("boot b1 b2\npid 77\nalive\nstatus", JobState::Died),
            // Between mkdir and the process.
            ("boot b1 b1\npid\nstatus", JobState::Running),
            ("boot b2\npid\nstatus", JobState::Died),
        ] {
            assert_eq!(seen(head, "").state, state, "{head}");
        }
        assert_eq!(JobSeen::parse("boot b1 b1\npid 77\nstatus x\noutput\n", 0), None);
        assert_eq!(JobSeen::parse("bash: cd: no\n", 0), None);
    }

    #[test]
    fn a_running_job_is_read_in_whole_lines() {
        const RUNS: &str = "boot b1 b1\npid 77\nalive\nstatus";
        let first = seen(RUNS, "one\noutput\nhash $6$ab");
        assert_eq!((first.output.as_str(), first.next_byte), ("one\noutput\n", 111));
        let none = seen(RUNS, "hash $6$ab");
        assert_eq!((none.output.as_str(), none.next_byte), ("", 100));
        let last = seen("boot b1 b1\npid 77\nstatus 0", "Success!");
        assert_eq!((last.output.as_str(), last.next_byte), ("Success!", 108));
    }

    #[test]
    fn output_beyond_the_limit_is_left_for_the_next_look() {
        let output = format!("line\n{}", "x".repeat(ExecOutput::LIMIT));
        let seen = seen("boot b1 b1\npid 77\nstatus 0", &output);
        assert_eq!((seen.output.as_str(), seen.next_byte), ("line\n", 105));
    }
}
