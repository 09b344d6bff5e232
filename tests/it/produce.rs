//! Section 2: `POST /events`, single, array and CloudEvents; core types go through their commands.

use http::Method;
use serde_json::json;

use crate::support::TestHub;

#[tokio::test]
async fn one_event_or_an_array_and_the_alias() {
    let hub = TestHub::start().await;
    let one = hub
        .client
        .post("/events", &json!({"type": "a.b", "data": {"n": 1}}))
        .await;
    assert_eq!(one.status, 202);
    assert_eq!(one.json()["ids"].as_array().unwrap().len(), 1);
    assert_eq!(one.header("last-event-id"), one.json()["ids"][0].as_str());
    let many = hub
        .client
        .post(
            "/events/broadcast",
            &json!([{"type": "a.c", "data": 1}, {"type": "custom_d"}]),
        )
        .await;
    assert_eq!(many.status, 202);
    let ids = many.json()["ids"].clone();
    assert_eq!(many.header("last-event-id"), ids[1].as_str());
    let events = hub.client.get("/events/history").await.json();
    let kinds: Vec<_> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["type"].clone())
        .collect();
    assert_eq!(kinds, ["a.b", "a.c", "custom_d"]);
}

#[tokio::test]
async fn an_array_is_all_or_nothing_and_names_the_item() {
    let hub = TestHub::start().await;
    let reply = hub
        .client
        .post("/events", &json!([{"type": "a.b", "data": {}}, {"type": "nope", "data": {}}, {"type": "a.b", "serverId": "a b"}]))
        .await;
    let problem = reply.problem(422, "invalid-fields");
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].clone())
        .collect();
    assert_eq!(pointers, ["/1/type", "/2/serverId"]);
    let reply = hub
        .client
        .post(
            "/events",
            &json!([
                {"type": "a.b", "data": {}},
                {"type": "workflow_step_completed", "data": {"workflowId": "none", "stepId": "s"}}
            ]),
        )
        .await;
    assert_eq!(reply.status, 404, "{}", reply.text);
    assert_eq!(
        hub.client.get("/events/history").await.json()["events"],
        json!([])
    );
    hub.client
        .post("/events", &json!([]))
        .await
        .problem(422, "invalid-fields");
    let too_many: Vec<_> = (0..1001).map(|_| json!({"type": "a.b"})).collect();
    hub.client
        .post("/events", &json!(too_many))
        .await
        .problem(422, "invalid-fields");
}

#[tokio::test]
async fn core_types_go_through_the_commands_that_own_them() {
    let hub = TestHub::start().await;
    let client = &hub.client;
    let send = |body: serde_json::Value| async move { client.post("/events", &body).await };
    let reply = send(json!({"type": "server_connected", "serverId": "lms",
        "data": {"connection": {"id": "lms", "name": "LMS", "transport": "http"}, "occurredAt": 5}}))
    .await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(
        client.get("/servers/lms").await.json()["status"],
        "connected"
    );
    let again = send(json!({"type": "server_connected", "serverId": "lms",
        "data": {"connection": {"id": "lms", "name": "LMS", "transport": "http"}}}))
    .await;
    assert_eq!(again.json(), json!({"ids": [null]}), "nothing new");

    let ill = send(json!({"type": "server_health_changed", "serverId": "lms", "data": {"health": "degraded", "detail": "slow"}})).await;
    assert_eq!(ill.status, 202, "{}", ill.text);
    let server = client.get("/servers/lms").await.json();
    assert_eq!(
        (server["health"].as_str(), server["reason"].as_str()),
        (Some("degraded"), Some("reported"))
    );
    let stranger = send(
        json!({"type": "server_health_changed", "serverId": "who", "data": {"health": "degraded"}}),
    )
    .await;
    assert_eq!(stranger.status, 404);

    assert_eq!(send(json!({"type": "workflow_started", "data": {"workflowId": "wf", "name": "w", "steps": ["a", "b"]}})).await.status, 202);
    assert_eq!(send(json!({"type": "workflow_step_completed", "serverId": "lms", "data": {"workflowId": "wf", "stepId": "a"}})).await.status, 202);
    assert_eq!(
        client.get("/workflows/wf").await.json()["completedSteps"],
        1
    );
    assert_eq!(send(json!({"type": "workflow_completed", "data": {"workflowId": "wf", "results": {"grade": "A"}}})).await.status, 202);
    assert_eq!(
        client.get("/workflows/wf").await.json()["status"],
        "completed"
    );

    assert_eq!(
        send(json!({"type": "pattern_enabled", "data": {"pattern": {"name": "server_chaining"}}}))
            .await
            .status,
        202
    );
    assert_eq!(
        client.get("/patterns/server_chaining").await.json()["enabled"],
        true
    );

    assert_eq!(
        send(json!({"type": "integration_status_changed", "data": {"status": "unhealthy"}}))
            .await
            .status,
        422,
        "needs a serverId"
    );
    assert_eq!(send(json!({"type": "integration_status_changed", "serverId": "lms", "data": {"status": "unhealthy", "x": 1}})).await.status, 202);
    let stated = client
        .get("/events/history?type=integration_status_changed&serverId=lms")
        .await
        .json();
    assert_eq!(
        stated["events"][0]["data"],
        json!({"status": "unhealthy", "x": 1})
    );

    assert_eq!(send(json!({"type": "server_disconnected", "serverId": "lms", "data": {"reason": "maintenance"}})).await.status, 202);
    let gone = client
        .get("/events/history?type=server_disconnected")
        .await
        .json();
    assert_eq!(gone["events"][0]["data"]["reason"], "maintenance");
    let connected = client
        .get("/events/history?type=server_connected")
        .await
        .json();
    assert_eq!(connected["events"][0]["data"]["occurredAt"], 5);
    assert_eq!(connected["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn cloud_events_single_and_batch() {
    let hub = TestHub::start().await;
    let event = json!({
        "specversion": "1.0", "id": "e-1", "source": "/lms", "type": "grades.synced", "time": "2026-11-22T08:00:00Z",
        "datacontenttype": "application/json", "data": {"n": 1}
    });
    let single = [("content-type", "application/cloudevents+json")];
    let reply = hub
        .client
        .send(Method::POST, "/events", &single, event.to_string())
        .await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let batch = [(
        "content-type",
        "application/cloudevents-batch+json; charset=utf-8",
    )];
    let reply = hub
        .client
        .send(
            Method::POST,
            "/events",
            &batch,
            json!([event, event]).to_string(),
        )
        .await;
    assert_eq!(reply.json()["ids"].as_array().unwrap().len(), 2);
    let stored = hub.client.get("/events/history").await.json()["events"][0].clone();
    assert_eq!(stored["type"], "grades.synced");
    assert_eq!(stored["data"]["n"], 1);
    assert_eq!(stored["data"]["occurredAt"], 1_795_334_400_000_i64);
    let reply = hub
        .client
        .send(
            Method::POST,
            "/events",
            &single,
            json!({"specversion": "0.3", "type": "a.b"}).to_string(),
        )
        .await;
    assert_eq!(reply.status, 422, "{}", reply.text);
}
