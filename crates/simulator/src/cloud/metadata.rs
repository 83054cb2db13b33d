//! The VPC metadata service as a server inside the cloud sees it: an identity token, and an IAM token for it. Both path
//! pairs of IBM's documents (api-identity-change-log.md), each for its own range of version dates.

use super::{
    Cloud,
    error::ApiError,
    fields::{Fields, Refused},
    identity::stamp,
};
use crate::http::{Request, Response};
use metalform_model::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// From this version date on the paths have no `instance_` in front.
const RENAMED: &str = "2025-08-26";

impl Cloud {
    pub(super) fn handle_metadata(&mut self, now: Timestamp, request: &Request, trace: &str) -> Response {
        match self.metadata_answer(now, request) {
            Ok(body) => Response::json(200, &body),
            Err(error) => Response::json(error.status, &error.body(trace)),
        }
    }

    fn metadata_answer(&mut self, now: Timestamp, request: &Request) -> Refused<Value> {
        let version = request.query("version").ok_or_else(|| ApiError::missing_parameter("version"))?;
        if !super::routes::is_date(version) {
            return Err(ApiError::bad_parameter("version", "must be YYYY-MM-DD"));
        }
        let renamed = version >= RENAMED;
        match (request.method.as_str(), request.path.as_str(), renamed) {
            ("PUT", "/instance_identity/v1/token", false) | ("PUT", "/identity/v1/token", true) => {
                self.identity_token(now, request)
            }
            ("POST", "/instance_identity/v1/iam_token", false) | ("POST", "/identity/v1/iam_tokens", true) => {
                self.iam_token(now, request)
            }
            ("PUT" | "POST", path, _) if path.starts_with("/instance_identity/") || path.starts_with("/identity/") => {
                Err(ApiError::not_found("resource", path))
            }
            (method, path, _) => Err(ApiError::not_simulated(method, path)),
        }
    }

    fn identity_token(&self, now: Timestamp, request: &Request) -> Refused<Value> {
        if request.header("metadata-flavor") != Some("ibm") {
            return Err(ApiError::new(400, "missing_value", "The header Metadata-Flavor: ibm is required."));
        }
        let body = super::routes::parse_body(request)?.unwrap_or(json!({}));
        let fields = Fields::of(&body, "", &["expires_in"])?;
        let lifetime = fields.number("expires_in")?.unwrap_or(300);
        if !(5..=3600).contains(&lifetime) {
            return Err(ApiError::invalid("expires_in", "must be 5 to 3600"));
        }
        let expires = now + Duration::from_secs(lifetime);
        let claim = format!("identity-{}", expires.seconds());
        let token = format!("{claim}.{}", self.sign(&claim));
        Ok(json!({
            "access_token": token, "created_at": stamp(now), "expires_at": stamp(expires), "expires_in": lifetime,
        }))
    }

    fn iam_token(&self, now: Timestamp, request: &Request) -> Refused<Value> {
        let token = request.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
        let (claim, signature) = token.and_then(|token| token.rsplit_once('.')).unwrap_or_default();
        let expires = claim.strip_prefix("identity-").and_then(|seconds| seconds.parse::<i64>().ok());
        if signature != self.sign(claim) || expires.is_none_or(|expires| now.seconds() >= expires) {
            return Err(ApiError::new(401, "unauthenticated", "The identity token is expired, missing or not valid."));
        }
        let body = super::routes::parse_body(request)?.unwrap_or(json!({}));
        let fields = Fields::of(&body, "", &["trusted_profile"])?;
        if let Some(profile) = fields.object("trusted_profile", &["id", "crn", "name"])?
            && !["id", "crn", "name"].iter().any(|key| profile.has(key))
        {
            return Err(ApiError::missing("trusted_profile.id"));
        }
        let expires = now + Duration::from_secs(3600);
        Ok(json!({
            "access_token": self.access_token(now, "iam-Profile-simulated"),
            "created_at": stamp(now),
            "expires_at": stamp(expires),
            "expires_in": 3600,
        }))
    }
}
