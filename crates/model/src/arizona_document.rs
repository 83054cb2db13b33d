//! The flat document that configures the installer of Nutanix CE ("Phoenix"), one a node: the body of
//! `GET /boot/arizona/{mgmt_ip}`. Only keys that published clients or the installer's own older sources show
//! (docs/facts/nutanix.md); anything else would be a guess that an installer refuses.
//!
//! **Disks.** The installer looks disks up by their kernel names, `nvme1n1`. A plan names drives by what they are, which
//! the server can't turn into a name: so `ce_*` disks stand here where the plan says paths, and are left out otherwise. The
//! agent on the machine, which chose the drives, fills in what is missing before it hands the document over. Rejected:
//! names by the profile's table, since the same disk was seen as `sda` and as `nvme0n1`.
//!
//! **Left out**: memory and processors of the controller VM, which the installer finds better values for than a table.

use crate::{
    DataDrive, ImageFile, ImageManifest, ImageRole, NodeNetwork, NodePlan, Plan, Profile, config_document::cvm_device,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The key that turns progress callbacks on. Its URL holds the boot attempt's token, so whoever hands the document out adds
/// it: this document holds no secret.
pub const MONITORING_URL_ROOT: &str = "monitoring_url_root";

/// What a document needs to know of the image set.
#[derive(Debug, Clone, Copy)]
pub struct InstallerFiles<'a> {
    /// The set's manifest.
    pub manifest: &'a ImageManifest,
    /// Where machines fetch its files: `http://10.240.0.5:8080/pxe/images`.
    pub images_url: &'a str,
    /// Whether the operator has accepted Nutanix' license of the Community Edition. The installer wants both of its keys true.
    pub eula_accepted: bool,
}

/// The document of one node, without [`MONITORING_URL_ROOT`]. `profile` is `None` for a profile nobody knows.
pub fn arizona_document(
    plan: &Plan,
    node: &NodePlan,
    network: &NodeNetwork,
    profile: Option<&Profile>,
    files: InstallerFiles<'_>,
) -> Value {
    let (netmask, gateway) = (network.cidr.netmask(), network.gateway);
    let block = block_id(&node.server_id);
    let mut document = json!({
        "hyp_type": "kvm",
        "hyp_install_type": "clean",
        "svm_install_type": "clean",
        "host_ip": network.ahv_ip,
        "host_subnet_mask": netmask,
        "default_gw": gateway,
        "svm_ip": network.cvm_ip,
        "svm_subnet_mask": netmask,
        "svm_default_gw": gateway,
        "block_id": block,
        "node_serial": block,
        "node_position": node.node_position,
        "cluster_id": cluster_id(&plan.cluster.name, &node.server_id),
        "model": "CommunityEdition",
        "hypervisor_hostname": node.server_name,
        "ce_eula_accepted": files.eula_accepted,
        "ce_eula_viewed": files.eula_accepted,
        // Clusters are formed by Metalform, never by the installer.
        "create_1node_cluster": false,
    });
    let mut set = |key: &str, value: Value| {
        document.as_object_mut().map(|document: &mut Map<String, Value>| document.insert(key.to_owned(), value));
    };
    if let Some(dns) = network.dns_servers.first().or(plan.cluster.dns_servers.first()) {
        set("dns_ip", json!(dns));
    }
    let file = |role| files.manifest.with_role(role).map(|file| located(file, files.images_url));
    if let Some(installer) = file(ImageRole::Installer) {
        set("svm_installer_url", installer);
    }
    if let Some(iso) = file(ImageRole::HypervisorIso) {
        set("hypervisor_iso_url", iso);
    }
    // The hypervisor's disk is never named by a path in a plan.
    if let Some(name) = kernel_name(&cvm_device(node, profile, &Value::Null)) {
        set("ce_cvm_boot_disks", json!([name]));
    }
    let paths = node.data_drives.iter().map(|drive| match drive {
        DataDrive::Device(path) => kernel_name(&json!(path)),
        DataDrive::Selector(_) => None,
    });
    // All of them or none: a list that lacks one would leave a drive out of the cluster without a word.
    if let Some(names) = paths.collect::<Option<Vec<String>>>().filter(|names| !names.is_empty()) {
        set("ce_cvm_data_disks", json!(names));
    }
    document
}

/// `{url, md5sum}`; an empty sum is not checked by the installer.
fn located(file: &ImageFile, images_url: &str) -> Value {
    json!({ "url": format!("{images_url}/{}", file.name), "md5sum": file.md5.as_deref().unwrap_or_default() })
}

fn kernel_name(device: &Value) -> Option<String> {
    device.as_str()?.strip_prefix("/dev/").map(str::to_owned)
}

/// Letters, digits, `-` and `_`, and another one for each node: nodes that share it are taken for one block when controller
/// VMs look for each other. Server ids may hold dots, which it may not; a digest keeps `a.b` apart from `a_b`.
fn block_id(server_id: &str) -> String {
    if !server_id.contains('.') {
        return server_id.to_owned();
    }
    let digest = hex::encode(Sha256::digest(server_id));
    format!("{}-{}", server_id.replace('.', "_"), &digest[..8])
}

/// 1 to 2^31: the number of a block in the factory's books. Every node is a block of its own here.
fn cluster_id(cluster: &str, server_id: &str) -> u32 {
    let digest = Sha256::digest(format!("{cluster}\0{server_id}"));
    let number = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    (number >> 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_nodes_share_a_block() {
        assert_eq!(block_id("server-001"), "server-001");
        assert_eq!(block_id("a.b"), "a_b-2e7336dc");
        assert_ne!(block_id("a.b"), block_id("a_b"));
        assert_ne!(cluster_id("c", "server-001"), cluster_id("c", "server-002"));
        assert_ne!(cluster_id("c", "server-001"), cluster_id("d", "server-001"));
        assert_eq!(cluster_id("c", "server-001"), cluster_id("c", "server-001"));
        assert!(block_id("a.b").bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
    }
}
