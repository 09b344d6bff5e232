//! A wall clock that jumps under a running hub: health runs on another one, retention waits, nothing is forgotten.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::{Value, json};

use crate::support::{Client, HubProcess, PATIENCE, Preloaded, until};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Servers that report, how often they are to, and how often they do.
const SERVERS: usize = 4;
const INTERVAL_MS: u64 = 3_000;
const BEAT: Duration = Duration::from_millis(200);

/// What an event's time may differ from the clock's.
const SLACK_MS: i64 = 30_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_jump_under_a_running_hub_change_no_verdict_and_lose_nothing() {
    let Some(preloaded) = Preloaded::compile() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let [library, faults] = preloaded.variables();
    let hub = HubProcess::start(
        directory.path(),
        &[library, faults, ("INTEGRATION_RETENTION_AGE", "1h")],
    )
    .await;
    let client = &hub.client;
    for n in 0..SERVERS {
        let server = json!({"id": format!("s-{n}"), "name": "s", "transport": "http",
            "heartbeatIntervalMs": INTERVAL_MS});
        assert_eq!(client.post("/servers", &server).await.status, 201);
    }
    let beating = tokio::spawn(beat(client.clone()));
    let workflow = json!({"id": "w", "name": "w", "steps": ["only"], "timeoutMs": 600_000});
    assert_eq!(client.post("/workflows", &workflow).await.status, 201);
    let mut told = Vec::new();
    for n in 0..20 {
        told.push(keyed(client, n).await);
    }
    assert_eq!(status(client).await["clockJump"], Value::Null);

    for (jump, shift) in [(3, 3), (-6, -3), (3, 0), (0, 0)] {
        preloaded.shift_clock(shift * DAY_MS);
        // The same requests again, before the hub has looked at its clock and after.
        are_remembered(client, &told, jump).await;
        if jump > 0 {
            let noticed = "the hub to notice a jump";
            until(PATIENCE, noticed, async || {
                let found = &status(client).await["clockJump"];
                let days = found["jumpedMs"].as_f64().unwrap_or(0.0) / DAY_MS as f64;
                (days - jump as f64).abs() < 0.01
                    && (found["noticedAt"].as_i64().expect("a time") - now_ms() - shift * DAY_MS)
                        .abs()
                        < SLACK_MS
            })
            .await;
        }
        // It prunes once a second: two rounds of it see the new time.
        let seen = uptime(client).await;
        until(PATIENCE, "two looks at the house", async || {
            uptime(client).await > seen + 2_500
        })
        .await;
        are_remembered(client, &told, jump).await;
        told.push(keyed(client, told.len()).await);
        everything_is_there(client, &told).await;
        let newest = client
            .get("/events/history?order=desc&limit=1")
            .await
            .json();
        let time = newest["events"][0]["timestamp"].as_i64().expect("a time");
        assert!(
            (time - now_ms() - shift * DAY_MS).abs() < SLACK_MS,
            "{newest}"
        );
    }
    let status = status(client).await;
    assert_eq!(status["status"], "healthy", "{status}");
    assert_eq!(status["activeWorkflows"], 1, "{status}");
    let changes = "/events/history?type=server_health_changed,server_disconnected,workflow_failed";
    let changes = client.get(changes).await.json();
    assert_eq!(changes["events"], json!([]), "no verdict by the wall clock");
    assert_eq!(hub.logged("nothing is pruned by age for an hour"), 2);

    beating.abort();
    hub.kill().await;
    let hub = HubProcess::start(directory.path(), &[]).await;
    everything_is_there(&hub.client, &told).await;
    hub.kill().await;
}

/// The same requests again give the same ids.
async fn are_remembered(client: &Client, told: &[String], jump: i64) {
    for (n, id) in told.iter().enumerate() {
        let again = keyed(client, n).await;
        assert_eq!(&again, id, "event {n}, after {jump} days");
    }
}

/// All events that were acknowledged, in order, and no others of their type.
async fn everything_is_there(client: &Client, told: &[String]) {
    let path = "/events/history?type=clock.test&limit=1000";
    let page = client.get(path).await.json();
    let ids: Vec<&str> = page["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids, told);
    assert_eq!(page["truncated"], false);
}

/// Publishes event `n`, always with the same key, and gives its id.
async fn keyed(client: &Client, n: usize) -> String {
    let key = format!("n-{n}");
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key.as_str()),
    ];
    let body = json!({"type": "clock.test", "data": {"n": n}}).to_string();
    let reply = client.send(Method::POST, "/events", &headers, body).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    reply.json()["ids"][0].as_str().expect("an id").to_owned()
}

/// Reports for all servers, many times in each of their intervals.
async fn beat(client: Client) {
    let all: Vec<Value> = (0..SERVERS)
        .map(|n| json!({"id": format!("s-{n}")}))
        .collect();
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        ticks.tick().await;
        assert_eq!(client.post("/heartbeats", &json!(all)).await.status, 200);
    }
}

async fn status(client: &Client) -> Value {
    client.get("/status").await.json()
}

async fn uptime(client: &Client) -> u64 {
    status(client).await["uptimeMs"].as_u64().expect("a time")
}

/// This test's own clock, which doesn't jump.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("after 1970").as_millis();
    i64::try_from(since).expect("before the sun dies")
}
