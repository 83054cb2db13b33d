//! What needs no token: whether the service lives, and a page that says where to go.

use super::{ApiError, App};
use axum::{Json, extract::State, response::Html};
use serde_json::{Value, json};
use std::sync::Arc;

/// The process answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The store answers, too.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    app.store.check().await?;
    Ok(Json(json!({"status": "ok"})))
}

/// Shows no state: that needs the token.
pub(super) async fn page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}
