//! Steps: the work that waits for a server, and what servers say of it.

use std::{sync::Arc, time::Duration};

use axum::{extract::State as Shared, response::Response};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    answered::Answered,
    extract::{Change, PathId},
    gate::{Guest, recheck},
    problem::Problem,
    shapes::Warned,
    text::{Found, Listing, Text, Thing},
    workflows::{choice, limit, parsed},
};
use crate::{
    domain::{
        Command, StepId, WorkflowId,
        command::ReportStep,
        workflow::{StepCursor, StepQuery, StepStatus, StepView, StepsPage},
    },
    door::Scope,
    filter::query::Query,
    hub::Interest,
    words::Span,
};

/// The list that cursors of steps are of.
const CURSORS: &str = "steps";
/// How long a long poll may wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// `/steps`, and reports on them.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(report))
}

/// A page of steps.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct StepsBody {
    /// The steps, in order of their workflows' ids and their declaration.
    steps: Vec<StepView>,
    /// `cursor` of the next page, where there may be more; `null` where there is none.
    next_cursor: Option<String>,
}

/// Steps, or the work that waits for a server
///
/// `serverId=lms&status=ready` are the steps that `lms` may claim: those declared for it and those that declare no
/// server. With `wait` the answer is held until there is one.
#[utoipa::path(
    get,
    operation_id = "list_steps",
    path = "/steps",
    tag = "workflows",
    params(
        ("serverId" = Option<String>, Query, description = "Steps that this server may claim, holds or did", example = "lms-server-001"),
        ("status" = Option<String>, Query, description = "`pending`, `ready`, `running`, `completed` or `failed`", example = "ready"),
        ("workflowId" = Option<String>, Query, description = "Steps of this workflow"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "Steps per page"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("wait" = Option<String>, Query, description = "Hold the answer until there is a step: `30s`, `500ms`, `60s` at most", example = "30s"),
    ),
    responses((status = 200, body = StepsBody))
)]
async fn list(Shared(app): Shared<App>, guest: Guest, query: Query) -> Result<Response, Problem> {
    let of_one_value = [
        "serverId",
        "status",
        "workflowId",
        "limit",
        "cursor",
        "wait",
    ];
    query.only(&of_one_value, &[])?;
    let words = "pending, ready, running, completed, failed or aborted";
    let wait = query.one("wait").map_or(Ok(Duration::ZERO), parse_wait)?;
    let mut query = StepQuery {
        server: parsed(&query, "serverId")?,
        status: choice(&query, "status", StepStatus::parse, words)?,
        workflow: parsed(&query, "workflowId")?,
        within: None,
        after: app.opened::<StepCursor>(CURSORS, query.one("cursor"))?,
        limit: limit(&query)?,
    };
    // A server may ask for its own work without reading anything else.
    let own = query
        .server
        .as_ref()
        .is_some_and(|server| guest.report_as(server).is_ok());
    if !own {
        guest.need(Scope::Read)?;
    }
    let within = if own {
        guest.held_to()
    } else {
        guest.seen_workflows()
    };
    query.within = within.map(<[WorkflowId]>::to_vec);
    let page = wait_for_steps(&app, &query, wait).await;
    recheck(&app, &guest)?;
    let access = Arc::new(guest.shown.access);
    let (mut steps, next) = (page.steps.into_iter(), page.next);
    let find = move || match steps.next() {
        Some(step) => {
            let place = step.cursor().to_string();
            Found::One(Thing::Step(step, access.clone()), place)
        }
        None => Found::End(next.as_ref().map(ToString::to_string)),
    };
    let seal = app.sealer(CURSORS);
    app.makers()
        .json(Text::of(Listing::new("steps", query.limit, find, seal)))
        .await
}

/// Reports on a step
///
/// `running` claims it, `completed` and `failed` end the attempt. From attempt 2 on a report names its `attempt`. The
/// same report again changes nothing.
#[utoipa::path(
    post,
    path = "/workflows/{id}/steps/{step}",
    tag = "workflows",
    params(
        ("id" = String, Path, description = "The workflow", example = "assessment-42"),
        ("step" = String, Path, description = "The step", example = "fetch-roster"),
    ),
    request_body(
        content = serde_json::Value,
        description = "`{status: running|completed|failed, serverId?, instanceId?, result?, error?, attempt?}`",
        example = json!({"status": "completed", "serverId": "oneroster-server", "attempt": 1, "result": {"students": 31}})
    ),
    responses((status = 200, body = Warned<StepView>))
)]
async fn report(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(workflow): PathId<WorkflowId>,
    PathId(step): PathId<StepId>,
    change: Change,
) -> Result<Answered, Problem> {
    let report = ReportStep::parse(change.required()?, "", workflow, step)?;
    let command = Command::ReportStep(Box::new(report));
    let warnings = change.unknown(&ReportStep::SHAPE);
    let answer = app.execute(&guest, command, change.key).await?;
    Ok(answer.with(warnings))
}

/// The first page that holds a step that may be seen, or the last one before the time is up or the hub shuts down.
/// Looks again only when something happened that may concern it.
async fn wait_for_steps(app: &App, query: &StepQuery, wait: Duration) -> StepsPage {
    let deadline = Instant::now() + wait;
    let look = || {
        let state = app.hub.state();
        let now = app.hub.lived_ms();
        state.workflows.steps_page(query, now, app.hub.policy())
    };
    if wait.is_zero() {
        return look();
    }
    let waiter = app.hub.wait_for(interest(query));
    loop {
        let page = look();
        if !page.steps.is_empty() || page.next.is_some() || app.hub.is_stopping() {
            return page;
        }
        if timeout_at(deadline, waiter.woken()).await.is_err() {
            return page;
        }
    }
}

/// What has to happen for a query to find something.
fn interest(query: &StepQuery) -> Interest {
    match (&query.workflow, &query.server) {
        (Some(workflow), _) => Interest::Workflow(workflow.clone()),
        (None, Some(server)) => Interest::Server(server.clone()),
        (None, None) => Interest::AnyStep,
    }
}

/// `30s`, `500ms`. A bare number is asked back: some mean seconds by it and some milliseconds, but no time at all is
/// the same in both.
fn parse_wait(text: &str) -> Result<Duration, Problem> {
    let wait = match Span::parse(text) {
        Some(Span::Bare(0)) => Some(0),
        Some(Span::Bare(number)) => {
            return Err(Problem::query(format!(
                "wait {number} has no unit: write {number}s for seconds or {number}ms for milliseconds"
            )));
        }
        Some(Span::Millis(wait)) => Some(wait),
        None => None,
    };
    wait.map(Duration::from_millis)
        .filter(|wait| *wait <= MAX_WAIT)
        .ok_or_else(|| Problem::query("wait must be a time such as 30s or 500ms, 60s at most"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_has_a_unit_and_a_bound() {
        let table = [
            ("30s", Some(30_000)),
            ("500ms", Some(500)),
            ("250", None),
            ("0", Some(0)),
            ("1m", Some(60_000)),
            ("0s", Some(0)),
            ("60s", Some(60_000)),
            ("61s", None),
            ("2m", None),
            ("s", None),
            ("-1s", None),
            ("1h", None),
            ("1.5s", None),
            ("99999999999999999999ms", None),
            ("99999999999999999s", None),
        ];
        for (text, wait) in table {
            let parsed = parse_wait(text).ok().map(|wait| wait.as_millis());
            assert_eq!(parsed, wait, "{text}");
        }
        assert!(parse_wait("30").unwrap_err().detail.contains("30s"));
    }
}
