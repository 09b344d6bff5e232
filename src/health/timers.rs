//! One timer structure for all leases: exactly one entry each. A heartbeat never touches it: a timer that
//! goes off looks at its lease and is set anew where that was renewed.

use std::collections::BTreeSet;

use super::{Entry, suspicion::Suspicion};

/// Timers by time, and what only the sum of them tells.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// (when, which connection).
    queue: BTreeSet<(u64, u64)>,
    pub(super) suspicion: Suspicion,
}

/// A timer that went off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) at: u64,
    pub(super) connection: u64,
}

impl Due {
    /// Whether it is the lease's present timer: another one may have been set meanwhile.
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        entry.timer == self.at
    }
}

impl Timers {
    pub(super) fn arm(&mut self, connection: u64, at: u64) {
        self.queue.insert((at, connection));
    }

    pub(super) fn disarm(&mut self, connection: u64, at: u64) {
        self.queue.remove(&(at, connection));
    }

    /// Takes out all that are due at this time.
    pub(super) fn take_due(&mut self, now: u64) -> Vec<Due> {
        let later = self.queue.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut self.queue, later);
        due.into_iter()
            .map(|(at, connection)| Due { at, connection })
            .collect()
    }

    /// When the next goes off.
    pub(super) fn next(&self) -> Option<u64> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// How many there are: as many as leases, but for those that a look is at.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}
