//! What the linter says of loops, against what becomes of them when they run.

use super::*;

/// A script whose every command goes the same way each time, so that it can be run to see whether it ends.
#[derive(Debug, Clone)]
enum Step {
    Count(char, u64),
    Set(char, u64),
    JumpIf(char, u64, usize),
    JumpUnless(char, u64, usize),
    Jump(usize),
    Hold(usize),
    JumpToHeld,
}

impl Step {
    /// Each step has a line and a label of its own.
    fn line(&self) -> String {
        match self {
            Step::Count(name, by) => format!("inc {name} {by}"),
            Step::Set(name, number) => format!("set {name} {number}"),
            Step::JumpIf(name, number, to) => format!("iseq ${{{name}}} {number} && goto l{to} ||"),
            Step::JumpUnless(name, number, to) => format!("iseq ${{{name}}} {number} || goto l{to}"),
            Step::Jump(to) => format!("goto l{to}"),
            Step::Hold(to) => format!("set t l{to}"),
            Step::JumpToHeld => "goto ${t}".to_owned(),
        }
    }
}

fn ends(steps: &[Step]) -> bool {
    let (mut at, mut held) = (0, None);
    let mut counters: HashMap<char, u64> = HashMap::new();
    for _ in 0..5_000 {
        let Some(step) = steps.get(at) else { return true };
        at += 1;
        match step {
            Step::Count(name, by) => *counters.entry(*name).or_default() += by,
            Step::Set(name, number) => drop(counters.insert(*name, *number)),
            Step::JumpIf(name, number, to) if counters.get(name) == Some(number) => at = *to,
            Step::JumpUnless(name, number, to) if counters.get(name) != Some(number) => at = *to,
            Step::JumpIf(..) | Step::JumpUnless(..) => {}
            Step::Jump(to) => at = *to,
            Step::Hold(to) => held = Some(*to),
            Step::JumpToHeld => match held {
                Some(to) => at = to,
                None => return true,
            },
        }
    }
    false
}

fn step() -> impl Strategy<Value = Step> {
    let (name, to) = (prop::sample::select(vec!['n', 'm']), 0..10_usize);
    prop_oneof![
        3 => (name.clone(), 1..3_u64).prop_map(|(name, by)| Step::Count(name, by)),
        1 => (name.clone(), 0..6_u64).prop_map(|(name, number)| Step::Set(name, number)),
        3 => (name.clone(), 0..9_u64, to.clone()).prop_map(|(name, number, to)| Step::JumpIf(name, number, to)),
        1 => (name, 0..9_u64, to.clone()).prop_map(|(name, number, to)| Step::JumpUnless(name, number, to)),
        2 => to.clone().prop_map(Step::Jump),
        1 => to.prop_map(Step::Hold),
        1 => Just(Step::JumpToHeld),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn a_script_that_runs_for_ever_is_never_called_good(steps in prop::collection::vec(step(), 10)) {
        let lines: Vec<String> = steps.iter().enumerate().map(|(at, step)| format!(":l{at}\n{}", step.line())).collect();
        let text = format!("#!ipxe\n{}\n", lines.join("\n"));
        prop_assert!(ends(&steps) || !lint(&text).is_empty(), "{}", text);
    }
}
