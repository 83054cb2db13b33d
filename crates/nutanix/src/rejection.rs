//! A refusal in the server's own words, read leniently: Prism v1, v2.0 and v3 and Foundation each have another shape,
//! fields come and go by release, and while Prism starts the body is HTML.
//!
//! Shapes: v2.0 `{message, detailed_message, error_code{code}}`, or a list of it (Nutanix's published v2.0 API
//! definition, where the schema says list and the example shows an object); v1 the same in camelCase; v3 `{state, code,
//! message_list[{message, reason, details}]}` with `details` as text or object (terraform-provider-nutanix issues 18
//! and 93); Foundation: status 500 for every fault, `{error{message, details, session_id}}`.

use crate::excerpt;
use serde_json::Value;
use std::fmt;

/// What the server said when it refused. Shortened to one line each; password hashes are hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// The server's own code or reason: `1202`, `ACCESS_DENIED`.
    pub code: Option<String>,
    /// The server's message. `None` when the body has none of the known shapes.
    pub message: Option<String>,
    /// More words for the message; without a message, the beginning of the body.
    pub detail: Option<String>,
}

impl Rejection {
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let answer = if answer.is_array() { &answer[0] } else { &answer };
        let error = if answer["error"].is_object() { &answer["error"] } else { answer };
        let first = &error["message_list"][0];
        let message = [&error["message"], &first["message"], &error["error"]].into_iter().find_map(words);
        let detail = ["detailed_message", "detailedMessage", "details"]
            .into_iter()
            .find_map(|key| words(&error[key]))
            .or_else(|| words(&first["details"]));
        let code = [&error["error_code"]["code"], &error["errorCode"]["code"], &first["reason"]]
            .into_iter()
            .chain(["error_code", "errorCode", "code"].map(|key| &error[key]))
            .find_map(words);
        let detail = match &message {
            Some(message) => detail.filter(|text| text != message),
            None => Some(excerpt::of_body(body)).filter(|text| !text.is_empty()),
        };
        Rejection { status, code, message, detail }
    }

    /// Whether the server itself said what is wrong, and not something in front of it or a page.
    pub fn is_the_servers_word(&self) -> bool {
        self.message.is_some()
    }
}

/// A text, a number, or an object as JSON; `None` for what says nothing.
fn words(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null | Value::Bool(_) => return None,
        Value::String(text) => excerpt::of_text(text),
        Value::Array(list) if list.is_empty() => return None,
        Value::Object(map) if map.is_empty() => return None,
        other => excerpt::of_text(&other.to_string()),
    };
    Some(text).filter(|text| !text.is_empty())
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with status {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " (code {code})")?;
        }
        for text in [&self.message, &self.detail].into_iter().flatten() {
            write!(f, ": {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_shape_of_an_error_is_read() {
        let hashed = r#"{"message":"failed","detailed_message":"hash $6$salt$digest kept"}"#;
        for (body, shown) in [
            (
                r#"{"message":"Bad name","detailed_message":"too long","error_code":{"code":1202,"help_url":"http://my.nutanix.com"}}"#,
                "refused with status 500 (code 1202): Bad name: too long",
            ),
            (r#"[{"message":"Bad name","error_code":{"code":1202}}]"#, "refused with status 500 (code 1202): Bad name"),
            (
                r#"{"message":"Bad name","detailedMessage":"too long","errorCode":{"code":1202}}"#,
                "refused with status 500 (code 1202): Bad name: too long",
            ),
            (
                r#"{"state":"ERROR","code":403,"message_list":[{"message":"No","reason":"ACCESS_DENIED","details":"why"}]}"#,
                "refused with status 500 (code ACCESS_DENIED): No: why",
            ),
            (
                r#"{"state":"ERROR","code":422,"message_list":[{"message":"No","details":{"name":["short"]}}]}"#,
                r#"refused with status 500 (code 422): No: {"name":["short"]}"#,
            ),
            (r#"{"error":{"message":"No nodes","details":{},"session_id":"s"}}"#, "refused with status 500: No nodes"),
            (r#"{"error":"No nodes"}"#, "refused with status 500: No nodes"),
            (hashed, "refused with status 500: failed: hash [hash hidden] kept"),
            ("<html>\n<h1>Starting</h1></html>", "refused with status 500: <html> <h1>Starting</h1></html>"),
            (r#"{"unknown":1}"#, r#"refused with status 500: {"unknown":1}"#),
            ("", "refused with status 500"),
            ("[]", "refused with status 500: []"),
        ] {
            assert_eq!(Rejection::read(500, body.as_bytes()).to_string(), shown, "{body}");
        }
    }

    #[test]
    fn a_page_is_not_the_servers_own_word() {
        assert!(!Rejection::read(502, b"<html>Bad Gateway</html>").is_the_servers_word());
        assert!(Rejection::read(500, br#"{"message":"no"}"#).is_the_servers_word());
    }
}
