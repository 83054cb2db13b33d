//! The one query parameter machines send.
//!
//! Read by hand, because consoles turn `&` into `@` and what follows must not become part of the token. A token has only
//! characters that are never percent-encoded, so nothing is decoded.

use std::fmt;

/// What a query said. Its `Debug` doesn't show the token.
#[derive(PartialEq, Eq)]
pub(crate) struct BootQuery<'a> {
    /// The value of the first `t`, not checked.
    pub token: Option<&'a str>,
    /// Whether there was anything else than one `t`, leaving out what follows a `@`. Its text is not kept: it might be a
    /// token under a wrong name.
    pub has_more: bool,
}

impl fmt::Debug for BootQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.map(str::len);
        f.debug_struct("BootQuery").field("token_bytes", &token).field("has_more", &self.has_more).finish()
    }
}

pub(crate) fn read_query(raw: Option<&str>) -> BootQuery<'_> {
    let raw = raw.unwrap_or_default();
    let token = raw.split(['&', '@']).find_map(|part| part.strip_prefix("t=")).filter(|token| !token.is_empty());
    let unmangled = raw.split('@').next().unwrap_or_default();
    let parts = || unmangled.split('&').filter(|part| !part.is_empty());
    let has_more = parts().any(|part| !part.starts_with("t=")) || parts().count() > 1;
    BootQuery { token, has_more }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_ends_where_a_console_mangled_the_separator() {
        for (raw, token, has_more) in [
            (None, None, false),
            (Some(""), None, false),
            (Some("t="), None, false),
            (Some("t=abc"), Some("abc"), false),
            (Some("t=abc@x=1"), Some("abc"), false),
            (Some("t=abc&x=1"), Some("abc"), true),
            (Some("x=1&t=abc"), Some("abc"), true),
            (Some("t=abc&t=def"), Some("abc"), true),
            (Some("token=abc"), None, true),
            (Some("abc"), None, true),
        ] {
            assert_eq!(read_query(raw), BootQuery { token, has_more }, "{raw:?}");
        }
    }
}
