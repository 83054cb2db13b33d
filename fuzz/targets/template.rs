//! Any text as a template: what the linter lets pass is rendered, and the token stands where it may and nowhere else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use metalform_boot::{BootHost, ScriptNetwork, ScriptValues, TokenKey, fuzzing};
use std::{net::Ipv4Addr, sync::LazyLock};

static HOST: LazyLock<BootHost> = LazyLock::new(|| "10.240.0.5:8080".parse().expect("a host"));

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let key = TokenKey::new([7; 32]);
    let (token, checked) = (key.token(Default::default()), key.checked_token(Default::default()));
    let mut values = ScriptValues::new("server-001", Ipv4Addr::new(10, 240, 0, 10), &HOST, &token);
    let [netmask, gateway] = [Ipv4Addr::new(255, 255, 255, 0), Ipv4Addr::new(10, 240, 0, 1)];
    values.network = Some(ScriptNetwork { netmask, gateway, dns: Some(gateway) });
    (values.squashfs, values.has_agent) = (Some("squashfs.img"), bytes.len() % 2 == 0);
    values.checked_token = Some(&checked);
    values.ca_sha256 = (bytes.len() % 3 == 0).then(|| "a".repeat(64));
    let Some(script) = fuzzing::script(&text, &values) else { return };
    assert_eq!(script.lines().count(), text.lines().count(), "a value has no line end");
    assert!(script.starts_with("#!ipxe"), "{script}");
    assert_eq!(script.matches(token.expose()).count(), text.matches("{{boot_token}}").count());
    assert_eq!(script.matches(checked.expose()).count(), text.matches("{{checked_token}}").count());
});
