//! A test inside network and process namespaces of its own: as root directly, otherwise through a user namespace.
//!
//! Unnamed namespaces were preferred to `ip netns add`: they are gone with the last process in them, and with the first of
//! them the process namespace takes every process along. So nothing is left behind, even when the test is killed.

use crate::site::now;
use nix::sched::{CloneFlags, setns};
use std::{
    env,
    fs::{self, File},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const INSIDE: &str = "LAB_INSIDE";

/// Whether this process is the test's second life, inside the namespaces.
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs one test of this program again, inside namespaces, and passes its failure on.
pub fn run_inside(test: &str, limit: Duration) {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    // With a `/proc` of its own: programs that look themselves up there (syslinux does) must find themselves.
    command.args(["--net", "--pid", "--mount-proc", "--fork", "--kill-child", "--"]);
    command.arg(env::current_exe().expect("a test knows its own program"));
    command.args([test, "--exact", "--nocapture"]).env(INSIDE, "1").stdin(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("unshare does not start: {error}"));
    let started = now();
    let status = loop {
        match child.try_wait().expect("our own child can be waited for") {
            Some(status) => break status,
            None if started.elapsed() > limit => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{test} took longer than {limit:?}");
            }
            None => thread::sleep(Duration::from_millis(100)),
        }
    };
    assert!(
        status.success(),
        "{test} failed inside its namespaces ({status}); if it did not even begin, this computer does not allow them: \
         be root, or allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
    );
}

/// Moves this thread, and what it starts from now on, into the network namespace that a process is in.
pub fn join_network(pid: u32) {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("{path} can't be entered: {error}"));
}

/// The network interfaces that this thread sees.
pub fn interfaces() -> Vec<String> {
    let list = fs::read_to_string("/proc/thread-self/net/dev").expect("the kernel lists them");
    list.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}
