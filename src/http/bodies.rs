//! Bodies that are being read, all together: what clients have sent of them and not ended is bounded in bytes. Where
//! there is more, the body that was begun first is given up, which is the slowest; a whole body counts for nothing.

use std::{collections::BTreeMap, sync::Arc};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// All bodies that are being read.
#[derive(Debug)]
pub(super) struct Bodies {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    /// How many were begun so far: the next one's number.
    begun: u64,
    bodies: BTreeMap<u64, Kin>,
}

/// What the others know of a body.
#[derive(Debug)]
struct Kin {
    bytes: usize,
    given_up: Arc<Notify>,
}

/// Why a body isn't there.
#[derive(Debug)]
pub(super) enum Incomplete {
    /// It is longer than it may be.
    TooLarge,
    /// The client ended it early, or broke its framing.
    Broken,
    /// The room was needed for others.
    GivenUp,
}

/// A body's place among those that are being read, given up when dropped.
struct Reading<'a> {
    bodies: &'a Bodies,
    number: u64,
    given_up: Arc<Notify>,
}

impl Bodies {
    /// So many bytes of all of them.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    /// Reads a body of `most` bytes or less.
    pub(super) async fn read(&self, mut body: Body, most: usize) -> Result<Bytes, Incomplete> {
        let first = data(&mut body, most).await?;
        if first.is_empty() || http_body::Body::is_end_stream(&body) {
            return Ok(first);
        }
        let reading = self.begin();
        reading.grow(first.len());
        let rest = async {
            let mut whole = BytesMut::from(first);
            loop {
                let more = data(&mut body, most - whole.len()).await?;
                if more.is_empty() {
                    return Ok(whole.freeze());
                }
                reading.grow(more.len());
                whole.extend_from_slice(&more);
            }
        };
        tokio::select! {
            whole = rest => whole,
            () = reading.given_up.notified() => Err(Incomplete::GivenUp),
        }
    }

    fn begin(&self) -> Reading<'_> {
        let given_up = Arc::new(Notify::new());
        let mut kept = self.kept.lock();
        kept.begun += 1;
        let number = kept.begun;
        let kin = Kin {
            bytes: 0,
            given_up: given_up.clone(),
        };
        kept.bodies.insert(number, kin);
        Reading {
            bodies: self,
            number,
            given_up,
        }
    }
}

/// The next bytes of a body; empty at its end.
async fn data(body: &mut Body, most: usize) -> Result<Bytes, Incomplete> {
    loop {
        match body.frame().await {
            None => return Ok(Bytes::new()),
            Some(Err(_)) => return Err(Incomplete::Broken),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.len() > most => return Err(Incomplete::TooLarge),
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(data),
                // Trailers say nothing here.
                Err(_) => {}
            },
        }
    }
}

impl Reading<'_> {
    /// Counts further bytes, and gives up those that were begun first where that is too much.
    fn grow(&self, bytes: usize) {
        let kept = &mut *self.bodies.kept.lock();
        let Some(own) = kept.bodies.get_mut(&self.number) else {
            return;
        };
        own.bytes += bytes;
        kept.bytes += bytes;
        while kept.bytes > self.bodies.most
            && let Some((_, first)) = kept.bodies.pop_first()
        {
            kept.bytes -= first.bytes;
            first.given_up.notify_one();
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let kept = &mut *self.bodies.kept.lock();
        if let Some(own) = kept.bodies.remove(&self.number) {
            kept.bytes -= own.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, task::Poll};

    use super::*;

    /// What a client sends, piece by piece.
    struct Pieces(tokio::sync::mpsc::UnboundedReceiver<&'static [u8]>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            let piece = self.0.poll_recv(cx);
            piece.map(|piece| piece.map(|it| Ok(http_body::Frame::data(Bytes::from_static(it)))))
        }
    }

    #[tokio::test]
    async fn the_body_that_was_begun_first_makes_room() {
        let bodies = Arc::new(Bodies::new(10));
        let begin = || {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            let bodies = bodies.clone();
            let reading =
                tokio::spawn(async move { bodies.read(Body::new(Pieces(receiver)), 8).await });
            (sender, reading)
        };
        let (slow, given_up) = begin();
        slow.send(b"123456").unwrap();
        while bodies.kept.lock().bytes < 6 {
            tokio::task::yield_now().await;
        }
        let (quick, whole) = begin();
        quick.send(b"abc").unwrap();
        quick.send(b"defg").unwrap();
        drop(quick);
        assert!(matches!(given_up.await.unwrap(), Err(Incomplete::GivenUp)));
        assert_eq!(whole.await.unwrap().unwrap(), "abcdefg");
        let (large, refused) = begin();
        large.send(b"12345").unwrap();
        large.send(b"6789").unwrap();
        assert!(matches!(refused.await.unwrap(), Err(Incomplete::TooLarge)));
        assert_eq!(bodies.kept.lock().bytes, 0);
        assert!(bodies.kept.lock().bodies.is_empty());
    }
}
