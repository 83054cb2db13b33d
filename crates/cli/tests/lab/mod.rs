//! A segment of a VPC on this computer, with machines that really boot: a network namespace with a bridge, Debian's dnsmasq
//! as the VPC's DHCP, and QEMU with Debian's iPXE ROM. Every machine has its own MAC address and its own IP address, so
//! what is served by address is served as it would be in the cloud.
//!
//! No KVM: its emulation of the BIOS ROM hangs on some hosts, and plain emulation boots in half a minute.

mod machine;
mod namespace;
mod process;
mod segment;

pub use machine::{Firmware, Machine};
pub use namespace::{is_inside, run_inside};
pub use process::Process;
pub use segment::{Lease, Segment};

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Cargo's build folder, where `cargo xtask` puts what the tests need.
pub fn target() -> PathBuf {
    let tmp = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("cargo's folder for tests lies inside the build folder").to_owned()
}

/// The kernel and initrd that `cargo xtask lab` prepares.
pub fn images() -> PathBuf {
    let images = target().join("lab/images");
    for file in ["vmlinuz-foundation", "initrd-foundation.img"] {
        let file = images.join(file);
        assert!(file.exists(), "{} is missing: `cargo xtask test` (or `cargo xtask lab`) makes it", file.display());
    }
    images
}

/// Asks until there is an answer. `what` is the wait's name in the failure, with the last thing seen.
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > deadline => panic!("after {deadline:?} still waiting for {what}: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a real limit on real machines")]
pub fn now() -> Instant {
    Instant::now()
}
