//! Reads a reader's wishes from the decoded query: what to select, where to start, which form to take.

use jiff::Timestamp;

use super::{Selection, TypePattern};
use crate::domain::{EventType, ServerId, WorkflowId, event::is_custom};

/// The parameters that select events, alike for the stream, history and exports.
pub const SELECTION: [&str; 4] = ["type", "serverId", "workflowId", "tag"];

/// Most events that `replay` may ask for.
pub const MAX_REPLAY: u64 = 100_000;

/// A decoded query: names and values in order, repeats kept.
pub type Pairs = [(String, String)];

/// What is wrong with a query, in a person's words; names the parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(pub String);

/// Where a query (or the `Last-Event-ID` header) asks a stream to start.
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

impl Selection {
    /// Reads `type`, `serverId`, `workflowId` and `tag`; leaves other parameters alone.
    ///
    /// # Errors
    /// [`QueryError`]: an unknown type, with the nearest known one; a malformed id or tag.
    pub fn parse(pairs: &Pairs) -> Result<Self, QueryError> {
        let mut selection = Self::default();
        for kind in values(pairs, "type") {
            match parse_type(kind)? {
                Some(pattern) => selection.types.push(pattern),
                // `*` wants every type, whatever else is named.
                None => return Self::parse(&without(pairs, "type")),
            }
        }
        for id in values(pairs, "serverId") {
            let id = ServerId::parse(id).map_err(|e| QueryError(format!("serverId {id:?} {e}")))?;
            selection.servers.push(id);
        }
        for id in values(pairs, "workflowId") {
            let id =
                WorkflowId::parse(id).map_err(|e| QueryError(format!("workflowId {id:?} {e}")))?;
            selection.workflows.push(id);
        }
        for tag in all(pairs, "tag") {
            if tag.split_once(':').is_none_or(|(key, _)| key.is_empty()) || tag.contains('\n') {
                return Err(QueryError(format!("tag {tag:?} must be key:value")));
            }
            selection.tags.push(tag.to_owned());
        }
        selection.normalize();
        Ok(selection)
    }
}

impl Start {
    /// Reads `lastEventId` (or `last_event_id`), `since`, `replay` and `snapshot`. `now` is wall time, epoch ms.
    ///
    /// # Errors
    /// [`QueryError`]: more than one of them, a malformed time or number. An event id is never wrong.
    pub fn parse(pairs: &Pairs, now: i64) -> Result<Self, QueryError> {
        let mut starts = Vec::new();
        let mut given = |name: &'static str, start: Self| starts.push((name, start));
        for id in all(pairs, "lastEventId").chain(all(pairs, "last_event_id")) {
            given("lastEventId", Self::After(id.to_owned()));
        }
        for time in all(pairs, "since") {
            given("since", Self::Since(parse_time("since", time, now)?));
        }
        for count in all(pairs, "replay") {
            let count = count.parse().ok().filter(|n| (1..=MAX_REPLAY).contains(n));
            let count = count.ok_or_else(|| {
                QueryError(format!(
                    "replay must be a whole number from 1 to {MAX_REPLAY}"
                ))
            })?;
            given("replay", Self::Last(count));
        }
        for flag in all(pairs, "snapshot") {
            match flag {
                "true" => given("snapshot", Self::Snapshot),
                "false" => {}
                _ => return Err(QueryError("snapshot must be true or false".to_owned())),
            }
        }
        match starts.as_slice() {
            [] => Ok(Self::Live),
            [(_, start)] => Ok(start.clone()),
            [(first, _), (second, _), ..] if first == second => {
                Err(QueryError(format!("{first} is given more than once")))
            }
            [(first, _), (second, _), ..] => Err(QueryError(format!(
                "{first} and {second} contradict each other: name one place to start at"
            ))),
        }
    }
}

/// Refuses parameters that aren't among `known`.
///
/// # Errors
/// [`QueryError`] that names the first unknown one and the nearest known one.
pub fn only(pairs: &Pairs, known: &[&str]) -> Result<(), QueryError> {
    match pairs
        .iter()
        .find(|(name, _)| !known.contains(&name.as_str()))
    {
        None => Ok(()),
        Some((name, _)) => Err(QueryError(match nearest(name, known.iter().copied()) {
            Some(near) => format!("unknown parameter {name:?}; did you mean {near:?}?"),
            None => format!("unknown parameter {name:?}; known are {}", known.join(", ")),
        })),
    }
}

/// Reads a time: epoch ms, RFC 3339, or an age before `now` (`90s`, `15m`, `2h`, `7d`).
///
/// # Errors
/// [`QueryError`] where it is none of them.
pub fn parse_time(name: &str, text: &str, now: i64) -> Result<i64, QueryError> {
    let malformed = || {
        QueryError(format!(
            "{name} {text:?} must be epoch milliseconds, an RFC 3339 time or an age such as 15m, 2h, 7d"
        ))
    };
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return text.parse().map_err(|_| malformed());
    }
    if let Some((count, unit)) = text
        .len()
        .checked_sub(1)
        .and_then(|at| text.split_at_checked(at))
    {
        let unit_ms = match unit {
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        let count = if count.bytes().all(|b| b.is_ascii_digit()) {
            count.parse::<i64>().ok()
        } else {
            None
        };
        if let (Some(unit_ms), Some(count)) = (unit_ms, count) {
            let age = count.checked_mul(unit_ms).ok_or_else(malformed)?;
            return Ok(now.saturating_sub(age));
        }
    }
    // A plus sign of an offset that wasn't percent-encoded arrives as a space.
    text.replacen(' ', "+", 1)
        .parse::<Timestamp>()
        .map(Timestamp::as_millisecond)
        .map_err(|_| malformed())
}

/// The last value of a parameter that isn't empty.
#[must_use]
pub fn last<'a>(pairs: &'a Pairs, name: &'a str) -> Option<&'a str> {
    all(pairs, name).last()
}

/// All values of a parameter, repeated, empty ones left out.
fn all<'a>(pairs: &'a Pairs, name: &'a str) -> impl Iterator<Item = &'a str> {
    pairs
        .iter()
        .filter(move |(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value.as_str())
}

/// All values of a parameter, repeated or comma separated, empty ones left out.
fn values<'a>(pairs: &'a Pairs, name: &'a str) -> impl Iterator<Item = &'a str> {
    all(pairs, name)
        .flat_map(|value| value.split(','))
        .filter(|value| !value.is_empty())
}

fn without(pairs: &Pairs, name: &str) -> Vec<(String, String)> {
    pairs
        .iter()
        .filter(|(key, _)| key != name)
        .cloned()
        .collect()
}

/// `None` for a lone `*`.
fn parse_type(text: &str) -> Result<Option<TypePattern>, QueryError> {
    if let Some(prefix) = text.strip_suffix('*') {
        let clean = prefix
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'));
        return match (prefix.is_empty(), clean) {
            (true, _) => Ok(None),
            (false, true) => Ok(Some(TypePattern::Prefix(prefix.to_owned()))),
            (false, false) => Err(QueryError(format!(
                "type {text:?}: no type can begin with {prefix:?}"
            ))),
        };
    }
    let core = EventType::CORE.iter().map(|(name, _)| *name);
    if core.clone().any(|name| name == text) || is_custom(text) {
        return Ok(Some(TypePattern::Exact(text.to_owned())));
    }
    Err(QueryError(match nearest(text, core) {
        Some(near) => format!("unknown type {text:?}; did you mean {near:?}?"),
        None => format!(
            "unknown type {text:?}; a producer's own type is a dotted name (grades.synced) or begins with custom_"
        ),
    }))
}

/// The known name that is nearest, where one is near at all.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Long garbage isn't worth the quadratic comparison.
    if name.len() > 64 {
        return None;
    }
    known
        .map(|known| {
            (
                strsim::jaro_winkler(&name.to_ascii_lowercase(), &known.to_ascii_lowercase()),
                known,
            )
        })
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &str) -> Vec<(String, String)> {
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn select(query: &str) -> Result<Selection, String> {
        Selection::parse(&pairs(query)).map_err(|e| e.0)
    }

    fn start(query: &str) -> Result<Start, String> {
        Start::parse(&pairs(query), 1_000_000_000).map_err(|e| e.0)
    }

    #[test]
    fn values_are_comma_separated_or_repeated() {
        let a = select("type=workflow_*,server_connected&serverId=b&serverId=a,b&type=").unwrap();
        let b = select("serverId=a&type=server_connected&serverId=b&type=workflow_*").unwrap();
        assert_eq!(a, b);
        assert_eq!(a.types.len(), 2);
        assert_eq!(a.servers.len(), 2);
    }

    #[test]
    fn a_lone_star_wants_every_type() {
        let selection = select("type=server_connected,*&serverId=a").unwrap();
        assert!(selection.types.is_empty());
        assert_eq!(selection.servers.len(), 1);
    }

    #[test]
    fn tags_keep_their_commas_and_must_be_pairs() {
        assert_eq!(
            select("tag=team:a,b&tag=env:prod").unwrap().tags,
            ["env:prod", "team:a,b"]
        );
        for bad in ["tag=env", "tag=:prod", "tag=a:b\nc:d"] {
            assert!(select(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn unknown_types_are_refused_with_the_nearest() {
        let table = [
            ("type=server_conected", "server_connected"),
            ("type=worklow_started", "workflow_started"),
            ("type=serverConnected", "server_connected"),
            ("type=WORKFLOW_FAILED", "workflow_failed"),
        ];
        for (query, near) in table {
            assert!(select(query).unwrap_err().contains(near), "{query}");
        }
        assert!(select("type=Work*").is_err());
        assert!(select("type=grades.synced,custom_x").is_ok());
    }

    #[test]
    fn malformed_ids_are_refused() {
        assert!(select("serverId=a b").unwrap_err().contains("serverId"));
        assert!(select("workflowId=%").unwrap_err().contains("workflowId"));
    }

    #[test]
    fn unknown_parameters_are_refused_with_the_nearest() {
        let known = ["type", "serverId", "since"];
        assert_eq!(only(&pairs("type=a&since=1"), &known), Ok(()));
        assert!(
            only(&pairs("serverid=a"), &known)
                .unwrap_err()
                .0
                .contains("\"serverId\"")
        );
        assert!(
            only(&pairs("zzz=a"), &known)
                .unwrap_err()
                .0
                .contains("known are")
        );
    }

    #[test]
    fn one_place_to_start_at() {
        assert_eq!(start(""), Ok(Start::Live));
        assert_eq!(
            start("snapshot=false&lastEventId=x y"),
            Ok(Start::After("x y".to_owned()))
        );
        assert_eq!(start("last_event_id=x"), Ok(Start::After("x".to_owned())));
        assert_eq!(start("replay=5"), Ok(Start::Last(5)));
        assert_eq!(start("snapshot=true"), Ok(Start::Snapshot));
        for bad in [
            "replay=0",
            "replay=100001",
            "replay=x",
            "snapshot=1",
            "since=1&replay=1",
            "since=1&since=2",
            "lastEventId=a&last_event_id=b",
            "snapshot=true&lastEventId=a",
        ] {
            assert!(start(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_come_in_three_forms() {
        let now = 10_000_000_000;
        let table = [
            ("1763790000000", 1_763_790_000_000),
            ("0", 0),
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
