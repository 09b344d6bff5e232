//! What is known of one connection: which of its requests are under way, since when it is quiet, whether it is to go.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{Request, Version, header::EXPECT},
};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use super::answer::Held;

/// A body of which this much or less is left is read to its end, for the sake of the connection.
const REST: u64 = 64 * 1024;

/// How long that may take.
const REST_PATIENCE: Duration = Duration::from_millis(100);

/// A length that nobody announced.
const UNKNOWN: u64 = u64::MAX;

/// What the parts that serve a connection tell each other.
#[derive(Debug)]
pub(super) struct Talk {
    site: IpAddr,
    born: Instant,
    /// Requests that came so far.
    asked: AtomicU64,
    /// Those of them whose answer isn't out yet.
    open: AtomicUsize,
    /// Since when none is open, ms.
    quiet_since: AtomicU64,
    /// The socket takes nothing at present.
    is_writing: AtomicBool,
    /// The requests come over HTTP/2, whose heads and bodies are mixed.
    mixed: AtomicBool,
    /// How long the last request's body is.
    body: AtomicU64,
    /// It hasn't been read to its end.
    unread: AtomicBool,
    /// The client waits to be told to go on before it sends it.
    expects: AtomicBool,
    /// What a handler left of it.
    rest: Mutex<Option<Incoming>>,
    /// What the client still sends is to be read for a moment when all is said.
    lingers: AtomicBool,
    leaving: AtomicBool,
    leave: Notify,
    /// Answers over HTTP/2 that are on their way.
    answers: Mutex<Vec<std::sync::Weak<Held>>>,
}

impl Talk {
    pub(super) fn new(site: IpAddr, born: Instant) -> Self {
        let talk = Self {
            site,
            born,
            asked: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            is_writing: AtomicBool::new(false),
            mixed: AtomicBool::new(false),
            body: AtomicU64::new(0),
            unread: AtomicBool::new(false),
            expects: AtomicBool::new(false),
            rest: Mutex::default(),
            lingers: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            leave: Notify::new(),
            answers: Mutex::default(),
        };
        talk.quiet_since.store(talk.now(), Relaxed);
        talk
    }

    /// A request is there, until what this returns is dropped; and its body, which is known here while it is read.
    pub(super) fn ask(self: &Arc<Self>, request: Request<Incoming>) -> (Asking, Request<Body>) {
        let is_mixed = request.version() == Version::HTTP_2;
        let has_body = !request.body().is_end_stream();
        let length = match (is_mixed, has_body) {
            (false, true) => request.body().size_hint().exact().unwrap_or(UNKNOWN),
            _ => 0,
        };
        self.mixed.store(is_mixed, Relaxed);
        self.body.store(length, Relaxed);
        self.unread.store(has_body && !is_mixed, Relaxed);
        self.expects
            .store(has_body && request.headers().contains_key(EXPECT), Relaxed);
        let asking = self.begin();
        let request = request.map(|body| {
            if !has_body {
                Body::empty()
            } else if is_mixed {
                Body::new(body)
            } else {
                Body::new(RequestBody {
                    body: Some(body),
                    talk: self.clone(),
                })
            }
        });
        (asking, request)
    }

    fn begin(self: &Arc<Self>) -> Asking {
        self.asked.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        Asking(self.clone())
    }

    #[cfg(test)]
    pub(super) fn ask_for_test(self: &Arc<Self>) -> Asking {
        self.begin()
    }

    /// Requests that came so far.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }

    pub(super) fn has_asked(&self) -> bool {
        self.asked() > 0
    }

    /// Whether requests are under way.
    pub(super) fn is_asking(&self) -> bool {
        self.open.load(Relaxed) > 0
    }

    /// Whether HTTP/2 is spoken, once a request has come.
    pub(super) fn is_mixed(&self) -> bool {
        self.mixed.load(Relaxed)
    }

    /// Bytes of the last request's body, where they were announced.
    pub(super) fn body_length(&self) -> Option<u64> {
        Some(self.body.load(Relaxed)).filter(|length| *length != UNKNOWN)
    }

    pub(super) fn site(&self) -> IpAddr {
        self.site
    }

    /// Milliseconds of the server's life.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Since when nothing is under way; `None` where something is.
    pub(super) fn quiet_since(&self) -> Option<u64> {
        let is_busy = self.is_asking() || self.is_writing.load(Relaxed);
        (!is_busy).then(|| self.quiet_since.load(Relaxed))
    }

    /// Notes whether the socket takes what is written.
    pub(super) fn set_writing(&self, is_writing: bool) {
        self.is_writing.store(is_writing, Relaxed);
    }

    /// Whether the client may still be sending what nobody wants to read. Little of it is read now, by which the
    /// connection can be kept.
    pub(super) async fn has_unread(&self) -> bool {
        if !self.unread.load(Relaxed) {
            return false;
        }
        let rest = self.rest.lock().take();
        let Some(mut rest) = rest else { return true };
        if self.expects.load(Relaxed) || rest.size_hint().upper().is_none_or(|most| most > REST) {
            return true;
        }
        let reading = async {
            loop {
                match rest.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return true,
                    None => return false,
                }
            }
        };
        timeout(REST_PATIENCE, reading).await.unwrap_or(true)
    }

    /// Has what the client still sends read for a moment when all is said.
    pub(super) fn linger(&self) {
        self.lingers.store(true, Relaxed);
    }

    pub(super) fn lingers(&self) -> bool {
        self.lingers.load(Relaxed)
    }

    /// Tells the connection to go.
    pub(super) fn send_away(&self) {
        self.leaving.store(true, Relaxed);
        self.leave.notify_one();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Returns when the connection is told to go.
    pub(super) async fn sent_away(&self) {
        self.leave.notified().await;
    }

    /// Watches over an answer whose client may take nothing of it.
    pub(super) fn watch_over(&self, answer: &Arc<Held>) {
        let mut answers = self.answers.lock();
        if answers.len() > 2 * self.open.load(Relaxed) + 8 {
            answers.retain(|answer| answer.strong_count() > 0);
        }
        answers.push(Arc::downgrade(answer));
    }

    /// Lets go of answers of which the client took nothing for so long; whether there were any.
    pub(super) fn let_go_of_stalled(&self, patience: Duration) -> bool {
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let latest = self.now().saturating_sub(patience);
        let mut answers = self.answers.lock();
        answers.retain(|answer| answer.strong_count() > 0);
        let stalled: Vec<_> = answers
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .filter(|answer| answer.waits_since().is_some_and(|since| since <= latest))
            .collect();
        drop(answers);
        stalled.iter().for_each(|answer| answer.let_go());
        !stalled.is_empty()
    }
}

/// A request whose answer isn't out yet.
#[derive(Debug)]
pub(super) struct Asking(Arc<Talk>);

impl Asking {
    pub(super) fn talk(&self) -> &Arc<Talk> {
        &self.0
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let talk = &self.0;
        // First the time, so that nobody takes it for quiet since long ago.
        talk.quiet_since.store(talk.now(), Relaxed);
        talk.open.fetch_sub(1, Relaxed);
    }
}

/// A request's body, which hands back what is left of it.
struct RequestBody {
    body: Option<Incoming>,
    talk: Arc<Talk>,
}

impl http_body::Body for RequestBody {
    type Data = bytes::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return std::task::Poll::Ready(None);
        };
        let frame = std::task::ready!(std::pin::Pin::new(&mut *body).poll_frame(cx));
        if frame.is_none() || body.is_end_stream() {
            this.talk.unread.store(false, Relaxed);
        }
        std::task::Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body
            .as_ref()
            .map_or_else(http_body::SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.talk.unread.load(Relaxed) {
            *self.talk.rest.lock() = self.body.take();
        }
    }
}
