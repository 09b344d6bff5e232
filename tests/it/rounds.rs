//! Servers that the hub asks itself, against scripted MCP servers over real sockets.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};
use timeback_events::{Config, probe::Allow};

use crate::{
    probe::{Asked, Scripted, modern, result, text, tools},
    support::{PATIENCE, TestHub, until},
};

/// What a scripted server does, to be changed while it runs.
type Mood = Arc<Mutex<&'static str>>;

/// Says what its mood is: `well`, `new tools`, `asks`, `fails`.
fn moody(
    mood: &Mood,
) -> impl Fn(Asked) -> Option<axum::response::Response> + Send + Sync + 'static {
    let mood = mood.clone();
    move |asked| match (*mood.lock(), asked.method.as_str()) {
        ("asks", _) => text(401, ""),
        ("fails", _) => text(500, ""),
        ("new tools", "tools/list") => {
            let mut list = tools(&["a", "c"]);
            list["tools"][0]["inputSchema"] = json!({"type": "object", "required": ["x"]});
            result(&asked, &list)
        }
        _ => modern(&asked),
    }
}

fn loopback(config: &mut Config) {
    config.probe.allow = Allow::parse("127.0.0.0/8").unwrap();
    config.heartbeat.disconnect_after = 5;
}

async fn probed(hub: &TestHub, id: &str, server: &Scripted, interval_ms: u64) -> Value {
    let body = json!({"id": id, "name": "given", "transport": "http", "url": server.url(),
        "probe": {"intervalMs": interval_ms, "timeoutMs": 5000}});
    let reply = hub.client.post("/servers", &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    reply.json()
}

/// Asked so rarely that only `POST /servers/{id}/probe` asks, after the first time.
const RARELY: u64 = 3_600_000;

async fn first_found(hub: &TestHub, id: &str) {
    until(PATIENCE, "the first probe", async || {
        hub.client.get(&format!("/servers/{id}")).await.json()["probe"]["at"].is_number()
    })
    .await;
}

#[tokio::test]
async fn what_a_probe_learns_becomes_the_connection_and_drift_is_told() {
    let mood = Mood::new(Mutex::new("well"));
    let server = Scripted::start(moody(&mood)).await;
    let hub = TestHub::start_with(loopback).await;
    let mut events = hub.subscribe("type=server_*").await;
    probed(&hub, "s", &server, RARELY).await;
    assert_eq!(
        events.next_named("server_connected").await.json()["data"]["connection"]["name"],
        "given"
    );
    let learnt = events.next_named("server_updated").await.json()["data"].clone();
    assert_eq!(learnt["connection"]["name"], "Modern");
    assert_eq!(learnt["connection"]["version"], "2.1");
    assert_eq!(learnt["protocolVersion"], "2026-07-28");
    assert_eq!(learnt["drift"]["tools"]["added"], json!(["a", "b"]));
    first_found(&hub, "s").await;
    let view = hub.client.get("/servers/s").await.json();
    assert_eq!(
        (
            &view["health"],
            &view["probe"]["verdict"],
            &view["probe"]["era"]
        ),
        (&json!("healthy"), &json!("healthy"), &json!("modern"))
    );
    assert!(view["probe"]["latencyMs"].is_number(), "{view}");
    assert!(
        view["connection"]["capabilities"]["tools"][0]["hash"].is_string(),
        "{view}"
    );

    // The same registration again takes back nothing of it.
    let body = json!({"id": "s", "name": "given", "transport": "http", "url": server.url(),
        "probe": {"intervalMs": RARELY, "timeoutMs": 5000}});
    assert_eq!(
        hub.client.post("/servers", &body).await.json()["name"],
        "Modern"
    );

    *mood.lock() = "new tools";
    let found = hub.client.post("/servers/s/probe", &Value::Null).await;
    assert_eq!(
        (found.status, &found.json()["verdict"]),
        (http::StatusCode::OK, &json!("healthy")),
        "{}",
        found.text
    );
    let changed = events.next_named("server_updated").await.json()["data"].clone();
    assert_eq!(changed["changed"], json!(["capabilities"]));
    assert_eq!(
        (
            &changed["drift"]["tools"]["added"],
            &changed["drift"]["tools"]["removed"]
        ),
        (&json!(["c"]), &json!(["b"]))
    );
    assert_eq!(
        changed["drift"]["tools"]["changed"],
        json!([{"name": "a", "fields": ["hash", "inputSchema"]}])
    );
    let metrics = hub.client.get("/metrics").await.text;
    assert!(
        metrics.contains(r#"timeback_probe_seconds_count{server="s",verdict="healthy"}"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn failed_probes_degrade_then_disconnect_and_an_answer_connects_again() {
    let mood = Mood::new(Mutex::new("well"));
    let server = Scripted::start(moody(&mood)).await;
    let hub = TestHub::start_with(loopback).await;
    probed(&hub, "s", &server, RARELY).await;
    first_found(&hub, "s").await;
    let mut events = hub
        .subscribe("type=server_health_changed,server_disconnected,server_connected")
        .await;
    *mood.lock() = "fails";
    let ask = async || {
        hub.client
            .post("/servers/s/probe", &Value::Null)
            .await
            .json()
    };
    assert_eq!(ask().await["health"], "degraded");
    let turned = events.next_named("server_health_changed").await.json()["data"].clone();
    assert_eq!(
        (&turned["health"], &turned["reason"], &turned["source"]),
        (&json!("degraded"), &json!("server_error"), &json!("probe"))
    );
    assert!(turned["detail"].as_str().unwrap().contains("500"));
    assert_eq!(ask().await["health"], "degraded");
    assert_eq!(ask().await["health"], "unhealthy");
    assert_eq!(
        events.next_named("server_health_changed").await.json()["data"]["health"],
        "unhealthy"
    );
    assert_eq!(ask().await["status"], "connected");
    assert_eq!(ask().await["status"], "disconnected");
    let gone = events.next_named("server_disconnected").await.json()["data"].clone();
    assert_eq!(
        (&gone["reason"], &gone["expected"]),
        (&json!("probe_failed"), &json!(false))
    );
    assert_eq!(ask().await["status"], "disconnected");
    *mood.lock() = "well";
    assert_eq!(ask().await["status"], "connected");
    assert_eq!(
        events.next_named("server_connected").await.json()["data"]["reconnected"],
        true
    );
    assert_eq!(ask().await["health"], "healthy");
}

#[tokio::test]
async fn whoever_asks_for_credentials_is_degraded_and_stays() {
    let mood = Mood::new(Mutex::new("asks"));
    let server = Scripted::start(moody(&mood)).await;
    let hub = TestHub::start_with(loopback).await;
    probed(&hub, "s", &server, RARELY).await;
    first_found(&hub, "s").await;
    for _ in 0..8 {
        let found = hub
            .client
            .post("/servers/s/probe", &Value::Null)
            .await
            .json();
        assert_eq!(
            (&found["verdict"], &found["health"], &found["status"]),
            (
                &json!("auth_required"),
                &json!("degraded"),
                &json!("connected")
            )
        );
    }
    let view = hub.client.get("/servers/s").await.json();
    assert_eq!(
        (&view["reason"], &view["health"]),
        (&json!("auth_required"), &json!("degraded"))
    );
}

#[tokio::test]
async fn a_verdict_gets_better_by_probes_that_are_apart() {
    let mood = Mood::new(Mutex::new("fails"));
    let server = Scripted::start(moody(&mood)).await;
    let hub = TestHub::start_with(loopback).await;
    let mut events = hub.subscribe("type=server_health_changed").await;
    probed(&hub, "s", &server, 200).await;
    assert_eq!(
        events.next_named("server_health_changed").await.json()["data"]["health"],
        "degraded"
    );
    *mood.lock() = "well";
    loop {
        let turned = events.next_named("server_health_changed").await.json()["data"].clone();
        if turned["health"] == "healthy" {
            assert_eq!(
                (&turned["reason"], &turned["source"]),
                (&json!("probe_answered"), &json!("probe"))
            );
            break;
        }
    }
}

#[tokio::test]
async fn what_is_not_allowed_is_never_asked() {
    let server = Scripted::start(|asked| modern(&asked)).await;
    let hub = TestHub::start().await;
    let body =
        json!({"id": "s", "name": "S", "transport": "http", "url": server.url(), "probe": {}});
    let problem = hub
        .client
        .post("/servers", &body)
        .await
        .problem(422, "invalid-fields");
    assert_eq!(problem["errors"][0]["pointer"], "/probe/url");
    assert!(
        problem["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("INTEGRATION_PROBE_ALLOW")
    );
    for (body, pointer) in [
        (
            json!({"name": "S", "transport": "http", "probe": {}}),
            "/probe/url",
        ),
        (
            json!({"name": "S", "transport": "stdio", "probe": {"url": "http://a/"}}),
            "/probe/url",
        ),
        (
            json!({"name": "S", "transport": "http", "probe": {"url": "http://a/", "intervalMs": 1}}),
            "/probe/intervalMs",
        ),
        (
            json!({"name": "S", "transport": "http", "instances": "many", "probe": {"url": "http://a/"}}),
            "/probe",
        ),
        (
            json!({"name": "S", "transport": "http", "probe": 1}),
            "/probe",
        ),
    ] {
        let problem = hub
            .client
            .post("/servers", &body)
            .await
            .problem(422, "invalid-fields");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    // Nor by the other way to register.
    let event = json!({"type": "server_connected", "serverId": "s", "data": {"connection":
        {"name": "S", "transport": "http", "url": server.url(), "probe": {}}}});
    hub.client
        .post("/events", &event)
        .await
        .problem(422, "invalid-fields");
    hub.client
        .post("/servers/none/probe", &Value::Null)
        .await
        .problem(404, "server-not-found");
    hub.client.register("plain").await;
    hub.client
        .post("/servers/plain/probe", &Value::Null)
        .await
        .problem(409, "server-not-probed");
    assert!(server.seen.lock().is_empty());
}

#[tokio::test]
async fn the_operators_file_is_asked_and_read_again() {
    let (one, other) = (
        Scripted::start(|asked| modern(&asked)).await,
        Scripted::start(|asked| modern(&asked)).await,
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcp.json");
    let write =
        |servers: Value| std::fs::write(&path, json!({"mcpServers": servers}).to_string()).unwrap();
    let entry = |server: &Scripted| json!({"url": server.url(), "headers": {"Authorization": "Bearer ${PATH}"}});
    write(
        json!({"one": entry(&one), "local": {"command": "npx"}, "lacks": {"url": "http://a/${NO_SUCH_VARIABLE_HERE}"}}),
    );
    let hub = TestHub::start_with(|config| config.probe.servers_file = Some(path.clone())).await;
    let mut events = hub
        .subscribe("replay=1000&type=server_connected,server_disconnected,server_updated")
        .await;
    assert_eq!(
        events.next_named("server_connected").await.json()["serverId"],
        "one"
    );
    let learnt = events.next_named("server_updated").await.json();
    assert_eq!(learnt["data"]["connection"]["name"], "Modern");
    let secret = std::env::var("PATH").unwrap();
    assert!(!hub.client.get("/snapshot").await.text.contains(&secret));
    assert_eq!(
        one.seen
            .lock()
            .first()
            .map(|(http, ..)| http.clone())
            .as_deref(),
        Some("POST")
    );
    write(json!({"the other": entry(&other)}));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event = events.next_event().await.json();
        if event["type"] != "server_updated" {
            seen.push((event["serverId"].clone(), event["data"]["reason"].clone()));
        }
    }
    assert!(seen.contains(&(json!("one"), json!("removed"))), "{seen:?}");
    assert!(
        seen.contains(&(json!("the-other"), Value::Null)),
        "{seen:?}"
    );
    assert_eq!(
        hub.client.get("/servers").await.json()["servers"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_probed_server_owes_no_heartbeats_and_a_restart_keeps_its_verdict() {
    let mood = Mood::new(Mutex::new("asks"));
    let server = Scripted::start(moody(&mood)).await;
    let hub = TestHub::start_with(|config| {
        loopback(config);
        config.heartbeat.interval = Duration::from_millis(100);
    })
    .await;
    let body = json!({"id": "s", "name": "S", "transport": "http", "url": server.url(), "heartbeatIntervalMs": 100,
        "probe": {"intervalMs": RARELY}});
    assert_eq!(hub.client.post("/servers", &body).await.status, 201);
    hub.client
        .post(
            "/servers",
            &json!({"id": "beats", "name": "B", "transport": "http", "heartbeatIntervalMs": 100}),
        )
        .await;
    let mut events = hub.subscribe("replay=1000&type=server_disconnected").await;
    // By then the one without a probe has long been given up.
    assert_eq!(
        events.next_named("server_disconnected").await.json()["serverId"],
        "beats"
    );
    until(PATIENCE, "the verdict", async || {
        hub.client.get("/servers/s").await.json()["reason"] == "auth_required"
    })
    .await;
    assert_eq!(
        hub.client.get("/servers/s").await.json()["missedHeartbeats"],
        0
    );
    let hub = hub.restart().await;
    let view = hub.client.get("/servers/s").await.json();
    assert_eq!(
        (&view["health"], &view["reason"], &view["status"]),
        (
            &json!("degraded"),
            &json!("auth_required"),
            &json!("connected")
        )
    );
    assert_eq!(
        hub.client
            .post("/servers/s/probe", &Value::Null)
            .await
            .json()["verdict"],
        "auth_required"
    );
}
