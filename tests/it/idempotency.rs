//! Section 3: the same key and body give the first answer again, across restarts; a twin in flight waits.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Client, Reply, TestHub};

async fn keyed(client: &Client, path: &str, key: &str, body: &Value) -> Reply {
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    client
        .send(Method::POST, path, &headers, body.to_string())
        .await
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_appends_nothing() {
    let hub = TestHub::start().await;
    let calls = [
        ("/events", json!({"type": "a.b", "data": {"n": 1}})),
        (
            "/servers",
            json!({"id": "alpha", "name": "Alpha", "transport": "http"}),
        ),
        (
            "/workflows",
            json!({"id": "wf", "name": "w", "steps": ["one"]}),
        ),
        (
            "/workflows/wf/steps/one",
            json!({"status": "running", "serverId": "alpha"}),
        ),
        ("/workflows/wf/complete", json!({})),
    ];
    let mut first = Vec::new();
    for (path, body) in &calls {
        let reply = keyed(&hub.client, path, "key-1", body).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text);
        assert_eq!(reply.header("idempotency-replayed"), None);
        first.push(reply);
    }
    let head = hub.client.get("/status").await.json()["lastEventId"].clone();
    let hub = {
        for ((path, body), first) in calls.iter().zip(&first) {
            let again = keyed(&hub.client, path, "key-1", body).await;
            assert_eq!(
                (again.status, &again.text),
                (first.status, &first.text),
                "{path}"
            );
            assert_eq!(again.header("last-event-id"), first.header("last-event-id"));
            assert_eq!(again.header("idempotency-replayed"), Some("true"));
        }
        hub.restart().await
    };
    for ((path, body), first) in calls.iter().zip(&first) {
        let again = keyed(&hub.client, path, "key-1", body).await;
        assert_eq!(
            (again.status, &again.text),
            (first.status, &first.text),
            "{path} after a restart"
        );
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(hub.client.get("/status").await.json()["lastEventId"], head);
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused_and_another_path_is_another_call() {
    let hub = TestHub::start().await;
    keyed(
        &hub.client,
        "/events",
        "k",
        &json!({"type": "a.b", "data": {"n": 1}}),
    )
    .await;
    let other = keyed(
        &hub.client,
        "/events",
        "k",
        &json!({"type": "a.b", "data": {"n": 2}}),
    )
    .await;
    other.problem(422, "idempotency-key-reused");
    let elsewhere = keyed(
        &hub.client,
        "/events/broadcast",
        "k",
        &json!({"type": "a.b", "data": {"n": 1}}),
    )
    .await;
    assert_eq!(elsewhere.status, 202);
    assert_eq!(elsewhere.header("idempotency-replayed"), None);
}

#[tokio::test]
async fn twins_in_flight_append_once() {
    let hub = TestHub::start().await;
    let body = json!({"type": "a.twin", "data": {}});
    let twins = (0..32).map(|_| {
        let (client, body) = (hub.client.clone(), body.clone());
        tokio::spawn(async move { keyed(&client, "/events", "twin", &body).await })
    });
    let mut answers = Vec::new();
    for twin in twins.collect::<Vec<_>>() {
        answers.push(twin.await.unwrap());
    }
    assert!(answers.iter().all(|reply| reply.text == answers[0].text));
    assert_eq!(
        answers
            .iter()
            .filter(|reply| reply.header("idempotency-replayed").is_none())
            .count(),
        1
    );
    assert_eq!(
        hub.client.get("/events/history").await.json()["events"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn what_appended_nothing_is_tried_again() {
    let hub = TestHub::start().await;
    let body = json!({"status": "running", "serverId": "alpha"});
    assert_eq!(
        keyed(&hub.client, "/workflows/wf/steps/one", "k", &body)
            .await
            .status,
        404
    );
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf", "name": "w", "steps": ["one"]}),
        )
        .await;
    assert_eq!(
        keyed(&hub.client, "/workflows/wf/steps/one", "k", &body)
            .await
            .status,
        200
    );
}
