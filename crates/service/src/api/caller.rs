//! Who calls: what a credential is known as, and what it reaches.

use metalform_model::{ApiRole, ApiToken, Scope};

/// Who was let in. The gate puts it into the request; handlers that speak of clusters can't be written without it.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// How the audit calls it.
    pub who: String,
    /// What it may do.
    pub role: ApiRole,
    /// Of which clusters.
    pub scope: Scope,
    /// The API token's id; `None`: the token of the data folder, which can't be revoked.
    pub token_id: Option<String>,
}

impl Caller {
    /// Whoever may read `token` of the data folder.
    pub(crate) fn bootstrap() -> Caller {
        Caller { who: "bootstrap".into(), role: ApiRole::Admin, scope: Scope::All, token_id: None }
    }

    /// Whether it may know of that cluster.
    pub(crate) fn reaches(&self, cluster: &str) -> bool {
        self.scope.holds(cluster)
    }
}

impl From<ApiToken> for Caller {
    fn from(token: ApiToken) -> Self {
        Caller { who: token.who(), role: token.role, scope: token.clusters, token_id: Some(token.id) }
    }
}
