//! The script's text, to the letter.

use super::*;
use crate::BootToken;
use secrecy::ExposeSecret;
use std::path::PathBuf;

const SERVER: &str = "server-001";
const IP: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 240, 0, 11);

fn host(text: &str) -> BootHost {
    text.parse().unwrap()
}

fn render(server_id: &str, boot_host: &str, image_set: Option<&str>) -> Result<String, ValueError> {
    let (boot_host, boot_token) = (host(boot_host), BootToken::hidden());
    let values = ScriptValues { image_set, ..ScriptValues::new(server_id, IP, &boot_host, &boot_token) };
    Templates::builtin().render(None, &values).unwrap()
}

const OURS: &str = "\
#!ipxe
echo Starting Nutanix Foundation for server server-001...

set tries:int32 0
set kernel-sha256 
set initrd-sha256 

:retry_dhcp
inc tries
iseq ${tries} 31 && goto give_up ||
iseq ${tries} 1 || sleep 2
imgfree
dhcp || goto retry_dhcp
sleep 2

set base-url http://10.240.0.5/pxe

kernel ${base-url}/images/vmlinuz-foundation console=tty0 console=ttyS0,115200 initrd=initrd-foundation.img node_id=server-001 mgmt_ip=10.240.0.11 config_url=http://10.240.0.5/boot/server/10.240.0.11 images_url=${base-url}/images boot_token=hidden || goto error
initrd ${base-url}/images/initrd-foundation.img || goto error

set step boot
set proof hidden
isset ${kernel-sha256} || goto start
set step boot-unchecked
sha256sum --set sum:hexraw vmlinuz-foundation || goto start
set step error-kernel-digest
iseq ${sum:hexraw} ${kernel-sha256} || goto failed
set step error-initrd-digest
sha256sum --set sum:hexraw initrd-foundation.img || goto failed
iseq ${sum:hexraw} ${initrd-sha256} || goto failed
set step boot-checked
set proof hidden

:start
imgfetch --name step --timeout 3000 http://10.240.0.5/boot/step/server-001/${step}?t=${proof} && imgfree step ||
boot || goto error

:error
set step error-${errno}

:failed
imgfetch --name step --timeout 3000 http://10.240.0.5/boot/step/server-001/${step}?t=hidden && imgfree step ||
echo Boot failed, retrying...
sleep 10
goto retry_dhcp

:give_up
echo Boot failed 30 times, restarting...
reboot || exit 1
";

/// What the seed's `generate_server_ipxe_script` gives for the same values.
const SEED: &str = "\
#!ipxe
echo Starting Nutanix Foundation for server server-001...

:retry_dhcp
dhcp || goto retry_dhcp
sleep 2

set base-url http://10.240.0.5/pxe

kernel ${base-url}/images/vmlinuz-foundation console=tty0 console=ttyS0,115200
initrd ${base-url}/images/initrd-foundation.img

imgargs vmlinuz-foundation node_id=server-001 mgmt_ip=10.240.0.11

boot || goto error

:error
echo Boot failed, retrying...
sleep 10
goto retry_dhcp
";

/// Every line in which we leave the seed, `-` its, `+` ours, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("+set tries:int32 0", "bounded loop: a machine that can't boot restarts instead of spinning for ever"),
    ("+set kernel-sha256 ", "what iPXE compares the kernel with, where the image set says it"),
    ("+set initrd-sha256 ", "and the initrd"),
    ("+", "bounded loop"),
    ("+inc tries", "bounded loop"),
    ("+iseq ${tries} 31 && goto give_up ||", "bounded loop"),
    ("+iseq ${tries} 1 || sleep 2", "bounded loop: DHCP that fails at once must not burn all rounds within a second"),
    ("+imgfree", "fault 4: going round must drop the images of the last round"),
    (
        "-kernel ${base-url}/images/vmlinuz-foundation console=tty0 console=ttyS0,115200",
        "faults 1 to 3, see the next line",
    ),
    ("-initrd ${base-url}/images/initrd-foundation.img", "fault 3: no failure branch"),
    (
        "+kernel ${base-url}/images/vmlinuz-foundation console=tty0 console=ttyS0,115200 initrd=initrd-foundation.img node_id=server-001 mgmt_ip=10.240.0.11 config_url=http://10.240.0.5/boot/server/10.240.0.11 images_url=${base-url}/images boot_token=hidden || goto error",
        "fault 1: arguments together; fault 2: initrd= for UEFI; fault 3: failure branch; config_url, images_url and boot_token \
         are new",
    ),
    ("+initrd ${base-url}/images/initrd-foundation.img || goto error", "fault 3: failure branch"),
    (
        "-imgargs vmlinuz-foundation node_id=server-001 mgmt_ip=10.240.0.11",
        "fault 1: imgargs drops the console arguments",
    ),
    ("+set step boot", "what the beacon tells: nothing was compared, where there is nothing to compare with"),
    ("+set proof hidden", "comparison"),
    ("+isset ${kernel-sha256} || goto start", "comparison: the image set has no manifest"),
    ("+set step boot-unchecked", "comparison"),
    (
        "+sha256sum --set sum:hexraw vmlinuz-foundation || goto start",
        "comparison: used where the build has it, never required",
    ),
    ("+set step error-kernel-digest", "comparison"),
    ("+iseq ${sum:hexraw} ${kernel-sha256} || goto failed", "comparison: what differs is never booted"),
    ("+set step error-initrd-digest", "comparison"),
    ("+sha256sum --set sum:hexraw initrd-foundation.img || goto failed", "comparison"),
    ("+iseq ${sum:hexraw} ${initrd-sha256} || goto failed", "comparison"),
    ("+set step boot-checked", "comparison"),
    ("+set proof hidden", "comparison: a token that is sent after it alone"),
    ("+:start", "beacon"),
    (
        "+imgfetch --name step --timeout 3000 http://10.240.0.5/boot/step/server-001/${step}?t=${proof} && imgfree step ||",
        "beacon: everything is there, the kernel is started",
    ),
    ("+set step error-${errno}", "beacon: a command failed, and with which error"),
    ("+", "beacon"),
    ("+:failed", "beacon"),
    (
        "+imgfetch --name step --timeout 3000 http://10.240.0.5/boot/step/server-001/${step}?t=hidden && imgfree step ||",
        "beacon: what failed",
    ),
    ("+", "bounded loop"),
    ("+:give_up", "bounded loop"),
    ("+echo Boot failed 30 times, restarting...", "bounded loop"),
    ("+reboot || exit 1", "bounded loop"),
];

/// Longest common subsequence; of two equally good choices the removal comes first.
fn diff(old: &str, new: &str) -> Vec<String> {
    let (a, b): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let mut common = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("-{}", a[i]));
            i += 1;
        } else {
            lines.push(format!("+{}", b[j]));
            j += 1;
        }
    }
    lines
}

#[test]
fn the_built_in_script_is_exactly_this() {
    assert_eq!(render(SERVER, "http://10.240.0.5", None).unwrap(), OURS);
}

#[test]
fn the_script_is_the_seeds_but_for_the_listed_lines() {
    let found = diff(SEED, &render(SERVER, "10.240.0.5", None).unwrap());
    let allowed: Vec<&str> = ALLOWED.iter().map(|(line, _)| *line).collect();
    assert_eq!(found, allowed);
}

#[test]
fn the_script_holds_every_literal_of_the_contract() {
    let script = render(SERVER, "10.240.0.5:8080", None).unwrap();
    let lines: Vec<&str> = script.lines().collect();
    for literal in [
        "#!ipxe",
        "echo Starting Nutanix Foundation for server server-001...",
        ":retry_dhcp",
        "dhcp || goto retry_dhcp",
        "sleep 2",
        "set base-url http://10.240.0.5:8080/pxe",
        "boot || goto error",
        ":error",
        "echo Boot failed, retrying...",
        "sleep 10",
        "goto retry_dhcp",
    ] {
        assert!(lines.contains(&literal), "{literal}");
    }
    let kernel = lines.iter().find(|line| line.starts_with("kernel ${base-url}/images/vmlinuz-foundation ")).unwrap();
    for argument in [
        "console=tty0",
        "console=ttyS0,115200",
        "initrd=initrd-foundation.img",
        "node_id=server-001",
        "mgmt_ip=10.240.0.11",
        "config_url=http://10.240.0.5:8080/boot/server/10.240.0.11",
        "images_url=${base-url}/images",
        "boot_token=hidden",
    ] {
        assert!(kernel.split(' ').any(|word| word == argument), "{argument}");
    }
    assert!(lines.iter().any(|line| line.starts_with("initrd ${base-url}/images/initrd-foundation.img")));
}

const PHOENIX: &str = "\
kernel ${base-url}/images/vmlinuz-foundation console=tty0 console=ttyS1,115200 console=ttyS0,115200 \
initrd=initrd-foundation.img rdinit=/metalform/init init=/ce_installer IMG=squashfs \
LIVEFS_URL=${base-url}/images/squashfs.img AZ_CONF_URL=http://10.240.0.5:8080/boot/arizona/10.240.0.11?t=hidden \
PHOENIX_IP=10.240.0.11 MASK=255.255.255.0 GATEWAY=10.240.0.1 NAMESERVER=161.26.0.7 FOUND_IP=10.240.0.5 PXEBOOT=true \
intel_iommu=on iommu=pt kvm-intel.nested=1 net.ifnames=0 node_id=server-001 mgmt_ip=10.240.0.11 \
config_url=http://10.240.0.5:8080/boot/server/10.240.0.11 images_url=${base-url}/images boot_token=hidden || goto error";

fn phoenix(change: impl FnOnce(&mut ScriptValues<'_>)) -> Result<String, ValueError> {
    let (boot_host, boot_token) = (host("10.240.0.5:8080"), BootToken::hidden());
    let network = ScriptNetwork {
        netmask: [255, 255, 255, 0].into(),
        gateway: [10, 240, 0, 1].into(),
        dns: Some([161, 26, 0, 7].into()),
    };
    let mut values = ScriptValues {
        network: Some(network),
        squashfs: Some("squashfs.img"),
        has_agent: true,
        ..ScriptValues::new(SERVER, IP, &boot_host, &boot_token)
    };
    change(&mut values);
    Templates::builtin().render(Some("phoenix-ce"), &values).unwrap()
}

#[test]
fn the_community_editions_installer_gets_these_arguments() {
    let script = phoenix(|_| {}).unwrap();
    assert_eq!(script.lines().find(|line| line.starts_with("kernel")), Some(PHOENIX));
    let without_agent = phoenix(|values| values.has_agent = false).unwrap();
    let words = |script: &str| -> Vec<String> {
        let kernel = script.lines().find(|line| line.starts_with("kernel")).unwrap();
        kernel.split_whitespace().filter(|word| !word.starts_with("rdinit=")).map(str::to_owned).collect()
    };
    assert_eq!(words(&without_agent), words(&script));
    assert!(!without_agent.contains("rdinit") && !without_agent.contains("  "));
}

/// But for what it says and what its kernel is given, it is the script that is tested on real iPXE.
#[test]
fn the_community_editions_script_is_the_foundations_but_for_its_kernel() {
    let same = |script: &str| -> Vec<String> {
        let lines = script.lines().filter(|line| !line.starts_with("kernel") && !line.starts_with("echo Starting"));
        lines.map(|line| line.replace("10.240.0.5:8080", "10.240.0.5")).collect()
    };
    assert_eq!(same(&phoenix(|_| {}).unwrap()), same(OURS));
}

#[test]
fn a_template_whose_values_are_not_known_makes_no_script() {
    let refused = |change: fn(&mut ScriptValues<'_>)| phoenix(change).unwrap_err().value;
    assert_eq!(refused(|values| values.network = None), "netmask");
    assert_eq!(refused(|values| values.network.as_mut().unwrap().dns = None), "dns");
    assert_eq!(refused(|values| values.squashfs = None), "squashfs");
    assert_eq!(refused(|values| values.squashfs = Some("a || reboot")), "squashfs");
    assert_eq!(refused(|values| values.squashfs = Some("../etc/passwd")), "squashfs");
}

#[test]
fn a_line_that_the_kernel_would_cut_off_makes_no_script() {
    let long = format!("http://{}.example.com", vec!["a".repeat(60); 3].join("."));
    assert!(render(&"s".repeat(40), &long, Some(&"i".repeat(64))).is_ok(), "the longest names still fit");
    let (boot_host, boot_token) = (host(&long), BootToken::hidden());
    let longest = "f".repeat(128);
    let network = ScriptNetwork { netmask: IP, gateway: IP, dns: Some(IP) };
    let values = ScriptValues {
        network: Some(network),
        squashfs: Some(&longest),
        image_set: Some("i"),
        has_agent: true,
        manifest_sha256: Some(KERNEL_SHA256),
        ..ScriptValues::new(SERVER, IP, &boot_host, &boot_token)
    };
    assert!(Templates::builtin().render(Some("phoenix-ce"), &values).unwrap().is_ok());
    let dir = crate::images::TempDir::new();
    std::fs::write(dir.path().join("long.ipxe"), format!("#!ipxe\necho {} \\\n{{{{mgmt_ip}}}}\n", "x".repeat(1990)))
        .unwrap();
    let long = Templates::load(dir.path()).unwrap().render(Some("long"), &values).unwrap();
    assert_eq!(long.unwrap_err(), ValueError::LINE_TOO_LONG);
}

#[test]
fn a_set_that_holds_the_agent_starts_it() {
    let (boot_host, boot_token) = (host("10.240.0.5"), BootToken::hidden());
    let values = ScriptValues { has_agent: true, ..ScriptValues::new(SERVER, IP, &boot_host, &boot_token) };
    let script = Templates::builtin().render(None, &values).unwrap().unwrap();
    let with_agent = " initrd=initrd-foundation.img rdinit=/metalform/init node_id=";
    assert_eq!(script, OURS.replace(" initrd=initrd-foundation.img node_id=", with_agent));
    let pinned = ScriptValues { manifest_sha256: Some(KERNEL_SHA256), ..values.clone() };
    let script = Templates::builtin().render(None, &pinned).unwrap().unwrap();
    let with_pin = format!("rdinit=/metalform/init manifest_sha256={KERNEL_SHA256} node_id=");
    assert_eq!(
        script,
        OURS.replace(" initrd=initrd-foundation.img node_id=", &format!(" initrd=initrd-foundation.img {with_pin}"))
    );
    let without = ScriptValues { has_agent: false, ..pinned };
    assert_eq!(Templates::builtin().render(None, &without).unwrap().unwrap(), OURS, "nobody else reads it");
}

#[test]
fn our_authority_is_pinned_for_the_agent_alone() {
    let (boot_host, boot_token) = (host("10.240.0.5"), BootToken::hidden());
    let digits = "0123456789abcdef".repeat(4);
    let rendered = |has_agent, digits: &str| {
        let ca_sha256 = Some(digits.to_owned());
        let values = ScriptValues { has_agent, ca_sha256, ..ScriptValues::new(SERVER, IP, &boot_host, &boot_token) };
        Templates::builtin().render(None, &values).unwrap()
    };
    let pinned = format!(" initrd=initrd-foundation.img rdinit=/metalform/init ca_sha256={digits} node_id=");
    assert_eq!(rendered(true, &digits).unwrap(), OURS.replace(" initrd=initrd-foundation.img node_id=", &pinned));
    assert_eq!(rendered(false, &digits).unwrap(), OURS);
    for wrong in ["", &digits[1..], &digits.to_uppercase(), &format!("{} || reboot", &digits[10..])] {
        assert_eq!(rendered(true, wrong).unwrap_err().value, "ca_sha256", "{wrong:?}");
    }
    for name in Templates::builtin().names() {
        assert!(Templates::builtin().pins(Some(name)), "{name}");
    }
}

/// What the boot plane takes for a pin is one: the text of a comment is none.
#[test]
fn a_template_that_names_the_pin_in_a_comment_alone_does_not_pin() {
    let dir = crate::images::TempDir::new();
    let without = super::FOUNDATION_TEMPLATE.replace("{{ca_sha256}}", "");
    std::fs::write(dir.path().join("mine.ipxe"), format!("{without}\n# the pin was {{{{ca_sha256}}}}\n")).unwrap();
    let templates = Templates::load(dir.path()).unwrap();
    assert!(templates.pins(None) && !templates.pins(Some("mine")));
}

#[test]
fn a_named_image_set_changes_only_where_images_come_from() {
    let script = render(SERVER, "10.240.0.5", Some("ahv-6.8")).unwrap();
    let elsewhere = OURS.replace("${base-url}/images", "${base-url}/images/ahv-6.8");
    assert_eq!(script, elsewhere);
}

#[test]
fn no_value_breaks_out_of_its_place() {
    let long = "a".repeat(300);
    let hostile = [
        "",
        "a\nb",
        "a\rb",
        "a\tb",
        "a || reboot",
        "a ; reboot",
        "a && reboot",
        "a #b",
        "#a",
        "a b",
        "${net0/mac}",
        "a$b",
        "a\"b",
        "a'b",
        "a`b",
        "a\\b",
        "sérver",
        "a\u{0}",
        "../a",
        "a/b",
        "-a",
        "{{boot_token}}",
        "a%0ab",
        "a?b",
        "a@b",
        long.as_str(),
    ];
    for text in hostile {
        assert_eq!(render(text, "10.0.0.1", None).unwrap_err().value, "server_id", "{text:?}");
        assert_eq!(render(SERVER, "10.0.0.1", Some(text)).unwrap_err().value, "image_set", "{text:?}");
        assert!(text.parse::<BootHost>().is_err(), "{text:?}");
        assert!(format!("http://{text}").parse::<BootHost>().is_err(), "{text:?}");
        assert!(format!("10.0.0.1:{text}").parse::<BootHost>().is_err(), "{text:?}");
        assert!(!values::is_token(text), "{text:?}");
        assert!(text.parse::<std::net::Ipv4Addr>().is_err(), "{text:?}");
        assert_eq!(script_url(&host("10.0.0.1"), text, &BootToken::hidden()).unwrap_err().value, "server_id");
    }
}

#[test]
fn a_boot_host_is_read_from_the_public_url() {
    for (text, read) in [
        ("http://10.240.0.5", "10.240.0.5"),
        ("http://10.240.0.5:80/", "10.240.0.5"),
        ("http://Boot.Example.com:8080", "boot.example.com:8080"),
        ("127.128.0.1:40123", "127.128.0.1:40123"),
    ] {
        assert_eq!(host(text).to_string(), read);
    }
    for text in
        ["https://10.240.0.5", "http://10.0.0.1/boot", "http://u@10.0.0.1", "10.0.0.1:0", "10.0.0.1:+80", "[::1]"]
    {
        assert!(text.parse::<BootHost>().is_err(), "{text}");
    }
}

#[test]
fn the_url_for_user_data_is_the_seeds_with_the_token() {
    let url = script_url(&host("10.240.0.5"), SERVER, &BootToken::hidden()).unwrap();
    assert_eq!(url.expose_secret(), "http://10.240.0.5/boot/ipxe/server-001?t=hidden");
}

fn faults(text: &str) -> Vec<String> {
    lint(text).into_iter().map(|(line, fault)| format!("{line}: {fault}")).collect()
}

#[test]
fn the_lint_finds_the_seeds_own_faults() {
    assert_eq!(
        faults(SEED),
        [
            "10: `kernel` has no `initrd=`",
            "10: `kernel` has no failure branch",
            "10: the image of the last round is still there when this is fetched again",
            "11: `initrd` has no failure branch",
            "11: the image of the last round is still there when this is fetched again",
            "13: `imgargs` has no `initrd=`",
            "13: `imgargs` drops the kernel's `console=`",
            "13: `imgargs` has no failure branch",
            "20: this loop never ends",
        ]
    );
    assert_eq!(faults(OURS), [""; 0]);
}

/// It used to render as what stands before it, and the machine ran that.
#[test]
fn a_template_with_an_open_place_is_no_template() {
    let dir = crate::images::TempDir::new();
    let file = dir.path().join("open.ipxe");
    std::fs::write(&file, "#!ipxe\necho {{server_id\nchain http://{{boot_host}}/x || exit 1\n").unwrap();
    for errors in [Templates::load(dir.path()).unwrap_err(), lint_file(&file).unwrap_err()] {
        let told = format!(
            "{}:2: the place `{{{{server_id` is not closed (write `}}}}` behind its name, on the same line)",
            file.display()
        );
        assert_eq!(errors.to_string(), told);
    }
}

#[test]
fn a_folder_adds_and_overrides_templates_and_names_file_and_line_of_a_fault() {
    let dir = crate::images::TempDir::new();
    std::fs::write(dir.path().join("rescue.ipxe"), "#!ipxe\necho {{server_id}} ${net0/mac}\n").unwrap();
    std::fs::write(dir.path().join("foundation.ipxe"), "#!ipxe\necho mine\n").unwrap();
    std::fs::write(dir.path().join("notes.txt"), "not a template").unwrap();
    let (boot_host, boot_token) = (host("10.0.0.1"), BootToken::hidden());
    let values = ScriptValues::new(SERVER, IP, &boot_host, &boot_token);
    let templates = Templates::load(dir.path()).unwrap();
    let text = |name| templates.render(name, &values).map(Result::unwrap);
    assert_eq!(text(Some("rescue")).unwrap(), "#!ipxe\necho server-001 ${net0/mac}\n");
    assert_eq!(text(None).unwrap(), "#!ipxe\necho mine\n");
    assert_eq!(text(Some("notes")), None);

    std::fs::write(dir.path().join("bad.ipxe"), "#!ipxe\necho {{server}}\nboot\necho {{open\n").unwrap();
    let errors = Templates::load(dir.path()).unwrap_err();
    let file = dir.path().join("bad.ipxe");
    let found: Vec<(PathBuf, usize, String)> =
        errors.0.iter().map(|error| (error.file.clone(), error.line, error.fault.to_string())).collect();
    assert_eq!(
        found,
        [
            (file.clone(), 2, "unknown place `{{server`".to_owned()),
            (file.clone(), 3, "`boot` has no failure branch".to_owned()),
            (file.clone(), 4, "the place `{{open` is not closed".to_owned()),
        ]
    );
    assert!(errors.to_string().contains("bad.ipxe:3: "), "{errors}");
    assert_eq!(errors.0[1].text, "boot");
    assert_eq!(lint_file(&file).unwrap_err().0.len(), 3);
    assert!(lint_file(&dir.path().join("rescue.ipxe")).is_ok());
    assert!(Templates::load(&dir.path().join("nowhere")).unwrap_err().to_string().contains("can't be read"));
}

const KERNEL_SHA256: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const INITRD_SHA256: &str = "2222222222222222222222222222222222222222222222222222222222222222";

#[test]
fn what_the_manifest_says_stands_in_the_script_and_nothing_else_can() {
    let (boot_host, boot_token) = (host("10.240.0.5"), BootToken::hidden());
    let good = ScriptValues {
        kernel_sha256: Some(KERNEL_SHA256),
        initrd_sha256: Some(INITRD_SHA256),
        ..ScriptValues::new(SERVER, IP, &boot_host, &boot_token)
    };
    for template in ["foundation", "phoenix-ce"] {
        let network = Some(ScriptNetwork { netmask: IP, gateway: IP, dns: Some(IP) });
        let values = ScriptValues { network, squashfs: Some("s"), ..good.clone() };
        let script = Templates::builtin().render(Some(template), &values).unwrap().unwrap();
        for line in [format!("set kernel-sha256 {KERNEL_SHA256}"), format!("set initrd-sha256 {INITRD_SHA256}")] {
            assert!(script.lines().any(|found| found == line), "{line}");
        }
    }
    for wrong in ["", "1 || reboot", &KERNEL_SHA256[1..], &KERNEL_SHA256.replace('1', "A"), "${net0/ip}"] {
        let values = ScriptValues { kernel_sha256: Some(wrong), ..good.clone() };
        assert_eq!(Templates::builtin().render(None, &values).unwrap().unwrap_err().value, "kernel_sha256");
    }
}

fn inline(templates: &Templates, name: Option<&str>, values: &ScriptValues<'_>) -> Result<String, InlineScriptError> {
    templates.render_inline(name, values, &"3".repeat(64)).unwrap()
}

/// Both parts are checked as one: whatever is wrong with the whole is wrong with a machine's boot.
#[test]
fn a_script_in_user_data_asks_first_and_is_a_good_script() {
    let (boot_host, boot_token) = (host("10.240.0.5"), BootToken::hidden());
    let network = Some(ScriptNetwork { netmask: IP, gateway: IP, dns: Some(IP) });
    let values = ScriptValues {
        network,
        squashfs: Some("squashfs.img"),
        image_set: Some("ce-0123456789ab"),
        kernel_sha256: Some(KERNEL_SHA256),
        initrd_sha256: Some(INITRD_SHA256),
        ..ScriptValues::new(SERVER, IP, &boot_host, &boot_token)
    };
    let templates = Templates::builtin();
    for template in ["foundation", "phoenix-ce"] {
        let whole = inline(&templates, Some(template), &values).unwrap();
        assert_eq!(faults(&whole), [""; 0]);
        let fetched = templates.render(Some(template), &values).unwrap().unwrap();
        let (_, of_template) = fetched.split_once('\n').unwrap();
        assert!(whole.ends_with(&format!(":attempt_install\nimgfree\n{of_template}")), "{whole}");
        assert!(whole.contains(&format!("iseq ${{word:hexraw}} {} && goto attempt_install ||", "3".repeat(64))));
        assert!(!whole.contains("chain") && !whole.contains("imgexec"), "nothing that is asked is run");
        assert!(whole.len() < 8 * 1024, "{} bytes", whole.len());
    }
    assert_eq!(
        templates.render_inline(None, &values, "3 || reboot").unwrap().unwrap_err().to_string(),
        "open_sha256 can't stand in a boot script: it must be 64 of 0-9 a-f"
    );
    assert!(templates.render_inline(Some("nobody's"), &values, "").is_none());
}

#[test]
fn a_template_that_does_not_fit_into_user_data_is_refused_with_its_size() {
    let (boot_host, boot_token) = (host("10.240.0.5"), BootToken::hidden());
    let values = ScriptValues::new(SERVER, IP, &boot_host, &boot_token);
    let dir = crate::images::TempDir::new();
    let lines = "echo filling\n".repeat(5000);
    std::fs::write(dir.path().join("long.ipxe"), format!("#!ipxe\n{lines}")).unwrap();
    std::fs::write(dir.path().join("taken.ipxe"), "#!ipxe\n:attempt_done\necho mine\n").unwrap();
    let templates = Templates::load(dir.path()).unwrap();
    let InlineScriptError::TooLong { bytes } =
        inline(&templates, Some("long"), &values).map(|whole| whole.len()).unwrap_err()
    else {
        panic!()
    };
    assert!(bytes > MAX_USER_DATA && bytes < MAX_USER_DATA + 4096, "{bytes}");
    assert!(templates.render(Some("long"), &values).unwrap().is_ok(), "fetched it may be as long");
    let taken = inline(&templates, Some("taken"), &values).unwrap_err();
    assert_eq!(taken, InlineScriptError::LabelTaken("attempt_done".into()));
}
