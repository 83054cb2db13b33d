//! Bearer tokens from IAM, by API key or by the trusted profile of the machine this runs on.
//!
//! A token is used until 80 % of its life, then replaced; while the old one is good, a failed refresh is no failure and
//! is tried again after a minute (both as IBM's SDK does). One request at a time goes to IAM: whoever needs a token
//! meanwhile waits for that one and shares its outcome, or goes on with the old one.
//!
//! Sources: <https://cloud.ibm.com/docs/account?topic=account-iamtoken_from_apikey>,
//! <https://cloud.ibm.com/apidocs/vpc-metadata>, ibm-cloud-sdk-core 3.28.0 `token_managers/`.

use crate::{
    error::{Effect, Error, Operation},
    token::Token,
    transport::{Method, Request, Response, Transport},
};
use metalform_model::{Clock, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use url::Url;

/// IAM's public address.
pub const IAM_URL: &str = "https://iam.cloud.ibm.com";
/// The metadata service, as a VPC machine sees it. It is off by default. Where it is set to `https`, its name is
/// `https://api.metadata.cloud.ibm.com`.
pub const METADATA_URL: &str = "http://169.254.169.254";

/// From this date on the paths are `/identity/v1/…`; bare metal servers know no others.
const METADATA_VERSION: &str = "2025-08-26";
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries to replace a token that is still good.
const REFRESH_RETRY: Duration = Duration::from_secs(60);
/// Life of the instance identity token, seconds (5 to 3600): it is used once, at once.
const IDENTITY_TOKEN_SECS: u32 = 300;

pub(crate) const READ_IDENTITY: &str = "get an identity token from the metadata service";

/// Who we are towards IBM Cloud.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// An IAM API key.
    ApiKey(SecretString),
    /// The identity of the VPC machine this runs on: no secret to keep.
    TrustedProfile {
        /// Usually [`METADATA_URL`].
        metadata_url: String,
        /// `None`: the profile linked to the machine by default.
        profile: Option<TrustedProfile>,
    },
}

/// How a trusted profile is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedProfile {
    /// By id.
    Id(String),
    /// By CRN.
    Crn(String),
    /// By name.
    Name(String),
}

/// Gets tokens and keeps them fresh. Shared by all clients of one account.
pub struct Iam {
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    base: Url,
    credentials: Credentials,
    cache: Mutex<Cache>,
    /// Held by the one who asks IAM. Not by those who have a good token.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Cache {
    token: Option<Arc<Token>>,
    /// No refresh of a good token before this.
    not_before: Timestamp,
    /// How many requests failed, and the last failure: those who waited for it share it.
    failures: u64,
    last_failure: Option<Error>,
}

impl fmt::Debug for Iam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iam").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Iam {
    /// `iam_url` (usually [`IAM_URL`], with or without `/identity/token`) is used with an API key only. Fails if the URL
    /// in use is none; asks nobody yet.
    pub fn new(
        credentials: Credentials,
        iam_url: &str,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let base = match &credentials {
            Credentials::ApiKey(_) => base_url(iam_url.trim_end_matches('/').trim_end_matches("/identity/token"))?,
            Credentials::TrustedProfile { metadata_url, .. } => base_url(metadata_url)?,
        };
        let (cache, asking) = Default::default();
        Ok(Iam { transport, clock, base, credentials, cache, asking })
    }

    /// A token that is good now.
    pub async fn token(&self) -> Result<Arc<Token>, Error> {
        let now = self.clock.now();
        let (token, failures) = {
            let cache = self.cache();
            (cache.good_token(now), cache.failures)
        };
        match token {
            Some((token, false)) => Ok(token),
            Some((token, true)) => {
                let Ok(_asking) = self.asking.try_lock() else { return Ok(token) };
                Ok(self.ask(failures).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the IAM token is due and could not be replaced; the old one is still good");
                    token
                }))
            }
            None => {
                let _asking = self.asking.lock().await;
                self.ask(failures).await
            }
        }
    }

    /// Forgets a token that was refused. A newer one, fetched by somebody else meanwhile, stays.
    pub fn invalidate(&self, refused: &Arc<Token>) {
        let mut cache = self.cache();
        if cache.token.as_ref().is_some_and(|token| Arc::ptr_eq(token, refused)) {
            cache.token = None;
        }
    }

    /// Asks IAM, unless somebody has done so since `failures` was read. The caller holds `asking`.
    async fn ask(&self, failures: u64) -> Result<Arc<Token>, Error> {
        let now = self.clock.now();
        {
            let cache = self.cache();
            if let Some((token, false)) = cache.good_token(now) {
                return Ok(token);
            }
            if let Some(error) = cache.last_failure.as_ref().filter(|_| cache.failures != failures) {
                return Err(error.clone());
            }
        }
        let fetched = match &self.credentials {
            Credentials::ApiKey(key) => self.token_by_api_key(key).await,
            Credentials::TrustedProfile { profile, .. } => self.token_by_trusted_profile(profile.as_ref()).await,
        };
        let mut cache = self.cache();
        match fetched {
            Ok(token) => {
                let token = Arc::new(token);
                cache.token = Some(token.clone());
                cache.not_before = Timestamp::default();
                cache.last_failure = None;
                Ok(token)
            }
            Err(error) => {
                cache.not_before = self.clock.now() + REFRESH_RETRY;
                cache.failures += 1;
                cache.last_failure = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn token_by_api_key(&self, key: &SecretString) -> Result<Token, Error> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ibm:params:oauth:grant-type:apikey")
            .append_pair("apikey", key.expose_secret())
            .append_pair("response_type", "cloud_iam")
            .finish();
        let form = Body { content_type: "application/x-www-form-urlencoded", bytes: form.into_bytes() };
        let (operation, response) =
            self.exchange("get an IAM token by API key", Method::Post, "/identity/token", &[], Some(form)).await?;
        access_token(&operation, &response)
            .and_then(|token| Token::from_jwt(token).map_err(|why| Error::unreadable(&operation, &response, why)))
    }

    async fn token_by_trusted_profile(&self, profile: Option<&TrustedProfile>) -> Result<Token, Error> {
        let flavor = ("metadata-flavor", "ibm".to_owned());
        let body = Body::json(&json!({ "expires_in": IDENTITY_TOKEN_SECS }));
        let path = format!("/identity/v1/token?version={METADATA_VERSION}");
        let (operation, response) =
            self.exchange(READ_IDENTITY, Method::Put, &path, std::slice::from_ref(&flavor), Some(body)).await?;
        let identity = access_token(&operation, &response)?;

        let body = profile.map(|profile| {
            Body::json(&json!({ "trusted_profile": match profile {
                TrustedProfile::Id(id) => json!({ "id": id }),
                TrustedProfile::Crn(crn) => json!({ "crn": crn }),
                TrustedProfile::Name(name) => json!({ "name": name }),
            }}))
        });
        let path = format!("/identity/v1/iam_tokens?version={METADATA_VERSION}");
        let headers = [flavor, ("authorization", format!("Bearer {identity}"))];
        let (operation, response) =
            self.exchange("get an IAM token by trusted profile", Method::Post, &path, &headers, body).await?;
        access_token(&operation, &response)
            .and_then(|token| Token::from_jwt(token).map_err(|why| Error::unreadable(&operation, &response, why)))
    }

    async fn exchange(
        &self,
        name: &'static str,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, String)],
        body: Option<Body>,
    ) -> Result<(Operation, Response), Error> {
        let path = path_and_query.split('?').next().unwrap_or_default();
        let request = format!("{} {path}", method.as_str());
        // A token more or less changes nothing: a lost reply is not ambiguous for whoever wanted to use it.
        let operation = Operation { name, request, effect: Effect::None };
        let mut headers: Vec<(String, String)> = headers.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        headers.push(("accept".to_owned(), "application/json".to_owned()));
        if let Some(body) = &body {
            headers.push(("content-type".to_owned(), body.content_type.to_owned()));
        }
        let request = Request {
            method,
            url: format!("{}{path_and_query}", self.base.as_str().trim_end_matches('/')),
            headers,
            body: body.map(|body| body.bytes),
            timeout: TOKEN_TIMEOUT,
        };
        let response = self.transport.send(request).await.map_err(|e| Error::unanswered(&operation, e))?;
        tracing::debug!(operation = operation.name, status = response.status, "IAM answered");
        match response.is_success() {
            true => Ok((operation, response)),
            false => Err(Error::answered(&operation, &response).refused_credentials()),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// A token that is good now, and whether it is due for replacement.
    fn good_token(&self, now: Timestamp) -> Option<(Arc<Token>, bool)> {
        let token = self.token.clone().filter(|token| now < token.expires_at)?;
        let is_due = now >= token.refresh_at && now >= self.not_before;
        Some((token, is_due))
    }
}

struct Body {
    content_type: &'static str,
    bytes: Vec<u8>,
}

impl Body {
    fn json(value: &serde_json::Value) -> Self {
        Body { content_type: "application/json", bytes: value.to_string().into_bytes() }
    }
}

fn access_token(operation: &Operation, response: &Response) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
    }
    // The parser's own words could quote the token.
    let granted: Granted = serde_json::from_slice(&response.body)
        .map_err(|_| Error::unreadable(operation, response, "no JSON with `access_token`"))?;
    Ok(granted.access_token)
}

/// An `http` or `https` URL that paths can be appended to.
pub(crate) fn base_url(text: &str) -> Result<Url, Error> {
    let wrong = |why: String| {
        let request = String::from("configuration");
        Error::unsendable(&Operation { name: "use the configured URL", request, effect: Effect::None }, why)
    };
    let url = Url::parse(text).map_err(|e| wrong(format!("{text:?} is no URL: {e}")))?;
    match url.scheme() {
        "http" | "https" if url.query().is_none() && url.fragment().is_none() => Ok(url),
        "http" | "https" => Err(wrong(format!("{text:?} has a query or a fragment"))),
        _ => Err(wrong(format!("{text:?} is neither http nor https"))),
    }
}
