//! The store through its public face.

mod accept;
mod audit;
mod boot_rounds;
mod commit;
mod credentials;
mod reopen;
mod rig;
