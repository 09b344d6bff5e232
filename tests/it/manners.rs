//! Section 8, HTTP manners: what is closed is said before, refusals are seen, and what clients take for granted works.

use std::net::SocketAddr;

use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{PATIENCE, TestHub};

/// Sends a whole request at once and reads to the connection's end, or until an answer with this body is there.
async fn asked(address: SocketAddr, request: &str, until: Option<&str>) -> (String, TcpStream) {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut got = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if until.is_some_and(|until| text.contains(until)) {
            return (text, socket);
        }
        let read = timeout(PATIENCE, socket.read_buf(&mut got)).await;
        // A reset would mean that the client may not have seen the answer.
        let count = read.expect("something comes").expect("and no reset");
        if count == 0 {
            return (text, socket);
        }
    }
}

fn post(path: &str, body: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {body}\r\n\r\n{}",
        "x".repeat(body)
    )
}

#[tokio::test]
async fn what_is_closed_is_said_before_and_the_answer_is_seen() {
    let hub = TestHub::start().await;
    for (path, body, status) in [
        ("/events", 262_145, 413),
        ("/events", 900_000, 413),
        ("/nowhere", 100_000, 404),
        ("/status", 100_000, 405),
        ("/servers/a/b/c", 600_000, 404),
    ] {
        let (answer, _) = asked(hub.address, &post(path, body), None).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{path}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{path}: {answer}");
        assert!(answer.ends_with('}'), "{path}: whole: {answer}");
    }
    let long = format!(
        "GET /status HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(300_000)
    );
    for refused in [long.as_str(), "no http\r\n\r\n"] {
        let (answer, _) = asked(hub.address, refused, None).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_with_a_small_body_keeps_the_connection() {
    let hub = TestHub::start().await;
    let (answer, mut socket) = asked(hub.address, &post("/nowhere", 5_000), Some("}")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");
    let again = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    socket.write_all(again.as_bytes()).await.expect("sent");
    let mut head = [0; 12];
    socket.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_refused_at_once() {
    let hub = TestHub::start().await;
    let request = "POST /nowhere HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n";
    let (answer, _) = asked(hub.address, request, None).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn options_are_answered_with_what_there_is() {
    let hub = TestHub::start().await;
    for (path, methods) in [
        ("/events", &["GET", "HEAD", "POST", "OPTIONS"][..]),
        ("/servers/a", &["GET", "HEAD", "DELETE", "OPTIONS"]),
        ("/healthz", &["GET", "HEAD", "OPTIONS"]),
        ("/steps/", &["GET", "HEAD", "OPTIONS"]),
    ] {
        let reply = hub.client.send(Method::OPTIONS, path, &[], "").await;
        assert_eq!(
            (reply.status.as_u16(), reply.text.as_str()),
            (204, ""),
            "{path}"
        );
        let allow = reply.header("allow").expect("Allow");
        let mut allowed: Vec<_> = allow.split(',').map(str::trim).collect();
        allowed.sort_unstable();
        let mut methods = methods.to_vec();
        methods.sort_unstable();
        assert_eq!(allowed, methods, "{path}");
    }
    let reply = hub.client.send(Method::OPTIONS, "/nowhere", &[], "").await;
    assert_eq!(reply.status, 404);
    let whole = "OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let (answer, _) = asked(hub.address, whole, None).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(answer.contains("allow: GET,"), "{answer}");
}

#[tokio::test]
async fn probes_are_answered_under_any_host_and_nothing_else_is() {
    let hub = TestHub::start().await;
    for host in ["10.4.0.7:3001", "hub.default.svc.cluster.local"] {
        for (path, status) in [
            ("/healthz", 200),
            ("/readyz", 200),
            ("/healthz/", 200),
            ("/readyz//", 200),
            ("/status", 403),
            ("/status/", 403),
            ("/events/stats", 403),
            ("/healthz/x", 403),
        ] {
            let headers = [("host", host)];
            let reply = hub.client.send(Method::GET, path, &headers, "").await;
            assert_eq!(reply.status, status, "{host} {path}");
        }
        let headers = [("host", host)];
        let reply = hub
            .client
            .send(Method::POST, "/healthz", &headers, "")
            .await;
        assert_eq!(reply.status, 403);
    }
}

#[tokio::test]
async fn a_slash_too_many_is_taken() {
    let hub = TestHub::start().await;
    let server = serde_json::json!({"id": "a", "name": "a", "transport": "http"});
    assert_eq!(hub.client.post("/servers/", &server).await.status, 201);
    assert_eq!(hub.client.get("/servers/a/").await.json()["id"], "a");
    assert_eq!(hub.client.get("/servers//?limit=1").await.status, 200);
    assert_eq!(hub.client.get("/").await.status, 200);
    hub.client.get("/nowhere/").await.problem(404, "not-found");
    let mut stream = crate::support::EventStream::open(hub.address, "/events/?type=a.b", &[]).await;
    stream.opened("live").await;
    hub.client.emit("a.b", serde_json::json!({})).await;
    assert!(stream.next_event().await.is("a.b"));
}

#[tokio::test]
async fn pages_elsewhere_may_read_what_an_answer_says_of_itself() {
    let origin = "https://ops.example";
    let hub = TestHub::start_with(|c| c.web.cors_origins = vec![origin.to_owned()]).await;
    let preflight = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "traceparent"),
    ];
    let reply = hub
        .client
        .send(Method::OPTIONS, "/events", &preflight, "")
        .await;
    assert_eq!(reply.status, 204);
    let allowed = reply.header("access-control-allow-headers").unwrap_or("");
    for name in ["traceparent", "tracestate", "baggage", "cache-control"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    let read = hub
        .client
        .send(Method::GET, "/status", &[("origin", origin)], "")
        .await;
    let exposed = read.header("access-control-expose-headers").unwrap_or("");
    for name in [
        "retry-after",
        "last-event-id",
        "idempotency-replayed",
        "limit-reached",
        "location",
    ] {
        assert!(exposed.contains(name), "{exposed}");
    }
}

#[tokio::test]
async fn too_many_header_lines_are_named_as_what_they_are() {
    let hub = TestHub::start().await;
    let head = |lines: usize, value: &str| {
        let lines: String = (0..lines).map(|n| format!("x{n}: {value}\r\n")).collect();
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n")
    };
    for (lines, value, limit) in [
        (120, "y", "header_lines"),
        (99, "y", "header_lines"),
        (90, &"y".repeat(300), "header_bytes"),
    ] {
        let (answer, _) = asked(hub.address, &head(lines, value), None).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{lines}: {answer}");
        let named = format!(r#""limit":"{limit}""#);
        assert!(answer.contains(&named), "{lines}: {answer}");
    }
    let (answer, _) = asked(hub.address, &head(98, "y"), None).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(crate::limits::reached(&hub.client, "header_lines").await, 2);
}
