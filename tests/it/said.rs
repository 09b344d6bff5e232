//! What a client says is done, or told: nothing of a query, a head or a body vanishes without a word.

use serde_json::json;

use crate::support::{EventStream, TestHub};

#[tokio::test]
async fn an_id_in_the_query_beats_every_other_place() {
    let hub = TestHub::start().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(hub.client.emit("lesson.done", json!({"n": n})).await);
    }
    for first in ["snapshot=true", "snapshot", "replay=2", "since=1h"] {
        for name in ["lastEventId", "last_event_id"] {
            let mut events = hub.subscribe(&format!("{first}&{name}={}", ids[1])).await;
            assert_eq!(events.opened("resumed").await.id(), ids[1], "{first}");
            assert_eq!(events.next_event().await.id(), ids[2], "{first}");
        }
    }
    // A place that is gone, and a snapshot that was asked for: the state comes after the gap.
    let mut events = hub.subscribe("snapshot&lastEventId=elsewhere-5").await;
    events.opened("gap").await;
    assert!(events.next().await.is("snapshot"));
}

#[tokio::test]
async fn a_bare_snapshot_is_a_snapshot() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("snapshot").await;
    events.opened("live").await;
    assert!(events.next().await.is("snapshot"));
}

#[tokio::test]
async fn of_several_last_event_ids_the_last_that_says_something_counts() {
    let hub = TestHub::start().await;
    let first = hub.client.emit("lesson.done", json!({})).await;
    let second = hub.client.emit("lesson.done", json!({})).await;
    for lines in [
        vec!["", &*first],
        vec![&first, ""],
        vec![&second, &first],
        vec!["elsewhere-1", "", &first, ""],
    ] {
        let headers: Vec<(&str, &str)> =
            lines.iter().map(|line| ("Last-Event-ID", *line)).collect();
        let mut events = EventStream::open(hub.address, "/events?replay=2", &headers).await;
        assert_eq!(events.opened("resumed").await.id(), first, "{lines:?}");
        assert_eq!(events.next_event().await.id(), second);
    }
}

#[tokio::test]
async fn a_query_is_done_or_refused() {
    let hub = TestHub::start().await;
    hub.client.register("s").await;
    for (path, named) in [
        ("/events?format=named&format=message", "format"),
        ("/events?replay=1&replay=1", "replay"),
        ("/events?lastEventId=a&lastEventId=b", "lastEventId"),
        ("/events?lastEventId=a&last_event_id=b", "lastEventId"),
        ("/events?since=1h&snapshot", "snapshot"),
        ("/events?snapshot&snapshot=true", "snapshot"),
        ("/events?since=1763790000", "milliseconds"),
        ("/events/history?since=1763790000", "milliseconds"),
        ("/events/history?order=asc&order=desc", "order"),
        ("/events/history?limit=1&limit=2", "limit"),
        ("/servers?cursor=a&cursor=b", "cursor"),
        ("/servers/s?health=healthy", "health"),
        ("/workflows?status=running&status=failed", "status"),
        ("/steps?serverId=a&serverId=b", "serverId"),
        ("/steps?wait=30", "30s"),
        ("/steps?status=ready&wait=1s&wait=2s", "wait"),
        ("/patterns/event_driven?x=1", "x"),
        ("/status?since=1h", "since"),
    ] {
        let problem = hub.client.get(path).await.problem(400, "invalid-query");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{path}: {detail}");
    }
    for path in [
        "/servers?id=x",
        "/events?type=a.b",
        "/servers/s/heartbeat?health=degraded",
    ] {
        let reply = hub.client.post(path, &json!({})).await;
        reply.problem(400, "invalid-query");
    }
    for path in [
        "/servers?tag=a:b&tag=c:d",
        "/servers?status=connected&status=disconnected",
        "/steps?wait=0",
    ] {
        assert_eq!(hub.client.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn an_id_that_no_path_can_hold_is_refused_wherever_one_is_chosen() {
    let hub = TestHub::start().await;
    for dots in [".", ".."] {
        for (path, body, pointer) in [
            (
                "/servers",
                json!({"id": dots, "name": "x", "transport": "http"}),
                "/id",
            ),
            (
                "/servers",
                json!({"instanceId": dots, "name": "x", "transport": "http"}),
                "/instanceId",
            ),
            (
                "/workflows",
                json!({"id": dots, "name": "x", "steps": ["a"]}),
                "/id",
            ),
            (
                "/workflows",
                json!({"name": "x", "steps": [dots]}),
                "/steps/0",
            ),
            (
                "/workflows",
                json!({"name": "x", "steps": [{"id": dots}]}),
                "/steps/0/id",
            ),
            (
                "/events",
                json!({"type": "a.b", "serverId": dots}),
                "/serverId",
            ),
            (
                "/events",
                json!({"type": "pattern_enabled", "data": {"name": dots}}),
                "/data/name",
            ),
        ] {
            let problem = hub
                .client
                .post(path, &body)
                .await
                .problem(422, "invalid-fields");
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
        let path = dots.replace('.', "%2E");
        let reply = hub
            .client
            .put(&format!("/patterns/{path}"), &json!({"enabled": true}))
            .await;
        reply.problem(400, "invalid-path");
    }
}

#[tokio::test]
async fn what_editors_and_configurations_write_is_understood() {
    let hub = TestHub::start().await;
    let json = [("content-type", "application/json")];
    let marked = "\u{feff}{\"id\": \"s\", \"name\": \"S\", \"transport\": \"streamable-http\"}";
    let reply = hub
        .client
        .send(http::Method::POST, "/servers", &json, marked)
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(reply.json()["connection"]["transport"], "http");
    let found = hub.client.get("/servers?transport=streamable-http").await;
    assert_eq!(found.json()["servers"][0]["id"], "s");
    let marked = "\u{feff}{\"type\": \"a.b\"}";
    let reply = hub
        .client
        .send(http::Method::POST, "/events", &json, marked)
        .await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let two = [
        ("content-type", "application/json"),
        ("content-type", "text/plain"),
    ];
    let reply = hub
        .client
        .send(http::Method::POST, "/events", &two, "{}")
        .await;
    reply.problem(415, "unsupported-media-type");
}
