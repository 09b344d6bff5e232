//! Rows of the log's file, changed behind its back and read through its front. The input is changes, each of five
//! bytes and up to fifteen more: what to do, to which row, a number of two bytes, and how many bytes follow.

use std::{
    cell::RefCell,
    ops::ControlFlow,
    sync::{Mutex, OnceLock},
};

use rusqlite::{Connection, params};
use timeback_events::{
    domain::Record,
    event_log::{self, Item, OpenLog, Order, ReadRange},
    filter::Filter,
};

/// Events in the log, three to a commit.
const EVENTS: u64 = 24;

/// Each event of the log is read once: as it was written, or as damaged. One that was given a checksum of its own may
/// read as something else, but no event may come twice or not at all, and damage is never an error.
pub(crate) fn check(input: &[u8]) {
    static HOUSE: OnceLock<Mutex<House>> = OnceLock::new();
    let house = HOUSE.get_or_init(|| Mutex::new(House::new()));
    // A case that failed leaves nothing behind that the next one doesn't put right.
    let house = house
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    house.restore();
    let mut rest = input;
    let mut forged = false;
    for _ in 0..16 {
        let Some((change, bytes, after)) = next(rest) else {
            break;
        };
        forged |= house.change(change, bytes);
        rest = after;
    }
    for order in [Order::Ascending, Order::Descending] {
        let mut found = house.read(order, forged);
        assert!(found.is_sorted_by(|a, b| match order {
            Order::Ascending => a < b,
            Order::Descending => a > b,
        }));
        found.sort_unstable();
        assert_eq!(
            found,
            (1..=EVENTS).collect::<Vec<_>>(),
            "each once, right or damaged"
        );
    }
}

fn next(input: &[u8]) -> Option<([usize; 3], &[u8], &[u8])> {
    let (head, rest) = input.split_at_checked(5)?;
    let (bytes, rest) = rest.split_at_checked(usize::from(head[4] & 15))?;
    let number = usize::from(u16::from_le_bytes([head[2], head[3]]));
    Some(([head[0].into(), head[1].into(), number], bytes, rest))
}

/// A log and a second way to its file.
struct House {
    _directory: tempfile::TempDir,
    log: OpenLog,
    rows: Connection,
    sound: Vec<Row>,
    data: Vec<String>,
    changed: RefCell<bool>,
}

#[derive(Clone)]
struct Row {
    first: i64,
    last: i64,
    ts_max: i64,
    body: Vec<u8>,
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut log = event_log::open(Some(directory.path())).expect("a log");
        let text = |n: u64| "x".repeat((n * 7 % 40) as usize);
        let data: Vec<String> = (1..=EVENTS)
            .map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}", text(n)))
            .collect();
        let records: Vec<Record<'_>> = (1..).zip(&data).map(|(n, data)| record(n, data)).collect();
        for commit in records.chunks(3) {
            log.writer.append(commit, &[]).expect("appended");
        }
        let rows = Connection::open(directory.path().join("hub.db")).expect("opens");
        rows.busy_timeout(std::time::Duration::from_secs(5))
            .expect("set");
        rows.execute_batch("PRAGMA synchronous = OFF").expect("set");
        let sound = rows
            .prepare("SELECT first, last, ts_max, body FROM blocks ORDER BY first")
            .expect("a query")
            .query_map([], |row| {
                Ok(Row {
                    first: row.get(0)?,
                    last: row.get(1)?,
                    ts_max: row.get(2)?,
                    body: row.get(3)?,
                })
            })
            .expect("rows")
            .collect::<Result<_, _>>()
            .expect("rows");
        Self {
            _directory: directory,
            log,
            rows,
            sound,
            data,
            changed: RefCell::new(false),
        }
    }

    /// Puts the rows back as they were written.
    fn restore(&self) {
        if !self.changed.replace(false) {
            return;
        }
        self.run("BEGIN", params![]);
        self.run("DELETE FROM blocks", params![]);
        for row in &self.sound {
            self.run(
                "INSERT INTO blocks VALUES (?1, ?2, ?3, ?4)",
                params![row.first, row.last, row.ts_max, row.body],
            );
        }
        self.run("COMMIT", params![]);
    }

    /// Makes one change; tells whether it may have given a record, or a directory, a checksum that fits.
    fn change(&self, [what, which, number]: [usize; 3], bytes: &[u8]) -> bool {
        self.changed.replace(true);
        let row = &self.sound[which % self.sound.len()];
        let value = i64::from_le_bytes(std::array::from_fn(|n| bytes.get(n).copied().unwrap_or(0)));
        let mut body = row.body.clone();
        let at = number % body.len();
        match what % 8 {
            0 => {
                let end = (at + bytes.len()).min(body.len());
                body[at..end].copy_from_slice(&bytes[..end - at]);
                self.put(row, &body);
                guards(&row.body).any(|guard| guard.start < end && at < guard.end)
            }
            1 => {
                body.truncate(at);
                self.put(row, &body);
                false
            }
            2 => {
                body.extend_from_slice(bytes);
                self.put(row, &body);
                true
            }
            3 => {
                self.put(row, &self.sound[number % self.sound.len()].body);
                false
            }
            4 => {
                self.run("DELETE FROM blocks WHERE first = ?1", params![row.first]);
                false
            }
            5 => {
                let change = "UPDATE OR REPLACE blocks SET first = ?2 WHERE first = ?1";
                self.run(change, params![row.first, value]);
                false
            }
            6 => {
                let change = "UPDATE blocks SET last = ?2 WHERE first = ?1";
                self.run(change, params![row.first, value]);
                false
            }
            _ => {
                let change = "UPDATE blocks SET ts_max = ?2 WHERE first = ?1";
                self.run(change, params![row.first, value]);
                false
            }
        }
    }

    fn put(&self, row: &Row, body: &[u8]) {
        let change = "UPDATE blocks SET body = ?2 WHERE first = ?1";
        self.run(change, params![row.first, body]);
    }

    fn run(&self, sql: &str, params: &[&dyn rusqlite::ToSql]) {
        let mut statement = self.rows.prepare_cached(sql).expect("a statement");
        statement.execute(params).expect("changed");
    }

    /// Which sequences a read comes across.
    fn read(&self, order: Order, forged: bool) -> Vec<u64> {
        let range = ReadRange {
            after: 0,
            until: EVENTS,
            order,
            scan_limit: usize::MAX,
        };
        let mut found = Vec::new();
        let mut visit = |item: Item<'_>| {
            match item {
                Item::Event(event) => {
                    let written = record(event.sequence, &self.data[event.sequence as usize - 1]);
                    assert!(
                        forged || event == written,
                        "a wrong event is served as right"
                    );
                    found.push(event.sequence);
                }
                Item::Corrupt { first, last } => match order {
                    Order::Ascending => found.extend(first..=last),
                    Order::Descending => found.extend((first..=last).rev()),
                },
            }
            ControlFlow::Continue(())
        };
        let read = self.log.reader.read(&range, &Filter::all(), &mut visit);
        read.expect("damage is no error");
        found
    }
}

/// Where a body's checksums and its directory lie.
fn guards(body: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let number = |at: usize| {
        let bytes = std::array::from_fn(|n| body[at + n]);
        u32::from_le_bytes(bytes) as usize
    };
    let count = number(body.len() - 8);
    let directory = body.len() - 8 - 4 * count;
    let starts = (1..count).map(move |n| number(directory + 4 * (n - 1)));
    let records = std::iter::once(0)
        .chain(starts)
        .map(|start| start..start + 4);
    records.chain(std::iter::once(directory..body.len()))
}

fn record(sequence: u64, data: &str) -> Record<'_> {
    Record {
        sequence,
        timestamp: super::NOW,
        kind: "garbage.test",
        server: Some("lms"),
        workflow: None,
        tags: "region:eu",
        data,
        private: "",
    }
}
