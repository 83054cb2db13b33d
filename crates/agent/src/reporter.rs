//! Reports to the boot plane, from a thread of their own: neither the installer nor its output ever waits for the network.
//!
//! Two kinds: **milestones** (a phase begins, a failure) are kept until they are taken, in their order; **progress** is one
//! slot, the newest wins, and with it go the log lines that have gathered. Lines are kept up to a limit; then the oldest go
//! and are counted, and the count is sent in their place. The number `seq` goes on where the boot plane says this boot
//! attempt stands, so a machine that started again is heard.
//!
//! An answer that says this boot attempt is over ends the sending for good; who installs asks for that before it touches
//! a disk, and again and again while the installer runs. An installer that says nothing for long is no exception: the last
//! report is then said again, to get an answer.

use crate::{boot_plane::BootPlane, clock::Clock, limits::Limits};
use metalform_model::{Report, ReportPhase, ReportStatus, with_causes};
use serde_json::{Map, Value};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Log lines kept while the boot plane is away.
const MOST_LINES: usize = 500;
/// Characters of a line; a longer one is cut.
const LONGEST_LINE: usize = 400;
/// The boot plane takes 64 KiB a report; some are left for its other fields.
const LARGEST_REPORT: usize = 60 * 1024;

/// Something that has to arrive.
#[derive(Debug, Clone, PartialEq)]
pub struct Milestone {
    /// Where the installation stands.
    pub phase: ReportPhase,
    /// How it goes.
    pub status: ReportStatus,
    /// 0 to 100.
    pub percent: Option<f64>,
    /// One sentence.
    pub message: String,
    /// Facts to go with it.
    pub facts: Map<String, Value>,
}

/// How a wait for delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The last milestone is committed, and those before it are done with.
    Taken,
    /// The last milestone was refused for what it says; the boot plane's words.
    LeftOut(String),
    /// The boot attempt is over; the boot plane's words.
    AttemptEnded(String),
    /// The time passed; what the last try met.
    TimedOut(String),
}

/// The sending end. Cheap to clone; the thread ends with the process.
#[derive(Clone)]
pub struct Reporter {
    desk: Arc<Desk>,
}

struct Desk {
    state: Mutex<State>,
    changed: Condvar,
    clock: Arc<dyn Clock>,
    limits: Limits,
}

#[derive(Default)]
struct State {
    milestones: VecDeque<Milestone>,
    /// One of them is on its way.
    sending: bool,
    progress: Option<Progress>,
    /// What the last report said, which one that only brings lines says again.
    said: Option<(ReportPhase, Progress)>,
    lines: VecDeque<String>,
    dropped: u64,
    seq: u64,
    ended: Option<String>,
    /// Why the last milestone was left out.
    left_out: Option<String>,
    last_trouble: String,
}

#[derive(Clone)]
struct Progress {
    percent: Option<f64>,
    message: String,
}

impl Reporter {
    /// Starts the thread. `told` hears of calls that fail, for the console.
    pub fn start(
        plane: BootPlane,
        clock: Arc<dyn Clock>,
        limits: Limits,
        told: impl Fn(&str) + Send + 'static,
    ) -> std::io::Result<Reporter> {
        let desk = Arc::new(Desk { state: Mutex::default(), changed: Condvar::new(), clock, limits });
        let reporter = Reporter { desk: desk.clone() };
        thread::Builder::new().name("reporter".into()).spawn(move || send_all(&desk, &plane, told))?;
        Ok(reporter)
    }

    /// Queues a milestone.
    pub fn milestone(&self, milestone: Milestone) {
        let mut state = self.desk.lock();
        // What it said of an earlier phase would be sent after that phase.
        state.progress = None;
        state.milestones.push_back(milestone);
        self.desk.changed.notify_all();
    }

    /// Says how far the present phase is; one that isn't sent yet is replaced.
    pub fn progress(&self, percent: Option<f64>, message: impl Into<String>) {
        self.desk.lock().progress = Some(Progress { percent, message: message.into() });
        self.desk.changed.notify_all();
    }

    /// Adds a log line.
    pub fn log(&self, line: &str) {
        let mut state = self.desk.lock();
        let line = line.chars().filter(|c| !c.is_control() || *c == '\t').take(LONGEST_LINE).collect();
        state.lines.push_back(line);
        if state.lines.len() > MOST_LINES {
            state.lines.pop_front();
            state.dropped += 1;
        }
        self.desk.changed.notify_all();
    }

    /// Why the boot attempt is over, once it is.
    pub fn attempt_ended(&self) -> Option<String> {
        self.desk.lock().ended.clone()
    }

    /// Waits until every milestone is committed. A `Taken` is proof that the boot attempt was open a moment ago: the last
    /// one was recorded as new.
    pub fn wait(&self, limit: Duration) -> Delivery {
        let started = self.desk.clock.uptime();
        let mut state = self.desk.lock();
        loop {
            if let Some(why) = &state.ended {
                return Delivery::AttemptEnded(why.clone());
            }
            if state.milestones.is_empty() && !state.sending {
                return state.left_out.clone().map_or(Delivery::Taken, Delivery::LeftOut);
            }
            let Some(left) = limit.checked_sub(self.desk.clock.uptime().saturating_sub(started)) else {
                return Delivery::TimedOut(state.last_trouble.clone());
            };
            state = self.desk.wait(state, left);
        }
    }
}

impl Desk {
    /// A thread that panicked has left whole values behind: each change is one assignment or one push.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }
}

fn send_all(desk: &Desk, plane: &BootPlane, told: impl Fn(&str)) {
    let (mut last_progress, mut last_report) = (Duration::ZERO, desk.clock.uptime());
    loop {
        let report = next_report(desk, &mut last_progress, last_report);
        let milestone = desk.lock().sending;
        match deliver(desk, plane, report, milestone, &told) {
            Sent::Done => {
                if milestone {
                    desk.lock().left_out = None;
                }
            }
            Sent::LeftOut(why) => {
                told(&format!("{why}; it is left out"));
                if milestone {
                    desk.lock().left_out = Some(why);
                }
            }
            Sent::Ended(why) => {
                told(&format!("the boot plane takes no more reports: {why}"));
                desk.lock().ended = Some(why);
                desk.changed.notify_all();
                return;
            }
        }
        last_report = desk.clock.uptime();
        let mut state = desk.lock();
        state.sending = false;
        drop(state);
        desk.changed.notify_all();
    }
}

/// Waits for something to send. Progress alone waits until the last one is old enough; after a long silence the last one
/// is said again, since only an answer tells that the boot attempt is over.
fn next_report(desk: &Desk, last_progress: &mut Duration, last_report: Duration) -> Report {
    let mut state = desk.lock();
    loop {
        if let (Some(milestone), Some((phase, said))) = (state.milestones.front(), state.said.clone())
            && is_last(milestone.phase)
            && state.size_of_lines() + milestone.size() > LARGEST_REPORT
        {
            return state.report(phase, ReportStatus::Running, said, Map::new());
        }
        if let Some(milestone) = state.milestones.pop_front() {
            state.sending = true;
            let Milestone { phase, status, percent, message, facts } = milestone;
            return state.report(phase, status, Progress { percent, message }, facts);
        }
        let said = state.said.clone().filter(|(phase, _)| !is_last(*phase));
        let has_news = said.is_some() && (state.progress.is_some() || !state.lines.is_empty());
        let now = desk.clock.uptime();
        let due = match has_news {
            true => *last_progress + desk.limits.between_reports,
            false => last_report + desk.limits.silence,
        };
        let speaks = said.is_some();
        if let Some((phase, said)) = said
            && now >= due
        {
            *last_progress = now;
            let progress = state.progress.take().unwrap_or(said);
            return state.report(phase, ReportStatus::Running, progress, Map::new());
        }
        let patience = if speaks { due.saturating_sub(now) } else { Duration::from_secs(3600) };
        state = desk.wait(state, patience);
    }
}

/// After these nothing is said any more: a later report would stand in place of the one that says why. Lines that don't fit
/// into such a report go before it.
fn is_last(phase: ReportPhase) -> bool {
    matches!(phase, ReportPhase::Failed | ReportPhase::Installed)
}

/// Bytes of a text as JSON: quotes and backslashes take two.
fn written(text: &str) -> usize {
    serde_json::to_string(text).map_or(usize::MAX / 4, |text| text.len() + 1)
}

impl Milestone {
    fn size(&self) -> usize {
        serde_json::to_string(&self.facts).map_or(0, |text| text.len()) + written(&self.message)
    }
}

impl State {
    fn size_of_lines(&self) -> usize {
        self.lines.iter().map(|line| written(line)).sum()
    }

    fn report(
        &mut self,
        phase: ReportPhase,
        status: ReportStatus,
        Progress { percent, message }: Progress,
        facts: Map<String, Value>,
    ) -> Report {
        self.seq += 1;
        self.said = Some((phase, Progress { percent, message: message.clone() }));
        let mut log = Vec::new();
        let mut bytes = serde_json::to_string(&facts).map_or(0, |text| text.len()) + written(&message);
        if self.dropped > 0 {
            log.push(format!("({} lines before this one are lost: the boot plane was away)", self.dropped));
            self.dropped = 0;
        }
        while let Some(line) = self.lines.front() {
            bytes += written(line);
            if bytes > LARGEST_REPORT {
                break;
            }
            log.extend(self.lines.pop_front());
        }
        Report { seq: self.seq, phase, status, percent, message, log, facts }
    }
}

enum Sent {
    Done,
    LeftOut(String),
    Ended(String),
}

/// Sends one report until it is committed, however long that takes: what comes meanwhile waits in the queue, and of progress
/// only the newest does.
fn deliver(desk: &Desk, plane: &BootPlane, mut report: Report, milestone: bool, told: &impl Fn(&str)) -> Sent {
    let mut failures = 0;
    loop {
        let error = match plane.report(&report) {
            Ok(reply) if reply.recorded => return Sent::Done,
            // The reply to an earlier try was lost. A milestone is sent again all the same, under the next number: its
            // being recorded as new is what tells that the boot attempt is still open.
            Ok(reply) if !milestone && failures > 0 && reply.last_seq == report.seq => return Sent::Done,
            // An earlier start of this machine has used the number.
            Ok(reply) => {
                report.seq = reply.last_seq.max(report.seq).saturating_add(1);
                desk.lock().seq = report.seq;
                failures = 0;
                continue;
            }
            Err(error) => error,
        };
        let words = with_causes(&error);
        if error.ends_attempt() {
            return Sent::Ended(words);
        }
        // Without TLS it isn't said; that is somebody on the way, who may go again, and the machine waits for it as for a boot
        // plane that is away.
        if !error.is_transient() && error.tls_failure().is_none() {
            // The boot plane can't read it, and won't when it is sent again.
            return Sent::LeftOut(words);
        }
        failures += 1;
        if failures == 1 || failures % 20 == 0 {
            told(&format!("{words}; it is tried again"));
        }
        desk.lock().last_trouble = words;
        desk.clock.sleep(desk.limits.pause(failures, error.retry_after(), plane.salt()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::HttpClient,
        kernel_args::KernelArgs,
        testing::{
            lab::LabClock,
            plane::{Fault, Plane, TOKEN},
        },
    };

    fn reporter(plane: &Plane) -> Reporter {
        let line = format!(
            "node_id=node-1 mgmt_ip=127.0.0.1 config_url=http://{}/boot/server/127.0.0.1 boot_token={TOKEN}",
            plane.authority
        );
        let millis = Duration::from_millis;
        let limits = Limits {
            first_pause: millis(5),
            longest_pause: millis(10),
            between_reports: millis(10),
            silence: millis(40),
            ..Limits::default()
        };
        let clock: Arc<dyn Clock> = Arc::new(LabClock::default());
        let client = HttpClient::new(clock.clone(), limits.clone(), None).unwrap();
        let boot = BootPlane::new(client, &KernelArgs::read(&line).unwrap());
        Reporter::start(boot, clock, limits, |_| {}).unwrap()
    }

    fn milestone(phase: ReportPhase, facts: Map<String, Value>) -> Milestone {
        Milestone { phase, status: ReportStatus::Running, percent: None, message: "said \"so\"".into(), facts }
    }

    const SOON: Duration = Duration::from_secs(20);

    /// Every line that arrived.
    fn lines(plane: &Plane) -> Vec<String> {
        plane.with(|state| state.reports.iter().flat_map(|report| report.log.clone()).collect())
    }

    #[test]
    fn while_nobody_answers_the_oldest_lines_go_and_are_counted() {
        let plane = Plane::start();
        plane.fault("/boot/report/", Fault::Close, 1000);
        let reporter = reporter(&plane);
        // One is on its way while the lines come, so that none goes with it.
        reporter.milestone(milestone(ReportPhase::Booting, Map::new()));
        while plane.heard("POST").is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        for n in 0..700 {
            reporter.log(&format!("line {n}"));
        }
        plane.with(|state| state.faults.clear());
        reporter.milestone(milestone(ReportPhase::Checking, Map::new()));
        assert_eq!(reporter.wait(SOON), Delivery::Taken);
        let lines = lines(&plane);
        assert_eq!(
            (lines.len(), lines[0].as_str()),
            (501, "(200 lines before this one are lost: the boot plane was away)")
        );
        assert_eq!((lines[1].as_str(), lines[500].as_str()), ("line 200", "line 699"));
    }

    #[test]
    fn no_report_is_longer_than_the_boot_plane_takes_and_no_line_is_lost_for_that() {
        let plane = Plane::start();
        let reporter = reporter(&plane);
        for _ in 0..500 {
            reporter.log(&"\"".repeat(500));
        }
        let facts = Map::from_iter([("disks".to_owned(), Value::from("x".repeat(40 * 1024)))]);
        reporter.milestone(milestone(ReportPhase::Booting, facts));
        // The lines that didn't fit come with later ones; the fake refuses by a panic what is too long.
        for _ in 0..2000 {
            if lines(&plane).len() == 500 {
                return assert_eq!(reporter.wait(SOON), Delivery::Taken);
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{} lines came", lines(&plane).len());
    }

    #[test]
    fn after_the_report_that_says_why_it_failed_nothing_is_said_and_what_was_said_before_comes_before() {
        let plane = Plane::start();
        let reporter = reporter(&plane);
        reporter.milestone(milestone(ReportPhase::Installing, Map::new()));
        assert_eq!(reporter.wait(SOON), Delivery::Taken);
        plane.fault("/boot/report/", Fault::Busy, 1);
        reporter.progress(Some(30.0), "writes");
        for _ in 0..400 {
            reporter.log(&"x".repeat(400));
        }
        reporter.milestone(milestone(ReportPhase::Failed, Map::new()));
        reporter.log("too late");
        reporter.progress(Some(31.0), "too late");
        assert_eq!(reporter.wait(SOON), Delivery::Taken);
        reporter.milestone(milestone(ReportPhase::Failed, Map::new()));
        assert_eq!(reporter.wait(SOON), Delivery::Taken);
        let mut reports = plane.with(|state| state.reports.clone());
        assert_eq!(reports.pop().map(|report| report.phase), Some(ReportPhase::Failed), "the second of two");
        assert_eq!(lines(&plane).iter().filter(|line| line.starts_with('x')).count(), 400);
        let (last, before) = reports.split_last().unwrap();
        assert_eq!((last.phase, last.message.as_str()), (ReportPhase::Failed, "said \"so\""));
        assert!(before.iter().all(|report| report.phase == ReportPhase::Installing && !report.message.is_empty()));
    }

    #[test]
    fn a_reply_that_was_lost_makes_no_progress_report_twice() {
        let plane = Plane::start();
        let reporter = reporter(&plane);
        reporter.milestone(milestone(ReportPhase::Installing, Map::new()));
        assert_eq!(reporter.wait(SOON), Delivery::Taken);
        plane.fault("/boot/report/", Fault::LoseReply, 1);
        reporter.progress(Some(30.0), "writes");
        while plane.heard("POST").len() < 3 {
            thread::sleep(Duration::from_millis(1));
        }
        reporter.milestone(milestone(ReportPhase::Rebooting, Map::new()));
        assert_eq!(reporter.wait(SOON), Delivery::Taken);
        let numbers: Vec<u64> = plane.with(|state| state.reports.iter().map(|report| report.seq).collect());
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn in_a_long_silence_the_last_report_is_said_again_so_that_the_end_of_an_attempt_is_heard() {
        let plane = Plane::start();
        let talks = reporter(&plane);
        talks.milestone(milestone(ReportPhase::Installing, Map::new()));
        assert_eq!(talks.wait(SOON), Delivery::Taken);
        while plane.heard("POST").len() < 3 {
            thread::sleep(Duration::from_millis(1));
        }
        plane.fault("/boot/report/", Fault::Status(409), 1);
        while talks.attempt_ended().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        let said: Vec<_> = plane.with(|state| state.reports.iter().map(|r| (r.phase, r.message.clone())).collect());
        assert!(said.iter().all(|each| *each == (ReportPhase::Installing, "said \"so\"".to_owned())), "{said:?}");
        // After the last word there is nothing to end, and nothing is said again.
        let plane = Plane::start();
        let ends = reporter(&plane);
        ends.milestone(milestone(ReportPhase::Failed, Map::new()));
        assert_eq!(ends.wait(SOON), Delivery::Taken);
        thread::sleep(Duration::from_millis(200));
        assert_eq!(plane.heard("POST").len(), 1);
    }

    #[test]
    fn a_report_that_is_refused_for_what_it_says_is_left_out_and_the_next_one_sent() {
        let plane = Plane::start();
        plane.fault("/boot/report/", Fault::Status(400), 1);
        let reporter = reporter(&plane);
        reporter.milestone(milestone(ReportPhase::Booting, Map::new()));
        assert!(matches!(reporter.wait(SOON), Delivery::LeftOut(why) if why.contains("told_to")), "it isn't taken");
        reporter.milestone(milestone(ReportPhase::Checking, Map::new()));
        assert_eq!(reporter.wait(SOON), Delivery::Taken);
        assert_eq!(plane.phases(), [ReportPhase::Checking]);
    }

    #[test]
    fn an_attempt_that_is_over_is_said_to_be_and_nothing_more_is_sent() {
        for status in [401, 403, 404, 409] {
            let plane = Plane::start();
            plane.fault("/boot/report/", Fault::Status(status), 1);
            let reporter = reporter(&plane);
            reporter.milestone(milestone(ReportPhase::Booting, Map::new()));
            assert!(matches!(reporter.wait(SOON), Delivery::AttemptEnded(why) if why.contains("told_to")), "{status}");
            reporter.milestone(milestone(ReportPhase::Checking, Map::new()));
            assert!(matches!(reporter.wait(SOON), Delivery::AttemptEnded(_)));
            assert_eq!(plane.heard("POST").len(), 1);
        }
    }
}
