//! The inner loops, each alone: the rules, the wire, the filters, the window, the parser.
//!
//! `cargo bench --bench inner`. Nothing here waits for a disk or a socket.

#[path = "support/emit.rs"]
mod emit;
#[path = "support/fleet.rs"]
mod fleet;

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fleet::{NOW, carry_out, position, register, report, server, verdict};
use timeback_events::{
    domain::{Command, Epoch, Json, Policy, Record},
    event_log::Epochs,
    filter::{Filter, Selection, TypePattern},
    frame::{Format, write_envelope, write_event},
    tail::{Tail, WINDOW_BYTES},
};

// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Servers in the state that commands are decided against.
const SERVERS: usize = 1000;

fn rules(c: &mut Criterion) {
    let policy = Policy::default();
    let state = fleet::fleet(SERVERS, &policy);
    let connection = state
        .servers
        .get(&server(7))
        .expect("it is registered")
        .connected_sequence;
    let mut group = c.benchmark_group("decide and evolve");
    let mut one = |name: &str, command: &Command| {
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || state.clone(),
                |state| carry_out(state, &policy, command),
                BatchSize::SmallInput,
            );
        });
    };
    one("register a new server", &register(SERVERS));
    one("register a known one", &register(7));
    one("verdict on a server", &verdict(7, connection));
    one("claim of a step", &report(7, "running"));
    one("completion of a step", &report(7, "completed"));
    one("custom event", &emit::emit());
    group.finish();
}

/// An event of a server with two tags and `bytes` of data, roughly.
fn record(sequence: u64, data: &str) -> Record<'_> {
    Record {
        sequence,
        timestamp: NOW,
        kind: "server_health_changed",
        server: Some("server-0007"),
        workflow: None,
        tags: "tier:1\nzone:eu",
        data,
        private: "",
    }
}

fn object(bytes: usize) -> String {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - 11))
}

fn encode(c: &mut Criterion) {
    let data = object(150);
    let (record, place) = (record(42, &data), position(42));
    let mut group = c.benchmark_group("encode 150 bytes of data");
    let mut out = Vec::with_capacity(1024);
    for (name, format) in [
        ("named", Format::Named),
        ("message", Format::Message),
        ("cloudevents", Format::CloudEvents),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                write_event(&mut out, format, place, black_box(&record));
                out.len()
            });
        });
    }
    group.bench_function("envelope", |b| {
        b.iter(|| {
            out.clear();
            write_envelope(&mut out, place, black_box(&record));
            out.len()
        });
    });
    group.finish();
}

fn filters(c: &mut Criterion) {
    let data = object(150);
    let record = record(42, &data);
    let exact = |name: &str| TypePattern::Exact(name.to_owned());
    let wishes = [
        ("none", Selection::default()),
        (
            "type",
            Selection {
                types: vec![exact("workflow_failed"), exact(record.kind)],
                ..Selection::default()
            },
        ),
        (
            "prefix",
            Selection {
                types: vec![TypePattern::Prefix("server_".to_owned())],
                ..Selection::default()
            },
        ),
        (
            "server and tag",
            Selection {
                servers: vec![server(7)],
                tags: vec!["zone:eu".to_owned()],
                ..Selection::default()
            },
        ),
    ];
    let mut group = c.benchmark_group("filter match");
    for (name, query) in wishes {
        let filter = Filter { query, grant: None };
        assert!(filter.matches(&record), "{name}");
        group.bench_function(name, |b| b.iter(|| filter.matches(black_box(&record))));
    }
    group.finish();
}

fn tail(c: &mut Criterion) {
    let data = object(150);
    let epochs = Epochs::new(Vec::new(), Epoch::from_random(1), 0);
    let mut group = c.benchmark_group("tail publish");
    for count in [1, 16, 256] {
        // The window is full, as it is in a hub that has run for a while.
        let tail = Arc::new(Tail::new(0, WINDOW_BYTES / 16));
        let mut head = 0;
        group.throughput(Throughput::Elements(count));
        group.bench_function(count.to_string(), |b| {
            b.iter_batched(
                || {
                    head += count;
                    let sequences = head - count + 1..=head;
                    sequences.map(|n| record(n, &data)).collect::<Vec<_>>()
                },
                |records| tail.publish(&records, &epochs),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn parse(c: &mut Criterion) {
    let text = format!(
        r#"{{ "workflowId": "w-1", "n": 17, "ok": true, "list": [1, 2, 3], "text": "{}" }}"#,
        "x".repeat(220)
    );
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(format!("{} bytes of JSON", text.len()), |b| {
        b.iter(|| Json::parse(black_box(&text)).expect("JSON"));
    });
    group.finish();
}

criterion_group!(benches, rules, encode, filters, tail, parse);
criterion_main!(benches);
