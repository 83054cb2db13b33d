//! A cluster's timeline as it grows.

use crate::{
    client::Client,
    error::CliError,
    server_events::{Closed, Following, Listener},
};
use metalform_model::{ClusterPhase, Event};

/// Follows the timeline from after that sequence number; it ends once the cluster is released.
pub fn follow_events(client: &Client, cluster: &str, after: i64) -> Following<Event> {
    let (client, cluster) = (client.clone(), cluster.to_owned());
    Following::start(|listener| read_on(client, cluster, after, listener))
}

async fn read_on(client: Client, cluster: String, mut after: i64, listener: Listener<Event>) -> Result<(), CliError> {
    loop {
        let response = client.stream(&cluster, after).await?;
        let is_new = |event: &Event| {
            let is_new = event.seq > after;
            after = after.max(event.seq);
            is_new
        };
        match listener.hear(response, is_new).await {
            Closed::Unheard => return Ok(()),
            Closed::Ended if client.cluster(&cluster).await?.phase == ClusterPhase::Released.as_str() => return Ok(()),
            Closed::Ended | Closed::Broken => {}
        }
        if !listener.pause().await {
            return Ok(());
        }
    }
}
