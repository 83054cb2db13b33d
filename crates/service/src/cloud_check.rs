//! Asks the cloud whether it would let us work: a token, one read of the region's API, and what time it is there.

use crate::{
    Config, FoundKey, ServeError, WallClock,
    serve::{credentials, ibm_client, ibm_iam},
};
use async_trait::async_trait;
use jiff::fmt::rfc2822::DateTimeParser;
use metalform_ibm_cloud::{Error, HttpTransport, Request, Response, TokioPause, Transport, TransportError};
use metalform_model::{Clock, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error as ThisError;

/// What the cloud said.
#[derive(Debug)]
pub struct CloudSeen {
    /// How many profiles of bare metal servers the region has, or what is in the way.
    pub profiles: Result<usize, CloudCheckError>,
    /// By how many seconds this machine's clock is ahead of the cloud's, to the second; `None`: the cloud didn't say.
    pub clock_ahead_secs: Option<i64>,
}

/// What is in the way of working with the cloud.
#[derive(Debug, ThisError)]
pub enum CloudCheckError {
    /// There are no credentials to go there with.
    #[error("there are no credentials for the cloud")]
    Credentials(#[source] ServeError),
    /// It gives no token.
    #[error("IAM gives no token")]
    Token(#[source] Error),
    /// The region's API doesn't answer as it should.
    #[error("the VPC API of {region} can't be used")]
    Vpc {
        /// As it is configured.
        region: String,
        /// Why.
        source: Error,
    },
}

impl CloudCheckError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            CloudCheckError::Credentials(error) => error.hint(),
            CloudCheckError::Token(error) => {
                error.hint().unwrap_or("check the key, and that this machine reaches IAM by HTTPS").into()
            }
            CloudCheckError::Vpc { source, .. } => source
                .hint()
                .unwrap_or("check [ibm_cloud] region and vpc_url, and that this machine reaches it by HTTPS")
                .into(),
        }
    }
}

/// Asks. Changes nothing there or here.
pub async fn check_cloud(config: &Config, found: &FoundKey) -> CloudSeen {
    let (clock, dates) = (Arc::new(WallClock), Arc::new(Dates::default()));
    let profiles = ask(config, found, clock, dates.clone()).await;
    let clock_ahead_secs = *dates.0.lock().unwrap_or_else(PoisonError::into_inner);
    CloudSeen { profiles, clock_ahead_secs }
}

async fn ask(
    config: &Config,
    found: &FoundKey,
    clock: Arc<WallClock>,
    dates: Arc<Dates>,
) -> Result<usize, CloudCheckError> {
    let cloud = &config.ibm_cloud;
    let vpc = |source| CloudCheckError::Vpc { region: cloud.region.clone(), source };
    let credentials = credentials(cloud, |name| found.get(name)).map_err(CloudCheckError::Credentials)?;
    let transport = HttpTransport::new().map_err(|e| CloudCheckError::Credentials(ServeError::Cloud(e.into())))?;
    let transport = Arc::new(Dated { transport, clock: clock.clone(), dates });
    let iam = Arc::new(ibm_iam(cloud, credentials, transport.clone(), clock).map_err(CloudCheckError::Token)?);
    iam.token().await.map_err(CloudCheckError::Token)?;
    let client = ibm_client(cloud, iam, transport, Arc::new(TokioPause)).map_err(vpc)?;
    Ok(client.list_bare_metal_server_profiles().await.map_err(vpc)?.len())
}

/// By how much our clock was ahead at the last answer.
#[derive(Default)]
struct Dates(Mutex<Option<i64>>);

/// Notes the `Date` of each answer.
struct Dated {
    transport: HttpTransport,
    clock: Arc<WallClock>,
    dates: Arc<Dates>,
}

#[async_trait]
impl Transport for Dated {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let response = self.transport.send(request).await?;
        let ahead = response.header("date").and_then(|date| seconds_ahead(self.clock.now(), date));
        if ahead.is_some() {
            *self.dates.0.lock().unwrap_or_else(PoisonError::into_inner) = ahead;
        }
        Ok(response)
    }
}

/// HTTP's dates (RFC 9110, 5.6.7) are those of mail, in whole seconds.
fn seconds_ahead(now: Timestamp, date: &str) -> Option<i64> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let there = PARSER.parse_timestamp(date).ok()?;
    Some(now.0.div_euclid(1_000_000) - there.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_or_behind_is_seen_by_the_clouds_date() {
        let now = Timestamp::from_seconds(1_764_228_287);
        for (date, ahead) in [
            ("Thu, 27 Nov 2025 07:24:47 GMT", Some(0)),
            ("Thu, 27 Nov 2025 07:24:40 GMT", Some(7)),
            ("Thu, 27 Nov 2025 08:24:47 GMT", Some(-3600)),
            ("yesterday", None),
        ] {
            assert_eq!(seconds_ahead(now, date), ahead, "{date}");
        }
    }
}
