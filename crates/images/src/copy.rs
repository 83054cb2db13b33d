//! Copies a file's bytes and computes its digests on the way, in one pass.
//!
//! Each digest has a thread of its own: MD5 alone is slower than most disks. A piece is shared with them and not copied; the
//! few pieces there are bound the memory, whatever the file's length.

use crate::Watch;
use md5::Md5;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

/// Small enough to be still in the processor's cache when the third of its users comes, and to be written where the page cache
/// has used memory: in larger pieces Linux takes large pages of memory for it, which a virtual machine may have to get first.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces a digest may lag behind.
const LAG: usize = 16;

/// What a file is, by its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digested {
    /// Bytes.
    pub size: u64,
    /// Lower case hex.
    pub sha256: String,
    /// Lower case hex, if it was asked for.
    pub md5: Option<String>,
}

/// What ended a copy early.
#[derive(Debug)]
pub(crate) enum CopyFault {
    Read(io::Error),
    Write(io::Error),
    Stopped,
}

/// Reads to the end.
pub(crate) fn copy_digesting(
    from: &mut impl Read,
    to: &mut impl Write,
    with_md5: bool,
    watch: &dyn Watch,
) -> Result<Digested, CopyFault> {
    thread::scope(|scope| {
        let (sha256, pieces) = sync_channel(LAG);
        let hashed = scope.spawn(move || digest::<Sha256>(&pieces));
        let (md5, md5_hashed) = match with_md5 {
            false => (None, None),
            true => {
                let (md5, pieces) = sync_channel(LAG);
                (Some(md5), Some(scope.spawn(move || digest::<Md5>(&pieces))))
            }
        };
        let size = copy(from, to, [Some(&sha256), md5.as_ref()], watch);
        // The digests end when nobody can send to them any more.
        drop((sha256, md5));
        let stopped = |_| CopyFault::Read(io::Error::other("a digest could not be computed"));
        let sha256 = hashed.join().map_err(stopped)?;
        let md5 = md5_hashed.map(|hashed| hashed.join().map_err(stopped)).transpose()?;
        Ok(Digested { size: size?, sha256, md5 })
    })
}

/// The digest of an open file.
pub(crate) fn digest_of(file: &mut File, watch: &dyn Watch) -> Result<Digested, CopyFault> {
    copy_digesting(file, &mut io::sink(), false, watch)
}

type Piece = Arc<Bytes>;

/// The room stays as it is from piece to piece: to fill it with zeros first would cost as much as to copy it.
#[derive(Default)]
struct Bytes {
    room: Vec<u8>,
    len: usize,
}

impl Bytes {
    fn fill(&mut self, from: &mut impl Read) -> io::Result<()> {
        self.room.resize(PIECE_BYTES, 0);
        self.len = 0;
        while self.len < PIECE_BYTES {
            match from.read(&mut self.room[self.len..]) {
                Ok(0) => break,
                Ok(read) => self.len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }
}

fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    digests: [Option<&SyncSender<Piece>>; 2],
    watch: &dyn Watch,
) -> Result<u64, CopyFault> {
    let mut ring: Vec<Piece> = (0..LAG + 2).map(|_| Arc::default()).collect();
    let mut size = 0;
    for turn in 0.. {
        if watch.is_stopped() {
            return Err(CopyFault::Stopped);
        }
        let slot = turn % ring.len();
        // A digest that lags may still hold the piece; then a fresh one takes its place.
        if Arc::get_mut(&mut ring[slot]).is_none() {
            ring[slot] = Arc::default();
        }
        let Some(piece) = Arc::get_mut(&mut ring[slot]) else { continue };
        piece.fill(from).map_err(CopyFault::Read)?;
        let read = piece.len;
        if read == 0 {
            break;
        }
        for digest in digests.into_iter().flatten() {
            // One that is gone has panicked, which its join tells.
            let _ = digest.send(Arc::clone(&ring[slot]));
        }
        to.write_all(ring[slot].bytes()).map_err(CopyFault::Write)?;
        size += read as u64;
        watch.advance(read as u64);
    }
    Ok(size)
}

fn digest<D: Digest>(pieces: &Receiver<Piece>) -> String {
    let mut digest = D::new();
    for piece in pieces {
        digest.update(piece.bytes());
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unwatched;

    #[test]
    fn digests_are_those_of_the_bytes_that_were_written() {
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES + 7).map(|at| (at % 251) as u8).collect();
        let mut written = Vec::new();
        let digested = copy_digesting(&mut bytes.as_slice(), &mut written, true, &Unwatched).unwrap();
        assert!(written == bytes);
        assert_eq!(digested.size, bytes.len() as u64);
        assert_eq!(digested.sha256, hex::encode(Sha256::digest(&bytes)));
        assert_eq!(digested.md5, Some(hex::encode(Md5::digest(&bytes))));
        let empty = copy_digesting(&mut io::empty(), &mut io::sink(), true, &Unwatched).unwrap();
        assert_eq!(empty.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(empty.md5.unwrap(), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn a_full_disk_ends_the_copy() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let fault = copy_digesting(&mut io::repeat(7).take(1 << 24), &mut Full, true, &Unwatched).unwrap_err();
        assert!(matches!(fault, CopyFault::Write(error) if error.kind() == io::ErrorKind::StorageFull));
    }
}
