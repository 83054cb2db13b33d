//! The document that describes the control plane, made from the handlers' own annotations.

use super::{audit, clusters, credentials, events, nodes};
use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(title = "Metalform", description = "From a plan to a healthy Nutanix cluster"),
    paths(
        clusters::list,
        clusters::create,
        clusters::show,
        clusters::destroy,
        clusters::retry,
        clusters::form,
        credentials::read,
        events::events,
        nodes::list,
        nodes::show,
        nodes::script,
        nodes::explain,
        audit::list,
        audit::head
    )
)]
struct Document;

pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
