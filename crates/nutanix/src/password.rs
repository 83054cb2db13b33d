//! New passwords for the accounts of a cluster.
//!
//! Nutanix' rules as two published write-ups agree: at least eight characters, one each of lower, upper, digit and
//! special, four different from the previous one, none of the last five, no more than two equal characters in a row, no
//! dictionary word. Some specials are refused by some releases, and others break quoting in tools they are pasted into,
//! so few are used. A letter comes first: a leading dash would be an option to somebody.

use rand::{CryptoRng, seq::IndexedRandom};
use secrecy::SecretString;

const LENGTH: usize = 20;
const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGIT: &[u8] = b"0123456789";
const SPECIAL: &[u8] = b"._-!#+";

/// A password that fits those rules: 20 characters, some 118 bits.
///
/// Drawn as a whole until one fits (about every second does), so every fitting password is equally likely. Rejected:
/// putting one of each class in first, which is not uniform.
pub fn generate(rng: &mut impl CryptoRng) -> SecretString {
    let letters = [LOWER, UPPER].concat();
    let all = [LOWER, UPPER, DIGIT, SPECIAL].concat();
    loop {
        let mut password = String::with_capacity(LENGTH);
        for at in 0..LENGTH {
            let from = if at == 0 { &letters } else { &all };
            password.extend(from.choose(rng).map(|byte| char::from(*byte)));
        }
        if fits(&password) {
            return SecretString::from(password);
        }
    }
}

fn fits(password: &str) -> bool {
    let bytes = password.as_bytes();
    bytes.len() == LENGTH
        && [LOWER, UPPER, DIGIT, SPECIAL].iter().all(|class| bytes.iter().any(|byte| class.contains(byte)))
        && !bytes.windows(3).any(|three| three[0] == three[1] && three[1] == three[2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};
    use secrecy::ExposeSecret;

    proptest! {
        #[test]
        fn a_password_keeps_every_rule(seed: u64) {
            let password = generate(&mut StdRng::seed_from_u64(seed));
            let password = password.expose_secret();
            prop_assert_eq!(password.chars().count(), 20);
            prop_assert!(password.starts_with(|c: char| c.is_ascii_alphabetic()));
            prop_assert!(password.contains(|c: char| c.is_ascii_lowercase()));
            prop_assert!(password.contains(|c: char| c.is_ascii_uppercase()));
            prop_assert!(password.contains(|c: char| c.is_ascii_digit()));
            prop_assert!(password.contains(|c| "._-!#+".contains(c)));
            prop_assert!(password.chars().all(|c| c.is_ascii_alphanumeric() || "._-!#+".contains(c)));
            let chars: Vec<char> = password.chars().collect();
            prop_assert!(!chars.windows(3).any(|three| three[0] == three[1] && three[1] == three[2]));
        }

        #[test]
        fn two_passwords_differ(seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let (one, other) = (generate(&mut rng), generate(&mut rng));
            prop_assert_ne!(one.expose_secret(), other.expose_secret());
        }
    }

    #[test]
    fn what_breaks_a_rule_does_not_fit() {
        assert!(fits("aA1-bcdefghijklmnopq"));
        for password in [
            "aA1-bcdefghijklmnop",
            "AA1-BCDEFGHIJKLMNOPQ",
            "aa1-bcdefghijklmnopq",
            "aAx-bcdefghijklmnopq",
            "aA1xbcdefghijklmnopq",
            "aA1-bcdefghijklmnooo",
        ] {
            assert!(!fits(password), "{password}");
        }
    }
}
