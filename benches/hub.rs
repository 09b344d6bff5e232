//! Durable publishes through the hub, without HTTP: what group commit makes of many callers.
//!
//! `cargo bench --bench hub`. The log lies under `target/tmp`, so that it stands on the same disk as the build: make
//! sure that it is a real one. An acknowledgement waits for that disk; `memory` shows the hub without it.

#[path = "support/emit.rs"]
mod emit;

use std::{path::Path, sync::Arc, time::Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use timeback_events::{
    clock::Clock,
    domain::Policy,
    event_log::{self, Retention},
    hub::{Hub, HubThread, Settings},
    metrics::Metrics,
    tail::{Tail, WINDOW_BYTES},
};
use tokio::{runtime::Runtime, task::JoinSet};

// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Callers, and the events that each publishes at once.
const LOADS: [(u64, usize); 4] = [(1, 1), (16, 1), (256, 1), (8, 100)];

/// A hub that nobody listens to.
struct Running {
    hub: Hub,
    thread: HubThread,
}

impl Running {
    fn start(directory: Option<&Path>) -> Self {
        let log = event_log::open(directory).expect("the log opens");
        let tail = Arc::new(Tail::new(log.reader.info().head, WINDOW_BYTES));
        let settings = Settings {
            policy: Policy::default(),
            retention: Retention {
                age: None,
                events: u64::MAX,
                bytes: u64::MAX,
                idempotency_keys: 0,
                idempotency_bytes: u64::MAX,
            },
            clock: Clock::default(),
            metrics: Metrics::new().expect("metrics"),
        };
        let (hub, idle) = Hub::open(log, settings, tail).expect("the log is readable");
        let thread = idle.start(Vec::new(), Vec::new()).expect("a thread");
        Self { hub, thread }
    }

    async fn stop(self) {
        self.hub.stop(Instant::now()).await;
        assert!(self.thread.join(), "the writer ends in order");
    }

    /// Each caller publishes so many times, one after another.
    async fn publish(&self, callers: u64, batch: usize, times: u64) {
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let hub = self.hub.clone();
            tasks.spawn(async move {
                let event = emit::emit();
                for _ in 0..times {
                    let answer = hub.execute_all(vec![event.clone(); batch], None).await;
                    answer.expect("acknowledged");
                }
            });
        }
        tasks.join_all().await;
    }
}

fn publish(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    for name in ["sqlite", "memory"] {
        let mut group = c.benchmark_group(format!("publish, {name}"));
        group.sample_size(10);
        for (callers, batch) in LOADS {
            let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
            let running = runtime
                .block_on(async { Running::start((name == "sqlite").then_some(directory.path())) });
            group.throughput(Throughput::Elements(callers * batch as u64));
            group.bench_function(format!("{callers} callers x {batch}"), |b| {
                b.iter_custom(|times| {
                    let began = Instant::now();
                    runtime.block_on(running.publish(callers, batch, times));
                    began.elapsed()
                });
            });
            runtime.block_on(running.stop());
        }
        group.finish();
    }
}

criterion_group!(benches, publish);
criterion_main!(benches);
