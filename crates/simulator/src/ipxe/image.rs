//! Images that iPXE holds in memory, and what a kernel finds of them once it is started.

use super::IpxeError;
use crate::fetch::Body;

/// The machine's firmware. Bare metal servers of IBM Cloud are UEFI only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// The kernel finds every registered image.
    Bios,
    /// The kernel finds what [`Generation`] says.
    Uefi,
}

/// Which iPXE. Which one IBM's image carries is not published; a script must run on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Before 2.0: under UEFI only images named by `initrd=` on the kernel command line are found. Seen with 1.0.0+git
    /// (2019) and 1.21.1 under OVMF.
    Old,
    /// 2.0 and later can compare digests (`sha256sum --set`), and also offer all registered images as one initrd (LoadFile2, Linux ≥ 5.7).
    New,
}

/// The two switches together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// Firmware.
    pub firmware: Firmware,
    /// iPXE build.
    pub generation: Generation,
}

impl Platform {
    /// The `User-Agent` that such a build sends.
    pub fn user_agent(self) -> &'static str {
        match self.generation {
            Generation::Old => "iPXE/1.0.0+",
            Generation::New => "iPXE/2.0.0",
        }
    }
}

/// A registered image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name: `--name`, or the last part of the URL's path.
    pub name: String,
    /// Where it came from.
    pub url: String,
    /// Its arguments, if it was given any.
    pub args: String,
    /// Its content.
    pub body: Body,
    pub(super) selected: bool,
    pub(super) autofree: bool,
}

/// A kernel that was handed the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The kernel.
    pub kernel: Image,
    /// Its command line; under UEFI the image's name stands first.
    pub command_line: String,
    /// The initrds that the kernel really finds. Empty: it hangs or panics, and nothing on console or server says why.
    pub initrds: Vec<Image>,
}

impl Boot {
    /// What `kernel` finds when `images` are registered.
    pub(super) fn new(platform: Platform, kernel: Image, images: &[Image]) -> Result<Boot, IpxeError> {
        let others: Vec<Image> = images.iter().filter(|image| **image != kernel).cloned().collect();
        let command_line = match platform.firmware {
            Firmware::Bios => kernel.args.clone(),
            Firmware::Uefi => format!("{} {}", kernel.name, kernel.args).trim_end().to_owned(),
        };
        let everything = match (platform.firmware, platform.generation) {
            (Firmware::Bios, _) => true,
            (Firmware::Uefi, Generation::New) => !others.is_empty(),
            (Firmware::Uefi, Generation::Old) => false,
        };
        let initrds = if everything {
            others
        } else {
            let named = command_line.split_ascii_whitespace().filter_map(|word| word.strip_prefix("initrd="));
            named
                .map(|name| {
                    // The kernel's EFI stub gives up when a named file cannot be opened, and iPXE gets the error back.
                    others.iter().find(|image| image.name == name).cloned().ok_or_else(|| IpxeError::no_such(name))
                })
                .collect::<Result<_, _>>()?
        };
        Ok(Boot { kernel, command_line, initrds })
    }
}
