//! The time that has really passed, by which things leave the state: it only moves on, however the wall clock is set.
//!
//! While the hub runs, the monotonic clock tells it. Over a restart only the wall clock can: what it says is taken for
//! true up to a minute, and beyond that once it has said so for an hour.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::{clock::Clock, domain::State};

/// What the time that has really passed is, on the monotonic clock.
#[derive(Debug)]
pub(super) struct Age {
    /// That time where the monotonic clock stands at nothing, ms.
    base: AtomicI64,
}

impl Age {
    /// Goes on where the log left off; and how much of the time since then is in doubt, ms.
    pub(super) fn after(state: &State, clock: &Clock) -> (Self, i64) {
        let wall = clock.wall_ms();
        let told = state.moment(wall).lived;
        let (lived, doubted) = match state.as_of {
            None => (told, 0),
            Some(as_of) => {
                let away = told.saturating_sub(as_of).max(0);
                let sure = away.min(SURE_MS);
                (as_of.saturating_add(sure), away - sure)
            }
        };
        let base = AtomicI64::new(lived.saturating_sub(mono(clock)));
        (Self { base }, doubted)
    }

    /// The time that has really passed, ms.
    pub(super) fn lived_ms(&self, clock: &Clock) -> i64 {
        self.base
            .load(Ordering::Relaxed)
            .saturating_add(mono(clock))
    }

    /// Time that was in doubt has passed after all.
    pub(super) fn grant(&self, ms: i64) {
        self.base.fetch_add(ms, Ordering::Relaxed);
    }

    /// By how much the wall clock is ahead, ms: what the log has, unless it is off by more than a moment.
    pub(super) fn offset_ms(&self, clock: &Clock, recorded: i64) -> i64 {
        let offset = clock.wall_ms().saturating_sub(self.lived_ms(clock));
        if offset.abs_diff(recorded) < MOMENT_MS {
            recorded
        } else {
            offset
        }
    }
}

fn mono(clock: &Clock) -> i64 {
    i64::try_from(clock.mono_ms()).unwrap_or(i64::MAX)
}

/// So much is believed of a time in which no hub ran.
const SURE_MS: i64 = 60_000;
/// Clocks that are apart by less are not: they drift, and are read one after the other.
const MOMENT_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn a_clock_that_is_ahead_for_two_seconds_makes_nothing_older() {
        let clock = Clock::frozen(5000, NOW);
        let (age, doubted) = Age::after(&State::default(), &clock);
        assert_eq!((age.lived_ms(&clock), doubted), (NOW, 0));
        assert_eq!(age.offset_ms(&clock, 0), 0);

        clock.shift_wall(400 * DAY);
        assert_eq!(age.lived_ms(&clock), NOW);
        let recorded = age.offset_ms(&clock, 0);
        assert_eq!(recorded, 400 * DAY, "the log shall have it");
        clock.advance(2000);
        assert_eq!(age.lived_ms(&clock), NOW + 2000);
        assert_eq!(age.offset_ms(&clock, recorded), recorded);

        clock.shift_wall(-400 * DAY);
        assert_eq!(age.lived_ms(&clock), NOW + 2000);
        assert_eq!(age.offset_ms(&clock, recorded), 0);
        // What drifts by less than a moment is not told.
        clock.shift_wall(900);
        assert_eq!(age.offset_ms(&clock, 0), 0);
    }

    #[test]
    fn of_a_restart_a_minute_is_believed_and_the_rest_once_it_was_shown() {
        for (away, sure) in [
            (0, 0),
            (20_000, 20_000),
            (SURE_MS, SURE_MS),
            (400 * DAY, SURE_MS),
            (-400 * DAY, 0),
        ] {
            // The log has it that the clock was a day ahead all the time.
            let state = State {
                as_of: Some(NOW),
                clock_offset_ms: DAY,
                ..State::default()
            };
            let clock = Clock::frozen(77, NOW + DAY + away);
            let (age, doubted) = Age::after(&state, &clock);
            assert_eq!(age.lived_ms(&clock), NOW + sure, "away for {away} ms");
            assert_eq!(doubted, away.max(0) - sure, "away for {away} ms");
            age.grant(doubted);
            assert_eq!(age.lived_ms(&clock), NOW + away.max(0));
        }
    }
}
