use super::{Boot, Effect, Firmware, Generation, Identity, Interpreter, Lease, NotAScript, Platform, Resume, Script};
use crate::fetch::{Answer, FetchResult};
use metalform_model::Timestamp;
use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};
use url::Url;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
const UEFI_OLD: Platform = Platform { firmware: Firmware::Uefi, generation: Generation::Old };
const UEFI_NEW: Platform = Platform { firmware: Firmware::Uefi, generation: Generation::New };
const BIOS: Platform = Platform { firmware: Firmware::Bios, generation: Generation::Old };

/// The boot script of the original design, as a service at 10.240.0.2 would have rendered it for one server.
const ORIGINAL: &str = "#!ipxe
echo Starting Nutanix Foundation for server server-001...

:retry_dhcp
dhcp || goto retry_dhcp
sleep 2

set base-url http://10.240.0.2/pxe

kernel ${base-url}/images/vmlinuz-foundation console=tty0 console=ttyS0,115200
initrd ${base-url}/images/initrd-foundation.img

imgargs vmlinuz-foundation node_id=server-001 mgmt_ip=10.240.0.11

boot || goto error

:error
echo Boot failed, retrying...
sleep 10
goto retry_dhcp
";

fn identity() -> Identity {
    Identity {
        uuid: "4c4c4544-0034-3110-8052-b7c04f4d3232".parse().unwrap(),
        serial: "SIM 1".into(),
        product: "bx2d-metal-96x384".into(),
        mac: [0x02, 0, 0x0a, 0xf0, 0, 0x0b],
    }
}

fn lease() -> Lease {
    Lease {
        ip: Ipv4Addr::new(10, 240, 0, 11),
        netmask: Ipv4Addr::new(255, 255, 255, 0),
        gateway: Ipv4Addr::new(10, 240, 0, 1),
        dns: Ipv4Addr::new(161, 26, 0, 10),
    }
}

/// Runs a script against scripted answers until something other than HTTP, DHCP or a sleep is wanted.
struct Bench {
    ipxe: Interpreter,
    answers: BTreeMap<String, Vec<FetchResult>>,
    asked: Vec<String>,
    slept: Duration,
    parked: Duration,
}

impl Bench {
    fn new(platform: Platform) -> Self {
        let (asked, slept, parked) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        Bench { ipxe: Interpreter::new(&identity(), platform), answers: BTreeMap::new(), asked, slept, parked }
    }

    /// The last answer of a path is given again and again.
    fn serve(mut self, path: &str, answers: impl IntoIterator<Item = FetchResult>) -> Self {
        self.answers.insert(path.into(), answers.into_iter().collect());
        self
    }

    fn with_images(self) -> Self {
        self.serve("/pxe/images/vmlinuz-foundation", [ok(&b"kernel bytes"[..])])
            .serve("/pxe/images/initrd-foundation.img", [ok(&b"initrd bytes"[..])])
    }

    fn run(&mut self, text: &str) -> Effect {
        let url = Url::parse("http://10.240.0.2/boot/ipxe/server-001?t=secret").unwrap();
        let first = self.ipxe.start(NOW, Script::parse(text).unwrap(), Some(url));
        self.settle(first)
    }

    fn go_on(&mut self, resume: Resume) -> Effect {
        let next = self.ipxe.resume(NOW, resume);
        self.settle(next)
    }

    fn settle(&mut self, mut effect: Effect) -> Effect {
        for _ in 0..200 {
            let resume = match &effect {
                Effect::Http { url, .. } => {
                    let path = Url::parse(url).unwrap().path().to_owned();
                    self.asked.push(path.clone());
                    let answers = self.answers.entry(path).or_default();
                    let answer = if answers.len() > 1 {
                        answers.remove(0)
                    } else {
                        answers.first().cloned().unwrap_or(status(404))
                    };
                    Resume::Fetched(answer)
                }
                Effect::Sleep(wait) => {
                    self.slept += *wait;
                    Resume::Done
                }
                Effect::RetryAfter(wait) => {
                    self.parked += *wait;
                    Resume::Done
                }
                Effect::Dhcp => Resume::Leased(lease()),
                _ => return effect,
            };
            effect = self.ipxe.resume(NOW, resume);
        }
        Effect::Hangs("200 effects and no end".into())
    }

    fn boots(&mut self, text: &str) -> Boot {
        match self.run(text) {
            Effect::Boot(boot) => *boot,
            other => panic!("expected a boot, got {other:?}\n{:#?}", self.ipxe.console()),
        }
    }

    fn console(&self) -> Vec<&str> {
        self.ipxe.console().iter().map(String::as_str).collect()
    }
}

fn ok(body: impl Into<bytes::Bytes>) -> FetchResult {
    FetchResult::Answered(Answer::new(200, body))
}

fn status(status: u16) -> FetchResult {
    FetchResult::Answered(Answer::new(status, &b"a page that nobody sees"[..]))
}

fn parked(retry_after: &str) -> FetchResult {
    FetchResult::Answered(Answer { retry_after: Some(retry_after.into()), ..Answer::new(503, &b""[..]) })
}

const ENDED_WELL: Effect = Effect::ScriptEnded { ok: true };
const ENDED_BADLY: Effect = Effect::ScriptEnded { ok: false };

#[test]
fn the_original_script_runs_to_its_boot() {
    let mut bench = Bench::new(BIOS).with_images();
    let boot = bench.boots(ORIGINAL);
    assert_eq!(bench.asked, ["/pxe/images/vmlinuz-foundation", "/pxe/images/initrd-foundation.img"]);
    assert_eq!(boot.initrds.len(), 1);
    assert_eq!(bench.slept, Duration::from_secs(2));
    assert_eq!(bench.console()[0], "Starting Nutanix Foundation for server server-001...");
}

#[test]
fn first_fault_of_the_original_imgargs_drops_the_console_arguments() {
    let boot = Bench::new(BIOS).with_images().boots(ORIGINAL);
    assert_eq!(boot.command_line, "node_id=server-001 mgmt_ip=10.240.0.11");
}

#[test]
fn second_fault_of_the_original_an_old_uefi_build_hides_the_initrd() {
    assert!(Bench::new(UEFI_OLD).with_images().boots(ORIGINAL).initrds.is_empty());
    assert_eq!(Bench::new(UEFI_NEW).with_images().boots(ORIGINAL).initrds.len(), 1);
    let mended =
        ORIGINAL.replace("imgargs vmlinuz-foundation", "imgargs vmlinuz-foundation initrd=initrd-foundation.img");
    let boot = Bench::new(UEFI_OLD).with_images().boots(&mended);
    assert_eq!(boot.initrds[0].name, "initrd-foundation.img");
    assert_eq!(
        boot.command_line,
        "vmlinuz-foundation initrd=initrd-foundation.img node_id=server-001 mgmt_ip=10.240.0.11"
    );
}

#[test]
fn third_fault_of_the_original_a_failed_download_ends_the_script() {
    let kernel = "/pxe/images/vmlinuz-foundation";
    let mut bench = Bench::new(UEFI_NEW).with_images().serve(kernel, [status(404)]);
    assert_eq!(bench.run(ORIGINAL), ENDED_BADLY);
    assert_eq!(
        bench.console()[1..],
        [
            "http://10.240.0.2/pxe/images/vmlinuz-foundation... No such file or directory (https://ipxe.org/2d0c618e)",
            "Could not boot image (https://ipxe.org/2e852081)",
        ]
    );
    let mended = ORIGINAL.replace("ttyS0,115200", "ttyS0,115200 || goto error");
    let mut bench = Bench::new(UEFI_NEW).with_images().serve(kernel, [status(404), ok(&b"kernel bytes"[..])]);
    bench.boots(&mended);
    assert_eq!(bench.slept, Duration::from_secs(2 + 10 + 2));
}

#[test]
fn fourth_fault_of_the_original_every_round_keeps_its_images() {
    let mut bench = Bench::new(UEFI_NEW).with_images();
    bench.boots(ORIGINAL);
    bench.go_on(Resume::Failed("Exec format error".into()));
    let Effect::Boot(third) = bench.go_on(Resume::Failed("Exec format error".into())) else { panic!() };
    assert_eq!(bench.ipxe.images().len(), 6);
    assert!(third.initrds.len() > 1, "leftovers end up in what the kernel unpacks");

    let mended = ORIGINAL.replace(":retry_dhcp", ":retry_dhcp\nimgfree");
    let mut bench = Bench::new(UEFI_NEW).with_images();
    bench.boots(&mended);
    bench.go_on(Resume::Failed("Exec format error".into()));
    assert_eq!(bench.ipxe.images().len(), 2);
}

#[test]
fn images_that_never_fit_end_in_not_enough_space() {
    let mut big = Answer::new(200, &b"x"[..]);
    big.body.len = 1 << 30;
    let mut bench = Bench::new(UEFI_NEW).serve("/big", [FetchResult::Answered(big)]);
    let script = "#!ipxe\n:again\nimgfetch /big || goto full\ngoto again\n:full\nimgstat\nexit 1\n";
    assert_eq!(bench.run(script), ENDED_BADLY);
    assert_eq!(bench.ipxe.images().len(), 2);
    assert!(bench.console().iter().any(|line| line.contains("Not enough space")));
}

#[test]
fn a_text_without_the_magic_line_is_refused() {
    for text in ["", "echo hello", "\u{feff}#!ipxe\n", "#!ipxescript\n", "<html>404</html>", " #!ipxe\n"] {
        assert_eq!(Script::parse(text), Err(NotAScript), "{text:?}");
    }
    assert!(Script::parse("#!ipxe\r\necho a line\r\n").is_ok());
}

#[test]
fn every_connector_does_what_it_does_in_ipxe() {
    let table: &[(&str, Effect, &[&str])] = &[
        ("iseq a b || echo no", ENDED_WELL, &["no"]),
        ("iseq a a || echo no", ENDED_WELL, &[]),
        ("iseq a a && echo yes", ENDED_WELL, &["yes"]),
        ("iseq a b && echo yes", ENDED_BADLY, &[]),
        ("iseq a b && echo yes || echo no", ENDED_WELL, &["no"]),
        ("iseq a a || iseq a b && echo yes", ENDED_WELL, &["yes"]),
        ("iseq a b && goto nowhere ||", ENDED_WELL, &[]),
        ("iseq a b ; echo after", ENDED_WELL, &["after"]),
        ("iseq a b ||", ENDED_WELL, &[]),
        ("echo a||b", ENDED_WELL, &["a||b"]),
        ("echo a # the rest is a comment", ENDED_WELL, &["a"]),
        ("echo a#b", ENDED_WELL, &["a#b"]),
        ("echo one \\\n  two", ENDED_WELL, &["one two"]),
        ("iseq a b\necho never", ENDED_BADLY, &[]),
        ("goto nowhere", ENDED_BADLY, &[]),
        ("exit 0\necho never", ENDED_WELL, &[]),
        ("exit 1", ENDED_BADLY, &[]),
    ];
    for (line, end, printed) in table {
        let mut bench = Bench::new(UEFI_OLD);
        assert_eq!(bench.run(&format!("#!ipxe\n{line}\n")), *end, "{line}");
        let seen: Vec<&str> = bench.console().into_iter().filter(|l| !l.contains("ipxe.org")).collect();
        assert_eq!(seen, *printed, "{line}");
    }
}

#[test]
fn variables_are_expanded_after_the_words_are_split() {
    let table = [
        ("echo ${net0/ip} ${ip}", "10.240.0.11 10.240.0.11"),
        ("echo ${net0/mac}", "02:00:0a:f0:00:0b"),
        ("echo ${netX/mac:hexhyp} ${mac:hexraw}", "02-00-0a-f0-00-0b 02000af0000b"),
        ("echo ${uuid}", "4c4c4544-0034-3110-8052-b7c04f4d3232"),
        ("echo ${serial:uristring}", "SIM%201"),
        ("echo [${nothing}]", "[]"),
        ("set a b\necho ${${a}}${b}", ""),
        ("set x two words\necho ${x}", "two words"),
        ("set evil a || poweroff\necho ${evil}", "a"),
        ("set i:int32 3\ninc i\ninc i 4\necho ${i} ${i:int32}", "8 8"),
        ("inc fresh && echo ${fresh}", "1"),
        ("isset ${net0/ip} && echo set", "set"),
        ("isset ${none} || echo unset", "unset"),
        ("set loop ${loop}x\necho end", "end"),
    ];
    for (lines, printed) in table {
        let mut bench = Bench::new(UEFI_OLD);
        assert_eq!(bench.run(&format!("#!ipxe\ndhcp\n{lines}\n")), ENDED_WELL, "{lines}");
        assert_eq!(bench.console().last().copied().unwrap_or_default(), printed, "{lines}");
    }
}

#[test]
fn what_ipxe_refuses_is_refused() {
    let refused = [
        "imgverify x y",
        "param a b",
        "curl http://x/",
        "kernel --retries 3 http://10.240.0.2/x",
        "kernel --timeout soon http://10.240.0.2/x",
        "initrd",
        "kernel tftp://10.240.0.2/x",
        "sleep",
        "sleep a-while",
        "goto a b",
        "iseq a",
        "inc",
        "set x:float 1",
        "set x:int32 one",
        "imgargs no-such-image a=b",
        "imgfree no-such-image",
        "boot",
        "dhcp net7",
        "ifconf --configurator ipv6 net0",
        "sanboot http://10.240.0.2/x.iso",
        "nslookup a no.such.name",
        "iseq \"a b\" \"a b\"",
    ];
    for line in refused {
        let mut bench = Bench::new(UEFI_NEW).serve("/x", [ok(&b"x"[..])]);
        assert_eq!(bench.run(&format!("#!ipxe\n{line}\necho survived\n")), ENDED_BADLY, "{line}");
        assert!(bench.console().last().unwrap().contains("https://ipxe.org/"), "{line}: {:?}", bench.console());
        let mut bench = Bench::new(UEFI_NEW).serve("/x", [ok(&b"x"[..])]);
        assert_eq!(bench.run(&format!("#!ipxe\n{line} || echo survived\n")), ENDED_WELL, "{line}");
    }
}

#[test]
fn retry_after_parks_for_ever_and_a_date_means_five_seconds() {
    let mut bench = Bench::new(UEFI_OLD)
        .serve("/k", [parked("3"), parked("30"), parked("Sun, 22 Nov 2026 10:00:00 GMT"), ok(&b"k"[..])]);
    assert_eq!(bench.run("#!ipxe\nimgfetch /k\n"), ENDED_WELL);
    assert_eq!((bench.parked, bench.asked.len()), (Duration::from_secs(38), 4));
}

#[test]
fn a_location_is_followed_and_a_circle_of_them_is_not() {
    let moved = |to: &str| FetchResult::Answered(Answer { location: Some(to.into()), ..Answer::new(302, &b""[..]) });
    let mut bench = Bench::new(UEFI_OLD).serve("/a", [moved("b/c")]).serve("/b/c", [ok(&b"c"[..])]);
    assert_eq!(bench.run("#!ipxe\nimgfetch /a\n"), ENDED_WELL);
    assert_eq!(bench.asked, ["/a", "/b/c"]);
    assert_eq!(Bench::new(UEFI_OLD).serve("/a", [moved("/a")]).run("#!ipxe\nimgfetch /a\n"), ENDED_BADLY);
}

#[test]
fn a_query_never_reaches_the_console() {
    let mut bench = Bench::new(UEFI_OLD).serve("/k", [ok(&b"k"[..])]);
    bench.run("#!ipxe\nimgfetch http://10.240.0.2/k?t=secret\nimgfetch http://10.240.0.2/missing?t=secret\n");
    assert!(bench.console().iter().all(|line| !line.contains("secret")), "{:?}", bench.console());
    assert!(bench.console()[0].contains("http://10.240.0.2/k..."));
}

#[test]
fn a_script_that_never_waits_hangs_only_itself() {
    let Effect::Hangs(why) = Bench::new(UEFI_OLD).run("#!ipxe\n:a\ngoto a\n") else { panic!() };
    assert_eq!(why, "the script goes round without ever waiting");
}

#[test]
fn a_chained_script_comes_back_a_replacing_one_does_not() {
    let second = "#!ipxe\necho second\nexit 0\n";
    let mut bench = Bench::new(UEFI_OLD).serve("/second", [ok(second)]);
    assert_eq!(bench.run("#!ipxe\nchain /second\necho first again\n"), ENDED_WELL);
    assert_eq!(*bench.console().last().unwrap(), "first again");
    let mut bench = Bench::new(UEFI_OLD).serve("/second", [ok(second)]);
    assert_eq!(bench.run("#!ipxe\nchain --replace --autofree /second\necho first again\n"), ENDED_WELL);
    assert_eq!(*bench.console().last().unwrap(), "second");
    let mut bench = Bench::new(UEFI_OLD).serve("/second", [ok("#!ipxe\niseq a b\n")]);
    assert_eq!(bench.run("#!ipxe\nchain /second || echo caught\n"), ENDED_WELL);
    assert_eq!(*bench.console().last().unwrap(), "caught");
}

#[test]
fn the_ways_out_of_ipxe() {
    for (line, end) in [
        ("sanboot --no-describe --drive 0x80", Effect::LocalDisk),
        ("reboot", Effect::Reboot),
        ("poweroff", Effect::PowerOff),
        ("prompt Press a key", Effect::Hangs("iPXE waits at a prompt".into())),
        ("prompt --timeout 5000 Press a key || exit 0", ENDED_WELL),
        ("chain --timeout 1000 http://10.240.0.2/none || reboot", Effect::Reboot),
    ] {
        assert_eq!(Bench::new(UEFI_NEW).run(&format!("#!ipxe\n{line}\n")), end, "{line}");
    }
}

#[test]
fn a_named_initrd_that_is_not_there_stops_the_kernel() {
    let script = "#!ipxe\nkernel /pxe/images/vmlinuz-foundation initrd=other || exit 1\nboot || echo stopped\n";
    let mut bench = Bench::new(UEFI_OLD).with_images();
    assert_eq!(bench.run(script), ENDED_WELL);
    assert_eq!(*bench.console().last().unwrap(), "stopped");
}

/// As from 2.0 on: the digest goes to the console, or into a setting that a script can compare.
#[test]
fn digests_are_computed_by_a_new_build_alone() {
    use sha2::{Digest, Sha256};
    let digest = hex::encode(Sha256::digest(b"k"));
    let fetch = "#!ipxe\nimgfetch --name k /a\n";
    let bench = || Bench::new(UEFI_NEW).serve("/a", [ok(&b"k"[..])]);
    for (line, said) in [
        ("sha256sum k".to_owned(), format!("{digest}  k")),
        (format!("sha256sum --set sum:hexraw k\niseq ${{sum:hexraw}} {digest} && echo same"), "same".into()),
        (format!("sha256sum -s sum k\niseq ${{sum}} {digest} && echo same"), "same".into()),
        ("sha256sum --set sum k\niseq ${sum} 00 || echo other".into(), "other".into()),
        ("sha256sum --set sum missing || echo missing".into(), "missing".into()),
        ("sha256sum --set sum || echo usage".into(), "usage".into()),
        ("sha256sum --sum x k || echo option".into(), "option".into()),
        ("sha256sum --set sum:nothing k || echo kind".into(), "kind".into()),
    ] {
        let mut bench = bench();
        assert_eq!(bench.run(&format!("{fetch}{line}\n")), ENDED_WELL, "{line}");
        assert_eq!(*bench.console().last().unwrap(), said, "{line}");
    }
    let mut old = Bench::new(UEFI_OLD).serve("/a", [ok(&b"k"[..])]);
    assert_eq!(old.run(&format!("{fetch}sha256sum --set sum k || echo unchecked\n")), ENDED_WELL);
    assert_eq!(*old.console().last().unwrap(), "unchecked");
    assert!(old.console().iter().any(|line| line.contains("sha256sum: command not found")));
}
