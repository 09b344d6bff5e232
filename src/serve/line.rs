//! What lies between hyper and a connection: it hurries slow clients, and says in our words what hyper would
//! say in its own.
//!
//! Hyper knows one time-out for a head, which also runs while a kept connection is idle; here it runs from a head's
//! first byte on, also of one that came together with the request before it, and on a fresh connection (encrypted or
//! not, HTTP/1.1 or HTTP/2) until its first request is there. A client that takes nothing of its answer for too long is
//! cut as a stream's is. Where hyper finds no HTTP in what came it answers a bare status, which leaves as a problem from
//! here. And a client that may still be sending when all is said is heard out.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use prometheus::IntCounterVec;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{answers, connections::Seat, linger::Endings, talk::Talk};
use crate::{domain::Limit, http::problem::Problem};

/// How every bare refusal of hyper's begins. The router's own answers have more headers than these.
const REFUSAL: &[u8] = b"HTTP/1.1 4";

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a head, from its first byte on; for the first one from now on.
    pub(super) head: Duration,
    /// To take anything of its answer.
    pub(super) stall: Duration,
    /// Longest head, to be named where it is passed.
    pub(super) head_bytes: usize,
    /// Most lines of a head.
    pub(super) head_lines: usize,
}

/// A connection as hyper sees it.
pub(super) struct Line<I>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// Gone only once the line is.
    io: Option<I>,
    seat: Option<Seat>,
    talk: Arc<Talk>,
    endings: Endings,
    patience: Patience,
    /// Counts limits that are reached.
    reached: IntCounterVec,
    /// The requests that had come when a head was begun last.
    heard: u64,
    /// A head was begun that isn't whole yet, or the first one is awaited.
    begun: bool,
    /// Anything was read.
    spoken: bool,
    /// Bytes that came after the last head's end, or since the connection began.
    behind_head: u64,
    /// The last bytes of what was read before, in which a head's end may begin.
    edge: [u8; 3],
    late: Option<Pin<Box<Sleep>>>,
    stalled: Option<Pin<Box<Sleep>>>,
    /// What is still to be said in hyper's place.
    own: Bytes,
}

impl<I: AsyncRead + AsyncWrite + Send + Unpin> Line<I> {
    pub(super) fn new(
        io: I,
        seat: Seat,
        endings: Endings,
        patience: Patience,
        reached: IntCounterVec,
    ) -> Self {
        Self {
            io: Some(io),
            talk: seat.talk().clone(),
            seat: Some(seat),
            endings,
            patience,
            reached,
            heard: 0,
            begun: true,
            spoken: false,
            behind_head: 0,
            edge: [0; 3],
            late: None,
            stalled: None,
            own: Bytes::new(),
        }
    }

    fn io(&mut self) -> io::Result<Pin<&mut I>> {
        self.io
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Whether what is read now belongs to a head. While a request is open it belongs to its body.
    fn awaits_head(&mut self) -> bool {
        let asked = self.talk.asked();
        let mixed = asked > 0 && self.talk.is_mixed();
        if asked != self.heard && !self.talk.is_asking() {
            let body = self.talk.body_length();
            // More than the body has come with it: another head is begun.
            let begun = !mixed && body.is_some_and(|body| self.behind_head > body);
            (self.heard, self.begun, self.late) = (asked, begun, None);
            self.behind_head = if begun {
                self.behind_head - body.unwrap_or(0)
            } else {
                0
            };
        }
        !mixed && !self.talk.is_asking()
    }

    /// Looks for the end of a head in what came.
    fn hear(&mut self, came: &[u8], awaits_head: bool) {
        if self.talk.is_mixed() {
            return;
        }
        let ends = awaits_head.then(|| last_end(self.edge, came)).flatten();
        self.behind_head = match ends {
            Some(end) => (came.len() - end) as u64,
            None => self.behind_head.saturating_add(came.len() as u64),
        };
        for byte in &came[came.len().saturating_sub(3)..] {
            self.edge = [self.edge[1], self.edge[2], *byte];
        }
    }

    /// The head's time is up: tells a client that has begun one, and ends the reading.
    fn give_up(&mut self, cx: &mut Context<'_>) {
        self.count(Limit::HeaderTimeout);
        if self.spoken {
            self.own = answers::head_too_late(self.patience.head).into_http1();
            self.talk.linger();
            // There was nothing else to write, so there is room; who doesn't listen misses it.
            if self.say(cx).is_ready()
                && let Ok(io) = self.io()
            {
                let _flushed: Poll<io::Result<()>> = io.poll_flush(cx);
            }
        }
    }

    fn count(&self, limit: Limit) {
        self.reached.with_label_values(&[limit.name()]).inc();
    }

    /// Writes what is to be said in hyper's place.
    fn say(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.own.has_remaining() {
            let io = self.io.as_mut().ok_or(ErrorKind::NotConnected)?;
            let written = ready!(Pin::new(io).poll_write(cx, &self.own))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.own.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a bare refusal of hyper's for ours; says whether it was one.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        if !bytes.starts_with(REFUSAL) {
            return false;
        }
        let Some(problem) = refusal(bytes, self.patience, self.behind_head) else {
            return false;
        };
        self.talk.linger();
        if let Some(limit) = problem.limit {
            self.count(limit);
        }
        self.own = problem.into_http1();
        true
    }

    /// Hands on what a write led to, unless the client has taken nothing for too long.
    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        led_to: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.talk.set_writing(led_to.is_pending());
        if led_to.is_ready() {
            self.stalled = None;
            return led_to;
        }
        let patience = self.patience.stall;
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + AsyncWrite + Send + Unpin> AsyncRead for Line<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let awaits_head = this.awaits_head();
        let before = into.filled().len();
        let read = this.io()?.poll_read(cx, into);
        if read.is_ready() {
            let came = &into.filled()[before..];
            this.spoken |= !came.is_empty();
            this.begun |= !came.is_empty() && awaits_head;
            this.hear(came, awaits_head);
            return read;
        }
        if !(awaits_head && this.begun) {
            return Poll::Pending;
        }
        let patience = this.patience.head;
        let timer = this.late.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        this.give_up(cx);
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + AsyncWrite + Send + Unpin> AsyncWrite for Line<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.say(cx))?;
        if this.replaces(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = this.io()?.poll_write(cx, bytes);
        this.unless_stalled(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.say(cx))?;
        let flushed = this.io()?.poll_flush(cx);
        this.unless_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.say(cx))?;
        let shut = this.io()?.poll_shutdown(cx);
        this.unless_stalled(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.say(cx))?;
        if let [only] = slices
            && this.replaces(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let written = this.io()?.poll_write_vectored(cx, slices);
        this.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

impl<I: AsyncRead + AsyncWrite + Send + Unpin> Drop for Line<I> {
    fn drop(&mut self) {
        if self.talk.lingers()
            && let (Some(io), Some(seat)) = (self.io.take(), self.seat.take())
        {
            self.endings.hear_out(io, seat);
        }
    }
}

/// Where the last head that ends in what came ends; `edge` came before it.
fn last_end(edge: [u8; 3], came: &[u8]) -> Option<usize> {
    if let Some(at) = memchr::memmem::rfind(came, END) {
        return Some(at + END.len());
    }
    // A head's end that was cut: its last one to three bytes are the first that came.
    (1..END.len().min(came.len() + 1)).rev().find(|&count| {
        edge[count - 1..] == END[..END.len() - count] && came[..count] == END[END.len() - count..]
    })
}

/// How a head ends.
const END: &[u8] = b"\r\n\r\n";

/// The problem that stands for a bare refusal of hyper's: a head that ends what there is, and has no body. `None`
/// for anything else, the router's own answers among them, which say what they hold.
fn refusal(head: &[u8], patience: Patience, came: u64) -> Option<Problem> {
    let mut headers = [httparse::EMPTY_HEADER; 4];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        _ => return None,
    }
    let bare = response.headers.iter().all(|header| {
        ["content-length", "connection", "date"]
            .iter()
            .any(|known| header.name.eq_ignore_ascii_case(known))
    });
    if !bare {
        return None;
    }
    match response.code? {
        431 if came <= patience.head_bytes as u64 => {
            Some(answers::too_many_headers(patience.head_lines))
        }
        414 | 431 => Some(answers::head_too_large(patience.head_bytes)),
        400 => Some(answers::no_http()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_head_is_found_however_it_is_cut() {
        let text = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET";
        let end = text.len() - 3;
        for cut in 0..text.len() {
            let (before, came) = text.split_at(cut);
            let mut edge = [0; 3];
            for byte in before {
                edge = [edge[1], edge[2], *byte];
            }
            let found = last_end(edge, came).map(|at| cut + at);
            assert_eq!(found, (cut < end).then_some(end), "{cut}");
        }
        assert_eq!(last_end([0; 3], b"\r\n\r\n\r\n\r\nx"), Some(8));
    }
}
