//! Links the agent statically.

mod static_link;

fn main() {
    static_link::link_programs("metalform-agent");
}
