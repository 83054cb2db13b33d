//! The built-in scripts in the simulated iPXE: on each firmware and generation the kernel is started with its arguments and
//! its initrd alone, whatever becomes of the beacons.

use metalform_boot::{BootHost, BootToken, ScriptNetwork, ScriptValues, Templates, lint};
use metalform_model::Timestamp;
use metalform_simulator::{
    fetch::{Answer, FetchResult},
    ipxe::{Boot, Effect, Firmware, Generation, Identity, Interpreter, Lease, Platform, Resume, Script},
};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
const IP: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 11);

const PLATFORMS: [Platform; 3] = [
    Platform { firmware: Firmware::Bios, generation: Generation::Old },
    Platform { firmware: Firmware::Uefi, generation: Generation::Old },
    Platform { firmware: Firmware::Uefi, generation: Generation::New },
];

fn render(template: &str) -> String {
    render_with(template, None)
}

/// With the digests of kernel and initrd, or without a manifest.
fn render_with(template: &str, digests: Option<[&str; 2]>) -> String {
    let (host, token): (BootHost, _) = ("10.240.0.5:8080".parse().unwrap(), BootToken::hidden());
    let network = ScriptNetwork { netmask: [255, 255, 255, 0].into(), gateway: IP, dns: Some(IP) };
    let values = ScriptValues {
        network: Some(network),
        squashfs: Some("squashfs.img"),
        has_agent: true,
        kernel_sha256: digests.map(|[kernel, _]| kernel),
        initrd_sha256: digests.map(|[_, initrd]| initrd),
        ..ScriptValues::new("server-001", IP, &host, &token)
    };
    Templates::builtin().render(Some(template), &values).unwrap().unwrap()
}

fn ok(body: &'static str) -> FetchResult {
    FetchResult::Answered(Answer::new(200, body.as_bytes()))
}

/// Runs a script until it starts a kernel or gives up; says which URLs it asked for.
fn run(script: &str, platform: Platform, answer: impl Fn(&str) -> FetchResult) -> (Effect, Vec<String>) {
    let identity = Identity {
        uuid: "4c4c4544-0034-3110-8052-b7c04f4d3232".parse().unwrap(),
        serial: "1".into(),
        product: "x".into(),
        mac: [2; 6],
    };
    let lease = Lease { ip: IP, netmask: [255, 255, 255, 0].into(), gateway: IP, dns: IP };
    let mut ipxe = Interpreter::new(&identity, platform);
    let mut effect = ipxe.start(NOW, Script::parse(script).unwrap(), None);
    let mut asked = Vec::new();
    for _ in 0..1000 {
        let resume = match &effect {
            Effect::Http { url, .. } => {
                asked.push(url.clone());
                Resume::Fetched(answer(url))
            }
            Effect::Dhcp => Resume::Leased(lease),
            Effect::Sleep(_) => Resume::Done,
            _ => return (effect, asked),
        };
        effect = ipxe.resume(NOW, resume);
    }
    panic!("it never ends: {asked:?}");
}

fn booted(effect: Effect) -> Box<Boot> {
    match effect {
        Effect::Boot(boot) => boot,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_kernel_gets_its_arguments_and_its_initrd_alone_whatever_becomes_of_the_beacon() {
    for template in ["foundation", "phoenix-ce"] {
        let script = render(template);
        assert!(lint(&script).is_empty(), "a rendered template is as good as the template");
        for platform in PLATFORMS {
            let refused = |status| FetchResult::Answered(Answer::new(status, &b"no"[..]));
            for beacon in [ok("ok\n"), refused(503), refused(409), FetchResult::TimedOut, FetchResult::Refused] {
                let (effect, asked) = run(&script, platform, |url| match url {
                    _ if url.contains("/boot/step/") => beacon.clone(),
                    _ => ok("bytes"),
                });
                let boot = booted(effect);
                let case = format!("{template} {platform:?} {beacon:?}");
                let initrds: Vec<&str> = boot.initrds.iter().map(|image| image.name.as_str()).collect();
                assert_eq!(initrds, ["initrd-foundation.img"], "{case}");
                assert_eq!(
                    asked.last().unwrap(),
                    "http://10.240.0.5:8080/boot/step/server-001/boot?t=hidden",
                    "{case}"
                );
                for argument in [
                    "initrd=initrd-foundation.img",
                    "images_url=http://10.240.0.5:8080/pxe/images",
                    "config_url=http://10.240.0.5:8080/boot/server/10.240.0.11",
                    "console=ttyS0,115200",
                ] {
                    assert!(boot.command_line.split(' ').any(|word| word == argument), "{argument}: {case}");
                }
            }
        }
    }
}

#[test]
fn a_script_that_never_gets_its_kernel_tells_so_thirty_times_and_restarts() {
    for template in ["foundation", "phoenix-ce"] {
        let missing = FetchResult::Answered(Answer::new(404, &b""[..]));
        let answer = |url: &str| if url.contains("/boot/step/") { ok("ok\n") } else { missing.clone() };
        let (effect, asked) = run(&render(template), PLATFORMS[1], answer);
        assert_eq!(effect, Effect::Reboot);
        let errors = asked.iter().filter(|url| url.ends_with("/boot/step/server-001/error-0x2d0c618e?t=hidden"));
        assert_eq!(errors.count(), 30, "{asked:?}");
    }
}

/// Digest of `bytes`, which every image of these tests is.
const BYTES: &str = "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9";
const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn kernel_and_initrd_are_compared_where_the_build_can_and_what_differs_is_never_booted() {
    assert_eq!(hex::encode(Sha256::digest("bytes")), BYTES);
    let answer = |url: &str| if url.contains("/boot/step/") { ok("ok\n") } else { ok("bytes") };
    for template in ["foundation", "phoenix-ce"] {
        for platform in PLATFORMS {
            let can_compare = platform.generation == Generation::New;
            for (digests, step) in [
                ([BYTES, BYTES], "boot-checked"),
                ([OTHER, BYTES], "error-kernel-digest"),
                ([BYTES, OTHER], "error-initrd-digest"),
            ] {
                let (effect, asked) = run(&render_with(template, Some(digests)), platform, answer);
                let step = if can_compare { step } else { "boot-unchecked" };
                let told = format!("/boot/step/server-001/{step}?t=hidden");
                let times = asked.iter().filter(|url| url.ends_with(&told)).count();
                match step.starts_with("error-") {
                    true => assert_eq!((effect, times), (Effect::Reboot, 30), "{template} {platform:?} {step}"),
                    false => {
                        assert_eq!(booted(effect).initrds.len(), 1, "{template} {platform:?}");
                        assert_eq!(times, 1, "{template} {platform:?} {asked:?}");
                    }
                }
            }
        }
    }
}
