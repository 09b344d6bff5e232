//! Where a query asks a stream to start, and the times that people write.

use jiff::Timestamp;

use super::query::{Query, QueryError};
use crate::words::{Span, clip};

/// The parameters that say where a stream starts. Each has one value.
pub const START: [&str; 5] = [
    "lastEventId",
    "last_event_id",
    "since",
    "replay",
    "snapshot",
];

/// Most events that `replay` may ask for.
pub const MAX_REPLAY: u64 = 100_000;

/// Where a stream starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Live,
    /// Right after the event of this id, or at the oldest kept one (`earliest`).
    After(String),
    /// At the first event at or after this time, epoch ms.
    Since(i64),
    /// With the last so many events that match.
    Last(u64),
    /// With the whole state.
    Snapshot,
}

/// What a query says of the start: an id that the client stands at, and a place for one that stands nowhere yet.
/// An `EventSource` repeats its URL when it comes back and adds the id, in a header or (polyfills) in the query; so
/// the id beats the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    id: Option<String>,
    place: Start,
}

impl Wish {
    /// Reads `lastEventId` (or `last_event_id`), `since`, `replay` and `snapshot`. `now` is wall time, epoch ms.
    ///
    /// # Errors
    /// [`QueryError`]: two of the last three, an id under both of its names, a malformed time or number. An event id
    /// is never wrong.
    pub fn parse(query: &Query, now: i64) -> Result<Self, QueryError> {
        let id = query.one("lastEventId");
        let other = query.one("last_event_id");
        if id.is_some() && other.is_some() {
            return Err(QueryError(
                "lastEventId and last_event_id mean the same: name it once".to_owned(),
            ));
        }
        let mut places = Vec::new();
        if let Some(time) = query.one("since") {
            places.push(("since", Start::Since(parse_time("since", time, now)?)));
        }
        if let Some(count) = query.number("replay", 1..=MAX_REPLAY)? {
            places.push(("replay", Start::Last(count)));
        }
        if query.flag("snapshot")? {
            places.push(("snapshot", Start::Snapshot));
        }
        if let [(first, _), (second, _), ..] = places.as_slice() {
            return Err(QueryError(format!(
                "{first} and {second} contradict each other: name one place to start at"
            )));
        }
        Ok(Self {
            id: id.or(other).map(str::to_owned),
            place: places.pop().map_or(Start::Live, |(_, place)| place),
        })
    }

    /// Whether it asks for the state, should the place of its id be gone.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        self.place == Start::Snapshot
    }

    /// The start: at the id of the `Last-Event-ID` header, or else of the query, or else at the place.
    #[must_use]
    pub fn start(&self, header: Option<&str>) -> Start {
        match header.filter(|id| !id.is_empty()).or(self.id.as_deref()) {
            Some(id) => Start::After(id.to_owned()),
            None => self.place.clone(),
        }
    }
}

/// Epoch milliseconds are at least this (March 1973): what is less was meant as seconds.
const LEAST_MS: i64 = 100_000_000_000;

/// Reads a time: epoch ms, RFC 3339, or an age before `now` (`90s`, `15m`, `2h`, `7d`).
///
/// # Errors
/// [`QueryError`] where it is none of them.
pub fn parse_time(name: &str, text: &str, now: i64) -> Result<i64, QueryError> {
    let malformed = || {
        QueryError(format!(
            "{name} {:?} must be epoch milliseconds, an RFC 3339 time or an age such as 15m, 2h, 7d",
            clip(text)
        ))
    };
    match Span::parse(text) {
        Some(Span::Bare(time)) => {
            let time = i64::try_from(time).map_err(|_| malformed())?;
            if time < LEAST_MS {
                return Err(QueryError(format!(
                    "{name} {time} is too small for epoch milliseconds, which it must be: of seconds write \
                     {time}000; an age has a unit, such as 15m, 2h, 7d"
                )));
            }
            Ok(time)
        }
        Some(Span::Millis(age)) => {
            let age = i64::try_from(age).map_err(|_| malformed())?;
            Ok(now.saturating_sub(age))
        }
        // A plus sign of an offset that wasn't percent-encoded arrives as a space.
        None => text
            .replacen(' ', "+", 1)
            .parse::<Timestamp>()
            .map(Timestamp::as_millisecond)
            .map_err(|_| malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(query: &str) -> Result<Wish, String> {
        Query::parse(query)
            .and_then(|query| Wish::parse(&query, 1_000_000_000))
            .map_err(|wrong| wrong.0)
    }

    fn after(id: &str) -> Start {
        Start::After(id.to_owned())
    }

    #[test]
    fn an_id_beats_a_place_and_a_header_beats_both() {
        for (query, header, start) in [
            ("", None, Start::Live),
            ("snapshot=false&lastEventId=x+y", None, after("x y")),
            ("last_event_id=x", None, after("x")),
            ("replay=5", None, Start::Last(5)),
            ("snapshot", None, Start::Snapshot),
            ("snapshot=true&lastEventId=a", None, after("a")),
            ("replay=2&lastEventId=a", None, after("a")),
            ("since=1h&last_event_id=a", None, after("a")),
            ("since=1h&lastEventId=", None, Start::Since(996_400_000)),
            ("lastEventId=a", Some("b"), after("b")),
            ("snapshot&lastEventId=a", Some(""), after("a")),
            ("replay=5", Some(""), Start::Last(5)),
            ("replay=5", Some("b"), after("b")),
        ] {
            assert_eq!(wish(query).unwrap().start(header), start, "{query}");
        }
        assert!(wish("snapshot&lastEventId=a").unwrap().wants_snapshot());
        assert!(!wish("lastEventId=a").unwrap().wants_snapshot());
    }

    #[test]
    fn two_places_contradict_each_other() {
        for bad in [
            "replay=0",
            "replay=100001",
            "replay=x",
            "snapshot=1",
            "since=1h&replay=1",
            "since=1h&snapshot",
            "replay=1&snapshot=true&lastEventId=a",
            "lastEventId=a&last_event_id=b",
        ] {
            assert!(wish(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_in_seconds_is_refused_with_its_milliseconds() {
        for small in ["0", "1763790000", "99999999999"] {
            let told = parse_time("since", small, 0).unwrap_err().0;
            assert!(
                told.contains("milliseconds") && told.contains(&format!("{small}000")),
                "{told}"
            );
        }
        assert_eq!(parse_time("since", "100000000000", 0), Ok(LEAST_MS));
    }

    #[test]
    fn times_come_in_three_forms() {
        let now = 10_000_000_000;
        let table = [
            ("1763790000000", 1_763_790_000_000),
            ("500ms", now - 500),
            ("2025-11-22T05:40:00Z", 1_763_790_000_000),
            ("2025-11-22T06:40:00+01:00", 1_763_790_000_000),
            ("2025-11-22T06:40:00 01:00", 1_763_790_000_000),
            ("90s", now - 90_000),
            ("15m", now - 900_000),
            ("2h", now - 7_200_000),
            ("7d", now - 604_800_000),
        ];
        for (text, time) in table {
            assert_eq!(parse_time("since", text, now), Ok(time), "{text}");
        }
        for bad in [
            "",
            "m",
            "-5m",
            "1.5h",
            "yesterday",
            "2025-11-22",
            "99999999999999999999",
            "9999999999999999d",
            "5é",
        ] {
            let read = parse_time("since", bad, now);
            assert!(read.is_err(), "{bad:?} {read:?}");
        }
    }
}
