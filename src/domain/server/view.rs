//! A server as the API shows it: what the events tell, and what only its lease knows.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::Server;
use crate::domain::{
    event::{Connection, Health, Tags},
    ids::ServerId,
    json::Number,
};

/// What a server last measured of itself, by name, each number as it was written.
pub type Metrics = Arc<BTreeMap<String, Number>>;

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
    pub metrics: Option<Metrics>,
    /// What speaks for the verdict now, where that isn't `healthy`; `None` leaves what the last event said.
    pub grounds: Option<Grounds>,
}

/// Why a server isn't healthy, as its lease knows at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grounds {
    /// `missed_heartbeats`, `reported`.
    pub reason: &'static str,
    /// In words.
    pub detail: String,
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
    /// The version of the MCP protocol that it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
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
}

impl Server {
    /// The server as the API shows it. Without a lease (it is gone, or has just connected) the events tell.
    #[must_use]
    pub fn view(&self, lease: Option<&LeaseView>) -> ServerView {
        let lease = lease.filter(|_| self.is_connected());
        let grounds = lease.and_then(|lease| lease.grounds.as_ref());
        let due_at = lease.map_or_else(
            || {
                self.last_seen_at
                    .saturating_add_unsigned(self.heartbeat_interval_ms)
            },
            |lease| lease.due_at,
        );
        ServerView {
            id: self.connection.id.clone(),
            name: self.connection.name.clone(),
            status: if self.is_connected() {
                "connected"
            } else {
                "disconnected"
            },
            health: self.shown_health(),
            reason: grounds.map_or_else(
                || self.reason.clone(),
                |grounds| Some(grounds.reason.to_owned()),
            ),
            detail: grounds.map_or_else(
                || self.detail.clone(),
                |grounds| Some(grounds.detail.clone()),
            ),
            last_seen_at: lease.map_or(self.last_seen_at, |lease| lease.last_seen_at),
            due_at: self.is_connected().then_some(due_at),
            missed_heartbeats: lease
                .map_or(self.missed_heartbeats, |lease| lease.missed_heartbeats),
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            protocol_version: self.protocol_version.clone(),
            connected_at: self.connected_at,
            connection: self.connection.clone(),
            tags: Tags::clone(&self.tags),
            metrics: lease.and_then(|lease| lease.metrics.clone()),
        }
    }
}
