//! An event as the disk keeps it, so that a fold reads what a start would read.

use timeback_events::domain::{Event, Position, Record};

pub(crate) struct Stored {
    position: Position,
    timestamp: i64,
    kind: String,
    server: Option<String>,
    workflow: Option<String>,
    tags: String,
    data: String,
    private: String,
}

impl Stored {
    pub(crate) fn of(event: &Event) -> Self {
        let what = &event.what;
        Self {
            position: event.position,
            timestamp: event.timestamp,
            kind: what.data.kind().as_str().to_owned(),
            server: what.server.as_ref().map(ToString::to_string),
            workflow: what.data.workflow().map(ToString::to_string),
            tags: what.tag_lines(),
            data: what.data.to_json().as_str().to_owned(),
            private: serde_json::to_string(&what.private).expect("JSON"),
        }
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.position.sequence
    }

    pub(crate) fn read(&self) -> Event {
        let record = Record {
            sequence: self.position.sequence,
            timestamp: self.timestamp,
            kind: &self.kind,
            server: self.server.as_deref(),
            workflow: self.workflow.as_deref(),
            tags: &self.tags,
            data: &self.data,
            private: &self.private,
        };
        Event::from_record(&record, self.position).expect("what was stored can be read")
    }
}
