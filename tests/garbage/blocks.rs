//! The rows of the log: whatever their bytes are, what is read is right or reported as damaged.

use std::ops::ControlFlow;

use timeback_events::{
    domain::Record,
    event_log::{self, Item, Order, ReadRange},
    filter::Filter,
};

use super::{cases, mutate::mutated};

const CASES: u64 = 1_500;
const EVENTS: u64 = 24;

#[test]
fn a_block_of_any_bytes_is_never_served_as_right() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = event_log::open(Some(directory.path())).expect("a log");
    let data: Vec<String> = (1..=EVENTS)
        .map(|n| {
            format!(
                "{{\"n\":{n},\"text\":\"{}\"}}",
                "x".repeat((n * 7 % 40) as usize)
            )
        })
        .collect();
    for (n, data) in (1..).zip(&data) {
        log.writer
            .append(&[record(n, data)], &[])
            .expect("appended");
    }
    let rows = rusqlite::Connection::open(directory.path().join("hub.db")).expect("opens");
    rows.busy_timeout(std::time::Duration::from_secs(5))
        .expect("set");
    rows.pragma_update(None, "synchronous", "OFF").expect("set");
    let blocks: Vec<(i64, Vec<u8>)> = rows
        .prepare("SELECT first, body FROM blocks ORDER BY first")
        .expect("a query")
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("rows");
    let bodies: Vec<Vec<u8>> = blocks.iter().map(|(_, body)| body.clone()).collect();
    let change = "UPDATE blocks SET body = ?2 WHERE first = ?1";
    for (mut case, mut chance) in cases(CASES) {
        let (first, body) = chance.pick(&blocks);
        let garbage = mutated(&mut chance, body, &bodies);
        case.note(format!("block {first}: {garbage:?}"));
        rows.execute(change, (first, &garbage)).expect("changed");
        for order in [Order::Ascending, Order::Descending] {
            let mut found = read(&*log.reader, order, &data);
            found.sort_unstable();
            assert_eq!(
                found,
                (1..=EVENTS).collect::<Vec<_>>(),
                "each once, right or damaged"
            );
        }
        rows.execute(change, (first, body)).expect("changed back");
    }
}

fn record(sequence: u64, data: &str) -> Record<'_> {
    Record {
        sequence,
        timestamp: 1_763_790_000_000,
        kind: "garbage.test",
        server: Some("lms"),
        workflow: None,
        tags: "region:eu",
        data,
        private: "",
    }
}

/// Which sequences a read comes across; an event that differs from what was written fails.
fn read(log: &dyn event_log::LogReader, order: Order, data: &[String]) -> Vec<u64> {
    let range = ReadRange {
        after: 0,
        until: EVENTS,
        order,
        scan_limit: usize::MAX,
    };
    let mut found = Vec::new();
    log.read(&range, &Filter::all(), &mut |item| {
        match item {
            Item::Event(event) => {
                let written = record(event.sequence, &data[event.sequence as usize - 1]);
                assert_eq!(event, written, "a wrong event is served as right");
                found.push(event.sequence);
            }
            Item::Corrupt { first, last } => found.extend(first..=last),
        }
        ControlFlow::Continue(())
    })
    .expect("damage is no error");
    found
}
