//! Logging in by the OpenID provider: two places that a browser goes to, there and back.

use super::{
    ApiError, App,
    auth::identify_session,
    browser::Cookie,
    caller::Caller,
    calls::to_its_end,
    limits::{count_source, source_locked_out, too_many_logins},
    lockout::Counted,
    page,
    record::Call,
    sessions::{Begun, Person, begin as begin_session, end_former, end_shown},
};
use crate::oidc::{Oidc, OidcError, Returned};
use axum::{
    extract::{RawQuery, State},
    http::{Extensions, HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use metalform_model::{Scope, SingleSignOn, TooFast, audit_action};
use secrecy::ExposeSecret;
use std::sync::Arc;

/// What the audit calls a login whose person isn't known yet.
const BY_PROVIDER: &str = "by the OpenID provider";

/// Sends the browser to the provider.
#[utoipa::path(get, path = "/login/oidc", responses((status = 303, description = "to the OpenID provider"),
    (status = 404, description = "no provider is configured"),
    (status = 503, description = "the provider can't be asked")))]
pub(super) async fn begin(State(app): State<Arc<App>>, extensions: Extensions, headers: HeaderMap) -> Response {
    let call = Call::named(audit_action::SESSION_LOGIN, BY_PROVIDER.into(), &extensions);
    begin_login(&app, &call, &headers).await.unwrap_or_else(|error| page::refusal(error, &headers))
}

/// Not for other sites, whatever the browser says of it. A link of theirs is followed with a click as well (`Sec-Fetch-User`), so a
/// click shows nobody's wish to log in; and where the provider asks nothing of who is logged in there, one link would end the
/// session that is open here and begin another, of whoever the browser is at the provider. OpenID Connect Core, section 4, knows logins
/// that a third party begins, for clients that name a place for it; we name none. Whoever links to us links to the first page.
async fn begin_login(app: &App, call: &Call, headers: &HeaderMap) -> Result<Response, ApiError> {
    let oidc = configured(app)?;
    if app.browser.is_cross_site(headers) {
        counted(app, call).await?;
        call.record(app, "anonymous", "refused:cross_site".into()).await;
        let hint = "open the service's first page and log in from there";
        return Err(ApiError::new(403, "cross_site", "another site began this login", hint));
    }
    // Each is remembered until it ends.
    match app.limits.take_login(call.source(), app.clock.now()) {
        Ok(()) => {}
        Err(TooFast { wait, is_first }) => {
            if is_first {
                call.record(app, "anonymous", "refused:too_fast".into()).await;
            }
            return Err(too_many_logins(wait));
        }
    }
    let former = identify_session(app, headers).await.ok().flatten();
    let former = former.as_ref().and_then(Caller::session).map(|session| session.id.clone());
    let begun = match oidc.begin(former, &*app.clock).await {
        Ok(begun) => begun,
        Err(error) => {
            // That the provider is away is said once, however many find it so.
            if app.limits.oidc_fails() {
                call.record(app, "anonymous", format!("refused:{}", error.code())).await;
            }
            return Err(told(error));
        }
    };
    app.limits.oidc_works();
    let cookie = app.browser.set(Cookie::Login, begun.browser.expose_secret());
    let to = [(header::LOCATION, begun.url.to_string())];
    Ok((StatusCode::SEE_OTHER, to, AppendHeaders([(header::SET_COOKIE, cookie)])).into_response())
}

/// Takes the browser back from the provider, and logs in.
#[utoipa::path(get, path = "/login/oidc/callback", params(
    ("state" = Option<String>, Query, description = "as it was given to the provider"),
    ("code" = Option<String>, Query, description = "the provider's"),
    ("iss" = Option<String>, Query, description = "the provider's issuer"),
    ("error" = Option<String>, Query, description = "why the provider refused")),
    responses((status = 200, description = "logged in: a page that leads to the first one", content_type = "text/html"),
    (status = 400, description = "no login of this browser is under way"),
    (status = 404, description = "no provider is configured"),
    (status = 503, description = "the provider can't be asked")))]
pub(super) async fn finish(
    State(app): State<Arc<App>>,
    extensions: Extensions,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let calls = app.calls.clone();
    to_its_end(&calls, take_back(app, extensions, headers, query)).await
}

async fn take_back(app: Arc<App>, extensions: Extensions, headers: HeaderMap, query: Option<String>) -> Response {
    let call = Call::named(audit_action::SESSION_LOGIN, BY_PROVIDER.into(), &extensions);
    let returned = Returned::of(query.as_deref().unwrap_or_default());
    let mut response = match finish_login(&app, &call, &headers, returned).await {
        Ok(response) => response,
        Err(error) => page::refusal(error, &headers),
    };
    // It was good once.
    response.headers_mut().append(header::SET_COOKIE, app.browser.clear(Cookie::Login));
    response
}

async fn finish_login(app: &App, call: &Call, headers: &HeaderMap, returned: Returned) -> Result<Response, ApiError> {
    let oidc = configured(app)?;
    let counted = counted(app, call).await?;
    let browser = app.browser.read(headers, Cookie::Login);
    let (identity, former) = match oidc.finish(returned, browser.as_deref(), &*app.clock).await {
        Ok(finished) => finished,
        Err(error) => {
            call.record(app, "anonymous", format!("refused:{}", error.code())).await;
            return Err(told(error));
        }
    };
    let who = identity.who();
    let Some(role) = identity.role else {
        call.record(app, &who, "refused:no_role".into()).await;
        let hint = "an admin names a group of yours in [control.oidc] roles, or has the provider put the groups into the ID token";
        return Err(ApiError::new(403, "no_role", "none of your groups has a role here", hint));
    };
    app.limits.take_source_back(call.source(), counted);
    let by = SingleSignOn { subject: identity.subject, provider: oidc.digest() };
    let person = Person { who, name: identity.name, user: None, single_sign_on: Some(by), role, clusters: Scope::All };
    let Some(Begun { text, .. }) = begin_session(app, call, person, None).await? else {
        // It says so of users with a password alone.
        return Err(ApiError::new(503, "store_unavailable", "the session could not be begun", "try again"));
    };
    // Coming back from the provider's site the browser doesn't show it (`SameSite=Strict`): it did when it left.
    if let Some(former) = former {
        end_former(app, &former).await;
    }
    end_shown(app, headers).await;
    let cookie = app.browser.set(Cookie::Session, text.expose());
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), page::logged_in_elsewhere()).into_response())
}

/// Counts it as failed until it is seen not to be.
async fn counted(app: &App, call: &Call) -> Result<Counted, ApiError> {
    match count_source(app, call).await {
        Ok(counted) => Ok(counted),
        Err(locked) => {
            if locked.is_first {
                call.record(app, "anonymous", "refused:locked_out".into()).await;
            }
            Err(source_locked_out(locked.wait))
        }
    }
}

fn configured(app: &App) -> Result<&Oidc, ApiError> {
    app.oidc.as_ref().ok_or_else(|| {
        let hint = "log in with a password, or write [control.oidc] into the service's configuration";
        ApiError::new(404, "no_oidc", "there is no single sign-on here", hint)
    })
}

fn told(error: OidcError) -> ApiError {
    tracing::warn!(source = ?std::error::Error::source(&error), hint = error.hint(), "{error}");
    ApiError::new(error.status(), error.code(), error.to_string(), error.hint())
}
