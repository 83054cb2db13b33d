//! The store through its public face.

mod accept;
mod audit;
mod commit;
mod credentials;
mod reopen;
mod rig;
