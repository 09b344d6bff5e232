//! What events say of a server: its description, and how it comes, changes, does and goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{
    ids::{InstanceId, ServerId},
    json::Json,
};

/// What kind of line joins a server to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Standard input and output of a child process.
    Stdio,
    /// HTTP with Server-Sent Events.
    Sse,
    /// Streamable HTTP, which some call by that name.
    #[serde(alias = "streamable-http")]
    Http,
    /// WebSocket.
    Websocket,
}

/// How well a server, or the whole integration, does. Ordered from good to bad.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All is well.
    Healthy,
    /// Works, with trouble.
    Degraded,
    /// Doesn't work.
    Unhealthy,
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthSource {
    /// Heartbeats that came or didn't.
    Lease,
    /// The server itself.
    #[serde(rename = "self")]
    Itself,
    /// A probe.
    Probe,
    /// A person.
    Operator,
}

/// Labels of a server, `key: value`, in order of their keys.
pub type Tags = BTreeMap<String, String>;

/// What a server can do, as it describes it: each entry a name or an MCP description object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Capabilities {
    /// Tools.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub tools: Vec<Json>,
    /// Resources.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub resources: Vec<Json>,
    /// Prompts.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub prompts: Vec<Json>,
}

/// A server's description of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The server's id.
    #[schema(value_type = String)]
    pub id: ServerId,
    /// Its name, for people.
    pub name: String,
    /// How clients reach it.
    pub transport: Transport,
    /// Where clients reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The version of its software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it offers.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Labels to filter by.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Whatever else the producer wants to hand on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Option<Json>,
    /// Which run of the server this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance_id: Option<InstanceId>,
}

/// A connection in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ConnectionName {
    /// The server's id.
    #[schema(value_type = String)]
    pub id: ServerId,
    /// Its name.
    pub name: String,
}

/// `data` of `server_connected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServerConnected {
    /// Who connected.
    pub connection: Connection,
    /// Whether the hub had seen this id before.
    pub reconnected: bool,
}

/// `data` of `server_updated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServerUpdated {
    /// The new description.
    pub connection: Connection,
    /// Names of the fields that differ.
    pub changed: Vec<String>,
}

/// `data` of `server_disconnected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerDisconnected {
    /// `deregistered`, `heartbeat_timeout`, `replaced`, or the producer's own text.
    pub reason: String,
    /// Who is gone.
    pub connection: ConnectionName,
    /// When the hub last heard of it, epoch ms.
    pub last_seen_at: i64,
}

/// `data` of `server_health_changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerHealthChanged {
    /// The verdict now.
    pub health: Health,
    /// The verdict before.
    pub previous_health: Health,
    /// `missed_heartbeats`, `heartbeats_resumed`, `reported`.
    pub reason: String,
    /// Who says so.
    pub source: HealthSource,
    /// Heartbeats missed in a row.
    pub missed_heartbeats: u32,
    /// When the hub last heard of it, epoch ms.
    pub last_seen_at: i64,
    /// The evidence, in a person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
