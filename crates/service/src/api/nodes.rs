//! Nodes, and the audit.

use super::{ApiError, App, clusters::unknown_query};
use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::header,
    response::{IntoResponse, Response},
};
use metalform_boot::{BootToken, ScriptValues};
use metalform_model::NodeStatus;
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

async fn find(app: &App, server_id: &str) -> Result<ClusterState, ApiError> {
    app.store.cluster_of_node(server_id).await?.ok_or_else(|| unknown(server_id))
}

/// Every living node.
#[utoipa::path(get, path = "/api/v1/nodes", responses((status = 200, description = "the nodes"),
    (status = 401, description = "no token")))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    let mut nodes = Vec::new();
    for state in app.store.living_clusters().await? {
        let ids = state.nodes.iter().map(|n| n.record.server_id.as_str());
        nodes.extend(ids.filter_map(|id| node_of(&app, &state, id)));
    }
    Ok(Json(json!({"nodes": nodes})))
}

/// One node.
#[utoipa::path(get, path = "/api/v1/nodes/{server_id}", params(("server_id" = String, Path, description = "the node")),
    responses((status = 200, description = "the node"), (status = 401, description = "no token"),
    (status = 404, description = "none of that id")))]
pub(super) async fn show(State(app): State<Arc<App>>, Path(server_id): Path<String>) -> Result<Json<Value>, ApiError> {
    let state = find(&app, &server_id).await?;
    node_of(&app, &state, &server_id).map(Json).ok_or_else(|| unknown(&server_id))
}

/// The boot script of a node, its token hidden.
#[utoipa::path(get, path = "/api/v1/nodes/{server_id}/script",
    params(("server_id" = String, Path, description = "the node")),
    responses((status = 200, description = "the script", content_type = "text/plain"),
    (status = 401, description = "no token"), (status = 404, description = "none of that id"),
    (status = 409, description = "its address isn't known yet")))]
pub(super) async fn script(State(app): State<Arc<App>>, Path(server_id): Path<String>) -> Result<Response, ApiError> {
    let state = find(&app, &server_id).await?;
    let node = state.nodes.iter().find(|n| n.record.server_id == server_id).ok_or_else(|| unknown(&server_id))?;
    let Some(mgmt_ip) = node.record.mgmt_ip else {
        let message = format!("{server_id} has no management address yet");
        return Err(ApiError::new(409, "no_address_yet", message, "ask again when its address is reserved"));
    };
    let hidden = BootToken::hidden();
    let values = ScriptValues {
        server_id: &server_id,
        mgmt_ip,
        boot_host: &app.boot_host,
        boot_token: &hidden,
        image_set: None,
    };
    match app.templates.render(None, &values) {
        Some(Ok(text)) => Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()),
        Some(Err(error)) => {
            Err(ApiError::new(409, "no_script", error.to_string(), "destroy the cluster and deploy a mended plan"))
        }
        None => Err(ApiError::new(409, "no_script", "the script template is missing", "see [boot] templates_dir")),
    }
}

/// The audit, oldest first.
#[utoipa::path(get, path = "/api/v1/audit", params(("after" = Option<i64>, Query, description = "lines after this one")),
    responses((status = 200, description = "at most 1000 lines"), (status = 401, description = "no token")))]
pub(super) async fn audit(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Json<Value>, ApiError> {
    let after = after_of(query.as_deref())?.unwrap_or(0);
    let lines = app.store.audit(after, 1000).await?;
    Ok(Json(json!({"lines": lines})))
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
