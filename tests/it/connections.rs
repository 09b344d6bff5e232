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
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const FLOW_CONTROL_ERROR: u32 = 3;

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

/// Reads frames of HTTP/2 until there is one of this kind on this stream: its payload, and how much data came on the
/// first stream before it.
async fn until_frame(socket: &mut TcpStream, kind: u8, stream: u32) -> (Vec<u8>, usize) {
    let (mut got, mut data) = (Vec::new(), 0);
    loop {
        while let Some((head, rest)) = got.split_first_chunk::<9>() {
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            if rest.len() < length {
                break;
            }
            let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let (payload, kind_of) = (rest[..length].to_vec(), head[3]);
            if (kind_of, of) == (kind, stream) {
                return (payload, data);
            }
            data += if kind_of == DATA && of == 1 {
                length
            } else {
                0
            };
            got.drain(..9 + length);
        }
        let some = timeout(PATIENCE, socket.read_buf(&mut got)).await;
        assert_ne!(some.expect("a frame").expect("a frame"), 0, "it ended");
    }
}

#[tokio::test]
async fn a_long_poll_may_be_silent_and_is_answered_when_its_time_is_up() {
    let hub = TestHub::start_with(|config| {
        config.limits.header_timeout = Duration::from_millis(100);
        config.stream.stall_timeout = Duration::from_millis(100);
    })
    .await;
    let poll = POLL.replace("60s", "1s");
    let mut socket = connect(hub.address, &poll).await;
    let answer = read(&mut socket, "}").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.ends_with(r#"{"steps":[],"nextCursor":null}"#),
        "{answer}"
    );
    // The connection is kept, and nobody may ask for more time than the table says.
    let longer = POLL.replace("60s", "61s");
    socket
        .write_all(longer.as_bytes())
        .await
        .expect("it is sent");
    let refused = read(&mut socket, "}").await;
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

#[tokio::test]
async fn over_http2_an_answer_that_is_not_taken_goes_and_the_rest_stays() {
    let hub =
        TestHub::start_with(|config| config.stream.stall_timeout = Duration::from_millis(200))
            .await;
    for n in 0..20 {
        let data = json!({"n": n, "x": "x".repeat(50_000)});
        hub.client.emit("a.a", data).await;
    }
    let window = |stream: u32, bytes: u32| frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    let frames = [
        frame(HEADERS, 5, 1, &head("/events/history?limit=1000")),
        frame(HEADERS, 5, 3, &head("/steps?wait=2s")),
        window(3, 1000),
    ];
    let mut socket = http2(hub.address, &[0, 4, 0, 0, 0, 0], &frames.concat()).await;
    // Long after the first answer was given up, the poll beside it is answered.
    let (steps, taken) = until_frame(&mut socket, DATA, 3).await;
    assert_eq!(steps, br#"{"steps":[],"nextCursor":null}"#);
    assert_eq!(taken, 0);
    let more = [window(0, 1 << 24), window(1, 1 << 24)].concat();
    socket.write_all(&more).await.expect("it is sent");
    let (_, taken) = until_frame(&mut socket, RESET, 1).await;
    assert!(taken <= 32 << 10, "{taken} bytes were kept for it");
    let ask = frame(HEADERS, 5, 5, &head("/healthz"));
    let ask = [ask, window(5, 1000)].concat();
    socket.write_all(&ask).await.expect("it is sent");
    until_frame(&mut socket, DATA, 5).await;
}

#[tokio::test]
async fn over_http2_no_more_of_a_body_waits_than_its_window() {
    let hub = TestHub::start().await;
    let begin = frame(HEADERS, 4, 1, &head("/steps?wait=60s"));
    let body: Vec<u8> = (0..64)
        .flat_map(|_| frame(DATA, 0, 1, &[b' '; 16_000]))
        .collect();
    // Nobody reads a poll's body.
    let mut socket = http2(hub.address, &[], &[begin, body].concat()).await;
    let (why, _) = until_frame(&mut socket, GOAWAY, 0).await;
    assert_eq!(why[4..8], FLOW_CONTROL_ERROR.to_be_bytes());
}
