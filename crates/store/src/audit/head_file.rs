//! `audit.heads`: the signed heads outside of the database, a JSON document a line. Whoever cuts the end off the audit in
//! the database has this file against them.
//!
//! A head is on the disk before the table has it. After a crash the last line may be there in part: it says nothing then,
//! and the next head is written over it.

use super::{head::AuditHead, heads::AuditHeadError};
use std::{
    fs::File,
    io::ErrorKind,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Its name in the data folder.
pub(super) const HEADS_FILE: &str = "audit.heads";

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct HeadLines {
    pub heads: Vec<AuditHead>,
    /// The first line that is no head, from 1.
    pub bad_line: Option<usize>,
    /// Bytes up to the end of the last whole line.
    pub whole: u64,
}

/// Reads it as it is. No file holds no heads.
pub(super) fn read(folder: &Path) -> Result<HeadLines, AuditHeadError> {
    let path = folder.join(HEADS_FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HeadLines::default()),
        Err(source) => return Err(AuditHeadError::File { doing: "read", path, source }),
    };
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut read = HeadLines { whole: end as u64, ..HeadLines::default() };
    for (n, line) in text[..end].split_inclusive(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(head) => read.heads.push(head),
            Err(_) => read.bad_line = read.bad_line.or(Some(n + 1)),
        }
    }
    Ok(read)
}

/// The file, open for what comes next.
#[derive(Debug)]
pub(super) struct HeadFile {
    path: PathBuf,
    file: File,
    /// Where the next head goes.
    end: u64,
}

impl HeadFile {
    /// Opens it behind its last whole line, making it if needed.
    pub fn open(folder: &Path, whole: u64) -> Result<HeadFile, AuditHeadError> {
        let path = folder.join(HEADS_FILE);
        let opened = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened
            .and_then(|file| file.set_len(whole).map(|()| file))
            // Its name, too, must be there after a power cut.
            .and_then(|file| File::open(folder)?.sync_all().map(|()| file));
        match file {
            Ok(file) => Ok(HeadFile { path, file, end: whole }),
            Err(source) => Err(AuditHeadError::File { doing: "open", path, source }),
        }
    }

    /// Adds a head. On the disk when this returns. What a failure leaves behind is written over by the next.
    pub fn add(&mut self, head: &AuditHead) -> Result<(), AuditHeadError> {
        let failed = |source| AuditHeadError::File { doing: "write", path: self.path.clone(), source };
        let mut line = serde_json::to_vec(head).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let written = self.file.set_len(self.end).and_then(|()| self.file.write_all_at(&line, self.end));
        written.and_then(|()| self.file.sync_data()).map_err(failed)?;
        self.end += line.len() as u64;
        Ok(())
    }
}
