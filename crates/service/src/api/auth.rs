//! The gate before every route that isn't public: who calls, whether they may, and the audit line of every call.
//!
//! In this order: the credential, its pace, its role, its scope; then the call. To the outside a token that is unknown,
//! wrong, expired or revoked is one and the same answer; the audit tells them apart.

use super::{
    ApiError, App,
    caller::Caller,
    error::{AuditCode, RefusalCode},
    lockout::{Failure, Lockout},
    policy::Policy,
};
use crate::token_text::TokenText;
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{Extensions, HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use metalform_model::{ApiRole, AuditEntry, Pace, Scope, TokenStanding, TooFast, audit_action};
use metalform_store::StoreError;
use serde_json::json;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The gate of one route.
#[derive(Clone)]
pub(super) struct Gate {
    pub app: Arc<App>,
    pub policy: Policy,
}

/// What is remembered of who failed and who hurries: in memory alone.
#[derive(Debug)]
pub(crate) struct Limits {
    lockout: Mutex<Lockout>,
    pace: Mutex<Pace>,
}

/// Calls of one credential at once: far above what the command line and a page in a browser ask; it keeps a program in a
/// loop from taking the service's time from everybody else.
const CALLS_AT_ONCE: u32 = 1000;
/// And then one in so long: 100 a second.
const CALLS_APART: Duration = Duration::from_millis(10);

impl Default for Limits {
    fn default() -> Self {
        Limits { lockout: Mutex::default(), pace: Mutex::new(Pace::new(CALLS_AT_ONCE, CALLS_APART)) }
    }
}

/// What is guarded is right after every step, so that a panic leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A use of a token is noted when the one noted is this old.
const USE_IS_NOTED_AFTER: Duration = Duration::from_secs(5 * 60);

/// Why nobody was let in.
enum Stranger {
    /// The words are for the audit; `who` where a revoked or expired token is known to be its owner's.
    Refused { who: String, reason: &'static str },
    /// Nobody can be known.
    Store(StoreError),
}

/// What the audit says of a call, but its outcome.
struct Call {
    action: String,
    target: String,
    source: String,
}

impl Call {
    fn of(request: &Request) -> Call {
        Call {
            action: format!("api.{}", request.method().as_str().to_lowercase()),
            target: request.uri().path().chars().take(200).collect(),
            source: source_of(request.extensions()).map_or_else(|| "unknown".to_owned(), |ip| ip.to_string()),
        }
    }

    fn line(&self, app: &App, who: &str, outcome: String) -> AuditEntry {
        AuditEntry {
            at: app.clock.now(),
            who: who.to_owned(),
            action: self.action.clone(),
            target: self.target.clone(),
            source: self.source.clone(),
            outcome,
        }
    }
}

/// The peer's address.
fn source_of(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

/// Lets in whom the route's policy lets in, and records who asked for what, from where, and how it ended. A call that
/// would change something is not made when it can't be recorded.
pub(super) async fn check(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let app = &gate.app;
    let call = Call::of(&request);
    let refused = async |who: &str, code: &str, error: ApiError| {
        record(app, &call.line(app, who, format!("refused:{code}"))).await;
        error.into_response()
    };
    let caller = match identify(app, request.headers()).await {
        Ok(caller) => caller,
        Err(Stranger::Store(error)) => return ApiError::from(error).into_response(),
        Err(Stranger::Refused { who, reason }) => {
            let source = source_of(request.extensions()).unwrap_or(IpAddr::from([0, 0, 0, 0]));
            let failure = lock(&app.limits.lockout).fail(source, app.clock.now());
            return match failure {
                Failure::Refused { unrecorded } => {
                    if unrecorded > 0 {
                        let target = format!("{unrecorded} more calls");
                        let more =
                            Call { action: audit_action::API_LOCKED_OUT.into(), target, source: call.source.clone() };
                        record(app, &more.line(app, "anonymous", "refused:locked_out".into())).await;
                    }
                    refused(&who, reason, unknown_credential(reason)).await
                }
                Failure::LockedOut { wait, is_first: true } => refused(&who, "locked_out", locked_out(wait)).await,
                Failure::LockedOut { wait, is_first: false } => locked_out(wait).into_response(),
            };
        }
    };
    let key = caller.token_id.as_deref().unwrap_or(&caller.who);
    let pace = lock(&app.limits.pace).take(key, app.clock.now());
    match pace {
        Ok(()) => {}
        Err(TooFast { wait, is_first: true }) => return refused(&caller.who, "too_fast", too_fast(wait)).await,
        Err(TooFast { wait, is_first: false }) => return too_fast(wait).into_response(),
    }
    if let Some(error) = forbidden(gate.policy, &caller) {
        return refused(&caller.who, error.code(), error).await;
    }
    let changes = request.method() != Method::GET && request.method() != Method::HEAD;
    if changes && let Err(error) = app.store.check().await {
        return ApiError::from(error).into_response();
    }
    let who = caller.who.clone();
    request.extensions_mut().insert(caller);
    let response = as_document(next.run(request).await);
    let told = response.extensions().get::<RefusalCode>().map(|code| code.0);
    let outcome = match response.extensions().get::<AuditCode>().map(|code| code.0).or(told) {
        Some(code) => format!("refused:{code}"),
        None if response.status().is_success() => "ok".to_owned(),
        None => format!("refused:{}", response.status().as_u16()),
    };
    record(app, &call.line(app, &who, outcome)).await;
    response
}

/// Records what a call does beside the line of the call itself, for deeds that are not to happen unrecorded.
pub(super) async fn record_deed(
    app: &App,
    caller: &Caller,
    extensions: &Extensions,
    action: &str,
    target: String,
) -> Result<(), ApiError> {
    let source = source_of(extensions).map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    let call = Call { action: action.to_owned(), target, source };
    Ok(app.store.add_audit(&call.line(app, &caller.who, "ok".into())).await?)
}

async fn record(app: &App, line: &AuditEntry) {
    if let Err(error) = app.store.add_audit(line).await {
        tracing::error!(%error, "an audit line could not be written");
    }
}

/// Whose credential was shown.
async fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, Stranger> {
    let anonymous = |reason| Stranger::Refused { who: "anonymous".into(), reason };
    let Some(shown) = headers.get(header::AUTHORIZATION) else { return Err(anonymous("token_missing")) };
    let bearer = shown.to_str().ok().and_then(|value| value.split_once(' '));
    let Some((_, shown)) = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return Err(anonymous("token_wrong"));
    };
    if app.token.matches(shown) {
        return Ok(Caller::bootstrap());
    }
    let Some(text) = TokenText::parse(shown) else { return Err(anonymous("token_wrong")) };
    let found = app.store.api_token(text.id()).await.map_err(Stranger::Store)?;
    let Some((token, hash)) = found else { return Err(anonymous("token_unknown")) };
    if !text.is_known_by(&hash) {
        return Err(anonymous("token_wrong"));
    }
    let now = app.clock.now();
    let reason = match token.standing(now) {
        TokenStanding::Active => None,
        TokenStanding::Expired => Some("token_expired"),
        TokenStanding::Revoked => Some("token_revoked"),
    };
    if let Some(reason) = reason {
        return Err(Stranger::Refused { who: token.who(), reason });
    }
    if token.last_used_at.is_none_or(|last| now.since(last) >= USE_IS_NOTED_AFTER)
        && let Err(error) = app.store.use_api_token(&token.id, now).await
    {
        tracing::warn!(%error, token = token.id, "the use of a token could not be noted");
    }
    Ok(token.into())
}

fn unknown_credential(reason: &'static str) -> ApiError {
    let (code, message) = match reason {
        "token_missing" => ("token_missing", "the call carries no bearer token"),
        // Which of the reasons it is would tell a stranger what there is.
        _ => ("token_wrong", "the call carries no valid bearer token"),
    };
    let hint = "an admin makes one with `metalform token create`, and the audit says why one was refused; on the service's \
                own machine the file `token` of the data folder holds one; elsewhere set METALFORM_TOKEN";
    ApiError::new(401, code, message, hint)
}

fn locked_out(wait: Duration) -> ApiError {
    let message = "too many calls from this address came without a valid token";
    let hint = "a valid token is let in at once; without one, wait as long as Retry-After says";
    ApiError::new(429, "locked_out", message, hint).retry_after(wait)
}

fn too_fast(wait: Duration) -> ApiError {
    let message = "this token makes too many calls";
    ApiError::new(429, "too_fast", message, "make at most 100 a second").retry_after(wait)
}

/// Why that caller may not, whatever the call is about.
fn forbidden(policy: Policy, caller: &Caller) -> Option<ApiError> {
    let roles = policy.roles().unwrap_or(&ApiRole::ALL);
    if !roles.contains(&caller.role) {
        let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let message = format!("the role {} doesn't allow this call", caller.role);
        let hint = format!("it takes the role {}; an admin makes tokens", words.join(" or "));
        let details = json!({"role": caller.role, "roles": words});
        return Some(ApiError::new(403, "role_insufficient", message, &hint).with(details));
    }
    if matches!(policy, Policy::RolesOfAll(_)) && caller.scope != Scope::All {
        let message = "the token is limited to some clusters, and the answer would be of all";
        let hint = "it takes a token that isn't limited to clusters; an admin makes tokens";
        return Some(ApiError::new(403, "scope_insufficient", message, hint));
    }
    None
}

/// What the framework refuses by itself (a body over the limit, a path that is no UTF-8) is a text; ours are documents.
fn as_document(response: Response) -> Response {
    let status = response.status();
    if response.extensions().get::<RefusalCode>().is_some() || !status.is_client_error() {
        return response;
    }
    let (code, message, hint) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is too large", "a plan may have 256 KiB"),
        _ => ("bad_request", "the request can't be read", "see /openapi.json"),
    };
    ApiError::new(status.as_u16(), code, message, hint).into_response()
}
