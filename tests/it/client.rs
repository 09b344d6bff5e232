//! The crate's own client, both sides of it.

use serde_json::json;
use timeback_events::client::{Client, ClientError, StreamItem};

use crate::support::TestHub;

fn client(hub: &TestHub) -> Client {
    Client::new(&format!("http://{}", hub.address), None).unwrap()
}

#[tokio::test]
async fn a_presence_sends_heartbeats_registers_again_and_leaves() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("type=server_*").await;
    let server =
        json!({"id": "alpha", "name": "Alpha", "transport": "stdio", "heartbeatIntervalMs": 150});
    let presence = client(&hub).present(server).await.unwrap();
    assert!(events.next_event().await.is("server_connected"));
    assert_eq!(presence.id(), "alpha");
    presence.report("degraded", Some("the disk is slow"));
    let ill = events.next_event().await.json();
    assert_eq!(
        (
            ill["data"]["health"].as_str(),
            ill["data"]["detail"].as_str()
        ),
        (Some("degraded"), Some("the disk is slow"))
    );

    assert_eq!(hub.client.delete("/servers/alpha").await.status, 204);
    assert!(events.next_event().await.is("server_disconnected"));
    let back = events.next_event().await;
    assert!(
        back.is("server_connected"),
        "the next heartbeat's 404 tells it to register again: {back:?}"
    );
    assert!(presence.is_kept());
    presence.leave(Some("done")).await.unwrap();
    let gone = loop {
        let event = events.next_event().await;
        if event.is("server_disconnected") {
            break event.json();
        }
    };
    assert_eq!(gone["data"]["reason"], "done");
}

#[tokio::test]
async fn a_presence_whose_place_is_taken_ends_and_says_why() {
    let hub = TestHub::start().await;
    let server = |instance: &str| json!({"id": "alpha", "name": "a", "transport": "stdio", "instanceId": instance, "heartbeatIntervalMs": 100});
    let presence = client(&hub).present(server("one")).await.unwrap();
    assert_eq!(
        hub.client.post("/servers", &server("two")).await.status,
        201
    );
    while presence.is_kept() {
        tokio::task::yield_now().await;
    }
    match presence.leave(None).await {
        Err(ClientError::Refused { slug, .. }) => assert_eq!(slug, "instance-replaced"),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        hub.client.get("/servers/alpha").await.json()["connection"]["instanceId"],
        "two"
    );
}

#[tokio::test]
async fn history_and_the_stream_hand_out_the_same() {
    let hub = TestHub::start().await;
    let client = client(&hub);
    let items: Vec<_> = (0..700)
        .map(|n| json!({"type": "a.b", "data": {"n": n}}))
        .collect();
    for _ in 0..3 {
        assert_eq!(hub.client.post("/events", &json!(items)).await.status, 202);
    }
    let mut paged = Vec::new();
    client
        .history("type=a.b", |event| paged.push(event))
        .await
        .unwrap();
    assert_eq!(paged.len(), 2100);
    let mut events = client.events("type=a.b&lastEventId=earliest");
    let mut streamed = Vec::new();
    while streamed.len() < paged.len() {
        if let StreamItem::Event(event) = events.next().await.unwrap() {
            streamed.push(event.envelope);
        }
    }
    assert_eq!(streamed, paged);
    let refused = client.get("/events/history?limit=0").await;
    assert!(
        matches!(refused, Err(ClientError::Refused { .. })),
        "{refused:?}"
    );
}
