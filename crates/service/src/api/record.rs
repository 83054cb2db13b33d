//! The audit lines of the control plane's calls.

use super::{ApiError, App, caller::Caller};
use axum::{
    extract::{ConnectInfo, Request},
    http::Extensions,
};
use metalform_model::AuditEntry;
use std::net::{IpAddr, SocketAddr};

/// What the audit says of a call, but who made it and its outcome.
pub(super) struct Call {
    action: String,
    target: String,
    source: Option<IpAddr>,
}

impl Call {
    /// A call of the API by its method and path.
    pub(super) fn of(request: &Request) -> Call {
        let action = format!("api.{}", request.method().as_str().to_lowercase());
        let target = request.uri().path().chars().take(200).collect();
        Call { action, target, source: source_of(request.extensions()) }
    }

    /// Something that has an action of its own.
    pub(super) fn named(action: &str, target: String, extensions: &Extensions) -> Call {
        Call { action: action.to_owned(), target, source: source_of(extensions) }
    }

    /// The same source, and something else.
    pub(super) fn beside(&self, action: &str, target: String) -> Call {
        Call { action: action.to_owned(), target, source: self.source }
    }

    /// The peer's address.
    pub(super) fn source(&self) -> IpAddr {
        self.source.unwrap_or(IpAddr::from([0, 0, 0, 0]))
    }

    /// Writes the line, if it can be written.
    pub(super) async fn record(&self, app: &App, who: &str, outcome: String) {
        if let Err(error) = app.store.add_audit(&self.line(app, who, outcome)).await {
            tracing::error!(%error, "an audit line could not be written");
        }
    }

    /// Writes the line of what is not to happen unrecorded.
    pub(super) async fn must_record(&self, app: &App, who: &str) -> Result<(), ApiError> {
        Ok(app.store.add_audit(&self.line(app, who, "ok".into())).await?)
    }

    /// The line.
    pub(super) fn line(&self, app: &App, who: &str, outcome: String) -> AuditEntry {
        AuditEntry {
            at: app.clock.now(),
            who: who.to_owned(),
            action: self.action.clone(),
            target: self.target.clone(),
            source: self.source.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string()),
            outcome,
        }
    }
}

/// The peer's address.
fn source_of(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

/// Records what a call does beside the line of the call itself, for deeds that are not to happen unrecorded.
pub(super) async fn record_deed(
    app: &App,
    caller: &Caller,
    extensions: &Extensions,
    action: &str,
    target: String,
) -> Result<(), ApiError> {
    Call::named(action, target, extensions).must_record(app, &caller.who).await
}
