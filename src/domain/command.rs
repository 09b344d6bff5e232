//! What clients and the hub's own timers ask, in the imperative; what becomes of it.

use super::{
    event::{Capabilities, Health, NewEvent, StepDeclaration, Tags, Transport},
    ids::{InstanceId, ServerId, StepId, WorkflowId},
    input::FieldError,
    json::Json,
    limit::Limit,
    probe::{Probing, Verdict},
    server::{Mode, Note, Process},
};
use std::sync::Arc;

/// A change that somebody asks for. Every command is safe to decide twice.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `POST /servers`.
    Register(Box<Register>),
    /// `DELETE /servers/{id}`; also a lease that ran out.
    Deregister(Deregister),
    /// What is heard of an instance's health.
    ChangeHealth(ChangeHealth),
    /// What a probe found of a connected instance.
    HearProbe(HearProbe),
    /// `POST /workflows`.
    StartWorkflow(Box<StartWorkflow>),
    /// `POST /workflows/{id}/steps/{step}`.
    ReportStep(Box<ReportStep>),
    /// `POST /workflows/{id}/complete`, `/fail`, `/cancel`.
    EndWorkflow(Box<EndWorkflow>),
    /// A running step's time is up, from the timers: counts as a failed attempt, once.
    StepTimedOut {
        /// The workflow.
        workflow: WorkflowId,
        /// The step.
        step: StepId,
        /// The attempt whose time is up; another one's is left alone.
        attempt: u32,
    },
    /// A running workflow's time is up, from the timers.
    WorkflowTimedOut {
        /// The workflow.
        workflow: WorkflowId,
    },
    /// `PUT /patterns/{name}`, and flags at startup.
    SwitchPattern(SwitchPattern),
    /// A producer's own event, appended as it is.
    Emit(Box<Emit>),
    /// What follows from earlier events elsewhere. Made by [`super::State::due_reaction`] only.
    React(Reaction),
}

/// What one aggregate does because of another: a second commit, safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// The integration's status differs from the one last announced.
    AnnounceStatus,
    /// A server is gone that held steps of this workflow.
    ReleaseSteps {
        /// The workflow.
        workflow: WorkflowId,
        /// Who is gone.
        server: ServerId,
    },
}

/// A server's description of itself and of how it will be watched.
#[derive(Debug, Clone, PartialEq, Eq, utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct Register {
    /// Its id: the client's, or one that the edge made.
    #[schema(value_type = Option<String>, required = false, example = "lms-server-001")]
    pub id: ServerId,
    /// For people.
    #[schema(example = "LMS")]
    pub name: String,
    /// How clients reach it.
    pub transport: Transport,
    /// Where.
    pub url: Option<String>,
    /// Its software's version.
    pub version: Option<String>,
    /// The version of the MCP protocol that it speaks, such as `2025-06-18`.
    pub protocol_version: Option<String>,
    /// What it offers.
    #[schema(required = false)]
    pub capabilities: Capabilities,
    /// Labels.
    #[schema(required = false, value_type = std::collections::BTreeMap<String, String>)]
    pub tags: Tags,
    /// Anything.
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Option<Json>,
    /// How often it means to send heartbeats; `None` takes the hub's default.
    #[schema(minimum = 100, maximum = 300_000)]
    pub heartbeat_interval_ms: Option<u64>,
    /// Which instance of it this is; `None` matches any.
    #[schema(value_type = Option<String>)]
    pub instance_id: Option<InstanceId>,
    /// How many instances it may have at a time: with `one`, another instance takes its place; with `many`, it joins.
    #[schema(required = false)]
    pub instances: Mode,
    /// The instance's process: `host`, `pid`, `client`.
    #[schema(ignore)]
    pub process: Process,
    /// How the hub asks it itself, if it does.
    #[schema(required = false, nullable)]
    pub probe: Option<Probing>,
    /// Told by a probe, of this connection: another one is left alone, and one that left stays away.
    #[schema(ignore)]
    pub learnt_of: Option<u64>,
    /// When the instance before it was last heard of, epoch ms, as the leases know: told where it is replaced.
    #[schema(ignore)]
    pub last_seen_at: Option<i64>,
    /// The producer's own time.
    pub occurred_at: Option<i64>,
}

/// A server goes, or is taken for gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deregister {
    /// Who.
    pub server: ServerId,
    /// `deregistered`, `heartbeat_timeout`, or the producer's own text.
    pub reason: String,
    /// The connection that is meant, by the sequence of its `server_connected`; a newer one is left alone.
    /// `None` where a client says so, who means the present one.
    pub connection: Option<u64>,
    /// Only this instance, where a client names one; the lease's own, where a connection is meant.
    pub instance_id: Option<InstanceId>,
    /// Whether it was to be expected; `None`: as the reason says.
    pub expected: Option<bool>,
    /// When it was last heard of, epoch ms, as the leases know.
    pub last_seen_at: Option<i64>,
    /// The producer's own time.
    pub occurred_at: Option<i64>,
}

/// What is heard of an instance's health: from its lease, from itself, or from both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeHealth {
    /// Whose instance.
    pub server: ServerId,
    /// Which one, as the client names it; the lease's own, where a connection is meant.
    pub instance_id: Option<InstanceId>,
    /// The connection that is meant, by the sequence of the event that brought it; a newer one is left alone. `None`
    /// where a client says so, who means the present one and is told if there is none.
    pub connection: Option<u64>,
    /// What the lease says, where it may differ from what it said before.
    pub lease: Option<LeaseWord>,
    /// What the instance says of itself.
    pub report: Option<SelfReport>,
    /// When it was last heard of, epoch ms; `None`: now.
    pub last_seen_at: Option<i64>,
    /// The producer's own time.
    pub occurred_at: Option<i64>,
}

/// What a probe found of a connected instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HearProbe {
    /// Whose instance.
    pub server: ServerId,
    /// Which one.
    pub instance_id: Option<InstanceId>,
    /// The connection that is meant; a newer one is left alone.
    pub connection: u64,
    /// What it found.
    pub verdict: Verdict,
    /// How bad that is by now.
    pub health: Health,
    /// Why, in words.
    pub detail: String,
    /// When the instance was last heard of, epoch ms.
    pub last_seen_at: i64,
}

/// What a lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseWord {
    /// Its verdict.
    pub health: Health,
    /// Heartbeats missed in a row.
    pub missed_heartbeats: u32,
    /// The evidence, in a person's words.
    pub words: String,
}

/// What an instance says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfReport {
    /// How well it does.
    pub health: Health,
    /// Its reasons, in words.
    pub detail: Option<String>,
}

/// A workflow to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct StartWorkflow {
    /// Its id: the client's, or one that the edge made.
    pub id: WorkflowId,
    /// For people.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its steps in their normal form; none: they come into being as they are reported.
    pub steps: Vec<StepDeclaration>,
    /// Milliseconds until it fails with `timeout`.
    pub timeout_ms: Option<u64>,
    /// `errorHandling.maxFailures` under `continue-on-error`: how many failed steps it bears.
    pub max_failures: Option<u32>,
    /// The definition as it was sent, to compare with a repeat and to hand back.
    pub definition: Json,
    /// Who coordinates it, where it came as an event of a server.
    pub server: Option<ServerId>,
    /// The producer's own time.
    pub occurred_at: Option<i64>,
}

/// What a report says of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepReport {
    /// A claim.
    Running,
    /// It is done.
    Completed {
        /// What came of it.
        result: Option<Json>,
    },
    /// It failed.
    Failed {
        /// What went wrong.
        error: String,
    },
}

/// A report on a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportStep {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The step.
    pub step: StepId,
    /// What is said of it.
    pub report: StepReport,
    /// Who says so; `None` is whoever coordinates.
    pub server: Option<ServerId>,
    /// Which run of it.
    pub instance_id: Option<InstanceId>,
    /// The attempt that is meant.
    pub attempt: Option<u32>,
    /// The producer's own time.
    pub occurred_at: Option<i64>,
}

/// How a workflow is ended by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// `/complete`
    Completed {
        /// What came of it, as it was given.
        results: Option<Json>,
    },
    /// `/fail`
    Failed {
        /// What went wrong.
        error: String,
        /// Where.
        failed_step: Option<StepId>,
    },
    /// `/cancel`
    Cancelled {
        /// Why.
        reason: Option<String>,
    },
}

/// A workflow to end by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndWorkflow {
    /// Which.
    pub workflow: WorkflowId,
    /// How.
    pub ending: Ending,
    /// The producer's own time.
    pub occurred_at: Option<i64>,
}

/// A pattern to switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchPattern {
    /// Which.
    pub name: String,
    /// On or off.
    pub enabled: bool,
    /// A new description.
    pub description: Option<String>,
    /// `startup` or `api`.
    pub source: &'static str,
    /// The producer's own time.
    pub occurred_at: Option<i64>,
}

/// A producer's own event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emit {
    /// A custom type's name, or `integration_status_changed`, which a server states.
    pub kind: Arc<str>,
    /// The server concerned.
    pub server: Option<ServerId>,
    /// `data.workflowId`, where that is an id.
    pub workflow: Option<WorkflowId>,
    /// The data as sent.
    pub data: Json,
    /// The producer's own time.
    pub occurred_at: Option<i64>,
}

/// What a command brings about: its events (none: nothing changed) and what to tell the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What happens, in order.
    pub events: Vec<NewEvent>,
    /// What the answer is made of, once the events are evolved.
    pub reply: Reply,
}

impl Decision {
    /// Nothing changes.
    #[must_use]
    pub fn nothing(reply: Reply) -> Self {
        Self {
            events: Vec::new(),
            reply,
        }
    }
}

/// What the client is told. Rendered against the state as the command left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The server, `201` where it, or the instance, is new or back.
    Server {
        /// Which.
        id: ServerId,
        /// Which of its instances registered.
        instance: Option<InstanceId>,
        /// New or back.
        created: bool,
    },
    /// What an instance's health is now, and what to keep beside the log where that differs from what is kept.
    Heard {
        /// The instance's verdict.
        health: Health,
        /// To be kept.
        note: Option<Box<Note>>,
    },
    /// Nothing to say, and something to keep beside the log.
    Noted(Box<Note>),
    /// The workflow, `201` where it is new.
    Workflow {
        /// Which.
        id: WorkflowId,
        /// New.
        created: bool,
    },
    /// The step.
    Step {
        /// Its workflow.
        workflow: WorkflowId,
        /// Which.
        step: StepId,
    },
    /// The pattern.
    Pattern {
        /// Which.
        name: String,
    },
    /// `202` and the ids of the last event of each item; `None` where it changed nothing.
    /// Filled in by the hub, which alone knows the places.
    Appended,
    /// Nothing to say.
    Done,
}

impl Reply {
    /// What is to be kept beside the log.
    #[must_use]
    pub fn note(&self) -> Option<&Note> {
        match self {
            Self::Heard { note, .. } => note.as_deref(),
            Self::Noted(note) => Some(note),
            _ => None,
        }
    }
}

/// Why a command is refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// The body says something that can't be meant.
    #[error("the request can't be carried out as it stands")]
    Invalid(Vec<FieldError>),
    /// No such server is connected.
    #[error("server {0} is not registered")]
    ServerNotRegistered(ServerId),
    /// The server is connected, but this instance of it isn't known.
    #[error("instance {instance} of server {server} is not registered")]
    InstanceNotRegistered {
        /// Of which server.
        server: ServerId,
        /// Which one.
        instance: InstanceId,
    },
    /// The server has several instances, and none was named.
    #[error(
        "server {server} has {connected} instances, and no instanceId says which of them this is"
    )]
    InstanceNotNamed {
        /// Of which server.
        server: ServerId,
        /// How many are connected.
        connected: usize,
    },
    /// No such server is known at all.
    #[error("there is no server {0}")]
    ServerNotFound(ServerId),
    /// Another instance took the server's place.
    #[error("another instance of server {0} has taken its place")]
    InstanceReplaced(ServerId),
    /// The instance said that it goes, before this arrived.
    #[error("instance {instance} of server {server} has already said that it goes")]
    InstanceGone {
        /// Of which server.
        server: ServerId,
        /// Which one.
        instance: InstanceId,
    },
    /// No such workflow.
    #[error("there is no workflow {0}")]
    WorkflowNotFound(WorkflowId),
    /// The id is taken by another definition.
    #[error("workflow {0} exists with another definition")]
    WorkflowExists(WorkflowId),
    /// The workflow has ended, otherwise than the command asks.
    #[error("workflow {workflow} has already ended: it is {status}")]
    WorkflowEnded {
        /// Which.
        workflow: WorkflowId,
        /// `completed`, `failed` or `cancelled`.
        status: &'static str,
    },
    /// No such step.
    #[error("workflow {workflow} has no step {step}")]
    StepNotFound {
        /// The workflow.
        workflow: WorkflowId,
        /// The step.
        step: StepId,
    },
    /// The step's state doesn't allow the report. The problem shows that state.
    #[error("{why}")]
    StepConflict {
        /// The stable slug: `step-held`, `step-not-ready`, `step-ended`, `attempt-stale`, `attempt-missing`,
        /// `step-belongs-elsewhere`, …
        slug: &'static str,
        /// In a person's words.
        why: String,
        /// The step as it is.
        step: Json,
    },
    /// A limit is reached.
    #[error("the limit {limit} of {most} is reached, which {} sets", .limit.setting())]
    LimitReached {
        /// Which.
        limit: Limit,
        /// How many there may be.
        most: usize,
    },
    /// One of a batch is refused, so none was carried out.
    #[error("item {index}: {cause}")]
    InBatch {
        /// Which one, from 0.
        index: usize,
        /// Why.
        cause: Box<Self>,
    },
}
