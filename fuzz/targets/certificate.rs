//! Any bytes as the operator's certificate and key, as they lie there when they are looked at again: a pair, or an error. The key
//! follows the certificate in the input, so that a seed is one file of both.

#![no_main]

use libfuzzer_sys::fuzz_target;
use metalform_model::Timestamp;

const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----";
/// When the seed's certificate is valid: 2030, in microseconds.
const NOW: Timestamp = Timestamp(1_893_456_000_000_000);

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.windows(KEY.len()).position(|window| window == KEY).unwrap_or(bytes.len());
    let (cert, key) = bytes.split_at(end);
    if metalform_service::fuzzing::is_usable_pair(cert, key, NOW) {
        // Only a key with its own certificate can be one: neither half is a pair by itself.
        assert!(!metalform_service::fuzzing::is_usable_pair(cert, b"", NOW));
        assert!(!metalform_service::fuzzing::is_usable_pair(b"", key, NOW));
    }
});
