//! Who calls the control plane through a proxy, and who only says so.

use super::{
    audit::Folder,
    rig::{Answered, Rig},
    sessions::make_user,
};
use metalform_service::serve;
use serde_json::json;
use std::fs;
use tokio_util::sync::CancellationToken;

const PROXY: &str = "10.0.0.8";
const FORWARDED: &str = "x-forwarded-for";

async fn behind_a_proxy(seed: u64) -> Rig {
    Rig::configured(seed, "[control]\ntrusted_proxies = [\"10.0.0.8/32\", \"10.0.1.0/24\"]\n", |_| {}).await
}

async fn log_in(rig: &Rig, password: &str, forwarded: &str, peer: &str) -> Answered {
    let body = json!({"name": "ann", "password": password}).to_string();
    rig.call_with("POST", "/api/v1/session", &body, &[(FORWARDED, forwarded)], peer).await
}

/// The source of the newest line.
async fn source(rig: &Rig) -> String {
    rig.store.audit(0, 1_000_000).await.unwrap().pop().unwrap().source
}

#[tokio::test]
async fn behind_a_proxy_everybody_is_locked_out_for_themselves() {
    let rig = behind_a_proxy(160).await;
    make_user(&rig, "ann", "viewer").await;
    for _ in 0..10 {
        let answer = rig.call_with("GET", "/api/v1/nodes", "", &[(FORWARDED, "192.0.2.1")], PROXY).await;
        assert_eq!(answer.status.as_u16(), 401);
        assert_eq!(source(&rig).await, "192.0.2.1");
    }
    assert_eq!(log_in(&rig, "kupfer lampe 7", "192.0.2.1", PROXY).await.status.as_u16(), 429);
    assert_eq!(log_in(&rig, "kupfer lampe 7", "192.0.2.2", PROXY).await.status.as_u16(), 201);
    assert_eq!(source(&rig).await, "192.0.2.2");
    // Through two of them, with what the caller wrote before.
    assert_eq!(log_in(&rig, "kupfer lampe 7", "192.0.2.9, 192.0.2.1, 10.0.1.3", PROXY).await.status.as_u16(), 429);
    assert_eq!(log_in(&rig, "wrong", "192.0.2.1, 192.0.2.3", PROXY).await.status.as_u16(), 401);
    assert_eq!(source(&rig).await, "192.0.2.3");
}

#[tokio::test]
async fn whoever_is_no_proxy_counts_as_they_come_whatever_they_write() {
    for rig in [behind_a_proxy(161).await, Rig::new(162).await] {
        for n in 0..10 {
            let forwarded = format!("192.0.2.{n}");
            let answer = rig.call_with("GET", "/api/v1/nodes", "", &[(FORWARDED, &forwarded)], "10.0.0.9").await;
            assert_eq!(answer.status.as_u16(), 401);
            assert_eq!(source(&rig).await, "10.0.0.9");
        }
        for forwarded in ["192.0.2.77", "10.0.0.8", "127.0.0.1", ""] {
            let answer = rig.call_with("GET", "/api/v1/nodes", "", &[(FORWARDED, forwarded)], "10.0.0.9").await;
            assert_eq!(answer.status.as_u16(), 429, "{forwarded}");
        }
    }
}

/// With sockets: a proxy that is named makes TLS connections of its own, and one that isn't writes the header in vain.
#[tokio::test]
async fn within_tls_a_named_proxy_is_believed_and_nobody_else() {
    // That one is installed already could only be another test's doing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for (proxies, counts) in [("127.0.0.1/32", "192.0.2.1"), ("127.0.0.2/32", "127.0.0.1")] {
        let folder = Folder::new();
        let mut config = folder.config("");
        config.control.trusted_proxies = vec![proxies.parse().unwrap()];
        let stop = CancellationToken::new();
        let running = serve(config, stop.clone()).await.unwrap();
        assert!(running.control_url.starts_with("https://"), "{}", running.control_url);
        let authority = reqwest::Certificate::from_pem(&fs::read(running.ca_file.as_ref().unwrap()).unwrap()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
        let call = client.get(format!("{}/api/v1/nodes", running.control_url)).header(FORWARDED, "192.0.2.1");
        assert_eq!(call.send().await.unwrap().status().as_u16(), 401);
        stop.cancel();
        running.finished().await.unwrap();
        let lines = folder.audit().await;
        let of_call = lines.iter().find(|line| line.action == "api.get").unwrap();
        assert_eq!((of_call.source.as_str(), of_call.outcome.as_str()), (counts, "refused:token_missing"));
    }
}
