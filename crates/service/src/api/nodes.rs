//! Nodes.

use super::{ApiError, App, OUT_OF_SCOPE, caller::Caller, clusters::unknown_query};
use crate::installer::{ScriptTokens, script_of};
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use metalform_boot::{Directory, Unavailable};
use metalform_model::{Explanation, NodeStatus, NodeView, RefusedRequest, explain_node};
use metalform_store::ClusterState;
use serde_json::{Value, json};
use std::sync::Arc;

fn node_of(app: &App, state: &ClusterState, server_id: &str) -> Option<Value> {
    let node = state.nodes.iter().find(|n| n.record.server_id == server_id)?;
    let mut document = serde_json::to_value(NodeStatus::of(&node.record, app.clock.now())).ok()?;
    let fields = document.as_object_mut()?;
    fields.insert("cluster".into(), json!(state.record.name));
    fields.insert("resources".into(), json!(node.resources));
    fields.insert("boot".into(), json!(node.record.boot));
    Some(document)
}

fn unknown(server_id: &str) -> ApiError {
    let shown: String = server_id.chars().take(80).collect();
    ApiError::new(404, "unknown_node", format!("no node is named {shown:?}"), "`metalform status` lists the nodes")
}

/// The cluster of a node. One that the caller's token isn't for is as unknown as one that isn't there.
async fn find(app: &App, caller: &Caller, server_id: &str) -> Result<ClusterState, ApiError> {
    match app.store.cluster_of_node(server_id).await? {
        Some(state) if caller.reaches(&state.record.name) => Ok(state),
        Some(_) => Err(unknown(server_id).audited_as(OUT_OF_SCOPE)),
        None => Err(unknown(server_id)),
    }
}

/// Every living node.
#[utoipa::path(get, path = "/api/v1/nodes", responses((status = 200, description = "the nodes")))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, ApiError> {
    let mut nodes = Vec::new();
    for state in app.all_living(&caller).await? {
        let ids = state.nodes.iter().map(|n| n.record.server_id.as_str());
        nodes.extend(ids.filter_map(|id| node_of(&app, &state, id)));
    }
    Ok(Json(json!({"nodes": nodes})))
}

/// One node.
#[utoipa::path(get, path = "/api/v1/nodes/{server_id}", params(("server_id" = String, Path, description = "the node")),
    responses((status = 200, description = "the node"),
    (status = 404, description = "none of that id")))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(server_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let state = find(&app, &caller, &server_id).await?;
    node_of(&app, &state, &server_id).map(Json).ok_or_else(|| unknown(&server_id))
}

/// The boot script of a node, its token hidden.
#[utoipa::path(get, path = "/api/v1/nodes/{server_id}/script",
    params(("server_id" = String, Path, description = "the node")),
    responses((status = 200, description = "the script", content_type = "text/plain"),
    (status = 404, description = "none of that id"),
    (status = 409, description = "its address isn't known yet"),
    (status = 503, description = "store or image set can't be read now")))]
pub(super) async fn script(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(server_id): Path<String>,
) -> Result<Response, ApiError> {
    find(&app, &caller, &server_id).await?;
    // Asked as the machine is answered: with its template and its image set.
    let node = app.directory.by_server_id(&server_id).await.map_err(store_away)?.ok_or_else(|| unknown(&server_id))?;
    let Some(mgmt_ip) = node.mgmt_ip else {
        let message = format!("{server_id} has no management address yet");
        return Err(ApiError::new(409, "no_address_yet", message, "ask again when its address is reserved"));
    };
    if let Some(why) = node.unreadable_set {
        let hint = "put the image set right: `metalform image verify` names what is wrong with its files";
        return Err(ApiError::new(503, "image_set_unreadable", why, hint));
    }
    let pin = app.plane.ca_sha256().filter(|_| node.inline_pins_ca || !node.inline);
    match script_of(&app.templates, &node, mgmt_ip, &app.boot_host, &ScriptTokens::hidden(pin)) {
        Some(Ok(text)) => Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()),
        Some(Err(error)) => Err(ApiError::new(409, "no_script", error.to_string(), error.hint())),
        None => {
            let message = format!("there is no script template {:?}", node.template.unwrap_or_default());
            Err(ApiError::new(409, "no_script", message, "see [boot] templates_dir and [boot] template"))
        }
    }
}

fn store_away(error: Unavailable) -> ApiError {
    ApiError::new(503, "store_unavailable", error.to_string(), error.hint())
}

/// How many refused requests an explanation looks at.
const REFUSALS: u32 = 5;

/// Where a node stands, what was heard of it, what it looks like, and what to do next.
#[utoipa::path(get, path = "/api/v1/nodes/{server_id}/explain",
    params(("server_id" = String, Path, description = "the node")),
    responses((status = 200, description = "the explanation"),
    (status = 404, description = "none of that id")))]
pub(super) async fn explain(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(server_id): Path<String>,
) -> Result<Json<Explanation>, ApiError> {
    let state = find(&app, &caller, &server_id).await?;
    let found = state.nodes.iter().zip(&state.plan.nodes).find(|(node, _)| node.record.server_id == server_id);
    let (node, plan) = found.ok_or_else(|| unknown(&server_id))?;
    let record = &node.record;
    let since = record.attempt.as_ref().map_or(record.since, |attempt| attempt.opened_at);
    let refused = app.store.refused_boot_requests(&server_id, record.mgmt_ip, since, REFUSALS).await?;
    let refusals: Vec<RefusedRequest> = refused
        .into_iter()
        .map(|line| RefusedRequest {
            at: line.at,
            action: line.action,
            source: line.source,
            code: line.outcome.trim_start_matches("refused:").to_owned(),
        })
        .collect();
    let view = NodeView {
        plan,
        record,
        resources: &node.resources,
        absent: state.intents.absent,
        choice: state.intents.formation.unwrap_or(state.plan.cluster.formation),
        timeouts: &app.timeouts,
    };
    Ok(Json(explain_node(view, &state.record.name, &refusals, app.clock.now())))
}

/// `after=N`, the only query that lists know.
pub(super) fn after_of(query: Option<&str>) -> Result<Option<i64>, ApiError> {
    match query {
        None | Some("") => Ok(None),
        Some(query) => {
            let number = query.strip_prefix("after=").and_then(|n| n.parse().ok()).filter(|n: &i64| *n >= 0);
            number.map(Some).ok_or_else(|| unknown_query(query, "after=NUMBER"))
        }
    }
}
