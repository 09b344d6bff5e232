//! Reading the log: pages of it, all of it as lines, one event of it.
//!
//! Every read is done piece by piece, at the reader's pace ([`super::pieces`]), so that neither a slow client nor a long log
//! ever holds a thread, and memory stays at a piece or two per reader.

mod cut;
mod lines;
mod one;
mod page;

use std::ops::ControlFlow;

use axum::{
    extract::{RawPathParams, State as Shared, rejection::RawPathParamsRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, VARY},
    },
    response::Response,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{lines::Lines, one::One, page::Page};
use super::{
    App,
    accept::prefers,
    events::require_events,
    gate::Guest,
    pieces::{ALL, PIECE, Source as _},
    problem::Problem,
    shapes::{Envelope, HistoryPage},
    status::json_response,
};
use crate::{
    domain::{Json, Position},
    event_log::{Item, Located, LogInfo, LogReader, Order, ReadError, ReadRange, Scanned},
    filter::{Filter, Selection, parse::SELECTION, query::Query, start::parse_time},
    frame::write_envelope,
};

/// Events per page where the client doesn't say.
const DEFAULT_LIMIT: usize = 100;
/// Most events per page.
const MAX_LIMIT: u64 = 1000;
/// How many events one read may look at.
const SCAN: usize = 10_000;
/// How many reads one page may take: a filter that rarely matches gets short pages instead of long waits.
const READS_PER_PAGE: usize = 20;
/// Roughly the most bytes of one page's events: a page of large events is short, too.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// `/events/history` and `/events/{id}`.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(history))
        .routes(routes!(event))
}

/// What to read.
struct Wanted {
    range: ReadRange,
    filter: Filter,
    limit: Option<usize>,
    /// Events that belong in here were pruned already.
    truncated: bool,
}

/// Past events, page by page
///
/// With `accept: application/x-ndjson` all of them, one per line; what is missing among them is told by a line
/// `{"type":"stream_gap","data":{"reason","afterId","nextId"}}`.
#[utoipa::path(
    get,
    path = "/events/history",
    tag = "events",
    params(
        ("type" = Option<String>, Query, description = "Types, comma separated or repeated; a trailing `*` is a prefix"),
        ("serverId" = Option<String>, Query, description = "Servers, comma separated or repeated"),
        ("workflowId" = Option<String>, Query, description = "Workflows, comma separated or repeated"),
        ("tag" = Option<String>, Query, description = "`key:value` of the server concerned; repeated means all"),
        ("since" = Option<String>, Query, description = "From the first event at or after this time: epoch ms, RFC 3339 or an age (`15m`)", example = "2h"),
        ("until" = Option<String>, Query, description = "Up to the last event before the first one later than this time"),
        ("order" = Option<String>, Query, description = "`asc` (oldest first) or `desc`", example = "asc"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "Events per page"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before, with the same filters"),
    ),
    responses((status = 200, content(
        (HistoryPage = "application/json"),
        (String = "application/x-ndjson"),
    )))
)]
async fn history(
    Shared(app): Shared<App>,
    guest: Guest,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    require_events(&app)?;
    let lines = prefers(&headers, "application/x-ndjson", "application/json");
    let reader = app.hub.reader().clone();
    let now = app.hub.clock().wall_ms();
    let parse = move || Wanted::parse(&query, &*reader, now);
    // To find the place is short, but who asks for all shall not come before those who ask for little.
    let expected = if lines { ALL } else { 0 };
    let mut wanted = app.makers().turn(expected, parse).await??;
    wanted.filter.grant = guest.grant.clone();
    let reader = app.hub.reader().clone();
    let mut response = if lines {
        let door = app.door.clone();
        let may_read = move || door.stands(&guest.shown);
        let lines = Lines::new(reader, wanted, may_read);
        let mut response = Response::new(app.makers().body(lines));
        let ndjson = HeaderValue::from_static("application/x-ndjson");
        response.headers_mut().insert(CONTENT_TYPE, ndjson);
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    } else {
        let page = Page::new(reader, wanted);
        app.makers().json(page).await?
    };
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// A page of events as values, for an answer that isn't sent as it is.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Events {
    pub(super) events: Vec<Json>,
    pub(super) next_cursor: Option<String>,
    pub(super) truncated: bool,
}

/// Reads the page that a query asks for, as `GET /events/history` gives it.
///
/// # Errors
/// Where the query can't be meant, or the log not be read.
pub(super) async fn read_page(app: &App, guest: &Guest, query: Query) -> Result<Events, Problem> {
    let reader = app.hub.reader().clone();
    let (now, grant) = (app.hub.clock().wall_ms(), guest.grant.clone());
    let read = move || {
        let mut wanted = Wanted::parse(&query, &*reader, now)?;
        wanted.filter.grant = grant;
        let mut page = Page::new(reader, wanted);
        let mut text = Vec::new();
        loop {
            let piece = page
                .next_piece()
                .map_err(|error| ReadError(error.to_string()))?;
            text.extend_from_slice(&piece.bytes);
            if !piece.more {
                break;
            }
        }
        serde_json::from_slice(&text).map_err(|error| ReadError(error.to_string()).into())
    };
    app.makers().turn(0, read).await?
}

/// One event
#[utoipa::path(
    get,
    path = "/events/{id}",
    tag = "events",
    params(("id" = String, Path, description = "The event's id", example = "k3x9q1m2v7za-42")),
    responses((status = 200, body = Envelope))
)]
async fn event(
    Shared(app): Shared<App>,
    guest: Guest,
    path: Result<RawPathParams, RawPathParamsRejection>,
    query: Query,
) -> Result<Response, Problem> {
    require_events(&app)?;
    query.only(&[], &[])?;
    // One that doesn't decode is of no event, as any other that the hub never gave out.
    let id = path
        .iter()
        .flat_map(RawPathParams::iter)
        .next()
        .map(|(_, id)| id.to_owned())
        .unwrap_or_default();
    let reader = app.hub.reader().clone();
    let visible = Filter {
        grant: guest.grant.clone(),
        ..Filter::all()
    };
    let (text, range) = {
        let (reader, visible) = (reader.clone(), visible.clone());
        blocking(move || one(&*reader, &id, &visible)).await??
    };
    if text.len() <= PIECE {
        return Ok(json_response(StatusCode::OK, text));
    }
    drop(text);
    app.makers().json(One::new(reader, range, visible)).await
}

/// Reads one event, if it may be seen, and says where it stands.
fn one(reader: &dyn LogReader, id: &str, visible: &Filter) -> Result<(String, ReadRange), Problem> {
    let unknown = || Problem::not_found("event-not-found", format!("this log has no event {id}"));
    let gone = |why: &str| {
        let title = "The event is gone";
        Problem::new(
            StatusCode::GONE,
            "event-gone",
            title,
            format!("event {id} {why}"),
        )
    };
    let place = Position::parse(id)
        .filter(|place| place.sequence > 0)
        .ok_or_else(unknown)?;
    let (info, epochs) = (reader.info(), reader.epochs());
    if info.locate(&epochs, place) == Located::UnknownLog {
        return Err(unknown());
    }
    if place.sequence < info.floor {
        return Err(gone("was pruned"));
    }
    let (mut found, mut corrupt) = (Vec::new(), false);
    let range = ReadRange {
        after: place.sequence - 1,
        until: place.sequence,
        order: Order::Ascending,
        scan_limit: 1,
    };
    reader.read(&range, visible, &mut |item| {
        match item {
            Item::Event(record) => {
                write_envelope(&mut found, epochs.name(record.sequence), &record);
            }
            Item::Corrupt { .. } => corrupt = true,
        }
        ControlFlow::Continue(())
    })?;
    match (found.is_empty(), corrupt) {
        (false, _) => Ok((String::from_utf8(found).unwrap_or_default(), range)),
        (true, true) => Err(gone("is stored, but damaged")),
        // What may not be seen is not there.
        (true, false) if visible.grant.is_some() => Err(unknown()),
        (true, false) => Err(gone("was pruned")),
    }
}

impl Wanted {
    fn parse(query: &Query, reader: &dyn LogReader, now: i64) -> Result<Self, Problem> {
        query.only(&["since", "until", "order", "limit", "cursor"], &SELECTION)?;
        let filter = Selection::parse(query)?;
        let order = match query.one("order") {
            None | Some("asc") => Order::Ascending,
            Some("desc") => Order::Descending,
            Some(_) => return Err(Problem::query("order must be asc or desc")),
        };
        let limit = query.number("limit", 1..=MAX_LIMIT)?;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let time = |name: &str| {
            let text = query.one(name);
            text.map(|text| parse_time(name, text, now)).transpose()
        };
        let info = reader.info();
        let (mut after, mut truncated) = (0, info.floor > 1);
        if let Some(since) = time("since")? {
            let place = reader.place_at_time(since)?;
            (after, truncated) = (place.after, place.pruned);
        }
        let mut until = info.head;
        if let Some(time) = time("until")? {
            until = reader
                .place_at_time(time.saturating_add(1))?
                .after
                .min(info.head);
        }
        if let Some(cursor) = query.one("cursor") {
            let place = Self::at_cursor(cursor, order, reader, &info)?;
            match order {
                Order::Ascending => {
                    (after, truncated) = (place, place + 1 < info.floor);
                }
                Order::Descending => until = until.min(place),
            }
        }
        let range = ReadRange {
            after,
            until,
            order,
            scan_limit: SCAN,
        };
        Ok(Self {
            range,
            filter: Filter {
                query: filter,
                grant: None,
            },
            limit,
            truncated,
        })
    }

    fn at_cursor(
        cursor: &str,
        order: Order,
        reader: &dyn LogReader,
        info: &LogInfo,
    ) -> Result<u64, Problem> {
        let place = cursor
            .strip_prefix(order_name(order))
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(Position::parse)
            .ok_or_else(|| {
                Problem::query("cursor must be the nextCursor of a page with the same order")
            })?;
        if info.locate(&reader.epochs(), place) == Located::UnknownLog {
            return Err(Problem::new(
                StatusCode::GONE,
                "cursor-gone",
                "The cursor's log is gone",
                "the cursor belongs to another log; begin again without it",
            ));
        }
        Ok(place.sequence)
    }

    /// Whether there is nothing more to read.
    fn is_done(&self) -> bool {
        self.range.after >= self.range.until
    }

    /// Whether events from the beginning of the range were pruned by now.
    fn lacks_the_oldest(&self, reader: &dyn LogReader) -> bool {
        self.truncated || reader.info().floor > self.range.after + 1
    }

    /// Goes on with this event.
    fn stay_at(&mut self, sequence: u64) {
        match self.range.order {
            Order::Ascending => self.range.after = sequence - 1,
            Order::Descending => self.range.until = sequence,
        }
    }

    /// Goes on from where a read got. One that got nowhere has found the end.
    fn advance(&mut self, scanned: Scanned) {
        let range = &mut self.range;
        match range.order {
            Order::Ascending if scanned.through > range.after => range.after = scanned.through,
            Order::Ascending => range.after = range.until,
            Order::Descending if scanned.through < range.until => range.until = scanned.through,
            Order::Descending => range.until = range.after,
        }
    }
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::Ascending => "asc",
        Order::Descending => "desc",
    }
}

/// Does work that waits for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("a read of the log broke off: {error}");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal-error",
            "Something went wrong in the hub",
            "the read broke off",
        )
    })
}

#[cfg(test)]
mod tests;
