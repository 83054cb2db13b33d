//! What a request for an image gets: a file of a set, or the list of the set's digests.

use super::{
    digest::{ContentStamp, Digests, Stamp},
    set::{FileFault, Found, find_file, is_plain_name},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use std::{
    fs::File,
    io::{self, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt},
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::io::ReaderStream;

/// The generated list.
const SUMS: &str = "SHA256SUMS";
/// Read and sent at once, per connection.
const CHUNK_BYTES: usize = 256 * 1024;
/// How long a request waits for a digest; meanwhile computing goes on. A GB takes some seconds.
const DIGEST_DEADLINE: Duration = Duration::from_secs(60);

/// Why there is no content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageFault {
    #[error("there is no such image file")]
    Missing,
    #[error("the image file can't be read")]
    Unreadable(#[source] Arc<io::Error>),
    #[error("the image file's digest is not ready yet")]
    NotReady,
}

impl From<FileFault> for ImageFault {
    fn from(fault: FileFault) -> Self {
        match fault {
            FileFault::Missing | FileFault::NotAFile => ImageFault::Missing,
            FileFault::Unreadable(error) => ImageFault::Unreadable(Arc::new(error)),
        }
    }
}

/// All image sets below `[images] dir`.
pub(crate) struct Images {
    dir: PathBuf,
    digests: Digests,
}

impl Images {
    pub fn new(dir: PathBuf) -> Self {
        Images { dir, digests: Digests::default() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `FILE` of the default set, or `SET/FILE`.
    pub async fn find(&self, path: &str) -> Result<Content, ImageFault> {
        let (dir, name) = match path.split_once('/') {
            None => (self.dir.clone(), path),
            Some((set, name)) if crate::script::is_image_set_name(set) => (self.dir.join(set), name),
            Some(_) => return Err(ImageFault::Missing),
        };
        if !is_plain_name(name) {
            return Err(ImageFault::Missing);
        }
        let name = name.to_owned();
        let found = async { if name == SUMS { self.sums(dir).await } else { self.file(dir, name).await } };
        timeout(DIGEST_DEADLINE, found).await.unwrap_or(Err(ImageFault::NotReady))
    }

    async fn file(&self, dir: PathBuf, name: String) -> Result<Content, ImageFault> {
        let (path, file, stamp, len) = blocking(move || {
            let Found { file, path, len } = find_file(&dir, &name)?;
            let stamp = Stamp::of(&file.metadata().map_err(FileFault::Unreadable)?);
            Ok((path, Arc::new(file), stamp, len))
        })
        .await?;
        let sha256 = self.digests.of(path, file.clone(), stamp).await.map_err(ImageFault::Unreadable)?;
        Ok(Content { etag: format!("\"{sha256}\""), len, sha256, source: Source::File(file, stamp.content) })
    }

    /// In the form `sha256sum --check` reads, in the order of names.
    async fn sums(&self, dir: PathBuf) -> Result<Content, ImageFault> {
        let list = dir.clone();
        let mut names = blocking(move || {
            let fault = |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileFault::Missing,
                _ => FileFault::Unreadable(error),
            };
            let entries = std::fs::read_dir(list).map_err(fault)?;
            Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect::<Vec<_>>())
        })
        .await?;
        names.retain(|name| is_plain_name(name) && name != SUMS);
        names.sort();
        let mut text = String::new();
        for name in names {
            match self.file(dir.clone(), name.clone()).await {
                Ok(content) => text.push_str(&format!("{}  {name}\n", content.sha256)),
                // A folder in the default set is a set of its own.
                Err(ImageFault::Missing) => {}
                Err(fault) => return Err(fault),
            }
        }
        let sha256: Arc<str> = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&text)).into();
        let len = text.len() as u64;
        Ok(Content { etag: format!("\"{sha256}\""), len, sha256, source: Source::Text(text.into()) })
    }
}

async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, FileFault> + Send + 'static,
) -> Result<T, ImageFault> {
    match spawn_blocking(look).await {
        Ok(looked) => looked.map_err(ImageFault::from),
        Err(stopped) => Err(ImageFault::Unreadable(Arc::new(io::Error::other(stopped)))),
    }
}

/// Something to send.
pub(crate) struct Content {
    /// Strong, quoted.
    pub etag: String,
    /// In bytes.
    pub len: u64,
    sha256: Arc<str>,
    source: Source,
}

enum Source {
    File(Arc<File>, ContentStamp),
    Text(Bytes),
}

impl Content {
    pub fn media_type(&self) -> &'static str {
        match self.source {
            Source::File(..) => "application/octet-stream",
            Source::Text(_) => "text/plain; charset=utf-8",
        }
    }

    /// `len` bytes from `first` on; both lie within the content.
    pub fn chunks(self, first: u64, len: u64) -> futures_util::stream::BoxStream<'static, io::Result<Bytes>> {
        match self.source {
            Source::Text(text) => {
                let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
                let part = text.slice(at(first)..at(first + len));
                stream::iter([Ok(part)]).boxed()
            }
            Source::File(file, stamp) => stream::once(open_chunks(file, stamp, first, len))
                .flat_map(|opened| match opened {
                    Ok(chunks) => chunks.boxed(),
                    Err(error) => stream::iter([Err(error)]).boxed(),
                })
                .boxed(),
        }
    }
}

/// Before its last bytes the file is looked at again. If it was written to meanwhile, the body breaks off, the peer sees fewer
/// bytes than announced, and asks again.
async fn open_chunks(
    file: Arc<File>,
    stamp: ContentStamp,
    first: u64,
    len: u64,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send> {
    let mut reader = tokio::fs::File::from_std(file.try_clone()?);
    reader.seek(SeekFrom::Start(first)).await?;
    let chunks = ReaderStream::with_capacity(reader.take(len), CHUNK_BYTES);
    Ok(chunks.scan(len, move |left, chunk| {
        let chunk = chunk.and_then(|bytes| {
            *left = left.saturating_sub(bytes.len() as u64);
            // One `fstat` on an open file: no reason for another thread.
            if *left == 0 && Stamp::of(&file.metadata()?).content != stamp {
                return Err(io::Error::other("the image file was written to while it was sent"));
            }
            Ok(bytes)
        });
        std::future::ready(Some(chunk))
    }))
}
