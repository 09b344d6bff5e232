//! What events say of a workflow and its steps.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::domain::{
    ids::{ServerId, StepId, WorkflowId},
    json::{Json, Members},
};

/// A step as declared, in its normal form. What else the declaration holds is kept in `extra`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepDeclaration {
    /// The step's id within its workflow.
    #[schema(value_type = String)]
    pub id: StepId,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The only server that may claim it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub server: Option<ServerId>,
    /// The tool to call there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The tool's parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub params: Option<Json>,
    /// Steps that must have ended before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub depends_on: Vec<StepId>,
    /// Milliseconds that a claim may last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Failed attempts that are tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Whether the workflow fails with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// Fields that mean nothing to the hub.
    #[serde(flatten)]
    #[schema(value_type = std::collections::BTreeMap<String, serde_json::Value>)]
    pub extra: Members,
}

impl StepDeclaration {
    /// A step of which nothing but its id is declared.
    #[must_use]
    pub fn bare(id: StepId) -> Self {
        Self {
            id,
            name: None,
            server: None,
            tool: None,
            params: None,
            depends_on: Vec::new(),
            timeout: None,
            retries: None,
            required: None,
            extra: Members::default(),
        }
    }
}

impl<'de> Deserialize<'de> for StepDeclaration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The fields that mean something.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Known {
            id: StepId,
            name: Option<String>,
            server: Option<ServerId>,
            tool: Option<String>,
            params: Option<Json>,
            #[serde(default)]
            depends_on: Vec<StepId>,
            timeout: Option<u64>,
            retries: Option<u32>,
            required: Option<bool>,
        }
        const KNOWN: [&str; 9] = [
            "id",
            "name",
            "server",
            "tool",
            "params",
            "dependsOn",
            "timeout",
            "retries",
            "required",
        ];
        // The others are kept as they were written, which serde's own way of collecting them would not do.
        let whole = Json::deserialize(deserializer)?;
        let known: Known = whole.read().map_err(D::Error::custom)?;
        let members = whole.root().members().into_iter().flatten();
        Ok(Self {
            id: known.id,
            name: known.name,
            server: known.server,
            tool: known.tool,
            params: known.params,
            depends_on: known.depends_on,
            timeout: known.timeout,
            retries: known.retries,
            required: known.required,
            extra: Members::of(members.filter(|(name, _)| !KNOWN.contains(&name.as_ref()))),
        })
    }
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
    /// `results` where some had no room in one line of 32 KiB: `GET /workflows/{id}` has them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["results"]))]
    pub truncated: Vec<String>,
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
    /// Who had that step, or should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub server_id: Option<ServerId>,
    /// The tool that it was to call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Attempts beyond the first, over all steps.
    pub retry_attempts: u32,
    /// Steps that ended before; 0 in events of versions that didn't say.
    #[serde(default)]
    pub completed_steps: u32,
    /// Steps in all; 0 in events of versions that didn't say.
    #[serde(default)]
    pub total_steps: u32,
}
