//! Answers that take their time: a body whose next piece is made when the connection has room for it. No task stands
//! behind it; a client that goes away takes its answer with it.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::domain::Json;

/// Somebody with something to tell, bit by bit.
pub(super) trait Tell: Send + Sized + 'static {
    /// What comes next; `None`: nothing more.
    fn tell(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

type Making<T> = Pin<Box<dyn Future<Output = (T, Option<Bytes>)> + Send>>;

/// The body.
pub(super) struct Told<T> {
    teller: Option<T>,
    making: Option<Making<T>>,
    /// What goes out at once.
    first: Option<Bytes>,
}

impl<T> Told<T> {
    /// Begins with a comment, so that the head and a first byte leave at once.
    pub(super) fn by(teller: T) -> Self {
        Self {
            teller: Some(teller),
            making: None,
            first: Some(Bytes::from_static(b": begun\n\n")),
        }
    }
}

impl<T: Tell + Unpin> Body for Told<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.making.is_none() {
            let Some(mut teller) = self.teller.take() else {
                return Poll::Ready(None);
            };
            self.making = Some(Box::pin(async move {
                let piece = teller.tell().await;
                (teller, piece)
            }));
        }
        let Some(making) = &mut self.making else {
            return Poll::Ready(None);
        };
        let (teller, piece) = std::task::ready!(making.as_mut().poll(cx));
        self.making = None;
        self.teller = piece.is_some().then_some(teller);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A message as an SSE event, with the log's id where it stands for a place in it.
pub(super) fn message(id: Option<&str>, message: &Json) -> Bytes {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("{id}event: message\ndata: {}\n\n", message.as_str()).into()
}
