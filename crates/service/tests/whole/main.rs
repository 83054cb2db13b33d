//! The whole system in one thread and virtual time: the shipped service, its sockets and clock replaced by a simulated
//! world. An hour of deployment takes some milliseconds, and the same seed gives the same run.

mod access;
mod audit;
mod crashes;
mod credentials;
mod deeds;
mod deployments;
mod formation;
mod inline;
mod installers;
mod proxies;
mod rig;
mod seeds;
mod sessions;
mod signed_in;
mod spoofs;
mod templates;
mod tokens;
mod transports;
mod users;
