//! Whether the hub gets the CPU time that it needs. Pure: time and lateness come in as arguments.

use std::collections::VecDeque;

/// The hub's own timers are late: it is starved of CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Starved {
    /// Since when, epoch ms.
    pub since: i64,
    /// How late its timers were in the last ten seconds, all together.
    pub late_ms: u64,
}

/// How late the hub's own timers were lately.
#[derive(Debug, Default)]
pub(super) struct Starvation {
    /// (when, how late), oldest first.
    lately: VecDeque<(u64, u64)>,
    since: Option<i64>,
}

impl Starvation {
    /// A timer went off this late. Whether that is when starvation begins.
    pub(super) fn late(&mut self, now: u64, wall: i64, late_ms: u64) -> bool {
        self.forget(now);
        if self.lately.len() >= MOST {
            // Near enough: so many are starvation anyway.
            self.lately.pop_front();
        }
        self.lately.push_back((now, late_ms));
        if self.since.is_none() && self.sum() >= STARVED_MS {
            self.since = Some(wall);
            return true;
        }
        false
    }

    /// A timer went off in time. Whether that is when starvation ends.
    pub(super) fn in_time(&mut self, now: u64) -> bool {
        self.forget(now);
        if self.since.is_some() && self.lately.is_empty() {
            self.since = None;
            return true;
        }
        false
    }

    /// What is to be told, while it lasts.
    pub(super) fn starved(&self) -> Option<Starved> {
        let late_ms = self.sum();
        self.since.map(|since| Starved { since, late_ms })
    }

    fn sum(&self) -> u64 {
        self.lately.iter().map(|(_, late)| late).sum()
    }

    fn forget(&mut self, now: u64) {
        while self
            .lately
            .front()
            .is_some_and(|(at, _)| at.saturating_add(WINDOW_MS) <= now)
        {
            self.lately.pop_front();
        }
    }
}

/// What counts as lately.
const WINDOW_MS: u64 = 10_000;
/// So late in that time, all together, is starvation; a single hiccup isn't.
const STARVED_MS: u64 = 500;
/// Latenesses that are remembered, at most.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_with_half_a_second_in_ten_and_ends_after_ten_without() {
        let mut starvation = Starvation::default();
        assert!(!starvation.late(1_000, 70, 300));
        assert_eq!(starvation.starved(), None, "a hiccup");
        assert!(starvation.late(2_000, 71, 200));
        let starved = Starved {
            since: 71,
            late_ms: 500,
        };
        assert_eq!(starvation.starved(), Some(starved));
        assert!(!starvation.late(3_000, 72, 100), "it has begun");
        assert!(!starvation.in_time(12_999));
        assert_eq!(starvation.starved().map(|it| it.late_ms), Some(100));
        assert!(starvation.in_time(13_000));
        assert_eq!(starvation.starved(), None);
    }

    #[test]
    fn scattered_hiccups_are_no_starvation() {
        let mut starvation = Starvation::default();
        for at in 0..100 {
            assert!(!starvation.late(at * 5_000, 0, 200), "{at}");
        }
    }
}
