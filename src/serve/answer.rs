//! Answers on their way: a request is under way until the last byte of its answer has been taken for the wire.
//!
//! Over HTTP/1.1 a client that takes nothing is noticed by its socket. Over HTTP/2 the socket may be fine and the
//! client give no window: so an answer is handed over in small pieces, and one of which no further piece is asked
//! for is let go, with all that waits for it.

use std::{
    io::ErrorKind,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;

use super::talk::Asking;

/// Bytes that are handed over at a time to a client that may take none: a frame of HTTP/2.
const PIECE: usize = 16 * 1024;

/// It isn't the client that is waited for.
const NOT: u64 = u64::MAX;

/// The body of an answer over HTTP/1.1.
pub(super) struct Answer {
    body: Body,
    _asking: Asking,
}

impl Answer {
    /// The body, so that the request is under way until it has ended.
    pub(super) fn over_http1(body: Body, asking: Asking) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Self {
            body,
            _asking: asking,
        })
    }

    /// The same in pieces, watched over.
    pub(super) fn over_http2(body: Body, asking: Asking) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let talk = asking.talk().clone();
        let held = Arc::new(Held {
            waits_since: AtomicU64::new(talk.now()),
            left: Mutex::new(Left {
                body: Some(body),
                rest: Bytes::new(),
                asking: Some(asking),
            }),
        });
        talk.watch_over(&held);
        Body::new(Pieces(held))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What an answer over HTTP/2 holds until it has been taken.
#[derive(Debug)]
pub(super) struct Held {
    /// When the last piece was handed over, ms; [`NOT`] where the answer itself has nothing more yet.
    waits_since: AtomicU64,
    left: Mutex<Left>,
}

#[derive(Debug, Default)]
struct Left {
    body: Option<Body>,
    rest: Bytes,
    asking: Option<Asking>,
}

impl Held {
    /// Since when the client is waited for; `None` where it isn't.
    pub(super) fn waits_since(&self) -> Option<u64> {
        Some(self.waits_since.load(Relaxed)).filter(|since| *since != NOT)
    }

    /// Drops what is left. The client is told that the answer is incomplete, should it ever take more.
    pub(super) fn let_go(&self) {
        self.waits_since.store(NOT, Relaxed);
        // Dropped once the lock is free: a body's end may wake others.
        let left = std::mem::take(&mut *self.left.lock());
        drop(left);
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let left = &mut *self.left.lock();
        if left.rest.is_empty() {
            let Some(body) = &mut left.body else {
                let gone = std::io::Error::from(ErrorKind::TimedOut);
                return Poll::Ready(Some(Err(axum::Error::new(gone))));
            };
            self.waits_since.store(NOT, Relaxed);
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => left.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let piece = left.rest.split_to(left.rest.len().min(PIECE));
        if let Some(asking) = &left.asking {
            self.waits_since.store(asking.talk().now(), Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

struct Pieces(Arc<Held>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.0.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        let left = self.0.left.lock();
        left.rest.is_empty() && left.body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.0.left.lock();
        match &left.body {
            Some(body) if left.rest.is_empty() => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}
