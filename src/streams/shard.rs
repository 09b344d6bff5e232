//! One loop and the streams that it owns.

mod catch_up;
mod core;
mod pace;
mod pass;
mod sweep;

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use slab::Slab;

use super::{
    Closing, Opening, Shared, Sink,
    batch::Batch,
    groups::{Groups, Wish},
    port::{Command, Key, Port, Whose},
    reading::{Making, Pool},
    subscriber::{Backlog, Ending, Subscriber},
};
use crate::{
    event_log::{LogReader, ReadError},
    tail::{Tail, Wake},
};
use catch_up::Next;
use core::Core;
use pace::pause_after;

/// Wakes the loop; no stream has this token, since generations begin at 1.
const WAKE: mio::Token = mio::Token(0);

/// Events of the poll that are taken at a time.
const POLL_EVENTS: usize = 1024;

/// Streams that are behind and get their turn before the loop looks at all else again.
const TURNS: usize = 64;

/// Ends that are remembered for streams that were admitted before them and opened after.
const ENDS: usize = 64;

/// Bytes of log pages that blocked streams of one loop may keep; beyond it they drop them and read again.
const HELD_BYTES: usize = 64 << 20;

/// What all loops share.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) shared: Arc<Shared>,
    pub(super) tail: Arc<Tail>,
    pub(super) log: Arc<dyn LogReader>,
    pub(super) readers: Arc<Pool>,
    pub(super) openers: Arc<Pool>,
}

/// One loop.
pub(super) struct Shard {
    core: Core,
    streams: Slab<Subscriber>,
    /// Streams that are behind and have something to do.
    ready: VecDeque<Key>,
    /// Streams that begin after a place that the loop hasn't reached.
    ahead: Vec<Key>,
    /// The last ends: number, whose and how.
    ends: VecDeque<(u64, Whose, Closing, Instant)>,
    next_sweep: u64,
    generation: u32,
    /// No pass before then.
    paused_until: Option<Instant>,
}

impl Shard {
    pub(super) fn new(number: usize, around: Around) -> io::Result<Self> {
        let Around {
            shared,
            tail,
            log,
            readers,
            openers,
        } = around;
        let poll = mio::Poll::new()?;
        let wake = Arc::new(Wake::new(mio::Waker::new(poll.registry(), WAKE)?));
        tail.watch(wake.clone());
        let core = Core {
            cursor: tail.head(),
            shared,
            tail,
            log,
            readers,
            openers,
            port: Arc::new(Port::new(wake)),
            poll,
            groups: Groups::default(),
            now: 0,
            started: Instant::now(),
            number,
            batch: Batch::default(),
            pages: Vec::new(),
            deliveries: 0,
            held: 0,
            random: super::random(),
        };
        Ok(Self {
            core,
            streams: Slab::new(),
            ready: VecDeque::new(),
            ahead: Vec::new(),
            ends: VecDeque::new(),
            next_sweep: u64::MAX,
            generation: 0,
            paused_until: None,
        })
    }

    pub(super) fn port(&self) -> &Arc<Port> {
        &self.core.port
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let mut events = mio::Events::with_capacity(POLL_EVENTS);
        let mut commands = Vec::new();
        loop {
            self.core.tick();
            self.core.port.take(&mut commands);
            for command in commands.drain(..) {
                if matches!(command, Command::Stop) {
                    return;
                }
                self.obey(command);
            }
            self.pass_unless_paused();
            self.take_turns();
            if self.core.now >= self.next_sweep {
                self.sweep();
            }
            self.core.count_deliveries();
            if let Err(error) = self.wait(&mut events) {
                tracing::error!("a loop of the streams can't poll: {error}");
                return;
            }
            self.core.tick();
            for event in &events {
                if event.token() != WAKE {
                    self.react(event);
                }
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self, events: &mut mio::Events) -> io::Result<()> {
        let mut busy = self.is_busy();
        if !busy && self.paused_until.is_none() {
            // Whoever has news after this wakes the poll; whoever had some before is seen now.
            self.core.port.wake().doze();
            busy = self.is_busy();
        }
        let timeout = match (busy, self.paused_until, self.next_sweep) {
            (true, _, _) => Some(Duration::ZERO),
            // Nobody wakes a loop that pauses, which is soon over.
            (false, Some(until), _) => Some(until.saturating_duration_since(Instant::now())),
            (false, None, u64::MAX) => None,
            (false, None, at) => Some(Duration::from_millis(at.saturating_sub(self.core.now))),
        };
        let polled = self.core.poll.poll(events, timeout);
        self.core.port.wake().rise();
        match polled {
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    fn is_busy(&self) -> bool {
        !self.ready.is_empty()
            || !self.core.port.is_empty()
            || (self.paused_until.is_none() && self.core.tail.head() > self.core.cursor)
    }

    /// Delivers what is new, unless the last pass was long and has only just ended.
    fn pass_unless_paused(&mut self) {
        let began = Instant::now();
        if self.paused_until.is_some_and(|until| began < until) {
            return;
        }
        self.paused_until = None;
        self.pass();
        let ended = Instant::now();
        self.paused_until = pause_after(ended - began).map(|pause| ended + pause);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open(opening, sink) => self.open(*opening, sink),
            Command::End {
                whose,
                closing,
                deadline,
                number,
            } => self.end(whose, closing, deadline, number),
            Command::Room(key) => self.unblock(key),
            Command::Gone(key) => self.client_left(key),
            Command::Read(key, page) => self.take_page(key, page),
            Command::Made(key, made) => self.take_opening(key, made),
            Command::Stop => {}
        }
    }

    fn open(&mut self, opening: Opening, sink: Sink) {
        let Opening {
            filter,
            format,
            after,
            opened,
            prologue,
            owner,
            permit,
            verdict: _,
        } = opening;
        let earlier = self
            .ends
            .iter()
            .find(|(number, whose, _, _)| permit.is_older_than(*number) && whose.includes(owner));
        let ending = earlier.map(|(_, _, closing, deadline)| self.core.ending(*closing, *deadline));
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let group = self.core.groups.join(Wish { filter, format });
        let backlog = Backlog {
            cursor: after,
            rest: opened.into(),
            prologue,
            ending,
            ..Backlog::default()
        };
        let index = self.streams.insert(Subscriber {
            sink,
            generation: self.generation,
            group: small(group),
            live_at: 0,
            told_at: self.core.now,
            backlog: Some(Box::new(backlog)),
            owner,
            _permit: permit,
        });
        let key = Key {
            index: small(index),
            generation: self.generation,
        };
        let registry = self.core.poll.registry();
        if self.streams[index]
            .sink
            .attach(key, &self.core.port, registry)
            .is_err()
        {
            self.client_left(key);
            return;
        }
        self.sweep_by(self.core.now + self.core.keepalive());
        self.queue(key);
    }

    fn end(&mut self, whose: Whose, closing: Closing, deadline: Instant, number: u64) {
        if self.ends.len() == ENDS {
            self.ends.pop_front();
        }
        let ending = self.core.ending(closing, deadline);
        let keys: Vec<Key> = self
            .streams
            .iter()
            .filter(|(_, stream)| whose.includes(stream.owner))
            .map(|(index, stream)| Key {
                index: small(index),
                generation: stream.generation,
            })
            .collect();
        self.ends.push_back((number, whose, closing, deadline));
        for key in keys {
            self.demote(key);
            if let Some(backlog) = self.backlog(key)
                && backlog.ending.is_none()
            {
                backlog.ending = Some(ending);
                self.queue(key);
            }
        }
        self.sweep_by(ending.deadline);
    }

    /// Takes a live stream out of its group, to go on by itself.
    fn demote(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key.index as usize) else {
            return;
        };
        if stream.backlog.is_none() {
            stream.backlog = Some(Box::new(Backlog::at(
                self.core.cursor,
                Bytes::new(),
                self.core.now,
            )));
            let (group, at) = (stream.group, stream.live_at);
            self.leave_live(group, at);
        }
    }

    /// Takes a member from its group's live ones.
    fn leave_live(&mut self, group: u32, at: u32) {
        let live = &mut self.core.groups.get_mut(group as usize).live;
        live.swap_remove(at as usize);
        if let Some(moved) = live.get(at as usize) {
            self.streams[*moved as usize].live_at = at;
        }
    }

    /// The stream's backlog, where it is still there and behind.
    fn backlog(&mut self, key: Key) -> Option<&mut Backlog> {
        let stream = self.streams.get_mut(key.index as usize)?;
        if stream.generation == key.generation {
            stream.backlog.as_deref_mut()
        } else {
            None
        }
    }

    /// Lets a stream that is behind have its turn.
    fn queue(&mut self, key: Key) {
        if let Some(backlog) = self.backlog(key)
            && !backlog.queued
        {
            backlog.queued = true;
            self.ready.push_back(key);
        }
    }

    fn unblock(&mut self, key: Key) {
        let Some(backlog) = self.backlog(key) else {
            return;
        };
        if backlog.blocked {
            backlog.blocked = false;
            let held = mem::take(&mut backlog.held);
            self.core.held -= held;
            self.queue(key);
        }
    }

    fn take_opening(&mut self, key: Key, made: Option<(Bytes, Making)>) {
        if let Some(backlog) = self.backlog(key) {
            backlog.opening = false;
            if let Some((piece, making)) = made {
                backlog.rest = piece;
                backlog.prologue = Some(making.0);
            }
            self.queue(key);
        }
    }

    fn take_page(&mut self, key: Key, page: Result<Batch, ReadError>) {
        let room = HELD_BYTES.saturating_sub(self.core.held);
        let Some(backlog) = self.backlog(key) else {
            return;
        };
        let asked = backlog.reading.take();
        let mut held = 0;
        match page {
            Err(error) => {
                tracing::warn!("a stream ends: {error}");
                let (deadline, until) = (self.core.now + 1000, 0);
                if let Some(backlog) = self.backlog(key) {
                    backlog.ending = Some(Ending {
                        closing: Closing::Failed,
                        until,
                        deadline,
                    });
                }
            }
            // A blocked stream may have dropped what this page follows.
            Ok(_) if asked != Some(backlog.read_up_to()) => {}
            Ok(page) if backlog.blocked && page.bytes.len() > room => drop(page),
            Ok(page) => {
                if backlog.blocked {
                    held = page.bytes.len();
                    backlog.held += held;
                }
                let gaps: Vec<_> = page.gaps.clone();
                if backlog.page.is_none() {
                    backlog.page = Some(page);
                    backlog.offset = 0;
                } else {
                    backlog.next = Some(page);
                }
                self.core.count_gaps(&gaps);
            }
        }
        self.core.held += held;
        if self.backlog(key).is_some_and(|backlog| !backlog.blocked) {
            self.queue(key);
        }
    }

    /// What the poll says of a socket.
    fn react(&mut self, event: &mio::event::Event) {
        let key = Key::of(event.token());
        let Some(stream) = self.streams.get_mut(key.index as usize) else {
            return;
        };
        if stream.generation != key.generation {
            return;
        }
        if event.is_error()
            || event.is_read_closed()
            || (event.is_readable() && !stream.sink.drain())
        {
            self.client_left(key);
        } else if event.is_writable() {
            self.unblock(key);
        }
    }

    fn client_left(&mut self, key: Key) {
        let said = self
            .backlog(key)
            .is_some_and(|backlog| backlog.lingers_until.is_some());
        // The end of a stream that said goodbye is counted already.
        self.remove(key, if said { None } else { Some("client") });
    }

    /// Gives streams that are behind their turn, each a bounded one.
    fn take_turns(&mut self) {
        for _ in 0..TURNS.min(self.ready.len()) {
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            let Some(stream) = self.streams.get_mut(key.index as usize) else {
                continue;
            };
            if stream.generation != key.generation {
                continue;
            }
            if let Some(backlog) = stream.backlog.as_deref_mut() {
                backlog.queued = false;
            }
            match self.core.catch_up(stream, key) {
                Next::Live => {
                    stream.backlog = None;
                    let live = &mut self.core.groups.get_mut(stream.group as usize).live;
                    stream.live_at = small(live.len());
                    live.push(key.index);
                }
                Next::Again => self.queue(key),
                Next::Ahead => self.ahead.push(key),
                Next::Wait => {}
                Next::Blocked => self.sweep_by(self.core.now + self.core.stall_timeout()),
                Next::Lingers(until) => self.sweep_by(until),
                Next::Over(reason) => self.remove(key, reason),
            }
        }
    }

    /// Forgets a stream and closes its sink.
    fn remove(&mut self, key: Key, reason: Option<&'static str>) {
        let Some(stream) = self.streams.get(key.index as usize) else {
            return;
        };
        if stream.generation != key.generation {
            return;
        }
        if stream.backlog.is_none() {
            let (group, at) = (stream.group, stream.live_at);
            self.leave_live(group, at);
        }
        let mut stream = self.streams.remove(key.index as usize);
        self.core.groups.leave(stream.group as usize);
        self.core.held -= stream.backlog.map_or(0, |backlog| backlog.held);
        stream.sink.detach(self.core.poll.registry());
        if let Some(reason) = reason {
            self.core
                .shared
                .metrics
                .streams_ended
                .with_label_values(&[reason])
                .inc();
        }
    }

    /// Makes sure that a sweep comes by then.
    fn sweep_by(&mut self, at: u64) {
        self.next_sweep = self.next_sweep.min(at);
    }
}

/// Indexes of streams and groups: at most as many as there are open files.
fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
