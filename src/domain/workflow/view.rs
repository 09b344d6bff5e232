//! Workflows and steps as the API shows them.

use serde::Serialize;

use super::{Workflow, step::Step};
use crate::domain::{
    ids::{ServerId, StepId, WorkflowId},
    json::Json,
};

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
    #[schema(value_type = Option<serde_json::Value>)]
    pub params: Option<Json>,
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
    /// `pending`, `ready`, `running`, `completed`, `failed`; `aborted` where its workflow ended while it ran.
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
    /// `running`, `completed`, `failed`, `cancelled`.
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

impl Step {
    /// The step as the API shows it.
    #[must_use]
    pub fn view(&self, workflow: &WorkflowId) -> StepView {
        let (declaration, run) = (&self.plan.declaration, &self.run);
        StepView {
            id: declaration.id.clone(),
            workflow_id: workflow.clone(),
            name: declaration.name.clone(),
            server: declaration.server.clone(),
            server_id: run.server.clone(),
            tool: declaration.tool.clone(),
            params: declaration.params.clone(),
            depends_on: declaration.depends_on.clone(),
            required: self.plan.required,
            timeout: declaration.timeout,
            retries: self.plan.retries(),
            status: run.status.as_str(),
            attempt: run.attempt,
            started_at: run.started_at,
            ended_at: run.ended_at,
            result: run.result.clone(),
            error: run.error.as_deref().map(str::to_owned),
        }
    }
}

impl Workflow {
    /// The workflow as the API shows it.
    #[must_use]
    pub fn view(&self) -> WorkflowView {
        WorkflowView {
            definition: self.about.definition.clone(),
            ..self.summary()
        }
    }

    /// One of its steps as the API shows it.
    #[must_use]
    pub fn step_view(&self, step: &StepId) -> Option<StepView> {
        self.step(step).map(|step| step.view(&self.id))
    }

    /// The step at a place in the order of declaration, as the API shows it.
    #[must_use]
    pub fn step_view_at(&self, place: u32) -> Option<StepView> {
        self.step_at(place).map(|step| step.view(&self.id))
    }

    /// The definition as it was sent.
    #[must_use]
    pub fn definition(&self) -> Option<&Json> {
        self.about.definition.as_ref()
    }

    /// The same without its definition, as lists show it.
    #[must_use]
    pub fn summary(&self) -> WorkflowView {
        WorkflowView {
            steps: self.steps().map(|step| step.view(&self.id)).collect(),
            ..self.outline()
        }
    }

    /// The same without its steps, too.
    #[must_use]
    pub fn outline(&self) -> WorkflowView {
        let outcome = self.outcome.as_deref();
        WorkflowView {
            id: self.id.clone(),
            name: self.about.name.clone(),
            description: self.about.description.clone(),
            status: self.status().as_str(),
            reason: outcome.and_then(|outcome| outcome.reason.clone()),
            error: outcome.and_then(|outcome| outcome.error.clone()),
            started_at: self.about.started_at,
            ended_at: outcome.map(|outcome| outcome.ended_at),
            completed_steps: self.counts.ended,
            total_steps: self.total_steps(),
            steps: Vec::new(),
            definition: None,
        }
    }
}
