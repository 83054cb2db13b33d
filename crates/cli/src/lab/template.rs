//! The boot script of emulated machines: the shipped one, with some words for their kernel. A template of its own beside the
//! shipped ones was rejected, as was a kernel of our own with the words built in: machines would boot by something else than
//! what is shipped.

use super::{KERNEL_WORDS, LabError};
use metalform_boot::FOUNDATION_TEMPLATE;
use std::{fs, path::Path};

/// Writes it into `dir`, for `[boot] templates_dir`, where it replaces the shipped one.
pub fn write(dir: &Path) -> Result<(), LabError> {
    let file = dir.join("foundation.ipxe");
    let text = with_kernel_words(FOUNDATION_TEMPLATE);
    let written = fs::create_dir_all(dir).and_then(|()| fs::write(&file, text));
    written.map_err(LabError::file("write", &file))
}

/// A script whose `kernel` commands end with the words for emulated machines, before what is to happen if they fail.
fn with_kernel_words(script: &str) -> String {
    let line = |line: &str| match line.split_once(" || ").filter(|_| line.starts_with("kernel ")) {
        Some((command, otherwise)) => format!("{command} {KERNEL_WORDS} || {otherwise}\n"),
        None => format!("{line}\n"),
    };
    script.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use metalform_simulator::temporary_folder::TemporaryFolder;

    #[test]
    fn emulated_machines_boot_by_the_shipped_script_with_words_for_their_kernel_alone() {
        let folder = TemporaryFolder::create("test").unwrap();
        write(folder.path()).unwrap();
        let file = folder.path().join("foundation.ipxe");
        metalform_boot::lint_file(&file).unwrap();
        let (written, shipped) = (fs::read_to_string(&file).unwrap(), FOUNDATION_TEMPLATE);
        let added = " no_timer_check panic=10";
        assert!(!shipped.contains(added) && written.matches(added).count() == 1, "{written}");
        assert_eq!(written.replace(added, "").trim_end(), shipped.trim_end());
    }
}
