//! What an instance is known to be, whatever the time: what its lease said last, and what it says of itself. It follows
//! from events and notes alone, so that a red light stays red, with its reason, over a restart.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{
    event::{Health, HealthSource},
    probe::{ProbeWord, Verdict},
};

/// What is known of an instance's health, and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the lease alone says.
    pub lease: Health,
    /// What it says of itself.
    pub report: Report,
    /// What probes say of it, if it is probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Box<ProbeWord>>,
    /// Which of them changed last, for the evidence.
    pub cause: HealthSource,
}

/// What an instance says of itself: the standing report, and better ones that don't count yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The standing report.
    pub health: Health,
    /// Its reasons, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Arc<str>>,
    /// Reports in a row that were better than the standing one, and the worst of them.
    #[serde(default)]
    better: u32,
    #[serde(default = "healthy")]
    better_worst: Health,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            lease: Health::Healthy,
            report: Report::standing(Health::Healthy, None),
            probe: None,
            cause: HealthSource::Lease,
        }
    }
}

impl Condition {
    /// The verdict: the worst of lease, report and probe.
    #[must_use]
    pub fn verdict(&self) -> Health {
        self.lease.max(self.report.health).max(self.probed())
    }

    fn probed(&self) -> Health {
        self.probe
            .as_ref()
            .map_or(Health::Healthy, |word| word.report.health)
    }

    /// A probe says something, perhaps the same as before.
    pub fn hear_probe(
        &mut self,
        verdict: Verdict,
        health: Health,
        detail: &str,
        recover_after: u32,
    ) {
        let mut word = self
            .probe
            .take()
            .unwrap_or_else(|| Box::new(ProbeWord::well()));
        if word.take(verdict, health, detail, recover_after) {
            self.cause = HealthSource::Probe;
        }
        self.probe = (*word != ProbeWord::well()).then_some(word);
    }

    /// What the probe says, if it speaks for the verdict.
    fn probes_word(&self) -> Option<(&'static str, Option<String>)> {
        let others = self.lease.max(self.report.health);
        let is_alone = self.probed() > others;
        let is_last = self.probed() == others && self.cause == HealthSource::Probe;
        if !(is_alone || is_last) {
            return None;
        }
        Some(match &self.probe {
            Some(word) if word.report.health != Health::Healthy => {
                let detail = word.report.detail.as_deref().map(str::to_owned);
                (word.verdict.as_str(), detail)
            }
            _ => ("probe_answered", Some("it answers probes again".to_owned())),
        })
    }

    /// The lease says something, perhaps the same as before.
    pub fn hear_lease(&mut self, health: Health) {
        if self.lease != health {
            self.lease = health;
            self.cause = HealthSource::Lease;
        }
    }

    /// The instance says something of itself, perhaps the same as before.
    pub fn hear_report(&mut self, health: Health, detail: Option<&str>, recover_after: u32) {
        if self.report.take(health, detail, recover_after) {
            self.cause = HealthSource::Itself;
        }
    }

    /// Whether the lease speaks for the verdict, rather than the report.
    #[must_use]
    pub fn is_leases_word(&self) -> bool {
        if self.verdict() == Health::Healthy || self.lease == self.report.health {
            self.cause == HealthSource::Lease
        } else {
            self.lease > self.report.health
        }
    }

    /// What speaks for the verdict: `missed_heartbeats`, `heartbeats_resumed` or `reported`, who says so, and why;
    /// `lease_words` are the lease's.
    #[must_use]
    pub fn grounds(
        &self,
        lease_words: Option<&str>,
    ) -> (&'static str, HealthSource, Option<String>) {
        if let Some((reason, detail)) = self.probes_word() {
            return (reason, HealthSource::Probe, detail);
        }
        if !self.is_leases_word() {
            let words = self.report.words();
            return ("reported", HealthSource::Itself, Some(words));
        }
        let reason = match self.verdict() {
            Health::Healthy => "heartbeats_resumed",
            Health::Degraded | Health::Unhealthy => "missed_heartbeats",
        };
        (reason, HealthSource::Lease, lease_words.map(str::to_owned))
    }
}

impl Report {
    /// A report that stands, with its reasons.
    #[must_use]
    pub fn standing(health: Health, detail: Option<&str>) -> Self {
        Self {
            health,
            detail: detail.map(Arc::from),
            better: 0,
            better_worst: Health::Healthy,
        }
    }

    /// Takes another one in; whether another health stands now. A worse one counts at once; a better one by
    /// `recover_after` reports in a row that are better than the standing one (the worst of them then stands), whatever
    /// the time between them: it is the server that says so.
    pub(in crate::domain) fn take(
        &mut self,
        health: Health,
        detail: Option<&str>,
        recover_after: u32,
    ) -> bool {
        if health >= self.health {
            let is_worse = health > self.health;
            self.better = 0;
            self.better_worst = Health::Healthy;
            self.stand(health, detail);
            return is_worse;
        }
        self.better_worst = self.better_worst.max(health);
        self.better += 1;
        if self.better < recover_after {
            return false;
        }
        let stands = std::mem::replace(&mut self.better_worst, Health::Healthy);
        self.better = 0;
        self.stand(stands, detail.filter(|_| health == stands));
        true
    }

    fn stand(&mut self, health: Health, detail: Option<&str>) {
        self.health = health;
        if self.detail.as_deref() != detail {
            self.detail = detail.map(Arc::from);
        }
    }

    /// Its own words; reason and source tell that it was the one who said them.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.detail {
            Some(detail) => detail.to_string(),
            None => format!("reported {}", super::name(self.health)),
        }
    }
}

fn healthy() -> Health {
    Health::Healthy
}
