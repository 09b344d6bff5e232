//! Section 1: one envelope, everywhere.

use serde_json::json;

use crate::support::TestHub;

#[tokio::test]
async fn an_event_reads_alike_in_the_stream_in_history_and_by_its_id() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    events.opened("live").await;
    hub.client.register("lms-server-001").await;

    let frame = events.next_event().await;
    let event = frame.json();
    assert_eq!(frame.event.as_deref(), Some("server_connected"));
    assert_eq!(event["id"], frame.id());
    assert_eq!(event["sequence"], 1);
    assert_eq!(event["type"], "server_connected");
    assert_eq!(event["serverId"], "lms-server-001");
    assert!(event["timestamp"].is_i64());
    let connection = &event["data"]["connection"];
    assert_eq!(connection["id"], "lms-server-001");
    assert_eq!(connection["transport"], "http");
    assert_eq!(
        connection["capabilities"],
        json!({"tools": [], "resources": [], "prompts": []})
    );
    assert_eq!(event["data"]["reconnected"], false);

    assert_eq!(
        hub.client.get("/events/history").await.json()["events"][0],
        event
    );
    assert_eq!(
        hub.client
            .get(&format!("/events/{}", frame.id()))
            .await
            .json(),
        event
    );
}

#[tokio::test]
async fn ids_name_epoch_and_sequence_and_fit_everywhere() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    assert!(events.opened("live").await.id().ends_with("-0"));
    let first = hub.client.emit("grades.synced", json!({})).await;
    let second = hub.client.emit("grades.synced", json!({})).await;
    for (id, sequence) in [(&first, "1"), (&second, "2")] {
        assert!(id.len() <= 128);
        assert!(
            id.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'),
            "{id}"
        );
        assert_eq!(id.rsplit_once('-').expect("two parts").1, sequence);
    }
    assert_eq!(
        first.rsplit_once('-').unwrap().0,
        second.rsplit_once('-').unwrap().0
    );
}

#[tokio::test]
async fn a_new_start_opens_a_new_epoch_and_sequences_go_on() {
    let hub = TestHub::start().await;
    let before = hub.client.emit("grades.synced", json!({})).await;
    let hub = hub.restart().await;
    let after = hub.client.emit("grades.synced", json!({})).await;
    let (old, new) = (
        before.rsplit_once('-').unwrap(),
        after.rsplit_once('-').unwrap(),
    );
    assert_ne!(old.0, new.0);
    assert_eq!((old.1, new.1), ("1", "2"));
}

#[tokio::test]
async fn data_is_one_line_whatever_the_producer_sent() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    let body = "{\"type\": \"notes.added\",\r\n \"data\": {\r\n\t\"text\" : \"a\\r\\nb\\u2028c\" ,\n \"n\": 1.50 } }";
    let json = [("content-type", "application/json")];
    assert_eq!(
        hub.client
            .send(http::Method::POST, "/events", &json, body)
            .await
            .status,
        202
    );
    let frame = events.next_event().await;
    assert!(
        frame
            .data
            .as_deref()
            .unwrap()
            .ends_with(r#""data":{"text":"a\r\nb\u2028c","n":1.50}}"#),
        "{frame:?}"
    );
}

#[tokio::test]
async fn custom_types_are_dotted_or_prefixed_and_others_are_named_with_the_mend() {
    let hub = TestHub::start().await;
    for good in ["grades.synced", "a1.b_2.c", "custom_thing"] {
        hub.client.emit(good, json!({"x": 1})).await;
    }
    for bad in [
        "grades",
        "Grades.synced",
        "grades.",
        "custom_",
        "server_conected",
        "",
    ] {
        let reply = hub
            .client
            .post("/events", &json!({"type": bad, "data": {}}))
            .await;
        let problem = reply.problem(422, "invalid-fields");
        assert_eq!(problem["errors"][0]["pointer"], "/type", "{problem}");
    }
    let reply = hub
        .client
        .post("/events", &json!({"type": "server_conected", "data": {}}))
        .await;
    assert!(
        reply.text.contains("server_connected"),
        "names the nearest: {}",
        reply.text
    );
}
