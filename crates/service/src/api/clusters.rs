//! Clusters: deploy, look, retry, form, destroy.

use super::{
    ApiError, App, body,
    caller::Caller,
    record::{Recorded, deed_line},
};
use crate::deploy::{Deployed, deploy};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{Extensions, HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use metalform_model::{
    ClusterPhase, ClusterStatus, FormationChoice, NewEvent, NodePhase, PlanFormat, Start, audit_action, kind,
};
use metalform_store::{ClusterState, OperatorRequest};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;

/// The status document of a cluster.
pub(super) fn status_of(app: &App, state: &ClusterState) -> ClusterStatus {
    ClusterStatus::of(&state.record, state.nodes.iter().map(|n| &n.record), app.clock.now())
}

/// Deploys a plan.
#[utoipa::path(post, path = "/api/v1/clusters", request_body(
    content((String = "application/toml"), (serde_json::Value = "application/json")), description = "a plan"),
    params(("dry_run" = Option<bool>, Query, description = "check everything, create nothing")),
    responses((status = 201, description = "accepted"), (status = 200, description = "the same plan lives already, or a dry run"),
    (status = 400, description = "bad plan"), (status = 415, description = "neither TOML nor JSON"),
    (status = 409, description = "name, node or address taken, or another plan lives under the name"),
    (status = 422, description = "the cloud can't carry it out"),
    (status = 503, description = "try again")))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let dry_run = match query.as_deref() {
        None | Some("" | "dry_run=false") => false,
        Some("dry_run=true") => true,
        Some(other) => return Err(unknown_query(other, "dry_run=true")),
    };
    let text = std::str::from_utf8(&body)
        .map_err(|_| ApiError::new(400, "bad_plan", "the plan is not UTF-8 text", "send TOML or JSON"))?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let format = match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => PlanFormat::Json,
        "application/toml" => PlanFormat::Toml,
        "" | "text/plain" | "application/octet-stream" | "application/x-www-form-urlencoded" => {
            PlanFormat::detect(None, text)
        }
        other => {
            let message = format!("plans aren't read as {other:?}");
            return Err(ApiError::new(415, "unknown_format", message, "send application/toml or application/json"));
        }
    };
    let line = |name: &str| deed_line(&app, &caller, &extensions, audit_action::CLUSTER_DEPLOY, name.to_owned());
    Ok(match deploy(&app, &caller, text, format, dry_run, line).await? {
        Deployed::New(state) => (StatusCode::CREATED, Recorded, Json(status_of(&app, &state))).into_response(),
        Deployed::Same(state) => Json(status_of(&app, &state)).into_response(),
        Deployed::Checked(warnings) => Json(json!({"accepted": false, "warnings": warnings})).into_response(),
    })
}

pub(super) fn unknown_query(query: &str, known: &str) -> ApiError {
    let shown: String = query.chars().take(80).collect();
    ApiError::new(400, "unknown_parameter", format!("unknown query {shown:?}"), &format!("only {known} is known"))
}

/// Every living cluster.
#[utoipa::path(get, path = "/api/v1/clusters", responses((status = 200, description = "the clusters")))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let clusters: Vec<ClusterStatus> =
        app.all_living(&caller).await?.iter().map(|state| status_of(&app, state)).collect();
    Ok(Json(json!({"clusters": clusters})).into_response())
}

/// One cluster, the last of its name if none of it lives.
#[utoipa::path(get, path = "/api/v1/clusters/{name}", params(("name" = String, Path, description = "the cluster")),
    responses((status = 200, description = "the cluster"),
    (status = 404, description = "none of that name")))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<ClusterStatus>, ApiError> {
    let state = app.living(&caller, &name).await?;
    Ok(Json(status_of(&app, &state)))
}

/// Lets a cluster be gone, with everything that was made for it.
#[utoipa::path(delete, path = "/api/v1/clusters/{name}", params(("name" = String, Path, description = "the cluster")),
    responses((status = 202, description = "under way"),
    (status = 404, description = "none of that name")))]
pub(super) async fn destroy(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let state = app.living(&caller, &name).await?;
    if state.intents.absent || state.record.phase == ClusterPhase::Released {
        return Ok((StatusCode::ACCEPTED, Json(status_of(&app, &state))).into_response());
    }
    ask(&app, &caller, &extensions, &name, OperatorRequest::Absent).await
}

/// What a retry may say.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryRequest {
    /// The driver to form the cluster by from now on.
    #[schema(value_type = Option<String>, pattern = "^(auto|prism|foundation|cvm-ssh)$")]
    formation: Option<FormationChoice>,
}

/// Gives what failed another try. The body may name another way to form the cluster: `{"formation": "cvm-ssh"}`.
#[utoipa::path(post, path = "/api/v1/clusters/{name}/retry", params(("name" = String, Path, description = "the cluster")),
    request_body(content = Option<RetryRequest>, description = "optional: the way to form the cluster from now on"),
    responses((status = 202, description = "under way"), (status = 400, description = "a body that isn't understood"),
    (status = 404, description = "none of that name"), (status = 409, description = "nothing has failed")))]
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    extensions: Extensions,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let hint = "leave the body empty, or send {\"formation\": \"auto\" | \"prism\" | \"foundation\" | \"cvm-ssh\"}";
    let wanted: RetryRequest = match bytes.trim_ascii() {
        b"" | b"null" => RetryRequest::default(),
        text => body::read(text, hint)?,
    };
    let state = app.living(&caller, &name).await?;
    let stopped = matches!(state.record.phase, ClusterPhase::Failed | ClusterPhase::NeedsOperator);
    let failed_node = state.record.phase == ClusterPhase::WaitingForNodes
        && state.nodes.iter().any(|n| n.record.phase == NodePhase::Failed);
    if state.intents.absent || !(stopped || failed_node) {
        let message = format!("{name} is in {}: nothing of it waits for a retry", state.record.phase.as_str());
        return Err(ApiError::new(409, "nothing_to_retry", message, "`metalform status` says what it waits for"));
    }
    ask(&app, &caller, &extensions, &name, OperatorRequest::Retry { formation: wanted.formation }).await
}

/// Forms a cluster whose plan says `start = "on-command"`.
#[utoipa::path(post, path = "/api/v1/clusters/{name}/form", params(("name" = String, Path, description = "the cluster")),
    responses((status = 202, description = "under way"),
    (status = 404, description = "none of that name"), (status = 409, description = "not awaited")))]
pub(super) async fn form(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let state = app.living(&caller, &name).await?;
    if state.plan.cluster.start != Start::OnCommand || state.record.phase != ClusterPhase::WaitingForNodes {
        let message = format!("{name} doesn't wait for a command to form");
        let hint = "write start = \"on-command\" in the plan to decide the moment yourself";
        return Err(ApiError::new(409, "not_awaited", message, hint));
    }
    ask(&app, &caller, &extensions, &name, OperatorRequest::Form).await
}

async fn ask(
    app: &App,
    caller: &Caller,
    extensions: &Extensions,
    name: &str,
    request: OperatorRequest,
) -> Result<Response, ApiError> {
    let (action, word, target) = match request {
        OperatorRequest::Absent => (audit_action::CLUSTER_DESTROY, "destroy".into(), name.to_owned()),
        OperatorRequest::Form => (audit_action::CLUSTER_FORM, "form".into(), name.to_owned()),
        OperatorRequest::Retry { formation: None } => (audit_action::CLUSTER_RETRY, "retry".into(), name.to_owned()),
        OperatorRequest::Retry { formation: Some(choice) } => {
            let by = format!("by {}", choice.as_str());
            (audit_action::CLUSTER_RETRY, format!("retry {by}"), format!("{name} {by}"))
        }
    };
    let event = NewEvent::new(app.clock.now(), kind::OPERATOR, format!("the operator asked to {word}"));
    let event = event.with(json!({"request": word, "by": caller.who}));
    let line = deed_line(app, caller, extensions, action, target);
    let id = app.store.request(name, request, event, &line).await?;
    app.wake.wake(id);
    Ok(match app.living(caller, name).await {
        Ok(state) => (StatusCode::ACCEPTED, Recorded, Json(status_of(app, &state))).into_response(),
        // Asked for it is all the same.
        Err(error) => (Recorded, error).into_response(),
    })
}
