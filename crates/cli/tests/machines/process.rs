//! A program that ends with the test, however the test ends.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// A started program; stopped when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with everything it says in `folder/name.log`.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Process {
        let log = folder.join(format!("{name}.log"));
        let file = || File::options().create(true).append(true).open(&log).expect("the log can be written");
        command.stdin(Stdio::null()).stdout(file()).stderr(file());
        Process::spawn(name, log.clone(), command)
    }

    /// The same, and waits for the first line it writes to standard output.
    pub fn start_and_read_line(name: &str, folder: &Path, command: &mut Command, limit: Duration) -> (Process, String) {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).expect("the log can be written");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut process = Process::spawn(name, log, command);
        let stdout = process.child.stdout.take().expect("it was piped");
        let (sender, first_line) = mpsc::channel();
        // Goes on reading to the end, so that the program never waits for a reader.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        match first_line.recv_timeout(limit) {
            Ok(line) => (process, line),
            Err(error) => panic!("{name} said nothing within {limit:?} ({error}):\n{}", process.last_lines(20)),
        }
    }

    fn spawn(name: &str, log: PathBuf, command: &mut Command) -> Process {
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("METALFORM_") {
                command.env_remove(variable);
            }
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}: {command:?}"));
        Process { name: name.to_owned(), child, log }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it said.
    pub fn last_lines(&self, count: usize) -> String {
        last_lines(&self.log, count)
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "for the reader of the failed test")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the end of {} ({})\n{}", self.name, self.log.display(), self.last_lines(60));
        }
    }
}

/// The last lines of a file, without a terminal's escape codes.
pub fn last_lines(file: &Path, count: usize) -> String {
    last_lines_of(&String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()), count)
}

/// The last lines of a text, without a terminal's escape codes.
pub fn last_lines_of(text: &str, count: usize) -> String {
    let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
