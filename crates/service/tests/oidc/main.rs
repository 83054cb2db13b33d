//! Logging in by a real OpenID provider, the npm package `oidc-provider`, through its own pages: the service with its sockets, the
//! provider as a process of its own, and between them somebody's browser.

mod browser;
mod site;

use browser::{Browser, Page};
use serde_json::{Value, json};
use site::{CLIENT, OTHER_CLIENT, Site};
use std::time::Duration;
use url::Url;

fn with_parameter(url: &Url, name: &str, value: &str) -> Url {
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    assert!(pairs.iter().any(|(key, _)| key == name), "{url} has no {name}");
    let mut changed = url.clone();
    changed.query_pairs_mut().clear().extend_pairs(
        pairs.into_iter().map(|(key, old)| if key == name { (key, value.to_owned()) } else { (key, old) }),
    );
    changed
}

fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).unwrap_or_else(|| panic!("{url} has no {name}")).1.into_owned()
}

impl Site {
    /// The address at the provider that the service sends that browser to.
    async fn begin(&self, browser: &mut Browser) -> Url {
        let page = browser.get(&self.url("/login/oidc")).await;
        assert_eq!(page.status, 303, "{}", page.text);
        page.location.expect("an address")
    }

    /// Through the provider's pages, to the address at the service that it sends the browser back to.
    async fn through_provider(&self, browser: &mut Browser, at: &Url, name: &str) -> Url {
        let back = self.url("/login/oidc/callback");
        let mut page = browser.get(at).await;
        for _ in 0..20 {
            page = match &page.location {
                Some(to) if to.as_str().starts_with(back.as_str()) => return to.clone(),
                Some(to) => browser.get(&to.clone()).await,
                None => browser.submit(&page, &[("login", name), ("password", "any")]).await,
            };
        }
        panic!("no end of the provider's pages: {}", page.text);
    }

    /// A whole login, and the service's last word.
    async fn log_in(&self, browser: &mut Browser, name: &str) -> Page {
        let at = self.begin(browser).await;
        let back = self.through_provider(browser, &at, name).await;
        browser.get_from_elsewhere(&back).await
    }

    async fn last_line(&self) -> String {
        let lines = self.api("/api/v1/audit?last=20&action=session.*").await["lines"].clone();
        let line = lines.as_array().unwrap().last().unwrap().clone();
        let word = |name: &str| line[name].as_str().unwrap().to_owned();
        format!("{} {} {}", word("who"), word("action"), word("outcome"))
    }
}

fn refusal(page: &Page) -> (u16, String) {
    assert!(page.text.starts_with("<!doctype html>"), "a page for people: {}", page.text);
    let code = page.text.rsplit_once("<p>(").and_then(|(_, rest)| rest.split_once(")</p>")).expect("a code").0;
    (page.status, code.to_owned())
}

#[tokio::test]
async fn people_log_in_through_the_providers_pages_and_have_the_role_of_their_group() {
    let site = Site::start().await;
    for (name, role) in [("root-rita", "admin"), ("ops-olga", "operator"), ("audit-adam", "auditor")] {
        let mut browser = site.browser();
        let page = site.log_in(&mut browser, name).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert!(page.text.contains("content=\"0; url=/\""), "{}", page.text);
        let session = browser.get(&site.url("/api/v1/session")).await.json();
        assert_eq!(
            (&session["name"], &session["role"], &session["by"]),
            (&json!(name), &json!(role), &json!("session"))
        );
        let first = browser.get(&site.url("/")).await;
        assert!(first.text.contains(&format!("You are <b>{name}</b>, {role} of all clusters.")), "{}", first.text);
        assert_eq!(site.last_line().await, format!("oidc:{name} (subject-of-{name}) session.login ok"));

        let path = site.url("/api/v1/tokens");
        assert_eq!(browser.get(&path).await.status, if role == "admin" { 200 } else { 403 });
        let csrf = session["csrf_token"].as_str().unwrap();
        assert_eq!(browser.delete(&site.url("/api/v1/session"), csrf).await.status, 200);
        assert_eq!(browser.get(&site.url("/api/v1/session")).await.status, 401);
    }
    let page = site.browser().get(&site.url("/")).await;
    assert!(page.text.contains("href=\"/login/oidc\""), "{}", page.text);
    site.stop().await;
}

#[tokio::test]
async fn whoever_has_no_group_with_a_role_is_refused_by_name() {
    let site = Site::start().await;
    let mut browser = site.browser();
    let page = site.log_in(&mut browser, "guest-gina").await;
    assert_eq!(refusal(&page), (403, "no_role".into()));
    assert_eq!(site.last_line().await, "oidc:guest-gina (subject-of-guest-gina) session.login refused:no_role");
    assert_eq!(browser.get(&site.url("/api/v1/session")).await.status, 401);
    site.stop().await;
}

#[tokio::test]
async fn a_login_ends_only_as_it_began() {
    let site = Site::start().await;
    let refused = async |page: &Page, status: u16, code: &str| {
        assert_eq!(refusal(page), (status, code.to_owned()));
        assert_eq!(site.last_line().await, format!("anonymous session.login refused:{code}"));
    };
    // Another state, and another browser: the login itself is still good, and once.
    let mut browser = site.browser();
    let at = site.begin(&mut browser).await;
    let back = site.through_provider(&mut browser, &at, "ops-olga").await;
    let other = with_parameter(&back, "state", &"0".repeat(64));
    refused(&browser.clone().get(&other).await, 400, "oidc_state").await;
    refused(&site.browser().get(&back).await, 400, "oidc_state").await;
    let kept = browser.clone();
    assert_eq!(browser.get(&back).await.status, 200);
    refused(&kept.clone().get(&back).await, 400, "oidc_state").await;

    // Its code in a login of somebody else's: the provider has seen it, and it belongs to another verifier.
    let mut thief = site.browser();
    let begun = site.begin(&mut thief).await;
    let stolen = with_parameter(&back, "state", &parameter(&begun, "state"));
    refused(&thief.get(&stolen).await, 403, "oidc_code").await;

    // What began with another nonce, verifier or client, as if somebody had put a login of theirs in its place.
    for (name, value, code) in [
        ("nonce", "0".repeat(64), "oidc_token"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into(), "oidc_code"),
        ("client_id", OTHER_CLIENT.into(), "oidc_code"),
    ] {
        let mut browser = site.browser();
        let at = with_parameter(&site.begin(&mut browser).await, name, &value);
        let back = site.through_provider(&mut browser, &at, "root-rita").await;
        refused(&browser.get(&back).await, 403, code).await;
        assert_eq!(browser.get(&site.url("/api/v1/session")).await.status, 401);
    }
    site.stop().await;
}

#[tokio::test]
async fn what_the_provider_refuses_is_told_and_another_provider_is_not_believed() {
    let site = Site::start().await;
    for (parameters, status, code) in [
        (&[("error", "access_denied")][..], 403, "oidc_refused"),
        (&[("code", "x"), ("iss", "https://evil.example")], 403, "oidc_issuer"),
        (&[], 403, "oidc_refused"),
    ] {
        let mut browser = site.browser();
        let at = site.begin(&mut browser).await;
        let mut back = site.url("/login/oidc/callback");
        back.query_pairs_mut().append_pair("state", &parameter(&at, "state")).extend_pairs(parameters);
        assert_eq!(refusal(&browser.get(&back).await), (status, code.to_owned()));
    }
    site.stop().await;
}

#[tokio::test]
async fn the_browser_is_sent_with_pkce_a_nonce_and_our_own_address_and_nothing_of_the_secret() {
    let site = Site::start().await;
    let mut browser = site.browser();
    let at = site.begin(&mut browser).await;
    assert_eq!(at.origin(), site.provider_url().origin());
    let other = site.begin(&mut site.browser()).await;
    for name in ["state", "nonce", "code_challenge"] {
        assert!(parameter(&at, name).len() >= 43 && parameter(&at, name) != parameter(&other, name), "{name}");
    }
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("scope", "openid profile groups"),
        ("code_challenge_method", "S256"),
        ("redirect_uri", site.url("/login/oidc/callback").as_str()),
    ] {
        assert_eq!(parameter(&at, name), value);
    }
    assert!(!at.as_str().contains(site::SECRET));
    site.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_away_keeps_nobody_from_starting_the_service_or_from_a_password() {
    let mut site = Site::without_provider().await;
    let away = site.browser().get(&site.url("/login/oidc")).await;
    assert_eq!(refusal(&away), (503, "oidc_unavailable".into()));
    assert_eq!(site.last_line().await, "anonymous session.login refused:oidc_unavailable");
    for _ in 0..5 {
        assert_eq!(site.browser().get(&site.url("/login/oidc")).await.status, 503);
    }
    let lines = site.api("/api/v1/audit?last=20&action=session.login").await["lines"].clone();
    assert_eq!(lines.as_array().map(Vec::len), Some(1), "said once: {lines}");
    let user = json!({"name": "ann", "role": "viewer", "password": "kupfer lampe 7"});
    assert_eq!(site.post("/api/v1/users", &user, true).await.0, 201);
    let login = json!({"name": "ann", "password": "kupfer lampe 7"});
    assert_eq!(site.post("/api/v1/session", &login, false).await.0, 201);

    site.start_provider().await;
    // It isn't asked again in the first seconds.
    let begun = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let page = site.browser().get(&site.url("/login/oidc")).await;
            if page.status == 303 {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    assert!(begun.await.expect("the provider is asked again").location.is_some());
    site.stop().await;
}

/// The provider asks nothing of whoever is logged in there: one link would be a login.
#[tokio::test]
async fn another_site_begins_no_login() {
    let site = Site::start().await;
    let mut browser = site.browser();
    let begin = site.url("/login/oidc");
    let page = browser.get_from_elsewhere(&begin).await;
    assert_eq!((refusal(&page), &page.location), ((403, "cross_site".into()), &None));
    assert!(page.cookies.is_empty(), "{:?}", page.cookies);
    assert_eq!(site.last_line().await, "anonymous session.login refused:cross_site");
    assert_eq!(browser.get(&begin).await.status, 303);
    site.stop().await;
}

#[tokio::test]
async fn a_login_takes_the_place_of_the_session_that_the_browser_had_when_it_began() {
    let site = Site::start().await;
    let mut browser = site.browser();
    assert_eq!(site.log_in(&mut browser, "ops-olga").await.status, 200);
    let mut former = browser.with_the_same_session(&site.url("/"));
    let of_another = {
        let mut another = site.browser();
        assert_eq!(site.log_in(&mut another, "ops-olga").await.status, 200);
        another
    };
    // One that is only begun ends nothing.
    site.begin(&mut browser).await;
    assert_eq!(former.get(&site.url("/api/v1/session")).await.status, 200);
    assert_eq!(site.log_in(&mut browser, "ops-olga").await.status, 200);
    assert_eq!(former.get(&site.url("/api/v1/session")).await.status, 401);
    assert_eq!(browser.get(&site.url("/api/v1/session")).await.status, 200);
    let of_another = of_another.clone().get(&site.url("/api/v1/session")).await.status;
    assert_eq!(of_another, 200, "the same person's in another browser goes on");
    site.stop().await;
}

#[tokio::test]
async fn every_cookie_is_for_this_host_alone_and_no_script_sees_it() {
    let site = Site::start().await;
    let mut browser = site.browser();
    let begun = browser.get(&site.url("/login/oidc")).await;
    let back = site.through_provider(&mut browser, &begun.location.clone().unwrap(), "ops-olga").await;
    let ended = browser.get_from_elsewhere(&back).await;
    let shape = |page: &Page| {
        let cut = |line: &String| {
            let (pair, attributes) = line.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            format!("{name}={}; {attributes}", value.len())
        };
        page.cookies.iter().map(cut).collect::<Vec<_>>()
    };
    assert_eq!(shape(&begun), ["__Host-metalform-login=64; Path=/; HttpOnly; SameSite=Lax; Secure"]);
    assert_eq!(
        shape(&ended),
        [
            "__Host-metalform=64; Path=/; HttpOnly; SameSite=Strict; Secure",
            "__Host-metalform-login=0; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0",
        ]
    );
    let csrf = browser.get(&site.url("/api/v1/session")).await.json()["csrf_token"].as_str().unwrap().to_owned();
    let out = browser.delete(&site.url("/api/v1/session"), &csrf).await;
    assert_eq!(shape(&out), ["__Host-metalform=0; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0"]);
    assert_eq!(site.api("/api/v1/sessions").await, json!({"sessions": []}));
    site.stop().await;
}

#[tokio::test]
async fn a_session_lives_through_a_restart_under_the_same_configuration_and_through_none_under_another() {
    let mut site = Site::start().await;
    let mut browser = site.browser();
    assert_eq!(site.log_in(&mut browser, "ops-olga").await.status, 200);
    let at = site.url("/api/v1/session");
    site.restart(|text| text.replace("scopes = [\"profile\", \"groups\"]", "scopes = [\"groups\"]")).await;
    assert_eq!(browser.get(&at).await.status, 200);
    // Her group has another role now.
    site.restart(|text| text.replace("operator = [\"ops\"]", "viewer = [\"ops\"]")).await;
    assert_eq!(browser.get(&at).await.status, 401);
    let ended = site.api("/api/v1/audit?last=20&action=session.end").await["lines"].clone();
    assert_eq!(ended.as_array().unwrap().len(), 1, "{ended}");
    let target = "oidc:ops-olga (subject-of-ops-olga): 1 session, of another [control.oidc] than the present one";
    assert_eq!((&ended[0]["who"], &ended[0]["target"]), (&json!("service"), &json!(target)));

    assert_eq!(site.log_in(&mut browser, "ops-olga").await.status, 200);
    assert_eq!(browser.get(&at).await.json()["role"], "viewer");
    site.restart(|text| text.split_once("[control.oidc]").unwrap().0.to_owned()).await;
    assert_eq!(browser.get(&at).await.status, 401);
    site.stop().await;
}

/// Whoever begins logins and ends none can't fill the memory.
#[tokio::test]
async fn logins_are_begun_at_a_limited_pace() {
    let site = Site::start().await;
    let mut statuses = Vec::new();
    for _ in 0..25 {
        statuses.push(site.browser().get(&site.url("/login/oidc")).await.status);
    }
    assert_eq!(&statuses[..20], &[303; 20]);
    assert!(statuses[20..].contains(&429), "{statuses:?}");
    assert_eq!(site.last_line().await, "anonymous session.login refused:too_fast");
    site.stop().await;
}

/// It is no provider at all, and says of itself what it likes.
#[tokio::test]
async fn a_provider_that_leads_elsewhere_is_not_followed() {
    let elsewhere = site::Listener::start().await;
    for (document, is_followed) in [
        (json!({}), true),
        (json!({"token_endpoint": format!("{}/token", elsewhere.url)}), false),
        (json!({"jwks_uri": "http://169.254.169.254/latest"}), false),
        (json!({"authorization_endpoint": "https://evil.example/login"}), false),
        (json!({"issuer": "https://evil.example"}), false),
        (json!({"token_endpoint": Value::Null}), false),
    ] {
        let provider = site::Listener::start().await;
        let mut whole = json!({"issuer": provider.url});
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
            whole[name] = format!("{}/{name}", provider.url).into();
        }
        for (name, value) in document.as_object().unwrap() {
            whole[name] = value.clone();
        }
        provider.answer(
            &format!("200 OK\r\ncontent-type: application/json\r\ncontent-length: {}", whole.to_string().len()),
            &whole.to_string(),
        );
        let site = Site::at(&provider.url).await;
        let page = site.browser().get(&site.url("/login/oidc")).await;
        assert_eq!(page.status, if is_followed { 303 } else { 503 }, "{document}: {}", page.text);
        site.stop().await;
    }
    // A redirect is an answer, and a body without an end has one.
    for (head, body) in [
        (
            format!("302 Found\r\nlocation: {}/.well-known/openid-configuration\r\ncontent-length: 0", elsewhere.url),
            String::new(),
        ),
        ("200 OK\r\ncontent-length: 300000".to_owned(), " ".repeat(300_000)),
    ] {
        let provider = site::Listener::start().await;
        provider.answer(&head, &body);
        let site = Site::at(&provider.url).await;
        let page = site.browser().get(&site.url("/login/oidc")).await;
        assert_eq!(refusal(&page), (503, "oidc_unavailable".into()), "{head}");
        site.stop().await;
    }
    assert_eq!(elsewhere.asked(), 0);
}
