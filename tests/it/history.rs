//! Section 2: `/events/history` and `/events/{id}`.

use http::Method;
use serde_json::{Value, json};

use crate::support::TestHub;

fn sequences(page: &Value) -> Vec<u64> {
    page["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|e| e["sequence"].as_u64().unwrap())
        .collect()
}

async fn hub_with(count: u64) -> TestHub {
    let hub = TestHub::start().await;
    let items: Vec<_> = (0..count)
        .map(|n| json!({"type": if n % 3 == 0 {"a.third"} else {"a.other"}, "data": {"n": n}}))
        .collect();
    for chunk in items.chunks(1000) {
        assert_eq!(hub.client.post("/events", &json!(chunk)).await.status, 202);
    }
    hub
}

#[tokio::test]
async fn pages_join_to_the_whole_in_both_orders() {
    let hub = hub_with(250).await;
    for (order, expected) in [
        ("asc", (1..=250).collect::<Vec<u64>>()),
        ("desc", (1..=250).rev().collect()),
    ] {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = hub
                .client
                .get(&format!("/events/history?order={order}&limit=60{cursor}"))
                .await
                .json();
            assert_eq!(page["truncated"], false);
            all.extend(sequences(&page));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(all, expected, "{order}");
    }
}

#[tokio::test]
async fn pages_are_filtered_and_full() {
    let hub = hub_with(900).await;
    let page = hub
        .client
        .get("/events/history?type=a.third&limit=300")
        .await
        .json();
    assert_eq!(
        sequences(&page),
        (0..300).map(|n| n * 3 + 1).collect::<Vec<u64>>()
    );
    assert_eq!(page["nextCursor"], Value::Null);
}

#[tokio::test]
async fn since_and_until_bound_the_time() {
    let hub = hub_with(3).await;
    let at = hub.client.get("/events/history").await.json()["events"][0]["timestamp"]
        .as_i64()
        .unwrap();
    assert_eq!(
        sequences(
            &hub.client
                .get(&format!("/events/history?since={at}"))
                .await
                .json()
        )
        .len(),
        3
    );
    assert_eq!(
        sequences(
            &hub.client
                .get(&format!("/events/history?until={}", at - 1))
                .await
                .json()
        )
        .len(),
        0
    );
    assert_eq!(
        sequences(
            &hub.client
                .get("/events/history?since=1h&until=2099-01-01T00:00:00Z")
                .await
                .json()
        )
        .len(),
        3
    );
    assert_eq!(
        sequences(
            &hub.client
                .get(&format!("/events/history?since={}", at + 600_000))
                .await
                .json()
        )
        .len(),
        0
    );
}

#[tokio::test]
async fn ndjson_streams_all_of_it() {
    let hub = hub_with(2500).await;
    let reply = hub
        .client
        .send(
            Method::GET,
            "/events/history",
            &[("accept", "application/x-ndjson")],
            "",
        )
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> = reply
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2500);
    assert!(
        lines
            .windows(2)
            .all(|pair| pair[0]["sequence"].as_u64() < pair[1]["sequence"].as_u64())
    );
}

#[tokio::test]
async fn bad_bounds_are_named() {
    let hub = TestHub::start().await;
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("order=up", "order"),
        ("cursor=%21", "cursor"),
        ("until=x", "until"),
        ("fro=1", "fro"),
    ] {
        let problem = hub
            .client
            .get(&format!("/events/history?{query}"))
            .await
            .problem(400, "invalid-query");
        assert!(
            problem["detail"].as_str().unwrap().contains(name),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn one_event_is_there_or_not() {
    let hub = TestHub::start().await;
    let id = hub.client.emit("a.b", json!({"x": 1})).await;
    assert_eq!(
        hub.client.get(&format!("/events/{id}")).await.json()["data"],
        json!({"x": 1})
    );
    let epoch = id.rsplit_once('-').unwrap().0;
    for missing in [
        format!("{epoch}-2"),
        format!("{epoch}-0"),
        "garbage".to_owned(),
        "000000000000-1".to_owned(),
    ] {
        hub.client
            .get(&format!("/events/{missing}"))
            .await
            .problem(404, "event-not-found");
    }
}

#[tokio::test]
async fn events_that_are_larger_than_a_piece_come_whole_in_pages_and_lines() {
    let hub = TestHub::start().await;
    let mut expected = Vec::new();
    for n in 0..6 {
        let note = format!("{n}").repeat(if n % 2 == 0 { 150_000 } else { 10 });
        hub.client.emit("a.b", json!({"note": note})).await;
        expected.push(note);
    }
    for order in ["asc", "desc"] {
        let page = hub
            .client
            .get(&format!("/events/history?order={order}"))
            .await
            .json();
        let path = format!("/events/history?order={order}");
        let lines = [("accept", "application/x-ndjson")];
        let lines = hub.client.send(Method::GET, &path, &lines, "").await.text;
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for events in [page["events"].as_array().unwrap(), &lines] {
            let mut notes: Vec<_> = events
                .iter()
                .map(|it| it["data"]["note"].as_str().unwrap())
                .collect();
            if order == "desc" {
                notes.reverse();
            }
            assert!(notes == expected, "{order}: {} events", notes.len());
        }
    }
}
