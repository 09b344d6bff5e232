//! Bodies of `POST /events` in all their forms, CloudEvents in all three of theirs. The input is the `Content-Type`, then
//! headers, a line each, an empty line, and the body.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use serde_json::value::RawValue;
use timeback_events::{
    domain::{
        Command, Epoch, Event, EventData, NewEvent, Position, command::Emit, event::Texts,
        json::MAX_DEPTH,
    },
    frame,
    http::{
        events::read::{Asked, Body, read},
        extract::{MediaType, RawChange},
    },
};

use super::{NOW, bodies, fleet::Fleet};

/// A body is read, or refused by a client's error that says why; what is taken reads back from the log as it was; and
/// a custom event that streams give out as a CloudEvent is taken in again as the same event.
pub(crate) fn check(input: &[u8]) {
    let Some(change) = change(input) else { return };
    let Body {
        asked, is_batch, ..
    } = match read(&change) {
        Ok(body) => body,
        Err(problem) => {
            assert!(
                [400, 413, 415, 422].contains(&problem.status.as_u16()),
                "{problem:?}"
            );
            assert!(!problem.detail.is_empty());
            if problem.slug == "invalid-fields" {
                bodies::refused(&problem.errors);
            }
            return;
        }
    };
    assert!(is_batch && !asked.is_empty() || asked.len() == 1);
    if !change.headers.contains_key("ce-specversion") {
        are_objects(&change.body, is_batch);
    }
    let mut fleet = Fleet::new();
    for asked in &asked {
        match asked {
            Asked::Command(command) => {
                if let Command::Emit(emit) = command {
                    comes_back(emit);
                }
                fleet.carry_out(command);
            }
            Asked::Heartbeat(_, heartbeat) => assert!(heartbeat.health.is_some()),
        }
    }
    fleet.audit();
}

/// What is taken is an object, or an array of them. Fields that mean nothing may hold what only the grammar allows.
fn are_objects(body: &[u8], is_batch: bool) {
    let is_object = |item: &RawValue| item.get().starts_with('{');
    let text = std::str::from_utf8(body).expect("UTF-8");
    if is_batch {
        let items: Vec<&RawValue> = serde_json::from_str(text).expect("an array");
        assert!(items.iter().all(|item| is_object(item)));
    } else {
        assert!(is_object(serde_json::from_str(text).expect("JSON")));
    }
}

/// The request; `None` where no client could send it.
fn change(input: &[u8]) -> Option<RawChange> {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_bytes(lines.next()?).ok()?;
    if !kind.is_empty() {
        headers.insert(CONTENT_TYPE, kind);
    }
    for line in lines.take(16) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(
            name,
            HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?,
        );
    }
    Some(RawChange {
        body: Bytes::copy_from_slice(body),
        media_type: MediaType::of(&headers),
        headers,
        key: None,
    })
}

/// Gives the event out as a CloudEvent, and takes that in.
fn comes_back(emit: &Emit) {
    if emit.kind.as_ref() == "integration_status_changed" {
        return;
    }
    let what = NewEvent {
        server: emit.server.clone(),
        occurred_at: emit.occurred_at,
        ..NewEvent::new(EventData::Custom {
            kind: emit.kind.clone(),
            data: emit.data.clone(),
            workflow: emit.workflow.clone(),
        })
    };
    let position = Position {
        epoch: Epoch::from_random(1),
        sequence: 1,
    };
    let event = Event {
        position,
        timestamp: NOW,
        what,
    };
    let texts = Texts::of(&event.what);
    let record = texts.record(&event);
    let mut body = Vec::new();
    frame::write_cloud_event(&mut body, position, &record);
    let change = RawChange {
        body: body.into(),
        media_type: MediaType::CloudEvent,
        headers: HeaderMap::new(),
        key: None,
    };
    let body = read(&change).expect("what the hub gives out, it takes");
    let [Asked::Command(Command::Emit(again))] = &body.asked[..] else {
        panic!("{body:?}");
    };
    assert_eq!(
        again.data.as_str(),
        record.data,
        "nested {MAX_DEPTH} levels at most"
    );
    assert_eq!((&again.kind, &again.server), (&emit.kind, &emit.server));
    assert_eq!(
        (&again.workflow, again.occurred_at),
        (&emit.workflow, Some(NOW))
    );
}
