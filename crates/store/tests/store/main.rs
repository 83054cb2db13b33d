//! The store through its public face.

mod accept;
mod audit;
mod commit;
mod reopen;
mod rig;
