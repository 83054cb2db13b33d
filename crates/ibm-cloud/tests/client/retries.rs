use crate::script::{Script, empty_reply, error_reply, json_reply, lost, methods, refused, with_header};
use metalform_ibm_cloud::{ErrorKind, Method, ReservedIpPrototype, StopType};
use serde_json::{Value, json};
use std::{net::Ipv4Addr, time::Duration};

fn key() -> Value {
    json!({ "id": "k1", "name": "operator" })
}

fn ip(name: &str) -> Value {
    json!({ "id": format!("id-{name}"), "name": name, "address": "10.240.0.11" })
}

fn page(names: &[&str], next: Option<&str>) -> Value {
    let mut page = json!({ "reserved_ips": names.iter().map(|n| ip(n)).collect::<Vec<_>>(), "limit": 100 });
    if let Some(href) = next {
        page["next"] = json!({ "href": href });
    }
    page
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_any_method() {
    let script = Script::new([error_reply(401, "not_authenticated", "expired"), empty_reply(204)]);
    script.client().stop_bare_metal_server("s1", StopType::Hard).await.unwrap();
    let seen = script.vpc_requests();
    assert_eq!(methods(&seen), [Method::Post, Method::Post]);
    assert_eq!(seen[0].body, seen[1].body);
    assert_ne!(seen[0].header("authorization"), seen[1].header("authorization"));
    assert_eq!(script.iam_requests().len(), 2);
    assert_eq!(script.pauses(), []);
}

#[tokio::test]
async fn a_second_401_is_final() {
    let script = Script::new([empty_reply(401), error_reply(401, "not_authenticated", "expired")]);
    let error = script.client().get_key("k1").await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unauthorized, false));
    assert_eq!(script.vpc_requests().len(), 2);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_nothing_is_ambiguous() {
    let script = Script::new([]);
    script.iam_answers([lost()]);
    let error = script.client().start_bare_metal_server("s1").await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true));
    assert_eq!(script.vpc_requests(), []);
}

#[tokio::test]
async fn a_read_survives_three_failures_with_growing_pauses() {
    let script = Script::new([lost(), refused(), empty_reply(502), json_reply(200, key())]);
    assert_eq!(script.client().get_key("k1").await.unwrap().name, "operator");
    assert_eq!(script.pauses(), [200, 400, 800].map(Duration::from_millis));
    assert_eq!(script.iam_requests().len(), 1);
}

#[tokio::test]
async fn a_read_gives_up_after_four_tries() {
    let script = Script::new([(); 4].map(|()| empty_reply(500)));
    let error = script.client().get_key("k1").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Unavailable, Some(500)));
    assert_eq!(script.vpc_requests().len(), 4);
    assert_eq!(script.pauses().len(), 3);
}

#[tokio::test]
async fn retry_after_is_honoured_up_to_ten_seconds() {
    let script = Script::new([
        with_header(empty_reply(429), "Retry-After", "1"),
        with_header(empty_reply(503), "retry-after", "3600"),
        with_header(empty_reply(429), "Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),
        json_reply(200, key()),
    ]);
    script.client().get_key("k1").await.unwrap();
    assert_eq!(script.pauses(), [1000, 10_000, 800].map(Duration::from_millis));
}

#[tokio::test]
async fn a_read_is_not_retried_when_the_answer_will_stay() {
    for status in [400, 403, 404, 409, 501] {
        let script = Script::new([empty_reply(status)]);
        script.client().get_key("k1").await.unwrap_err();
        assert_eq!(script.vpc_requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_write_is_sent_once_whatever_happens_to_it() {
    for answer in [lost(), refused(), empty_reply(500), with_header(empty_reply(429), "Retry-After", "7")] {
        let script = Script::new([answer.clone()]);
        let prototype = ReservedIpPrototype { name: "a".into(), address: Some(Ipv4Addr::new(10, 0, 0, 9)) };
        let created = script.client().create_reserved_ip("sn1", &prototype).await.unwrap_err();
        assert_eq!(script.vpc_requests().len(), 1);
        assert_eq!(script.pauses(), []);

        let script = Script::new([answer]);
        let deleted = script.client().delete_reserved_ip("sn1", "ip1").await.unwrap_err();
        assert_eq!(script.vpc_requests().len(), 1);
        assert_eq!(created.retry_after(), deleted.retry_after());
        assert_eq!(created.retry_after(), (created.status() == Some(429)).then_some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn a_list_follows_start_and_keeps_its_limit_and_its_host() {
    let script = Script::new([
        json_reply(
            200,
            page(&["a", "b"], Some("https://elsewhere.test/v1/subnets/sn1/reserved_ips?limit=2&start=p%202")),
        ),
        json_reply(200, page(&["c"], Some("/v1/subnets/sn1/reserved_ips?start=p3"))),
        json_reply(200, page(&["d"], None)),
    ]);
    let ips = script.client().list_reserved_ips("sn1").await.unwrap();
    assert_eq!(ips.iter().map(|ip| ip.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let all = "http://vpc.test/v1/subnets/sn1/reserved_ips?version=2026-10-06&generation=2&limit=100";
    let urls: Vec<String> = script.vpc_requests().into_iter().map(|r| r.url).collect();
    assert_eq!(urls, [all.to_string(), format!("{all}&start=p+2"), format!("{all}&start=p3")]);
}

#[tokio::test]
async fn a_list_ends_where_next_has_no_start() {
    let script = Script::new([json_reply(200, page(&["a"], Some("/v1/subnets/sn1/reserved_ips")))]);
    assert_eq!(script.client().list_reserved_ips("sn1").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_list_that_never_ends_is_a_protocol_error() {
    let next = |n: u32| json_reply(200, page(&["a"], Some(&format!("/v1/x?start={n}"))));
    let script = Script::new([next(1), next(1)]);
    let error = script.client().list_reserved_ips("sn1").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Protocol, "the reply can't be read: its next page is itself")
    );

    let script = Script::new((0..1000).map(next));
    let error = script.client().list_reserved_ips("sn1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(script.vpc_requests().len(), 250);
}

#[tokio::test]
async fn every_page_has_its_own_tries() {
    let script = Script::new([
        empty_reply(503),
        json_reply(200, page(&["a"], Some("/v1/x?start=2"))),
        empty_reply(503),
        json_reply(200, page(&["b"], None)),
    ]);
    assert_eq!(script.client().list_reserved_ips("sn1").await.unwrap().len(), 2);
    assert_eq!(script.pauses(), [200, 200].map(Duration::from_millis));
}
