//! Server-sent events of the service, read by hand: what comes, once and in its order, over one connection after another.
//!
//! The service sends a comment now and then, so silence means a broken connection: it is given up and made again, from the
//! last number on. The reader is a task of its own, because whoever waits for the next event also waits for other things, and
//! a connection being made must not be dropped for those.

use crate::error::CliError;
use futures_util::StreamExt;
use reqwest::Response;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinHandle};

/// Longest silence of a healthy connection.
const SILENCE: Duration = Duration::from_secs(60);
const BEFORE_RECONNECT: Duration = Duration::from_millis(300);
/// Events read ahead of whoever shows them.
const AHEAD: usize = 64;
/// Largest event; a connection that sends more without a blank line isn't ours.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// What comes from the reader. Dropping it ends the reader.
pub struct Following<T> {
    items: mpsc::Receiver<Result<T, CliError>>,
    reader: JoinHandle<()>,
}

impl<T: Send + 'static> Following<T> {
    /// Starts a reader. It returns when nobody listens any more or nothing will come any more, or with an error that a
    /// reconnect doesn't mend.
    pub fn start<F>(read: impl FnOnce(Listener<T>) -> F) -> Following<T>
    where
        F: Future<Output = Result<(), CliError>> + Send + 'static,
    {
        let (tx, items) = mpsc::channel(AHEAD);
        let reading = read(Listener(tx.clone()));
        let reader = tokio::spawn(async move {
            if let Err(error) = reading.await {
                // Nobody listens any more: nothing is lost.
                let _ = tx.send(Err(error)).await;
            }
        });
        Following { items, reader }
    }

    /// The next one; each comes once, in order. Waits until there is one. `None`: it ended, or an error was told before.
    pub async fn next(&mut self) -> Option<Result<T, CliError>> {
        self.items.recv().await
    }
}

impl<T> Drop for Following<T> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Whom a reader tells.
pub struct Listener<T>(mpsc::Sender<Result<T, CliError>>);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// By the service.
    Ended,
    /// It broke, or was silent for too long: connect again, from where we are.
    Broken,
    /// Nobody listens any more.
    Unheard,
}

impl<T: DeserializeOwned> Listener<T> {
    /// Passes on what a connection brings and `is_new` takes, until it ends.
    pub async fn hear(&self, response: Response, mut is_new: impl FnMut(&T) -> bool) -> Closed {
        let (mut bytes, mut parser) = (response.bytes_stream(), Parser::default());
        loop {
            let chunk = match tokio::time::timeout(SILENCE, bytes.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(None) => return Closed::Ended,
                Ok(Some(Err(_))) | Err(_) => return Closed::Broken,
            };
            for item in parser.push::<T>(&chunk) {
                if is_new(&item) && self.0.send(Ok(item)).await.is_err() {
                    return Closed::Unheard;
                }
            }
            if parser.pending() > MAX_EVENT_BYTES {
                return Closed::Broken;
            }
        }
    }

    /// Waits before the next connection; `false`: nobody listens any more.
    pub async fn pause(&self) -> bool {
        tokio::time::sleep(BEFORE_RECONNECT).await;
        !self.0.is_closed()
    }
}

/// Takes bytes as they come and gives whole events. Only `data:` matters: the event says its kind and number itself.
#[derive(Default)]
struct Parser {
    pending: Vec<u8>,
}

impl Parser {
    /// Bytes of an event that isn't whole yet.
    fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Takes these bytes in, and gives the events that are whole with them.
    fn push<T: DeserializeOwned>(&mut self, chunk: &[u8]) -> Vec<T> {
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
    use metalform_model::Event;

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
