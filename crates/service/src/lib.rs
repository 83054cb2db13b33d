//! The long-running process: it wires the store, the loop, the clients and the two planes together, and is the only one
//! that knows them all. [`serve`] reads top to bottom.

mod api;
mod audit;
mod boot_side;
mod clock;
mod config;
mod deploy;
mod drivers;
mod ibm;
mod installer;
mod listener;
mod oidc;
mod password_hash;
mod runner;
mod secrets;
mod serve;
mod session_text;
mod survey;
mod tls;
mod token_text;

pub use audit::{BadSyslogTarget, SyslogTarget};
pub use clock::WallClock;
pub use config::{Config, ConfigError, ControlTls};
pub use oidc::{OidcClientError, OidcConfig, OidcSetupError};
pub use runner::{Wake, Wakes};
pub use secrets::SecretError;
pub use serve::{Assembly, Outside, Running, ServeError, assemble, serve};
pub use tls::{TlsError, ca_file, name_to_ask_for};
