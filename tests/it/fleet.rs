//! A large fleet: every verdict falls within half an interval of when it is due, none falls on those that are well, and a
//! restart in the midst of it raises no storm.
//!
//! `TIMEBACK_FLEET=10000` for 10,000 servers of three instances each.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Client, EventStream, HubProcess, until, variable};

/// Servers, without the variable, and instances of each.
const SERVERS: usize = 1_000;
const INSTANCES: usize = 3;

/// How often each instance sends a heartbeat.
const INTERVAL_MS: u64 = 1_000;

/// One server in so many falls silent with all its instances, and as many lose one alone.
const SILENT_SHARE: usize = 50;

/// Heartbeats missed until a server is degraded, unhealthy and gone: the defaults.
const DUE: [(&str, u64); 3] = [("degraded", 1), ("unhealthy", 3), ("gone", 10)];

const PATIENCE: Duration = Duration::from_secs(120);

/// Who is silent, and when it was last heard of.
struct Herd {
    servers: usize,
    client: Mutex<Client>,
    silent: AtomicBool,
    stop: AtomicBool,
    /// When the heartbeats of these instances were last sent and answered.
    last: Mutex<HashMap<(usize, usize), (Instant, Instant)>>,
    missed_turns: AtomicU64,
}

impl Herd {
    fn falls_silent(server: usize, instance: usize) -> bool {
        match server % SILENT_SHARE {
            0 => true,
            1 => instance == 0,
            _ => false,
        }
    }

    /// Sends the heartbeats of a thousand instances each interval, spread over it, as long as the herd lives.
    async fn beat(self: Arc<Self>, from: usize, to: usize, offset: Duration) {
        let mut next = tokio::time::Instant::now() + offset;
        while !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep_until(next).await;
            next += Duration::from_millis(INTERVAL_MS);
            if next < tokio::time::Instant::now() {
                self.missed_turns.fetch_add(1, Ordering::Relaxed);
            }
            let silent = self.silent.load(Ordering::Relaxed);
            let who: Vec<_> = (from..to)
                .map(|n| (n / INSTANCES, n % INSTANCES))
                .filter(|(server, instance)| !(silent && Self::falls_silent(*server, *instance)))
                .collect();
            let beats: Vec<_> = who
                .iter()
                .map(|(server, instance)| json!({"id": id(*server), "instanceId": format!("i-{instance}")}))
                .collect();
            let client = self.client.lock().expect("nobody panics").clone();
            let headers = [("content-type", "application/json")];
            let body = json!(beats).to_string();
            let sent = Instant::now();
            // The hub may be down for a moment.
            let answer = client.try_send(http::Method::POST, "/heartbeats", &headers, body);
            if answer.await.is_ok_and(|answer| answer.status == 200) {
                let mut last = self.last.lock().expect("nobody panics");
                for (server, instance) in who {
                    if Self::falls_silent(server, instance) {
                        last.insert((server, instance), (sent, Instant::now()));
                    }
                }
            }
        }
    }
}

fn id(server: usize) -> String {
    format!("s-{server}")
}

/// The server of an event.
fn server_of(event: &Value) -> usize {
    let id = event["serverId"].as_str().expect("a server's");
    id.trim_start_matches("s-").parse().expect("a number")
}

async fn register(client: &Client, servers: usize) {
    let all: Vec<_> = (0..servers * INSTANCES)
        .map(|n| {
            let server = id(n / INSTANCES);
            json!({"type": "server_connected", "serverId": server, "data": {"connection": {"name": server,
                "transport": "http", "instances": "many", "instanceId": format!("i-{}", n % INSTANCES),
                "heartbeatIntervalMs": INTERVAL_MS, "tags": {"herd": "large"}}}})
        })
        .collect();
    for some in all.chunks(600) {
        assert_eq!(client.post("/events", &json!(some)).await.status, 202);
    }
}

/// How late verdicts are, in milliseconds after their time: the hub's own word, and from the last heartbeat's answer to the
/// verdict at a listener.
#[derive(Default)]
struct Lateness {
    told: Vec<f64>,
    seen: Vec<f64>,
}

impl Lateness {
    fn print(&mut self, what: &str) {
        for (whose, lateness) in [
            ("by its own times", &mut self.told),
            ("at a listener", &mut self.seen),
        ] {
            lateness.sort_by(f64::total_cmp);
            let at = |share: f64| lateness[((lateness.len() - 1) as f64 * share) as usize];
            println!(
                "{what}, {whose}: {} verdicts, from {:.0} to {:.0} ms after their time, half within {:.0}, 99 of 100 within {:.0}",
                lateness.len(),
                at(0.0),
                at(1.0),
                at(0.5),
                at(0.99)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute, and measures: for a quiet machine and a release build"]
async fn a_large_fleets_verdicts_are_in_time_and_a_restart_raises_no_storm() {
    let servers: usize = variable("TIMEBACK_FLEET").unwrap_or(SERVERS);
    let directory = tempfile::tempdir().expect("a directory");
    let hub = HubProcess::start(directory.path(), &[]).await;
    let herd = Arc::new(Herd {
        servers,
        client: Mutex::new(hub.client.clone()),
        silent: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        last: Mutex::default(),
        missed_turns: AtomicU64::new(0),
    });
    let began = Instant::now();
    let beating = start(&herd);
    register(&hub.client, servers).await;
    println!(
        "{servers} servers of {INSTANCES} instances registered in {:?}",
        began.elapsed()
    );
    // Those that registered first may have been called late before their heartbeats were heard of: until all are well.
    until(PATIENCE, "all to be well", async || {
        hub.client.get("/status").await.json()["healthyServers"] == servers
    })
    .await;

    let mut events = EventStream::open(hub.address, "/events?type=server_*", &[]).await;
    events.opened("live").await;
    herd.silent.store(true, Ordering::Relaxed);
    verdicts(&herd, &mut events).await;
    drop(events);

    // SIGKILL, and a start on what is there.
    let head = hub.client.get("/status").await.json()["lastEventId"].clone();
    hub.kill().await;
    let began = Instant::now();
    let hub = HubProcess::start(directory.path(), &[]).await;
    *herd.client.lock().expect("nobody panics") = hub.client.clone();
    println!("started again after {:?}", began.elapsed());
    let place = head.as_str().expect("an id");
    let mut events = EventStream::open(hub.address, "/events", &[("Last-Event-ID", place)]).await;
    events.opened("resumed").await;
    // Were the time of the restart held against anybody, it would show by the tenth missed heartbeat.
    let mark = tokio::spawn({
        let client = hub.client.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(INTERVAL_MS * 11)).await;
            client.emit("fleet.over", json!({})).await;
        }
    });
    let mut storm = 0;
    while !{ events.next_event().await }.is("fleet.over") {
        storm += 1;
    }
    mark.await.expect("it is sent");
    println!("events in the eleven intervals after the restart: {storm}");
    assert_eq!(storm, 0, "a restart tells nothing of those that are well");
    let status = hub.client.get("/status").await.json();
    assert_eq!(status["selfSuspect"], Value::Null, "{status}");
    println!(
        "turns that began late: {}",
        herd.missed_turns.load(Ordering::Relaxed)
    );
    herd.stop.store(true, Ordering::Relaxed);
    for task in beating {
        task.await.expect("it ends");
    }
    hub.kill().await;
}

fn start(herd: &Arc<Herd>) -> Vec<JoinHandle<()>> {
    let all = herd.servers * INSTANCES;
    let rounds = all.div_ceil(1_000);
    let begin = |n: usize| {
        let offset = Duration::from_millis(INTERVAL_MS) * u32::try_from(n).expect("few")
            / u32::try_from(rounds).expect("few");
        let (from, to) = (n * 1_000, all.min((n + 1) * 1_000));
        tokio::spawn(herd.clone().beat(from, to, offset))
    };
    (0..rounds).map(begin).collect()
}

/// Reads until every silent server and instance is gone, and checks each verdict.
async fn verdicts(herd: &Herd, events: &mut EventStream) {
    let (mut whole, mut alone) = (
        (0..herd.servers).filter(|n| n % SILENT_SHARE == 0).count(),
        0,
    );
    alone += (0..herd.servers).filter(|n| n % SILENT_SHARE == 1).count();
    let mut lateness: HashMap<&str, Lateness> = HashMap::new();
    while whole > 0 || alone > 0 {
        let event = events.next_event().await.json();
        let now = Instant::now();
        let (server, data) = (server_of(&event), &event["data"]);
        let kind = event["type"].as_str().expect("a type");
        assert!(
            server % SILENT_SHARE < 2,
            "a verdict on one that is well: {event}"
        );
        let name = match kind {
            "server_health_changed" => data["health"].as_str().expect("a verdict"),
            "server_disconnected" => "gone",
            "server_instance_disconnected" if server % SILENT_SHARE == 1 => {
                alone -= 1;
                "gone"
            }
            // Of a server that is silent as a whole, two of three go before it.
            "server_instance_disconnected" => "gone",
            other => panic!("{other}: {event}"),
        };
        whole -= usize::from(kind == "server_disconnected");
        let (name, missed) = *DUE.iter().find(|(due, _)| *due == name).expect("a verdict");
        let due = (missed as f64 + 0.5) * INTERVAL_MS as f64;
        let number = |value: &Value| value.as_f64().expect("a time");
        let of = lateness.entry(name).or_default();
        of.told
            .push(number(&event["timestamp"]) - number(&data["lastSeenAt"]) - due);
        // A server's verdict follows from the instance of it that was heard of last.
        let last = herd.last.lock().expect("nobody panics");
        let heard = match data["instanceId"].as_str() {
            Some(name) if kind == "server_instance_disconnected" => {
                let instance = name.trim_start_matches("i-").parse().expect("a number");
                last.get(&(server, instance)).copied()
            }
            _ => (0..INSTANCES)
                .filter_map(|n| last.get(&(server, n)).copied())
                .max(),
        };
        let (_, answered) = heard.expect("it was heard of");
        of.seen
            .push(now.duration_since(answered).as_secs_f64() * 1_000.0 - due);
    }
    for (name, _) in DUE {
        let of = lateness.get_mut(name).expect("verdicts");
        of.print(name);
        let half = INTERVAL_MS as f64 / 2.0;
        let latest = of
            .told
            .last()
            .copied()
            .unwrap_or_default()
            .max(of.seen.last().copied().unwrap_or_default());
        assert!(
            of.told[0] >= 0.0 && latest < half,
            "within half an interval of its time: {latest} ms"
        );
    }
}
