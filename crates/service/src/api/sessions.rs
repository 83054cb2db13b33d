//! Sessions in browsers: begun by a password, told of, ended.
//!
//! A login is counted as failed before its password is looked at, for its source and for the account, and forgiven when the
//! password was right: else a hundred guesses at once would all be looked at before the first had failed. Unknown names are
//! counted, looked at and answered like known ones.

use super::{
    ApiError, App,
    auth::cross_site,
    body,
    browser::Cookie,
    caller::{Caller, Credential},
    calls::to_its_end,
    limits::{account_locked_out, count_account, count_source, source_locked_out},
    record::{Call, Recorded, deed_line},
};
use crate::{
    password_hash::{HashError, Looked},
    session_text::SessionText,
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{Extensions, HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use metalform_model::{ApiRole, Scope, SingleSignOn, Timestamp, User, WebSession, audit_action};
use metalform_store::{PasswordHash, StoreError};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionTimes {
    /// Unused.
    pub idle: Duration,
    /// However much they are used.
    pub longest: Duration,
}

/// Sessions that one person may have at once; the oldest ends when there is another.
const AT_ONCE: u32 = 10;

/// Who logs in. `Debug` is left out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The user's name.
    #[schema(max_length = 40)]
    name: String,
    /// Their password.
    #[schema(max_length = 1024)]
    password: String,
}

/// Whose session begins.
pub(super) struct Person {
    /// How the audit calls them.
    pub who: String,
    /// Their name, for people.
    pub name: String,
    /// The user they are here; `None`: somebody whom the OpenID provider knows.
    pub user: Option<String>,
    /// By what they are in, if not by a password.
    pub single_sign_on: Option<SingleSignOn>,
    pub role: ApiRole,
    pub clusters: Scope,
}

impl From<User> for Person {
    fn from(user: User) -> Self {
        Person {
            who: user.who(),
            name: user.name.clone(),
            user: Some(user.name),
            single_sign_on: None,
            role: user.role,
            clusters: user.clusters,
        }
    }
}

/// A session that has begun and stands in the audit.
pub(super) struct Begun {
    pub session: WebSession,
    pub text: SessionText,
}

/// Logs in. The session is in the cookie that comes with the answer, a new one each time.
#[utoipa::path(post, path = "/api/v1/session",
    request_body(content = Login, description = "name and password"),
    responses((status = 201, description = "who they are, as GET says it, and the cookie"),
    (status = 400, description = "a body that isn't understood"),
    (status = 401, description = "name or password is wrong")))]
pub(super) async fn login(
    State(app): State<Arc<App>>,
    extensions: Extensions,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let calls = app.calls.clone();
    to_its_end(&calls, log_in(app, extensions, headers, bytes)).await
}

async fn log_in(
    app: Arc<App>,
    extensions: Extensions,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let read = bytes.map_err(unread).and_then(|bytes| body::read::<Login>(&bytes, LOGIN_HINT));
    let account = match &read {
        // What can't be a name may be a password in the wrong field: it isn't written down.
        Ok(login) if User::is_name(&login.name) => login.name.clone(),
        Ok(_) => "(no name)".to_owned(),
        Err(_) => "(unread)".to_owned(),
    };
    let call = Call::named(audit_action::SESSION_LOGIN, account.clone(), &extensions);
    let refused = async |reason: &str, error: ApiError| {
        call.record(&app, "anonymous", format!("refused:{reason}")).await;
        error
    };
    let of_source = match count_source(&app, &call).await {
        Ok(counted) => counted,
        Err(locked) => {
            let error = source_locked_out(locked.wait);
            return Err(if locked.is_first { refused("locked_out", error).await } else { error });
        }
    };
    // A page of another site could log the browser in as somebody else, and watch what is done there.
    if app.browser.is_cross_site(&headers) {
        return Err(refused("cross_site", cross_site()).await);
    }
    let Login { password, .. } = match read {
        Ok(login) => login,
        Err(error) => return Err(refused(error.code(), error).await),
    };
    let of_account = match count_account(&app, &call, &account).await {
        Ok(counted) => counted,
        Err(locked) => {
            let error = account_locked_out(locked.wait);
            return Err(if locked.is_first { refused("locked_out", error).await } else { error });
        }
    };
    let wrong = || {
        let hint = "an admin gives a new password with `metalform user password`";
        ApiError::new(401, "login_wrong", "the name or the password is wrong", hint)
    };
    let (user, hash) = match known(&app, &account, password.into()).await {
        Ok(Ok(known)) => known,
        Ok(Err(reason)) => return Err(refused(reason, wrong()).await),
        Err(Unlooked::Store(error)) => {
            // Nobody looked at the password: it was no failure. Nor can it be recorded.
            app.limits.take_source_back(call.source(), of_source);
            app.limits.take_account_back(&account, of_account);
            return Err(error.into());
        }
        Err(Unlooked::Password(error)) => {
            // The account's owner isn't locked out by those who keep the service busy. They are: their sources stay counted.
            app.limits.take_account_back(&account, of_account);
            let error = ApiError::from(error);
            return Err(refused(error.code(), error).await);
        }
    };
    app.limits.take_source_back(call.source(), of_source);
    app.limits.forgive_account(&account, app.clock.now());
    let begun = begin(&app, &call, user.into(), Some(&hash)).await?;
    let Some(Begun { session, text }) = begun else { return Err(refused("password_wrong", wrong()).await) };
    end_shown(&app, &headers).await;
    let cookie = app.browser.set(Cookie::Session, text.expose());
    let told = told(&Caller::of_session(session, &text), app.sessions.idle);
    Ok((StatusCode::CREATED, AppendHeaders([(header::SET_COOKIE, cookie)]), Json(told)).into_response())
}

const LOGIN_HINT: &str = "send {\"name\": \"…\", \"password\": \"…\"}";

/// What is told where the body couldn't be taken in at all.
fn unread(rejection: BytesRejection) -> ApiError {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(413, "too_large", "the body is too large", LOGIN_HINT),
        _ => ApiError::new(400, "bad_request", "the body can't be read", LOGIN_HINT),
    }
}

/// Why a password was not looked at.
enum Unlooked {
    Store(StoreError),
    Password(HashError),
}

impl From<StoreError> for Unlooked {
    fn from(error: StoreError) -> Self {
        Unlooked::Store(error)
    }
}

impl From<HashError> for Unlooked {
    fn from(error: HashError) -> Self {
        Unlooked::Password(error)
    }
}

/// The user of that name, if that is their password; or why not, in the audit's words.
async fn known(
    app: &App,
    name: &str,
    password: SecretString,
) -> Result<Result<(User, PasswordHash), &'static str>, Unlooked> {
    let found = app.store.user(name).await?;
    let looked = app.passwords.look(password, found.as_ref().map(|(_, hash)| hash.clone())).await?;
    let Some((user, hash)) = found else { return Ok(Err("user_unknown")) };
    match looked {
        Looked::Wrong => Ok(Err("password_wrong")),
        Looked::Right => Ok(Ok((user, hash))),
        Looked::RightAndRehashed(new) => match app.store.rehash_password(name, &hash, &new).await? {
            true => Ok(Ok((user, new))),
            false => Ok(Err("password_wrong")),
        },
    }
}

/// A browser that shows a session while it logs in gives that one up, once it has another.
pub(super) async fn end_shown(app: &App, headers: &HeaderMap) {
    let Some(Some(text)) = app.browser.session(headers) else { return };
    match app.store.web_session(&text.hash()).await {
        Ok(Some(session)) => end_former(app, &session.id).await,
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the session before a login could not be looked up; it ends by itself"),
    }
}

/// The login stands, and is recorded: that the one before it goes on until its end is no reason to refuse it.
pub(super) async fn end_former(app: &App, id: &str) {
    if let Err(error) = app.store.end_web_session(id).await {
        tracing::warn!(%error, "the session before a login could not be ended; it ends by itself");
    }
}

/// Begins a session, under a text that nobody has seen before, and records the login. One that can't be recorded isn't begun.
/// `None`: the password is no longer that one.
pub(super) async fn begin(
    app: &App,
    call: &Call,
    person: Person,
    password: Option<&PasswordHash>,
) -> Result<Option<Begun>, ApiError> {
    let text = SessionText::new(rand::random());
    let now = app.clock.now();
    let session = WebSession {
        id: hex::encode(rand::random::<[u8; 8]>()),
        who: person.who,
        name: person.name,
        user: person.user,
        single_sign_on: person.single_sign_on,
        role: person.role,
        clusters: person.clusters,
        created_at: now,
        last_used_at: now,
        ends_at: now + app.sessions.longest,
    };
    let (line, idle) = (call.line(app, &session.who, "ok".into()), app.sessions.idle);
    let begun = app.store.begin_web_session(&session, &text.hash(), password, AT_ONCE, idle, &line).await?;
    Ok(begun.then_some(Begun { session, text }))
}

/// Who calls: for a session with its CSRF token, for a token without.
#[utoipa::path(get, path = "/api/v1/session", responses((status = 200, description = "who calls, and until when")))]
pub(super) async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Json<Value> {
    Json(told(&caller, app.sessions.idle))
}

fn told(caller: &Caller, idle: Duration) -> Value {
    let (by, name, until) = match &caller.by {
        Credential::Bootstrap => ("bootstrap", caller.who.as_str(), Timestamp::NEVER),
        Credential::Token { name, ends_at, .. } => ("token", name.as_str(), *ends_at),
        Credential::Session(session) => ("session", session.name.as_str(), session.ends_at),
    };
    let mut told = json!({"name": name, "role": caller.role, "clusters": caller.scope, "by": by, "until": until});
    if let Some(session) = caller.session() {
        told["csrf_token"] = session.csrf_token.expose().into();
        told["idle_seconds"] = idle.as_secs().into();
    }
    told
}

/// Logs out: the session opens nothing any more.
#[utoipa::path(delete, path = "/api/v1/session", responses((status = 200, description = "the session is over"),
    (status = 409, description = "the call was made with a token, not with a session")))]
pub(super) async fn logout(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let Some(session) = caller.session() else {
        let hint = "a token is revoked: `metalform token revoke`";
        return Err(ApiError::new(409, "no_session", "a token has no session that could end", hint));
    };
    let line = deed_line(&app, &caller, &extensions, audit_action::SESSION_LOGOUT, session.name.clone());
    app.store.log_out(&session.id, &line).await?;
    let cookie = app.browser.clear(Cookie::Session);
    let cookie = AppendHeaders([(header::SET_COOKIE, cookie)]);
    Ok((Recorded, cookie, Json(json!({"status": "logged_out"}))).into_response())
}

impl From<HashError> for ApiError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => {
                ApiError::new(503, "busy", "too many passwords are being looked at", "try again in some seconds")
            }
            HashError::Failed(_) | HashError::Lost(_) => {
                tracing::error!(%error, source = ?std::error::Error::source(&error), "a password could not be looked at");
                let hint = "the service's log says why; an admin gives a new one with `metalform user password`";
                ApiError::new(500, "password_unreadable", error.to_string(), hint)
            }
        }
    }
}
