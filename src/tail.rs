//! The newest events in memory, encoded once and shared, and "the head moved".
//!
//! The window is a run of pages without a hole, newest last, bounded in bytes; whoever falls out of it reads
//! the log. Publishing never waits for a reader: it takes the window's lock for a few pointers and wakes each
//! watcher at most once until that has looked again.

pub mod page;

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::RwLock;

pub use page::Page;

use crate::{domain::Record, event_log::Epochs};

/// Bytes of encoded events and their index that the window holds by default, all forms together: those other than
/// `named` are made when somebody wants them, and older events leave for them.
pub const WINDOW_BYTES: usize = 64 << 20;

/// Bytes of encoded events after which a commit is split into another page.
const PAGE_BYTES: usize = 64 << 10;

/// The window over the newest events.
#[derive(Debug)]
pub struct Tail {
    window: RwLock<Window>,
    head: AtomicU64,
    limit: usize,
    /// Bytes of forms that pages made on demand.
    on_demand: Arc<AtomicUsize>,
    /// One per loop that waits for events: a handful, for the life of the server.
    watchers: RwLock<Vec<Arc<Wake>>>,
}

#[derive(Debug)]
struct Window {
    pages: VecDeque<Arc<Page>>,
    /// Bytes of the pages without forms made on demand.
    bytes: usize,
    /// The first event in it; `head + 1` where it is empty.
    floor: u64,
}

impl Tail {
    /// An empty window that stands at the log's head and will hold about `limit` bytes.
    #[must_use]
    pub fn new(head: u64, limit: usize) -> Self {
        let window = Window {
            pages: VecDeque::new(),
            bytes: 0,
            floor: head + 1,
        };
        Self {
            window: RwLock::new(window),
            head: AtomicU64::new(head),
            limit,
            on_demand: Arc::default(),
            watchers: RwLock::default(),
        }
    }

    /// Adds durable events that follow the head, encoded once, and wakes whoever waits for them.
    pub fn publish(&self, records: &[Record<'_>], epochs: &Epochs) {
        let Some(last) = records.last() else { return };
        let epoch = epochs.current();
        let mut pages = Vec::new();
        let mut rest = records;
        while !rest.is_empty() {
            let (page, taken) = Page::encode(epoch, rest, PAGE_BYTES, self.on_demand.clone());
            pages.push(Arc::new(page));
            rest = &rest[taken..];
        }
        let dropped = self.push(pages, self.head.load(Ordering::Relaxed));
        self.head.store(last.sequence, Ordering::Release);
        for watcher in self.watchers.read().iter() {
            watcher.wake();
        }
        // Old pages are given back here, outside the lock.
        drop(dropped);
    }

    fn push(&self, pages: Vec<Arc<Page>>, head: u64) -> Vec<Arc<Page>> {
        let mut dropped = Vec::new();
        let mut window = self.window.write();
        for page in pages {
            if page.first() != head + 1
                && window
                    .pages
                    .back()
                    .is_none_or(|last| last.last() + 1 != page.first())
            {
                // Not what follows: what is before the hole can't be reached from here.
                dropped.extend(window.pages.drain(..));
                window.bytes = 0;
                window.floor = page.first();
            }
            window.bytes += page.own_weight();
            window.pages.push_back(page);
        }
        let over = self.over(window.bytes);
        window.shrink(over, &mut dropped);
        dropped
    }

    /// Bytes that are too many, where the window's pages take `own` without forms made on demand.
    fn over(&self, own: usize) -> usize {
        (own + self.on_demand.load(Ordering::Relaxed)).saturating_sub(self.limit)
    }

    /// The newest event's sequence.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Whether all events after this place, as far as there are any, are in the window.
    #[must_use]
    pub fn covers(&self, after: u64) -> bool {
        after + 1 >= self.window.read().floor
    }

    /// Appends to `out` the pages that hold the events after this place, oldest first, until they weigh about
    /// `budget` bytes; the first may begin before the place. `false` where the window begins after it.
    pub fn pages(&self, after: u64, budget: usize, out: &mut Vec<Arc<Page>>) -> bool {
        let mut window = self.window.read();
        if self.over(window.bytes) > 0 {
            drop(window);
            self.make_room();
            window = self.window.read();
        }
        if after + 1 < window.floor {
            return false;
        }
        let start = window.pages.partition_point(|page| page.last() <= after);
        let mut bytes = 0;
        for page in window.pages.range(start..) {
            out.push(page.clone());
            bytes += page.weight();
            if bytes >= budget {
                break;
            }
        }
        true
    }

    /// Lets old pages go where forms that readers asked for have made the window too heavy while nothing was
    /// published.
    fn make_room(&self) {
        let mut dropped = Vec::new();
        let mut window = self.window.write();
        let over = self.over(window.bytes);
        window.shrink(over, &mut dropped);
        // Before the pages themselves are given back.
        drop(window);
    }

    /// Wakes `watcher` whenever the head has moved, from now on.
    pub fn watch(&self, watcher: Arc<Wake>) {
        self.watchers.write().push(watcher);
    }
}

impl Window {
    /// Moves the oldest pages to `dropped` until `over` bytes are gone, or all.
    fn shrink(&mut self, mut over: usize, dropped: &mut Vec<Arc<Page>>) {
        while over > 0 {
            let Some(oldest) = self.pages.pop_front() else {
                break;
            };
            self.bytes -= oldest.own_weight();
            over = over.saturating_sub(oldest.weight());
            self.floor = oldest.last() + 1;
            dropped.push(oldest);
        }
    }
}

/// Wakes a loop that sleeps in a poll: at most one system call until it has looked again.
#[derive(Debug)]
pub struct Wake {
    waker: mio::Waker,
    awake: AtomicBool,
}

impl Wake {
    /// Wakes through this waker. The loop counts as awake until it says [`Self::doze`].
    #[must_use]
    pub fn new(waker: mio::Waker) -> Self {
        Self {
            waker,
            awake: AtomicBool::new(true),
        }
    }

    /// Wakes the loop, unless it is awake and will look anyway before it sleeps.
    pub fn wake(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) {
            // Fails only when the poll is gone, and then nobody sleeps in it.
            let _: io::Result<()> = self.waker.wake();
        }
    }

    /// The loop is about to sleep: it must look for work once more after this call.
    pub fn doze(&self) {
        self.awake.store(false, Ordering::SeqCst);
    }

    /// The loop is awake again.
    pub fn rise(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Epoch, frame::Format};

    fn epochs() -> Epochs {
        Epochs::new(Vec::new(), Epoch::from_random(7), 0)
    }

    fn record(sequence: u64) -> Record<'static> {
        Record {
            sequence,
            timestamp: 1,
            kind: "a.b",
            server: None,
            workflow: None,
            tags: "",
            data: "{}",
            private: "",
        }
    }

    fn sequences(tail: &Tail, after: u64, budget: usize) -> Option<Vec<u64>> {
        let mut pages = Vec::new();
        tail.pages(after, budget, &mut pages).then(|| {
            pages
                .iter()
                .flat_map(|page| page.first()..=page.last())
                .filter(|n| *n > after)
                .collect()
        })
    }

    #[test]
    fn the_window_gives_what_follows_a_place() {
        let tail = Tail::new(0, WINDOW_BYTES);
        tail.publish(&[record(1), record(2)], &epochs());
        tail.publish(&[record(3)], &epochs());
        assert_eq!(tail.head(), 3);
        assert_eq!(sequences(&tail, 0, usize::MAX), Some(vec![1, 2, 3]));
        assert_eq!(sequences(&tail, 1, usize::MAX), Some(vec![2, 3]));
        assert_eq!(sequences(&tail, 0, 1), Some(vec![1, 2]));
        assert_eq!(sequences(&tail, 3, usize::MAX), Some(vec![]));
    }

    #[test]
    fn old_pages_leave_and_are_not_missed_silently() {
        let tail = Tail::new(0, 0);
        assert!(tail.covers(0));
        tail.publish(&[record(1)], &epochs());
        assert!(!tail.covers(0));
        assert!(tail.covers(1));
        assert_eq!(sequences(&tail, 0, usize::MAX), None);
    }

    #[test]
    fn all_forms_of_the_pages_share_the_bound() {
        let one = Tail::new(0, WINDOW_BYTES);
        one.publish(&[record(1)], &epochs());
        let mut pages = Vec::new();
        assert!(one.pages(0, usize::MAX, &mut pages));
        // Room for ten events in one form.
        let tail = Tail::new(0, 11 * pages[0].weight());
        let weight =
            |tail: &Tail| tail.window.read().bytes + tail.on_demand.load(Ordering::Relaxed);
        for n in 1..=10 {
            tail.publish(&[record(n)], &epochs());
        }
        assert!(tail.covers(0));
        for form in [Format::Message, Format::CloudEvents] {
            let mut after = tail.window.read().floor - 1;
            while after < tail.head() {
                let mut pages = Vec::new();
                if tail.pages(after, 1, &mut pages) {
                    assert!(weight(&tail) <= tail.limit, "when somebody reads");
                    assert!(!pages[0].frames(form).bytes.is_empty());
                }
                after += 1;
            }
        }
        tail.publish(&[record(11)], &epochs());
        assert!(
            weight(&tail) <= tail.limit,
            "and when there is something new"
        );
        assert!(tail.covers(10) && !tail.covers(3));
    }

    #[test]
    fn forms_of_a_page_are_forgotten_with_it() {
        let tail = Tail::new(0, 1);
        tail.publish(&[record(1)], &epochs());
        let tail = Tail {
            limit: WINDOW_BYTES,
            ..tail
        };
        tail.publish(&[record(2)], &epochs());
        let mut pages = Vec::new();
        assert!(tail.pages(1, usize::MAX, &mut pages));
        let made = pages[0].frames(Format::CloudEvents).bytes.len();
        assert!(tail.on_demand.load(Ordering::Relaxed) >= made);
        let tail = Tail { limit: 0, ..tail };
        tail.publish(&[record(3)], &epochs());
        assert!(
            tail.on_demand.load(Ordering::Relaxed) >= made,
            "while a reader has it"
        );
        pages.clear();
        assert_eq!(tail.on_demand.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_hole_empties_the_window() {
        let tail = Tail::new(5, WINDOW_BYTES);
        tail.publish(&[record(6)], &epochs());
        tail.publish(&[record(9)], &epochs());
        assert_eq!(sequences(&tail, 5, usize::MAX), None);
        assert_eq!(sequences(&tail, 8, usize::MAX), Some(vec![9]));
    }

    #[test]
    fn a_big_commit_is_split_into_pages() {
        let tail = Tail::new(0, WINDOW_BYTES);
        let records: Vec<_> = (1..=2000).map(record).collect();
        tail.publish(&records, &epochs());
        let mut pages = Vec::new();
        assert!(tail.pages(0, usize::MAX, &mut pages));
        assert!(pages.len() > 1);
        assert_eq!(sequences(&tail, 0, usize::MAX), Some((1..=2000).collect()));
    }
}
