//! The log alone: durable appends by batch size, and reads of a log that was closed in between.
//!
//! `cargo bench --bench log`. Appends wait for the disk, so read ratios rather than absolutes.

use std::{hint::black_box, ops::ControlFlow, path::Path};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use timeback_events::{
    domain::{Record, ServerId},
    event_log::{self, Item, OpenLog, Order, ReadRange},
    filter::{Filter, Selection, TypePattern},
};

/// Servers that take turns.
const SERVERS: usize = 64;

/// Events in the log that is read.
const STORED: u64 = 200_000;

/// Events per commit in the log that is read.
const PER_COMMIT: u64 = 32;

struct Texts {
    servers: Vec<String>,
    data: String,
}

impl Texts {
    fn new() -> Self {
        let data = format!(r#"{{"n":1,"text":"{}"}}"#, "x".repeat(250));
        Self {
            servers: (0..SERVERS).map(|n| format!("server-{n:03}")).collect(),
            data,
        }
    }

    fn record(&self, sequence: u64) -> Record<'_> {
        let server = &self.servers[sequence as usize % SERVERS];
        Record {
            sequence,
            timestamp: sequence as i64,
            kind: "grades.synced",
            server: Some(server),
            workflow: None,
            tags: "zone:eu\ntier:1",
            data: &self.data,
            private: "",
        }
    }

    fn batch(&self, after: u64, count: u64) -> Vec<Record<'_>> {
        (after + 1..=after + count)
            .map(|sequence| self.record(sequence))
            .collect()
    }
}

fn opened(directory: &Path) -> OpenLog {
    event_log::open(Some(directory)).expect("the log opens")
}

fn append(c: &mut Criterion) {
    let texts = Texts::new();
    let mut group = c.benchmark_group("append");
    for count in [1, 16, 64, 256, 1000] {
        let directory = tempfile::tempdir().expect("a directory");
        let OpenLog { mut writer, reader } = opened(directory.path());
        group.throughput(Throughput::Elements(count));
        group.bench_function(count.to_string(), |b| {
            b.iter_batched(
                || texts.batch(reader.info().head, count),
                |batch| writer.append(&batch, &[]).expect("appended"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let texts = Texts::new();
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    for after in (0..STORED).step_by(PER_COMMIT as usize) {
        log.writer
            .append(&texts.batch(after, PER_COMMIT), &[])
            .expect("appended");
    }
    let needle = Record {
        kind: "needle.found",
        ..texts.record(STORED + 1)
    };
    log.writer.append(&[needle], &[]).expect("appended");
    drop(log);

    let OpenLog {
        writer: _writer,
        reader,
    } = opened(directory.path());
    let mut all = |name: &str, throughput: u64, order: Order, filter: Filter| {
        let mut group = c.benchmark_group("read");
        group.throughput(Throughput::Elements(throughput));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut range = ReadRange {
                    after: 0,
                    until: STORED + 1,
                    order,
                    scan_limit: 1000,
                };
                let mut found = 0_u64;
                while range.after < range.until {
                    let scanned = reader
                        .read(&range, &filter, &mut |item| {
                            if let Item::Event(record) = item {
                                found += black_box(record).data.len().min(1) as u64;
                            }
                            ControlFlow::Continue(())
                        })
                        .expect("readable");
                    match order {
                        Order::Ascending => range.after = scanned.through,
                        Order::Descending => range.until = scanned.through,
                    }
                }
                assert_eq!(found, throughput);
            });
        });
        group.finish();
    };
    all("all", STORED + 1, Order::Ascending, Filter::all());
    all(
        "all_descending",
        STORED + 1,
        Order::Descending,
        Filter::all(),
    );
    let server = ServerId::parse("server-007").expect("an id");
    let servers = Selection {
        servers: vec![server],
        ..Selection::default()
    };
    let count = (1..=STORED).filter(|n| n % SERVERS as u64 == 7).count() as u64;
    all(
        "one_server_of_64",
        count,
        Order::Ascending,
        Filter {
            query: servers,
            grant: None,
        },
    );
    let types = vec![TypePattern::Exact("needle.found".to_owned())];
    let needle = Selection {
        types,
        ..Selection::default()
    };
    all(
        "one_event_of_200000",
        1,
        Order::Ascending,
        Filter {
            query: needle,
            grant: None,
        },
    );
}

criterion_group!(benches, append, read);
criterion_main!(benches);
