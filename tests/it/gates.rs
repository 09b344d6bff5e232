//! Section 7: flags really gate.

use serde_json::json;

use crate::support::TestHub;

#[tokio::test]
async fn disabled_as_a_whole_it_is_alive_and_nothing_else() {
    let hub = TestHub::start_with(|c| c.enabled = false).await;
    for path in ["/healthz", "/healthz/", "/metrics", "/metrics/"] {
        assert_eq!(hub.client.get(path).await.status, 200, "{path}");
    }
    assert!(hub.client.get("/readyz").await.status.as_u16() != 404);
    for path in [
        "/events",
        "/status",
        "/servers",
        "/snapshot",
        "/patterns",
        "/events/history",
        "/nowhere",
    ] {
        hub.client
            .get(path)
            .await
            .problem(503, "integration-disabled");
    }
    hub.client
        .post("/events", &json!({"type": "a.b"}))
        .await
        .problem(503, "integration-disabled");
}

#[tokio::test]
async fn without_the_stream_history_stays_and_clients_are_told_politely() {
    let hub = TestHub::start_with(|c| c.patterns.sse_integration = Some(false)).await;
    let mut events = hub.subscribe("").await;
    assert_eq!(events.status, 200);
    let closing = events.next().await;
    assert!(closing.is("stream_closing"));
    assert_eq!(closing.json(), json!({"reason": "disabled"}));
    assert_eq!(closing.retry, Some(30_000));
    assert_eq!(events.next_or_end().await, None);
    hub.client.emit("a.b", json!({})).await;
    assert_eq!(
        hub.client.get("/events/history?type=a.b").await.json()["events"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let events = hub
        .client
        .get("/events/history?type=pattern_disabled")
        .await
        .json();
    assert_eq!(events["events"][0]["data"]["source"], "startup");
    assert_eq!(
        events["events"][0]["data"]["pattern"]["name"],
        "sse_integration"
    );
}

#[tokio::test]
async fn without_events_servers_are_still_tracked_and_logged() {
    let hub = TestHub::start_with(|c| c.patterns.event_driven = Some(false)).await;
    assert_eq!(
        hub.subscribe("").await.next().await.json(),
        json!({"reason": "disabled"})
    );
    hub.client
        .get("/events/history")
        .await
        .problem(503, "pattern-disabled");
    hub.client
        .post("/events", &json!({"type": "a.b"}))
        .await
        .problem(503, "pattern-disabled");
    assert_eq!(hub.client.register("alpha").await.status, 201);
    let hub = hub
        .restart_with(|c| c.patterns.event_driven = Some(true))
        .await;
    let events = hub.client.get("/events/history").await.json();
    let kinds: Vec<_> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["pattern_disabled", "server_connected", "pattern_enabled"]
    );
}

#[tokio::test]
async fn a_draining_hub_refuses_commands_with_retry_after() {
    let hub = TestHub::start().await;
    hub.client.get("/healthz").await;
    hub.drain();
    let reply = hub
        .client
        .try_send(
            http::Method::POST,
            "/events",
            &[("content-type", "application/json")],
            r#"{"type":"a.b"}"#,
        )
        .await;
    if let Ok(reply) = reply
        && reply.status != 202
    {
        reply.problem(503, "shutting-down");
        assert!(reply.header("retry-after").is_some());
    }
    hub.stop().await;
}
