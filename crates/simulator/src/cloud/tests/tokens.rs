use super::*;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

const FORM: &str = "application/x-www-form-urlencoded";

fn ask_iam(cloud: &mut Cloud, now: Timestamp, form: &str) -> (u16, Value) {
    let request = request("POST", "/identity/token", &[("content-type", FORM)], form.as_bytes());
    answer(cloud.handle(now, Face::Iam, &request))
}

pub(super) fn log_in(cloud: &mut Cloud, now: Timestamp) -> String {
    let form = "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=any&response_type=cloud_iam";
    let (status, json) = ask_iam(cloud, now, form);
    assert_eq!(status, 200, "{json}");
    json["access_token"].as_str().unwrap().into()
}

#[test]
fn a_token_is_a_jwt_with_the_time_it_was_made_at() {
    let mut rig = Rig::new();
    let token = log_in(&mut rig.cloud, START);
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    assert_eq!((payload["iat"].as_i64(), payload["exp"].as_i64()), (Some(1_790_000_000), Some(1_790_003_600)));
}

#[test]
fn an_empty_api_key_and_another_grant_are_refused() {
    let mut rig = Rig::new();
    let (status, json) = ask_iam(&mut rig.cloud, START, "grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey=");
    assert_eq!((status, json["errorCode"].as_str()), (400, Some("BXNIM0415E")));
    assert_eq!(ask_iam(&mut rig.cloud, START, "grant_type=password&apikey=x").0, 400);
}

#[test]
fn a_token_is_taken_until_it_expires() {
    let mut rig = Rig::new();
    rig.now = START + Duration::from_secs(3599);
    assert_eq!(rig.get("/vpcs").0, 200);
    rig.now = START + Duration::from_secs(3600);
    rig.refused(401, "not_authenticated", "GET", "/vpcs", None);
}

#[test]
fn a_missing_a_strange_and_a_forged_token_are_refused() {
    let mut rig = Rig::new();
    let (head, rest) = rig.token.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let later = URL_SAFE_NO_PAD.encode(json!({"iat": 0, "exp": 9_999_999_999_i64}).to_string());
    let forged = format!("{head}.{later}.{signature}");
    let foreign = log_in(&mut Cloud::new(CloudSettings { seed: 2, ..CloudSettings::default() }, START), START);
    for token in ["", "abc", &forged, &foreign] {
        rig.token = token.into();
        rig.refused(401, "not_authenticated", "GET", "/vpcs", None);
    }
}

#[test]
fn version_and_generation_are_mandatory() {
    let mut rig = Rig::new();
    let bearer = format!("Bearer {}", rig.token);
    for (query, expected) in [
        ("", 400),
        ("?generation=2", 400),
        ("?version=2026-10-06", 400),
        ("?version=yesterday&generation=2", 400),
        ("?version=2026-10-06&generation=1", 400),
        ("?version=2024-01-01&generation=2", 200),
    ] {
        let request = request("GET", &format!("/v1/vpcs{query}"), &[("authorization", &bearer)], b"");
        assert_eq!(answer(rig.cloud.handle(START, Face::Vpc, &request)).0, expected, "{query}");
    }
}

#[test]
fn the_request_id_comes_back_in_header_and_trace() {
    let mut rig = Rig::new();
    let request = request("GET", "/v1/vpcs", &[("x-request-id", "abc-1")], b"");
    let Reply::Answer(response) = rig.cloud.handle(START, Face::Vpc, &request) else { panic!() };
    assert!(response.headers.contains(&("x-request-id".into(), "abc-1".into())));
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["trace"], "abc-1");
}

#[test]
fn the_metadata_service_gives_a_token_on_the_paths_of_each_version() {
    let mut rig = Rig::new();
    for (version, first, second) in [
        ("2022-03-01", "/instance_identity/v1/token", "/instance_identity/v1/iam_token"),
        ("2025-08-26", "/identity/v1/token", "/identity/v1/iam_tokens"),
    ] {
        let mut ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
            let request = request(method, &format!("{path}?version={version}"), headers, body);
            answer(rig.cloud.handle(START, Face::Metadata, &request))
        };
        assert_eq!(ask("PUT", first, &[], b"").0, 400, "Metadata-Flavor is mandatory");
        assert_eq!(ask("PUT", first, &[("metadata-flavor", "ibm")], br#"{"expires_in": 4}"#).0, 400);
        let (status, json) = ask("PUT", first, &[("metadata-flavor", "ibm")], br#"{"expires_in": 300}"#);
        assert_eq!((status, json["expires_in"].as_u64()), (200, Some(300)));
        assert_eq!(ask("POST", second, &[], b"").0, 401);
        let bearer = format!("Bearer {}", json["access_token"].as_str().unwrap());
        let (status, json) = ask("POST", second, &[("authorization", &bearer)], b"");
        assert_eq!(status, 200, "{json}");
        let other = if version > "2025" { "/instance_identity/v1/token" } else { "/identity/v1/token" };
        assert_eq!(ask("PUT", other, &[("metadata-flavor", "ibm")], b"").0, 404);
        rig.token = json["access_token"].as_str().unwrap().into();
        assert_eq!(rig.get("/vpcs").0, 200, "the token works for the VPC API");
    }
}
