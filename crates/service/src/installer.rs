//! What the default image set says of itself, as far as booting its machines is concerned: its manifest, which is read anew
//! for each machine. A set that was copied by hand has none, and boots with the built-in script.

use metalform_boot::{BootHost, BootToken, ImageSet, ScriptNetwork, ScriptValues, Templates, ValueError};
use metalform_model::{ImageManifest, ImageRole, InstallerFiles, Recipe};
use std::{
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

/// A set that can't be read is told and taken for one without: what goes out is checked elsewhere.
async fn read_manifest(dir: &Path) -> Option<ImageManifest> {
    let images = dir.to_owned();
    match tokio::task::spawn_blocking(move || ImageSet::default_manifest(images)).await {
        Ok(Ok(manifest)) => manifest,
        Ok(Err(error)) => {
            tracing::error!(%error, dir = %dir.display(), "the default image set can't be read");
            None
        }
        Err(error) => {
            tracing::error!(%error, "the default image set was not read");
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
            // Any digits: what counts is that there is room for them.
            ca_sha256: Some("0".repeat(64)),
            ..ScriptValues::new("any", any, host, &token)
        };
        Some(templates.render(self.template.as_deref(), &values)?.map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is read of a folder whose manifest is this text.
    async fn read(manifest: Option<&str>, template: Option<&str>) -> InstallerSet {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let images_dir = std::env::temp_dir().join(format!("metalform-installer-{}-{n}", std::process::id()));
        std::fs::create_dir(&images_dir).unwrap();
        if let Some(text) = manifest {
            std::fs::write(images_dir.join(metalform_model::MANIFEST_FILE), text).unwrap();
        }
        let boot_host = "10.240.0.5".parse().unwrap();
        let template = template.map(str::to_owned);
        let set = Installer { images_dir: images_dir.clone(), boot_host, template, eula_accepted: false }.read().await;
        std::fs::remove_dir_all(images_dir).unwrap();
        set
    }

    fn manifest(template: Option<&str>, recipe: Option<serde_json::Value>) -> String {
        let file = |name: &str, role: &str| json!({"name": name, "role": role, "size": 1, "sha256": "0".repeat(64)});
        let files = [
            file("initrd-foundation.img", "initrd"),
            file("squashfs.img", "squashfs"),
            file("vmlinuz-foundation", "kernel"),
        ];
        json!({"format": 1, "name": "ce", "source": "an ISO", "template": template, "recipe": recipe, "files": files})
            .to_string()
    }

    #[tokio::test]
    async fn the_configuration_wins_over_the_manifest_and_the_manifest_over_nothing() {
        let from_set = manifest(Some("theirs"), None);
        assert_eq!(read(Some(&from_set), Some("mine")).await.template.as_deref(), Some("mine"));
        assert_eq!(read(Some(&from_set), None).await.template.as_deref(), Some("theirs"));
        assert_eq!(read(None, None).await.template, None);
    }

    #[tokio::test]
    async fn a_set_without_a_manifest_or_with_a_broken_one_says_nothing() {
        for text in [None, Some("{"), Some(r#"{"format":1,"extra":2}"#)] {
            let set = read(text, None).await;
            assert!(set.files().is_none() && set.squashfs().is_none() && !set.has_agent() && !set.waits_for_eula());
        }
    }

    #[tokio::test]
    async fn a_recipe_is_what_an_agent_runs_and_the_community_edition_wants_its_license_accepted() {
        let recipe = json!({"kind": "phoenix-ce", "command": ["/phoenix/phoenix"]});
        let set = read(Some(&manifest(None, Some(recipe))), None).await;
        assert!(set.has_agent() && set.waits_for_eula());
        assert_eq!(set.files().unwrap().images_url, "http://10.240.0.5/pxe/images");
        let by_template = read(Some(&manifest(Some(PHOENIX_CE), None)), None).await;
        assert!(by_template.waits_for_eula() && !by_template.has_agent());
        assert!(!InstallerSet { eula_accepted: true, ..by_template }.waits_for_eula());
        assert!(!read(Some(&manifest(None, None)), None).await.waits_for_eula());
    }
}
