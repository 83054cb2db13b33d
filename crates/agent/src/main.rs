//! `metalform-agent`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    metalform_agent::cli::run(&words, std::process::id() == 1)
}
