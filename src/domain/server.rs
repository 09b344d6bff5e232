//! Servers: who is connected, who is gone, and why.
//!
//! Invariants: the indices and counts follow from the servers alone; every event costs O(log n); a clone
//! is a few pointers. Never knows a heartbeat: leases do, and tell here only what changes a verdict.

mod decide;
mod drift;
pub mod from_event;
pub mod list;
pub mod parse;
pub mod view;

use std::{ops::Bound, sync::Arc};

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{
    event::{
        Connection, Event, EventData, Health, ServerConnected, ServerDisconnected,
        ServerHealthChanged, ServerUpdated, Tags,
    },
    fleet::Policy,
    ids::ServerId,
    status::ServerCounts,
};

pub use list::ServerQuery;
pub(in crate::domain) use parse::word;
pub use view::{LeaseView, ServerView};

/// The `reason` of a server whose heartbeats stayed out: it counts as unhealthy until it returns, is
/// deregistered or leaves the state.
pub const HEARTBEAT_TIMEOUT: &str = "heartbeat_timeout";
/// The `reason` of a server that went by its own wish.
pub const DEREGISTERED: &str = "deregistered";
/// The `reason` of a server whose place another instance took.
pub const REPLACED: &str = "replaced";

/// How often a server may mean to send heartbeats, in milliseconds.
pub const HEARTBEAT_INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=300_000;

/// One server, as the events tell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Its description, as last given.
    pub connection: Connection,
    /// The same tags, shared with its events.
    pub tags: Arc<Tags>,
    /// How often it means to send heartbeats.
    pub heartbeat_interval_ms: u64,
    /// The version of the MCP protocol that it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// When it connected last, epoch ms.
    pub connected_at: i64,
    /// The sequence of its last `server_connected`: which connection this is.
    pub connected_sequence: u64,
    /// The verdict; of a server that is gone, the last one.
    pub health: Health,
    /// What the lease alone said when the verdict last changed.
    pub lease_health: Health,
    /// What the server itself said when the verdict last changed.
    pub reported_health: Health,
    /// Why the verdict is what it is, or why the server is gone.
    pub reason: Option<String>,
    /// The evidence, in words.
    pub detail: Option<String>,
    /// When it was last heard of, as the last event about it said, epoch ms.
    pub last_seen_at: i64,
    /// Missed heartbeats, as the last event about it said.
    pub missed_heartbeats: u32,
    /// When it went, epoch ms; `None` while it is connected.
    pub gone_at: Option<i64>,
    /// Whether it went by `heartbeat_timeout`: then it counts as unhealthy.
    pub lost: bool,
}

/// All servers in the state.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    by_id: RedBlackTreeMapSync<ServerId, Arc<Server>>,
    /// Gone ones, oldest first: (when, which connection) to id.
    gone: RedBlackTreeMapSync<(i64, u64), ServerId>,
    tally: Tally,
}

/// What is counted of the servers, kept up with every event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connected and healthy.
    pub healthy: u64,
    /// Connected and degraded.
    pub degraded: u64,
    /// Connected and unhealthy.
    pub unhealthy: u64,
    /// Gone by `heartbeat_timeout` and neither back nor deregistered.
    pub lost: u64,
    /// Tools of connected servers.
    pub tools: u64,
    /// Resources of connected servers.
    pub resources: u64,
}

impl Servers {
    /// The server of this id, connected or gone.
    #[must_use]
    pub fn get(&self, id: &ServerId) -> Option<&Arc<Server>> {
        self.by_id.get(id)
    }

    /// The server of this id, where it is connected.
    #[must_use]
    pub fn connected(&self, id: &ServerId) -> Option<&Arc<Server>> {
        self.get(id).filter(|server| server.is_connected())
    }

    /// How many are in the state, connected and gone.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.size()
    }

    /// Whether the state knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All servers after this id, in order of their ids.
    pub fn after<'a>(
        &'a self,
        id: Option<&ServerId>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Server>> + 'a> {
        match id {
            Some(id) => Box::new(
                self.by_id
                    .range((Bound::Excluded(id.clone()), Bound::Unbounded))
                    .map(|(_, server)| server),
            ),
            None => Box::new(self.by_id.values()),
        }
    }

    /// The server's tags; none where it is unknown.
    #[must_use]
    pub fn tags_of(&self, id: &ServerId) -> Arc<Tags> {
        self.by_id
            .get(id)
            .map(|server| server.tags.clone())
            .unwrap_or_default()
    }

    /// What is counted of them, as of the last event.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How many there are of each kind at this time, without lost ones that are old enough to be forgotten.
    #[must_use]
    pub fn counts_at(&self, now: i64, policy: &Policy) -> ServerCounts {
        let forgotten = self
            .gone
            .iter()
            .take_while(|((gone_at, _), _)| is_forgotten(*gone_at, now, policy))
            .filter(|(_, id)| self.get(id).is_some_and(|server| server.lost))
            .count() as u64;
        ServerCounts {
            connected: self.tally.healthy + self.tally.degraded + self.tally.unhealthy,
            healthy: self.tally.healthy,
            lost: self.tally.lost.saturating_sub(forgotten),
        }
    }

    /// The status that follows from them, as of the last event.
    pub(super) fn status(&self) -> Health {
        let Tally {
            healthy,
            degraded,
            unhealthy,
            lost,
            ..
        } = self.tally;
        let connected = healthy + degraded + unhealthy;
        let counts = ServerCounts {
            connected,
            healthy,
            lost,
        };
        counts.status()
    }

    /// The first of the lost ones, in the order in which they went.
    pub(super) fn first_lost(&self, now: i64, policy: &Policy, most: usize) -> Vec<ServerId> {
        self.gone
            .iter()
            .skip_while(|((gone_at, _), _)| is_forgotten(*gone_at, now, policy))
            .filter(|(_, id)| self.get(id).is_some_and(|server| server.lost))
            .map(|(_, id)| id.clone())
            .take(most)
            .collect()
    }

    /// All that is needed to [`Servers::restore`] them, in order of their ids.
    #[must_use]
    pub fn save(&self) -> Vec<Arc<Server>> {
        self.by_id.values().cloned().collect()
    }

    /// The same servers again, indices and counts rebuilt.
    #[must_use]
    pub fn restore(saved: Vec<Server>) -> Self {
        let mut servers = Self::default();
        for server in saved {
            servers.put(server);
        }
        servers
    }

    pub(super) fn evolve(&mut self, event: &Event) {
        let Some(id) = &event.what.server else { return };
        match &event.what.data {
            EventData::ServerConnected(data) => self.put(Server::connect(data, event)),
            EventData::ServerUpdated(data) => self.change(id, |server| server.update(data, event)),
            EventData::ServerDisconnected(data) => {
                self.change(id, |server| server.disconnect(data, event));
            }
            EventData::ServerHealthChanged(data) => {
                self.change(id, |server| server.turn(data, event));
            }
            _ => {}
        }
    }

    /// Forgets gone servers that are older than the policy keeps, or more, oldest first.
    pub(super) fn expire(&mut self, now: i64, policy: &Policy) {
        while let Some((&key, id)) = self.gone.first() {
            if self.gone.size() <= policy.state_retention_count && !is_forgotten(key.0, now, policy)
            {
                return;
            }
            let id = id.clone();
            self.gone.remove_mut(&key);
            if let Some(server) = self.by_id.get(&id) {
                self.tally.remove(server);
            }
            self.by_id.remove_mut(&id);
        }
    }

    fn change(&mut self, id: &ServerId, change: impl FnOnce(&mut Server)) {
        if let Some(server) = self.by_id.get(id) {
            let mut server = Server::clone(server);
            change(&mut server);
            self.put(server);
        }
    }

    fn put(&mut self, server: Server) {
        let id = server.connection.id.clone();
        if let Some(before) = self.by_id.get(&id) {
            self.tally.remove(before);
            if let Some(key) = before.gone_key() {
                self.gone.remove_mut(&key);
            }
        }
        self.tally.add(&server);
        if let Some(key) = server.gone_key() {
            self.gone.insert_mut(key, id.clone());
        }
        self.by_id.insert_mut(id, Arc::new(server));
    }
}

impl Tally {
    fn add(&mut self, server: &Server) {
        self.each(server, |count, n| *count += n);
    }

    fn remove(&mut self, server: &Server) {
        self.each(server, |count, n| *count -= n);
    }

    fn each(&mut self, server: &Server, step: impl Fn(&mut u64, u64)) {
        if !server.is_connected() {
            step(&mut self.lost, u64::from(server.lost));
            return;
        }
        let health = match server.health {
            Health::Healthy => &mut self.healthy,
            Health::Degraded => &mut self.degraded,
            Health::Unhealthy => &mut self.unhealthy,
        };
        step(health, 1);
        step(
            &mut self.tools,
            server.connection.capabilities.tools.len() as u64,
        );
        step(
            &mut self.resources,
            server.connection.capabilities.resources.len() as u64,
        );
    }
}

impl Server {
    /// Whether it is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.gone_at.is_none()
    }

    /// The verdict that others see: of a lost one `unhealthy`, of one that left the last.
    #[must_use]
    pub fn shown_health(&self) -> Health {
        if self.lost {
            Health::Unhealthy
        } else {
            self.health
        }
    }

    fn connect(data: &ServerConnected, event: &Event) -> Self {
        Self {
            connection: data.connection.clone(),
            tags: shared_tags(&data.connection, event),
            heartbeat_interval_ms: interval_of(event),
            protocol_version: data.protocol_version.clone(),
            connected_at: event.timestamp,
            connected_sequence: event.position.sequence,
            health: Health::Healthy,
            lease_health: Health::Healthy,
            reported_health: Health::Healthy,
            reason: None,
            detail: None,
            last_seen_at: event.timestamp,
            missed_heartbeats: 0,
            gone_at: None,
            lost: false,
        }
    }

    fn update(&mut self, data: &ServerUpdated, event: &Event) {
        self.connection = data.connection.clone();
        self.tags = shared_tags(&data.connection, event);
        self.heartbeat_interval_ms = interval_of(event);
        self.protocol_version.clone_from(&data.protocol_version);
        self.last_seen_at = event.timestamp;
        self.missed_heartbeats = 0;
    }

    /// Told of one that is gone already, it changes why: a lost one that was deregistered is no loss any more.
    fn disconnect(&mut self, data: &ServerDisconnected, event: &Event) {
        self.lost = data.reason == HEARTBEAT_TIMEOUT;
        self.reason = Some(data.reason.clone());
        self.last_seen_at = data.last_seen_at;
        self.detail = self.lost.then(|| {
            let silent = u64::try_from(event.timestamp - data.last_seen_at).unwrap_or_default();
            format!("no heartbeat for {}", super::health::words(silent))
        });
        self.gone_at.get_or_insert(event.timestamp);
    }

    fn turn(&mut self, data: &ServerHealthChanged, event: &Event) {
        self.health = data.health;
        self.lease_health = event.what.private.lease_health.unwrap_or(data.health);
        self.reported_health = event
            .what
            .private
            .reported_health
            .unwrap_or(Health::Healthy);
        self.reason = (data.health != Health::Healthy).then(|| data.reason.clone());
        self.detail = data
            .detail
            .clone()
            .filter(|_| data.health != Health::Healthy);
        self.last_seen_at = data.last_seen_at;
        self.missed_heartbeats = data.missed_heartbeats;
    }

    fn gone_key(&self) -> Option<(i64, u64)> {
        self.gone_at.map(|at| (at, self.connected_sequence))
    }
}

/// The event's own copy where it has one, so that state and events share it; else the connection's.
fn shared_tags(connection: &Connection, event: &Event) -> Arc<Tags> {
    if *event.what.tags == connection.tags {
        event.what.tags.clone()
    } else {
        Arc::new(connection.tags.clone())
    }
}

fn interval_of(event: &Event) -> u64 {
    event
        .what
        .private
        .heartbeat_interval_ms
        .unwrap_or(UNTOLD_INTERVAL_MS)
}

fn is_forgotten(gone_at: i64, now: i64, policy: &Policy) -> bool {
    now.saturating_sub(gone_at) >= policy.state_retention_age_ms
}

/// For an event that doesn't tell the interval, which every event of this version does.
const UNTOLD_INTERVAL_MS: u64 = 10_000;

#[cfg(test)]
mod tests;
