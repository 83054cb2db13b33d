//! Whether the kernel that a script starts is given the pin of our authority, and our agent that goes by it.
//!
//! Who is told what over TLS depends on it, so it is not a question of the text: a pin in a comment, or on a line that no way leads
//! to, is none. Followed is which arguments the kernel has at each `boot`: those of the last `kernel` or `imgargs` that went well.
//! Where it would depend on the way, nobody could say what a machine does, and the template is faulty. What a script `chain`s
//! is its own business: it gets nothing in the clear by a pin that it doesn't have.

use super::{commands::Command, fault::TemplateFault, flow::Flow};
use std::collections::{BTreeSet, HashSet};

const PIN: &str = "{{ca_sha256}}";
const AGENT: &str = "{{agent_init}}";
/// As it stands in a script; only a place makes it.
const WORD: &str = "ca_sha256=";

/// The kernel as it stands: its image's name, where that is known, and whether its arguments pin.
type Kernel<'a> = Option<(Option<&'a str>, bool)>;

/// Whether what is booted is always pinned. Faults, where that depends on the way, or a place stands where it pins nothing.
pub(super) fn pins(flow: &Flow) -> (bool, Vec<(usize, TemplateFault)>) {
    let mut faults = Vec::new();
    for line in &flow.lines {
        let found = line.commands.iter().filter_map(fault_of);
        faults.extend(found.map(|fault| (line.number, fault)));
    }
    let mut pinned: BTreeSet<bool> = BTreeSet::new();
    for (at, kernels) in kernels_at(flow).iter().enumerate() {
        if matches!(flow.command(at).name(), "boot" | "imgexec") {
            let booted: BTreeSet<bool> = kernels.iter().flatten().map(|(_, is_pinned)| *is_pinned).collect();
            pinned.extend(&booted);
            if booted.len() > 1 {
                faults.push((flow.line_number(at), TemplateFault::PinDepends));
            }
        }
    }
    // Of two `boot`s the one may pin and the other not: neither depends on the way, and what a machine does all the same.
    if pinned.len() > 1 && !faults.iter().any(|(_, fault)| matches!(fault, TemplateFault::PinDepends)) {
        let last = flow.places().filter(|at| flow.command(*at).name() == "boot").map(|at| flow.line_number(at)).max();
        faults.push((last.unwrap_or(1), TemplateFault::PinDepends));
    }
    (pinned.into_iter().eq([true]), faults)
}

/// What is wrong with a command by itself.
fn fault_of(command: &Command) -> Option<TemplateFault> {
    let words = command.words.as_slice();
    let has = |place: &str| words.iter().any(|word| word.contains(place));
    if has(WORD) {
        return Some(TemplateFault::PinWritten);
    }
    if !has(PIN) {
        return None;
    }
    let (_, rest) = command.options();
    let arguments = rest.get(1..).unwrap_or_default();
    let is_kernels = matches!(command.name(), "kernel" | "imgargs");
    let elsewhere = words.iter().filter(|word| word.contains(PIN)).count()
        != arguments.iter().filter(|word| word.contains(PIN)).count();
    let ends_word = arguments.iter().all(|word| ends_with_places(word));
    if !is_kernels || elsewhere || !ends_word {
        Some(TemplateFault::MisplacedPlace(PIN.to_owned()))
    } else if !starts_agent(arguments) {
        Some(TemplateFault::PinWithoutAgent)
    } else {
        None
    }
}

/// Nothing may stand directly behind such a place: it would become a part of its value.
fn ends_with_places(word: &str) -> bool {
    let Some(first) = [PIN, AGENT].iter().filter_map(|place| word.find(place)).min() else { return true };
    let mut rest = &word[first..];
    while let Some(after) = [PIN, AGENT].iter().find_map(|place| rest.strip_prefix(place)) {
        rest = after;
    }
    rest.is_empty()
}

fn starts_agent(arguments: &[String]) -> bool {
    arguments.iter().any(|word| word.contains(AGENT) || word == "rdinit=/metalform/init")
}

/// What the kernel may be at each place, before its command runs.
fn kernels_at(flow: &Flow) -> Vec<HashSet<Kernel<'_>>> {
    let mut at_each = vec![HashSet::new(); flow.places().count()];
    let mut left: Vec<(usize, Kernel<'_>)> = flow.entries().iter().map(|at| (*at, None)).collect();
    while let Some((at, kernel)) = left.pop() {
        if !at_each[at].insert(kernel) {
            continue;
        }
        let (command, (well, failed)) = (flow.command(at), flow.leads_to(at));
        // A jump to what a person chooses may lead to every entry.
        if command.name() == "goto" && well.is_none() {
            left.extend(flow.entries().iter().map(|to| (*to, kernel)));
        }
        left.extend(failed.map(|to| (to, kernel)));
        if let Some(to) = well {
            left.extend(after(command, kernel).into_iter().flatten().map(|kernel| (to, kernel)));
        }
    }
    at_each
}

/// The kernel behind a command that went well; two where nobody knows.
fn after<'a>(command: &'a Command, kernel: Kernel<'a>) -> [Option<Kernel<'a>>; 2] {
    let (_, rest) = command.options();
    let arguments = rest.get(1..).unwrap_or_default();
    let is_pinned = arguments.iter().any(|word| word.contains(PIN)) && starts_agent(arguments);
    let named = rest.first().map(String::as_str).filter(|name| !name.contains("${") && !name.contains("{{"));
    match (command.name(), kernel) {
        ("kernel", _) => [Some(Some((command.image_name(), is_pinned))), None],
        ("imgfree", _) if command.arguments().is_empty() => [Some(None), None],
        ("imgargs", None) => [Some(Some((named, is_pinned))), None],
        ("imgargs", Some((name, before))) => match (name, named) {
            (Some(name), Some(named)) if name == named => [Some(Some((Some(name), is_pinned))), None],
            (Some(_), Some(_)) => [Some(kernel), None],
            _ => [Some(Some((name, before))), Some(Some((name, is_pinned)))],
        },
        // Another image is the one that `boot` starts, and has no arguments of a kernel.
        ("imgselect", Some((name, _))) if named != name || named.is_none() => {
            [Some(Some((named, false))), Some(kernel)]
        }
        _ => [Some(kernel), None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::lint;
    use proptest::prelude::*;

    const PINNED: &str = "kernel http://h/k initrd=i{{agent_init}}{{ca_sha256}} x=1";

    fn check(lines: &str) -> (bool, Vec<String>) {
        let text = format!("#!ipxe\n{lines}");
        let (pins, _) = pins(&Flow::read(&text));
        (pins, lint(&text).into_iter().map(|(line, fault)| format!("{line}: {fault}")).collect())
    }

    #[test]
    fn a_pin_is_one_where_the_kernel_that_is_booted_has_it_with_the_agent() {
        let initrd = "initrd http://h/i || exit 1\nboot || exit 1\n";
        for (lines, pins) in [
            (format!("{PINNED} || exit 1\n{initrd}"), true),
            (format!("kernel http://h/k initrd=i{{{{agent_init}}}} || exit 1\n{initrd}"), false),
            (format!("# {{{{ca_sha256}}}}{{{{agent_init}}}}\nkernel http://h/k initrd=i || exit 1\n{initrd}"), false),
            (format!("kernel http://h/k initrd=i || exit 1 # {{{{ca_sha256}}}}\n{initrd}"), false),
            // No way leads to it.
            (format!("goto b\n{PINNED} || exit 1\n:b\nkernel http://h/k initrd=i || exit 1\n{initrd}"), false),
            (
                format!(
                    "kernel http://h/k || exit 1\nimgargs k initrd=i{{{{agent_init}}}}{{{{ca_sha256}}}} || exit 1\n{initrd}"
                ),
                true,
            ),
            (format!("{PINNED} || exit 1\nimgargs k initrd=i || exit 1\n{initrd}"), false),
            (format!("{PINNED} || exit 1\nimgargs i initrd=i || exit 1\n{initrd}"), true),
        ] {
            assert_eq!(check(&lines).0, pins, "{lines}");
        }
        assert_eq!(check(&format!("{PINNED} || exit 1\n{initrd}")), (true, vec![]));
    }

    #[test]
    fn a_place_that_pins_nothing_and_a_pin_that_depends_on_the_way_are_faults() {
        let rest = "initrd http://h/i || exit 1\nboot || exit 1\n";
        let plain = "kernel http://h/k initrd=i";
        for (lines, fault) in [
            (format!("{plain}{{{{ca_sha256}}}} || exit 1\n{rest}"), "2: the pin stands on a line that starts no agent"),
            (format!("echo {{{{ca_sha256}}}}\n{plain} || exit 1\n{rest}"), "2: `{{ca_sha256}}` can't stand here"),
            (format!("set a {{{{ca_sha256}}}}\n{plain} || exit 1\n{rest}"), "2: `{{ca_sha256}}` can't stand here"),
            (
                format!("{plain}{{{{agent_init}}}}{{{{ca_sha256}}}}0 || exit 1\n{rest}"),
                "2: `{{ca_sha256}}` can't stand here",
            ),
            (format!("{plain} ca_sha256=00 || exit 1\n{rest}"), "2: the pin is written out"),
            (format!("{PINNED} || {plain} || exit 1\n{rest}"), "4: whether the kernel has the pin depends on the way"),
        ] {
            let (_, faults) = check(&lines);
            assert!(faults.iter().any(|told| told == fault), "{lines}: {faults:?}");
        }
    }

    /// What a line of the scripts below does, told apart from how the reader of scripts sees it.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Kernel(bool),
        Args(bool),
        Free,
        Ask,
        Boot,
        Comment,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            any::<bool>().prop_map(Act::Kernel),
            any::<bool>().prop_map(Act::Args),
            Just(Act::Free),
            Just(Act::Ask),
            Just(Act::Boot),
            Just(Act::Comment),
        ]
    }

    proptest! {
        /// Random scripts, run with random luck: what the verdict says of all ways holds on this one.
        #[test]
        fn what_is_booted_is_what_the_verdict_says(
            acts in prop::collection::vec((act(), 0usize..8), 1..8),
            luck in prop::collection::vec(any::<bool>(), 40),
        ) {
            let places = |pinned: bool| if pinned { "{{agent_init}}{{ca_sha256}}" } else { "{{agent_init}}" };
            let mut text = "#!ipxe\n".to_owned();
            for (n, (act, to)) in acts.iter().enumerate() {
                let to = to % (acts.len() + 1);
                text += &match act {
                    Act::Kernel(pinned) => format!(":l{n}\nkernel http://h/k a{} || goto l{to}\n", places(*pinned)),
                    Act::Args(pinned) => format!(":l{n}\nimgargs k a{} || goto l{to}\n", places(*pinned)),
                    Act::Free => format!(":l{n}\nimgfree\n"),
                    Act::Ask => format!(":l{n}\nprompt && goto l{to} ||\n"),
                    Act::Boot => format!(":l{n}\nboot || goto l{to}\n"),
                    Act::Comment => format!(":l{n}\n# {}\n", places(true)),
                };
            }
            text += &format!(":l{}\nexit 0\n", acts.len());
            let (pins, faults) = pins(&Flow::read(&text));

            let (mut at, mut kernel, mut booted) = (0, None, Vec::new());
            for well in luck {
                let Some((act, to)) = acts.get(at) else { break };
                let to = to % (acts.len() + 1);
                let next = at + 1;
                at = match act {
                    Act::Kernel(pinned) if well => { kernel = Some(*pinned); next }
                    // Without an image there is none that could be given arguments.
                    Act::Args(pinned) if well && kernel.is_some() => { kernel = Some(*pinned); next }
                    Act::Kernel(_) | Act::Args(_) => to,
                    Act::Free => { kernel = None; next }
                    Act::Ask => if well { to } else { next },
                    Act::Boot => { booted.extend(kernel); to }
                    Act::Comment => next,
                };
            }
            if faults.is_empty() {
                prop_assert!(booted.iter().all(|pinned| *pinned == pins), "{pins} {booted:?}\n{text}");
            }
        }
    }
}
