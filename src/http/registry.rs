//! The servers in the shape of the official MCP registry (`/v0.1`), for clients that look servers up. Health stands beside
//! each, under a `_meta` key of our own. Shows what `GET /servers` shows the same token.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, State as Shared, rejection::RawPathParamsRejection},
    response::Response,
};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{App, extract::NoQuery, gate::Guest, problem::Problem, servers::view, status::answer};
use crate::{
    domain::{
        ServerId,
        event::{Health, Transport},
        server::{Server, ServerView},
    },
    filter::query::Query,
};

/// Servers on a page where the client names no `limit`.
const DEFAULT_LIMIT: u64 = 30;
/// Servers on a page, at most.
const MAX_LIMIT: u64 = 100;
/// The list that cursors of the registry are of.
const CURSORS: &str = "registry";
/// What stands before the slash of every name.
const NAMESPACE: &str = "timeback-events";
/// The shape of `server`.
const SCHEMA: &str = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json";
/// Characters of a description, at most.
const DESCRIPTION: usize = 100;

/// `/v0.1/servers` and what lies below.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(latest))
}

/// A page of servers, as a registry answers it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct RegistryList {
    /// In order of their ids.
    servers: Vec<RegistryEntry>,
    /// Where the list goes on.
    metadata: RegistryMetadata,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct RegistryMetadata {
    /// `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Servers on this page.
    count: usize,
}

/// A server and what the hub knows of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct RegistryEntry {
    /// As `server.json` has it.
    server: RegistryServer,
    #[serde(rename = "_meta")]
    meta: RegistryMeta,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct RegistryServer {
    #[serde(rename = "$schema")]
    schema: &'static str,
    /// `timeback-events/` and the server's id.
    name: String,
    title: String,
    description: String,
    version: String,
    /// Where it is asked, if it is over HTTP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    remotes: Vec<RegistryRemote>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct RegistryRemote {
    /// `streamable-http` or `sse`.
    r#type: &'static str,
    url: String,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct RegistryMeta {
    #[serde(rename = "io.modelcontextprotocol.registry/official")]
    official: RegistryOfficial,
    #[serde(rename = "dev.timeback.events/health")]
    health: RegistryHealth,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct RegistryOfficial {
    /// `active`, or `deleted` where it is gone.
    status: &'static str,
    published_at: String,
    updated_at: String,
    is_latest: bool,
}

/// How a server does.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct RegistryHealth {
    /// The server's id here.
    #[schema(value_type = String)]
    id: ServerId,
    /// `connected` or `disconnected`.
    status: &'static str,
    health: Health,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    last_seen_at: i64,
    tools: usize,
}

impl RegistryEntry {
    fn of(view: ServerView) -> Self {
        let connection = view.connection;
        let form = match connection.transport {
            Transport::Http => Some("streamable-http"),
            Transport::Sse => Some("sse"),
            Transport::Stdio | Transport::Websocket => None,
        };
        let remotes = form.zip(connection.url).into_iter();
        let about = format!("{}, as timeback-events watches it", connection.name);
        Self {
            server: RegistryServer {
                schema: SCHEMA,
                name: name_of(&view.id),
                description: about.chars().take(DESCRIPTION).collect(),
                title: connection.name.chars().take(DESCRIPTION).collect(),
                version: connection
                    .version
                    .filter(|version| !version.is_empty())
                    .unwrap_or_else(|| "0.0.0".to_owned()),
                remotes: remotes
                    .map(|(r#type, url)| RegistryRemote { r#type, url })
                    .collect(),
            },
            meta: RegistryMeta {
                official: RegistryOfficial {
                    status: if view.status == "connected" {
                        "active"
                    } else {
                        "deleted"
                    },
                    published_at: rfc3339(view.connected_at),
                    updated_at: rfc3339(view.last_seen_at),
                    is_latest: true,
                },
                health: RegistryHealth {
                    status: view.status,
                    health: view.health,
                    reason: view.reason,
                    detail: view.detail,
                    last_seen_at: view.last_seen_at,
                    tools: connection.capabilities.tools.len(),
                    id: view.id,
                },
            },
        }
    }
}

/// A registry's names hold no colon.
fn name_of(id: &ServerId) -> String {
    format!("{NAMESPACE}/{}", id.as_str().replace(':', "."))
}

fn rfc3339(time: i64) -> String {
    jiff::Timestamp::from_millisecond(time).map_or_else(|_| String::new(), |time| time.to_string())
}

/// Servers, as a registry lists them
///
/// The shape of the official MCP registry, with health under `_meta["dev.timeback.events/health"]`. Servers that are gone are
/// listed with `include_deleted=true`.
#[utoipa::path(
    get,
    operation_id = "registry_servers",
    path = "/v0.1/servers",
    tag = "mcp",
    params(
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 100, description = "Servers on a page; 30 by default"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("search" = Option<String>, Query, description = "Occurs in the name"),
        ("updated_since" = Option<String>, Query, description = "Heard of since this time, RFC 3339"),
        ("version" = Option<String>, Query, description = "`latest`, or the version"),
        ("include_deleted" = Option<bool>, Query, description = "With those that are gone"),
    ),
    responses((status = 200, body = RegistryList))
)]
async fn list(Shared(app): Shared<App>, guest: Guest, query: Query) -> Result<Response, Problem> {
    let known = [
        "limit",
        "cursor",
        "search",
        "updated_since",
        "version",
        "include_deleted",
    ];
    query.only(&known, &[])?;
    let limit = query
        .number("limit", 1..=MAX_LIMIT)?
        .unwrap_or(DEFAULT_LIMIT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let search = query.one("search").map(str::to_lowercase);
    let now = app.hub.clock().wall_ms();
    let since = query.one("updated_since");
    let since = since.map(|text| crate::filter::start::parse_time("updated_since", text, now));
    let since = since.transpose()?;
    let version = query.one("version").filter(|version| *version != "latest");
    let version = version.map(str::to_owned);
    let gone_too = query.flag("include_deleted")?;
    let after: Option<ServerId> = app.opened(CURSORS, query.one("cursor"))?;
    let seal = app.sealer(CURSORS);
    let own = app.clone();
    let find = move || {
        let state = own.hub.state();
        let has = |text: &str, server: &Server| {
            let name = name_of(&server.connection.id).to_lowercase();
            name.contains(text) || server.connection.name.to_lowercase().contains(text)
        };
        let is_wanted = |server: &&Arc<Server>| {
            guest.sees_server(server)
                && (gone_too || server.is_connected())
                && search.as_ref().is_none_or(|text| has(text, server))
                && (version.is_none() || version == server.connection.version)
        };
        let wanted = state.servers.after(after.as_ref()).filter(is_wanted);
        let views = wanted.map(|server| view(&own, server));
        let mut found: Vec<ServerView> = views
            .filter(|view| since.is_none_or(|since| view.last_seen_at >= since))
            .take(limit + 1)
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
    };
    let (found, more) = app.makers().turn(0, find).await?;
    let last = found
        .last()
        .filter(|_| more)
        .map(|view| view.id.to_string());
    let list = RegistryList {
        metadata: RegistryMetadata {
            next_cursor: last.and_then(|last| seal(&last)),
            count: found.len(),
        },
        servers: found.into_iter().map(RegistryEntry::of).collect(),
    };
    Ok(answer(&list))
}

/// One server, as a registry describes it
///
/// The hub knows one version of each server: the one that runs.
#[utoipa::path(
    get,
    operation_id = "registry_server",
    path = "/v0.1/servers/{name}/versions/latest",
    tag = "mcp",
    params(("name" = String, Path, description = "The name, its slash as `%2F`", example = "timeback-events%2Flms-server-001")),
    responses((status = 200, body = RegistryEntry), (status = 404, description = "`server-not-found`"))
)]
async fn latest(
    Shared(app): Shared<App>,
    guest: Guest,
    path: Result<RawPathParams, RawPathParamsRejection>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let name = path
        .iter()
        .flat_map(RawPathParams::iter)
        .next()
        .map(|(_, name)| name.to_owned())
        .unwrap_or_default();
    let state = app.hub.state();
    let id = name
        .strip_prefix(NAMESPACE)
        .and_then(|rest| rest.strip_prefix('/'));
    let id = id.and_then(|id| ServerId::parse(id).ok());
    let found = id.as_ref().and_then(|id| state.servers.get(id));
    let seen = |server: &&Arc<Server>| guest.sees_server(server);
    let named = |server: &&Arc<Server>| name_of(&server.connection.id) == name && seen(server);
    let found = found.filter(seen);
    let Some(server) = found.or_else(|| state.servers.after(None).find(named)) else {
        let name = crate::words::clip(&name);
        return Err(Problem::not_found(
            "server-not-found",
            format!("there is no server {name}; its name is {NAMESPACE}/ and its id"),
        ));
    };
    Ok(answer(&RegistryEntry::of(view(&app, server))))
}
