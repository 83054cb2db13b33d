//! TLS for both planes, from the first start.
//!
//! Without configuration we are our own authority: `tls/ca.pem` and `ca.key` of the data folder, made once, and a server
//! certificate below it that is renewed long before it ends. Whoever copies `ca.pem` trusts every later certificate. An
//! operator who has a certificate names its files instead; they are looked at every few seconds, and a pair that can be
//! used replaces the one before without a connection lost. That is the control plane's alone: the boot plane's certificate is
//! always under our own authority, because that is what boot scripts pin. For names that browsers know an ACME authority may issue
//! another one, beside ours.
//!
//! Rejected: a self-signed server certificate, which every client would have to be given anew at each renewal; and a name
//! constraint on the authority, because the names that the service goes by are configuration, and may change.

mod acme;
mod authority;
mod certificate;
mod error;
mod leaf;
mod look;
mod names;
mod pair;
mod presented;
mod reload;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use acme::{AcmeConfig, AcmeError, ExternalAccount};
pub use error::TlsError;
pub use look::{BadCertificate, CertificateSeen, look_at_certificates};
pub(crate) use names::is_host;
#[cfg(feature = "fuzzing")]
pub(crate) use pair::is_usable_pair;
pub use pair::name_to_ask_for;
pub(crate) use presented::ACME_TLS;
pub(crate) use reload::ServerTls;

use std::path::{Path, PathBuf};

/// The folder of the data folder that keeps what we are an authority with.
fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("tls")
}

/// The certificate of our own authority: what clients trust.
pub fn ca_file(data_dir: &Path) -> PathBuf {
    folder(data_dir).join("ca.pem")
}
