//! The thread that accepts connections and reads what each asks for first, outside of tokio's poll: a connection
//! that becomes a stream goes from here straight to its loop, without a task and without another wake-up.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, Waker, net::TcpListener};
use slab::Slab;

use super::{
    Limits,
    direct::{Fresh, Read},
};

const STOP: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);

/// Connections that are accepted before their first bytes are looked at: by then most are there.
const BATCH: usize = 64;

/// How long it waits where no socket can be accepted (no file descriptors are left, say).
const PAUSE: Duration = Duration::from_millis(50);

/// What becomes of accepted connections. Called on the accepting thread: quick.
pub(super) trait Reception: Send + 'static {
    /// Its first request is there, or as much as it takes to know that it is hyper's (`None`).
    fn asked(&mut self, fresh: Fresh, request: Option<super::direct::StreamRequest>);

    /// Its first request isn't there in time.
    fn late(&mut self, fresh: Fresh);
}

/// The accepting thread; told to stop when dropped.
pub(super) struct Acceptor {
    stopped: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<thread::JoinHandle<()>>,
}

impl Acceptor {
    /// Begins to accept.
    pub(super) fn start(
        listener: std::net::TcpListener,
        limits: &Limits,
        reception: impl Reception,
    ) -> io::Result<Self> {
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let entrance = Entrance {
            listener,
            poll,
            stopped: stopped.clone(),
            reception,
            limits: limits.clone(),
            waiting: Slab::new(),
            deadlines: VecDeque::new(),
            arrived: 0,
            more: true,
        };
        let thread = thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || entrance.run())?;
        Ok(Self {
            stopped,
            waker,
            thread: Some(thread),
        })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Fails only where the thread has ended by itself.
        let _: io::Result<()> = self.waker.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the accepting thread had panicked");
        }
    }
}

struct Entrance<R> {
    listener: TcpListener,
    poll: Poll,
    stopped: Arc<AtomicBool>,
    reception: R,
    limits: Limits,
    /// Connections whose first request isn't there yet, each with its number. At most `limits.heads`; more wait
    /// in the kernel.
    waiting: Slab<(u64, Fresh)>,
    /// When to give up on those, in order: number, index and time. Those that are gone are passed over.
    deadlines: VecDeque<(u64, usize, Instant)>,
    arrived: u64,
    /// The kernel may have more connections.
    more: bool,
}

impl<R: Reception> Entrance<R> {
    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut fresh = Vec::with_capacity(BATCH);
        while !self.stopped.load(Ordering::SeqCst) {
            let full = self.waiting.len() >= self.limits.heads;
            let timeout = if self.more && !full {
                Some(Duration::ZERO)
            } else {
                self.next_deadline()
            };
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != ErrorKind::Interrupted
            {
                tracing::error!("connections can't be waited for: {error}");
                return;
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.more = true,
                    STOP => {}
                    Token(index) => self.wake(index),
                }
            }
            self.give_up();
            while fresh.len() < BATCH
                && self.more
                && self.waiting.len() + fresh.len() < self.limits.heads
            {
                fresh.extend(self.accept());
            }
            for fresh in fresh.drain(..) {
                self.look_at(fresh);
            }
        }
    }

    fn accept(&mut self) -> Option<Fresh> {
        match self.listener.accept() {
            Ok((socket, remote)) => return Some(Fresh::new(socket, remote)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.more = false,
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!("no connection can be accepted: {error}");
                thread::sleep(PAUSE);
            }
        }
        None
    }

    fn look_at(&mut self, mut fresh: Fresh) {
        if self.limits.tls.is_some() {
            return self.reception.asked(fresh, None);
        }
        match fresh.read_request(self.limits.head_bytes) {
            Read::Request(request) => self.reception.asked(fresh, request),
            Read::Gone => {}
            Read::Partial => {
                let entry = self.waiting.vacant_entry();
                let index = entry.key();
                let registry = self.poll.registry();
                if registry
                    .register(&mut fresh.socket, Token(index), Interest::READABLE)
                    .is_ok()
                {
                    self.arrived += 1;
                    entry.insert((self.arrived, fresh));
                    let deadline = Instant::now() + self.limits.head_timeout;
                    self.deadlines.push_back((self.arrived, index, deadline));
                }
            }
        }
    }

    /// More bytes of a connection's first request are there.
    fn wake(&mut self, index: usize) {
        // One that was given up in this round may still have an event.
        let Some((_, fresh)) = self.waiting.get_mut(index) else {
            return;
        };
        let read = fresh.read_request(self.limits.head_bytes);
        if matches!(read, Read::Partial) {
            return;
        }
        let (_, mut fresh) = self.waiting.remove(index);
        if self.poll.registry().deregister(&mut fresh.socket).is_err() {
            return;
        }
        if let Read::Request(request) = read {
            self.reception.asked(fresh, request);
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let (_, _, at) = self.deadlines.front()?;
        // A millisecond later than the deadline rather than earlier, which would mean another round.
        Some(at.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    /// Closes connections that took too long, and forgets the deadlines of those that didn't.
    fn give_up(&mut self) {
        if self.deadlines.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some((number, index, at)) = self.deadlines.front().copied() {
            let waits = self
                .waiting
                .get(index)
                .is_some_and(|(other, _)| *other == number);
            if waits && at > now {
                return;
            }
            if waits {
                let (_, mut fresh) = self.waiting.remove(index);
                // Closing the socket takes it out of the poll, should this fail.
                let _: io::Result<()> = self.poll.registry().deregister(&mut fresh.socket);
                self.reception.late(fresh);
            }
            self.deadlines.pop_front();
        }
    }
}

/// Errors of one connection that say nothing about the next.
fn is_the_clients(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
