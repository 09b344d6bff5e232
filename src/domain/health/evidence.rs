//! Why the verdict is what it is, in a person's words.

use super::{Lease, Rules};
use crate::domain::event::{Health, HealthSource};

/// A verdict's grounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// `missed_heartbeats`, `heartbeats_resumed`, `reported`.
    pub reason: &'static str,
    /// Who says so.
    pub source: HealthSource,
    /// In words.
    pub detail: String,
}

impl Lease {
    /// What speaks for the verdict at this time.
    #[must_use]
    pub fn evidence(&self, now: u64, rules: &Rules) -> Evidence {
        let verdict = self.verdict();
        let from_lease = if verdict == Health::Healthy || self.lease_health == self.reported {
            self.cause == HealthSource::Lease
        } else {
            self.lease_health == verdict
        };
        match (from_lease, verdict) {
            (false, _) => Evidence {
                reason: "reported",
                source: HealthSource::Itself,
                detail: self.report_words(),
            },
            (true, Health::Healthy) => Evidence {
                reason: "heartbeats_resumed",
                source: HealthSource::Lease,
                detail: format!(
                    "heartbeats resumed: {} in a row, expected every {}",
                    rules.recover_after,
                    words(self.interval_ms)
                ),
            },
            (true, _) => Evidence {
                reason: "missed_heartbeats",
                source: HealthSource::Lease,
                detail: self.silence_words(now, rules),
            },
        }
    }

    /// The server's own words, as it said them; reason and source tell that it was the one who did.
    fn report_words(&self) -> String {
        match &self.report_detail {
            Some(detail) => detail.to_string(),
            None => format!("reported {}", name(self.reported)),
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
