//! A temporary folder with a stand-in image set and an API key. Gone with the simulator.

use super::SimulatorError;
use crate::{pace, temporary_folder::TemporaryFolder};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const KERNEL_BYTES: usize = 1 << 20;
const INITRD_BYTES: usize = 4 << 20;

/// The lab profile in the form of the service's own table.
const LAB_PROFILE_TABLE: &str = "profile = [{ name = \"lx3d-metal-2x2\", vcpu = 2, memory_gib = 2, boot_gb = 480, \
                                 boot_quantity = 2, data_quantity = 4, data_gb = 960, gbit = 1 }]\n";

/// Removed when dropped.
#[derive(Debug)]
pub(super) struct Folder(TemporaryFolder);

impl Folder {
    pub fn create(seed: u64) -> Result<Folder, SimulatorError> {
        let folder = Folder(TemporaryFolder::create("simulator")?);
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| SimulatorError::Folder { path, source }
        };
        fs::create_dir_all(folder.images()).map_err(wrong(folder.0.path()))?;
        let mut files = Vec::new();
        for (file, role, size) in
            [("initrd-foundation.img", "initrd", INITRD_BYTES), ("vmlinuz-foundation", "kernel", KERNEL_BYTES)]
        {
            let mut bytes = vec![0; size];
            StdRng::from_seed(pace::digest(seed, file)).fill_bytes(&mut bytes);
            let path = folder.images().join(file);
            let sha256 = hex::encode(Sha256::digest(&bytes));
            files.push(json!({"name": file, "role": role, "size": size, "sha256": sha256}));
            fs::write(&path, bytes).map_err(wrong(&path))?;
        }
        // With a recipe, which says that the set holds an agent: simulated machines do what one does.
        let manifest = json!({
            "format": 1, "name": "simulated", "source": "bytes that stand for a kernel and an initrd",
            "recipe": {"kind": "command", "command": ["/simulated"]}, "files": files,
        });
        let path = folder.images().join("manifest.json");
        fs::write(&path, manifest.to_string()).map_err(wrong(&path))?;
        let path = folder.profiles();
        fs::write(&path, LAB_PROFILE_TABLE).map_err(wrong(&path))?;
        let path = folder.api_key();
        let open = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
        open.and_then(|mut file| file.write_all(b"simulated-api-key\n")).map_err(wrong(&path))?;
        Ok(folder)
    }

    pub fn images(&self) -> PathBuf {
        self.0.path().join("images")
    }

    /// The table of profiles that only emulated machines have.
    pub fn profiles(&self) -> PathBuf {
        self.0.path().join("profiles.toml")
    }

    pub fn api_key(&self) -> PathBuf {
        self.0.path().join("api-key")
    }
}
