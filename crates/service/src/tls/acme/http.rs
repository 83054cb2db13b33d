//! The way to the authority, for the library that speaks its protocol. Nobody but the host that the configuration names is asked,
//! whatever URL an answer brings.

use crate::https_client::{HttpsClientError, https_client, read_body};
use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::{future::Future, path::Path, pin::Pin, time::Duration};
use url::Url;

const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// A chain of certificates is some kilobytes.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct AcmeHttp {
    client: reqwest::Client,
    directory: Url,
}

impl AcmeHttp {
    pub fn new(directory: &Url, ca_file: Option<&Path>) -> Result<AcmeHttp, HttpsClientError> {
        Ok(AcmeHttp { client: https_client(ca_file, ANSWER_LIMIT)?, directory: directory.clone() })
    }

    async fn ask(self, request: axum::http::Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|error| Error::Other(error.into()))?;
        if url.origin() != self.directory.origin() {
            let why = format!("the authority sends us to {url}, which isn't where its directory is");
            return Err(Error::Other(why.into()));
        }
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let asked = self.client.request(parts.method, url).headers(parts.headers).body(body);
        let failed = |error: reqwest::Error| Error::Other(error.into());
        let mut response = asked.send().await.map_err(failed)?;
        let body = read_body(&mut response, MAX_BODY_BYTES).await.map_err(failed)?;
        let body = body.ok_or_else(|| Error::Other(format!("it is longer than {MAX_BODY_BYTES} bytes").into()))?;
        let mut answer = axum::http::Response::new(Full::new(Bytes::from(body)));
        (*answer.status_mut(), *answer.headers_mut()) = (response.status(), response.headers().clone());
        Ok(BytesResponse::from(answer))
    }
}

impl HttpClient for AcmeHttp {
    fn request(
        &self,
        request: axum::http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().ask(request))
    }
}
