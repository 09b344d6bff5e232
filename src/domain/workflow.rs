//! Workflows and their steps: readiness, claims, attempts, ends.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::Serialize;

use super::{
    command::{Decision, EndWorkflow, Reaction, Rejection, ReportStep, StartWorkflow},
    event::Event,
    fleet::Policy,
    ids::{ServerId, StepId, WorkflowId},
    json::Json,
    server::Servers,
};

/// One workflow, as the events tell it. Cloning it is cheap, whatever the number of its steps.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Its id.
    pub id: WorkflowId,
}

/// All workflows in the state.
#[derive(Debug, Clone, Default)]
pub struct Workflows {
    by_id: RedBlackTreeMapSync<WorkflowId, Arc<Workflow>>,
}

impl Workflows {
    /// The workflow of this id, running or ended.
    #[must_use]
    pub fn get(&self, id: &WorkflowId) -> Option<&Arc<Workflow>> {
        self.by_id.get(id)
    }

    /// How many run.
    #[must_use]
    pub fn active(&self) -> u64 {
        todo!()
    }

    /// How many completed, and how many failed, since the log began.
    #[must_use]
    pub fn ended(&self) -> (u64, u64) {
        todo!()
    }

    pub(super) fn start(
        &self,
        _start: &StartWorkflow,
        _policy: &Policy,
        _now: i64,
    ) -> Result<Decision, Rejection> {
        todo!()
    }

    pub(super) fn report(
        &self,
        _report: &ReportStep,
        _servers: &Servers,
        _now: i64,
    ) -> Result<Decision, Rejection> {
        todo!()
    }

    pub(super) fn end(&self, _end: &EndWorkflow, _now: i64) -> Result<Decision, Rejection> {
        todo!()
    }

    pub(super) fn step_timed_out(
        &self,
        _workflow: &WorkflowId,
        _step: &StepId,
        _attempt: u32,
        _now: i64,
    ) -> Decision {
        todo!()
    }

    pub(super) fn timed_out(&self, _workflow: &WorkflowId, _now: i64) -> Decision {
        todo!()
    }

    /// The next release of steps whose holder is gone, if any is due.
    pub(super) fn due_release(&self) -> Option<Reaction> {
        todo!()
    }

    pub(super) fn release(
        &self,
        _workflow: &WorkflowId,
        _server: &ServerId,
        _now: i64,
    ) -> Decision {
        todo!()
    }

    /// `servers` is the state right after the event.
    pub(super) fn evolve(&mut self, _event: &Event, _servers: &Servers) {
        todo!()
    }

    pub(super) fn expire(&mut self, _now: i64, _policy: &Policy) {
        todo!()
    }
}

/// A step as the API shows it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: StepId,
    /// Its workflow.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The only server that may claim it, as declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub server: Option<ServerId>,
    /// Who holds or did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub server_id: Option<ServerId>,
    /// The tool to call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The tool's parameters, as declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<serde_json::Value>,
    /// Steps that must have ended before.
    #[schema(value_type = Vec<String>)]
    pub depends_on: Vec<StepId>,
    /// Whether the workflow fails with it.
    pub required: bool,
    /// Milliseconds that a claim may last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Failed attempts that are tried again.
    pub retries: u32,
    /// `pending`, `ready`, `running`, `completed`, `failed`.
    pub status: &'static str,
    /// The present or last attempt; 0 before the first.
    pub attempt: u32,
    /// When the present or last attempt began, epoch ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// When it ended, epoch ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<i64>,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Json>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A workflow as the API shows it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: WorkflowId,
    /// For people.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `running`, `completed`, `failed`.
    pub status: &'static str,
    /// Why it failed: `step_failed`, `timeout`, `cancelled`, `reported`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it began, epoch ms.
    pub started_at: i64,
    /// When it ended, epoch ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<i64>,
    /// Steps that ended.
    pub completed_steps: u32,
    /// Steps in all.
    pub total_steps: u32,
    /// Its steps, in order of declaration.
    pub steps: Vec<StepView>,
    /// The definition as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub definition: Option<Json>,
}
