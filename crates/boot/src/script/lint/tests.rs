//! Each rule with what it catches and what it lets pass.

use super::*;
use proptest::prelude::*;

mod rounds;

fn faults(text: &str) -> Vec<String> {
    lint(text).into_iter().map(|(line, fault)| format!("{line}: {fault}")).collect()
}

/// Of a script whose first line is as it must be; lines count from there.
fn check(script: &str, expected: &[&str]) {
    assert_eq!(faults(&format!("#!ipxe\n{script}\n")), expected, "{script}");
}

#[test]
fn a_script_begins_with_its_mark() {
    for text in ["echo hi\n", " #!ipxe\n", "#!ipxed\n", ""] {
        assert_eq!(faults(text), ["1: the first line is not `#!ipxe`"], "{text:?}");
    }
    let with_byte_order_mark = faults("\u{feff}#!ipxe\necho hi\n");
    assert_eq!(with_byte_order_mark[0], "1: the first line is not `#!ipxe`");
    for text in ["#!ipxe", "#!ipxe\r\necho hi\r\n", "#!ipxe \n"] {
        assert_eq!(faults(text), [""; 0], "{text:?}");
    }
    let long = format!("#!ipxe\n{}", "echo\n".repeat(20_000));
    assert_eq!(faults(&long), ["1: is longer than 64 KiB"]);
}

#[test]
fn lines_are_read_the_way_ipxe_reads_them() {
    check("kernel a \\\n|| goto x\n:x", &[]);
    check("kernel a && initrd b || goto x\n:x", &["2: `kernel` has no `initrd=`"]);
    check("boot ; echo a || echo b", &["2: `boot` has no failure branch"]);
    check("boot # || goto x", &["2: `boot` has no failure branch"]);
    check("boot a||goto x", &["2: `boot` has no failure branch"]);
    check("iseq a b && kernel k ||", &[]);
    check(":x boot || goto x", &["2: this loop never ends"]);
}

#[test]
fn every_command_that_can_fail_has_a_failure_branch() {
    for command in [
        "dhcp",
        "chain http://h/x",
        "imgfetch http://h/x",
        "sanboot --no-describe --drive 0x80",
        "imgverify a http://h/b",
        "ntp 10.0.0.1",
        "ifopen net0",
        "imgselect a",
        "imgfree a",
        "imgargs a b",
        "prompt --timeout 1000",
        "iseq ${a} b",
        "isset ${a}",
        "ping 10.0.0.1",
        "iseq ${a} b && echo yes",
    ] {
        let name = command.split(' ').next().unwrap();
        check(command, &[&format!("2: `{name}` has no failure branch")]);
        check(&format!("{command} ||"), &[]);
        check(&format!("{command} || exit 1"), &[]);
    }
    check("echo a\nset a b\nclear a\ninc a\nsleep 1\nimgfree\nimgstat\nexit 1\nreboot\npoweroff", &[]);
    check("dhcp || chain http://h/x", &["2: `chain` has no failure branch"]);
}

#[test]
fn an_unknown_command_is_named_with_what_was_meant() {
    check("imgfech http://h/x ||", &["2: iPXE has no command `imgfech`"]);
    let hint = |script: &str| lint(&format!("#!ipxe\n{script}\n")).remove(0).1.hint().into_owned();
    assert_eq!(hint("imgfech x ||"), "did you mean `imgfetch`?");
    assert_eq!(hint("wget x ||"), "ipxe.org/cmd lists the commands");
    check("initrd --nam x http://h/y ||", &["2: `initrd` has no option `--nam`"]);
    assert!(hint("initrd --nam x http://h/y ||").starts_with("it has --name"));
    check("imgfetch --name x --timeout 3000 --autofree http://h/y ||\nimgfetch -n x -t 1 http://h/y ||", &[]);
}

#[test]
fn what_stands_behind_an_unknown_command_is_looked_at_all_the_same() {
    let unknown = "2: iPXE has no command `dhpc`";
    check("dhpc\n:a\ngoto a", &[unknown, "4: this loop never ends"]);
    check("dhpc && goto a || exit 1\n:a\ngoto a", &[unknown, "4: this loop never ends"]);
    check("dhpc || goto a\nexit 0\n:a\ngoto a", &[unknown, "5: this loop never ends"]);
    check(":a\ndhcp || exit 1\ndhpc || exit 1\ngoto a", &["4: iPXE has no command `dhpc`", "5: this loop never ends"]);
    check(":a\ndhpc || exit 1\nboot || goto a", &["3: iPXE has no command `dhpc`", "4: this loop never ends"]);
    // One in a loop that is counted does no harm, and neither does one that nothing leads to.
    check(":a\ninc n\niseq ${n} 9 && goto b ||\ndhpc || goto a\ngoto a\n:b", &["5: iPXE has no command `dhpc`"]);
    check("exit 0\n:a\ndhpc ||\ngoto a", &["4: iPXE has no command `dhpc`"]);
    check(
        "set n 0\n:a\ninc n\niseq ${n} 9 && goto b ||\nkernel http://h/k || goto b\ndhpc || goto b\ngoto a\n:b",
        &["6: the image of the last round is still there when this is fetched again", "7: iPXE has no command `dhpc`"],
    );
}

#[test]
fn what_runs_when_a_goto_finds_no_label_is_looked_at() {
    check(":a\ngoto x || goto a", &["3: there is no label `:x`", "3: this loop never ends"]);
    check(":a\ngoto ${x} || goto a", &["3: this loop never ends"]);
    check("goto x\n:a\ngoto a", &["2: there is no label `:x`"]);
}

#[test]
fn a_jump_to_what_the_script_has_set_is_followed() {
    check("set t a\n:a\ngoto ${t}", &["4: this loop never ends"]);
    check(":a\nset t a\ndhcp || goto b\nset t c\n:b\ngoto ${t}\n:c", &["7: this loop never ends"]);
    check(":a\nset t a\ninc n\niseq ${n} 9 && set t c ||\ngoto ${t}\n:c", &[]);
    check("set t x\ngoto ${t}", &["3: there is no label `:x`"]);
    check("set t x\ngoto ${t} || exit 1\n:y", &["3: there is no label `:x`"]);
    check("set t y\nexit 0\n:x\ngoto ${t}\n:y", &[]);
    // What is behind it is looked at: here nothing else leads there.
    check("set t a\ngoto ${t}\n:a\ngoto a", &["5: this loop never ends"]);
    check(
        "set n 0\n:a\ninc n\niseq ${n} 9 && goto b ||\nkernel http://h/k || exit 1\nset t a\ngoto ${t}\n:b",
        &["6: the image of the last round is still there when this is fetched again"],
    );
    // A part that is gone through twice goes back to each side.
    check("set t a\ngoto sub\n:a\nset t b\ngoto sub\n:b\nexit 0\n:sub\necho\ngoto ${t}", &[]);
    // A person's choice makes no loop.
    check(":a\nset t a\nchoose t || exit 1\ngoto ${t}\n:b", &[]);
    check(":a\nset t a\nread t || exit 1\ngoto ${t}\n:b\ngoto b", &["7: this loop never ends"]);
    check(":a\nset t ${u}\ngoto ${t}", &[]);
}

/// Each of them doubles the places at first.
#[test]
fn a_script_with_more_ways_than_can_be_followed_is_read_all_the_same() {
    let sets: String = (0..600).map(|n| format!("iseq a b && set t{} l{n} ||\n", n % 4)).collect();
    let script = format!("{sets}goto ${{t0}}\ngoto ${{t1}}\ngoto ${{t2}}\ngoto ${{t3}}\n:a\ngoto a");
    check(&script, &["607: this loop never ends"]);
}

#[test]
fn labels_are_there_and_there_once() {
    check("goto x", &["2: there is no label `:x`"]);
    check("goto ${there}\n:x\n:y", &[]);
    check("goto x\n:x\n:x", &["4: the label `:x` stands twice"]);
}

#[test]
fn the_kernel_finds_its_initrd_and_its_consoles() {
    check("kernel k ||\ninitrd http://h/i.img ||", &["2: `kernel` has no `initrd=`"]);
    check("kernel k initrd=i.img ||\ninitrd http://h/i.img?x=1 ||", &[]);
    check("kernel k initrd=other ||\ninitrd --name other http://h/i.img ||", &[]);
    check("set name i.img\nkernel k initrd=${name} ||\ninitrd http://h/i.img ||", &[]);
    check("kernel k initrd=x ||\ninitrd http://h/${name} ||", &["3: `${name}` stands in a URL as it is"]);
    let not_fetched = |name: &str| format!("2: no image is named `{name}`, which `initrd=` asks for");
    check("kernel k initrd=i.img ||", &[&not_fetched("i.img")]);
    check("kernel k initrd=i.img ||\nimgfetch --name i.img http://h/i ||", &[]);
    check("kernel k initrd=i.img ||\nimgextract --name i.img i.gz ||", &[]);
    let not_named = |name: &str| format!("3: no `initrd=` names the image `{name}`");
    check("kernel k initrd=i ||\ninitrd http://h/i.img ||", &[&not_fetched("i"), &not_named("i.img")]);
    let two = "initrd http://h/j.img ||\ninitrd http://h/i.img ||";
    check(&format!("kernel k initrd=i.img ||\n{two}"), &[&not_named("j.img")]);
    check(&format!("kernel k initrd=i.img{{{{agent_init}}}} a=b ||\n{two}"), &[&not_named("j.img")]);
    check("kernel k initrd=i.img{{agent_init}} ||", &[&not_fetched("i.img")]);
    check("kernel k initrd=i.img{{agent_init}}{{ca_sha256}} ||", &[&not_fetched("i.img")]);
    let no_agent = "2: the pin stands on a line that starts no agent";
    check("kernel k initrd=i.img{{ca_sha256}} ||", &[&not_fetched("i.img"), no_agent]);
    check(&format!("kernel k initrd=i.img initrd=j.img ||\n{two}"), &[]);
    check(&format!("kernel k initrd=i.img,j.img ||\n{two}"), &[]);
    check(&format!("kernel k initrd=initrd.magic ||\n{two}"), &[]);
    check("kernel k initrd=initrd.magic ||", &[&not_fetched("initrd.magic")]);
    check(&format!("set j j.img\nkernel k initrd=i.img initrd=${{j}} ||\n{two}"), &[]);
    // For a script that is fetched next, or for either of two kernels.
    check(&format!("{two}\nchain http://h/x ||"), &[]);
    check(&format!("kernel k initrd=i.img ||\nkernel k initrd=j.img ||\n{two}"), &[]);
    check("kernel k console=tty0 ||\nimgargs k root=/dev/sda ||", &["3: `imgargs` drops the kernel's `console=`"]);
    check("kernel k console=tty0 ||\nimgargs k console=tty0 root=/dev/sda ||", &[]);
}

#[test]
fn a_loop_ends_by_a_counter() {
    let never = |line: usize| format!("{line}: this loop never ends");
    check(":a\ngoto a", &[&never(3)]);
    check(":a\ndhcp || goto a", &[&never(3)]);
    check(":a\ninc n\niseq ${n} 9 && goto b ||\ndhcp || goto a\n:b", &[]);
    check(":a\ninc n\niseq ${n:int32} 9 && goto b ||\ndhcp || goto a\n:b", &[]);
    check(":a\ndhcp && goto b ||\ninc n\niseq ${n} 9 || goto a\n:b", &[]);
    // Counted and never looked at; looked at and never counted; looked at, and the yes stays inside.
    check(":a\ninc n\ndhcp || goto a", &[&never(4)]);
    check(":a\niseq ${n} 9 && goto b ||\ndhcp || goto a\n:b", &[&never(4)]);
    check(":a\ninc n\niseq ${n} 9 && goto c ||\n:c\ndhcp || goto a", &[&never(6)]);
    // Another counter than the one that is looked at.
    check(":a\ninc m\niseq ${n} 9 && goto b ||\ndhcp || goto a\n:b", &[&never(5)]);
    // One way round misses the counter.
    check(":a\ndhcp || goto a\ninc n\niseq ${n} 9 && goto b ||\ngoto a\n:b", &[&never(3)]);
    // Set anew in each round, to more than the end, to anything, or counted past it.
    check(":a\nset n 0\ninc n\niseq ${n} 9 && goto b ||\ndhcp || goto a\n:b", &[&never(6)]);
    check("set n 9\n:a\ninc n\niseq ${n} 9 && goto b ||\ndhcp || goto a\n:b", &[&never(6)]);
    check("set n ${m}\n:a\ninc n\niseq ${n} 9 && goto b ||\ndhcp || goto a\n:b", &[&never(6)]);
    check(":a\ninc n 2\niseq ${n} 9 && goto b ||\ndhcp || goto a\n:b", &[&never(5)]);
}

#[test]
fn a_bound_that_can_be_missed_ends_no_loop() {
    let never = |line: usize| format!("{line}: this loop never ends");
    // Counted twice a round: 1, 3, 5.
    check(":a\ninc n\niseq ${n} 4 && goto x ||\ninc n\ngoto a\n:x", &[&never(6)]);
    check(":a\ninc n\ninc n\niseq ${n} 3 && goto x ||\ngoto a\n:x", &[&never(6)]);
    check(":a\ninc n\ndhcp || inc n\niseq ${n} 3 && goto x ||\ngoto a\n:x", &[&never(6)]);
    check(":a\ninc n\niseq ${n} 4 && goto x ||\ndhcp && goto a || inc n\ngoto a\n:x", &[&never(6)]);
    // Beyond it from the beginning, set there or counted there.
    check("set n 9\n:a\ninc n\niseq ${n} 4 && goto x ||\ngoto a\n:x", &[&never(6)]);
    check("inc n\ninc n\n:a\ninc n\niseq ${n} 2 && goto x ||\ngoto a\n:x", &[&never(7)]);
    // A second loop that goes on counting where the first one stopped.
    let first = ":a\ninc n\niseq ${n} 4 && goto b ||\ngoto a\n:b";
    check(&format!("{first}\ninc n\niseq ${{n}} 4 && goto c ||\ngoto b\n:c"), &[&never(9)]);
    check(&format!("{first}\ninc n\niseq ${{n}} 8 && goto c ||\ngoto b\n:c"), &[]);
    check(&format!("set n 0\n{first}\nset n 0\n:d\ninc n\niseq ${{n}} 4 && goto c ||\ngoto d\n:c"), &[]);
    // An inner one that isn't set back before it begins again.
    check(":o\ninc o\niseq ${o} 3 && goto x ||\n:i\ninc i\niseq ${i} 5 && goto o ||\ngoto i\n:x", &[&never(8)]);
    // Texts, not numbers.
    for compared in ["${n:hex} 3", "${n:hexhyp} 3", "${n:string} 3", "${n} 03", "${n} 0x3", "${n} 3s", "${n} 0"] {
        check(&format!(":a\ninc n\niseq {compared} && goto x ||\ngoto a\n:x"), &[&never(5)]);
    }
    check("set n:int8 0\n:a\ninc n\niseq ${n} 200 && goto x ||\ngoto a\n:x", &[&never(6)]);
    check("set n:hex 0\n:a\ninc n\niseq ${n} 4 && goto x ||\ngoto a\n:x", &[&never(6)]);
    // A yes that stays inside.
    check(":a\ninc n\niseq ${n} 4 && echo four ||\ngoto a", &[&never(5)]);
}

#[test]
fn a_bound_that_is_met_ends_its_loop() {
    check("set n:uint8 0\n:a\ninc n\niseq ${n:uint8} 200 && goto x ||\ngoto a\n:x", &[]);
    check("set n 3\n:a\niseq ${n} 4000000 && goto x ||\ninc n 1\ngoto a\n:x", &[]);
    check(":a\ndhcp && inc n || inc n\niseq 9 ${n} && goto x ||\ngoto a\n:x", &[]);
    check("inc n\n:a\niseq ${n} 5 && echo half ||\ninc n\niseq ${n} 9 && goto x ||\ngoto a\n:x", &[]);
    check("read n ||\nclear n\n:a\ninc n\niseq ${n} 9 && goto x ||\ngoto a\n:x", &[]);
    // Set back outside of the loop that it counts.
    check(":o\ninc o\niseq ${o} 3 && goto x ||\nset i 0\n:i\ninc i\niseq ${i} 5 && goto o ||\ngoto i\n:x", &[]);
}

#[test]
fn loops_within_loops_have_each_a_counter() {
    let inner = "set i:int32 0\n:inner\ninc i\niseq ${i} 5 && goto next ||\ndhcp || goto inner\n:next";
    check(&format!(":outer\ninc o\niseq ${{o}} 9 && goto out ||\n{inner}\nntp 10.0.0.1 || goto outer\n:out"), &[]);
    check(&format!(":outer\n{inner}\nntp 10.0.0.1 || goto outer"), &["9: this loop never ends"]);
    // What can't be reached does no harm.
    check("exit 0\n:a\ngoto a", &[]);
}

#[test]
fn going_round_drops_the_images_of_the_last_round() {
    let round = |begin: &str| {
        format!(
            "set n 0\n:a\ninc n\niseq ${{n}} 9 && goto b ||\n{begin}\nkernel http://h/k || goto a\nboot || goto a\n:b"
        )
    };
    check(&round("imgfree"), &[]);
    check(&round("imgfree k ||"), &[]);
    check(&round("imgfree x ||"), &["7: the image of the last round is still there when this is fetched again"]);
    check(&round("echo"), &["7: the image of the last round is still there when this is fetched again"]);
    // A fetch that failed leaves nothing.
    check("set n 0\n:a\ninc n\niseq ${n} 9 && goto b ||\nkernel http://h/k || goto a\n:b", &[]);
    check("set n 0\n:a\ninc n\niseq ${n} 9 && goto b ||\nimgfetch http://h/k && imgfree k ||\ngoto a\n:b", &[]);
    check("set n 0\n:a\ninc n\niseq ${n} 9 && goto b ||\nimgfetch -a http://h/k ||\ngoto a\n:b", &[]);
}

#[test]
fn what_is_not_ours_stands_in_no_url_as_it_is() {
    let fault = |setting: &str| format!("2: `${{{setting}}}` stands in a URL as it is");
    for setting in ["hostname", "serial", "net0/mac", "mac", "filename", "product:string", "x", "${y}", "mac:hex"] {
        check(&format!("chain http://h/${{{setting}}} ||"), &[&fault(setting)]);
        check(&format!("kernel k url=http://h/?s=${{{setting}}} ||"), &[&fault(setting)]);
        check(&format!("echo ${{{setting}}}"), &[]);
    }
    for setting in
        ["hostname:uristring", "net0/mac:hexhyp", "net0/ip", "ip", "uuid", "errno", "buildarch", "net0/gateway"]
    {
        check(&format!("chain http://h/${{{setting}}} ||"), &[]);
    }
    check("set base http://h/x\nchain ${base}/y ||", &[]);
    check("set base http://h/${ip}\nchain ${base}/y ||", &[]);
    check(
        "set name ${serial}\nset base h/${name}\nchain http://${base}/y ||",
        &["4: `${base}` stands in a URL as it is"],
    );
    check("read name ||\nchain ${name} ||", &["3: `${name}` stands in a URL as it is"]);
    check("chain http://h/${net0 ||", &[]);
}

#[test]
fn the_token_is_shown_on_no_console() {
    let shown = |name: &str| format!("2: `{name}` would show the boot token on the console");
    check("echo {{boot_token}}", &[&shown("echo")]);
    check("prompt x{{boot_token}} ||", &[&shown("prompt")]);
    check("imgfetch http://h/{{boot_token}}/x ||", &[&shown("imgfetch")]);
    check("imgfetch http://h/x?t={{boot_token}} ||\nkernel k boot_token={{boot_token}} ||", &[]);
    check("imgfetch http://h/x#{{boot_token}} ||", &[&shown("imgfetch")]);
    check("imgfetch --name {{boot_token}} http://h/x ||", &[&shown("imgfetch")]);
    check(
        "imgfetch -n{{boot_token}} http://h/x ||",
        &["2: `imgfetch` has no option `-n{{boot_token}}`", &shown("imgfetch")],
    );
    check("initrd http://h/x t={{boot_token}} ||", &[&shown("initrd")]);
    check("kernel --name {{boot_token}} k ||", &[&shown("kernel")]);
    check("kernel http://h/{{boot_token}} ||", &[&shown("kernel")]);
    check("imgargs {{boot_token}} a ||", &[&shown("imgargs")]);
    check("imgargs k t={{boot_token}} ||", &[]);
    check("ping {{boot_token}} ||", &[&shown("ping")]);
    check("imgselect {{boot_token}} ||", &[&shown("imgselect")]);
    check("chain http://h/x?t={{boot_token}} ||", &[]);
    let of_setting = |name: &str| format!("3: `{name}` would show the boot token on the console");
    check("set t {{boot_token}}\nshow t ||", &[&of_setting("show")]);
    check("set t {{boot_token}}\nread t ||", &[&of_setting("read")]);
    check("set t {{boot_token}}\nping ${t} ||", &[&of_setting("ping")]);
    check("set t {{boot_token}}\nisset ${t} && iseq ${t} a ||\nclear t", &[]);
    // It shows the arguments of images.
    let kernel = "kernel k boot_token={{boot_token}} || exit 1";
    check(&format!("{kernel}\nimgstat"), &[&of_setting("imgstat")]);
    check(
        "set t {{boot_token}}\nkernel k t=${t} ||\nimgstat",
        &["4: `imgstat` would show the boot token on the console"],
    );
    check(&format!("{kernel}\nimgfree\nimgstat"), &[]);
    check(&format!("imgstat\n{kernel}"), &[]);
    check("kernel k a=b ||\nimgstat", &[]);
    check("set t {{boot_token}}\nset u ${t}\necho ${u}", &["4: `echo` would show the boot token on the console"]);
}

#[test]
fn what_is_not_ours_writes_no_arguments_of_the_kernel() {
    for setting in ["hostname", "net0/domain", "filename", "serial", "hostname:string", "x"] {
        let fault = format!("2: `${{{setting}}}` stands on the kernel's line as it is");
        check(&format!("kernel k host=${{{setting}}} ||"), &[&fault]);
        check(&format!("imgargs k host=${{{setting}}} ||"), &[&fault]);
    }
    for setting in ["hostname:uristring", "net0/mac", "mac:hexhyp", "mac:hex", "net0/ip", "netmask", "uuid"] {
        check(&format!("kernel k a=${{{setting}}} ||"), &[]);
    }
    check("set h ${hostname}\nkernel k a=${h} ||", &["3: `${h}` stands on the kernel's line as it is"]);
    check("set h ${net0/mac}\nkernel k a=${h} ||", &[]);
    check("set h ${hostname:uristring}\nset i x-${h}\nkernel k a=${i} ||", &[]);
    check("read h ||\nkernel k a=${h} ||", &["3: `${h}` stands on the kernel's line as it is"]);
}

#[test]
fn a_setting_is_no_command() {
    check("${cmd} ||", &["2: `${cmd}` stands where a command belongs"]);
    check("set cmd echo\niseq a b && x${cmd} y ||", &["3: `x${cmd}` stands where a command belongs"]);
}

#[test]
fn no_command_lacks_what_it_needs() {
    check("dhcp || goto", &["2: `goto` has no label"]);
    check("dhcp --timeout || exit 1", &["2: `dhcp` has no value behind `--timeout`"]);
    check("dhcp -c || exit 1", &["2: `dhcp` has no value behind `-c`"]);
    check("dhcp -c dhcp --timeout 3000 net0 || exit 1", &[]);
    check("imgfetch || exit 1", &["2: `imgfetch` has no URL"]);
    check("imgfetch --timeout http://h/x || exit 1", &["2: `imgfetch` has no URL"]);
    check("imgfetch --name || exit 1", &["2: `imgfetch` has no value behind `--name`", "2: `imgfetch` has no URL"]);
    check("sleep || exit 1", &["2: `sleep` has no number of seconds"]);
    check("iseq ${a} ||", &["2: `iseq` has no two values"]);
    check("set # x", &["2: `set` has no setting"]);
    check("set x\nisset ${x} ||\nimgfree\nimgstat\nchain ||\nboot ||", &[]);
    for (_, fault) in lint("#!ipxe\ngoto\ndhcp --timeout ||\n${x} ||\nkernel k a=${x} ||") {
        assert!(!fault.hint().is_empty(), "{fault}");
    }
}

#[test]
fn a_line_that_the_kernel_would_cut_off_is_told_before_it_is_rendered() {
    let line = |bytes: usize| format!("kernel k {} ||", "x".repeat(bytes - 12));
    assert_eq!(line(2000).len(), 2000);
    check(&line(2000), &[]);
    check(&line(2001), &["2: the line is 2001 bytes long, not counting its places"]);
    check(
        &format!("kernel k \\\n{}\\\n{} ||", "x".repeat(1000), "y".repeat(1000)),
        &["2: the line is 2012 bytes long, not counting its places"],
    );
    // What a place stands for may be nothing.
    check(&line(2000).replace("k x", "k{{agent_init}} x"), &[]);
}

#[test]
fn a_place_stands_for_an_argument() {
    check("{{server_id}} ||", &["2: `{{server_id}}` can't stand here"]);
    check("goto {{server_id}}", &["2: `{{server_id}}` can't stand here"]);
    check(":{{server_id}}", &["2: `:{{server_id}}` can't stand here".replace(":{{", "{{").as_str()]);
    check("set {{server_id}} x", &["2: `{{server_id}}` can't stand here"]);
    check("echo ${net{{server_id}}/ip}", &["2: `${net{{server_id}}/ip}` can't stand here"]);
    check("echo {{server}}\necho {{open", &["2: unknown place `{{server`", "3: the place `{{open` is not closed"]);
    let hint = lint("#!ipxe\necho {{server}}\n").remove(0).1.hint().into_owned();
    assert!(hint.starts_with("known: {{server_id}} {{mgmt_ip}} ") && hint.contains("{{agent_init}}"), "{hint}");
}

#[test]
fn a_place_is_closed_in_its_line() {
    check("echo {{server_id\nreboot || exit 1", &["2: the place `{{server_id` is not closed"]);
    check("echo {{server_id}\necho }}", &["2: the place `{{server_id}` is not closed"]);
    check("echo {{server_id\r\necho }}\r", &["2: the place `{{server_id` is not closed"]);
    check("echo {{mgmt_ip}} {{server_id \\\n echo }}", &["2: the place `{{server_id \\` is not closed"]);
    check("# {{server_id", &["2: the place `{{server_id` is not closed"]);
    check("echo }} {{server_id}}", &[]);
    assert_eq!(lint("#!ipxe\necho {{dns").remove(0).1.hint(), "write `}}` behind its name, on the same line");
}

#[test]
fn the_built_in_templates_and_every_fault_have_what_they_need() {
    for text in [include_str!("../../../templates/foundation.ipxe"), include_str!("../../../templates/phoenix-ce.ipxe")]
    {
        assert_eq!(faults(text), [""; 0]);
    }
    for (_, fault) in lint("boot\ngoto x\n{{x}}\n:a\n:a\necho {{boot_token}}\nimgfech\nkernel\ninitrd\n:b\ngoto b") {
        assert!(!fault.hint().is_empty(), "{fault}");
    }
}

/// Lines that are nearly right are where a reader stumbles.
fn line() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "kernel",
        "initrd",
        "boot",
        "goto",
        "a",
        ":a",
        "inc",
        "iseq",
        "${a}",
        "${a",
        "9",
        "||",
        "&&",
        ";",
        "#",
        "\\",
        "{{",
        "{{boot_token}}",
        "imgfree",
        "set",
        "--name",
        "-n",
        "http://h/x",
        "dhcp",
        "exit",
        "${${a}}",
        "é",
        "chain",
    ]);
    prop::collection::vec(word, 0..6).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_text_is_read(text in any::<String>()) {
        let found = lint(&text);
        prop_assert!(found.is_sorted_by_key(|(line, _)| *line));
    }

    #[test]
    fn any_script_of_known_words_is_read(lines in prop::collection::vec(line(), 0..30)) {
        let text = format!("#!ipxe\n{}", lines.join("\n"));
        for (line, fault) in lint(&text) {
            prop_assert!((1..=text.lines().count().max(1)).contains(&line), "{line}: {fault}");
            prop_assert!(!fault.hint().is_empty());
        }
    }
}

#[test]
fn a_digest_goes_to_a_setting_and_needs_an_image() {
    let file = "kernel k initrd=i || exit 1\ninitrd i || exit 1\n";
    check(&format!("{file}sha256sum --set sum:hexraw k || goto x\nsha512sum -s sum k ||\nsha1sum k ||\n:x"), &[]);
    check("sha256sum --set sum ||", &["2: `sha256sum` has no image"]);
    check("sha256sum --sum x k ||", &["2: `sha256sum` has no option `--sum`"]);
    check(
        "sha256sum --set",
        &[
            "2: `sha256sum` has no value behind `--set`",
            "2: `sha256sum` has no image",
            "2: `sha256sum` has no failure branch",
        ],
    );
    check("sha256sum k", &["2: `sha256sum` has no failure branch"]);
    // What it made is the script's own.
    check("sha256sum --set sum:hexraw k ||\nchain http://h/${sum:hexraw} || exit 1", &[]);
}

/// The rule that the built-in templates keep: what was compared and differs reaches no `boot`.
#[test]
fn what_differs_from_its_digest_is_never_booted() {
    let begin = "kernel k initrd=i || exit 1\ninitrd i || exit 1\nsha256sum --set sum:hexraw k || goto start\n";
    let end = ":start\nboot || exit 1\n:no\nexit 1";
    let fault = ["5: what differs from its digest is booted all the same"];
    for compared in ["${sum:hexraw} {{kernel_sha256}}", "{{initrd_sha256}} ${sum}", "${sum} abc"] {
        check(&format!("{begin}iseq {compared} || goto no\n{end}"), &[]);
        check(&format!("{begin}iseq {compared} ||\n{end}"), &fault);
        check(&format!("{begin}iseq {compared} && echo good ||\n{end}"), &fault);
        check(&format!("{begin}iseq {compared} || goto start\n{end}"), &fault);
        check(&format!("{begin}iseq {compared} || imgfree\n{end}"), &[]);
        check(&format!("{begin}iseq {compared} || imgfree k ||\n{end}"), &fault);
    }
    let expected = format!("set want {{{{kernel_sha256}}}}\n{begin}iseq ${{other}} ${{want}} ||\n{end}");
    check(&expected, &["6: what differs from its digest is booted all the same"]);
    check(&format!("{begin}iseq ${{x}} y ||\n{end}"), &[]);
}

#[test]
fn the_token_that_tells_of_a_comparison_is_a_token() {
    check("echo {{checked_token}}", &["2: `echo` would show the boot token on the console"]);
    check(
        "set proof {{checked_token}}\nimgfetch http://h/${proof} || exit 1",
        &["3: `imgfetch` would show the boot token on the console"],
    );
    check("set proof {{checked_token}}\nimgfetch http://h/x?t=${proof} || exit 1", &[]);
}
