//! Any text as a plan: it is refused with at least one error, each with words and a place, or taken; and what is taken, written
//! down and read again, is the same plan.

#![no_main]

use libfuzzer_sys::fuzz_target;
use metalform_model::{PlanFormat, Profiles, plan_hash, read_plan};
use std::sync::LazyLock;

static PROFILES: LazyLock<Profiles> = LazyLock::new(Profiles::builtin);

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for format in [PlanFormat::Toml, PlanFormat::Json] {
        match read_plan(&text, format, &PROFILES) {
            Err(faults) => {
                assert!(faults.iter().any(|fault| fault.is_error()), "refused without an error: {faults:?}");
                assert!(faults.iter().all(|fault| !fault.to_string().is_empty()), "{faults:?}");
            }
            Ok(checked) => {
                let again = serde_json::to_string(&checked.plan).expect("a plan can be written");
                let again = read_plan(&again, PlanFormat::Json, &PROFILES).expect("what was taken is taken again");
                assert_eq!(checked.plan, again.plan);
                assert_eq!(plan_hash(&checked.plan), plan_hash(&again.plan));
            }
        }
    }
});
