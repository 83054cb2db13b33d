//! A limit for clients that don't read their answers. A connection whose answer lies in the kernel, because nobody takes it at
//! the other end, would hold its place for ever: reading has deadlines, and this is the one for writing.
//!
//! It is no limit for how long an answer takes: an installer image over a thin line is an hour's work. What it asks for is that
//! some of it is taken.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What a client must take within the limit. Not one byte: whoever takes one now and then would hold the place as long.
const LEAST: usize = 16 * 1024;

/// A connection that fails when it can't be written to for so long.
#[derive(Debug)]
pub(crate) struct WriteLimit<S> {
    stream: S,
    limit: Duration,
    /// Since a write first had to wait, and no longer than until [`LEAST`] is written or nothing is left to write.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    until: Pin<Box<Sleep>>,
    written: usize,
}

impl<S> WriteLimit<S> {
    pub fn new(stream: S, limit: Duration) -> WriteLimit<S> {
        WriteLimit { stream, limit, waiting: None }
    }

    fn judge(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => {
                if let Some(waiting) = &mut self.waiting {
                    waiting.written += bytes;
                    if waiting.written >= LEAST {
                        self.waiting = None;
                    }
                }
            }
            Poll::Ready(Err(_)) => self.waiting = None,
            Poll::Pending => {
                let start = || Waiting { until: Box::pin(sleep(self.limit)), written: 0 };
                if self.waiting.get_or_insert_with(start).until.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client doesn't read")));
                }
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteLimit<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteLimit<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Comes when everything was written: the next answer has the whole limit again.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waiting = None;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const SHORT: Duration = Duration::from_millis(50);
    /// Longer than any test.
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_after_the_limit() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let error = WriteLimit::new(ours, SHORT).write_all(&[0; 1024]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_takes_a_byte_now_and_then_is_given_up_as_well() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let dripping = tokio::spawn(async move {
            while theirs.read_u8().await.is_ok() {
                tokio::time::sleep(SHORT / 10).await;
            }
        });
        let error = WriteLimit::new(ours, SHORT).write_all(&vec![0; LEAST]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        dripping.await.unwrap();
    }

    #[tokio::test]
    async fn who_takes_enough_has_the_whole_limit_for_the_next_part() {
        let (ours, mut theirs) = tokio::io::duplex(LEAST);
        let mut ours = WriteLimit::new(ours, LONG);
        ours.write_all(&vec![0; LEAST]).await.unwrap();
        assert!(ours.waiting.is_none(), "nothing had to wait");
        assert!(ours.write(&[0]).now_or_never().is_none());
        assert!(ours.waiting.is_some());
        theirs.read_exact(&mut vec![0; LEAST]).await.unwrap();
        ours.write_all(&vec![0; LEAST - 1]).await.unwrap();
        assert!(ours.waiting.is_some(), "one byte is missing");
        ours.write_all(&[0]).await.unwrap();
        assert!(ours.waiting.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_waited_leaves_the_next_the_whole_limit() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = WriteLimit::new(ours, LONG);
        ours.write_all(&[0; 64]).await.unwrap();
        assert!(ours.write(&[0]).now_or_never().is_none());
        theirs.read_exact(&mut [0; 64]).await.unwrap();
        ours.write_all(&[0]).await.unwrap();
        assert!(ours.waiting.is_some());
        ours.flush().await.unwrap();
        assert!(ours.waiting.is_none());
    }
}
