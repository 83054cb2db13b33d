//! What begins a round: the text by which a machine boots, a script or the word that lets one in user data go on.
//!
//! That it is out is recorded once all of it was taken, so that a machine which never got it has had no script. But a round
//! that is forgotten, because the process dies in between, would cost a machine that starts again its next session: the key of
//! the round before would be taken for this one's, and the agent would stop. So where there is a session already, or the
//! pin is another than the round before has, the record is committed first; a text that then isn't taken makes one round too
//! many, which harms nothing. Without a session nothing is lost, and scripts go out while the store is away. Rejected:
//! always first, which would make every machine wait for the store's disk, and stop all of them while it is away.

use crate::{BootAttemptRef, BootNode, Refusal, counted::counted_text, visit::Visit};
use axum::{body::Body, http::Method};
use metalform_model::Seen;

/// How the text came to the machine.
#[derive(Clone, Copy)]
pub(crate) enum Begun {
    /// It is a script that was fetched.
    Fetched,
    /// It lets a script in user data go on.
    Asked,
}

impl Begun {
    fn seen(self, is_pinned: bool) -> Seen {
        match (self, is_pinned) {
            (Begun::Fetched, false) => Seen::ScriptServed,
            (Begun::Fetched, true) => Seen::PinnedScriptServed,
            (Begun::Asked, false) => Seen::AttemptAsked,
            (Begun::Asked, true) => Seen::PinnedAttemptAsked,
        }
    }
}

/// The text as a body which tells of the round that begins by it. `is_pinned`: whether the machine will ask over TLS.
pub(crate) async fn begin(
    visit: &Visit,
    method: &Method,
    node: &BootNode,
    attempt: BootAttemptRef,
    text: String,
    (begun, is_pinned): (Begun, bool),
) -> Result<Body, Refusal> {
    if *method == Method::HEAD {
        return Ok(Body::from(text));
    }
    let plane = &visit.plane;
    let seen = begun.seen(is_pinned);
    if node.session.is_some() || plane.is_pinned(node) != is_pinned {
        let record = visit.evidence(node, attempt.id, seen);
        plane.journal.record_now(record).await.map_err(|_| Refusal::StoreAway)?;
        return Ok(Body::from(text));
    }
    let (end, node) = (visit.clone(), node.clone());
    Ok(counted_text(text, move || end.plane.journal.record(end.evidence(&node, attempt.id, seen))))
}
