//! Any text as the query of a machine: a token that is shown stands in it, and has nothing of what follows it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let raw = String::from_utf8_lossy(bytes);
    let (token, has_more) = metalform_boot::fuzzing::query(&raw);
    if let Some(token) = token {
        assert!(!token.is_empty() && !token.contains(['&', '@']), "{raw:?}: {token:?}");
        assert!(raw.contains(&format!("t={token}")), "{raw:?}: {token:?}");
    }
    // One `t` and nothing else is the only query without more.
    if !has_more && !raw.is_empty() && !raw.contains(['&', '@']) {
        assert!(raw.starts_with("t="), "{raw:?}");
    }
});
