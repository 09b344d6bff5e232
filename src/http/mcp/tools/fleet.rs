//! What there is to know of servers.

use std::{cmp::Reverse, sync::Arc};

use serde::Serialize;

use super::{
    ANSWER_BYTES, Done,
    arguments::{query, required},
    cut,
    log::{Shown, read_selected},
};
use crate::{
    domain::{
        Json, Rejection, ServerId,
        event::{Health, Tags, Transport},
        json::JsonRef,
        server::{Server, ServerView},
    },
    event_log::Order,
    filter::Selection,
    http::{
        App,
        gate::Guest,
        mcp::Asked,
        problem::Problem,
        servers::{read_filters, shown, view},
        snapshot::{Item, within},
        status::StatusView,
    },
};

/// Servers on a page where the call names no `limit`.
const DEFAULT_LIMIT: u64 = 50;
/// Servers on a page, at most.
const MAX_LIMIT: u64 = 200;
/// The list that cursors of servers are of.
const CURSORS: &str = "mcp servers";
/// Servers of the worst that the status names.
const WORST: usize = 10;
/// Offers of a tool that are told.
const MOST_OFFERS: usize = 50;
/// Events that are told of a server.
const RECENT: usize = 10;
/// What one thing may take.
const THING_BYTES: usize = 32 * 1024;
/// Characters of a reason or a name in a list.
const WORDS: usize = 300;

/// A server in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http::mcp) struct Line {
    id: ServerId,
    name: String,
    status: &'static str,
    health: Health,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    transport: Transport,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    last_seen_at: i64,
    tools: usize,
    instances: u64,
    #[serde(skip_serializing_if = "Tags::is_empty")]
    tags: Tags,
}

impl Line {
    fn of(view: &ServerView) -> Self {
        let short = |text: &Option<String>| text.as_deref().map(|text| cut(text, WORDS));
        Self {
            id: view.id.clone(),
            name: cut(&view.name, WORDS),
            status: view.status,
            health: view.health,
            reason: short(&view.reason),
            detail: short(&view.detail),
            transport: view.connection.transport,
            url: short(&view.connection.url),
            version: short(&view.connection.version),
            last_seen_at: view.last_seen_at,
            tools: view.connection.capabilities.tools.len(),
            instances: view.connected_instances,
            tags: view.tags.clone(),
        }
    }

    /// In words: who, how, why.
    fn words(&self) -> String {
        let health = health_word(self.health);
        let state = if self.status == "connected" {
            health.to_owned()
        } else {
            format!("disconnected, {health}")
        };
        match self.detail.as_ref().or(self.reason.as_ref()) {
            Some(why) => format!("{}: {state} ({why})", self.id),
            None => format!("{}: {state}", self.id),
        }
    }
}

fn health_word(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Unhealthy => "unhealthy",
    }
}

/// How the whole does.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FleetStatus {
    #[serde(flatten)]
    counts: StatusView,
    /// The worst servers, the worst first.
    worst: Vec<Line>,
    /// Servers that aren't well and aren't named.
    worst_left_out: usize,
}

pub(super) async fn status(asked: &Asked, arguments: Option<JsonRef<'_>>) -> Result<Done, Problem> {
    query(arguments, &[], &[])?;
    fleet_status(&asked.app, &asked.guest).await
}

/// The tool's answer, which the resource and the prompt show as well.
pub(in crate::http::mcp) async fn fleet_status(app: &App, guest: &Guest) -> Result<Done, Problem> {
    let (own, guest) = (app.clone(), guest.clone());
    let made = app.makers().turn(0, move || fleet(&own, &guest)).await?;
    let mut text = format!(
        "The fleet is {}: {} servers connected, {} healthy, {} lost; {} workflows running, {} failed so far.",
        health_word(made.counts.status),
        made.counts.connected_servers,
        made.counts.healthy_servers,
        made.counts.lost_servers,
        made.counts.active_workflows,
        made.counts.failed_workflows,
    );
    if let Some(suspect) = &made.counts.self_suspect {
        text.push_str(&format!(
            " The hub doubts itself: {} servers fell silent at once.",
            suspect.silent
        ));
    }
    for line in &made.worst {
        text.push_str(&format!("\n- {}", line.words()));
    }
    if made.worst_left_out > 0 {
        text.push_str(&format!(
            "\n{} more aren't well; list_servers with health finds them.",
            made.worst_left_out
        ));
    }
    Ok(Done::new(text, &made))
}

fn fleet(app: &App, guest: &Guest) -> FleetStatus {
    let state = app.hub.state();
    let mut worst: Vec<&Arc<Server>> = Vec::new();
    let mut ill = 0;
    let key = |server: &&Arc<Server>| {
        (
            Reverse(server.shown_health()),
            Reverse(server.lost),
            Reverse(server.last_seen_at),
        )
    };
    for server in state.servers.after(None) {
        let is_ill = server.lost || (server.is_connected() && server.health != Health::Healthy);
        if !is_ill || !guest.sees_server(server) {
            continue;
        }
        ill += 1;
        worst.push(server);
        // A few more than are told, sorted now and then: the fleet may be large and all of it ill.
        if worst.len() >= 8 * WORST {
            worst.sort_by_key(key);
            worst.truncate(WORST);
        }
    }
    worst.sort_by_key(key);
    worst.truncate(WORST);
    let worst: Vec<Line> = worst
        .into_iter()
        .map(|server| Line::of(&view(app, server)))
        .collect();
    FleetStatus {
        counts: StatusView::of(app, &state, guest),
        worst_left_out: ill - worst.len(),
        worst,
    }
}

/// A page of servers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lines {
    servers: Vec<Line>,
    /// How many match in all.
    total: usize,
    /// Servers that match and come after this page.
    left_out: usize,
    next_cursor: Option<String>,
}

pub(super) async fn list(asked: &Asked, arguments: Option<JsonRef<'_>>) -> Result<Done, Problem> {
    let many = ["health", "status", "transport", "tag"];
    let query = query(arguments, &["text", "limit", "cursor"], &many)?;
    let wanted = read_filters(&query)?;
    let limit = query.number("limit", 1..=MAX_LIMIT)?;
    let limit = usize::try_from(limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(usize::MAX);
    let text = query.one("text").map(str::to_lowercase);
    let after: Option<ServerId> = asked.app.opened(CURSORS, query.one("cursor"))?;
    let (app, guest) = (asked.app.clone(), asked.guest.clone());
    let find = move || {
        let state = app.hub.state();
        let is_wanted = |server: &&Arc<Server>| {
            wanted.matches(server, shown(&app, &wanted, server))
                && guest.sees_server(server)
                && text.as_ref().is_none_or(|text| has_text(server, text))
        };
        let (mut lines, mut bytes, mut total, mut left_out) = (Vec::new(), 0, 0, 0);
        for server in state.servers.after(None).filter(is_wanted) {
            total += 1;
            if after
                .as_ref()
                .is_some_and(|after| server.connection.id <= *after)
            {
                continue;
            }
            if lines.len() == limit || bytes >= ANSWER_BYTES {
                left_out += 1;
                continue;
            }
            let line = Line::of(&view(&app, server));
            bytes += Json::of(&line).as_str().len();
            lines.push(line);
        }
        (lines, total, left_out)
    };
    let (servers, total, left_out) = asked.app.makers().turn(0, find).await?;
    let last = servers.last().map(|line: &Line| line.id.to_string());
    let next_cursor = last
        .filter(|_| left_out > 0)
        .and_then(|last| asked.app.sealer(CURSORS)(&last));
    let mut words = format!("{} of {total} servers", servers.len());
    for line in servers.iter().take(20) {
        words.push_str(&format!("\n- {}", line.words()));
    }
    if servers.len() > 20 {
        words.push_str(&format!("\n- and {} more on this page", servers.len() - 20));
    }
    if left_out > 0 {
        words.push_str(&format!(
            "\n{left_out} more follow: call again with cursor."
        ));
    }
    Ok(Done::new(
        words,
        &Lines {
            servers,
            total,
            left_out,
            next_cursor,
        },
    ))
}

fn has_text(server: &Server, text: &str) -> bool {
    let has = |found: &str| found.to_lowercase().contains(text);
    let connection = &server.connection;
    has(connection.id.as_str())
        || has(&connection.name)
        || [
            &connection.url,
            &connection.version,
            &server.reason,
            &server.detail,
        ]
        .into_iter()
        .flatten()
        .any(|found| has(found))
        || server
            .tags
            .iter()
            .any(|(key, value)| has(&format!("{key}:{value}")))
}

/// One server, and what happened to it lately.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    server: Json,
    /// What last changed of what it offers; absent where nothing did, as far as the log goes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<Json>,
    /// Its latest events, the newest first.
    recent_events: Vec<Json>,
    /// Whether older ones are left out.
    more_events: bool,
}

pub(super) async fn get(asked: &Asked, arguments: Option<JsonRef<'_>>) -> Result<Done, Problem> {
    let query = query(arguments, &["serverId"], &[])?;
    let id = required(&query, "serverId")?;
    let not_found = || {
        Problem::not_found(
            "server-not-found",
            format!("there is no server {}", crate::words::clip(id)),
        )
    };
    let id = ServerId::parse(id).map_err(|_| not_found())?;
    let (line, server) = one_server(&asked.app, &asked.guest, &id)?;
    let of = |types: &[&str]| Selection {
        servers: vec![id.clone()],
        types: types
            .iter()
            .map(|kind| crate::filter::TypePattern::Exact((*kind).to_owned()))
            .collect(),
        ..Selection::default()
    };
    let recent = read_selected(&asked.app, &asked.guest, of(&[]), Order::Descending, RECENT).await;
    let Shown { events, more, .. } = recent.unwrap_or_default();
    let changes = of(&["server_updated", "server_connected"]);
    let changes = read_selected(&asked.app, &asked.guest, changes, Order::Descending, 50).await;
    let drift = changes.unwrap_or_default().events.iter().find_map(|event| {
        let drift = event.root().get("data")?.get("drift")?;
        Some(drift.to_json()).filter(|drift| drift.root().is_object())
    });
    let mut text = line.words();
    text.push_str(&format!(
        "\n{} tools, {} instances connected, last seen at {}.",
        line.tools, line.instances, line.last_seen_at
    ));
    if drift.is_some() {
        text.push_str("\nWhat it offers has changed; drift says how.");
    }
    for event in events.iter().take(5) {
        text.push_str(&format!("\n- {}", super::log::words(event)));
    }
    let whole = Whole {
        server,
        drift,
        recent_events: events,
        more_events: more,
    };
    Ok(Done::new(text, &whole))
}

/// A server that the guest may see: in short, and as far as it fits.
pub(in crate::http::mcp) fn one_server(
    app: &App,
    guest: &Guest,
    id: &ServerId,
) -> Result<(Line, Json), Problem> {
    let state = app.hub.state();
    let server = state.servers.get(id);
    let Some(server) = server.filter(|server| guest.sees_server(server)) else {
        return Err(Rejection::ServerNotFound(id.clone()).into());
    };
    let view = Arc::new(view(app, server));
    let line = Line::of(&view);
    let text = within(&Item::Server(view), THING_BYTES);
    let whole = Json::stored(&text).unwrap_or_else(|_| Json::of(&line));
    Ok((line, whole))
}

/// A server that offers a tool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Offer {
    server_id: ServerId,
    tool: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    status: &'static str,
    health: Health,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The name is the one that was asked for.
    exact: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Offers {
    offers: Vec<Offer>,
    total: usize,
    left_out: usize,
}

pub(super) async fn find(asked: &Asked, arguments: Option<JsonRef<'_>>) -> Result<Done, Problem> {
    let query = query(arguments, &["name"], &[])?;
    let name = required(&query, "name")?.to_owned();
    let (app, guest) = (asked.app.clone(), asked.guest.clone());
    let wanted = name.clone();
    let look = move || offers(&app, &guest, &wanted);
    let made = asked.app.makers().turn(0, look).await?;
    let healthy = made
        .offers
        .iter()
        .filter(|offer| offer.health == Health::Healthy && offer.status == "connected");
    let name = crate::words::clip(&name);
    let mut text = match made.total {
        0 => format!("No server offers a tool like {name}."),
        total => format!(
            "{total} offers of a tool like {name}, {} of those shown by healthy servers.",
            healthy.count()
        ),
    };
    for offer in made.offers.iter().take(20) {
        let health = health_word(offer.health);
        text.push_str(&format!(
            "\n- {} on {}: {health}",
            offer.tool, offer.server_id
        ));
        if offer.status != "connected" {
            text.push_str(", disconnected");
        }
    }
    if made.left_out > 0 {
        text.push_str(&format!("\n{} more are left out.", made.left_out));
    }
    Ok(Done::new(text, &made))
}

fn offers(app: &App, guest: &Guest, wanted: &str) -> Offers {
    let state = app.hub.state();
    let lower = wanted.to_lowercase();
    let mut found = Vec::new();
    let mut total = 0;
    for server in state.servers.after(None) {
        if !guest.sees_server(server) {
            continue;
        }
        for tool in &server.connection.capabilities.tools {
            let root = tool.root();
            let text = |name: &str| root.get(name).and_then(JsonRef::text);
            let Some(name) = root.text().or_else(|| text("name")) else {
                continue;
            };
            let description = text("description");
            let has = |text: &str| text.to_lowercase().contains(&lower);
            if !has(&name) && !description.as_deref().is_some_and(has) {
                continue;
            }
            total += 1;
            found.push(Offer {
                server_id: server.connection.id.clone(),
                exact: name == wanted,
                tool: cut(&name, WORDS),
                description: description.map(|text| cut(&text, WORDS)),
                status: if server.is_connected() {
                    "connected"
                } else {
                    "disconnected"
                },
                health: server.shown_health(),
                reason: server.reason.as_deref().map(|why| cut(why, WORDS)),
                url: server.connection.url.as_deref().map(|url| cut(url, WORDS)),
            });
            if found.len() >= 8 * MOST_OFFERS {
                found.sort_by_key(rank);
                found.truncate(MOST_OFFERS);
            }
        }
    }
    found.sort_by_key(rank);
    found.truncate(MOST_OFFERS);
    Offers {
        left_out: total - found.len(),
        offers: found,
        total,
    }
}

/// Exact ones first, then those that can be called, the healthiest first.
fn rank(offer: &Offer) -> (bool, bool, Health) {
    (!offer.exact, offer.status != "connected", offer.health)
}
