//! The timeline, as a list or as a stream.

use super::{ApiError, App, caller::Caller, nodes::after_of};
use axum::{
    Extension, Json,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures_util::stream::{self, Stream, StreamExt};
use metalform_model::{ClusterPhase, Event};
use serde_json::json;
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
use uuid::Uuid;

/// How often a stream looks for new events. Reading "nothing new" is one indexed look-up.
const LOOK: Duration = Duration::from_millis(150);

/// The timeline of a cluster; with `Accept: text/event-stream` as it happens.
#[utoipa::path(get, path = "/api/v1/clusters/{name}/events",
    params(("name" = String, Path, description = "the cluster"),
    ("after" = Option<i64>, Query, minimum = 0, description = "events after this one")),
    responses((status = 200, description = "at most 1000 events, or a stream"),
    (status = 400, description = "a query that isn't understood"),
    (status = 404, description = "no cluster of that name")))]
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = after_of(query.as_deref())?;
    let state = app.living(&caller, &name).await?;
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/event-stream") {
        let events = app.store.events(state.record.id, asked.unwrap_or(0), 1000).await?;
        return Ok(Json(json!({"events": events})).into_response());
    }
    let resumed = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let stream = follow(app, caller, state.record.id, resumed.or(asked).unwrap_or(0));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

struct Following {
    app: Arc<App>,
    caller: Caller,
    cluster_id: Uuid,
    after: i64,
    read: VecDeque<Event>,
}

/// Ends when the cluster is released and everything of it was sent, when the token that opened it opens nothing any more,
/// or when the service stops.
fn follow(
    app: Arc<App>,
    caller: Caller,
    cluster_id: Uuid,
    after: i64,
) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    let stop = app.stop.clone();
    let start = Following { app, caller, cluster_id, after, read: VecDeque::new() };
    let events = stream::unfold(start, |mut at| async move {
        loop {
            if let Some(event) = at.read.pop_front() {
                at.after = event.seq;
                let data = serde_json::to_string(&event).unwrap_or_default();
                let sse = SseEvent::default().id(event.seq.to_string()).event(&event.kind).data(data);
                return Some((Ok(sse), at));
            }
            if !at.app.still_lets_in(&at.caller).await {
                return None;
            }
            let released = match at.app.store.cluster(at.cluster_id).await {
                Ok(Some(state)) => state.record.phase == ClusterPhase::Released,
                _ => false,
            };
            match at.app.store.events(at.cluster_id, at.after, 200).await {
                Ok(events) if events.is_empty() && released => return None,
                Ok(events) => at.read.extend(events),
                // The store is away: the client sees a pause, and nothing is lost.
                Err(error) => tracing::warn!(%error, "a timeline could not be read"),
            }
            if at.read.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        }
    });
    events.take_until(stop.cancelled_owned())
}
