//! What the provider publishes of itself: where its endpoints are, and its keys. Asked for when somebody logs in, and not before:
//! a provider that is away keeps nobody from starting the service, nor from logging in with a password.

use super::{
    OidcConfig,
    error::{FetchError, OidcError},
    fetch::{Fetch, is_allowed},
};
use jsonwebtoken::{decode_header, jwk::JwkSet};
use metalform_model::{Clock, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, MutexGuard};
use url::Url;

/// After so long it is asked again.
const FRESH_FOR: Duration = Duration::from_secs(60 * 60);
/// After a failure it is left alone for so long: whoever asks for the login page again and again doesn't have us ask it.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Keys are asked for anew where a token names an unknown one, but not more often than this.
const BETWEEN_KEYS: Duration = Duration::from_secs(60);

/// For others to wait while it is asked: as long as that may take, twice, since a login asks for endpoints and keys.
const TURN_LIMIT: Duration = Duration::from_secs(20);

/// Its endpoints.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Endpoints {
    issuer: String,
    #[serde(deserialize_with = "url")]
    pub authorization_endpoint: Url,
    #[serde(deserialize_with = "url")]
    pub token_endpoint: Url,
    #[serde(deserialize_with = "url")]
    jwks_uri: Url,
    /// How we may show the secret; `client_secret_basic` where it doesn't say.
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

fn url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Default)]
struct Known {
    endpoints: Option<(Arc<Endpoints>, Timestamp)>,
    keys: Option<(Arc<JwkSet>, Timestamp)>,
    failed_at: Option<Timestamp>,
}

/// See the module.
pub(super) struct Provider {
    pub fetch: Fetch,
    issuer: Url,
    config: Arc<OidcConfig>,
    /// Held while the provider is asked: others who want the same wait for it.
    known: Mutex<Known>,
}

/// Whether what was seen then may still be used. Not after the clock was set back.
fn is_fresh(seen: Timestamp, now: Timestamp, for_so_long: Duration) -> bool {
    seen <= now && now.since(seen) < for_so_long
}

impl Provider {
    pub(super) fn new(fetch: Fetch, issuer: Url, config: Arc<OidcConfig>) -> Provider {
        Provider { fetch, issuer, config, known: Mutex::default() }
    }

    /// Where its endpoints are.
    pub(super) async fn endpoints(&self, clock: &dyn Clock) -> Result<Arc<Endpoints>, OidcError> {
        let mut known = self.turn().await?;
        let now = clock.now();
        match &known.endpoints {
            Some((endpoints, seen)) if is_fresh(*seen, now, FRESH_FOR) => return Ok(endpoints.clone()),
            _ => {}
        }
        if known.failed_at.is_some_and(|failed| is_fresh(failed, now, AFTER_FAILURE)) {
            return Err(OidcError::Unavailable(FetchError::JustFailed));
        }
        match self.discover().await {
            Ok(endpoints) => {
                let endpoints = Arc::new(endpoints);
                known.endpoints = Some((endpoints.clone(), clock.now()));
                known.failed_at = None;
                Ok(endpoints)
            }
            Err(error) => {
                // When it was found out, which may be long after it was asked.
                known.failed_at = Some(clock.now());
                Err(error)
            }
        }
    }

    /// Whoever has waited for as long as the one before may take has waited for nothing.
    async fn turn(&self) -> Result<MutexGuard<'_, Known>, OidcError> {
        let turn = tokio::time::timeout(TURN_LIMIT, self.known.lock()).await;
        turn.map_err(|_| OidcError::Unavailable(FetchError::JustFailed))
    }

    async fn discover(&self) -> Result<Endpoints, OidcError> {
        // OpenID Connect Discovery 1.0, section 4: a path of the issuer comes before it.
        let mut url = self.issuer.clone();
        let path = format!("{}/.well-known/openid-configuration", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let found: Endpoints = self.fetch.get(&url).await.map_err(OidcError::Unavailable)?;
        if found.issuer != self.config.issuer {
            let said: String = found.issuer.chars().take(200).collect();
            return Err(OidcError::Discovery(format!("its issuer is {said}, and not {}", self.config.issuer)));
        }
        for endpoint in [&found.authorization_endpoint, &found.token_endpoint, &found.jwks_uri] {
            if !is_allowed(endpoint, &self.issuer, &self.config.origins) {
                let origin = endpoint.origin().ascii_serialization();
                let why = format!("it leads to {origin}, which [control.oidc] origins doesn't name");
                return Err(OidcError::Discovery(why));
            }
        }
        Ok(found)
    }

    /// The keys that it signs with; anew, where the token names one that isn't among them.
    pub(super) async fn keys_for(&self, token: &str, clock: &dyn Clock) -> Result<Arc<JwkSet>, OidcError> {
        let endpoints = self.endpoints(clock).await?;
        let mut known = self.turn().await?;
        let now = clock.now();
        let wanted = decode_header(token).ok().and_then(|header| header.kid);
        if let Some((keys, seen)) = &known.keys {
            let has_it = wanted.is_none_or(|kid| keys.find(&kid).is_some());
            let enough = if has_it { FRESH_FOR } else { BETWEEN_KEYS };
            if is_fresh(*seen, now, enough) {
                return Ok(keys.clone());
            }
        }
        match self.fetch.get::<Value>(&endpoints.jwks_uri).await {
            Ok(found) => {
                let keys = Arc::new(read_keys(&found));
                known.keys = Some((keys.clone(), clock.now()));
                Ok(keys)
            }
            Err(error) => {
                known.failed_at = Some(clock.now());
                Err(OidcError::Unavailable(error))
            }
        }
    }
}

/// Those that can be read: a key of a kind that we don't know is no reason to refuse the others (RFC 7517, section 5).
fn read_keys(found: &Value) -> JwkSet {
    let all = found["keys"].as_array().into_iter().flatten();
    JwkSet { keys: all.filter_map(|key| serde_json::from_value(key.clone()).ok()).collect() }
}
