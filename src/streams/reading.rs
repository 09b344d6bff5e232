//! The threads that make what streams wait for, one piece each at a time: pages of the log for those that are behind
//! the window, and the frames that a stream begins with.

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};

use parking_lot::{Condvar, Mutex};

use super::{
    Prologue,
    batch::Batch,
    groups::Wish,
    port::{Command, Key, Port},
};
use crate::{
    event_log::{Epochs, Item, LogReader, Order, ReadError, ReadRange},
    frame::{
        control::{GapReason, write_gap},
        write_event,
    },
};

/// Bytes of frames after which a page is full.
const PAGE_BYTES: usize = 128 << 10;

/// Events that one page's read may look at, so that a filter that rarely matches lets others have their turn.
const SCAN_LIMIT: usize = 16 * 1024;

/// A page that a stream wants.
#[derive(Debug)]
pub(super) struct Job {
    /// Whom to tell.
    pub(super) port: Arc<Port>,
    /// Which stream.
    pub(super) key: Key,
    /// What it wants.
    pub(super) wish: Arc<Wish>,
    /// The place to go on after.
    pub(super) after: u64,
    /// The last event to consider.
    pub(super) until: u64,
}

/// What there is to do for a stream.
#[derive(Debug)]
pub(super) enum Work {
    /// A page of the log is to be read.
    Page(Job),
    /// The next of its opening frames is to be made.
    Opening {
        /// Whom to tell.
        port: Arc<Port>,
        /// Which stream.
        key: Key,
        /// What makes them.
        frames: Making,
    },
}

/// Opening frames that are made.
pub(super) struct Making(pub(super) Prologue);

impl std::fmt::Debug for Making {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Making").finish_non_exhaustive()
    }
}

/// Work that waits for threads. A stream has one piece in here at most, so it is bounded by the number of streams.
pub(super) struct Pool {
    log: Arc<dyn LogReader>,
    jobs: Mutex<Jobs>,
    some: Condvar,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Work>,
    stopped: bool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(log: Arc<dyn LogReader>) -> Self {
        Self {
            log,
            jobs: Mutex::default(),
            some: Condvar::new(),
        }
    }

    /// Asks for a piece; the answer comes to the stream's port.
    pub(super) fn ask(&self, work: Work) {
        self.jobs.lock().waiting.push_back(work);
        self.some.notify_one();
    }

    /// Lets [`Self::run`] return.
    pub(super) fn stop(&self) {
        let mut jobs = self.jobs.lock();
        jobs.stopped = true;
        jobs.waiting.clear();
        self.some.notify_all();
    }

    /// Works until it is told to stop.
    pub(super) fn run(&self) {
        loop {
            let mut jobs = self.jobs.lock();
            let work = loop {
                if jobs.stopped {
                    return;
                }
                match jobs.waiting.pop_front() {
                    Some(work) => break work,
                    None => self.some.wait(&mut jobs),
                }
            };
            drop(jobs);
            match work {
                Work::Page(job) => {
                    let page = read(self.log.as_ref(), &job);
                    job.port.send(Command::Read(job.key, page));
                }
                Work::Opening {
                    port,
                    key,
                    mut frames,
                } => {
                    let made = frames.0.next().map(|piece| (piece, frames));
                    port.send(Command::Made(key, made));
                }
            }
        }
    }
}

/// Reads one page of what a stream wants; gaps are told in their place.
fn read(log: &dyn LogReader, job: &Job) -> Result<Batch, ReadError> {
    let epochs = log.epochs();
    let mut page = Batch::default();
    let range = ReadRange {
        after: job.after,
        until: job.until,
        order: Order::Ascending,
        scan_limit: SCAN_LIMIT,
    };
    let scanned = log.read(&range, &job.wish.filter, &mut |item| {
        match item {
            Item::Event(record) => {
                write_event(
                    &mut page.bytes,
                    job.wish.format,
                    epochs.name(record.sequence),
                    &record,
                );
                page.end_frame(record.sequence);
            }
            Item::Corrupt { first, last } => {
                page.add_gap(&epochs, GapReason::Corrupt, first - 1, last)
            }
        }
        if page.bytes.len() < PAGE_BYTES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    if let Some(floor) = scanned.overtaken.filter(|place| *place > job.after) {
        page = page.behind_gap(&epochs, job.after, floor);
    }
    let reached = page.ends.last().map_or(0, |(_, place)| *place);
    page.through = scanned.through.max(reached).min(job.until.max(reached));
    if page.through <= job.after {
        return Err(ReadError(format!(
            "nothing was read between {} and {}",
            job.after, job.until
        )));
    }
    Ok(page)
}

impl Batch {
    /// Adds a gap: what lies after `after` up to and including `last` is missing.
    fn add_gap(&mut self, epochs: &Epochs, reason: GapReason, after: u64, last: u64) {
        write_gap(
            &mut self.bytes,
            reason,
            epochs.name(after),
            epochs.name(last),
            epochs.name(last + 1),
        );
        self.end_frame(last);
        self.gaps.push(reason);
    }

    /// The same, behind the news that retention dropped what lies after `after` up to `last`.
    fn behind_gap(mut self, epochs: &Epochs, after: u64, last: u64) -> Self {
        let mut all = Self::default();
        all.add_gap(epochs, GapReason::Expired, after, last);
        let base = u32::try_from(all.bytes.len()).unwrap_or(u32::MAX);
        all.bytes.append(&mut self.bytes);
        all.ends
            .extend(self.ends.iter().map(|(end, place)| (end + base, *place)));
        all.gaps.append(&mut self.gaps);
        all
    }
}
