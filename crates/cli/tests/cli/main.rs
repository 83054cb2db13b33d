//! The shipped binary, from outside.

mod audit;
mod client;
mod credentials;
mod demo;
mod doctor;
mod faults;
mod help;
mod hostile;
mod image;
mod kills;
mod lint;
mod openapi;
mod run;
mod scripted;
mod secret;
mod secrets;
mod service;
mod site;
mod tls;
mod token;
mod user;
mod validate;
mod watch;
