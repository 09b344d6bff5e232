//! Clients at their worst: whatever one of them does, the others are served, and nothing is lost or doubled.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Client, EventStream, HubProcess, PATIENCE, TestHub, until_streams, variable};

/// Connections that come at once. `TIMEBACK_STORM_CONNECTIONS` asks for others.
const CONNECTIONS: u64 = 1_000;

/// Connections that send a byte each second. `TIMEBACK_STORM_TRICKLING` asks for others.
const TRICKLING: usize = 100;

/// Streams whose clients close their half. `TIMEBACK_STORM_HALF_CLOSED` asks for others.
const HALF_CLOSED: usize = 20;

/// Rounds of producers that send everything again. `TIMEBACK_STORM_REPEATED` asks for others.
const REPEATED: usize = 10;

/// How long one request may take while others misbehave, on a machine that is busy.
const UNHARMED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_trickle_in_are_cut_off_and_harm_nobody() {
    const TIMEOUT: Duration = Duration::from_millis(3_500);
    let hub = TestHub::start_with(|config| config.limits.header_timeout = TIMEOUT).await;
    let mut stream = hub.subscribe("").await;
    stream.opened("live").await;
    rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let many = variable("TIMEBACK_STORM_TRICKLING").unwrap_or(TRICKLING);
    let slow: Vec<_> = (0..many)
        .map(|_| tokio::spawn(trickle(hub.address)))
        .collect();
    let mut slowest = Duration::ZERO;
    for n in 0..50 {
        let asked = Instant::now();
        hub.client.emit("storm.test", json!({"n": n})).await;
        assert_eq!(stream.next_event().await.json()["data"]["n"], n);
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < UNHARMED, "{slowest:?}");
    for connection in slow {
        let (lasted, answer) = timeout(PATIENCE, connection)
            .await
            .expect("it is cut off")
            .expect("no panic");
        assert!(lasted >= TIMEOUT / 2, "not before its time: {lasted:?}");
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
            "{answer}"
        );
    }
    println!("beside {many} trickling connections: an event took {slowest:?} at most");
    hub.stop().await;
}

/// Sends a byte each second until the hub has enough; how long that took, and what it said.
async fn trickle(address: SocketAddr) -> (Duration, String) {
    let began = Instant::now();
    let socket = TcpStream::connect(address).await.expect("a connection");
    let (mut read, mut write) = socket.into_split();
    let sending = tokio::spawn(async move {
        let head = format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Pad: {}",
            "a".repeat(1_000)
        );
        for byte in head.as_bytes() {
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = read.read_to_end(&mut answer).await;
    sending.abort();
    (
        began.elapsed(),
        String::from_utf8_lossy(&answer).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closed_sockets_are_answered_or_let_go() {
    let hub = TestHub::start().await;
    let whole = "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: 27\r\n\r\n{\"type\":\"a.b\",\"data\":[1,2]}";
    let answer = sent_and_shut(hub.address, whole).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    // A body that was promised and never comes changes nothing.
    let answer = sent_and_shut(hub.address, &whole[..whole.len() - 5]).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    // Half a head is no request.
    let answer = sent_and_shut(hub.address, "GET /heal").await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    let history = hub.client.get("/events/history?type=a.b").await.json();
    assert_eq!(history["events"].as_array().map(Vec::len), Some(1));

    // Streams whose clients shut their side: none of them stays for good.
    let mut shut = Vec::new();
    rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let many = variable("TIMEBACK_STORM_HALF_CLOSED").unwrap_or(HALF_CLOSED);
    let began = Instant::now();
    for _ in 0..many {
        let mut socket = TcpStream::connect(hub.address).await.expect("a connection");
        let request = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut first = [0; 16];
        socket.read_exact(&mut first).await.expect("an answer");
        socket.shutdown().await.expect("half closed");
        shut.push(socket);
    }
    until_streams(&hub.client, 0).await;
    println!(
        "{many} half-closed streams: all gone {:?} after the first",
        began.elapsed()
    );
    drop(shut);
    hub.stop().await;
}

/// Sends, closes its own side, and reads what comes.
async fn sent_and_shut(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(request.as_bytes()).await.expect("sent");
    socket.shutdown().await.expect("half closed");
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer))
        .await
        .expect("it is answered or let go");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_connections_is_served_to_the_last() {
    let files = rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let wanted = variable("TIMEBACK_STORM_CONNECTIONS").unwrap_or(CONNECTIONS);
    let many = wanted.min(files.saturating_sub(200));
    let directory = tempfile::tempdir().expect("a directory");
    let hub = HubProcess::start(directory.path(), &[]).await;
    let began = Instant::now();
    let streams: Vec<_> = (0..many)
        .map(|_| {
            let address = hub.address;
            tokio::spawn(async move {
                let mut stream = EventStream::open(address, "/events", &[]).await;
                stream.opened("live").await;
                stream
            })
        })
        .collect();
    let mut open = Vec::new();
    for stream in streams {
        open.push(stream.await.expect("it is served"));
    }
    let connected = began.elapsed();
    let began = Instant::now();
    hub.client.emit("storm.test", json!({})).await;
    for stream in &mut open {
        assert!(stream.next_event().await.is("storm.test"));
    }
    println!(
        "{many} streams at once: all open after {connected:?}, one event at all of them after {:?}",
        began.elapsed()
    );
    drop(open);
    until_streams(&hub.client, 0).await;
    hub.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_that_send_everything_twice_change_everything_once() {
    let hub = TestHub::start().await;
    let rounds = variable("TIMEBACK_STORM_REPEATED").unwrap_or(REPEATED);
    let began = Instant::now();
    let workers: Vec<_> = (0..4)
        .map(|worker| tokio::spawn(send_all_twice(hub.client.clone(), worker, rounds)))
        .collect();
    for worker in workers {
        worker.await.expect("a producer ends");
    }
    let path = "/events/history?type=storm.test,workflow_*,server_*";
    let lines = [("accept", "application/x-ndjson")];
    let events = hub.client.send(Method::GET, path, &lines, "").await.text;
    let mut count = std::collections::BTreeMap::<String, usize>::new();
    for line in events.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("an event");
        *count
            .entry(event["type"].as_str().expect("a type").to_owned())
            .or_default() += 1;
    }
    let once = [
        "server_connected",
        "storm.test",
        "workflow_completed",
        "workflow_started",
        "workflow_step_completed",
        "workflow_step_started",
    ];
    let expected = once.map(|kind| (kind.to_owned(), 4 * rounds)).into();
    assert_eq!(count, expected);
    println!(
        "{} changes, each asked for three times, in {:?}: each made once",
        4 * rounds * 5,
        began.elapsed()
    );
    hub.stop().await;
}

async fn send_all_twice(client: Client, worker: usize, rounds: usize) {
    for n in 0..rounds {
        let id = format!("{worker}-{n}");
        let step = format!("/workflows/w-{id}/steps/only");
        let requests = [
            (
                "/servers".to_owned(),
                json!({"id": format!("s-{id}"), "name": "s", "transport": "http", "heartbeatIntervalMs": 300_000}),
            ),
            (
                "/events".to_owned(),
                json!({"type": "storm.test", "data": {"id": id}}),
            ),
            (
                "/workflows".to_owned(),
                json!({"id": format!("w-{id}"), "name": "w", "steps": ["only"]}),
            ),
            (
                step.clone(),
                json!({"status": "running", "serverId": format!("s-{id}")}),
            ),
            (
                step,
                json!({"status": "completed", "serverId": format!("s-{id}"), "attempt": 1}),
            ),
        ];
        for (at, (path, body)) in requests.iter().enumerate() {
            let key = format!("{id}-{at}");
            let headers = [
                ("content-type", "application/json"),
                ("idempotency-key", key.as_str()),
            ];
            let send = || client.send(Method::POST, path, &headers, body.to_string());
            // At once, and once more later.
            let (first, second) = tokio::join!(send(), send());
            let third = send().await;
            assert!(first.status.is_success(), "{}", first.text);
            for again in [second, third] {
                assert_eq!(
                    (again.status, &again.text),
                    (first.status, &first.text),
                    "the first answer again"
                );
            }
        }
    }
}
