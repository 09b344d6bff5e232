//! Who asks for changes while the hub is killed, and what they were told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::Client;

/// Number of an event to the id that it was acknowledged with.
pub type Acknowledged = BTreeMap<u64, String>;

/// What producers were told, over all lives of the hub.
pub struct Producers(Arc<Told>);

struct Told {
    events: Mutex<Acknowledged>,
    /// Servers whose registration was acknowledged.
    servers: Mutex<BTreeSet<String>>,
    /// Workflows whose completion was acknowledged.
    workflows: Mutex<BTreeSet<String>>,
    next: AtomicU64,
    /// What they show at the door.
    key: Option<String>,
}

/// Producers at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Producers {
    /// With this key, if the hub asks for one.
    pub fn new(key: Option<&str>) -> Self {
        Self(Arc::new(Told {
            events: Mutex::default(),
            servers: Mutex::default(),
            workflows: Mutex::default(),
            next: AtomicU64::new(0),
            key: key.map(|key| format!("Bearer {key}")),
        }))
    }

    /// So many begin to ask, each until the connection breaks, the hub drains or the load is ended.
    pub fn begin(&self, client: &Client, workers: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let workers = (0..workers)
            .map(|_| tokio::spawn(produce(client.clone(), self.0.clone(), stop.clone())))
            .collect();
        Load { stop, workers }
    }

    /// All events that were acknowledged so far.
    pub fn acknowledged(&self) -> Acknowledged {
        self.0.events.lock().expect("no panic").clone()
    }

    /// Compares what was acknowledged with a log that nothing was pruned from, and the state with the log.
    pub async fn check_whole_log(&self, client: &Client) {
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
        let acknowledged = self.acknowledged();
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
        self.check_state(&servers, &completed);
    }

    /// Compares what was acknowledged with the servers and the completed workflows that there are.
    pub fn check_state(&self, servers: &BTreeSet<String>, completed: &BTreeSet<String>) {
        assert!(self.0.servers.lock().unwrap().is_subset(servers));
        assert!(self.0.workflows.lock().unwrap().is_subset(completed));
    }
}

impl Load {
    /// Waits until all have noticed that it is over.
    pub async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.expect("a producer ends");
        }
    }
}

/// Asks for changes, each with a key, and notes what is acknowledged.
async fn produce(client: Client, told: Arc<Told>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let n = told.next.fetch_add(1, Ordering::Relaxed);
        let once = format!("n-{n}");
        let mut headers = vec![
            ("content-type", "application/json"),
            ("idempotency-key", once.as_str()),
        ];
        if let Some(key) = &told.key {
            headers.push(("authorization", key));
        }
        let (path, body) = match n % 10 {
            0 => (
                "/servers",
                json!({"id": format!("s-{n}"), "name": "s", "transport": "http", "heartbeatIntervalMs": 300_000}),
            ),
            1 => (
                "/workflows",
                json!({"id": format!("w-{n}"), "name": "w", "steps": ["only"]}),
            ),
            _ => ("/events", json!({"type": "crash.test", "data": {"n": n}})),
        };
        let sent = client
            .try_send(Method::POST, path, &headers, body.to_string())
            .await;
        let Ok(reply) = sent else { return };
        if reply.status == 503 {
            // It drains: nothing was acknowledged.
            return;
        }
        assert!(reply.status.is_success(), "{}", reply.text);
        match n % 10 {
            0 => drop(told.servers.lock().unwrap().insert(format!("s-{n}"))),
            1 => {
                let step = format!("/workflows/w-{n}/steps/only");
                let done = client
                    .try_send(Method::POST, &step, &headers, r#"{"status":"completed"}"#)
                    .await;
                let Ok(done) = done else { return };
                if done.status == 503 {
                    return;
                }
                assert_eq!(done.status, 200, "{}", done.text);
                told.workflows.lock().unwrap().insert(format!("w-{n}"));
            }
            _ => {
                // An answer whose body was cut off is none.
                let Ok(answer) = serde_json::from_str::<Value>(&reply.text) else {
                    return;
                };
                let id = answer["ids"][0].as_str().expect("an id").to_owned();
                told.events.lock().unwrap().insert(n, id);
            }
        }
    }
}
