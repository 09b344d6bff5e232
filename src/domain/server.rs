//! Servers: who is connected, who is gone, and why.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{
    command::{ChangeHealth, Decision, Deregister, Register, Rejection},
    event::{Connection, Event, Health, Tags},
    fleet::Policy,
    ids::ServerId,
    status::ServerCounts,
};

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
    /// When it connected last, epoch ms.
    pub connected_at: i64,
    /// The sequence of its last `server_connected`: which connection this is.
    pub connected_sequence: u64,
    /// The verdict.
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
    /// Gone ones, oldest first: (when, sequence of the event) to id.
    gone: RedBlackTreeMapSync<(i64, u64), ServerId>,
    counts: ServerCounts,
}

impl Servers {
    /// The server of this id, connected or gone.
    #[must_use]
    pub fn get(&self, id: &ServerId) -> Option<&Arc<Server>> {
        self.by_id.get(id)
    }

    /// All servers after this id, in order of their ids.
    pub fn after<'a>(
        &'a self,
        id: Option<&ServerId>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Server>> + 'a> {
        use std::ops::Bound;
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

    /// How many there are of each kind at this time, without lost ones that are old enough to be forgotten.
    #[must_use]
    pub fn counts_at(&self, _now: i64, _policy: &Policy) -> ServerCounts {
        todo!()
    }

    pub(super) fn register(
        &self,
        _register: &Register,
        _policy: &Policy,
        _now: i64,
    ) -> Result<Decision, Rejection> {
        todo!()
    }

    pub(super) fn deregister(
        &self,
        _deregister: &Deregister,
        _now: i64,
    ) -> Result<Decision, Rejection> {
        todo!()
    }

    pub(super) fn change_health(&self, _change: &ChangeHealth) -> Result<Decision, Rejection> {
        todo!()
    }

    pub(super) fn evolve(&mut self, _event: &Event) {
        todo!()
    }

    pub(super) fn expire(&mut self, _now: i64, _policy: &Policy) {
        todo!()
    }
}

/// What only the leases know of a connected server.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseView {
    /// When the hub last heard of it, epoch ms.
    pub last_seen_at: i64,
    /// When its next heartbeat is due, epoch ms.
    pub due_at: i64,
    /// Heartbeats missed in a row.
    pub missed_heartbeats: u32,
    /// What it last measured of itself.
    pub metrics: Option<Arc<std::collections::BTreeMap<String, f64>>>,
}

/// A server as the API shows it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ServerId,
    /// Its name.
    pub name: String,
    /// `connected` or `disconnected`.
    pub status: &'static str,
    /// The verdict; of a server that is gone, the last one, or `unhealthy` where it was lost.
    pub health: Health,
    /// Why it isn't healthy, or why it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The evidence, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When the hub last heard of it, epoch ms.
    pub last_seen_at: i64,
    /// When its next heartbeat is due, epoch ms; `null` when it is gone.
    pub due_at: Option<i64>,
    /// Heartbeats missed in a row.
    pub missed_heartbeats: u32,
    /// How often it means to send heartbeats.
    pub heartbeat_interval_ms: u64,
    /// When it connected last, epoch ms.
    pub connected_at: i64,
    /// Its description.
    pub connection: Connection,
    /// Its tags.
    pub tags: Tags,
    /// What it last measured of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, f64>>)]
    pub metrics: Option<Arc<std::collections::BTreeMap<String, f64>>>,
}

impl Server {
    /// Whether it is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.gone_at.is_none()
    }

    /// The server as the API shows it. Without a lease (it is gone, or has just connected) the events tell.
    #[must_use]
    pub fn view(&self, _lease: Option<&LeaseView>) -> ServerView {
        todo!()
    }
}
