//! What heartbeats mean: the rules of a lease, in virtual time.
//!
//! A lease counts silence in intervals: heartbeat k is missed at last seen + (k + ½) intervals. Only
//! [`Lease::elapse`] counts misses, so that whoever runs the timers decides what a stall of theirs is
//! worth. Invariant: the lease's own verdict never gets better by time passing, nor worse by a heartbeat.
//! Times are milliseconds of a clock that is never set back; nothing here reads one.

mod condition;
mod evidence;
mod heartbeat;

use std::sync::Arc;

use super::event::Health;

pub use condition::{Condition, Report};
pub use evidence::{name, words};
pub use heartbeat::Heartbeat;

/// What the operator set that health depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// `INTEGRATION_HEARTBEAT_INTERVAL_MS`: within this time, silence of most of the fleet is suspect.
    pub interval_ms: u64,
    /// `INTEGRATION_HEARTBEAT_UNHEALTHY_AFTER`: so many missed heartbeats are unhealthy.
    pub unhealthy_after: u32,
    /// `INTEGRATION_HEARTBEAT_DISCONNECT_AFTER`: so many are a disconnect.
    pub disconnect_after: u32,
    /// `INTEGRATION_HEARTBEAT_RECOVER_AFTER`: so many good heartbeats, or better reports, heal.
    pub recover_after: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            interval_ms: 10_000,
            unhealthy_after: 3,
            disconnect_after: 10,
            recover_after: 2,
        }
    }
}

/// A connected instance's right to count as connected, and what the coming and missing of its heartbeats says. What
/// it says of itself is a [`Report`], which doesn't depend on time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    interval_ms: u64,
    last_seen: u64,
    missed: u32,
    lease_health: Health,
    /// Heartbeats in a row towards recovery, and when the last of them came.
    good: u32,
    good_at: u64,
    /// When the hub restarted, in words, until the first heartbeat after it.
    restarted: Option<Arc<str>>,
}

impl Lease {
    /// The lease of a server that connected now: healthy.
    #[must_use]
    pub fn new(interval_ms: u64, now: u64) -> Self {
        Self {
            interval_ms: interval_ms.max(1),
            last_seen: now,
            missed: 0,
            lease_health: Health::Healthy,
            good: 0,
            good_at: 0,
            restarted: None,
        }
    }

    /// The lease of an instance that was connected before the hub restarted at `restarted` (words): what its lease
    /// was known to say, and time as if it had just been heard of.
    #[must_use]
    pub fn restored(interval_ms: u64, now: u64, lease_health: Health, restarted: Arc<str>) -> Self {
        let restarted = Some(restarted);
        Self {
            lease_health,
            restarted,
            ..Self::new(interval_ms, now)
        }
    }

    /// A heartbeat came.
    ///
    /// It zeroes the count of misses. The lease heals, straight to healthy, by `recover_after` heartbeats
    /// that came at least half an interval apart without a miss between them.
    pub fn heartbeat(&mut self, now: u64, rules: &Rules) {
        self.last_seen = self.last_seen.max(now);
        self.missed = 0;
        self.restarted = None;
        if self.lease_health != Health::Healthy
            && (self.good == 0 || 2 * now.saturating_sub(self.good_at) >= self.interval_ms)
        {
            self.good += 1;
            self.good_at = now;
            if self.good >= rules.recover_after {
                self.lease_health = Health::Healthy;
                self.good = 0;
            }
        }
    }

    /// Time passed. Counts what was missed until now.
    pub fn elapse(&mut self, now: u64, rules: &Rules) {
        let twice = 2 * u128::from(now.saturating_sub(self.last_seen));
        let interval = u128::from(self.interval_ms);
        // k is missed where now - last_seen >= (k + ½) intervals.
        let missed =
            u32::try_from(twice.saturating_sub(interval) / (2 * interval)).unwrap_or(u32::MAX);
        if missed <= self.missed {
            return;
        }
        self.missed = missed;
        self.good = 0;
        let verdict = if missed >= rules.unhealthy_after {
            Health::Unhealthy
        } else {
            Health::Degraded
        };
        self.lease_health = self.lease_health.max(verdict);
    }

    /// Time was set back to `now`, for a stall is forgiven: what was heard since then was heard now.
    pub fn rewind(&mut self, now: u64) {
        self.last_seen = self.last_seen.min(now);
        self.good_at = self.good_at.min(now);
    }

    /// When the next heartbeat will count as missed.
    #[must_use]
    pub fn next_miss(&self) -> u64 {
        self.miss_time(u64::from(self.missed) + 1)
    }

    /// When it runs out: at the `disconnect_after`th miss; where the hub suspects itself (`doubled`), after
    /// twice the time from last seen to that.
    #[must_use]
    pub fn ends_at(&self, rules: &Rules, doubled: bool) -> u64 {
        let end = self.miss_time(u64::from(rules.disconnect_after));
        if doubled {
            end.saturating_add(end.saturating_sub(self.last_seen))
        } else {
            end
        }
    }

    fn miss_time(&self, k: u64) -> u64 {
        let halves = (2 * k + 1).saturating_mul(self.interval_ms);
        self.last_seen.saturating_add(halves.div_ceil(2))
    }

    /// What the lease says.
    #[must_use]
    pub fn health(&self) -> Health {
        self.lease_health
    }

    /// Heartbeats missed in a row, as far as time was told.
    #[must_use]
    pub fn missed(&self) -> u32 {
        self.missed
    }

    /// How often heartbeats are expected.
    #[must_use]
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// Another interval is expected from now on.
    pub fn set_interval(&mut self, interval_ms: u64) {
        self.interval_ms = interval_ms.max(1);
    }

    /// When it was last heard of, or when its time began.
    #[must_use]
    pub fn last_seen(&self) -> u64 {
        self.last_seen
    }
}

#[cfg(test)]
mod tests;
