//! Whether the wall clock has jumped, and what time it is without its jumps.

use std::sync::Arc;

use tracing::warn;

use super::{ClockJump, Hub};

/// Compares the wall clock with the monotonic one, so that a jump forward prunes nothing by mistake.
pub(super) struct ClockWatch {
    wall_ms: i64,
    mono_ms: u64,
    suspended_until_mono_ms: u64,
    /// By how much the wall clock jumped forward, while that isn't taken for granted.
    doubted_ms: i64,
    /// How much of the time in which no hub ran is in doubt, until the clock has shown it for an hour.
    away_ms: i64,
    away_until_mono_ms: u64,
}

impl ClockWatch {
    /// From now on; `away_ms` of the time before is in doubt.
    pub(super) fn new(hub: &Hub, away_ms: i64) -> Self {
        Self {
            away_ms,
            away_until_mono_ms: hub.clock().mono_ms().saturating_add(SUSPENSION_MS),
            wall_ms: hub.clock().wall_ms(),
            mono_ms: hub.clock().mono_ms(),
            suspended_until_mono_ms: 0,
            doubted_ms: 0,
        }
    }

    /// The wall clock without the jumps forward that are still in doubt, noticed or not.
    pub(super) fn believed_ms(&self, hub: &Hub) -> i64 {
        let wall_ms = hub.clock().wall_ms();
        wall_ms.saturating_sub(self.doubt(wall_ms, hub.clock().mono_ms()))
    }

    /// How far the wall clock went beyond the monotonic one since the last look.
    fn jumped(&self, wall_ms: i64, mono_ms: u64) -> i64 {
        let elapsed = i64::try_from(mono_ms.saturating_sub(self.mono_ms)).unwrap_or(i64::MAX);
        wall_ms.saturating_sub(self.wall_ms).saturating_sub(elapsed)
    }

    /// What is in doubt now: a jump forward adds to it, a clock that is set back takes from it.
    fn doubt(&self, wall_ms: i64, mono_ms: u64) -> i64 {
        let jumped_ms = self.jumped(wall_ms, mono_ms);
        if jumped_ms.abs() > JUMP_MS {
            self.doubted_ms.saturating_add(jumped_ms).max(0)
        } else {
            self.doubted_ms
        }
    }

    /// Looks whether the clock jumped since the last look, and lets a suspension end.
    pub(super) fn look(&mut self, hub: &Hub) {
        let (wall_ms, mono_ms) = (hub.clock().wall_ms(), hub.clock().mono_ms());
        let jumped_ms = self.jumped(wall_ms, mono_ms);
        self.doubted_ms = self.doubt(wall_ms, mono_ms);
        (self.wall_ms, self.mono_ms) = (wall_ms, mono_ms);
        if jumped_ms < -JUMP_MS {
            self.away_ms = self.away_ms.saturating_add(jumped_ms).max(0);
        }
        if self.away_ms > 0 && mono_ms >= self.away_until_mono_ms {
            hub.0.age.grant(std::mem::take(&mut self.away_ms));
        }
        if jumped_ms > JUMP_MS {
            self.suspended_until_mono_ms = mono_ms.saturating_add(SUSPENSION_MS);
            let suspended_until = wall_ms.saturating_add_unsigned(SUSPENSION_MS);
            warn!(
                jumped_ms,
                "the clock jumped forward by {jumped_ms} ms: nothing is pruned by age for an hour"
            );
            let jump = ClockJump {
                noticed_at: wall_ms,
                jumped_ms,
                suspended_until,
            };
            hub.0.clock_jump.store(Some(Arc::new(jump)));
        } else if hub.0.clock_jump.load().is_some() && mono_ms >= self.suspended_until_mono_ms {
            hub.0.clock_jump.store(None);
            self.doubted_ms = 0;
        }
    }
}

/// A jump of the wall clock that is no correction any more.
const JUMP_MS: i64 = 60_000;
/// How long pruning by age waits after one.
const SUSPENSION_MS: u64 = 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        clock::Clock,
        domain::Policy,
        event_log::{self, Retention},
        hub::{Idle, Settings},
        metrics::Metrics,
        tail::Tail,
    };

    fn hub(clock: Clock) -> (Hub, Idle) {
        let settings = Settings {
            policy: Policy::default(),
            retention: Retention {
                age: Some(Duration::from_secs(60)),
                events: 1000,
                bytes: 1 << 20,
                idempotency_keys: 1000,
                idempotency_bytes: u64::MAX,
            },
            clock,
            metrics: Metrics::new().unwrap(),
        };
        let log = event_log::open(None).unwrap();
        Hub::open(log, settings, Arc::new(Tail::new(0, 1 << 20))).unwrap()
    }

    #[test]
    fn a_jump_of_the_wall_clock_suspends_pruning_by_age_for_an_hour() {
        let clock = Clock::frozen(0, 1_000_000);
        let (hub, _idle) = hub(clock.clone());
        let mut watch = ClockWatch::new(&hub, 0);
        let mut look = |after_ms: u32| {
            clock.advance(after_ms);
            watch.look(&hub);
            hub.clock_jump()
        };

        assert_eq!(look(3_000_000), None, "time that passes is no jump");
        clock.shift_wall(-500_000);
        assert_eq!(look(1_000), None, "nor is a step back");
        clock.shift_wall(59_000);
        assert_eq!(look(1_000), None, "nor a correction");
        clock.shift_wall(120_000);
        let jump = look(1_000).expect("a jump");
        assert_eq!(jump.jumped_ms, 120_000);
        assert_eq!(jump.suspended_until - jump.noticed_at, 3_600_000);
        assert_eq!(look(3_599_000), Some(jump));
        assert_eq!(look(1_000), None, "the hour is over");
    }

    #[test]
    fn jumps_of_the_wall_clock_make_nothing_older() {
        let clock = Clock::frozen(0, 1_000_000);
        let (hub, _idle) = hub(clock.clone());
        let mut watch = ClockWatch::new(&hub, 0);
        clock.advance(10_000);
        assert_eq!(watch.believed_ms(&hub), 1_010_000);
        clock.shift_wall(500_000);
        assert_eq!(watch.believed_ms(&hub), 1_010_000, "before it is noticed");
        watch.look(&hub);
        clock.advance(10_000);
        assert_eq!(watch.believed_ms(&hub), 1_020_000, "and after");
        clock.shift_wall(-500_000);
        assert_eq!(
            watch.believed_ms(&hub),
            1_020_000,
            "nor when it is set right"
        );
        watch.look(&hub);
        clock.shift_wall(-300_000);
        assert_eq!(watch.believed_ms(&hub), 720_000, "a step back is believed");
        watch.look(&hub);
        clock.shift_wall(100_000);
        watch.look(&hub);
        clock.advance(3_600_000);
        watch.look(&hub);
        assert_eq!(watch.believed_ms(&hub), 4_420_000, "and all after an hour");
    }
}
