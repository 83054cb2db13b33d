//! What the default image set says of itself, as far as booting its machines is concerned: its manifest, which is read anew
//! for each machine. A set that was copied by hand has none, and boots with the built-in script.

use metalform_boot::{BootHost, BootToken, ScriptNetwork, ScriptValues, Templates, ValueError};
use metalform_model::{ImageManifest, ImageRole, InstallerFiles, MANIFEST_FILE, Recipe};
use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// Name of the built-in template for Nutanix CE.
const PHOENIX_CE: &str = "phoenix-ce";

/// Where image sets are, and what the configuration says of their installers.
#[derive(Debug, Clone)]
pub struct Installer {
    /// The default image set.
    pub images_dir: PathBuf,
    /// Where machines reach the boot plane.
    pub boot_host: BootHost,
    /// `[boot] template`: instead of the one that the manifest names.
    pub template: Option<String>,
    /// `[nutanix] accept_eula`.
    pub eula_accepted: bool,
}

impl Installer {
    /// Reads the default set's manifest.
    pub async fn read(&self) -> InstallerSet {
        let manifest = read_manifest(&self.images_dir).await;
        let from_manifest = || manifest.as_ref().and_then(|manifest| manifest.template.clone());
        InstallerSet {
            template: self.template.clone().or_else(from_manifest),
            images_url: format!("http://{}/pxe/images", self.boot_host),
            eula_accepted: self.eula_accepted,
            manifest,
        }
    }
}

/// A manifest that can't be read is told and taken for none: what goes out is checked against it elsewhere.
async fn read_manifest(dir: &Path) -> Option<ImageManifest> {
    let file = dir.join(MANIFEST_FILE);
    let text = match tokio::fs::read(&file).await {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(%error, file = %file.display(), "the manifest of the image set can't be read");
            return None;
        }
    };
    match serde_json::from_slice(&text) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            tracing::error!(%error, file = %file.display(), "the manifest of the image set can't be read");
            None
        }
    }
}

/// What was read.
#[derive(Debug, Clone)]
pub struct InstallerSet {
    /// The template that its machines boot with; `None` is the built-in `foundation`.
    pub template: Option<String>,
    manifest: Option<ImageManifest>,
    images_url: String,
    eula_accepted: bool,
}

impl InstallerSet {
    /// What an Arizona document needs; `None` without a manifest.
    pub fn files(&self) -> Option<InstallerFiles<'_>> {
        let (images_url, eula_accepted) = (self.images_url.as_str(), self.eula_accepted);
        self.manifest.as_ref().map(|manifest| InstallerFiles { manifest, images_url, eula_accepted })
    }

    /// The installer's root file system.
    pub fn squashfs(&self) -> Option<&str> {
        self.manifest.as_ref()?.with_role(ImageRole::Squashfs).map(|file| file.name.as_str())
    }

    /// Whether its initrd holds our agent: only an agent runs recipes.
    pub fn has_agent(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.recipe.is_some())
    }

    /// Whether it installs Nutanix CE while nobody has accepted its license: the installer then waits for a person.
    pub fn waits_for_eula(&self) -> bool {
        let recipe = self.manifest.as_ref().and_then(|manifest| manifest.recipe.as_ref());
        let is_ce = matches!(recipe, Some(Recipe::PhoenixCe { .. })) || self.template.as_deref() == Some(PHOENIX_CE);
        is_ce && !self.eula_accepted
    }

    /// Whether its machines will get a script, tried with values that stand for any node's. `None`: there is no such
    /// template.
    pub fn try_script(&self, templates: &Templates, host: &BootHost) -> Option<Result<(), ValueError>> {
        let any = Ipv4Addr::new(10, 0, 0, 1);
        let token = BootToken::hidden();
        let values = ScriptValues {
            network: Some(ScriptNetwork { netmask: any, gateway: any, dns: Some(any) }),
            squashfs: self.squashfs(),
            has_agent: self.has_agent(),
            ..ScriptValues::new("any", any, host, &token)
        };
        Some(templates.render(self.template.as_deref(), &values)?.map(drop))
    }
}
