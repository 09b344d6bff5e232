//! What happened, in the past tense: the envelope's contents, typed.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    ids::{InstanceId, ServerId, StepId, WorkflowId},
    json::Json,
    position::Position,
};

/// Longest custom type, in characters.
pub const MAX_TYPE_LEN: usize = 128;

/// The type of an event. The thirteen that the hub itself knows, and the producers' own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventType {
    /// `server_connected`
    ServerConnected,
    /// `server_updated`
    ServerUpdated,
    /// `server_disconnected`
    ServerDisconnected,
    /// `server_health_changed`
    ServerHealthChanged,
    /// `workflow_started`
    WorkflowStarted,
    /// `workflow_step_started`
    WorkflowStepStarted,
    /// `workflow_step_completed`
    WorkflowStepCompleted,
    /// `workflow_step_failed`
    WorkflowStepFailed,
    /// `workflow_completed`
    WorkflowCompleted,
    /// `workflow_failed`
    WorkflowFailed,
    /// `integration_status_changed`
    IntegrationStatusChanged,
    /// `pattern_enabled`
    PatternEnabled,
    /// `pattern_disabled`
    PatternDisabled,
    /// A dotted name or `custom_…`.
    Custom(Arc<str>),
}

impl EventType {
    /// The types that the hub itself gives a meaning to, with their names.
    pub const CORE: [(&'static str, Self); 13] = [
        ("server_connected", Self::ServerConnected),
        ("server_updated", Self::ServerUpdated),
        ("server_disconnected", Self::ServerDisconnected),
        ("server_health_changed", Self::ServerHealthChanged),
        ("workflow_started", Self::WorkflowStarted),
        ("workflow_step_started", Self::WorkflowStepStarted),
        ("workflow_step_completed", Self::WorkflowStepCompleted),
        ("workflow_step_failed", Self::WorkflowStepFailed),
        ("workflow_completed", Self::WorkflowCompleted),
        ("workflow_failed", Self::WorkflowFailed),
        ("integration_status_changed", Self::IntegrationStatusChanged),
        ("pattern_enabled", Self::PatternEnabled),
        ("pattern_disabled", Self::PatternDisabled),
    ];

    /// Reads a type's name: a core one, `[a-z][a-z0-9_]*(\.[a-z0-9_]+)+`, or `custom_[a-z0-9_]+`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some((_, core)) = Self::CORE.iter().find(|(core, _)| *core == name) {
            return Some(core.clone());
        }
        is_custom(name).then(|| Self::Custom(name.into()))
    }

    /// The name, as in `event:` and `"type"`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::ServerConnected => "server_connected",
            Self::ServerUpdated => "server_updated",
            Self::ServerDisconnected => "server_disconnected",
            Self::ServerHealthChanged => "server_health_changed",
            Self::WorkflowStarted => "workflow_started",
            Self::WorkflowStepStarted => "workflow_step_started",
            Self::WorkflowStepCompleted => "workflow_step_completed",
            Self::WorkflowStepFailed => "workflow_step_failed",
            Self::WorkflowCompleted => "workflow_completed",
            Self::WorkflowFailed => "workflow_failed",
            Self::IntegrationStatusChanged => "integration_status_changed",
            Self::PatternEnabled => "pattern_enabled",
            Self::PatternDisabled => "pattern_disabled",
            Self::Custom(name) => name,
        }
    }
}

/// Whether a name is one that producers may give their own events.
#[must_use]
pub fn is_custom(name: &str) -> bool {
    let word = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    if name.len() > MAX_TYPE_LEN {
        return false;
    }
    match name.split_once('.') {
        Some((first, rest)) => {
            word(first) && first.as_bytes()[0].is_ascii_lowercase() && rest.split('.').all(word)
        }
        None => name.strip_prefix("custom_").is_some_and(word),
    }
}

/// What kind of line joins a server to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Standard input and output of a child process.
    Stdio,
    /// HTTP with Server-Sent Events.
    Sse,
    /// Streamable HTTP.
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

/// A step as declared, in its normal form. What else the declaration holds is kept in `extra`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepDeclaration {
    /// The step's id within its workflow.
    #[schema(value_type = String)]
    pub id: StepId,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The only server that may claim it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub server: Option<ServerId>,
    /// The tool to call there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The tool's parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<serde_json::Value>,
    /// Steps that must have ended before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub depends_on: Vec<StepId>,
    /// Milliseconds that a claim may last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Failed attempts that are tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Whether the workflow fails with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// Fields that mean nothing to the hub.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// `data` of `workflow_started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowStarted {
    /// The workflow.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// Its name, for people.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its steps, as declared.
    pub steps: Vec<StepDeclaration>,
    /// Steps that can be claimed at once.
    #[schema(value_type = Vec<String>)]
    pub ready_steps: Vec<StepId>,
}

/// `data` of `workflow_step_started`: a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowStepStarted {
    /// The workflow.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// The step.
    #[schema(value_type = String)]
    pub step_id: StepId,
    /// Who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub server_id: Option<ServerId>,
    /// The claim's fencing number.
    pub attempt: u32,
}

/// `data` of `workflow_step_completed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowStepCompleted {
    /// The workflow.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// The step.
    #[schema(value_type = String)]
    pub step_id: StepId,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub server_id: Option<ServerId>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Json>,
    /// The attempt that succeeded.
    pub attempt: u32,
    /// From claim to report; absent where there was no claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Steps that ended so far.
    pub completed_steps: u32,
    /// Steps in all.
    pub total_steps: u32,
    /// The steps that this completion made ready.
    #[schema(value_type = Vec<String>)]
    pub ready_steps: Vec<StepId>,
}

/// `data` of `workflow_step_failed`: one attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowStepFailed {
    /// The workflow.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// The step.
    #[schema(value_type = String)]
    pub step_id: StepId,
    /// Who had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub server_id: Option<ServerId>,
    /// What went wrong.
    pub error: String,
    /// The attempt that failed.
    pub attempt: u32,
    /// Whether the step is ready again.
    pub will_retry: bool,
    /// `reported`, `timeout`, `server_disconnected`, …
    pub reason: String,
    /// The steps that this end made ready (of a step that is not required).
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub ready_steps: Vec<StepId>,
}

/// How one step ended, within `workflow_completed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StepResult {
    /// The step.
    #[schema(value_type = String)]
    pub step: StepId,
    /// Its status.
    pub status: String,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Json>,
}

/// `data` of `workflow_completed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowCompleted {
    /// The workflow.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// Its name.
    pub name: String,
    /// From start to end.
    pub duration_ms: u64,
    /// Each step's end, in order of declaration; what a completion by hand states comes as it was given.
    #[schema(value_type = Vec<StepResult>)]
    pub results: Json,
}

/// `data` of `workflow_failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowFailed {
    /// The workflow.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// Its name.
    pub name: String,
    /// `step_failed`, `timeout`, `cancelled`, `reported`.
    pub reason: String,
    /// What went wrong.
    pub error: String,
    /// The step that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub failed_step: Option<StepId>,
    /// Attempts beyond the first, over all steps.
    pub retry_attempts: u32,
}

/// `data` of the hub's own `integration_status_changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntegrationStatusChanged {
    /// The status now.
    pub status: Health,
    /// The status before.
    pub previous_status: Health,
    /// Servers connected.
    pub connected_servers: u64,
    /// Of them, healthy.
    pub healthy_servers: u64,
    /// Servers lost by `heartbeat_timeout`.
    pub lost_servers: u64,
    /// Workflows that run.
    pub active_workflows: u64,
}

/// A pattern as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Pattern {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it is on.
    pub enabled: bool,
}

/// `data` of `pattern_enabled` and `pattern_disabled`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PatternSwitched {
    /// The pattern as it is now.
    pub pattern: Pattern,
    /// `startup` or `api`.
    pub source: String,
}

/// What happened, typed.
#[derive(Debug, Clone, PartialEq)]
pub enum EventData {
    /// A server connected.
    ServerConnected(Box<ServerConnected>),
    /// A connected server described itself anew.
    ServerUpdated(Box<ServerUpdated>),
    /// A server is gone.
    ServerDisconnected(ServerDisconnected),
    /// The verdict on a server changed.
    ServerHealthChanged(ServerHealthChanged),
    /// A workflow began.
    WorkflowStarted(Box<WorkflowStarted>),
    /// A step was claimed.
    WorkflowStepStarted(WorkflowStepStarted),
    /// A step is done.
    WorkflowStepCompleted(Box<WorkflowStepCompleted>),
    /// An attempt at a step failed.
    WorkflowStepFailed(Box<WorkflowStepFailed>),
    /// A workflow is done.
    WorkflowCompleted(WorkflowCompleted),
    /// A workflow failed.
    WorkflowFailed(WorkflowFailed),
    /// The hub's own verdict on the whole.
    IntegrationStatusChanged(IntegrationStatusChanged),
    /// A server's statement about the whole, which changes nothing here.
    IntegrationStated(Json),
    /// A pattern was switched on.
    PatternEnabled(PatternSwitched),
    /// A pattern was switched off.
    PatternDisabled(PatternSwitched),
    /// A producer's own event: its type, its data, and the workflow that its data names.
    Custom {
        /// The type's name.
        kind: Arc<str>,
        /// The data as sent.
        data: Json,
        /// `data.workflowId`, where that is an id.
        workflow: Option<WorkflowId>,
    },
}

/// What the log keeps with an event and no listener sees: state that the public data doesn't tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Private {
    /// `server_connected`, `server_updated`: how often the server said it would send heartbeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval_ms: Option<u64>,
    /// `server_health_changed`: what the lease alone says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_health: Option<Health>,
    /// `server_health_changed`: what the server itself says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_health: Option<Health>,
    /// `workflow_started`: the definition as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<Json>,
    /// `workflow_started`: milliseconds until it fails with `timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// `workflow_started`: how many failed steps it bears, under `continue-on-error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
    /// `workflow_step_*`: the instance that made the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
}

impl Private {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An event as decided, before it has a place.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The server concerned.
    pub server: Option<ServerId>,
    /// That server's tags, as of the event.
    pub tags: Arc<Tags>,
    /// What happened.
    pub data: EventData,
    /// The producer's own time, epoch ms: `data.occurredAt`.
    pub occurred_at: Option<i64>,
    /// What only the hub needs.
    pub private: Private,
}

/// An event with its place and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place.
    pub position: Position,
    /// The hub's time, epoch ms.
    pub timestamp: i64,
    /// What happened.
    pub what: NewEvent,
}

/// One stored event, borrowed from wherever its bytes lie: what filters test and frames are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its sequence number.
    pub sequence: u64,
    /// The hub's time, epoch ms.
    pub timestamp: i64,
    /// Its type's name.
    pub kind: &'a str,
    /// The server concerned.
    pub server: Option<&'a str>,
    /// The workflow concerned.
    pub workflow: Option<&'a str>,
    /// The server's tags as of the event, `key:value` lines joined by `\n`; empty for none.
    pub tags: &'a str,
    /// `data`, one line of JSON.
    pub data: &'a str,
    /// [`Private`] as JSON; empty for none.
    pub private: &'a str,
}

impl<'a> Record<'a> {
    /// The tags, each `key:value`.
    pub fn tags(&self) -> impl Iterator<Item = &'a str> {
        self.tags.split('\n').filter(|tag| !tag.is_empty())
    }
}

impl NewEvent {
    /// An event without a server.
    #[must_use]
    pub fn new(data: EventData) -> Self {
        Self {
            server: None,
            tags: Arc::default(),
            data,
            occurred_at: None,
            private: Private::default(),
        }
    }

    /// An event of a server with these tags.
    #[must_use]
    pub fn of_server(server: ServerId, tags: Arc<Tags>, data: EventData) -> Self {
        Self {
            server: Some(server),
            tags,
            ..Self::new(data)
        }
    }

    /// The tags in the form that [`Record`] has them.
    #[must_use]
    pub fn tag_lines(&self) -> String {
        self.tags
            .iter()
            .map(|(key, value)| format!("{key}:{value}"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl EventData {
    /// The event's type.
    #[must_use]
    pub fn kind(&self) -> EventType {
        match self {
            Self::ServerConnected(_) => EventType::ServerConnected,
            Self::ServerUpdated(_) => EventType::ServerUpdated,
            Self::ServerDisconnected(_) => EventType::ServerDisconnected,
            Self::ServerHealthChanged(_) => EventType::ServerHealthChanged,
            Self::WorkflowStarted(_) => EventType::WorkflowStarted,
            Self::WorkflowStepStarted(_) => EventType::WorkflowStepStarted,
            Self::WorkflowStepCompleted(_) => EventType::WorkflowStepCompleted,
            Self::WorkflowStepFailed(_) => EventType::WorkflowStepFailed,
            Self::WorkflowCompleted(_) => EventType::WorkflowCompleted,
            Self::WorkflowFailed(_) => EventType::WorkflowFailed,
            Self::IntegrationStatusChanged(_) | Self::IntegrationStated(_) => {
                EventType::IntegrationStatusChanged
            }
            Self::PatternEnabled(_) => EventType::PatternEnabled,
            Self::PatternDisabled(_) => EventType::PatternDisabled,
            Self::Custom { kind, .. } => EventType::Custom(kind.clone()),
        }
    }

    /// The workflow concerned.
    #[must_use]
    pub fn workflow(&self) -> Option<&WorkflowId> {
        match self {
            Self::WorkflowStarted(data) => Some(&data.workflow_id),
            Self::WorkflowStepStarted(data) => Some(&data.workflow_id),
            Self::WorkflowStepCompleted(data) => Some(&data.workflow_id),
            Self::WorkflowStepFailed(data) => Some(&data.workflow_id),
            Self::WorkflowCompleted(data) => Some(&data.workflow_id),
            Self::WorkflowFailed(data) => Some(&data.workflow_id),
            Self::Custom { workflow, .. } => workflow.as_ref(),
            _ => None,
        }
    }

    /// The text of `data`, one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::ServerConnected(data) => Json::of(data),
            Self::ServerUpdated(data) => Json::of(data),
            Self::ServerDisconnected(data) => Json::of(data),
            Self::ServerHealthChanged(data) => Json::of(data),
            Self::WorkflowStarted(data) => Json::of(data),
            Self::WorkflowStepStarted(data) => Json::of(data),
            Self::WorkflowStepCompleted(data) => Json::of(data),
            Self::WorkflowStepFailed(data) => Json::of(data),
            Self::WorkflowCompleted(data) => Json::of(data),
            Self::WorkflowFailed(data) => Json::of(data),
            Self::IntegrationStatusChanged(data) => Json::of(data),
            Self::PatternEnabled(data) | Self::PatternDisabled(data) => Json::of(data),
            Self::IntegrationStated(data) | Self::Custom { data, .. } => data.clone(),
        }
    }
}

/// A stored event whose data doesn't have the shape of its type: another version's, or damage that the
/// checksum didn't see.
#[derive(Debug, thiserror::Error)]
#[error("event {sequence} ({kind}) can't be read: {cause}")]
pub struct Unreadable {
    /// Which one.
    pub sequence: u64,
    /// Its type.
    pub kind: String,
    /// What is wrong.
    pub cause: String,
}

impl Event {
    /// Reads a stored event back.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn from_record(record: &Record<'_>, position: Position) -> Result<Self, Unreadable> {
        let unreadable = |cause: String| Unreadable {
            sequence: record.sequence,
            kind: record.kind.to_owned(),
            cause,
        };
        let server = record
            .server
            .map(|id| ServerId::parse(id).map_err(|e| unreadable(format!("serverId {e}"))))
            .transpose()?;
        let data = read_data(record, server.is_some()).map_err(|e| unreadable(e.to_string()))?;
        let private = if record.private.is_empty() {
            Private::default()
        } else {
            serde_json::from_str(record.private).map_err(|e| unreadable(e.to_string()))?
        };
        let tags = record
            .tags()
            .filter_map(|tag| tag.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let what = NewEvent {
            server,
            tags: Arc::new(tags),
            data,
            occurred_at: None,
            private,
        };
        Ok(Self {
            position,
            timestamp: record.timestamp,
            what,
        })
    }
}

fn read_data(record: &Record<'_>, has_server: bool) -> Result<EventData, serde_json::Error> {
    use serde_json::from_str;
    let text = record.data;
    Ok(match EventType::parse(record.kind) {
        Some(EventType::ServerConnected) => EventData::ServerConnected(from_str(text)?),
        Some(EventType::ServerUpdated) => EventData::ServerUpdated(from_str(text)?),
        Some(EventType::ServerDisconnected) => EventData::ServerDisconnected(from_str(text)?),
        Some(EventType::ServerHealthChanged) => EventData::ServerHealthChanged(from_str(text)?),
        Some(EventType::WorkflowStarted) => EventData::WorkflowStarted(from_str(text)?),
        Some(EventType::WorkflowStepStarted) => EventData::WorkflowStepStarted(from_str(text)?),
        Some(EventType::WorkflowStepCompleted) => EventData::WorkflowStepCompleted(from_str(text)?),
        Some(EventType::WorkflowStepFailed) => EventData::WorkflowStepFailed(from_str(text)?),
        Some(EventType::WorkflowCompleted) => EventData::WorkflowCompleted(from_str(text)?),
        Some(EventType::WorkflowFailed) => EventData::WorkflowFailed(from_str(text)?),
        Some(EventType::IntegrationStatusChanged) if has_server => {
            EventData::IntegrationStated(Json::trusted(text))
        }
        Some(EventType::IntegrationStatusChanged) => {
            EventData::IntegrationStatusChanged(from_str(text)?)
        }
        Some(EventType::PatternEnabled) => EventData::PatternEnabled(from_str(text)?),
        Some(EventType::PatternDisabled) => EventData::PatternDisabled(from_str(text)?),
        Some(EventType::Custom(kind)) => EventData::Custom {
            kind,
            data: Json::trusted(text),
            workflow: record.workflow.and_then(|id| WorkflowId::parse(id).ok()),
        },
        None => return Err(serde::de::Error::custom("unknown type")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_names_and_types_agree() {
        for (name, kind) in EventType::CORE {
            assert_eq!(kind.as_str(), name);
            assert_eq!(EventType::parse(name), Some(kind));
        }
    }

    #[test]
    fn producers_types_are_dotted_or_prefixed() {
        for good in ["grades.synced", "a.b.c", "a_1.2", "custom_x", "load.t0"] {
            assert!(is_custom(good), "{good}");
        }
        for bad in [
            "", "grades", ".a", "a.", "a..b", "1a.b", "A.b", "a.B", "custom_", "custom_A", "a b.c",
            "_a.b", "a.b\n",
        ] {
            assert!(!is_custom(bad), "{bad:?}");
        }
        assert!(!is_custom(&format!("a.{}", "b".repeat(127))));
    }
}
