//! A cluster's timeline as it grows: server-sent events, read by hand, with a reconnect from the last sequence number.
//!
//! The service sends a comment now and then, so silence means a broken connection: it is given up and made again. The
//! reader is a task of its own, because whoever waits for the next event also waits for other things, and a connection
//! being made must not be dropped for those.

use crate::{client::Client, error::CliError};
use futures_util::StreamExt;
use metalform_model::{ClusterPhase, Event};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinHandle};

/// Longest silence of a healthy connection.
pub const SILENCE: Duration = Duration::from_secs(60);
pub const BEFORE_RECONNECT: Duration = Duration::from_millis(300);
/// Events read ahead of whoever shows them.
const AHEAD: usize = 64;
/// Largest event; a connection that sends more without a blank line isn't ours.
pub const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// See the module. Dropping it ends the reader.
pub struct EventStream {
    events: mpsc::Receiver<Result<Event, CliError>>,
    reader: JoinHandle<()>,
}

impl EventStream {
    /// Follows the timeline from after that sequence number.
    pub fn follow(client: &Client, cluster: &str, after: i64) -> EventStream {
        let (tx, events) = mpsc::channel(AHEAD);
        let (client, cluster) = (client.clone(), cluster.to_owned());
        let reader = tokio::spawn(async move {
            if let Err(error) = read_on(&client, &cluster, after, &tx).await {
                // Nobody listens any more: nothing is lost.
                let _ = tx.send(Err(error)).await;
            }
        });
        EventStream { events, reader }
    }

    /// The next event; each comes once, in order. Waits until there is one. `None`: the cluster
    /// is released and its timeline ended, or an error was told before.
    pub async fn next(&mut self) -> Option<Result<Event, CliError>> {
        self.events.recv().await
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Returns when nobody listens any more or nothing will come any more, or with an error that a reconnect doesn't mend.
async fn read_on(
    client: &Client,
    cluster: &str,
    mut after: i64,
    tx: &mpsc::Sender<Result<Event, CliError>>,
) -> Result<(), CliError> {
    loop {
        let mut bytes = client.stream(cluster, after).await?.bytes_stream();
        let mut parser = Parser::default();
        // A break and a silence are the same here: connect again, from where we are.
        let ended = loop {
            let chunk = match tokio::time::timeout(SILENCE, bytes.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(None) => break true,
                Ok(Some(Err(_))) | Err(_) => break false,
            };
            for event in parser.push::<Event>(&chunk).into_iter().filter(|event| event.seq > after).collect::<Vec<_>>()
            {
                after = event.seq;
                if tx.send(Ok(event)).await.is_err() {
                    return Ok(());
                }
            }
            if parser.pending() > MAX_EVENT_BYTES {
                break false;
            }
        };
        if ended && client.cluster(cluster).await?.phase == ClusterPhase::Released.as_str() {
            return Ok(());
        }
        tokio::time::sleep(BEFORE_RECONNECT).await;
        if tx.is_closed() {
            return Ok(());
        }
    }
}

/// Takes bytes as they come and gives whole events. Only `data:` matters: the event says its kind and number itself.
#[derive(Default)]
pub struct Parser {
    pending: Vec<u8>,
}

impl Parser {
    /// Bytes of an event that isn't whole yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Takes these bytes in, and gives the events that are whole with them.
    pub fn push<T: DeserializeOwned>(&mut self, chunk: &[u8]) -> Vec<T> {
        self.pending.extend(chunk.iter().filter(|byte| **byte != b'\r'));
        let mut events = Vec::new();
        while let Some(end) = self.pending.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.pending.drain(..end + 2).collect();
            let block = String::from_utf8_lossy(&block);
            let data: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("data:")).collect();
            // Comments have no data; a kind of event this version doesn't know is still an event.
            if let Ok(event) = serde_json::from_str(&data.join("\n")) {
                events.push(event);
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nid: 7\nevent: nodes_ready\ndata: {\"seq\":7,\"at\":\"2026-01-02T03:04:05Z\",\
        \"cluster\":\"a\",\"kind\":\"nodes_ready\",\"message\":\"gar\u{fc}n\",\"data\":null}\n\n:\n\nid: 8\r\ndata: \
        {\"seq\":8,\"at\":\"2026-01-02T03:04:06Z\",\r\ndata: \"cluster\":\"a\",\"kind\":\"new\",\"message\":\"\",\
        \"data\":{}}\r\n\r\n";

    #[test]
    fn events_are_whole_wherever_the_bytes_are_cut() {
        for cut in 0..STREAM.len() {
            let mut parser = Parser::default();
            let (first, second) = STREAM.as_bytes().split_at(cut);
            let mut events: Vec<Event> = parser.push(first);
            events.extend(parser.push(second));
            let told: Vec<(i64, &str)> = events.iter().map(|e| (e.seq, e.message.as_str())).collect();
            assert_eq!(told, [(7, "garün"), (8, "")], "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_event_is_passed_over() {
        let mut parser = Parser::default();
        assert!(parser.push::<Event>(b"data: not json\n\nretry: 5\n\n\n\n").is_empty());
        assert!(parser.push::<Event>(b"data: {\"seq\":1").is_empty(), "an event ends with a blank line");
    }
}
