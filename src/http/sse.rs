//! `GET /events`: query and header → where the stream starts → the stream.
//!
//! A browser's `EventSource` gives up for good on any answer but `200`; so what may pass (too many clients, a
//! drain, a pattern that is off) is a `200` that says `stream_closing` and ends, and only what won't pass is
//! an error.

use std::borrow::Cow;

use axum::{
    body::Body,
    extract::State as Shared,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Version,
        header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE},
    },
    response::Response,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    gate::Guest,
    history::blocking,
    problem::Problem,
    snapshot::{Frames, Snapshot},
};
use crate::{
    domain::{Limit, Position},
    filter::{
        Filter, Selection,
        parse::SELECTION,
        query::{Query, QueryError},
        start::{START, Start, Wish},
    },
    frame::{
        Format,
        control::{Opened, write_closing, write_opened},
    },
    streams::{
        self, Closing, Opening, Permit, StreamBody,
        handoff::{DirectSocket, Handoff},
    },
    subscription::{self, Place, Verdict},
};

/// Characters of an id that is told back.
const MAX_ECHO: usize = 256;

/// Which limit a stream is refused for: what `stream_closing` itself holds is fixed.
const LIMIT_REACHED: HeaderName = HeaderName::from_static("limit-reached");

/// Patterns without which there is no stream.
const PATTERNS: [&str; 2] = ["event_driven", "sse_integration"];

/// `GET /events`.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// What a client asked for.
struct Wanted {
    filter: Filter,
    format: Format,
    /// Where it starts.
    start: Start,
    /// Whether it wants the state, should that place be gone.
    wants_snapshot: bool,
    /// The id that the client stands at, where it is one.
    own: Option<Position>,
}

impl Wanted {
    fn parse(query: &Query, headers: &HeaderMap, now: i64) -> Result<Self, QueryError> {
        let of_one_value = [&START[..], &["format"]].concat();
        query.only(&of_one_value, &SELECTION)?;
        let selection = Selection::parse(query)?;
        let format = match query.one("format") {
            None => Format::default(),
            Some(name) => Format::parse(name).ok_or_else(|| {
                QueryError(format!(
                    "format {name:?} must be named, message or cloudevents"
                ))
            })?,
        };
        let wish = Wish::parse(query, now)?;
        let start = wish.start(last_event_id(headers).as_deref());
        let own = match &start {
            Start::After(id) => Position::parse(id),
            _ => None,
        };
        let filter = Filter {
            query: selection,
            grant: None,
        };
        Ok(Self {
            filter,
            format,
            wants_snapshot: wish.wants_snapshot(),
            start,
            own,
        })
    }
}

/// Of several `Last-Event-ID` lines the last that isn't empty: proxies and clients add one to one that is there.
fn last_event_id(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let lines = headers.get_all("last-event-id").iter();
    lines
        .map(|id| String::from_utf8_lossy(id.as_bytes()))
        .rfind(|id| !id.is_empty())
}

/// Follows what happens, as Server-Sent Events.
#[utoipa::path(
    get,
    path = "/events",
    tag = "events",
    params(
        ("type" = Option<String>, Query, description = "Types, comma separated or repeated; a trailing `*` is a prefix", example = "workflow_*"),
        ("serverId" = Option<String>, Query, description = "Servers, comma separated or repeated"),
        ("workflowId" = Option<String>, Query, description = "Workflows, comma separated or repeated"),
        ("tag" = Option<String>, Query, description = "`key:value` of the server concerned, as of the event; repeated means all"),
        ("lastEventId" = Option<String>, Query, description = "As the header `Last-Event-ID`, which beats it; beats `since`, `replay` and `snapshot` itself; `earliest` is the oldest kept event. `last_event_id` is the same"),
        ("since" = Option<String>, Query, description = "Start at the first event at or after this time: epoch ms (10^11 at least), RFC 3339 or an age (`15m`, `2h`, `7d`)"),
        ("replay" = Option<u64>, Query, minimum = 1, maximum = 100_000, description = "Start with the last so many events that match"),
        ("snapshot" = Option<bool>, Query, description = "First the whole state, then every change after it; the bare name is `true`. Of `since`, `replay` and `snapshot` one at most"),
        ("format" = Option<String>, Query, description = "`named` (default), `message` (no `event:` line on events) or `cloudevents`"),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on right after this event; of several lines the last that isn't empty counts"),
    ),
    responses((status = 200, description = "A stream that begins with `stream_opened`, or is refused with `stream_closing`", content_type = "text/event-stream", body = String))
)]
async fn stream(
    Shared(app): Shared<App>,
    guest: Guest,
    query: Query,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let mut wanted = Wanted::parse(&query, request.headers(), app.hub.clock().wall_ms())?;
    wanted.filter.grant = guest.grant.clone();
    if request.method() == Method::HEAD {
        return Ok(head(Body::new(streams::body().1)));
    }
    let permit = match admit(&app, &guest) {
        Ok(permit) => permit,
        Err(refused) => return Ok(refuse(&app, refused, wanted.own, request.version())),
    };
    let mut opening = open(&app, &guest, wanted, permit).await?;
    opening.owner = Some(guest.owner);
    if request.extensions().get::<DirectSocket>().is_some() {
        let mut response = head(Body::empty());
        response.extensions_mut().insert(Handoff::new(opening));
        return Ok(response);
    }
    Ok(head(Body::new(app.streams.open_body(opening))))
}

/// Why there is no place for a stream.
#[derive(Clone, Copy)]
struct Refused {
    closing: Closing,
    /// The limit that is reached, where that is why.
    limit: Option<Limit>,
}

/// A place for a stream, if there may be one at all. The place comes first: a stream that passes while its
/// pattern is switched off is ended with the others then.
fn admit(app: &App, guest: &Guest) -> Result<Permit, Refused> {
    let permit = app.streams.admit().map_err(|closing| Refused {
        closing,
        limit: (closing == Closing::Busy).then_some(Limit::Streams),
    })?;
    let place = match guest.limited {
        None => app.door.admit_stream(guest.address, &guest.shown),
        Some(limit) => Err(limit),
    };
    let permit = permit.holding(place.map_err(|limit| Refused {
        closing: Closing::Busy,
        limit: Some(limit),
    })?);
    let patterns = &app.hub.state().patterns;
    if PATTERNS.iter().all(|name| patterns.is_enabled(name)) {
        Ok(permit)
    } else {
        Err(Refused {
            closing: Closing::Disabled,
            limit: None,
        })
    }
}

/// A stream for whoever tells what is in it in words of its own: a body of `named` frames, the first of them
/// `stream_opened`.
///
/// # Errors
/// Why there is none, which may pass.
pub(super) async fn follow(
    app: &App,
    guest: &Guest,
    selection: Selection,
    start: Start,
) -> Result<StreamBody, Problem> {
    let permit = admit(app, guest).map_err(|refused| {
        app.streams.refused(refused.closing);
        Problem::from(refused)
    })?;
    let wanted = Wanted {
        filter: Filter {
            query: selection,
            grant: guest.grant.clone(),
        },
        format: Format::Named,
        start,
        wants_snapshot: false,
        own: None,
    };
    let mut opening = open(app, guest, wanted, permit).await?;
    opening.owner = Some(guest.owner);
    Ok(app.streams.open_body(opening))
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let title = "There is no place for a stream";
        match (refused.closing, refused.limit) {
            (Closing::Disabled, _) => Self::unavailable(
                "pattern-disabled",
                "The pattern is switched off",
                "the pattern event_driven or sse_integration is switched off; PUT /patterns/{name} switches it on",
                30,
            ),
            (Closing::Busy, Some(limit)) => Self::unavailable(
                "too-many-streams",
                title,
                format!(
                    "the limit {limit} is reached, which {} sets; try again later",
                    limit.setting()
                ),
                3,
            )
            .reaching(limit, None),
            _ => Self::unavailable(
                "shutting-down",
                "The hub is shutting down",
                "the hub is shutting down; try again later",
                3,
            ),
        }
    }
}

/// Finds the place where the stream starts, and writes what it starts with.
async fn open(
    app: &App,
    guest: &Guest,
    wanted: Wanted,
    permit: Permit,
) -> Result<Opening, Problem> {
    let log = app.hub.reader().clone();
    let Wanted {
        filter,
        format,
        start,
        wants_snapshot,
        own: _,
    } = wanted;
    let (mut place, filter) = match start {
        // These look for their place on the disk.
        Start::Since(_) | Start::Last(_) => {
            blocking(move || {
                subscription::locate(&*log, &filter, &start).map(|place| (place, filter))
            })
            .await??
        }
        _ => (subscription::locate(&*log, &filter, &start)?, filter),
    };
    // A client that comes back to a place that is kept needs no snapshot again.
    let needs_state = matches!(place.verdict, Verdict::Live | Verdict::Gap(_));
    let prologue = if wants_snapshot && needs_state {
        let access = guest.shown.access.clone();
        let snapshot = Snapshot::cut(app, access, filter.query.clone()).await?;
        let id = snapshot.id();
        let prologue = Box::new(Frames::of(snapshot));
        place.after = id.sequence;
        Some(prologue as streams::Prologue)
    } else {
        None
    };
    let opened = opened(app, &place, prologue.is_some());
    let Place { after, verdict, .. } = place;
    Ok(Opening {
        filter,
        format,
        after,
        opened,
        prologue,
        verdict,
        owner: None,
        permit,
    })
}

/// The beginning of an id that a client made up: none of ours is as long, and no line of ours shall be longer than
/// 32 KiB.
fn clip(id: &str) -> &str {
    id.char_indices()
        .nth(MAX_ECHO)
        .map_or(id, |(end, _)| &id[..end])
}

/// The frame `stream_opened`.
fn opened(app: &App, place: &Place, snapshot_follows: bool) -> Vec<u8> {
    let epochs = app.hub.reader().epochs();
    let settings = app.streams.settings();
    let opened = Opened {
        verdict: place.verdict.as_str(),
        reason: place.verdict.reason(),
        requested_id: place.requested.as_deref().map(clip),
        oldest_id: epochs.name(place.info.floor.min(place.info.head)),
        head_id: epochs.name(place.info.head),
        keep_alive_ms: u64::try_from(settings.keepalive.as_millis()).unwrap_or(u64::MAX),
    };
    let id = (!snapshot_follows).then(|| epochs.name(place.after));
    let mut frame = Vec::with_capacity(256);
    write_opened(&mut frame, id, settings.retry, &opened);
    frame
}

/// A polite refusal: the client comes back by itself.
fn refuse(app: &App, refused: Refused, own: Option<Position>, version: Version) -> Response {
    let Refused { closing, limit } = refused;
    app.streams.refused(closing);
    let mut frame = Vec::with_capacity(128);
    let retry = closing.retry(app.streams.settings().retry, streams::random());
    write_closing(&mut frame, own, retry, closing.as_str());
    let mut response = head(Body::from(frame));
    if let Some(limit) = limit {
        response.extensions_mut().insert(limit);
        let name = HeaderValue::from_static(limit.name());
        response.headers_mut().insert(LIMIT_REACHED, name);
    }
    if version <= Version::HTTP_11 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The head of every stream.
fn head(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
