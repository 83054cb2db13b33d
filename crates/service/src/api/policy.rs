//! Every route of the control plane, and who may call it. The router is made from this table and from nothing else, so
//! there is no route without a policy; `docs/access.md` shows the same to people, and a test holds the two together.

use metalform_model::ApiRole::{self, Admin, Auditor, Operator, Viewer};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Everybody, without a token: it tells nothing of any cluster.
    Public,
    /// Everybody, without a token: it is where a credential is got. Its handler records, and counts who fails.
    Login,
    /// Whoever is let in at all, whatever their role, in what is their own alone: their session, their password. Its handler
    /// asks for more where it is somebody else's.
    Own,
    /// These roles. A token that is limited to clusters sees and touches those alone.
    Roles(&'static [ApiRole]),
    /// These roles, with a token that isn't limited to clusters: what is answered is of all of them.
    RolesOfAll(&'static [ApiRole]),
}

impl Policy {
    /// The roles that it lets in; `None`: no role is needed.
    pub(crate) fn roles(self) -> Option<&'static [ApiRole]> {
        match self {
            Policy::Public | Policy::Login => None,
            Policy::Own => Some(ANYBODY),
            Policy::Roles(roles) | Policy::RolesOfAll(roles) => Some(roles),
        }
    }
}

/// How a route is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Also HEAD.
    Get,
    Post,
    Delete,
}

/// What a route does. `api::handler` says by what, and doesn't compile without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Page,
    Script,
    Alive,
    Ready,
    Document,
    ListClusters,
    Deploy,
    ShowCluster,
    Destroy,
    Retry,
    Form,
    ReadCredentials,
    ReadEvents,
    ListNodes,
    ShowNode,
    ShowScript,
    Explain,
    ReadAudit,
    ReadAuditHead,
    ListTokens,
    CreateToken,
    RevokeToken,
    ShowSession,
    LogIn,
    LogOut,
    ListSessions,
    EndSessions,
    ListUsers,
    CreateUser,
    RemoveUser,
    SetPassword,
    BeginOidcLogin,
    FinishOidcLogin,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub verb: Verb,
    pub path: &'static str,
    pub operation: Operation,
    pub policy: Policy,
}

const ANYBODY: &[ApiRole] = &[Viewer, Auditor, Operator, Admin];
const OPERATORS: &[ApiRole] = &[Operator, Admin];
const AUDITORS: &[ApiRole] = &[Auditor, Admin];
const ADMINS: &[ApiRole] = &[Admin];

/// For what isn't there: whoever is let in at all is told so, and nobody else learns what there is.
pub(crate) const ELSEWHERE: Policy = Policy::Roles(ANYBODY);

const fn route(verb: Verb, path: &'static str, operation: Operation, policy: Policy) -> Route {
    Route { verb, path, operation, policy }
}

use Operation as Op;
use Policy::{Login, Own, Public, Roles, RolesOfAll};
use Verb::{Delete, Get, Post};

/// The table.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &[
    route(Get,    "/",                                   Op::Page,            Public),
    route(Get,    "/app.js",                             Op::Script,          Public),
    route(Get,    "/healthz",                            Op::Alive,           Public),
    route(Get,    "/readyz",                             Op::Ready,           Public),
    route(Get,    "/openapi.json",                       Op::Document,        Public),
    route(Get,    "/api/v1/clusters",                    Op::ListClusters,    Roles(ANYBODY)),
    route(Post,   "/api/v1/clusters",                    Op::Deploy,          Roles(OPERATORS)),
    route(Get,    "/api/v1/clusters/{name}",             Op::ShowCluster,     Roles(ANYBODY)),
    route(Delete, "/api/v1/clusters/{name}",             Op::Destroy,         Roles(OPERATORS)),
    route(Post,   "/api/v1/clusters/{name}/retry",       Op::Retry,           Roles(OPERATORS)),
    route(Post,   "/api/v1/clusters/{name}/form",        Op::Form,            Roles(OPERATORS)),
    // Who runs a cluster has to log in to it. Each reading stands in the audit.
    route(Get,    "/api/v1/clusters/{name}/credentials", Op::ReadCredentials, Roles(OPERATORS)),
    route(Get,    "/api/v1/clusters/{name}/events",      Op::ReadEvents,      Roles(ANYBODY)),
    route(Get,    "/api/v1/nodes",                       Op::ListNodes,       Roles(ANYBODY)),
    route(Get,    "/api/v1/nodes/{server_id}",           Op::ShowNode,        Roles(ANYBODY)),
    route(Get,    "/api/v1/nodes/{server_id}/script",    Op::ShowScript,      Roles(OPERATORS)),
    route(Get,    "/api/v1/nodes/{server_id}/explain",   Op::Explain,         Roles(ANYBODY)),
    route(Get,    "/api/v1/audit",                       Op::ReadAudit,       RolesOfAll(AUDITORS)),
    route(Get,    "/api/v1/audit/head",                  Op::ReadAuditHead,   RolesOfAll(AUDITORS)),
    route(Get,    "/api/v1/tokens",                      Op::ListTokens,      Roles(ADMINS)),
    route(Post,   "/api/v1/tokens",                      Op::CreateToken,     Roles(ADMINS)),
    route(Delete, "/api/v1/tokens/{id}",                 Op::RevokeToken,     Roles(ADMINS)),
    route(Get,    "/api/v1/session",                     Op::ShowSession,     Roles(ANYBODY)),
    route(Post,   "/api/v1/session",                     Op::LogIn,           Login),
    route(Delete, "/api/v1/session",                     Op::LogOut,          Own),
    route(Get,    "/api/v1/sessions",                    Op::ListSessions,    Roles(ADMINS)),
    route(Delete, "/api/v1/sessions/{who}",              Op::EndSessions,     Roles(ADMINS)),
    route(Get,    "/login/oidc",                         Op::BeginOidcLogin,  Login),
    route(Get,    "/login/oidc/callback",                Op::FinishOidcLogin, Login),
    route(Get,    "/api/v1/users",                       Op::ListUsers,       Roles(ADMINS)),
    route(Post,   "/api/v1/users",                       Op::CreateUser,      Roles(ADMINS)),
    route(Delete, "/api/v1/users/{name}",                Op::RemoveUser,      Roles(ADMINS)),
    // Everybody their own; of others an admin.
    route(Post,   "/api/v1/users/{name}/password",       Op::SetPassword,     Own),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_role_may_do_a_role_that_includes_it_may_do_as_well() {
        for route in ROUTES {
            for role in route.policy.roles().into_iter().flatten() {
                let wider = ApiRole::ALL.into_iter().filter(|other| other.includes(*role));
                for other in wider {
                    let roles = route.policy.roles().unwrap_or_default();
                    assert!(roles.contains(&other), "{:?} {}: {role} and not {other}", route.verb, route.path);
                }
            }
        }
    }

    #[test]
    fn only_reading_is_open_to_whoever_changes_nothing() {
        let changing = ROUTES.iter().filter(|route| route.verb != Get && ![Login, Own].contains(&route.policy));
        for route in changing {
            let roles = route.policy.roles().expect("nothing is changed without a token");
            assert!(!roles.contains(&Viewer) && !roles.contains(&Auditor), "{:?} {}", route.verb, route.path);
        }
    }

    #[test]
    fn everything_below_api_wants_a_token() {
        for route in ROUTES.iter().filter(|route| route.path.starts_with("/api/") && route.operation != Op::LogIn) {
            assert_ne!(route.policy, Login, "{}", route.path);
            assert_ne!(route.policy, Public, "{}", route.path);
        }
    }
}
