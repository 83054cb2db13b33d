//! Machines that really boot: QEMU with real firmware and Debian's iPXE, Debian's kernel, and the shipped agent, against the
//! shipped service; the cloud in front of them is simulated. `cargo xtask test` downloads what they boot.

mod boots;
mod hardware;
mod labs;
mod namespace;
mod process;
mod site;
mod transfers;
