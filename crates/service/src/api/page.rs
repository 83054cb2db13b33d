//! What needs no token: whether the service lives, and a page to log in at, that says where to go.
//!
//! The page is whole when it comes: with a session it says whose. Its one script sends the two forms; without it they go
//! nowhere, and the password into no address, because they are of the method POST.

use super::{
    ApiError, App, auth,
    browser::Cookie,
    caller::{Caller, OwnSession},
    grant, headers,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "it does")))]
pub(super) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Whether the store answers, too.
#[utoipa::path(get, path = "/readyz", responses((status = 200, description = "it does"),
    (status = 503, description = "it doesn't")))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    app.store.check().await?;
    Ok(Json(json!({"status": "ok"})))
}

const PAGE: &str = include_str!("page.html");
/// Where the page differs.
const MAIN: &str = "<!-- main -->";
const APP: &str = include_str!("app.js");

/// A page for people: to log in, and who is. It shows no state.
#[utoipa::path(get, path = "/", responses((status = 200, description = "the page", content_type = "text/html")))]
pub(super) async fn page(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let caller = auth::identify_session(&app, &headers).await;
    let main = match &caller {
        Ok(Some(caller)) => caller.session().map(|session| logged_in(caller, session)),
        Ok(None) | Err(_) => None,
    };
    let page = PAGE.replace(MAIN, &main.unwrap_or_else(|| login_form(app.oidc.is_some())));
    let mut response =
        ([(header::CONTENT_SECURITY_POLICY, headers::policy_of_page(&page))], Html(page)).into_response();
    if matches!(caller, Err(auth::Stranger::Refused { .. })) {
        response.headers_mut().append(header::SET_COOKIE, app.browser.clear(Cookie::Session));
    }
    response
}

/// The page's script.
#[utoipa::path(get, path = "/app.js",
    responses((status = 200, description = "the page's script", content_type = "text/javascript")))]
pub(super) async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], APP).into_response()
}

fn login_form(has_oidc: bool) -> String {
    let single_sign_on = if has_oidc { "<p><a href=\"/login/oidc\">Log in with single sign-on</a></p>\n" } else { "" };
    format!(
        "<form id=\"login\" method=\"post\" action=\"/api/v1/session\">\n\
         <label>Name <input name=\"name\" autocomplete=\"username\" autocapitalize=\"none\" required></label>\n\
         <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\n\
         <button>Log in</button>\n</form>\n<p id=\"said\" class=\"said\" role=\"alert\"></p>\n{single_sign_on}\
         <noscript><p>Logging in takes JavaScript.</p></noscript>"
    )
}

fn logged_in(caller: &Caller, session: &OwnSession) -> String {
    format!(
        "<p>You are <b>{}</b>, {} of {}.</p>\n\
         <form id=\"logout\" method=\"post\" action=\"/api/v1/session\" data-csrf=\"{}\"><button>Log out</button></form>\n\
         <p id=\"said\" class=\"said\" role=\"alert\"></p>",
        as_text(&session.name),
        caller.role,
        as_text(&grant::in_words(&caller.scope)),
        session.csrf_token.expose()
    )
}

/// A page that leads to the first one. Not a redirect: a browser that comes from the provider's site doesn't show the new cookie
/// while it follows one (`SameSite=Strict`); from here it goes by itself.
pub(super) fn logged_in_elsewhere() -> Response {
    small_page(
        "<meta http-equiv=\"refresh\" content=\"0; url=/\">\n",
        "<p>You are logged in. <a href=\"/\">Go on</a></p>",
    )
}

/// A refusal as a page to whoever looks at it in a browser, and as a document to everybody else.
pub(super) fn refusal(error: ApiError, headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accepted.contains("text/html") {
        return error.into_response();
    }
    let (message, hint) = error.words();
    let words = format!(
        "<p>{}.</p>\n<p>{}.</p>\n<p>({})</p>\n<p><a href=\"/\">Back</a></p>",
        as_text(message),
        as_text(hint),
        error.code()
    );
    let page = small_page("", &words).into_body();
    let (mut parts, _) = error.into_response().into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Response::from_parts(parts, page)
}

fn small_page(head: &str, body: &str) -> Response {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Metalform</title>\n{head}<h1>Metalform</h1>\n{body}\n</html>\n"
    );
    Html(page).into_response()
}

/// Text in a page, in an attribute too: an OpenID provider may call somebody anything.
pub(super) fn as_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_in_a_page_whatever_is_in_it() {
        assert_eq!(as_text("<b onclick=\"x\">&'\n"), "&lt;b onclick=&quot;x&quot;&gt;&amp;&#39;\\n");
        assert_eq!(as_text("Änne Bär"), "Änne Bär");
    }

    #[test]
    fn single_sign_on_is_offered_where_there_is_one() {
        assert!(login_form(true).contains("/login/oidc") && !login_form(false).contains("/login/oidc"));
        assert_eq!(PAGE.matches(MAIN).count(), 1);
    }
}
