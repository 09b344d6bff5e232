//! The crate's own client, both sides of it.

use serde_json::{Value, json};
use timeback_events::client::{Client, ClientError, StreamItem};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

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
async fn a_presence_is_an_instance_of_its_own_and_leaves_alone() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("type=server_*").await;
    let server = json!({"id": "alpha", "name": "a", "transport": "stdio", "instances": "many",
        "heartbeatIntervalMs": 300_000});
    let client = client(&hub);
    let first = client.present(&server).await.unwrap();
    let second = client.present(&server).await.unwrap();
    let third = client.present(&server).await.unwrap();
    assert_ne!(first.instance_id(), second.instance_id());
    for kind in [
        "server_connected",
        "server_instance_connected",
        "server_instance_connected",
    ] {
        assert!(events.next_event().await.is(kind));
    }
    let instance = first.instance_id().to_owned();
    first.leave(None).await.unwrap();
    let gone = events.next_event().await.json();
    assert_eq!(
        (&gone["type"], &gone["data"]["instanceId"]),
        (&json!("server_instance_disconnected"), &json!(instance))
    );
    // What it says of itself is its own word.
    let instance = second.instance_id().to_owned();
    second.report("unhealthy", Some("no disk"));
    let mut ill = Value::Null;
    while ill["health"] != "unhealthy" {
        let view = hub.client.get("/servers/alpha").await.json();
        assert_eq!(view["health"], "healthy", "{view}");
        let mut instances = view["instances"].as_array().unwrap().iter();
        ill = instances
            .find(|it| it["instanceId"] == instance)
            .unwrap()
            .clone();
    }
    second.leave(Some("done")).await.unwrap();
    third.crash("killed by signal 9").await.unwrap();
    assert!(events.next_event().await.is("server_instance_disconnected"));
    let last = events.next_event().await.json();
    assert_eq!(
        (
            &last["type"],
            &last["data"]["reason"],
            &last["data"]["expected"]
        ),
        (
            &json!("server_disconnected"),
            &json!("killed by signal 9"),
            &json!(false)
        )
    );
    assert_eq!(hub.client.get("/status").await.json()["lostServers"], 1);
}

#[tokio::test]
async fn a_presence_that_is_registered_again_says_again_how_it_does() {
    let hub = TestHub::start().await;
    let mut events = hub
        .subscribe("type=server_health_changed,server_connected")
        .await;
    let server =
        json!({"id": "alpha", "name": "a", "transport": "stdio", "heartbeatIntervalMs": 150});
    let presence = client(&hub).present(server).await.unwrap();
    assert!(events.next_event().await.is("server_connected"));
    presence.report("degraded", Some("slow"));
    assert!(events.next_event().await.is("server_health_changed"));
    hub.client.delete("/servers/alpha").await;
    assert!(events.next_event().await.is("server_connected"));
    let again = events.next_event().await.json();
    assert_eq!(again["data"]["health"], "degraded", "{again}");
    // One that is gone needs no farewell.
    hub.client.delete("/servers/alpha").await;
    presence.leave(None).await.unwrap();
}

/// Events that are odd but legal; a line each.
const ODD: &str = include_str!("../odd-events.jsonl");

#[tokio::test]
async fn every_odd_event_is_handed_out_as_it_came() {
    let hub = TestHub::start().await;
    for line in ODD.lines() {
        let json = [("content-type", "application/json")];
        let line = line.to_owned();
        hub.client
            .send(http::Method::POST, "/events", &json, line)
            .await;
    }
    let ndjson = [("accept", "application/x-ndjson")];
    let path = "/events/history?limit=1000";
    let stored = hub.client.send(http::Method::GET, path, &ndjson, "").await;
    let stored: Vec<_> = stored.text.lines().collect();
    assert!(stored.len() > 100, "{}", stored.len());
    let client = client(&hub);
    for query in [
        "lastEventId=earliest",
        "lastEventId=earliest&format=message",
    ] {
        let mut events = client.events(query);
        let mut seen = Vec::new();
        while seen.len() < stored.len() {
            match events.next().await.unwrap() {
                StreamItem::Event(event) => seen.push(event.envelope.as_str().to_owned()),
                StreamItem::Opened { .. } | StreamItem::Bookmark(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, stored, "{query}");
    }
    let mut paged = Vec::new();
    let each = |event: timeback_events::client::Exact| paged.push(event.as_str().to_owned());
    client.history("", each).await.unwrap();
    assert_eq!(paged, stored);
}

/// Answers one request with these frames, and keeps the line open.
async fn scripted(frames: &'static str) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(socket.read(&mut request).await.unwrap() > 0);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(frames.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    Client::new(&format!("http://{address}"), None).unwrap()
}

#[tokio::test]
async fn a_frame_that_cant_be_read_is_handed_out_as_that() {
    let client = scripted(concat!(
        "event: stream_opened\ndata: {\"verdict\":\"live\"}\n\n",
        "id: e-1\ndata: <html>\n\n",
        "id: e-2\nevent: a.b\ndata: 5\n\n",
        "event: stream_gap\ndata: [\n\n",
        "event: news\ndata: {\"a\":1}\n\n",
        "id: e-3\n\n",
        "id: e-4\nevent: a.b\ndata: {\"type\":\"a.b\",\"data\":1e400}\n\n",
        "id: e-5\nevent: a.b\ndata: {\"type\":\"a.b\"}\n\n",
    ))
    .await;
    let mut events = client.events("");
    let opened = events.next().await.unwrap();
    assert!(matches!(opened, StreamItem::Opened { .. }), "{opened:?}");
    let expected = [
        ("e-1", "", "<html>", "e-1"),
        ("e-2", "a.b", "5", "e-2"),
        ("", "stream_gap", "[", "e-2"),
        ("", "news", "{\"a\":1}", "e-2"),
        ("e-4", "a.b", "{\"type\":\"a.b\",\"data\":1e400}", "e-4"),
    ];
    for (id, event, data, place) in expected {
        match events.next().await.unwrap() {
            StreamItem::Unreadable(frame) => {
                assert_eq!(
                    (&*frame.id, &*frame.event, &*frame.data),
                    (id, event, data),
                    "{frame:?}"
                );
                assert!(frame.cause.starts_with("its data "), "{frame:?}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(events.last_event_id(), place);
    }
    match events.next().await.unwrap() {
        StreamItem::Event(event) => assert_eq!((&*event.id, &*event.kind), ("e-5", "a.b")),
        other => panic!("{other:?}"),
    }
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
