//! Accounts of CVMs and hypervisors.

use super::*;

#[test]
fn each_system_has_its_accounts_with_their_published_defaults() {
    let mut rack = Rack::with(1, |_| {});
    for (ip, user, password) in [
        (cvm_ip(1), "nutanix", "nutanix/4u"),
        (cvm_ip(1), "admin", "Nutanix/4u"),
        (ahv_ip(1), "root", "nutanix/4u"),
        (ahv_ip(1), "admin", "nutanix/4u"),
        (ahv_ip(1), "nutanix", "nutanix/4u"),
    ] {
        assert_eq!(rack.login(ip, user, password), Some(true), "{user}");
        assert_eq!(rack.login(ip, user, "wrong"), Some(false), "{user}");
    }
    assert_eq!(rack.login(cvm_ip(1), "root", "nutanix/4u"), Some(false));
    assert_eq!(rack.world.ssh_login(rack.now, cvm_ip(1), 2222, "nutanix", "nutanix/4u"), None);
    assert_eq!(rack.login(VIP, "nutanix", "nutanix/4u"), None);
}

#[test]
fn which_accounts_exist_can_be_chosen() {
    let mut rack = Rack::with(1, |settings| {
        let observed = &mut settings.observed;
        (observed.cvm_admin_exists, observed.ahv_admin_exists, observed.ahv_nutanix_exists) = (false, false, false);
    });
    assert_eq!(rack.run(1, "id -u admin >/dev/null 2>&1").status, 1);
    for user in ["admin", "nutanix"] {
        let ran = rack.try_run(ahv_ip(1), "root", &format!("id -u {user} >/dev/null 2>&1"), "", false).unwrap();
        assert_eq!(ran.status, 1, "{user}");
        assert_eq!(rack.login(ahv_ip(1), user, "nutanix/4u"), Some(false));
    }
    assert_eq!(rack.login(ahv_ip(1), "root", "nutanix/4u"), Some(true));
}

#[test]
fn passwords_are_changed_through_standard_input_and_on_one_system_only() {
    let mut rack = Rack::new();
    let changed = rack.try_run(cvm_ip(1), "nutanix", "sudo chpasswd", "nutanix:New.1-pass\n", false).unwrap();
    assert_eq!((changed.status, changed.out, changed.err), (0, String::new(), String::new()));
    assert_eq!(rack.login(cvm_ip(1), "nutanix", "nutanix/4u"), Some(false));
    assert_eq!(rack.login(cvm_ip(1), "nutanix", "New.1-pass"), Some(true));
    assert_eq!(rack.login(cvm_ip(2), "nutanix", "nutanix/4u"), Some(true));
    let changed = rack.try_run(ahv_ip(1), "root", "chpasswd", "root:New.2:pass\nadmin:New.3-pass\n", false).unwrap();
    assert_eq!(changed.status, 0);
    assert_eq!(rack.login(ahv_ip(1), "root", "New.2:pass"), Some(true), "a colon may be in it");
    assert_eq!(rack.login(ahv_ip(1), "admin", "New.3-pass"), Some(true));

    for (user, command, stdin) in [
        ("nutanix", "chpasswd", "nutanix:other\n"),
        ("nutanix", "sudo chpasswd", "nobody:other\n"),
        ("nutanix", "sudo chpasswd", "nutanix\n"),
        ("admin", "sudo chpasswd", "nutanix:other\n"),
    ] {
        let ran = rack.try_run(cvm_ip(1), user, command, stdin, false).unwrap();
        assert!(ran.status == 1 && !ran.err.is_empty(), "{command} {stdin}");
    }
    assert_eq!(rack.login(cvm_ip(1), "nutanix", "New.1-pass"), Some(true), "nothing of it had an effect");
}

#[test]
fn wrong_passwords_lock_one_account_of_one_system() {
    let mut rack = Rack::with(2, |settings| settings.observed.ssh_lockout_after = Some(3));
    for _ in 0..3 {
        assert_eq!(rack.login(cvm_ip(1), "nutanix", "wrong"), Some(false));
    }
    assert_eq!(rack.login(cvm_ip(1), "nutanix", "nutanix/4u"), Some(false), "locked");
    assert_eq!(rack.login(cvm_ip(1), "admin", "Nutanix/4u"), Some(true));
    assert_eq!(rack.login(cvm_ip(2), "nutanix", "nutanix/4u"), Some(true));

    let mut rack = Rack::with(1, |settings| settings.observed.ssh_lockout_after = None);
    for _ in 0..20 {
        rack.login(cvm_ip(1), "nutanix", "wrong");
    }
    assert_eq!(rack.login(cvm_ip(1), "nutanix", "nutanix/4u"), Some(true));
}

#[test]
fn every_place_that_takes_a_password_is_known_and_asking_counts_as_no_attempt() {
    let mut rack = Rack::with(1, |settings| settings.observed.ssh_lockout_after = Some(2));
    let places = |rack: &Rack, candidates: &[&str]| rack.world.accepted_passwords(candidates);
    for _ in 0..10 {
        assert_eq!(places(&rack, &["wrong"]), Vec::<String>::new());
    }
    let defaults =
        ["cvm 10.240.0.101 nutanix", "ahv 10.240.0.51 admin", "ahv 10.240.0.51 nutanix", "ahv 10.240.0.51 root"];
    assert_eq!(places(&rack, &["nutanix/4u"]), defaults);
    assert_eq!(places(&rack, &["Nutanix/4u"]), ["cvm 10.240.0.101 admin"]);
    assert_eq!(rack.login(cvm_ip(1), "nutanix", "nutanix/4u"), Some(true));
    rack.world.fleet_mut().stop("0717-1");
    assert_eq!(places(&rack, &["nutanix/4u"]), Vec::<String>::new(), "nobody is there");

    let rack = Rack::formed();
    let prism: Vec<String> =
        rack.world.accepted_passwords(&["nutanix/4u"]).into_iter().filter(|place| place.starts_with("prism")).collect();
    assert_eq!(prism, (1..=3).map(|n| format!("prism {} admin", cvm_ip(n))).collect::<Vec<_>>());
}

#[test]
fn the_request_log_has_logins_and_commands_and_no_password() {
    let mut rack = Rack::with(1, |_| {});
    rack.login(cvm_ip(1), "nutanix", "guessed-secret");
    rack.try_run(cvm_ip(1), "nutanix", "sudo chpasswd", "nutanix:new-secret\n", false);
    let log: Vec<Value> = rack.world.requests().map(|entry| serde_json::to_value(entry).unwrap()).collect();
    let of = |entry: &Value| {
        (entry["face"].clone(), entry["method"].clone(), entry["path"].clone(), entry["status"].clone())
    };
    assert_eq!(of(&log[0]), (json!("ssh"), json!("LOGIN"), json!("nutanix"), json!(401)));
    assert_eq!(of(&log[1]), (json!("ssh"), json!("EXEC"), json!("sudo chpasswd"), json!(0)));
    assert_eq!((&log[1]["target"], &log[1]["query"]["user"]), (&json!("10.240.0.101:22"), &json!("nutanix")));
    assert!(!serde_json::to_string(&log).unwrap().contains("secret"));
}
