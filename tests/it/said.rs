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

#[tokio::test]
async fn unknown_members_are_told_beside_what_was_made_and_told_again() {
    let hub = TestHub::start().await;
    let client = &hub.client;
    let told = |reply: &crate::support::Reply| -> Vec<(String, String)> {
        let warnings = reply.json()["warnings"].as_array().cloned();
        let warnings = warnings.unwrap_or_default().into_iter();
        warnings
            .map(|warning| {
                let text = |name: &str| warning[name].as_str().unwrap().to_owned();
                (text("pointer"), text("detail"))
            })
            .collect()
    };
    let server = json!({"id": "s", "name": "S", "transport": "http", "heartbeatInterval": 5000,
        "capabilities": {"tool": ["a"]}, "metadata": {"anything": {"goes": 1}}});
    let step = json!({"id": "a", "when": "x", "dependson": [], "params": {"free": 1}});
    let flow = json!({"id": "w", "name": "w", "prioirty": 1, "steps": ["z", step]});
    let table = [
        (
            "/servers",
            server,
            vec!["/heartbeatInterval", "/capabilities/tool"],
        ),
        (
            "/servers/s/heartbeat",
            json!({"helth": "healthy"}),
            vec!["/helth"],
        ),
        (
            "/heartbeats",
            json!([{"id": "s"}, {"id": "s", "mood": 1}]),
            vec!["/1/mood"],
        ),
        (
            "/workflows",
            flow,
            vec!["/prioirty", "/steps/1/when", "/steps/1/dependson"],
        ),
        (
            "/workflows/w/steps/z",
            json!({"status": "completed", "output": 1, "result": {"free": 1}}),
            vec!["/output"],
        ),
        (
            "/workflows/w/complete",
            json!({"result": 1}),
            vec!["/result"],
        ),
        (
            "/events",
            json!({"type": "a.b", "servrId": "s", "data": {"free": 1}}),
            vec!["/servrId"],
        ),
        (
            "/events",
            json!([{"type": "a.b"}, {"type": "a.b", "prioirty": 1}]),
            vec!["/1/prioirty"],
        ),
    ];
    for (path, body, pointers) in table {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", path),
        ];
        let send = async || {
            let keyed = &headers[..if path.contains("heartbeat") || path == "/events" {
                1
            } else {
                2
            }];
            client
                .send(http::Method::POST, path, keyed, body.to_string())
                .await
        };
        for reply in [send().await, send().await] {
            assert!(reply.status.is_success(), "{path}: {}", reply.text);
            let found: Vec<_> = told(&reply)
                .into_iter()
                .map(|(pointer, _)| pointer)
                .collect();
            assert_eq!(found, pointers, "{path}: {}", reply.text);
        }
    }
    let reply = client
        .put("/patterns/x", &json!({"enabled": true, "descripton": "d"}))
        .await;
    let (pointer, detail) = told(&reply).remove(0);
    assert!(
        pointer == "/descripton" && detail.contains("description?"),
        "{detail}"
    );
    // What means something is no reason to warn, and the definition is handed back whole.
    let reply = client
        .post(
            "/servers",
            &json!({"id": "s", "name": "S", "transport": "http"}),
        )
        .await;
    assert_eq!(reply.json().get("warnings"), None);
    let flow = client.get("/workflows/w").await.json();
    assert_eq!(flow["definition"]["prioirty"], 1, "{flow}");
    let both = json!({"name": "w", "steps": ["a"], "workflow": ["b"]});
    client
        .post("/workflows", &both)
        .await
        .problem(422, "invalid-fields");
}

#[tokio::test]
async fn what_of_a_core_events_data_has_no_effect_is_named() {
    let hub = TestHub::start().await;
    let connected = json!({"type": "server_connected", "data": {"reconnected": true, "heartbeatIntervalMs": 60_000,
        "protocolVersion": "2025-06-18", "connection": {"id": "s", "name": "S", "transport": "http", "verison": "1"}}});
    let health = json!({"type": "server_health_changed", "serverId": "s", "data": {"health": "degraded", "detial": "slow"}});
    let own = json!({"type": "a.b", "data": {"anything": "goes"}});
    let reply = hub
        .client
        .post("/events", &json!([connected, health, own]))
        .await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let warnings = reply.json()["warnings"].clone();
    let places: Vec<_> = warnings
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["pointer"])
        .collect();
    assert_eq!(
        places,
        [
            "/0/data/reconnected",
            "/0/data/connection/verison",
            "/1/data/detial"
        ]
    );
    // What the hub's own event has beside the description is taken from there.
    let server = hub.client.get("/servers/s").await.json();
    assert_eq!(
        (&server["heartbeatIntervalMs"], &server["protocolVersion"]),
        (&json!(60_000), &json!("2025-06-18"))
    );
}

#[tokio::test]
async fn a_cloud_event_without_data_comes_back_without() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("format=cloudevents").await;
    events.opened("live").await;
    let event = json!({"specversion": "1.0", "id": "1", "source": "/x", "type": "a.b"});
    let headers = [("content-type", "application/cloudevents+json")];
    let body = event.to_string();
    hub.client
        .send(http::Method::POST, "/events", &headers, body)
        .await;
    let back = events.next_event().await.json();
    assert!(back.get("data").is_none(), "{back}");
    let stored = hub.client.get("/events/history").await.json()["events"][0].clone();
    assert!(stored["data"].is_null(), "{stored}");
}

#[tokio::test]
async fn cloud_events_keep_what_they_are_and_come_once() {
    let hub = TestHub::start().await;
    let send = async |kind: &str, body: serde_json::Value| {
        let headers = [("content-type", kind)];
        hub.client
            .send(http::Method::POST, "/events", &headers, body.to_string())
            .await
    };
    let (one, many) = (
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
    );
    let event = json!({
        "specversion": "1.0", "id": "A/1", "source": "/lms?x=1", "type": "grades.synced", "subject": "course 7",
        "time": "2026-11-22T09:00:00.5+01:00", "dataschema": "https://a/b", "datacontenttype": "application/json",
        "partitionkey": 7, "sampled": true, "traceparent": "00-\"x\"", "gone": null, "serverid": "s", "data": [1, null]
    });
    let mut live = hub.subscribe("format=cloudevents").await;
    live.opened("live").await;
    let first = send(one, event.clone()).await;
    assert_eq!(first.status, 202, "{}", first.text);
    let mut expected = event.clone();
    expected.as_object_mut().unwrap().remove("gone");
    expected["sequence"] = "1".into();
    assert_eq!(live.next_event().await.json(), expected);
    let stored = hub.client.get("/events/history").await.json()["events"][0].clone();
    let about = &stored["cloudEvent"];
    assert_eq!(
        (&about["id"], &about["source"]),
        (&event["id"], &event["source"])
    );
    assert_eq!(
        (&about["partitionkey"], &about["time"]),
        (&event["partitionkey"], &event["time"])
    );
    assert_eq!(
        (&stored["serverId"], &stored["data"]),
        (&json!("s"), &event["data"])
    );

    // The same again, across a restart too, and in a batch beside a new one.
    let again = send(one, event.clone()).await;
    assert_eq!(again.json()["ids"], first.json()["ids"]);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let mut other = event.clone();
    other["id"] = "B".into();
    let batch = send(many, json!([event, other, other])).await.json();
    assert_eq!(batch["ids"][0], first.json()["ids"][0]);
    assert_eq!(batch["ids"][1], batch["ids"][2]);
    assert_ne!(batch["ids"][1], batch["ids"][0]);
    let hub = hub.restart().await;
    let headers = [("content-type", one)];
    let again = hub
        .client
        .send(http::Method::POST, "/events", &headers, event.to_string())
        .await;
    assert_eq!(again.json()["ids"], first.json()["ids"]);
    assert_eq!(again.json().get("warnings"), None);
    // The same name with something else to say: the first stands, and that is said.
    let mut changed = event.clone();
    changed["data"] = json!({"n": 2});
    let reply = hub
        .client
        .send(http::Method::POST, "/events", &headers, changed.to_string())
        .await;
    assert_eq!(reply.json()["ids"], first.json()["ids"]);
    assert_eq!(
        reply.json()["warnings"][0]["pointer"],
        "/id",
        "{}",
        reply.text
    );
    let count = hub.client.get("/events/history").await.json()["events"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(count, 2);
}

#[tokio::test]
async fn cloud_events_of_core_types_bytes_and_headers_keep_what_they_are_too() {
    let hub = TestHub::start().await;
    let one = [("content-type", "application/cloudevents+json")];
    let post = async |headers: &[(&str, &str)], body: String| {
        hub.client
            .send(http::Method::POST, "/events", headers, body)
            .await
    };
    let connected = json!({"specversion": "1.0", "id": "1", "source": "/fleet", "type": "server_connected",
        "data": {"connection": {"id": "s", "name": "S", "transport": "http"}}});
    let reply = post(&one, connected.to_string()).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let again = post(&one, connected.to_string()).await;
    assert_eq!(again.json(), reply.json(), "the same, and no warning");
    let bytes = json!({"specversion": "1.0", "id": "2", "source": "/fleet", "type": "a.b",
        "datacontenttype": "image/png", "data_base64": "AAE=", "serverId": "s"});
    let reply = post(&one, bytes.to_string()).await;
    assert_eq!(
        reply.json()["warnings"][0]["pointer"],
        "/serverId",
        "{}",
        reply.text
    );
    let binary = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "3"),
        ("ce-source", "/f%C3%BCr"),
        ("ce-type", "a.b"),
        ("ce-subject", "x"),
    ];
    assert_eq!(post(&binary, "[1]".to_owned()).await.status, 202);
    let page = hub
        .client
        .get("/events/history?type=server_connected,a.b")
        .await
        .json();
    assert_eq!(
        page["events"][0]["cloudEvent"],
        json!({"id": "1", "source": "/fleet"})
    );
    assert_eq!(page["events"][1]["cloudEvent"]["data_base64"], "AAE=");
    let about =
        json!({"id": "3", "source": "/für", "subject": "x", "datacontenttype": "application/json"});
    assert_eq!(page["events"][2]["cloudEvent"], about);
    let mut events = hub.subscribe("format=cloudevents&replay=2").await;
    events.opened("replay").await;
    let bytes = events.next_event().await.json();
    assert_eq!(
        (&bytes["data_base64"], bytes.get("data")),
        (&json!("AAE="), None)
    );
    for wrong in [
        json!({"data_base64": "?"}),
        json!({"data_base64": "AAE=", "data": 1}),
        json!({"ext": {}}),
        json!({"subject": 1}),
    ] {
        let mut event = json!({"specversion": "1.0", "id": "9", "source": "/x", "type": "a.b"});
        event
            .as_object_mut()
            .unwrap()
            .extend(wrong.as_object().unwrap().clone());
        let reply = post(&one, event.to_string()).await;
        reply.problem(422, "invalid-fields");
    }
    let twice = [&binary[..], &[("ce-id", "4")]].concat();
    post(&twice, "[1]".to_owned())
        .await
        .problem(400, "invalid-cloudevent");
}
