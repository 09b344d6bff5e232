//! Why the verdict is what it is, in a person's words.

use super::{Lease, Rules};
use crate::domain::event::Health;

impl Lease {
    /// What speaks for the lease's own verdict at this time.
    #[must_use]
    pub fn words(&self, now: u64, rules: &Rules) -> String {
        match self.lease_health {
            Health::Healthy => format!(
                "heartbeats resumed: {} in a row, expected every {}",
                rules.recover_after,
                words(self.interval_ms)
            ),
            Health::Degraded | Health::Unhealthy => self.silence_words(now, rules),
        }
    }

    fn silence_words(&self, now: u64, rules: &Rules) -> String {
        let expected = words(self.interval_ms);
        if self.missed == 0 && self.restarted.is_none() {
            let (good, needed) = (self.good, rules.recover_after);
            return format!("{good} of {needed} heartbeats to recover, expected every {expected}");
        }
        let missed = match self.missed {
            0 => String::new(),
            missed => format!("{missed} missed, "),
        };
        let heard = match &self.restarted {
            Some(time) => format!("not seen since the hub restarted at {time}"),
            None => format!(
                "no heartbeat for {}",
                words(now.saturating_sub(self.last_seen))
            ),
        };
        format!("{heard}; {missed}expected every {expected}")
    }
}

/// The health's name, as the API has it.
#[must_use]
pub fn name(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Unhealthy => "unhealthy",
    }
}

/// A span of milliseconds for people: `150 ms`, `1.5 s`, `31 s`, `12 min`, `3 h`.
#[must_use]
pub fn words(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 if ms % 1_000 >= 100 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        1_000..600_000 => format!("{} s", ms / 1_000),
        600_000..36_000_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
