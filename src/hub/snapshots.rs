//! Snapshots of the state: when one is due, and how it is made beside the writer.
//!
//! A thread writes the state down, part by part, and hands each to the writer, which keeps it between commits. The next
//! part is made once the last one is kept, so that a state of any size takes the memory of one or two parts.

use std::{
    cell::Cell,
    io,
    sync::mpsc::{SyncSender, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::{Hub, Request};
use crate::{
    domain::State,
    event_log::{AppendError, LogWriter, SNAPSHOT_PART},
};

/// What the thread asks of the writer, and waits for.
pub(super) struct Piece {
    what: What,
    /// Whether to go on. Dropped where the writer has ended.
    kept: SyncSender<bool>,
}

enum What {
    /// A snapshot begins that stands at this event.
    Begin(u64),
    /// More of it.
    Part(Vec<u8>),
    /// The last of it.
    Last(Vec<u8>),
    /// It can't be made.
    GivenUp(String),
}

/// When to keep the state: often enough that pruning never waits long and a start folds little, seldom enough
/// that it costs little of the time.
pub(super) struct Snapshots {
    /// The last event in the newest one.
    kept: u64,
    due: Instant,
    /// How long the last one took.
    took: Duration,
    making: Option<Making>,
}

struct Making {
    sequence: u64,
    began: Instant,
    thread: JoinHandle<()>,
}

impl Snapshots {
    /// With a first one due in a while; `kept` is the last event in the one that there is.
    pub(super) fn new(kept: u64) -> Self {
        Self {
            kept,
            due: Instant::now() + SNAPSHOT_EVERY,
            took: Duration::ZERO,
            making: None,
        }
    }

    /// Begins a snapshot where one is due: the state is shared with its thread, not copied.
    pub(super) fn look(&mut self, hub: &Hub) {
        if self
            .making
            .as_ref()
            .is_some_and(|it| it.thread.is_finished())
        {
            error!("the thread that keeps the state has broken off");
            self.ended();
        }
        let state = hub.state();
        if self.making.is_some() || state.sequence == self.kept || Instant::now() < self.due {
            return;
        }
        let (sequence, began) = (state.sequence, Instant::now());
        let requests = hub.0.requests.clone();
        let spawned = std::thread::Builder::new()
            .name("hub-snapshot".to_owned())
            .spawn(move || write_down(&state, &requests));
        match spawned {
            Ok(thread) => {
                self.making = Some(Making {
                    sequence,
                    began,
                    thread,
                });
            }
            Err(cause) => warn!("no thread for a snapshot: {cause}"),
        }
    }

    /// Keeps a piece; the thread goes on only where that went well.
    ///
    /// # Errors
    /// Where the log can't be written. The snapshot is given up, and another is due in a while.
    pub(super) fn take(
        &mut self,
        piece: Piece,
        log: &mut dyn LogWriter,
    ) -> Result<(), AppendError> {
        let Piece { what, kept } = piece;
        let is_last = matches!(what, What::Last(_) | What::GivenUp(_));
        let done = match what {
            What::Begin(sequence) => log.begin_snapshot(sequence),
            What::Part(part) => log.add_to_snapshot(&part),
            What::Last(part) => {
                let done = log.finish_snapshot(&part);
                if done.is_ok() {
                    self.note_kept();
                }
                done
            }
            What::GivenUp(cause) => {
                error!("the state can't be kept: {cause}");
                Ok(())
            }
        };
        // A thread that is gone already is joined below.
        let _ = kept.send(done.is_ok());
        if is_last || done.is_err() {
            self.ended();
        }
        done
    }

    /// Keeps the state once more, as the writer's last act; skipped or broken off where that would last beyond
    /// `deadline`, since the next start can fold what came after the snapshot before.
    pub(super) fn take_last(&mut self, state: &State, log: &mut dyn LogWriter, deadline: Instant) {
        self.ended();
        let left = deadline.saturating_duration_since(Instant::now());
        if state.sequence == self.kept || self.took > left {
            return;
        }
        if let Err(cause) = log.begin_snapshot(state.sequence) {
            info!("the last snapshot isn't kept: {cause}");
            return;
        }
        let mut parts = Parts::new(|part| {
            if Instant::now() >= deadline {
                return Err(io::Error::other("there is no time left for it"));
            }
            log.add_to_snapshot(&part).map_err(io::Error::other)
        });
        let written = state.save_to(&mut parts).map_err(io::Error::from);
        let last = parts.part;
        let kept = written.and_then(|()| log.finish_snapshot(&last).map_err(io::Error::other));
        if let Err(cause) = kept {
            info!("the last snapshot isn't kept ({cause}): the next start folds what came since");
        }
    }

    fn note_kept(&mut self) {
        if let Some(making) = &self.making {
            self.kept = making.sequence;
            self.took = making.began.elapsed();
        }
    }

    /// Waits for the thread, which ends at its next word with the writer, and makes another one due.
    fn ended(&mut self) {
        let Some(making) = self.making.take() else {
            return;
        };
        if making.thread.join().is_err() {
            error!("the thread that keeps the state had panicked");
        }
        self.due = Instant::now() + SNAPSHOT_EVERY.max(self.took * SNAPSHOT_SHARE);
    }
}

/// The thread's work: hands over the state part by part, until it is whole or not wanted any more.
fn write_down(state: &State, requests: &mpsc::Sender<Request>) {
    let wanted = Cell::new(true);
    let give = |what: What| -> io::Result<()> {
        let (kept, answer) = sync_channel(1);
        let piece = Piece { what, kept };
        let sent = requests.blocking_send(Request::Snapshot(piece)).is_ok();
        wanted.set(sent && answer.recv().unwrap_or(false));
        if wanted.get() {
            Ok(())
        } else {
            Err(io::Error::other("the writer doesn't want it any more"))
        }
    };
    let mut parts = Parts::new(|part| give(What::Part(part)));
    let written = give(What::Begin(state.sequence))
        .and_then(|()| state.save_to(&mut parts).map_err(io::Error::from));
    let last = parts.part;
    match written {
        // Whether it was kept, the writer knows best.
        Ok(()) => drop(give(What::Last(last))),
        Err(_) if !wanted.get() => {}
        Err(cause) => drop(give(What::GivenUp(cause.to_string()))),
    }
}

/// Cuts what is written into parts.
struct Parts<F> {
    part: Vec<u8>,
    give: F,
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Parts<F> {
    fn new(give: F) -> Self {
        Self {
            part: Vec::with_capacity(SNAPSHOT_PART),
            give,
        }
    }
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> io::Write for Parts<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() >= SNAPSHOT_PART {
            let full = std::mem::replace(&mut self.part, Vec::with_capacity(SNAPSHOT_PART));
            (self.give)(full)?;
        }
        let taken = bytes.len().min(SNAPSHOT_PART - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A snapshot at most this often,
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);
/// and at most one part in so many of the time spent on them.
const SNAPSHOT_SHARE: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Command, Epoch, Event, Policy, Position, command::SwitchPattern},
        event_log,
    };

    /// A state whose bytes take several parts.
    fn large() -> State {
        let (mut state, policy) = (State::default(), Policy::default());
        for n in 0..20 {
            let command = Command::SwitchPattern(SwitchPattern {
                name: format!("custom_{n}"),
                enabled: true,
                description: Some("x".repeat(100_000)),
                source: "api",
                occurred_at: None,
            });
            for what in state.decide(&command, &policy, 1).expect("taken").events {
                let position = Position {
                    epoch: Epoch::from_random(0),
                    sequence: state.sequence + 1,
                };
                let event = Event {
                    position,
                    timestamp: 1,
                    what,
                };
                state.evolve(&event, &policy);
            }
        }
        state
    }

    #[test]
    fn the_last_snapshot_is_kept_in_parts_or_not_at_all() {
        let state = large();
        let mut log = event_log::open(None).expect("a log");
        let mut snapshots = Snapshots::new(0);
        let past = Instant::now();
        snapshots.take_last(&state, &mut *log.writer, past);
        assert_eq!(log.reader.load_snapshot().expect("read"), None, "no time");

        let later = Instant::now() + Duration::from_secs(60);
        snapshots.take_last(&state, &mut *log.writer, later);
        let (at, bytes) = log.reader.load_snapshot().expect("read").expect("kept");
        assert_eq!(at, state.sequence);
        assert!(bytes.len() > 4 * SNAPSHOT_PART);
        let restored = State::restore_from(&bytes[..]).expect("whole");
        assert_eq!(restored.save().expect("JSON"), state.save().expect("JSON"));
        assert_eq!(bytes, state.save().expect("JSON"));
    }

    #[test]
    fn one_that_would_last_too_long_is_not_begun() {
        let state = large();
        let mut log = event_log::open(None).expect("a log");
        let mut snapshots = Snapshots::new(0);
        snapshots.took = Duration::from_secs(600);
        let soon = Instant::now() + Duration::from_secs(60);
        snapshots.take_last(&state, &mut *log.writer, soon);
        assert_eq!(log.reader.load_snapshot().expect("read"), None);
    }
}
