//! The steps that a boot script tells the boot plane of, since between its last download and the kernel's first request
//! nothing else is heard of a machine. Two are the agent's, which has no other way to say that TLS came to nothing.
//!
//! A step is the last part of a path: iPXE prints paths and hides queries, and a second query parameter would not survive
//! the consoles that turn `&` into `@`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Where a boot script stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootStep {
    /// It has an address.
    Dhcp,
    /// It has the kernel.
    Kernel,
    /// It has the initrd.
    Initrd,
    /// It has everything and hands the machine over to the kernel. Says nothing of whether anything was compared.
    Boot,
    /// The same, and iPXE found kernel and initrd to be what the script says.
    BootChecked,
    /// The same, and this iPXE can't compare them.
    BootUnchecked,
    /// iPXE found the kernel not to be what the script says; it isn't booted.
    KernelDiffers,
    /// The same of the initrd.
    InitrdDiffers,
    /// It goes round once more.
    Retry,
    /// A command failed, with this value of `${errno}`.
    Error(u32),
    /// The agent, not the script: what answered it over TLS had no certificate of the authority that the script pins.
    TlsUntrusted,
    /// The agent, not the script: no TLS came about.
    TlsFailed,
}

impl BootStep {
    /// Those with a word of their own.
    const NAMED: [(&str, BootStep); 11] = [
        ("dhcp", BootStep::Dhcp),
        ("kernel", BootStep::Kernel),
        ("initrd", BootStep::Initrd),
        ("boot", BootStep::Boot),
        ("boot-checked", BootStep::BootChecked),
        ("boot-unchecked", BootStep::BootUnchecked),
        ("error-kernel-digest", BootStep::KernelDiffers),
        ("error-initrd-digest", BootStep::InitrdDiffers),
        ("retry", BootStep::Retry),
        ("tls-untrusted", BootStep::TlsUntrusted),
        ("tls-failed", BootStep::TlsFailed),
    ];

    /// What a person reads.
    pub fn in_words(self) -> String {
        match self {
            BootStep::Dhcp => "its boot script has an address".into(),
            BootStep::Kernel => "its boot script has the kernel".into(),
            BootStep::Initrd => "its boot script has the initrd".into(),
            BootStep::Boot => "its boot script has everything and starts the kernel".into(),
            BootStep::BootChecked => {
                "its boot script has everything, iPXE compared kernel and initrd, and the kernel is started".into()
            }
            BootStep::BootUnchecked => {
                "its boot script has everything and starts the kernel; its iPXE can't compare files".into()
            }
            BootStep::KernelDiffers => {
                "its iPXE was given another kernel than the image set's, and doesn't boot it".into()
            }
            BootStep::InitrdDiffers => {
                "its iPXE was given another initrd than the image set's, and doesn't boot it".into()
            }
            BootStep::Retry => "its boot script tries again".into(),
            BootStep::Error(errno) => {
                format!("its boot script failed: iPXE error {errno:08x} (https://ipxe.org/{errno:08x})")
            }
            BootStep::TlsUntrusted => {
                "its agent was answered by somebody without the certificate that its script pins".into()
            }
            BootStep::TlsFailed => "its agent has a pinned certificate in its script, and no TLS came about".into(),
        }
    }
}

impl fmt::Display for BootStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, Self::NAMED.iter().find(|(_, step)| step == self)) {
            (BootStep::Error(errno), _) => write!(f, "error-{errno:#010x}"),
            (_, named) => f.write_str(named.map_or("", |(word, _)| word)),
        }
    }
}

/// No step of a boot script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a step is dhcp, kernel, initrd, boot, boot-checked, boot-unchecked, retry, error-kernel-digest, error-initrd-digest, \
     tls-untrusted, tls-failed, or error-0x and up to 8 hexadecimal digits"
)]
pub struct NoBootStep;

impl FromStr for BootStep {
    type Err = NoBootStep;

    /// iPXE writes `${errno}` without leading zeros.
    fn from_str(text: &str) -> Result<Self, NoBootStep> {
        if let Some((_, step)) = Self::NAMED.iter().find(|(word, _)| *word == text) {
            return Ok(*step);
        }
        let digits = text.strip_prefix("error-0x").ok_or(NoBootStep)?;
        let is_hex = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let errno = is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten();
        errno.map(BootStep::Error).ok_or(NoBootStep)
    }
}

impl Serialize for BootStep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_what_it_writes() {
        let all = BootStep::NAMED.map(|(_, step)| step);
        for step in all.into_iter().chain([BootStep::Error(0), BootStep::Error(0x3e0f_6095), BootStep::Error(u32::MAX)])
        {
            assert!(!step.to_string().is_empty());
            assert_eq!(step.to_string().parse(), Ok(step));
            assert_eq!(serde_json::from_str::<BootStep>(&serde_json::to_string(&step).unwrap()).unwrap(), step);
        }
        assert_eq!("error-0x40ee119".parse(), Ok(BootStep::Error(0x040e_e119)));
    }

    #[test]
    fn anything_else_is_no_step() {
        for text in [
            "",
            "Boot",
            "boot ",
            "boot-",
            "error-",
            "error-digest",
            "error-0x",
            "error-12",
            "error-0x123456789",
            "error-0x+1",
            "error-0xé",
        ] {
            assert_eq!(text.parse::<BootStep>(), Err(NoBootStep), "{text:?}");
        }
    }
}
