//! Section 2: every filter, alike on live, replay and history.

use serde_json::json;

use crate::support::TestHub;

/// A fleet with something of everything; gives the labels of the events in order.
async fn fill(hub: &TestHub) -> Vec<(String, String)> {
    let client = &hub.client;
    for (id, tags) in [
        ("alpha", json!({"env": "prod", "team": "grades"})),
        ("beta", json!({"env": "test"})),
    ] {
        let reply = client
            .post("/servers", &json!({"id": id, "name": id, "transport": "http", "tags": tags, "heartbeatIntervalMs": 300_000}))
            .await;
        assert_eq!(reply.status, 201, "{}", reply.text);
    }
    let flow = client
        .post(
            "/workflows",
            &json!({"id": "wf-1", "name": "w", "steps": ["one"]}),
        )
        .await;
    assert_eq!(flow.status, 201, "{}", flow.text);
    for item in [
        json!({"type": "grades.synced", "serverId": "alpha", "data": {}}),
        json!({"type": "grades.failed", "serverId": "beta", "data": {"workflowId": "wf-1"}}),
        json!({"type": "custom_note", "data": {"workflowId": "wf-2"}}),
    ] {
        assert_eq!(client.post("/events", &item).await.status, 202);
    }
    let events = client.get("/events/history?limit=1000").await.json();
    let events = events["events"].as_array().unwrap().clone();
    events
        .iter()
        .map(|event| {
            (
                event["id"].as_str().unwrap().to_owned(),
                event["type"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

#[tokio::test]
async fn each_filter_wants_what_it_says_live_and_from_history() {
    let table: &[(&str, &[&str])] = &[
        (
            "",
            &[
                "server_connected",
                "server_connected",
                "workflow_started",
                "grades.synced",
                "grades.failed",
                "custom_note",
            ],
        ),
        ("type=grades.synced", &["grades.synced"]),
        (
            "type=grades.synced,custom_note",
            &["grades.synced", "custom_note"],
        ),
        (
            "type=grades.synced&type=custom_note",
            &["grades.synced", "custom_note"],
        ),
        ("type=grades.*", &["grades.synced", "grades.failed"]),
        ("type=workflow_*", &["workflow_started"]),
        (
            "type=*",
            &[
                "server_connected",
                "server_connected",
                "workflow_started",
                "grades.synced",
                "grades.failed",
                "custom_note",
            ],
        ),
        ("serverId=alpha", &["server_connected", "grades.synced"]),
        (
            "serverId=alpha,beta",
            &[
                "server_connected",
                "server_connected",
                "grades.synced",
                "grades.failed",
            ],
        ),
        ("serverId=nobody", &[]),
        ("workflowId=wf-1", &["workflow_started", "grades.failed"]),
        (
            "workflowId=wf-1&workflowId=wf-2",
            &["workflow_started", "grades.failed", "custom_note"],
        ),
        ("tag=env:prod", &["server_connected", "grades.synced"]),
        (
            "tag=env:prod&tag=team:grades",
            &["server_connected", "grades.synced"],
        ),
        ("tag=env:prod&tag=env:test", &[]),
        ("tag=env:test&type=grades.*", &["grades.failed"]),
        ("serverId=beta&workflowId=wf-1", &["grades.failed"]),
    ];
    let hub = TestHub::start().await;
    let mut live = Vec::new();
    for (query, expected) in table {
        let mut events = hub.subscribe(query).await;
        events.opened("live").await;
        live.push((events, query, expected));
    }
    fill(&hub).await;
    let last = hub.client.emit("a.end", json!({})).await;
    for (mut events, query, expected) in live {
        for kind in *expected {
            let frame = events.next_event().await;
            assert_eq!(frame.event.as_deref(), Some(*kind), "live {query}");
        }
        drop(events);
    }
    for (query, expected) in table {
        let mut events = hub
            .subscribe(&format!("{query}&lastEventId=earliest"))
            .await;
        events.opened("replay").await;
        for kind in *expected {
            assert_eq!(
                events.next_event().await.event.as_deref(),
                Some(*kind),
                "replay {query}"
            );
        }
        let page = hub
            .client
            .get(&format!("/events/history?{query}"))
            .await
            .json();
        let found: Vec<&str> = page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["type"].as_str().unwrap())
            .filter(|k| *k != "a.end")
            .collect();
        assert_eq!(&found, expected, "history {query}");
    }
    assert!(!last.is_empty());
}

#[tokio::test]
async fn tags_are_those_of_the_event_not_of_today() {
    let hub = TestHub::start().await;
    let register =
        |env: &str| json!({"id": "alpha", "name": "a", "transport": "http", "tags": {"env": env}});
    hub.client.post("/servers", &register("test")).await;
    hub.client
        .post(
            "/events",
            &json!({"type": "a.b", "serverId": "alpha", "data": {}}),
        )
        .await;
    assert_eq!(
        hub.client.post("/servers", &register("prod")).await.status,
        200
    );
    hub.client
        .post(
            "/events",
            &json!({"type": "a.c", "serverId": "alpha", "data": {}}),
        )
        .await;
    let kinds = |env: &'static str| {
        let client = hub.client.clone();
        async move {
            let page = client
                .get(&format!("/events/history?tag=env:{env}"))
                .await
                .json();
            page["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["type"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(kinds("test").await, ["server_connected", "a.b"]);
    assert_eq!(kinds("prod").await, ["server_updated", "a.c"]);
}
