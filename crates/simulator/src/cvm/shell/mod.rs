//! A small POSIX shell, for what clients run on CVMs and hypervisors over SSH. Not a shell for people: what is not needed
//! (variables, globs, here-documents, functions, loops) is refused with `not simulated`, never half done, so a client that
//! relies on more finds out here.
//!
//! A command takes time in the simulated world (a `cluster create` takes six minutes), so a running script is data
//! ([`Task`]) that can stop anywhere and go on later, and that dies with the system it runs on.

mod commands;
mod files;
mod lexer;
mod network;
mod parser;
mod syntax;
mod task;
mod words;

pub(super) use files::Files;
pub(super) use syntax::Refused;
pub(super) use task::{Cx, Poll, Running, Stream, Task};
