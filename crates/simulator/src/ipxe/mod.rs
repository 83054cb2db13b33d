//! The part of iPXE that boot scripts use, as a pure state machine: it is given a script and says what it wants done next
//! ([`Effect`]), and is told what came of it ([`Resume`]). No sockets, no clock.
//!
//! It refuses what real iPXE refuses: a command that is not compiled in, an option that does not exist, a label that is
//! not there; and a failing command ends the script unless `||` follows. What it does with images follows the observed
//! behaviour of builds before and after 2.0 under UEFI ([`Platform`]).
//!
//! Facts are from the iPXE sources (github.com/ipxe/ipxe, `src/core/exec.c`, `src/image/script.c`,
//! `src/core/settings.c`, `src/net/tcp/httpcore.c`) unless a line says otherwise. Left out on purpose, because a boot
//! script must not depend on them: `param`, `imgverify`, menus, `sanboot` of a URL. `sha256sum --set` is there from 2.0 on
//! ([`Generation::New`]), as in the real ones.

mod error;
mod image;
mod interpreter;
mod options;
mod script;
mod settings;

pub use error::IpxeError;
pub use image::{Boot, Firmware, Generation, Image, Platform};
pub use interpreter::{Effect, Interpreter, Resume};
pub use script::{NotAScript, Script};
pub use settings::{Identity, Lease};

#[cfg(test)]
mod tests;
