//! Debian's SSH server, which the SSH client is tested against. Unpacked below the build folder and never installed:
//! installing it would open a port on whatever computer the tests run.

use crate::{debian, failure::Failure, repository::Repository, step::output};
use std::process::Command;

/// The server, and before it the one library of it that not every Debian has for other reasons: where the server is, all is
/// there, even if a run broke off in between.
const PACKAGES: [&str; 2] = ["libwrap0", "openssh-server"];

/// `target/lab/openssh` with the server; nothing is done when it is there.
pub fn unpack(repository: &Repository) -> Result<(), Failure> {
    let folder = repository.made("lab/openssh")?;
    let sshd = folder.join("usr/sbin/sshd");
    if !sshd.exists() {
        for package in PACKAGES {
            debian::unpack(package, &folder)?;
        }
    }
    let libraries = output(Command::new("sh").args(["-c", "echo \"$0\"/usr/lib/*-linux-gnu"]).arg(&folder))?;
    let libraries = libraries.trim();
    let listed = output(Command::new("ldd").arg(&sshd).env("LD_LIBRARY_PATH", libraries))?;
    let missing: Vec<&str> =
        listed.lines().filter(|line| line.ends_with("not found")).filter_map(|l| l.split_whitespace().next()).collect();
    if !missing.is_empty() {
        return Err(Failure::new(format!("sshd needs libraries that are not here: {}", missing.join(" ")))
            .hint("as root: apt-get install --no-install-recommends libgssapi-krb5-2, or openssh-server itself"));
    }
    println!("    {}", sshd.display());
    Ok(())
}
