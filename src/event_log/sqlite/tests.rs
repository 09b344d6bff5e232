//! What the log promises, on real files.

mod damage;
mod model;
mod promises;
mod states;
mod tools;

use std::{ops::ControlFlow, path::Path};

use crate::{
    domain::Record,
    event_log::{Item, LogReader, OpenLog, Order, ReadRange, Retention},
    filter::Filter,
};

/// A record as a test writes it down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Written {
    timestamp: i64,
    kind: String,
    server: Option<String>,
    workflow: Option<String>,
    tags: String,
    data: String,
    private: String,
}

impl Written {
    fn of(kind: &str, server: Option<&str>, timestamp: i64) -> Self {
        Self {
            timestamp,
            kind: kind.to_owned(),
            server: server.map(str::to_owned),
            data: r#"{"n":1}"#.to_owned(),
            ..Self::default()
        }
    }

    fn record(&self, sequence: u64) -> Record<'_> {
        Record {
            sequence,
            timestamp: self.timestamp,
            kind: &self.kind,
            server: self.server.as_deref(),
            workflow: self.workflow.as_deref(),
            tags: &self.tags,
            data: &self.data,
            private: &self.private,
        }
    }
}

/// What a read came across.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Event(u64, Written),
    Corrupt(u64, u64),
}

impl Found {
    fn of(item: Item<'_>) -> Self {
        match item {
            Item::Corrupt { first, last } => Self::Corrupt(first, last),
            Item::Event(record) => Self::Event(
                record.sequence,
                Written {
                    timestamp: record.timestamp,
                    kind: record.kind.to_owned(),
                    server: record.server.map(str::to_owned),
                    workflow: record.workflow.map(str::to_owned),
                    tags: record.tags.to_owned(),
                    data: record.data.to_owned(),
                    private: record.private.to_owned(),
                },
            ),
        }
    }

    fn sequences(&self) -> std::ops::RangeInclusive<u64> {
        match self {
            Self::Event(sequence, _) => *sequence..=*sequence,
            Self::Corrupt(first, last) => *first..=*last,
        }
    }
}

/// Keeps all.
const KEEP: Retention = Retention {
    age: None,
    events: u64::MAX,
    bytes: u64::MAX,
    idempotency_keys: u64::MAX,
    idempotency_bytes: u64::MAX,
};

fn opened(directory: &Path) -> OpenLog {
    super::open(directory).expect("the log opens")
}

/// Appends events in one commit.
fn append(log: &mut OpenLog, events: &[Written]) {
    let next = log.reader.info().head + 1;
    let records: Vec<_> = (next..)
        .zip(events)
        .map(|(n, event)| event.record(n))
        .collect();
    log.writer.append(&records, &[]).expect("appended");
}

/// Appends `count` commits of one event each, by a few servers in turn.
fn append_some(log: &mut OpenLog, count: usize) {
    for n in 0..count {
        let server = format!("s{}", n % 7);
        let kind = ["server_connected", "grades.synced", "server_updated"][n % 3];
        append(log, &[Written::of(kind, Some(&server), n as i64)]);
    }
}

/// Reads a range to its end, page by page.
fn read(reader: &dyn LogReader, mut range: ReadRange, filter: &Filter) -> Vec<Found> {
    let mut found = Vec::new();
    loop {
        let scanned = reader
            .read(&range, filter, &mut |item| {
                found.push(Found::of(item));
                ControlFlow::Continue(())
            })
            .expect("readable");
        match range.order {
            Order::Ascending if scanned.through < range.until.min(reader.info().head) => {
                assert!(scanned.through > range.after, "no progress");
                range.after = scanned.through;
            }
            Order::Descending if scanned.through > range.after => {
                assert!(scanned.through < range.until, "no progress");
                range.until = scanned.through;
            }
            _ => return found,
        }
    }
}

fn read_all(log: &OpenLog) -> Vec<Found> {
    read(&*log.reader, whole(Order::Ascending), &Filter::all())
}

fn whole(order: Order) -> ReadRange {
    ReadRange {
        after: 0,
        until: u64::MAX,
        order,
        scan_limit: 500,
    }
}
