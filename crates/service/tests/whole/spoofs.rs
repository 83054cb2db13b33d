//! Machines that are not who they say, and what they get: no secret, no change of anything, and a line in the audit each.
//!
//! The attacker of these tests reads everything that machines send and receive, knows every boot token, and asks from any
//! address that a case gives it. What it can't do is read a machine's memory, where the key of its session is.

use super::rig::{Rig, lock};
use axum::http::StatusCode;
use metalform_model::kind;
use metalform_simulator::machine::Http;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const HOST: &str = "http://10.240.0.5:8080";
const HOST_OVER_TLS: &str = "https://10.240.0.5:8080";
const VICTIM: &str = "10.240.0.11";
const NEIGHBOUR: &str = "10.240.0.12";
const INSTALLED: &str = r#"{"seq":9999,"phase":"installed","status":"ok","message":"forged"}"#;
const FAILED: &str = r#"{"seq":9999,"phase":"failed","status":"failed","message":"forged"}"#;
const OWN_KEY: &str = r#"{"key":"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}"#;

/// One try.
#[derive(Debug, Clone)]
struct Try {
    method: &'static str,
    path: String,
    from: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Try {
    fn new(method: &'static str, path: impl Into<String>, from: &str) -> Try {
        Try { method, path: path.into(), from: from.into(), headers: vec![], body: String::new() }
    }

    fn with(self, body: &str) -> Try {
        Try { body: body.into(), ..self }
    }

    /// A request that was overheard, sent again as it was.
    fn again(http: &Http) -> Try {
        Try {
            method: http.method,
            path: http.url.strip_prefix(HOST).or(http.url.strip_prefix(HOST_OVER_TLS)).unwrap().to_owned(),
            from: http.from.to_string(),
            headers: http.headers.clone(),
            body: String::from_utf8(http.body.clone().unwrap_or_default()).unwrap(),
        }
    }

    fn action(&self) -> &'static str {
        let route = self.path.split('/').nth(2).unwrap();
        match route {
            "ipxe" => "boot.script",
            "attempt" => "boot.attempt",
            "session" => "boot.session",
            "server" => "boot.config",
            "arizona" => "boot.arizona",
            "step" => "boot.step",
            "report" => "boot.report",
            "progress" => "boot.progress",
            other => panic!("{other}"),
        }
    }
}

/// Everything that a machine asks for with its token, in the name of the node of that number.
fn everything(node: u32, token: &str, from: &str) -> Vec<Try> {
    let t = |path: String| if token.is_empty() { path } else { format!("{path}?t={token}") };
    let joined = if token.is_empty() { "?" } else { "&" };
    vec![
        Try::new("GET", t(format!("/boot/ipxe/c-{node}")), from),
        Try::new("GET", t(format!("/boot/attempt/c-{node}/open")), from),
        Try::new("GET", t(format!("/boot/step/c-{node}/boot")), from),
        Try::new("POST", t(format!("/boot/session/c-{node}")), from).with(OWN_KEY),
        Try::new("GET", t(format!("/boot/server/10.240.0.{}", 10 + node)), from),
        Try::new("GET", t(format!("/boot/arizona/10.240.0.{}", 10 + node)), from),
        Try::new("POST", t(format!("/boot/report/c-{node}")), from).with(INSTALLED),
        Try::new("POST", t(format!("/boot/report/c-{node}")), from).with(FAILED),
        Try::new("POST", t(format!("/boot/progress/c-{node}")) + joined + "step=Last+reboot+complete", from),
        Try::new("POST", t(format!("/boot/progress/c-{node}")) + joined + "step=fatal", from).with("forged"),
    ]
}

/// Tries it, and holds that nothing comes of it but the answer's code and one line in the audit.
async fn fails(rig: &mut Rig, tried: &Try, code: &str) {
    changes_nothing(rig, tried, code, "anonymous", &format!("refused:{code}")).await;
}

async fn changes_nothing(rig: &mut Rig, tried: &Try, code: &str, who: &str, outcome: &str) -> StatusCode {
    rig.settled().await;
    let secrets: Vec<String> = ["c-1", "c-2"].iter().map(|name| rig.boot_token(name)).collect();
    let (state, events) = (rig.state("c").await, rig.events("c").await);
    let attempt = state.nodes[0].record.attempt.as_ref().unwrap().id;
    let session = rig.store.boot_session(attempt).await.unwrap();
    let audited = rig.store.audit(0, 1_000_000).await.unwrap().last().map_or(0, |line| line.seq);

    let headers: Vec<(&str, &str)> = tried.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (status, text) = rig.boot_call_with(tried.method, &tried.path, &tried.from, &headers, &tried.body).await;

    let case = format!("{tried:?}: {status} {text}");
    if tried.action() == "boot.script" {
        assert!(text.starts_with("#!ipxe\n") && text.contains(&format!("[{code}]")), "{case}");
    } else if !code.is_empty() {
        assert!(status.is_client_error() && text.contains(&format!("\"code\":\"{code}\"")), "{case}");
    }
    for secret in secrets.iter().map(String::as_str).chain(["vmlinuz", "cluster_config", "hyp_type"]) {
        assert!(!text.contains(secret), "{case}");
    }
    assert_eq!(rig.evidence_waiting("c").await, 0, "{case}");
    rig.settled().await;
    assert_eq!(rig.state("c").await, state, "{case}");
    assert_eq!(rig.events("c").await, events, "{case}");
    assert_eq!(rig.store.boot_session(attempt).await.unwrap(), session, "{case}");
    let lines = rig.store.audit(audited, 1000).await.unwrap();
    let told: Vec<[&str; 4]> =
        lines.iter().map(|line| [&line.who, &line.action, &line.source, &line.outcome].map(String::as_str)).collect();
    assert_eq!(told, [[who, tried.action(), &tried.from, outcome]], "{case}");
    assert!(secrets.iter().all(|secret| !lines[0].target.contains(secret)), "{case}");
    status
}

/// Two of three machines have begun their sessions and have their configuration; the installation that follows takes a
/// quarter of an hour.
async fn imaging(seed: u64) -> Rig {
    let mut rig = Rig::new(seed).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.run_until_configured("c", 2).await;
    rig.settled().await;
    rig
}

/// The same, with machines that ask over TLS.
async fn imaging_over_tls(seed: u64) -> Rig {
    let mut rig = Rig::pinned(seed).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.run_until_configured("c", 2).await;
    rig.settled().await;
    rig
}

fn overheard(rig: &Rig, path: &str) -> Vec<Http> {
    lock(&rig.overheard).iter().filter(|http| http.url.contains(path)).cloned().collect()
}

#[tokio::test]
async fn a_machine_at_another_address_gets_nothing_with_the_right_token() {
    let mut rig = imaging(400).await;
    let token = rig.boot_token("c-1");
    for tried in everything(1, &token, NEIGHBOUR) {
        fails(&mut rig, &tried, "foreign_address").await;
    }
    for tried in everything(1, &token, "8.8.8.8") {
        fails(&mut rig, &tried, "network_not_allowed").await;
    }
}

#[tokio::test]
async fn a_machine_that_writes_another_address_into_its_headers_is_where_it_is() {
    let mut rig = imaging(401).await;
    let token = rig.boot_token("c-1");
    for tried in everything(1, &token, NEIGHBOUR) {
        let headers = ["X-Forwarded-For", "Forwarded", "X-Real-IP"].map(|name| (name, VICTIM.to_owned()));
        fails(&mut rig, &Try { headers: headers.into(), ..tried }, "foreign_address").await;
    }
}

/// Another node's machine, with its own address and its own token.
#[tokio::test]
async fn a_machine_with_another_server_id_gets_nothing_of_that_server() {
    let mut rig = imaging(402).await;
    let own = rig.boot_token("c-2");
    for tried in everything(1, &own, NEIGHBOUR) {
        fails(&mut rig, &tried, "foreign_address").await;
    }
    for (method, path) in [("GET", "/boot/ipxe/c-9"), ("POST", "/boot/session/c-9"), ("POST", "/boot/report/c-9")] {
        let tried = Try::new(method, format!("{path}?t={own}"), NEIGHBOUR).with(OWN_KEY);
        fails(&mut rig, &tried, "unknown_server").await;
    }
}

/// On a network that gives addresses by MAC, another's MAC is another's address. It is no token.
#[tokio::test]
async fn a_machine_with_another_mac_and_so_its_address_gets_nothing_without_its_token() {
    let mut rig = imaging(403).await;
    let of_another = rig.boot_token("c-2");
    for tried in everything(1, "", VICTIM) {
        fails(&mut rig, &tried, "token_missing").await;
    }
    for wrong in [of_another.as_str(), "wrong", &"0".repeat(64)] {
        for tried in everything(1, wrong, VICTIM) {
            fails(&mut rig, &tried, "token_wrong").await;
        }
    }
}

/// The worst case: the address, and the token as it stood on a console. Only a script and its beacons are left to ask for:
/// they hold nothing that the attacker doesn't have.
#[tokio::test]
async fn with_address_and_token_a_machine_is_late_once_the_node_has_its_session() {
    let mut rig = imaging(404).await;
    let token = rig.boot_token("c-1");
    for tried in everything(1, &token, VICTIM) {
        let code = match tried.action() {
            "boot.script" | "boot.step" => continue,
            "boot.session" => "session_taken",
            "boot.attempt" => "other_user_data",
            _ => "session_needed",
        };
        fails(&mut rig, &tried, code).await;
    }
    let (_, told) = rig.call("GET", "/api/v1/nodes/c-1/explain", "").await;
    assert_eq!(told["trust"], "session", "{told:#}");
    // To fetch the script, and so to begin a round, gives the token nothing back; and the timeline tells of it.
    let (_, script) = rig.boot_call("GET", &format!("/boot/ipxe/c-1?t={token}"), VICTIM, "").await;
    assert!(script.contains("vmlinuz"), "{script}");
    rig.settled().await;
    let fetched = rig.events("c").await.iter().filter(|event| event.kind == kind::SCRIPT_SERVED).count();
    assert_eq!(fetched, 4, "three machines and a stranger");
    for tried in everything(1, &token, VICTIM) {
        if !matches!(tried.action(), "boot.script" | "boot.step" | "boot.session" | "boot.attempt") {
            fails(&mut rig, &tried, "session_needed").await;
        }
    }
    let (_, told) = rig.call("GET", "/api/v1/nodes/c-1/explain", "").await;
    assert!(told.to_string().contains("[session_needed] when it asked for a report to be taken"), "{told:#}");
    // The node itself goes on as if nothing had been.
    rig.run_to("c", "ready", 3 * HOUR).await;
}

/// What is left to somebody with address and token: to be taken for the machine, started again. It can't be told from one,
/// so it can't be refused; but it leaves a key behind, and the node's own has nothing to say from then on.
#[tokio::test]
async fn a_session_that_is_taken_over_stands_in_the_timeline_and_ends_the_nodes_own() {
    let mut rig = imaging(412).await;
    let token = rig.boot_token("c-1");
    let before = rig.state("c").await.nodes[0].record.boot.session.clone().unwrap();
    rig.boot_call("GET", &format!("/boot/ipxe/c-1?t={token}"), VICTIM, "").await;
    rig.settled().await;
    let (status, text) = rig.boot_call("POST", &format!("/boot/session/c-1?t={token}"), VICTIM, OWN_KEY).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    rig.settled().await;
    let events = rig.events("c").await;
    let begun: Vec<_> = events
        .iter()
        .filter(|event| event.kind == kind::SESSION_BEGUN && event.server_id.as_deref() == Some("c-1"))
        .map(|event| (event.data["round"].as_u64().unwrap(), OWN_KEY.contains(event.data["key"].as_str().unwrap())))
        .collect();
    assert_eq!(begun, [(1, false), (2, true)]);
    let report = Try::again(overheard(&rig, "/boot/report/c-1").last().unwrap());
    fails(&mut rig, &report, "signature_wrong").await;
    // The old key is not bound again in this round.
    let again = format!("{{\"key\":\"{}\"}}", before.key);
    let back = Try::new("POST", format!("/boot/session/c-1?t={token}"), VICTIM).with(&again);
    fails(&mut rig, &back, "session_taken").await;
}

#[tokio::test]
async fn a_replayed_exchange_gives_the_answer_that_it_gave_and_nothing_with_it() {
    let mut rig = imaging(405).await;
    let exchanges = overheard(&rig, "/boot/session/c-1");
    assert_eq!(exchanges.len(), 1);
    // It has the node's key in it, for which the attacker has no signature.
    let again = Try::again(&exchanges[0]);
    let status = changes_nothing(&mut rig, &again, "", "node c-1", "ok").await;
    assert_eq!(status, StatusCode::OK);
    fails(&mut rig, &Try { from: NEIGHBOUR.into(), ..again.clone() }, "foreign_address").await;
    // After another start of the machine the old key is not bound again.
    rig.fault_of("machine_boots_twice", "c-1");
    while overheard(&rig, "/boot/session/c-1").len() < 2 {
        rig.run_for(Duration::from_secs(10)).await;
    }
    fails(&mut rig, &again, "session_taken").await;
}

#[tokio::test]
async fn a_replayed_request_is_stale_and_a_changed_one_has_no_signature() {
    let mut rig = imaging(406).await;
    let (configs, reports) = (overheard(&rig, "/boot/server/10.240.0.11"), overheard(&rig, "/boot/report/c-1"));
    assert!(!configs.is_empty() && reports.len() > 1);
    for http in configs.iter().chain(&reports) {
        assert!(!http.url.contains("t="), "the token is shown no more: {}", http.url);
        fails(&mut rig, &Try::again(http), "signature_stale").await;
    }
    let report = Try::again(reports.last().unwrap());
    for forged in [
        Try { body: INSTALLED.into(), ..report.clone() },
        Try { body: FAILED.into(), ..report.clone() },
        Try { path: "/boot/server/10.240.0.11".into(), method: "GET", body: String::new(), ..report.clone() },
        Try { headers: vec![("metalform-signature", "v1 99 00".into())], ..report.clone() },
    ] {
        fails(&mut rig, &forged, "signature_wrong").await;
    }
    // A number alone moves nothing on, so the node's next report is taken.
    let next = Try {
        headers: report.headers.iter().map(|(name, value)| (*name, value.replacen("v1 ", "v1 9", 1))).collect(),
        ..report
    };
    fails(&mut rig, &next, "signature_wrong").await;
    rig.run_to("c", "ready", 3 * HOUR).await;
}

/// Who listens on the network of machines with our agent hears scripts, images and beacons, and nothing that a document says.
#[tokio::test]
async fn a_machine_whose_script_pins_our_authority_says_nothing_in_the_clear_but_what_its_script_does() {
    let mut rig = imaging_over_tls(413).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    let asked = lock(&rig.overheard).clone();
    for http in &asked {
        let is_scripts = ["/boot/ipxe/", "/boot/step/"].iter().any(|path| http.url.contains(path));
        assert_eq!(http.url.starts_with("http://"), is_scripts, "{}", http.url);
    }
    for path in ["/boot/session/", "/boot/server/", "/boot/report/"] {
        assert!(asked.iter().any(|http| http.url.starts_with("https://") && http.url.contains(path)), "{path}");
    }
}

/// Everything that such a machine asks for, asked in the clear: with its address and its token, with its own signature as if
/// somebody had it, and by the machine itself if it were older.
#[tokio::test]
async fn in_the_clear_a_pinned_machine_gets_nothing_and_changes_nothing() {
    let mut rig = imaging_over_tls(414).await;
    let token = rig.boot_token("c-1");
    for tried in everything(1, &token, VICTIM) {
        let code = match tried.action() {
            "boot.script" | "boot.attempt" | "boot.step" => continue,
            // It was never over TLS, and never goes by this token.
            "boot.progress" => "session_needed",
            _ => "tls_required",
        };
        fails(&mut rig, &tried, code).await;
    }
    for http in overheard(&rig, "/boot/report/c-1").iter().chain(&overheard(&rig, "/boot/server/10.240.0.11")) {
        fails(&mut rig, &Try::again(http), "tls_required").await;
    }
    let exchange = Try::again(&overheard(&rig, "/boot/session/c-1")[0]);
    fails(&mut rig, &exchange, "tls_required").await;
    let (_, told) = rig.call("GET", "/api/v1/nodes/c-1/explain", "").await;
    assert!(told.to_string().contains("[tls_required] when it asked for a session"), "{told:#}");
    rig.run_to("c", "ready", 3 * HOUR).await;
}

/// Before a machine has its first script, nothing of it can be had in the clear with a token out of its user data.
#[tokio::test]
async fn nobody_is_quicker_in_the_clear_than_a_machine_that_is_to_be_pinned() {
    let mut rig = Rig::pinned(415).await;
    rig.fault_of("machine_never_boots", "c-1");
    rig.deploy(&rig.plan("c", 3)).await;
    rig.run_until_powered_on("c-1").await;
    rig.run_until_powered_on("c-2").await;
    let token = rig.boot_token("c-1");
    for tried in everything(1, &token, VICTIM) {
        match tried.action() {
            "boot.script" | "boot.attempt" | "boot.step" => {}
            "boot.progress" => fails(&mut rig, &tried, "session_needed").await,
            _ => fails(&mut rig, &tried, "tls_required").await,
        }
    }
}

#[tokio::test]
async fn a_machine_that_somebody_answers_in_our_name_stops_and_says_so() {
    let mut rig = Rig::pinned(416).await;
    rig.fault_of("somebody_in_the_middle", "c-1");
    rig.deploy(&rig.plan("c", 1)).await;
    while !rig
        .events("c")
        .await
        .iter()
        .any(|event| event.kind == kind::BOOT_STEP && event.data["step"] == "tls-untrusted")
    {
        rig.run_for(Duration::from_secs(10)).await;
    }
    let (_, told) = rig.call("GET", "/api/v1/nodes/c-1/explain", "").await;
    assert_eq!(told["diagnoses"][0]["code"], "tls_untrusted", "{told:#}");
    assert_eq!(rig.state("c").await.nodes[0].record.boot.session, None);
    let asked: Vec<Http> =
        ["/boot/session/", "/boot/server/", "/boot/report/"].iter().flat_map(|path| overheard(&rig, path)).collect();
    assert_eq!(asked, [], "nobody was told anything");
    // Restarted after the mischief is gone, it installs.
    rig.mend("somebody_in_the_middle");
    rig.run_to("c", "failed", 3 * HOUR).await;
    rig.call("POST", "/api/v1/clusters/c/retry", "").await;
    rig.run_to("c", "ready", 3 * HOUR).await;
}

/// Its attempt failed, and another was opened: token and session of the first are worth nothing.
#[tokio::test]
async fn an_old_token_and_an_old_session_get_nothing_in_a_new_attempt() {
    let mut rig = Rig::new(407).await;
    rig.fault("install_fails");
    rig.deploy(&rig.plan("c", 3)).await;
    rig.run_to("c", "failed", 3 * HOUR).await;
    let node = rig.state("c").await.nodes.iter().position(|n| n.record.phase.as_str() == "failed").unwrap() as u32 + 1;
    let (name, address) = (format!("c-{node}"), format!("10.240.0.{}", 10 + node));
    let old = rig.boot_token(&name);
    let signed = overheard(&rig, &format!("/boot/report/{name}"));
    // Before the retry no attempt is open.
    for tried in everything(node, &old, &address) {
        let code = match tried.action() {
            "boot.script" => "not_now",
            "boot.session" | "boot.step" => "not_installing",
            _ => "session_needed",
        };
        if !matches!(tried.action(), "boot.script" | "boot.attempt") {
            fails(&mut rig, &tried, code).await;
        }
    }
    let (status, _) = rig.call("POST", "/api/v1/clusters/c/retry", "").await;
    assert!(status.is_success());
    while rig.boot_token(&name) == old {
        rig.run_for(Duration::from_secs(10)).await;
    }
    rig.settled().await;
    for tried in everything(node, &old, &address) {
        fails(&mut rig, &tried, "token_wrong").await;
    }
    fails(&mut rig, &Try::again(signed.last().unwrap()), "session_unknown").await;
}

#[tokio::test]
async fn a_finished_attempt_gives_no_script_but_that_of_the_disk_and_takes_no_word() {
    for seed in [408, 409] {
        let by_token = seed == 409;
        let mut rig = if by_token { Rig::by_token(seed).await } else { Rig::new(seed).await };
        rig.deploy(&rig.plan("c", 3)).await;
        rig.run_to("c", "ready", 3 * HOUR).await;
        let token = rig.boot_token("c-1");
        for tried in everything(1, &token, VICTIM) {
            let code = match tried.action() {
                "boot.script" | "boot.attempt" => "installed",
                "boot.session" | "boot.step" => "not_installing",
                _ if by_token => "not_installing",
                _ => "session_needed",
            };
            // The installer of a node that is installed has its last words taken, and dropped.
            if by_token && tried.action() == "boot.progress" {
                continue;
            }
            fails(&mut rig, &tried, code).await;
        }
        let (_, script) = rig.boot_call("GET", &format!("/boot/ipxe/c-1?t={token}"), VICTIM, "").await;
        assert!(script.contains("sanboot"), "{script}");
        // An address alone is told as much: to boot from the disk.
        fails(&mut rig, &Try::new("GET", "/boot/ipxe/c-1", VICTIM), "installed").await;
    }
}

/// A node that shows its token with everything has no session to protect it, and is told as such.
#[tokio::test]
async fn the_trust_of_a_node_without_a_session_is_that_of_its_token() {
    let mut rig = Rig::by_token(410).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_until_configured("c", 1).await;
    let (_, told) = rig.call("GET", "/api/v1/nodes/c-1/explain", "").await;
    assert_eq!(told["trust"], "token", "{told:#}");
    assert_eq!(overheard(&rig, "/boot/session/"), []);
    rig.run_to("c", "ready", 3 * HOUR).await;
}

/// A released node's machine may be somebody else's by now.
#[tokio::test]
async fn a_released_nodes_token_is_unknown() {
    let mut rig = imaging(411).await;
    let token = rig.boot_token("c-1");
    let (status, _) = rig.call("DELETE", "/api/v1/clusters/c", "").await;
    assert!(status.is_success());
    rig.run_to("c", "released", 3 * HOUR).await;
    for tried in everything(1, &token, VICTIM) {
        let (_, text) = rig.boot_call(tried.method, &tried.path, &tried.from, &tried.body).await;
        assert!(text.contains("unknown_server") && !text.contains("vmlinuz"), "{tried:?}: {text}");
    }
}
