//! What an image set is made of: the `manifest.json` beside its files. The importer writes it, the boot plane serves only
//! what agrees with it, and the agent on a machine reads from it how its installer is run.
//!
//! A set is never changed: another file, another recipe, or another overlay makes another set with another id.

use serde::{Deserialize, Serialize};

/// The only version of the document there is.
pub const MANIFEST_FORMAT: u32 = 1;

/// Name of the document within a set.
pub const MANIFEST_FILE: &str = "manifest.json";

/// One image set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageManifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// What the operator calls it; 1 to 40 of `[A-Za-z0-9._-]`, the first one a letter or digit.
    pub name: String,
    /// Where it came from, for a person: name of an ISO and its digest, or of the set an overlay was added to.
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
