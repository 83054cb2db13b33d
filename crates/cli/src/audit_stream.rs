//! The audit as it grows: server-sent events, with a reconnect from the last line. See [`crate::event_stream`], whose ways
//! these are; a timeline ends, an audit doesn't.

use crate::{
    client::Client,
    error::CliError,
    event_stream::{BEFORE_RECONNECT, MAX_EVENT_BYTES, Parser, SILENCE},
};
use futures_util::StreamExt;
use metalform_store::AuditLine;
use tokio::{sync::mpsc, task::JoinHandle};

/// Lines read ahead of whoever shows them.
const AHEAD: usize = 64;

/// See the module. Dropping it ends the reader.
pub struct AuditStream {
    lines: mpsc::Receiver<Result<AuditLine, CliError>>,
    reader: JoinHandle<()>,
}

impl AuditStream {
    /// Follows what passes the filter, from after that line.
    pub fn follow(client: &Client, filter: Vec<(&'static str, String)>, after: i64) -> AuditStream {
        let (tx, lines) = mpsc::channel(AHEAD);
        let client = client.clone();
        let reader = tokio::spawn(async move {
            if let Err(error) = read_on(&client, filter, after, &tx).await {
                // Nobody listens any more: nothing is lost.
                let _ = tx.send(Err(error)).await;
            }
        });
        AuditStream { lines, reader }
    }

    /// The next line; each comes once, in order. `None`: an error was told before.
    pub async fn next(&mut self) -> Option<Result<AuditLine, CliError>> {
        self.lines.recv().await
    }
}

impl Drop for AuditStream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_on(
    client: &Client,
    mut filter: Vec<(&'static str, String)>,
    mut after: i64,
    tx: &mpsc::Sender<Result<AuditLine, CliError>>,
) -> Result<(), CliError> {
    loop {
        let mut bytes = client.audit_stream(&filter, after).await?.bytes_stream();
        let mut parser = Parser::default();
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout(SILENCE, bytes.next()).await {
            for line in parser.push::<AuditLine>(&chunk).into_iter().filter(|line| line.seq > after).collect::<Vec<_>>()
            {
                after = line.seq;
                // The newest were asked for once.
                filter.retain(|(name, _)| *name != "last");
                if tx.send(Ok(line)).await.is_err() {
                    return Ok(());
                }
            }
            if parser.pending() > MAX_EVENT_BYTES {
                break;
            }
        }
        tokio::time::sleep(BEFORE_RECONNECT).await;
        if tx.is_closed() {
            return Ok(());
        }
    }
}
