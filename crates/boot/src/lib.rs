//! Everything a booting machine talks to: its iPXE script, the boot images, its configuration, and its reports.
//!
//! [`router`] is the whole surface; [`BootPlane`] holds what it needs. The crate knows no store and no cloud: it asks a
//! [`Directory`] who a machine is and tells a [`Recorder`] what it saw. It never changes a phase: handlers only append
//! evidence and audit, and what follows from them is decided elsewhere.
//!
//! It assumes that machines connect directly: the peer's address is the connection's, and `X-Forwarded-For` is ignored.
//!
//! After a crash nothing is lost but the records still queued in memory ([`BootPlane::flush`] empties the queue before an
//! orderly stop): tokens are recomputed from the key and the attempt's id, digests from the files.

mod counted;
mod directory;
mod images;
mod journal;
mod plane;
mod query;
mod refusal;
mod routes;
mod script;
mod token;
mod visit;

pub use directory::{BootAttemptRef, BootNode, Directory, Instruction, Recorder, Unavailable};
pub use images::{ImageSet, ImageSetError};
pub use plane::{BootPlane, BootSettings, SourceCheck, default_allow};
use refusal::Refusal;
pub use routes::router;
pub use script::{
    BootHost, BootHostError, FOUNDATION_TEMPLATE, ScriptNetwork, ScriptValues, TemplateError, TemplateErrors,
    TemplateFault, Templates, ValueError, lint, lint_file, script_url,
};
pub use token::{BootToken, TokenKey};
