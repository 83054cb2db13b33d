//! The store through its public face.

mod accept;
mod api_tokens;
mod audit;
mod audit_heads;
mod boot_rounds;
mod commit;
mod credentials;
mod deeds;
mod reopen;
mod rig;
mod secret_key;
mod users;
