//! The programs that the shell knows. Those of the product (`cluster`, `genesis`, `ncli`) are only found by their full
//! path: a shell that is no login shell has them not in its search path.

use super::{
    files::{Errno, absolute},
    network,
    syntax::Refused,
    task::{Cx, Running, Stream, Task},
};
use crate::cvm::{command, system::Role};
use std::time::Duration;

fn refuse<T>(what: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(what.into()))
}

/// Starts a program; its status is in the task, or it is waited for.
pub fn start(task: &mut Task, cx: &mut Cx<'_>, argv: &[String]) -> Result<(), Refused> {
    start_as(task, cx, argv, cx.user == "root")
}

fn start_as(task: &mut Task, cx: &mut Cx<'_>, argv: &[String], is_root: bool) -> Result<(), Refused> {
    let Some((name, arguments)) = argv.split_first() else { return Ok(()) };
    let plain: Vec<&str> = arguments.iter().map(String::as_str).collect();
    task.status = 0;
    match (name.as_str(), &plain[..]) {
        (":" | "true", _) => {}
        ("false", _) => task.status = 1,
        ("echo", words) => task.say(cx, Stream::Out, &words.join(" ")),
        ("printf", ["%s\\n", text]) => task.say(cx, Stream::Out, text),
        ("printf", ["%s", text]) => task.write(cx, Stream::Out, text.as_bytes()),
        ("printf", [text]) if !text.contains('%') => {
            task.write(cx, Stream::Out, text.replace("\\n", "\n").as_bytes());
        }
        ("exit", []) => task.exit(),
        ("exit", [status]) => match status.parse() {
            Ok(status) => {
                task.exit();
                task.status = status;
            }
            Err(_) => return refuse(format!("exit {status}")),
        },
        ("cd", rest @ ([] | [_])) => {
            let path = rest.first().map_or_else(|| cx.home(), |path| absolute(&task.cwd, path));
            if cx.files().is_folder(&path) {
                task.cwd = path;
            } else {
                task.say(cx, Stream::Err, &format!("bash: cd: {path}: No such file or directory"));
                task.status = 1;
            }
        }
        ("umask", [mask]) => match u32::from_str_radix(mask, 8) {
            Ok(mask) => task.umask = mask,
            Err(_) => return refuse(format!("umask {mask}")),
        },
        ("trap", ["", "HUP"]) => task.survives_hangup = true,
        ("setsid" | "nohup", [_, ..]) => {
            task.survives_hangup = true;
            return start_as(task, cx, arguments, is_root);
        }
        ("sudo", [_, ..]) => {
            // CVMs let their user become root without a password; other accounts are not known to.
            if cx.place.role == Role::Cvm && cx.user != "nutanix" {
                task.say(cx, Stream::Err, "sudo: a password is required");
                task.status = 1;
                return Ok(());
            }
            return start_as(task, cx, arguments, true);
        }
        ("timeout", [seconds, _, ..]) => match seconds.parse() {
            Ok(seconds) => {
                task.push_timeout(cx.now + cx.fleet.pace.exactly(Duration::from_secs(seconds)));
                return start_as(task, cx, &arguments[1..], is_root);
            }
            Err(_) => return refuse(format!("timeout {seconds}")),
        },
        ("sh" | "bash", ["-c", text]) => return task.push_shell(text),
        ("sleep", [seconds]) => match seconds.parse() {
            Ok(seconds) => {
                let until = cx.now + cx.fleet.pace.exactly(Duration::from_secs(seconds));
                task.wait_for(Running::Until(until, 0));
            }
            Err(_) => return refuse(format!("sleep {seconds}")),
        },
        ("date", ["+%s"]) => {
            let seconds = cx.fleet.clock(cx.now, cx.place).seconds();
            task.say(cx, Stream::Out, &seconds.to_string());
        }
        ("kill", ["-0", pids @ ..]) => kill(task, cx, pids),
        ("kill", ["--", groups @ ..]) => kill_groups(task, cx, groups),
        ("ping", words) => return network::ping(task, cx, words),
        ("id", ["-u"]) => task.say(cx, Stream::Out, if is_root { "0" } else { "1000" }),
        ("id", ["-u", user]) => match cx.fleet.system(cx.place).and_then(|system| system.uid(user)) {
            Some(uid) => task.say(cx, Stream::Out, &uid.to_string()),
            None => {
                task.say(cx, Stream::Err, &format!("id: ‘{user}’: no such user"));
                task.status = 1;
            }
        },
        ("chpasswd", []) => change_passwords(task, cx, is_root),
        ("test", words) => return test(task, cx, words),
        ("[", [words @ .., "]"]) => return test(task, cx, words),
        ("cat" | "tail" | "mkdir" | "touch" | "rm", words) => return file_command(task, cx, name, words),
        (path, _) if path.starts_with('/') && cx.place.role == Role::Cvm => {
            return command::start(task, cx, path, arguments);
        }
        (path, _) if path.starts_with('/') => {
            task.say(cx, Stream::Err, &format!("bash: {path}: No such file or directory"));
            task.status = 127;
        }
        ("cluster" | "genesis" | "ncli" | "allssh", _) => {
            task.say(cx, Stream::Err, &format!("bash: {name}: command not found"));
            task.status = 127;
        }
        _ => {
            task.say(cx, Stream::Err, &format!("sh: {}: not simulated", argv.join(" ")));
            task.status = 127;
        }
    }
    Ok(())
}

fn kill(task: &mut Task, cx: &mut Cx<'_>, pids: &[&str]) {
    if pids.is_empty() {
        task.say(cx, Stream::Err, "bash: kill: usage: kill [-s sigspec | -n signum | -sigspec] pid ...");
        task.status = 2;
    }
    for pid in pids {
        if !pid.parse().is_ok_and(|pid| cx.fleet.is_running(cx.place, pid)) {
            task.say(cx, Stream::Err, &format!("bash: kill: ({pid}) - No such process"));
            task.status = 1;
        }
    }
}

/// `kill -- -PGID`: a detached command leads a process group of its own, and in here it is one process.
fn kill_groups(task: &mut Task, cx: &mut Cx<'_>, groups: &[&str]) {
    for group in groups {
        let leader = group.strip_prefix('-').and_then(|pid| pid.parse().ok());
        if !leader.is_some_and(|pid| cx.fleet.kill_process(cx.place, pid)) {
            task.say(cx, Stream::Err, &format!("bash: kill: ({group}) - No such process"));
            task.status = 1;
        }
    }
}

fn change_passwords(task: &mut Task, cx: &mut Cx<'_>, is_root: bool) {
    if !is_root {
        task.say(cx, Stream::Err, "chpasswd: cannot lock /etc/passwd; try again later.");
        task.status = 1;
        return;
    }
    let mut line = 0;
    while let Some(text) = task.read_line() {
        line += 1;
        let Some((user, password)) = text.split_once(':').filter(|(_, password)| !password.is_empty()) else {
            task.say(cx, Stream::Err, &format!("chpasswd: line {line}: missing new password"));
            task.status = 1;
            continue;
        };
        let is_known = cx.fleet.system_mut(cx.place).is_some_and(|system| system.set_password(user, password));
        if !is_known {
            task.say(cx, Stream::Err, &format!("chpasswd: line {line}: user '{user}' does not exist"));
            task.status = 1;
        }
    }
}

fn test(task: &mut Task, cx: &mut Cx<'_>, words: &[&str]) -> Result<(), Refused> {
    let path = |task: &Task, path: &str| absolute(&task.cwd, path);
    let holds = match words {
        ["-e", at] => cx.read(&path(task, at)).is_ok() || cx.files().exists(&path(task, at)),
        ["-f", at] => cx.read(&path(task, at)).is_ok(),
        ["-d", at] => cx.files().is_folder(&path(task, at)),
        ["-s", at] => cx.read(&path(task, at)).is_ok_and(|bytes| !bytes.is_empty()),
        ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        [left, "=", right] => left == right,
        [left, "!=", right] => left != right,
        _ => return refuse(format!("test {}", words.join(" "))),
    };
    task.status = u32::from(!holds);
    Ok(())
}

fn file_command(task: &mut Task, cx: &mut Cx<'_>, name: &str, words: &[&str]) -> Result<(), Refused> {
    let umask = task.umask;
    match (name, words) {
        ("cat", []) => {
            let bytes = task.read_all();
            task.write(cx, Stream::Out, &bytes);
        }
        ("cat", paths) => each(task, cx, name, paths, |cx, path| cx.read(path))?,
        ("tail", ["-c", from, path]) => {
            let from = from.strip_prefix('+').and_then(|from| from.parse::<usize>().ok());
            let Some(from) = from else { return refuse("tail without -c +N") };
            each(task, cx, name, &[*path], |cx, path| {
                cx.read(path).map(|bytes| bytes.get(from.max(1) - 1..).unwrap_or_default().to_vec())
            })?;
        }
        ("mkdir", ["-p", paths @ ..]) => {
            each(task, cx, name, paths, |cx, path| cx.files().make_folders(path, umask).map(|()| Vec::new()))?;
        }
        ("mkdir", paths) => {
            each(task, cx, name, paths, |cx, path| cx.files().make_folder(path, umask).map(|()| Vec::new()))?;
        }
        ("touch", paths) => {
            each(task, cx, name, paths, |cx, path| cx.files().open(path, false, umask).map(|()| Vec::new()))?;
        }
        ("rm", [flags @ ("-f" | "-r" | "-rf" | "-fr"), paths @ ..]) => {
            each(task, cx, name, paths, |cx, path| match cx.files().remove(path, flags.contains('r')) {
                Err(_) if flags.contains('f') && !cx.files().exists(path) => Ok(Vec::new()),
                other => other.map(|()| Vec::new()),
            })?;
        }
        ("rm", paths) => {
            each(task, cx, name, paths, |cx, path| cx.files().remove(path, false).map(|()| Vec::new()))?;
        }
        _ => return refuse(format!("{name} {}", words.join(" "))),
    }
    Ok(())
}

/// Does something with each file; what it answers is written out.
fn each(
    task: &mut Task,
    cx: &mut Cx<'_>,
    name: &str,
    paths: &[&str],
    mut action: impl FnMut(&mut Cx<'_>, &str) -> Result<Vec<u8>, Errno>,
) -> Result<(), Refused> {
    if paths.is_empty() || paths.iter().any(|path| path.starts_with('-')) {
        return refuse(format!("{name} {}", paths.join(" ")));
    }
    for path in paths {
        let at = absolute(&task.cwd, path);
        let result = action(cx, &at);
        match result {
            Ok(bytes) => task.write(cx, Stream::Out, &bytes),
            Err(errno) => {
                task.say(cx, Stream::Err, &format!("{name}: {path}: {errno}"));
                task.status = 1;
            }
        }
    }
    Ok(())
}
