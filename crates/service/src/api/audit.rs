//! The audit, as a list or as a stream, and its newest signed head.

use super::{ApiError, App, caller::Caller, clusters::unknown_query};
use axum::{
    Extension, Json,
    extract::{RawQuery, State},
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures_util::stream::{self, Stream, StreamExt};
use metalform_model::Timestamp;
use metalform_store::{AuditFilter, AuditHeadError, AuditLine};
use serde_json::{Value, json};
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::watch;
use url::form_urlencoded;

/// The most lines in one answer.
const PAGE: u32 = 1000;
/// How often a stream that has nothing to tell asks whether its reader may still listen.
const STILL_LET_IN: Duration = Duration::from_secs(1);
/// How long the store is left alone after it failed a stream.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

const KNOWN: &str = "after, who, action, target, source, outcome, since, until, limit and last";

/// The audit, oldest first; with `Accept: text/event-stream` as it grows.
#[utoipa::path(get, path = "/api/v1/audit", params(
    ("after" = Option<i64>, Query, minimum = 0, description = "lines after this one"),
    ("who" = Option<String>, Query, description = "by whom; a text that ends in * is a beginning, here and below"),
    ("action" = Option<String>, Query, description = "what was tried"),
    ("target" = Option<String>, Query, description = "on what"),
    ("source" = Option<String>, Query, description = "from which address"),
    ("outcome" = Option<String>, Query, description = "how it ended: ok, refused:CODE"),
    ("since" = Option<String>, Query, format = DateTime, description = "from this moment on, RFC 3339"),
    ("until" = Option<String>, Query, format = DateTime, description = "before this moment, RFC 3339"),
    ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "at most so many, 1000 by default and at most"),
    ("last" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "the newest so many instead, 1000 at most; not with limit")),
    responses((status = 200, description = "the lines, or a stream"), (status = 400, description = "a wrong filter")))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut filter = filter_of(query.as_deref().unwrap_or_default())?;
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/event-stream") {
        let lines = app.store.audit_lines(&filter).await?;
        return Ok(Json(json!({"lines": lines})).into_response());
    }
    if let Some(resumed) = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok()) {
        filter = AuditFilter { after: resumed, newest: false, limit: PAGE, ..filter };
    }
    let lines = follow(app, caller, filter);
    Ok(Sse::new(lines).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

/// The newest signed head, of what is recorded at this moment; `null` while there is nothing. This call's own line comes after.
#[utoipa::path(get, path = "/api/v1/audit/head", responses(
    (status = 200, description = "the head, and the public key that it is checked with"),
    (status = 503, description = "it can't be written: try again")))]
pub(super) async fn head(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    let head = app.audit_heads.sign(app.clock.now()).await.map_err(|error| match error {
        AuditHeadError::Store(error) => ApiError::from(error),
        error @ AuditHeadError::File { .. } => {
            tracing::error!(%error, source = ?std::error::Error::source(&error), "the audit could not be signed");
            ApiError::new(503, "audit_unsigned", "the audit could not be signed", error.hint())
        }
    })?;
    Ok(Json(json!({"head": head, "public_key": app.audit_heads.public_key().to_string()})))
}

fn filter_of(query: &str) -> Result<AuditFilter, ApiError> {
    let mut filter = AuditFilter { limit: PAGE, ..AuditFilter::default() };
    let mut limits = 0;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        let bad = |wanted: &str| {
            let shown: String = value.chars().take(80).collect();
            ApiError::new(400, "bad_parameter", format!("{name} can't be {shown:?}"), &format!("it is {wanted}"))
        };
        let moment = || value.parse::<Timestamp>().map_err(|_| bad("a moment such as 2026-01-31T12:00:00Z"));
        let number = || value.parse::<u32>().ok().filter(|n| (1..=PAGE).contains(n)).ok_or_else(|| bad("1 to 1000"));
        match &*name {
            "after" => {
                let after = value.parse().ok().filter(|n| *n >= 0);
                filter.after = after.ok_or_else(|| bad("the number of a line"))?;
            }
            "who" => filter.who = Some(value),
            "action" => filter.action = Some(value),
            "target" => filter.target = Some(value),
            "source" => filter.source = Some(value),
            "outcome" => filter.outcome = Some(value),
            "since" => filter.since = Some(moment()?),
            "until" => filter.until = Some(moment()?),
            "limit" => (filter.limit, limits) = (number()?, limits + 1),
            "last" => (filter.limit, filter.newest, limits) = (number()?, true, limits + 1),
            _ => return Err(unknown_query(&format!("{name}={value}"), KNOWN)),
        }
    }
    if limits > 1 {
        let hint = "`limit` takes the oldest, `last` the newest: keep one of them";
        return Err(ApiError::new(400, "bad_parameter", "limit and last exclude each other", hint));
    }
    Ok(filter)
}

struct Following {
    app: Arc<App>,
    caller: Caller,
    filter: AuditFilter,
    grown: watch::Receiver<i64>,
    read: VecDeque<AuditLine>,
    is_first: bool,
    /// Everything up to this line was looked at.
    seen: i64,
}

/// Ends when the credential that opened it opens nothing any more, and when the service stops. A follower's own request is one
/// line, however long it follows.
fn follow(app: Arc<App>, caller: Caller, filter: AuditFilter) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    let stop = app.stop.clone();
    let mut grown = app.store.audited();
    grown.mark_changed();
    let start = Following { app, caller, filter, grown, read: VecDeque::new(), is_first: true, seen: 0 };
    let lines = stream::unfold(start, |mut at| async move {
        loop {
            if let Some(line) = at.read.pop_front() {
                at.filter.after = line.seq;
                let data = serde_json::to_string(&line).unwrap_or_default();
                return Some((Ok(SseEvent::default().id(line.seq.to_string()).event("audit").data(data)), at));
            }
            let was_first = std::mem::replace(&mut at.is_first, false);
            if !was_first {
                // The newest were asked for once; from then on all that come.
                (at.filter.newest, at.filter.limit) = (false, PAGE);
                // What was committed while we read is looked at again: nothing is missed, and nothing found is no harm.
                match tokio::time::timeout(STILL_LET_IN, at.grown.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return None,
                    Err(_) if at.app.still_lets_in(&at.caller).await => continue,
                    Err(_) => return None,
                }
            }
            if !at.app.still_lets_in(&at.caller).await {
                return None;
            }
            at.filter.after = at.filter.after.max(at.seen);
            // Before the lines are read: all that were committed until now are among them.
            let newest = *at.grown.borrow_and_update();
            match at.app.store.audit_lines(&at.filter).await {
                Ok(lines) => {
                    match lines.len() >= at.filter.limit as usize {
                        true => at.grown.mark_changed(),
                        false => at.seen = newest,
                    }
                    at.read.extend(lines);
                }
                // The store is away: the client sees a pause, and nothing is lost.
                Err(error) => {
                    tracing::warn!(%error, "the audit could not be read");
                    tokio::time::sleep(AFTER_FAILURE).await;
                    at.grown.mark_changed();
                }
            }
        }
    });
    lines.take_until(stop.cancelled_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_a_filter() {
        let query = "after=7&who=operator&action=boot.*&target=a%20b&source=10.0.0.1&outcome=refused%3A*\
                     &since=2026-01-02T03:04:05Z&until=2026-01-03T00:00:00%2B01:00&limit=5";
        let moment = |text: &str| Some(text.parse().unwrap());
        let text = |text: &str| Some(text.to_owned());
        let expected = AuditFilter {
            after: 7,
            who: text("operator"),
            action: text("boot.*"),
            target: text("a b"),
            source: text("10.0.0.1"),
            outcome: text("refused:*"),
            since: moment("2026-01-02T03:04:05Z"),
            until: moment("2026-01-02T23:00:00Z"),
            limit: 5,
            newest: false,
        };
        assert_eq!(filter_of(query).unwrap(), expected);
        assert_eq!(filter_of("").unwrap(), AuditFilter::default());
        assert_eq!(filter_of("last=9").unwrap(), AuditFilter { limit: 9, newest: true, ..AuditFilter::default() });
    }

    #[test]
    fn a_wrong_filter_is_refused_and_not_passed_over() {
        for query in [
            "after=-1",
            "after=x",
            "limit=0",
            "limit=1001",
            "last=x",
            "since=yesterday",
            "until=",
            "whom=x",
            "limit=1&last=1",
        ] {
            assert!(filter_of(query).is_err(), "{query}");
        }
    }
}
