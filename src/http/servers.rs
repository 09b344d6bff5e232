//! Servers: register, list, leave. Their heartbeats are in [`super::heartbeats`].

use std::sync::Arc;

use axum::{
    extract::State as Shared,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, de::IntoDeserializer};
use utoipa_axum::{router::OpenApiRouter, routes};

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
        Command, FieldError, InstanceId, Rejection, ServerId,
        command::{Deregister, Register},
        event::Health,
        probe::ProbeView,
        server::{Server, ServerQuery, ServerView, from_event::check_reason},
    },
    filter::query::Query,
};

/// The list that cursors of servers are of.
const CURSORS: &str = "servers";
/// Servers on a page where the client names no `limit`.
const DEFAULT_LIMIT: usize = 100;
/// Servers on a page, at most.
const MAX_LIMIT: u64 = 1000;

/// `/servers` and what lies below, without heartbeats.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(register, list))
        .routes(routes!(get, deregister))
        .routes(routes!(probe))
}

/// Register a server
///
/// New or back: `201`. Connected already: `200`, its lease is renewed, and `server_updated` tells what
/// changed. Another `instanceId` takes the place of the old one, or joins it where `instances` is `many`: `201`; none
/// matches any. `host`, `pid` and `client` tell of the instance's process. An instance that has already said that it
/// goes is refused: `409` `instance-gone`.
#[utoipa::path(
    post,
    path = "/servers",
    tag = "servers",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body give the first answer again")),
    request_body(content = Register, example = json!({
        "id": "lms-server-001",
        "name": "LMS",
        "transport": "http",
        "url": "http://127.0.0.1:8080/mcp",
        "capabilities": {"tools": ["grade_essay"], "resources": [], "prompts": []},
        "tags": {"team": "grading"},
        "heartbeatIntervalMs": 10000
    })),
    responses(
        (status = 201, description = "New, back, or in another's place", body = Warned<ServerView>),
        (status = 200, description = "It was connected; its lease is renewed", body = Warned<ServerView>),
        (status = 409, description = "`instance-gone`"),
    )
)]
async fn register(
    Shared(app): Shared<App>,
    guest: Guest,
    change: Change,
) -> Result<Answered, Problem> {
    let body = change.required()?;
    let new_id = || ServerId::from_uuid(uuid::Uuid::now_v7());
    let mut register = Register::parse(body, "", new_id)?;
    guest.report_as(&register.id)?;
    if let Some(probe) = &register.probe
        && let Err(why) = app.rounds.admits(probe).await
    {
        return Err(Problem::invalid(vec![FieldError::new("/probe/url", why)]));
    }
    let instance = register.instance_id.as_ref();
    register.last_seen_at = app
        .leases
        .last_seen_at(&app.hub.state(), &register.id, instance);
    let command = Command::Register(Box::new(register));
    let warnings = change.unknown(&Register::SHAPE);
    let answer = app.execute(&guest, command, change.key).await?;
    Ok(answer.with(warnings))
}

/// A page of servers.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServerList {
    /// In order of their ids.
    servers: Vec<ServerView>,
    /// `cursor` of the next page; `null` on the last.
    next_cursor: Option<String>,
}

/// List servers
///
/// In order of their ids, connected and gone. Filters of different names are joined by AND, values of one
/// by OR, tags by AND. A page of large ones may hold fewer than `limit`.
#[utoipa::path(
    get,
    operation_id = "list_servers",
    path = "/servers",
    tag = "servers",
    params(
        ("health" = Option<String>, Query, description = "`healthy`, `degraded`, `unhealthy`; one or more, comma separated or repeated"),
        ("status" = Option<String>, Query, description = "`connected`, `disconnected`"),
        ("transport" = Option<String>, Query, description = "`stdio`, `sse`, `http`, `websocket`; one or more"),
        ("tag" = Option<String>, Query, description = "`key:value`; repeated means all of them", example = "team:grading"),
        ("limit" = Option<usize>, Query, description = "1 to 1000; 100 by default"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
    ),
    responses((status = 200, body = ServerList))
)]
async fn list(Shared(app): Shared<App>, guest: Guest, query: Query) -> Result<Response, Problem> {
    query.only(
        &["limit", "cursor"],
        &["health", "status", "transport", "tag"],
    )?;
    let (wanted, limit) = (read_filters(&query)?, read_limit(&query)?);
    let mut after: Option<ServerId> = app.opened(CURSORS, query.one("cursor"))?;
    let (state, makers) = (app.hub.state(), app.makers().clone());
    let seal = app.sealer(CURSORS);
    let find = move || {
        let is_wanted = |server: &Arc<Server>| {
            wanted.matches(server, shown(&app, &wanted, server)) && guest.sees_server(server)
        };
        match look(state.servers.after(after.as_ref()), is_wanted) {
            Looked::At(server) => {
                let id = &server.connection.id;
                after = Some(id.clone());
                let view = Arc::new(view(&app, server));
                Found::One(Thing::Server(view), id.to_string())
            }
            Looked::Tired(server) => {
                after = Some(server.connection.id.clone());
                Found::Later
            }
            Looked::Nothing => Found::End(None),
        }
    };
    makers
        .json(Text::of(Listing::new("servers", limit, find, seal)))
        .await
}

/// One server
#[utoipa::path(
    get,
    operation_id = "get_server",
    path = "/servers/{id}",
    tag = "servers",
    params(("id" = String, Path, example = "lms-server-001")),
    responses((status = 200, body = ServerView), (status = 404, description = "`server-not-found`"))
)]
async fn get(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(id): PathId<ServerId>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let state = app.hub.state();
    let server = state
        .servers
        .get(&id)
        .filter(|server| guest.sees_server(server));
    let Some(server) = server else {
        return Err(Rejection::ServerNotFound(id).into());
    };
    let view = Arc::new(view(&app, server));
    app.makers().json(Single::of(Thing::Server(view))).await
}

/// Deregister a server
///
/// Of a server that is gone already: `204` again. With `instanceId`, only that instance is meant: one that
/// has been replaced doesn't take its successor down, and one that isn't known (yet) is remembered for a minute, in which
/// it can't register. With `expected=false` it counts as lost until it returns or is deregistered as expected.
#[utoipa::path(
    delete,
    path = "/servers/{id}",
    tag = "servers",
    params(
        ("id" = String, Path, example = "lms-server-001"),
        ("reason" = Option<String>, Query, description = "Why it goes, in your words; `deregistered` by default. `heartbeat_timeout` and `replaced` are the hub's own to say", example = "upgrade"),
        ("instanceId" = Option<String>, Query, description = "Which instance of it goes; without, all of it"),
        ("expected" = Option<bool>, Query, description = "`false`: it crashed. By default what the reason says: `true`, but for `probe_failed`"),
    ),
    responses((status = 204, description = "It is gone"), (status = 404, description = "`server-not-found`"))
)]
async fn deregister(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(server): PathId<ServerId>,
    query: Query,
) -> Result<Answered, Problem> {
    query.only(&["reason", "instanceId", "expected"], &[])?;
    let reason = check_reason(query.one("reason").unwrap_or_default())
        .map_err(|wrong| Problem::query(format!("reason {wrong}")))?;
    let instance_id = query
        .one("instanceId")
        .map(InstanceId::parse)
        .transpose()
        .map_err(|wrong| Problem::query(format!("instanceId {wrong}")))?;
    let expected = match query.one("expected") {
        None | Some("") => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => return Err(unknown_word("expected", other, "true or false")),
    };
    let state = app.hub.state();
    let command = Command::Deregister(Deregister {
        last_seen_at: app
            .leases
            .last_seen_at(&state, &server, instance_id.as_ref()),
        reason: reason.to_owned(),
        server,
        connection: None,
        instance_id,
        expected,
        occurred_at: None,
    });
    app.execute(&guest, command, None).await
}

/// What a probe found, and what that makes of the server.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProbeAnswer {
    /// Which server.
    #[schema(value_type = String, example = "lms-server-001")]
    id: ServerId,
    /// `connected` or `disconnected`.
    #[schema(example = "connected")]
    status: &'static str,
    /// Its verdict now, of which the probe is one part.
    health: Health,
    /// What was found.
    #[serde(flatten)]
    found: ProbeView,
}

/// Probe a server now
///
/// The answer is what was found, once it has become the server's health and description. A probe that is under way is
/// waited for first. A server without `probe` isn't asked: `409` `server-not-probed`.
#[utoipa::path(
    post,
    operation_id = "probe_server",
    path = "/servers/{id}/probe",
    tag = "servers",
    params(("id" = String, Path, example = "lms-server-001")),
    responses(
        (status = 200, body = ProbeAnswer),
        (status = 404, description = "`server-not-found`"),
        (status = 409, description = "`server-not-probed`"),
    )
)]
async fn probe(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(id): PathId<ServerId>,
    _: NoQuery,
) -> Result<Response, Problem> {
    guest.report_as(&id)?;
    let known = |app: &App| app.hub.state().servers.get(&id).cloned();
    if known(&app).is_none() {
        return Err(Rejection::ServerNotFound(id).into());
    }
    let found = app.rounds.ask(&app.hub, &id).await;
    let (Some(found), Some(server)) = (found, known(&app)) else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "server-not-probed",
            "The server isn't probed",
            format!(
                "server {id} was registered without probe, or has left: register it with probe"
            ),
        ));
    };
    let view = view(&app, &server);
    Ok(axum::Json(ProbeAnswer {
        id,
        status: view.status,
        health: view.health,
        found,
    })
    .into_response())
}

/// The health that a list goes by. What the log can't take is shown all the same, and so it is what is asked for.
pub(super) fn shown(app: &App, wanted: &ServerQuery, server: &Server) -> Health {
    match app.hub.trouble() {
        Some(_) if !wanted.health.is_empty() => view(app, server).health,
        _ => server.shown_health(),
    }
}

/// A server with what its leases say.
pub(super) fn view(app: &App, server: &Server) -> ServerView {
    let leases = app.leases.views(server, app.hub.trouble().is_some());
    let mut view = server.view(&leases, app.hub.lived_ms());
    if view.probe.is_some()
        && let Some(found) = app.rounds.view(&server.connection.id)
    {
        view.probe = Some(found);
    }
    view
}

pub(super) fn read_filters(query: &Query) -> Result<ServerQuery, Problem> {
    let statuses: Vec<&str> = query.values("status").collect();
    if let Some(unknown) = statuses
        .iter()
        .find(|status| !["connected", "disconnected"].contains(status))
    {
        return Err(unknown_word("status", unknown, "connected or disconnected"));
    }
    let (here, gone) = (
        statuses.contains(&"connected"),
        statuses.contains(&"disconnected"),
    );
    let tags = query.all("tag").map(|tag| match tag.split_once(':') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(unknown_word("tag", tag, "key:value")),
    });
    Ok(ServerQuery {
        health: words(query, "health", "healthy, degraded or unhealthy")?,
        connected: (here != gone).then_some(here),
        transports: words(query, "transport", "stdio, sse, http or websocket")?,
        tags: tags.collect::<Result<_, _>>()?,
    })
}

fn read_limit(query: &Query) -> Result<usize, Problem> {
    let limit = query.number("limit", 1..=MAX_LIMIT)?;
    Ok(limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(DEFAULT_LIMIT))
}

/// All values of a parameter, read as words of a small vocabulary.
fn words<'q, T: Deserialize<'q>>(
    query: &'q Query,
    name: &'q str,
    expected: &str,
) -> Result<Vec<T>, Problem> {
    let read = |text: &'q str| {
        let word: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
            text.into_deserializer();
        T::deserialize(word).map_err(|_| unknown_word(name, text, expected))
    };
    query.values(name).map(read).collect()
}

fn unknown_word(name: &str, found: &str, expected: &str) -> Problem {
    Problem::query(format!("{name} is \"{found}\"; it must be {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Health, Transport};

    #[test]
    fn filters_are_read_or_refused() {
        let read = |text: &str| read_filters(&Query::parse(text).unwrap());
        let query =
            read("health=degraded,unhealthy&status=connected&transport=sse&tag=a:b:c&tag=d:")
                .unwrap();
        assert_eq!(query.health, [Health::Degraded, Health::Unhealthy]);
        assert_eq!(
            (query.connected, query.transports),
            (Some(true), vec![Transport::Sse])
        );
        let tags = [("a", "b:c"), ("d", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(query.tags, tags);
        assert_eq!(
            read("status=connected,disconnected").unwrap().connected,
            None
        );
        for bad in ["health=fine", "status=gone", "transport=pigeon", "tag=team"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
