//! Durable state: one folder, one SQLite file, one writer.
//!
//! - [`Store::commit`] is the loop's only way to write: one transaction that carries the fence of its lease and changes
//!   nothing if the fence is stale.
//! - Request handlers write intents ([`Store::request`]), evidence and audit lines, and nothing else.
//! - Every transaction is short and spans no network call. After a crash what was committed is there (`synchronous =
//!   FULL`), and nothing else is.
//! - Passwords of clusters lie here sealed ([`Sealer`]): written once, before they are used, and never overwritten.
//!
//! The statements keep to what SQLite and PostgreSQL share (`$n` placeholders, `RETURNING`, `ON CONFLICT`, TEXT and
//! BIGINT), so that PostgreSQL becomes a second engine under them and not a second store.

mod api_tokens;
mod audit;
mod boot_rounds;
mod clusters;
mod commit;
mod credentials;
mod db;
mod error;
mod events;
mod evidence;
mod inspect;
mod leases;
mod seal;
mod secret_key;
mod users;
mod web_sessions;

pub use api_tokens::TokenHash;
pub use audit::{
    AUDIT_EXPORT_VERSION, AuditCheck, AuditExport, AuditFault, AuditFilter, AuditHead, AuditHeadError, AuditHeads,
    AuditKey, AuditLine, AuditPublicKey, AuditReader, AuditReport, BadPublicKey, HeadsFound, check_audit_export,
    first_broken_audit_line,
};
pub use boot_rounds::{Binding, Counted, StoredSession};
pub use clusters::{Accepted, ClusterState, NewCluster, NodeState, OperatorRequest};
pub use commit::Changes;
pub use credentials::SealedCredential;
pub use db::{Owner, Store};
pub use error::StoreError;
pub use inspect::{Inspection, Schema};
pub use leases::Lease;
pub use seal::{NamedSealError, NamedSealer, SealError, Sealed, Sealer, SecretKeyName};
pub use secret_key::{Reseal, ResealError, SealedUnder, kept_token_name};
pub use users::PasswordHash;

/// The tests inside of the crate use the same fixtures as those beside it.
#[cfg(test)]
extern crate self as metalform_store;
#[cfg(test)]
#[path = "../tests/store/rig.rs"]
mod rig;
