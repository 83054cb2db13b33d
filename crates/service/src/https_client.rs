//! A client for the few other services that the configuration names: HTTPS by the system's authorities, or by those of a file
//! alone. No redirect is followed and no proxy is taken from the environment: where requests go is what the configuration says.
//! Every answer has a deadline.

use reqwest::{Certificate, Client, redirect::Policy};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use thiserror::Error;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A client that can't be made. Permanent, but for a file that is there at the next try.
#[derive(Debug, Error)]
pub enum HttpsClientError {
    /// `ca_file` can't be read.
    #[error("the certificates in {} can't be read", .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// It holds none.
    #[error("there are no certificates in {}", .0.display())]
    NoCertificates(PathBuf),
    /// What it holds, or what the system has, can't be used.
    #[error("the certificates can't be used")]
    Client(#[from] reqwest::Error),
}

/// See the module. `limit`: for a whole answer.
pub(crate) fn https_client(ca_file: Option<&Path>, limit: Duration) -> Result<Client, HttpsClientError> {
    let mut builder = Client::builder()
        .user_agent(concat!("metalform/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(limit);
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|error| HttpsClientError::Unreadable(path.to_owned(), error))?;
        let certificates = Certificate::from_pem_bundle(&pem)?;
        if certificates.is_empty() {
            return Err(HttpsClientError::NoCertificates(path.to_owned()));
        }
        builder = builder.tls_certs_only(certificates);
    }
    Ok(builder.build()?)
}

/// The whole body, if it isn't longer than `most` bytes; otherwise `None`.
pub(crate) async fn read_body(response: &mut reqwest::Response, most: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
