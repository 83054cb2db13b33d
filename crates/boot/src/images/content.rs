//! What a request for an image gets: a file of a set, or the list of the set's digests.

use super::{
    ImageSet, ImageSetError,
    digest::{ContentStamp, Digests, Stamp},
    folder::{FolderFault, SetFolder},
    set::{FileFault, Found, find_file, is_plain_name},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use metalform_model::MANIFEST_FILE;
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
    /// Not what the set's manifest says: serving it would boot a machine with it.
    #[error("{0}")]
    Unverified(String),
}

impl From<FileFault> for ImageFault {
    fn from(fault: FileFault) -> Self {
        match fault {
            FileFault::Missing | FileFault::NotAFile => ImageFault::Missing,
            FileFault::Unreadable(error) => ImageFault::Unreadable(Arc::new(error)),
        }
    }
}

impl From<FolderFault> for ImageFault {
    fn from(fault: FolderFault) -> Self {
        match fault {
            FolderFault::NoSet => ImageFault::Missing,
            FolderFault::Unreadable(error) => ImageFault::Unreadable(Arc::new(error)),
            FolderFault::NoDefault(_) | FolderFault::BadManifest { .. } | FolderFault::NoManifest { .. } => {
                ImageFault::Unverified(fault.to_string())
            }
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
        let (set, name) = match path.split_once('/') {
            None => (None, path.to_owned()),
            Some((set, name)) => (Some(set.to_owned()), name.to_owned()),
        };
        if !is_plain_name(&name) {
            return Err(ImageFault::Missing);
        }
        let images = self.dir.clone();
        let found = async {
            let folder = blocking(move || Ok(SetFolder::locate(&images, set.as_deref())?)).await?;
            if name == SUMS { self.sums(&folder).await } else { self.file(&folder, name).await }
        };
        timeout(DIGEST_DEADLINE, found).await.unwrap_or(Err(ImageFault::NotReady))
    }

    /// The default set, every file of it compared with its manifest. Digests that are known already are not computed again.
    pub async fn check(&self) -> Result<ImageSet, ImageSetError> {
        let images = self.dir.clone();
        let opened = tokio::task::spawn_blocking(move || ImageSet::open(images)).await;
        let set = opened.unwrap_or_else(|_stopped| Err(ImageSetError::NoFolder { dir: self.dir.clone() }))?;
        let folder = set.folder();
        let listed = folder.manifest.iter().flat_map(|manifest| &manifest.files);
        let compared = async {
            for file in listed {
                let fault = match self.file(folder, file.name.clone()).await {
                    Ok(_) => continue,
                    Err(fault) => fault,
                };
                let (dir, file) = (folder.dir.clone(), file.name.clone());
                return Err(match fault {
                    ImageFault::Unreadable(error) => {
                        let source = io::Error::new(error.kind(), error);
                        ImageSetError::Unreadable { file, dir, source }
                    }
                    ImageFault::NotReady => ImageSetError::NotReady { dir },
                    ImageFault::Missing => ImageSetError::Missing { file, dir },
                    ImageFault::Unverified(why) => ImageSetError::Unverified { dir, why },
                });
            }
            Ok(())
        };
        match timeout(DIGEST_DEADLINE, compared).await {
            Ok(compared) => compared.map(|()| set.clone()),
            Err(_) => Err(ImageSetError::NotReady { dir: folder.dir.clone() }),
        }
    }

    async fn file(&self, folder: &SetFolder, name: String) -> Result<Content, ImageFault> {
        if !folder.offers(&name) {
            return Err(ImageFault::Missing);
        }
        let listed = folder.manifest.as_ref().and_then(|manifest| manifest.file(&name));
        let (dir, looked_for) = (folder.dir.clone(), name.clone());
        let found = blocking(move || {
            let Found { file, path, len } = find_file(&dir, &looked_for)?;
            let stamp = Stamp::of(&file.metadata().map_err(FileFault::Unreadable)?);
            Ok((path, Arc::new(file), stamp, len))
        });
        let (path, file, stamp, len) = match found.await {
            Err(ImageFault::Missing) if listed.is_some() => {
                return Err(ImageFault::Unverified(format!("{name} is in the manifest and not in the folder")));
            }
            found => found?,
        };
        if let Some(listed) = listed.filter(|listed| listed.size != len) {
            return Err(ImageFault::Unverified(format!("{name} has {len} bytes, and should have {}", listed.size)));
        }
        let sha256 = self.digests.of(path, file.clone(), stamp).await.map_err(ImageFault::Unreadable)?;
        if let Some(listed) = listed.filter(|listed| *listed.sha256 != *sha256) {
            let should = &listed.sha256;
            return Err(ImageFault::Unverified(format!("{name} has SHA-256 {sha256}, and should have {should}")));
        }
        Ok(Content { etag: format!("\"{sha256}\""), len, sha256, source: Source::File(file, stamp.content) })
    }

    /// In the form `sha256sum --check` reads, in the order of names.
    async fn sums(&self, folder: &SetFolder) -> Result<Content, ImageFault> {
        let mut names = match &folder.manifest {
            Some(manifest) => {
                let listed = manifest.files.iter().map(|file| file.name.clone());
                listed.chain([MANIFEST_FILE.to_owned()]).collect()
            }
            None => names_in(folder.dir.clone()).await?,
        };
        names.retain(|name| is_plain_name(name) && name != SUMS);
        names.sort();
        let mut text = String::new();
        for name in names {
            match self.file(folder, name.clone()).await {
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

async fn names_in(dir: PathBuf) -> Result<Vec<String>, ImageFault> {
    blocking(move || {
        let fault = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileFault::Missing,
            _ => FileFault::Unreadable(error),
        };
        let entries = std::fs::read_dir(dir).map_err(fault).map_err(ImageFault::from)?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    })
    .await
}

async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, ImageFault> + Send + 'static,
) -> Result<T, ImageFault> {
    match spawn_blocking(look).await {
        Ok(looked) => looked,
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
