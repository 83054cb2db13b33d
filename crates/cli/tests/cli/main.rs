//! The shipped binary, from outside.

mod client;
mod help;
mod run;
mod scripted;
mod validate;
mod watch;
