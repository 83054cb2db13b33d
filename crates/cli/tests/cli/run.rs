//! Runs the binary in a folder of its own, without anything of the surrounding environment.

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Longest wait for anything, on the slowest machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A folder that is gone with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let n = LAST.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("metalform-cli-test-{}-{n}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and says where.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The documents on standard output.
    pub fn documents(&self) -> Vec<Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}\n{}", self.stderr));
        self.stdout.lines().map(read).collect()
    }

    /// The only document.
    pub fn document(&self) -> Value {
        let mut documents = self.documents();
        assert_eq!(documents.len(), 1, "{}", self.stdout);
        documents.remove(0)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().expect("ended by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The binary with these arguments, in `folder`.
pub fn command(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metalform"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METALFORM_")) {
        command.env_remove(name);
    }
    command.args(args).current_dir(folder.path()).env("COLUMNS", "100").stdin(Stdio::null());
    command
}

/// Runs it to its end in an empty folder.
pub fn metalform(args: &[&str]) -> Ran {
    command(&Folder::new(), args).output().unwrap().into()
}

/// The same, with a text on standard input.
pub fn metalform_reads(args: &[&str], text: &str) -> Ran {
    let folder = Folder::new();
    let mut command = command(&folder, args);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

/// Something that runs until it is told to stop. Told so at the latest when the test ends, also badly.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Arc<Mutex<Vec<String>>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Running {
    /// Starts it. What it says on either stream comes line by line.
    pub fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (tx, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let readers = streams.map(|stream| {
            let (tx, said) = (tx.clone(), said.clone());
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    said.lock().unwrap().push(line.clone());
                    // Whoever waits for a line may be gone; it is kept all the same.
                    let _ = tx.send(line);
                }
            })
        });
        let readers = readers.into();
        Running { child, lines, said, readers }
    }

    /// Waits for a line that begins so, and gives what follows.
    pub fn said(&self, beginning: &str) -> String {
        let mut heard = Vec::new();
        loop {
            let line =
                self.lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{beginning:?} never came: {heard:#?}"));
            match line.strip_prefix(beginning) {
                Some(rest) => return rest.to_owned(),
                None => heard.push(line),
            }
        }
    }

    /// Waits for a line with that in it.
    pub fn told(&self, part: &str) {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|line: &String| line.contains(part)) {
            let line = self.lines.recv_timeout(LIMIT);
            heard.push(line.unwrap_or_else(|_| panic!("{part:?} never came: {heard:#?}")));
        }
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(self, signal: &str) -> i32 {
        self.signal(signal);
        self.ended()
    }

    /// Asks it to stop and gives all it ever said, on either stream.
    pub fn stop_and_tell(mut self, signal: &str) -> String {
        self.signal(signal);
        self.child.wait().unwrap();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        self.said.lock().unwrap().join("\n")
    }

    /// Waits for its exit code.
    pub fn ended(mut self) -> i32 {
        self.child.wait().unwrap().code().expect("ended by the signal itself")
    }

    /// Waits until it was ended by a signal, its own or another's.
    pub fn died(&mut self) {
        let status = (0..LIMIT.as_millis() / 20).find_map(|_| {
            let status = self.child.try_wait().unwrap();
            status.is_none().then(|| thread::sleep(Duration::from_millis(20)));
            status
        });
        let status = status.unwrap_or_else(|| panic!("it lives on: {:#?}", self.heard()));
        assert_eq!(status.code(), None, "it ended by itself: {:#?}", self.heard());
    }

    /// What it has said and nobody has waited for.
    fn heard(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    pub fn signal(&self, signal: &str) {
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal("-TERM");
            let _ = self.child.wait();
        }
    }
}
