//! Section 5: status, snapshot, health of the hub itself, metrics.

use http::Method;
use serde_json::json;

use crate::support::TestHub;

#[tokio::test]
async fn status_tells_the_whole_and_its_aliases_agree() {
    let hub = TestHub::start().await;
    let reply = hub
        .client
        .post(
            "/servers",
            &json!({"id": "alpha", "name": "a", "transport": "http", "heartbeatIntervalMs": 300_000,
            "capabilities": {"tools": ["x", "y"], "resources": ["r"]}}),
        )
        .await;
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf", "name": "w", "steps": ["one"]}),
        )
        .await;
    let _events = hub.subscribe("").await.opened("live").await;
    let status = hub.client.get("/status").await.json();
    for (name, value) in [
        ("status", json!("healthy")),
        ("connectedServers", json!(1)),
        ("healthyServers", json!(1)),
        ("lostServers", json!(0)),
        ("totalTools", json!(2)),
        ("totalResources", json!(1)),
        ("activeWorkflows", json!(1)),
        ("completedWorkflows", json!(0)),
        ("failedWorkflows", json!(0)),
        (
            "enabledPatterns",
            json!(["event_driven", "sse_integration"]),
        ),
    ] {
        assert_eq!(status[name], value, "{name}: {status}");
    }
    assert!(
        status["uptimeMs"].is_u64()
            && status["lastEventId"].is_string()
            && status["sseClients"].is_u64()
    );
    assert!(status.get("selfSuspect").is_none());
    assert!(reply.header("last-event-id").is_some());
    let alias = hub.client.get("/events/stats").await.json();
    assert_eq!(alias["connectedServers"], 1);
}

#[tokio::test]
async fn the_snapshot_is_one_cut_that_a_stream_goes_on_from() {
    let hub = TestHub::start().await;
    hub.client.register("alpha").await;
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf", "name": "w", "steps": ["one"]}),
        )
        .await;
    let snapshot = hub.client.get("/snapshot").await.json();
    assert_eq!(snapshot["servers"][0]["id"], "alpha");
    assert_eq!(snapshot["workflows"][0]["id"], "wf");
    assert_eq!(snapshot["patterns"].as_array().unwrap().len(), 5);
    assert_eq!(snapshot["status"], "healthy");
    assert!(snapshot["stats"].is_object());
    assert_eq!(snapshot["sequence"], 2);
    let id = snapshot["id"].as_str().unwrap();
    let mut events = hub.subscribe(&format!("lastEventId={id}")).await;
    events.opened("resumed").await;
    let next = hub.client.emit("a.b", json!({})).await;
    assert_eq!(events.next_event().await.id(), next);
}

#[tokio::test]
async fn alive_ready_and_measured() {
    let hub = TestHub::start().await;
    assert_eq!(hub.client.get("/healthz").await.status, 200);
    assert_eq!(hub.client.get("/readyz").await.status, 200);
    assert_eq!(hub.client.get("/events/health").await.status, 200);
    hub.client.emit("a.b", json!({})).await;
    let _ = hub.subscribe("").await.opened("live").await;
    let metrics = hub.client.get("/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    for line in [
        "timeback_events_appended_total{type=\"custom\"} 1",
        "timeback_streams_opened_total{verdict=\"live\"} 1",
        "timeback_commits_total 1",
        "timeback_log_head_sequence 1",
    ] {
        assert!(
            metrics.text.lines().any(|found| found == line),
            "{line}\n{}",
            metrics.text
        );
    }
    hub.drain();
    loop {
        match hub
            .client
            .try_send(http::Method::GET, "/readyz", &[], "")
            .await
        {
            Ok(reply) if reply.status == 200 => tokio::task::yield_now().await,
            Ok(reply) => {
                assert_eq!(reply.status, 503);
                assert!(reply.text.contains("draining"), "{}", reply.text);
                break;
            }
            Err(_) => break,
        }
    }
}

#[tokio::test]
async fn long_answers_are_compressed_for_who_asks_for_it_and_streams_never() {
    let hub = TestHub::start().await;
    for n in 0..50 {
        hub.client.emit("grades.synced", json!({"n": n})).await;
    }
    let gzip = [("accept-encoding", "gzip")];
    for path in ["/events/history", "/snapshot", "/openapi.json"] {
        let plain = hub.client.get(path).await;
        assert!(!plain.headers.contains_key("content-encoding"), "{path}");
        let packed = hub.client.send(Method::GET, path, &gzip, "").await;
        assert_eq!(packed.headers["content-encoding"], "gzip", "{path}");
        assert!(packed.headers.contains_key("vary"), "{path}");
        assert_eq!(packed.json()["events"], plain.json()["events"], "{path}");
    }
    let refused = [gzip[0], ("last-event-id", "nonsense id")];
    let answer = hub.client.send(Method::HEAD, "/events", &refused, "").await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    assert!(!answer.headers.contains_key("content-encoding"));
}
