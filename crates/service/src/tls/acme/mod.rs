//! A certificate that an ACME authority issues, for the names by which browsers know the control plane; whoever asks for
//! another name, or for an address, is shown our own. So the command line on this machine trusts what it always did, and the
//! service starts, and goes on, while the authority is away.
//!
//! `tls/acme-account.json` of the data folder is our account there, sealed; `tls/acme.pem` the certificate with its key. The
//! certificate of another authority is removed before the account is written, so one of a test authority is never taken for the
//! real one's. A crash within an order costs that order: nothing of it is kept.

mod config;
mod error;
mod http;
mod order;
#[cfg(test)]
mod tests;

pub use config::{AcmeConfig, ExternalAccount};
pub use error::AcmeError;

use super::{
    TlsError,
    certificate::Facts,
    pair::{PairFiles, PairText},
    presented::Presented,
};
use crate::secrets::{self, ACME_ACCOUNT, SealedFiles, SecretError};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::AcmeHttp;
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use metalform_model::Timestamp;
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use url::Url;

/// The account, below [`super::folder`].
const ACCOUNT: &str = "acme-account.json";
/// The certificate with its key.
const CERTIFICATE: &str = "acme.pem";

/// For a whole order. What the library waits for within it has limits of its own.
const ORDER_LIMIT: Duration = Duration::from_secs(300);
/// After a first failure. Let's Encrypt takes five failed looks an hour for one name,
/// <https://letsencrypt.org/docs/rate-limits/>.
const FIRST_PAUSE: Duration = Duration::from_secs(15 * 60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// The account, the certificate, and when the next one is asked for.
pub(super) struct Acme {
    folder: PathBuf,
    sealed: SealedFiles,
    config: AcmeConfig,
    domains: BTreeSet<String>,
    http: AcmeHttp,
    external: Option<ExternalAccountKey>,
    /// What is presented, if anything is.
    facts: Option<Facts>,
    failures: u32,
    next_try: Timestamp,
}

impl Acme {
    /// Takes the certificate that is there, if it is one of that authority for those names.
    pub fn start(
        folder: PathBuf,
        sealed: SealedFiles,
        config: AcmeConfig,
        presented: &Presented,
        now: Timestamp,
    ) -> Result<Acme, AcmeError> {
        let domains = config.domains.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
        // The configuration was checked.
        let directory = Url::parse(&config.directory)
            .map_err(|_| AcmeError::Asked { what: "have a URL", source: instant_acme::Error::Str("it is none") })?;
        let http = AcmeHttp::new(&directory, config.ca_file.as_deref())?;
        let external = config.external_account.as_ref().map(external_key).transpose()?;
        let mut acme =
            Acme { folder, sealed, config, domains, http, external, facts: None, failures: 0, next_try: Timestamp(0) };
        if acme.stored_account()?.is_some() {
            match acme.read(now) {
                Ok(Some((key, facts))) => acme.present(presented, key, facts),
                Ok(None) => {}
                // Another one is asked for: nothing is lost with it.
                Err(error) => tracing::warn!(%error, "the certificate of the ACME authority can't be used any more"),
            }
        }
        Ok(acme)
    }

    /// Asks for a certificate where there is none, or it is due; at once when somebody asks, otherwise not before its time.
    pub async fn look(&mut self, presented: &Presented, now: Timestamp, asked: bool) {
        // An authority may add names.
        let is_good = |facts: &Facts| facts.names.is_superset(&self.domains) && now < facts.validity.renew_at();
        // A clock that was set back leaves a next try that is farther away than any pause.
        let waits = now < self.next_try && self.next_try <= now + LONGEST_PAUSE;
        if self.facts.as_ref().is_some_and(is_good) || (!asked && waits) {
            return;
        }
        let ordered = tokio::time::timeout(ORDER_LIMIT, self.order(presented, now)).await;
        // Also where the order was cut off.
        presented.end_challenges();
        match ordered.unwrap_or(Err(AcmeError::Late(ORDER_LIMIT))) {
            Ok((key, facts)) => {
                super::reload::tell_of("the ACME authority has issued a certificate", &facts);
                self.present(presented, key, facts);
                self.failures = 0;
                // Should it be none that is good for long: no authority bears an order every few seconds.
                self.next_try = now + FIRST_PAUSE;
            }
            Err(error) => {
                let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(self.failures)).min(LONGEST_PAUSE);
                self.failures = self.failures.saturating_add(1);
                self.next_try = now + pause;
                let hint = error.hint();
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, hint, next_try = %self.next_try, "no certificate of the ACME authority");
            }
        }
    }

    fn present(&mut self, presented: &Presented, key: Arc<CertifiedKey>, facts: Facts) {
        presented.show_for(facts.names.clone(), key);
        self.facts = Some(facts);
    }

    async fn order(&self, presented: &Presented, now: Timestamp) -> Result<(Arc<CertifiedKey>, Facts), AcmeError> {
        let ordered = match order::order(&self.account().await?, &self.domains, presented).await {
            Err(AcmeError::Asked { source, .. }) if is_unknown_account(&source) => {
                tracing::warn!("the ACME authority doesn't know our account any more; another is made");
                order::order(&self.make_account().await?, &self.domains, presented).await
            }
            ordered => ordered,
        };
        let pem = ordered?;
        let path = self.folder.join(CERTIFICATE);
        // Before the one that is there gives way.
        let text = PairText::of_one(&pem);
        let good = self.check(&text, now).map_err(|error| AcmeError::Certificate(error.into()))?;
        let failed =
            |source| AcmeError::Certificate(TlsError::File { doing: "write", path: path.clone(), source }.into());
        secrets::write_whole(&path, pem.expose_secret().as_bytes(), 0o600).map_err(failed)?;
        Ok((Arc::new(good.0), good.1))
    }

    /// The account there, made when there is none.
    async fn account(&self) -> Result<Account, AcmeError> {
        let asked = |what| move |source| AcmeError::Asked { what, source };
        let builder = || Account::builder_with_http(Box::new(self.http.clone()));
        if let Some(credentials) = self.stored_account()? {
            let open = builder().from_credentials(credentials).await;
            return open.map_err(asked("say what it offers"));
        }
        // Of another authority, or of none that is known.
        self.remove(CERTIFICATE)?;
        self.make_account().await
    }

    async fn make_account(&self) -> Result<Account, AcmeError> {
        let asked = |what| move |source| AcmeError::Asked { what, source };
        let contact: Vec<&str> = self.config.contact.as_deref().into_iter().collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: self.config.accept_terms,
            only_return_existing: false,
        };
        let made = Account::builder_with_http(Box::new(self.http.clone()))
            .create(&new, self.config.directory.clone(), self.external.as_ref())
            .await;
        let (account, credentials) = made.map_err(asked("make an account"))?;
        let text = serde_json::to_string(&credentials).map_err(|error| asked("make an account")(error.into()))?;
        self.sealed.seal_file(&self.folder.join(ACCOUNT), ACME_ACCOUNT, &SecretString::from(text))?;
        tracing::info!(directory = self.config.directory, "there is an account at the ACME authority now");
        Ok(account)
    }

    /// That of the authority which the configuration names.
    fn stored_account(&self) -> Result<Option<AccountCredentials>, AcmeError> {
        let text = match self.sealed.open_file(&self.folder.join(ACCOUNT), ACME_ACCOUNT) {
            Err(error) if error.is_not_found() => return Ok(None),
            text => text?,
        };
        let text = text.expose_secret();
        let directory = serde_json::from_str::<serde_json::Value>(text).ok();
        let directory = directory.and_then(|document| Some(document.get("directory")?.as_str()?.to_owned()));
        match directory.is_some_and(|directory| directory == self.config.directory) {
            true => Ok(serde_json::from_str(text).ok()),
            false => Ok(None),
        }
    }

    fn files(&self) -> PairFiles {
        let path = self.folder.join(CERTIFICATE);
        PairFiles { cert: path.clone(), key: path }
    }

    /// Our clock may be behind the authority's, by as much as the order took at least: what begins in a moment is no fault, and to
    /// ask for another one would be.
    fn check(&self, text: &PairText, now: Timestamp) -> Result<(CertifiedKey, Facts), TlsError> {
        match self.files().check(text, now) {
            Err(TlsError::NotYetValid { not_before, .. }) => self.files().check(text, not_before),
            checked => checked,
        }
    }

    fn read(&self, now: Timestamp) -> Result<Option<(Arc<CertifiedKey>, Facts)>, TlsError> {
        let files = self.files();
        if !files.cert.exists() {
            return Ok(None);
        }
        let (key, facts) = self.check(&files.read()?, now)?;
        Ok(Some((Arc::new(key), facts)))
    }

    fn remove(&self, name: &str) -> Result<(), AcmeError> {
        let path = self.folder.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(AcmeError::Key(SecretError::File { path, source }))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn external_key(account: &ExternalAccount) -> Result<ExternalAccountKey, AcmeError> {
    let text = secrets::read(Path::new(&account.key_file))?;
    let key = URL_SAFE_NO_PAD.decode(text.expose_secret().trim().trim_end_matches('='));
    Ok(ExternalAccountKey::new(account.key_id.clone(), &key.map_err(|_| AcmeError::ExternalKey)?))
}

/// RFC 8555 §6.7. An authority may have forgotten it, and those for tests forget everything.
fn is_unknown_account(error: &instant_acme::Error) -> bool {
    let instant_acme::Error::Api(problem) = error else { return false };
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}
