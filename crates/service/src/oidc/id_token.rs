//! Whether an ID token can be believed: OpenID Connect Core 1.0, section 3.1.3.7. Pure: keys and time are arguments.
//!
//! The signature is checked by `jsonwebtoken` over aws-lc-rs, with the algorithm that the token names only if it is one of ours,
//! all of them with public keys, and of the key's own family: a token that is signed with a public key as if that were a shared
//! secret, or isn't signed at all, is refused before anything of it is read. Its times are compared here, with our clock.
//!
//! Rejected: the crate `openidconnect` 4.1. It does the same and more, but brings 34 packages, among them a second
//! implementation of RSA and of the NIST curves beside aws-lc-rs; of that RSA (`rsa` 0.9) an advisory without a remedy is open
//! (RUSTSEC-2023-0071), and `cargo xtask deny` refuses those.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use metalform_model::Timestamp;
use serde_json::{Map, Value};
use std::time::Duration;
use thiserror::Error;

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// By whom it is, to the letter.
    pub issuer: &'a str,
    /// For whom.
    pub client_id: &'a str,
    /// For which login.
    pub nonce: &'a str,
}

/// What is believed of somebody.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claims(pub Map<String, Value>);

/// Why a token isn't believed.
#[derive(Debug, Error)]
pub(crate) enum IdTokenFault {
    /// It is no signed token.
    #[error("it is no signed token")]
    Form(#[source] jsonwebtoken::errors::Error),
    /// It is signed in a way that isn't accepted.
    #[error("it is signed by {0}")]
    Algorithm(String),
    /// The provider has no such key.
    #[error("it is signed with a key that the provider doesn't publish")]
    UnknownKey,
    /// The signature, the issuer or the audience is another.
    #[error("its signature, issuer or audience is wrong")]
    Wrong(#[source] jsonwebtoken::errors::Error),
    /// A claim is missing, or wrong.
    #[error("its claim {0} is missing or wrong")]
    Claim(&'static str),
    /// Its time is over, or still to come.
    #[error("it doesn't hold at this time")]
    Time,
}

/// Public keys alone, and no algorithm that is weaker than the shortest key that aws-lc-rs takes.
const ACCEPTED: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How far two clocks may be apart.
const LEEWAY: Duration = Duration::from_secs(60);
/// A token of a login that is under way was made after it began.
const OLDEST: Duration = Duration::from_secs(15 * 60);

/// What the token says, if it can be believed.
pub(crate) fn check(
    token: &str,
    keys: &JwkSet,
    expected: Expected<'_>,
    now: Timestamp,
) -> Result<Claims, IdTokenFault> {
    let header = decode_header(token).map_err(IdTokenFault::Form)?;
    if !ACCEPTED.contains(&header.alg) {
        return Err(IdTokenFault::Algorithm(format!("{:?}", header.alg)));
    }
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.set_required_spec_claims(&["iss", "aud", "sub"]);
    (validation.validate_exp, validation.validate_nbf) = (false, false);
    // A provider that publishes one key needn't name it (section 10.1).
    let candidates: Vec<DecodingKey> = keys
        .keys
        .iter()
        .filter(|key| header.kid.is_none() || key.common.key_id == header.kid)
        .filter_map(|key| DecodingKey::from_jwk(key).ok())
        .filter(|key| key.family() == header.alg.family())
        .collect();
    let mut fault = IdTokenFault::UnknownKey;
    for key in candidates {
        match decode::<Map<String, Value>>(token, &key, &validation) {
            Ok(data) => return check_claims(data.claims, expected, now),
            Err(error) => fault = IdTokenFault::Wrong(error),
        }
    }
    Err(fault)
}

fn check_claims(claims: Map<String, Value>, expected: Expected<'_>, now: Timestamp) -> Result<Claims, IdTokenFault> {
    if claims.get("nonce").and_then(Value::as_str) != Some(expected.nonce) {
        return Err(IdTokenFault::Claim("nonce"));
    }
    let audiences = claims.get("aud").and_then(Value::as_array).map_or(1, Vec::len);
    let azp = claims.get("azp").map(Value::as_str);
    let is_ours = match azp {
        Some(azp) => azp == Some(expected.client_id),
        None => audiences == 1,
    };
    if !is_ours {
        return Err(IdTokenFault::Claim("azp"));
    }
    let is_subject = claims.get("sub").and_then(Value::as_str).is_some_and(|sub| (1..=255).contains(&sub.len()));
    if !is_subject {
        return Err(IdTokenFault::Claim("sub"));
    }
    let moment = |name: &'static str| {
        // Whole seconds, as a number that may have a fraction.
        let seconds = claims.get(name).and_then(Value::as_f64).filter(|s| (0.0..1e12).contains(s));
        seconds.map(|s| Timestamp::from_seconds(s as i64)).ok_or(IdTokenFault::Claim(name))
    };
    let (expires_at, issued_at) = (moment("exp")?, moment("iat")?);
    let not_before = if claims.contains_key("nbf") { moment("nbf")? } else { issued_at };
    let holds = now < expires_at + LEEWAY
        && issued_at <= now + LEEWAY
        && not_before <= now + LEEWAY
        && now.since(issued_at) <= OLDEST;
    if holds { Ok(Claims(claims)) } else { Err(IdTokenFault::Time) }
}

#[cfg(test)]
#[path = "id_token_tests.rs"]
mod tests;
