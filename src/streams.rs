//! The fan-out: every open stream, spread over a few loops that each own theirs.
//!
//! A stream is a cursor. One that has caught up lives in a group with all others that want the same; a new
//! page is tested once for each group, and each of its sockets gets one write. One that is behind reads the
//! window, or the log page by page, at its own pace. No queue stands between the writer and a socket, no lock
//! is held while writing, and nothing is encoded or allocated for a single delivery.

mod batch;
mod groups;
pub mod handoff;
mod port;
mod reading;
mod shard;
mod sink;
mod subscriber;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    collections::HashSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use sink::{Sink, StreamBody, body};

use crate::{
    event_log::LogReader, filter::Filter, frame::Format, metrics::Metrics, subscription::Verdict,
    tail::Tail,
};
use port::{Command, Port, Whose};

/// What streams go by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A bookmark after this long without a frame.
    pub keepalive: Duration,
    /// What `retry:` says.
    pub retry: Duration,
    /// A socket that takes nothing for this long is closed.
    pub stall_timeout: Duration,
    /// Most streams at once.
    pub max_clients: usize,
    /// Loops; `None` takes one for every two cores, four at most: a core that writes to sockets all the time
    /// leaves another busy with requests, the log, and the system's own part of the work.
    pub shards: Option<usize>,
}

/// Why the hub ends or refuses a stream on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The hub shuts down.
    Draining,
    /// Too many streams.
    Busy,
    /// The log couldn't be read; the client is told that the hub is busy.
    Failed,
    /// The pattern is off.
    Disabled,
    /// The client's right to it has ended.
    CredentialsExpired,
}

impl Closing {
    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Busy | Self::Failed => "busy",
            Self::Disabled => "disabled",
            Self::CredentialsExpired => "credentials_expired",
        }
    }

    /// What metrics call it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Failed => "error",
            other => other.as_str(),
        }
    }

    /// What `retry:` says: 30 s where a pattern is off, otherwise 1 to 10 times `retry`, by a random number,
    /// so that clients that leave together don't come back together.
    #[must_use]
    pub fn retry(self, retry: Duration, random: u64) -> Duration {
        match self {
            Self::Disabled => Duration::from_secs(30),
            _ => retry + retry.mul_f64(9.0 * (random >> 11) as f64 / (1_u64 << 53) as f64),
        }
    }
}

/// What a stream starts with, piece by piece, each a whole number of frames. Made when there is room for it, on a thread of
/// its own; an empty one says that the next takes a while, and that others shall have their turn.
pub type Prologue = Box<dyn Iterator<Item = Bytes> + Send>;

/// A stream to open.
pub struct Opening {
    /// What it wants.
    pub filter: Filter,
    /// In which form.
    pub format: Format,
    /// It delivers what comes after this sequence.
    pub after: u64,
    /// `stream_opened`. A response's head that is yet to be written stands before it.
    pub opened: Vec<u8>,
    /// What follows it: the parts of a snapshot.
    pub prologue: Option<Prologue>,
    /// How the start relates to what was asked.
    pub verdict: Verdict,
    /// Whose right it lives by, for [`Streams::end_owners`].
    pub owner: Option<u64>,
    /// Its place among the clients.
    pub permit: Permit,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening")
            .field("filter", &self.filter)
            .field("format", &self.format)
            .field("after", &self.after)
            .field("verdict", &self.verdict)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// A client's place, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    /// How often streams had been ended when it was given out.
    ends: u64,
    /// What else is given back with it.
    held: Option<Box<dyn Any + Send + Sync>>,
}

impl Permit {
    /// Keeps something for as long as the stream is open, beside what it keeps already.
    #[must_use]
    pub fn holding(mut self, held: impl Any + Send + Sync) -> Self {
        self.held = Some(match self.held.take() {
            Some(earlier) => Box::new((earlier, held)),
            None => Box::new(held),
        });
        self
    }
}

/// What the handle, the loops and the permits share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    metrics: Metrics,
    count: AtomicUsize,
    /// Rises with every [`Streams::end_all`] and [`Streams::end_owners`].
    ends: AtomicU64,
    /// Why no more streams are opened, for good.
    closed: Mutex<Option<Closing>>,
    /// Told whenever the last stream has gone.
    empty: Notify,
    /// How far each loop's slowest stream is behind the head.
    lags: Box<[AtomicU64]>,
}

/// All open streams. Dropping it ends its threads.
#[derive(Debug)]
pub struct Streams {
    shared: Arc<Shared>,
    ports: Vec<Arc<Port>>,
    next: AtomicUsize,
    pools: [Arc<reading::Pool>; 2],
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Streams {
    /// Starts the loops and the threads that read the log for them.
    ///
    /// # Errors
    /// Where a thread or a poll can't be made.
    pub fn start(
        settings: Settings,
        tail: Arc<Tail>,
        log: Arc<dyn LogReader>,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shards = settings.shards.unwrap_or((cores / 2).min(4)).max(1);
        let shared = Arc::new(Shared {
            settings,
            metrics,
            count: AtomicUsize::new(0),
            ends: AtomicU64::new(0),
            closed: Mutex::new(None),
            empty: Notify::new(),
            lags: (0..shards).map(|_| AtomicU64::new(0)).collect(),
        });
        let readers = Arc::new(reading::Pool::new(log.clone()));
        // Whoever comes back to a place doesn't wait for those who want all of the state.
        let openers = Arc::new(reading::Pool::new(log.clone()));
        let around = shard::Around {
            shared: shared.clone(),
            tail,
            log,
            readers: readers.clone(),
            openers: openers.clone(),
        };
        let mut streams = Self {
            shared,
            ports: Vec::new(),
            next: AtomicUsize::new(0),
            pools: [readers.clone(), openers.clone()],
            threads: Mutex::default(),
        };
        for number in 0..shards {
            let shard = shard::Shard::new(number, around.clone())?;
            streams.ports.push(shard.port().clone());
            let thread = thread::Builder::new()
                .name(format!("streams-{number}"))
                .spawn(move || shard.run())?;
            streams.threads.get_mut().push(thread);
        }
        for (name, pool) in [
            ("replay-0", &readers),
            ("replay-1", &readers),
            ("opening", &openers),
        ] {
            let pool = pool.clone();
            let thread = thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || pool.run())?;
            streams.threads.get_mut().push(thread);
        }
        Ok(streams)
    }

    /// What streams go by.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// How many are open, those about to be opened included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// A place for one more stream. Ask before looking at whether streams are allowed at all, so that none
    /// slips through while they are being ended.
    ///
    /// # Errors
    /// Why there is none: [`Closing::Busy`], or what [`Self::close`] said.
    pub fn admit(&self) -> Result<Permit, Closing> {
        if let Some(closing) = *self.shared.closed.lock() {
            return Err(closing);
        }
        let ends = self.shared.ends.load(Ordering::SeqCst);
        let before = self.shared.count.fetch_add(1, Ordering::SeqCst);
        let permit = Permit {
            shared: self.shared.clone(),
            ends,
            held: None,
        };
        self.shared.metrics.streams.inc();
        if before >= self.shared.settings.max_clients {
            Err(Closing::Busy)
        } else {
            Ok(permit)
        }
    }

    /// Counts a stream that was refused with `200` and `stream_closing`.
    pub fn refused(&self, closing: Closing) {
        self.shared
            .metrics
            .streams_ended
            .with_label_values(&[closing.label()])
            .inc();
    }

    /// Opens a stream on a sink.
    pub fn open(&self, opening: Opening, sink: Sink) {
        self.shared
            .metrics
            .streams_opened
            .with_label_values(&[opening.verdict.as_str()])
            .inc();
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.ports.len();
        self.ports[at].send(Command::Open(Box::new(opening), sink));
    }

    /// Opens a stream whose frames come out of the returned body.
    #[must_use]
    pub fn open_body(&self, opening: Opening) -> StreamBody {
        let (sink, body) = sink::body();
        self.open(opening, sink);
        body
    }

    /// Ends all open streams: each gets everything up to the present head, then `stream_closing`; one that is
    /// still behind at the deadline is cut between frames. New streams are still taken.
    pub fn end_all(&self, closing: Closing, deadline: Instant) {
        self.end(&Whose::All, closing, deadline);
    }

    /// Ends the streams of these owners alike. All at once: it takes a look at each stream, however many owners
    /// there are.
    pub fn end_owners(&self, owners: HashSet<u64>, closing: Closing, deadline: Instant) {
        self.end(&Whose::Owners(Arc::new(owners)), closing, deadline);
    }

    /// Ends all open streams and refuses new ones, for good.
    pub fn close(&self, closing: Closing, deadline: Instant) {
        *self.shared.closed.lock() = Some(closing);
        self.end_all(closing, deadline);
    }

    fn end(&self, whose: &Whose, closing: Closing, deadline: Instant) {
        let number = self.shared.ends.fetch_add(1, Ordering::SeqCst) + 1;
        for port in &self.ports {
            port.send(Command::End {
                whose: whose.clone(),
                closing,
                deadline,
                number,
            });
        }
    }

    /// Waits until no stream is open.
    pub async fn emptied(&self) {
        loop {
            let told = self.shared.empty.notified();
            if self.count() == 0 {
                return;
            }
            told.await;
        }
    }

    /// Ends the threads and waits for them; streams that are open are cut. Blocks.
    pub fn stop(&self) {
        for port in &self.ports {
            port.send(Command::Stop);
        }
        self.pools.iter().for_each(|pool| pool.stop());
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the streams had panicked");
            }
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Permit {
    /// Whether streams were ended since the place was given out.
    fn is_older_than(&self, end: u64) -> bool {
        self.ends < end
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.metrics.streams.dec();
        if self.shared.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.empty.notify_waiters();
        }
    }
}

/// A random number, to scatter reconnects with; never 0.
#[must_use]
pub fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) | 1
}
