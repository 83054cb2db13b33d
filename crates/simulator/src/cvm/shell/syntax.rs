//! What a script is made of.

/// What a shell does not take: not in POSIX either, or not simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

/// Commands one after another.
pub type List = Vec<Item>;

/// An and-or list, in the foreground or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The first one's junction has no meaning.
    pub pipelines: Vec<(Junction, Pipeline)>,
    pub background: bool,
}

/// When a pipeline runs, by the status of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Junction {
    And,
    Or,
}

/// Each one's output is the next one's input.
pub type Pipeline = Vec<Command>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program with arguments; without words it is its redirections alone.
    Simple(Vec<Word>, Vec<Redirection>),
    /// `{ …; }`
    Group(List, Vec<Redirection>),
}

/// Pieces that are written without a space between.
pub type Word = Vec<Piece>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Plain(String),
    /// Inside quotes: never empty-handed, never split.
    Quoted(String),
    /// `$?`
    Status,
    /// `$!`
    Background,
    /// `$(…)`; `true`: inside double quotes.
    Output(List, bool),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirection {
    /// 0, 1 or 2.
    pub fd: u8,
    pub kind: RedirectionKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectionKind {
    /// `<`
    From(Word),
    /// `>`
    To(Word),
    /// `>>`
    Append(Word),
    /// `2>&1`
    Like(u8),
}
