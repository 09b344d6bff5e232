//! Section 4: health goes down and up by the rules, and a red light says why.

use std::time::Duration;

use serde_json::json;

use crate::support::{PATIENCE, TestHub, until};

async fn quick() -> TestHub {
    TestHub::start_with(|c| {
        c.heartbeat.interval = Duration::from_millis(200);
        c.heartbeat.unhealthy_after = 2;
        c.heartbeat.disconnect_after = 4;
    })
    .await
}

#[tokio::test]
async fn silence_degrades_then_is_unhealthy_then_disconnects() {
    let hub = quick().await;
    let mut events = hub.subscribe("").await;
    hub.client
        .post(
            "/servers",
            &json!({"id": "alpha", "name": "a", "transport": "http"}),
        )
        .await;
    events.next_named("server_connected").await;

    let degraded = events.next_named("server_health_changed").await.json();
    assert_eq!(degraded["data"]["health"], "degraded");
    assert_eq!(degraded["data"]["previousHealth"], "healthy");
    assert_eq!(degraded["data"]["reason"], "missed_heartbeats");
    assert_eq!(degraded["data"]["source"], "lease");
    assert_eq!(degraded["data"]["missedHeartbeats"], 1);
    assert!(
        degraded["data"]["detail"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    let status = events.next_named("integration_status_changed").await.json();
    assert_eq!(
        (
            status["data"]["status"].as_str(),
            status["data"]["previousStatus"].as_str()
        ),
        (Some("unhealthy"), Some("healthy"))
    );

    let unhealthy = events.next_named("server_health_changed").await.json();
    assert_eq!(
        (
            unhealthy["data"]["health"].as_str(),
            unhealthy["data"]["missedHeartbeats"].as_u64()
        ),
        (Some("unhealthy"), Some(2))
    );
    let gone = events.next_named("server_disconnected").await.json();
    assert_eq!(gone["data"]["reason"], "heartbeat_timeout");
    assert_eq!(
        gone["data"]["connection"],
        json!({"id": "alpha", "name": "a"})
    );
    assert!(
        gone["timestamp"].as_i64().unwrap() - gone["data"]["lastSeenAt"].as_i64().unwrap() >= 900
    );

    let status = hub.client.get("/status").await.json();
    assert_eq!(
        (
            status["status"].as_str(),
            status["lostServers"].as_u64(),
            status["connectedServers"].as_u64()
        ),
        (Some("unhealthy"), Some(1), Some(0))
    );
    assert_eq!(hub.client.delete("/servers/alpha").await.status, 204);
    let back = events.next_named("integration_status_changed").await.json();
    assert_eq!(
        back["data"]["status"], "healthy",
        "deregistered, it counts no more"
    );
}

#[tokio::test]
async fn recovery_takes_heartbeats_and_goes_straight_to_healthy() {
    let hub = quick().await;
    let mut events = hub.subscribe("type=server_health_changed").await;
    hub.client
        .post(
            "/servers",
            &json!({"id": "alpha", "name": "a", "transport": "http"}),
        )
        .await;
    events.next_event().await;
    let unhealthy = events.next_event().await.json();
    assert_eq!(unhealthy["data"]["health"], "unhealthy");
    let first = hub
        .client
        .post("/servers/alpha/heartbeat", &json!({}))
        .await
        .json();
    assert_eq!(
        first["health"], "unhealthy",
        "a heartbeat zeroes the count, not the verdict"
    );
    assert_eq!(
        hub.client.get("/servers/alpha").await.json()["missedHeartbeats"],
        0
    );
    // Twins at once count as one; the second counts half an interval later, whenever the loop gets there.
    let healthy = loop {
        let beat = hub
            .client
            .post("/servers/alpha/heartbeat", &json!({}))
            .await
            .json();
        if beat["health"] == "healthy" {
            break events.next_event().await.json();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(healthy["data"]["health"], "healthy");
    assert_eq!(healthy["data"]["previousHealth"], "unhealthy");
    assert_eq!(healthy["data"]["reason"], "heartbeats_resumed");
    let took = healthy["timestamp"].as_i64().unwrap() - unhealthy["timestamp"].as_i64().unwrap();
    assert!(took >= 100, "at least half an interval apart: {took} ms");
}

#[tokio::test]
async fn a_servers_own_word_counts_at_once_when_worse() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("type=server_health_changed").await;
    hub.client.register("alpha").await;
    let beat = hub
        .client
        .post(
            "/servers/alpha/heartbeat",
            &json!({"health": "unhealthy", "detail": "database gone"}),
        )
        .await;
    assert_eq!(beat.json()["health"], "unhealthy");
    let event = events.next_event().await.json();
    assert_eq!(event["data"]["source"], "self");
    assert_eq!(event["data"]["reason"], "reported");
    assert!(
        event["data"]["detail"]
            .as_str()
            .unwrap()
            .contains("database gone")
    );
    let server = hub.client.get("/servers/alpha").await.json();
    assert_eq!(server["health"], "unhealthy");
    assert!(server["detail"].as_str().unwrap().contains("database gone"));
    let silent = hub
        .client
        .post("/servers/alpha/heartbeat", &json!({}))
        .await
        .json();
    assert_eq!(
        silent["health"], "unhealthy",
        "a report stands until the next that names health"
    );
}

#[tokio::test]
async fn a_red_light_stays_true_across_a_restart_and_nobody_is_blamed_for_it() {
    let hub = TestHub::start().await;
    hub.client.register("ill").await;
    hub.client.register("well").await;
    hub.client
        .post(
            "/servers/ill/heartbeat",
            &json!({"health": "degraded", "detail": "disk at 97 %"}),
        )
        .await;
    let head = hub.client.get("/status").await.json()["lastEventId"].clone();
    let hub = hub.restart().await;
    let ill = hub.client.get("/servers/ill").await.json();
    assert_eq!(ill["health"], "degraded");
    assert!(ill["detail"].as_str().unwrap().contains("disk at 97 %"));
    let well = hub.client.get("/servers/well").await.json();
    assert_eq!(
        (
            well["status"].as_str(),
            well["health"].as_str(),
            well["missedHeartbeats"].as_u64()
        ),
        (Some("connected"), Some("healthy"), Some(0))
    );
    let status = hub.client.get("/status").await.json();
    assert_eq!(status["status"], "degraded");
    assert_eq!(status["lastEventId"], head, "a restart is no event");
}

#[tokio::test]
async fn a_fleet_that_falls_silent_at_once_makes_the_hub_suspect_itself() {
    let hub = quick().await;
    let mut events = hub.subscribe("").await;
    for id in ["a", "b", "c", "d"] {
        hub.client
            .post(
                "/servers",
                &json!({"id": id, "name": id, "transport": "http"}),
            )
            .await;
    }
    let mut degraded = 0;
    while degraded < 3 {
        let event = events.next_named("server_health_changed").await.json();
        degraded += usize::from(event["data"]["health"] == "degraded");
    }
    let status = hub.client.get("/status").await.json();
    assert!(
        status["selfSuspect"]["silent"].as_u64().unwrap() >= 3,
        "{status}"
    );
    assert!(status["selfSuspect"]["since"].is_i64());
    let gone = events.next_named("server_disconnected").await.json();
    let waited = gone["timestamp"].as_i64().unwrap() - gone["data"]["lastSeenAt"].as_i64().unwrap();
    assert!(
        waited >= 1700,
        "each one's own time to disconnect doubled: {waited} ms"
    );
}

#[tokio::test]
async fn a_report_that_changed_no_verdict_survives_a_restart_with_its_reason() {
    let hub = TestHub::start_with(|config| {
        config.heartbeat.interval = Duration::from_millis(200);
        // Silent, it stays degraded.
        config.heartbeat.unhealthy_after = 1000;
        config.heartbeat.disconnect_after = 2000;
    })
    .await;
    let server = json!({"id": "s", "name": "s", "transport": "http"});
    assert_eq!(hub.client.post("/servers", &server).await.status, 201);
    let health = async |hub: &TestHub| hub.client.get("/servers/s").await.json();
    until(PATIENCE, "silence to degrade it", async || {
        health(&hub).await["health"] == "degraded"
    })
    .await;
    // It is degraded already, so that no event tells this.
    let body = json!({"health": "degraded", "detail": "the disk is failing"});
    let taken = hub.client.post("/servers/s/heartbeat", &body).await;
    assert_eq!(taken.status, 200);
    let hub = hub
        .restart_with(|config| config.heartbeat.interval = Duration::from_secs(60))
        .await;
    for _ in 0..4 {
        hub.client.post("/servers/s/heartbeat", &json!({})).await;
    }
    let server = health(&hub).await;
    assert_eq!(
        (&server["health"], &server["detail"]),
        (&json!("degraded"), &json!("the disk is failing")),
        "{server}"
    );
}

#[tokio::test]
async fn heartbeats_in_one_array_are_judged_one_after_the_other() {
    let hub = TestHub::start().await;
    let said = |server: &str, health: &str| json!({"type": "server_health_changed", "serverId": server, "data": {"health": health, "detail": health}});
    hub.client.register("s").await;
    let both = json!([said("s", "unhealthy"), said("s", "healthy")]);
    assert_eq!(hub.client.post("/events", &both).await.status, 202);
    let told = hub
        .client
        .get("/events/history?type=server_health_changed")
        .await
        .json();
    let verdicts: Vec<_> = told["events"].as_array().unwrap().iter().collect();
    assert_eq!(verdicts.len(), 1, "one healthy word heals nothing: {told}");
    assert_eq!(verdicts[0]["data"]["health"], "unhealthy");

    hub.client.register("t").await;
    let beat = |health: &str| json!({"id": "t", "health": health});
    let beats = json!([beat("unhealthy"), beat("healthy"), beat("healthy")]);
    let answer = hub.client.post("/heartbeats", &beats).await.json();
    let state = hub.client.get("/servers/t").await.json();
    assert_eq!(answer["results"][2]["health"], state["health"], "{answer}");

    let connection = json!({"id": "n", "name": "n", "transport": "http"});
    let new =
        json!({"type": "server_connected", "serverId": "n", "data": {"connection": connection}});
    let both = json!([new, said("n", "degraded")]);
    assert_eq!(hub.client.post("/events", &both).await.status, 202);
    let state = hub.client.get("/servers/n").await.json();
    assert_eq!(state["health"], "degraded");
}
