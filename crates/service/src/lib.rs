//! The long-running process: it wires the store, the loop, the clients and the two planes together, and is the only one
//! that knows them all. [`serve`] reads top to bottom.

mod api;
mod audit;
mod boot_side;
mod clock;
mod cloud_check;
mod config;
mod deploy;
mod drivers;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod https_client;
mod ibm;
mod installer;
mod listener;
mod oidc;
mod password_hash;
mod places;
mod runner;
mod secrets;
mod serve;
mod session_text;
mod survey;
mod tls;
mod token_text;
mod write_limit;

pub use audit::{BadSyslogTarget, SyslogTarget};
pub use clock::WallClock;
pub use cloud_check::{CloudCheckError, CloudSeen, check_cloud};
pub use config::{Config, ConfigError, ControlTls};
pub use https_client::HttpsClientError;
pub use oidc::{OidcConfig, OidcSetupError};
pub use runner::{Wake, Wakes};
pub use secrets::{
    BadKeySource, CommandFault, FoundKey, KeySource, Replaced, Rotated, SecretError, SecretName, Secrets, SecretsSeen,
    check_secret_file, replace_lost_key, rotate_secret_key, set_secret,
};
pub use serve::{Assembly, Outside, Running, ServeError, assemble, serve};
pub use tls::{
    AcmeConfig, AcmeError, BadCertificate, CertificateSeen, ExternalAccount, TlsError, ca_file, look_at_certificates,
    name_to_ask_for,
};
