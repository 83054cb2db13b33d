//! `[nutanix]`: the controller VMs and their hosts.

use serde::Deserialize;
use std::path::PathBuf;

/// `[nutanix]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NutanixConfig {
    /// Prism user.
    pub prism_user: String,
    /// A file with its password; `admin` when absent.
    pub prism_password_file: Option<PathBuf>,
    /// Foundation user.
    pub foundation_user: String,
    /// A file with its password; `nutanix/4u` when absent.
    pub foundation_password_file: Option<PathBuf>,
    /// The user that logs in to controller VMs.
    pub cvm_user: String,
    /// A file with the password that controller VMs are born with; `nutanix/4u` when absent.
    pub cvm_password_file: Option<PathBuf>,
    /// A file with the password of `root` that AHV hosts are born with; `nutanix/4u` when absent.
    pub ahv_password_file: Option<PathBuf>,
    /// Prism port.
    pub prism_port: u16,
    /// Foundation port.
    pub foundation_port: u16,
    /// SSH port of controller VMs and AHV hosts.
    pub ssh_port: u16,
    /// Genesis port, over which controller VMs find each other.
    pub genesis_port: u16,
    /// Whether the operator accepts Nutanix' license of the Community Edition, for which its installer asks on each node.
    pub accept_eula: bool,
}

impl Default for NutanixConfig {
    fn default() -> Self {
        NutanixConfig {
            prism_user: "admin".into(),
            prism_password_file: None,
            foundation_user: "admin".into(),
            foundation_password_file: None,
            cvm_user: "nutanix".into(),
            cvm_password_file: None,
            ahv_password_file: None,
            prism_port: 9440,
            foundation_port: 8000,
            ssh_port: 22,
            genesis_port: 2100,
            accept_eula: false,
        }
    }
}
