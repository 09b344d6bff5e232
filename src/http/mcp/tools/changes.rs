//! What agents may change: the same commands as over HTTP, by the same rights.

use std::collections::HashSet;

use axum::http::HeaderMap;
use serde::Serialize;
use uuid::Uuid;

use super::{
    Done,
    arguments::{body, key},
};
use crate::{
    domain::{
        Command, FieldError, Json, ServerId, StepId, WorkflowId,
        command::{ReportStep, StartWorkflow},
        input::Fields,
        json::JsonRef,
        workflow::{StepQuery, StepStatus},
    },
    door::Scope,
    http::{
        events,
        extract::{MediaType, RawChange},
        mcp::{Asked, message::Call},
        problem::Problem,
    },
    hub::Answer,
};

/// Steps that are tried before a claim without a step gives up: others may be quicker.
const TRIES: usize = 8;

/// A step after what was said of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    /// Absent only where there was no step to claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<Json>,
    #[serde(flatten)]
    told: Told,
}

/// What every answer to a change tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    /// The change was made before, by the same request.
    replayed: bool,
    /// `cursor` for `wait_for_events`: what happens after this change.
    cursor: String,
    /// Arguments that mean nothing there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<FieldError>,
}

impl Told {
    fn of(answer: &Answer) -> Self {
        Self {
            replayed: answer.replayed,
            cursor: answer.last.to_string(),
            warnings: answer.warnings.clone(),
        }
    }

    fn words(&self) -> String {
        let mut words = String::new();
        if self.replayed {
            words.push_str("\nIt was done before, by the same request; nothing was changed now.");
        }
        for warning in &self.warnings {
            words.push_str(&format!("\n{} {}", warning.pointer, warning.detail));
        }
        words
    }
}

/// Which step is meant; what isn't read from the arguments stays in the body.
struct Meant {
    workflow: Option<WorkflowId>,
    step: Option<StepId>,
    server: Option<ServerId>,
}

impl Meant {
    fn read(arguments: Option<JsonRef<'_>>) -> Result<Self, Problem> {
        let empty = Json::empty_object();
        let mut fields = Fields::of(arguments.unwrap_or_else(|| empty.root()), "")?;
        let meant = Self {
            workflow: fields.parsed("workflowId"),
            step: fields.parsed("stepId"),
            server: fields.parsed("serverId"),
        };
        Ok(fields.finish(Some(meant))?)
    }
}

fn missing(name: &str) -> Problem {
    Problem::invalid(vec![FieldError::new(format!("/{name}"), "is required")])
}

pub(super) async fn claim(
    asked: &Asked,
    call: &Call<'_>,
    arguments: Option<JsonRef<'_>>,
) -> Result<Done, Problem> {
    let meant = Meant::read(arguments)?;
    let rest = body(arguments, &["workflowId", "stepId", "status"]);
    let claim = crate::http::mcp::message::with_members(&rest, &[("status", Json::of("running"))]);
    let key = key(asked, call, "claim_step", arguments)?;
    if let (Some(workflow), Some(step)) = (&meant.workflow, &meant.step) {
        let (command, warnings) = report_command(&claim, workflow.clone(), step.clone())?;
        let answer = asked.app.carry_out(&asked.guest, command, key).await?;
        return Ok(step_done("Claimed", &answer.with(warnings)));
    }
    if meant.step.is_some() {
        return Err(missing("workflowId"));
    }
    let Some(server) = meant.server else {
        return Err(missing("serverId"));
    };
    // Its own work a server finds without reading anything else.
    let guest = &asked.guest;
    let own = guest.report_as(&server).is_ok();
    if !own {
        guest.need(Scope::Read)?;
    }
    let within = if own {
        guest.held_to()
    } else {
        guest.seen_workflows()
    };
    let mut tried = HashSet::new();
    for _ in 0..TRIES {
        let ready = StepQuery {
            server: Some(server.clone()),
            status: Some(StepStatus::Ready),
            workflow: meant.workflow.clone(),
            within: within.map(<[WorkflowId]>::to_vec),
            after: None,
            limit: TRIES + 1,
        };
        let (state, now) = (asked.app.hub.state(), asked.app.hub.lived_ms());
        let page = state
            .workflows
            .steps_page(&ready, now, asked.app.hub.policy());
        let steps = page.steps.iter().filter_map(|found| found.view());
        let next = steps
            .map(|step| (step.workflow_id, step.id))
            .find(|place| !tried.contains(place));
        let Some((workflow, step)) = next else {
            break;
        };
        let (command, warnings) = report_command(&claim, workflow.clone(), step.clone())?;
        match asked.app.carry_out(guest, command, key).await {
            Ok(answer) => return Ok(step_done("Claimed", &answer.with(warnings))),
            // Somebody was quicker.
            Err(problem) if problem.status.as_u16() == 409 => {
                tried.insert((workflow, step));
            }
            Err(problem) => return Err(problem),
        }
    }
    let nothing = Step {
        step: None,
        told: Told {
            replayed: false,
            cursor: asked
                .app
                .hub
                .name(asked.app.hub.state().sequence)
                .to_string(),
            warnings: Vec::new(),
        },
    };
    let text = format!(
        "There is no step that {server} may claim. wait_for_events with type workflow_* tells when that changes."
    );
    Ok(Done::new(text, &nothing))
}

pub(super) async fn report(
    asked: &Asked,
    call: &Call<'_>,
    arguments: Option<JsonRef<'_>>,
) -> Result<Done, Problem> {
    let meant = Meant::read(arguments)?;
    let workflow = meant.workflow.ok_or_else(|| missing("workflowId"))?;
    let step = meant.step.ok_or_else(|| missing("stepId"))?;
    let said = body(arguments, &["workflowId", "stepId"]);
    let (command, warnings) = report_command(&said, workflow, step)?;
    let key = key(asked, call, "report_step", arguments)?;
    let answer = asked.app.carry_out(&asked.guest, command, key).await?;
    Ok(step_done("Reported", &answer.with(warnings)))
}

fn report_command(
    body: &Json,
    workflow: WorkflowId,
    step: StepId,
) -> Result<(Command, Vec<FieldError>), Problem> {
    let report = ReportStep::parse(body.root(), "", workflow, step)?;
    let warnings = ReportStep::SHAPE.unknown(body.root(), "");
    Ok((Command::ReportStep(Box::new(report)), warnings))
}

fn step_done(what: &str, answer: &Answer) -> Done {
    let told = Told::of(answer);
    let step = answer
        .body
        .as_ref()
        .map_or_else(Json::empty_object, |body| body.kept());
    let text = |name: &str| {
        let value = step.root().get(name);
        let text = value.map(|value| value.text().unwrap_or(value.as_str().into()));
        text.unwrap_or_default().into_owned()
    };
    let words = format!(
        "{what} step {} of workflow {}: it is {}, attempt {}.{}",
        text("id"),
        text("workflowId"),
        text("status"),
        text("attempt"),
        told.words()
    );
    Done::new(
        words,
        &Step {
            step: Some(step.clone()),
            told,
        },
    )
}

pub(super) async fn start(
    asked: &Asked,
    call: &Call<'_>,
    arguments: Option<JsonRef<'_>>,
) -> Result<Done, Problem> {
    #[derive(Serialize)]
    struct Started {
        workflow: Json,
        /// `false` where it was there already.
        created: bool,
        #[serde(flatten)]
        told: Told,
    }
    let said = body(arguments, &[]);
    let fresh = || WorkflowId::from_uuid(Uuid::now_v7());
    let start = StartWorkflow::parse(said.root(), "", fresh)?;
    let warnings = StartWorkflow::SHAPE.unknown(said.root(), "");
    let key = key(asked, call, "start_workflow", arguments)?;
    let id = start.id.clone();
    let command = Command::StartWorkflow(Box::new(start));
    let answer = asked.app.carry_out(&asked.guest, command, key).await?;
    let answer = answer.with(warnings);
    let told = Told::of(&answer);
    let workflow = answer
        .body
        .as_ref()
        .map_or_else(Json::empty_object, |body| body.kept());
    let created = answer.status == 201 && !answer.replayed;
    let id = workflow
        .root()
        .get("id")
        .and_then(JsonRef::text)
        .map_or_else(|| id.to_string(), std::borrow::Cow::into_owned);
    let text = format!(
        "Workflow {id} {}.{}",
        if created {
            "is started"
        } else {
            "was there already"
        },
        told.words()
    );
    Ok(Done::new(
        text,
        &Started {
            workflow,
            created,
            told,
        },
    ))
}

pub(super) async fn publish(
    asked: &Asked,
    call: &Call<'_>,
    arguments: Option<JsonRef<'_>>,
) -> Result<Done, Problem> {
    #[derive(serde::Deserialize)]
    struct Appended {
        ids: Vec<Option<String>>,
    }
    #[derive(Serialize)]
    struct Published {
        id: Option<String>,
        #[serde(flatten)]
        told: Told,
    }
    let said = body(arguments, &[]);
    let change = RawChange {
        body: said.as_str().to_owned().into(),
        media_type: MediaType::Json,
        headers: HeaderMap::new(),
        key: key(asked, call, "publish_event", arguments)?,
    };
    let answer = events::append(&asked.app, &asked.guest, change).await?;
    let told = Told::of(&answer);
    let appended: Option<Appended> = answer
        .body
        .as_ref()
        .and_then(|body| body.kept().read().ok());
    let id = appended.and_then(|appended| appended.ids.into_iter().next().flatten());
    let text = match &id {
        Some(id) => format!("Appended event {id}.{}", told.words()),
        None => format!("It is so already; nothing was appended.{}", told.words()),
    };
    Ok(Done::new(text, &Published { id, told }))
}
