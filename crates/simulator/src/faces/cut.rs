//! A connection that can be cut: from then on it neither reads nor writes, and whoever uses it lets go of it. That is how
//! a world loses a reply inside a protocol that would rather say goodbye.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A stream and what cuts it.
pub(super) struct Cut<S> {
    stream: S,
    token: CancellationToken,
    /// Wakes whoever waits to read or write. Both are one task's, as every protocol here has it.
    waiting: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Cut<S> {
    pub fn new(stream: S, token: CancellationToken) -> Self {
        Cut { stream, waiting: Box::pin(token.clone().cancelled_owned()), token }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.token.is_cancelled() || self.waiting.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_cut_ends_a_read_that_waits_and_every_write_after_it() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let token = CancellationToken::new();
        let mut ours = Cut::new(ours, token.clone());
        theirs.write_all(b"a").await.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), b'a');
        ours.write_all(b"b").await.unwrap();
        let (read, ()) = tokio::join!(ours.read_u8(), async { token.cancel() });
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(ours.write_all(b"c").await.is_err());
        drop(ours);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"b");
    }

    #[tokio::test]
    async fn a_cut_ends_a_write_that_nobody_takes() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let token = CancellationToken::new();
        let mut ours = Cut::new(ours, token.clone());
        let (written, ()) = tokio::join!(ours.write_all(&[0; 1000]), async { token.cancel() });
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
