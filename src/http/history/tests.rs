use std::sync::Arc;

use serde_json::{Value, json};

use super::{cut::Cut, lines::next_lines, *};
use crate::domain::{Epoch, Record};
use crate::event_log::{
    Epochs, PlaceAtTime, ReadError, SavedLease, SavedNote, TakeSnapshot, Visit,
};
use crate::http::pieces::Source;

/// A log of events whose timestamps are their sequences; some pruned, one damaged.
#[derive(Clone, Copy)]
struct Stub {
    floor: u64,
    head: u64,
    corrupt: Option<u64>,
}

impl LogReader for Stub {
    fn info(&self) -> LogInfo {
        LogInfo {
            floor: self.floor,
            head: self.head,
            bytes: 0,
        }
    }

    fn epochs(&self) -> Arc<Epochs> {
        Arc::new(Epochs::new(Vec::new(), Epoch::from_random(0), 0))
    }

    fn read(
        &self,
        range: &ReadRange,
        filter: &Filter,
        visit: Visit<'_>,
    ) -> Result<Scanned, ReadError> {
        let (low, high) = (
            range.after.max(self.floor - 1) + 1,
            range.until.min(self.head),
        );
        let mut places: Vec<u64> = (low..=high).collect();
        if range.order == Order::Descending {
            places.reverse();
        }
        let mut last = None;
        for sequence in places.into_iter().take(range.scan_limit) {
            last = Some(sequence);
            let record = Record {
                sequence,
                timestamp: i64::try_from(sequence).expect("small"),
                kind: "a.b",
                server: None,
                workflow: None,
                tags: "",
                data: "{}",
                private: "",
            };
            let flow = if self.corrupt == Some(sequence) {
                visit(Item::Corrupt {
                    first: sequence,
                    last: sequence,
                })
            } else if filter.matches(&record) {
                visit(Item::Event(record))
            } else {
                ControlFlow::Continue(())
            };
            if flow.is_break() {
                break;
            }
        }
        let overtaken = (range.after + 1 < self.floor).then(|| self.floor - 1);
        Ok(match range.order {
            Order::Ascending => Scanned {
                through: last.unwrap_or(high),
                overtaken,
            },
            Order::Descending => {
                let through = last
                    .filter(|last| *last > low)
                    .map_or(range.after, |last| last - 1);
                Scanned {
                    through,
                    overtaken: None,
                }
            }
        })
    }

    fn place_at_time(&self, time: i64) -> Result<PlaceAtTime, ReadError> {
        let first = u64::try_from(time).unwrap_or_default().max(1);
        let after = first.max(self.floor).min(self.head + 1) - 1;
        Ok(PlaceAtTime {
            after,
            pruned: first < self.floor,
        })
    }

    fn read_snapshot(&self, _: TakeSnapshot<'_>) -> Result<Option<u64>, ReadError> {
        Ok(None)
    }

    fn load_notes(&self) -> Result<Vec<SavedNote>, ReadError> {
        Ok(Vec::new())
    }

    fn load_leases(&self) -> Result<Vec<SavedLease>, ReadError> {
        Ok(Vec::new())
    }
}

fn wanted(log: &Stub, query: &str) -> Wanted {
    let query = Query::parse(query).expect("a query");
    Wanted::parse(&query, log, 0)
        .map_err(|problem| problem.detail)
        .expect("a good query")
}

/// Sequences of a page, whether it is truncated, and its cursor.
fn read_page(log: &Stub, query: &str) -> (Vec<u64>, bool, Option<String>) {
    let mut page = Page::new(Arc::new(*log), wanted(log, query));
    let mut text = Vec::new();
    loop {
        let piece = page.next_piece().expect("readable");
        text.extend_from_slice(&piece.bytes);
        if !piece.more {
            break;
        }
    }
    let page: Value = serde_json::from_slice(&text).expect("JSON");
    let events = page["events"].as_array().expect("events");
    let sequences = events
        .iter()
        .filter_map(|event| event["sequence"].as_u64())
        .collect();
    let cursor = page["nextCursor"].as_str().map(str::to_owned);
    (sequences, page["truncated"] == true, cursor)
}

#[test]
fn pages_tell_what_is_missing() {
    let whole = Stub {
        floor: 1,
        head: 5,
        corrupt: None,
    };
    let pruned = Stub {
        floor: 4,
        head: 6,
        corrupt: None,
    };
    let damaged = Stub {
        floor: 1,
        head: 3,
        corrupt: Some(2),
    };
    let empty = Stub {
        floor: 1,
        head: 0,
        corrupt: None,
    };
    let all_gone = Stub {
        floor: 7,
        head: 6,
        corrupt: None,
    };
    let table = [
        (&whole, "", vec![1, 2, 3, 4, 5], false),
        (
            &whole,
            "since=1970-01-01T00:00:00.002Z&until=1970-01-01T00:00:00.004Z",
            vec![2, 3, 4],
            false,
        ),
        (
            &whole,
            "since=1970-01-01T00:00:00.004Z&until=1970-01-01T00:00:00.002Z",
            vec![],
            false,
        ),
        (
            &whole,
            "order=desc&since=1970-01-01T00:00:00.004Z",
            vec![5, 4],
            false,
        ),
        (&pruned, "", vec![4, 5, 6], true),
        (
            &pruned,
            "since=1970-01-01T00:00:00.002Z",
            vec![4, 5, 6],
            true,
        ),
        (&pruned, "since=1970-01-01T00:00:00.005Z", vec![5, 6], false),
        (&pruned, "order=desc", vec![6, 5, 4], true),
        (
            &pruned,
            "order=desc&since=1970-01-01T00:00:00.005Z",
            vec![6, 5],
            false,
        ),
        (&pruned, "order=desc&limit=2", vec![6, 5], false),
        (&damaged, "", vec![1, 3], true),
        (&damaged, "since=1970-01-01T00:00:00.003Z", vec![3], false),
        (&empty, "", vec![], false),
        (&empty, "order=desc", vec![], false),
        (&all_gone, "", vec![], true),
        (&all_gone, "order=desc", vec![], true),
    ];
    for (log, query, sequences, truncated) in table {
        let (found, told, _) = read_page(log, query);
        assert_eq!(
            (found, told),
            (sequences, truncated),
            "{query} from {}",
            log.floor
        );
    }
}

#[test]
fn a_cursor_whose_place_was_pruned_goes_on_and_says_so() {
    let mut log = Stub {
        floor: 1,
        head: 6,
        corrupt: None,
    };
    let (_, _, cursor) = read_page(&log, "limit=2");
    let query = format!("limit=2&cursor={}", cursor.expect("more"));
    assert_eq!(
        read_page(&log, &query),
        (vec![3, 4], false, Some("asc-000000000000-4".to_owned()))
    );
    log.floor = 6;
    assert_eq!(read_page(&log, &query), (vec![6], true, None));
}

#[test]
fn lines_tell_what_is_missing_where_it_is() {
    fn lines(log: &Stub, query: &str) -> Vec<Value> {
        let mut rest = wanted(log, query);
        let mut lines = Vec::new();
        for _ in 0..10 {
            let chunk = next_lines(log, &mut rest, &mut Cut::default()).expect("readable");
            let text = std::str::from_utf8(&chunk).expect("UTF-8");
            lines.extend(text.lines().map(|line| {
                let line: Value = serde_json::from_str(line).expect("JSON");
                match line["type"].as_str() {
                    Some("stream_gap") => {
                        json!([line["data"]["reason"], line["data"]["nextId"]])
                    }
                    _ => line["sequence"].clone(),
                }
            }));
            if rest.is_done() || rest.limit == Some(0) {
                return lines;
            }
        }
        panic!("no end");
    }
    let id = |sequence: u64| format!("000000000000-{sequence}");
    let pruned = Stub {
        floor: 4,
        head: 6,
        corrupt: Some(5),
    };
    let (expired, corrupt) = (json!(["expired", id(4)]), json!(["corrupt", id(6)]));
    assert_eq!(
        lines(&pruned, ""),
        [expired.clone(), json!(4), corrupt.clone(), json!(6)]
    );
    assert_eq!(
        lines(&pruned, "order=desc"),
        [json!(6), corrupt, json!(4), expired]
    );
    assert_eq!(lines(&pruned, "order=desc&limit=1"), [json!(6)]);
    assert_eq!(
        lines(&Stub { floor: 7, ..pruned }, ""),
        [json!(["expired", id(7)])]
    );
}

#[test]
fn one_event_is_there_gone_or_damaged() {
    let log = Stub {
        floor: 4,
        head: 6,
        corrupt: Some(5),
    };
    let status =
        |sequence: u64| match one(&log, &format!("000000000000-{sequence}"), &Filter::all()) {
            Ok(_) => 200,
            Err(problem) => problem.status.as_u16(),
        };
    assert_eq!(
        [0, 3, 4, 5, 6, 7].map(status),
        [404, 410, 200, 410, 200, 404]
    );
}
