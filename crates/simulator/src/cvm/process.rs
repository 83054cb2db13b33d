//! Processes on the simulated systems, and the SSH requests that start them.
//!
//! A request's command runs like everything else in simulated time. What a client gets is an answer after so long, so for
//! a command that takes time the whole fleet is copied and the copy is run ahead: what happens there is what will happen
//! here, unless somebody steps in between.

use super::{
    Fleet,
    shell::{Cx, Files, Poll, Stream, Task},
    system::{self, Place, Role},
};
use crate::{
    fault::{CvmFault, Faults},
    ssh::{SshAdmission, SshExec, SshReply},
};
use metalform_model::Timestamp;
use std::{net::Ipv4Addr, time::Duration};

/// A command that has not ended by then is not looked at any further: no client waits so long.
const HORIZON: Duration = Duration::from_secs(2 * 86_400);
const FIRST_PID: u32 = 20_000;

#[derive(Debug, Clone)]
pub(super) struct Process {
    place: Place,
    user: String,
    pid: u32,
    exec: u64,
    /// When it goes on.
    pub at: Timestamp,
    task: Task,
}

/// What an SSH request has put out so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Channel {
    out: Vec<u8>,
    err: Vec<u8>,
    /// A terminal shows both as one, in the order in which they come.
    is_terminal: bool,
    /// Of the command itself, once it has ended.
    status: Option<u32>,
    /// The answer was given; nobody reads any more.
    is_answered: bool,
}

impl Fleet {
    /// Whether a password opens an account; `None` where connections are refused.
    pub fn ssh_login(
        &mut self,
        now: Timestamp,
        ip: Ipv4Addr,
        port: u16,
        user: &str,
        password: &str,
        faults: &mut Faults,
    ) -> Option<SshAdmission> {
        self.advance(now, faults);
        let place = self.ssh_place(ip, port)?;
        let limit = self.settings.observed.ssh_lockout_after;
        let is_admitted = self.system_mut(&place)?.admits(user, password, limit);
        Some(if is_admitted { SshAdmission::Admitted } else { SshAdmission::Denied })
    }

    /// Carries out a command; `None` where connections are refused.
    pub fn ssh_exec(
        &mut self,
        now: Timestamp,
        ip: Ipv4Addr,
        port: u16,
        user: &str,
        exec: &SshExec,
        faults: &mut Faults,
    ) -> Option<SshReply> {
        self.advance(now, faults);
        let place = self.ssh_place(ip, port)?;
        let server_name = self.cvms.get(&place.server_id)?.host.server_name.clone();
        self.system(&place)?.uid(user)?;
        let creates = self.creates_begun;
        let task = Task::new(&system::home(user), &exec.command, exec.stdin.clone(), exec.pty);
        self.last_exec += 1;
        let id = self.last_exec;
        self.channels.insert(id, Channel { is_terminal: exec.pty, ..Channel::default() });
        self.spawn(now, &place, user, id, task);
        self.advance(now, faults);
        let is_cut = self.creates_begun > creates
            && faults
                .take_cvm(&server_name, |fault| matches!(fault, CvmFault::SshCut | CvmFault::CreateReplyLost))
                .is_some();
        if is_cut {
            self.hang_up(id);
            self.channels.remove(&id);
            return Some(SshReply::Lost);
        }
        let reply = self.answer(now, id, faults);
        if self.is_open(id) {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.is_answered = true;
            }
        } else {
            self.channels.remove(&id);
        }
        Some(reply)
    }

    /// The answer to a request, from a copy of the world that runs ahead if need be.
    fn answer(&self, now: Timestamp, id: u64, faults: &Faults) -> SshReply {
        let mut then = now;
        let channel = if self.is_open(id) {
            let (mut ahead, mut faults) = (self.clone(), faults.clone());
            while ahead.is_open(id) && then < now + HORIZON {
                then = ahead.next_event_at(then).max(then).min(now + HORIZON);
                ahead.advance(then, &mut faults);
            }
            ahead.channels.remove(&id)
        } else {
            self.channels.get(&id).cloned()
        };
        let Some(channel) = channel else { return SshReply::Lost };
        // The command is gone without a status: its system went down.
        let (Some(status), after) = (channel.status, then.since(now)) else { return SshReply::Lost };
        SshReply::Output { stdout: channel.out, stderr: channel.err, status, after }
    }

    /// Whose SSH server answers at an address.
    fn ssh_place(&self, ip: Ipv4Addr, port: u16) -> Option<Place> {
        if port != self.settings.ssh_port || !self.is_observed() {
            return None;
        }
        self.ssh_places().find(|(at, _)| *at == ip).map(|(_, place)| place)
    }

    /// All addresses with an SSH server.
    pub(super) fn ssh_places(&self) -> impl Iterator<Item = (Ipv4Addr, Place)> {
        let place = |id: &str, role| Place { server_id: id.to_owned(), role };
        let cvms = self.cvms.values().filter_map(move |cvm| {
            let (answering, _) = self.cvm_at(cvm.ip())?;
            Some((cvm.ip(), place(&answering.host.server_id, Role::Cvm)))
        });
        let hypervisors = self
            .cvms
            .values()
            .filter(|cvm| cvm.host_is_up)
            .map(move |cvm| (cvm.host.config.hypervisor_ip, place(&cvm.host.server_id, Role::Ahv)));
        cvms.chain(hypervisors)
    }

    // Processes

    /// A new process, which begins when the fleet advances; its id.
    pub(super) fn spawn(&mut self, now: Timestamp, place: &Place, user: &str, exec: u64, task: Task) -> u32 {
        self.last_process += 1;
        let pid = FIRST_PID + self.last_process;
        let process = Process { place: place.clone(), user: user.to_owned(), pid, exec, at: now, task };
        self.processes.insert(self.last_process, process);
        pid
    }

    pub(super) fn is_running(&self, place: &Place, pid: u32) -> bool {
        self.processes.values().any(|process| process.pid == pid && process.place == *place)
    }

    /// The next process that is due: its key and when.
    pub(super) fn next_process(&self) -> Option<(Timestamp, u32)> {
        self.processes.iter().map(|(key, process)| (process.at, *key)).min()
    }

    /// Lets a process go on.
    pub(super) fn run_process(&mut self, now: Timestamp, key: u32, faults: &mut Faults) {
        // Taken out while it runs, but to be found by its id: a shell may ask whether it lives itself.
        let Some(process) = self.processes.get_mut(&key) else { return };
        process.at = Timestamp::NEVER;
        let mut process = process.clone();
        let (place, user, exec) = (process.place.clone(), process.user.clone(), process.exec);
        let mut cx = Cx { fleet: self, faults, now, place: &place, user: &user, exec };
        match process.task.run(&mut cx) {
            Poll::Wait(at) => {
                process.at = at;
                // It may have brought down the system it runs on.
                if let Some(kept) = self.processes.get_mut(&key) {
                    *kept = process;
                }
            }
            Poll::Ended(status) => {
                self.processes.remove(&key);
                let is_first = !self.processes.values().any(|other| other.exec == exec && other.pid < process.pid);
                if let Some(channel) = self.channels.get_mut(&exec).filter(|channel| channel.status.is_none()) {
                    channel.status = is_first.then_some(status);
                }
                self.drop_channel(exec);
            }
        }
    }

    /// The system goes down.
    pub(super) fn kill_processes(&mut self, place: &Place) {
        self.processes.retain(|_, process| process.place != *place);
        let open: Vec<u64> = self.channels.keys().copied().collect();
        open.into_iter().for_each(|exec| self.drop_channel(exec));
    }

    /// Ends a process; whether there was one.
    pub(super) fn kill_process(&mut self, place: &Place, pid: u32) -> bool {
        let before = self.processes.len();
        self.processes.retain(|_, process| process.pid != pid || process.place != *place);
        let open: Vec<u64> = self.channels.keys().copied().collect();
        open.into_iter().for_each(|exec| self.drop_channel(exec));
        self.processes.len() < before
    }

    /// The connection of a request is cut: what was not detached from it ends.
    fn hang_up(&mut self, exec: u64) {
        self.processes.retain(|_, process| process.exec != exec || process.task.survives_hangup());
    }

    /// Whether a server would still wait: for the command itself, and for whatever holds its output.
    fn is_open(&self, exec: u64) -> bool {
        let is_ended = self.channels.get(&exec).is_some_and(|channel| channel.status.is_some());
        self.processes.values().any(|process| process.exec == exec && (!is_ended || process.task.holds_channel()))
    }

    fn drop_channel(&mut self, exec: u64) {
        if self.channels.get(&exec).is_some_and(|channel| channel.is_answered) && !self.is_open(exec) {
            self.channels.remove(&exec);
        }
    }

    pub(super) fn write_channel(&mut self, exec: u64, stream: Stream, bytes: &[u8]) {
        if let Some(channel) = self.channels.get_mut(&exec).filter(|channel| !channel.is_answered) {
            match stream {
                Stream::Err if !channel.is_terminal => channel.err.extend_from_slice(bytes),
                _ => channel.out.extend_from_slice(bytes),
            }
        }
    }

    pub(super) fn files_mut(&mut self, place: &Place) -> &mut Files {
        match self.cvms.get_mut(&place.server_id) {
            Some(cvm) if place.role == Role::Cvm => cvm.system.files_mut(),
            Some(cvm) => cvm.ahv.files_mut(),
            None => &mut self.no_files,
        }
    }
}
