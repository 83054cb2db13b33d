use crate::script::{API_KEY, Script, TOKEN_LIFE_SECS, empty_reply, error_reply, json_reply, lost, refused};
use metalform_ibm_cloud::{Credentials, ErrorKind, Iam, METADATA_URL, Method, Token, TrustedProfile};
use serde_json::{Value, json};
use std::sync::Arc;

fn by_key(script: &Arc<Script>) -> Arc<Iam> {
    Arc::new(script.iam(Credentials::ApiKey(API_KEY.into())))
}

fn by_profile(script: &Arc<Script>, profile: Option<TrustedProfile>) -> Iam {
    script.iam(Credentials::TrustedProfile { metadata_url: METADATA_URL.into(), profile })
}

fn same(a: &Arc<Token>, b: &Arc<Token>) -> bool {
    Arc::ptr_eq(a, b)
}

#[tokio::test]
async fn an_api_key_is_traded_for_a_token_as_a_form() {
    let script = Script::new([]);
    by_key(&script).token().await.unwrap();
    let request = script.iam_requests().pop().unwrap();
    assert_eq!((request.method, request.url.as_str()), (Method::Post, "http://iam.test/identity/token"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(
        String::from_utf8(request.body.unwrap()).unwrap(),
        "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=k3y%26with%3Dsigns&response_type=cloud_iam"
    );
}

#[tokio::test]
async fn the_iam_url_may_name_its_path() {
    let script = Script::new([]);
    let credentials = Credentials::ApiKey(API_KEY.into());
    let iam = Iam::new(credentials, "http://iam.test/identity/token/", script.clone(), script.clone()).unwrap();
    iam.token().await.unwrap();
    assert_eq!(script.iam_requests()[0].url, "http://iam.test/identity/token");
}

#[tokio::test]
async fn a_trusted_profile_goes_through_the_metadata_service_in_two_steps() {
    let named = |profile: Value| Some(json!({ "trusted_profile": profile }));
    for (profile, body) in [
        (None, None),
        (Some(TrustedProfile::Id("Profile-1".into())), named(json!({ "id": "Profile-1" }))),
        (Some(TrustedProfile::Crn("crn:v1:x".into())), named(json!({ "crn": "crn:v1:x" }))),
        (Some(TrustedProfile::Name("boot".into())), named(json!({ "name": "boot" }))),
    ] {
        let script = Script::new([]);
        script.iam_answers([json_reply(200, json!({ "access_token": "opaque", "expires_in": 300 }))]);
        by_profile(&script, profile).token().await.unwrap();
        let seen = script.iam_requests();
        let [identity, token] = seen.as_slice() else { panic!("{seen:?}") };

        assert_eq!(identity.method, Method::Put);
        assert_eq!(identity.url, "http://169.254.169.254/identity/v1/token?version=2025-08-26");
        assert_eq!(identity.header("metadata-flavor"), Some("ibm"));
        assert_eq!(identity.header("authorization"), None);
        let sent: Value = serde_json::from_slice(identity.body.as_ref().unwrap()).unwrap();
        assert_eq!(sent, json!({ "expires_in": 300 }));

        assert_eq!(token.method, Method::Post);
        assert_eq!(token.url, "http://169.254.169.254/identity/v1/iam_tokens?version=2025-08-26");
        assert_eq!(token.header("metadata-flavor"), Some("ibm"));
        assert_eq!(token.header("authorization"), Some("Bearer opaque"));
        assert_eq!(token.header("content-type"), body.as_ref().map(|_| "application/json"));
        assert_eq!(token.body.as_ref().map(|body| serde_json::from_slice::<Value>(body).unwrap()), body);
    }
}

#[tokio::test]
async fn a_token_is_kept_until_80_percent_of_its_life_and_then_replaced() {
    let script = Script::new([]);
    let iam = by_key(&script);
    let first = iam.token().await.unwrap();
    script.advance(TOKEN_LIFE_SECS as u64 * 8 / 10 - 1);
    assert!(same(&first, &iam.token().await.unwrap()));
    assert_eq!(script.iam_requests().len(), 1);
    script.advance(1);
    let second = iam.token().await.unwrap();
    assert!(!same(&first, &second));
    assert!(same(&second, &iam.token().await.unwrap()));
    assert_eq!(script.iam_requests().len(), 2);
}

#[tokio::test]
async fn a_failed_refresh_keeps_the_old_token_and_is_tried_again_after_a_minute() {
    let script = Script::new([]);
    let iam = by_key(&script);
    let first = iam.token().await.unwrap();
    script.advance(2880);
    script.iam_answers([lost(), empty_reply(503)]);
    assert!(same(&first, &iam.token().await.unwrap()));
    script.advance(59);
    assert!(same(&first, &iam.token().await.unwrap()));
    assert_eq!(script.iam_requests().len(), 2);
    script.advance(1);
    assert!(same(&first, &iam.token().await.unwrap()));
    assert_eq!(script.iam_requests().len(), 3);
    script.advance(60);
    assert!(!same(&first, &iam.token().await.unwrap()));
}

#[tokio::test]
async fn ten_seconds_before_its_end_a_token_is_dead_and_a_failed_refresh_is_an_error() {
    let script = Script::new([]);
    let iam = by_key(&script);
    iam.token().await.unwrap();
    script.advance(TOKEN_LIFE_SECS as u64 - 10);
    script.iam_answers([refused()]);
    assert_eq!(iam.token().await.unwrap_err().kind(), ErrorKind::NotSent);
    // No minute of waiting when there is nothing to go on with.
    iam.token().await.unwrap();
    assert_eq!(script.iam_requests().len(), 3);
}

/// Starts ten callers while IAM keeps silent, lets it answer, and gives back what they got.
async fn ten_callers(script: &Arc<Script>, iam: &Arc<Iam>) -> Vec<Result<Arc<Token>, ErrorKind>> {
    script.iam_gate.forget_permits(usize::MAX);
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let iam = iam.clone();
            tokio::spawn(async move { iam.token().await.map_err(|e| e.kind()) })
        })
        .collect();
    tokio::task::yield_now().await; // One thread: all callers have now come as far as they can.
    script.iam_gate.add_permits(100);
    let mut got = Vec::new();
    for caller in callers {
        got.push(caller.await.unwrap());
    }
    got
}

#[tokio::test]
async fn callers_without_a_token_share_one_request() {
    let script = Script::new([]);
    let got = ten_callers(&script, &by_key(&script)).await;
    let first = got[0].as_ref().unwrap();
    assert!(got.iter().all(|token| same(first, token.as_ref().unwrap())));
    assert_eq!(script.iam_requests().len(), 1);
}

#[tokio::test]
async fn callers_without_a_token_share_one_failure_and_the_next_one_asks_again() {
    let script = Script::new([]);
    script.iam_answers([empty_reply(503)]);
    let iam = by_key(&script);
    let got = ten_callers(&script, &iam).await;
    assert!(got.iter().all(|token| matches!(token, Err(ErrorKind::Unavailable))), "{got:?}");
    assert_eq!(script.iam_requests().len(), 1);
    iam.token().await.unwrap();
}

#[tokio::test]
async fn while_one_caller_refreshes_the_others_go_on_with_the_old_token() {
    let script = Script::new([]);
    let iam = by_key(&script);
    let old = iam.token().await.unwrap();
    script.advance(2880);
    let got = ten_callers(&script, &iam).await;
    assert_eq!(got.iter().filter(|token| !same(&old, token.as_ref().unwrap())).count(), 1);
    assert_eq!(script.iam_requests().len(), 2);
}

#[tokio::test]
async fn invalidating_an_old_token_leaves_the_newer_one() {
    let script = Script::new([]);
    let iam = by_key(&script);
    let old = iam.token().await.unwrap();
    iam.invalidate(&old);
    let new = iam.token().await.unwrap();
    assert!(!same(&old, &new));
    iam.invalidate(&old);
    assert!(same(&new, &iam.token().await.unwrap()));
}

#[tokio::test]
async fn a_wrong_api_key_is_unauthorized_though_iam_says_400() {
    let script = Script::new([]);
    let body = json!({ "errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found." });
    script.iam_answers([json_reply(400, body)]);
    let error = by_key(&script).token().await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unauthorized, false));
    assert_eq!(
        error.to_string(),
        "can't get an IAM token by API key: 400 BXNIM0415E: Provided API key could not be found. (POST /identity/token)"
    );
    assert_eq!(error.hint(), Some("check the API key or the trusted profile"));
}

#[tokio::test]
async fn a_metadata_service_that_is_off_is_told_as_such() {
    let script = Script::new([]);
    script.iam_answers([error_reply(403, "unauthorized", "The metadata service is not enabled.")]);
    let error = by_profile(&script, None).token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(error.hint(), Some("enable the metadata service of the machine this runs on, or use an API key"));
}

#[tokio::test]
async fn a_token_that_is_no_jwt_is_a_protocol_error_and_is_not_quoted() {
    for body in [json!({ "access_token": "0paque" }), json!({ "access_token": 7, "x": "0paque" }), json!("0paque")] {
        let script = Script::new([]);
        script.iam_answers([json_reply(200, body)]);
        let error = by_key(&script).token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(!format!("{error} {error:?}").contains("0paque"), "{error:?}");
    }
}

#[tokio::test]
async fn a_lost_token_reply_is_no_ambiguity() {
    let script = Script::new([]);
    script.iam_answers([lost()]);
    let error = by_key(&script).token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn the_api_key_is_in_no_debug_text() {
    let script = Script::new([]);
    let text = format!("{:?} {:?}", by_key(&script), script.client());
    assert!(!text.contains(API_KEY), "{text}");
}

#[test]
fn a_url_that_is_none_is_refused_at_once() {
    let script = Script::new([]);
    for url in ["iam.cloud.ibm.com", "ftp://iam.test", "http://iam.test?x=1"] {
        let credentials = Credentials::ApiKey(API_KEY.into());
        let error = Iam::new(credentials, url, script.clone(), script.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.message().contains(url), "{error}");
    }
}
