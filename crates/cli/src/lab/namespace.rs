//! A network namespace for this very process, made before it has threads. Children and sockets then are in it by
//! themselves, signals and exit code need no go-between, and it is gone with the last process in it.
//!
//! Rejected: to start ourselves again under `unshare`, which takes signals and hides the exit; a named namespace
//! (`ip netns`), which a crash leaves behind.

use super::LabError;
use nix::{
    sched::{CloneFlags, unshare},
    unistd::{getgid, getuid},
};
use std::{fs, io};

/// Moves this process into a namespace of its own: as root directly, otherwise as root of a user namespace. Does nothing in
/// one where nobody else is to be reached, as tests make one.
pub fn enter_namespace() -> Result<(), LabError> {
    if metalform_simulator::qemu::is_private() {
        return Ok(());
    }
    let refused = |errno: nix::errno::Errno| LabError::Namespace(errno.into());
    let (user, group) = (getuid(), getgid());
    if user.is_root() {
        return unshare(CloneFlags::CLONE_NEWNET).map_err(refused);
    }
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
        .map_err(|error: io::Error| LabError::Namespace(error))
}

/// What to put before a command that is to run in this process's namespace.
pub fn enter_command() -> String {
    let pid = std::process::id();
    let has_own_users =
        fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_whitespace().nth(1) != Some("0"));
    let users = if has_own_users { " --user --preserve-credentials" } else { "" };
    format!("nsenter --target {pid}{users} --net --")
}
