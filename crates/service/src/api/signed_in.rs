//! Who is signed in: seen by an admin, and signed out by one. What a session by the OpenID provider rests on is seen at the start.
//!
//! An admin who is limited to clusters knows only of sessions that reach no further, as with tokens and users.

use super::{
    ApiError, App,
    caller::Caller,
    record::{Call, Recorded},
};
use crate::audit::own_line;
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::Extensions,
};
use metalform_model::{ApiRole, AuditEntry, Clock, Scope, SessionStanding, Timestamp, WebSession, audit_action};
use metalform_store::{Store, StoreError};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// A session, as it is shown: nothing of it opens anything.
#[derive(Serialize)]
struct Shown {
    who: String,
    name: String,
    role: ApiRole,
    clusters: Scope,
    created_at: Timestamp,
    last_used_at: Timestamp,
    ends_at: Timestamp,
}

impl From<WebSession> for Shown {
    fn from(session: WebSession) -> Self {
        let WebSession { who, name, role, clusters, created_at, last_used_at, ends_at, .. } = session;
        Shown { who, name, role, clusters, created_at, last_used_at, ends_at }
    }
}

/// Every session that opens something.
#[utoipa::path(get, path = "/api/v1/sessions", responses((status = 200, description = "the sessions, by whose they are")))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, ApiError> {
    let now = app.clock.now();
    let mut sessions = app.store.web_sessions().await?;
    sessions.retain(|session| {
        session.standing(now, app.sessions.idle) == SessionStanding::Active && caller.scope.includes(&session.clusters)
    });
    Ok(Json(json!({"sessions": shown(sessions)})))
}

/// Ends all sessions of one person: at once, and the streams that they opened within a second.
#[utoipa::path(delete, path = "/api/v1/sessions/{who}",
    params(("who" = String, Path, description = "whose: as the list and the audit have it, a user's name, or an OpenID subject")),
    responses((status = 200, description = "the sessions, which are over"),
    (status = 404, description = "nobody of that name is signed in")))]
pub(super) async fn end(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(who): Path<String>,
    extensions: Extensions,
) -> Result<(Recorded, Json<Value>), ApiError> {
    let now = app.clock.now();
    // Those that are over go, too, and nobody is told of them: they opened nothing.
    let opens = |session: &WebSession| session.standing(now, app.sessions.idle) == SessionStanding::Active;
    let chosen = |all: Vec<WebSession>| {
        let mut known = all;
        known.retain(|session| caller.scope.includes(&session.clusters));
        let meant: Vec<WebSession> = known.iter().filter(|session| session.is_of(&who)).cloned().collect();
        known.retain(|session| meant.iter().any(|one| session.is_of_the_same(one)));
        known
    };
    let lines = |ended: &[WebSession]| {
        let line = |(who, count)| {
            let call = Call::named(audit_action::SESSION_END, in_words(who, count), &extensions);
            call.line(&app, &caller.who, "ok".into())
        };
        let opened: Vec<WebSession> = ended.iter().filter(|session| opens(session)).cloned().collect();
        by_person(&opened).into_iter().map(line).collect()
    };
    let mut ended = app.store.end_web_sessions(chosen, lines).await?;
    ended.retain(opens);
    if ended.is_empty() {
        let shown: String = who.chars().take(80).collect();
        let hint = "`metalform user sessions` lists who is";
        return Err(ApiError::new(404, "not_signed_in", format!("nobody called {shown:?} is signed in"), hint));
    }
    Ok((Recorded, Json(json!({"sessions": shown(ended)}))))
}

/// Ends the sessions of single sign-on that began under another configuration of it than `present`, or with none left: whoever
/// takes `[control.oidc]` away, or a role from a group, means those who are in as well.
pub(crate) async fn end_outdated(store: &Store, clock: &dyn Clock, present: Option<&str>) -> Result<(), StoreError> {
    let is_outdated = |session: &WebSession| {
        let under = session.single_sign_on.as_ref().map(|by| by.provider.as_str());
        session.user.is_none() && (under.is_none() || under != present)
    };
    // Most starts write nothing.
    if !store.web_sessions().await?.iter().any(is_outdated) {
        return Ok(());
    }
    let lines = |ended: &[WebSession]| -> Vec<AuditEntry> {
        let line = |(who, count)| {
            let target = format!("{}, of another [control.oidc] than the present one", in_words(who, count));
            own_line(clock, audit_action::SESSION_END, &target, "ok")
        };
        by_person(ended).into_iter().map(line).collect()
    };
    store.end_web_sessions(|all| all.into_iter().filter(is_outdated).collect(), lines).await?;
    Ok(())
}

fn shown(sessions: Vec<WebSession>) -> Vec<Shown> {
    sessions.into_iter().map(Shown::from).collect()
}

/// How many sessions of each.
fn by_person(sessions: &[WebSession]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for session in sessions {
        *counts.entry(session.who.as_str()).or_default() += 1;
    }
    counts
}

fn in_words(who: &str, count: usize) -> String {
    format!("{who}: {count} {}", if count == 1 { "session" } else { "sessions" })
}
