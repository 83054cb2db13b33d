//! The gate before every route that isn't public: who calls, whether they may, and the audit line of every call.
//!
//! In this order: the credential, its pace, its role, its scope; then the call. To the outside a token that is unknown,
//! wrong, expired or revoked is one and the same answer; the audit tells them apart.

use super::{
    ApiError, App,
    browser::Cookie,
    caller::{Caller, OwnSession},
    calls::to_its_end,
    error::{AuditCode, RefusalCode},
    limits::{count_source, source_locked_out, too_fast},
    policy::Policy,
    record::{Call, Recorded},
};
use crate::token_text::TokenText;
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use metalform_model::{ApiRole, Scope, SessionStanding, TokenStanding, TooFast};
use metalform_store::StoreError;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// The gate of one route.
#[derive(Clone)]
pub(super) struct Gate {
    pub app: Arc<App>,
    pub policy: Policy,
}

/// A use of a token is noted when the one noted is this old.
const USE_IS_NOTED_AFTER: Duration = Duration::from_secs(5 * 60);
/// That of a session when this part of the time has passed that it may rest for: it ends unused at most so much too early.
const SESSION_USE_IS_NOTED_AFTER: u32 = 30;

/// Where the page's script shows the session's CSRF token.
pub(super) const CSRF_HEADER: &str = "x-csrf-token";

/// Why nobody was let in.
pub(super) enum Stranger {
    /// The words are for the audit; `who` where a revoked or expired token is known to be its owner's.
    Refused { who: String, reason: &'static str },
    /// Nobody can be known.
    Store(StoreError),
}

impl Stranger {
    fn anonymous(reason: &'static str) -> Stranger {
        Stranger::Refused { who: "anonymous".into(), reason }
    }
}

/// Lets in whom the route's policy lets in, and records who asked for what, from where, and how it ended. Each of the two
/// halves goes on to its end though the caller hangs up. The body is read in between, within the connection: one that never
/// ends has that one's limit, and no task of its own.
pub(super) async fn check(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let (app, calls) = (gate.app.clone(), gate.app.calls.clone());
    let admitted = match to_its_end(&calls, admit(gate, parts)).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let Admitted { call, who, parts } = admitted;
    let asked = whole(parts, body).await;
    to_its_end(&calls, carry_out(app, call, who, asked, next)).await
}

/// A call whose caller was let in.
struct Admitted {
    call: Call,
    who: String,
    /// With the caller.
    parts: Parts,
}

/// The first half: who calls, and whether they may.
async fn admit(gate: Gate, mut parts: Parts) -> Result<Admitted, Response> {
    let app = &gate.app;
    let call = Call::of(&parts);
    let refused = async |who: &str, code: &str, error: ApiError| {
        call.record(app, who, format!("refused:{code}")).await;
        error.into_response()
    };
    let caller = match identify(app, &parts.headers).await {
        Ok(caller) => caller,
        Err(Stranger::Store(error)) => return Err(ApiError::from(error).into_response()),
        Err(Stranger::Refused { who, reason }) => {
            return Err(match count_source(app, &call).await {
                Ok(_) => {
                    let mut response = refused(&who, reason, unknown_credential(reason)).await;
                    if reason.starts_with("session_") {
                        // The browser needn't show it again.
                        response.headers_mut().append(header::SET_COOKIE, app.browser.clear(Cookie::Session));
                    }
                    response
                }
                Err(locked) if locked.is_first => refused(&who, "locked_out", source_locked_out(locked.wait)).await,
                Err(locked) => source_locked_out(locked.wait).into_response(),
            });
        }
    };
    match app.limits.take_call(caller.pace_key(), app.clock.now()) {
        Ok(()) => {}
        Err(TooFast { wait, is_first: true }) => return Err(refused(&caller.who, "too_fast", too_fast(wait)).await),
        Err(TooFast { wait, is_first: false }) => return Err(too_fast(wait).into_response()),
    }
    let forged = caller.session().and_then(|session| forged(app, session, &parts.method, &parts.headers));
    if let Some(error) = forged.or_else(|| forbidden(gate.policy, &caller)) {
        return Err(refused(&caller.who, error.code(), error).await);
    }
    let who = caller.who.clone();
    parts.extensions.insert(caller);
    Ok(Admitted { call, who, parts })
}

/// The request with all of its body, or why it can't be read. What only reads is asked by its head alone.
async fn whole(parts: Parts, body: Body) -> Result<Request, Response> {
    if !changes_something(&parts.method) {
        return Ok(Request::from_parts(parts, Body::empty()));
    }
    match Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await {
        Ok(bytes) => Ok(Request::from_parts(parts, bytes.into())),
        Err(refused) => Err(refused.into_response()),
    }
}

/// The second half: does what is asked, and records how it ended. An answer that can't be recorded isn't given, unless it is of
/// a deed that was.
async fn carry_out(app: Arc<App>, call: Call, who: String, asked: Result<Request, Response>, next: Next) -> Response {
    let response = as_document(match asked {
        // A body may be held back for two minutes, and meanwhile an admin ends what the caller was let in by.
        Ok(request) if changes_something(request.method()) => match identify(&app, request.headers()).await {
            Ok(_) => next.run(request).await,
            Err(Stranger::Refused { reason, .. }) => unknown_credential(reason).audited_as(reason).into_response(),
            Err(Stranger::Store(error)) => ApiError::from(error).into_response(),
        },
        Ok(request) => next.run(request).await,
        Err(refused) => refused,
    });
    let told = response.extensions().get::<RefusalCode>().map(|code| code.0);
    let outcome = match response.extensions().get::<AuditCode>().map(|code| code.0).or(told) {
        Some(code) => format!("refused:{code}"),
        None if response.status().is_success() => "ok".to_owned(),
        None => format!("refused:{}", response.status().as_u16()),
    };
    match call.must_record(&app, &who, outcome).await {
        Err(error) if response.extensions().get::<Recorded>().is_none() => ApiError::from(error).into_response(),
        Ok(()) | Err(_) => response,
    }
}

fn changes_something(method: &Method) -> bool {
    method != Method::GET && method != Method::HEAD
}

/// Whose credential was shown. Of a token and a session at once the token counts: whoever sets a header means it, and a browser
/// adds its cookies by itself.
async fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, Stranger> {
    let Some(shown) = headers.get(header::AUTHORIZATION) else {
        return identify_session(app, headers).await?.ok_or(Stranger::anonymous("token_missing"));
    };
    let bearer = shown.to_str().ok().and_then(|value| value.split_once(' '));
    let Some((_, shown)) = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return Err(Stranger::anonymous("token_wrong"));
    };
    if app.token.matches(shown) {
        return Ok(Caller::bootstrap());
    }
    let Some(text) = TokenText::parse(shown) else { return Err(Stranger::anonymous("token_wrong")) };
    let found = app.store.api_token(text.id()).await.map_err(Stranger::Store)?;
    let Some((token, hash)) = found else { return Err(Stranger::anonymous("token_unknown")) };
    if !text.is_known_by(&hash) {
        return Err(Stranger::anonymous("token_wrong"));
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

/// Whose session was shown, if any was.
pub(super) async fn identify_session(app: &App, headers: &HeaderMap) -> Result<Option<Caller>, Stranger> {
    let Some(shown) = app.browser.session(headers) else { return Ok(None) };
    let Some(text) = shown else { return Err(Stranger::anonymous("session_unknown")) };
    let found = app.store.web_session(&text.hash()).await.map_err(Stranger::Store)?;
    let Some(session) = found else { return Err(Stranger::anonymous("session_unknown")) };
    let (now, idle) = (app.clock.now(), app.sessions.idle);
    let reason = match session.standing(now, idle) {
        SessionStanding::Active => None,
        SessionStanding::Idle => Some("session_idle"),
        SessionStanding::Over => Some("session_over"),
    };
    if let Some(reason) = reason {
        return Err(Stranger::Refused { who: session.who, reason });
    }
    if now.since(session.last_used_at) >= idle / SESSION_USE_IS_NOTED_AFTER
        && let Err(error) = app.store.use_web_session(&session.id, now).await
    {
        tracing::warn!(%error, session = session.id, "the use of a web session could not be noted");
    }
    Ok(Some(Caller::of_session(session, &text)))
}

/// Why a call with a session isn't the person's own. Browsers show cookies by themselves; what they don't do is to let another
/// site read our answers, where the CSRF token stands.
fn forged(app: &App, session: &OwnSession, method: &Method, headers: &HeaderMap) -> Option<ApiError> {
    if app.browser.is_cross_site(headers) {
        return Some(cross_site());
    }
    if !changes_something(method) {
        return None;
    }
    let shown = headers.get(CSRF_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
    if session.csrf_token.matches(shown) {
        return None;
    }
    let message = "the call changes something and doesn't carry the session's CSRF token";
    let hint = "send `csrf_token` of GET /api/v1/session as X-CSRF-Token; programs use an API token instead";
    Some(ApiError::new(403, "csrf_wrong", message, hint))
}

/// What another site's call is told.
pub(super) fn cross_site() -> ApiError {
    let hint = "call it from the service's own page; behind a proxy, write [control] public_url as browsers have it";
    ApiError::new(403, "cross_site", "the browser says that another site makes this call", hint)
}

fn unknown_credential(reason: &'static str) -> ApiError {
    if reason.starts_with("session_") {
        // Which of the reasons it is stands in the audit.
        return ApiError::new(401, "session_over", "the session is over", "log in again");
    }
    let (code, message) = match reason {
        "token_missing" => ("token_missing", "the call carries no bearer token"),
        // Which of the reasons it is would tell a stranger what there is.
        _ => ("token_wrong", "the call carries no valid bearer token"),
    };
    let hint = "an admin makes one with `metalform token create`, and the audit says why one was refused; on the service's \
                own machine the file `token` of the data folder holds one; elsewhere set METALFORM_TOKEN";
    ApiError::new(401, code, message, hint)
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
        let message = "the credential is limited to some clusters, and the answer would be of all";
        let hint = "it takes one that isn't limited to clusters; an admin makes tokens";
        return Some(ApiError::new(403, "scope_insufficient", message, hint));
    }
    None
}

/// What the framework refuses by itself (a body over the limit, a path that is no UTF-8) is a text; ours are documents.
pub(super) fn as_document(response: Response) -> Response {
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
