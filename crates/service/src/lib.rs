//! The long-running process: it wires the store, the loop, the clients and the two planes together, and is the only one
//! that knows them all. [`serve`] reads top to bottom.

mod api;
mod boot_side;
mod clock;
mod config;
mod deploy;
mod ibm;
mod prism;
mod runner;
mod secrets;
mod serve;
mod survey;

pub use boot_side::Links;
pub use clock::WallClock;
pub use config::{Config, ConfigError};
pub use ibm::IbmCloud;
pub use prism::PrismFormation;
pub use secrets::SecretError;
pub use serve::{Running, ServeError, serve};
