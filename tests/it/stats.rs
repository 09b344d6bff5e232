//! `GET /stats/events`: counts over time, held against the events that the history has.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{TestHub, until};

/// All events that the history has for a query.
async fn history(hub: &TestHub, query: &str) -> Vec<Value> {
    let headers = [("accept", "application/x-ndjson")];
    let path = format!("/events/history?{query}");
    let lines = hub
        .client
        .send(http::Method::GET, &path, &headers, "")
        .await;
    let lines = lines.text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The counts of all buckets together, by name.
fn sums(stats: &Value) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for bucket in stats["buckets"].as_array().expect("buckets") {
        for (name, count) in bucket["counts"].as_object().expect("counts") {
            *sums.entry(name.clone()).or_default() += count.as_u64().expect("a number");
        }
    }
    sums
}

/// How often each name is among the events.
fn counted(events: &[Value], member: &str) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for name in events.iter().filter_map(|event| event[member].as_str()) {
        *counted.entry(name.to_owned()).or_default() += 1;
    }
    counted
}

async fn hub_with_three_servers() -> TestHub {
    let hub = TestHub::start().await;
    for server in ["alpha", "beta", "gamma"] {
        hub.client.register(server).await;
    }
    for round in 0..4 {
        let items: Vec<Value> = (0..700)
            .map(|n| match (n + round) % 5 {
                0 => json!({"type": "grades.synced", "serverId": "alpha", "data": {"n": n}}),
                1 => json!({"type": "grades.lost", "serverId": "beta"}),
                _ => json!({"type": "load.tick"}),
            })
            .collect();
        assert_eq!(hub.client.post("/events", &json!(items)).await.status, 202);
    }
    hub
}

#[tokio::test]
async fn counts_are_those_of_the_history() {
    let hub = hub_with_three_servers().await;
    for query in [
        "since=1h",
        "since=1h&type=grades.*",
        "since=1h&serverId=alpha",
        "since=1h&serverId=alpha,beta&type=grades.lost",
        "since=1h&serverId=nobody",
    ] {
        let events = history(&hub, query).await;
        for (by, member) in [("type", "type"), ("serverId", "serverId")] {
            let path = format!("/stats/events?by={by}&{query}");
            let stats = hub.client.get(&path).await.json();
            assert_eq!(stats["total"], events.len(), "{path}");
            assert_eq!(sums(&stats), counted(&events, member), "{path}");
            assert_eq!(stats["by"], by);
            assert_eq!(stats["truncated"], false);
        }
    }
}

#[tokio::test]
async fn each_bucket_holds_what_happened_in_it() {
    let hub = hub_with_three_servers().await;
    let events = history(&hub, "since=1h").await;
    let time = |event: &Value| event["timestamp"].as_i64().expect("a time");
    let first = events.iter().map(time).min().expect("events");
    let last = events.iter().map(time).max().expect("events");
    let (since, until) = (first - 10, last.max(first + 30));
    let path = format!("/stats/events?since={since}&until={until}&step=7");
    let stats = hub.client.get(&path).await.json();
    let buckets = stats["buckets"].as_array().expect("buckets");
    assert_eq!(stats["step"], 7);
    assert_eq!(buckets.len() as i64, (until - since + 6) / 7);
    for (at, bucket) in buckets.iter().enumerate() {
        let start = since + 7 * at as i64;
        let is_last = at + 1 == buckets.len();
        let within: Vec<Value> = events
            .iter()
            .filter(|event| time(event) >= start && (is_last || time(event) < start + 7))
            .cloned()
            .collect();
        assert_eq!(bucket["start"], start);
        assert_eq!(bucket["count"], within.len(), "{start}");
        let counts = bucket["counts"].as_object().expect("counts");
        let counts: BTreeMap<String, u64> = counts
            .iter()
            .map(|(name, count)| (name.clone(), count.as_u64().expect("a number")))
            .collect();
        assert_eq!(counts, counted(&within, "type"), "{start}");
    }
}

#[tokio::test]
async fn a_question_that_is_too_large_is_refused_with_the_mend() {
    let hub = TestHub::start().await;
    let reply = hub.client.get("/stats/events?since=1d&step=1s").await;
    assert_eq!(reply.status, 422);
    let problem = reply.json();
    assert_eq!(problem["type"], "too-many-buckets");
    assert_eq!(problem["max"], 3000);
    let reply = hub.client.get("/stats/events?since=1d&step=28800ms").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["buckets"].as_array().map(Vec::len), Some(3000));
    let reply = hub.client.get("/stats/events?since=1h&until=2h").await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()["type"].clone()),
        (422, json!("range-empty"))
    );
    let reply = hub.client.get("/stats/events?by=tool").await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.json()["detail"]
            .as_str()
            .is_some_and(|it| it.contains("type or serverId"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_out_of_the_range_is_told() {
    let hub = TestHub::start_with(|config| config.retention.events = 2000).await;
    let items: Vec<Value> = (0..1000)
        .map(|n| json!({"type": "a.b", "data": n}))
        .collect();
    for _ in 0..8 {
        assert_eq!(hub.client.post("/events", &json!(items)).await.status, 202);
    }
    let waits = std::time::Duration::from_secs(120);
    until(waits, "the oldest to be pruned", async || {
        hub.client.get("/stats/events?since=1h").await.json()["truncated"] == true
    })
    .await;
    let newest = hub
        .client
        .get("/events/history?order=desc&limit=1")
        .await
        .json();
    let after = newest["events"][0]["timestamp"].as_i64().expect("a time") + 1;
    let path = format!("/stats/events?since={after}&until={}", after + 1000);
    let stats = hub.client.get(&path).await.json();
    assert_eq!(
        (&stats["truncated"], &stats["total"]),
        (&json!(false), &json!(0))
    );
}
