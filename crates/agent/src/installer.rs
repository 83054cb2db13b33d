//! A program that installs: its output line by line as it comes, a deadline, and an end for it and its children.

use crate::{clock::Clock, limits::Limits};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::VecDeque,
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

/// How many of its last lines are told when it fails.
const LAST_LINES: usize = 12;
const LONGEST_LINE: usize = 1000;

/// A line of its output.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// `progress PERCENT TEXT` on standard output: how far it is by its own count, 0 to 100.
    Progress(f64, String),
    /// Everything else.
    Log(String),
}

/// Why it didn't end well.
#[derive(Debug, thiserror::Error)]
pub enum InstallerError {
    /// The program isn't there, or can't be run here.
    #[error("`{program}` can't be started")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It ended badly.
    #[error("it ended with {how}; its last lines: {last}")]
    Failed {
        /// Exit code or signal.
        how: String,
        /// Its last lines.
        last: String,
    },
    /// It never ended.
    #[error("it didn't end within {} min; its last lines: {last}", .limit.as_secs() / 60)]
    Timeout {
        /// The limit.
        limit: Duration,
        /// Its last lines.
        last: String,
    },
    /// Somebody said that it need not go on; it was ended.
    #[error("it was stopped: {0}")]
    Stopped(String),
}

/// Runs it to its end. `heard` gets every line, `stopped` is asked about once a second and whenever a line comes.
pub fn run(
    mut command: Command,
    clock: &dyn Clock,
    limits: &Limits,
    mut heard: impl FnMut(Line),
    stopped: impl Fn() -> Option<String>,
) -> Result<(), InstallerError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own: what it starts ends with it.
    command.process_group(0);
    let started = clock.uptime();
    let mut child = command.spawn().map_err(|source| InstallerError::Start { program: program.clone(), source })?;
    let lines = match read_lines(&mut child) {
        Ok(lines) => lines,
        Err(source) => {
            end(&mut child);
            return Err(InstallerError::Start { program, source });
        }
    };
    let mut last = VecDeque::new();
    let mut gone_at = None;
    loop {
        let heard_one = match lines.recv_timeout(Duration::from_millis(200).min(limits.installer_tail)) {
            Ok((line, is_stdout)) => {
                last.push_back(line.clone());
                if last.len() > LAST_LINES {
                    last.pop_front();
                }
                heard(read_line(line, is_stdout));
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Some(why) = stopped() {
            end(&mut child);
            return Err(InstallerError::Stopped(why));
        }
        let now = clock.uptime();
        if now.saturating_sub(started) > limits.installer {
            end(&mut child);
            return Err(InstallerError::Timeout { limit: limits.installer, last: joined(&last) });
        }
        // What it left running may hold its output open: the program's own end is what counts.
        if gone_at.is_none() && matches!(child.try_wait(), Ok(Some(_))) {
            gone_at = Some(now);
        }
        if !heard_one && gone_at.is_some_and(|at| now.saturating_sub(at) > limits.installer_tail) {
            break;
        }
    }
    // Its output may end before it does.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(source) => return Err(InstallerError::Start { program, source }),
        }
        if clock.uptime().saturating_sub(started) > limits.installer {
            end(&mut child);
            return Err(InstallerError::Timeout { limit: limits.installer, last: joined(&last) });
        }
        if let Some(why) = stopped() {
            end(&mut child);
            return Err(InstallerError::Stopped(why));
        }
        clock.sleep(Duration::from_millis(50));
    };
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    };
    Err(InstallerError::Failed { how, last: joined(&last) })
}

fn joined(last: &VecDeque<String>) -> String {
    if last.is_empty() { "none".into() } else { last.iter().cloned().collect::<Vec<_>>().join(" / ") }
}

/// Asks its whole group, gives it five seconds, then kills it.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::TERM);
        for _ in 0..50 {
            if matches!(child.try_wait(), Ok(Some(_))) {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
    drop(child.kill());
    drop(child.wait());
}

fn read_lines(child: &mut Child) -> io::Result<Receiver<(String, bool)>> {
    let (sender, lines) = mpsc::channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    if let Some(stdout) = stdout {
        let sender = sender.clone();
        thread::Builder::new().name("stdout".into()).spawn(move || split(stdout, true, &sender))?;
    }
    if let Some(stderr) = stderr {
        thread::Builder::new().name("stderr".into()).spawn(move || split(stderr, false, &sender))?;
    }
    Ok(lines)
}

/// Lines end with a line feed or, as progress bars do, with a carriage return. What isn't UTF-8 is shown as far as it is.
fn split(mut from: impl Read, is_stdout: bool, sender: &Sender<(String, bool)>) {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    let send = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        line.clear();
        text.is_empty() || sender.send((text, is_stdout)).is_ok()
    };
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for byte in &buffer[..read] {
            let ends = matches!(byte, b'\n' | b'\r');
            if !ends {
                line.push(*byte);
            }
            if (ends || line.len() >= LONGEST_LINE) && !send(&mut line) {
                return;
            }
        }
    }
    send(&mut line);
}

fn read_line(line: String, is_stdout: bool) -> Line {
    let progress = line.strip_prefix("progress ").filter(|_| is_stdout).and_then(|rest| {
        let (percent, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let percent: f64 = percent.parse().ok()?;
        (0.0..=100.0).contains(&percent).then(|| Line::Progress(percent, text.trim().to_owned()))
    });
    progress.unwrap_or(Line::Log(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::KernelClock;

    fn quick() -> Limits {
        Limits { installer: Duration::from_secs(20), installer_tail: Duration::from_millis(300), ..Limits::default() }
    }

    fn sh(script: &str, limits: &Limits) -> (Vec<Line>, Result<(), InstallerError>) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let mut lines = Vec::new();
        let outcome = run(command, &KernelClock, limits, |line| lines.push(line), || None);
        (lines, outcome)
    }

    #[test]
    fn its_lines_are_progress_or_log_and_its_end_is_heard() {
        let (lines, outcome) =
            sh("echo progress 12.5 writes the disk; echo progress far; echo progress 200 x", &quick());
        outcome.unwrap();
        assert_eq!(
            lines,
            [
                Line::Progress(12.5, "writes the disk".into()),
                Line::Log("progress far".into()),
                Line::Log("progress 200 x".into())
            ]
        );
    }

    #[test]
    fn an_installer_that_fails_says_how_with_its_last_lines() {
        let (_, outcome) = sh("echo one; echo two >&2; exit 3", &quick());
        let words = outcome.unwrap_err().to_string();
        assert!(words.contains("exit code 3") && words.contains("one") && words.contains("two"), "{words}");
        let (_, outcome) = sh("kill -9 $$", &quick());
        assert!(outcome.unwrap_err().to_string().contains("signal 9"));
        let (_, outcome) = sh("exit 0", &quick());
        outcome.unwrap();
    }

    #[test]
    fn one_that_never_ends_is_ended_with_its_children() {
        let limits = Limits { installer: Duration::from_millis(300), ..quick() };
        let (lines, outcome) = sh("sleep 1000 & echo $!; wait", &limits);
        assert!(matches!(outcome, Err(InstallerError::Timeout { .. })), "{outcome:?}");
        let Line::Log(child) = &lines[0] else { panic!("{lines:?}") };
        let gone = || {
            let status = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            status.is_empty() || status.contains(") Z ")
        };
        for _ in 0..200 {
            if gone() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("process {child} is still there");
    }

    #[test]
    fn what_it_leaves_running_does_not_hold_its_end_up() {
        let (lines, outcome) = sh("sleep 15 & echo done", &quick());
        outcome.unwrap();
        assert_eq!(lines, [Line::Log("done".into())]);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let outcome = run(Command::new("/nowhere/installer"), &KernelClock, &quick(), drop, || None);
        assert!(outcome.unwrap_err().to_string().contains("/nowhere/installer"));
    }

    #[test]
    fn it_is_stopped_when_nobody_wants_it_any_more() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo begun; sleep 1000"]);
        let asked = std::cell::Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            (asked.get() > 1).then(|| "released".to_owned())
        };
        let outcome = run(command, &KernelClock, &quick(), drop, stop);
        assert!(matches!(outcome, Err(InstallerError::Stopped(why)) if why == "released"));
    }
}
