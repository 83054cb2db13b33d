//! The way to the provider, and where it may lead: the issuer's origin, and those that the configuration names.

use super::{config::is_confidential, error::FetchError};
use crate::https_client::{HttpsClientError, https_client, read_body};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use std::{path::Path, time::Duration};
use url::Url;

const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Far above the documents of any provider.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Fetch {
    client: reqwest::Client,
}

impl Fetch {
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Fetch, HttpsClientError> {
        Ok(Fetch { client: https_client(ca_file, REQUEST_LIMIT)? })
    }

    /// A document.
    pub(super) async fn get<T: DeserializeOwned>(&self, url: &Url) -> Result<T, FetchError> {
        let (status, body) = send(self.client.get(url.clone()), url).await?;
        if status != 200 {
            return Err(FetchError::Status { url: url.to_string(), status });
        }
        read(url, &body)
    }

    /// The answer to a form, whatever its status.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        url: &Url,
        form: String,
        authorization: Option<&str>,
    ) -> Result<T, FetchError> {
        let mut request = self.client.post(url.clone());
        request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        if let Some(value) = authorization {
            let mut value = reqwest::header::HeaderValue::from_str(value).map_err(|error| content(url, error))?;
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        let (_, body) = send(request, url).await?;
        // In other words than the parser's, which quote what they don't understand: it may be a token.
        serde_json::from_slice(&body).map_err(|error| {
            content(url, format!("line {} column {} isn't as it should be", error.line(), error.column()))
        })
    }
}

async fn send(request: RequestBuilder, url: &Url) -> Result<(u16, Vec<u8>), FetchError> {
    let failed = |source: reqwest::Error| FetchError::Http { url: url.to_string(), source: source.without_url() };
    let mut response = request.header("accept", "application/json").send().await.map_err(failed)?;
    let body = read_body(&mut response, MAX_BODY_BYTES).await.map_err(failed)?;
    let body = body.ok_or_else(|| content(url, format!("it is longer than {MAX_BODY_BYTES} bytes")))?;
    Ok((response.status().as_u16(), body))
}

fn read<T: DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, FetchError> {
    serde_json::from_slice(body).map_err(|error| content(url, error))
}

fn content(url: &Url, why: impl ToString) -> FetchError {
    FetchError::Content { url: url.to_string(), why: why.to_string() }
}

/// Whether that URL is the provider's: of the issuer's origin, or of one that the configuration names.
pub(super) fn is_allowed(url: &Url, issuer: &Url, origins: &[String]) -> bool {
    let origins = origins.iter().filter_map(|origin| Url::parse(origin).ok());
    let is_known = url.origin() == issuer.origin() || origins.into_iter().any(|other| other.origin() == url.origin());
    is_known && is_confidential(url) && url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_issuers_origin_and_those_that_are_named_are_asked() {
        let url = |text: &str| Url::parse(text).unwrap();
        let (issuer, named) = (url("https://id.example.com/realm"), ["https://keys.example.com".to_owned()]);
        for ours in ["https://id.example.com/token", "https://id.example.com:443/x", "https://keys.example.com/jwks"] {
            assert!(is_allowed(&url(ours), &issuer, &named), "{ours}");
        }
        for other in [
            "https://evil.example",
            "http://id.example.com/token",
            "https://id.example.com:8443/token",
            "https://id.example.com.evil.example",
            "https://user@id.example.com/token",
            "http://169.254.169.254/",
            "file:///etc/passwd",
        ] {
            assert!(!is_allowed(&url(other), &issuer, &named), "{other}");
        }
    }
}
