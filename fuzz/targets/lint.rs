//! Any text as a boot script, and any bytes as a template's file: the linter answers, and names lines that are there. A script
//! of ours with a line of the input in it is linted too, so that whole scripts are seen and not only their beginnings.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().count().max(1);
    for (line, _) in metalform_boot::lint(&text) {
        assert!(line <= lines, "line {line} of {lines}");
    }
    let script =
        format!("#!ipxe\n:again\ninc tries\niseq ${{tries}} 3 && goto out ||\n{text}\ngoto again\n:out\nexit 1\n");
    let lines = script.lines().count();
    for (line, _) in metalform_boot::lint(&script) {
        assert!(line <= lines, "line {line} of {lines}");
    }
});
