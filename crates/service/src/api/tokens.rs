//! API tokens: made, listed, revoked. The text of one is in the answer that makes it, and never again.
//!
//! A token that is limited to clusters sees and revokes only those that are limited no wider. What a token has made
//! outlives it: who hands out tokens revokes them by name, and a list says by whom each was made.

use super::{
    ApiError, App, body,
    caller::Caller,
    grant::{ClusterName, check_name, check_reach, in_words, scope_of},
    record::{Recorded, deed_line},
};
use crate::token_text::TokenText;
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::{Extensions, StatusCode},
    response::{IntoResponse, Response},
};
use metalform_model::{ApiRole, ApiToken, Lifetime, audit_action};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// What a new token is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// Lower-case letters, digits, dots, underscores and hyphens, at most 40.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,39}$")]
    name: String,
    /// What it may do.
    #[schema(value_type = String, pattern = "^(viewer|auditor|operator|admin)$")]
    role: ApiRole,
    /// The clusters that it is limited to; all of them without it.
    #[schema(value_type = Option<Vec<ClusterName>>, min_items = 1, max_items = 100)]
    clusters: Option<Vec<String>>,
    /// `30d`, `12h`, `90m`, `6w` or `never`; 90 days without it. At most ten years.
    #[schema(pattern = "^(never|[1-9][0-9]{0,2}[mhdw])$")]
    expires: Option<String>,
}

/// The answer that shows a token. It can't be printed.
#[derive(Serialize)]
struct Made<'a> {
    token: &'a str,
    #[serde(flatten)]
    of: &'a ApiToken,
}

/// Every token that there ever was, without its text.
#[utoipa::path(get, path = "/api/v1/tokens", responses((status = 200, description = "the tokens")))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, ApiError> {
    let mut tokens = app.store.api_tokens().await?;
    tokens.retain(|token| caller.scope.includes(&token.clusters));
    Ok(Json(json!({"tokens": tokens})))
}

/// Makes a token. The answer is the only one that ever shows it.
#[utoipa::path(post, path = "/api/v1/tokens",
    request_body(content = NewToken, description = "what it is to be"),
    responses((status = 201, description = "the token, shown this once"),
    (status = 400, description = "a body that isn't understood"),
    (status = 409, description = "a token that isn't revoked has the name")))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    extensions: Extensions,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let hint = "send {\"name\": \"ci\", \"role\": \"viewer\" | \"auditor\" | \"operator\" | \"admin\"}, and if wanted \
                \"clusters\": [\"a\"] and \"expires\": \"30d\" | \"never\"";
    let wanted: NewToken = body::read(&bytes, hint)?;
    check_name("token", &wanted.name)?;
    let clusters = scope_of(wanted.clusters)?;
    let lifetime: Lifetime = match wanted.expires {
        Some(text) => text.parse().map_err(|error: metalform_model::LifetimeError| {
            ApiError::new(400, "bad_request", error.to_string(), "leave it out for 90 days")
        })?,
        None => Lifetime::default(),
    };
    check_reach(&caller, wanted.role, &clusters)?;
    let text = TokenText::new(rand::random(), rand::random());
    let now = app.clock.now();
    let token = ApiToken {
        id: text.id().to_owned(),
        name: wanted.name,
        role: wanted.role,
        clusters,
        created_at: now,
        created_by: caller.who.clone(),
        expires_at: lifetime.end(now),
        last_used_at: None,
        revoked_at: None,
    };
    let line = deed_line(&app, &caller, &extensions, audit_action::TOKEN_CREATE, deed(&token));
    app.store.add_api_token(&token, &text.hash(), &line).await?;
    Ok((StatusCode::CREATED, Recorded, Json(Made { token: text.expose(), of: &token })).into_response())
}

/// Lets a token open nothing any more.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", params(("id" = String, Path, description = "the token's id")),
    responses((status = 200, description = "it is revoked"), (status = 404, description = "none of that id")))]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    extensions: Extensions,
) -> Result<(Recorded, Json<ApiToken>), ApiError> {
    let found = app.store.api_token(&id).await?.filter(|(token, _)| caller.scope.includes(&token.clusters));
    let Some((token, _)) = found else {
        let shown: String = id.chars().take(80).collect();
        let hint = "`metalform token list` lists the tokens with their ids";
        return Err(ApiError::new(404, "unknown_token", format!("no token has the id {shown:?}"), hint));
    };
    let line = deed_line(&app, &caller, &extensions, audit_action::TOKEN_REVOKE, deed(&token));
    app.store.revoke_api_token(&id, app.clock.now(), &line).await?;
    let revoked = app.store.api_token(&id).await?;
    // Tokens are never deleted.
    let gone = || ApiError::new(503, "store_unavailable", "the token can't be read back", "try again");
    revoked.map(|(token, _)| (Recorded, Json(token))).ok_or_else(gone)
}

/// What the audit says that was made or revoked.
fn deed(token: &ApiToken) -> String {
    format!("{}: {} of {}, until {}", token.who(), token.role, in_words(&token.clusters), token.expires_at)
}
