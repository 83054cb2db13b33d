//! The control plane: what people and their programs talk to. Handlers read, and write intents; none changes a phase.

mod audit;
mod auth;
mod clusters;
mod credentials;
mod error;
mod events;
mod nodes;
mod openapi;
mod page;

pub use error::ApiError;

use crate::{boot_side::StoreDirectory, installer::Installer, runner::Wake, secrets::OperatorToken};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use metalform_boot::{BootHost, BootPlane, Templates};
use metalform_ibm_cloud::VpcClient;
use metalform_model::{Clock, MAX_PLAN_BYTES, Profiles, Timeouts};
use metalform_store::{AuditHeads, ClusterState, Sealer, Store, StoreError};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the handlers work with.
pub(crate) struct App {
    pub store: Store,
    /// Signs the audit.
    pub audit_heads: Arc<AuditHeads>,
    pub vpc: Arc<VpcClient>,
    pub profiles: Arc<Profiles>,
    pub clock: Arc<dyn Clock>,
    pub wake: Wake,
    /// Knows whether the boot images can be booted.
    pub plane: Arc<BootPlane>,
    pub installer: Installer,
    /// Who a machine is, as the boot plane sees it.
    pub directory: Arc<StoreDirectory>,
    pub boot_host: BootHost,
    pub templates: Templates,
    pub timeouts: Timeouts,
    pub token: OperatorToken,
    /// Opens the clusters' passwords for whoever may read them.
    pub sealer: Sealer,
    /// Ends streams, which would otherwise keep the service from stopping.
    pub stop: CancellationToken,
}

impl App {
    /// The living cluster of that name, or an answer that says there is none.
    pub(crate) async fn living(&self, name: &str) -> Result<ClusterState, ApiError> {
        let found = self.store.cluster_named(name).await?;
        found.ok_or_else(|| StoreError::NoCluster { name: name.to_owned() }.into())
    }
}

/// Everything the control plane answers.
pub(crate) fn router(app: Arc<App>) -> Router {
    let guarded = Router::new()
        .route("/api/v1/clusters", get(clusters::list).post(clusters::create))
        .route("/api/v1/clusters/{name}", get(clusters::show).delete(clusters::destroy))
        .route("/api/v1/clusters/{name}/retry", post(clusters::retry))
        .route("/api/v1/clusters/{name}/form", post(clusters::form))
        .route("/api/v1/clusters/{name}/credentials", get(credentials::read))
        .route("/api/v1/clusters/{name}/events", get(events::events))
        .route("/api/v1/nodes", get(nodes::list))
        .route("/api/v1/nodes/{server_id}", get(nodes::show))
        .route("/api/v1/nodes/{server_id}/script", get(nodes::script))
        .route("/api/v1/nodes/{server_id}/explain", get(nodes::explain))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/v1/audit/head", get(audit::head))
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(DefaultBodyLimit::max(MAX_PLAN_BYTES))
        .layer(from_fn_with_state(app.clone(), auth::check));
    Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(page::alive))
        .route("/readyz", get(page::ready))
        .route("/openapi.json", get(openapi::document))
        .merge(guarded)
        .with_state(app)
}
