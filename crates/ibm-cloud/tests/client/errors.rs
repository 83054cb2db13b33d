use crate::script::{Answer, Script, empty_reply, error_reply, json_reply, lost, refused, with_header};
use metalform_ibm_cloud::{Error, ErrorKind, ReservedIpPrototype, Response};
use serde_json::json;
use std::error::Error as _;

async fn create(answer: Answer) -> Error {
    let prototype = ReservedIpPrototype { name: "a".into(), address: None };
    Script::new([answer]).client().create_reserved_ip("sn1", &prototype).await.unwrap_err()
}

async fn read(answer: Answer) -> Error {
    Script::new([(); 4].map(|()| answer.clone())).client().get_key("k1").await.unwrap_err()
}

async fn delete(answer: Answer) -> Error {
    Script::new([answer]).client().delete_virtual_network_interface("v1").await.unwrap_err()
}

/// What the VPC API was seen or is documented to answer to something that is not a read.
#[tokio::test]
async fn what_the_cloud_says_is_told_apart() {
    let nested = json!({ "errors": [{ "code": "validation_unique_failed",
        "message": "Another VNI with the requested name already exists" }] });
    for (status, code, message, kind, is_transient) in [
        (400, "not_found", "The VPC does not exist", ErrorKind::Invalid, false),
        (404, "not_found", "Subnet not found", ErrorKind::NotFound, false),
        (400, "invalid_value", "bad", ErrorKind::Invalid, false),
        (400, "missing_field", "bad", ErrorKind::Invalid, false),
        (400, "unknown_field", "bad", ErrorKind::Invalid, false),
        (400, "bad_field", "bad", ErrorKind::Invalid, false),
        (400, "a_code_of_next_year", "bad", ErrorKind::Invalid, false),
        (400, "validation_failed", "Provided Name (x) is not unique", ErrorKind::NotUnique, false),
        (409, "conflict", "A server with this name already exists", ErrorKind::NotUnique, false),
        (400, "bad_field", &nested.to_string(), ErrorKind::NotUnique, false),
        (400, "invalid_request", "This will put user over quota", ErrorKind::OverQuota, false),
        (400, "invalid_value", "Name -quota- is malformed", ErrorKind::Invalid, false),
        (403, "over_quota", "no more", ErrorKind::OverQuota, false),
        (
            409,
            "",
            "Failed to start the server because the server is not in the STOPPED status.",
            ErrorKind::Conflict,
            true,
        ),
        (412, "", "ETag mismatch", ErrorKind::Conflict, true),
        (409, "", "The virtual network interface is in use", ErrorKind::InUse, true),
        (409, "reserved_ip_in_use", "no", ErrorKind::InUse, true),
        (403, "not_authorized", "no", ErrorKind::Forbidden, false),
        (429, "rate_limited", "slow down", ErrorKind::RateLimited, true),
        (501, "", "no such operation", ErrorKind::Protocol, false),
        (302, "", "", ErrorKind::Protocol, false),
    ] {
        let error = create(error_reply(status, code, message)).await;
        assert_eq!((error.kind(), error.is_transient()), (kind, is_transient), "{error}");
        assert_eq!((error.status(), error.code(), error.trace()), (Some(status), Some(code), Some("tr-1")));
        assert_eq!(error.message(), if message.is_empty() { "no reason given" } else { message });
    }
}

#[tokio::test]
async fn a_unique_name_fault_nested_as_json_is_found_too() {
    let body = json!({ "errors": [{ "code": "bad_field", "message": "invalid",
        "errors": [{ "code": "validation_unique_failed", "message": "…" }] }] });
    assert_eq!(create(json_reply(400, body)).await.kind(), ErrorKind::NotUnique);
}

#[tokio::test]
async fn a_lost_reply_is_ambiguous_except_for_a_read() {
    assert_eq!(create(lost()).await.kind(), ErrorKind::Ambiguous);
    assert_eq!(delete(lost()).await.kind(), ErrorKind::Ambiguous);
    assert_eq!(read(lost()).await.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_request_that_never_left_did_nothing() {
    for error in [create(refused()).await, delete(refused()).await, read(refused()).await] {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::NotSent, true));
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
    }
}

#[tokio::test]
async fn a_5xx_is_ambiguous_where_repeating_would_do_it_twice() {
    let overload = || error_reply(503, "", "The system is currently unable to fulfill the request. Please retry.");
    assert_eq!(create(overload()).await.kind(), ErrorKind::Ambiguous);
    assert_eq!(delete(overload()).await.kind(), ErrorKind::Unavailable);
    assert_eq!(read(overload()).await.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_unreadable_201_is_ambiguous_and_an_unreadable_200_of_a_read_is_not() {
    assert_eq!(create(json_reply(201, json!({ "name": "a" }))).await.kind(), ErrorKind::Ambiguous);
    assert_eq!(create(empty_reply(201)).await.kind(), ErrorKind::Ambiguous);
    assert_eq!(read(json_reply(200, json!({ "name": "a" }))).await.kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn an_error_reads_from_the_attempt_to_the_trace() {
    let error = create(json_reply(
        400,
        json!({ "errors": [
            { "code": "invalid_value", "message": "too\nlong", "target": { "name": "name", "type": "field", "value": "s3cret" } },
            { "code": "missing_field", "message": "no zone" },
        ], "trace": "tr-9", "status_code": 400 }),
    ))
    .await;
    assert_eq!(
        error.to_string(),
        "can't create reserved IP: 400 invalid_value: too long; no zone \
         (POST /subnets/sn1/reserved_ips, field name, trace tr-9)"
    );
    assert_eq!((error.operation(), error.field()), ("create reserved IP", Some("name")));
    assert_eq!(error.hint(), Some("correct the plan or the configuration"));
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_reply_that_is_no_json_is_quoted_briefly() {
    let body = format!("<html>{}", "x".repeat(5000)).into_bytes();
    let error = create(with_header(Ok(Response { status: 400, headers: vec![], body }), "X-Request-Id", "tr-2")).await;
    assert!(error.message().starts_with("<html>x"));
    assert_eq!((error.message().len(), error.trace()), (1000, Some("tr-2")));
}

#[tokio::test]
async fn a_404_on_a_deletion_is_not_found() {
    assert!(delete(error_reply(404, "not_found", "gone")).await.is_not_found());
}
