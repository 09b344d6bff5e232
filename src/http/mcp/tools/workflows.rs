//! What there is to know of workflows.

use std::sync::Arc;

use serde::Serialize;

use super::{
    ANSWER_BYTES, Done,
    arguments::{query, required},
    cut,
};
use crate::{
    domain::{
        Json, Rejection, ServerId, StepId, WorkflowId,
        json::JsonRef,
        workflow::{StepStatus, StepView, Workflow, WorkflowStatus},
    },
    http::{
        App,
        gate::Guest,
        mcp::Asked,
        problem::Problem,
        snapshot::{Item, within},
        workflows::choice,
    },
};

/// Workflows on a page where the call names no `limit`.
const DEFAULT_LIMIT: u64 = 50;
/// Workflows on a page, at most.
const MAX_LIMIT: u64 = 200;
/// The list that cursors of workflows are of.
const CURSORS: &str = "mcp workflows";
/// Steps of each kind that a list names of a workflow.
const FEW_STEPS: usize = 10;
/// Steps of each kind that one workflow's own answer names.
const MANY_STEPS: usize = 50;
/// What one workflow may take.
const THING_BYTES: usize = 32 * 1024;
/// Characters of an error or a name in a list.
const WORDS: usize = 300;

/// A step that something is to be known of at once.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    step_id: StepId,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_id: Option<ServerId>,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Where a workflow's steps are.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    /// Steps that wait for somebody to claim them.
    ready: Vec<Step>,
    running: Vec<Step>,
    failed: Vec<Step>,
    /// Steps that wait for others.
    pending: u32,
    /// Steps of these kinds that aren't named.
    steps_left_out: u32,
}

impl Progress {
    fn of(workflow: &Workflow, most: usize) -> Self {
        let mut progress = Self::default();
        for step in workflow.steps() {
            let list = match step.status() {
                StepStatus::Ready => &mut progress.ready,
                StepStatus::Running => &mut progress.running,
                StepStatus::Failed => &mut progress.failed,
                StepStatus::Pending => {
                    progress.pending += 1;
                    continue;
                }
                StepStatus::Completed | StepStatus::Aborted => continue,
            };
            if list.len() == most {
                progress.steps_left_out += 1;
                continue;
            }
            let StepView {
                id,
                server,
                server_id,
                attempt,
                error,
                ..
            } = step.view(&workflow.id);
            list.push(Step {
                step_id: id,
                server,
                server_id,
                attempt,
                error: error.map(|error| cut(&error, WORDS)),
            });
        }
        progress
    }

    fn words(&self) -> String {
        let mut words = String::new();
        for (what, steps) in [
            ("ready", &self.ready),
            ("running", &self.running),
            ("failed", &self.failed),
        ] {
            if steps.is_empty() {
                continue;
            }
            let named: Vec<String> = steps
                .iter()
                .take(5)
                .map(|step| match (&step.error, &step.server_id) {
                    (Some(error), _) if what == "failed" => format!("{} ({error})", step.step_id),
                    (_, Some(server)) => format!("{} at {server}", step.step_id),
                    _ => step.step_id.to_string(),
                })
                .collect();
            words.push_str(&format!("; {what}: {}", named.join(", ")));
            if steps.len() > 5 {
                words.push_str(&format!(" and {} more", steps.len() - 5));
            }
        }
        words
    }
}

/// A workflow in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    id: WorkflowId,
    name: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    started_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<i64>,
    completed_steps: u32,
    total_steps: u32,
    #[serde(flatten)]
    progress: Progress,
}

impl Line {
    fn of(workflow: &Workflow, most: usize) -> Self {
        let outline = workflow.outline();
        Self {
            id: outline.id,
            name: cut(&outline.name, WORDS),
            status: outline.status,
            reason: outline.reason.map(|text| cut(&text, WORDS)),
            error: outline.error.map(|text| cut(&text, WORDS)),
            started_at: outline.started_at,
            ended_at: outline.ended_at,
            completed_steps: outline.completed_steps,
            total_steps: outline.total_steps,
            progress: Progress::of(workflow, most),
        }
    }

    fn words(&self) -> String {
        let mut words = format!(
            "{}: {}, {} of {} steps ended",
            self.id, self.status, self.completed_steps, self.total_steps
        );
        if let Some(error) = &self.error {
            words.push_str(&format!(" ({error})"));
        }
        words.push_str(&self.progress.words());
        words
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lines {
    workflows: Vec<Line>,
    /// How many match in all.
    total: usize,
    /// Workflows that match and come after this page.
    left_out: usize,
    next_cursor: Option<String>,
}

pub(super) async fn list(asked: &Asked, arguments: Option<JsonRef<'_>>) -> Result<Done, Problem> {
    let query = query(arguments, &["status", "limit", "cursor"], &[])?;
    let known = "running, completed, failed or cancelled";
    let status = choice(&query, "status", WorkflowStatus::parse, known)?;
    let limit = query.number("limit", 1..=MAX_LIMIT)?;
    let limit = usize::try_from(limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(usize::MAX);
    let after: Option<WorkflowId> = asked.app.opened(CURSORS, query.one("cursor"))?;
    let (app, guest) = (asked.app.clone(), asked.guest.clone());
    let find = move || {
        let (state, now) = (app.hub.state(), app.hub.lived_ms());
        let is_wanted = |workflow: &&Arc<Workflow>| {
            status.is_none_or(|asked| workflow.status().is_among(asked))
                && !workflow.is_expired(now, app.hub.policy())
        };
        let (mut lines, mut bytes, mut total, mut left_out) = (Vec::new(), 0, 0, 0);
        let seen = state.workflows.among(guest.seen_workflows(), None);
        for workflow in seen.filter(is_wanted) {
            total += 1;
            if after.as_ref().is_some_and(|after| workflow.id <= *after) {
                continue;
            }
            if lines.len() == limit || bytes >= ANSWER_BYTES {
                left_out += 1;
                continue;
            }
            let line = Line::of(workflow, FEW_STEPS);
            bytes += Json::of(&line).as_str().len();
            lines.push(line);
        }
        (lines, total, left_out)
    };
    let (workflows, total, left_out) = asked.app.makers().turn(0, find).await?;
    let last = workflows.last().map(|line: &Line| line.id.to_string());
    let next_cursor = last
        .filter(|_| left_out > 0)
        .and_then(|last| asked.app.sealer(CURSORS)(&last));
    let mut text = format!("{} of {total} workflows", workflows.len());
    for line in workflows.iter().take(20) {
        text.push_str(&format!("\n- {}", line.words()));
    }
    if workflows.len() > 20 {
        text.push_str(&format!(
            "\n- and {} more on this page",
            workflows.len() - 20
        ));
    }
    if left_out > 0 {
        text.push_str(&format!(
            "\n{left_out} more follow: call again with cursor."
        ));
    }
    let lines = Lines {
        workflows,
        total,
        left_out,
        next_cursor,
    };
    Ok(Done::new(text, &lines))
}

/// One workflow, with what is to be known at once in front.
#[derive(Debug, Serialize)]
struct Whole {
    workflow: Json,
    #[serde(flatten)]
    progress: Progress,
}

pub(super) fn get(asked: &Asked, arguments: Option<JsonRef<'_>>) -> Result<Done, Problem> {
    let query = query(arguments, &["workflowId"], &[])?;
    let id = required(&query, "workflowId")?;
    let id = WorkflowId::parse(id).map_err(|_| {
        let id = crate::words::clip(id);
        Problem::not_found("workflow-not-found", format!("there is no workflow {id}"))
    })?;
    let (line, workflow) = found(&asked.app, &asked.guest, &id)?;
    let mut text = line.words();
    if workflow.root().get("truncated").is_some() {
        text.push_str("\nThe workflow is large: truncated names what is left out of it.");
    }
    let whole = Whole {
        workflow,
        progress: line.progress,
    };
    Ok(Done::new(text, &whole))
}

/// A workflow that the guest may see, as far as it fits.
pub(in crate::http::mcp) fn one_workflow(
    app: &App,
    guest: &Guest,
    id: &WorkflowId,
) -> Result<Json, Problem> {
    found(app, guest, id).map(|(_, workflow)| workflow)
}

fn found(app: &App, guest: &Guest, id: &WorkflowId) -> Result<(Line, Json), Problem> {
    let (state, now) = (app.hub.state(), app.hub.lived_ms());
    let workflow = state.workflows.get_at(id, now, app.hub.policy());
    let Some(workflow) = workflow.filter(|_| guest.sees_workflow(id)) else {
        return Err(Rejection::WorkflowNotFound(id.clone()).into());
    };
    let text = within(&Item::Workflow(workflow.clone()), THING_BYTES);
    let line = Line::of(workflow, MANY_STEPS);
    let whole = Json::stored(&text).unwrap_or_else(|_| Json::of(&line));
    Ok((line, whole))
}
