//! One timer structure for all leases: exactly one entry each. A heartbeat never touches it: a timer that
//! goes off looks at its lease and is set anew where that was renewed.

use std::collections::BTreeMap;

use super::{Entry, suspicion::Suspicion};
use crate::domain::ServerId;

/// Timers by time, and what only the sum of them tells.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// (when, which connection): whose.
    queue: BTreeMap<(u64, u64), ServerId>,
    pub(super) suspicion: Suspicion,
}

/// A timer that went off.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) at: u64,
    pub(super) connection: u64,
    pub(super) server: ServerId,
}

impl Due {
    /// Whether it is the lease's present timer: another one has been set, or another connection made, meanwhile.
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        (entry.timer, entry.connection) == (self.at, self.connection)
    }
}

impl Timers {
    pub(super) fn arm(&mut self, entry: &Entry, server: &ServerId) {
        self.queue
            .insert((entry.timer, entry.connection), server.clone());
    }

    pub(super) fn disarm(&mut self, entry: &Entry) {
        self.queue.remove(&(entry.timer, entry.connection));
    }

    /// Takes out all that are due at this time.
    pub(super) fn take_due(&mut self, now: u64) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some(first) = self
            .queue
            .first_entry()
            .filter(|first| first.key().0 <= now)
        {
            let ((at, connection), server) = first.remove_entry();
            due.push(Due {
                at,
                connection,
                server,
            });
        }
        due
    }

    /// When the next goes off.
    pub(super) fn next(&self) -> Option<u64> {
        self.queue.first_key_value().map(|(key, _)| key.0)
    }
    /// How many there are: as many as leases, but for those that a look is at.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}
