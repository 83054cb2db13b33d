//! Why nobody is logged in by the provider.

use super::id_token::IdTokenFault;
use thiserror::Error;

/// A login that came to nothing.
#[derive(Debug, Error)]
pub(crate) enum OidcError {
    /// The provider can't be asked.
    #[error("the OpenID provider can't be asked")]
    Unavailable(#[source] FetchError),
    /// What it says of itself can't be used.
    #[error("what the OpenID provider says of itself can't be used: {0}")]
    Discovery(String),
    /// There is no login under way of that state, in that browser.
    #[error("no login of this browser is under way")]
    State,
    /// The provider refused, in its own word.
    #[error("the OpenID provider refused the login: {0}")]
    Refused(String),
    /// Another provider answered.
    #[error("the answer came from another OpenID provider")]
    OtherIssuer,
    /// It gave no token for the code.
    #[error("the OpenID provider gave no token: {0}")]
    NoToken(String),
    /// The token isn't for us, not now, or not of this login.
    #[error("the OpenID provider's token can't be believed")]
    Token(#[source] IdTokenFault),
}

/// Why a document could not be fetched.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// No connection, or none to its end.
    #[error("{url} doesn't answer")]
    Http {
        /// Which.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// Another status than 200.
    #[error("{url} answers {status}")]
    Status {
        /// Which.
        url: String,
        /// It.
        status: u16,
    },
    /// Too long, or not what it should be.
    #[error("{url} answers what can't be read: {why}")]
    Content {
        /// Which.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// It failed a moment ago, and isn't asked again yet.
    #[error("it could not be asked a moment ago")]
    JustFailed,
}

impl OidcError {
    /// A stable word.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            OidcError::Unavailable(_) | OidcError::Discovery(_) => "oidc_unavailable",
            OidcError::State => "oidc_state",
            OidcError::Refused(_) => "oidc_refused",
            OidcError::OtherIssuer => "oidc_issuer",
            OidcError::NoToken(_) => "oidc_code",
            OidcError::Token(_) => "oidc_token",
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            OidcError::Unavailable(_) | OidcError::Discovery(_) => {
                "an admin looks at [control.oidc] issuer, ca_file and origins, and at the service's log; users with a password \
                 log in meanwhile"
            }
            OidcError::State => "begin again at the page; a login takes ten minutes at most, in one browser",
            OidcError::Refused(_) | OidcError::OtherIssuer | OidcError::NoToken(_) | OidcError::Token(_) => {
                "begin again at the page; if it stays so, an admin compares [control.oidc] with what the provider has of this \
                 client, its redirect URI and secret, and both clocks"
            }
        }
    }

    /// HTTP status.
    pub(crate) fn status(&self) -> u16 {
        match self {
            OidcError::Unavailable(_) | OidcError::Discovery(_) => 503,
            OidcError::State => 400,
            OidcError::Refused(_) | OidcError::OtherIssuer | OidcError::NoToken(_) | OidcError::Token(_) => 403,
        }
    }
}
