//! Section 2: how a stream begins, and how the hub keeps it alive and ends it.

use std::time::Duration;

use serde_json::json;

use crate::support::{EventStream, TestHub};

#[tokio::test]
async fn clients_that_read_in_blocks_get_chunks() {
    let hub = TestHub::start().await;
    for client in ["python-requests/2.32.5", "python-urllib3/2.6.0"] {
        let headers = [("User-Agent", client)];
        let mut events = EventStream::open(hub.address, "/events", &headers).await;
        let chunked = events.head.contains("transfer-encoding: chunked");
        assert!(chunked, "{client}: {}", events.head);
        events.opened("live").await;
        let id = hub.client.emit("lesson.done", json!({})).await;
        assert_eq!(events.next_event().await.id(), id);
    }
}

#[tokio::test]
async fn the_head_and_the_first_frame_leave_at_once() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    assert_eq!(events.status, 200);
    for line in [
        "content-type: text/event-stream",
        "cache-control: no-cache, no-transform",
        "x-accel-buffering: no",
    ] {
        assert!(
            events.head.lines().any(|header| header == line),
            "{line}: {}",
            events.head
        );
    }
    let opened = events.next().await;
    assert!(opened.is("stream_opened"));
    assert_eq!(opened.retry, Some(3000));
    let data = opened.json();
    assert_eq!(data["verdict"], "live");
    assert_eq!(data["keepAliveMs"], 15000);
    assert_eq!(data["headId"], opened.id());
    assert_eq!(data["oldestId"], opened.id());
    assert!(
        data.get("reason").is_none() && data.get("requestedId").is_none(),
        "{data}"
    );
}

#[tokio::test]
async fn a_fresh_stream_begins_after_the_head() {
    let hub = TestHub::start().await;
    let old = hub.client.emit("a.old", json!({})).await;
    let mut events = hub.subscribe("").await;
    let opened = events.opened("live").await;
    assert_eq!(opened.id(), old);
    assert_eq!(opened.json()["oldestId"], old);
    hub.client.emit("a.new", json!({})).await;
    assert!(events.next_event().await.is("a.new"));
}

#[tokio::test]
async fn bookmarks_carry_how_far_the_stream_has_read() {
    let hub = TestHub::start_with(|c| c.stream.keepalive = Duration::from_millis(150)).await;
    let mut events = hub.subscribe("type=never.comes").await;
    let opened = events.opened("live").await;
    let bookmark = events.next().await;
    assert!(bookmark.is("bookmark"), "{bookmark:?}");
    assert_eq!(bookmark.id(), opened.id());
    let head = hub.client.emit("a.b", json!({})).await;
    let bookmark = loop {
        let bookmark = events.next_named("bookmark").await;
        if bookmark.id() != opened.id() {
            break bookmark;
        }
    };
    assert_eq!(bookmark.id(), head);
    assert_eq!(bookmark.json(), json!({"headId": head}));
}

#[tokio::test]
async fn formats_differ_in_events_and_never_in_control_frames() {
    let hub = TestHub::start_with(|c| c.stream.keepalive = Duration::from_millis(150)).await;
    let mut named = hub.subscribe("format=named").await;
    let mut message = hub.subscribe("format=message").await;
    let mut cloud = hub.subscribe("format=cloudevents").await;
    for stream in [&mut named, &mut message, &mut cloud] {
        stream.opened("live").await;
    }
    hub.client.register("alpha").await;
    let named = named.next_event().await;
    let plain = message.next_event().await;
    assert_eq!(named.event.as_deref(), Some("server_connected"));
    assert_eq!(plain.event, None);
    assert_eq!((named.id(), &named.data), (plain.id(), &plain.data));
    assert!(message.next().await.is("bookmark"));

    let wrapped = cloud.next_event().await;
    let event = wrapped.json();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], named.id());
    assert_eq!(event["type"], "server_connected");
    assert_eq!(event["data"], named.json()["data"]);
    assert!(event["source"].is_string());
    assert!(
        event["time"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z')),
        "{event}"
    );
}

#[tokio::test]
async fn too_many_clients_are_refused_politely() {
    let hub = TestHub::start_with(|c| c.stream.max_clients = 1).await;
    let mut first = hub.subscribe("").await;
    let id = first.opened("live").await.id().to_owned();
    let mut second = hub.resume("", &id).await;
    assert_eq!(second.status, 200);
    assert!(second.head.contains("content-type: text/event-stream"));
    let closing = second.next().await;
    assert!(closing.is("stream_closing"), "{closing:?}");
    assert_eq!(closing.json(), json!({"reason": "busy"}));
    assert_eq!(closing.id(), id, "the client's own id is echoed");
    assert!((3000..=30_000).contains(&closing.retry.expect("a retry")));
    assert_eq!(second.next_or_end().await, None);

    let mut third = hub.subscribe("").await;
    assert_eq!(
        third.next().await.id,
        None,
        "no id where the client had none"
    );

    drop(first);
    loop {
        let mut next = hub.subscribe("").await;
        if next.next().await.is("stream_opened") {
            break;
        }
    }
}

#[tokio::test]
async fn a_drain_delivers_what_was_accepted_and_says_goodbye() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    events.opened("live").await;
    let last = hub.client.emit("a.b", json!({})).await;
    hub.drain();
    assert_eq!(events.next_event().await.id(), last);
    let closing = events.next_named("stream_closing").await;
    assert_eq!(closing.json(), json!({"reason": "draining"}));
    assert_eq!(closing.id(), last);
    assert!(closing.retry.is_some());
    assert_eq!(events.next_or_end().await, None);
    hub.stop().await;
}

#[tokio::test]
async fn what_will_not_pass_is_an_error_status() {
    let hub = TestHub::start().await;
    for (query, names) in [
        ("type=server_conected", "server_connected"),
        ("type=nonsense", "nonsense"),
        ("typ=server_connected", "type"),
        ("serverId=a%20b", "serverId"),
        ("workflowId=%0A", "workflowId"),
        ("since=yesterday", "since"),
        ("replay=0", "replay"),
        ("replay=100001", "replay"),
        ("replay=x", "replay"),
        ("format=xml", "format"),
        ("tag=novalue", "tag"),
        ("snapshot=maybe", "snapshot"),
        ("since=1h&replay=3", "since"),
        ("replay=3&snapshot=true", "snapshot"),
        ("since=1763790000", "milliseconds"),
    ] {
        let reply = hub.client.get(&format!("/events?{query}")).await;
        let problem = reply.problem(400, "invalid-query");
        assert!(
            problem["detail"].as_str().unwrap().contains(names),
            "{query}: {problem}"
        );
    }
    let stream = EventStream::open(hub.address, "/events?lastEventId=%00%ff", &[]).await;
    assert_eq!(stream.status, 200, "an event id is never a 400");
}

#[tokio::test]
async fn a_stream_works_over_a_connection_that_was_used_before() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let hub = TestHub::start().await;
    let mut socket = tokio::net::TcpStream::connect(hub.address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", hub.address);
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let mut byte = [0];
        socket.read_exact(&mut byte).await.unwrap();
        answer.push(byte[0]);
        if answer.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer).to_lowercase();
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "))
                .unwrap()
                .parse()
                .unwrap();
            let mut body = vec![0; length];
            socket.read_exact(&mut body).await.unwrap();
            break;
        }
    }
    let mut events = EventStream::open_on(socket, "/events", &[]).await;
    events.opened("live").await;
    let id = hub.client.emit("a.b", json!({})).await;
    assert_eq!(events.next_event().await.id(), id);
    hub.drain();
    assert!(
        events
            .next_named("stream_closing")
            .await
            .is("stream_closing")
    );
}
