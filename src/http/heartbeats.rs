//! Heartbeats, alone and in batches: the hot path. No commit, no tree of values, one string for the answer;
//! only a heartbeat that changes what is known of an instance waits for the log.

use std::collections::HashSet;

use axum::{
    extract::State as Shared,
    http::{HeaderName, HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};

use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    extract::{MediaType, PathId, RawChange, missing_body, parse_json},
    gate::Guest,
    problem::{Problem, with_warnings},
};
use crate::{
    domain::{
        Command, FieldError, Json, Position, ServerId, State,
        command::{ChangeHealth, SelfReport},
        event::Health,
        health::{Heartbeat, name},
        input::Fields,
        json::JsonRef,
    },
    health::Beat,
    hub::{Heard, HubError},
};

/// Most heartbeats of one batch.
const MAX_BATCH: usize = 1000;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `/servers/{id}/heartbeat` and `/heartbeats`.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(heartbeat))
        .routes(routes!(heartbeats))
}

/// What a heartbeat is answered with.
#[derive(Debug, utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the shape; answers are written by hand")]
struct HeartbeatAnswer {
    /// The verdict now.
    health: Health,
    /// How often heartbeats are expected.
    #[schema(example = 10000)]
    heartbeat_interval_ms: u64,
    /// When the next is due, epoch ms.
    #[schema(example = 1763790010000_i64)]
    due_at: i64,
    /// Members that mean nothing here, by pointer.
    warnings: Option<Vec<FieldError>>,
}

/// Send a heartbeat
///
/// The body is optional. Where a server has many instances, `instanceId` says whose heartbeat it is. `404` tells a
/// client to register again, `409` tells it that another instance has taken its place.
#[utoipa::path(
    post,
    path = "/servers/{id}/heartbeat",
    tag = "servers",
    params(("id" = String, Path, example = "lms-server-001")),
    request_body(content = Option<Heartbeat>, example = json!({"health": "degraded", "detail": "database is slow", "metrics": {"queue": 12}})),
    responses(
        (status = 200, body = HeartbeatAnswer),
        (status = 404, description = "`server-not-registered`"),
        (status = 409, description = "`instance-replaced`"),
    )
)]
async fn heartbeat(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(server): PathId<ServerId>,
    body: RawChange,
) -> Result<Response, Problem> {
    guest.report_as(&server)?;
    let (heartbeat, warnings) = read_one(&body)?;
    let mut beat = app
        .leases
        .heartbeat(&app.hub.state(), &server, &heartbeat)?;
    app.metrics.heartbeats.inc();
    let mut last = head(&app);
    if let Some(change) = beat.change.take() {
        let is_report = change.report.is_some();
        let heard = vec![Command::ChangeHealth(*change)];
        match app.hub.hear(guest.name.clone(), heard).await {
            Ok(done) => {
                last = done.last;
                for heard in done.heard {
                    beat.health = heard?;
                }
            }
            // It is alive, and the hub knows; that no event says so yet is the log's trouble.
            Err(HubError::Append(_)) if !is_report => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    let mut text = String::with_capacity(80);
    text.push('{');
    write_members(&mut text, &beat);
    text.push('}');
    Ok(answer(with_warnings(&text, &warnings), last))
}

/// What one heartbeat of a batch is answered with.
#[derive(Debug, utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the shape; answers are written by hand")]
struct BatchResult {
    /// Whose.
    #[schema(example = "lms-server-001")]
    id: Option<String>,
    /// The HTTP status that it would have had alone.
    #[schema(example = 200)]
    status: u16,
    /// The verdict now.
    health: Option<Health>,
    /// How often heartbeats are expected.
    heartbeat_interval_ms: Option<u64>,
    /// When the next is due, epoch ms.
    due_at: Option<i64>,
    /// Of one that was refused: the problem's slug.
    #[schema(example = "server-not-registered")]
    r#type: Option<String>,
    /// Of one that was refused: why.
    detail: Option<String>,
    /// Of one that was refused: mistakes in it, by pointer.
    errors: Option<Vec<FieldError>>,
}

/// What a batch is answered with.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the shape; answers are written by hand")]
struct BatchAnswer {
    /// One per heartbeat, in their order.
    results: Vec<BatchResult>,
    /// Members that mean nothing here, by pointer.
    warnings: Option<Vec<FieldError>>,
}

/// Send heartbeats of many servers
///
/// Up to 1000 at once, each `{id, health?, detail?, instanceId?, metrics?}` and each with a status of its
/// own: one that is refused doesn't hold up the others.
#[utoipa::path(
    post,
    path = "/heartbeats",
    tag = "servers",
    request_body(content = Vec<serde_json::Value>, example = json!([{"id": "lms-server-001"}, {"id": "quiz-server", "health": "healthy"}])),
    responses((status = 200, body = BatchAnswer))
)]
async fn heartbeats(
    Shared(app): Shared<App>,
    guest: Guest,
    body: RawChange,
) -> Result<Response, Problem> {
    let body = read_value(&body)?;
    let items = read_batch(body.root())?;
    let mut results: Vec<Outcome> = Vec::with_capacity(items.len());
    let (mut changes, mut of) = (Vec::new(), Vec::new());
    let mut awaited: HashSet<ServerId> = HashSet::new();
    let state = app.hub.state();
    for (at, &item) in items.iter().enumerate() {
        let mut outcome = take_in(&app, &guest, &state, item, &format!("/{at}"), &awaited);
        if let Ok((id, beat)) = &mut outcome.0
            && let Some(change) = &beat.change
        {
            awaited.insert(id.clone());
            changes.push(Command::ChangeHealth(ChangeHealth::clone(change)));
            of.push(at);
        }
        results.push(outcome);
    }
    let mut last = head(&app);
    if !changes.is_empty() {
        match app.hub.hear(guest.name.clone(), changes).await {
            Ok(done) => {
                last = done.last;
                for (at, heard) in of.into_iter().zip(done.heard) {
                    results[at].hear(heard);
                }
            }
            Err(cause) => {
                let is_logs = matches!(cause, HubError::Append(_));
                let problem = Problem::from(cause);
                results
                    .iter_mut()
                    .for_each(|outcome| outcome.fail(&problem, is_logs));
            }
        }
    }
    let mut text = String::with_capacity(32 + results.len() * 112);
    text.push_str(r#"{"results":["#);
    for (at, outcome) in results.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        outcome.write(items[at], &mut text);
    }
    text.push_str("]}");
    let items = items.iter().enumerate();
    let unknown = items.flat_map(|(at, item)| Heartbeat::ITEM.unknown(*item, &format!("/{at}")));
    let warnings: Vec<_> = unknown.collect();
    Ok(answer(with_warnings(&text, &warnings), last))
}

/// What became of one heartbeat of a batch.
struct Outcome(Result<(ServerId, Beat), Box<Problem>>);

impl Outcome {
    /// What it waited for is committed, or was refused meanwhile.
    fn hear(&mut self, heard: Heard) {
        match (heard, &mut self.0) {
            (Ok(health), Ok((_, beat))) => beat.health = health,
            (Err(rejection), Ok(_)) => self.0 = Err(Box::new(rejection.into())),
            (_, Err(_)) => {}
        }
    }

    /// It waited for a commit that failed. A report is refused then; but that an instance is alive is known, though the
    /// log can't say so yet.
    fn fail(&mut self, problem: &Problem, is_logs: bool) {
        let waits = |beat: &Beat| {
            let change = beat.change.as_deref();
            change.is_some_and(|change| change.report.is_some() || !is_logs)
        };
        if self.0.as_ref().is_ok_and(|(_, beat)| waits(beat)) {
            self.0 = Err(Box::new(problem.clone()));
        }
    }

    fn write(&self, item: JsonRef<'_>, text: &mut String) {
        match &self.0 {
            Ok((id, beat)) => {
                text.push_str(r#"{"id":""#);
                text.push_str(id.as_str());
                text.push_str(r#"","status":200,"#);
                write_members(text, beat);
                text.push('}');
            }
            Err(problem) => {
                let refused = Refused {
                    id: item.get("id").map(JsonRef::to_json),
                    status: problem.status.as_u16(),
                    r#type: problem.slug,
                    title: problem.title,
                    detail: &problem.detail,
                    errors: &problem.errors,
                };
                text.push_str(Json::of(&refused).as_str());
            }
        }
    }
}

/// How one heartbeat of a batch is told that it was refused.
#[derive(serde::Serialize)]
struct Refused<'a> {
    /// As it came.
    id: Option<Json>,
    status: u16,
    r#type: &'a str,
    title: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

/// One of a batch. After another that waits for a commit, all of the same server wait in turn.
fn take_in(
    app: &App,
    guest: &Guest,
    state: &State,
    item: JsonRef<'_>,
    base: &str,
    awaited: &HashSet<ServerId>,
) -> Outcome {
    let taken = read_item(item, base)
        .map_err(Problem::from)
        .and_then(|(id, heartbeat)| {
            guest.report_as(&id)?;
            let mut beat = app.leases.heartbeat(state, &id, &heartbeat)?;
            app.metrics.heartbeats.inc();
            if beat.change.is_none() && awaited.contains(&id) {
                beat.change = Some(Box::new(ChangeHealth {
                    server: id.clone(),
                    instance_id: heartbeat.instance_id,
                    connection: None,
                    lease: None,
                    report: heartbeat.health.map(|health| SelfReport {
                        health,
                        detail: heartbeat.detail,
                    }),
                    last_seen_at: None,
                    occurred_at: heartbeat.occurred_at,
                }));
            }
            Ok((id, beat))
        });
    Outcome(taken.map_err(Box::new))
}

fn read_item(item: JsonRef<'_>, base: &str) -> Result<(ServerId, Heartbeat), Vec<FieldError>> {
    let mut fields = Fields::of(item, base)?;
    if fields.get("id").is_none() {
        fields.wrong("id", "is required: the server's id");
    }
    let id = fields.parsed("id");
    let heartbeat = fields.absorb(Heartbeat::parse(item, base));
    fields.finish(id.zip(heartbeat))
}

fn read_batch(body: JsonRef<'_>) -> Result<Vec<JsonRef<'_>>, Problem> {
    match body.items() {
        Some(items) if items.len() <= MAX_BATCH => Ok(items),
        Some(items) => Err(wrong_batch(format!(
            "holds {} heartbeats; at most {MAX_BATCH} are taken",
            items.len()
        ))),
        None => Err(wrong_batch(
            "must be a list of heartbeats, each with the id of its server".to_owned(),
        )),
    }
}

fn wrong_batch(detail: String) -> Problem {
    Problem::invalid(vec![FieldError::new("", detail)])
}

/// Reads the body of one heartbeat, none at all included: the quick way, or at leisure where it is wrong.
fn read_one(body: &RawChange) -> Result<(Heartbeat, Vec<FieldError>), Problem> {
    if body.body.is_empty() {
        return Ok((Heartbeat::default(), Vec::new()));
    }
    if body.media_type == MediaType::Json
        && let Some(heartbeat) = Heartbeat::from_slice(&body.body)
    {
        return Ok((heartbeat, Vec::new()));
    }
    let value = read_value(body)?;
    let heartbeat = Heartbeat::parse(value.root(), "")?;
    Ok((heartbeat, Heartbeat::SHAPE.unknown(value.root(), "")))
}

fn read_value(body: &RawChange) -> Result<Json, Problem> {
    if body.body.is_empty() {
        return Err(missing_body());
    }
    if body.media_type != MediaType::Json {
        return Err(body.media_type.refused("application/json"));
    }
    parse_json(&body.body)
}

fn head(app: &App) -> Position {
    app.hub.name(app.hub.state().sequence)
}

/// The members of an answer, without the braces.
fn write_members(text: &mut String, beat: &Beat) {
    let mut number = itoa::Buffer::new();
    text.push_str(r#""health":""#);
    text.push_str(name(beat.health));
    text.push_str(r#"","heartbeatIntervalMs":"#);
    text.push_str(number.format(beat.heartbeat_interval_ms));
    text.push_str(r#","dueAt":"#);
    text.push_str(number.format(beat.due_at));
}

fn answer(body: String, last: Position) -> Response {
    let json = HeaderValue::from_static("application/json");
    let mut response = ([(CONTENT_TYPE, json)], body).into_response();
    if let Ok(last) = HeaderValue::try_from(last.to_string()) {
        response.headers_mut().insert(LAST_EVENT_ID, last);
    }
    response
}
