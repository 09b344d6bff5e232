//! Control frames: what the hub says about the stream itself. Named in every format, so that a page's
//! `onmessage` never sees one, and with exactly the ids that section 2 of the contract gives them.

use std::time::Duration;

use serde::Serialize;

use super::write_position;
use crate::domain::{Json, Position};

/// `data` of `stream_opened`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Opened<'a> {
    /// `live`, `resumed`, `replay`, `gap`.
    pub verdict: &'static str,
    /// Why there is a gap: `expired`, `unknown_log`, `malformed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The place that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_id: Option<&'a str>,
    /// The oldest kept event; the head where none is kept.
    pub oldest_id: Position,
    /// The newest event.
    pub head_id: Position,
    /// A frame comes at least this often.
    pub keep_alive_ms: u64,
}

/// Appends `stream_opened`; `id` is the place that the stream starts after, or `None` where a snapshot brings it.
pub fn write_opened(out: &mut Vec<u8>, id: Option<Position>, retry: Duration, opened: &Opened<'_>) {
    begin(out, id, "stream_opened");
    write_retry(out, retry);
    end(out, opened);
}

/// Appends one part of a `snapshot`, `data` being one line of JSON; `id` on the last part only.
pub fn write_snapshot(out: &mut Vec<u8>, id: Option<Position>, data: &str) {
    begin(out, id, "snapshot");
    out.extend_from_slice(b"data: ");
    super::write_line(out, data);
    out.extend_from_slice(b"\n\n");
}

/// Appends a `bookmark`: `read` is how far the stream has read.
pub fn write_bookmark(out: &mut Vec<u8>, read: Position, head: Position) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Bookmark {
        head_id: Position,
    }
    begin(out, Some(read), "bookmark");
    end(out, &Bookmark { head_id: head });
}

/// Why events between two places can't be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// Retention dropped them.
    Expired,
    /// They are stored, but damaged.
    Corrupt,
}

impl GapReason {
    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Corrupt => "corrupt",
        }
    }
}

/// Appends a `stream_gap`: what lies after `after` and before `next` is missing. `id` is the place just
/// before `next`.
pub fn write_gap(
    out: &mut Vec<u8>,
    reason: GapReason,
    after: Position,
    id: Position,
    next: Position,
) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Gap {
        reason: &'static str,
        after_id: Position,
        next_id: Position,
    }
    begin(out, Some(id), "stream_gap");
    end(
        out,
        &Gap {
            reason: reason.as_str(),
            after_id: after,
            next_id: next,
        },
    );
}

/// Appends `stream_closing`, the last frame; `id` where the client has a valid one.
pub fn write_closing(
    out: &mut Vec<u8>,
    id: Option<Position>,
    retry: Duration,
    reason: &'static str,
) {
    #[derive(Serialize)]
    struct Closing {
        reason: &'static str,
    }
    begin(out, id, "stream_closing");
    write_retry(out, retry);
    end(out, &Closing { reason });
}

fn begin(out: &mut Vec<u8>, id: Option<Position>, name: &str) {
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        write_position(out, id);
        out.push(b'\n');
    }
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
}

fn write_retry(out: &mut Vec<u8>, retry: Duration) {
    out.extend_from_slice(b"retry: ");
    out.extend_from_slice(itoa::Buffer::new().format(retry.as_millis()).as_bytes());
    out.push(b'\n');
}

fn end<T: Serialize>(out: &mut Vec<u8>, data: &T) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(Json::of(data).as_str().as_bytes());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Epoch;

    fn at(sequence: u64) -> Position {
        Position {
            epoch: Epoch::from_random(0),
            sequence,
        }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn control_frames_read_as_the_contract_says() {
        let opened = Opened {
            verdict: "gap",
            reason: Some("malformed"),
            requested_id: Some("a\nb\""),
            oldest_id: at(1),
            head_id: at(9),
            keep_alive_ms: 15000,
        };
        assert_eq!(
            text(|out| write_opened(out, Some(at(0)), Duration::from_secs(3), &opened)),
            "id: 000000000000-0\nevent: stream_opened\nretry: 3000\ndata: {\"verdict\":\"gap\",\"reason\":\"malformed\",\
             \"requestedId\":\"a\\nb\\\"\",\"oldestId\":\"000000000000-1\",\"headId\":\"000000000000-9\",\"keepAliveMs\":15000}\n\n"
        );
        assert_eq!(
            text(|out| write_bookmark(out, at(4), at(9))),
            "id: 000000000000-4\nevent: bookmark\ndata: {\"headId\":\"000000000000-9\"}\n\n"
        );
        assert_eq!(
            text(|out| write_gap(out, GapReason::Expired, at(2), at(6), at(7))),
            "id: 000000000000-6\nevent: stream_gap\ndata: {\"reason\":\"expired\",\"afterId\":\"000000000000-2\",\"nextId\":\"000000000000-7\"}\n\n"
        );
        assert_eq!(
            text(|out| write_closing(out, None, Duration::from_millis(7), "busy")),
            "event: stream_closing\nretry: 7\ndata: {\"reason\":\"busy\"}\n\n"
        );
        assert_eq!(
            text(|out| write_snapshot(out, None, "{}")),
            "event: snapshot\ndata: {}\n\n"
        );
    }
}
