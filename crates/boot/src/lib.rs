//! Everything a booting machine talks to: its iPXE script, the boot images, its configuration, and its reports.
//!
//! [`router`] is the whole surface; [`BootPlane`] holds what it needs. The crate knows no store and no cloud: it asks a
//! [`Directory`] who a machine is and tells a [`Recorder`] what it saw. It never changes a phase: handlers only append
//! evidence and audit, and what follows from them is decided elsewhere.
//!
//! A machine's address is that of its connection; only a proxy that the configuration names is believed what it says of
//! another. An address is never enough: a boot token is asked for, and after its exchange the signature of a session
//! ([`Sessions`]).
//!
//! After a crash nothing is lost but the records still queued in memory ([`BootPlane::flush`] empties the queue before an
//! orderly stop): tokens are recomputed from the key and the attempt's id, digests from the files.

mod ca_pin;
mod counted;
mod directory;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod images;
mod journal;
mod peer;
mod plane;
mod proof;
mod query;
mod recent_parts;
mod refusal;
mod round;
mod routes;
mod script;
mod session;
mod token;
mod visit;

pub use ca_pin::CaPin;
pub use directory::{BootAttemptRef, BootNode, Directory, Instruction, Recorder, Unavailable};
pub use images::{ImageSet, ImageSetError, SetDescription};
pub use peer::{Channel, source_of};
pub use plane::{BootPlane, BootSettings, SourceCheck, default_allow};
use refusal::Refusal;
pub use routes::router;
pub use script::{
    BootHost, BootHostError, FOUNDATION_TEMPLATE, InlineScriptError, MAX_USER_DATA, ScriptNetwork, ScriptValues,
    TemplateError, TemplateErrors, TemplateFault, Templates, ValueError, lint, lint_file, script_url,
};
pub use session::{BootSession, Bound, RequestCounted, Sessions};
pub use token::{BootToken, KeptTokens, TokenKey};
