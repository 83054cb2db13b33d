//! What needs no token: whether the service lives, and a page that says where to go.

use super::{ApiError, App, headers};
use axum::{
    Json,
    extract::State,
    http::header,
    response::{Html, IntoResponse, Response},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "it does")))]
pub(super) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Whether the store answers, too.
#[utoipa::path(get, path = "/readyz", responses((status = 200, description = "it does"),
    (status = 503, description = "it doesn't")))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    app.store.check().await?;
    Ok(Json(json!({"status": "ok"})))
}

const PAGE: &str = include_str!("page.html");

/// A page for people. It shows no state: that needs a token.
#[utoipa::path(get, path = "/", responses((status = 200, description = "the page", content_type = "text/html")))]
pub(super) async fn page() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, headers::policy_of(PAGE))], Html(PAGE)).into_response()
}
