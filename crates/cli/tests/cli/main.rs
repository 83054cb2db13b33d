//! The shipped binary, from outside.

mod client;
mod demo;
mod help;
mod kills;
mod run;
mod scripted;
mod service;
mod site;
mod validate;
mod watch;
