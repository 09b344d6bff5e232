//! Reads reports on steps and endings of workflows.

use crate::domain::{
    command::{EndWorkflow, Ending, ReportStep, StepReport},
    ids::{StepId, WorkflowId},
    input::{FieldError, Fields, IGNORED, Shape},
    json::{Json, JsonRef},
};

/// Longest error text, in bytes.
pub(super) const MAX_ERROR_LEN: usize = 16 * 1024;

/// How somebody ends a workflow by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndKind {
    /// `/complete`
    Complete,
    /// `/fail`
    Fail,
    /// `/cancel`
    Cancel,
}

impl ReportStep {
    /// What a body may hold.
    pub const SHAPE: Shape = Shape {
        members: &[
            "status",
            "serverId",
            "instanceId",
            "result",
            "error",
            "attempt",
            "occurredAt",
        ],
        nested: &[],
        fate: IGNORED,
    };

    /// Reads the body of a report on a step: `{status, serverId?, instanceId?, result?, error?, attempt?}`.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(
        body: JsonRef<'_>,
        base: &str,
        workflow: WorkflowId,
        step: StepId,
    ) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::among(body, base, &Self::SHAPE)?;
        let status = fields.required_text("status", 16);
        let report = match status.as_deref() {
            Some(status @ ("running" | "completed" | "failed")) => said(&mut fields, status),
            Some(_) => {
                fields.wrong("status", "must be running, completed or failed");
                None
            }
            None => None,
        };
        Self::finish(fields, workflow, step, report)
    }

    /// Reads the rest of a report, however it came.
    pub(super) fn finish(
        mut fields: Fields<'_>,
        workflow: WorkflowId,
        step: StepId,
        report: Option<StepReport>,
    ) -> Result<Self, Vec<FieldError>> {
        let server = fields.parsed("serverId");
        let instance_id = fields.parsed("instanceId");
        let attempt = fields
            .number("attempt", 1..=u64::from(u32::MAX))
            .and_then(|n| u32::try_from(n).ok());
        let occurred_at = fields.time("occurredAt");
        let found = report.map(|report| Self {
            workflow,
            step,
            report,
            server,
            instance_id,
            attempt,
            occurred_at,
        });
        fields.finish(found)
    }
}

/// What is said of a step. What wouldn't be kept is refused rather than lost.
pub(super) fn said(fields: &mut Fields<'_>, status: &str) -> Option<StepReport> {
    let result = fields.get("result");
    if result.is_some() && status != "completed" {
        fields.wrong("result", "goes with status completed only");
    }
    if fields.get("error").is_some() && status != "failed" {
        fields.wrong("error", "goes with status failed only");
    }
    match status {
        "running" => Some(StepReport::Running),
        "completed" => {
            let result = fields.value("result");
            Some(StepReport::Completed { result })
        }
        _ => {
            let error = fields
                .text("error", MAX_ERROR_LEN)
                .unwrap_or_else(|| "no reason was given".to_owned());
            Some(StepReport::Failed { error })
        }
    }
}

impl EndKind {
    /// What a body may hold.
    #[must_use]
    pub fn shape(self) -> &'static Shape {
        const fn of(members: &'static [&'static str]) -> Shape {
            Shape {
                members,
                nested: &[],
                fate: IGNORED,
            }
        }
        const COMPLETE: Shape = of(&["results", "occurredAt"]);
        const FAIL: Shape = of(&["error", "failedStep", "occurredAt"]);
        const CANCEL: Shape = of(&["reason", "occurredAt"]);
        match self {
            Self::Complete => &COMPLETE,
            Self::Fail => &FAIL,
            Self::Cancel => &CANCEL,
        }
    }
}

impl EndWorkflow {
    /// Reads the body of `/complete` `{results?}`, `/fail` `{error, failedStep?}` or `/cancel` `{reason?}`,
    /// which may be missing where nothing in it is required.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(
        kind: EndKind,
        body: Option<JsonRef<'_>>,
        base: &str,
        workflow: WorkflowId,
    ) -> Result<Self, Vec<FieldError>> {
        let nothing = Json::empty_object();
        let mut fields = Fields::among(body.unwrap_or(nothing.root()), base, kind.shape())?;
        let occurred_at = fields.time("occurredAt");
        let ending = match kind {
            EndKind::Complete => completed(&mut fields),
            EndKind::Fail => failed(&mut fields),
            EndKind::Cancel => Some(Ending::Cancelled {
                reason: fields.text("reason", MAX_ERROR_LEN),
            }),
        };
        fields.finish(ending.map(|ending| Self {
            workflow,
            ending,
            occurred_at,
        }))
    }
}

pub(super) fn completed(fields: &mut Fields<'_>) -> Option<Ending> {
    let results = fields.value("results");
    Some(Ending::Completed { results })
}

pub(super) fn failed(fields: &mut Fields<'_>) -> Option<Ending> {
    let failed_step = fields.parsed("failedStep");
    fields
        .required_text("error", MAX_ERROR_LEN)
        .map(|error| Ending::Failed { error, failed_step })
}
