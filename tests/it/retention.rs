//! Section 7: what is kept, and what a reader is told of what isn't.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{TestHub, until};

async fn fill(hub: &TestHub, count: usize) -> Vec<Value> {
    let mut ids = Vec::new();
    for _ in 0..count / 500 {
        let items: Vec<_> = (0..500)
            .map(|n| json!({"type": "a.b", "data": {"n": n, "pad": "x".repeat(200)}}))
            .collect();
        let reply = hub.client.post("/events", &json!(items)).await;
        ids.extend(reply.json()["ids"].as_array().unwrap().iter().cloned());
    }
    ids
}

/// How long it may take until something is pruned: 30 s by the contract, and more on a machine that has other work.
const PRUNING: Duration = Duration::from_secs(120);

/// Waits until no more events are kept than may be, give or take a block, and gives the oldest one's sequence.
async fn wait_for_pruning(hub: &TestHub, keeps: u64) -> u64 {
    let end = async |order: &str| {
        let path = format!("/events/history?limit=1&order={order}");
        let page = hub.client.get(&path).await.json();
        page["events"][0]["sequence"].as_u64().unwrap()
    };
    let what = format!("all but {keeps} events to be pruned");
    until(PRUNING, &what, async || {
        end("desc").await - end("asc").await < keeps + 1000
    })
    .await;
    end("asc").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_count_the_oldest_go_and_a_reader_of_theirs_is_told() {
    let hub = TestHub::start_with(|c| c.retention.events = 2000).await;
    hub.client.register("alpha").await;
    let ids = fill(&hub, 12_000).await;
    let oldest = wait_for_pruning(&hub, 2000).await;
    assert!(oldest > 1000);

    let first = ids[0].as_str().unwrap();
    let mut events = hub.resume("", first).await;
    let opened = events.opened("gap").await;
    let data = opened.json();
    assert_eq!(data["reason"], "expired");
    let next = events.next_event().await;
    assert_eq!(
        next.id(),
        data["oldestId"],
        "it goes on from the oldest kept"
    );
    hub.client
        .get(&format!("/events/{first}"))
        .await
        .problem(410, "event-gone");
    assert_eq!(
        hub.client.get("/events/history?since=1h").await.json()["truncated"],
        true
    );
    let mut since = hub.subscribe("since=1h").await;
    assert_eq!(since.opened("gap").await.json()["reason"], "expired");
    let mut earliest = hub.subscribe("lastEventId=earliest").await;
    earliest.opened("replay").await;

    assert_eq!(
        hub.client.get("/servers/alpha").await.json()["status"],
        "connected",
        "state outlives the events that made it"
    );
    let hub = hub.restart().await;
    assert_eq!(
        hub.client.get("/servers/alpha").await.json()["status"],
        "connected"
    );
    let newest = ids.last().unwrap().as_str().unwrap();
    hub.resume("", newest).await.opened("resumed").await;
}
