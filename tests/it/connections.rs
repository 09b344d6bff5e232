//! The rule for connections, row by row of the table in `docs/security.md`: how long each may be silent, how much
//! may wait for it, how many there may be, and who goes when there is no more room.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    limits::reached,
    support::{EncryptedHub, EventStream, HubProcess, PATIENCE, TestHub, until_streams},
};

const ASK: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
const HALF: &str = "GET /healthz HTTP/1.1\r\nhost: loc";
const POLL: &str = "GET /steps?wait=60s HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn connect(address: SocketAddr, say: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(say.as_bytes()).await.expect("it is sent");
    socket
}

/// Reads until this is there, or to the end where it is empty.
async fn read(socket: &mut (impl AsyncReadExt + Unpin), until: &str) -> String {
    let mut got = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if !until.is_empty() && text.contains(until) {
            return text;
        }
        let some = timeout(PATIENCE, socket.read_buf(&mut got)).await;
        if some.expect("something comes, or the end").unwrap_or(0) == 0 {
            return text;
        }
    }
}

/// A hub of so many connections.
async fn small(most: usize) -> TestHub {
    TestHub::start_with(|config| {
        config.limits.connections = most;
        // Nothing here ends by its time.
        config.limits.header_timeout = 10 * PATIENCE;
    })
    .await
}

#[tokio::test]
async fn silent_and_half_begun_connections_make_room_for_those_that_ask() {
    let hub = small(20).await;
    let mut silent = Vec::new();
    for say in ["", HALF] {
        for _ in 0..40 {
            silent.push(connect(hub.address, say).await);
            let mut fresh = connect(hub.address, ASK).await;
            let answer = read(&mut fresh, "}").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{say:?}: {answer}");
        }
    }
    assert_eq!(read(&mut silent[0], "").await, "", "nobody asked");
    let told = read(&mut silent[40], "").await;
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    assert!(told.contains(r#""limit":"connections""#), "{told}");
    assert!(told.contains("connection: close\r\n"), "{told}");
}

#[tokio::test]
async fn kept_connections_make_room_and_busy_ones_do_not() {
    let hub = small(4).await;
    let mut busy = connect(hub.address, POLL).await;
    let mut stream = EventStream::open(hub.address, "/events", &[]).await;
    stream.opened("live").await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut socket = connect(hub.address, ASK).await;
        assert!(read(&mut socket, "}").await.starts_with("HTTP/1.1 200 "));
        kept.push(socket);
    }
    assert_eq!(read(&mut kept[0], "").await, "", "the first has gone");
    drop(kept);
    let workflow = r#"{"id":"w","name":"w","steps":["s"]}"#;
    let post = format!(
        "POST /workflows HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{workflow}",
        workflow.len()
    );
    let mut poster = connect(hub.address, &post).await;
    assert!(read(&mut poster, "}").await.starts_with("HTTP/1.1 201 "));
    assert!(
        read(&mut busy, "]").await.contains(r#""id":"s""#),
        "the poll stayed"
    );
    assert!(
        stream.next_event().await.is("workflow_started"),
        "and the stream"
    );
}

#[tokio::test]
async fn where_all_are_busy_a_new_one_is_told_so() {
    let hub = small(3).await;
    let mut busy = Vec::new();
    for _ in 0..3 {
        let mut stream = EventStream::open(hub.address, "/events", &[]).await;
        stream.opened("live").await;
        busy.push(stream);
    }
    let mut fresh = connect(hub.address, ASK).await;
    let refused = read(&mut fresh, "").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains(r#""limit":"connections""#), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("connection: close\r\n"), "{refused}");
    drop(busy);
    let served = async {
        loop {
            let mut fresh = connect(hub.address, ASK).await;
            if read(&mut fresh, "}").await.starts_with("HTTP/1.1 200 ") {
                return;
            }
        }
    };
    timeout(PATIENCE, served)
        .await
        .expect("there is room again");
}

#[tokio::test]
async fn a_head_that_came_with_the_request_before_it_has_a_heads_time() {
    let hub =
        TestHub::start_with(|config| config.limits.header_timeout = Duration::from_millis(300))
            .await;
    let body = r#"{"type":"a.a"}"#;
    let post = format!(
        "POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for whole in [ASK, &format!("{ASK}{ASK}"), &post, &format!("{ASK}{post}")] {
        let mut socket = connect(hub.address, &format!("{whole}{HALF}")).await;
        let answer = read(&mut socket, "").await;
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        assert!(answer.contains("HTTP/1.1 408 "), "{whole}: {answer}");
        assert!(answer.contains(r#""limit":"header_timeout""#), "{answer}");
    }
    assert_eq!(reached(&hub.client, "header_timeout").await, 4);
}

#[tokio::test]
async fn handshakes_that_are_begun_and_abandoned_keep_nobody_out() {
    let server = EncryptedHub::start_with(|config| {
        config.limits.connections = 20;
        config.limits.header_timeout = 10 * PATIENCE;
    })
    .await;
    let address = server.hub.address;
    let mut abandoned = Vec::new();
    for n in 0..100 {
        // Nothing, or a record that is announced and never sent.
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        if n % 2 == 0 {
            socket.write_all(&[22, 3, 1, 1]).await.expect("it is sent");
        }
        abandoned.push(socket);
    }
    for protocol in ["http/1.1", "h2"] {
        // Handshakes that are done, without a request.
        abandoned.push(server.connect(protocol).await.into_inner().0);
    }
    let mut client = server.connect("http/1.1").await;
    client.write_all(ASK.as_bytes()).await.expect("it is sent");
    assert!(read(&mut client, "}").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn bodies_that_never_end_are_bounded_all_together() {
    let hub = TestHub::start_with(|config| {
        config.limits.bodies_bytes = 1 << 20;
        config.limits.body_timeout = 10 * PATIENCE;
    })
    .await;
    let begin = format!(
        "POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 250000\r\n\r\n{}",
        "x".repeat(200_000)
    );
    let mut slow = Vec::new();
    for _ in 0..10 {
        slow.push(connect(hub.address, &begin).await);
    }
    let told = read(&mut slow[0], "}").await;
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    assert!(told.contains(r#""limit":"bodies_bytes""#), "{told}");
    assert!(told.contains("retry-after: 1\r\n"), "{told}");
    let data = json!({"x": "x".repeat(100_000)});
    hub.client.emit("a.a", data).await;
    assert!(reached(&hub.client, "bodies_bytes").await >= 1);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a length")
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of a `GET`, as HPACK has it.
fn head(path: &str) -> Vec<u8> {
    let mut head = vec![0x82, 0x86, 0x44, u8::try_from(path.len()).expect("short")];
    head.extend(path.as_bytes());
    head.extend(b"\x41\x09127.0.0.1");
    head
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

async fn http2(address: SocketAddr, settings: &[u8], frames: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, settings), frames].concat();
    // The hub may have had enough before all is sent.
    let _ = timeout(PATIENCE, socket.write_all(&begin)).await;
    socket
}

#[tokio::test]
async fn over_http2_a_client_that_gives_no_window_is_let_go() {
    let hub =
        TestHub::start_with(|config| config.stream.stall_timeout = Duration::from_millis(300))
            .await;
    for n in 0..20 {
        let data = json!({"n": n, "x": "x".repeat(50_000)});
        hub.client.emit("a.a", data).await;
    }
    // An initial window of nothing, and of a byte.
    for window in [0, 1] {
        let settings = [0, 4, 0, 0, 0, window];
        let frames: Vec<u8> = (0..10)
            .flat_map(|n| frame(HEADERS, 5, 2 * n + 1, &head("/events/history?limit=1000")))
            .chain(frame(HEADERS, 5, 21, &head("/events?replay=20")))
            .collect();
        let mut socket = http2(hub.address, &settings, &frames).await;
        let mut got = Vec::new();
        let ended = timeout(PATIENCE, socket.read_to_end(&mut got)).await;
        assert!(ended.is_ok(), "window {window}: it is closed");
        assert!(got.len() < 100_000, "{}", got.len());
    }
    until_streams(&hub.client, 0).await;
}

#[tokio::test]
async fn floods_over_http2_harm_nobody() {
    let hub = TestHub::start().await;
    let mut stream = hub.subscribe("").await;
    stream.opened("live").await;
    let resets: Vec<u8> = (0..5_000)
        .flat_map(|n| {
            let stream = 2 * n + 1;
            [
                frame(HEADERS, 5, stream, &head("/status")),
                frame(RESET, 0, stream, &[0, 0, 0, 8]),
            ]
            .concat()
        })
        .collect();
    let mut headers = frame(HEADERS, 1, 1, &head("/status"));
    for _ in 0..200 {
        // Each a header of a thousand bytes that isn't indexed.
        let line = [&b"\x00\x01x\x7f\xe9\x06"[..], &[b'y'; 1000]].concat();
        headers.extend(frame(CONTINUATION, 0, 1, &line));
    }
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]).repeat(5_000);
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(20_000);
    for (what, flood, is_cut) in [
        ("resets", resets, true),
        ("continuations", headers, true),
        ("settings", settings, false),
        ("pings", pings, false),
    ] {
        let mut socket = http2(hub.address, &[], &flood).await;
        if is_cut {
            let mut got = Vec::new();
            let ended = timeout(PATIENCE, socket.read_to_end(&mut got)).await;
            assert!(ended.is_ok(), "{what}: the hub ends it");
        }
        hub.client.emit("a.a", json!({"what": what})).await;
        assert_eq!(stream.next_event().await.json()["data"]["what"], what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_open_files_it_goes_on_and_recovers() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = 400;
    let hub = HubProcess::start_with_files(directory.path(), files).await;
    rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    // As many streams as there may be, and more silent connections than files.
    let mut streams = Vec::new();
    for _ in 0..files {
        streams.push(EventStream::open(hub.address, "/events", &[]).await);
    }
    let mut silent = Vec::new();
    for _ in 0..files + 50 {
        silent.push(connect(hub.address, "").await);
    }
    let ask = async || {
        let mut fresh = connect(hub.address, ASK).await;
        let answer = read(&mut fresh, "}").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    };
    ask().await;
    drop(silent);
    ask().await;
    drop(streams);
    until_streams(&hub.client, 0).await;
    hub.client.emit("a.a", json!({})).await;
    hub.kill().await;
}
