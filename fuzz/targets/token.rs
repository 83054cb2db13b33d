//! Any text as each kind of token, key and signature that somebody shows: it is refused, or it is the one text of what it says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use metalform_model::{RequestSignature, SessionKey};

fuzz_target!(|bytes: &[u8]| {
    let shown = String::from_utf8_lossy(bytes);
    if let Some(id) = metalform_service::fuzzing::token_id(&shown) {
        assert!(id.len() == 16 && shown.starts_with(&format!("mf_{id}_")) && shown.len() == 92, "{shown}");
    }
    if let Ok(key) = shown.parse::<SessionKey>() {
        assert_eq!(key.to_string(), shown);
    }
    if let Ok(signature) = shown.parse::<RequestSignature>() {
        assert_eq!(signature.to_string(), shown);
    }
});
