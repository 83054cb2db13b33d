//! A network namespace for this very process, made before it has threads. Children and sockets then are in it by
//! themselves, signals and exit code need no go-between, and it is gone with the last process in it, and with it the bridge
//! and every port: nothing is taken down, so nothing can be forgotten, and a run finds nothing of another.
//!
//! Always a new one, even where this process already is in one of somebody's making: that one may outlive the run, or hold
//! another lab. Rejected: to use an empty one as it is and to delete the interfaces afterwards, which `kill -9` prevents;
//! to start ourselves again under `unshare`, which takes signals and hides the exit; a named namespace (`ip netns`), which a
//! crash leaves behind.

use super::LabError;
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::{getgid, getuid},
};
use std::{fs, io};

/// The namespace that this process is in.
#[derive(Debug, Clone, Copy)]
pub struct Namespace {
    has_own_users: bool,
}

impl Namespace {
    /// Moves this process into a new one: directly where it may, as root may; otherwise as root of a user namespace.
    pub fn enter() -> Result<Namespace, LabError> {
        let refused = |errno: Errno| LabError::Namespace(errno.into());
        match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => return Ok(Namespace { has_own_users: false }),
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(refused(errno)),
        }
        let (user, group) = (getuid(), getgid());
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(refused)?;
        // A group may be mapped only once nobody can drop groups with it (user_namespaces(7)).
        let files = [
            ("/proc/self/setgroups", "deny".to_owned()),
            ("/proc/self/uid_map", format!("0 {user} 1")),
            ("/proc/self/gid_map", format!("0 {group} 1")),
        ];
        files
            .into_iter()
            .try_for_each(|(file, text)| fs::write(file, text))
            .map_err(|error: io::Error| LabError::Namespace(error))?;
        Ok(Namespace { has_own_users: true })
    }

    /// What to put before a command that is to run in it, started from where this process was.
    pub fn enter_command(self) -> String {
        let users = if self.has_own_users { " --user --preserve-credentials" } else { "" };
        format!("nsenter --target {}{users} --net --", std::process::id())
    }
}
