//! Long answers: made in pieces at the reader's pace, off the threads that serve others.
//!
//! A piece is made when the connection has room for it, on one of a few threads that all long answers share, the shortest
//! first ([`super::turns`]). So a reader that takes nothing holds a piece and what its connection keeps, whatever it asked
//! for, and one that takes all of it holds nobody up. What fits into one piece is an ordinary answer with its length.

use std::{
    future::Future,
    io,
    pin::Pin,
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
use serde::Serialize;
use tokio_stream::Stream;

use super::{problem::Problem, turns::Turns};
use crate::domain::Json;

/// Bytes of a piece, roughly.
pub(super) const PIECE: usize = 16 * 1024;

/// Pieces that whoever asks for all there is is likely to take.
pub(super) const ALL: u32 = 1024;

/// Things of a page that go into a piece, roughly.
const THINGS: usize = 16;

/// Pieces that a page of at most so many things is likely to take.
pub(super) fn of_page(limit: usize) -> u32 {
    u32::try_from(limit / THINGS).unwrap_or(ALL).min(ALL)
}

/// What a long answer is made of.
pub(super) trait Source: Send + 'static {
    /// Makes the next piece, of about [`PIECE`] bytes.
    ///
    /// # Errors
    /// Where the rest can't be read. The answer is cut short then, which the client notices.
    fn next_piece(&mut self) -> io::Result<Piece>;

    /// How many pieces it is likely to take, as far as what was asked for tells. It waits as if it had had so many.
    fn expected(&self) -> u32 {
        0
    }
}

/// An answer that is in memory as a whole, given out in pieces.
pub(super) struct Whole(Bytes);

impl Whole {
    /// What this looks like as JSON.
    pub(super) fn of<T: Serialize>(value: &T) -> Self {
        Self(Json::of(value).as_str().to_owned().into())
    }
}

impl Source for Whole {
    fn next_piece(&mut self) -> io::Result<Piece> {
        let bytes = self.0.split_to(self.0.len().min(PIECE));
        Ok(Piece {
            bytes,
            more: !self.0.is_empty(),
        })
    }
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
pub(super) struct Makers(Turns);

impl Default for Makers {
    /// Half of the cores, four at most: the others serve everybody else.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self(Turns::new((cores / 2).clamp(1, 4)))
    }
}

impl Makers {
    /// A body in pieces.
    pub(super) fn body(&self, source: impl Source) -> Body {
        self.rest(Bytes::new(), Box::new(source), 0)
    }

    /// A JSON answer that nobody keeps.
    ///
    /// # Errors
    /// Where not even the first piece can be read.
    pub(super) async fn json(&self, source: impl Source) -> Result<Response, Problem> {
        let made = make(self.clone(), Box::new(source), 0).await;
        let (source, first) = made.map_err(|error| unread(&error))?;
        Ok(self.json_after(first, source))
    }

    /// The body of a short answer, whose first piece is made at once: a change doesn't wait for long answers. What doesn't
    /// fit into it is made like those.
    ///
    /// # Errors
    /// Where not even the first piece can be read.
    pub(super) fn begun(&self, mut source: impl Source) -> Result<Body, Problem> {
        let first = source.next_piece().map_err(|error| unread(&error))?;
        Ok(self.body_after(first, Box::new(source)))
    }

    /// Does other work of some length in its turn, for an answer that is likely to take so many pieces.
    ///
    /// # Errors
    /// Where it breaks off.
    pub(super) async fn turn<T: Send + 'static>(
        &self,
        expected: u32,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.0.take(expected).await;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|error| unread(&io::Error::other(error)))
    }

    /// Does long work in as many turns as it takes, each behind those who have had fewer. `step` says whether there is more.
    ///
    /// # Errors
    /// Where a step breaks off.
    pub(super) async fn in_turns<W: Send + 'static>(
        &self,
        mut work: W,
        step: fn(&mut W) -> io::Result<bool>,
    ) -> Result<W, Problem> {
        for had in 0_u32.. {
            let turn = self.0.take(had).await;
            let done = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let more = step(&mut work);
                more.map(|more| (work, more))
            });
            let done = done.await.map_err(io::Error::other);
            let (left, more) = done.and_then(|made| made).map_err(|error| unread(&error))?;
            work = left;
            if !more {
                break;
            }
        }
        Ok(work)
    }

    fn json_after(&self, first: Piece, source: Box<dyn Source>) -> Response {
        let mut response = Response::new(self.body_after(first, source));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn body_after(&self, first: Piece, source: Box<dyn Source>) -> Body {
        if first.more {
            self.rest(first.bytes, source, 1)
        } else {
            Body::from(first.bytes)
        }
    }

    /// The rest of a body of which so many pieces are made.
    fn rest(&self, first: Bytes, source: Box<dyn Source>, made: u32) -> Body {
        Body::from_stream(Pieces {
            makers: self.clone(),
            first,
            made,
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
    /// How many pieces are made or being made.
    made: u32,
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
                    let making = make(self.makers.clone(), source, self.made);
                    self.made = self.made.saturating_add(1);
                    self.stage = Stage::Making(Box::pin(making));
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

/// Makes one piece when it is the turn of an answer that has had so many.
async fn make(makers: Makers, mut source: Box<dyn Source>, had: u32) -> io::Result<Made> {
    let turn = makers.0.take(had.max(source.expected())).await;
    let made = tokio::task::spawn_blocking(move || {
        // A reader that goes meanwhile leaves the thread at work.
        let _turn = turn;
        source.next_piece().map(|piece| (source, piece))
    });
    made.await.map_err(io::Error::other)?
}
