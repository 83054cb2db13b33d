//! Every refusal of the control plane: `{"error":{"code","message","hint","details"}}` with the right status.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use metalform_store::StoreError;
use serde_json::{Value, json};
use std::{num::NonZeroU16, time::Duration};

/// A refusal. `code` is a stable word.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: String,
    details: Value,
    /// When to come again: seconds.
    retry_after: Option<NonZeroU16>,
    /// What the audit says in place of `code`.
    audited_as: Option<&'static str>,
}

/// The code of a refusal, for the audit: travels with the response, out of sight of the client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefusalCode(pub &'static str);

/// The word for the audit where it says more than the client is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuditCode(pub &'static str);

/// What a refusal with 503 says of when to come again.
const LATER: Option<NonZeroU16> = NonZeroU16::new(5);

impl ApiError {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>, hint: &str) -> Self {
        ApiError {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            message: message.into(),
            hint: hint.to_owned(),
            details: json!({}),
            retry_after: if status == 503 { LATER } else { None },
            audited_as: None,
        }
    }

    /// The stable word.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// What failed, and what to do about it.
    pub(crate) fn words(&self) -> (&str, &str) {
        (&self.message, &self.hint)
    }

    /// Says when the same call may work: whole seconds, and not too early.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.retry_after = NonZeroU16::new(u16::try_from(seconds).unwrap_or(u16::MAX));
        self
    }

    /// Has the audit say more than the client is told.
    pub(crate) fn audited_as(mut self, word: &'static str) -> Self {
        self.audited_as = Some(word);
        self
    }

    pub(crate) fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code, "message": self.message, "hint": self.hint,
            "details": self.details}});
        let mut response = (self.status, Json(body)).into_response();
        response.extensions_mut().insert(RefusalCode(self.code));
        if let Some(word) = self.audited_as {
            response.extensions_mut().insert(AuditCode(word));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.get()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let hint = error.hint();
        let (status, code) = match &error {
            StoreError::NoCluster { .. } => (404, "unknown_cluster"),
            StoreError::NameTaken { .. } => (409, "name_taken"),
            StoreError::NodeTaken { .. } => (409, "node_taken"),
            StoreError::TokenNameTaken { .. } => (409, "token_name_taken"),
            StoreError::UserNameTaken { .. } => (409, "user_name_taken"),
            StoreError::StaleFence
            | StoreError::PasswordExists { .. }
            | StoreError::Database { .. }
            | StoreError::Document { .. }
            | StoreError::InUse { .. }
            | StoreError::Folder { .. }
            | StoreError::Migrate(_) => {
                tracing::error!(%error, source = ?std::error::Error::source(&error), "the store failed");
                (503, "store_unavailable")
            }
        };
        ApiError::new(status, code, error.to_string(), hint)
    }
}

pub(super) async fn unknown_path() -> ApiError {
    ApiError::new(404, "unknown_path", "there is nothing at this path", "see /openapi.json")
}

pub(super) async fn wrong_method() -> ApiError {
    ApiError::new(405, "wrong_method", "this path doesn't answer that method", "see /openapi.json")
}
