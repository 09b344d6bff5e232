//! One step: what was declared of it, and how far it is. Its attempts are numbered from 1; each is over once.

use std::sync::Arc;

use rpds::VectorSync;
use serde::{Deserialize, Serialize};

use crate::domain::{
    event::StepDeclaration,
    ids::{InstanceId, ServerId},
    json::Json,
};

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Waits for its dependencies; in a workflow that ended first, it never ran.
    Pending,
    /// Can be claimed.
    Ready,
    /// Claimed.
    Running,
    /// Done.
    Completed,
    /// Failed for good.
    Failed,
    /// It was running when its workflow ended: nothing is known against it. Versions before called it failed.
    Aborted,
}

impl StepStatus {
    /// The status as the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }

    /// Reads a status as the API writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Pending,
            Self::Ready,
            Self::Running,
            Self::Completed,
            Self::Failed,
            Self::Aborted,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
    }
}

/// What never changes about a step. Other steps are named by their places in the order of declaration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// The declaration, without the fields that mean nothing to the hub.
    pub(super) declaration: StepDeclaration,
    /// Whether the workflow fails with it.
    pub(super) required: bool,
    /// Steps that wait for it.
    pub(super) dependents: Vec<u32>,
}

impl Plan {
    pub(super) fn retries(&self) -> u32 {
        self.declaration.retries.unwrap_or(0)
    }
}

/// A failed attempt, so that its own report is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Past {
    pub(super) server: Option<ServerId>,
    pub(super) error: Arc<str>,
    /// Whether a report said so; otherwise the hub gave the attempt up.
    pub(super) reported: bool,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) status: StepStatus,
    /// Dependencies that have not ended.
    pub(super) waiting: u32,
    /// The present or last attempt; 0 before the first.
    pub(super) attempt: u32,
    /// Who holds it, or had the last attempt.
    pub(super) server: Option<ServerId>,
    pub(super) instance: Option<InstanceId>,
    pub(super) started_at: Option<i64>,
    /// The same by the time that has really passed, where the two differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) started_lived: Option<i64>,
    pub(super) ended_at: Option<i64>,
    pub(super) result: Option<Json>,
    /// What went wrong last.
    pub(super) error: Option<Arc<str>>,
    /// The failed attempts, from the first on.
    pub(super) past: VectorSync<Past>,
    /// The instance that holds it is gone: the attempt is due to be failed.
    pub(super) orphaned: bool,
}

impl Run {
    /// A step that waits for so many others.
    pub(super) fn waiting_for(dependencies: u32) -> Self {
        Self {
            status: if dependencies == 0 {
                StepStatus::Ready
            } else {
                StepStatus::Pending
            },
            waiting: dependencies,
            attempt: 0,
            server: None,
            instance: None,
            started_at: None,
            started_lived: None,
            ended_at: None,
            result: None,
            error: None,
            past: VectorSync::new_sync(),
            orphaned: false,
        }
    }

    /// Which attempt a report can be about: the one that runs or ran last, or the next where none runs.
    pub(super) fn current_attempt(&self) -> u32 {
        match self.status {
            StepStatus::Pending | StepStatus::Ready => self.attempt.saturating_add(1),
            StepStatus::Running
            | StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::Aborted => self.attempt,
        }
    }
}

/// A step of a workflow. Cloning it is cheap.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub(super) plan: Arc<Plan>,
    pub(super) run: Run,
}

impl Step {
    /// The servers that it concerns: the declared one, and whoever is or was at it.
    pub fn servers(&self) -> impl Iterator<Item = &ServerId> {
        let declared = self.plan.declaration.server.as_ref();
        declared.into_iter().chain(&self.run.server)
    }

    /// The declaration.
    #[must_use]
    pub fn declaration(&self) -> &StepDeclaration {
        &self.plan.declaration
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> StepStatus {
        self.run.status
    }

    /// The present or last attempt; 0 before the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.run.attempt
    }

    /// Who holds it, or had the last attempt.
    #[must_use]
    pub fn holder(&self) -> Option<&ServerId> {
        self.run.server.as_ref()
    }

    /// When the present or last attempt began, epoch ms; `None` where it was never claimed.
    #[must_use]
    pub fn started_at(&self) -> Option<i64> {
        self.run.started_at
    }

    /// The same by the time that has really passed.
    #[must_use]
    pub fn started_lived(&self) -> Option<i64> {
        self.run.started_lived.or(self.run.started_at)
    }
}
