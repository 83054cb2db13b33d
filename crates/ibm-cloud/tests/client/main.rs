//! The client against a scripted transport: what is sent to the letter, and what is made of the replies.

mod errors;
mod iam;
mod retries;
mod script;
mod vpc;
