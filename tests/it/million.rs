//! A long log: coming back to any place of it, and a replay of all of it on one connection.
//!
//! 100,000 events by default; `TIMEBACK_MILLION=1000000 cargo test --test it million` for the full size. How long it
//! takes is measured by `examples/resume.rs`; here it only has to be right.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{EventStream, TestHub};

/// One event in so many is a needle.
const NEEDLES: u64 = 10_000;

/// Events in one POST.
const ARRAY: u64 = 1000;

/// How long it may take until something is pruned: 30 s by the contract, and more on a machine that has other work.
const PRUNING: Duration = Duration::from_secs(120);

/// Events that the log keeps at least.
fn kept() -> u64 {
    std::env::var("TIMEBACK_MILLION")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000)
}

fn kind(sequence: u64) -> &'static str {
    match sequence % NEEDLES {
        0 => "long.needle",
        _ => "long.hay",
    }
}

/// Appends events until the head is `head`, and gives the id of the first.
async fn fill(hub: &TestHub, head: u64) -> String {
    let mut first = None;
    for start in (1..=head).step_by(ARRAY as usize) {
        let items: Vec<Value> = (start..(start + ARRAY).min(head + 1))
            .map(|sequence| json!({"type": kind(sequence), "data": {"n": sequence}}))
            .collect();
        let reply = hub.client.post("/events", &json!(items)).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        first = first.or_else(|| reply.json()["ids"][0].as_str().map(str::to_owned));
    }
    first.expect("an event")
}

/// Waits until the first event is pruned, and gives the oldest kept one's sequence.
async fn wait_for_pruning(hub: &TestHub, first: &str) -> u64 {
    let pruned = async {
        loop {
            let mut events = hub.resume("", first).await;
            let opened = events.next().await.json();
            if opened["verdict"] == "gap" {
                assert_eq!(opened["reason"], "expired");
                return sequence_of(opened["oldestId"].as_str().expect("an id"));
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PRUNING, pruned)
        .await
        .unwrap_or_else(|_| panic!("{first} was not pruned within {PRUNING:?}"))
}

fn sequence_of(id: &str) -> u64 {
    let (_, sequence) = id.rsplit_once('-').expect("an id");
    sequence.parse().expect("a number")
}

async fn next_sequence(events: &mut EventStream) -> u64 {
    let frame = events.next_event().await;
    let event = frame.json();
    let sequence = event["sequence"].as_u64().expect("a number");
    assert_eq!(event["data"]["n"], sequence, "each event is what was sent");
    assert!(frame.is(kind(sequence)), "{frame:?}");
    assert_eq!(sequence_of(frame.id()), sequence);
    sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_is_resumed_anywhere_and_replayed_whole() {
    let (kept, head) = (kept(), kept() + kept() / 10 / ARRAY * ARRAY + ARRAY);
    let hub = TestHub::start_with(|config| config.retention.events = kept).await;
    let first = fill(&hub, head).await;
    wait_for_pruning(&hub, &first).await;
    // From here on nothing more is pruned, and nothing of the log is in memory.
    let hub = hub
        .restart_with(|config| config.retention.events = u64::MAX)
        .await;
    let oldest = wait_for_pruning(&hub, &first).await;
    assert!(head + 1 - oldest >= kept, "no more goes than has to");
    let epoch = first.strip_suffix("-1").expect("the first of its log");
    let next_needle = |after: u64| (after / NEEDLES + 1) * NEEDLES;

    for after in [head - 1, head - kept / 2, oldest, oldest - 1] {
        let id = format!("{epoch}-{after}");
        let mut all = hub.resume("", &id).await;
        let opened = all.opened("resumed").await;
        assert_eq!(opened.id(), id);
        assert_eq!(next_sequence(&mut all).await, after + 1);
        let mut narrow = hub.resume("type=long.needle", &id).await;
        narrow.opened("resumed").await;
        for needle in (next_needle(after)..=head).step_by(NEEDLES as usize) {
            assert_eq!(next_sequence(&mut narrow).await, needle);
        }
    }

    for (query, next) in [("", oldest), ("type=long.needle", next_needle(oldest - 1))] {
        let mut events = hub.resume(query, &first).await;
        let opened = events.opened("gap").await.json();
        assert_eq!(opened["reason"], "expired");
        assert_eq!(opened["requestedId"], first);
        assert_eq!(next_sequence(&mut events).await, next);
    }

    let mut events = hub.subscribe("lastEventId=earliest").await;
    events.opened("replay").await;
    for expected in oldest..=head {
        assert_eq!(next_sequence(&mut events).await, expected);
    }
    let live = hub.client.emit("long.hay", json!({"n": head + 1})).await;
    assert_eq!(sequence_of(&live), head + 1);
    assert_eq!(events.next_event().await.id(), live, "and on into live");
}
