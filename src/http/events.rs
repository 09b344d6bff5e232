//! `POST /events`: producers' own events, and core events, which go through the command that owns them.

pub mod read;

use axum::{extract::State as Shared, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::read::{Asked, Body};
use super::{
    App,
    answered::Answered,
    cloudevents::Origin,
    extract::{RawChange, hashed},
    gate::Guest,
    problem::Problem,
    shapes::{Appended, EventInputs},
};
use crate::{
    domain::{
        Command, Rejection, ServerId,
        command::{ChangeHealth, SelfReport},
        health::Heartbeat,
    },
    health::Beat,
    hub::{Answer, HubError, IdempotencyKey, Named},
};

/// `POST /events` and its alias.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(publish))
        .routes(routes!(broadcast))
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
async fn publish(
    Shared(app): Shared<App>,
    guest: Guest,
    change: RawChange,
) -> Result<Answered, Problem> {
    let answer = append(&app, &guest, change).await?;
    Ok(Answered::new(answer, app.makers()))
}

/// Carries out what a body asks for.
///
/// # Errors
/// Why not.
pub(super) async fn append(app: &App, guest: &Guest, change: RawChange) -> Result<Answer, Problem> {
    require_events(app)?;
    let Body {
        asked,
        is_batch,
        origins,
        warnings,
    } = read::read(&change)?;
    let mut origins = origins.into_iter();
    let (mut commands, mut beats) = (Vec::with_capacity(asked.len()), Vec::new());
    for asked in asked {
        commands.push(match asked {
            Asked::Command(command) => {
                guest.permits(&command)?;
                with_lease(app, command)
            }
            Asked::Heartbeat(server, heartbeat) => {
                guest.report_as(&server)?;
                let command = reported(&server, &heartbeat);
                beats.push((server, heartbeat));
                command
            }
        });
    }
    let named = commands.into_iter().enumerate().map(|(at, command)| {
        let named = origins.next().flatten().map(|origin| {
            let pointer = if is_batch {
                format!("/{at}/id")
            } else {
                "/id".to_owned()
            };
            name(guest, origin, pointer)
        });
        (command, named)
    });
    let named = named.collect();
    let by = guest.name.clone();
    let answer = app.hub.execute_named_for(by, named, change.key).await;
    let answer = answer.map_err(|error| refused(error, is_batch, guest))?;
    if !answer.replayed {
        for (server, heartbeat) in beats {
            renew(app, guest, &server, heartbeat).await;
        }
    }
    Ok(answer.with(warnings))
}

/// The name of an event from elsewhere. Names of different callers never meet, as their idempotency keys don't.
fn name(guest: &Guest, origin: Origin, pointer: String) -> Named {
    let caller = &*guest.caller;
    Named {
        key: IdempotencyKey {
            key: hashed(&["cloudevent", caller, &origin.source, &origin.id]),
            request: origin.said,
        },
        kind: origin.kind,
        attributes: origin.attributes,
        pointer,
    }
}

/// Adds what only the leases know: when the server that goes or is replaced was last heard of.
fn with_lease(app: &App, mut command: Command) -> Command {
    let state = app.hub.state();
    match &mut command {
        Command::Register(register) => {
            let instance = register.instance_id.as_ref();
            register.last_seen_at = app.leases.last_seen_at(&state, &register.id, instance);
        }
        Command::Deregister(leave) => {
            let instance = leave.instance_id.as_ref();
            leave.last_seen_at = app.leases.last_seen_at(&state, &leave.server, instance);
        }
        _ => {}
    }
    command
}

/// What a heartbeat says of its instance's health. It is judged where it stands in the array, after the items before it.
fn reported(server: &ServerId, heartbeat: &Heartbeat) -> Command {
    Command::ChangeHealth(ChangeHealth {
        server: server.clone(),
        instance_id: heartbeat.instance_id.clone(),
        connection: None,
        lease: None,
        report: heartbeat.health.map(|health| SelfReport {
            health,
            detail: heartbeat.detail.clone(),
        }),
        last_seen_at: None,
        occurred_at: heartbeat.occurred_at,
    })
}

/// Takes in that an instance is alive whose report is committed. Where its lease heals by that, it follows by itself;
/// should that fail, the next heartbeat leads to it again.
async fn renew(app: &App, guest: &Guest, server: &ServerId, heartbeat: Heartbeat) {
    let alive = Heartbeat {
        health: None,
        detail: None,
        ..heartbeat
    };
    if let Ok(Beat {
        change: Some(change),
        ..
    }) = app.leases.heartbeat(&app.hub.state(), server, &alive)
    {
        let (by, change) = (guest.name.clone(), Command::ChangeHealth(*change));
        let followed = app.hub.execute_for(by, change, None).await;
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
async fn broadcast(app: Shared<App>, guest: Guest, change: RawChange) -> Result<Answered, Problem> {
    publish(app, guest, change).await
}

/// Events as a whole can be switched off.
pub(super) fn require_events(app: &App) -> Result<(), Problem> {
    if app.hub.state().patterns.is_enabled("event_driven") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "pattern-disabled",
        "The pattern is switched off",
        "the pattern event_driven is switched off; PUT /patterns/event_driven switches it on",
    ))
}

/// The problem of a refused body. What the only item did wrong is the body's fault, not an item's.
fn refused(error: HubError, is_batch: bool, guest: &Guest) -> Problem {
    let error = match error {
        HubError::Rejected(Rejection::InBatch { cause, .. }) if !is_batch => {
            HubError::Rejected(*cause)
        }
        other => other,
    };
    Problem::told(error, guest)
}
