//! Links the agent statically, and for release without the names of its functions: a quarter of the program, for a backtrace
//! that no machine shows.

mod static_link;

fn main() {
    static_link::link_programs("metalform-agent");
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
}
