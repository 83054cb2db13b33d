//! Image files into memory, compared with the manifest as they come. A connection that breaks is taken up where it broke;
//! a file that isn't what the manifest says is fetched again from its beginning, three times in all.

use crate::{boot_plane::BootPlane, boot_plane::PlaneError, clock::Clock, limits::Limits};
use metalform_model::ImageFile;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

const TRIES: u32 = 3;

/// Why a file is not there.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Refused for good, or nothing came for too long.
    #[error("{name} can't be fetched")]
    Unavailable {
        /// The file.
        name: String,
        /// What the last call met.
        source: PlaneError,
    },
    /// It came, and it is another.
    #[error("{name} is not the file of the manifest, {TRIES} times over: {was}")]
    Wrong {
        /// The file.
        name: String,
        /// What differs.
        was: String,
    },
    /// No room, or no memory.
    #[error("{path} can't be written")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody said that it need not go on.
    #[error("it is no longer wanted: {0}")]
    Stopped(String),
}

/// What a download needs beside the file.
pub struct Downloads<'a> {
    /// Whom to ask.
    pub plane: &'a BootPlane,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Patience.
    pub limits: &'a Limits,
    /// Hears of trouble, for a person.
    pub told: &'a dyn Fn(&str),
    /// Hears how many bytes of the present file are there.
    pub progress: &'a dyn Fn(u64),
    /// Says why to stop.
    pub stopped: &'a dyn Fn() -> Option<String>,
}

impl Downloads<'_> {
    /// Fetches one file into a folder. What isn't whole never stands there under its name.
    pub fn fetch(&self, file: &ImageFile, folder: &Path) -> Result<PathBuf, DownloadError> {
        let (part, whole) = (folder.join(format!("{}.part", file.name)), folder.join(&file.name));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DownloadError::Write { path, source }
        };
        let mut was = String::new();
        for _ in 0..TRIES {
            let mut sink = Sink::create(&part).map_err(failed(&part))?;
            self.fill(file, &mut sink, &part)?;
            match sink.differs_from(file) {
                None => {
                    std::fs::rename(&part, &whole).map_err(failed(&whole))?;
                    return Ok(whole);
                }
                Some(difference) => was = difference,
            }
            (self.told)(&format!("{}: {was}; it is fetched again", file.name));
        }
        drop(std::fs::remove_file(&part));
        Err(DownloadError::Wrong { name: file.name.clone(), was })
    }

    /// Until the server has no more of it, or more than there should be came.
    fn fill(&self, file: &ImageFile, sink: &mut Sink, path: &Path) -> Result<(), DownloadError> {
        let mut etag: Option<String> = None;
        let mut failures = 0;
        let mut last_byte = self.clock.uptime();
        loop {
            let before = sink.len;
            let error = match self.take(file, sink, &mut etag, path) {
                Ok(()) => return Ok(()),
                Err(Interrupted::ForGood(error)) => return Err(error),
                Err(Interrupted::ForNow(error)) => error,
            };
            if let Some(why) = (self.stopped)() {
                return Err(DownloadError::Stopped(why));
            }
            let now = self.clock.uptime();
            if sink.len > before {
                (failures, last_byte) = (0, now);
            }
            let silent: Duration = now.saturating_sub(last_byte);
            if !error.is_transient() || silent > self.limits.image_stall {
                return Err(DownloadError::Unavailable { name: file.name.clone(), source: error });
            }
            failures += 1;
            if failures == 1 {
                let words = metalform_model::with_causes(&error);
                (self.told)(&format!("{words}; {} of {} bytes are here, it goes on from there", sink.len, file.size));
            }
            self.clock.sleep(self.limits.pause(failures, error.retry_after(), self.plane.salt()));
        }
    }

    /// One connection.
    fn take(
        &self,
        file: &ImageFile,
        sink: &mut Sink,
        etag: &mut Option<String>,
        path: &Path,
    ) -> Result<(), Interrupted> {
        let write = |source| Interrupted::ForGood(DownloadError::Write { path: path.to_owned(), source });
        let mut response = match self.plane.image(&file.name, sink.len, etag.as_deref()) {
            // It has become shorter than what is here: the comparison will say so.
            Err(PlaneError::Refused { status: 416, .. }) => return Ok(()),
            Err(error) => return Err(Interrupted::ForNow(error)),
            Ok(response) => response,
        };
        let goes_on = response.head.status == 206 && response.head.range_start == Some(sink.len);
        if sink.len > 0 && !goes_on {
            sink.restart().map_err(write)?;
        }
        etag.clone_from(&response.head.etag);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let read = response.read(&mut buffer).map_err(|source| {
                Interrupted::ForNow(PlaneError::Http { what: format!("image file {}", file.name), source })
            })?;
            if read == 0 {
                return Ok(());
            }
            sink.write(&buffer[..read]).map_err(write)?;
            (self.progress)(sink.len);
            if sink.len > file.size {
                return Ok(());
            }
            if let Some(why) = (self.stopped)() {
                return Err(Interrupted::ForGood(DownloadError::Stopped(why)));
            }
        }
    }
}

enum Interrupted {
    ForNow(PlaneError),
    ForGood(DownloadError),
}

/// A file that is written and digested at once: it is read from the network once, and never from memory again.
struct Sink {
    file: File,
    digest: Sha256,
    len: u64,
}

impl Sink {
    fn create(path: &Path) -> io::Result<Sink> {
        Ok(Sink { file: File::create(path)?, digest: Sha256::new(), len: 0 })
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        (self.digest, self.len) = (Sha256::new(), 0);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.digest.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn differs_from(self, file: &ImageFile) -> Option<String> {
        if self.len != file.size {
            let more = if self.len > file.size { "or more " } else { "" };
            return Some(format!("it has {} {more}bytes, and the manifest says {}", self.len, file.size));
        }
        let sha256 = hex::encode(self.digest.finalize());
        (sha256 != file.sha256).then(|| format!("its SHA-256 is {sha256}, and the manifest says {}", file.sha256))
    }
}
