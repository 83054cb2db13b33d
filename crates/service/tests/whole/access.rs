//! Who is let in. Every refusal changes nothing and leaves one line in the audit.

use super::rig::Rig;
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// What the audit gained, as `who action target outcome`.
async fn audited(rig: &Rig, after: i64) -> Vec<String> {
    let lines = rig.store.audit(after, 1000).await.unwrap();
    lines.into_iter().map(|l| format!("{} {} {} {}", l.who, l.action, l.target, l.outcome)).collect()
}

async fn last_audit(rig: &Rig) -> i64 {
    rig.store.audit(0, 1_000_000).await.unwrap().last().map_or(0, |line| line.seq)
}

#[tokio::test]
async fn without_the_operators_token_nothing_is_told_and_nothing_is_done() {
    let rig = Rig::new(20).await;
    let plan = rig.plan("c", 3).to_string();
    for (method, path, token, code) in [
        ("POST", "/api/v1/clusters", None, "token_missing"),
        ("POST", "/api/v1/clusters", Some("Bearer not-it"), "token_wrong"),
        ("POST", "/api/v1/clusters", Some("Basic YWRtaW46YWRtaW4="), "token_wrong"),
        ("GET", "/api/v1/clusters", None, "token_missing"),
        ("DELETE", "/api/v1/clusters/c", None, "token_missing"),
        ("POST", "/api/v1/clusters/c/retry", None, "token_missing"),
        ("GET", "/api/v1/audit", Some("Bearer "), "token_wrong"),
    ] {
        let before = last_audit(&rig).await;
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let (status, answer) = rig.raw_call(request.body(Body::from(plan.clone())).unwrap()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer["error"]["code"], code);
        let expected = format!("anonymous api.{} {path} refused:{code}", method.to_lowercase());
        assert_eq!(audited(&rig, before).await, [expected]);
    }
    assert_eq!(rig.store.living_clusters().await.unwrap(), []);
    assert_eq!(rig.alive(), []);
}

#[tokio::test]
async fn the_operators_calls_are_recorded_with_their_outcome() {
    let rig = Rig::new(21).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.call("GET", "/api/v1/clusters/nobody", "").await;
    rig.call("POST", "/api/v1/clusters", "{").await;
    assert_eq!(
        audited(&rig, 0).await,
        [
            "bootstrap cluster.deploy c ok",
            "bootstrap api.post /api/v1/clusters ok",
            "bootstrap api.get /api/v1/clusters/nobody refused:unknown_cluster",
            "bootstrap api.post /api/v1/clusters refused:bad_plan",
        ]
    );
}

/// A machine with the wrong token, or none, or from the wrong place, gets neither script nor configuration.
#[tokio::test]
async fn only_the_node_itself_with_the_token_of_its_open_attempt_gets_anything() {
    let mut rig = Rig::by_token(22).await;
    rig.deploy(&rig.plan("c", 3)).await;
    // Until both have their configuration; the installation that follows takes a quarter of an hour.
    rig.run_until_configured("c", 2).await;
    let (own, of_another) = (rig.boot_token("c-1"), rig.boot_token("c-2"));
    let (script, config, report) = ("/boot/ipxe/c-1", "/boot/server/10.240.0.11", "/boot/report/c-1");
    let body = r#"{"seq":99,"phase":"installed","status":"ok","message":"forged"}"#;
    let right = "10.240.0.11";
    let cases = [
        ("GET", script, "", right, "token_missing"),
        ("GET", script, "wrong", right, "token_wrong"),
        ("GET", script, of_another.as_str(), right, "token_wrong"),
        ("GET", script, own.as_str(), "10.240.0.12", "foreign_address"),
        ("GET", script, own.as_str(), "8.8.8.8", "network_not_allowed"),
        ("GET", "/boot/ipxe/c-9", own.as_str(), right, "unknown_server"),
        ("GET", config, "", right, "token_missing"),
        ("GET", config, "wrong", right, "token_wrong"),
        ("GET", config, of_another.as_str(), right, "token_wrong"),
        ("GET", config, own.as_str(), "10.240.0.12", "foreign_address"),
        ("POST", report, "", right, "token_missing"),
        ("POST", report, of_another.as_str(), right, "token_wrong"),
        ("POST", report, own.as_str(), "10.240.0.12", "foreign_address"),
    ];
    for (method, path, token, from, code) in cases {
        let (before, state) = (last_audit(&rig).await, rig.state("c").await);
        let query = if token.is_empty() { String::new() } else { format!("?t={token}") };
        let (status, text) = rig.boot_call(method, &format!("{path}{query}"), from, body).await;
        if path.starts_with("/boot/ipxe") {
            assert!(text.starts_with("#!ipxe\n") && text.contains(&format!("[{code}]")), "{path} {from}: {text}");
            assert!(!text.contains("vmlinuz"), "{text}");
        } else {
            assert!(
                status.is_client_error() && text.contains(&format!("\"{code}\"")),
                "{path} {from}: {status} {text}"
            );
        }
        rig.settled().await;
        let lines = audited(&rig, before).await;
        assert_eq!(lines.len(), 1, "{path} {from} {code}: {lines:?}");
        assert!(lines[0].ends_with(&format!("refused:{code}")), "{lines:?}");
        assert!(!lines[0].contains(&own), "no token in the audit");
        assert_eq!(rig.state("c").await.nodes, state.nodes);
    }

    // Once installed, the token is worth nothing: the script says to boot from the disk, the rest is refused.
    rig.run_to("c", "ready", 3 * HOUR).await;
    let (status, text) = rig.boot_call("GET", &format!("{script}?t={own}"), right, "").await;
    assert!(status.is_success() && text.contains("[installed]") && text.contains("sanboot"), "{text}");
    let (status, text) = rig.boot_call("GET", &format!("{config}?t={own}"), right, "").await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    let state = rig.state("c").await;
    let (status, text) = rig.boot_call("POST", &format!("{report}?t={own}"), right, body).await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    rig.settled().await;
    assert_eq!(rig.state("c").await, state);
}

/// A grep of everything a whole run leaves behind.
#[tokio::test]
async fn no_boot_token_and_no_operator_token_is_in_timeline_audit_or_any_answer() {
    let mut rig = Rig::new(23).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    let mut secrets = vec![rig.token().to_owned()];
    secrets.extend(["c-1", "c-2", "c-3"].map(|name| rig.boot_token(name)));
    let mut said = rig.story("c").await;
    for path in ["clusters", "clusters/c", "clusters/c/events", "nodes", "nodes/c-1", "nodes/c-1/script", "audit"] {
        said.push_str(&rig.text(&format!("/api/v1/{path}")).await);
    }
    said.push_str(&String::from_utf8_lossy(&rig.database()));
    assert!(said.contains("c-1"));
    for secret in secrets {
        assert!(secret.len() >= 32 && !said.contains(&secret));
    }
}

#[tokio::test]
async fn with_the_store_away_scripts_and_images_are_served_from_memory_and_everything_else_fails_loudly() {
    let mut rig = Rig::by_token(24).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_until_configured("c", 1).await;
    let token = rig.boot_token("c-1");
    rig.store.clone().close().await;

    let (status, text) = rig.boot_call("GET", &format!("/boot/ipxe/c-1?t={token}"), "10.240.0.11", "").await;
    assert!(status.is_success() && text.contains("vmlinuz-foundation"), "{status} {text}");
    let (status, _) = rig.boot_call("GET", "/pxe/images/vmlinuz-foundation", "10.240.0.11", "").await;
    assert_eq!(status, StatusCode::OK);
    let (status, text) = rig.boot_call("GET", &format!("/boot/server/10.240.0.11?t={token}"), "10.240.0.11", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    assert!(text.contains("\"store_away\""), "{text}");
    let report = r#"{"seq":99,"phase":"installing","status":"running"}"#;
    let path = format!("/boot/report/c-1?t={token}");
    let (status, text) = rig.boot_call("POST", &path, "10.240.0.11", report).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    for (method, path) in [("POST", "/api/v1/clusters"), ("DELETE", "/api/v1/clusters/c"), ("GET", "/api/v1/clusters")]
    {
        let (status, answer) = rig.call(method, path, &rig.plan("d", 1).to_string()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{method} {path}: {answer}");
        assert_eq!(answer["error"]["code"], "store_unavailable");
    }
}

/// The loop may be busy with something slow: what is recorded counts from the moment it is.
#[tokio::test]
async fn a_machine_that_has_just_reported_itself_installed_is_not_told_to_install_again() {
    let mut rig = Rig::by_token(25).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_until_configured("c", 1).await;
    let token = rig.boot_token("c-1");
    let script = format!("/boot/ipxe/c-1?t={token}");
    let (_, text) = rig.boot_call("GET", &script, "10.240.0.11", "").await;
    assert!(text.contains("vmlinuz-foundation"), "{text}");
    let report = r#"{"seq":99,"phase":"installed","status":"ok"}"#;
    let (status, text) = rig.boot_call("POST", &format!("/boot/report/c-1?t={token}"), "10.240.0.11", report).await;
    assert!(status.is_success(), "{text}");
    // No pass of the loop has run in between.
    let (_, text) = rig.boot_call("GET", &script, "10.240.0.11", "").await;
    assert!(text.contains("[installed]") && text.contains("sanboot") && !text.contains("vmlinuz"), "{text}");
    let (status, _) = rig.boot_call("GET", &format!("/boot/server/10.240.0.11?t={token}"), "10.240.0.11", "").await;
    assert_eq!(status, StatusCode::CONFLICT);
}
