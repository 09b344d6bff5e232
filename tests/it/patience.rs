//! Slow clients: heads and bodies that trickle in are cut in time, over TLS and on kept connections too, and
//! what can't be read is answered by a problem on whichever request of a connection it comes.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    limits::reached,
    support::{EncryptedHub, PATIENCE, TestHub},
};

const ASK: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// As much of it as is no request yet.
const HALF: &str = "GET /healthz HTTP/1.1\r\nhost: loc";
const SHORT: Duration = Duration::from_millis(500);

async fn hub() -> TestHub {
    TestHub::start_with(|config| {
        config.limits.header_timeout = SHORT;
        config.limits.body_timeout = SHORT;
    })
    .await
}

/// Everything up to the connection's end, which must come in time.
async fn to_the_end(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut got = Vec::new();
    // A TLS connection that is cut ends without a word, which is an end as well.
    let _cut = timeout(PATIENCE, socket.read_to_end(&mut got))
        .await
        .expect("the connection ends");
    String::from_utf8_lossy(&got).into_owned()
}

/// One answer whose body ends with this text.
async fn answer(socket: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(end) {
        let read = timeout(PATIENCE, socket.read_buf(&mut got)).await;
        assert_ne!(
            read.expect("something comes in time").expect("it is read"),
            0,
            "{}",
            String::from_utf8_lossy(&got)
        );
    }
    String::from_utf8_lossy(&got).into_owned()
}

async fn send(socket: &mut (impl AsyncWrite + Unpin), text: &str) {
    socket.write_all(text.as_bytes()).await.expect("it is sent");
    socket.flush().await.expect("it is sent");
}

#[track_caller]
fn is_late(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains(r#""limit":"header_timeout""#), "{answer}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_on_a_fresh_and_on_a_kept_connection() {
    let hub = hub().await;
    let mut fresh = TcpStream::connect(hub.address).await.expect("a connection");
    send(&mut fresh, HALF).await;
    is_late(&to_the_end(&mut fresh).await);

    let mut kept = TcpStream::connect(hub.address).await.expect("a connection");
    for _ in 0..3 {
        send(&mut kept, ASK).await;
        assert!(answer(&mut kept, "}").await.starts_with("HTTP/1.1 200"));
    }
    send(&mut kept, HALF).await;
    is_late(&to_the_end(&mut kept).await);

    let mut silent = TcpStream::connect(hub.address).await.expect("a connection");
    assert_eq!(
        to_the_end(&mut silent).await,
        "",
        "nobody asked, so nobody is answered"
    );
    assert_eq!(reached(&hub.client, "header_timeout").await, 3);
}

#[tokio::test]
async fn one_byte_after_another_buys_no_time() {
    let hub = hub().await;
    let mut kept = TcpStream::connect(hub.address).await.expect("a connection");
    send(&mut kept, ASK).await;
    answer(&mut kept, "}").await;
    let (mut read, mut write) = kept.into_split();
    let trickle = tokio::spawn(async move {
        send(&mut write, "GET /healthz HTTP/1.1\r\nx: ").await;
        // The pace of the attack; the test ends when the hub does something about it.
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    is_late(&to_the_end(&mut read).await);
    timeout(PATIENCE, trickle)
        .await
        .expect("nobody listens any more")
        .expect("it ends");
}

#[tokio::test]
async fn a_kept_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let hub = hub().await;
    let mut kept = TcpStream::connect(hub.address).await.expect("a connection");
    send(&mut kept, ASK).await;
    answer(&mut kept, "}").await;
    // Another one that is cut later than this one would be, had its head's time begun.
    let mut other = TcpStream::connect(hub.address).await.expect("a connection");
    send(&mut other, HALF).await;
    is_late(&to_the_end(&mut other).await);
    send(&mut kept, ASK).await;
    assert!(answer(&mut kept, "}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut() {
    let hub = hub().await;
    let mut socket = TcpStream::connect(hub.address).await.expect("a connection");
    send(
        &mut socket,
        "POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    )
    .await;
    let late = answer(&mut socket, "}").await;
    assert!(late.starts_with("HTTP/1.1 408 "), "{late}");
    assert!(late.contains(r#""limit":"body_timeout""#), "{late}");
    assert_eq!(reached(&hub.client, "body_timeout").await, 1);
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_not_held_for_ever() {
    let hub = TestHub::start_with(|config| {
        config.stream.stall_timeout = SHORT;
        // What the client says meanwhile is not what it is cut for.
        config.limits.header_timeout = 10 * PATIENCE;
    })
    .await;
    let text = "x".repeat(200_000);
    for _ in 0..40 {
        hub.client.emit("a.a", json!({"text": text})).await;
    }
    // Far less than that fits between the two.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut socket = socket.connect(hub.address).await.expect("a connection");
    let ask =
        "GET /events/history HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\n\r\n";
    send(&mut socket, ask).await;
    let cut = async {
        while socket.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, cut).await.expect("the hub lets go of it");
}

#[tokio::test]
async fn what_is_no_http_is_a_problem_on_every_request_of_a_connection() {
    let hub = TestHub::start().await;
    let long = format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    for (text, status, slug) in [
        ("no http at all\r\n\r\n", 400, "malformed-request"),
        (
            "GET /healthz HTTP/1.1\r\nbad header\r\n\r\n",
            400,
            "malformed-request",
        ),
        (long.as_str(), 431, "head-too-large"),
    ] {
        for before in [0, 2] {
            let socket = TcpStream::connect(hub.address).await.expect("a connection");
            let (mut read, mut write) = socket.into_split();
            for _ in 0..before {
                send(&mut write, ASK).await;
                answer(&mut read, "}").await;
            }
            // The hub needn't listen to all of it.
            let sent = text.to_owned();
            let writing = tokio::spawn(async move {
                let _refused = write.write_all(sent.as_bytes()).await;
                write
            });
            let told = answer(&mut read, "}").await;
            assert!(
                told.starts_with(&format!("HTTP/1.1 {status} ")),
                "{before}: {told}"
            );
            assert!(
                told.contains("content-type: application/problem+json"),
                "{before}: {told}"
            );
            assert!(
                told.contains(&format!(r#""type":"{slug}""#)),
                "{before}: {told}"
            );
            writing.abort();
        }
    }
    assert_eq!(reached(&hub.client, "header_bytes").await, 2);
}

#[tokio::test]
async fn over_tls_neither_a_handshake_nor_a_head_is_waited_for_longer() {
    let server = EncryptedHub::start_with(|config| config.limits.header_timeout = SHORT).await;
    let address = server.hub.address;
    let mut mute = TcpStream::connect(address).await.expect("a connection");
    assert_eq!(to_the_end(&mut mute).await, "");
    // A handshake's first record, announced and never sent.
    let mut half = TcpStream::connect(address).await.expect("a connection");
    half.write_all(&[22, 3, 1, 1]).await.expect("it is sent");
    to_the_end(&mut half).await;

    let mut silent = server.connect("http/1.1").await;
    assert_eq!(to_the_end(&mut silent).await, "");
    // Over HTTP/2 the server has told its settings before (RFC 9113, section 3.4).
    let mut silent = server.connect("h2").await;
    assert!(!to_the_end(&mut silent).await.contains("HTTP/1.1"));
    let mut slow = server.connect("http/1.1").await;
    send(&mut slow, HALF).await;
    is_late(&to_the_end(&mut slow).await);

    let mut kept = server.connect("http/1.1").await;
    send(&mut kept, ASK).await;
    assert!(answer(&mut kept, "}").await.starts_with("HTTP/1.1 200"));
    send(&mut kept, HALF).await;
    is_late(&to_the_end(&mut kept).await);

    // A stream over TLS is none of this: it stays.
    let mut stream = server.connect("http/1.1").await;
    send(
        &mut stream,
        "GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await;
    answer(&mut stream, "stream_opened").await;
    let mut other = server.connect("http/1.1").await;
    send(&mut other, HALF).await;
    is_late(&to_the_end(&mut other).await);
    let mut poster = server.connect("http/1.1").await;
    send(
        &mut poster,
        "POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{\"type\":\"a.a\"}",
    )
    .await;
    answer(&mut stream, "event: a.a").await;
    let mut counting = server.connect("http/1.1").await;
    send(
        &mut counting,
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await;
    let name = "timeback_limit_reached_total{limit=\"header_timeout\"} ";
    let metrics = answer(&mut counting, "timeback_workflows_running ").await;
    let count = metrics
        .split(name)
        .nth(1)
        .and_then(|rest| rest.split('\n').next());
    assert_eq!(
        count,
        Some("7"),
        "two handshakes, and heads on five connections"
    );
}
