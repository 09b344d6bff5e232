//! Clients at their worst: whatever one of them does, the others are served, and nothing is lost or doubled.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{
    Client, EventStream, HubProcess, PATIENCE, TestHub, resident, until_streams, variable,
};

/// Connections that come at once. `TIMEBACK_STORM_CONNECTIONS` asks for others.
const CONNECTIONS: u64 = 1_000;

/// How long one request may take while others misbehave, on a machine that is busy.
const UNHARMED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_trickle_in_are_cut_off_and_harm_nobody() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let hub = TestHub::start_with(|config| config.limits.header_timeout = TIMEOUT).await;
    let mut stream = hub.subscribe("").await;
    stream.opened("live").await;
    let slow: Vec<_> = (0..100)
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
    println!("beside 100 trickling connections: an event took {slowest:?} at most");
    hub.stop().await;
}

/// Sends a byte every now and then until the hub has enough; how long that took, and what it said.
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
            tokio::time::sleep(Duration::from_millis(100)).await;
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
    for _ in 0..20 {
        let mut socket = TcpStream::connect(hub.address).await.expect("a connection");
        let request = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut first = [0; 16];
        socket.read_exact(&mut first).await.expect("an answer");
        socket.shutdown().await.expect("half closed");
        shut.push(socket);
    }
    drop(shut);
    until_streams(&hub.client, 0).await;
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
async fn readers_that_never_read_are_closed_and_cost_the_others_nothing() {
    const STUCK: usize = 50;
    const EVENTS: u64 = 300;
    let directory = tempfile::tempdir().expect("a directory");
    let variables = [("INTEGRATION_SSE_STALL_TIMEOUT_MS", "2000")];
    let hub = HubProcess::start(directory.path(), &variables).await;
    let mut reader = EventStream::open(hub.address, "/events", &[]).await;
    reader.opened("live").await;
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("a small window");
        let mut socket = socket.connect(hub.address).await.expect("a connection");
        let request = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        socket.write_all(request.as_bytes()).await.expect("sent");
        stuck.push(socket);
    }
    until_streams(&hub.client, STUCK as u64 + 1).await;
    let before = resident(hub.id());
    // Far more than all the buffers of all these sockets hold: 30 MB each.
    let text = "x".repeat(100_000);
    let mut slowest = Duration::ZERO;
    for n in 0..EVENTS {
        let asked = Instant::now();
        hub.client
            .emit("storm.test", json!({"n": n, "text": text}))
            .await;
        assert_eq!(reader.next_event().await.json()["data"]["n"], n);
        slowest = slowest.max(asked.elapsed());
    }
    let grown = resident(hub.id()).saturating_sub(before);
    assert!(slowest < UNHARMED, "{slowest:?}");
    // The window over the newest events takes what it may; a copy for each stuck reader would be 1.5 GB.
    assert!(grown < 250 << 20, "{} MB more", grown >> 20);
    until_streams(&hub.client, 1).await;
    println!(
        "{STUCK} readers that never read, {EVENTS} events of 100 kB: the one that read waited {slowest:?} at most; \
         {} MB more resident",
        grown >> 20
    );
    drop(stuck);
    hub.kill().await;
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
    let workers: Vec<_> = (0..4)
        .map(|worker| tokio::spawn(send_all_twice(hub.client.clone(), worker)))
        .collect();
    for worker in workers {
        worker.await.expect("a producer ends");
    }
    let events = hub
        .client
        .get("/events/history?limit=1000&type=storm.test,workflow_*,server_*")
        .await
        .json();
    let mut count = std::collections::BTreeMap::<String, usize>::new();
    for event in events["events"].as_array().expect("events") {
        *count
            .entry(event["type"].as_str().expect("a type").to_owned())
            .or_default() += 1;
    }
    let once = [
        ("server_connected", 40),
        ("storm.test", 40),
        ("workflow_completed", 40),
        ("workflow_started", 40),
        ("workflow_step_completed", 40),
        ("workflow_step_started", 40),
    ];
    let expected = once.map(|(kind, n)| (kind.to_owned(), n)).into();
    assert_eq!(count, expected);
    hub.stop().await;
}

async fn send_all_twice(client: Client, worker: usize) {
    for n in 0..10 {
        let id = format!("{worker}-{n}");
        let step = format!("/workflows/w-{id}/steps/only");
        let requests = [
            (
                "/servers".to_owned(),
                json!({"id": format!("s-{id}"), "name": "s", "transport": "http"}),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_during_a_drain_is_delivered_or_can_be_resumed() {
    let directory = tempfile::tempdir().expect("a directory");
    let hub = HubProcess::start(directory.path(), &[]).await;
    let mut stream = EventStream::open(hub.address, "/events?type=storm.test", &[]).await;
    stream.opened("live").await;
    let (next, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let producers: Vec<_> = (0..6)
        .map(|_| {
            let (client, next, stop) = (hub.client.clone(), next.clone(), stop.clone());
            tokio::spawn(async move {
                let mut told = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let body = json!({"type": "storm.test", "data": {"n": n}}).to_string();
                    let headers = [("content-type", "application/json")];
                    let sent = client
                        .try_send(Method::POST, "/events", &headers, body)
                        .await;
                    match sent {
                        Ok(reply) if reply.status == 202 => drop(told.insert(n)),
                        // Refused or cut off: nothing was acknowledged.
                        Ok(reply) => assert_eq!(reply.status, 503, "{}", reply.text),
                        Err(_) => break,
                    }
                }
                told
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < 50 {
        seen.push(number(&stream.next_event().await.json()));
    }
    let stopping = tokio::spawn(hub.terminate());
    let mut closing = None;
    while let Some(frame) = stream.next_or_end().await {
        if frame.is("storm.test") {
            seen.push(number(&frame.json()));
        } else if frame.is("stream_closing") {
            closing = Some(frame.json()["reason"].clone());
        }
    }
    assert_eq!(closing, Some(json!("draining")));
    assert!(stopping.await.expect("it stops").success());
    stop.store(true, Ordering::Relaxed);
    let mut told = BTreeSet::new();
    for producer in producers {
        told.extend(producer.await.expect("a producer ends"));
    }

    let hub = HubProcess::start(directory.path(), &[]).await;
    let delivered = seen.len();
    let last = stream.last_event_id.clone();
    let headers = [("Last-Event-ID", last.as_str())];
    let mut stream = EventStream::open(hub.address, "/events?type=storm.test", &headers).await;
    stream.opened("resumed").await;
    // One more, to know the end by.
    hub.client.emit("storm.test", json!({"n": u64::MAX})).await;
    loop {
        let n = number(&stream.next_event().await.json());
        if n == u64::MAX {
            break;
        }
        seen.push(n);
    }
    let once: BTreeSet<u64> = seen.iter().copied().collect();
    assert_eq!(once.len(), seen.len(), "nothing twice");
    let lost: Vec<_> = told.difference(&once).collect();
    assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
    println!(
        "drained under load: {} acknowledged, {delivered} delivered before the end, {} after resuming",
        told.len(),
        seen.len() - delivered
    );
    hub.kill().await;
}

fn number(event: &serde_json::Value) -> u64 {
    event["data"]["n"].as_u64().expect("a number")
}
