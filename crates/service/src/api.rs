//! The control plane: what people and their programs talk to. Handlers read, and write intents; none changes a phase.

mod audit;
mod auth;
mod body;
mod browser;
mod caller;
mod calls;
mod clusters;
mod credentials;
mod error;
mod events;
mod grant;
mod headers;
mod limits;
mod lockout;
mod nodes;
mod oidc;
mod openapi;
mod page;
mod policy;
mod proxy;
mod record;
mod sessions;
mod signed_in;
mod tokens;
mod users;

pub use error::ApiError;
pub(crate) use {browser::Browser, caller::Caller, limits::Limits, sessions::SessionTimes, signed_in::end_outdated};

use crate::{
    boot_side::StoreDirectory, config::UserData, installer::Installer, oidc::Oidc, password_hash::Passwords,
    runner::Wake, secrets::BootstrapToken,
};
use auth::Gate;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn_with_state, map_response},
    routing::{MethodFilter, MethodRouter, any, on},
};
use caller::Credential;
use ipnet::IpNet;
use metalform_boot::{BootHost, BootPlane, Templates};
use metalform_ibm_cloud::VpcClient;
use metalform_model::{Clock, MAX_PLAN_BYTES, Profiles, SessionStanding, Timeouts, TokenStanding};
use metalform_store::{AuditHeads, ClusterState, Sealer, Store, StoreError};
use policy::{ELSEWHERE, Operation, Policy, ROUTES, Verb};
use std::sync::Arc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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
    /// What servers are given as user data.
    pub user_data: UserData,
    pub timeouts: Timeouts,
    pub token: BootstrapToken,
    /// Who failed to show a credential lately, and who calls how fast.
    pub limits: Limits,
    /// Looks at users' passwords.
    pub passwords: Passwords,
    /// How long their sessions last.
    pub sessions: SessionTimes,
    /// The OpenID provider, if people may log in by one.
    pub oidc: Option<Oidc>,
    /// How browsers reach us.
    pub browser: Browser,
    /// Opens the clusters' passwords for whoever may read them.
    pub sealer: Sealer,
    /// What is under way, and goes on though its caller has hung up.
    pub calls: TaskTracker,
    /// Ends streams, which would otherwise keep the service from stopping.
    pub stop: CancellationToken,
}

/// What the audit says where a token that is limited to clusters asks for another one: the caller is told that there is none.
const OUT_OF_SCOPE: &str = "out_of_scope";

impl App {
    /// The living cluster of that name, or an answer that says there is none. One that the caller's token isn't for is as
    /// unknown as one that isn't there.
    pub(crate) async fn living(&self, caller: &Caller, name: &str) -> Result<ClusterState, ApiError> {
        let none = || ApiError::from(StoreError::NoCluster { name: name.to_owned() });
        if !caller.reaches(name) {
            return Err(none().audited_as(OUT_OF_SCOPE));
        }
        self.store.cluster_named(name).await?.ok_or_else(none)
    }

    /// Every living cluster that the caller may know of.
    pub(crate) async fn all_living(&self, caller: &Caller) -> Result<Vec<ClusterState>, ApiError> {
        let mut all = self.store.living_clusters().await?;
        all.retain(|state| caller.reaches(&state.record.name));
        Ok(all)
    }

    /// Whether the credential that was let in would be let in again: asked while an answer goes on for hours. With the
    /// store away nothing is known, and nothing more is told either.
    pub(crate) async fn still_lets_in(&self, caller: &Caller) -> bool {
        let now = self.clock.now();
        match &caller.by {
            Credential::Bootstrap => true,
            Credential::Token { id, .. } => match self.store.api_token(id).await {
                Ok(found) => found.is_some_and(|(token, _)| token.standing(now) == TokenStanding::Active),
                Err(_) => true,
            },
            Credential::Session(session) => match self.store.web_session_of_id(&session.id).await {
                Ok(found) => {
                    found.is_some_and(|found| found.standing(now, self.sessions.idle) == SessionStanding::Active)
                }
                Err(_) => true,
            },
        }
    }
}

/// Everything the control plane answers: the table of `policy`, and "there is nothing" for whoever has a token.
pub(crate) fn router(app: Arc<App>, trusted_proxies: &[IpNet]) -> Router {
    let gated = |handler: MethodRouter<Arc<App>>, policy: Policy| match policy {
        Policy::Public => handler,
        Policy::Login => handler.layer(map_response(async |response| auth::as_document(response))),
        Policy::Own | Policy::Roles(_) | Policy::RolesOfAll(_) => {
            handler.layer(from_fn_with_state(Gate { app: app.clone(), policy }, auth::check))
        }
    };
    let mut router = Router::new();
    for route in ROUTES {
        let verb = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Delete => MethodFilter::DELETE,
        };
        router = router.route(route.path, gated(handler(route.operation, verb), route.policy));
    }
    router
        .fallback(gated(any(error::unknown_path), ELSEWHERE))
        .method_not_allowed_fallback(gated(any(error::wrong_method), ELSEWHERE))
        .layer(DefaultBodyLimit::max(MAX_PLAN_BYTES))
        .layer(map_response(headers::secure))
        .layer(from_fn_with_state(Arc::<[IpNet]>::from(trusted_proxies), proxy::see_through))
        .with_state(app)
}

fn handler(operation: Operation, verb: MethodFilter) -> MethodRouter<Arc<App>> {
    match operation {
        Operation::Page => on(verb, page::page),
        Operation::Script => on(verb, page::script),
        Operation::Alive => on(verb, page::alive),
        Operation::Ready => on(verb, page::ready),
        Operation::Document => on(verb, openapi::document),
        Operation::ListClusters => on(verb, clusters::list),
        Operation::Deploy => on(verb, clusters::create),
        Operation::ShowCluster => on(verb, clusters::show),
        Operation::Destroy => on(verb, clusters::destroy),
        Operation::Retry => on(verb, clusters::retry),
        Operation::Form => on(verb, clusters::form),
        Operation::ReadCredentials => on(verb, credentials::read),
        Operation::ReadEvents => on(verb, events::events),
        Operation::ListNodes => on(verb, nodes::list),
        Operation::ShowNode => on(verb, nodes::show),
        Operation::ShowScript => on(verb, nodes::script),
        Operation::Explain => on(verb, nodes::explain),
        Operation::ReadAudit => on(verb, audit::list),
        Operation::ReadAuditHead => on(verb, audit::head),
        Operation::ListTokens => on(verb, tokens::list),
        Operation::CreateToken => on(verb, tokens::create),
        Operation::RevokeToken => on(verb, tokens::revoke),
        Operation::ShowSession => on(verb, sessions::show),
        Operation::LogIn => on(verb, sessions::login),
        Operation::LogOut => on(verb, sessions::logout),
        Operation::ListSessions => on(verb, signed_in::list),
        Operation::EndSessions => on(verb, signed_in::end),
        Operation::BeginOidcLogin => on(verb, oidc::begin),
        Operation::FinishOidcLogin => on(verb, oidc::finish),
        Operation::ListUsers => on(verb, users::list),
        Operation::CreateUser => on(verb, users::create),
        Operation::RemoveUser => on(verb, users::remove),
        Operation::SetPassword => on(verb, users::set_password),
    }
}
