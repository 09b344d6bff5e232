//! Long answers: made in pieces at the reader's pace, off the threads that serve others.
//!
//! A piece is made when the connection has room for it, on one of a few threads that all long answers share, in turn. So
//! a reader that takes nothing holds a piece and what its connection keeps, whatever it asked for, and one that
//! takes all of it holds nobody up. What fits into one piece is an ordinary answer with its length.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
};

use axum::{
    body::Body,
    http::{
        HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::Response,
};
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_stream::Stream;

use super::problem::Problem;

/// Bytes of a piece, roughly.
pub(super) const PIECE: usize = 16 * 1024;

/// What a long answer is made of.
pub(super) trait Source: Send + 'static {
    /// Makes the next piece, of about [`PIECE`] bytes.
    ///
    /// # Errors
    /// Where the rest can't be read. The answer is cut short then, which the client notices.
    fn next_piece(&mut self) -> io::Result<Piece>;
}

/// A part of a long answer.
#[derive(Debug)]
pub(super) struct Piece {
    /// It may be empty while there is more: looking for that takes a while, and others shall have their turn.
    pub(super) bytes: Bytes,
    /// Whether another follows.
    pub(super) more: bool,
}

/// The threads' time that long answers share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Makers(Arc<Semaphore>);

impl Default for Makers {
    /// Half of the cores, four at most: the others serve everybody else.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((cores / 2).clamp(1, 4))))
    }
}

impl Makers {
    /// A body in pieces.
    pub(super) fn body(&self, source: impl Source) -> Body {
        self.rest(Bytes::new(), Box::new(source))
    }

    /// A JSON answer that nobody keeps.
    ///
    /// # Errors
    /// Where not even the first piece can be read.
    pub(super) async fn json(&self, source: impl Source) -> Result<Response, Problem> {
        let made = make(self.clone(), Box::new(source)).await;
        let (source, first) = made.map_err(|error| unread(&error))?;
        Ok(self.json_after(first, source))
    }

    /// Does other work of some length in its turn.
    ///
    /// # Errors
    /// Where it breaks off.
    pub(super) async fn turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let broken = |error: &dyn std::fmt::Display| unread(&io::Error::other(error.to_string()));
        let _turn = self.0.acquire().await.map_err(|error| broken(&error))?;
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| broken(&error))
    }

    fn json_after(&self, first: Piece, source: Box<dyn Source>) -> Response {
        let body = if first.more {
            self.rest(first.bytes, source)
        } else {
            Body::from(first.bytes)
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn rest(&self, first: Bytes, source: Box<dyn Source>) -> Body {
        Body::from_stream(Pieces {
            makers: self.clone(),
            first,
            stage: Stage::Waiting(source),
        })
    }
}

fn unread(error: &io::Error) -> Problem {
    tracing::error!("a long answer can't be made: {error}");
    Problem::new(
        axum::http::StatusCode::INTERNAL_SERVER_ERROR,
        "internal-error",
        "Something went wrong in the hub",
        "the answer can't be read",
    )
}

type Made = (Box<dyn Source>, Piece);

/// A body that is made as it is read.
struct Pieces {
    makers: Makers,
    /// What is made already.
    first: Bytes,
    stage: Stage,
}

enum Stage {
    /// For the reader to ask for more.
    Waiting(Box<dyn Source>),
    Making(Pin<Box<dyn Future<Output = io::Result<Made>> + Send>>),
    Ended,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            return Poll::Ready(Some(Ok(first)));
        }
        loop {
            match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Ended => return Poll::Ready(None),
                Stage::Waiting(source) => {
                    self.stage = Stage::Making(Box::pin(make(self.makers.clone(), source)));
                }
                Stage::Making(mut making) => {
                    let Poll::Ready(made) = making.as_mut().poll(cx) else {
                        self.stage = Stage::Making(making);
                        return Poll::Pending;
                    };
                    let (source, piece) = match made {
                        Ok(made) => made,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    };
                    if piece.more {
                        self.stage = Stage::Waiting(source);
                    }
                    if !piece.bytes.is_empty() {
                        return Poll::Ready(Some(Ok(piece.bytes)));
                    }
                }
            }
        }
    }
}

/// Makes one piece when it is this answer's turn.
async fn make(makers: Makers, mut source: Box<dyn Source>) -> io::Result<Made> {
    let _turn = makers.0.acquire().await.map_err(io::Error::other)?;
    let made =
        tokio::task::spawn_blocking(move || source.next_piece().map(|piece| (source, piece)));
    made.await.map_err(io::Error::other)?
}
