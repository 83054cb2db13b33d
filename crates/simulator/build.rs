//! Links `metalform-simulated-cvm` statically, in the way of the agent: it runs where the agent runs.

#[path = "../agent/static_link.rs"]
mod static_link;

fn main() {
    static_link::link_programs("metalform-simulated-cvm");
}
