//! Passwords of users: hashed slowly, with much memory, and never more than two at once.
//!
//! Argon2id with the second recommended option of RFC 9106, section 4: 64 MiB, three passes, four lanes. One hash takes some
//! tenths of a second and 64 MiB, so a flood of logins would take all of the machine: two work at a time, on threads that
//! may block, the others wait, and who waits too long is told so. What that holds is 128 MiB.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher, PasswordVerifier, phc},
};
use metalform_model::MAX_PASSWORD_BYTES;
use metalform_store::PasswordHash;
use secrecy::{ExposeSecret, SecretString};
use std::{sync::Arc, time::Duration};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// KiB.
const MEMORY: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// Hashes that are computed at once.
const AT_ONCE: usize = 2;
/// How long somebody waits for their turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// A hash of these parameters that no password has: who logs in under an unknown name waits as long as everybody else.
const NOBODYS: &str =
    "$argon2id$v=19$m=65536,t=3,p=4$bm9ib2R5IGhhcyB0aGlzIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password that could not be hashed or looked at.
#[derive(Debug, Error)]
pub(crate) enum HashError {
    /// Too many others are before.
    #[error("too many passwords are being looked at")]
    Busy,
    /// What is stored is no hash, or the machine has no memory for it.
    #[error("a password's hash can't be computed")]
    Failed(#[source] password_hash::Error),
    /// The thread that computed it ended.
    #[error("a password's hash was not computed to its end")]
    Lost(#[source] tokio::task::JoinError),
}

/// What a look at a password showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// It is another one.
    Wrong,
    /// It is it.
    Right,
    /// It is it, and this is its hash under the parameters of today.
    RightAndRehashed(PasswordHash),
}

/// Hashes passwords, in turn.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Passwords { turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Passwords {
    /// A password's hash, with a salt of its own.
    pub(crate) async fn hash(&self, password: SecretString) -> Result<PasswordHash, HashError> {
        self.in_turn(move || hash(&password)).await
    }

    /// Whether the password has that hash; `None`: the user is unknown, and the answer comes as late.
    pub(crate) async fn look(&self, password: SecretString, hash: Option<PasswordHash>) -> Result<Looked, HashError> {
        self.in_turn(move || look(&password, hash.as_ref())).await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, password_hash::Error> + Send + 'static,
    ) -> Result<T, HashError> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        // It is never closed.
        let turn: OwnedSemaphorePermit = turn.map_err(|_| HashError::Busy)?.map_err(|_| HashError::Busy)?;
        // The turn goes with the work: whoever hangs up meanwhile makes no room for another before it is done.
        let worked = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        worked.await.map_err(HashError::Lost)?.map_err(HashError::Failed)
    }
}

fn argon2() -> Result<Argon2<'static>, password_hash::Error> {
    let params = Params::new(MEMORY, PASSES, LANES, None).map_err(password_hash::Error::from)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &SecretString) -> Result<PasswordHash, password_hash::Error> {
    let salt: [u8; 16] = rand::random();
    let hashed: phc::PasswordHash = argon2()?.hash_password_with_salt(password.expose_secret().as_bytes(), &salt)?;
    Ok(PasswordHash(hashed.to_string()))
}

fn look(password: &SecretString, stored: Option<&PasswordHash>) -> Result<Looked, password_hash::Error> {
    let text = stored.map_or(NOBODYS, |hash| hash.0.as_str());
    let parsed = phc::PasswordHash::new(text)?;
    let bytes = password.expose_secret().as_bytes();
    // Longer than any that can be set: wrong, after the same work.
    let shown = bytes.get(..MAX_PASSWORD_BYTES + 1).unwrap_or(bytes);
    match argon2()?.verify_password(shown, &parsed) {
        Err(password_hash::Error::PasswordInvalid) => Ok(Looked::Wrong),
        Err(error) => Err(error),
        Ok(()) if is_of_today(text) => Ok(Looked::Right),
        Ok(()) => Ok(Looked::RightAndRehashed(hash(password)?)),
    }
}

/// Whether a hash has the parameters that a new one would have.
fn is_of_today(phc: &str) -> bool {
    phc.starts_with(&format!("$argon2id$v=19$m={MEMORY},t={PASSES},p={LANES}$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_no_other_is() {
        let passwords = Passwords::default();
        let [one, two] =
            [passwords.hash(secret("kupfer lampe 7")).await, passwords.hash(secret("kupfer lampe 7")).await];
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one.0.starts_with("$argon2id$v=19$m=65536,t=3,p=4$") && one != two, "a salt for each");
        assert_eq!(passwords.look(secret("kupfer lampe 7"), Some(one.clone())).await.unwrap(), Looked::Right);
        for wrong in ["", "kupfer lampe 8", "kupfer lampe 7 ", &"x".repeat(3000)] {
            assert_eq!(passwords.look(secret(wrong), Some(one.clone())).await.unwrap(), Looked::Wrong, "{wrong}");
        }
        assert_eq!(passwords.look(secret("kupfer lampe 7"), None).await.unwrap(), Looked::Wrong);
    }

    /// The hash was computed by the reference implementation (`argon2` of Debian), with lesser parameters.
    #[tokio::test]
    async fn a_hash_of_lesser_parameters_lets_in_and_is_written_anew() {
        let passwords = Passwords::default();
        let old = PasswordHash(REFERENCE.into());
        assert_eq!(passwords.look(secret("kupfer lampe 8"), Some(old.clone())).await.unwrap(), Looked::Wrong);
        match passwords.look(secret("kupfer lampe 7"), Some(old)).await.unwrap() {
            Looked::RightAndRehashed(new) => {
                assert!(new.0.starts_with("$argon2id$v=19$m=65536,t=3,p=4$"), "{}", new.0);
                assert_eq!(passwords.look(secret("kupfer lampe 7"), Some(new)).await.unwrap(), Looked::Right);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_hash_that_nobody_has_costs_what_everybody_elses_does() {
        let nobodys = phc::PasswordHash::new(NOBODYS).unwrap();
        let somebodys = phc::PasswordHash::new(&hash(&secret("kupfer lampe 7")).unwrap().0).unwrap();
        let cost = |hash: &phc::PasswordHash| {
            let lengths = (hash.salt.as_ref().unwrap().len(), hash.hash.as_ref().unwrap().len());
            (hash.algorithm.to_string(), hash.version, hash.params.to_string(), lengths)
        };
        assert_eq!(cost(&nobodys), cost(&somebodys));
        assert!(is_of_today(NOBODYS));
    }

    #[tokio::test]
    async fn what_is_no_hash_is_an_error_and_not_a_wrong_password() {
        let passwords = Passwords::default();
        for stored in ["", "plain", "$argon2id$v=19$m=1,t=0,p=0$AAAA$AAAA"] {
            let looked = passwords.look(secret("x"), Some(PasswordHash(stored.into()))).await;
            assert!(matches!(looked, Err(HashError::Failed(_))), "{stored}: {looked:?}");
        }
    }

    #[tokio::test]
    async fn two_are_looked_at_at_once_and_the_others_wait() {
        let passwords = Passwords::default();
        let looks: Vec<_> = (0..6)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.look(secret("x"), None).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(passwords.turns.available_permits(), 0);
        for look in looks {
            assert_eq!(look.await.unwrap().unwrap(), Looked::Wrong);
        }
        assert_eq!(passwords.turns.available_permits(), AT_ONCE);
    }

    const REFERENCE: &str =
        "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHRzYWx0$sVF3ChZtXibkwi+2Ci6h3NqqSav3XSOgqGu1LcOLecM";
}
