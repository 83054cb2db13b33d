//! Logging in by an OpenID provider: authorization code with PKCE (RFC 7636), state, nonce, and an ID token that is checked.
//!
//! What begins in one browser ends there: the state is bound to a cookie, good once and for ten minutes. The code is redeemed from
//! here, with our secret; of the token only its claims are read, and it isn't kept. `userinfo` isn't asked: what says somebody's
//! groups is signed.

mod config;
mod error;
mod fetch;
mod id_token;
mod identity;
mod pending;
mod provider;

pub use config::OidcConfig;
pub(crate) use config::is_confidential;
pub(crate) use error::OidcError;
pub(crate) use identity::Identity;

use crate::{
    https_client::HttpsClientError,
    secrets::{self, SecretError},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use fetch::Fetch;
use id_token::Expected;
use metalform_model::Clock;
use pending::{PendingLogins, Started};
use provider::{Endpoints, Provider};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use url::{Url, form_urlencoded};

/// Why there is no logging in by the provider at all.
#[derive(Debug, Error)]
pub enum OidcSetupError {
    /// The secret's file can't be used.
    #[error("the client's secret can't be used")]
    Secret(#[from] SecretError),
    /// No client can be made.
    #[error("the OpenID provider's client can't be made")]
    Client(#[from] HttpsClientError),
    /// The issuer is no URL.
    #[error("the issuer is no URL")]
    Issuer(#[from] url::ParseError),
}

/// A login that begins: where the browser goes, and what it keeps.
pub(crate) struct Begun {
    /// At the provider.
    pub url: Url,
    /// For its cookie.
    pub browser: SecretString,
}

/// What the provider has the browser bring back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Returned {
    code: Option<String>,
    state: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
}

impl Returned {
    /// Reads it; of what comes twice nothing counts.
    pub(crate) fn of(query: &str) -> Returned {
        let one = |name: &str| {
            let mut all = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
            let first = all.next().map(|(_, value)| value.into_owned());
            first.filter(|value| all.next().is_none() && !value.is_empty() && value.len() <= 4096)
        };
        Returned { code: one("code"), state: one("state"), issuer: one("iss"), error: one("error") }
    }
}

/// See the module.
pub(crate) struct Oidc {
    config: Arc<OidcConfig>,
    redirect_uri: String,
    secret: Option<SecretString>,
    provider: Provider,
    pending: Mutex<PendingLogins>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Option<String>,
    error: Option<String>,
}

fn random_text() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

impl Oidc {
    /// Ready; the provider isn't asked for anything yet.
    pub(crate) fn new(config: OidcConfig, public_url: &Url) -> Result<Oidc, OidcSetupError> {
        let secret = config.client_secret_file.as_deref().map(secrets::read).transpose()?;
        let fetch = Fetch::new(config.ca_file.as_deref())?;
        let (issuer, config) = (config.issuer.parse()?, Arc::new(config));
        Ok(Oidc {
            provider: Provider::new(fetch, issuer, config.clone()),
            redirect_uri: format!("{}/login/oidc/callback", public_url.origin().ascii_serialization()),
            config,
            secret,
            pending: Mutex::default(),
        })
    }

    /// What sessions that begin now rest on; see [`OidcConfig::digest`].
    pub(crate) fn digest(&self) -> String {
        self.config.digest()
    }

    /// Begins a login, in a browser that has the session `former`.
    pub(crate) async fn begin(&self, former: Option<String>, clock: &dyn Clock) -> Result<Begun, OidcError> {
        let endpoints = self.provider.endpoints(clock).await?;
        let [state, nonce, verifier, browser] = std::array::from_fn(|_| random_text());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut scopes = vec!["openid"];
        scopes.extend(self.config.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
        let mut url = endpoints.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let started = Started { nonce, verifier: verifier.into(), former };
        // What is guarded is right after every step, so that a panic leaves it usable.
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.begin(&state, &browser, started, clock.now());
        Ok(Begun { url, browser: browser.into() })
    }

    /// Ends it: who logged in, and the session that the browser had when it began.
    pub(crate) async fn finish(
        &self,
        returned: Returned,
        browser: Option<&str>,
        clock: &dyn Clock,
    ) -> Result<(Identity, Option<String>), OidcError> {
        let (Some(state), Some(browser)) = (&returned.state, browser) else { return Err(OidcError::State) };
        let started = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.take(state, browser, clock.now())
        };
        let started = started.ok_or(OidcError::State)?;
        // RFC 9207: of two providers, which of them answers.
        if returned.issuer.is_some_and(|issuer| issuer != self.config.issuer) {
            return Err(OidcError::OtherIssuer);
        }
        if let Some(error) = returned.error {
            return Err(OidcError::Refused(word(&error)));
        }
        let Some(code) = returned.code else { return Err(OidcError::Refused("it sent no code".into())) };
        let endpoints = self.provider.endpoints(clock).await?;
        let token = self.redeem(&endpoints, &code, &started.verifier).await?;
        let keys = self.provider.keys_for(&token, clock).await?;
        let expected =
            Expected { issuer: &self.config.issuer, client_id: &self.config.client_id, nonce: &started.nonce };
        let claims = id_token::check(&token, &keys, expected, clock.now()).map_err(OidcError::Token)?;
        Ok((Identity::of(&claims, &self.config), started.former))
    }

    async fn redeem(&self, endpoints: &Endpoints, code: &str, verifier: &SecretString) -> Result<String, OidcError> {
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", verifier.expose_secret()),
        ];
        let methods = endpoints.token_endpoint_auth_methods_supported.as_deref();
        let by_header = methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        let authorization = match &self.secret {
            Some(secret) if by_header => Some(basic(&self.config.client_id, secret)),
            Some(secret) => {
                pairs.push(("client_id", &self.config.client_id));
                pairs.push(("client_secret", secret.expose_secret()));
                None
            }
            None => {
                pairs.push(("client_id", &self.config.client_id));
                None
            }
        };
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let answer: Result<TokenAnswer, _> =
            self.provider.fetch.post(&endpoints.token_endpoint, form, authorization.as_deref()).await;
        match answer.map_err(OidcError::Unavailable)? {
            TokenAnswer { error: Some(error), .. } => Err(OidcError::NoToken(word(&error))),
            TokenAnswer { id_token: Some(token), .. } => Ok(token),
            TokenAnswer { .. } => Err(OidcError::NoToken("there is no ID token in its answer".into())),
        }
    }
}

/// RFC 6749, section 2.3.1: both are encoded as in a form first.
fn basic(client_id: &str, secret: &SecretString) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client_id), encoded(secret.expose_secret()));
    format!("Basic {}", STANDARD.encode(pair))
}

/// An error's word as the provider says it, cut and cleaned.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_provider_brings_back_is_read_once_and_not_twice() {
        let text = |text: &str| Some(text.to_owned());
        let query = "code=a%20b&state=s&iss=https%3A%2F%2Fid&session_state=x";
        let expected = Returned { code: text("a b"), state: text("s"), issuer: text("https://id"), error: None };
        assert_eq!(Returned::of(query), expected);
        assert_eq!(Returned::of("code=a&code=b&state="), Returned::default());
        assert_eq!(Returned::of(&format!("code={}", "x".repeat(4097))), Returned::default());
    }

    /// The example of RFC 6749, section 2.3.1, and one with characters that have to be encoded.
    #[test]
    fn a_secret_is_shown_as_the_standard_says() {
        let shown = |id: &str, secret: &str| basic(id, &secret.to_owned().into());
        assert_eq!(shown("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"), "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3");
        assert_eq!(shown("a:b", "c d%"), format!("Basic {}", STANDARD.encode("a%3Ab:c+d%25")));
    }
}
