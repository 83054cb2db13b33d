use super::{Http, Machine, MachineEffect, MachineSettings, Stage, config};
use crate::{
    cloud::{Drive, PoweredOn},
    fault::{Fault, FaultEffect, Faults, MachineFault, Matches},
    fetch::{Answer, FetchResult},
    ipxe::{Firmware, Generation, Platform},
};
use ed25519_dalek::{Signature, VerifyingKey};
use metalform_model::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};
use url::Url;

const START: Timestamp = Timestamp::from_seconds(1_795_000_000);
const MGMT: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 11);
const KERNEL: &[u8] = b"a kernel";
const INITRD: &[u8] = b"an initrd";

const SCRIPT: &str = "#!ipxe
:retry
imgfree
dhcp || goto retry
set base http://10.240.0.2/pxe/images
kernel ${base}/vmlinuz-foundation console=ttyS0,115200 initrd=initrd-foundation.img node_id=server-001 \\
  mgmt_ip=10.240.0.11 config_url=http://10.240.0.2/boot/server/10.240.0.11 boot_token=secret || goto error
initrd ${base}/initrd-foundation.img || goto error
boot || goto error
:error
sleep 10
goto retry
";

fn powered_on() -> PoweredOn {
    let data = Drive { interface: "nvme", size_gb: 3200, boot: false };
    let mut drives = vec![Drive { interface: "sata", size_gb: 960, boot: true }];
    drives.extend(std::iter::repeat_n(data, 8));
    PoweredOn {
        server_id: "0717-server".into(),
        name: "server-001".into(),
        profile: "bx2d-metal-96x384".into(),
        cores: 48,
        memory_gib: 384,
        drives,
        mac: "02:00:0a:f0:00:0b".into(),
        address: MGMT,
        addresses: vec![MGMT],
        subnet: "10.240.0.0/24".parse().unwrap(),
        gateway: Ipv4Addr::new(10, 240, 0, 1),
        resolvers: vec![Ipv4Addr::new(161, 26, 0, 10)],
        user_data: "http://10.240.0.2/boot/ipxe/server-001?t=secret".into(),
        network_boot: true,
        boot_disk_writes: 1,
        secure_boot: false,
    }
}

fn node_config() -> Value {
    json!({
        "server_info": {
            "server_id": "server-001", "server_name": "server-001", "mgmt_ip": "10.240.0.11",
            "profile": "bx2d-metal-96x384", "zone": "us-south-1",
        },
        "cluster_config": {
            "cluster_name": "prod", "cluster_external_ip": "10.240.0.200", "redundancy_factor": 2,
            "cluster_functions": ["AOS"], "timezone": "UTC", "dns_servers": ["8.8.8.8"],
            "ntp_servers": ["pool.ntp.org"], "cvm_ips": ["10.240.0.101", "10.240.0.102", "10.240.0.103"],
        },
        "node_config": {
            "hypervisor": "ahv", "hypervisor_ip": "10.240.0.51", "cvm_ip": "10.240.0.101",
            "netmask": "255.255.255.0", "gateway": "10.240.0.1", "hostname": "server-001",
            "role": "compute-storage", "node_position": "A", "min_memory_gib": 346, "min_cores": 44,
        },
        "storage_config": {
            "boot_device": {"min_gb": 864, "max_gb": 1056}, "hypervisor_device": {"min_gb": 864, "max_gb": 1056},
            "cvm_device": {"min_gb": 2880}, "data_devices": ["/dev/nvme2n1", {"min_gb": 2880, "model": "Micron"}],
            "data_devices_by": "plan",
        },
        "network_config": {
            "cidr": "10.240.0.0/24", "netmask": "255.255.255.0", "gateway": "10.240.0.1",
            "dns_servers": ["161.26.0.10"], "interfaces": [{"name": "eth0", "ip": "10.240.0.11"}],
        },
    })
}

/// A machine, a boot server and virtual time.
struct Lab {
    now: Timestamp,
    machine: Machine,
    faults: Faults,
    pages: BTreeMap<String, Vec<FetchResult>>,
    asked: Vec<String>,
    reports: Vec<Value>,
    /// The key that the token was exchanged for, and the number of the last request it has signed.
    session: Option<(VerifyingKey, u64)>,
    requests: Vec<Http>,
    happened: Vec<MachineEffect>,
}

impl Lab {
    fn new(settings: MachineSettings) -> Self {
        let mut lab = Lab {
            now: START,
            machine: Machine::new(settings, &powered_on()),
            faults: Faults::default(),
            pages: BTreeMap::new(),
            asked: Vec::new(),
            reports: Vec::new(),
            session: None,
            requests: Vec::new(),
            happened: Vec::new(),
        };
        let sums = format!(
            "{}  vmlinuz-foundation\n{}  initrd-foundation.img\n",
            hex::encode(Sha256::digest(KERNEL)),
            hex::encode(Sha256::digest(INITRD))
        );
        lab.page("/boot/ipxe/server-001", [ok(SCRIPT)]);
        lab.page("/pxe/images/vmlinuz-foundation", [ok(KERNEL)]);
        lab.page("/pxe/images/initrd-foundation.img", [ok(INITRD)]);
        lab.page("/pxe/images/SHA256SUMS", [ok(sums)]);
        lab.page("/boot/session/server-001", [ok("")]);
        lab.page("/boot/server/10.240.0.11", [ok(node_config().to_string())]);
        lab.page("/boot/report/server-001", [ok("")]);
        lab
    }

    fn standard() -> Self {
        Lab::new(MachineSettings::default())
    }

    /// The last answer is given again and again.
    fn page(&mut self, path: &str, answers: impl IntoIterator<Item = FetchResult>) {
        self.pages.insert(path.into(), answers.into_iter().collect());
    }

    fn fault(mut self, effect: MachineFault, times: u32) -> Self {
        let effect = FaultEffect::Machine(effect);
        self.faults.add(Fault { name: "f".into(), matches: Matches::default(), skip: 0, times: Some(times), effect });
        self
    }

    fn power_on(&mut self, on: &PoweredOn) {
        self.machine.power_on(self.now, on, &mut self.faults);
    }

    fn answer(&mut self, http: &Http) -> FetchResult {
        assert_eq!(http.from, MGMT);
        let url = Url::parse(&http.url).unwrap();
        self.asked.push(format!("{} {}", http.method, url.path()));
        self.requests.push(http.clone());
        let is_signed = ["/boot/server/", "/boot/report/"].iter().any(|path| url.path().starts_with(path));
        match &mut self.session {
            Some((key, last)) if is_signed => {
                assert_eq!(url.query(), None, "{url}");
                *last = signed_by(key, http, url.path()).filter(|number| number > last).expect("a greater number");
            }
            _ if url.path().starts_with("/boot/") => {
                assert_eq!((url.query(), &http.headers), (Some("t=secret"), &vec![]), "{url}");
            }
            _ => {}
        }
        let answers = self.pages.entry(url.path().into()).or_default();
        let result = match answers.len() {
            0 => status(404),
            1 => answers[0].clone(),
            _ => answers.remove(0),
        };
        let taken = matches!(&result, FetchResult::Answered(answer) if answer.is_ok());
        if url.path().starts_with("/boot/session/") {
            let body: Value = serde_json::from_slice(http.body.as_deref().unwrap()).unwrap();
            let key: [u8; 32] = hex::decode(body["key"].as_str().unwrap()).unwrap().try_into().unwrap();
            self.session = taken.then(|| (VerifyingKey::from_bytes(&key).unwrap(), 0));
        } else if let (Some(body), true) = (&http.body, taken) {
            self.reports.push(serde_json::from_slice(body).unwrap());
        }
        result
    }

    /// Lets at most `limit` go by, until nothing is left to happen.
    fn run(&mut self, limit: Duration) -> &Stage {
        let end = self.now + limit;
        for _ in 0..10_000 {
            self.machine.poll(self.now, &mut self.faults);
            let effects = self.machine.take_effects();
            let signed =
                |effect: &&MachineEffect| matches!(effect, MachineEffect::Http(_, http) if !http.headers.is_empty());
            let under_way = effects.iter().filter(signed).count();
            assert!(under_way <= 1, "of two signed requests the later one may arrive first: {effects:?}");
            if effects.is_empty() {
                let next = self.machine.next_event_at();
                if next > end {
                    self.now = end;
                    return self.machine.stage();
                }
                self.now = self.now.max(next);
            }
            for effect in effects {
                if let MachineEffect::Http(id, http) = &effect {
                    let result = self.answer(http);
                    self.machine.fetched(self.now, *id, result, &mut self.faults);
                } else {
                    self.happened.push(effect);
                }
            }
        }
        panic!("the machine never comes to rest: {:?}", self.machine.console());
    }

    fn boots(&mut self) -> &Stage {
        self.power_on(&powered_on());
        self.run(Duration::from_secs(4 * 3600))
    }

    fn times_asked(&self, path: &str) -> usize {
        self.asked.iter().filter(|asked| asked.ends_with(path)).count()
    }

    fn phases(&self) -> Vec<(u64, &str, &str)> {
        let text = |report: &'_ Value, key: &str| -> &'static str {
            Box::leak(report[key].as_str().unwrap().to_owned().into_boxed_str())
        };
        self.reports.iter().map(|r| (r["seq"].as_u64().unwrap(), text(r, "phase"), text(r, "status"))).collect()
    }

    fn stuck(&self) -> &str {
        match self.machine.stage() {
            Stage::Stuck(why) | Stage::Failed(why) => why,
            other => panic!("{other:?}: {:#?}", self.machine.console()),
        }
    }
}

/// The number of a request, if the key has signed it: by the words of the documents.
fn signed_by(key: &VerifyingKey, http: &Http, path: &str) -> Option<u64> {
    let (_, value) = http.headers.iter().find(|(name, _)| *name == "metalform-signature")?;
    let (number, signature) = value.strip_prefix("v1 ")?.split_once(' ')?;
    let digest = hex::encode(Sha256::digest(http.body.as_deref().unwrap_or_default()));
    let text = format!("metalform session v1\n{}\n{path}\n{number}\n{digest}\n", http.method);
    let signature = Signature::from_bytes(&hex::decode(signature).ok()?.try_into().ok()?);
    key.verify_strict(text.as_bytes(), &signature).ok()?;
    number.parse().ok()
}

fn ok(body: impl Into<bytes::Bytes>) -> FetchResult {
    FetchResult::Answered(Answer::new(200, body))
}

fn status(status: u16) -> FetchResult {
    FetchResult::Answered(Answer::new(status, &b""[..]))
}

fn parked(seconds: u64) -> FetchResult {
    FetchResult::Answered(Answer { retry_after: Some(seconds.to_string()), ..Answer::new(503, &b""[..]) })
}

fn minutes(range: std::ops::Range<i64>, from: Timestamp, to: Timestamp) {
    let took = (to.0 - from.0) / 60_000_000;
    assert!(range.contains(&took), "took {took} min");
}

#[test]
fn a_machine_boots_installs_reports_and_grows_a_cvm() {
    let mut lab = Lab::standard();
    lab.power_on(&powered_on());
    while *lab.machine.stage() != Stage::CvmUp {
        lab.run(Duration::from_secs(1));
        assert!(lab.now < START + Duration::from_secs(7200), "{:#?}", lab.machine.console());
    }
    minutes(26..34, START, lab.now);
    assert_eq!(
        lab.asked[..6],
        [
            "GET /boot/ipxe/server-001",
            "GET /pxe/images/vmlinuz-foundation",
            "GET /pxe/images/initrd-foundation.img",
            "GET /pxe/images/SHA256SUMS",
            "POST /boot/session/server-001",
            "GET /boot/server/10.240.0.11",
        ]
    );
    assert_eq!(lab.session.map(|(_, last)| last > 1 << 32), Some(true), "the installed system goes on with the key");
    let phases = lab.phases();
    let installing = |seq| (seq, "installing", "running");
    let mut expected = vec![(1, "booting", "running"), (2, "checking", "running"), (3, "checking", "ok")];
    expected.extend((4..12).map(installing));
    expected.extend([(12, "installing", "ok"), (13, "rebooting", "running"), (14, "installed", "ok")]);
    assert_eq!(phases, expected);
    let percents: Vec<f64> = lab.reports.iter().filter_map(|r| r["percent"].as_f64()).collect();
    assert!(percents.is_sorted() && percents.last() == Some(&100.0), "{percents:?}");
    assert_eq!(lab.reports[0]["facts"]["node_uuid"], lab.machine.uuid().to_string());
    assert_eq!(lab.reports[0]["facts"]["disks"][3]["device"], "/dev/nvme2n1");
    let [MachineEffect::BootDiskOverwritten, MachineEffect::HostUp { .. }, MachineEffect::CvmUp { config, install: 1 }] =
        &lab.happened[..]
    else {
        panic!("{:?}", lab.happened)
    };
    assert_eq!((config.cluster_name.as_str(), config.cvm_ip), ("prod", Ipv4Addr::new(10, 240, 0, 101)));
    assert_eq!(lab.machine.script_fetches(), 1);
    assert!(lab.machine.console().iter().all(|line| !line.contains("secret")), "{:#?}", lab.machine.console());
}

#[test]
fn a_machine_makes_another_key_at_each_start() {
    let mut lab = Lab::standard().fault(MachineFault::BootsTwice, 1);
    lab.power_on(&powered_on());
    let mut keys = Vec::new();
    while *lab.machine.stage() != Stage::CvmUp {
        lab.run(Duration::from_secs(1));
        keys.extend(lab.session.map(|(key, _)| key.to_bytes()));
        keys.dedup();
    }
    assert_eq!((keys.len(), lab.times_asked("/boot/session/server-001")), (2, 2));
}

#[test]
fn an_installer_without_sessions_and_one_whose_server_knows_none_show_the_token() {
    let mut bare = Lab::new(MachineSettings { exchanges_token: false, ..MachineSettings::default() });
    assert_eq!(*bare.boots(), Stage::CvmUp);
    assert_eq!(bare.times_asked("/boot/session/server-001"), 0);
    for unknown in [status(404), status(405)] {
        let mut lab = Lab::standard();
        lab.page("/boot/session/server-001", [unknown]);
        assert_eq!(*lab.boots(), Stage::CvmUp);
        assert_eq!((lab.times_asked("/boot/session/server-001"), lab.session), (1, None));
    }
}

#[test]
fn a_machine_waits_for_its_session_and_gives_up_where_it_is_refused() {
    let mut lab = Lab::standard();
    lab.page("/boot/session/server-001", [parked(20), FetchResult::Refused, status(503), ok("")]);
    assert_eq!(*lab.boots(), Stage::CvmUp);
    assert_eq!(lab.times_asked("/boot/session/server-001"), 4);
    let unknown_server = Answer::new(404, r#"{"error":{"code":"unknown_server"}}"#);
    for (refused, named) in [(status(409), "409"), (status(403), "403"), (FetchResult::Answered(unknown_server), "404")]
    {
        let mut lab = Lab::standard();
        lab.page("/boot/session/server-001", [refused]);
        lab.boots();
        assert!(lab.stuck().contains(&format!("session was refused with status {named}")), "{}", lab.stuck());
        assert_eq!((lab.times_asked("/boot/server/10.240.0.11"), lab.reports.len()), (0, 0));
    }
}

fn pinned(digest: &str) -> String {
    SCRIPT.replace("boot_token=secret", &format!("boot_token=secret ca_sha256={digest}"))
}

#[test]
fn a_script_that_pins_an_authority_has_all_but_its_own_asked_over_tls() {
    let digest = "ca".repeat(32);
    let mut lab = Lab::standard();
    lab.page("/boot/ipxe/server-001", [ok(pinned(&digest))]);
    assert_eq!(*lab.boots(), Stage::CvmUp);
    let over_tls = |path: &str| {
        let asked = lab.requests.iter().filter(|http| http.url.contains(path));
        asked.map(|http| (http.url.starts_with("https://10.240.0.2:80/"), http.trusts == Some([0xca; 32]))).collect()
    };
    for path in ["/boot/session/", "/boot/server/", "/boot/report/"] {
        let asked: Vec<(bool, bool)> = over_tls(path);
        assert!(!asked.is_empty() && asked.iter().all(|asked| *asked == (true, true)), "{path}: {asked:?}");
    }
    assert!(lab.requests.iter().any(|http| http.url.starts_with("http://10.240.0.2/pxe/images/")));
}

#[test]
fn a_machine_that_is_answered_by_somebody_else_tells_so_in_the_clear_and_stops() {
    let mut lab = Lab::standard();
    lab.page("/boot/ipxe/server-001", [ok(pinned(&"ca".repeat(32)))]);
    lab.page("/boot/session/server-001", [FetchResult::Untrusted("invalid peer certificate".into())]);
    lab.boots();
    assert_eq!(lab.stuck(), "tls_untrusted");
    let told = lab.requests.last().unwrap();
    assert_eq!(told.url, "http://10.240.0.2/boot/step/server-001/tls-untrusted?t=secret");
    assert_eq!((lab.times_asked("/boot/server/10.240.0.11"), lab.reports.len()), (0, 0));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut lab = Lab::standard();
        lab.boots();
        (lab.machine.console().to_vec(), lab.reports)
    };
    assert_eq!(run(), run());
}

#[test]
fn before_the_script_is_there_a_machine_asks_every_ten_seconds() {
    let mut lab = Lab::standard();
    lab.page(
        "/boot/ipxe/server-001",
        [FetchResult::Refused, status(404), ok("<html>"), FetchResult::TimedOut, ok(SCRIPT)],
    );
    lab.power_on(&powered_on());
    lab.run(Duration::from_secs(35));
    assert_eq!(lab.machine.script_fetches(), 4);
    assert_eq!(*lab.run(Duration::from_secs(4 * 3600)), Stage::CvmUp);
    assert_eq!(lab.machine.script_fetches(), 5);
}

#[test]
fn a_parked_machine_waits_as_long_as_it_is_told_at_any_speed() {
    let mut lab = Lab::new(MachineSettings { speed: 600.0, ..MachineSettings::default() });
    lab.page("/boot/ipxe/server-001", [parked(30), ok(SCRIPT)]);
    lab.power_on(&powered_on());
    lab.run(Duration::from_secs(29));
    assert_eq!(lab.machine.script_fetches(), 1);
    assert_eq!(*lab.run(Duration::from_secs(60)), Stage::CvmUp);
}

#[test]
fn user_data_is_one_url_or_a_script_and_nothing_else() {
    let inline = PoweredOn { user_data: SCRIPT.into(), ..powered_on() };
    let mut lab = Lab::standard();
    lab.power_on(&inline);
    assert_eq!(*lab.run(Duration::from_secs(4 * 3600)), Stage::CvmUp);
    for user_data in ["", "#cloud-config", "http://a/b http://a/c", "boot/ipxe/server-001", "https://boot.example/x"] {
        let mut lab = Lab::standard();
        lab.power_on(&PoweredOn { user_data: user_data.into(), ..powered_on() });
        lab.run(Duration::from_secs(60));
        assert!(matches!(lab.machine.stage(), Stage::Stuck(_)), "{user_data:?}: {:?}", lab.machine.stage());
    }
}

#[test]
fn a_damaged_kernel_is_not_started_and_the_script_tries_again() {
    let mut lab = Lab::standard();
    lab.page("/pxe/images/vmlinuz-foundation", [ok(&KERNEL[..4]), ok(KERNEL)]);
    assert_eq!(*lab.boots(), Stage::CvmUp);
    assert_eq!(lab.times_asked("vmlinuz-foundation"), 2);
    assert!(lab.machine.console().iter().any(|line| line.contains("Exec format error")));
}

#[test]
fn a_damaged_initrd_is_a_kernel_panic() {
    let mut lab = Lab::standard();
    lab.page("/pxe/images/initrd-foundation.img", [ok(&INITRD[..4])]);
    lab.boots();
    assert_eq!(lab.stuck(), "Kernel panic: the initrd initrd-foundation.img is damaged");
}

#[test]
fn without_digests_beside_the_kernel_nothing_is_started() {
    let mut lab = Lab::standard();
    lab.page("/pxe/images/SHA256SUMS", [FetchResult::Refused, parked(1), status(404), status(404)]);
    lab.power_on(&powered_on());
    lab.run(Duration::from_secs(120));
    assert_eq!(*lab.machine.stage(), Stage::Ipxe);
    assert!(lab.times_asked("vmlinuz-foundation") > 1);
}

#[test]
fn an_initrd_the_kernel_never_sees_leaves_an_old_uefi_build_hanging() {
    let script = SCRIPT.replace("initrd=initrd-foundation.img ", "");
    let mut lab = Lab::standard();
    lab.page("/boot/ipxe/server-001", [ok(script.clone())]);
    lab.boots();
    assert_eq!(lab.stuck(), "Kernel panic: no initrd was found (initrd= is missing on the command line)");
    assert!(lab.reports.is_empty(), "nothing on console or server says so");
    let platform = Platform { firmware: Firmware::Uefi, generation: Generation::New };
    let mut lab = Lab::new(MachineSettings { platform, ..MachineSettings::default() });
    lab.page("/boot/ipxe/server-001", [ok(script)]);
    assert_eq!(*lab.boots(), Stage::CvmUp);
}

#[test]
fn a_script_that_ends_leaves_the_machine_in_its_firmware() {
    for script in ["#!ipxe\nexit 0\n", "#!ipxe\nno-such-command\n", "#!ipxe\nsanboot --no-describe || exit 1\n"] {
        let mut lab = Lab::standard();
        lab.page("/boot/ipxe/server-001", [ok(script)]);
        lab.boots();
        assert!(lab.stuck().contains("the firmware has nothing else to boot"), "{script}");
    }
}

#[test]
fn an_installer_without_its_arguments_waits_at_its_menu() {
    for missing in ["node_id=server-001", "boot_token=secret", "config_url=http://10.240.0.2/boot/server/10.240.0.11"] {
        let mut lab = Lab::standard();
        lab.page("/boot/ipxe/server-001", [ok(SCRIPT.replace(missing, ""))]);
        lab.boots();
        assert!(lab.stuck().starts_with("the installer waits at its menu"), "{missing}: {}", lab.stuck());
    }
    let mut lab = Lab::standard();
    lab.page("/boot/ipxe/server-001", [ok(SCRIPT.replace("mgmt_ip=10.240.0.11", "mgmt_ip=10.240.0.12"))]);
    lab.boots();
    assert_eq!(lab.phases().last(), Some(&(2, "failed", "failed")));
}

#[test]
fn without_a_serial_console_the_installer_is_silent_there() {
    let lines = |script: String| {
        let mut lab = Lab::standard();
        lab.page("/boot/ipxe/server-001", [ok(script)]);
        assert_eq!(*lab.boots(), Stage::CvmUp);
        lab.machine.console().iter().filter(|line| line.starts_with("installer:")).count()
    };
    assert!(lines(SCRIPT.into()) > 10);
    assert_eq!(lines(SCRIPT.replace("console=ttyS0,115200", "")), 0);
}

#[test]
fn a_refused_report_is_sent_again_and_none_is_lost() {
    let mut lab = Lab::standard();
    lab.page("/boot/report/server-001", [FetchResult::Refused, parked(7), FetchResult::Broken("half".into()), ok("")]);
    assert_eq!(*lab.boots(), Stage::CvmUp);
    assert_eq!(lab.phases().iter().map(|p| p.0).collect::<Vec<_>>(), (1..=14).collect::<Vec<_>>());
}

#[test]
fn a_refused_configuration_is_a_failed_installation_and_a_late_one_is_not() {
    let mut lab = Lab::standard();
    lab.page("/boot/server/10.240.0.11", [parked(5), status(500), FetchResult::Refused, ok(node_config().to_string())]);
    assert_eq!(*lab.boots(), Stage::CvmUp);
    let mut lab = Lab::standard();
    lab.page("/boot/server/10.240.0.11", [status(403)]);
    lab.boots();
    assert_eq!(lab.reports.last().unwrap()["message"], "the configuration was refused with status 403");
    assert!(lab.happened.is_empty());
}

/// Every row changes one thing in a good configuration and names what is complained about.
#[test]
fn a_configuration_that_makes_no_sense_is_refused_by_name() {
    let table = [
        ("/extra", json!({}), "extra is not known"),
        ("/cluster_config/secret", json!("x"), "cluster_config.secret is not known"),
        ("/cluster_config/redundancy_factor", json!(4), "redundancy_factor is not 1, 2 or 3"),
        ("/cluster_config/cvm_ips", json!(["10.240.0.102"]), "cvm_ips lacks this node's cvm_ip"),
        ("/cluster_config/cluster_external_ip", json!("10.241.0.1"), "is outside of 10.240.0.0/24"),
        ("/cluster_config/cluster_name", json!(""), "cluster_name is no text, or empty"),
        ("/server_info/mgmt_ip", json!("10.240.0.12"), "server_info.mgmt_ip is \"10.240.0.12\""),
        ("/server_info/server_id", json!("server-002"), "server_info.server_id is \"server-002\""),
        ("/server_info/profile", json!("bx2-metal-96x384"), "server_info.profile is"),
        ("/node_config/hypervisor", json!("esx"), "node_config.hypervisor is \"esx\""),
        ("/node_config/cvm_ip", json!("10.240.0.51"), "node_config.cvm_ip and node_config.hypervisor_ip are both"),
        ("/node_config/cvm_ip", json!("192.168.5.2"), "192.168.5.0/24, which Nutanix reserves"),
        ("/node_config/hypervisor_ip", json!(7), "node_config.hypervisor_ip is no IPv4 address"),
        ("/node_config/hostname", json!("no host"), "is no host name"),
        ("/node_config/role", json!("witness"), "role \"witness\" is unknown"),
        ("/node_config/gateway", json!("10.250.0.1"), "gateway 10.250.0.1 is outside"),
        ("/network_config/netmask", json!("255.0.0.0"), "network_config.netmask is \"255.0.0.0\""),
        ("/network_config/interfaces", json!([]), "interfaces is no list"),
        ("/storage_config/data_devices", json!([]), "data_devices is empty"),
        ("/storage_config/data_devices", json!(["/dev/nvme9n1"]), "no drive is left that fits \"/dev/nvme9n1\""),
        ("/storage_config/data_devices", json!(["/dev/nvme1n1", "/dev/nvme1n1"]), "no drive is left that fits"),
        ("/storage_config/data_devices", json!([{"min_gb": 4000}]), "no drive is left that fits"),
        ("/storage_config/data_devices", json!([{"size": 1}]), "is not understood"),
        ("/storage_config/data_devices", json!([{"wipe": true}]), "an empty drive selector"),
        ("/storage_config/data_devices", json!([{"device": "nvme1n1", "wipe": true}]), "is not understood"),
        ("/storage_config/data_devices_by", json!("chance"), "data_devices_by \"chance\" is unknown"),
        ("/node_config/min_cores", json!("many"), "min_cores is no number"),
        ("/node_config/max_cores", json!(4), "node_config.max_cores is not known"),
        ("/storage_config/data_devices", json!(["/dev/sda"]), "no drive is left that fits"),
        ("/storage_config/boot_device", json!("/dev/nvme0n1"), "boot_device is not the boot disk"),
    ];
    for (place, value, told) in table {
        let mut document = node_config();
        let (parent, key) = place.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[key] = value;
        let mut lab = Lab::standard();
        lab.page("/boot/server/10.240.0.11", [ok(document.to_string())]);
        lab.boots();
        let last = lab.reports.last().unwrap();
        assert_eq!((&last["phase"], &last["status"]), (&json!("failed"), &json!("failed")), "{place}");
        assert!(last["message"].as_str().unwrap().contains(told), "{place}: {}", last["message"]);
        assert!(lab.happened.is_empty(), "{place}: nothing was written");
    }
    for part in ["server_info", "cluster_config", "node_config", "storage_config", "network_config"] {
        let mut document = node_config();
        document.as_object_mut().unwrap().remove(part);
        let disks = super::Disk::all(&powered_on(), "x");
        let expected =
            config::Expected { server_id: "server-001", mgmt_ip: MGMT, profile: "bx2d-metal-96x384", disks: &disks };
        let faults = config::check(&document.to_string(), &expected).unwrap_err();
        assert!(faults.contains(&format!("{part} is missing")), "{faults:?}");
    }
}

/// The document that the product's own plan reader and writer make, for every kind of storage a plan can name.
#[test]
fn the_products_own_configuration_is_one_the_installer_takes() {
    use metalform_model::{NodeNetwork, PlanFormat, Profiles, node_config, read_plan};
    for drives in [
        "",
        "data_drives = [\"/dev/nvme2n1\"]",
        "data_drives = [{ min_gb = 3000, model = \"Micron\" }, \"/dev/nvme1n1\"]",
        "data_drives = [{ min_gb = 3000, wipe = true }, { device = \"/dev/nvme1n1\", wipe = true }]",
        "role = \"compute\"",
    ] {
        let node = |n: u8| {
            let drives = if n == 1 { drives } else { "" };
            format!(
                "[[nodes]]\nserver_id = \"server-00{n}\"\nmgmt_ip = \"10.240.0.1{n}\"\nahv_ip = \"10.240.0.5{n}\"\n\
                 cvm_ip = \"10.240.0.10{n}\"\n{drives}\n"
            )
        };
        let text = format!(
            "[cluster]\nname = \"prod\"\nexternal_ip = \"10.240.0.200\"\nredundancy_factor = 2\n\n\
             [cloud]\nvpc = \"r006-1\"\nsubnet = \"0717-1\"\nzone = \"us-south-1\"\n\
             profile = \"bx2d-metal-96x384\"\nssh_keys = [\"r006-2\"]\n\n{}{}{}{}",
            node(1),
            node(2),
            node(3),
            node(4)
        );
        let profiles = Profiles::builtin();
        let plan = read_plan(&text, PlanFormat::Toml, &profiles).unwrap().plan;
        let network = NodeNetwork {
            mgmt_ip: MGMT,
            ahv_ip: Ipv4Addr::new(10, 240, 0, 51),
            cvm_ip: Ipv4Addr::new(10, 240, 0, 101),
            cidr: "10.240.0.0/24".parse().unwrap(),
            gateway: Ipv4Addr::new(10, 240, 0, 1),
            cvm_ips: (101..105).map(|n| Ipv4Addr::new(10, 240, 0, n)).collect(),
            dns_servers: Vec::new(),
        };
        let document = node_config(&plan, &plan.nodes[0], &network, profiles.get("bx2d-metal-96x384"));
        let mut lab = Lab::standard();
        lab.page("/boot/server/10.240.0.11", [ok(document.to_string())]);
        lab.boots();
        assert_eq!(*lab.machine.stage(), Stage::CvmUp, "{drives}: {:#?}", lab.machine.console());
    }
}

#[test]
fn seven_equal_selectors_take_seven_drives_and_one_is_left_for_the_cvm() {
    let with = |count: usize| {
        let mut document = node_config();
        document["storage_config"]["data_devices"] = json!(vec![json!({"min_gb": 2880}); count]);
        let disks = super::Disk::all(&powered_on(), "x");
        let expected =
            config::Expected { server_id: "server-001", mgmt_ip: MGMT, profile: "bx2d-metal-96x384", disks: &disks };
        config::check(&document.to_string(), &expected).map(|_| ())
    };
    assert_eq!(with(7), Ok(()));
    assert_eq!(with(8), Ok(()), "the CVM shares the drive of an equal entry");
    assert!(with(9).is_err());
}

#[test]
fn an_installed_machine_boots_its_disk_and_reports_nothing_new() {
    let mut lab = Lab::standard();
    lab.boots();
    let (reports, scripts) = (lab.reports.len(), lab.machine.script_fetches());
    lab.machine.power_off();
    assert_eq!(*lab.machine.stage(), Stage::Off);
    lab.power_on(&PoweredOn { network_boot: false, ..powered_on() });
    assert_eq!(*lab.run(Duration::from_secs(3600)), Stage::CvmUp);
    assert_eq!((lab.reports.len(), lab.machine.script_fetches()), (reports, scripts));
    let [.., MachineEffect::CvmDown, MachineEffect::HostUp { install: 1, .. }, MachineEffect::CvmUp { install: 1, .. }] =
        &lab.happened[..]
    else {
        panic!("{:?}", lab.happened)
    };
}

#[test]
fn a_rewritten_boot_disk_is_installed_again() {
    let mut lab = Lab::standard();
    lab.boots();
    lab.machine.power_off();
    lab.power_on(&PoweredOn { boot_disk_writes: 2, ..powered_on() });
    assert_eq!(*lab.run(Duration::from_secs(4 * 3600)), Stage::CvmUp);
    assert!(matches!(lab.happened.last(), Some(MachineEffect::CvmUp { install: 2, .. })));
}

#[test]
fn where_ipxe_still_starts_after_the_installation_the_script_sends_the_machine_to_its_disk() {
    let settings = MachineSettings { network_boot_after_install: true, ..MachineSettings::default() };
    for local in ["#!ipxe\nsanboot --no-describe --drive 0x80 || exit 0\n", "#!ipxe\nexit 0\n"] {
        let mut lab = Lab::new(settings.clone());
        lab.page("/boot/ipxe/server-001", [ok(SCRIPT), ok(local)]);
        assert_eq!(*lab.boots(), Stage::CvmUp);
        assert_eq!(lab.times_asked("vmlinuz-foundation"), 1);
    }
    let mut lab = Lab::new(settings);
    lab.power_on(&powered_on());
    lab.run(Duration::from_secs(3600));
    assert!(lab.times_asked("vmlinuz-foundation") > 1, "a script that never changes installs again and again");
}

#[test]
fn each_fault_of_a_machine_shows_as_what_it_is() {
    let mut lab = Lab::standard().fault(MachineFault::NeverBoots, 1);
    lab.boots();
    assert_eq!((lab.stuck(), lab.asked.len()), ("silent after power-on", 0));

    let mut lab = Lab::standard().fault(MachineFault::DhcpFails { times: 2 }, 1);
    assert_eq!(*lab.boots(), Stage::CvmUp);
    assert_eq!(lab.machine.console().iter().filter(|line| line.contains("net0 dhcp")).count(), 2);

    let mut lab = Lab::standard().fault(MachineFault::BootsTwice, 1);
    assert_eq!(*lab.boots(), Stage::CvmUp);
    assert_eq!(lab.times_asked("vmlinuz-foundation"), 2);
    assert!(lab.phases().is_sorted_by_key(|(seq, ..)| *seq), "seq grows over the reset");

    let mut lab = Lab::standard().fault(MachineFault::DownloadBreaks, 2);
    assert_eq!(*lab.boots(), Stage::CvmUp);
    assert_eq!(lab.times_asked("vmlinuz-foundation"), 3);

    let mut lab = Lab::standard().fault(MachineFault::WrongDigest, 1);
    assert_eq!(*lab.boots(), Stage::CvmUp);
    assert_eq!(lab.times_asked("vmlinuz-foundation"), 2);

    let mut lab = Lab::standard().fault(MachineFault::InstallerHangs, 1);
    lab.boots();
    assert_eq!(lab.stuck(), "the installer hangs");
    assert_eq!(lab.phases().last().unwrap().1, "installing");

    let mut lab = Lab::standard().fault(MachineFault::InstallFails, 1);
    lab.boots();
    assert_eq!(lab.phases().last().unwrap().1, "failed");

    let mut lab = Lab::standard().fault(MachineFault::ReportsLost, 1);
    assert_eq!(*lab.boots(), Stage::CvmUp);
    assert_eq!(lab.times_asked("/boot/report/server-001"), 0);
}

#[test]
fn a_secure_machine_refuses_the_unsigned_kernel() {
    let mut lab = Lab::standard();
    lab.power_on(&PoweredOn { secure_boot: true, ..powered_on() });
    lab.run(Duration::from_secs(120));
    assert_eq!(*lab.machine.stage(), Stage::Ipxe);
    assert!(lab.machine.console().iter().any(|line| line.contains("Secure Boot")));
}

#[test]
fn an_answer_after_a_power_cut_changes_nothing() {
    let mut lab = Lab::standard();
    lab.power_on(&powered_on());
    let asked = loop {
        let effects = lab.machine.take_effects();
        if let Some(MachineEffect::Http(id, _)) = effects.first() {
            break *id;
        }
        lab.now = lab.machine.next_event_at();
        lab.machine.poll(lab.now, &mut lab.faults);
    };
    lab.machine.power_off();
    lab.machine.fetched(lab.now, asked, ok(SCRIPT), &mut lab.faults);
    assert_eq!((lab.machine.stage(), lab.machine.next_event_at()), (&Stage::Off, Timestamp::NEVER));
}
