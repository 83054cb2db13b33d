//! The boot plane as machines meet it: requests in, answers out, and what was recorded of them.

mod attempts;
mod configurations;
mod image_sets;
mod images;
mod installer;
mod reports;
mod scripts;
mod sessions;
mod steps;
mod store_away;
mod support;
mod tls;
mod wire;
