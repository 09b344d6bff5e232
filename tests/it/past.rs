//! `GET /servers/{id}/history` and `GET /uptime`, held against the events of the log.

use http::Method;
use serde_json::{Value, json};

use crate::support::TestHub;

async fn report(hub: &TestHub, server: &str, health: &str) {
    let path = format!("/servers/{server}/heartbeat");
    let reply = hub.client.post(&path, &json!({"health": health})).await;
    assert!(reply.status.is_success(), "{}", reply.text);
}

/// Reports until the verdict follows: a better one takes several.
async fn recover(hub: &TestHub, server: &str) {
    for _ in 0..10 {
        report(hub, server, "healthy").await;
        let path = format!("/servers/{server}");
        if hub.client.get(&path).await.json()["health"] == "healthy" {
            return;
        }
    }
    panic!("{server} doesn't recover");
}

async fn events_of(hub: &TestHub, server: &str) -> Vec<Value> {
    let types = "server_connected,server_disconnected,server_health_changed";
    let path = format!("/events/history?serverId={server}&type={types}&limit=1000");
    let page = hub.client.get(&path).await.json();
    page["events"].as_array().expect("events").clone()
}

fn time(event: &Value) -> i64 {
    event["timestamp"].as_i64().expect("a time")
}

/// A server that was ill, well, and crashed; another one that is well.
async fn hub_with_a_past() -> TestHub {
    let hub = TestHub::start().await;
    for server in ["calm", "troubled"] {
        hub.client.register(server).await;
    }
    report(&hub, "troubled", "degraded").await;
    report(&hub, "troubled", "unhealthy").await;
    recover(&hub, "troubled").await;
    let path = "/servers/troubled?expected=false&reason=segfault";
    let gone = hub.client.send(Method::DELETE, path, &[], "").await;
    assert_eq!(gone.status, 204);
    hub
}

#[tokio::test]
async fn a_servers_past_is_what_its_events_say() {
    let hub = hub_with_a_past().await;
    let events = events_of(&hub, "troubled").await;
    let [_, ill, worse, well, gone] = events.as_slice() else {
        panic!("{events:?}");
    };
    let past = hub.client.get("/servers/troubled/history").await.json();
    assert_eq!(past["serverId"], "troubled");
    assert_eq!(past["truncated"], false);
    let until = past["until"].as_i64().expect("a time");
    assert_eq!(until - past["since"].as_i64().expect("a time"), 86_400_000);
    let incidents = json!([
        {
            "from": time(ill), "to": time(well), "lengthMs": time(well) - time(ill), "health": "unhealthy",
            "cause": {
                "eventId": ill["id"], "type": "server_health_changed",
                "reason": ill["data"]["reason"], "detail": ill["data"]["detail"],
            },
        },
        {
            "from": time(gone), "to": null, "lengthMs": until - time(gone), "health": "lost",
            "cause": {"eventId": gone["id"], "type": "server_disconnected", "reason": "segfault"},
        },
    ]);
    let mut told = past["incidents"].clone();
    for incident in told.as_array_mut().expect("incidents") {
        let cause = incident["cause"].as_object_mut().expect("a cause");
        cause.entry("detail").or_insert(Value::Null);
    }
    let mut incidents = incidents;
    incidents[1]["cause"]["detail"] = Value::Null;
    assert_eq!(told, incidents);
    let down = (time(well) - time(worse)) + (until - time(gone));
    assert_eq!(past["downMs"], down);
    let up = (time(worse) - time(&events[0])) + (time(gone) - time(well));
    assert_eq!(past["upMs"], up);
    // Intervals follow each other without a hole, from the beginning to now.
    let intervals = past["intervals"].as_array().expect("intervals");
    assert_eq!(intervals[0]["from"], past["since"]);
    assert_eq!(intervals[0]["health"], "unknown");
    assert_eq!(intervals[0]["to"], time(&events[0]));
    for pair in intervals.windows(2) {
        assert_eq!(pair[0]["to"], pair[1]["from"]);
    }
    assert_eq!(intervals.last().expect("one")["to"], until);
}

#[tokio::test]
async fn a_range_begins_with_how_the_server_was_then() {
    let hub = hub_with_a_past().await;
    let events = events_of(&hub, "troubled").await;
    let health_at = async |since: i64| {
        let path = format!("/servers/troubled/history?since={since}");
        let past = hub.client.get(&path).await.json();
        let begun = &past["incidents"][0];
        (past["intervals"][0].clone(), begun.clone())
    };
    // After the last event: as the state has it. Before the last one, which doesn't say: as the one before it left it.
    let last = time(events.last().expect("events"));
    let (_, begun) = health_at(last + 1).await;
    assert!(
        begun["to"].is_null() && begun["health"] == "lost",
        "{begun}"
    );
    let (worse, well) = (time(&events[2]), time(&events[3]));
    if worse < well {
        let (first, begun) = health_at(worse + 1).await;
        assert_eq!(
            (&first["health"], &first["from"]),
            (&json!("unhealthy"), &json!(worse + 1))
        );
        assert_eq!(begun.get("cause"), None, "it began before the range");
    }
}

#[tokio::test]
async fn the_fleets_uptime_is_that_of_its_servers() {
    let hub = hub_with_a_past().await;
    let fleet = hub.client.get("/uptime?since=1h").await.json();
    let servers = fleet["servers"].as_array().expect("servers");
    let ids: Vec<_> = servers.iter().map(|server| &server["serverId"]).collect();
    assert_eq!(ids, ["calm", "troubled"]);
    assert_eq!(
        (&servers[0]["uptime"], &servers[0]["downMs"]),
        (&json!(100.0), &json!(0))
    );
    assert_eq!(servers[0]["health"], "healthy");
    assert_eq!(
        (&servers[1]["health"], &servers[1]["incidents"]),
        (&json!("lost"), &json!(2))
    );
    let since = fleet["since"].as_i64().expect("a time");
    let path = format!("/servers/troubled/history?since={since}");
    let alone = hub.client.get(&path).await.json();
    assert_eq!(alone["upMs"], servers[1]["upMs"]);
    // It is lost for a little longer by now.
    let later = alone["until"].as_i64().expect("a time") - fleet["until"].as_i64().expect("a time");
    assert_eq!(
        alone["downMs"].as_i64().expect("ms") - later,
        servers[1]["downMs"].as_i64().expect("ms")
    );
    let one = hub.client.get("/uptime?serverId=calm").await.json();
    assert_eq!(one["servers"].as_array().map(Vec::len), Some(1));
    let none = hub.client.get("/uptime?tag=team:nobody").await.json();
    assert_eq!(
        (&none["servers"], &none["uptime"]),
        (&json!([]), &Value::Null)
    );
}

#[tokio::test]
async fn a_past_survives_a_restart() {
    let hub = hub_with_a_past().await;
    let since = time(&events_of(&hub, "calm").await[0]);
    let path = format!("/servers/troubled/history?since={since}");
    let before = hub.client.get(&path).await.json();
    let hub = hub.restart().await;
    let after = hub.client.get(&path).await.json();
    assert_eq!(before["incidents"][0], after["incidents"][0]);
    assert_eq!(before["upMs"], after["upMs"]);
}

#[tokio::test]
async fn mistakes_are_named() {
    let hub = TestHub::start().await;
    hub.client.register("alpha").await;
    for (path, status, kind) in [
        ("/servers/nobody/history", 404, "server-not-found"),
        (
            "/servers/alpha/history?since=tomorrow",
            400,
            "invalid-query",
        ),
        ("/servers/alpha/history?step=1m", 400, "invalid-query"),
        (
            "/servers/alpha/history?since=2999-01-01T00:00:00Z",
            422,
            "range-empty",
        ),
        ("/uptime?since=2999-01-01T00:00:00Z", 422, "range-empty"),
        ("/uptime?limit=3", 400, "invalid-query"),
    ] {
        let reply = hub.client.get(path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
        assert_eq!(reply.json()["type"], kind, "{path}");
    }
}
