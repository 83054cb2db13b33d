//! The store through its public face.

mod accept;
mod audit;
mod audit_heads;
mod commit;
mod credentials;
mod reopen;
mod rig;
