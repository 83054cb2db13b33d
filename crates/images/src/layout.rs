//! Where the files of a set are within an installer's ISO: pure, by paths alone.
//!
//! The places are those of public listings of Nutanix CE and Phoenix images (see `docs/facts/nutanix.md`); no two releases
//! promise the same ones. So each file has a list of patterns, the well-known place first, and the first that matches
//! anything decides. Upper and lower case are the same: an image without Rock Ridge has only one of them. Two matches of one
//! pattern are an error that names both; guessing would boot whatever comes first in the alphabet.

use metalform_model::{ImageRole, is_image_file_name};
use std::{collections::BTreeMap, fmt};

/// One file of the set: where it comes from, and what it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub role: ImageRole,
    /// Its name in the set.
    pub name: String,
    /// Paths in the image; several are joined in this order.
    pub parts: Vec<String>,
}

/// Why an image doesn't show what belongs into a set. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Nothing that could be it.
    #[error("it holds no {what}: looked for {}; it holds {}", .patterns.join(", "), Listed(.holds))]
    Missing {
        /// Of what.
        what: &'static str,
        /// What was looked for.
        patterns: Vec<&'static str>,
        /// Some of what is there.
        holds: Vec<String>,
    },
    /// More than one thing that could be it.
    #[error("it holds more than one {what}: {}", .candidates.join(", "))]
    Tied {
        /// Of what.
        what: &'static str,
        /// All of them.
        candidates: Vec<String>,
    },
    /// A file in parts of which one isn't there.
    #[error("part {missing} of {name} is not there: it holds {}", .holds.join(", "))]
    Gap {
        /// The joined file.
        name: String,
        /// The part's number.
        missing: usize,
        /// The parts that are there.
        holds: Vec<String>,
    },
}

impl LayoutError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            LayoutError::Missing { .. } => {
                "is it the installer's ISO? If so, copy the files out of it, and give them with --kernel, --initrd, --file"
            }
            LayoutError::Tied { .. } => "copy the right ones out of it, and give them with --kernel, --initrd, --file",
            LayoutError::Gap { .. } => "download it again, and compare its digest with the one its vendor publishes",
        }
    }
}

/// A few of many, for a person.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        match self.0 {
            [] => f.write_str("no files at all"),
            few if few.len() <= SHOWN => f.write_str(&few.join(", ")),
            many => write!(f, "{} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
        }
    }
}

const KERNEL: [&str; 6] = ["boot/kernel", "boot/vmlinuz", "**/kernel", "**/vmlinuz", "**/bzimage", "**/vmlinuz-*"];
const INITRD: [&str; 8] = [
    "boot/initrd",
    "boot/initrd.img",
    "**/initrd",
    "**/initrd.img",
    "**/initrd.gz",
    "**/initrd-*",
    "**/initramfs.img",
    "**/initramfs-*",
];
const SQUASHFS: [&str; 4] = ["squashfs.img", "**/squashfs.img", "**/*.squashfs", "**/squashfs"];
const HYPERVISOR: [&str; 3] = ["images/hypervisor/kvm/*.iso", "images/hypervisor/*/ahv*.iso", "**/ahv-dvd-*.iso"];
const INSTALLER: [&str; 2] = ["images/svm/nutanix_installer_package*", "**/nutanix_installer_package*"];

/// Finds the files of a set among all paths of an image. Kernel and initrd must be there; the others are there in an
/// installer that brings them along, and not in one that fetches them.
pub fn find_layout(paths: &[&str]) -> Result<Vec<Found>, LayoutError> {
    let mut found = vec![
        Found {
            role: ImageRole::Kernel,
            name: metalform_model::KERNEL_FILE.to_owned(),
            parts: vec![required("kernel", &KERNEL, paths)?],
        },
        Found {
            role: ImageRole::Initrd,
            name: metalform_model::INITRD_FILE.to_owned(),
            parts: vec![required("initrd", &INITRD, paths)?],
        },
    ];
    if let Some(path) = optional("squashfs", &SQUASHFS, paths)? {
        found.push(Found { role: ImageRole::Squashfs, name: "squashfs.img".to_owned(), parts: vec![path] });
    }
    if let Some(path) = optional("hypervisor ISO", &HYPERVISOR, paths)? {
        let name = file_name(&path);
        found.push(Found { role: ImageRole::HypervisorIso, name, parts: vec![path] });
    }
    found.extend(find_installer(paths)?);
    Ok(found)
}

/// What a file is for, by its name alone: for those that are given one by one.
pub(crate) fn role_of(name: &str) -> ImageRole {
    let is = |patterns: &[&str]| patterns.iter().any(|pattern| matches(pattern, name));
    match name {
        metalform_model::KERNEL_FILE => ImageRole::Kernel,
        metalform_model::INITRD_FILE => ImageRole::Initrd,
        _ if is(&SQUASHFS) => ImageRole::Squashfs,
        _ if is(&["*.iso"]) => ImageRole::HypervisorIso,
        _ if is(&INSTALLER) && is_package(name) => ImageRole::Installer,
        _ => ImageRole::Other,
    }
}

fn required(what: &'static str, patterns: &[&'static str], paths: &[&str]) -> Result<String, LayoutError> {
    optional(what, patterns, paths)?.ok_or_else(|| LayoutError::Missing {
        what,
        patterns: patterns.to_vec(),
        holds: paths.iter().map(|path| (*path).to_owned()).collect(),
    })
}

fn optional(what: &'static str, patterns: &[&'static str], paths: &[&str]) -> Result<Option<String>, LayoutError> {
    match &first_matches(patterns, paths)[..] {
        [] => Ok(None),
        [one] => Ok(Some((*one).to_owned())),
        many => Err(LayoutError::Tied { what, candidates: many.iter().map(|path| (*path).to_owned()).collect() }),
    }
}

/// What the first pattern matches that matches anything.
fn first_matches<'a>(patterns: &[&str], paths: &[&'a str]) -> Vec<&'a str> {
    let of = |pattern: &&str| -> Vec<&'a str> {
        let mut matched: Vec<&str> = paths.iter().copied().filter(|path| matches(pattern, path)).collect();
        matched.sort_unstable();
        matched
    };
    patterns.iter().map(of).find(|matched| !matched.is_empty()).unwrap_or_default()
}

/// The installer package: whole, or in parts `….p00`, `….p01` and so on.
fn find_installer(paths: &[&str]) -> Result<Option<Found>, LayoutError> {
    const WHAT: &str = "installer package";
    let packages: Vec<&str> = paths.iter().copied().filter(|path| is_package(path)).collect();
    let mut wholes: BTreeMap<&str, BTreeMap<usize, &str>> = BTreeMap::new();
    for path in first_matches(&INSTALLER, &packages) {
        let (whole, number) = split_part(path).unwrap_or((path, 0));
        let parts = wholes.entry(whole).or_default();
        if let Some(other) = parts.insert(number, path) {
            // A whole one beside its own parts.
            return Err(LayoutError::Tied { what: WHAT, candidates: vec![other.to_owned(), path.to_owned()] });
        }
    }
    let Some((whole, parts)) = wholes.pop_first() else { return Ok(None) };
    if !wholes.is_empty() {
        let candidates = [whole].into_iter().chain(wholes.into_keys()).map(str::to_owned).collect();
        return Err(LayoutError::Tied { what: WHAT, candidates });
    }
    let name = file_name(whole);
    if let Some(missing) = (0..parts.len()).find(|number| !parts.contains_key(number)) {
        let holds = parts.into_values().map(str::to_owned).collect();
        return Err(LayoutError::Gap { name, missing, holds });
    }
    let parts = parts.into_values().map(str::to_owned).collect();
    Ok(Some(Found { role: ImageRole::Installer, name, parts }))
}

/// Not its digest or description, which may lie beside it.
fn is_package(path: &str) -> bool {
    let whole = split_part(path).map_or(path, |(whole, _)| whole).to_ascii_lowercase();
    [".tar", ".tar.gz", ".tgz"].iter().any(|end| whole.ends_with(end))
}

/// `x.tar.p07` is part 7 of `x.tar`.
fn split_part(path: &str) -> Option<(&str, usize)> {
    let (whole, part) = path.rsplit_once('.')?;
    let digits = part.strip_prefix(['p', 'P']).filter(|digits| (2..=3).contains(&digits.len()))?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?.map(|number| (whole, number))
}

/// The last part of a path, as a set may hold it: what is not plain becomes `_`.
pub(crate) fn file_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(plain).take(128).collect();
    if is_image_file_name(&name) { name } else { format!("_{}", name.chars().take(127).collect::<String>()) }
}

/// Whether a path has this form. `**/` is any folders, or none; `*` is anything within a name. Case doesn't matter.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_prefix("**/") {
        Some(pattern) => matches_name(pattern, path.rsplit('/').next().unwrap_or_default()),
        None => {
            let (mut patterns, mut names) = (pattern.split('/'), path.split('/'));
            loop {
                match (patterns.next(), names.next()) {
                    (None, None) => return true,
                    (Some(pattern), Some(name)) if matches_name(pattern, name) => {}
                    _ => return false,
                }
            }
        }
    }
}

fn matches_name(pattern: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a public listing of a CE 2.1 image has it, shortened.
    const CE: [&str; 10] = [
        "EFI/BOOT/BOOTX64.EFI",
        "boot/images/efiboot.img",
        "boot/initrd",
        "boot/isolinux/isolinux.cfg",
        "boot/kernel",
        "images/driver_package.tar.gz",
        "images/hypervisor/kvm/AHV-DVD-x86_64-el8.nutanix.20230302.101026.iso.iso",
        "images/svm/nutanix_installer_package.tar.p00",
        "images/svm/nutanix_installer_package.tar.p01",
        "squashfs.img",
    ];

    fn shown(paths: &[&str]) -> Vec<String> {
        match find_layout(paths) {
            Ok(found) => found.iter().map(|f| format!("{:?} {} = {}", f.role, f.name, f.parts.join(" + "))).collect(),
            Err(error) => {
                assert!(!error.hint().is_empty());
                vec![error.to_string()]
            }
        }
    }

    #[test]
    fn a_ce_image_shows_all_five_files() {
        let iso = "AHV-DVD-x86_64-el8.nutanix.20230302.101026.iso.iso";
        let svm = "images/svm/nutanix_installer_package.tar";
        let expected = [
            "Kernel vmlinuz-foundation = boot/kernel".to_owned(),
            "Initrd initrd-foundation.img = boot/initrd".to_owned(),
            "Squashfs squashfs.img = squashfs.img".to_owned(),
            format!("HypervisorIso {iso} = images/hypervisor/kvm/{iso}"),
            format!("Installer nutanix_installer_package.tar = {svm}.p00 + {svm}.p01"),
        ];
        assert_eq!(shown(&CE), expected);
        let upper: Vec<String> = CE.iter().map(|path| path.to_ascii_uppercase()).collect();
        let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
        assert_eq!(find_layout(&upper).unwrap().len(), 5);
    }

    #[test]
    fn kernel_and_initrd_are_found_at_other_places_too() {
        for (kernel, initrd) in [
            ("kernel", "initrd"),
            ("isolinux/vmlinuz", "isolinux/initrd.img"),
            ("live/vmlinuz-6.1.0-18-amd64", "live/initrd-6.1.0-18-amd64"),
            ("BOOT/BZIMAGE", "BOOT/INITRD.GZ"),
            ("boot/vmlinuz", "boot/initramfs-5.10.img"),
        ] {
            let found = find_layout(&[initrd, "readme", kernel]).unwrap();
            assert_eq!((&found[0].parts[..], &found[1].parts[..]), (&[kernel.into()][..], &[initrd.into()][..]));
        }
    }

    #[test]
    fn the_well_known_place_wins_and_a_tie_is_told() {
        assert_eq!(find_layout(&["old/kernel", "boot/kernel", "boot/initrd"]).unwrap()[0].parts, ["boot/kernel"]);
        assert_eq!(
            shown(&["b/kernel", "a/kernel", "boot/initrd"]),
            ["it holds more than one kernel: a/kernel, b/kernel"]
        );
        let two = ["boot/kernel", "boot/initrd", "images/hypervisor/kvm/b.iso", "images/hypervisor/kvm/a.iso"];
        let told = "it holds more than one hypervisor ISO: images/hypervisor/kvm/a.iso, images/hypervisor/kvm/b.iso";
        assert_eq!(shown(&two), [told]);
    }

    #[test]
    fn a_missing_piece_is_named_with_what_is_there() {
        assert_eq!(
            shown(&["boot/kernel", "README"]),
            ["it holds no initrd: looked for boot/initrd, boot/initrd.img, **/initrd, **/initrd.img, **/initrd.gz, \
              **/initrd-*, **/initramfs.img, **/initramfs-*; it holds boot/kernel, README"]
        );
        assert!(shown(&[])[0].ends_with("it holds no files at all"));
        let many: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
        assert!(shown(&many.iter().map(String::as_str).collect::<Vec<_>>())[0].ends_with("f11 and 28 more"));
    }

    #[test]
    fn parts_of_the_installer_are_joined_in_order_and_have_no_gap() {
        let with = |parts: &[&str]| {
            let parts: Vec<String> =
                parts.iter().map(|part| format!("svm/nutanix_installer_package-x.tar{part}")).collect();
            let mut paths = vec!["boot/kernel", "boot/initrd"];
            paths.extend(parts.iter().map(String::as_str));
            shown(&paths)
                .pop()
                .unwrap()
                .replace("svm/nutanix_installer_package-x", "S")
                .replace("nutanix_installer_package-x", "N")
        };
        assert_eq!(with(&[".p01", ".p02", ".p00"]), "Installer N.tar = S.tar.p00 + S.tar.p01 + S.tar.p02");
        assert_eq!(with(&[".gz.P000", ".gz.P001"]), "Installer N.tar.gz = S.tar.gz.P000 + S.tar.gz.P001");
        assert_eq!(with(&[".gz", ".gz.md5", ".gz.json"]), "Installer N.tar.gz = S.tar.gz");
        assert_eq!(with(&[".p00", ".p02"]), "part 1 of N.tar is not there: it holds S.tar.p00, S.tar.p02");
        assert_eq!(with(&[".p01"]), "part 0 of N.tar is not there: it holds S.tar.p01");
        assert_eq!(with(&["", ".gz"]), "it holds more than one installer package: S.tar, S.tar.gz");
        assert_eq!(with(&["", ".p00"]), "it holds more than one installer package: S.tar, S.tar.p00");
    }

    #[test]
    fn names_become_plain() {
        for (path, name) in
            [("a/AHV (1).iso", "AHV__1_.iso"), ("x/.hidden", "_.hidden"), ("a/é", "_"), ("", "_"), ("a/-x", "_-x")]
        {
            assert_eq!(file_name(path), name);
            assert!(is_image_file_name(&file_name(path)));
        }
        assert!(is_image_file_name(&file_name(&"é".repeat(500))) && is_image_file_name(&file_name(&".".repeat(500))));
    }
}
