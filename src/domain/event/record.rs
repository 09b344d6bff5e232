//! An event as the log keeps it: its texts, borrowed from wherever their bytes lie; written, and read back.

use std::sync::Arc;

use super::{Event, EventData, EventType, NewEvent, Private};
use crate::domain::{
    ids::{ServerId, WorkflowId},
    json::Json,
    position::Position,
};

/// One stored event, borrowed from wherever its bytes lie: what filters test and frames are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its sequence number.
    pub sequence: u64,
    /// The hub's time, epoch ms.
    pub timestamp: i64,
    /// Its type's name.
    pub kind: &'a str,
    /// The server concerned.
    pub server: Option<&'a str>,
    /// The workflow concerned.
    pub workflow: Option<&'a str>,
    /// The server's tags as of the event, `key:value` lines joined by `\n`; empty for none.
    pub tags: &'a str,
    /// `data`, one line of JSON.
    pub data: &'a str,
    /// [`Private`] as JSON; empty for none.
    pub private: &'a str,
}

impl<'a> Record<'a> {
    /// The tags, each `key:value`.
    pub fn tags(&self) -> impl Iterator<Item = &'a str> {
        self.tags.split('\n').filter(|tag| !tag.is_empty())
    }

    /// The attributes of the CloudEvent that it came as, one object.
    #[must_use]
    pub fn cloud_event(&self) -> Option<&'a str> {
        #[derive(serde::Deserialize)]
        struct Kept<'a> {
            #[serde(borrow, rename = "cloudEvent")]
            cloud_event: Option<&'a serde_json::value::RawValue>,
        }
        // Few events have any, and most nothing private at all.
        memchr::memmem::find(self.private.as_bytes(), b"\"cloudEvent\"")?;
        let kept: Kept<'a> = serde_json::from_str(self.private).ok()?;
        kept.cloud_event.map(serde_json::value::RawValue::get)
    }
}

/// An event's texts, from which its [`Record`] borrows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    kind: EventType,
    tags: String,
    data: Json,
    private: String,
}

impl Texts {
    /// Encodes an event for the log: once, before the commit.
    #[must_use]
    pub fn of(event: &NewEvent) -> Self {
        let data = event.data.to_json();
        Self {
            kind: event.data.kind(),
            tags: if event.tags.is_empty() {
                String::new()
            } else {
                event.tag_lines()
            },
            data: told(data, event),
            private: if event.private.is_empty() {
                String::new()
            } else {
                Json::of(&event.private).as_str().to_owned()
            },
        }
    }

    /// The event as the log and the tail take it.
    #[must_use]
    pub fn record<'t>(&'t self, event: &'t Event) -> Record<'t> {
        Record {
            sequence: event.position.sequence,
            timestamp: event.timestamp,
            kind: self.kind.as_str(),
            server: event.what.server.as_ref().map(ServerId::as_str),
            workflow: event.what.data.workflow().map(WorkflowId::as_str),
            tags: &self.tags,
            data: self.data.as_str(),
            private: &self.private,
        }
    }
}

/// The data with the producer's own time and with whose request it was.
fn told(data: Json, event: &NewEvent) -> Json {
    let data = match event.occurred_at {
        Some(time) => with(data, "occurredAt", &time.to_string()),
        None => data,
    };
    match &event.by {
        Some(by) => with(data, "by", Json::of(&**by).as_str()),
        None => data,
    }
}

/// Adds a member to an object's; anything but an object stays as it is, and what its producer says by itself stands.
fn with(data: Json, name: &str, value: &str) -> Json {
    let joined = match data.as_str().strip_suffix('}') {
        Some("{") => format!("{{\"{name}\":{value}}}"),
        Some(members) if !Member::is_in(&data, name) => format!("{members},\"{name}\":{value}}}"),
        _ => return data,
    };
    Json::trusted(joined)
}

/// Looks for a member among an object's own, and not deeper. One that is there twice is there.
struct Member<'n>(&'n str);

impl Member<'_> {
    fn is_in(data: &Json, name: &str) -> bool {
        use serde::Deserializer as _;

        let mut reader = serde_json::Deserializer::from_str(data.as_str());
        reader.deserialize_map(Member(name)).unwrap_or_default()
    }
}

impl<'de> serde::de::Visitor<'de> for Member<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(name) = members.next_key::<std::borrow::Cow<'_, str>>()? {
            members.next_value::<serde::de::IgnoredAny>()?;
            found |= name == self.0;
        }
        Ok(found)
    }
}

/// A stored event whose data doesn't have the shape of its type: another version's, or damage that the
/// checksum didn't see.
#[derive(Debug, thiserror::Error)]
#[error("event {sequence} ({kind}) can't be read: {cause}")]
pub struct Unreadable {
    /// Which one.
    pub sequence: u64,
    /// Its type.
    pub kind: String,
    /// What is wrong.
    pub cause: String,
}

impl Event {
    /// Reads a stored event back.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn from_record(record: &Record<'_>, position: Position) -> Result<Self, Unreadable> {
        let unreadable = |cause: String| Unreadable {
            sequence: record.sequence,
            kind: record.kind.to_owned(),
            cause,
        };
        let server = record
            .server
            .map(|id| ServerId::stored(id).map_err(|e| unreadable(format!("serverId {e}"))))
            .transpose()?;
        let data = read_data(record, server.is_some()).map_err(|e| unreadable(e.to_string()))?;
        let private = if record.private.is_empty() {
            Private::default()
        } else {
            serde_json::from_str(record.private).map_err(|e| unreadable(e.to_string()))?
        };
        let tags = record
            .tags()
            .filter_map(|tag| tag.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let what = NewEvent {
            server,
            tags: Arc::new(tags),
            data,
            occurred_at: None,
            by: None,
            private,
        };
        Ok(Self {
            position,
            timestamp: record.timestamp,
            what,
        })
    }
}

fn read_data(record: &Record<'_>, has_server: bool) -> Result<EventData, serde_json::Error> {
    use serde_json::from_str;
    let text = record.data;
    Ok(match EventType::parse(record.kind) {
        Some(EventType::ServerConnected) => EventData::ServerConnected(from_str(text)?),
        Some(EventType::ServerUpdated) => EventData::ServerUpdated(from_str(text)?),
        Some(EventType::ServerDisconnected) => EventData::ServerDisconnected(from_str(text)?),
        Some(EventType::ServerHealthChanged) => EventData::ServerHealthChanged(from_str(text)?),
        Some(EventType::InstanceConnected) => EventData::InstanceConnected(from_str(text)?),
        Some(EventType::InstanceDisconnected) => EventData::InstanceDisconnected(from_str(text)?),
        Some(EventType::WorkflowStarted) => EventData::WorkflowStarted(from_str(text)?),
        Some(EventType::WorkflowStepStarted) => EventData::WorkflowStepStarted(from_str(text)?),
        Some(EventType::WorkflowStepCompleted) => EventData::WorkflowStepCompleted(from_str(text)?),
        Some(EventType::WorkflowStepFailed) => EventData::WorkflowStepFailed(from_str(text)?),
        Some(EventType::WorkflowCompleted) => EventData::WorkflowCompleted(from_str(text)?),
        Some(EventType::WorkflowFailed) => EventData::WorkflowFailed(from_str(text)?),
        Some(EventType::IntegrationStatusChanged) if has_server => {
            EventData::IntegrationStated(Json::stored(text)?)
        }
        Some(EventType::IntegrationStatusChanged) => {
            EventData::IntegrationStatusChanged(from_str(text)?)
        }
        Some(EventType::PatternEnabled) => EventData::PatternEnabled(from_str(text)?),
        Some(EventType::PatternDisabled) => EventData::PatternDisabled(from_str(text)?),
        Some(EventType::Custom(kind)) => EventData::Custom {
            kind,
            data: Json::stored(text)?,
            workflow: record.workflow.and_then(|id| WorkflowId::stored(id).ok()),
        },
        None => return Err(serde::de::Error::custom("unknown type")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_producers_time_and_who_asked_join_the_data() {
        for (data, joined) in [
            ("{}", r#"{"occurredAt":5}"#),
            (r#"{"a":1}"#, r#"{"a":1,"occurredAt":5}"#),
            (r#"{"occurredAt":4}"#, r#"{"occurredAt":4}"#),
            (
                r#"{"a":{"occurredAt":4}}"#,
                r#"{"a":{"occurredAt":4},"occurredAt":5}"#,
            ),
            (
                r#"{"occurredAt":4,"occurredAt":3}"#,
                r#"{"occurredAt":4,"occurredAt":3}"#,
            ),
            ("[1]", "[1]"),
        ] {
            let found = with(Json::trusted(data), "occurredAt", "5");
            assert_eq!(found.as_str(), joined);
        }
        let custom = EventData::Custom {
            kind: "grades.synced".into(),
            data: Json::trusted(r#"{"a":1}"#),
            workflow: None,
        };
        let event = NewEvent {
            occurred_at: Some(5),
            by: Some(r#"the "grader""#.into()),
            ..NewEvent::new(custom)
        };
        assert_eq!(
            Texts::of(&event).data.as_str(),
            r#"{"a":1,"occurredAt":5,"by":"the \"grader\""}"#
        );
    }

    #[test]
    fn events_of_versions_that_said_less_are_read() {
        let position = Position {
            epoch: crate::domain::Epoch::from_random(0),
            sequence: 7,
        };
        for (kind, server, data) in [
            (
                "server_connected",
                Some("s"),
                r#"{"connection":{"id":"s","name":"S","transport":"http","capabilities":{"tools":["t"],"resources":[],"prompts":[]}},"reconnected":false}"#,
            ),
            (
                "server_updated",
                Some("s"),
                r#"{"connection":{"id":"s","name":"S","transport":"http"},"changed":["name"]}"#,
            ),
            (
                "server_health_changed",
                Some("s"),
                r#"{"health":"degraded","previousHealth":"healthy","reason":"missed_heartbeats","source":"lease","missedHeartbeats":1,"lastSeenAt":5}"#,
            ),
            (
                "workflow_failed",
                None,
                r#"{"workflowId":"w","name":"W","reason":"cancelled","error":"cancelled","retryAttempts":0}"#,
            ),
            (
                "integration_status_changed",
                None,
                r#"{"status":"degraded","previousStatus":"healthy","connectedServers":2,"healthyServers":1,"lostServers":0,"activeWorkflows":0}"#,
            ),
            (
                "workflow_started",
                None,
                r#"{"workflowId":"w","name":"W","steps":[{"id":"a","params":{"n":1.50},"own":[1e2]}],"readySteps":["a"]}"#,
            ),
        ] {
            let record = Record {
                sequence: 7,
                timestamp: 9,
                kind,
                server,
                workflow: None,
                tags: "",
                data,
                private: "",
            };
            let event = Event::from_record(&record, position).expect(kind);
            let again = event.what.data.to_json();
            if kind == "workflow_started" {
                assert_eq!(again.as_str(), data, "nothing in it is rewritten");
            }
        }
    }
}
