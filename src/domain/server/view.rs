//! A server as the API shows it: what the events tell, and what only its lease knows.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{Instance, Lost, Server};
use crate::domain::{
    event::{Connection, Health, Tags},
    ids::{InstanceId, ServerId},
    json::{Json, Number},
    probe::ProbeView,
};

/// What a server last measured of itself, by name, each number as it was written.
pub type Metrics = Arc<BTreeMap<String, Number>>;

/// What only the lease of a connected instance knows.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseView {
    /// When the hub last heard of it, epoch ms.
    pub last_seen_at: i64,
    /// When its next heartbeat is due, epoch ms.
    pub due_at: i64,
    /// Heartbeats missed in a row.
    pub missed_heartbeats: u32,
    /// What it last measured of itself.
    pub metrics: Option<Metrics>,
    /// What the lease says: as the state has it, unless the log can't be written.
    pub health: Health,
    /// Its words for that, as of now, where it isn't `healthy`; `None` leaves what was told last.
    pub words: Option<String>,
}

impl LeaseView {
    /// Of an instance that has just registered.
    #[must_use]
    pub fn fresh(instance: &Instance, now: i64) -> Self {
        Self {
            last_seen_at: now,
            due_at: now.saturating_add_unsigned(instance.heartbeat_interval_ms),
            missed_heartbeats: 0,
            metrics: None,
            health: instance.condition.lease,
            words: None,
        }
    }
}

/// An instance as the API shows it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    /// Its name; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance_id: Option<InstanceId>,
    /// `connected`, or `lost`: gone otherwise than expected, and shown for a while.
    #[schema(example = "connected")]
    pub status: &'static str,
    /// Its own verdict.
    pub health: Health,
    /// Why it isn't healthy, or why it was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The evidence, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The log can't be written, so that no event says this yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub unsaved: bool,
    /// When the hub last heard of it, epoch ms.
    pub last_seen_at: i64,
    /// When its next heartbeat is due, epoch ms; `null` when it is gone.
    pub due_at: Option<i64>,
    /// Heartbeats missed in a row.
    pub missed_heartbeats: u32,
    /// How often it means to send heartbeats.
    pub heartbeat_interval_ms: u64,
    /// When it connected, epoch ms.
    pub connected_at: i64,
    /// The machine that it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its process there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// Whom it serves: a name, or MCP's `clientInfo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub client: Option<Json>,
    /// What it last measured of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    pub metrics: Option<Metrics>,
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
    /// Of one that is gone: whether that was to be expected. One that went otherwise counts as lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<bool>,
    /// The log can't be written, so that no event says this yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub unsaved: bool,
    /// When the hub last heard of it, epoch ms.
    pub last_seen_at: i64,
    /// When its next heartbeat is due, epoch ms; `null` when it is gone.
    pub due_at: Option<i64>,
    /// Heartbeats missed in a row.
    pub missed_heartbeats: u32,
    /// How often it means to send heartbeats.
    pub heartbeat_interval_ms: u64,
    /// The version of the MCP protocol that it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// How many instances of it are connected.
    #[schema(example = 1)]
    pub connected_instances: u64,
    /// Its instances: those that are connected, and those that were lost lately.
    pub instances: Vec<InstanceView>,
    /// When it connected last, epoch ms.
    pub connected_at: i64,
    /// Its description.
    pub connection: Connection,
    /// Its tags.
    pub tags: Tags,
    /// What it last measured of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, f64>>)]
    pub metrics: Option<Metrics>,
    /// What the hub's last probe of it found, if it is probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub probe: Option<ProbeView>,
}

impl Server {
    /// The server as the API shows it, with what the leases of its instances say, by connection; without a lease (it is
    /// gone, or has just connected) the events tell. `lived` is the time that has really passed, ms.
    #[must_use]
    pub fn view(&self, leases: &[(u64, LeaseView)], lived: i64) -> ServerView {
        let mut instances: Vec<InstanceView> = self
            .instances
            .connected()
            .map(|instance| {
                let lease = leases
                    .iter()
                    .find(|(connection, _)| *connection == instance.connection);
                instance.view(lease.map(|(_, lease)| lease))
            })
            .collect();
        let mut view = self.in_short(&instances);
        instances.extend(self.instances.lost_at(lived).map(Lost::view));
        view.instances = instances;
        view
    }

    /// What is shown of the whole, given what is shown of its connected instances.
    fn in_short(&self, instances: &[InstanceView]) -> ServerView {
        // As well as the best, and heard of as lately as the latest.
        let best = instances.iter().min_by_key(|instance| instance.health);
        let latest = instances
            .iter()
            .max_by_key(|instance| instance.last_seen_at);
        // Until the log can be written again, the best instance is what shows.
        let unsaved = best.is_some_and(|best| best.health != self.health)
            && instances.iter().any(|instance| instance.unsaved);
        let shown = best.filter(|best| {
            unsaved || (best.health == self.health && best.health != Health::Healthy)
        });
        let metrics = instances
            .iter()
            .filter(|instance| instance.metrics.is_some())
            .max_by_key(|instance| instance.last_seen_at)
            .and_then(|instance| instance.metrics.clone());
        ServerView {
            id: self.connection.id.clone(),
            name: self.connection.name.clone(),
            status: if self.is_connected() {
                "connected"
            } else {
                "disconnected"
            },
            health: if unsaved {
                best.map_or(self.health, |best| best.health)
            } else {
                self.shown_health()
            },
            reason: shown.map_or_else(|| self.reason.clone(), |best| best.reason.clone()),
            detail: shown.map_or_else(|| self.detail.clone(), |best| best.detail.clone()),
            expected: (!self.is_connected()).then_some(!self.lost),
            unsaved,
            last_seen_at: latest.map_or(self.last_seen_at, |latest| latest.last_seen_at),
            due_at: instances
                .iter()
                .filter_map(|instance| instance.due_at)
                .max(),
            missed_heartbeats: best.map_or(self.missed_heartbeats, |best| best.missed_heartbeats),
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            protocol_version: self.protocol_version.clone(),
            connected_instances: instances.len() as u64,
            instances: Vec::new(),
            connected_at: self.connected_at,
            connection: self.connection.clone(),
            tags: Tags::clone(&self.tags),
            metrics,
            probe: self.probe.as_deref().map(ProbeView::unasked),
        }
    }
}

impl Instance {
    fn view(&self, lease: Option<&LeaseView>) -> InstanceView {
        let mut condition = self.condition.clone();
        if let Some(lease) = lease {
            condition.hear_lease(lease.health);
        }
        let health = condition.verdict();
        let words = lease.and_then(|lease| lease.words.as_deref());
        let (reason, _, detail) = condition.grounds(words.or(self.lease_words.as_deref()));
        let is_well = health == Health::Healthy;
        let due_at = self
            .last_seen_at
            .saturating_add_unsigned(self.heartbeat_interval_ms);
        InstanceView {
            instance_id: self.id.clone(),
            status: "connected",
            health,
            reason: (!is_well).then(|| reason.to_owned()),
            detail: detail.filter(|_| !is_well),
            unsaved: health != self.condition.verdict(),
            last_seen_at: lease.map_or(self.last_seen_at, |lease| lease.last_seen_at),
            due_at: Some(lease.map_or(due_at, |lease| lease.due_at)),
            missed_heartbeats: lease
                .map_or(self.missed_heartbeats, |lease| lease.missed_heartbeats),
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            connected_at: self.connected_at,
            host: self.process.host.clone(),
            pid: self.process.pid,
            client: self.process.client.clone(),
            metrics: lease.and_then(|lease| lease.metrics.clone()),
        }
    }
}

impl Lost {
    fn view(&self) -> InstanceView {
        InstanceView {
            status: "lost",
            health: Health::Unhealthy,
            reason: Some(self.reason.clone()),
            detail: None,
            due_at: None,
            ..self.instance.view(None)
        }
    }
}
