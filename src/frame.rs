//! Events and control frames as bytes: the envelope, its CloudEvents form, and the SSE frames around them.
//!
//! A frame is whole lines and ends with an empty one (WHATWG HTML, section 9.2.6), so streams may be cut
//! between any two frames. No frame ever holds a CR, and a LF only at the end of its lines: ids, types and
//! names are made of letters that were checked, and JSON text is on one line.

pub mod control;

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::domain::{Position, Record};

/// How a stream shows its events. Control frames look the same in all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// `id:`, `event:`, `data:` with the envelope.
    #[default]
    Named,
    /// Without `event:`, so that a page's `onmessage` gets all events.
    Message,
    /// `data:` holds a CloudEvent in its structured JSON form.
    CloudEvents,
}

impl Format {
    /// Reads the value of the query parameter `format`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "named" => Some(Self::Named),
            "message" => Some(Self::Message),
            "cloudevents" => Some(Self::CloudEvents),
            _ => None,
        }
    }
}

/// Appends one event as an SSE frame.
pub fn write_event(out: &mut Vec<u8>, format: Format, position: Position, record: &Record<'_>) {
    out.extend_from_slice(b"id: ");
    write_position(out, position);
    if format != Format::Message {
        out.extend_from_slice(b"\nevent: ");
        out.extend_from_slice(record.kind.as_bytes());
    }
    out.extend_from_slice(b"\ndata: ");
    match format {
        Format::Named | Format::Message => write_envelope(out, position, record),
        Format::CloudEvents => write_cloud_event(out, position, record),
    }
    out.extend_from_slice(b"\n\n");
}

/// Appends the envelope (contract, section 1) as one line of JSON.
pub fn write_envelope(out: &mut Vec<u8>, position: Position, record: &Record<'_>) {
    out.extend_from_slice(br#"{"id":""#);
    write_position(out, position);
    out.extend_from_slice(br#"","sequence":"#);
    write_number(out, record.sequence);
    out.extend_from_slice(br#","type":""#);
    out.extend_from_slice(record.kind.as_bytes());
    out.extend_from_slice(br#"","timestamp":"#);
    out.extend_from_slice(itoa::Buffer::new().format(record.timestamp).as_bytes());
    if let Some(server) = record.server {
        out.extend_from_slice(br#","serverId":""#);
        out.extend_from_slice(server.as_bytes());
        out.push(b'"');
    }
    if let Some(attributes) = record.cloud_event() {
        out.extend_from_slice(CLOUD_EVENT);
        write_line(out, attributes);
    }
    out.extend_from_slice(DATA);
    write_line(out, record.data);
    out.push(b'}');
}

/// What stands before a CloudEvent's attributes in the envelope; nothing before it can hold the like, since ids and
/// types hold no quotes.
const CLOUD_EVENT: &[u8] = br#","cloudEvent":"#;

/// What stands before the data, which comes last.
const DATA: &[u8] = br#","data":"#;

/// The attributes of a CloudEvent within an envelope, of which `head` is all up to its data.
#[must_use]
pub fn attributes_in(head: &[u8]) -> Option<&str> {
    let start = memchr::memmem::find(head, CLOUD_EVENT)? + CLOUD_EVENT.len();
    std::str::from_utf8(head.get(start..)?.strip_suffix(DATA)?).ok()
}

/// Appends the event as a CloudEvent 1.0 in structured JSON, on one line. One that came as such has the attributes that
/// it came with. Otherwise `source` is the server's path, or `/` where none is concerned; `serverid` and `workflowid` are
/// extension attributes, and `sequence` is the one of the CloudEvents sequence extension (a string).
pub fn write_cloud_event(out: &mut Vec<u8>, position: Position, record: &Record<'_>) {
    let came_as_one = record.cloud_event();
    let own: BTreeMap<String, &RawValue> = came_as_one
        .and_then(|attributes| serde_json::from_str(attributes).ok())
        .unwrap_or_default();
    out.extend_from_slice(br#"{"specversion":"1.0","#);
    write_named(out, "type", record.kind);
    if !own.contains_key("id") {
        out.extend_from_slice(br#","id":""#);
        write_position(out, position);
        out.push(b'"');
    }
    let mut attribute = |name: &str, write: &dyn Fn(&mut Vec<u8>)| {
        if !own.contains_key(name) {
            out.push(b',');
            write(out);
        }
    };
    attribute("source", &|out| match record.server {
        Some(server) => write_named(out, "source", &format!("/servers/{server}")),
        None => write_named(out, "source", "/"),
    });
    if let Ok(time) = jiff::Timestamp::from_millisecond(record.timestamp) {
        attribute("time", &|out| write_named(out, "time", &time.to_string()));
    }
    attribute("sequence", &|out| {
        write_named(out, "sequence", itoa::Buffer::new().format(record.sequence));
    });
    if let Some(server) = record.server {
        attribute("serverid", &|out| write_named(out, "serverid", server));
    }
    if let Some(workflow) = record.workflow {
        attribute("workflowid", &|out| {
            write_named(out, "workflowid", workflow)
        });
    }
    // One that came without data, or with null, which is the same there, goes out without.
    let has_data =
        !(own.contains_key("data_base64") || came_as_one.is_some() && record.data == "null");
    if has_data {
        attribute("datacontenttype", &|out| {
            write_named(out, "datacontenttype", "application/json");
        });
    }
    for (name, value) in &own {
        out.push(b',');
        write_name(out, name);
        write_line(out, value.get());
    }
    if has_data {
        out.extend_from_slice(br#","data":"#);
        write_line(out, record.data);
    }
    out.push(b'}');
}

/// Appends a member whose name and value need no escapes.
fn write_named(out: &mut Vec<u8>, name: &str, value: &str) {
    write_name(out, name);
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends an id, `<epoch>-<sequence>`.
pub fn write_position(out: &mut Vec<u8>, position: Position) {
    out.extend_from_slice(position.epoch.as_str().as_bytes());
    out.push(b'-');
    write_number(out, position.sequence);
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends JSON text. Line ends can stand in it only between tokens, where a space means the same; the log
/// takes none in, so this is the last of two bolts on the same door.
fn write_line(out: &mut Vec<u8>, json: &str) {
    let start = out.len();
    out.extend_from_slice(json.as_bytes());
    let mut from = start;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &out[from..]) {
        out[from + at] = b' ';
        from += at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Epoch;

    fn place(sequence: u64) -> Position {
        Position {
            epoch: Epoch::from_random(0),
            sequence,
        }
    }

    fn record() -> Record<'static> {
        Record {
            sequence: 42,
            timestamp: 1_763_790_000_000,
            kind: "server_connected",
            server: Some("lms-1"),
            workflow: None,
            tags: "env:prod",
            data: r#"{"reconnected":false}"#,
            private: r#"{"heartbeatIntervalMs":100}"#,
        }
    }

    fn frame(format: Format, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write_event(&mut out, format, place(record.sequence), record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_named_frame_holds_id_event_and_the_envelope() {
        assert_eq!(
            frame(Format::Named, &record()),
            "id: 000000000000-42\nevent: server_connected\ndata: {\"id\":\"000000000000-42\",\"sequence\":42,\
             \"type\":\"server_connected\",\"timestamp\":1763790000000,\"serverId\":\"lms-1\",\
             \"data\":{\"reconnected\":false}}\n\n"
        );
    }

    #[test]
    fn a_message_frame_has_no_event_line() {
        let named = frame(Format::Named, &record());
        assert_eq!(
            frame(Format::Message, &record()),
            named.replace("event: server_connected\n", "")
        );
    }

    #[test]
    fn a_cloud_event_has_what_its_specification_requires() {
        let text = frame(
            Format::CloudEvents,
            &Record {
                workflow: Some("w1"),
                ..record()
            },
        );
        let data = text
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap();
        let event: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(
            event,
            serde_json::json!({
                "specversion": "1.0", "id": "000000000000-42", "source": "/servers/lms-1",
                "type": "server_connected", "time": "2025-11-22T05:40:00Z", "sequence": "42",
                "serverid": "lms-1", "workflowid": "w1", "datacontenttype": "application/json",
                "data": {"reconnected": false},
            })
        );
        let bare = frame(
            Format::CloudEvents,
            &Record {
                server: None,
                ..record()
            },
        );
        assert!(bare.contains(r#""source":"/","#), "{bare}");
    }

    #[test]
    fn what_came_as_a_cloud_event_keeps_what_it_is() {
        let came = Record {
            kind: "grades.synced",
            private: r#"{"cloudEvent":{"id":"A","source":"/x","partition":7,"sequence":"9","time":"2026-01-01T00:00:00+01:00"}}"#,
            ..record()
        };
        let read = |text: String| -> serde_json::Value {
            let data = text.lines().find_map(|line| line.strip_prefix("data: "));
            serde_json::from_str(data.unwrap()).unwrap()
        };
        assert_eq!(
            read(frame(Format::CloudEvents, &came)),
            serde_json::json!({
                "specversion": "1.0", "id": "A", "source": "/x", "type": "grades.synced", "partition": 7,
                "time": "2026-01-01T00:00:00+01:00", "sequence": "9", "serverid": "lms-1",
                "datacontenttype": "application/json", "data": {"reconnected": false},
            })
        );
        let envelope = read(frame(Format::Named, &came));
        assert_eq!(envelope["cloudEvent"]["partition"], 7);
        assert_eq!(envelope["sequence"], 42);
        let bytes = Record {
            private: r#"{"cloudEvent":{"id":"A","source":"/x","data_base64":"AAE="}}"#,
            data: "null",
            ..came
        };
        let event = read(frame(Format::CloudEvents, &bytes));
        assert_eq!(event["data_base64"], "AAE=");
        assert_eq!(event.get("data").or(event.get("datacontenttype")), None);
        let without = Record {
            private: r#"{"cloudEvent":{"id":"A","source":"/x"}}"#,
            ..bytes
        };
        let event = read(frame(Format::CloudEvents, &without));
        assert_eq!(event.get("data").or(event.get("datacontenttype")), None);
        let of_the_hub = Record {
            private: "",
            ..bytes
        };
        let event = read(frame(Format::CloudEvents, &of_the_hub));
        assert!(event["data"].is_null() && event.get("data").is_some());
    }

    #[test]
    fn no_line_end_of_the_data_reaches_the_frame() {
        let text = frame(
            Format::Named,
            &Record {
                data: "{\"a\":\r\n1}",
                ..record()
            },
        );
        assert!(!text.contains('\r'));
        assert_eq!(text.matches('\n').count(), 4, "{text:?}");
        assert!(text.contains("{\"a\":  1}"));
    }
}
