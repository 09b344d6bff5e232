//! What lies between hyper and a connection: it hurries slow clients, and says in our words what hyper would
//! say in its own.
//!
//! Hyper knows one time-out for a head, which also runs while a kept connection is idle; here it runs from a head's
//! first byte on, and on a fresh connection (encrypted or not, HTTP/1.1 or HTTP/2) until its first request is
//! there. A client that takes nothing of its answer for too long is cut as a stream's is. And where hyper finds no HTTP in what
//! came it answers a bare status, which leaves as a problem from here.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::Version;
use bytes::{Buf, Bytes};
use prometheus::IntCounterVec;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::answers;
use crate::{domain::Limit, http::problem::Problem};

/// How every bare refusal of hyper's begins. The router's own answers have more headers than these.
const REFUSAL: &[u8] = b"HTTP/1.1 4";

/// What the service tells the line about the requests of its connection.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// Requests that came so far.
    asked: AtomicU64,
    /// Those of them that have no answer yet.
    open: AtomicUsize,
    /// They come over HTTP/2, whose heads and bodies are mixed: only the first one is waited for.
    mixed: AtomicBool,
}

impl Talk {
    /// A request is there, until what this returns is dropped.
    pub(super) fn ask(self: &Arc<Self>, version: Version) -> Asking {
        if version == Version::HTTP_2 {
            self.mixed.store(true, Ordering::Relaxed);
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Asking(self.clone())
    }
}

/// A request that has no answer yet.
pub(super) struct Asking(Arc<Talk>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a head, from its first byte on; for the first one from now on.
    pub(super) head: Duration,
    /// To take anything of its answer.
    pub(super) stall: Duration,
    /// Longest head, to be named where it is passed.
    pub(super) head_bytes: usize,
}

/// A connection as hyper sees it.
pub(super) struct Line<I> {
    io: I,
    talk: Arc<Talk>,
    patience: Patience,
    /// Counts limits that are reached.
    reached: IntCounterVec,
    /// The requests that had come when a head was begun last.
    heard: u64,
    /// A head was begun that isn't whole yet, or the first one is awaited.
    begun: bool,
    /// Anything was read.
    spoken: bool,
    late: Option<Pin<Box<Sleep>>>,
    stalled: Option<Pin<Box<Sleep>>>,
    /// What is still to be said in hyper's place.
    own: Bytes,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Line<I> {
    pub(super) fn new(io: I, talk: Arc<Talk>, patience: Patience, reached: IntCounterVec) -> Self {
        Self {
            io,
            talk,
            patience,
            reached,
            heard: 0,
            begun: true,
            spoken: false,
            late: None,
            stalled: None,
            own: Bytes::new(),
        }
    }

    /// Whether what is read now belongs to a head. While a request is open it belongs to its body.
    fn awaits_head(&mut self) -> bool {
        let asked = self.talk.asked.load(Ordering::Relaxed);
        if asked != self.heard {
            (self.heard, self.begun, self.late) = (asked, false, None);
        }
        let mixed = asked > 0 && self.talk.mixed.load(Ordering::Relaxed);
        !mixed && self.talk.open.load(Ordering::Relaxed) == 0
    }

    /// The head's time is up: tells a client that has begun one, and ends the reading.
    fn give_up(&mut self, cx: &mut Context<'_>) {
        self.count(Limit::HeaderTimeout);
        if self.spoken {
            self.own = answers::head_too_late(self.patience.head).into_http1();
            // There was nothing else to write, so there is room; who doesn't listen misses it.
            if self.say(cx).is_ready() {
                let _flushed: Poll<io::Result<()>> = Pin::new(&mut self.io).poll_flush(cx);
            }
        }
    }

    fn count(&self, limit: Limit) {
        self.reached.with_label_values(&[limit.name()]).inc();
    }

    /// Writes what is to be said in hyper's place.
    fn say(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.own.has_remaining() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.own))?;
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
        let Some(problem) = refusal(bytes, self.patience.head_bytes) else {
            return false;
        };
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

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Line<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let awaits_head = this.awaits_head();
        let before = into.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, into);
        if read.is_ready() {
            let some = into.filled().len() > before;
            this.spoken |= some;
            this.begun |= some && awaits_head;
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

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Line<I> {
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
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.unless_stalled(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.say(cx))?;
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        this.unless_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.say(cx))?;
        let shut = Pin::new(&mut this.io).poll_shutdown(cx);
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
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// The problem that stands for a bare refusal of hyper's: a head that ends what there is, and has no body. `None`
/// for anything else, the router's own answers among them, which say what they hold.
fn refusal(head: &[u8], most: usize) -> Option<Problem> {
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
        414 | 431 => Some(answers::head_too_large(most)),
        400 => Some(answers::no_http()),
        _ => None,
    }
}
