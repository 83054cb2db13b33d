//! A machine's session: how it shows who it is once it has exchanged its boot token for a key of its own.
//!
//! The token stands where others can read it: in user data, on a console, on the kernel's command line. The key is made
//! by the machine, lives in its memory, and signs every request after the exchange. A **round** begins with each fetch of
//! the boot script; the first key that is shown in a round is that round's.
//!
//! A signature covers a number that only grows and no time of day: clocks of machines are wrong. Keys and signatures are
//! written in hex, as digests and tokens are here: one text for each value, where base64 has several.

use serde::{Deserialize, Serialize, de};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// Name of the header that carries a [`RequestSignature`].
pub const SIGNATURE_HEADER: &str = "metalform-signature";

/// Keeps these signatures apart from every other use of the same key.
const DOMAIN: &str = "metalform session v1";

/// By what a machine has shown who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// By the boot token alone, which others may have read.
    Token,
    /// By a key of its own, for which it exchanged the token.
    Session,
}

/// An Ed25519 public key (RFC 8032), 32 bytes; on the wire 64 hex digits in lower case. No secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey(pub [u8; 32]);

impl SessionKey {
    /// Its first 16 digits: enough to tell keys apart, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..8])
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({self})")
    }
}

/// Not the text of a key or a signature. Permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SessionTextError(&'static str);

impl FromStr for SessionKey {
    type Err = SessionTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        lower_hex(text).map(SessionKey).ok_or(SessionTextError("a key is 64 hex digits in lower case"))
    }
}

impl Serialize for SessionKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    hex::decode(text).ok().filter(|_| is_lower)?.try_into().ok()
}

/// The value of [`SIGNATURE_HEADER`]: `v1 <counter> <signature>`, the signature as 128 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestSignature {
    /// From 1 to [`RequestSignature::MOST`]; each request of a session has a greater one than all before it.
    pub counter: u64,
    /// Ed25519, over [`signed_text`].
    pub signature: [u8; 64],
}

impl RequestSignature {
    /// The greatest counter: what a database's integers hold.
    pub const MOST: u64 = i64::MAX as u64;
}

impl fmt::Display for RequestSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1 {} {}", self.counter, hex::encode(self.signature))
    }
}

impl FromStr for RequestSignature {
    type Err = SessionTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(' ');
        let (Some("v1"), Some(counter), Some(signature), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(SessionTextError("a signature is `v1`, a counter and 128 hex digits"));
        };
        let digits = counter;
        let counter = digits.parse().ok().filter(|counter| (1..=RequestSignature::MOST).contains(counter));
        // No sign, and no zero before it.
        let counter = counter.filter(|counter| counter.to_string() == digits);
        let counter = counter.ok_or(SessionTextError("the counter is a number from 1 to 2^63-1"))?;
        let signature =
            lower_hex(signature).ok_or(SessionTextError("the signature is 128 hex digits in lower case"))?;
        Ok(RequestSignature { counter, signature })
    }
}

/// What is signed: everything that makes a request what it is, a line each. `path` as it is on the wire, without a query.
pub fn signed_text(method: &str, path: &str, counter: u64, body: &[u8]) -> String {
    format!("{DOMAIN}\n{method}\n{path}\n{counter}\n{}\n", hex::encode(Sha256::digest(body)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Both come from strangers.
        #[test]
        fn any_text_is_refused_or_the_one_text_of_what_it_says(
            text in prop_oneof![any::<String>(), "v1 [0-9+]{1,4} [0-9a-f]{128}", "[0-9a-f]{64}", "[0-9a-fA-F]{64}"],
        ) {
            if let Ok(key) = text.parse::<SessionKey>() {
                prop_assert_eq!(key.to_string(), text.clone());
            }
            if let Ok(signature) = text.parse::<RequestSignature>() {
                prop_assert_eq!(signature.to_string(), text);
            }
        }
    }

    #[test]
    fn a_key_has_one_text() {
        let key = SessionKey([0xab; 32]);
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(serde_json::from_value::<SessionKey>(serde_json::json!(key)).unwrap(), key);
        assert_eq!(key.short(), "abababababababab");
        for wrong in ["", &text[1..], &format!("{text}ab"), &text.to_uppercase(), &text.replace('a', "g")] {
            assert!(wrong.parse::<SessionKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_signature_is_read_as_it_is_written_and_in_no_other_way() {
        let signature = RequestSignature { counter: 7, signature: [0x0c; 64] };
        let text = signature.to_string();
        assert_eq!(text.parse(), Ok(signature));
        for wrong in [
            "".to_owned(),
            text.replace("v1", "v2"),
            text.replace(" 7 ", " 0 "),
            text.replace(" 7 ", " -1 "),
            text.replace(" 7 ", " 9223372036854775808 "),
            text.replace(" 7 ", "  7 "),
            text.replace('c', "C"),
            format!("{text} x"),
            text[..text.len() - 1].to_owned(),
        ] {
            assert!(wrong.parse::<RequestSignature>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn everything_that_makes_a_request_is_signed() {
        let text = signed_text("POST", "/boot/report/server-001", 7, b"{}");
        assert_eq!(
            text,
            "metalform session v1\nPOST\n/boot/report/server-001\n7\n\
             44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n"
        );
        for other in [
            signed_text("GET", "/boot/report/server-001", 7, b"{}"),
            signed_text("POST", "/boot/report/server-002", 7, b"{}"),
            signed_text("POST", "/boot/report/server-001", 8, b"{}"),
            signed_text("POST", "/boot/report/server-001", 7, b"{ }"),
        ] {
            assert_ne!(other, text);
        }
    }
}
