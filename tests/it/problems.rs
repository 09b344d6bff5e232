//! Section 6: problem+json everywhere, with a stable type and the mend.

use http::Method;

use crate::support::TestHub;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn errors_are_problems_from_routing_to_limits() {
    let hub = TestHub::start().await;
    let client = &hub.client;
    client.get("/nowhere").await.problem(404, "not-found");
    let wrong = client.send(Method::DELETE, "/status", &[], "").await;
    wrong.problem(405, "method-not-allowed");
    assert!(wrong.header("allow").unwrap().contains("GET"));
    client
        .send(Method::POST, "/servers", &[JSON], "{\"name\": ")
        .await
        .problem(400, "malformed-json");
    client
        .send(Method::POST, "/servers", &[JSON], "")
        .await
        .problem(400, "body-missing");
    let bytes: &[u8] = b"{\"name\": \"\xff\"}";
    client
        .send(Method::POST, "/servers", &[JSON], bytes)
        .await
        .problem(400, "malformed-json");
    let form = client
        .send(
            Method::POST,
            "/servers",
            &[("content-type", "application/x-www-form-urlencoded")],
            "a=1",
        )
        .await;
    let problem = form.problem(415, "unsupported-media-type");
    assert!(
        problem["detail"].as_str().unwrap().contains("-H"),
        "names the curl flag: {problem}"
    );
    client
        .send(Method::POST, "/servers", &[], "{}")
        .await
        .problem(415, "unsupported-media-type");
    let big = format!(
        "{{\"type\":\"a.b\",\"data\":\"{}\"}}",
        "x".repeat(256 * 1024)
    );
    client
        .send(Method::POST, "/events", &[JSON], big)
        .await
        .problem(413, "body-too-large");
    let deep = format!(
        "{{\"type\":\"a.b\",\"data\":{}{}}}",
        "[".repeat(100),
        "]".repeat(100)
    );
    let reply = client.send(Method::POST, "/events", &[JSON], deep).await;
    assert!(reply.status.is_client_error(), "{}", reply.text);
    client
        .send(
            Method::POST,
            "/events",
            &[JSON, ("idempotency-key", "")],
            "{\"type\":\"a.b\"}",
        )
        .await
        .problem(400, "invalid-idempotency-key");
    client
        .get("/servers/a%20b")
        .await
        .problem(400, "invalid-path");
    client
        .get("/servers?statu=connected")
        .await
        .problem(400, "invalid-query");
    assert_eq!(
        client.get("/status").await.header("x-content-type-options"),
        Some("nosniff")
    );
}

#[tokio::test]
async fn the_document_describes_what_is_answered() {
    let hub = TestHub::start().await;
    let document = hub.client.get("/openapi.json").await;
    assert_eq!(document.status, 200);
    let document = document.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    for path in [
        "/events",
        "/events/history",
        "/events/{id}",
        "/servers",
        "/servers/{id}",
        "/servers/{id}/heartbeat",
        "/heartbeats",
        "/workflows",
        "/workflows/{id}",
        "/workflows/{id}/steps/{step}",
        "/steps",
        "/patterns",
        "/patterns/{name}",
        "/status",
        "/snapshot",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
}
