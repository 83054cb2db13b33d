//! Which passwords a user may have. Length is what counts; beside it only what everybody tries first is refused.
//!
//! Rejected: rules on which sorts of characters there must be. They make people write `Password1!`, which is tried early
//! (NIST SP 800-63B, section 5.1.1.2, speaks against them).

use std::collections::BTreeSet;
use thiserror::Error;

/// The fewest characters of a password.
pub const MIN_PASSWORD_CHARS: usize = 12;
/// The most bytes of a password.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// With fewer different characters it is one key held down, or two in turn.
const FEWEST_DIFFERENT: usize = 4;

/// Why a password can't be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadPassword {
    /// It is guessed too soon.
    #[error("the password is too short")]
    Short,
    /// Nobody types that.
    #[error("the password is too long")]
    Long,
    /// A line end or another control character is in it.
    #[error("the password holds a control character")]
    Control,
    /// It is among those that everybody tries first.
    #[error("the password is among those that are tried first")]
    Common,
    /// It is the user's name.
    #[error("the password is made of the user's name")]
    OwnName,
}

impl BadPassword {
    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            BadPassword::Short | BadPassword::Long => "take 12 characters or more, and at most 1024 bytes",
            BadPassword::Control => "leave line ends and tabs out",
            BadPassword::Common | BadPassword::OwnName => "take some words that have nothing to do with each other",
        }
    }
}

/// Whether that user may have that password.
pub fn check_password(user: &str, password: &str) -> Result<(), BadPassword> {
    if password.chars().count() < MIN_PASSWORD_CHARS {
        return Err(BadPassword::Short);
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(BadPassword::Long);
    }
    if password.chars().any(char::is_control) {
        return Err(BadPassword::Control);
    }
    // As it stands, and as somebody reads it who sees an `a` in `@`: `P@ssw0rd2026!` is `password` as well.
    let lower = password.to_lowercase();
    let name = letters(user);
    for read in [letters(&lower), letters(&plain_letters(&lower))] {
        if is_made_of(&read, &name) || is_made_of(&lower, user) {
            return Err(BadPassword::OwnName);
        }
        if COMMON.split_whitespace().any(|word| is_made_of(&read, word)) {
            return Err(BadPassword::Common);
        }
    }
    let different: BTreeSet<char> = lower.chars().collect();
    if different.len() < FEWEST_DIFFERENT || password.chars().all(|c| c.is_ascii_digit()) {
        return Err(BadPassword::Common);
    }
    Ok(())
}

/// Whether the text is the word, once or again and again.
fn is_made_of(text: &str, word: &str) -> bool {
    !word.is_empty() && !text.is_empty() && text.replace(word, "").is_empty()
}

/// What is left without digits, signs and blanks.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphabetic()).collect()
}

/// Signs that stand for letters, where letters come after them; the digits at the end stay digits.
fn plain_letters(text: &str) -> String {
    let ends_at = text.trim_end_matches(|c: char| !c.is_alphabetic()).len();
    let (inside, end) = text.split_at(ends_at);
    let letter = |c| match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    };
    inside.chars().map(letter).chain(end.chars()).collect()
}

/// What lists of leaked passwords begin with, in one spelling of each and without digits, signs and blanks, and what is the first
/// thought of somebody who sets up this software.
const COMMON: &str = "
    abc abcd abcde abcdef abcdefg abcdefgh abcdefghi abcdefghij abcdefghijk abcdefghijkl access admin administrator amanda
    andrew angel arizona ashley asdf asdfgh asdfghjkl auditor azerty azertyuiop badpassword bailey baremetal baseball batman
    buster changeit changeme changemenow changethis charlie cheese chocolate cluster computer correcthorsebatterystaple
    daniel default defaultpassword dragon flower football foundation freedom george guest hannah hello helloworld hunter
    ibmcloud iloveyou iloveyouforever internet jennifer jessica jordan joshua letmein letmeinnow liverpool login lovely maggie
    manager master matrix metalform michael michelle monkey mustang mypassword nicole nutanix operator pass passphrase passw
    passwd password pepper princess qazwsx qazwsxedc qwer qwerty qwertyui qwertyuiop qwertz qwertzuiop root samsung secret
    secretpassword server shadow soccer starwars summer sunshine superman superuser support test tester thisisapassword thomas
    trustno trustnoone user viewer welcome whatever william winter zxcvbn zxcvbnm";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_tries_first_is_refused() {
        for password in [
            "password1234",
            "Password2026!",
            "P@ssw0rd2026!",
            "passwordpassword",
            "123456789012",
            "aaaaaaaaaaaaaa",
            "qwertyuiop123",
            "!!Welcome2026!!",
            "administrator",
            "metalform2026",
            "NutanixNutanix",
            "correct horse battery staple",
        ] {
            assert_eq!(check_password("ann", password), Err(BadPassword::Common), "{password}");
        }
    }

    #[test]
    fn a_name_is_no_password_however_it_is_decorated() {
        for password in ["annika.berg", "annika.berg2026", "Annika.Berg!", "annika.bergannika.berg"] {
            let expected = if password.len() < 12 { BadPassword::Short } else { BadPassword::OwnName };
            assert_eq!(check_password("annika.berg", password), Err(expected), "{password}");
        }
        assert_eq!(check_password("a1", "a1a1a1a1a1a1"), Err(BadPassword::OwnName));
    }

    #[test]
    fn length_is_counted_in_characters_and_limited_in_bytes() {
        assert_eq!(check_password("ann", "kupfer-lamp"), Err(BadPassword::Short));
        assert_eq!(check_password("ann", "kupfer-lampe"), Ok(()));
        assert_eq!(check_password("ann", "äöüßéèêàçñøå"), Ok(()));
        assert_eq!(check_password("ann", &"lamp".repeat(256)), Ok(()));
        assert_eq!(check_password("ann", &format!("{}k", "lamp".repeat(256))), Err(BadPassword::Long));
        assert_eq!(check_password("ann", "kupfer-lampe\n"), Err(BadPassword::Control));
    }

    #[test]
    fn a_common_word_among_others_is_no_common_password() {
        for password in
            ["my dragon eats 7 lamps", "summer lamp copper", "rootless-tree-9", "x9$kQ2!vv0Lp", "abc-lamp-hij"]
        {
            assert_eq!(check_password("ann", password), Ok(()), "{password}");
        }
    }
}
