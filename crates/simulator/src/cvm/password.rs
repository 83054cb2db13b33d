//! The password of Prism's account: what is asked of a new one, and how it reaches the members of a cluster one by one.

use metalform_model::Timestamp;
use std::collections::BTreeMap;

/// "Not among the last five".
const REMEMBERED: usize = 5;
/// Stands for the dictionary.
const WORDS: [&str; 4] = ["password", "nutanix", "welcome", "admin"];

/// A password and what came before it.
#[derive(Debug, Clone)]
pub(super) struct PrismPassword {
    now: String,
    /// Oldest first.
    before: Vec<String>,
    is_default: bool,
    /// When each CVM takes the new one, by server id; until then it takes the one before.
    taken_at: BTreeMap<String, Timestamp>,
}

impl PrismPassword {
    /// A default.
    pub fn new(password: &str) -> Self {
        PrismPassword { now: password.to_owned(), before: Vec::new(), is_default: true, taken_at: BTreeMap::new() }
    }

    /// One that is nobody's default.
    pub fn seeded(password: &str) -> Self {
        PrismPassword { is_default: false, ..PrismPassword::new(password) }
    }

    /// What a CVM lets in now.
    pub fn on(&self, server_id: &str, now: Timestamp) -> &str {
        let is_late = self.taken_at.get(server_id).is_some_and(|at| now < *at);
        self.before.last().filter(|_| is_late).unwrap_or(&self.now)
    }

    pub fn is_default(&self) -> bool {
        self.is_default
    }

    /// Replaces it; the CVMs take the new one at these times.
    pub fn change(&mut self, new: &str, taken_at: BTreeMap<String, Timestamp>) {
        self.before.push(std::mem::replace(&mut self.now, new.to_owned()));
        (self.is_default, self.taken_at) = (false, taken_at);
    }

    /// Whether a new one may be taken. Two blogs agree on these rules; vendor material was not seen.
    pub fn check(&self, new: &str) -> Result<(), &'static str> {
        let has = |of: fn(char) -> bool| new.chars().any(of);
        let kinds = [char::is_lowercase as fn(char) -> bool, char::is_uppercase, |c| c.is_ascii_digit()];
        let characters: Vec<char> = new.chars().collect();
        let differing = characters.iter().zip(self.now.chars().map(Some).chain(std::iter::repeat(None)));
        let lower = new.to_lowercase();
        if characters.len() < 8 {
            Err("Password should be at least 8 characters long.")
        } else if !kinds.into_iter().all(has) || !has(|c| !c.is_alphanumeric()) {
            Err(
                "Password requirements: at least one lowercase letter, one uppercase letter, one digit and one special \
                 character.",
            )
        } else if differing.filter(|(new, old)| Some(**new) != *old).count() < 4 {
            Err("Password should differ by at least 4 characters from the previous password.")
        } else if self.now == new || self.before.iter().rev().take(REMEMBERED - 1).any(|old| old == new) {
            Err("Password should not be among the last 5 passwords.")
        } else if characters.windows(3).any(|run| run[0] == run[1] && run[1] == run[2]) {
            Err("Password should not have more than 2 consecutive occurrences of a character.")
        } else if WORDS.iter().any(|word| lower.contains(word)) {
            Err("Password should not contain a dictionary word.")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_has_rules() {
        let mut password = PrismPassword::new("nutanix/4u");
        for (new, told) in [
            ("Aa1.x", "8 characters"),
            ("aaaabbb1.", "uppercase"),
            ("AAAABBB1.", "lowercase"),
            ("Abcdefgh.", "digit"),
            ("Abcdefg12", "special"),
            ("Abbbcde1.", "consecutive"),
            ("Password1.", "dictionary"),
            ("nutanix/4U.", "differ"),
        ] {
            assert!(password.check(new).is_err_and(|why| why.contains(told)), "{new}");
        }
        assert_eq!(password.check("Kz7.pq-Wm2"), Ok(()));
        password.change("Kz7.pq-Wm2", BTreeMap::new());
        password.change("tR9_vd+Xn4", BTreeMap::new());
        assert!(password.check("Kz7.pq-Wm2").is_err_and(|why| why.contains("last 5")));
    }

    #[test]
    fn a_cvm_takes_the_old_one_until_its_time_has_come() {
        let mut password = PrismPassword::new("old");
        password.change("new", BTreeMap::from([("late".to_owned(), Timestamp::from_seconds(30))]));
        let at = |id, seconds| password.on(id, Timestamp::from_seconds(seconds));
        assert_eq!((at("late", 29), at("late", 30), at("first", 0)), ("old", "new", "new"));
    }
}
