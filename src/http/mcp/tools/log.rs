//! The log, read for an answer: past events, a bounded number of bytes of them.

use std::{ops::ControlFlow, sync::Arc};

use serde::Serialize;

use super::{ANSWER_BYTES, Done, arguments::query, cut};
use crate::{
    domain::{Json, json::JsonRef},
    event_log::{Item, LogReader, Order, ReadError, ReadRange},
    filter::{Filter, Selection, parse::SELECTION},
    frame::write_envelope,
    http::{
        App,
        events::require_events,
        gate::Guest,
        history::{self, blocking},
        mcp::{Asked, message::with_members},
        problem::Problem,
    },
};

/// Events on a page where the call names no `limit`.
const DEFAULT_LIMIT: usize = 20;
/// Events on a page, at most.
pub(super) const MAX_LIMIT: u64 = 100;
/// The data of an event that is larger is left out.
const DATA_BYTES: usize = 16 * 1024;
/// How many events one read may look at.
const SCAN: usize = 10_000;
/// How many reads an answer may take.
const READS: usize = 20;

/// Events that are being collected for an answer.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) events: Vec<Json>,
    bytes: usize,
}

impl Collected {
    /// Adds one; of one that is too large, or of any once the answer is full, what it is about without its data.
    pub(super) fn add(&mut self, envelope: Json) {
        let size = envelope.as_str().len();
        let shown = if size > DATA_BYTES || self.bytes + size > ANSWER_BYTES {
            lighter(&envelope, size)
        } else {
            envelope
        };
        self.bytes += shown.as_str().len();
        self.events.push(shown);
    }
}

/// An event without its data, saying so.
fn lighter(envelope: &Json, size: usize) -> Json {
    let mut kept = Vec::new();
    for (name, value) in envelope.root().members().unwrap_or_default() {
        if !matches!(&*name, "data" | "cloudEvent") {
            kept.push((name.into_owned(), value.to_json()));
        }
    }
    let kept: Vec<(&str, Json)> = kept
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let bare = with_members(&Json::empty_object(), &kept);
    with_members(
        &bare,
        &[("dataLeftOut", Json::of(&true)), ("bytes", Json::of(&size))],
    )
}

/// An event in a few words.
pub(in crate::http::mcp) fn words(event: &Json) -> String {
    let root = event.root();
    let text = |value: JsonRef<'_>, name: &str| {
        let text = value.get(name)?.text()?.into_owned();
        Some(cut(&text, 200)).filter(|text| !text.is_empty())
    };
    let mut words = text(root, "type").unwrap_or_default();
    if let Some(server) = text(root, "serverId") {
        words.push_str(&format!(" of {server}"));
    }
    let Some(data) = root.get("data").filter(|data| data.is_object()) else {
        return words;
    };
    for (name, before) in [
        ("workflowId", " in "),
        ("stepId", "/"),
        ("health", ": "),
        ("status", ": "),
        ("reason", ", "),
        ("detail", ", "),
        ("error", ", "),
    ] {
        if let Some(text) = text(data, name) {
            words.push_str(before);
            words.push_str(&text);
        }
    }
    words
}

/// Events that a read found.
#[derive(Debug, Default)]
pub(in crate::http::mcp) struct Shown {
    pub(in crate::http::mcp) events: Vec<Json>,
    /// Whether there may be more.
    pub(in crate::http::mcp) more: bool,
    /// How far it read.
    pub(super) through: u64,
    /// Why events among them are missing.
    pub(super) gap: Option<&'static str>,
}

/// The first or last events of a selection that the guest may see.
pub(in crate::http::mcp) async fn read_selected(
    app: &App,
    guest: &Guest,
    selection: Selection,
    order: Order,
    limit: usize,
) -> Result<Shown, Problem> {
    let reader = app.hub.reader().clone();
    let filter = Filter {
        query: selection,
        grant: guest.grant.clone(),
    };
    let range = ReadRange {
        after: reader.info().floor.saturating_sub(1),
        until: reader.info().head,
        order,
        scan_limit: SCAN,
    };
    Ok(blocking(move || read(&reader, range, &filter, limit)).await??)
}

/// Reads on until the answer holds `limit` events, or enough was looked at.
pub(super) fn read(
    reader: &Arc<dyn LogReader>,
    mut range: ReadRange,
    filter: &Filter,
    limit: usize,
) -> Result<Shown, ReadError> {
    let epochs = reader.epochs();
    let mut collected = Collected::default();
    let mut shown = Shown {
        through: range.after,
        ..Shown::default()
    };
    for _ in 0..READS {
        if range.after >= range.until {
            return Ok(finish(shown, collected));
        }
        let mut is_full = false;
        let mut last = 0;
        let scanned = reader.read(&range, filter, &mut |item| {
            match item {
                Item::Event(_) if collected.events.len() >= limit => {
                    is_full = true;
                    return ControlFlow::Break(());
                }
                Item::Event(record) => {
                    let mut text = Vec::new();
                    write_envelope(&mut text, epochs.name(record.sequence), &record);
                    if let Ok(text) = String::from_utf8(text)
                        && let Ok(envelope) = Json::stored(&text)
                    {
                        collected.add(envelope);
                    }
                    last = record.sequence;
                }
                Item::Corrupt { .. } => shown.gap = Some("corrupt"),
            }
            ControlFlow::Continue(())
        })?;
        if scanned.overtaken.is_some() {
            shown.gap = Some("expired");
        }
        if is_full {
            shown.more = true;
            shown.through = last;
            return Ok(finish(shown, collected));
        }
        match range.order {
            Order::Ascending if scanned.through > range.after => range.after = scanned.through,
            Order::Ascending => range.after = range.until,
            Order::Descending if scanned.through < range.until => range.until = scanned.through,
            Order::Descending => range.until = range.after,
        }
        shown.through = range.after;
    }
    shown.more = range.after < range.until;
    Ok(finish(shown, collected))
}

fn finish(mut shown: Shown, collected: Collected) -> Shown {
    shown.events = collected.events;
    shown
}

/// A page of past events.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    events: Vec<Json>,
    next_cursor: Option<String>,
    /// Older events that belong in here are gone or can't be read.
    truncated: bool,
    /// Events that are shown without their data, for it is large.
    data_left_out: usize,
}

pub(super) async fn search(asked: &Asked, arguments: Option<JsonRef<'_>>) -> Result<Done, Problem> {
    require_events(&asked.app)?;
    let of_one = ["since", "until", "order", "limit", "cursor"];
    let mut query = query(arguments, &of_one, &SELECTION)?;
    query.number("limit", 1..=MAX_LIMIT)?;
    for (name, value) in [("order", "desc"), ("limit", &DEFAULT_LIMIT.to_string())] {
        if query.one(name).is_none() {
            query.0.push((name.to_owned(), value.to_owned()));
        }
    }
    let page = history::read_page(&asked.app, &asked.guest, query).await?;
    let mut collected = Collected::default();
    page.events
        .into_iter()
        .for_each(|event| collected.add(event));
    let data_left_out = without_data(&collected.events);
    let mut text = format!("{} events", collected.events.len());
    for event in collected.events.iter().take(20) {
        text.push_str(&format!("\n- {}", words(event)));
    }
    if page.next_cursor.is_some() {
        text.push_str("\nMore may follow: call again with cursor.");
    }
    if page.truncated {
        text.push_str("\nOlder events are gone from the log.");
    }
    let found = Found {
        events: collected.events,
        next_cursor: page.next_cursor,
        truncated: page.truncated,
        data_left_out,
    };
    Ok(Done::new(text, &found))
}

pub(super) fn without_data(events: &[Json]) -> usize {
    let is_lighter = |event: &&Json| event.root().get("dataLeftOut").is_some();
    events.iter().filter(is_lighter).count()
}
