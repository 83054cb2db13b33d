//! API tokens: who is let in with one, to what, and what the audit says of it.

use super::rig::{Answered, Rig, sources};
use axum::http::{StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A new token of that role.
async fn token(rig: &Rig, name: &str, role: &str) -> Value {
    made(rig, json!({"name": name, "role": role})).await
}

async fn made(rig: &Rig, wanted: Value) -> Value {
    let (status, answer) = rig.call("POST", "/api/v1/tokens", &wanted.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer
}

fn text(token: &Value) -> &str {
    token["token"].as_str().expect("the text of the token")
}

async fn last_line(rig: &Rig) -> String {
    let lines = rig.store.audit(0, 1_000_000).await.unwrap();
    lines.last().map(|l| format!("{} {} {} {}", l.who, l.action, l.target, l.outcome)).unwrap_or_default()
}

/// What `docs/access.md` says: by method and path, the roles; none for a route that needs no token.
fn documented() -> BTreeMap<(String, String), Vec<String>> {
    let page = include_str!("../../../../docs/access.md");
    let rows = page.lines().filter(|line| {
        line.starts_with("| `GET /") || line.starts_with("| `POST /") || line.starts_with("| `DELETE /")
    });
    let mut all = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (method, path) = cells[0].trim_matches('`').split_once(' ').expect("a method and a path");
        let roles = ["viewer", "auditor", "operator", "admin"].iter().zip(&cells[2..]);
        let roles = roles.filter(|(_, cell)| **cell == "yes").map(|(role, _)| (*role).to_owned()).collect();
        assert_eq!(cells.len(), 6, "{row}");
        assert!(cells[1..].iter().all(|cell| ["yes", ""].contains(cell)), "{row}");
        let public = cells[1] == "yes";
        let roles: Vec<String> = if public { Vec::new() } else { roles };
        assert!(all.insert((method.to_owned(), path.to_owned()), roles).is_none(), "{row} stands twice");
    }
    all
}

/// Every operation of the OpenAPI document: method, path, and the statuses that it says may come.
async fn operations(rig: &Rig) -> Vec<(String, String, Vec<u16>)> {
    let document: Value = serde_json::from_str(&rig.text("/openapi.json").await).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            let statuses = operation["responses"].as_object().unwrap().keys().map(|status| status.parse().unwrap());
            all.push((verb.to_uppercase(), path.clone(), statuses.collect()));
        }
    }
    all
}

#[tokio::test]
async fn the_page_on_access_speaks_of_every_route_that_the_document_describes() {
    let rig = Rig::new(60).await;
    let described: Vec<(String, String)> =
        operations(&rig).await.into_iter().map(|(method, path, _)| (method, path)).collect();
    let documented: Vec<(String, String)> = documented().into_keys().collect();
    let mut sorted = described.clone();
    sorted.sort();
    assert_eq!(sorted, documented);
}

/// The expected answer is the page's; that it is given is the service's. Each call comes from an address of its own, so
/// that no lock-out hides what is to be seen.
#[tokio::test]
async fn every_route_answers_every_role_and_everybody_without_one_as_the_page_says() {
    let rig = Rig::new(61).await;
    rig.deploy(&rig.plan("c", 1)).await;
    let mut credentials = vec![("no credential", None, None)];
    for role in ["viewer", "auditor", "operator", "admin"] {
        credentials.push((role, Some(format!("Bearer {}", text(&token(&rig, role, role).await))), Some(role)));
    }
    credentials.push(("the token of the data folder", Some(format!("Bearer {}", rig.token())), Some("admin")));
    let expired = made(&rig, json!({"name": "expired", "role": "admin", "expires": "1m"})).await;
    let revoked = token(&rig, "revoked", "admin").await;
    let path = format!("/api/v1/tokens/{}", revoked["id"].as_str().unwrap());
    assert_eq!(rig.call("DELETE", &path, "").await.0, StatusCode::OK);
    rig.pass_time(Duration::from_secs(60));
    let altered = text(&expired).replace("mf_", "mf_0").split_at(20).0.to_owned();
    let unknown = "mf_0001020304050607_000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f".to_owned();
    let wrong =
        format!("{}_{}", text(&revoked).rsplit_once('_').unwrap().0, text(&expired).rsplit_once('_').unwrap().1);
    for (name, shown) in [
        ("an expired token", text(&expired).to_owned()),
        ("a revoked token", text(&revoked).to_owned()),
        ("half a token", altered),
        ("a token without its checksum", unknown),
        ("another token's secret", wrong),
        ("nothing", String::new()),
    ] {
        credentials.push((name, Some(format!("Bearer {shown}")), None));
    }
    credentials.push(("a basic login", Some("Basic YWRtaW46YWRtaW4=".to_owned()), None));

    let page = documented();
    let mut froms = sources();
    let mut calls = 0;
    for (method, template, statuses) in operations(&rig).await {
        let roles = &page[&(method.clone(), template.clone())];
        let is_public = roles.is_empty();
        let path = template.replace("{name}", "c").replace("{server_id}", "c-1").replace("{id}", "0000000000000000");
        let path = path.replace("{who}", "nobody");
        assert!(!path.contains('{'), "{template} has a parameter that this test doesn't know");
        for (name, shown, role) in &credentials {
            let from = froms.next().unwrap();
            let Answered { status, body, headers, .. } = rig.call_as(&method, &path, "", shown.as_deref(), &from).await;
            let place = format!("{method} {path} by {name}: {status} {body}");
            calls += 1;
            let code = body["error"]["code"].as_str().unwrap_or_default();
            match role {
                _ if is_public => assert_eq!(status, without_credential(&method, &template), "{place}"),
                None => {
                    assert_eq!(status, 401, "{place}");
                    assert_eq!(headers[header::WWW_AUTHENTICATE], "Bearer");
                    assert_eq!(code, if shown.is_some() { "token_wrong" } else { "token_missing" }, "{place}");
                }
                Some(role) if !roles.iter().any(|allowed| allowed == role) => {
                    assert_eq!((status.as_u16(), code), (403, "role_insufficient"), "{place}");
                    assert_eq!(body["error"]["details"]["roles"], json!(roles), "{place}");
                }
                Some(_) => assert!(![401, 403, 429].contains(&status.as_u16()), "{place}"),
            }
            assert!(statuses.contains(&status.as_u16()), "the document doesn't say so: {place}");
        }
    }
    assert!(calls > 20 * credentials.len() - 1, "{calls}");
}

/// What a call without anything in it is answered by those routes where a credential is got; by every other, that it is well.
fn without_credential(method: &str, path: &str) -> u16 {
    match (method, path) {
        ("POST", "/api/v1/session") => 400,
        // None is configured.
        ("GET", "/login/oidc" | "/login/oidc/callback") => 404,
        _ => 200,
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_is_nowhere_afterwards() {
    let rig = Rig::new(62).await;
    let made = token(&rig, "ci", "admin").await;
    let secret = text(&made).rsplit_once('_').unwrap().1;
    assert_eq!(text(&made).len(), 92);
    let shown = Some(format!("Bearer {}", text(&made)));
    let listed = rig.call_as("GET", "/api/v1/tokens", "", shown.as_deref(), "10.0.0.1").await;
    assert_eq!(listed.status, 200);
    let one = &listed.body["tokens"][0];
    assert_eq!((&one["name"], &one["role"], &one["created_by"]), (&json!("ci"), &json!("admin"), &json!("bootstrap")));
    assert_eq!((&one["id"], &one["clusters"], &one["token"]), (&made["id"], &Value::Null, &Value::Null));
    let said =
        format!("{}{}{}", listed.body, rig.text("/api/v1/audit").await, String::from_utf8_lossy(&rig.database()));
    assert!(said.contains("token:ci") && !said.contains(secret));
}

#[tokio::test]
async fn the_audit_says_which_token_was_made_and_revoked_and_what_it_might() {
    let rig = Rig::new(76).await;
    let made = made(&rig, json!({"name": "ci", "role": "operator", "clusters": ["b", "a"], "expires": "never"})).await;
    let id = made["id"].as_str().unwrap();
    rig.call("DELETE", &format!("/api/v1/tokens/{id}"), "").await;
    let lines = rig.store.audit(0, 100).await.unwrap();
    let told: Vec<String> = lines.iter().map(|l| format!("{} {} {} {}", l.who, l.action, l.target, l.source)).collect();
    let what = format!("token:ci ({id}): operator of a b, until never 127.0.0.1");
    assert_eq!(
        told,
        [
            format!("bootstrap token.create {what}"),
            "bootstrap api.post /api/v1/tokens 127.0.0.1".to_owned(),
            format!("bootstrap token.revoke {what}"),
            format!("bootstrap api.delete /api/v1/tokens/{id} 127.0.0.1"),
        ]
    );
}

/// A trigger of the database stands for a disk that takes no more.
#[tokio::test]
async fn a_token_that_cannot_be_recorded_is_not_made() {
    let rig = Rig::new(77).await;
    let url = format!("sqlite://{}", rig.database_file().display());
    let mut other = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no more'); END";
    sqlx::query(trigger).execute(&mut other).await.unwrap();
    let (status, answer) = rig.call("POST", "/api/v1/tokens", r#"{"name":"ci","role":"admin"}"#).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (503, &json!("store_unavailable")), "{answer}");
    assert!(rig.store.api_tokens().await.unwrap().iter().all(|token| token.revoked_at.is_some()));
    sqlx::query("DROP TRIGGER full").execute(&mut other).await.unwrap();
    token(&rig, "ci", "admin").await;
}

#[tokio::test]
async fn the_audit_tells_apart_what_the_caller_is_told_as_one() {
    let rig = Rig::new(63).await;
    let expired = made(&rig, json!({"name": "old", "role": "viewer", "expires": "1m"})).await;
    let revoked = token(&rig, "lost", "viewer").await;
    let unknown = {
        let gone = Rig::new(64).await;
        token(&gone, "elsewhere", "admin").await
    };
    let id = revoked["id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let (status, answer) = rig.call("DELETE", &format!("/api/v1/tokens/{id}"), "").await;
        assert_eq!((status, &answer["id"], answer["revoked_at"].is_string()), (StatusCode::OK, &json!(id), true));
    }
    rig.pass_time(Duration::from_secs(60));
    let mut answers = Vec::new();
    for (token, who, reason) in [
        (&expired, format!("token:old ({})", expired["id"].as_str().unwrap()), "token_expired"),
        (&revoked, format!("token:lost ({id})"), "token_revoked"),
        (&unknown, "anonymous".to_owned(), "token_unknown"),
    ] {
        let shown = format!("Bearer {}", text(token));
        let answer = rig.call_as("GET", "/api/v1/nodes", "", Some(&shown), "10.0.0.1").await;
        assert_eq!(last_line(&rig).await, format!("{who} api.get /api/v1/nodes refused:{reason}"));
        answers.push((answer.status, answer.body.to_string()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_token_ends_after_ninety_days_unless_it_was_told_otherwise() {
    let rig = Rig::new(65).await;
    let usual = token(&rig, "usual", "viewer").await;
    let endless = made(&rig, json!({"name": "endless", "role": "viewer", "expires": "never"})).await;
    assert_eq!(endless["expires_at"], "never");
    let status = async |token: &Value| {
        let shown = format!("Bearer {}", text(token));
        rig.call_as("GET", "/api/v1/clusters", "", Some(&shown), "10.0.0.1").await.status.as_u16()
    };
    rig.pass_time(90 * DAY - Duration::from_secs(1));
    assert_eq!((status(&usual).await, status(&endless).await), (200, 200));
    rig.pass_time(Duration::from_secs(1));
    assert_eq!((status(&usual).await, status(&endless).await), (401, 200));
}

#[tokio::test]
async fn the_last_use_of_a_token_is_noted_and_not_with_every_call() {
    let rig = Rig::new(66).await;
    let made = token(&rig, "ci", "viewer").await;
    let id = made["id"].as_str().unwrap();
    let shown = format!("Bearer {}", text(&made));
    let used = async || {
        rig.call_as("GET", "/api/v1/clusters", "", Some(&shown), "10.0.0.1").await;
        rig.store.api_token(id).await.unwrap().unwrap().0.last_used_at
    };
    let first = used().await;
    assert!(first.is_some());
    rig.pass_time(Duration::from_secs(299));
    assert_eq!(used().await, first);
    rig.pass_time(Duration::from_secs(1));
    assert!(used().await > first);
}

#[tokio::test]
async fn a_token_limited_to_a_cluster_knows_of_no_other() {
    let rig = Rig::new(67).await;
    let mut other = rig.plan("b", 1);
    for (place, address) in [("mgmt_ip", "10.240.0.21"), ("ahv_ip", "10.240.0.61"), ("cvm_ip", "10.240.0.121")] {
        other["nodes"][0][place] = json!(address);
    }
    other["cluster"]["external_ip"] = json!("10.240.0.201");
    rig.deploy(&rig.plan("a", 1)).await;
    rig.deploy(&other).await;
    let limited = made(&rig, json!({"name": "of-a", "role": "admin", "clusters": ["a"]})).await;
    let shown = format!("Bearer {}", text(&limited));
    let call = async |method: &str, path: &str, body: &str| {
        rig.call_as(method, &format!("/api/v1/{path}"), body, Some(&shown), "10.0.0.1").await
    };
    let names = |answer: &Answered, list: &str, key: &str| -> Vec<String> {
        let all = answer.body[list].as_array().unwrap();
        all.iter().map(|each| each[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&call("GET", "clusters", "").await, "clusters", "name"), ["a"]);
    assert_eq!(names(&call("GET", "nodes", "").await, "nodes", "server_id"), ["a-1"]);

    let before = (rig.state("a").await, rig.state("b").await);
    // Every route that names a cluster or a node; what lets go of the cluster comes last.
    let mut routes = operations(&rig).await;
    routes.retain(|(_, path, _)| path.contains("/clusters/{name}") || path.contains("{server_id}"));
    routes.sort_by_key(|(method, ..)| method == "DELETE");
    assert!(routes.len() >= 9, "{routes:?}");
    for (method, template, _) in &routes {
        let template = template.trim_start_matches("/api/v1/");
        let of = |name: &str| template.replace("{name}", name).replace("{server_id}", &format!("{name}-1"));
        let [own, foreign, none] = ["a", "b", "z"].map(of);
        let there = call(method, &foreign, "").await;
        let line = last_line(&rig).await;
        assert!(line.starts_with("token:of-a (") && line.ends_with("refused:out_of_scope"), "{line}");
        let nowhere = call(method, &none, "").await;
        // The same words, but for the name that was asked for.
        let said = |answer: &Answered, name: &str| answer.body.to_string().replace(name, "NAME");
        let (b, z) = if foreign.starts_with("nodes") { ("b-1", "z-1") } else { ("named b", "named z") };
        assert_eq!((there.status.as_u16(), said(&there, b)), (404, said(&nowhere, z)), "{method} {foreign}");
        let own = call(method, &own, "").await;
        assert!(![401, 403, 404].contains(&own.status.as_u16()), "{method} {}", own.body);
    }
    assert_eq!(rig.state("b").await, before.1);
    assert_ne!(rig.state("a").await, before.0, "its own it may destroy");

    let refused = call("POST", "clusters", &rig.plan("c", 1).to_string()).await;
    assert_eq!((refused.status.as_u16(), &refused.body["error"]["code"]), (403, &json!("scope_insufficient")));
    let refused = call("GET", "audit", "").await;
    assert_eq!((refused.status.as_u16(), &refused.body["error"]["code"]), (403, &json!("scope_insufficient")));
}

#[tokio::test]
async fn a_limited_admin_makes_and_sees_tokens_of_its_clusters_alone() {
    let rig = Rig::new(68).await;
    let wide = token(&rig, "wide", "viewer").await;
    let limited = made(&rig, json!({"name": "of-a", "role": "admin", "clusters": ["a", "b"]})).await;
    let shown = format!("Bearer {}", text(&limited));
    let call = async |method: &str, path: &str, body: Value| {
        rig.call_as(method, path, &body.to_string(), Some(&shown), "10.0.0.1").await
    };
    for clusters in [json!(null), json!(["c"]), json!(["a", "c"])] {
        let wanted = json!({"name": "more", "role": "viewer", "clusters": clusters});
        let refused = call("POST", "/api/v1/tokens", wanted).await;
        assert_eq!((refused.status.as_u16(), &refused.body["error"]["code"]), (403, &json!("scope_insufficient")));
    }
    rig.pass_time(Duration::from_secs(1));
    let made = call("POST", "/api/v1/tokens", json!({"name": "less", "role": "operator", "clusters": ["b"]})).await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.body);
    assert!(made.body["created_by"].as_str().unwrap().starts_with("token:of-a ("));
    let listed = call("GET", "/api/v1/tokens", json!(null)).await;
    let listed: Vec<&Value> = listed.body["tokens"].as_array().unwrap().iter().map(|token| &token["name"]).collect();
    assert_eq!(listed, ["of-a", "less"]);
    let path = format!("/api/v1/tokens/{}", wide["id"].as_str().unwrap());
    assert_eq!(call("DELETE", &path, json!(null)).await.status.as_u16(), 404);
    let path = format!("/api/v1/tokens/{}", made.body["id"].as_str().unwrap());
    assert_eq!(call("DELETE", &path, json!(null)).await.status.as_u16(), 200);
}

#[tokio::test]
async fn what_can_be_no_token_is_refused_with_what_to_write() {
    let rig = Rig::new(69).await;
    for (body, told) in [
        ("", "isn't understood"),
        ("{}", "missing field `name`"),
        (r#"{"name":"a","role":"root"}"#, "unknown variant `root`"),
        (r#"{"name":"a","role":"viewer","scope":[]}"#, "unknown field `scope`"),
        (r#"{"name":"A B","role":"viewer"}"#, "can't be a token's name"),
        (r#"{"name":"a","role":"viewer","clusters":[]}"#, "limited to 0 clusters"),
        (r#"{"name":"a","role":"viewer","clusters":["a b"]}"#, "can't be a cluster's name"),
        (r#"{"name":"a","role":"viewer","expires":"soon"}"#, "no lifetime"),
        (r#"{"name":"a","role":"viewer","expires":"0d"}"#, "no lifetime"),
    ] {
        let (status, answer) = rig.call("POST", "/api/v1/tokens", body).await;
        let error = &answer["error"];
        assert_eq!((status.as_u16(), &error["code"]), (400, &json!("bad_request")), "{body}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(told), "{body}: {answer}");
        assert!(!error["hint"].as_str().unwrap().is_empty());
    }
    token(&rig, "a", "viewer").await;
    let (status, answer) = rig.call("POST", "/api/v1/tokens", r#"{"name":"a","role":"viewer"}"#).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (409, &json!("token_name_taken")));
    assert_eq!(rig.store.api_tokens().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_source_of_failures_waits_longer_each_time_and_a_valid_token_never() {
    let rig = Rig::new(70).await;
    let from = "10.0.0.9";
    let fail = async |from: &str| rig.call_as("GET", "/api/v1/clusters", "", Some("Bearer no"), from).await;
    for wait in ["30", "60", "120"] {
        for _ in 0..10 {
            assert_eq!(fail(from).await.status.as_u16(), 401);
        }
        let refused = fail(from).await;
        assert_eq!((refused.status.as_u16(), &refused.body["error"]["code"]), (429, &json!("locked_out")));
        assert_eq!(refused.headers[header::RETRY_AFTER], wait);
        let lines = rig.store.audit(0, 1_000_000).await.unwrap().len();
        for _ in 0..50 {
            assert_eq!(fail(from).await.status.as_u16(), 429);
        }
        assert_eq!(
            rig.store.audit(0, 1_000_000).await.unwrap().len(),
            lines,
            "a locked-out source can't fill the disk"
        );
        let valid = format!("Bearer {}", rig.token());
        assert_eq!(rig.call_as("GET", "/api/v1/clusters", "", Some(&valid), from).await.status.as_u16(), 200);
        assert_eq!(fail("10.0.0.10").await.status.as_u16(), 401, "a neighbour isn't locked out");
        rig.pass_time(Duration::from_secs(wait.parse().unwrap()));
    }
    fail(from).await;
    let lines = rig.store.audit(0, 1_000_000).await.unwrap();
    let counted = lines.iter().filter(|line| line.action == "api.locked_out");
    let counted: Vec<(&str, &str)> = counted.map(|line| (line.target.as_str(), line.source.as_str())).collect();
    assert_eq!(counted, [("50 more calls", from); 3]);
}

#[tokio::test]
async fn a_token_in_a_hurry_is_slowed_down_and_no_other() {
    let rig = Rig::new(71).await;
    let (fast, calm) = (token(&rig, "fast", "viewer").await, token(&rig, "calm", "viewer").await);
    let call = async |token: &Value| {
        let shown = format!("Bearer {}", text(token));
        rig.call_as("GET", "/api/v1/nodes", "", Some(&shown), "10.0.0.1").await
    };
    for _ in 0..1000 {
        assert_eq!(call(&fast).await.status.as_u16(), 200);
    }
    let refused = call(&fast).await;
    assert_eq!((refused.status.as_u16(), &refused.body["error"]["code"]), (429, &json!("too_fast")));
    assert_eq!(refused.headers[header::RETRY_AFTER], "1");
    assert!(last_line(&rig).await.ends_with("refused:too_fast"));
    assert_eq!(call(&calm).await.status.as_u16(), 200);
    rig.pass_time(Duration::from_secs(1));
    assert_eq!(call(&fast).await.status.as_u16(), 200);
}

/// Whoever listens to a timeline when the token is revoked doesn't go on listening.
#[tokio::test]
async fn a_stream_ends_when_the_token_that_opened_it_is_revoked() {
    let rig = Rig::new(72).await;
    rig.deploy(&rig.plan("c", 1)).await;
    let made = token(&rig, "ui", "viewer").await;
    let mut stream = rig.stream("/api/v1/clusters/c/events", text(&made)).await;
    let first = stream.frame().await.expect("it begins").unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("deployment_started"), "{first:?}");
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(rig.call("DELETE", &path, "").await.0, StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(60), stream.collect()).await.expect("the stream ends").unwrap();
}

#[tokio::test]
async fn a_stream_of_the_audit_ends_when_the_token_that_opened_it_is_revoked() {
    let rig = Rig::new(78).await;
    let made = token(&rig, "siem", "auditor").await;
    let mut stream = rig.stream("/api/v1/audit", text(&made)).await;
    stream.frame().await.expect("it begins").unwrap();
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(rig.call("DELETE", &path, "").await.0, StatusCode::OK);
    let rest = tokio::time::timeout(Duration::from_secs(60), stream.collect()).await.expect("the stream ends").unwrap();
    let rest = String::from_utf8_lossy(&rest.to_bytes()).into_owned();
    // What happens once it is revoked isn't told.
    rig.call("GET", "/api/v1/nodes", "").await;
    assert!(!rest.contains("/api/v1/nodes"), "{rest}");
}

#[tokio::test]
async fn every_answer_tells_a_browser_to_load_nothing_keep_nothing_and_frame_nothing() {
    let rig = Rig::new(73).await;
    let bearer = format!("Bearer {}", rig.token());
    for (method, path, shown) in [
        ("GET", "/", None),
        ("GET", "/app.js", None),
        ("POST", "/api/v1/session", None),
        ("GET", "/healthz", None),
        ("GET", "/openapi.json", None),
        ("GET", "/api/v1/clusters", None),
        ("GET", "/api/v1/clusters", Some(bearer.as_str())),
        ("GET", "/api/v1/nothing", Some(bearer.as_str())),
        ("PUT", "/api/v1/clusters", Some(bearer.as_str())),
        ("GET", "/api/v1/nodes/%ff", Some(bearer.as_str())),
        ("POST", "/healthz", None),
    ] {
        let answer = rig.call_as(method, path, "", shown, "10.0.0.1").await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.headers[name], value, "{method} {path}");
        }
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        for allowed in ["style-src 'sha256-", "script-src 'self'", "form-action 'self'"] {
            assert_eq!(policy.contains(allowed), path == "/", "{method} {path}: {policy}");
        }
    }
}

/// A page that brings a script, a style attribute or a foreign file would be broken by its own policy.
#[tokio::test]
async fn the_page_has_nothing_in_it_that_its_policy_forbids() {
    let rig = Rig::new(74).await;
    let page = rig.text("/").await;
    for forbidden in [" style=", "<link", " on", "<iframe", "@import", "url(", "http://", "https://", "javascript:"] {
        let found = page.split(forbidden).nth(1).filter(|after| forbidden != " on" || after.starts_with("click"));
        assert!(found.is_none(), "{forbidden}");
    }
    assert_eq!((page.matches("<style>").count(), page.matches("<script").count()), (1, 1));
    assert!(page.contains("<script src=\"/app.js\"></script>"), "{page}");
    let script = rig.call_with("GET", "/app.js", "", &[], "10.0.0.1").await;
    assert_eq!(
        (script.status.as_u16(), &script.headers["content-type"]),
        (200, &"text/javascript; charset=utf-8".parse().unwrap())
    );
    for forbidden in ["eval(", "innerHTML", "document.write", "localStorage", "://"] {
        assert!(!script.text.contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_to_whoever_is_let_in_and_to_nobody_else() {
    let rig = Rig::new(75).await;
    let viewer = format!("Bearer {}", text(&token(&rig, "v", "viewer").await));
    for (method, path, status, code) in [
        ("GET", "/api/v1/nothing", 404, "unknown_path"),
        ("GET", "/nothing", 404, "unknown_path"),
        ("PUT", "/api/v1/clusters", 405, "wrong_method"),
        ("DELETE", "/api/v1/tokens", 405, "wrong_method"),
        ("POST", "/healthz", 405, "wrong_method"),
        ("GET", "/api/v1/nodes/%ff", 400, "bad_request"),
    ] {
        let told = rig.call_as(method, path, "", Some(&viewer), "10.0.0.1").await;
        assert_eq!((told.status.as_u16(), &told.body["error"]["code"]), (status, &json!(code)), "{method} {path}");
        let told = rig.call_as(method, path, "", None, "10.0.0.1").await;
        assert_eq!(
            (told.status.as_u16(), &told.body["error"]["code"]),
            (401, &json!("token_missing")),
            "{method} {path}"
        );
    }
}
