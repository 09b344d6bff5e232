//! Section 3: register, return, replace, deregister, list.

use serde_json::{Value, json};

use crate::support::TestHub;

fn alpha() -> Value {
    json!({"id": "alpha", "name": "Alpha", "transport": "http", "url": "http://127.0.0.1:9/mcp", "version": "1.0",
        "capabilities": {"tools": ["a", {"name": "b"}]}, "tags": {"env": "prod"}, "metadata": {"x": [1]},
        "heartbeatIntervalMs": 60000, "instanceId": "i-1"})
}

async fn kinds(hub: &TestHub) -> Vec<String> {
    let page = hub.client.get("/events/history?limit=1000").await.json();
    page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["type"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_registration_answers_the_server() {
    let hub = TestHub::start().await;
    let reply = hub.client.post("/servers", &alpha()).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let server = reply.json();
    assert_eq!(server["id"], "alpha");
    assert_eq!(server["status"], "connected");
    assert_eq!(server["health"], "healthy");
    assert_eq!(server["missedHeartbeats"], 0);
    assert_eq!(server["heartbeatIntervalMs"], 60000);
    assert_eq!(server["tags"], json!({"env": "prod"}));
    assert_eq!(server["connection"]["metadata"], json!({"x": [1]}));
    assert_eq!(
        server["connection"]["capabilities"]["tools"],
        json!(["a", {"name": "b"}])
    );
    assert_eq!(
        server["dueAt"].as_i64().unwrap() - server["lastSeenAt"].as_i64().unwrap(),
        60000
    );
    assert!(server["connectedAt"].is_i64());
    let read = hub.client.get("/servers/alpha").await.json();
    assert_eq!(read["connection"], server["connection"]);
    let nameless = hub
        .client
        .post(
            "/servers",
            &json!({"name": "Anonymous", "transport": "stdio"}),
        )
        .await;
    assert_eq!(nameless.status, 201);
    assert!(!nameless.json()["id"].as_str().unwrap().is_empty());
    assert_eq!(
        nameless.json()["heartbeatIntervalMs"],
        10000,
        "the hub's default"
    );
}

#[tokio::test]
async fn again_changed_replaced_and_back() {
    let hub = TestHub::start().await;
    assert_eq!(hub.client.post("/servers", &alpha()).await.status, 201);
    let again = hub.client.post("/servers", &alpha()).await;
    assert_eq!(again.status, 200);
    assert_eq!(kinds(&hub).await, ["server_connected"]);
    assert_eq!(
        again.header("last-event-id"),
        hub.client.get("/status").await.json()["lastEventId"].as_str()
    );

    let mut changed = alpha();
    changed["version"] = json!("2.0");
    changed["tags"] = json!({"env": "test"});
    assert_eq!(hub.client.post("/servers", &changed).await.status, 200);
    let updated = hub
        .client
        .get("/events/history?type=server_updated")
        .await
        .json()["events"][0]
        .clone();
    assert_eq!(updated["data"]["changed"], json!(["version", "tags"]));
    assert_eq!(updated["data"]["connection"]["version"], "2.0");

    let mut anyone = changed.clone();
    anyone.as_object_mut().unwrap().remove("instanceId");
    assert_eq!(
        hub.client.post("/servers", &anyone).await.status,
        200,
        "none matches any"
    );

    changed["instanceId"] = json!("i-2");
    assert_eq!(hub.client.post("/servers", &changed).await.status, 201);
    assert_eq!(
        kinds(&hub).await,
        [
            "server_connected",
            "server_updated",
            "server_disconnected",
            "server_connected"
        ]
    );
    let events = hub
        .client
        .get("/events/history?type=server_disconnected")
        .await
        .json();
    assert_eq!(events["events"][0]["data"]["reason"], "replaced");
    let old = hub
        .client
        .post("/servers/alpha/heartbeat", &json!({"instanceId": "i-1"}))
        .await;
    old.problem(409, "instance-replaced");
    assert_eq!(
        hub.client
            .post("/servers/alpha/heartbeat", &json!({"instanceId": "i-2"}))
            .await
            .status,
        200
    );

    assert_eq!(
        hub.client
            .delete("/servers/alpha?reason=upgrade")
            .await
            .status,
        204
    );
    let gone = hub.client.get("/servers/alpha").await.json();
    assert_eq!(
        (gone["status"].as_str(), gone["reason"].as_str()),
        (Some("disconnected"), Some("upgrade"))
    );
    hub.client
        .post("/servers/alpha/heartbeat", &json!({}))
        .await
        .problem(404, "server-not-registered");
    assert_eq!(
        hub.client.delete("/servers/alpha").await.status,
        204,
        "a repeat is no error"
    );
    assert_eq!(hub.client.post("/servers", &changed).await.status, 201);
    let last = hub
        .client
        .get("/events/history?type=server_connected&order=desc&limit=1")
        .await
        .json();
    assert_eq!(last["events"][0]["data"]["reconnected"], true);
}

#[tokio::test]
async fn bad_fields_are_named_all_at_once() {
    let hub = TestHub::start().await;
    let reply = hub
        .client
        .post("/servers", &json!({"id": "a b", "transport": "pigeon", "heartbeatIntervalMs": 99, "tags": {"k": 5}, "capabilities": {"tools": "x"}}))
        .await;
    let problem = reply.problem(422, "invalid-fields");
    let mut pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/capabilities/tools",
            "/heartbeatIntervalMs",
            "/id",
            "/name",
            "/tags/k",
            "/transport"
        ]
    );
    assert_eq!(
        hub.client.get("/servers").await.json()["servers"],
        json!([])
    );
}

#[tokio::test]
async fn heartbeats_alone_and_in_batches() {
    let hub = TestHub::start().await;
    hub.client.register("alpha").await;
    let beat = hub
        .client
        .send(http::Method::POST, "/servers/alpha/heartbeat", &[], "")
        .await;
    assert_eq!(beat.status, 200, "{}", beat.text);
    let body = beat.json();
    assert_eq!(
        (
            body["health"].as_str(),
            body["heartbeatIntervalMs"].as_u64()
        ),
        (Some("healthy"), Some(300_000))
    );
    assert!(body["dueAt"].is_i64());
    let with = json!({"metrics": {"queue": 3, "load": 0.5}});
    assert_eq!(
        hub.client
            .post("/servers/alpha/heartbeat", &with)
            .await
            .status,
        200
    );
    assert_eq!(
        hub.client.get("/servers/alpha").await.json()["metrics"],
        json!({"queue": 3, "load": 0.5})
    );

    let batch = hub
        .client
        .post("/heartbeats", &json!([{"id": "alpha"}, {"id": "nobody"}, {"id": "alpha", "health": "degraded", "detail": "tired"}, {"id": 5}]))
        .await;
    assert_eq!(batch.status, 200, "{}", batch.text);
    let results = batch.json()["results"].clone();
    let statuses: Vec<_> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [200, 404, 200, 422]);
    assert_eq!(results[2]["health"], "degraded");
    assert_eq!(
        kinds(&hub)
            .await
            .iter()
            .filter(|k| *k == "server_health_changed")
            .count(),
        1,
        "a heartbeat is no event"
    );
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let hub = TestHub::start().await;
    for (id, transport, env) in [
        ("a", "http", "prod"),
        ("b", "stdio", "prod"),
        ("c", "sse", "test"),
        ("d", "http", "test"),
    ] {
        let body = json!({"id": id, "name": id, "transport": transport, "tags": {"env": env}, "heartbeatIntervalMs": 300_000});
        assert_eq!(hub.client.post("/servers", &body).await.status, 201);
    }
    hub.client.delete("/servers/d").await;
    hub.client
        .post("/servers/b/heartbeat", &json!({"health": "unhealthy"}))
        .await;
    for (query, expected) in [
        ("", "a b c d"),
        ("status=connected", "a b c"),
        ("status=disconnected", "d"),
        ("health=unhealthy", "b"),
        ("health=healthy&status=connected", "a c"),
        ("transport=http", "a d"),
        ("transport=http,sse", "a c d"),
        ("tag=env:prod", "a b"),
        ("tag=env:prod&transport=stdio", "b"),
    ] {
        let page = hub.client.get(&format!("/servers?{query}")).await.json();
        let ids: Vec<_> = page["servers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids.join(" "), expected, "{query}");
    }
    let first = hub.client.get("/servers?limit=3").await.json();
    assert_eq!(first["servers"].as_array().unwrap().len(), 3);
    let rest = hub
        .client
        .get(&format!(
            "/servers?limit=3&cursor={}",
            first["nextCursor"].as_str().unwrap()
        ))
        .await
        .json();
    assert_eq!(rest["servers"][0]["id"], "d");
    assert_eq!(rest["nextCursor"], Value::Null);
    hub.client
        .get("/servers?health=fine")
        .await
        .problem(400, "invalid-query");
    hub.client
        .get("/servers/nobody")
        .await
        .problem(404, "server-not-found");
}
