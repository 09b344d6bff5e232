//! Section 6: a hub on loopback has a door against web pages elsewhere and rebound names.

use http::Method;

use crate::support::TestHub;

const EVENT: &str = r#"{"type":"a.b"}"#;

#[tokio::test]
async fn a_change_from_a_page_elsewhere_is_refused() {
    let hub =
        TestHub::start_with(|c| c.web.cors_origins = vec!["https://ops.example".to_owned()]).await;
    let own = format!("http://{}", hub.address);
    for (origin, status) in [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:1", 403),
        ("https://ops.example", 202),
        (own.as_str(), 202),
    ] {
        let headers = [("content-type", "application/json"), ("origin", origin)];
        let reply = hub
            .client
            .send(Method::POST, "/events", &headers, EVENT)
            .await;
        assert_eq!(reply.status, status, "{origin}: {}", reply.text);
        if status == 403 {
            reply.problem(403, "origin-not-allowed");
        }
    }
    let read = hub
        .client
        .send(
            Method::GET,
            "/status",
            &[("origin", "https://evil.example")],
            "",
        )
        .await;
    assert_eq!(
        read.header("access-control-allow-origin"),
        None,
        "it may ask, but its page can't read"
    );
}

#[tokio::test]
async fn a_rebound_name_reads_nothing() {
    let hub = TestHub::start_with(|c| c.web.allowed_hosts = vec!["hub.example".to_owned()]).await;
    for (host, status) in [
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost", 200),
        ("localhost:3001", 200),
        ("[::1]:3001", 200),
        ("hub.example", 200),
        ("HUB.example:80", 200),
    ] {
        let reply = hub
            .client
            .send(Method::GET, "/status", &[("host", host)], "")
            .await;
        assert_eq!(reply.status, status, "{host}: {}", reply.text);
        if status == 403 {
            reply.problem(403, "host-not-allowed");
        }
        let stream = crate::support::EventStream::open(hub.address, "/events", &[]).await;
        assert_eq!(stream.status, 200);
    }
}

#[tokio::test]
async fn cors_lists_exact_origins_and_a_star_opens_reading_only() {
    let hub = TestHub::start_with(|c| c.web.cors_origins = vec!["*".to_owned()]).await;
    let read = hub
        .client
        .send(
            Method::GET,
            "/status",
            &[("origin", "https://any.example")],
            "",
        )
        .await;
    assert_eq!(read.header("access-control-allow-origin"), Some("*"));
    assert_eq!(read.header("access-control-allow-credentials"), None);
    let headers = [
        ("content-type", "application/json"),
        ("origin", "https://any.example"),
    ];
    hub.client
        .send(Method::POST, "/events", &headers, EVENT)
        .await
        .problem(403, "origin-not-allowed");

    let hub =
        TestHub::start_with(|c| c.web.cors_origins = vec!["https://ops.example".to_owned()]).await;
    let preflight = [
        ("origin", "https://ops.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "last-event-id"),
    ];
    let reply = hub
        .client
        .send(Method::OPTIONS, "/events", &preflight, "")
        .await;
    assert!(reply.status.is_success(), "{reply:?}");
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("https://ops.example")
    );
    let allowed = reply
        .header("access-control-allow-headers")
        .unwrap()
        .to_lowercase();
    for header in [
        "last-event-id",
        "authorization",
        "idempotency-key",
        "content-type",
    ] {
        assert!(allowed.contains(header), "{allowed}");
    }
    let read = hub
        .client
        .send(
            Method::GET,
            "/status",
            &[("origin", "https://ops.example")],
            "",
        )
        .await;
    assert_eq!(
        read.header("access-control-allow-origin"),
        Some("https://ops.example")
    );
    assert!(
        read.header("access-control-expose-headers")
            .unwrap()
            .to_lowercase()
            .contains("last-event-id")
    );
    assert!(
        read.header("vary")
            .unwrap()
            .to_lowercase()
            .contains("origin")
    );
}
