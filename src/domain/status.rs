//! The integration as a whole: one verdict over all servers.

use super::event::{Because, Event, EventData, Health};

/// What the hub last said of the whole, and what it counted since its log began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// The status last announced by `integration_status_changed`.
    pub announced: Health,
    /// The event that moved the status away from that, until the hub has said so.
    pub because: Option<Because>,
    /// The status as of the last event that made something better or worse.
    pub due: Health,
}

impl Default for Integration {
    fn default() -> Self {
        Self {
            announced: Health::Healthy,
            because: None,
            due: Health::Healthy,
        }
    }
}

impl Integration {
    /// `moved`: the event made the status another.
    pub(super) fn evolve(&mut self, event: &Event, moved: bool) {
        if let EventData::IntegrationStatusChanged(data) = &event.what.data {
            self.announced = data.status;
            self.due = data.status;
        }
        if self.due == self.announced {
            self.because = None;
        } else if moved {
            self.because = event.what.server.clone().map(|server_id| Because {
                server_id,
                r#type: event.what.data.kind().as_str().to_owned(),
            });
        }
    }
}

/// How many servers there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Connected.
    pub connected: u64,
    /// Of them, healthy.
    pub healthy: u64,
    /// Gone otherwise than expected, and not yet back, deregistered or forgotten.
    pub lost: u64,
}

impl ServerCounts {
    /// `healthy` when all servers are, `unhealthy` when none is, `degraded` between; without any, `healthy`.
    #[must_use]
    pub fn status(&self) -> Health {
        match self.connected + self.lost {
            0 => Health::Healthy,
            all if all == self.healthy => Health::Healthy,
            _ if self.healthy == 0 => Health::Unhealthy,
            _ => Health::Degraded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_follows_from_the_counts() {
        let table = [
            ((0, 0, 0), Health::Healthy),
            ((2, 2, 0), Health::Healthy),
            ((2, 1, 0), Health::Degraded),
            ((2, 0, 0), Health::Unhealthy),
            ((2, 2, 1), Health::Degraded),
            ((0, 0, 1), Health::Unhealthy),
        ];
        for ((connected, healthy, lost), status) in table {
            assert_eq!(
                ServerCounts {
                    connected,
                    healthy,
                    lost
                }
                .status(),
                status,
                "{connected} {healthy} {lost}"
            );
        }
    }
}
