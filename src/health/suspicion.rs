//! The hub's doubt about itself: where most of the fleet falls silent at once, it may be the hub that is
//! cut off. Pure: time and counts come in as arguments.

use std::collections::{BTreeSet, HashMap};

/// The hub's doubt about itself: most of the fleet fell silent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct SelfSuspect {
    /// Since when, epoch ms.
    pub since: i64,
    /// How many are silent.
    pub silent: u64,
}

/// Who is silent, and whether that is suspect.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// Silent connections, and when each missed its first heartbeat (lease time).
    silent: HashMap<u64, u64>,
    /// Those that missed it lately, oldest first.
    lately: BTreeSet<(u64, u64)>,
    /// Since when (epoch ms) it is suspect, and the most that were silent meanwhile.
    suspect: Option<(i64, usize)>,
}

/// What a look at the whole showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Suspect from now on.
    Begins,
    /// No longer.
    Ends,
}

impl Suspicion {
    /// A connection missed its first heartbeat.
    pub(super) fn fell_silent(&mut self, connection: u64, now: u64) {
        self.silent.insert(connection, now);
        self.lately.insert((now, connection));
    }

    /// It was heard of again, or isn't expected any more.
    pub(super) fn heard(&mut self, connection: u64) {
        if let Some(at) = self.silent.remove(&connection) {
            self.lately.remove(&(at, connection));
        }
    }

    /// Looks at the whole. It becomes suspect where, of three or more connected servers, more than half
    /// fell silent within `window` ms; it ends when half of the silent ones are back (or gone).
    pub(super) fn judge(
        &mut self,
        now: u64,
        wall: i64,
        window: u64,
        connected: usize,
    ) -> Option<Turn> {
        while self
            .lately
            .first()
            .is_some_and(|(at, _)| at.saturating_add(window) < now)
        {
            self.lately.pop_first();
        }
        match &mut self.suspect {
            None if connected >= LEAST_FLEET && 2 * self.lately.len() > connected => {
                self.suspect = Some((wall, self.silent.len()));
                Some(Turn::Begins)
            }
            None => None,
            Some((_, most)) => {
                *most = (*most).max(self.silent.len());
                if 2 * self.silent.len() > *most {
                    return None;
                }
                self.suspect = None;
                Some(Turn::Ends)
            }
        }
    }

    /// The doubt, while there is one.
    pub(super) fn suspect(&self) -> Option<SelfSuspect> {
        let silent = self.silent.len() as u64;
        self.suspect.map(|(since, _)| SelfSuspect { since, silent })
    }
}

/// Fewer servers than this say nothing about the hub.
const LEAST_FLEET: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// (connected, first misses at these times, looked at when) and whether it is suspect.
    #[test]
    fn more_than_half_of_three_or_more_within_the_window_are_suspect() {
        let table: [(usize, &[u64], u64, bool); 7] = [
            (2, &[0, 0], 0, false),
            (3, &[0], 0, false),
            (3, &[0, 5], 5, true),
            (4, &[0, 0], 0, false),
            (4, &[0, 0, 10], 10, true),
            (4, &[0, 0, 11], 11, false),
            (100, &[0; 51], 9, true),
        ];
        for (connected, misses, now, suspect) in table {
            let mut suspicion = Suspicion::default();
            for (connection, at) in (0..).zip(misses) {
                suspicion.fell_silent(connection, *at);
            }
            let turn = suspicion.judge(now, 7, 10, connected);
            assert_eq!(
                turn == Some(Turn::Begins),
                suspect,
                "{connected} {misses:?}"
            );
            let silent = misses.len() as u64;
            let expected = suspect.then_some(SelfSuspect { since: 7, silent });
            assert_eq!(suspicion.suspect(), expected);
        }
    }

    #[test]
    fn whoever_came_back_does_not_count() {
        let mut suspicion = Suspicion::default();
        suspicion.fell_silent(1, 0);
        suspicion.heard(1);
        suspicion.fell_silent(2, 1);
        assert_eq!(suspicion.judge(1, 0, 10, 3), None);
    }

    #[test]
    fn it_ends_when_half_of_the_silent_are_back() {
        let mut suspicion = Suspicion::default();
        (0..4).for_each(|connection| suspicion.fell_silent(connection, 0));
        assert_eq!(suspicion.judge(0, 0, 10, 5), Some(Turn::Begins));
        suspicion.heard(0);
        assert_eq!(suspicion.judge(50, 0, 10, 5), None);
        suspicion.heard(1);
        assert_eq!(suspicion.judge(60, 0, 10, 5), Some(Turn::Ends));
        assert_eq!(suspicion.suspect(), None);
    }
}
