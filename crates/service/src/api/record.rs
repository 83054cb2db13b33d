//! The audit lines of the control plane's calls.

use super::{App, caller::Caller};
use axum::{
    extract::ConnectInfo,
    http::{Extensions, Method, request::Parts},
    response::{IntoResponseParts, ResponseParts},
};
use metalform_model::{AuditEntry, audit_action};
use metalform_store::StoreError;
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

/// Marks the answer of a call whose deed stands in the audit, under a line of its own that was committed with it. What the call
/// did can't be taken back for want of the call's own line, so the answer goes out without it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recorded;

impl IntoResponseParts for Recorded {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// What the audit says of a call, but who made it and its outcome.
pub(super) struct Call {
    action: String,
    target: String,
    source: Option<IpAddr>,
}

impl Call {
    /// A call of the API by its method and path.
    pub(super) fn of(request: &Parts) -> Call {
        // In our own words: a method is any text of any length that a stranger likes.
        let action = match request.method {
            Method::GET => audit_action::API_GET,
            Method::POST => audit_action::API_POST,
            Method::DELETE => audit_action::API_DELETE,
            _ => audit_action::API_OTHER,
        };
        let target = request.uri.path().chars().take(200).collect();
        Call { action: action.to_owned(), target, source: source_of(&request.extensions) }
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
        // Told in the log; a refusal needs no line to be one.
        self.must_record(app, who, outcome).await.ok();
    }

    /// Writes the line of what is not to be answered unrecorded.
    pub(super) async fn must_record(&self, app: &App, who: &str, outcome: String) -> Result<(), StoreError> {
        let written = app.store.add_audit(&self.line(app, who, outcome)).await;
        written.inspect_err(|error| tracing::error!(%error, "an audit line could not be written"))
    }

    /// The line, for whoever writes it with what it is of.
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

/// The line of what a call does, beside the line of the call itself. It is written with the deed, in one transaction, or before
/// the answer goes out: so nothing is done unrecorded, whenever the caller hangs up or the power fails.
pub(super) fn deed_line(
    app: &App,
    caller: &Caller,
    extensions: &Extensions,
    action: &str,
    target: String,
) -> AuditEntry {
    Call::named(action, target, extensions).line(app, &caller.who, "ok".into())
}
