//! The past of servers: `GET /servers/{id}/history`, and `GET /uptime` for the fleet.
//!
//! Both are put together from the log's own events, which its index finds by type and server, in turns that all long answers
//! share. How a server was when the range began is told by the first event in it, by the state where there is none, or by
//! the last one before it.

mod reading;

use axum::{extract::State as Shared, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::reading::{Asked, Reading, Whose};
use super::{
    App, extract::PathId, gate::Guest, history::blocking, pieces::Whole, problem::Problem,
};
use crate::{
    domain::{
        Rejection, ServerId,
        past::{Incident, Interval, Past, Standing, Time},
    },
    filter::{Selection, query::Query, start::parse_time},
};

/// How far back it goes where the client doesn't say.
const DEFAULT_RANGE_MS: i64 = 86_400_000;
/// Intervals and incidents in one answer, of each.
const KEPT: usize = 1000;
/// Servers in one answer.
const MAX_SERVERS: usize = 10_000;

/// `/servers/{id}/history` and `/uptime`.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(history))
        .routes(routes!(uptime))
}

/// A server's past.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServerPast {
    /// Whose.
    #[schema(value_type = String, example = "lms-server-001")]
    server_id: ServerId,
    /// The range's beginning, epoch ms.
    #[schema(example = 1_763_703_600_000_i64)]
    since: i64,
    /// Its end: now.
    #[schema(example = 1_763_790_000_000_i64)]
    until: i64,
    /// Events of the range were pruned or can't be read: what they said is `unknown` here.
    #[schema(example = false)]
    truncated: bool,
    /// The share of `upMs` in `upMs` and `downMs`, in percent; `null` where both are 0.
    #[schema(required, example = 99.93)]
    uptime: Option<f64>,
    /// Healthy or degraded.
    #[schema(example = 86_339_520)]
    up_ms: i64,
    /// Unhealthy or lost.
    #[schema(example = 60_480)]
    down_ms: i64,
    /// How it was, one after another, oldest first: the newest 1,000.
    intervals: Vec<Interval>,
    /// Older ones that are not in `intervals`, but in the sums.
    #[schema(example = 0)]
    intervals_left_out: u64,
    /// What went wrong, oldest first: the newest 1,000.
    incidents: Vec<Incident>,
    /// Older ones that are not in `incidents`.
    #[schema(example = 0)]
    incidents_left_out: u64,
}

/// The fleet's uptime.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct FleetUptime {
    /// The range's beginning, epoch ms.
    #[schema(example = 1_763_703_600_000_i64)]
    since: i64,
    /// Its end: now.
    #[schema(example = 1_763_790_000_000_i64)]
    until: i64,
    /// Events of the range were pruned or can't be read.
    #[schema(example = false)]
    truncated: bool,
    /// Of all of these servers' time together, in percent; `null` where none counts.
    #[schema(required, example = 99.93)]
    uptime: Option<f64>,
    /// In order of their ids.
    servers: Vec<ServerUptime>,
}

/// One server's.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServerUptime {
    /// Whose.
    #[schema(value_type = String, example = "lms-server-001")]
    server_id: ServerId,
    /// How it is now.
    health: Standing,
    /// In percent; `null` where no time counts.
    #[schema(required, example = 99.93)]
    uptime: Option<f64>,
    /// Healthy or degraded.
    #[schema(example = 86_339_520)]
    up_ms: i64,
    /// Unhealthy or lost.
    #[schema(example = 60_480)]
    down_ms: i64,
    /// How often something went wrong.
    #[schema(example = 1)]
    incidents: u64,
}

/// A server's past
///
/// Its health as intervals, its uptime, and its incidents with their causes, from the log. Healthy and degraded time is up,
/// unhealthy and lost time is down; time in which it was away as expected, or of which nothing is known, counts on neither
/// side.
#[utoipa::path(
    get,
    operation_id = "server_history",
    path = "/servers/{id}/history",
    tag = "servers",
    params(
        ("id" = String, Path, example = "lms-server-001"),
        ("since" = Option<String>, Query, description = "From this time on: epoch ms, RFC 3339 or an age; `24h` by default", example = "7d"),
    ),
    responses((status = 200, body = ServerPast), (status = 404, description = "`server-not-found`"))
)]
async fn history(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(id): PathId<ServerId>,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&["since"], &[])?;
    let asked = read_range(&query, app.hub.clock().wall_ms())?;
    let state = app.hub.state();
    let server = state
        .servers
        .get(&id)
        .filter(|server| guest.sees_server(server));
    let Some(server) = server else {
        return Err(Rejection::ServerNotFound(id).into());
    };
    let whose = Whose::One(id.clone(), Standing::of(server));
    let (truncated, mut pasts) = read(&app, &guest, asked, whose).await?;
    let past = pasts.remove(&id).unwrap_or_else(|| {
        let mut past = Past::begin(asked.since, Standing::Unknown, KEPT);
        past.end(asked.until);
        past
    });
    let Time { up, down } = past.time;
    let answer = ServerPast {
        server_id: id,
        since: asked.since,
        until: asked.until,
        truncated,
        uptime: past.time.percent(),
        up_ms: up,
        down_ms: down,
        intervals: past.intervals.into(),
        intervals_left_out: past.intervals_left_out,
        incidents: past.incidents.into(),
        incidents_left_out: past.incidents_left_out,
    };
    app.makers().json(Whole::of(&answer)).await
}

/// The fleet's uptime
///
/// Of every server that the hub knows, or of those with these tags, 10,000 at most (`422` `too-many-servers`); the numbers are those of
/// `/servers/{id}/history`.
#[utoipa::path(
    get,
    operation_id = "fleet_uptime",
    path = "/uptime",
    tag = "servers",
    params(
        ("since" = Option<String>, Query, description = "From this time on: epoch ms, RFC 3339 or an age; `24h` by default", example = "7d"),
        ("serverId" = Option<String>, Query, description = "Servers, comma separated or repeated"),
        ("tag" = Option<String>, Query, description = "`key:value`; repeated means all of them", example = "team:grading"),
    ),
    responses((status = 200, body = FleetUptime))
)]
async fn uptime(Shared(app): Shared<App>, guest: Guest, query: Query) -> Result<Response, Problem> {
    query.only(&["since"], &["serverId", "tag"])?;
    let asked = read_range(&query, app.hub.clock().wall_ms())?;
    let wanted = Selection::parse(&query)?;
    let state = app.hub.state();
    let reader = guest.clone();
    let find = move || {
        let found = state.servers.after(None).filter(|server| {
            let id = &server.connection.id;
            let tags = &server.tags;
            let has = |tag: &String| {
                let tag = tag.split_once(':');
                tag.is_some_and(|(key, value)| tags.get(key).is_some_and(|it| it == value))
            };
            (wanted.servers.is_empty() || wanted.servers.contains(id))
                && wanted.tags.iter().all(has)
                && reader.sees_server(server)
        });
        found
            .map(|server| (server.connection.id.clone(), Standing::of(server)))
            .take(MAX_SERVERS + 1)
            .collect::<Vec<_>>()
    };
    let servers = app.makers().turn(1, find).await?;
    if servers.len() > MAX_SERVERS {
        return Err(too_many_servers());
    }
    let (truncated, mut pasts) = read(&app, &guest, asked, Whose::Many(servers.clone())).await?;
    let mut all = Time::default();
    let servers = servers.into_iter().filter_map(|(server_id, health)| {
        let past = pasts.remove(&server_id)?;
        let Time { up, down } = past.time;
        (all.up, all.down) = (all.up + up, all.down + down);
        Some(ServerUptime {
            server_id,
            health,
            uptime: past.time.percent(),
            up_ms: up,
            down_ms: down,
            incidents: past.incidents_in_all(),
        })
    });
    let servers = servers.collect();
    let answer = FleetUptime {
        since: asked.since,
        until: asked.until,
        truncated,
        uptime: all.percent(),
        servers,
    };
    app.makers().json(Whole::of(&answer)).await
}

fn read_range(query: &Query, now: i64) -> Result<Asked, Problem> {
    let since = query.one("since");
    let since = since
        .map(|text| parse_time("since", text, now))
        .transpose()?;
    let since = since.unwrap_or(now.saturating_sub(DEFAULT_RANGE_MS));
    if since > now {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "range-empty",
            "The range is empty",
            "since lies in the future; it must be a time that has passed",
        ));
    }
    Ok(Asked { since, until: now })
}

fn too_many_servers() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "too-many-servers",
        "The answer would be too large",
        format!("there are more than {MAX_SERVERS} such servers; ask for a part of them with tag or serverId"),
    )
    .with("max", &MAX_SERVERS)
}

/// Puts the pasts together.
async fn read(
    app: &App,
    guest: &Guest,
    asked: Asked,
    whose: Whose,
) -> Result<(bool, std::collections::HashMap<ServerId, Past>), Problem> {
    let (reader, grant) = (app.hub.reader().clone(), guest.grant.clone());
    let begin = move || Reading::begin(reader, grant, asked, whose);
    let reading = blocking(begin).await??;
    let reading = app.makers().in_turns(reading, Reading::go_on).await?;
    Ok(reading.pasts())
}
