//! Phoenix' document of a node, as far as this machine has a say in it: which of its drives are meant. The service knows
//! drives by size, model or serial number; Phoenix wants the kernel's names, and those are known here alone.

use crate::drives::Drives;
use serde_json::{Map, Value, json};

/// Adds the drives that were chosen, by their kernel's names without `/dev/`, where the document doesn't name any: what it
/// names is the plan's, to the letter. A document that is no object is left as it is, for its reader to refuse.
pub fn with_drives(document: Vec<u8>, drives: &Drives) -> Vec<u8> {
    let Ok(mut document_of_node) = serde_json::from_slice::<Map<String, Value>>(&document) else { return document };
    let name = |path: &String| path.trim_start_matches("/dev/").to_owned();
    let data: Vec<String> = drives.data.iter().filter(|path| **path != drives.cvm).map(name).collect();
    let chosen = [
        ("ce_hyp_boot_disk", json!(name(&drives.hypervisor))),
        ("ce_cvm_boot_disks", json!([name(&drives.cvm)])),
        ("ce_cvm_data_disks", json!(data)),
    ];
    if chosen.iter().any(|(key, _)| document_of_node.contains_key(*key)) {
        return document;
    }
    document_of_node.extend(chosen.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(document_of_node).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drives() -> Drives {
        let data = vec!["/dev/nvme1n1".to_owned(), "/dev/nvme2n1".to_owned()];
        let [boot, cvm] = ["/dev/nvme0n1", "/dev/nvme1n1"].map(str::to_owned);
        Drives { hypervisor: boot.clone(), boot, cvm, data, ..Drives::default() }
    }

    fn filled(document: &str) -> Value {
        serde_json::from_slice(&with_drives(document.into(), &drives())).unwrap()
    }

    #[test]
    fn the_drives_that_were_chosen_are_named_where_nobody_named_any() {
        let expected = json!({
            "hyp_type": "kvm",
            "ce_hyp_boot_disk": "nvme0n1",
            "ce_cvm_boot_disks": ["nvme1n1"],
            "ce_cvm_data_disks": ["nvme2n1"],
        });
        assert_eq!(filled(r#"{"hyp_type":"kvm"}"#), expected, "the controller VM's own is none of the cluster's");
    }

    #[test]
    fn drives_that_the_plan_named_stay_and_what_is_no_document_too() {
        assert_eq!(filled(r#"{"ce_cvm_data_disks":["sdb"]}"#), json!({"ce_cvm_data_disks": ["sdb"]}));
        assert_eq!(with_drives(b"[1".to_vec(), &drives()), b"[1");
    }
}
