//! A response body that knows how much of it was taken.
//!
//! "Served" must mean that the bytes went out, not that a handler returned. The count is of bytes handed to the connection;
//! up to a send buffer of them may still be on the way when the peer vanishes. The end is seen on drop: the HTTP library
//! stops asking once `Content-Length` is reached.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;
type Ended = Box<dyn FnOnce(u64) + Send>;

struct Counted {
    chunks: Chunks,
    taken: u64,
    ended: Option<Ended>,
}

/// Calls `ended` once, with the number of bytes taken, when the body is done with.
pub(crate) fn counted(
    chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ended: impl FnOnce(u64) + Send + 'static,
) -> Body {
    Body::from_stream(Counted { chunks: Box::pin(chunks), taken: 0, ended: Some(Box::new(ended)) })
}

/// The same for a text, told only when all of it was taken.
pub(crate) fn counted_text(text: impl Into<Bytes>, taken: impl FnOnce() + Send + 'static) -> Body {
    let bytes: Bytes = text.into();
    let length = bytes.len() as u64;
    counted(futures_util::stream::iter([Ok(bytes)]), move |count| {
        if count == length {
            taken();
        }
    })
}

impl Stream for Counted {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.chunks.poll_next_unpin(context);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            self.taken += chunk.len() as u64;
        }
        polled
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended(self.taken);
        }
    }
}
