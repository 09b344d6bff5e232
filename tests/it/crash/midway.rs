//! Killed on purpose in the middle of what it does beside its work: pruning, keeping a snapshot, reading new API keys.
//!
//! Whether a kill has hit is told by what the dead hub left: a log that is pruned in part, a snapshot that is no newer
//! than it was, a reload that was asked for and is not in its log.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use http::Method;
use serde_json::{Value, json};
use timeback_events::door::{
    Restrictions,
    keys::{KeyFile, NewKey, StoredKey},
};

use super::{
    listeners::{Heard, Listeners},
    producers::Producers,
};
use crate::support::{Client, HubProcess, PATIENCE, Reply, until, variable};

/// Kills in one run. `TIMEBACK_CRASH_ROUNDS` asks for others.
const ROUNDS: usize = 9;

/// Servers in the state, so that keeping it takes a while.
const SERVERS: usize = 2_000;

/// API keys in the file, so that reading it takes a while.
const KEYS: usize = 2_000;

/// Events that fill blocks of their own, so that pruning takes a while: a slice of it drops a megabyte.
const BALLAST: usize = 40;
const BALLAST_BYTES: usize = 200_000;

/// Events that are kept where it is to prune.
const KEPT: u64 = 50;

/// Listeners, and those who ask for changes.
const LISTENERS: usize = 6;
const PRODUCERS: usize = 3;

/// What a hub says when it has read its keys again.
const RELOADED: &str = "API keys are known";

/// What is in the file of a hub that is dead.
#[derive(Debug, Clone, Copy)]
struct Left {
    floor: u64,
    head: u64,
    snapshot: u64,
}

/// Kills that hit, of all that were meant to.
#[derive(Debug, Default, Clone, Copy)]
struct Hits {
    hit: usize,
    of: usize,
}

struct Scene {
    data: tempfile::TempDir,
    keys: PathBuf,
    key: String,
    producers: Producers,
    listeners: Listeners,
    random: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_midst_of_pruning_a_snapshot_or_a_reload_costs_nothing() {
    let rounds = variable("TIMEBACK_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let mut scene = Scene::new().await;
    let [mut pruning, mut snapshots, mut reloads] = [Hits::default(); 3];
    for round in 0..rounds {
        match round % 3 {
            0 => pruning.count(scene.kill_in_pruning().await),
            1 => snapshots.count(scene.kill_in_a_snapshot().await),
            _ => reloads.count(scene.kill_in_a_reload(round).await),
        }
    }
    scene.check().await;
    println!("hit: pruning {pruning:?}, snapshots {snapshots:?}, reloads {reloads:?}");
    let hit = pruning.hit + snapshots.hit + reloads.hit;
    assert!(hit * 2 >= rounds, "too few hit: {hit} of {rounds}");
}

impl Scene {
    /// A log with a large state in it, and a file with many keys.
    async fn new() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let keys = data.path().join("keys.json");
        let file = KeyFile {
            keys: (0..KEYS).map(stored_key).collect(),
        };
        let text = serde_json::to_string(&file).expect("JSON");
        std::fs::write(&keys, text).expect("written");
        let key = KeyFile::add(&keys, admin("the test's"), 0).expect("a key");
        let scene = Self {
            producers: Producers::new(Some(&key)),
            listeners: Listeners::start(LISTENERS, Some(&key)),
            data,
            keys,
            key,
            random: 1,
        };
        let hub = scene.start(None).await;
        for first in (0..SERVERS).step_by(250) {
            let servers: Vec<Value> = (first..first + 250).map(server).collect();
            let reply = scene.post(&hub.client, "/events", &json!(servers)).await;
            assert_eq!(reply.status, 202, "{}", reply.text);
        }
        scene.listeners.turn_to(None);
        hub.terminate().await;
        scene
    }

    /// Fills the log and stops, so that a snapshot stands at its head; starts with a small retention, and kills it when
    /// the first slice is gone. Whether others were still to go. Two listeners are away meanwhile, and will miss something.
    async fn kill_in_pruning(&mut self) -> bool {
        let hub = self.start_for_most(None).await;
        let load = self.producers.begin(&hub.client, PRODUCERS);
        let text = "x".repeat(BALLAST_BYTES);
        for _ in 0..BALLAST {
            let event = json!({"type": "crash.ballast", "data": text});
            let reply = self.post(&hub.client, "/events", &event).await;
            assert_eq!(reply.status, 202, "{}", reply.text);
        }
        self.listeners.turn_to(None);
        hub.terminate().await;
        load.end().await;
        let before = self.left();

        let hub = self.start_for_most(Some(KEPT)).await;
        let load = self.producers.begin(&hub.client, 1);
        until(PATIENCE, "the first slice to be pruned", async || {
            let metrics = self.get(&hub.client, "/metrics").await.text;
            let pruned = metrics
                .lines()
                .find_map(|line| line.strip_prefix("timeback_log_pruned_total "));
            pruned.is_some_and(|events| events != "0")
        })
        .await;
        self.kill(hub).await;
        load.end().await;
        let after = self.left();
        after.floor > before.floor && after.floor + KEPT < before.head
    }

    /// Waits until the thread of a snapshot is there, and kills it soon after. Whether the snapshot wasn't kept yet. Before
    /// that, what was left to prune goes.
    async fn kill_in_a_snapshot(&mut self) -> bool {
        let hub = self.start_for_most(Some(KEPT)).await;
        // As a start leaves it.
        let before = self.left();
        let load = self.producers.begin(&hub.client, PRODUCERS);
        let pid = hub.id();
        let seen = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            while !has_thread(pid, "hub-snapshot") {
                assert!(began.elapsed() < PATIENCE, "no snapshot begins");
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        seen.await.expect("a snapshot begins");
        let delay = Duration::from_micros(self.chance(20_000));
        tokio::time::sleep(delay).await;
        self.kill(hub).await;
        load.end().await;
        self.left().snapshot == before.snapshot
    }

    /// Replaces the file of keys, sends SIGHUP, and kills it while it reads. Whether it had not read it to the end. The
    /// new key is good afterwards.
    async fn kill_in_a_reload(&mut self, round: usize) -> bool {
        let hub = self.start(None).await;
        let load = self.producers.begin(&hub.client, PRODUCERS);
        let asked = Instant::now();
        hub.signal("HUP").await;
        until(PATIENCE, "the keys to be read again", async || {
            hub.logged(RELOADED) > 0
        })
        .await;
        let takes = asked.elapsed();
        let name = format!("of round {round}");
        let new = KeyFile::add(&self.keys, admin(&name), 0).expect("a key");
        let known = hub.logged(RELOADED);
        hub.signal("HUP").await;
        let micros = u64::try_from(takes.as_micros()).expect("a short time");
        tokio::time::sleep(Duration::from_micros(self.chance(micros / 4))).await;
        let log = self.kill(hub).await;
        load.end().await;
        let reloads = log.iter().filter(|line| line.contains(RELOADED)).count();

        let hub = self.start(None).await;
        let headers = [("authorization", format!("Bearer {new}"))];
        let headers = headers.each_ref().map(|(n, v)| (*n, v.as_str()));
        let reply = hub.client.send(Method::GET, "/status", &headers, "").await;
        assert_eq!(reply.status, 200, "the new key is good: {}", reply.text);
        self.kill(hub).await;
        reloads == known
    }

    /// What was acknowledged is there, or was pruned and said to be; the log is whole.
    async fn check(self) {
        let hub = self.start(None).await;
        let snapshot = self.get(&hub.client, "/snapshot").await.json();
        let ids = |list: &str, status: &str| {
            let all = snapshot[list].as_array().expect("a list").iter();
            all.filter(|one| one["status"] == status)
                .map(|one| one["id"].as_str().expect("an id").to_owned())
                .collect()
        };
        self.producers
            .check_state(&ids("servers", "connected"), &ids("workflows", "completed"));
        let heard = self.listeners.hear_the_last(&hub.client, Some(&self.key));
        let heard = heard.await;
        let told = self.producers.acknowledged();
        for listener in &heard {
            listener.has_once(&told);
        }
        let sum = |of: fn(&Heard) -> usize| heard.iter().map(of).sum::<usize>();
        let gaps = sum(|listener| listener.told_of_gaps);
        println!(
            "{} events acknowledged; {} listeners came back {} times, were told of a gap {gaps} times, had all else once",
            told.len(),
            heard.len(),
            sum(|listener| listener.returns),
        );
        assert!(gaps >= 2, "those who were away were told what they missed");
        assert!(hub.terminate().await.success());
        let verified = tokio::process::Command::new(env!("CARGO_BIN_EXE_timeback-events"))
            .args(["log", "verify", "--data"])
            .arg(self.data.path())
            .output()
            .await
            .expect("it runs");
        assert!(verified.status.success(), "{verified:?}");
    }

    /// A hub that all listen to. It keeps so many events, or all.
    async fn start(&self, keeps: Option<u64>) -> HubProcess {
        let hub = self.start_for_most(keeps).await;
        self.listeners.turn_to(Some(hub.address));
        hub
    }

    /// One that all but two listen to.
    async fn start_for_most(&self, keeps: Option<u64>) -> HubProcess {
        let events = keeps.unwrap_or(1_000_000).to_string();
        let hub = HubProcess::start(
            self.data.path(),
            &[
                (
                    "INTEGRATION_API_KEYS_FILE",
                    &self.keys.display().to_string(),
                ),
                ("INTEGRATION_RETENTION_EVENTS", &events),
                ("INTEGRATION_SSE_KEEPALIVE_MS", "1000"),
                // Workflows that have ended are looked for at the end, however many there are.
                ("INTEGRATION_STATE_RETENTION_COUNT", "1000000"),
                ("LOG_LEVEL", "info"),
            ],
        )
        .await;
        self.listeners.turn_most_to(Some(hub.address));
        hub
    }

    /// Its last words.
    async fn kill(&self, hub: HubProcess) -> Vec<String> {
        self.listeners.turn_to(None);
        hub.kill_and_read().await
    }

    async fn get(&self, client: &Client, path: &str) -> Reply {
        let key = format!("Bearer {}", self.key);
        client
            .send(Method::GET, path, &[("authorization", &key)], "")
            .await
    }

    async fn post(&self, client: &Client, path: &str, body: &Value) -> Reply {
        let key = format!("Bearer {}", self.key);
        let headers = [
            ("authorization", key.as_str()),
            ("content-type", "application/json"),
        ];
        client
            .send(Method::POST, path, &headers, body.to_string())
            .await
    }

    fn left(&self) -> Left {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let file = self.data.path().join("hub.db");
        let log = rusqlite::Connection::open_with_flags(file, flags).expect("the log");
        let number = |sql: &str| -> u64 {
            let number: i64 = log.query_row(sql, [], |row| row.get(0)).expect("a number");
            number.try_into().expect("a sequence")
        };
        Left {
            floor: number("SELECT floor FROM bounds"),
            head: number("SELECT max(last) FROM blocks"),
            snapshot: number("SELECT coalesce(max(seq), 0) FROM states"),
        }
    }

    /// A number below `most`: the same ones in each run.
    fn chance(&mut self, most: u64) -> u64 {
        // Knuth's linear congruential generator.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % most.max(1)
    }
}

impl Hits {
    fn count(&mut self, hit: bool) {
        self.hit += usize::from(hit);
        self.of += 1;
    }
}

fn has_thread(pid: u32, name: &str) -> bool {
    let tasks = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    tasks.into_iter().flatten().flatten().any(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    })
}

fn server(number: usize) -> Value {
    let id = format!("large-{number}");
    let tools: Vec<String> = (0..10).map(|tool| format!("tool_{tool}")).collect();
    json!({"type": "server_connected", "serverId": id, "data": {"connection": {
        "id": id, "name": id, "transport": "http", "heartbeatIntervalMs": 300_000,
        "capabilities": {"tools": tools}
    }}})
}

fn admin(name: &str) -> NewKey {
    NewKey {
        name: name.to_owned(),
        scopes: vec!["admin".to_owned()],
        restrictions: Restrictions::default(),
        expires_at: None,
    }
}

/// A key that nobody has.
fn stored_key(number: usize) -> StoredKey {
    StoredKey {
        id: format!("{number:016x}"),
        name: format!("key {number}"),
        hash: format!("sha256:{number:064x}"),
        scopes: vec!["read".to_owned()],
        restrictions: Restrictions::default(),
        created_at: 0,
        expires_at: None,
    }
}
