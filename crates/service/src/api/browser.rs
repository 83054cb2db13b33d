//! What passes between us and a browser beside the calls themselves: our cookies, and where it says that a call comes from.
//!
//! Over HTTPS the cookies have the prefix `__Host-`: a browser takes one of that name only over HTTPS, without a domain and
//! for all paths, so that no neighbour under the same domain can set one for us (RFC 6265bis, section 4.1.3). Over plain HTTP,
//! which is for loopback only, no browser would take them, and they are called without it.

use crate::session_text::SessionText;
use axum::http::{HeaderMap, HeaderValue, header};
use url::Url;

const SESSION: &str = "metalform";
const LOGIN: &str = "metalform-login";
/// The longest `Cookie` header that is looked at.
const MAX_COOKIES_BYTES: usize = 8 * 1024;

/// How this service is reached by browsers.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    /// Whether by HTTPS, from the browser's side.
    is_https: bool,
    /// `[control] public_url`, where a proxy in front of us changes the name.
    public_origin: Option<String>,
}

/// Which of the two cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// Opens a session. No other site's link or form brings it along.
    Session,
    /// Binds a login that is under way at the OpenID provider to the browser that began it. It must come along when the
    /// provider sends the browser back: `Lax`.
    Login,
}

impl Browser {
    /// By HTTPS or not, and under which URL if that isn't the one that calls name.
    pub(crate) fn new(speaks_tls: bool, public_url: Option<&Url>) -> Browser {
        let is_https = speaks_tls || public_url.is_some_and(|url| url.scheme() == "https");
        Browser { is_https, public_origin: public_url.map(|url| url.origin().ascii_serialization()) }
    }

    /// The cookie's name.
    pub(crate) fn name(&self, cookie: Cookie) -> String {
        let name = match cookie {
            Cookie::Session => SESSION,
            Cookie::Login => LOGIN,
        };
        if self.is_https { format!("__Host-{name}") } else { name.to_owned() }
    }

    /// Sets it, for as long as the browser is open and the service takes it.
    pub(crate) fn set(&self, cookie: Cookie, value: &str) -> HeaderValue {
        self.line(cookie, value, "")
    }

    /// Has the browser forget it.
    pub(crate) fn clear(&self, cookie: Cookie) -> HeaderValue {
        self.line(cookie, "", "; Max-Age=0")
    }

    fn line(&self, cookie: Cookie, value: &str, more: &str) -> HeaderValue {
        let same_site = match cookie {
            Cookie::Session => "Strict",
            Cookie::Login => "Lax",
        };
        let secure = if self.is_https { "; Secure" } else { "" };
        let name = self.name(cookie);
        let line = format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site}{secure}{more}");
        // Values are hex. A line that can't be a header would be an empty one, and set nothing.
        let mut line = HeaderValue::from_str(&line).unwrap_or(HeaderValue::from_static(""));
        line.set_sensitive(true);
        line
    }

    /// What the browser shows of it. Of two of the same name none: which is ours can't be told.
    pub(crate) fn read(&self, headers: &HeaderMap, cookie: Cookie) -> Option<String> {
        let name = self.name(cookie);
        let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let ours = all
            .filter(|value| value.len() <= MAX_COOKIES_BYTES)
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value.to_owned());
        match ours.collect::<Vec<_>>().as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        }
    }

    /// The session's text, if one is shown at all. `Some(None)`: what is shown can't be one.
    pub(crate) fn session(&self, headers: &HeaderMap) -> Option<Option<SessionText>> {
        self.read(headers, Cookie::Session).map(|shown| SessionText::parse(&shown))
    }

    /// Whether the browser says that another site has it make this call. What says nothing is no browser, or one that is
    /// years old: what protects those is the session's CSRF token.
    pub(crate) fn is_cross_site(&self, headers: &HeaderMap) -> bool {
        // Once stated, each must be right, and twice it can't be.
        let stated = |name: &str| {
            let mut all = headers.get_all(name).iter();
            let first = all.next().map(|value| value.to_str().unwrap_or("unreadable").to_owned());
            if all.next().is_some() { Some("twice".to_owned()) } else { first }
        };
        // `none`: the person typed the address, or opened a bookmark.
        if stated("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
            return true;
        }
        let Some(origin) = stated("origin") else { return false };
        let scheme = if self.is_https { "https" } else { "http" };
        let own = stated("host").map(|host| format!("{scheme}://{host}"));
        ![own.as_deref(), self.public_origin.as_deref()]
            .into_iter()
            .flatten()
            .any(|own| own.eq_ignore_ascii_case(&origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_cookie_is_for_this_host_alone_and_hidden_from_scripts() {
        let (tls, plain) = (Browser::new(true, None), Browser::new(false, None));
        assert_eq!(tls.set(Cookie::Session, "ab"), "__Host-metalform=ab; Path=/; HttpOnly; SameSite=Strict; Secure");
        assert_eq!(plain.set(Cookie::Session, "ab"), "metalform=ab; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(
            tls.clear(Cookie::Login),
            "__Host-metalform-login=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
        );
        let behind = Browser::new(false, Some(&"https://metalform.example.com".parse().unwrap()));
        assert_eq!(behind.name(Cookie::Session), "__Host-metalform");
    }

    #[test]
    fn our_cookie_is_found_among_others_and_not_at_all_if_it_is_there_twice() {
        let tls = Browser::new(true, None);
        let read = |pairs: &[(&'static str, &'static str)]| tls.read(&headers(pairs), Cookie::Session);
        assert_eq!(read(&[("cookie", "a=b; __Host-metalform=ab; c=d")]).as_deref(), Some("ab"));
        assert_eq!(read(&[("cookie", "a=b"), ("cookie", "__Host-metalform=ab")]).as_deref(), Some("ab"));
        for cookies in [
            "",
            "metalform=ab",
            "__Host-metalform-login=ab",
            "x__Host-metalform=ab",
            "__Host-metalform=a; __Host-metalform=b",
        ] {
            assert_eq!(read(&[("cookie", cookies)]), None, "{cookies}");
        }
    }

    #[test]
    fn a_call_of_another_site_is_told_by_what_the_browser_says() {
        let tls = Browser::new(true, None);
        let host = ("host", "metalform.example.com:8443");
        for own in [
            &[][..],
            &[("origin", "https://metalform.example.com:8443")],
            &[("origin", "https://Metalform.example.com:8443")],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(!tls.is_cross_site(&headers(&[&[host], own].concat())), "{own:?}");
        }
        for foreign in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "http://metalform.example.com:8443")],
            &[("origin", "https://metalform.example.com")],
            &[("origin", "https://metalform.example.com:8443.evil.example")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
            &[("origin", "https://metalform.example.com:8443"), ("origin", "https://evil.example")],
        ] {
            assert!(tls.is_cross_site(&headers(&[&[host], foreign].concat())), "{foreign:?}");
        }
        assert!(tls.is_cross_site(&headers(&[("origin", "https://metalform.example.com:8443")])), "no host");
        let behind = Browser::new(false, Some(&"https://metalform.example.com/".parse().unwrap()));
        let inside = ("host", "127.0.0.1:8443");
        assert!(!behind.is_cross_site(&headers(&[inside, ("origin", "https://metalform.example.com")])));
        assert!(behind.is_cross_site(&headers(&[inside, ("origin", "https://evil.example")])));
    }
}
