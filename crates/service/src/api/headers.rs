//! What every answer of the control plane tells a browser: believe the content type, frame nothing, load nothing, keep
//! nothing, and tell nobody where you came from.
//!
//! `Strict-Transport-Security` isn't among them: with a certificate that a browser doesn't know it takes the way in away from
//! a person, for every service on the host, and it means nothing over plain HTTP. `serve` adds it where the operator's own
//! certificate is used.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

const ALWAYS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// An answer that is no page loads and runs nothing, wherever it is shown.
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sets them all; an answer that brought a content policy of its own keeps that.
pub(super) async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(NOTHING));
    response
}

/// The policy of our page: the style that stands in it, known by its digest; scripts, calls and forms of ours alone.
pub(super) fn policy_of_page(page: &str) -> String {
    let style = page.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>"));
    let digest = STANDARD.encode(Sha256::digest(style.map_or("", |(style, _)| style)));
    format!(
        "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; style-src 'sha256-{digest}'; \
         script-src 'self'; connect-src 'self'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest was computed by `openssl dgst -sha256 -binary | base64`.
    #[test]
    fn a_page_may_use_the_style_that_stands_in_it_our_own_script_and_nothing_else() {
        let policy = policy_of_page("<head><style>p { color: red }</style></head>");
        assert_eq!(
            policy,
            "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
             style-src 'sha256-ngewhhP73WDIbgwseeu52VAAJgKdGUsu1IUQQsAm8m4='; script-src 'self'; connect-src 'self'"
        );
    }
}
