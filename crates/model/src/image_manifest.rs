//! What an image set is made of: the `manifest.json` beside its files. The importer writes it, the boot plane serves only
//! what agrees with it, and the agent on a machine reads from it how its installer is run.
//!
//! A set is never changed: another file, another recipe, or another overlay makes another set with another id.

use serde::{Deserialize, Serialize};

/// The only version of the document there is.
pub const MANIFEST_FORMAT: u32 = 1;

/// Name of the document within a set.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The kernel's name within a set.
pub const KERNEL_FILE: &str = "vmlinuz-foundation";

/// The initrd's name within a set.
pub const INITRD_FILE: &str = "initrd-foundation.img";

/// The digests of a set's files, made when it is asked for; never a file of the set.
pub const SUMS_FILE: &str = "SHA256SUMS";

/// In the folder of all sets: holds the id of the default set. It wins over plain files beside it.
///
/// A file and not a symbolic link, because a link is lost or followed by half of the programs that copy folders, and
/// because what it may say can be checked before it is followed.
pub const DEFAULT_FILE: &str = "default";

/// Longest `default` that is read, in bytes.
pub const MAX_DEFAULT_BYTES: u64 = 256;

/// Hexadecimal digits of the manifest's digest in the id of a set.
pub const IMAGE_SET_DIGITS: usize = 12;

/// Longest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Whether it can be what the operator calls a set: 1 to 40 of `[A-Za-z0-9._-]`, the first one a letter or digit.
pub fn is_image_set_name(text: &str) -> bool {
    text.len() <= 40 && is_image_set_id(text)
}

/// Whether it can be the id of a set, which is also its folder's name: 1 to 64 of `[A-Za-z0-9._-]`, the first one a letter
/// or digit.
pub fn is_image_set_id(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Whether it is an id as a set gets it with its manifest: a name, `-`, and the first [`IMAGE_SET_DIGITS`] hexadecimal digits of
/// the manifest's SHA-256. A folder that is called so and has no manifest has lost it.
pub fn is_made_image_set_id(text: &str) -> bool {
    text.rsplit_once('-').is_some_and(|(name, digits)| {
        is_image_set_name(name) && digits.len() == IMAGE_SET_DIGITS && digits.bytes().all(is_lower_hex)
    })
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// Whether a file of a set may be called so: no separator, nothing hidden, nothing that means something to a shell or a
/// URL; 1 to 128 characters.
pub fn is_image_file_name(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

/// One image set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageManifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// What the operator calls it; 1 to 40 of `[A-Za-z0-9._-]`, the first one a letter or digit.
    pub name: String,
    /// Where it came from, for a person: name, label and length of an ISO, or the set an overlay was added to.
    pub source: String,
    /// Name of the script template its machines boot with; `None`: `foundation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// How the agent runs the installer; `None` where the set holds no agent and its initrd does all by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// Every file of the set but the manifest and `SHA256SUMS`, sorted by name.
    pub files: Vec<ImageFile>,
}

impl ImageManifest {
    /// What is wrong with it, if anything: a document that was read proves only that it has the right fields.
    pub fn fault(&self) -> Option<&'static str> {
        let names = || self.files.iter().map(|file| file.name.as_str());
        let is_digest = |text: &str, digits| text.len() == digits && text.bytes().all(is_lower_hex);
        let whole = |role, name: &str| self.with_role(role).is_some_and(|file| file.name == name && file.size > 0);
        if self.format != MANIFEST_FORMAT {
            Some("its format is not 1")
        } else if !is_image_set_name(&self.name) {
            Some("its name can't be one")
        } else if !names().all(is_image_file_name) || names().any(|name| [MANIFEST_FILE, SUMS_FILE].contains(&name)) {
            Some("a file's name can't be one")
        } else if !names().zip(names().skip(1)).all(|(one, next)| one < next) {
            Some("its files are not sorted by name, or one is there twice")
        } else if !self
            .files
            .iter()
            .all(|file| is_digest(&file.sha256, 64) && file.md5.as_ref().is_none_or(|md5| is_digest(md5, 32)))
        {
            Some("a digest can't be one")
        } else if !whole(ImageRole::Kernel, KERNEL_FILE) || !whole(ImageRole::Initrd, INITRD_FILE) {
            Some("it has no kernel or no initrd")
        } else {
            None
        }
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&ImageFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The first file of that role.
    pub fn with_role(&self, role: ImageRole) -> Option<&ImageFile> {
        self.files.iter().find(|file| file.role == role)
    }
}

/// A file of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFile {
    /// Within the set; no folders.
    pub name: String,
    /// What it is for.
    pub role: ImageRole,
    /// Bytes.
    pub size: u64,
    /// Lower case hex.
    pub sha256: String,
    /// Lower case hex, where the installer asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
}

/// What a file of a set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageRole {
    /// `vmlinuz-foundation`.
    Kernel,
    /// `initrd-foundation.img`.
    Initrd,
    /// The installer's root file system.
    Squashfs,
    /// The hypervisor's ISO.
    HypervisorIso,
    /// The installer package: AOS.
    Installer,
    /// Anything else.
    Other,
}

/// How the agent runs the installer of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Recipe {
    /// A program of the initrd (or of its overlay). It gets `METALFORM_CONFIG` (path of the node's configuration),
    /// `METALFORM_DISKS` (path of a JSON document with the drives that were chosen) and `METALFORM_FILES` (folder with the
    /// fetched files); a line `progress PERCENT TEXT` on its standard output is progress, every other line is log.
    Command {
        /// Program and arguments.
        command: Vec<String>,
        /// Files of the set that are fetched, and compared with the manifest, before it starts.
        #[serde(default)]
        files: Vec<String>,
        /// Who says that the node is installed.
        #[serde(default)]
        installed_by: InstalledBy,
    },
    /// Phoenix of Nutanix CE: the set's squashfs as root, with the flat Arizona document of the node.
    PhoenixCe {
        /// Program and arguments within the squashfs.
        command: Vec<String>,
    },
}

/// Word of a [`Recipe::PhoenixCe`] command that stands for the path of the node's Arizona document.
pub const ARIZONA_WORD: &str = "{arizona}";

impl Recipe {
    /// Program and arguments.
    pub fn command(&self) -> &[String] {
        match self {
            Recipe::Command { command, .. } | Recipe::PhoenixCe { command } => command,
        }
    }

    /// Why no machine could run it, if none could. A program's own braces stay its own: only a name in them is taken for a
    /// place that nobody fills, and not where there are blanks around, as in a script for a shell or awk.
    pub fn fault(&self) -> Option<String> {
        let command = self.command();
        let known: &[&str] = match self {
            Recipe::Command { .. } => &[],
            Recipe::PhoenixCe { .. } => &[ARIZONA_WORD],
        };
        match command.first() {
            None => return Some("its command is empty".to_owned()),
            Some(program) if program.trim().is_empty() => {
                return Some("the program of its command has no name".to_owned());
            }
            Some(_) => {}
        }
        if let Some(word) = command.iter().find(|word| word.contains('\0')) {
            return Some(format!("{word:?} in its command holds a zero byte, which no program can be given"));
        }
        let unknown = command
            .iter()
            .filter(|word| !word.contains(char::is_whitespace))
            .flat_map(|word| places(word))
            .find(|place| !known.contains(place))?;
        Some(match known {
            [] => format!("nothing is put in the place of {unknown} in its command"),
            known => format!("nothing is put in the place of {unknown} in its command, only of {}", known.join(", ")),
        })
    }
}

/// Every `{name}` in a word, but not the shell's `${name}`.
fn places(word: &str) -> impl Iterator<Item = &str> {
    word.match_indices('{').filter_map(|(at, _)| {
        let place = &word[at..=at + word[at..].find('}')?];
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        (!word[..at].ends_with('$') && is_name(&place[1..place.len() - 1])).then_some(place)
    })
}

/// Who reports `installed`, which ends the boot attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstalledBy {
    /// The agent, once the installer has ended well and before the machine restarts.
    #[default]
    Agent,
    /// The installed system, once it is up.
    System,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, role: ImageRole) -> ImageFile {
        ImageFile { name: name.to_owned(), role, size: 1, sha256: "0".repeat(64), md5: None }
    }

    fn manifest() -> ImageManifest {
        ImageManifest {
            format: MANIFEST_FORMAT,
            name: "ce".to_owned(),
            source: "ce.iso".to_owned(),
            template: None,
            recipe: None,
            files: vec![file(INITRD_FILE, ImageRole::Initrd), file(KERNEL_FILE, ImageRole::Kernel)],
        }
    }

    fn fault(change: impl FnOnce(&mut ImageManifest)) -> Option<&'static str> {
        let mut manifest = manifest();
        change(&mut manifest);
        manifest.fault()
    }

    #[test]
    fn a_manifest_that_makes_no_sense_is_told_from_one_that_does() {
        assert_eq!(fault(|_| {}), None);
        let changes: [fn(&mut ImageManifest); 13] = [
            |m| m.format = 2,
            |m| m.name = "a b".to_owned(),
            |m| m.name = "a".repeat(41),
            |m| m.files[0].name = "../x".to_owned(),
            |m| m.files.push(file("zz/y", ImageRole::Other)),
            |m| m.files.insert(0, file(SUMS_FILE, ImageRole::Other)),
            |m| m.files.swap(0, 1),
            |m| m.files.insert(1, file(INITRD_FILE, ImageRole::Initrd)),
            |m| m.files[0].sha256 = "0".repeat(63),
            |m| m.files[0].sha256 = "A".repeat(64),
            |m| m.files[0].md5 = Some("x".repeat(32)),
            |m| m.files[1].size = 0,
            |m| drop(m.files.pop()),
        ];
        for change in changes {
            assert!(fault(change).is_some());
        }
    }

    #[test]
    fn a_recipe_that_no_machine_can_run_is_told_from_one_that_may() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let command = |command: &[&str]| Recipe::Command {
            command: words(command),
            files: Vec::new(),
            installed_by: InstalledBy::Agent,
        };
        let phoenix = |command: &[&str]| Recipe::PhoenixCe { command: words(command) };
        for good in [
            command(&["/install", ""]),
            command(&["/bin/sh", "-c", "awk {print} ${x}"]),
            command(&["/x", "${x}{}{1} {A} {\"a\":1}}{"]),
            phoenix(&["/phoenix", "--config={arizona}"]),
        ] {
            assert_eq!(good.fault(), None, "{good:?}");
        }
        for (bad, why) in [
            (command(&[]), "its command is empty"),
            (phoenix(&[]), "its command is empty"),
            (command(&[" "]), "the program of its command has no name"),
            (command(&["/a", "b\0c"]), r#""b\0c" in its command holds a zero byte, which no program can be given"#),
            (command(&["/a", "{arizona}"]), "nothing is put in the place of {arizona} in its command"),
            (
                phoenix(&["/a", "{arizona}", "x{disk}"]),
                "nothing is put in the place of {disk} in its command, only of {arizona}",
            ),
        ] {
            assert_eq!(bad.fault().as_deref(), Some(why));
        }
    }

    #[test]
    fn names_of_sets_and_files_stay_within_their_folder_and_their_url() {
        for name in ["", ".", "..", "-a", "a/b", "a b", "é", "a\0", "%2e"] {
            assert!(!is_image_set_id(name) && !is_image_set_name(name) && !is_image_file_name(name), "{name:?}");
        }
        assert!(is_image_set_name("ce-2.1") && is_image_file_name("_a+b.iso") && !is_image_set_id("_a"));
        assert!(is_image_set_id(&"a".repeat(64)) && !is_image_set_id(&"a".repeat(65)));
        assert!(!is_image_set_name(&"a".repeat(41)) && !is_image_file_name(&"a".repeat(129)));
    }

    #[test]
    fn the_id_of_a_set_that_was_made_is_told_from_a_folder_that_somebody_named() {
        for id in ["ce-2.1-3f9c01ab77de", "a-000000000000", &format!("{}-3f9c01ab77de", "a".repeat(40))] {
            assert!(is_made_image_set_id(id) && is_image_set_id(id), "{id}");
        }
        for id in
            ["lab", "ce-2.1", "3f9c01ab77de", "-3f9c01ab77de", "ce-3f9c01ab77d", "ce-3F9C01AB77DE", "ce_3f9c01ab77de"]
        {
            assert!(!is_made_image_set_id(id), "{id}");
        }
    }
}
