//! Readers that don't read: whatever a thousand of them ask for within the limits, the hub's memory grows by less than
//! 300 MB beside the state, and others are answered as if nobody were there.
//!
//! Ignored, for it takes minutes and open files; how long the others wait is printed, since a slow machine is no fault:
//! `ulimit -n 4096; cargo test --release --test it unread -- --ignored --nocapture`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpSocket, net::TcpStream};

use crate::support::{Client, HubProcess, resident, variable};

/// What they ask for; what the readers of one kind take beside its name.
const ASKED: [(&str, &str); 10] = [
    ("/servers?limit=1000", ""),
    ("/servers/large-000", ""),
    ("/workflows?limit=1000", ""),
    ("/workflows/results-000", ""),
    ("/steps?limit=1000", ""),
    ("/snapshot", ""),
    ("/snapshot", "accept-encoding: gzip\r\n"),
    ("/events/history?limit=1000", ""),
    ("/events/history", "accept: application/x-ndjson\r\n"),
    ("/events?snapshot=true", ""),
];

/// By how much the hub may grow.
const GROWTH: u64 = 300 << 20;

/// How long after they have gone the memory is looked at: threads that made pieces end after a second without work.
const GIVEN_BACK: Duration = Duration::from_secs(3);

/// How long they stay.
const STAY: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and 1,000 open files"]
async fn a_thousand_readers_that_do_not_read_cost_little_and_hold_nobody_up() {
    let readers: usize = variable("TIMEBACK_UNREAD").unwrap_or(1000);
    let directory = tempfile::tempdir().unwrap();
    let variables = [("INTEGRATION_HEARTBEAT_INTERVAL_MS", "300000")];
    let hub = HubProcess::start(directory.path(), &variables).await;
    fill(&hub.client).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut grown = Vec::new();
    for (path, headers) in ASKED {
        let before = resident(hub.id());
        let innocent = Innocent::begin(hub.address);
        let mut sockets = Vec::new();
        for _ in 0..readers {
            sockets.push(ask(hub.address, path, headers).await);
        }
        let mut most = 0;
        let began = Instant::now();
        while began.elapsed() < STAY {
            most = resident(hub.id()).max(most);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let waits = innocent.end().await;
        drop(sockets);
        tokio::time::sleep(GIVEN_BACK).await;
        let (more, left) = (
            most.saturating_sub(before),
            resident(hub.id()).saturating_sub(before),
        );
        println!(
            "{readers} x GET {path} {}: {} MB + {} MB, {} MB once they have gone; another's GET p50 {:?}, p99 {:?}, most {:?} of {}",
            headers.trim(),
            before >> 20,
            more >> 20,
            left >> 20,
            waits[waits.len() / 2],
            waits[waits.len() * 99 / 100],
            waits[waits.len() - 1],
            waits.len(),
        );
        grown.push((path, headers, more));
    }
    for (path, headers, more) in grown {
        assert!(more < GROWTH, "{path} {headers}: {} MB", more >> 20);
    }
}

/// Large servers and small ones, workflows with large params and results, large events: about 130 MB of state.
async fn fill(client: &Client) {
    for n in 0..300 {
        let note = format!("{n:06}").repeat(40_000);
        let body = json!({"id": format!("large-{n:03}"), "name": "n", "transport": "http", "metadata": {"note": note}});
        assert_eq!(client.post("/servers", &body).await.status, 201);
    }
    for chunk in 0..10 {
        let connected = |n: usize| {
            json!({"type": "server_connected", "serverId": format!("small-{chunk}-{n:03}"),
                "data": {"connection": {"name": "a small one", "transport": "http"}}})
        };
        let items: Vec<_> = (0..500).map(connected).collect();
        assert_eq!(client.post("/events", &json!(items)).await.status, 202);
    }
    for n in 0..100 {
        let id = format!("results-{n:03}");
        let body = json!({"id": id, "name": "w", "steps": ["a", "b"], "note": "x".repeat(100_000)});
        assert_eq!(client.post("/workflows", &body).await.status, 201);
        let body = json!({"status": "completed", "result": {"note": "y".repeat(200_000)}});
        let path = format!("/workflows/{id}/steps/a");
        assert_eq!(client.post(&path, &body).await.status, 200);
    }
    for _ in 0..300 {
        client
            .emit("grades.synced", json!({"note": "z".repeat(200_000)}))
            .await;
    }
}

/// A connection that has asked and never reads.
async fn ask(address: SocketAddr, path: &str, headers: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Somebody else, who asks for little, again and again.
struct Innocent {
    stop: Arc<AtomicBool>,
    asking: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Innocent {
    fn begin(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let asking = tokio::spawn(async move {
            let client = Client::new(address);
            let mut waits = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                for path in [
                    "/healthz",
                    "/status",
                    "/servers/small-0-000",
                    "/servers?limit=3",
                ] {
                    let began = Instant::now();
                    assert_eq!(client.get(path).await.status, 200);
                    waits.push(began.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            waits.sort();
            waits
        });
        Self { stop, asking }
    }

    async fn end(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.await.unwrap()
    }
}
