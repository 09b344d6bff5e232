//! Any sequence of calls does to the log on disk what it does to the one in memory.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{Written, opened, read};
use crate::{
    domain::{ServerId, WorkflowId},
    event_log::{
        LogReader, LogWriter, OpenLog, Order, ReadRange, Remembered, Retention, memory::Memory,
    },
    filter::{Filter, Selection, TypePattern},
};

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Written>, Option<u8>),
    Read(ReadRange, Filter),
    Recall(u8, i64),
    Place(i64),
    Snapshot(u64),
    Prune(Retention, i64),
    Reopen,
}

const KINDS: [&str; 5] = [
    "server_connected",
    "server_updated",
    "workflow_started",
    "grades.synced",
    "custom_x",
];

fn written() -> impl Strategy<Value = Written> {
    let texts = (
        0..KINDS.len(),
        prop::option::of(0..4_u8),
        prop::option::of(0..3_u8),
    );
    let rest = (
        0..200_i64,
        0..4_usize,
        prop_oneof![9 => 0..40_usize, 1 => 9_000..70_000_usize],
    );
    (texts, rest).prop_map(
        |((kind, server, workflow), (timestamp, tags, len))| Written {
            timestamp,
            kind: KINDS[kind].to_owned(),
            server: server.map(|n| format!("s{n}")),
            workflow: workflow.map(|n| format!("w{n}")),
            tags: ["", "a:1", "a:1\nb:2", "b:2"][tags].to_owned(),
            data: format!("\"{}\"", "x".repeat(len)),
            private: if len % 3 == 0 {
                String::new()
            } else {
                "{}".to_owned()
            },
        },
    )
}

fn selection() -> impl Strategy<Value = Selection> {
    let pattern = prop_oneof![
        (0..KINDS.len()).prop_map(|n| TypePattern::Exact(KINDS[n].to_owned())),
        prop_oneof![Just("server_"), Just("grades."), Just("nothing"), Just("")]
            .prop_map(|prefix: &str| TypePattern::Prefix(prefix.to_owned())),
    ];
    (
        prop::collection::vec(pattern, 0..3),
        prop::collection::vec(0..5_u8, 0..3),
        prop::collection::vec(0..4_u8, 0..2),
        prop::collection::vec(prop_oneof![Just("a:1"), Just("b:2"), Just("c:3")], 0..2),
    )
        .prop_map(|(types, servers, workflows, tags)| Selection {
            types,
            servers: servers
                .iter()
                .map(|n| ServerId::parse(&format!("s{n}")).expect("id"))
                .collect(),
            workflows: workflows
                .iter()
                .map(|n| WorkflowId::parse(&format!("w{n}")).expect("id"))
                .collect(),
            tags: tags.into_iter().map(str::to_owned).collect(),
        })
}

fn filter() -> impl Strategy<Value = Filter> {
    (selection(), prop::option::weighted(0.2, selection())).prop_map(|(query, grant)| Filter {
        query,
        grant: grant.map(Arc::new),
    })
}

fn range() -> impl Strategy<Value = ReadRange> {
    let order = prop_oneof![Just(Order::Ascending), Just(Order::Descending)];
    let until = prop_oneof![1..300_u64, Just(u64::MAX)];
    (
        0..300_u64,
        until,
        order,
        prop_oneof![1..10_usize, Just(500)],
    )
        .prop_map(|(after, until, order, scan_limit)| ReadRange {
            after,
            until,
            order,
            scan_limit,
        })
}

fn retention() -> impl Strategy<Value = Retention> {
    let age = prop::option::of((0..200_u64).prop_map(Duration::from_millis));
    let bytes = prop_oneof![Just(u64::MAX), 100_000..300_000_u64];
    (
        age,
        prop_oneof![0..200_u64, Just(u64::MAX)],
        bytes,
        0..10_u64,
    )
        .prop_map(|(age, events, bytes, idempotency_keys)| Retention {
            age,
            events,
            bytes,
            idempotency_keys,
            idempotency_bytes: u64::MAX,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let commit = prop_oneof![8 => prop::collection::vec(written(), 1..4), 2 => prop::collection::vec(written(), 30..60)];
    prop_oneof![
        10 => (commit, prop::option::of(0..9_u8)).prop_map(|(events, key)| Step::Append(events, key)),
        8 => (range(), filter()).prop_map(|(range, filter)| Step::Read(range, filter)),
        2 => (0..9_u8, 0..200_000_000_i64).prop_map(|(key, now)| Step::Recall(key, now)),
        2 => (0..220_i64).prop_map(Step::Place),
        1 => (0..300_u64).prop_map(Step::Snapshot),
        2 => (retention(), 100..300_i64).prop_map(|(retention, now)| Step::Prune(retention, now)),
        1 => Just(Step::Reopen),
    ]
}

/// Prunes to the end and holds what is kept against the bounds.
fn prune(log: &mut OpenLog, model: &Memory, retention: &Retention, now: i64, snapshot: u64) {
    let head = log.reader.info().head;
    while log.writer.prune(retention, now).expect("pruned").more {}
    let floor = log.reader.info().floor;
    assert!(
        floor <= snapshot + 1,
        "an event that no snapshot holds is gone"
    );
    assert_eq!(log.reader.info().head, head);
    let everything = ReadRange {
        after: 0,
        until: u64::MAX,
        order: Order::Ascending,
        scan_limit: 99,
    };
    if retention.age.is_none() && retention.bytes == u64::MAX {
        let kept = head + 1 - floor;
        let before = head + 1 - model.info().floor;
        assert!(
            kept >= retention.events.min(before),
            "more is gone than the bound says"
        );
    }
    model.drop_before(floor);
    assert_eq!(
        read(&*log.reader, everything, &Filter::all()),
        read(model, everything, &Filter::all())
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn disk_and_memory_agree(steps in prop::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut log = opened(directory.path());
        let mut model = Memory::default();
        let mut snapshot = 0;
        for step in steps {
            match step {
                Step::Append(events, key) => {
                    let next = model.info().head + 1;
                    let records: Vec<_> = (next..).zip(&events).map(|(n, e)| e.record(n)).collect();
                    let answers: Vec<_> = key.into_iter().map(|key| Remembered {
                        key: [key; 16],
                        request: [key.wrapping_mul(3); 16],
                        timestamp: events[0].timestamp,
                        sequence: next,
                        status: 201,
                        body: key.is_multiple_of(2).then(crate::domain::Json::empty_object),
                    }).collect();
                    log.writer.append(&records, &answers).expect("appended");
                    model.append(&records, &answers).expect("appended");
                }
                Step::Read(range, filter) => {
                    prop_assert_eq!(
                        read(&*log.reader, range, &filter),
                        read(&model, range, &filter),
                        "{:?} {:?}", range, filter
                    );
                }
                Step::Recall(key, now) => {
                    let key = [key; 16];
                    prop_assert_eq!(
                        log.writer.recall(&key, now).expect("read"),
                        model.recall(&key, now).expect("read")
                    );
                }
                Step::Place(time) => prop_assert_eq!(
                    log.reader.place_at_time(time).expect("read"),
                    model.place_at_time(time).expect("read")
                ),
                Step::Snapshot(at) => {
                    let at = at.min(model.info().head);
                    if at >= snapshot {
                        snapshot = at;
                        log.writer.save_snapshot(at, &at.to_le_bytes()).expect("saved");
                        model.save_snapshot(at, &at.to_le_bytes()).expect("saved");
                    }
                }
                Step::Prune(retention, now) => {
                    // Which keys go first among those given at one time is not said, so keep them.
                    let retention = Retention { idempotency_keys: u64::MAX, ..retention };
                    prune(&mut log, &model, &retention, now, snapshot);
                }
                Step::Reopen => {
                    drop(log);
                    log = opened(directory.path());
                }
            }
            let (info, expected) = (log.reader.info(), model.info());
            prop_assert_eq!((info.floor, info.head), (expected.floor, expected.head));
            prop_assert_eq!(
                log.reader.load_snapshot().expect("read"),
                model.load_snapshot().expect("read")
            );
            let epochs = log.reader.epochs();
            for sequence in info.floor - 1..=info.head {
                prop_assert!(epochs.contains(epochs.name(sequence), info.head));
            }
        }
    }
}
