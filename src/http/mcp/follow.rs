//! The hub's own stream, read as what is in it: for whoever tells of events in MCP's words. So a waiting tool and a
//! listening client are subscribers like all others: a cursor over the log, without a queue, told of every gap.

use std::{collections::VecDeque, future::poll_fn, pin::Pin};

use http_body::Body as _;
use serde_json::Value;

use crate::{
    domain::Json,
    filter::{Selection, start::Start},
    http::{App, gate::Guest, problem::Problem, sse},
    streams::StreamBody,
};

/// What comes out of a stream.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    /// It begins.
    Opened {
        /// The place that it starts after.
        at: String,
        /// Why it doesn't go on where it was asked to.
        gap: Option<String>,
    },
    /// An event.
    Event {
        id: String,
        kind: String,
        envelope: Json,
    },
    /// Nothing until here.
    Read(String),
    /// Events are missing.
    Gap { at: String, reason: String },
    /// The hub ends it, and why.
    Closing(String),
}

/// A stream that is being read. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Follow {
    body: StreamBody,
    /// What has come and isn't a whole frame yet.
    rest: Vec<u8>,
    items: VecDeque<Item>,
}

impl Follow {
    /// Opens a stream of what is selected, as far as the guest may see it.
    pub(super) async fn open(
        app: &App,
        guest: &Guest,
        selection: Selection,
        start: Start,
    ) -> Result<Self, Problem> {
        Ok(Self {
            body: sse::follow(app, guest, selection, start).await?,
            rest: Vec::new(),
            items: VecDeque::new(),
        })
    }

    /// The next item; `None` where the stream is cut. May be dropped while it waits, and asked again.
    pub(super) async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(item);
            }
            let body = &mut self.body;
            let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
            let bytes = frame.ok()?.into_data().ok()?;
            self.take(&bytes);
        }
    }

    /// What has come already, without waiting.
    pub(super) fn ready(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(length) = memchr::memmem::find(&self.rest[from..], b"\n\n") {
            let frame = String::from_utf8_lossy(&self.rest[from..from + length]);
            self.items.extend(read(&frame));
            from += length + 2;
        }
        self.rest.drain(..from);
    }
}

/// Reads one of the hub's own frames, whose lines are `id`, `event`, `retry` and one `data`.
fn read(frame: &str) -> Option<Item> {
    let line = |name: &str| {
        let mut lines = frame.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let (kind, data) = (line("event")?, line("data")?);
    let id = line("id").unwrap_or_default().to_owned();
    let told = |name: &str| {
        let data: Value = serde_json::from_str(data).ok()?;
        data[name].as_str().map(str::to_owned)
    };
    Some(match kind {
        "stream_opened" => Item::Opened {
            at: id,
            gap: told("reason"),
        },
        "bookmark" => Item::Read(id),
        "stream_gap" => Item::Gap {
            at: id,
            reason: told("reason")?,
        },
        "stream_closing" => Item::Closing(told("reason")?),
        kind => Item::Event {
            id,
            kind: kind.to_owned(),
            envelope: Json::stored(data).ok()?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_what_they_say() {
        for (frame, item) in [
            (
                "id: e-1\nevent: stream_opened\nretry: 3000\ndata: {\"verdict\":\"gap\",\"reason\":\"expired\"}",
                Item::Opened {
                    at: "e-1".to_owned(),
                    gap: Some("expired".to_owned()),
                },
            ),
            (
                "id: e-2\nevent: a.b\ndata: {\"id\":\"e-2\"}",
                Item::Event {
                    id: "e-2".to_owned(),
                    kind: "a.b".to_owned(),
                    envelope: Json::parse("{\"id\":\"e-2\"}").unwrap(),
                },
            ),
            (
                "id: e-3\nevent: bookmark\ndata: {\"headId\":\"e-9\"}",
                Item::Read("e-3".to_owned()),
            ),
            (
                "id: e-4\nevent: stream_gap\ndata: {\"reason\":\"corrupt\"}",
                Item::Gap {
                    at: "e-4".to_owned(),
                    reason: "corrupt".to_owned(),
                },
            ),
            (
                "event: stream_closing\nretry: 1\ndata: {\"reason\":\"draining\"}",
                Item::Closing("draining".to_owned()),
            ),
        ] {
            assert_eq!(read(frame), Some(item), "{frame}");
        }
    }
}
