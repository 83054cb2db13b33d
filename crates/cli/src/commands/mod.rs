//! One file a command: its flags, and what it does.

pub mod audit;
pub mod completions;
pub mod credentials;
pub mod demo;
pub mod deploy;
pub mod destroy;
pub mod doctor;
pub mod events;
pub mod explain;
pub mod form;
pub mod image;
pub mod retry;
pub mod script;
pub mod secret;
pub mod serve;
pub mod simulate;
pub mod status;
pub mod token;
pub mod user;
pub mod validate;
