//! Thousands of subscribers, of which many never read: the others don't notice, the hub's memory doesn't either, and
//! those that are closed for it come back to where they were.
//!
//! `TIMEBACK_CROWD=10000 TIMEBACK_CROWD_STUCK=1000` for a real crowd.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Crowd, Delays, HubProcess, resident, until, until_streams, variable};

/// Subscribers in all, without the variable.
const SUBSCRIBERS: usize = 500;

/// One subscriber in so many never reads, without the variable.
const STUCK_SHARE: usize = 10;

/// Events that all get, and bytes of each: together several times what the system keeps for a socket that isn't read.
const EVENTS: u64 = 250;
const EVENT_BYTES: usize = 40_000;

/// What is published before anybody listens, so that the window over the newest events is full from the start.
const FILLING: usize = 68 << 20;
const FILLING_BYTES: usize = 200_000;

/// How long a socket may take nothing.
const STALL: Duration = Duration::from_secs(6);

/// Bytes by which the hub may grow while it serves them: what streams may hold of the log (64 MB for each of two loops)
/// and some for all else. A copy of what each of the stuck ones is still to get would be many times more.
const GROWTH: u64 = 200 << 20;

/// How long anything may take before it counts as lost, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// What half of the deliveries may take beyond ten times what they take without those that never read: on a machine that
/// has other work, too, and less than a hub takes that waits for a stalled socket.
const UNHARMED: Duration = Duration::from_secs(3);

/// What was seen of one run.
struct Seen {
    delays: Delays,
    grown: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_never_read_cost_the_others_nothing_and_come_back() {
    rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let all = variable("TIMEBACK_CROWD").unwrap_or(SUBSCRIBERS);
    let stuck = variable("TIMEBACK_CROWD_STUCK").unwrap_or(all / STUCK_SHARE);
    let readers = all - stuck;
    let mut alone = run(readers, 0).await;
    let mut beside = run(readers, stuck).await;
    for (seen, stuck) in [(&mut alone, 0), (&mut beside, stuck)] {
        println!(
            "{readers} that read, {stuck} that never do, {EVENTS} events of {EVENT_BYTES} bytes: half of the deliveries took \
             {:?}, 99 of 100 {:?}, all {:?}; {} MB more resident",
            seen.delays.quantile(0.5),
            seen.delays.quantile(0.99),
            seen.delays.quantile(1.0),
            seen.grown >> 20
        );
    }
    let (alone, beside) = (alone.delays.quantile(0.5), beside.delays.quantile(0.5));
    assert!(
        beside < 10 * alone + UNHARMED,
        "{alone:?} alone, {beside:?} beside {stuck} that never read"
    );
}

/// Publishes to so many that read and so many that don't, one event after the other, each when all readers have the one
/// before.
async fn run(readers: usize, stuck: usize) -> Seen {
    let directory = tempfile::tempdir().expect("a directory");
    let stall = STALL.as_millis().to_string();
    let hub = HubProcess::start(
        directory.path(),
        &[("INTEGRATION_SSE_STALL_TIMEOUT_MS", &stall)],
    )
    .await;
    fill(&hub).await;
    let origin = Instant::now();
    let unread = Crowd::open(hub.address, stuck, origin, true);
    let crowd = Crowd::open(hub.address, readers, origin, false);
    let all = (readers + stuck) as u64;
    until(PATIENCE, &format!("{all} streams"), async || {
        hub.client.get("/status").await.json()["sseClients"] == all
    })
    .await;
    let before = resident(hub.id());
    let mut most = before;
    let mut reading = crowd.read();
    let text = "x".repeat(EVENT_BYTES);
    for n in 0..EVENTS {
        let at = u64::try_from(origin.elapsed().as_micros()).expect("a short test");
        let data = json!({"n": n, "at": at, "text": text});
        hub.client.emit("crowd.test", data).await;
        reading
            .until_taken((n + 1) * readers as u64, PATIENCE)
            .await;
        most = most.max(resident(hub.id()));
    }
    let grown = most - before;
    assert!(grown < GROWTH, "{} MB more resident", grown >> 20);
    until_streams(&hub.client, readers as u64).await;
    let (crowd, delays) = reading.stop();
    assert_eq!(crowd.reached(), (EVENTS, EVENTS));
    assert_eq!(
        metric(&hub, "timeback_streams_ended_total{reason=\"stalled\"}").await,
        stuck as u64,
        "each of those that never read is closed for it"
    );
    drop(crowd);
    if stuck > 0 {
        come_back(&hub, unread).await;
    }
    hub.kill().await;
    Seen { delays, grown }
}

/// Publishes as much as the window holds, several events at a time.
async fn fill(hub: &HubProcess) {
    let text: std::sync::Arc<str> = "x".repeat(FILLING_BYTES).into();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (client, text) = (hub.client.clone(), text.clone());
            tokio::spawn(async move {
                for _ in 0..FILLING / FILLING_BYTES / 4 {
                    client.emit("crowd.filling", json!({"text": *text})).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("published");
    }
}

/// Reads what is left in the sockets, and the rest after a new connection with the last id seen.
async fn come_back(hub: &HubProcess, unread: Crowd) {
    let stuck = unread.len();
    let mut reading = unread.read();
    reading.until_ended(stuck, PATIENCE).await;
    let (unread, _) = reading.stop();
    let (least, most) = unread.reached();
    assert!(most < EVENTS, "they were closed before the end: {most}");
    println!("{stuck} were closed when they had {least} to {most} of {EVENTS} events");
    let left = unread.left(EVENTS);
    let mut reading = unread.resume(hub.address).read();
    reading.until_taken(left, PATIENCE).await;
    let (back, _) = reading.stop();
    assert_eq!(back.reached(), (EVENTS, EVENTS), "nothing lost or doubled");
    assert_eq!(back.verdicts(), ["resumed"]);
}

/// A counter's value; 0 where there is none yet.
async fn metric(hub: &HubProcess, name: &str) -> u64 {
    let reply = hub.client.get("/metrics").await;
    let line = reply.text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().expect("a number"))
}
