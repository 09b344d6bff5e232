//! What happened, in the past tense: the envelope's contents, typed.

mod integration;
mod kind;
mod posted;
mod record;
mod server;
mod workflow;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    health::Condition,
    ids::{InstanceId, ServerId, WorkflowId},
    json::Json,
    position::Position,
    probe::Probing,
    server::{Mode, Process},
};

pub use integration::{Because, IntegrationStatusChanged, Pattern, PatternSwitched};
pub use kind::{EventType, MAX_TYPE_LEN, is_custom};
pub use posted::PostedShape;
pub use record::{Record, Texts, Unreadable};
pub use server::{
    Capabilities, Changed, Connection, ConnectionName, Drift, Health, HealthSource,
    InstanceChanged, ListDrift, ServerConnected, ServerDisconnected, ServerHealthChanged,
    ServerUpdated, Tags, Transport,
};
pub use workflow::{
    StepDeclaration, StepResult, WorkflowCompleted, WorkflowFailed, WorkflowStarted,
    WorkflowStepCompleted, WorkflowStepFailed, WorkflowStepStarted,
};

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
    /// A further instance of a connected server is there.
    InstanceConnected(Box<InstanceChanged>),
    /// An instance is gone of a server that others still serve.
    InstanceDisconnected(Box<InstanceChanged>),
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

/// What the log keeps with an event beside its data: state that the public data doesn't tell, and what it was called
/// where it came from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Private {
    /// `server_connected`, `server_updated`: how often the server said it would send heartbeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval_ms: Option<u64>,
    /// `server_connected`, `server_updated`: how many instances the server may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<Mode>,
    /// `server_connected`, `server_updated`: what the instance tells of its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// `server_connected`, `server_updated`: how the hub asks the server itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probing>,
    /// `server_health_changed`: what is known of the instance that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// `server_health_changed`: what the lease alone says. Read only: the condition has it since servers have
    /// instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_health: Option<Health>,
    /// `server_health_changed`: what the server itself says. Read only, too.
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
    /// `workflow_step_*`, `server_updated`, `server_health_changed`: the instance that said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// From this event on: by how much the wall clock is ahead of the time that has really passed, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
    /// The attributes of the CloudEvent that it came as, which listeners are given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_event: Option<Json>,
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
    /// Whose request brought it about, by the name of the key or the token's subject: `data.by`. Set by whoever carries
    /// the request out, for all that follows from it.
    pub by: Option<Arc<str>>,
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

impl NewEvent {
    /// An event without a server.
    #[must_use]
    pub fn new(data: EventData) -> Self {
        Self {
            server: None,
            tags: Arc::default(),
            data,
            occurred_at: None,
            by: None,
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
            Self::InstanceConnected(_) => EventType::InstanceConnected,
            Self::InstanceDisconnected(_) => EventType::InstanceDisconnected,
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
            Self::InstanceConnected(data) | Self::InstanceDisconnected(data) => Json::of(data),
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
