//! Filters: what a reader may see, and what it asks for. The input is a query; where two stand on two lines, the second is
//! the grant.

use std::{ops::ControlFlow, sync::Arc, sync::OnceLock};

use timeback_events::{
    domain::Record,
    event_log::{self, Item, LogReader, Order, ReadRange},
    filter::{Filter, Selection, query::Query},
};

/// A log on the disk and one in memory, with the same events; so many of them that most have postings.
struct House {
    _directory: tempfile::TempDir,
    disk: Arc<dyn LogReader>,
    memory: Arc<dyn LogReader>,
    head: u64,
}

/// A filter finds in the log's postings what it finds event by event, from either end, in pages of any size.
pub(crate) fn check(input: &[u8]) {
    static HOUSE: OnceLock<House> = OnceLock::new();
    let text = super::text(input);
    let (query, grant) = text
        .split_once('\n')
        .map_or((&*text, None), |(q, g)| (q, Some(g)));
    let Some(query) = selection(query) else {
        return;
    };
    let grant = match grant.map(selection) {
        Some(None) => return,
        Some(Some(grant)) => Some(Arc::new(grant)),
        None => None,
    };
    let filter = Filter { query, grant };
    let house = HOUSE.get_or_init(House::new);
    for order in [Order::Ascending, Order::Descending] {
        let expected = found(&*house.memory, house.head, &filter, order, usize::MAX);
        for page in [usize::MAX, 1 + input.len() % 50] {
            let read = found(&*house.disk, house.head, &filter, order, page);
            assert_eq!(read, expected, "{filter:?} {order:?} {page}");
        }
    }
}

fn selection(query: &str) -> Option<Selection> {
    let query = Query::parse(query).ok()?;
    Selection::parse(&query).ok()
}

/// The sequences that a filter wants, page after page.
fn found(
    log: &dyn LogReader,
    head: u64,
    filter: &Filter,
    order: Order,
    scan_limit: usize,
) -> Vec<u64> {
    let mut found = Vec::new();
    let (mut after, mut until) = (0, head);
    while after < until {
        let range = ReadRange {
            after,
            until,
            order,
            scan_limit,
        };
        let mut visit = |item: Item<'_>| {
            match item {
                Item::Event(event) => {
                    assert!(filter.matches(&event));
                    found.push(event.sequence);
                }
                Item::Corrupt { first, last } => panic!("{first} to {last} are damaged"),
            }
            ControlFlow::Continue(())
        };
        let through = log.read(&range, filter, &mut visit).expect("read").through;
        match order {
            Order::Ascending => assert!(std::mem::replace(&mut after, through) < through),
            Order::Descending => assert!(std::mem::replace(&mut until, through) > through),
        }
    }
    found
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut disk = event_log::open(Some(directory.path())).expect("a log");
        let mut memory = event_log::open(None).expect("a log in memory");
        // Large enough for a block of its own, so that there are many.
        let data = format!("\"{}\"", "x".repeat(9_000));
        let kinds = [
            "server_connected",
            "workflow_started",
            "a.b",
            "a.b_c",
            "custom_x",
        ];
        let servers = [None, Some("lms"), Some("s"), Some("lms-2")];
        let workflows = [None, None, Some("w")];
        let tags = ["", "region:eu", "region:eu\nteam:a", "team:b"];
        let mut head = 0;
        for commit in 0..150 {
            let records: Vec<Record<'_>> = (0..1 + commit % 3)
                .map(|n| {
                    let sequence = head + 1 + n as u64;
                    let at = sequence as usize;
                    Record {
                        sequence,
                        timestamp: super::NOW,
                        // What is at the end only, or in one place only, is found alike.
                        kind: if at == 77 {
                            "rare.one"
                        } else {
                            kinds[at * at % kinds.len()]
                        },
                        server: if at > 200 {
                            Some("late")
                        } else {
                            servers[at / 5 % 4]
                        },
                        workflow: workflows[at / 2 % 3],
                        tags: tags[at / 3 % 4],
                        data: if n == 0 { &data } else { "{}" },
                        private: "",
                    }
                })
                .collect();
            for log in [&mut disk, &mut memory] {
                log.writer.append(&records, &[]).expect("appended");
            }
            head += records.len() as u64;
        }
        Self {
            _directory: directory,
            disk: disk.reader,
            memory: memory.reader,
            head,
        }
    }
}
