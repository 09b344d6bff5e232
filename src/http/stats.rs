//! `GET /stats/events`: how many events there were, over time.
//!
//! The log's index finds where the range begins and ends, and which blocks hold what is asked for; those are read in
//! turns that all long answers share, so that a count over a million events holds nobody up. The counts are of the same
//! events that `/events/history` has for the same question.

mod tally;

use std::{io, ops::ControlFlow, sync::Arc};

use axum::{extract::State as Shared, http::StatusCode, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::tally::{Bins, MAX_BUCKETS, MAX_COUNTS, Tally};
use super::{
    App, events::require_events, gate::Guest, history::blocking, problem::Problem,
    shapes::EventStats,
};
use crate::{
    event_log::{Item, LogReader, Order, ReadError, ReadRange},
    filter::{Filter, Selection, parse::SELECTION, query::Query, start::parse_time},
    words::{Span, clip},
};

/// How far back it goes where the client doesn't say.
const DEFAULT_RANGE_MS: i64 = 3_600_000;
/// Events looked at in one turn.
const SCAN: usize = 10_000;

/// `/stats/events`.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(stats))
}

/// What the counts are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Type,
    Server,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Server => "serverId",
        }
    }
}

/// A question, read.
#[derive(Debug)]
struct Asked {
    by: By,
    since: i64,
    /// `None`: all there is.
    until: Option<i64>,
    bins: Bins,
    filter: Selection,
}

/// Events counted over time
///
/// Of the events that `/events/history` has for the same `since`, `until` and filters. The buckets follow each other from
/// `since` on; an event that the clock was set back for counts in the nearest. A question
/// whose answer would be too large is `422`: `too-many-buckets`, `too-many-counts`.
#[utoipa::path(
    get,
    operation_id = "event_stats",
    path = "/stats/events",
    tag = "events",
    params(
        ("by" = Option<String>, Query, description = "What counts are told apart by: `type` (the default) or `serverId`", example = "type"),
        ("since" = Option<String>, Query, description = "From the first event at or after this time: epoch ms, RFC 3339 or an age (`15m`); an hour before `until` by default", example = "2h"),
        ("until" = Option<String>, Query, description = "Up to the last event before the first one later than this time; now by default"),
        ("step" = Option<String>, Query, description = "How long a bucket is: `5s`, `1m`, `1h`, a number of milliseconds; by default one that gives 120 buckets at most", example = "1m"),
        ("type" = Option<String>, Query, description = "Types, comma separated or repeated; a trailing `*` is a prefix"),
        ("serverId" = Option<String>, Query, description = "Servers, comma separated or repeated"),
        ("workflowId" = Option<String>, Query, description = "Workflows, comma separated or repeated"),
        ("tag" = Option<String>, Query, description = "`key:value` of the server concerned; repeated means all"),
    ),
    responses((status = 200, body = EventStats))
)]
async fn stats(Shared(app): Shared<App>, guest: Guest, query: Query) -> Result<Response, Problem> {
    require_events(&app)?;
    let asked = Asked::parse(&query, app.hub.clock().wall_ms())?;
    let filter = Filter {
        query: asked.filter.clone(),
        grant: guest.grant.clone(),
    };
    let reader = app.hub.reader().clone();
    let (since, until) = (asked.since, asked.until);
    let begin = move || Count::begin(reader, filter, asked.bins, asked.by, (since, until));
    let count = blocking(begin).await??;
    let count = app.makers().in_turns(count, Count::go_on).await?;
    if count.tally.is_over() {
        return Err(too_many_counts());
    }
    let told = count.tally.told(asked.by.name(), count.truncated);
    app.makers().json(told).await
}

impl Asked {
    fn parse(query: &Query, now: i64) -> Result<Self, Problem> {
        query.only(&["by", "since", "until", "step"], &SELECTION)?;
        let by = match query.one("by") {
            None | Some("type") => By::Type,
            Some("serverId") => By::Server,
            Some(other) => {
                let other = clip(other);
                let detail = format!("by is {other:?}; it must be type or serverId");
                return Err(Problem::query(detail));
            }
        };
        let time = |name: &str| {
            let text = query.one(name);
            text.map(|text| parse_time(name, text, now)).transpose()
        };
        let until = time("until")?;
        let end = until.unwrap_or(now);
        let since = time("since")?.unwrap_or(end.saturating_sub(DEFAULT_RANGE_MS));
        if since > end {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "range-empty",
                "The range is empty",
                "since is later than until; it must be the earlier of the two",
            ));
        }
        let step = query.one("step").map(read_step).transpose()?;
        Ok(Self {
            by,
            since,
            until,
            bins: Bins::over(since, end, step).ok_or_else(|| too_many_buckets(since, end))?,
            filter: Selection::parse(query)?,
        })
    }
}

fn read_step(text: &str) -> Result<i64, Problem> {
    let step = match Span::parse(text) {
        Some(Span::Millis(ms) | Span::Bare(ms)) => i64::try_from(ms).ok(),
        None => None,
    };
    step.filter(|step| *step > 0).ok_or_else(|| {
        let text = clip(text);
        Problem::query(format!(
            "step is {text:?}; it must be a length of time above zero, such as 5s, 1m, 1h, or milliseconds"
        ))
    })
}

fn too_many_buckets(since: i64, end: i64) -> Problem {
    let least = Bins::least_step(since, end);
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "too-many-buckets",
        "The step is too small for the range",
        format!(
            "step would give more than {MAX_BUCKETS} buckets; for this range it must be {least}ms at least, or since be \
             later"
        ),
    )
    .with("max", &MAX_BUCKETS)
}

fn too_many_counts() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "too-many-counts",
        "The answer would be too large",
        format!(
            "by and step would give more than {MAX_COUNTS} counts; take a larger step, a shorter range, or a filter such \
             as serverId, tag or type"
        ),
    )
    .with("max", &MAX_COUNTS)
}

/// A count on its way through the log.
struct Count {
    reader: Arc<dyn LogReader>,
    filter: Filter,
    by: By,
    range: ReadRange,
    tally: Tally,
    /// Events of the range were pruned, or can't be read.
    truncated: bool,
}

impl Count {
    fn begin(
        reader: Arc<dyn LogReader>,
        filter: Filter,
        bins: Bins,
        by: By,
        (since, until): (i64, Option<i64>),
    ) -> Result<Self, ReadError> {
        let place = reader.place_at_time(since)?;
        let head = reader.info().head;
        let until = match until {
            Some(time) => reader
                .place_at_time(time.saturating_add(1))?
                .after
                .min(head),
            None => head,
        };
        Ok(Self {
            reader,
            filter,
            by,
            range: ReadRange {
                after: place.after,
                until,
                order: Order::Ascending,
                scan_limit: SCAN,
            },
            tally: Tally::new(bins),
            truncated: place.pruned,
        })
    }

    /// Reads on for a turn; says whether there is more.
    fn go_on(&mut self) -> io::Result<bool> {
        if self.range.after >= self.range.until {
            return Ok(false);
        }
        let (by, tally, mut damaged) = (self.by, &mut self.tally, false);
        let scanned = self.reader.read(&self.range, &self.filter, &mut |item| {
            match item {
                Item::Event(record) => {
                    let name = match by {
                        By::Type => Some(record.kind),
                        By::Server => record.server,
                    };
                    tally.count(record.timestamp, name);
                }
                Item::Corrupt { .. } => damaged = true,
            }
            if tally.is_over() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let scanned = scanned.map_err(io::Error::other)?;
        self.truncated |= damaged || scanned.overtaken.is_some();
        if self.tally.is_over() || scanned.through <= self.range.after {
            return Ok(false);
        }
        self.range.after = scanned.through;
        Ok(self.range.after < self.range.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_790_000_000;

    fn asked(query: &str) -> Result<Asked, (u16, String)> {
        let query = Query::parse(query).unwrap();
        Asked::parse(&query, NOW).map_err(|problem| (problem.status.as_u16(), problem.detail))
    }

    #[test]
    fn an_hour_by_type_is_what_is_asked_for_without_a_word() {
        let asked = asked("").unwrap();
        assert_eq!(
            (asked.by, asked.since, asked.until),
            (By::Type, NOW - 3_600_000, None)
        );
        assert_eq!((asked.bins.step, asked.bins.len), (30_000, 120));
    }

    #[test]
    fn mistakes_name_the_parameter() {
        for (query, status, named) in [
            ("by=tag", 400, "by is"),
            ("step=0", 400, "step is"),
            ("step=often", 400, "step is"),
            ("since=yesterday", 400, "since"),
            ("until=x", 400, "until"),
            ("bucket=1m", 400, "bucket"),
            ("since=1h&until=2h", 422, "since is later than until"),
            ("since=1d&step=1s", 422, "28800ms at least"),
        ] {
            let (found, detail) = asked(query).unwrap_err();
            assert_eq!(found, status, "{query}");
            assert!(detail.contains(named), "{query}: {detail}");
        }
        assert!(asked("since=1d&step=28800").is_ok());
    }
}
