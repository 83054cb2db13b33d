//! Drivers, in the order in which the image set's overlay lists them: what a driver needs first comes first, since
//! nothing here resolves dependencies.

use crate::{finding::Code, machine::Machine};
use metalform_model::Finding;
use std::{fs, path::PathBuf};

/// Where they are.
const FOLDER: &str = "metalform/modules";

/// Loads all of `metalform/modules/order`, a path a line, relative ones from that folder; blank lines and those that begin
/// with `#` are passed over. One that fails is a finding and ends nothing: another driver may do, and if not, what is
/// missing will be found by name.
pub fn load_all(machine: &dyn Machine, told: &dyn Fn(&str)) -> Vec<Finding> {
    let folder = machine.root().join(FOLDER);
    let order = fs::read_to_string(folder.join("order")).unwrap_or_default();
    let mut findings = Vec::new();
    for line in order.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let file: PathBuf = match line.strip_prefix('/') {
            Some(from_root) => machine.root().join(from_root),
            None => folder.join(line),
        };
        match machine.load_module(&file) {
            Ok(()) => told(&format!("driver {line} is in")),
            Err(error) => findings.push(Code::DriverFailed.warning(line, format!("the kernel refuses it: {error}"))),
        }
    }
    findings
}
