//! `wait_for_events`: a long poll on the log. Its cursor is a place in the log, so that nothing is lost between two
//! calls. Where something matches already it is answered at once; otherwise the call becomes a subscriber of the hub's
//! own stream, and a client that takes SSE sees a sign of life now and then.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::{
    Done,
    arguments::query,
    log::{Collected, MAX_LIMIT, read, without_data, words},
    refusal,
};
use crate::{
    domain::{Json, json::JsonRef},
    event_log::{Order, ReadRange},
    filter::{
        Filter, Selection,
        parse::SELECTION,
        start::{Start, parse_time},
    },
    http::{
        events::require_events,
        gate::recheck,
        history::blocking,
        mcp::{
            Asked, Reply,
            body::Tell,
            follow::{Follow, Item},
            message::{Call, notification},
        },
        problem::Problem,
    },
    subscription::{Verdict, locate},
};

/// How long it waits where nothing else is said.
const DEFAULT_WAIT_MS: u64 = 25_000;
/// How long it waits at most: clients give up after a minute.
const MAX_WAIT_MS: u64 = 50_000;
/// Events of one answer where nothing else is said.
const DEFAULT_LIMIT: u64 = 20;
/// How many events one read may look at.
const SCAN: usize = 10_000;
/// A waiting client is shown that the hub is there so often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// What is answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Waited {
    /// What matched, the oldest first.
    events: Vec<Json>,
    /// Where the next call goes on: everything before it was looked at.
    cursor: String,
    /// Nothing matched in time.
    timed_out: bool,
    /// Events are missing before those of this answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<Gap>,
    /// More has happened that may match: call again at once.
    more: bool,
    data_left_out: usize,
}

/// Why what was asked for is not all there.
#[derive(Debug, Clone, Serialize)]
struct Gap {
    /// `expired`, `unknown_log`, `malformed` or `corrupt`.
    reason: String,
}

/// What a call asked for.
struct Wanted {
    selection: Selection,
    start: Start,
    wait: Duration,
    limit: usize,
}

impl Wanted {
    fn read(asked: &Asked, arguments: Option<JsonRef<'_>>) -> Result<Self, Problem> {
        let query = query(
            arguments,
            &["cursor", "since", "timeoutMs", "limit"],
            &SELECTION,
        )?;
        let wait = query.number("timeoutMs", 0..=MAX_WAIT_MS)?;
        let limit = query
            .number("limit", 1..=MAX_LIMIT)?
            .unwrap_or(DEFAULT_LIMIT);
        let start = match (query.one("cursor"), query.one("since")) {
            (Some(_), Some(_)) => {
                return Err(Problem::query(
                    "cursor and since contradict each other: name one place to start at",
                ));
            }
            (Some(cursor), None) => Start::After(cursor.to_owned()),
            (None, Some(since)) => {
                Start::Since(parse_time("since", since, asked.app.hub.clock().wall_ms())?)
            }
            (None, None) => Start::Live,
        };
        Ok(Self {
            selection: Selection::parse(&query)?,
            start,
            wait: Duration::from_millis(wait.unwrap_or(DEFAULT_WAIT_MS)),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        })
    }
}

/// Answers at once, or begins to wait.
pub(super) async fn begin(
    asked: &Asked,
    call: &Call<'_>,
    arguments: Option<JsonRef<'_>>,
) -> Result<Reply, Problem> {
    require_events(&asked.app)?;
    let deadline = Instant::now();
    let Wanted {
        selection,
        start,
        wait,
        limit,
    } = Wanted::read(asked, arguments)?;
    let mut waiting = Waiting {
        asked: asked.clone(),
        selection,
        limit,
        deadline: deadline + wait,
        place: String::new(),
        gap: None,
        id: call.id.clone().unwrap_or_else(|| Json::of("")),
        progress: call.meta("progressToken").map(JsonRef::to_json),
        signs: 0,
        follow: None,
        is_over: false,
    };
    let log = asked.app.hub.reader().clone();
    let filter = waiting.filter();
    let place = match start {
        Start::Since(_) => blocking(move || locate(&*log, &filter, &start)).await??,
        _ => locate(&*log, &filter, &start)?,
    };
    if let Verdict::Gap(_) = place.verdict {
        waiting.gap = place.verdict.reason().map(gap);
    }
    waiting.place = asked.app.hub.name(place.after).to_string();
    if let Some(done) = waiting.look(place.after, wait.is_zero()).await? {
        return Ok(Reply::Result(done.result()));
    }
    if asked.takes_stream {
        return Ok(Reply::stream(waiting));
    }
    Ok(Reply::Result(waiting.run_to_end().await))
}

fn gap(reason: &str) -> Gap {
    Gap {
        reason: reason.to_owned(),
    }
}

/// A call that waits.
struct Waiting {
    asked: Asked,
    selection: Selection,
    limit: usize,
    deadline: Instant,
    /// Everything up to here was looked at.
    place: String,
    gap: Option<Gap>,
    id: Json,
    progress: Option<Json>,
    signs: u64,
    follow: Option<Follow>,
    is_over: bool,
}

impl Waiting {
    fn filter(&self) -> Filter {
        Filter {
            query: self.selection.clone(),
            grant: self.asked.guest.grant.clone(),
        }
    }

    /// Looks for what has happened after a place. `None`: nothing that matters, and there is time to wait.
    async fn look(&mut self, after: u64, is_last: bool) -> Result<Option<Done>, Problem> {
        let reader = self.asked.app.hub.reader().clone();
        let range = ReadRange {
            after,
            until: reader.info().head,
            order: Order::Ascending,
            scan_limit: SCAN,
        };
        let (filter, limit) = (self.filter(), self.limit);
        let shown = if range.after >= range.until {
            None
        } else {
            Some(blocking(move || read(&reader, range, &filter, limit)).await??)
        };
        let mut events = Vec::new();
        let mut more = false;
        if let Some(shown) = shown {
            self.place = self.asked.app.hub.name(shown.through).to_string();
            self.gap = self.gap.take().or(shown.gap.map(gap));
            more = shown.more;
            events = shown.events;
        }
        if events.is_empty() && self.gap.is_none() && !more && !is_last {
            return Ok(None);
        }
        recheck(&self.asked.app, &self.asked.guest)?;
        Ok(Some(self.done(events, more)))
    }

    fn done(&mut self, events: Vec<Json>, more: bool) -> Done {
        let waited = Waited {
            timed_out: events.is_empty() && self.gap.is_none(),
            data_left_out: without_data(&events),
            cursor: self.place.clone(),
            gap: self.gap.take(),
            events,
            more,
        };
        let mut text = match (waited.events.len(), &waited.gap) {
            (0, None) => "Nothing happened that matches.".to_owned(),
            (count, _) => format!("{count} events"),
        };
        if let Some(gap) = &waited.gap {
            text.push_str(&format!(
                "\nThere is a gap ({}): events before these are missing; ask for the present state.",
                gap.reason
            ));
        }
        for event in waited.events.iter().take(20) {
            text.push_str(&format!("\n- {}", words(event)));
        }
        text.push_str(&format!("\nGo on with cursor {}", waited.cursor));
        Done::new(text, &waited)
    }

    /// Waits for the next thing to tell: a sign of life (`None`), or the end.
    async fn next(&mut self) -> Result<Option<Done>, Problem> {
        if self.follow.is_none() {
            let start = Start::After(self.place.clone());
            let (app, guest) = (&self.asked.app, &self.asked.guest);
            let follow = Follow::open(app, guest, self.selection.clone(), start).await?;
            self.follow = Some(follow);
        }
        let Some(follow) = &mut self.follow else {
            return Ok(None);
        };
        let sign = (Instant::now() + SIGN_OF_LIFE).min(self.deadline);
        let mut found = Collected::default();
        loop {
            let item = if found.events.is_empty() {
                match timeout_at(sign, follow.next()).await {
                    Ok(item) => item,
                    Err(_) if Instant::now() < self.deadline => return Ok(None),
                    // What is in the log and on its way here counts, too.
                    Err(_) => break,
                }
            } else {
                match follow.ready() {
                    Some(item) if found.events.len() < self.limit => Some(item),
                    other => {
                        let more = other.is_some();
                        recheck(&self.asked.app, &self.asked.guest)?;
                        return Ok(Some(self.done(found.events, more)));
                    }
                }
            };
            match item {
                Some(Item::Opened { gap: None, .. }) => {}
                Some(Item::Opened {
                    at,
                    gap: Some(reason),
                })
                | Some(Item::Gap { at, reason }) => {
                    self.place = at;
                    self.gap = Some(Gap { reason });
                    recheck(&self.asked.app, &self.asked.guest)?;
                    return Ok(Some(self.done(found.events, true)));
                }
                Some(Item::Read(at)) => self.place = at,
                Some(Item::Event { id, envelope, .. }) => {
                    self.place = id;
                    found.add(envelope);
                }
                // The hub drains, or the right to it has ended: what was looked at is said, and the next call finds out.
                Some(Item::Closing(_)) | None => break,
            }
        }
        if !found.events.is_empty() {
            recheck(&self.asked.app, &self.asked.guest)?;
            return Ok(Some(self.done(found.events, true)));
        }
        let place = crate::domain::Position::parse(&self.place).map_or(0, |at| at.sequence);
        self.look(place, true).await
    }

    async fn run_to_end(&mut self) -> Json {
        loop {
            match self.next().await {
                Ok(Some(done)) => return done.result(),
                Ok(None) => {}
                Err(problem) => return refusal(&problem),
            }
        }
    }
}

impl Tell for Waiting {
    async fn tell(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let result = match self.next().await {
            Ok(None) => return Some(self.sign()),
            Ok(Some(done)) => done.result(),
            Err(problem) => refusal(&problem),
        };
        self.is_over = true;
        Some(self.asked.last_message(&self.id, result))
    }
}

impl Waiting {
    /// A client that asked to be told of progress is, others get a comment, which keeps the line alive.
    fn sign(&mut self) -> Bytes {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Progress<'a> {
            progress_token: &'a Json,
            progress: u64,
            message: &'static str,
        }
        self.signs += 1;
        let Some(token) = &self.progress else {
            return Bytes::from_static(b": waiting\n\n");
        };
        let message = notification(
            "notifications/progress",
            &Progress {
                progress_token: token,
                progress: self.signs,
                message: "nothing yet",
            },
        );
        crate::http::mcp::body::message(None, &message)
    }
}
