//! What is read of descriptions and posted events, and which mistakes are named.

use serde_json::{Value, json};

use super::id;
use crate::domain::Json;
use crate::domain::{
    command::Register,
    event::{EventType, Health},
    server::from_event::ServerRequest,
};

#[test]
fn every_mistake_of_a_description_is_named_at_once() {
    let body = json!({
        "id": "a b", "name": " ", "transport": "pigeon", "url": "not a url", "version": 2,
        "capabilities": {"tools": [1, "ok"], "resources": {}}, "heartbeatIntervalMs": 99,
        "tags": {"a:b": "x", "ok": 3, "line": "a\nb"}, "instanceId": "", "metadata": [[0]],
    });
    let errors = Register::parse(Json::of(&body).root(), "/0", || unreachable!()).unwrap_err();
    let pointers: Vec<_> = errors
        .iter()
        .map(|error| error.pointer.trim_start_matches("/0/"))
        .collect();
    let expected = [
        "id",
        "name",
        "transport",
        "url",
        "version",
        "capabilities/tools/0",
        "capabilities/resources",
        "tags/a:b",
        "tags/ok",
        "tags/line",
        "heartbeatIntervalMs",
        "instanceId",
    ];
    assert_eq!(pointers, expected);

    let deep: Value = serde_json::from_str(&("[".repeat(70) + &"]".repeat(70))).unwrap();
    let errors = Register::parse(
        Json::of(&json!({"name": "a", "transport": "sse", "metadata": deep})).root(),
        "",
        || id("x"),
    );
    assert_eq!(errors.unwrap_err()[0].pointer, "/metadata");
    assert_eq!(
        Register::parse(Json::of(&json!([])).root(), "", || id("x")).unwrap_err()[0].pointer,
        ""
    );
}

#[test]
fn intervals_and_urls_have_bounds() {
    for (interval, good) in [(99, false), (100, true), (300_000, true), (300_001, false)] {
        let body = json!({"name": "a", "transport": "sse", "heartbeatIntervalMs": interval});
        assert_eq!(
            Register::parse(Json::of(&body).root(), "", || id("x")).is_ok(),
            good,
            "{interval}"
        );
    }
    let urls = [
        ("http://h:1/p?q", true),
        ("ws://h", true),
        ("unix:/run/x", true),
        ("h/p", false),
        ("http://", false),
        ("http://a b", false),
        ("1a://x", false),
        (":x", false),
    ];
    for (url, good) in urls {
        let body = json!({"name": "a", "transport": "sse", "url": url});
        assert_eq!(
            Register::parse(Json::of(&body).root(), "", || id("x")).is_ok(),
            good,
            "{url}"
        );
    }
}

#[test]
fn core_events_ask_for_the_command_that_owns_them() {
    let read = |kind: EventType, server: Option<&str>, data: Value| {
        ServerRequest::from_event(&kind, server.map(id), Json::of(&data).root(), "/3").unwrap()
    };
    let description = json!({"connection": {"name": "A", "transport": "sse"}, "occurredAt": 7});
    match read(EventType::ServerConnected, Some("a"), description.clone()) {
        Ok(ServerRequest::Register(register)) => {
            assert_eq!((register.id, register.occurred_at), (id("a"), Some(7)));
        }
        other => panic!("{other:?}"),
    }
    let missing = read(EventType::ServerConnected, None, description).unwrap_err();
    assert_eq!(missing[0].pointer, "/3/serverId");
    let other = json!({"connection": {"id": "b", "name": "A", "transport": "sse"}});
    let twofold = read(EventType::ServerConnected, Some("a"), other.clone()).unwrap_err();
    assert_eq!(twofold[0].pointer, "/3/data/connection/id");
    assert!(read(EventType::ServerUpdated, None, other).is_ok());

    match read(
        EventType::ServerDisconnected,
        Some("a"),
        json!({"reason": "upgrade"}),
    ) {
        Ok(ServerRequest::Deregister(leave)) => assert_eq!(leave.reason, "upgrade"),
        other => panic!("{other:?}"),
    }
    let nameless = read(EventType::ServerHealthChanged, None, json!({"detail": "x"})).unwrap_err();
    let pointers: Vec<_> = nameless
        .iter()
        .map(|error| error.pointer.as_str())
        .collect();
    assert_eq!(pointers, ["/3/serverId", "/3/data/health"]);
    match read(
        EventType::ServerHealthChanged,
        Some("a"),
        json!({"health": "degraded"}),
    ) {
        Ok(ServerRequest::Heartbeat { heartbeat, .. }) => {
            assert_eq!(heartbeat.health, Some(Health::Degraded))
        }
        other => panic!("{other:?}"),
    }
    let custom = EventType::parse("a.b").unwrap();
    assert!(ServerRequest::from_event(&custom, None, Json::empty_object().root(), "").is_none());
}
