//! The shell.

use super::*;

#[test]
fn a_shell_that_is_no_login_shell_finds_no_product_without_a_path() {
    let mut rack = Rack::new();
    for name in ["cluster status", "genesis status", "ncli host list"] {
        let ran = rack.run(1, name);
        assert_eq!(ran.status, 127, "{name}");
        assert!(ran.err.contains("command not found"), "{ran:?}");
    }
    assert_eq!(rack.run(1, "/home/nutanix/cluster/bin/genesis status").status, 0, "the other published path");
    assert_eq!(rack.run(1, "'/usr/bin/nothing'").status, 127);
}

#[test]
fn what_is_not_simulated_is_said_and_has_no_effect() {
    let mut rack = Rack::new();
    for (command, status) in [
        ("touch .a; for x in 1; do touch .b; done", 2),
        ("touch .a; echo $HOME", 2),
        ("touch .a && (touch .b)", 2),
        ("vi .a", 127),
        ("tail -f .a", 2),
        ("ping 10.0.0.1", 2),
    ] {
        let ran = rack.run(1, command);
        assert_eq!((ran.status, ran.err.contains("not simulated")), (status, true), "{command}: {ran:?}");
    }
    assert_eq!(rack.run(1, "test -e .a").status, 1, "a script is read in full before any of it runs");
}

#[test]
fn redirections_pipes_groups_and_substitutions_work_as_in_posix() {
    let mut rack = Rack::new();
    for (command, out, status) in [
        ("echo a 'b  c' \"d $?\"", "a b  c d 0\n", 0),
        ("false; echo $?", "1\n", 0),
        ("false && echo a || echo b", "b\n", 0),
        ("true || echo a; echo b", "b\n", 0),
        ("echo one | cat", "one\n", 0),
        ("echo one >.f; echo two >>.f; cat .f", "one\ntwo\n", 0),
        ("echo one >.f; cat <.f .none 2>/dev/null; echo $?", "1\n", 0),
        ("{ echo a; cat .none; } >.g 2>&1; cat .g", "a\ncat: .none: No such file or directory\n", 0),
        ("cat .none 2>&1 | cat", "cat: .none: No such file or directory\n", 0),
        ("echo x$(echo a b)y \"$(echo 'a  b')\"", "xa by a  b\n", 0),
        ("echo $(cat .none 2>/dev/null) end", "end\n", 0),
        ("cd /none 2>/dev/null || exit 44; echo never", "", 44),
        ("sh -c 'cd /tmp; exit 3'; echo $?; echo x >y; cat y", "3\nx\n", 0),
        ("mkdir -p a/b && mkdir a/b", "", 1),
        ("printf '%s\\n' text; printf 'no line'", "text\nno line", 0),
        ("test -d /tmp && [ -f /etc/nutanix/factory_config.json ] && echo both", "both\n", 0),
        ("id -u; sudo id -u; id -u nutanix; id -u nobody", "1000\n0\n1000\n", 1),
        ("rm -f .none; rm .none", "", 1),
        ("echo one >.t; tail -c +3 .t", "e\n", 0),
    ] {
        let ran = rack.run(1, command);
        assert_eq!((ran.out.as_str(), ran.status), (out, status), "{command}: {ran:?}");
    }
}

#[test]
fn a_command_that_takes_time_is_answered_later_and_can_be_limited() {
    let mut rack = Rack::new();
    let ran = rack.run(1, "sleep 5; echo done");
    assert_eq!((ran.out.as_str(), ran.after), ("done\n", Duration::from_secs(5)));
    let ran = rack.run(1, "timeout 3 sleep 5; echo $?");
    assert_eq!((ran.out.as_str(), ran.after), ("124\n", Duration::from_secs(3)));
    let ran = rack.run(1, "sleep 5 & echo at once");
    assert_eq!(ran.after, Duration::from_secs(5), "what holds the output is waited for, as sshd does");
    let ran = rack.run(1, "sleep 5 >/dev/null 2>&1 & echo at once");
    assert_eq!((ran.out.as_str(), ran.after), ("at once\n", Duration::ZERO));
}

#[test]
fn files_belong_to_one_system_and_its_mask_is_kept() {
    let mut rack = Rack::new();
    rack.run(1, "umask 077; mkdir .m; echo secret >.m/f");
    assert_eq!(rack.run(1, "cat .m/f").out, "secret\n");
    assert_eq!(rack.run(2, "cat .m/f").status, 1);
    assert_eq!(rack.try_run(ahv_ip(1), "root", "cat /home/nutanix/.m/f", "", false).unwrap().status, 1);
    let modes = |path| {
        let cvm = &mut rack.world.fleet_mut().cvms.get_mut("0717-1").unwrap();
        cvm.system.files_mut().mode(path)
    };
    assert_eq!(["/home/nutanix/.m", "/home/nutanix/.m/f"].map(modes), [Some(0o700), Some(0o600)]);
}
