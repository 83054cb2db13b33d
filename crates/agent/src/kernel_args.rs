//! What the boot script told this machine, on the kernel's command line: words `key=value`. Others are passed over: the
//! kernel has its own, and under UEFI the image's name stands first.

use crate::{http::HttpUrl, tls::CaPin};
use std::{fmt, net::Ipv4Addr};

/// Who this machine is, and whom it asks.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelArgs {
    /// `node_id`: the node's id.
    pub node_id: String,
    /// `mgmt_ip`: the address the machine must have.
    pub mgmt_ip: Ipv4Addr,
    /// `config_url`: where its configuration is.
    pub config_url: HttpUrl,
    /// `boot_token`: the right to ask for it.
    pub boot_token: BootToken,
    /// `images_url`: folder of its image set; by default the boot plane's default set.
    pub images_url: HttpUrl,
    /// `manifest_sha256`: what the image set's manifest must be, where the boot script could say it; 64 of `[0-9a-f]`.
    pub manifest_sha256: Option<String>,
    /// `ca_sha256`: whose certificates are trusted. What is asked for with a right goes over TLS then, and never without.
    pub ca_sha256: Option<CaPin>,
    /// Where its address comes from.
    pub network: NetworkSource,
}

/// The secret that stands for a boot attempt. It can't be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct BootToken(String);

impl BootToken {
    /// 1 to 64 lower-case letters and digits: what can stand in a query as it is.
    pub fn new(text: &str) -> Option<BootToken> {
        let good = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        good.then(|| BootToken(text.to_owned()))
    }

    /// The secret itself, for a request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BootToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootToken(…)")
    }
}

/// Where the machine's address comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkSource {
    /// Asked for on the network.
    Dhcp,
    /// From the kernel's own `ip=` argument.
    Static(StaticNetwork),
}

/// An address with its surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticNetwork {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix, 1 to 32.
    pub prefix: u8,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns_servers: Vec<Ipv4Addr>,
    /// The interface, where it is named.
    pub device: Option<String>,
}

/// The command line lacks something, or something on it can't be. Permanent: all faults, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .faults.join("; "))]
pub struct KernelArgsError {
    /// Each a sentence.
    pub faults: Vec<String>,
}

impl KernelArgs {
    /// Reads `/proc/cmdline`. A word that stands twice counts as it stands last, as for the kernel.
    pub fn read(command_line: &str) -> Result<KernelArgs, KernelArgsError> {
        let mut faults = Vec::new();
        let value = |key: &str| last_value(command_line, key);
        let mut needed = |key: &str| {
            let found = value(key);
            if found.is_none() {
                faults.push(format!("{key}= is missing"));
            }
            found
        };
        let (node_id, mgmt_ip, config_url, boot_token) =
            (needed("node_id"), needed("mgmt_ip"), needed("config_url"), needed("boot_token"));
        let mut take = |fault: String| faults.push(fault);

        let node_id = node_id.filter(|id| {
            let good =
                (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !good {
                take("node_id= is no id: 1 to 64 of A-Z a-z 0-9 . _ -".into());
            }
            good
        });
        let mgmt_ip =
            mgmt_ip.and_then(|text| text.parse().map_err(|_| take(format!("mgmt_ip={text} is no IPv4 address"))).ok());
        let mut url = |key: &str, text: String| {
            text.parse::<HttpUrl>().map_err(|error| take(format!("{key}= can't be used: {error}"))).ok()
        };
        let config_url = config_url.and_then(|text| url("config_url", text));
        let images_url = match value("images_url") {
            Some(text) => url("images_url", text),
            None => config_url.as_ref().map(|config| config.with_path("/pxe/images")),
        };
        let boot_token = boot_token.and_then(|text| {
            BootToken::new(&text).or_else(|| {
                take("boot_token= is no token: 1 to 64 of a-z 0-9".into());
                None
            })
        });
        // One that can't be read must not be taken for none.
        let is_digest =
            |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let manifest_sha256 = match value("manifest_sha256") {
            Some(text) if !is_digest(&text) => {
                take("manifest_sha256= is no SHA-256: 64 of 0-9 a-f".into());
                None
            }
            given => Some(given),
        };
        // One that can't be read must not be taken for none: everything would go in the clear.
        let ca_sha256 = value("ca_sha256").and_then(|text| {
            let wrong = |()| take("ca_sha256= is no SHA-256: 64 of 0-9 a-f".into());
            text.parse().map_err(wrong).ok()
        });
        let network = match network_source(value("metalform.net").as_deref(), value("ip").as_deref()) {
            Ok(network) => Some(network),
            Err(fault) => {
                take(fault);
                None
            }
        };
        match (node_id, mgmt_ip, config_url, boot_token, images_url, manifest_sha256, network) {
            (
                Some(node_id),
                Some(mgmt_ip),
                Some(config_url),
                Some(boot_token),
                Some(images_url),
                Some(manifest_sha256),
                Some(network),
            ) if faults.is_empty() => Ok(KernelArgs {
                node_id,
                mgmt_ip,
                config_url,
                boot_token,
                images_url,
                manifest_sha256,
                ca_sha256,
                network,
            }),
            _ => Err(KernelArgsError { faults }),
        }
    }
}

/// `metalform.net` decides where it stands; without it `ip=` does, where it holds an address.
fn network_source(choice: Option<&str>, ip: Option<&str>) -> Result<NetworkSource, String> {
    match (choice, ip.map(static_network)) {
        (Some("dhcp"), _) | (None, None) => Ok(NetworkSource::Dhcp),
        (Some("static"), None) => Err("metalform.net=static needs ip=ADDRESS::GATEWAY:NETMASK".into()),
        (Some("static"), Some(Ok(None))) => {
            Err("metalform.net=static needs an address in ip=, as in ip=10.0.0.11::10.0.0.1:255.255.255.0".into())
        }
        (Some("static") | None, Some(read)) => Ok(read?.map_or(NetworkSource::Dhcp, NetworkSource::Static)),
        (Some(other), _) => Err(format!("metalform.net={other} is neither dhcp nor static")),
    }
}

/// The kernel's own syntax (Documentation/admin-guide/nfs/nfsroot.rst):
/// `client:server:gateway:netmask:hostname:device:autoconf:dns0:dns1`; `Ok(None)` where it holds no address.
fn static_network(text: &str) -> Result<Option<StaticNetwork>, String> {
    let fields: Vec<&str> = text.split(':').collect();
    let field = |at: usize| fields.get(at).copied().filter(|field| !field.is_empty());
    let Some(client) = field(0).filter(|client| client.contains('.')) else { return Ok(None) };
    let address =
        |text: &str| text.parse::<Ipv4Addr>().map_err(|_| format!("ip= holds {text}, which is no IPv4 address"));
    let Some(netmask) = field(3) else { return Err("ip= has an address and no netmask".into()) };
    let bits = u32::from(address(netmask)?);
    if bits == 0 || bits.leading_ones() + bits.trailing_zeros() != 32 {
        return Err(format!("ip= has the netmask {netmask}, which is none"));
    }
    Ok(Some(StaticNetwork {
        address: address(client)?,
        prefix: u8::try_from(bits.leading_ones()).unwrap_or(32),
        gateway: field(2).map(address).transpose()?,
        dns_servers: [field(7), field(8)].into_iter().flatten().map(address).collect::<Result<_, _>>()?,
        device: field(5).map(str::to_owned),
    }))
}

/// The value of the last word `key=…`; quotes around a value or a word keep blanks in it and are taken off.
fn last_value(command_line: &str, key: &str) -> Option<String> {
    words(command_line).into_iter().rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}

fn words(command_line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command_line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "vmlinuz-foundation console=tty0 console=ttyS0,115200 initrd=initrd-foundation.img node_id=server-001 \
        mgmt_ip=10.240.0.11 config_url=http://10.240.0.5:8080/boot/server/10.240.0.11 boot_token=abc123\n";

    #[test]
    fn the_scripts_words_are_read_and_others_passed_over() {
        let args = KernelArgs::read(GOOD).unwrap();
        assert_eq!(args.node_id, "server-001");
        assert_eq!(args.mgmt_ip, Ipv4Addr::new(10, 240, 0, 11));
        assert_eq!(args.config_url.to_string(), "http://10.240.0.5:8080/boot/server/10.240.0.11");
        assert_eq!(args.images_url.to_string(), "http://10.240.0.5:8080/pxe/images");
        assert_eq!(args.boot_token.expose(), "abc123");
        assert_eq!(args.network, NetworkSource::Dhcp);
        assert!(!format!("{args:?}").contains("abc123"), "a token is never shown");
    }

    #[test]
    fn a_named_image_set_and_the_last_of_two_words_win() {
        let args =
            KernelArgs::read(&format!("{GOOD} images_url=http://10.0.0.9/pxe/images/ce node_id=\"other\"")).unwrap();
        assert_eq!(args.images_url.join("manifest.json").to_string(), "http://10.0.0.9/pxe/images/ce/manifest.json");
        assert_eq!(args.node_id, "other");
    }

    #[test]
    fn a_pin_is_read_and_one_that_can_not_be_is_not_taken_for_none() {
        let read = |more: &str| KernelArgs::read(&format!("{GOOD} {more}"));
        assert_eq!(read("").unwrap().ca_sha256, None);
        let digits = "0123456789abcdef".repeat(4);
        let pin = read(&format!("ca_sha256={digits}")).unwrap().ca_sha256.unwrap();
        assert_eq!(pin.to_string(), digits);
        for wrong in ["", "0", &digits[2..], &digits.to_uppercase(), &format!("{digits}00")] {
            let faults = read(&format!("ca_sha256={wrong}")).unwrap_err().faults;
            assert!(faults[0].contains("ca_sha256="), "{wrong}: {faults:?}");
        }
    }

    #[test]
    fn all_that_is_missing_or_wrong_is_told_at_once() {
        let faults = |line: &str| KernelArgs::read(line).unwrap_err().faults;
        let all = ["node_id= is missing", "mgmt_ip= is missing", "config_url= is missing", "boot_token= is missing"];
        assert_eq!(faults("quiet"), all);
        let told = faults("node_id=a/b mgmt_ip=10.0.0 config_url=http://boot/x boot_token=A-B metalform.net=wifi");
        assert_eq!(told.len(), 5, "{told:?}");
    }

    #[test]
    fn an_address_can_stand_on_the_command_line_as_the_kernel_has_it() {
        let network = |more: &str| KernelArgs::read(&format!("{GOOD} {more}")).map(|args| args.network);
        let fixed = StaticNetwork {
            address: Ipv4Addr::new(10, 240, 0, 11),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(10, 240, 0, 1)),
            dns_servers: vec![Ipv4Addr::new(10, 240, 0, 2)],
            device: Some("eth0".into()),
        };
        let ip = "ip=10.240.0.11::10.240.0.1:255.255.255.0:node:eth0:off:10.240.0.2";
        assert_eq!(network(ip), Ok(NetworkSource::Static(fixed)));
        assert_eq!(network("ip=dhcp"), Ok(NetworkSource::Dhcp));
        assert_eq!(network(&format!("{ip} metalform.net=dhcp")), Ok(NetworkSource::Dhcp));
        for bad in ["ip=10.0.0.1", "ip=10.0.0.1:::255.0.255.0", "ip=10.0.0.300:::255.0.0.0", "metalform.net=static"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_command_line_makes_the_reader_panic_or_show_its_token(line in "[ -~]{0,200}", token in "[a-z0-9]{12,64}") {
            if let Err(error) = KernelArgs::read(&format!("{line} boot_token={token}")) {
                prop_assert!(!error.to_string().contains(&token));
            }
        }

        #[test]
        fn good_words_are_found_wherever_they_stand(before in "[a-z.]{0,20}", after in "[a-z.,0-9]{0,20}") {
            let line = format!("{before} {} {after}", GOOD.trim());
            prop_assert!(KernelArgs::read(&line).is_ok());
        }
    }
}
