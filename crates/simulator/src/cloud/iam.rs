//! IAM: an API key becomes a token that lives an hour. Tokens carry their own proof (a digest under the world's seed), so
//! none is remembered; they are real JWTs, since IBM's SDK decodes them to read `iat` and `exp`.

use super::Cloud;
use crate::{
    fault::{CloudFault, Occasion},
    http::{Request, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use metalform_model::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Seconds.
const LIFETIME: i64 = 3600;
const API_KEY_GRANT: &str = "urn:ibm:params:oauth:grant-type:apikey";

fn refuse(status: u16, code: &str, message: &str) -> Response {
    let body =
        json!({"errorCode": code, "errorMessage": message, "context": {"requestType": "incoming.Identity_Token"}});
    Response::json(status, &body)
}

impl Cloud {
    pub(super) fn handle_iam(&mut self, now: Timestamp, request: &Request) -> Response {
        if request.path != "/identity/token" || request.method != "POST" {
            let message = format!("{} {} is not simulated.", request.method, request.path);
            let error = json!({"code": "not_simulated", "message": message});
            return Response::json(
                501,
                &json!({"errors": [error], "errorCode": "not_simulated", "errorMessage": message}),
            );
        }
        let kind = request.header("content-type").unwrap_or_default();
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return refuse(415, "BXNIM0109E", "Content type must be application/x-www-form-urlencoded.");
        }
        let form: Vec<(String, String)> = url::form_urlencoded::parse(&request.body).into_owned().collect();
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        if field("grant_type") != API_KEY_GRANT {
            return refuse(400, "BXNIM0106E", "Property missing or invalid: grant_type.");
        }
        let occasion = Occasion { method: &request.method, path: &request.path, name: "" };
        let refused = self.faults.take_cloud(occasion, |fault| matches!(fault, CloudFault::ApiKeyRefused)).is_some();
        if refused || field("apikey").trim().is_empty() {
            return refuse(400, "BXNIM0415E", "Provided API key could not be found.");
        }
        let (iat, exp) = (now.seconds(), now.seconds() + LIFETIME);
        Response::json(
            200,
            &json!({
                "access_token": self.access_token(now, "IBMid-550000AAAA"),
                "refresh_token": "not_supported",
                "token_type": "Bearer",
                "expires_in": exp - iat,
                "expiration": exp,
                "scope": "ibm openid",
            }),
        )
    }

    /// A JWT for the VPC and DNS APIs.
    pub(super) fn access_token(&self, now: Timestamp, subject: &str) -> String {
        let iat = now.seconds();
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({"alg": "RS256", "kid": "simulated", "typ": "JWT"}));
        let payload = part(json!({
            "account": {"bss": super::ACCOUNT, "valid": true},
            "exp": iat + LIFETIME,
            "grant_type": API_KEY_GRANT,
            "iam_id": subject,
            "iat": iat,
            "iss": format!("{}/identity", self.settings.iam_url),
            "scope": "ibm openid",
            "sub": subject,
        }));
        let signature = self.sign(&format!("{header}.{payload}"));
        format!("{header}.{payload}.{signature}")
    }

    /// The proof that this world has made that text.
    pub(super) fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{}:{text}", self.settings.seed)))
    }

    /// Whether the request carries a token of this world that still lives.
    pub(super) fn authenticated(&self, now: Timestamp, request: &Request) -> bool {
        let token = request.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
        let Some((signed, signature)) = token.and_then(|token| token.rsplit_once('.')) else { return false };
        let payload = signed.split_once('.').and_then(|(_, payload)| URL_SAFE_NO_PAD.decode(payload).ok());
        let claims: Option<Value> = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let exp = claims.and_then(|claims| claims["exp"].as_i64());
        signature == self.sign(signed) && exp.is_some_and(|exp| now.seconds() < exp)
    }
}
