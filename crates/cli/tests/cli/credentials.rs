//! The passwords that `metalform credentials` shows are in force: real logins, over SSH and over TLS, with the clients of the
//! service.

use crate::{run::Ran, site::Site};
use metalform_nutanix::{
    CvmShell, CvmShellSettings, ErrorKind, PinRule, PrismClient, PrismSettings, RusshTransport, TlsTransport,
};
use secrecy::SecretString;
use serde_json::Value;
use std::{net::Ipv4Addr, sync::Arc};

const CLUSTER: &str = "my-nutanix-cluster";

/// The doors of a site, with the ports that its world has.
struct Doors {
    prism: PrismClient,
    shell: CvmShellSettings,
}

impl Doors {
    fn of(site: &Site) -> Doors {
        let config = site.config();
        let port = |key: &str, usual: u16| {
            let own = config.get("nutanix").and_then(|nutanix| nutanix[key].as_integer());
            own.map_or(usual, |port| port.try_into().unwrap())
        };
        let prism = PrismSettings { port: port("prism_port", 9440), ..PrismSettings::default() };
        let prism = PrismClient::new(Arc::new(TlsTransport::new()), prism);
        Doors { prism, shell: CvmShellSettings { port: port("ssh_port", 22), ..CvmShellSettings::default() } }
    }

    /// Whether a login is let in. Anything but yes or a refused password is an error.
    async fn ssh_opens(&self, address: Ipv4Addr, user: &str, password: &SecretString) -> bool {
        let settings = CvmShellSettings { user: user.into(), ..self.shell.clone() };
        match CvmShell::new(Arc::new(RusshTransport::new()), settings)
            .open(address, PinRule::TrustFirst, password)
            .await
        {
            Ok(_) => true,
            Err(error) if error.is_denied() => false,
            Err(error) => {
                panic!("{user} at {address} with {}: {error:?}", secrecy::ExposeSecret::expose_secret(password))
            }
        }
    }

    /// How many nodes Prism tells of, if it lets `admin` in.
    async fn prism_opens(&self, address: Ipv4Addr, password: &SecretString) -> Option<u64> {
        match self.prism.with_password(password).cluster(address, PinRule::TrustFirst).await {
            Ok(view) => view.num_nodes,
            Err(error) if matches!(*error.kind, ErrorKind::Unauthorized) => None,
            Err(error) => panic!("Prism at {address}: {error:?}"),
        }
    }
}

fn password_of(shown: &Value, account: &str) -> SecretString {
    let accounts = shown["accounts"].as_array().unwrap();
    let found =
        accounts.iter().find(|each| each["account"] == account).unwrap_or_else(|| panic!("no {account}: {shown}"));
    assert_eq!(found["state"], "changed", "{account}");
    found["password"].as_str().unwrap().into()
}

fn readings(site: &Site) -> Vec<Value> {
    let answer = site.api("/api/v1/audit");
    let audit: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    audit["lines"].as_array().unwrap().iter().filter(|line| line["action"] == "credentials.read").cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_passwords_shown_open_every_door_and_those_that_everybody_knows_open_none() {
    let site = Site::start();
    let deployed = site.run(&["deploy", "plan.toml", "--watch"]);
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    assert_eq!(readings(&site), Vec::<Value>::new(), "nobody has read them yet");

    let ran: Ran = site.run(&["credentials", CLUSTER, "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stderr, format!("this reading of {CLUSTER}'s passwords stands in the audit\n"));
    let shown = ran.document();
    let read = readings(&site);
    assert_eq!(read.len(), 1, "{read:?}");
    assert_eq!((&read[0]["who"], &read[0]["outcome"]), (&"bootstrap".into(), &"ok".into()));
    let target = format!("{CLUSTER}: prism_admin cvm_nutanix ahv_root ahv_admin ahv_nutanix");
    assert_eq!(read[0]["target"], target);

    let doors = Doors::of(&site);
    let plan: toml::Table = site.world["plan"].as_str().unwrap().parse().unwrap();
    let address = |table: &toml::Value, key: &str| -> Ipv4Addr { table[key].as_str().unwrap().parse().unwrap() };
    let vip = address(&plan["cluster"], "external_ip");
    let [prism, cvm, root, admin, nutanix] =
        ["prism_admin", "cvm_nutanix", "ahv_root", "ahv_admin", "ahv_nutanix"].map(|each| password_of(&shown, each));
    let known = ["nutanix/4u", "Nutanix/4u", "admin"].map(SecretString::from);

    assert_eq!(doors.prism_opens(vip, &prism).await, Some(3));
    for old in &known {
        assert_eq!(doors.prism_opens(vip, old).await, None);
    }
    for node in plan["nodes"].as_array().unwrap() {
        let (cvm_ip, ahv_ip) = (address(node, "cvm_ip"), address(node, "ahv_ip"));
        for (ip, user, new) in [
            (cvm_ip, "nutanix", &cvm),
            (cvm_ip, "admin", &prism),
            (ahv_ip, "root", &root),
            (ahv_ip, "admin", &admin),
            (ahv_ip, "nutanix", &nutanix),
        ] {
            assert!(doors.ssh_opens(ip, user, new).await, "{user} at {ip}");
            for old in &known {
                assert!(!doors.ssh_opens(ip, user, old).await, "{user} at {ip} has a password that everybody knows");
            }
        }
    }
}
