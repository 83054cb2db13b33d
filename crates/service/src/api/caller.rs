//! Who calls: what a credential is known as, and what it reaches.

use crate::session_text::{CsrfToken, SessionText};
use metalform_model::{ApiRole, ApiToken, Scope, Timestamp, WebSession};

/// Who was let in. The gate puts it into the request; handlers that speak of clusters can't be written without it.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// How the audit calls it.
    pub who: String,
    /// What it may do.
    pub role: ApiRole,
    /// Of which clusters.
    pub scope: Scope,
    /// By what it was let in.
    pub by: Credential,
}

/// What was shown.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    /// The token of the data folder, which can't be revoked.
    Bootstrap,
    /// An API token.
    Token {
        /// What it is revoked by.
        id: String,
        /// What its owner calls it.
        name: String,
        /// When it ends.
        ends_at: Timestamp,
    },
    /// The cookie of a session in a browser.
    Session(OwnSession),
}

/// The session of whoever calls.
#[derive(Debug, Clone)]
pub(crate) struct OwnSession {
    /// What it is ended by.
    pub id: String,
    /// Their name.
    pub name: String,
    /// The user it is of; `None`: somebody whom the OpenID provider knows.
    pub user: Option<String>,
    /// What calls that change something must show beside the cookie.
    pub csrf_token: CsrfToken,
    /// When it ends, however much it is used.
    pub ends_at: Timestamp,
}

impl Caller {
    /// Whoever may read `token` of the data folder.
    pub(crate) fn bootstrap() -> Caller {
        Caller { who: "bootstrap".into(), role: ApiRole::Admin, scope: Scope::All, by: Credential::Bootstrap }
    }

    /// Whoever has that session's cookie.
    pub(crate) fn of_session(session: WebSession, text: &SessionText) -> Caller {
        let own = OwnSession {
            id: session.id,
            name: session.name,
            user: session.user,
            csrf_token: text.csrf_token(),
            ends_at: session.ends_at,
        };
        Caller { who: session.who, role: session.role, scope: session.clusters, by: Credential::Session(own) }
    }

    /// Whether it may know of that cluster.
    pub(crate) fn reaches(&self, cluster: &str) -> bool {
        self.scope.holds(cluster)
    }

    /// Its session, if it is in a browser.
    pub(crate) fn session(&self) -> Option<&OwnSession> {
        match &self.by {
            Credential::Session(session) => Some(session),
            Credential::Bootstrap | Credential::Token { .. } => None,
        }
    }

    /// What its calls are counted under.
    pub(crate) fn pace_key(&self) -> &str {
        match &self.by {
            Credential::Bootstrap => &self.who,
            Credential::Token { id, .. } => id,
            Credential::Session(session) => &session.id,
        }
    }
}

impl From<ApiToken> for Caller {
    fn from(token: ApiToken) -> Self {
        let who = token.who();
        let by = Credential::Token { id: token.id, name: token.name, ends_at: token.expires_at };
        Caller { who, role: token.role, scope: token.clusters, by }
    }
}
