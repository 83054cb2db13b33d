//! Who may talk to the control plane, and the audit line of every call.

use super::{ApiError, App, error::RefusalCode};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use metalform_model::AuditEntry;
use std::{net::SocketAddr, sync::Arc};

/// Lets the operator in and nobody else, and records who asked for what, from where, and how it ended. A call that would
/// change something is not made when it can't be recorded.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let source = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or_else(|| "unknown".to_owned(), |peer| peer.0.ip().to_string());
    let action = format!("api.{}", request.method().as_str().to_lowercase());
    let target: String = request.uri().path().chars().take(200).collect();
    let changes = request.method() != Method::GET && request.method() != Method::HEAD;
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let known = shown
        .and_then(|value| value.split_once(' '))
        .is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && app.token.matches(token));
    let who = if known { "operator" } else { "anonymous" };
    let line = |outcome: String| AuditEntry {
        at: app.clock.now(),
        who: who.to_owned(),
        action: action.clone(),
        target: target.clone(),
        source: source.clone(),
        outcome,
    };
    if !known {
        let code = if shown.is_some() { "token_wrong" } else { "token_missing" };
        let (message, hint) = (
            "the call carries no valid bearer token",
            "the token is in the file `token` of the data folder; elsewhere set METALFORM_TOKEN",
        );
        if let Err(error) = app.store.add_audit(&line(format!("refused:{code}"))).await {
            tracing::error!(%error, "an audit line could not be written");
        }
        return ApiError::new(401, code, message, hint).into_response();
    }
    if changes && let Err(error) = app.store.check().await {
        return ApiError::from(error).into_response();
    }
    let response = as_document(next.run(request).await);
    let outcome = match response.extensions().get::<RefusalCode>() {
        Some(RefusalCode(code)) => format!("refused:{code}"),
        None if response.status().is_success() => "ok".to_owned(),
        None => format!("refused:{}", response.status().as_u16()),
    };
    if let Err(error) = app.store.add_audit(&line(outcome)).await {
        tracing::error!(%error, "an audit line could not be written");
    }
    response
}

/// What the framework refuses by itself (a body over the limit, a path that is no UTF-8) is a text; ours are documents.
fn as_document(response: Response) -> Response {
    let status = response.status();
    if response.extensions().get::<RefusalCode>().is_some() || !status.is_client_error() {
        return response;
    }
    let (code, message, hint) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is too large", "a plan may have 256 KiB"),
        _ => ("bad_request", "the request can't be read", "see /openapi.json"),
    };
    ApiError::new(status.as_u16(), code, message, hint).into_response()
}
