//! The [`Transport`] over sockets.
//!
//! No redirect is followed (the API has none; a redirected POST would carry a token elsewhere) and no proxy is taken
//! from the environment: where requests go is what the configuration says.

use crate::transport::{Method, Request, Response, Transport, TransportError};
use async_trait::async_trait;
use reqwest::{header::CONTENT_LENGTH, redirect::Policy};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than any load balancer's, so that a POST does not go out on a connection which is just being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Far above the largest known reply (100 images), far below what would hurt.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// HTTP/1.1 with TLS by the system's certificate authorities. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
}

impl HttpTransport {
    /// Fails if the system has no certificate authorities.
    pub fn new() -> Result<Self, TransportError> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("metalform/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build()
            .map_err(TransportError::not_sent)?;
        Ok(HttpTransport { client })
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut builder = self.client.request(method, &request.url).timeout(request.timeout);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        builder = match (request.body, request.method) {
            (Some(body), _) => builder.body(body),
            // `start` has no body and must still say so (RFC 9110, §8.6); left to itself, hyper says nothing.
            (None, Method::Post | Method::Put) => builder.header(CONTENT_LENGTH, 0),
            (None, Method::Get | Method::Delete) => builder,
        };
        let mut reply = builder.send().await.map_err(typed)?;
        let status = reply.status().as_u16();
        let headers = reply
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let mut body = Vec::new();
        while let Some(chunk) = reply.chunk().await.map_err(typed)? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(TransportError::unknown(format!("the reply is longer than {MAX_BODY_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    }
}

fn typed(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if error.is_connect() || error.is_builder() {
        TransportError::not_sent(error)
    } else {
        TransportError::unknown(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    fn get(url: String) -> Request {
        Request { method: Method::Get, url, headers: vec![], body: None, timeout: Duration::from_secs(5) }
    }

    /// A server that reads one request, answers with `answer` and closes (`None`: keeps the connection open, silent).
    async fn server(answer: Option<&'static str>) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                if stream.read_buf(&mut seen).await.unwrap() == 0 {
                    break;
                }
            }
            match answer {
                Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                // Until the client gives up.
                None => drop(stream.read_to_end(&mut Vec::new()).await),
            }
            String::from_utf8(seen).unwrap()
        });
        (url, task)
    }

    #[tokio::test]
    async fn a_refused_connection_was_certainly_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = HttpTransport::new().unwrap().send(get(url)).await.unwrap_err();
        assert!(matches!(error, TransportError::NotSent { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_connection_closed_without_a_reply_is_unknown() {
        let (url, _server) = server(Some("")).await;
        let error = HttpTransport::new().unwrap().send(get(url)).await.unwrap_err();
        assert!(matches!(error, TransportError::Unknown { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_body_cut_short_is_unknown() {
        let (url, _server) = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123")).await;
        let error = HttpTransport::new().unwrap().send(get(url)).await.unwrap_err();
        assert!(matches!(error, TransportError::Unknown { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_timeout_after_sending_is_unknown() {
        let (url, _server) = server(None).await;
        let request = Request { timeout: Duration::from_millis(50), ..get(url) };
        let error = HttpTransport::new().unwrap().send(request).await.unwrap_err();
        assert!(matches!(error, TransportError::Unknown { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_redirect_is_a_reply_and_is_not_followed() {
        let (url, _server) =
            server(Some("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")).await;
        let response = HttpTransport::new().unwrap().send(get(url)).await.unwrap();
        assert_eq!((response.status, response.header("Location")), (302, Some("http://127.0.0.1:1/")));
    }

    #[tokio::test]
    async fn a_post_without_a_body_says_that_its_length_is_zero() {
        let (url, server) = server(Some("HTTP/1.1 204 No Content\r\n\r\n")).await;
        let response = HttpTransport::new().unwrap().send(Request { method: Method::Post, ..get(url) }).await.unwrap();
        let seen = server.await.unwrap().to_lowercase();
        assert_eq!(response.status, 204);
        assert!(seen.contains("\r\ncontent-length: 0\r\n"), "{seen}");
        assert!(!seen.contains("content-type"), "{seen}");
        assert!(seen.contains("\r\nuser-agent: metalform/"), "{seen}");
    }
}
