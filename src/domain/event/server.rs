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
#[serde(rename_all = "camelCase")]
pub struct ServerConnected {
    /// Who connected.
    pub connection: Connection,
    /// Whether the hub had seen this id before.
    pub reconnected: bool,
    /// How often it will send heartbeats; absent in events of versions that didn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval_ms: Option<u64>,
    /// The version of the MCP protocol that it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// After a return: names of the fields that differ from what it was before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// After a return: what became different in what it offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// What became different in what a server offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Drift {
    /// Of its tools.
    pub tools: ListDrift,
    /// Of its resources.
    pub resources: ListDrift,
    /// Of its prompts.
    pub prompts: ListDrift,
}

/// What became different in one list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ListDrift {
    /// Names that are new.
    pub added: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// Entries of which the description differs.
    pub changed: Vec<Changed>,
}

/// An entry that is described otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// Names of the members that differ.
    pub fields: Vec<String>,
}

/// `data` of `server_updated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerUpdated {
    /// The new description.
    pub connection: Connection,
    /// Names of the fields that differ.
    pub changed: Vec<String>,
    /// What became different in what it offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// The version of the MCP protocol that it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
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
    /// Whether it was to be expected; one that goes otherwise counts as lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool)]
    pub expected: Option<bool>,
    /// How long it was connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64)]
    pub connected_for_ms: Option<u64>,
    /// The instance that went last, if it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance_id: Option<InstanceId>,
}

/// `data` of `server_instance_connected` and `server_instance_disconnected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceChanged {
    /// Which instance; absent where it has no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance_id: Option<InstanceId>,
    /// How many of the server's instances are connected now.
    pub connected_instances: u64,
    /// `registered`, or why it is gone: `deregistered`, `heartbeat_timeout`, `replaced`, the producer's own text.
    pub reason: String,
    /// Whether it was to be expected.
    pub expected: bool,
    /// Of one that is gone: when the hub last heard of it, epoch ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<i64>,
    /// The machine that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its process there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// Whom it serves: a name, or MCP's `clientInfo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub client: Option<Json>,
}

/// `data` of `server_health_changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerHealthChanged {
    /// The server's name; empty in events of versions that didn't say.
    #[serde(default)]
    pub name: String,
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
