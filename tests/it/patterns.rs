//! Section 3 and 7: patterns, switched at run time with real effect, and by flags at startup.

use serde_json::json;

use crate::support::TestHub;

#[tokio::test]
async fn patterns_are_listed_and_an_event_tells_each_change_only() {
    let hub = TestHub::start().await;
    let list = hub.client.get("/patterns").await.json();
    let names: Vec<_> = list["patterns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "event_driven",
            "server_chaining",
            "shared_resources",
            "sse_integration",
            "tool_composition"
        ]
    );
    let mut events = hub.subscribe("type=pattern_*").await;
    let on = hub
        .client
        .put("/patterns/server_chaining", &json!({"enabled": true}))
        .await;
    assert_eq!(on.status, 200, "{}", on.text);
    assert_eq!(on.json()["enabled"], true);
    let frame = events.next_event().await;
    assert!(frame.is("pattern_enabled"));
    let data = frame.json()["data"].clone();
    assert_eq!(
        (
            data["source"].as_str(),
            data["pattern"]["name"].as_str(),
            data["pattern"]["enabled"].as_bool()
        ),
        (Some("api"), Some("server_chaining"), Some(true))
    );
    assert_eq!(on.header("last-event-id"), Some(frame.id()));
    assert_eq!(
        hub.client
            .put("/patterns/server_chaining", &json!({"enabled": true}))
            .await
            .status,
        200
    );
    hub.client
        .put("/patterns/server_chaining", &json!({"enabled": false}))
        .await;
    assert!(
        events.next_event().await.is("pattern_disabled"),
        "the repeat appended nothing"
    );
    let own = hub
        .client
        .put(
            "/patterns/night_mode",
            &json!({"enabled": true, "description": "quiet hours"}),
        )
        .await;
    assert_eq!(
        own.json(),
        json!({"name": "night_mode", "description": "quiet hours", "enabled": true})
    );
    hub.client
        .put("/patterns/night_mode", &json!({"enabled": "yes"}))
        .await
        .problem(422, "invalid-fields");
    hub.client
        .put("/patterns/night_mode", &json!({}))
        .await
        .problem(422, "invalid-fields");
    hub.client
        .get("/patterns/none")
        .await
        .problem(404, "pattern-not-found");
}

#[tokio::test]
async fn switching_the_stream_off_ends_it_and_on_lets_it_begin() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    let head = events.opened("live").await.id().to_owned();
    hub.client
        .put("/patterns/sse_integration", &json!({"enabled": false}))
        .await;
    let closing = events.next_named("stream_closing").await;
    assert_eq!(closing.json(), json!({"reason": "disabled"}));
    assert_eq!(closing.retry, Some(30_000));
    assert_eq!(events.next_or_end().await, None);
    assert_eq!(
        hub.subscribe("").await.next().await.json(),
        json!({"reason": "disabled"})
    );
    hub.client
        .put("/patterns/sse_integration", &json!({"enabled": true}))
        .await;
    let mut events = hub.resume("", &head).await;
    events.opened("resumed").await;
    assert!(events.next_event().await.is("pattern_disabled"));
    assert!(events.next_event().await.is("pattern_enabled"));
    hub.client
        .put("/patterns/event_driven", &json!({"enabled": false}))
        .await;
    assert_eq!(
        events.next_named("stream_closing").await.json(),
        json!({"reason": "disabled"})
    );
}

#[tokio::test]
async fn flags_overwrite_what_was_switched_and_tell_it_once() {
    let hub = TestHub::start_with(|c| c.patterns.tool_composition = Some(true)).await;
    let started = hub
        .client
        .get("/events/history?type=pattern_*")
        .await
        .json();
    assert_eq!(started["events"].as_array().unwrap().len(), 1);
    assert_eq!(started["events"][0]["type"], "pattern_enabled");
    assert_eq!(started["events"][0]["data"]["source"], "startup");
    hub.client
        .put("/patterns/server_chaining", &json!({"enabled": true}))
        .await;
    let hub = hub.restart().await;
    assert_eq!(
        hub.client.get("/patterns/server_chaining").await.json()["enabled"],
        true,
        "no flag is set: it stays"
    );
    assert_eq!(
        hub.client
            .get("/events/history?type=pattern_*")
            .await
            .json()["events"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let hub = hub
        .restart_with(|c| c.patterns.server_chaining = Some(false))
        .await;
    assert_eq!(
        hub.client.get("/patterns/server_chaining").await.json()["enabled"],
        false
    );
    let last = hub
        .client
        .get("/events/history?order=desc&limit=1")
        .await
        .json();
    assert_eq!(
        (
            last["events"][0]["type"].as_str(),
            last["events"][0]["data"]["source"].as_str()
        ),
        (Some("pattern_disabled"), Some("startup"))
    );
}
