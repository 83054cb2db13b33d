//! The VPC API: how every call is sent. What is sent and what comes back stands with each noun, in `vpc/`.
//!
//! Source: <https://cloud.ibm.com/apidocs/vpc>; field names and statuses checked against ibm-vpc 0.36.0 (PyPI).

pub mod bare_metal_server;
pub mod image;
pub mod key;
pub mod profile;
pub mod reference;
pub mod reserved_ip;
pub mod security_group;
pub mod subnet;
pub mod virtual_network_interface;
pub mod virtual_private_cloud;

use crate::{
    error::{Effect, Error, Operation},
    iam::{Iam, base_url},
    pause::Pause,
    token::Token,
    transport::{Method, Request, Response, Transport},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{fmt, sync::Arc, time::Duration};
use url::Url;

/// The API's behaviour is chosen by a date; this client was written against this one.
pub const API_VERSION: &str = "2026-10-06";

const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Creating a server takes 2.5 s as observed; IBM's SDK waits 60 s.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
const MORE_TRIES: u32 = 3;
/// Doubled with every try.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(10);
/// The API's maximum.
const PAGE_LIMIT: &str = "100";
/// 25,000 resources; the highest quota there is are 20,000 reserved IPs per region
/// (<https://cloud.ibm.com/docs/vpc?topic=vpc-quotas>).
const MAX_PAGES: usize = 250;

/// The public endpoint of a region, such as `us-south`.
pub fn vpc_url(region: &str) -> String {
    format!("https://{region}.iaas.cloud.ibm.com/v1")
}

/// Client of one region's VPC API. Methods are grouped with their nouns.
///
/// Reads are tried up to four times on 429, 5xx and broken connections (a `Retry-After` is honoured up to 10 s,
/// otherwise 0.2 s, doubling). Anything else is sent once, or twice if the first was answered 401.
pub struct VpcClient {
    base: Url,
    iam: Arc<Iam>,
    transport: Arc<dyn Transport>,
    pause: Arc<dyn Pause>,
}

impl fmt::Debug for VpcClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VpcClient").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// One call of the API.
struct Call {
    operation: Operation,
    method: Method,
    url: Url,
    body: Option<Value>,
}

impl VpcClient {
    /// `vpc_url` ends in `/v1`; see [`vpc_url`]. Fails if it is no URL; asks nobody yet.
    pub fn new(
        vpc_url: &str,
        iam: Arc<Iam>,
        transport: Arc<dyn Transport>,
        pause: Arc<dyn Pause>,
    ) -> Result<Self, Error> {
        Ok(VpcClient { base: base_url(vpc_url)?, iam, transport, pause })
    }

    async fn get<T: DeserializeOwned>(&self, name: &'static str, path: &[&str]) -> Result<T, Error> {
        let call = self.call(name, Method::Get, path, &[], None)?;
        let response = self.send(&call).await?;
        call.read(&response)
    }

    /// All items of a collection, page after page. `next.href` is only mined for `start`: the token never goes where a
    /// reply points.
    async fn list<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: &[&str],
        filters: &[(&str, &str)],
    ) -> Result<Vec<T>, Error> {
        let collection = path.last().copied().unwrap_or_default();
        let mut items = Vec::new();
        let mut start: Option<String> = None;
        let mut pages = 0;
        loop {
            let mut query = filters.to_vec();
            query.push(("limit", PAGE_LIMIT));
            query.extend(start.as_deref().map(|start| ("start", start)));
            let call = self.call(name, Method::Get, path, &query, None)?;
            let response = self.send(&call).await?;
            let wrong = |why: String| Error::unreadable(&call.operation, &response, why);
            let mut page: Value = call.read(&response)?;
            let Some(found) = page.get_mut(collection) else { return Err(wrong(format!("no `{collection}`"))) };
            items.extend(serde_json::from_value::<Vec<T>>(found.take()).map_err(|e| wrong(e.to_string()))?);
            let next = page.pointer("/next/href").and_then(Value::as_str).and_then(|href| self.start_of(href));
            pages += 1;
            match next {
                None => return Ok(items),
                Some(next) if start.as_ref() == Some(&next) => return Err(wrong("its next page is itself".into())),
                Some(_) if pages == MAX_PAGES => return Err(wrong(format!("more than {MAX_PAGES} pages"))),
                Some(next) => start = Some(next),
            }
        }
    }

    /// Sends something that creates or replaces, and reads the resource from the reply.
    async fn put_or_post<T: DeserializeOwned>(
        &self,
        name: &'static str,
        method: Method,
        path: &[&str],
        body: Value,
    ) -> Result<T, Error> {
        let call = self.call(name, method, path, &[], Some(body))?;
        let response = self.send(&call).await?;
        call.read(&response)
    }

    /// Sends something whose reply, if it has a body, says nothing new.
    async fn act(&self, name: &'static str, method: Method, path: &[&str], body: Option<Value>) -> Result<(), Error> {
        let call = self.call(name, method, path, &[], body)?;
        self.send(&call).await.map(drop)
    }

    fn call(
        &self,
        name: &'static str,
        method: Method,
        path: &[&str],
        filters: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Call, Error> {
        let request = format!("{} /{}", method.as_str(), path.join("/"));
        let operation = Operation { name, request, effect: Effect::of(method) };
        // `DELETE /subnets/` is another call than `DELETE /subnets/<id>`.
        if path.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(Error::unsendable(&operation, "an id is empty or a dot".into()));
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.query_pairs_mut().append_pair("version", API_VERSION).append_pair("generation", "2").extend_pairs(filters);
        Ok(Call { operation, method, url, body })
    }

    /// Sends a read until it succeeds, or a few times; anything else once.
    async fn send(&self, call: &Call) -> Result<Response, Error> {
        let mut tries_left = if call.operation.effect == Effect::None { MORE_TRIES } else { 0 };
        let mut backoff = FIRST_BACKOFF;
        loop {
            let error = match self.attempt(call).await {
                Ok(response) => return Ok(response),
                Err(error) if tries_left == 0 || !error.is_worth_another_try() => return Err(error),
                Err(error) => error,
            };
            let wait = error.retry_after().map_or(backoff, |asked| asked.min(MAX_RETRY_AFTER));
            tracing::debug!(%error, ?wait, "trying again");
            self.pause.pause(wait).await;
            backoff *= 2;
            tries_left -= 1;
        }
    }

    /// One try; two if the token was refused, which is known only here and means that nothing was done.
    async fn attempt(&self, call: &Call) -> Result<Response, Error> {
        let token = self.iam.token().await?;
        let mut response = self.exchange(call, &token).await?;
        if response.status == 401 {
            self.iam.invalidate(&token);
            let token = self.iam.token().await?;
            response = self.exchange(call, &token).await?;
        }
        tracing::debug!(operation = call.operation.name, status = response.status, "VPC answered");
        match response.is_success() {
            true => Ok(response),
            false => Err(Error::answered(&call.operation, &response)),
        }
    }

    async fn exchange(&self, call: &Call, token: &Token) -> Result<Response, Error> {
        let mut headers = vec![
            ("accept".to_owned(), "application/json".to_owned()),
            ("authorization".to_owned(), token.authorization()),
        ];
        if call.body.is_some() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let request = Request {
            method: call.method,
            url: call.url.to_string(),
            headers,
            body: call.body.as_ref().map(|body| body.to_string().into_bytes()),
            timeout: if call.method == Method::Get { READ_TIMEOUT } else { WRITE_TIMEOUT },
        };
        self.transport.send(request).await.map_err(|error| Error::unanswered(&call.operation, error))
    }

    fn start_of(&self, href: &str) -> Option<String> {
        let url = self.base.join(href).ok()?;
        url.query_pairs().find(|(key, _)| key == "start").map(|(_, value)| value.into_owned())
    }
}

impl Call {
    fn read<T: DeserializeOwned>(&self, response: &Response) -> Result<T, Error> {
        serde_json::from_slice(&response.body).map_err(|e| Error::unreadable(&self.operation, response, e))
    }
}
