//! A server's past, as its events tell it: how it was when, how much of the time it was up, and what went wrong.
//!
//! Time that says nothing of the server counts on neither side: before it is known, and while it was away as expected.

use std::collections::VecDeque;

use serde::Serialize;

use super::{
    event::{Health, Record, ServerDisconnected, ServerHealthChanged},
    server::{Server, is_expected},
};

/// Types of the events that change how a server is.
pub const TYPES: [&str; 3] = [
    "server_connected",
    "server_disconnected",
    "server_health_changed",
];

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Connected and well.
    Healthy,
    /// Connected, with trouble.
    Degraded,
    /// Connected, and doesn't work.
    Unhealthy,
    /// Gone otherwise than expected.
    Lost,
    /// Gone as expected.
    Disconnected,
    /// Nobody knows: it wasn't there yet, or the events of that time aren't kept.
    Unknown,
}

impl Standing {
    /// How a server is by the state.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        match (server.gone_at, server.lost) {
            (None, _) => server.health.into(),
            (Some(_), true) => Self::Lost,
            (Some(_), false) => Self::Disconnected,
        }
    }

    /// Whether it works; `None` where such time doesn't count.
    fn is_up(self) -> Option<bool> {
        match self {
            Self::Healthy | Self::Degraded => Some(true),
            Self::Unhealthy | Self::Lost => Some(false),
            Self::Disconnected | Self::Unknown => None,
        }
    }

    /// How bad it is; 0 where nothing is wrong.
    fn harm(self) -> u8 {
        match self {
            Self::Healthy | Self::Disconnected | Self::Unknown => 0,
            Self::Degraded => 1,
            Self::Unhealthy => 2,
            Self::Lost => 3,
        }
    }
}

impl From<Health> for Standing {
    fn from(health: Health) -> Self {
        match health {
            Health::Healthy => Self::Healthy,
            Health::Degraded => Self::Degraded,
            Health::Unhealthy => Self::Unhealthy,
        }
    }
}

/// What an event made of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// When, epoch ms.
    pub at: i64,
    /// How it was before, where the event says so.
    pub before: Option<Standing>,
    /// How it is since.
    pub after: Standing,
    /// Why, as the event has it.
    pub cause: Cause,
}

/// Why something went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// The event that says so.
    #[schema(example = "k3x9q1m2v7za-42")]
    pub event_id: String,
    /// Its type.
    #[schema(example = "server_health_changed")]
    pub r#type: String,
    /// `missed_heartbeats`, `reported`, `heartbeat_timeout`, or another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "missed_heartbeats")]
    pub reason: Option<String>,
    /// The evidence, in a person's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Turn {
    /// Reads an event of one of [`TYPES`], whose id is `name`; `None` where it is none that can be read.
    #[must_use]
    pub fn of(record: &Record<'_>, name: String) -> Option<Self> {
        let mut cause = Cause {
            event_id: name,
            r#type: record.kind.to_owned(),
            reason: None,
            detail: None,
        };
        let (before, after) = match record.kind {
            "server_connected" => (None, Standing::Healthy),
            "server_disconnected" => {
                let data: ServerDisconnected = serde_json::from_str(record.data).ok()?;
                let expected = data.expected.unwrap_or_else(|| is_expected(&data.reason));
                cause.reason = Some(data.reason);
                let after = if expected {
                    Standing::Disconnected
                } else {
                    Standing::Lost
                };
                (None, after)
            }
            "server_health_changed" => {
                let data: ServerHealthChanged = serde_json::from_str(record.data).ok()?;
                (cause.reason, cause.detail) = (Some(data.reason), data.detail);
                (Some(data.previous_health.into()), data.health.into())
            }
            _ => return None,
        };
        Some(Self {
            at: record.timestamp,
            before,
            after,
            cause,
        })
    }
}

/// A stretch of time in which a server was alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Interval {
    /// Its beginning, epoch ms.
    pub from: i64,
    /// Its end, epoch ms.
    pub to: i64,
    /// How the server was.
    pub health: Standing,
}

/// A stretch of time in which something was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Its beginning, epoch ms; of one that began earlier, that of the range.
    pub from: i64,
    /// Its end, epoch ms; `null` while it goes on.
    #[schema(required)]
    pub to: Option<i64>,
    /// How long it took, or takes until now.
    pub length_ms: i64,
    /// The worst of it.
    pub health: Standing,
    /// Why it began; absent where it began before the range, or with an event that the reader may not see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// How much of the time a server was up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Healthy or degraded, ms.
    pub up: i64,
    /// Unhealthy or lost, ms.
    pub down: i64,
}

impl Time {
    /// The share of the time that counts, in percent; `None` where none does.
    #[must_use]
    pub fn percent(self) -> Option<f64> {
        let all = self.up + self.down;
        // A ten-thousandth of a percent is less than a second in a week.
        (all > 0).then(|| (self.up as f64 / all as f64 * 1_000_000.).round() / 10_000.)
    }
}

/// A past that is put together event by event. The newest intervals and incidents are kept, of the others their number.
#[derive(Debug, Clone)]
pub struct Past {
    keep: usize,
    since: i64,
    now: Standing,
    /// The time that it is put together for, all of it.
    pub time: Time,
    /// The newest intervals, oldest first.
    pub intervals: VecDeque<Interval>,
    /// How many older ones there were.
    pub intervals_left_out: u64,
    /// The newest incidents, oldest first.
    pub incidents: VecDeque<Incident>,
    /// How many older ones there were.
    pub incidents_left_out: u64,
    open: Option<Incident>,
}

impl Past {
    /// Begins at a time, with how the server was then; keeps so many intervals and incidents.
    #[must_use]
    pub fn begin(since: i64, first: Standing, keep: usize) -> Self {
        let mut past = Self {
            keep,
            since,
            now: first,
            time: Time::default(),
            intervals: VecDeque::new(),
            intervals_left_out: 0,
            incidents: VecDeque::new(),
            incidents_left_out: 0,
            open: None,
        };
        past.judge(first, since, None);
        past
    }

    /// Something changed. Times may go back where the clock was set: the change counts from the latest one on then.
    pub fn turn(&mut self, at: i64, after: Standing, cause: Option<Cause>) {
        let at = at.max(self.since);
        if after == self.now {
            return;
        }
        self.close(at);
        self.now = after;
        self.judge(after, at, cause);
    }

    /// Ends at a time. An incident that goes on has no end.
    pub fn end(&mut self, until: i64) {
        let until = until.max(self.since);
        self.close(until);
        if let Some(open) = self.open.take() {
            self.keep_incident(Incident {
                length_ms: until - open.from,
                ..open
            });
        }
    }

    /// How many incidents there were.
    #[must_use]
    pub fn incidents_in_all(&self) -> u64 {
        self.incidents_left_out + self.incidents.len() as u64
    }

    fn close(&mut self, to: i64) {
        let from = std::mem::replace(&mut self.since, to);
        match self.now.is_up() {
            Some(true) => self.time.up += to - from,
            Some(false) => self.time.down += to - from,
            None => {}
        }
        if to == from {
            return;
        }
        self.intervals.push_back(Interval {
            from,
            to,
            health: self.now,
        });
        if self.intervals.len() > self.keep {
            self.intervals.pop_front();
            self.intervals_left_out += 1;
        }
    }

    fn judge(&mut self, after: Standing, at: i64, cause: Option<Cause>) {
        match (&mut self.open, after.harm()) {
            (None, 0) => {}
            (None, _) => {
                self.open = Some(Incident {
                    from: at,
                    to: None,
                    length_ms: 0,
                    health: after,
                    cause,
                });
            }
            (Some(_), 0) => {
                if let Some(ended) = self.open.take() {
                    self.keep_incident(Incident {
                        to: Some(at),
                        length_ms: at - ended.from,
                        ..ended
                    });
                }
            }
            (Some(open), harm) if harm > open.health.harm() => open.health = after,
            (Some(_), _) => {}
        }
    }

    fn keep_incident(&mut self, incident: Incident) {
        self.incidents.push_back(incident);
        if self.incidents.len() > self.keep {
            self.incidents.pop_front();
            self.incidents_left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(id: &str) -> Option<Cause> {
        Some(Cause {
            event_id: id.to_owned(),
            r#type: "server_health_changed".to_owned(),
            reason: Some("missed_heartbeats".to_owned()),
            detail: None,
        })
    }

    fn intervals(past: &Past) -> Vec<(i64, i64, Standing)> {
        let all = past.intervals.iter();
        all.map(|it| (it.from, it.to, it.health)).collect()
    }

    #[test]
    fn an_outage_is_one_incident_with_its_first_cause_and_its_worst() {
        let mut past = Past::begin(0, Standing::Healthy, 100);
        past.turn(100, Standing::Degraded, cause("a"));
        past.turn(200, Standing::Unhealthy, cause("b"));
        past.turn(300, Standing::Lost, cause("c"));
        past.turn(700, Standing::Healthy, cause("d"));
        past.end(1_000);
        assert_eq!(
            intervals(&past),
            [
                (0, 100, Standing::Healthy),
                (100, 200, Standing::Degraded),
                (200, 300, Standing::Unhealthy),
                (300, 700, Standing::Lost),
                (700, 1_000, Standing::Healthy),
            ]
        );
        assert_eq!(past.time, Time { up: 500, down: 500 });
        assert_eq!(past.time.percent(), Some(50.));
        assert_eq!(
            past.incidents,
            [Incident {
                from: 100,
                to: Some(700),
                length_ms: 600,
                health: Standing::Lost,
                cause: cause("a"),
            }]
        );
    }

    #[test]
    fn time_that_says_nothing_counts_on_neither_side() {
        let mut past = Past::begin(0, Standing::Unknown, 100);
        past.end(10);
        assert_eq!(past.time.percent(), None);
        let mut past = Past::begin(0, Standing::Unknown, 100);
        past.turn(500, Standing::Healthy, None);
        past.turn(600, Standing::Disconnected, None);
        past.end(10_000);
        assert_eq!(past.time.percent(), Some(100.));
        assert!(past.incidents.is_empty());
    }

    #[test]
    fn an_incident_that_goes_on_has_no_end_and_one_from_before_no_cause() {
        let mut past = Past::begin(50, Standing::Unhealthy, 100);
        past.end(80);
        let only = &past.incidents[0];
        assert_eq!((only.from, only.to, only.length_ms), (50, None, 30));
        assert_eq!(only.cause, None);
    }

    #[test]
    fn times_that_go_back_make_no_interval_of_negative_length() {
        let mut past = Past::begin(1_000, Standing::Healthy, 100);
        past.turn(2_000, Standing::Unhealthy, None);
        past.turn(500, Standing::Healthy, None);
        past.end(100);
        assert_eq!(intervals(&past), [(1_000, 2_000, Standing::Healthy)]);
        assert_eq!(past.time, Time { up: 1_000, down: 0 });
    }

    #[test]
    fn of_a_server_that_flaps_the_newest_are_kept_and_all_are_counted() {
        let mut past = Past::begin(0, Standing::Healthy, 3);
        for n in 1..=20 {
            let after = if n % 2 == 1 {
                Standing::Unhealthy
            } else {
                Standing::Healthy
            };
            past.turn(n * 10, after, None);
        }
        past.end(210);
        assert_eq!(past.time, Time { up: 110, down: 100 });
        assert_eq!((past.intervals.len(), past.intervals_left_out), (3, 18));
        assert_eq!((past.incidents.len(), past.incidents_left_out), (3, 7));
        assert_eq!(past.incidents[2].from, 190);
        assert_eq!(past.incidents_in_all(), 10);
    }
}
