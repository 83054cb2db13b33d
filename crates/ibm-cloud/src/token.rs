//! An IAM access token and how long it is good for.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use metalform_model::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::time::Duration;

/// Treated as expired this long before it is, so that it does not expire on the way; IBM's SDK does the same
/// (ibm-cloud-sdk-core 3.28.0, `iam_request_based_token_manager.py`).
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);
/// 9999-12-31: what lies beyond is no time.
const LATEST: i64 = 253_402_300_799;

/// A bearer token. Its text is in no `Debug` output.
#[derive(Debug)]
pub struct Token {
    text: SecretString,
    /// 80 % of its life, from then on a new one is fetched.
    pub(crate) refresh_at: Timestamp,
    /// 10 s before its true end.
    pub(crate) expires_at: Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    /// Issued at, seconds since the epoch.
    iat: i64,
    /// Expires at, seconds since the epoch.
    exp: i64,
}

impl Token {
    /// Reads the times of a JWT (RFC 7519, §4.1). Its signature is not checked: it came from IAM, and whoever is shown
    /// it checks. The error says what is wrong without quoting any of it.
    pub(crate) fn from_jwt(text: String) -> Result<Token, &'static str> {
        let payload = text.split('.').nth(1).ok_or("not a JWT")?;
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).map_err(|_| "not base64url")?;
        let Claims { iat, exp } = serde_json::from_slice(&payload).map_err(|_| "no numeric `iat` and `exp`")?;
        if !(0..=exp).contains(&iat) || exp > LATEST {
            return Err("`iat` and `exp` are no span of time");
        }
        let end = Timestamp::from_seconds(exp);
        let fifth = Timestamp::from_seconds(exp).since(Timestamp::from_seconds(iat)) / 5;
        Ok(Token { text: text.into(), refresh_at: end - fifth, expires_at: end - EXPIRY_MARGIN })
    }

    /// The value of an `Authorization` header.
    pub(crate) fn authorization(&self) -> String {
        format!("Bearer {}", self.text.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_is_due_at_80_percent_of_its_life_and_dead_10_seconds_before_its_end() {
        let token = Token::from_jwt(jwt(r#"{"iat":1000,"exp":4600}"#)).unwrap();
        assert_eq!(token.refresh_at, Timestamp::from_seconds(1000 + 2880));
        assert_eq!(token.expires_at, Timestamp::from_seconds(4590));
    }

    #[test]
    fn what_is_no_jwt_with_sane_times_is_refused_without_quoting_it() {
        for (text, why) in [
            ("opaque".to_string(), "not a JWT"),
            ("a.%%.c".to_string(), "not base64url"),
            (jwt(r#"{"exp":4600}"#), "no numeric `iat` and `exp`"),
            (jwt(r#"{"iat":5000,"exp":4600}"#), "`iat` and `exp` are no span of time"),
            (jwt(r#"{"iat":0,"exp":9223372036854775807}"#), "`iat` and `exp` are no span of time"),
        ] {
            assert_eq!(Token::from_jwt(text).unwrap_err(), why);
        }
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let text = jwt(r#"{"iat":1000,"exp":4600}"#);
        assert!(!format!("{:?}", Token::from_jwt(text.clone()).unwrap()).contains(&text));
    }
}
