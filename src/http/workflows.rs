//! Workflows: start, watch, end by hand. Their steps are next door.

use std::sync::Arc;

use axum::{extract::State as Shared, response::Response};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    App,
    answered::Answered,
    extract::{Change, NoQuery, PathId},
    gate::Guest,
    problem::Problem,
    shapes::Warned,
    text::{Found, Listing, Looked, Single, Text, Thing, look},
};
use crate::{
    domain::{
        Command, Json, Rejection, WorkflowId,
        command::{EndWorkflow, StartWorkflow},
        workflow::{EndKind, Workflow, WorkflowStatus, WorkflowView},
    },
    filter::query::Query,
};

/// The list that cursors of workflows are of.
const CURSORS: &str = "workflows";
/// Workflows or steps of a page where the client names no `limit`.
pub(super) const DEFAULT_LIMIT: usize = 100;
/// Workflows or steps of a page, at most.
const MAX_LIMIT: u64 = 1000;

/// `/workflows` and what is below, without the steps.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(start, list))
        .routes(routes!(one))
        .routes(routes!(complete))
        .routes(routes!(fail))
        .routes(routes!(cancel))
}

/// A page of workflows.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct WorkflowsBody {
    /// The workflows, in order of their ids, without their definitions.
    workflows: Vec<WorkflowView>,
    /// `cursor` of the next page; `null` where there is none.
    next_cursor: Option<String>,
}

/// Starts a workflow
///
/// Steps may depend on each other; without any, they come into being as they are reported. The same id and body
/// again change nothing (`200`).
#[utoipa::path(
    post,
    path = "/workflows",
    tag = "workflows",
    request_body(
        content = serde_json::Value,
        description = "`{id?, name, description?, steps, timeoutMs?}` and anything else, which is kept",
        example = json!({
            "name": "student-assessment",
            "steps": [
                {"id": "fetch-roster", "server": "oneroster-server", "tool": "get-class-students", "timeout": 10000, "retries": 2},
                {"id": "assess", "dependsOn": ["fetch-roster"]},
            ],
        })
    ),
    responses((status = 201, body = Warned<WorkflowView>), (status = 200, body = Warned<WorkflowView>))
)]
async fn start(
    Shared(app): Shared<App>,
    guest: Guest,
    change: Change,
) -> Result<Answered, Problem> {
    let fresh = || WorkflowId::from_uuid(Uuid::now_v7());
    let start = StartWorkflow::parse(change.required()?, "", fresh)?;
    let command = Command::StartWorkflow(Box::new(start));
    let warnings = change.unknown(&StartWorkflow::SHAPE);
    let answer = app.execute(&guest, command, change.key).await?;
    Ok(answer.with(warnings))
}

/// All workflows
#[utoipa::path(
    get,
    operation_id = "list_workflows",
    path = "/workflows",
    tag = "workflows",
    params(
        ("status" = Option<String>, Query, description = "`running`, `completed`, `failed` (the cancelled ones included) or `cancelled`", example = "running"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "Workflows per page; a page of large ones may hold fewer"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
    ),
    responses((status = 200, body = WorkflowsBody))
)]
async fn list(Shared(app): Shared<App>, guest: Guest, query: Query) -> Result<Response, Problem> {
    query.only(&["status", "limit", "cursor"], &[])?;
    let words = "running, completed, failed or cancelled";
    let status = choice(&query, "status", WorkflowStatus::parse, words)?;
    let mut after: Option<WorkflowId> = app.opened(CURSORS, query.one("cursor"))?;
    let limit = limit(&query)?;
    let within = guest.seen_workflows().map(<[WorkflowId]>::to_vec);
    let (state, now) = (app.hub.state(), app.hub.lived_ms());
    let (makers, seal) = (app.makers().clone(), app.sealer(CURSORS));
    let find = move || {
        let is_wanted = |workflow: &Arc<Workflow>| {
            status.is_none_or(|asked| workflow.status().is_among(asked))
                && !workflow.is_expired(now, app.hub.policy())
        };
        let workflows = state.workflows.among(within.as_deref(), after.as_ref());
        match look(workflows, is_wanted) {
            Looked::At(workflow) => {
                after = Some(workflow.id.clone());
                let place = workflow.id.to_string();
                Found::One(Thing::Workflow(workflow.clone()), place)
            }
            Looked::Tired(workflow) => {
                after = Some(workflow.id.clone());
                Found::Later
            }
            Looked::Nothing => Found::End(None),
        }
    };
    makers
        .json(Text::of(Listing::new("workflows", limit, find, seal)))
        .await
}

/// One workflow
#[utoipa::path(
    get,
    operation_id = "get_workflow",
    path = "/workflows/{id}",
    tag = "workflows",
    params(("id" = String, Path, description = "The workflow", example = "assessment-42")),
    responses((status = 200, body = WorkflowView))
)]
async fn one(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(id): PathId<WorkflowId>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let (state, now) = (app.hub.state(), app.hub.lived_ms());
    match state.workflows.get_at(&id, now, app.hub.policy()) {
        Some(workflow) if guest.sees_workflow(&id) => {
            app.makers()
                .json(Single::of(Thing::Defined(workflow.clone())))
                .await
        }
        _ => Err(Rejection::WorkflowNotFound(id).into()),
    }
}

/// Completes a workflow by hand
///
/// What is left unfinished never runs. The same again changes nothing; another end is a `409`.
#[utoipa::path(
    post,
    path = "/workflows/{id}/complete",
    tag = "workflows",
    params(("id" = String, Path, description = "The workflow", example = "assessment-42")),
    request_body(content = Option<serde_json::Value>, description = "`{results?}`", example = json!({"results": {"graded": 31}})),
    responses((status = 200, body = Warned<WorkflowView>))
)]
async fn complete(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(id): PathId<WorkflowId>,
    change: Change,
) -> Result<Answered, Problem> {
    end(&app, &guest, EndKind::Complete, id, change).await
}

/// Fails a workflow by hand
#[utoipa::path(
    post,
    path = "/workflows/{id}/fail",
    tag = "workflows",
    params(("id" = String, Path, description = "The workflow", example = "assessment-42")),
    request_body(
        content = serde_json::Value,
        description = "`{error, failedStep?}`",
        example = json!({"error": "the roster is empty", "failedStep": "fetch-roster"})
    ),
    responses((status = 200, body = Warned<WorkflowView>))
)]
async fn fail(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(id): PathId<WorkflowId>,
    change: Change,
) -> Result<Answered, Problem> {
    change.required()?;
    end(&app, &guest, EndKind::Fail, id, change).await
}

/// Cancels a workflow
///
/// It ends with `workflow_failed` and the reason `cancelled`; its status is `cancelled`.
#[utoipa::path(
    post,
    path = "/workflows/{id}/cancel",
    tag = "workflows",
    params(("id" = String, Path, description = "The workflow", example = "assessment-42")),
    request_body(content = Option<serde_json::Value>, description = "`{reason?}`", example = json!({"reason": "the term is over"})),
    responses((status = 200, body = Warned<WorkflowView>))
)]
async fn cancel(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(id): PathId<WorkflowId>,
    change: Change,
) -> Result<Answered, Problem> {
    end(&app, &guest, EndKind::Cancel, id, change).await
}

async fn end(
    app: &App,
    guest: &Guest,
    kind: EndKind,
    id: WorkflowId,
    change: Change,
) -> Result<Answered, Problem> {
    let body = change.body.as_ref().map(Json::root);
    let end = EndWorkflow::parse(kind, body, "", id)?;
    let command = Command::EndWorkflow(Box::new(end));
    let warnings = change.unknown(kind.shape());
    let answer = app.execute(guest, command, change.key).await?;
    Ok(answer.with(warnings))
}

/// How many things a page may hold.
pub(super) fn limit(query: &Query) -> Result<usize, Problem> {
    let limit = query.number("limit", 1..=MAX_LIMIT)?;
    Ok(limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(DEFAULT_LIMIT))
}

/// An optional parameter that follows a rule of its own.
pub(super) fn parsed<T>(query: &Query, name: &str) -> Result<Option<T>, Problem>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let parse = |text: &str| {
        text.parse()
            .map_err(|error| Problem::query(format!("{name} {error}")))
    };
    query.one(name).map(parse).transpose()
}

/// An optional parameter that is one of a few words.
pub(super) fn choice<T>(
    query: &Query,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
    words: &str,
) -> Result<Option<T>, Problem> {
    let parse =
        |text: &str| parse(text).ok_or_else(|| Problem::query(format!("{name} must be {words}")));
    query.one(name).map(parse).transpose()
}
