//! What an image set says of itself, as far as booting its machines is concerned: its manifest, which is read anew for each
//! machine. A set that was copied by hand has none, and boots with the built-in script. Machines boot with the default set, but
//! for those whose script stands in their user data: theirs is the set that the script names.

use metalform_boot::{
    BootHost, BootNode, BootToken, ImageSet, ImageSetError, InlineScriptError, ScriptNetwork, ScriptValues,
    SetDescription, Templates, TokenKey,
};
use metalform_model::{ImageManifest, ImageRole, InlineScript, InstallerFiles, Recipe};
use std::{net::Ipv4Addr, path::PathBuf};
use uuid::Uuid;

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
    /// Reads what a set says of itself; `None` is the default one. A set that can't be read is an error, and not a set without
    /// manifest, agent and pin. Whether its files are what the manifest says is checked elsewhere.
    pub async fn read_set(&self, id: Option<&str>) -> Result<InstallerSet, ImageSetError> {
        let SetDescription { manifest, manifest_sha256, .. } = self.described(id).await?;
        let from_manifest = || manifest.as_ref().and_then(|manifest| manifest.template.clone());
        let path = id.map_or_else(|| "images".to_owned(), |id| format!("images/{id}"));
        Ok(InstallerSet {
            id: id.map(str::to_owned),
            template: self.template.clone().or_else(from_manifest),
            images_url: format!("http://{}/pxe/{path}", self.boot_host),
            eula_accepted: self.eula_accepted,
            manifest,
            manifest_sha256,
        })
    }

    /// The default set as it is now, to be named by its id from now on. `templates`: those of a boot plane that speaks TLS.
    pub async fn pin(&self, templates: Option<&Templates>) -> Result<InlineScript, ImageSetError> {
        let SetDescription { id, manifest, .. } = self.described(None).await?;
        let has_agent = manifest.as_ref().is_some_and(|manifest| manifest.recipe.is_some());
        let template = self.template.as_deref().or(manifest.as_ref().and_then(|manifest| manifest.template.as_deref()));
        let pins_ca = has_agent && templates.is_some_and(|templates| templates.pins(template));
        Ok(InlineScript { image_set: id, has_manifest: manifest.is_some(), pins_ca })
    }

    async fn described(&self, id: Option<&str>) -> Result<SetDescription, ImageSetError> {
        let (dir, id) = (self.images_dir.clone(), id.map(str::to_owned));
        let read = tokio::task::spawn_blocking(move || ImageSet::described(dir, id.as_deref())).await;
        read.unwrap_or_else(|_stopped| Err(ImageSetError::NoFolder { dir: self.images_dir.clone() }))
    }
}

/// What was read.
#[derive(Debug, Clone)]
pub struct InstallerSet {
    /// Its id, where it was asked for by it.
    pub id: Option<String>,
    /// The template that its machines boot with; `None` is the built-in `foundation`.
    pub template: Option<String>,
    manifest: Option<ImageManifest>,
    manifest_sha256: Option<String>,
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

    /// The digest of the manifest, where the script stands in user data (`inline`). One that is fetched doesn't name it: the
    /// default set may become another under way. Where that happens to a script in user data which names no set, the kernel
    /// isn't the one that it compares with either.
    pub fn manifest_sha256(&self, inline: bool) -> Option<&str> {
        self.manifest_sha256.as_deref().filter(|_| inline)
    }

    /// The digest of the file of that role.
    pub fn sha256(&self, role: ImageRole) -> Option<&str> {
        self.manifest.as_ref()?.with_role(role).map(|file| file.sha256.as_str())
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

    /// Whether its machines will get a script, tried with values that stand for any node's: none is longer. `None`: there is no
    /// such template. `inline`: whether the script has to fit into user data.
    pub fn try_script(
        &self,
        templates: &Templates,
        host: &BootHost,
        inline: bool,
    ) -> Option<Result<(), InlineScriptError>> {
        let any = Ipv4Addr::new(255, 255, 255, 255);
        // Any digits are pinned: what counts is that there is room for them.
        let tokens = ScriptTokens::of(&TokenKey::new([0; 32]), Uuid::nil(), Some("0".repeat(64)));
        let values = ScriptValues {
            network: Some(ScriptNetwork { netmask: any, gateway: any, dns: Some(any) }),
            image_set: self.id.as_deref(),
            squashfs: self.squashfs(),
            has_agent: self.has_agent(),
            manifest_sha256: self.manifest_sha256(inline),
            kernel_sha256: self.sha256(ImageRole::Kernel),
            initrd_sha256: self.sha256(ImageRole::Initrd),
            checked_token: Some(&tokens.checked),
            ca_sha256: tokens.ca_sha256.clone(),
            ..ScriptValues::new(LONGEST_SERVER_ID, any, host, &tokens.boot)
        };
        let template = self.template.as_deref();
        Some(match inline {
            true => templates.render_inline(template, &values, &tokens.open_sha256)?.map(drop),
            false => templates.render(template, &values)?.map(drop).map_err(InlineScriptError::from),
        })
    }
}

/// 40 characters.
const LONGEST_SERVER_ID: &str = "any-server-id-of-the-length-that-is-most";

/// The secrets of a script, and what goes with them.
pub struct ScriptTokens {
    /// The boot token.
    pub boot: BootToken,
    /// What `boot-checked` is shown with.
    pub checked: BootToken,
    /// The digest of the word that permits to go on.
    pub open_sha256: String,
    /// What it pins.
    pub ca_sha256: Option<String>,
}

impl ScriptTokens {
    /// Those of a boot attempt.
    pub fn of(key: &TokenKey, attempt: Uuid, ca_sha256: Option<String>) -> Self {
        let (boot, checked) = (key.token(attempt), key.checked_token(attempt));
        ScriptTokens { boot, checked, open_sha256: key.open_sha256(attempt), ca_sha256 }
    }

    /// For a script that is shown to a person.
    pub fn hidden(ca_sha256: Option<String>) -> Self {
        ScriptTokens { boot: BootToken::hidden(), checked: BootToken::hidden(), open_sha256: "0".repeat(64), ca_sha256 }
    }
}

/// The script of a node, as it is fetched, or as it stands in its user data. `None`: there is no such template.
pub fn script_of(
    templates: &Templates,
    node: &BootNode,
    mgmt_ip: Ipv4Addr,
    host: &BootHost,
    tokens: &ScriptTokens,
) -> Option<Result<String, InlineScriptError>> {
    let values = ScriptValues {
        checked_token: Some(&tokens.checked),
        ..node.script_values(mgmt_ip, host, &tokens.boot, tokens.ca_sha256.clone())
    };
    let template = node.template.as_deref();
    match node.inline {
        true => templates.render_inline(template, &values, &tokens.open_sha256),
        false => Some(templates.render(template, &values)?.map_err(InlineScriptError::from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is read of a folder whose manifest is this text.
    async fn read(manifest: Option<&str>, template: Option<&str>) -> InstallerSet {
        try_read(manifest, template).await.unwrap()
    }

    async fn try_read(manifest: Option<&str>, template: Option<&str>) -> Result<InstallerSet, ImageSetError> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let images_dir = std::env::temp_dir().join(format!("metalform-installer-{}-{n}", std::process::id()));
        std::fs::create_dir(&images_dir).unwrap();
        for file in ["vmlinuz-foundation", "initrd-foundation.img"] {
            std::fs::write(images_dir.join(file), file).unwrap();
        }
        if let Some(text) = manifest {
            std::fs::write(images_dir.join(metalform_model::MANIFEST_FILE), text).unwrap();
        }
        let boot_host = "10.240.0.5".parse().unwrap();
        let template = template.map(str::to_owned);
        let set = Installer { images_dir: images_dir.clone(), boot_host, template, eula_accepted: false }
            .read_set(None)
            .await;
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
    async fn a_set_without_a_manifest_says_nothing_and_one_with_a_broken_one_is_none() {
        let set = read(None, None).await;
        assert!(set.files().is_none() && set.squashfs().is_none() && !set.has_agent() && !set.waits_for_eula());
        for text in ["{", r#"{"format":1,"extra":2}"#] {
            let error = try_read(Some(text), None).await.unwrap_err();
            assert!(error.to_string().contains("its manifest can't be used"), "{error}");
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
