//! What docs/hardening.md says about the host: the firewall's rules and the service's unit are tried, not only read.

mod firewall;
mod unit;
