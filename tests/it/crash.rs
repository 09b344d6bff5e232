//! Killed without warning at any moment under load, the hub loses nothing that it acknowledged, doubles nothing,
//! and its state is what its log tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};

use crate::support::{Client, HubProcess};

/// Kills in one run of this test. `TIMEBACK_CRASH_ROUNDS` asks for more.
const ROUNDS: usize = 50;

/// What producers were told, over all rounds.
#[derive(Default)]
struct Told {
    /// Number of the event to the id it was acknowledged with.
    events: Mutex<BTreeMap<u64, String>>,
    /// Servers whose registration was acknowledged.
    servers: Mutex<BTreeSet<String>>,
    /// Workflows whose completion was acknowledged.
    workflows: Mutex<BTreeSet<String>>,
    next: AtomicU64,
    stop: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill() {
    let rounds = std::env::var("TIMEBACK_CRASH_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(ROUNDS);
    let directory = tempfile::tempdir().expect("a directory");
    let told = Arc::new(Told::default());
    for round in 0..rounds {
        let hub = HubProcess::start(
            directory.path(),
            &[("INTEGRATION_SSE_KEEPALIVE_MS", "1000")],
        )
        .await;
        told.stop.store(false, Ordering::Relaxed);
        let load: Vec<_> = (0..6)
            .map(|worker| tokio::spawn(produce(hub.client.clone(), told.clone(), round, worker)))
            .collect();
        // A different moment each round, and always in the midst of work.
        tokio::time::sleep(Duration::from_millis(40 + (round as u64 * 37) % 160)).await;
        hub.kill().await;
        told.stop.store(true, Ordering::Relaxed);
        for worker in load {
            worker.await.expect("a producer ends");
        }
    }
    let hub = HubProcess::start(directory.path(), &[]).await;
    check(&hub.client, &told).await;
    hub.kill().await;
}

/// Asks for changes until the connection breaks, each with a key, and notes what is acknowledged.
async fn produce(client: Client, told: Arc<Told>, round: usize, worker: usize) {
    while !told.stop.load(Ordering::Relaxed) {
        let n = told.next.fetch_add(1, Ordering::Relaxed);
        let key = format!("n-{n}");
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", key.as_str()),
        ];
        let (path, body) = match n % 10 {
            0 => (
                "/servers",
                json!({"id": format!("s-{n}"), "name": "s", "transport": "http", "heartbeatIntervalMs": 300_000}),
            ),
            1 => (
                "/workflows",
                json!({"id": format!("w-{n}"), "name": "w", "steps": ["only"]}),
            ),
            _ => (
                "/events",
                json!({"type": "crash.test", "data": {"n": n, "round": round, "worker": worker}}),
            ),
        };
        let Ok(reply) = client
            .try_send(Method::POST, path, &headers, body.to_string())
            .await
        else {
            return;
        };
        assert!(reply.status.is_success(), "{}", reply.text);
        match n % 10 {
            0 => drop(told.servers.lock().unwrap().insert(format!("s-{n}"))),
            1 => {
                let step = format!("/workflows/w-{n}/steps/only");
                let done = client
                    .try_send(Method::POST, &step, &headers, r#"{"status":"completed"}"#)
                    .await;
                let Ok(done) = done else { return };
                assert_eq!(done.status, 200, "{}", done.text);
                told.workflows.lock().unwrap().insert(format!("w-{n}"));
            }
            _ => {
                let id = reply.json()["ids"][0].as_str().expect("an id").to_owned();
                told.events.lock().unwrap().insert(n, id);
            }
        }
    }
}

async fn check(client: &Client, told: &Told) {
    let reply = client
        .send(
            Method::GET,
            "/events/history",
            &[("accept", "application/x-ndjson")],
            "",
        )
        .await;
    let events: Vec<Value> = reply
        .text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    let sequences: Vec<u64> = events
        .iter()
        .map(|e| e["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(
        sequences,
        (1..=events.len() as u64).collect::<Vec<_>>(),
        "in order, without a hole"
    );

    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for event in events.iter().filter(|e| e["type"] == "crash.test") {
        let n = event["data"]["n"].as_u64().unwrap();
        found
            .entry(n)
            .or_default()
            .push(event["id"].as_str().unwrap().to_owned());
    }
    assert!(found.values().all(|ids| ids.len() == 1), "nothing twice");
    let acknowledged = told.events.lock().unwrap().clone();
    assert!(
        acknowledged.len() > 200,
        "there was load: {}",
        acknowledged.len()
    );
    for (n, id) in &acknowledged {
        assert_eq!(
            found.get(n),
            Some(&vec![id.clone()]),
            "event {n} was acknowledged"
        );
    }

    let connected: BTreeSet<String> = events
        .iter()
        .filter(|e| e["type"] == "server_connected")
        .map(|e| e["serverId"].as_str().unwrap().to_owned())
        .collect();
    let completed: BTreeSet<String> = events
        .iter()
        .filter(|e| e["type"] == "workflow_completed")
        .map(|e| e["data"]["workflowId"].as_str().unwrap().to_owned())
        .collect();
    assert!(told.servers.lock().unwrap().is_subset(&connected));
    assert!(told.workflows.lock().unwrap().is_subset(&completed));
    let snapshot = client.get("/snapshot").await.json();
    let servers: BTreeSet<String> = snapshot["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(servers, connected, "the state is a fold of the log");
    for workflow in snapshot["workflows"].as_array().unwrap() {
        let id = workflow["id"].as_str().unwrap();
        assert_eq!(
            workflow["status"] == "completed",
            completed.contains(id),
            "{id}"
        );
    }
}
