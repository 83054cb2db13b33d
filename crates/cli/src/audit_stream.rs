//! The audit as it grows. A timeline ends, an audit doesn't.

use crate::{
    client::Client,
    error::CliError,
    server_events::{Closed, Following, Listener},
};
use metalform_store::AuditLine;

/// What a query asks for.
type Filter = Vec<(&'static str, String)>;

/// Follows what passes the filter, from after that line.
pub fn follow_audit(client: &Client, filter: Filter, after: i64) -> Following<AuditLine> {
    let client = client.clone();
    Following::start(move |listener| read_on(client, filter, after, listener))
}

async fn read_on(
    client: Client,
    mut filter: Filter,
    mut after: i64,
    listener: Listener<AuditLine>,
) -> Result<(), CliError> {
    loop {
        let (response, mut any) = (client.audit_stream(&filter, after).await?, false);
        let is_new = |line: &AuditLine| {
            let is_new = line.seq > after;
            (after, any) = (after.max(line.seq), any || is_new);
            is_new
        };
        if listener.hear(response, is_new).await == Closed::Unheard || !listener.pause().await {
            return Ok(());
        }
        // The newest were asked for once.
        if any {
            filter.retain(|(name, _)| *name != "last");
        }
    }
}
