//! `POST /events`: producers' own events, and core events, which go through the command that owns them.
//!
//! The hot path is a custom event: its envelope is read in one pass and its data stays the text that it was.

use std::{borrow::Cow, sync::Arc};

use axum::extract::State as Shared;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App, cloudevents,
    extract::{MediaType, RawChange, malformed_at, missing_body, nearest, utf8},
    problem::Problem,
    shapes::{Appended, EventInputs},
};
use crate::{
    domain::{
        Command, EventType, FieldError, Json, Rejection, ServerId, WorkflowId, command::Emit,
        health::Heartbeat, server::from_event::ServerRequest,
    },
    health::Beat,
    hub::{Answer, HubError},
};

/// Most items of one array.
pub const MAX_ITEMS: usize = 1000;

const TAKEN: &str =
    "application/json, application/cloudevents+json or application/cloudevents-batch+json";

/// `POST /events` and its alias.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(publish))
        .routes(routes!(broadcast))
}

/// One item of a body, as it came.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) server_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) data: Option<&'a RawValue>,
    /// The producer's own time, where it doesn't stand in `data`: epoch ms.
    #[serde(skip)]
    pub(super) occurred_at: Option<i64>,
}

/// A `null` that is there is a value, unlike a field that isn't.
pub(super) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Append events
///
/// One event `{type, serverId?, data}` or up to 1000 in an array, all or nothing; CloudEvents alike. Custom
/// types are appended as they are; a core type goes through the command that owns it.
#[utoipa::path(
    post,
    path = "/events",
    tag = "events",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body give the first answer again")),
    request_body(content(
        (EventInputs = "application/json"),
        (serde_json::Value = "application/cloudevents+json"),
        (serde_json::Value = "application/cloudevents-batch+json"),
    )),
    responses((
        status = 202,
        body = Appended,
        headers(("Last-Event-ID" = String, description = "The last event of this commit")),
    ))
)]
async fn publish(Shared(app): Shared<App>, change: RawChange) -> Result<Answer, Problem> {
    require_events(&app)?;
    let Body { asked, is_batch } = read(&change)?;
    let (mut commands, mut beats) = (Vec::with_capacity(asked.len()), Vec::new());
    for (index, asked) in asked.into_iter().enumerate() {
        commands.push(match asked {
            Asked::Command(command) => with_lease(&app, command),
            Asked::Heartbeat(server, heartbeat) => {
                let command = app.leases.preview(&server, &heartbeat);
                beats.push((server, heartbeat));
                command.map_err(|cause| {
                    let rejection = Rejection::InBatch {
                        index,
                        cause: Box::new(cause),
                    };
                    refused(rejection.into(), is_batch)
                })?
            }
        });
    }
    let answer = app.hub.execute_all(commands, change.key).await;
    let answer = answer.map_err(|error| refused(error, is_batch))?;
    if !answer.replayed {
        for (server, heartbeat) in beats {
            renew(&app, &server, &heartbeat).await;
        }
    }
    Ok(answer)
}

/// Adds what only the leases know: when the server that goes or is replaced was last heard of.
fn with_lease(app: &App, mut command: Command) -> Command {
    match &mut command {
        Command::Register(register) => {
            register.last_seen_at = app.leases.last_seen_at(&register.id);
        }
        Command::Deregister(leave) => leave.last_seen_at = app.leases.last_seen_at(&leave.server),
        _ => {}
    }
    command
}

/// Takes a heartbeat in whose consequence is committed. Should another heartbeat have come between, what it
/// leads to follows by itself; should that fail, the next one leads to it again.
async fn renew(app: &App, server: &ServerId, heartbeat: &Heartbeat) {
    if let Ok(Beat {
        change: Some(change),
        ..
    }) = app.leases.heartbeat(server, heartbeat)
    {
        let followed = app.hub.execute(Command::ChangeHealth(*change), None).await;
        if let Err(error) = followed {
            tracing::debug!(server.id = %server, "a change of health waits for the next heartbeat: {error}");
        }
    }
}

/// The same as `POST /events`
#[utoipa::path(
    post,
    path = "/events/broadcast",
    tag = "events",
    request_body = EventInputs,
    responses((status = 202, body = Appended))
)]
async fn broadcast(app: Shared<App>, change: RawChange) -> Result<Answer, Problem> {
    publish(app, change).await
}

/// Events as a whole can be switched off.
pub(super) fn require_events(app: &App) -> Result<(), Problem> {
    if app.hub.state().patterns.is_enabled("event_driven") {
        return Ok(());
    }
    Err(Problem::new(
        axum::http::StatusCode::SERVICE_UNAVAILABLE,
        "pattern-disabled",
        "The pattern is switched off",
        "the pattern event_driven is switched off; PUT /patterns/event_driven switches it on",
    ))
}

/// The problem of a refused body. What the only item did wrong is the body's fault, not an item's.
fn refused(error: HubError, is_batch: bool) -> Problem {
    match error {
        HubError::Rejected(Rejection::InBatch { cause, .. }) if !is_batch => (*cause).into(),
        other => other.into(),
    }
}

/// What a body asks for.
struct Body {
    asked: Vec<Asked>,
    is_batch: bool,
}

/// What one item asks for.
#[derive(Debug, PartialEq)]
enum Asked {
    /// A command.
    Command(Command),
    /// A heartbeat, which only the leases can tell the consequence of.
    Heartbeat(ServerId, Heartbeat),
}

fn read(change: &RawChange) -> Result<Body, Problem> {
    if cloudevents::is_binary(&change.headers) {
        let event = cloudevents::Binary::of(&change.headers, &change.media_type)?;
        let text = utf8(&change.body)?;
        let data = if text.is_empty() { "null" } else { text };
        let item = event.item(parsed(data)?);
        return Ok(Body {
            asked: vec![ask(&item, "")?],
            is_batch: false,
        });
    }
    if change.body.is_empty() {
        return Err(missing_body());
    }
    let text = utf8(&change.body)?;
    match &change.media_type {
        MediaType::Json if text.trim_start().starts_with('[') => {
            let items: Vec<Item<'_>> = parsed(text)?;
            Ok(Body {
                asked: all(items.into_iter().map(Ok))?,
                is_batch: true,
            })
        }
        MediaType::Json => Ok(Body {
            asked: vec![ask(&parsed(text)?, "")?],
            is_batch: false,
        }),
        MediaType::CloudEvent => {
            let event: cloudevents::CloudEvent<'_> = parsed(text)?;
            Ok(Body {
                asked: vec![ask(&event.into_item("")?, "")?],
                is_batch: false,
            })
        }
        MediaType::CloudEventBatch => {
            let events: Vec<cloudevents::CloudEvent<'_>> = parsed(text)?;
            let items = events.into_iter().enumerate();
            let items = items.map(|(at, event)| event.into_item(&format!("/{at}")));
            Ok(Body {
                asked: all(items)?,
                is_batch: true,
            })
        }
        other @ MediaType::Other(_) => Err(other.refused(TAKEN)),
    }
}

/// Reads all items, or tells every mistake of each.
fn all<'a>(
    items: impl ExactSizeIterator<Item = Result<Item<'a>, Vec<FieldError>>>,
) -> Result<Vec<Asked>, Problem> {
    if items.len() == 0 || items.len() > MAX_ITEMS {
        let detail = format!("holds {} events; 1 to {MAX_ITEMS} are taken", items.len());
        return Err(Problem::invalid(vec![FieldError {
            pointer: String::new(),
            detail,
        }]));
    }
    let (mut asked, mut errors) = (Vec::with_capacity(items.len()), Vec::new());
    for (at, item) in items.enumerate() {
        match item.and_then(|item| ask(&item, &format!("/{at}"))) {
            Ok(one) => asked.push(one),
            Err(wrong) => errors.extend(wrong),
        }
    }
    if errors.is_empty() {
        Ok(asked)
    } else {
        Err(Problem::invalid(errors))
    }
}

/// Reads JSON of a known shape. Text that is no JSON is `400` with the place; JSON of another shape `422`
/// with the field.
pub(super) fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            Problem::invalid(misshapen(text, &error))
        } else {
            malformed_at(&error)
        }
    })
}

/// Looks again, at leisure, for what isn't an object or not a string.
fn misshapen(text: &str, error: &serde_json::Error) -> Vec<FieldError> {
    let wrong = |pointer: String, detail: &str| FieldError {
        pointer,
        detail: detail.to_owned(),
    };
    let look = |value: &Value, base: &str, errors: &mut Vec<FieldError>| {
        let Some(object) = value.as_object() else {
            errors.push(wrong(
                base.to_owned(),
                "must be an object {type, serverId?, data}",
            ));
            return;
        };
        for (name, value) in object {
            let is_text = !matches!(name.as_str(), "data" | "sequence");
            if is_text && !(value.is_string() || value.is_null()) {
                errors.push(wrong(format!("{base}/{name}"), "must be a string"));
            }
        }
    };
    let mut errors = Vec::new();
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                look(item, &format!("/{at}"), &mut errors);
            }
        }
        Ok(value) => look(&value, "", &mut errors),
        Err(_) => {}
    }
    if errors.is_empty() {
        errors.push(wrong(
            String::new(),
            &format!("doesn't have the shape of an event: {error}"),
        ));
    }
    errors
}

/// What one item asks for. `base` is its JSON pointer in the body.
fn ask(item: &Item<'_>, base: &str) -> Result<Asked, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut wrong = |name: &str, detail: String| {
        errors.push(FieldError {
            pointer: format!("{base}/{name}"),
            detail,
        });
    };
    let kind = match item.kind.as_deref() {
        Some(name) => EventType::parse(name).or_else(|| {
            wrong("type", unknown_type(name));
            None
        }),
        None => {
            wrong("type", "is required: a string".to_owned());
            None
        }
    };
    let server = item
        .server_id
        .as_deref()
        .map(ServerId::parse)
        .transpose()
        .unwrap_or_else(|error| {
            wrong("serverId", error.to_string());
            None
        });
    if kind == Some(EventType::IntegrationStatusChanged) && item.server_id.is_none() {
        wrong(
            "serverId",
            "is required: whose statement this is; the hub states its own".to_owned(),
        );
    }
    let data = match item.data.map(Json::from_raw) {
        Some(Ok(data)) => Some(data),
        Some(Err(error)) => {
            wrong("data", error.to_string());
            None
        }
        None => Some(Json::empty_object()),
    };
    let (Some(kind), Some(data), true) = (kind, data, errors.is_empty()) else {
        return Err(errors);
    };
    match kind {
        EventType::Custom(kind) => Ok(emit(kind, server, data, item.occurred_at)),
        EventType::IntegrationStatusChanged => {
            Ok(emit(kind.as_str().into(), server, data, item.occurred_at))
        }
        core => core_event(&core, server, &data, base),
    }
}

/// What the command that owns a core type makes of an item.
fn core_event(
    kind: &EventType,
    server: Option<ServerId>,
    data: &Json,
    base: &str,
) -> Result<Asked, Vec<FieldError>> {
    let value: Value = data.read().map_err(|error| {
        vec![FieldError {
            pointer: format!("{base}/data"),
            detail: error.to_string(),
        }]
    })?;
    let of_server = ServerRequest::from_event(kind, server.clone(), &value, base);
    if let Some(request) = of_server {
        return request.map(|request| match request {
            ServerRequest::Register(register) => Asked::Command(Command::Register(register)),
            ServerRequest::Deregister(leave) => Asked::Command(Command::Deregister(leave)),
            ServerRequest::Heartbeat { server, heartbeat } => Asked::Heartbeat(server, heartbeat),
        });
    }
    let data_base = format!("{base}/data");
    let of_workflow = Command::from_workflow_event(kind, server.as_ref(), &value, &data_base);
    of_workflow.map_or_else(
        || {
            let detail = "is the hub's own to say".to_owned();
            Err(vec![FieldError {
                pointer: format!("{base}/type"),
                detail,
            }])
        },
        |command| command.map(Asked::Command),
    )
}

fn emit(kind: Arc<str>, server: Option<ServerId>, data: Json, occurred_at: Option<i64>) -> Asked {
    let workflow = workflow_of(data.as_str());
    Asked::Command(Command::Emit(Box::new(Emit {
        kind,
        server,
        workflow,
        data,
        occurred_at,
    })))
}

/// `data.workflowId`, where that is a valid id. Most data doesn't hold the word at all.
fn workflow_of(data: &str) -> Option<WorkflowId> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Names<'a> {
        #[serde(borrow, default)]
        workflow_id: Option<&'a RawValue>,
    }
    // The name may be written with escapes, too.
    let bytes = data.as_bytes();
    if !data.starts_with('{')
        || (memchr::memmem::find(bytes, b"workflowId").is_none()
            && memchr::memchr(b'\\', bytes).is_none())
    {
        return None;
    }
    let names: Names<'_> = serde_json::from_str(data).ok()?;
    let id: Cow<'_, str> = serde_json::from_str(names.workflow_id?.get()).ok()?;
    WorkflowId::parse(&id).ok()
}

fn unknown_type(name: &str) -> String {
    let rule = "a producer's own type is a dotted name such as grades.synced ([a-z][a-z0-9_]*(\\.[a-z0-9_]+)+), \
                or custom_ and a word, 128 characters at most";
    match nearest(name, EventType::CORE.iter().map(|(name, _)| *name)) {
        Some(near) => format!("is no known type; did you mean {near}? Otherwise, {rule}"),
        None => format!("is no known type; {rule}"),
    }
}
