//! Under load for long, the hub takes no more of anything: memory, files and threads are at the end what they were after
//! a third of it, and files and threads return to where they were before. `TIMEBACK_SOAK_SECONDS` asks for an hour.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;

use crate::support::{Client, EventStream, HubProcess, until_streams, variable};

/// How long, without the variable.
const SECONDS: u64 = 4;

/// How often it is looked at.
const SAMPLES: u32 = 48;

/// Bytes of an event of the load. `TIMEBACK_SOAK_EVENT_BYTES` asks for others.
const EVENT_BYTES: usize = 2_000;

/// What is published and read in all formats before the load begins, so that what has a bound is full from the start: the
/// window over the newest events, SQLite's pages.
const FILLING: usize = 80 << 20;
const FILLING_BYTES: usize = 200_000;

/// Files beyond the start's that may stay open: the log's readers, a journal and its index each, and what the
/// connections of this test's own client take.
const KEPT_FILES: usize = 40;

/// By how much memory may differ from one part of the run to another: what an allocator keeps comes and goes.
const MARGIN_KB: usize = 24 * 1024;

/// Files and threads that come and go with the load.
const MARGIN: usize = 12;

/// How long what was used may take to be given back: idle threads wait for work for ten seconds.
const SETTLING: Duration = Duration::from_secs(40);

/// What a process takes of the system.
#[derive(Debug, Clone, Copy)]
struct Taken {
    files: usize,
    threads: usize,
    resident_kb: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_files_and_threads_stay_as_they_are() {
    let seconds = variable("TIMEBACK_SOAK_SECONDS").unwrap_or(SECONDS);
    let directory = tempfile::tempdir().expect("a directory");
    // Small enough bounds that all of them are reached.
    let variables = [
        ("INTEGRATION_RETENTION_EVENTS", "20000"),
        ("INTEGRATION_STATE_RETENTION_COUNT", "200"),
        ("INTEGRATION_IDEMPOTENCY_KEYS", "2000"),
        ("INTEGRATION_SSE_KEEPALIVE_MS", "1000"),
        ("INTEGRATION_MAX_REQUESTS_PER_ADDRESS", "0"),
    ];
    let hub = HubProcess::start(directory.path(), &variables).await;
    hub.client.register("first").await;
    let start = taken(hub.id());
    println!("at the start: {start:?}");
    fill(&hub).await;
    println!("filled:       {:?}", taken(hub.id()));

    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicU64::new(0));
    let mut load: Vec<_> = (0..4)
        .map(|worker| {
            tokio::spawn(produce(
                hub.client.clone(),
                worker,
                made.clone(),
                stop.clone(),
            ))
        })
        .collect();
    for _ in 0..4 {
        load.push(tokio::spawn(come_and_go(hub.address, stop.clone())));
    }
    let mut samples = Vec::new();
    let mut looks = tokio::time::interval(Duration::from_secs(seconds) / SAMPLES);
    for number in 0..=SAMPLES {
        looks.tick().await;
        samples.push(taken(hub.id()));
        if number % (SAMPLES / 6) == 0 {
            let second = seconds * u64::from(number) / u64::from(SAMPLES);
            println!("after {second:3} s: {:?}", samples[number as usize]);
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("the load ends in order");
    }
    println!("{} requests in {seconds} s", made.load(Ordering::Relaxed));

    let settling = Instant::now();
    let mut end = taken(hub.id());
    while end.threads > start.threads || end.files > start.files + KEPT_FILES {
        assert!(settling.elapsed() < SETTLING, "{start:?}, then {end:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        end = taken(hub.id());
    }
    println!("at the end:   {end:?}");
    is_flat(&samples);
    assert_eq!(hub.client.get("/status").await.json()["sseClients"], 0);
    hub.kill().await;
}

/// Compares the sixth of the run that follows its first third with its last sixth.
fn is_flat(samples: &[Taken]) {
    let sixth = samples.len() / 6;
    let (early, late) = (&samples[2 * sixth..3 * sixth], &samples[5 * sixth..]);
    let middle = |of: &[Taken], value: fn(&Taken) -> usize| {
        let mut values: Vec<usize> = of.iter().map(value).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let resident = |of| middle(of, |taken| taken.resident_kb);
    let (before, after) = (resident(early), resident(late));
    println!("resident: {before} kB after a third of the run, {after} kB at its end");
    assert!(after < before + MARGIN_KB, "{before} kB, then {after} kB");
    for value in [|taken: &Taken| taken.files, |taken: &Taken| taken.threads] {
        let (before, after) = (middle(early, value), middle(late, value));
        assert!(after < before + MARGIN, "{before}, then {after}: {late:?}");
    }
}

/// Publishes and reads as much as all that has a bound can hold.
async fn fill(hub: &HubProcess) {
    let text: Arc<str> = "x".repeat(FILLING_BYTES).into();
    let many = FILLING / FILLING_BYTES / 4;
    let reading: Vec<_> = ["message", "cloudevents"]
        .into_iter()
        .map(|format| {
            let path = format!("/events?type=soak.filling&format={format}");
            let address = hub.address;
            tokio::spawn(async move {
                let mut stream = EventStream::open(address, &path, &[]).await;
                for _ in 0..many * 4 {
                    stream.next_event().await;
                }
            })
        })
        .collect();
    until_streams(&hub.client, 2).await;
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (client, text) = (hub.client.clone(), text.clone());
            tokio::spawn(async move {
                for _ in 0..many {
                    client.emit("soak.filling", json!({"text": *text})).await;
                }
            })
        })
        .collect();
    for task in workers.into_iter().chain(reading) {
        task.await.expect("filled");
    }
}

/// Registers, works, reports and leaves, over and over.
async fn produce(client: Client, worker: usize, made: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let size = variable("TIMEBACK_SOAK_EVENT_BYTES").unwrap_or(EVENT_BYTES);
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let id = format!("{worker}-{n}");
        let step = format!("/workflows/w-{id}/steps/only");
        let requests = [
            (
                Method::POST,
                "/servers".to_owned(),
                json!({"id": format!("s-{id}"), "name": "s", "transport": "http"}),
            ),
            (
                Method::POST,
                format!("/servers/s-{id}/heartbeat"),
                json!({"health": "healthy"}),
            ),
            (
                Method::POST,
                "/workflows".to_owned(),
                json!({"id": format!("w-{id}"), "name": "w", "steps": ["only"]}),
            ),
            (
                Method::POST,
                step.clone(),
                json!({"status": "running", "serverId": format!("s-{id}")}),
            ),
            (
                Method::POST,
                step,
                json!({"status": "completed", "serverId": format!("s-{id}")}),
            ),
            (
                Method::POST,
                "/events".to_owned(),
                json!({"type": "soak.test", "data": {"n": n, "text": "x".repeat(size)}}),
            ),
            (Method::DELETE, format!("/servers/s-{id}"), json!(null)),
            (
                Method::GET,
                "/events/history?order=desc&limit=20".to_owned(),
                json!(null),
            ),
        ];
        for (at, (method, path, body)) in requests.into_iter().enumerate() {
            let key = format!("{id}-{at}");
            let body = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            let mut headers = vec![("content-type", "application/json")];
            if method == Method::POST && !path.ends_with("heartbeat") {
                headers.push(("idempotency-key", key.as_str()));
            }
            let reply = client.send(method, &path, &headers, body).await;
            assert!(reply.status.is_success(), "{path}: {}", reply.text);
            made.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Opens streams, reads some of each, and leaves without a word.
async fn come_and_go(address: std::net::SocketAddr, stop: Arc<AtomicBool>) {
    let queries = [
        "",
        "?type=soak.test",
        "?replay=50",
        "?snapshot=true",
        "?since=1m&format=cloudevents",
    ];
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let query = queries[turn % queries.len()];
        let mut stream = EventStream::open(address, &format!("/events{query}"), &[]).await;
        for _ in 0..5 {
            stream.next().await;
        }
    }
}

fn taken(pid: u32) -> Taken {
    let of = |line: &str| -> usize {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let value = status
            .lines()
            .find_map(|found| found.strip_prefix(line))
            .expect("a line of its status");
        let number = value.trim().split(' ').next().expect("a number");
        number.parse().expect("a number")
    };
    Taken {
        files: std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"))
            .expect("its files")
            .count(),
        threads: of("Threads:"),
        resident_kb: of("VmRSS:"),
    }
}
