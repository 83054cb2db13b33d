//! Server profiles: what a bare metal profile's machine has. They are data (`profiles.toml`, embedded), and an operator
//! adds or corrects one with a file of the same form, without a release.
//!
//! What the table says of drives decides which plans can hold data, and how drives are found: device names follow probe
//! order (a second-generation boot disk was seen as `sda` and as `nvme0n1`), so drives are chosen by size.

use crate::{DataDrive, DriveSelector, plan_rules::words};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A bare metal profile. Sizes are nominal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// As the cloud names it.
    pub name: String,
    /// Threads; half of it are cores.
    pub vcpu: u32,
    /// Memory in GiB.
    pub memory_gib: u32,
    /// Size of one boot disk in 10^9 bytes. The operating system sees the RAID1 pair as one device of this size.
    pub boot_gb: u64,
    /// Boot disks; two are a RAID1 pair.
    pub boot_quantity: u32,
    /// Data drives; 0 for profiles without.
    pub data_quantity: usize,
    /// Size of one data drive in 10^9 bytes; 0 for profiles without.
    pub data_gb: u64,
    /// Network bandwidth in 10^9 bits a second.
    pub gbit: u32,
}

impl Profile {
    /// What a plan without `data_drives` gets: one selector a drive, each naming one drive of at least nine tenths of
    /// the nominal size. That forgives a vendor's rounding and tells data drives from the boot disk in every profile.
    /// One drive is left out: Nutanix CE wants three distinct disks, and the controller VM boots from that one.
    pub fn default_data_drives(&self) -> Vec<DataDrive> {
        let drives = self.data_quantity.saturating_sub(1).max(self.data_quantity.min(1));
        let selector = DriveSelector { min_gb: Some(nine_tenths(self.data_gb)), ..DriveSelector::default() };
        vec![DataDrive::Selector(selector); drives]
    }
}

pub(crate) fn nine_tenths(gb: u64) -> u64 {
    gb - gb / 10
}

/// All profiles that plans may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profiles(BTreeMap<String, Profile>);

/// Why a file of profiles was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProfileFileError {
    /// Not TOML, or not of the form of a profile; the source says the line.
    #[error("the file of server profiles can't be read")]
    Syntax(#[from] toml::de::Error),
    /// A name stands twice in the file.
    #[error("the profile `{0}` stands twice in the file")]
    Duplicate(String),
    /// A profile that can't be.
    #[error("the profile {name:?} can't be: {why}")]
    Impossible {
        /// Its name as it stands in the file.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ProfileFileError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        "each [[profile]] has name, vcpu, memory_gib, boot_gb, boot_quantity, data_quantity, data_gb and gbit"
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    profile: Vec<Profile>,
}

impl Profiles {
    /// The profile of a plan that names none.
    pub const DEFAULT: &str = "bx2d-metal-96x384";

    /// IBM's table.
    pub fn builtin() -> Profiles {
        let text = include_str!("profiles.toml");
        Profiles(BTreeMap::new()).with_user_file(text).expect("the embedded table is read by a test")
    }

    /// These, and those of a file; a profile of the file replaces one of the same name.
    pub fn with_user_file(mut self, text: &str) -> Result<Profiles, ProfileFileError> {
        let mut names = std::collections::BTreeSet::new();
        for profile in toml::from_str::<ProfileFile>(text)?.profile {
            let name = profile.name.clone();
            if let Some(why) = fault(&profile) {
                return Err(ProfileFileError::Impossible { name, why });
            }
            if !names.insert(name.clone()) {
                return Err(ProfileFileError::Duplicate(name));
            }
            self.0.insert(name, profile);
        }
        Ok(self)
    }

    /// The profile of this name.
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.values()
    }
}

/// Names go into API calls and texts, so they keep to the characters of a cloud name.
fn fault(profile: &Profile) -> Option<&'static str> {
    let Profile { name, vcpu, memory_gib, boot_gb, boot_quantity, data_quantity, data_gb, .. } = profile;
    if !words::profile_name(name) {
        Some("its name is not of 1 to 63 lower-case letters, digits and hyphens")
    } else if [*vcpu, *memory_gib, *boot_quantity].contains(&0) || *boot_gb == 0 {
        Some("a machine without processors, memory or boot disk boots nothing")
    } else if (*data_quantity == 0) != (*data_gb == 0) {
        Some("data_quantity and data_gb are both 0, or neither is")
    } else if *data_quantity > 64 || *data_gb > 1_000_000 || *boot_gb > 1_000_000 {
        Some("more than 64 data drives, or a drive of more than 1,000,000 GB")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_whole_and_agrees_with_its_names() {
        let profiles = Profiles::builtin();
        assert_eq!(profiles.iter().count(), 29);
        for profile in profiles.iter() {
            let (family, size) = profile.name.split_once("-metal-").unwrap();
            assert_eq!(size, format!("{}x{}", profile.vcpu, profile.memory_gib), "{}", profile.name);
            assert_eq!(family[3..].contains('d'), profile.data_quantity > 0, "{}: d means local drives", profile.name);
            let third_generation = family.as_bytes()[2] == b'3';
            assert_eq!((profile.boot_gb, profile.gbit), if third_generation { (480, 200) } else { (960, 100) });
        }
        assert!(profiles.get(Profiles::DEFAULT).unwrap().data_quantity > 0);
    }

    #[test]
    fn by_default_one_drive_is_left_to_the_controller_vm() {
        let profiles = Profiles::builtin();
        let drive = |min_gb| DataDrive::Selector(DriveSelector { min_gb: Some(min_gb), ..DriveSelector::default() });
        for (name, drives) in [
            ("bx2d-metal-96x384", vec![drive(2880); 7]),
            ("bx3d-metal-48x256", vec![drive(6912); 3]),
            ("mx3de-metal-64x512", vec![drive(13824); 15]),
            ("bx2-metal-96x384", vec![]),
        ] {
            assert_eq!(profiles.get(name).unwrap().default_data_drives(), drives, "{name}");
        }
        let single = Profile { data_quantity: 1, ..profiles.get("bx2d-metal-96x384").unwrap().clone() };
        assert_eq!(single.default_data_drives(), vec![drive(2880)], "the only drive is shared");
    }

    #[test]
    fn a_default_selector_never_takes_the_boot_disk() {
        for profile in Profiles::builtin().iter().filter(|p| p.data_quantity > 0) {
            assert!(nine_tenths(profile.data_gb) > profile.boot_gb, "{}", profile.name);
        }
    }

    #[test]
    fn a_users_file_adds_and_replaces() {
        let entry = |name: &str, data: usize| {
            format!(
                "[[profile]]\nname = {name:?}\nvcpu = 8\nmemory_gib = 64\nboot_gb = 480\nboot_quantity = 1\n\
                 data_quantity = {data}\ndata_gb = {}\ngbit = 25\n",
                data * 1000
            )
        };
        let text = entry("lab-metal-8x64", 2) + &entry("bx2-metal-96x384", 3);
        let profiles = Profiles::builtin().with_user_file(&text).unwrap();
        assert_eq!(profiles.iter().count(), 30);
        assert_eq!(profiles.get("bx2-metal-96x384").unwrap().data_quantity, 3);

        for (text, told) in [
            (entry("lab", 1).replace("gbit", "gigabit"), "can't be read"),
            (entry("lab", 1) + &entry("lab", 2), "stands twice"),
            (entry("lab;reboot", 1), "can't be"),
            (entry("lab", 0).replace("data_gb = 0", "data_gb = 5"), "can't be"),
        ] {
            let refused = Profiles::builtin().with_user_file(&text).unwrap_err();
            assert!(refused.to_string().contains(told), "{refused}");
        }
    }
}
