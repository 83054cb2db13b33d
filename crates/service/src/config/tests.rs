use super::*;
use metalform_boot::SourceCheck;
use std::time::Duration;

const LOOPBACK: &str = "[boot]\nlisten = \"127.0.0.1:8080\"\n";

fn none(_: &str) -> Option<String> {
    None
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let text = "data_dir = \"/a\"\n[boot]\nlisten = \"127.0.0.1:1\"\n[timeouts]\nformation = \"10m\"\n";
    let env = |name: &str| match name {
        "METALFORM_DATA_DIR" => Some("/b".to_owned()),
        "METALFORM_TIMEOUTS_NODE_READY" => Some("90s".to_owned()),
        "METALFORM_NUTANIX_PRISM_PORT" => Some("19440".to_owned()),
        "METALFORM_IBM_CLOUD_USER_DATA" => Some("inline".to_owned()),
        "METALFORM_BOOT_ALLOW" => Some("10.0.0.0/8, 127.0.0.0/8".to_owned()),
        "METALFORM_BOOT_TRUSTED_PROXIES" => Some("10.0.0.8/32".to_owned()),
        "METALFORM_CONTROL_TRUSTED_PROXIES" => Some("10.0.0.9/32, fd00::/64".to_owned()),
        _ => None,
    };
    let config = Config::parse(text, &env).unwrap();
    assert_eq!(config.data_dir, Path::new("/b"));
    assert_eq!(config.timeouts().formation, Duration::from_secs(600));
    assert_eq!(config.timeouts().node_ready, Duration::from_secs(90));
    assert_eq!(config.timeouts().order_to_script, Timeouts::default().order_to_script);
    assert_eq!(config.nutanix.prism_port, 19440);
    assert_eq!(config.ibm_cloud.user_data, UserData::Inline);
    assert_eq!(config.boot.allow.as_ref().map(Vec::len), Some(2));
    assert_eq!(config.boot.trusted_proxies, ["10.0.0.8/32".parse().unwrap()]);
    assert_eq!(config.control.trusted_proxies, ["10.0.0.9/32", "fd00::/64"].map(|net| net.parse().unwrap()));
}

#[test]
fn a_wrong_configuration_says_what_is_wrong_and_what_to_write() {
    let check = |text: &str, wanted: &str| {
        let error = Config::parse(text, &none).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error} should contain {wanted}");
        assert!(!error.hint().is_empty());
    };
    check("dta_dir = 1", "dta_dir");
    check("\n\n[nutanix]\nprism_pasword = \"x\"", "wrong in line 4: unknown field `prism_pasword`");
    check(&format!("{LOOPBACK}[control]\nlisten = \"0.0.0.0:8443\"\ntls = \"off\""), "loopback only");
    check(&format!("{LOOPBACK}[control]\ntls = \"on\""), "expected \"self\", \"off\" or {");
    check(&format!("{LOOPBACK}[control]\ntls = {{ cert = \"a\" }}"), "missing field `key`");
    check(&format!("{LOOPBACK}[control]\ntls = {{ cert = \"a\", kye = \"b\" }}"), "kye");
    check(&format!("{LOOPBACK}[control]\nnames = [\"https://a\"]"), "neither a DNS name nor an IP address");
    check(&format!("{LOOPBACK}[control]\nnames = [\"a\"]\ntls = \"off\""), "no effect");
    check(&format!("{LOOPBACK}trusted_proxies = [\"0.0.0.0/0\"]"), "every address");
    check(&format!("{LOOPBACK}[control]\ntrusted_proxies = [\"10.0.0.1/32\", \"::/0\"]"), "every address");
    let acme = "acme = { domains = [\"a.example.com\"] }";
    check(&format!("{LOOPBACK}[control]\n{acme}"), "accept_terms");
    check(&format!("{LOOPBACK}[control]\n{acme}\ntls = \"off\""), "beside one of our own");
    check(&format!("{LOOPBACK}[control.acme]\ndomains = [\"a.example.com\"]\naccept_tems = true"), "accept_tems");
    check(&format!("{LOOPBACK}[store]\nurl = \"postgres://x\""), "data_dir only");
    check(&format!("{LOOPBACK}[ibm_cloud]\niam_url = \"http://203.0.113.1\""), "in the clear");
    check(&format!("{LOOPBACK}[ibm_cloud]\nuser_data = \"script\""), "expected `url` or `inline`");
    check(&format!("{LOOPBACK}[timeouts]\nformation = \"soon\""), "no duration");
    check(&format!("{LOOPBACK}[timeouts]\nformation = \"0s\""), "no duration");
}

/// Under a key of a name that somebody expects to be there stands what nobody may read.
#[test]
fn what_stands_under_an_unknown_key_is_not_shown() {
    for text in
        ["[nutanix]\nprism_password = \"s3cr3t\"", "api_key = \"s3cr3t\"", "[control.oidc]\nclient_secret = \"s3cr3t\""]
    {
        let error = Config::parse(text, &none).unwrap_err();
        let chain = format!("{error} {error:?} {}", error.hint());
        assert!(!chain.contains("s3cr3t"), "{chain}");
    }
}

#[test]
fn the_control_plane_speaks_https_unless_it_is_told_otherwise() {
    let control = |text: &str, env: &dyn Fn(&str) -> Option<String>| Config::parse(text, env).unwrap().control;
    let pair = ControlTls::Pair { cert: "/a/cert.pem".into(), key: "/a/key.pem".into() };
    assert_eq!(control("", &none).tls, ControlTls::SelfMade);
    assert_eq!(control("[control]\ntls = \"off\"", &none).tls, ControlTls::Off);
    let open = "[control]\nlisten = \"0.0.0.0:8443\"\ntls = { cert = \"/a/cert.pem\", key = \"/a/key.pem\" }";
    assert_eq!(control(open, &none).tls, pair);
    let env = |name: &str| match name {
        "METALFORM_CONTROL_TLS" => Some("{ cert = \"/a/cert.pem\", key = \"/a/key.pem\" }".to_owned()),
        _ => None,
    };
    assert_eq!(control("[control]\ntls = \"off\"", &env).tls, pair);
    let env = |name: &str| match name {
        "METALFORM_CONTROL_TLS" => Some("self".to_owned()),
        "METALFORM_CONTROL_NAMES" => Some("metalform.example.com, 10.1.2.3".to_owned()),
        _ => None,
    };
    let own = control("[control]\ntls = \"off\"", &env);
    assert_eq!((own.tls, own.names), (ControlTls::SelfMade, vec!["metalform.example.com".into(), "10.1.2.3".into()]));
}

#[test]
fn machines_must_be_told_an_address_that_they_can_reach() {
    let host = |text: &str| Config::parse(text, &none).unwrap().boot_host().map(|host| host.to_string());
    assert_eq!(host(LOOPBACK).unwrap(), "127.0.0.1:8080");
    let error = host("").unwrap_err();
    assert!(error.to_string().contains("machines can't reach 0.0.0.0:8080") && error.hint().contains("public_url"));
    let error = host("[boot]\npublic_url = \"https://x/y\"").unwrap_err();
    assert!(error.to_string().contains("no boot host"), "{error}");
}

#[test]
fn the_secret_key_is_where_it_is_said_to_be_and_a_secret_in_its_place_is_never_shown() {
    let source = |text: &str| Config::parse(text, &none).map(|config| config.secrets.source().map(ToString::to_string));
    assert_eq!(source("").unwrap(), None);
    assert_eq!(source("[secrets]\nkey = \"credential:mf\"").unwrap().as_deref(), Some("credential:mf"));
    let config = Config::parse("[ibm_cloud]\napi_key = \"sealed\"", &none).unwrap();
    assert!(config.ibm_cloud.api_key.is_some() && !format!("{config:?}").contains("sealed"));
    let secret = "0123456789abcdef0123456789abcdef";
    for text in [
        format!("[secrets]\nkey = {secret:?}"),
        format!("[ibm_cloud]\napi_key = {secret:?}"),
        "[ibm_cloud]\napi_key = \"sealed\"\napi_key_file = \"/k\"".to_owned(),
        "[ibm_cloud]\napi_key = \"sealed\"\ntrusted_profile = \"default\"".to_owned(),
    ] {
        let error = Config::parse(&text, &none).unwrap_err();
        let told = format!("{error} {error:?} {}", error.hint());
        assert!(matches!(error, ConfigError::Refused { .. }) && !told.contains(secret), "{told}");
    }
    let env = |name: &str| (name == "METALFORM_SECRETS_KEY").then(|| secret.to_owned());
    assert!(!format!("{:?}", Config::parse("", &env).unwrap_err()).contains(secret));
}

/// What serde says of an unknown key names all there are.
#[test]
fn no_key_of_the_file_is_missing_among_those_of_the_environment() {
    for (section, keys) in KEYS.iter().filter(|(section, _)| !section.is_empty()) {
        let error = Config::parse(&format!("[{section}]\nno_such_key = 1\n"), &none).unwrap_err().to_string();
        let (_, expected) = error.split_once("expected ").expect("the keys there are");
        let expected: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        assert_eq!(expected, *keys, "[{section}]");
    }
    let sections = Config::parse("no_such_key = 1\n", &none).unwrap_err().to_string();
    assert_eq!(sections.split_once("expected ").unwrap().1.matches('`').count(), 2 * KEYS.len(), "{sections}");
}

#[test]
fn ports_are_numbers_in_the_environment_too() {
    let names = ["PRISM", "FOUNDATION", "SSH", "GENESIS"].map(|name| format!("METALFORM_NUTANIX_{name}_PORT"));
    let number = |name: &str| names.iter().position(|known| known == name).map(|n| (1001 + n).to_string());
    let NutanixConfig { prism_port, foundation_port, ssh_port, genesis_port, .. } =
        Config::parse(LOOPBACK, &number).unwrap().nutanix;
    assert_eq!([prism_port, foundation_port, ssh_port, genesis_port], [1001, 1002, 1003, 1004]);
}

#[test]
fn every_key_of_the_configuration_can_stand_in_the_environment() {
    let names: Vec<String> = KEYS
        .iter()
        .flat_map(|(section, keys)| {
            keys.iter().map(move |key| match section.is_empty() {
                true => format!("{key} = 1"),
                false => format!("[{section}]\n{key} = []"),
            })
        })
        .collect();
    for text in names {
        // Known keys fail, if at all, for their value's kind and never as unknown.
        if let Err(error @ ConfigError::Wrong { .. }) = Config::parse(&format!("{text}\n"), &none) {
            assert!(!error.to_string().contains("unknown field"), "{text}: {error}");
        }
    }
}

#[test]
fn what_nobody_configures_is_the_careful_choice() {
    let text = "[boot]\npublic_url = \"http://10.240.0.5:8080\"\n[ibm_cloud]\napi_key_file = \"/key\"\n";
    let config = Config::parse(text, &none).unwrap();
    assert!(config.control.listen.ip().is_loopback());
    assert_eq!(config.control.tls, ControlTls::SelfMade);
    assert_eq!(config.boot.source_check, SourceCheck::Strict);
    assert!(config.control.trusted_proxies.is_empty());
    assert!(config.boot.trusted_proxies.is_empty() && !config.nutanix.accept_eula);
    let allowed = config.boot.allow.unwrap_or_else(metalform_boot::default_allow);
    let everybody: std::net::IpAddr = "8.8.8.8".parse().unwrap();
    assert!(!allowed.iter().any(|network| network.contains(&everybody)));
}

#[test]
fn sessions_last_as_long_as_is_said_and_within_reason() {
    let times = |text: &str| Config::parse(&format!("{LOOPBACK}\n[control]\n{text}\n"), &none);
    let minutes = |n: u64| Duration::from_secs(60 * n);
    assert_eq!(times("").unwrap().control.session_times(), (minutes(30), minutes(720)));
    let short = times("session_idle = \"5m\"\nsession_max = \"1h\"").unwrap();
    assert_eq!(short.control.session_times(), (minutes(5), minutes(60)));
    for (text, key) in [
        ("session_idle = \"10s\"", "control.session_idle"),
        ("session_idle = \"800h\"", "control.session_idle"),
        ("session_max = \"29m\"", "control.session_max"),
        ("session_max = \"721h\"", "control.session_max"),
    ] {
        assert!(matches!(times(text), Err(ConfigError::Refused { key: found, .. }) if found == key), "{text}");
    }
}

#[test]
fn browsers_reach_the_control_plane_where_the_configuration_says() {
    let origin = |text: &str| {
        let config = Config::parse(&format!("{LOOPBACK}\n[control]\n{text}\n"), &none).unwrap();
        config.control.origin().map(|url| url.origin().ascii_serialization())
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(origin(""), some("https://127.0.0.1:8443"));
    assert_eq!(origin("tls = \"off\""), some("http://127.0.0.1:8443"));
    assert_eq!(origin("names = [\"m.example.com\", \"n\"]\nlisten = \"0.0.0.0:443\""), some("https://m.example.com"));
    assert_eq!(
        origin("public_url = \"https://m.example.com\"\nlisten = \"0.0.0.0:8443\""),
        some("https://m.example.com")
    );
    for unknown in ["listen = \"0.0.0.0:8443\"", "listen = \"127.0.0.1:0\""] {
        assert_eq!(origin(unknown), None, "{unknown}");
    }
    for wrong in ["http://m.example.com", "https://m.example.com/x", "ftp://m", "m.example.com"] {
        let text = format!("{LOOPBACK}\n[control]\npublic_url = \"{wrong}\"\n");
        assert!(Config::parse(&text, &none).is_err(), "{wrong}");
    }
}

#[test]
fn an_openid_provider_is_configured_in_the_file_or_in_one_variable() {
    let provider = "issuer = \"https://id\", client_id = \"m\", roles = { admin = [\"a\"], operator = [\"b\", \"c\"] }";
    let env = |name: &str| (name == "METALFORM_CONTROL_OIDC").then(|| format!("{{ {provider} }}"));
    let oidc = Config::parse(LOOPBACK, &env).unwrap().control.oidc.unwrap();
    assert_eq!((oidc.issuer.as_str(), oidc.roles.len()), ("https://id", 2));
    let parse = |control: &str| Config::parse(&format!("{LOOPBACK}\n[control]\n{control}\n"), &none);
    assert!(parse(&format!("oidc = {{ {provider} }}")).is_ok());
    let hidden = parse(&format!("listen = \"0.0.0.0:8443\"\noidc = {{ {provider} }}"));
    assert!(matches!(hidden, Err(ConfigError::Refused { key: "control.public_url", .. })), "{hidden:?}");
    let error = parse("oidc = { issuer = \"https://id\", client_id = \"m\", roles = { root = [\"a\"] } }").unwrap_err();
    assert!(error.to_string().contains("unknown variant `root`"), "{error}");
}
