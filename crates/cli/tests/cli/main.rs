//! The shipped binary, from outside.

mod client;
mod demo;
mod help;
mod run;
mod scripted;
mod service;
mod validate;
mod watch;
