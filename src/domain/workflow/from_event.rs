//! Core events about workflows and patterns, as a producer may send them, read as the commands that own them:
//! so a producer that only emits events leaves the same state as one that calls the endpoints.

use std::borrow::Cow;

use super::report::{EndKind, completed, failed, said};
use crate::domain::{
    command::{Command, EndWorkflow, Ending, ReportStep, StartWorkflow, SwitchPattern},
    event::EventType,
    ids::{InvalidId, ServerId, StepId, WorkflowId},
    input::{FieldError, Fields},
    json::{Json, JsonRef, Members},
};

/// Fields of `workflow_started` that say something of the event, not of the workflow.
const NOT_DEFINITION: [&str; 4] = ["workflowId", "readySteps", "occurredAt", "serverId"];

impl Command {
    /// The command that owns a core event about a workflow or a pattern. `data` is the event's, and stands at
    /// `base` in the body; `server` is its `serverId`. `None` where the type isn't one of these.
    #[must_use]
    pub fn from_workflow_event(
        kind: &EventType,
        server: Option<&ServerId>,
        data: JsonRef<'_>,
        base: &str,
    ) -> Option<Result<Self, Vec<FieldError>>> {
        let step = |status| step_command(status, server, data, base);
        Some(match kind {
            EventType::WorkflowStarted => started(server, data, base),
            EventType::WorkflowStepStarted => step("running"),
            EventType::WorkflowStepCompleted => step("completed"),
            EventType::WorkflowStepFailed => step("failed"),
            EventType::WorkflowCompleted => ended(EndKind::Complete, data, base),
            EventType::WorkflowFailed => ended(EndKind::Fail, data, base),
            EventType::PatternEnabled => switched(true, data, base),
            EventType::PatternDisabled => switched(false, data, base),
            _ => return None,
        })
    }
}

fn started(
    server: Option<&ServerId>,
    data: JsonRef<'_>,
    base: &str,
) -> Result<Command, Vec<FieldError>> {
    let mut fields = Fields::of(data, base)?;
    let id = required_id::<WorkflowId>(&mut fields, "workflowId");
    let occurred_at = fields.time("occurredAt");
    let definition = definition(&fields);
    let Some(id) = id else {
        return fields.finish(None);
    };
    let start = fields.absorb(StartWorkflow::parse(definition.root(), base, || id));
    let start = start.map(|start| StartWorkflow {
        server: server.cloned(),
        occurred_at,
        ..start
    });
    fields.finish(start.map(|start| Command::StartWorkflow(Box::new(start))))
}

/// The definition that an event tells: what it says of the workflow, which is called by its id unless it has a name.
fn definition(fields: &Fields<'_>) -> Json {
    let id = fields.get("workflowId").into_iter();
    let called = ["id", "name"].map(Cow::Borrowed);
    let called = called.into_iter().filter(|name| fields.get(name).is_none());
    let called = id.flat_map(|id| called.clone().map(move |name| (name, id)));
    let told = fields
        .members()
        .filter(|(name, value)| !NOT_DEFINITION.contains(&name.as_ref()) && !value.is_null());
    Json::of(&Members::of(called.chain(told.cloned())))
}

fn step_command(
    status: &str,
    server: Option<&ServerId>,
    data: JsonRef<'_>,
    base: &str,
) -> Result<Command, Vec<FieldError>> {
    let mut fields = Fields::of(data, base)?;
    let workflow = required_id::<WorkflowId>(&mut fields, "workflowId");
    let step = required_id::<StepId>(&mut fields, "stepId");
    let named = fields.get("serverId").and_then(JsonRef::text);
    if let (Some(server), Some(named)) = (server, named)
        && server.as_str() != named
    {
        fields.wrong(
            "serverId",
            format!("contradicts the event's own serverId, {server}"),
        );
    }
    let report = said(&mut fields, status);
    let Some((workflow, step)) = workflow.zip(step) else {
        return fields.finish(None);
    };
    let mut report = ReportStep::finish(fields, workflow, step, report)?;
    report.server = report.server.or_else(|| server.cloned());
    Ok(Command::ReportStep(Box::new(report)))
}

fn ended(kind: EndKind, data: JsonRef<'_>, base: &str) -> Result<Command, Vec<FieldError>> {
    let mut fields = Fields::of(data, base)?;
    let workflow = required_id(&mut fields, "workflowId");
    let occurred_at = fields.time("occurredAt");
    let cancelled =
        fields.get("reason").and_then(JsonRef::text).as_deref() == Some(super::decide::CANCELLED);
    let ending = match kind {
        EndKind::Complete => completed(&mut fields),
        EndKind::Fail if !cancelled => failed(&mut fields),
        EndKind::Fail | EndKind::Cancel => Some(Ending::Cancelled {
            reason: fields.text("error", super::report::MAX_ERROR_LEN),
        }),
    };
    let found = workflow.zip(ending).map(|(workflow, ending)| EndWorkflow {
        workflow,
        ending,
        occurred_at,
    });
    fields.finish(found.map(|end| Command::EndWorkflow(Box::new(end))))
}

/// `{pattern: {name, description?}}`, `{pattern: name}` or `{name, description?}`.
fn switched(enabled: bool, data: JsonRef<'_>, base: &str) -> Result<Command, Vec<FieldError>> {
    let mut fields = Fields::of(data, base)?;
    let occurred_at = fields.time("occurredAt");
    let (found, at) = match fields.get("pattern") {
        Some(pattern) if pattern.is_object() => (pattern, fields.pointer("pattern")),
        _ => (data, base.to_owned()),
    };
    let switch = Fields::of(found, &at).and_then(|mut pattern| {
        let field = if pattern.get("pattern").is_some() {
            "pattern"
        } else {
            "name"
        };
        let name = SwitchPattern::name_in(&mut pattern, field);
        if pattern.flag("enabled").is_some_and(|said| said != enabled) {
            pattern.wrong("enabled", "contradicts the event's type");
        }
        let description = SwitchPattern::description_in(&mut pattern);
        pattern.finish(name.map(|name| SwitchPattern {
            name,
            enabled,
            description,
            source: "api",
            occurred_at,
        }))
    });
    let switch = fields.absorb(switch);
    fields.finish(switch.map(Command::SwitchPattern))
}

fn required_id<T>(fields: &mut Fields<'_>, name: &str) -> Option<T>
where
    T: std::str::FromStr<Err = InvalidId>,
{
    if fields.get(name).is_none() {
        fields.wrong(name, "is required");
    }
    fields.parsed(name)
}
