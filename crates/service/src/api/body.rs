//! The JSON bodies of requests.

use super::ApiError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// An object, read as what it should be. A list is refused: its places would be taken for the keys.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], hint: &str) -> Result<T, ApiError> {
    let object: Result<Map<String, Value>, _> = serde_json::from_slice(bytes);
    object
        .and_then(|object| serde_json::from_value(Value::Object(object)))
        .map_err(|error| ApiError::new(400, "bad_request", format!("the body isn't understood: {error}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        name: Option<String>,
    }

    #[test]
    fn an_object_with_known_keys_is_read_and_nothing_else() {
        assert_eq!(read::<Wanted>(br#"{"name": "a"}"#, "").unwrap(), Wanted { name: Some("a".into()) });
        assert_eq!(read::<Wanted>(b"{}", "").unwrap(), Wanted { name: None });
        for body in
            [&b""[..], b"[]", br#"["a"]"#, b"null", br#"{"name": "a"} x"#, br#"{"other": 1}"#, b"\xff", br#""a""#]
        {
            assert!(read::<Wanted>(body, "").is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
