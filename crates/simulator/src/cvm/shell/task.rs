//! A running script: what is left of it, and where its input and output go. It is data, so it can wait for something that
//! takes time and be taken up again, and so the whole world can be copied to see how it ends.

use super::{
    commands,
    files::absolute,
    network, parser,
    syntax::{Command, Item, Junction, List, Pipeline, Redirection, RedirectionKind, Refused},
    words,
};
use crate::{
    cvm::{Fleet, command::Operation, system::Place},
    fault::Faults,
};
use metalform_model::Timestamp;
use std::collections::VecDeque;

/// Output or error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// Whether something has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// Not yet; look again then.
    Wait(Timestamp),
    /// With this status.
    Ended(u32),
}

/// A program that takes time.
#[derive(Debug, Clone)]
pub enum Running {
    /// Does nothing but end then, with this status.
    Until(Timestamp, u32),
    /// A `cluster` command.
    Cluster(Operation),
}

/// What a script runs in.
pub struct Cx<'a> {
    pub fleet: &'a mut Fleet,
    pub faults: &'a mut Faults,
    pub now: Timestamp,
    /// The system it runs on.
    pub place: &'a Place,
    pub user: &'a str,
    /// The request whose channel its output may go to.
    pub exec: u64,
}

#[derive(Debug, Clone)]
enum Sink {
    Null,
    Channel(Stream),
    File(String),
    Pipe(usize),
}

#[derive(Debug, Clone)]
struct Input {
    /// What has not been read. Nothing more will come.
    bytes: Vec<u8>,
    is_terminal: bool,
}

impl Input {
    fn of(bytes: Vec<u8>) -> Self {
        Input { bytes, is_terminal: false }
    }
}

#[derive(Debug, Clone)]
enum Frame {
    List(VecDeque<Item>),
    Junctions(VecDeque<(Junction, Pipeline)>),
    Pipeline(VecDeque<Command>),
    /// The first of a pipeline has ended; then the rest, with its output as input.
    Piped(VecDeque<Command>, Sink),
    /// Redirections end.
    Restore(Option<Input>, Option<Sink>, Option<Sink>),
    /// A shell ends: its working directory and mask with it.
    Shell(String, u32),
    /// What runs above is killed then.
    Timeout(Timestamp),
    /// The script makes no sense here; that is said.
    Refuse(Refused),
}

/// A running script.
#[derive(Debug, Clone)]
pub struct Task {
    frames: Vec<Frame>,
    input: Input,
    out: Sink,
    err: Sink,
    pipes: Vec<Vec<u8>>,
    running: Option<Running>,
    pub(super) cwd: String,
    pub(super) umask: u32,
    pub(super) status: u32,
    pub(super) background: Option<u32>,
    /// It goes on when the connection it was started over is cut.
    pub(super) survives_hangup: bool,
}

impl Task {
    /// A login shell's `-c`.
    pub fn new(home: &str, command: &str, stdin: Vec<u8>, is_terminal: bool) -> Self {
        let mut task = Task {
            frames: Vec::new(),
            input: Input { bytes: stdin, is_terminal },
            out: Sink::Channel(Stream::Out),
            err: Sink::Channel(Stream::Err),
            pipes: Vec::new(),
            running: None,
            cwd: home.to_owned(),
            umask: 0o022,
            status: 0,
            background: None,
            survives_hangup: false,
        };
        task.frames.push(match parser::parse(command) {
            Ok(list) => Frame::List(list.into()),
            Err(refused) => Frame::Refuse(refused),
        });
        task
    }

    pub fn survives_hangup(&self) -> bool {
        self.survives_hangup
    }

    /// Whether its input is a terminal.
    pub fn has_terminal(&self) -> bool {
        self.input.is_terminal
    }

    /// Whether anything it may still write goes to the connection it was started over. What a redirection will put back
    /// counts only if something is to run after it: nobody keeps a descriptor open for nothing.
    pub fn holds_channel(&self) -> bool {
        let is_channel = |sink: &Sink| matches!(sink, Sink::Channel(_));
        let mut something_follows = false;
        let mut holds = is_channel(&self.out) || is_channel(&self.err);
        for frame in &self.frames {
            match frame {
                Frame::Restore(_, out, err) => holds |= something_follows && out.iter().chain(err).any(is_channel),
                Frame::Piped(_, out) => {
                    holds |= is_channel(out);
                    something_follows = true;
                }
                Frame::List(rest) => something_follows |= !rest.is_empty(),
                Frame::Junctions(rest) => something_follows |= !rest.is_empty(),
                Frame::Pipeline(rest) => something_follows |= !rest.is_empty(),
                Frame::Shell(..) | Frame::Timeout(_) | Frame::Refuse(_) => {}
            }
        }
        holds
    }

    /// Goes on until something takes time.
    pub fn run(&mut self, cx: &mut Cx<'_>) -> Poll {
        loop {
            if let Some(mut running) = self.running.take() {
                let poll = match &mut running {
                    Running::Until(at, status) if *at <= cx.now => Poll::Ended(*status),
                    Running::Until(at, _) => Poll::Wait(*at),
                    Running::Cluster(operation) => operation.poll(cx, self),
                };
                match poll {
                    Poll::Ended(status) => self.status = status,
                    Poll::Wait(at) => {
                        let limit = self.deadline();
                        if limit > cx.now {
                            self.running = Some(running);
                            return Poll::Wait(at.min(limit));
                        }
                        self.time_out(limit);
                    }
                }
                continue;
            }
            match self.frames.pop() {
                None => return Poll::Ended(self.status),
                Some(frame) => self.step(cx, frame),
            }
        }
    }

    fn step(&mut self, cx: &mut Cx<'_>, frame: Frame) {
        match frame {
            Frame::List(mut items) => {
                let Some(item) = items.pop_front() else { return };
                self.frames.push(Frame::List(items));
                if item.background {
                    self.start_in_background(cx, item);
                } else {
                    // The first runs whatever was before, and may ask how that ended.
                    let mut rest: VecDeque<_> = item.pipelines.into();
                    let first = rest.pop_front();
                    self.frames.push(Frame::Junctions(rest));
                    self.frames.extend(first.map(|(_, pipeline)| Frame::Pipeline(pipeline.into())));
                }
            }
            Frame::Junctions(mut rest) => {
                let Some((junction, pipeline)) = rest.pop_front() else { return };
                self.frames.push(Frame::Junctions(rest));
                if (junction == Junction::And) == (self.status == 0) {
                    self.frames.push(Frame::Pipeline(pipeline.into()));
                }
            }
            Frame::Pipeline(mut commands) => {
                let Some(first) = commands.pop_front() else { return };
                if !commands.is_empty() {
                    self.pipes.push(Vec::new());
                    let out = std::mem::replace(&mut self.out, Sink::Pipe(self.pipes.len() - 1));
                    self.frames.push(Frame::Piped(commands, out));
                }
                self.start(cx, first);
            }
            Frame::Piped(rest, out) => {
                let bytes = self.pipes.pop().unwrap_or_default();
                self.out = out;
                let input = std::mem::replace(&mut self.input, Input::of(bytes));
                self.frames.push(Frame::Restore(Some(input), None, None));
                self.frames.push(Frame::Pipeline(rest));
            }
            Frame::Refuse(refused) => self.refuse(cx, &refused),
            frame => self.undo(frame),
        }
    }

    fn refuse(&mut self, cx: &mut Cx<'_>, Refused(what): &Refused) {
        self.say(cx, Stream::Err, &format!("sh: {what}: not simulated"));
        self.status = 2;
    }

    /// What a frame that ends, or is left early, puts back.
    fn undo(&mut self, frame: Frame) {
        match frame {
            Frame::Restore(input, out, err) => {
                self.input = input.unwrap_or_else(|| std::mem::replace(&mut self.input, Input::of(Vec::new())));
                self.out = out.unwrap_or_else(|| self.out.clone());
                self.err = err.unwrap_or_else(|| self.err.clone());
            }
            Frame::Piped(_, out) => {
                self.pipes.pop();
                self.out = out;
            }
            Frame::Shell(cwd, umask) => (self.cwd, self.umask) = (cwd, umask),
            Frame::List(_) | Frame::Junctions(_) | Frame::Pipeline(_) | Frame::Timeout(_) | Frame::Refuse(_) => {}
        }
    }

    /// `exit`: leaves the innermost shell.
    pub(super) fn exit(&mut self) {
        while let Some(frame) = self.frames.pop() {
            let is_shell = matches!(frame, Frame::Shell(..));
            self.undo(frame);
            if is_shell {
                return;
            }
        }
    }

    fn deadline(&self) -> Timestamp {
        let limits = self.frames.iter().filter_map(|frame| match frame {
            Frame::Timeout(at) => Some(*at),
            _ => None,
        });
        limits.min().unwrap_or(Timestamp::NEVER)
    }

    fn time_out(&mut self, limit: Timestamp) {
        while let Some(frame) = self.frames.pop() {
            let is_it = matches!(frame, Frame::Timeout(at) if at == limit);
            self.undo(frame);
            if is_it {
                break;
            }
        }
        self.status = 124;
    }

    pub(super) fn push_timeout(&mut self, at: Timestamp) {
        self.frames.push(Frame::Timeout(at));
    }

    /// `sh -c`.
    pub(super) fn push_shell(&mut self, text: &str) -> Result<(), Refused> {
        let list = parser::parse(text)?;
        self.frames.push(Frame::Shell(self.cwd.clone(), self.umask));
        self.frames.push(Frame::List(list.into()));
        Ok(())
    }

    /// A program has ended with this status.
    pub fn end(&mut self, status: u32) {
        self.status = status;
    }

    pub fn wait_for(&mut self, running: Running) {
        self.running = Some(running);
    }

    fn start_in_background(&mut self, cx: &mut Cx<'_>, item: Item) {
        let junctions = Frame::Junctions(item.pipelines.into());
        let task = Task {
            frames: vec![junctions],
            // A background command of a shell without job control reads nothing.
            input: Input::of(Vec::new()),
            pipes: Vec::new(),
            running: None,
            status: 0,
            background: None,
            ..self.clone()
        };
        self.background = Some(cx.fleet.spawn(cx.now, cx.place, cx.user, cx.exec, task));
        self.status = 0;
    }

    fn start(&mut self, cx: &mut Cx<'_>, command: Command) {
        let result = match command {
            Command::Group(list, redirections) => self.redirect(cx, &redirections).map(|is_open| {
                if is_open {
                    self.frames.push(Frame::List(list.into()));
                }
            }),
            Command::Simple(words, redirections) => self.start_simple(cx, &words, &redirections),
        };
        if let Err(refused) = result {
            self.refuse(cx, &refused);
        }
    }

    fn start_simple(
        &mut self,
        cx: &mut Cx<'_>,
        words: &[super::syntax::Word],
        redirections: &[Redirection],
    ) -> Result<(), Refused> {
        let argv = words::expand(self, cx, words)?;
        if let ([], [Redirection { kind: RedirectionKind::From(target), .. }]) = (&argv[..], redirections) {
            let path = words::expand(self, cx, std::slice::from_ref(target))?.concat();
            if let Some(to) = path.strip_prefix("/dev/tcp/") {
                return network::connect(self, cx, to);
            }
        }
        if self.redirect(cx, redirections)? && !argv.is_empty() {
            commands::start(self, cx, &argv)?;
        }
        Ok(())
    }

    /// `false`: a file can't be opened; that has been said.
    fn redirect(&mut self, cx: &mut Cx<'_>, redirections: &[Redirection]) -> Result<bool, Refused> {
        if redirections.is_empty() {
            return Ok(true);
        }
        let (mut input, mut out, mut err) = (self.input.clone(), self.out.clone(), self.err.clone());
        for Redirection { fd, kind } in redirections {
            let (target, truncate) = match kind {
                RedirectionKind::Like(like) => {
                    let sink = if *like == 1 { out.clone() } else { err.clone() };
                    *(if *fd == 1 { &mut out } else { &mut err }) = sink;
                    continue;
                }
                RedirectionKind::From(target) => (target, false),
                RedirectionKind::To(target) => (target, true),
                RedirectionKind::Append(target) => (target, false),
            };
            let path = words::expand(self, cx, std::slice::from_ref(target))?.concat();
            let path = absolute(&self.cwd, &path);
            let opened = if matches!(kind, RedirectionKind::From(_)) {
                cx.read(&path).map(|bytes| input = Input::of(bytes))
            } else if path == "/dev/null" {
                *(if *fd == 1 { &mut out } else { &mut err }) = Sink::Null;
                Ok(())
            } else {
                let umask = self.umask;
                cx.files().open(&path, truncate, umask).map(|()| {
                    *(if *fd == 1 { &mut out } else { &mut err }) = Sink::File(path.clone());
                })
            };
            if let Err(errno) = opened {
                self.say(cx, Stream::Err, &format!("bash: {path}: {errno}"));
                self.status = 1;
                return Ok(false);
            }
        }
        // Input that is not redirected is not put back either: what is read stays read.
        let reads = redirections.iter().any(|each| matches!(each.kind, RedirectionKind::From(_)));
        let was = reads.then(|| std::mem::replace(&mut self.input, input));
        let out = std::mem::replace(&mut self.out, out);
        let err = std::mem::replace(&mut self.err, err);
        self.frames.push(Frame::Restore(was, Some(out), Some(err)));
        Ok(true)
    }

    /// Runs a script to its end here and now, for `$(…)`.
    pub(super) fn output_of(&mut self, cx: &mut Cx<'_>, list: &List) -> Result<(String, u32), Refused> {
        let err = match &self.err {
            Sink::Pipe(_) => Sink::Null,
            other => other.clone(),
        };
        let mut inner = Task {
            frames: vec![Frame::List(list.clone().into())],
            out: Sink::Pipe(0),
            pipes: vec![Vec::new()],
            err,
            running: None,
            status: 0,
            ..self.clone()
        };
        match inner.run(cx) {
            Poll::Wait(_) => Err(Refused("a long command inside of $(…)".into())),
            Poll::Ended(status) => {
                let bytes = inner.pipes.pop().unwrap_or_default();
                Ok((String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned(), status))
            }
        }
    }

    /// A line of input; `None` at its end.
    pub fn read_line(&mut self) -> Option<String> {
        if self.input.bytes.is_empty() {
            return None;
        }
        let end = self.input.bytes.iter().position(|byte| *byte == b'\n').map_or(self.input.bytes.len(), |at| at + 1);
        let line: Vec<u8> = self.input.bytes.drain(..end).collect();
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// All the input that is left.
    pub(super) fn read_all(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input.bytes)
    }

    pub fn write(&mut self, cx: &mut Cx<'_>, stream: Stream, bytes: &[u8]) {
        match if stream == Stream::Out { &self.out } else { &self.err } {
            Sink::Null => {}
            Sink::Channel(channel) => cx.fleet.write_channel(cx.exec, *channel, bytes),
            Sink::File(path) => {
                let path = path.clone();
                cx.files().append(&path, bytes);
            }
            Sink::Pipe(index) => {
                if let Some(pipe) = self.pipes.get_mut(*index) {
                    pipe.extend_from_slice(bytes);
                }
            }
        }
    }

    /// A line.
    pub fn say(&mut self, cx: &mut Cx<'_>, stream: Stream, line: &str) {
        self.write(cx, stream, format!("{line}\n").as_bytes());
    }
}
