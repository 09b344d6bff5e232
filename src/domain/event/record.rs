//! An event as the log keeps it: texts that can be borrowed from wherever their bytes lie.

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
            .map(|id| ServerId::parse(id).map_err(|e| unreadable(format!("serverId {e}"))))
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
        Some(EventType::WorkflowStarted) => EventData::WorkflowStarted(from_str(text)?),
        Some(EventType::WorkflowStepStarted) => EventData::WorkflowStepStarted(from_str(text)?),
        Some(EventType::WorkflowStepCompleted) => EventData::WorkflowStepCompleted(from_str(text)?),
        Some(EventType::WorkflowStepFailed) => EventData::WorkflowStepFailed(from_str(text)?),
        Some(EventType::WorkflowCompleted) => EventData::WorkflowCompleted(from_str(text)?),
        Some(EventType::WorkflowFailed) => EventData::WorkflowFailed(from_str(text)?),
        Some(EventType::IntegrationStatusChanged) if has_server => {
            EventData::IntegrationStated(Json::trusted(text))
        }
        Some(EventType::IntegrationStatusChanged) => {
            EventData::IntegrationStatusChanged(from_str(text)?)
        }
        Some(EventType::PatternEnabled) => EventData::PatternEnabled(from_str(text)?),
        Some(EventType::PatternDisabled) => EventData::PatternDisabled(from_str(text)?),
        Some(EventType::Custom(kind)) => EventData::Custom {
            kind,
            data: Json::trusted(text),
            workflow: record.workflow.and_then(|id| WorkflowId::parse(id).ok()),
        },
        None => return Err(serde::de::Error::custom("unknown type")),
    })
}
