//! Section 2: a gap is never silent, at the start or in mid-stream.

use serde_json::json;

use crate::support::{EventStream, TestHub};

#[tokio::test]
async fn an_id_that_never_was_ours_is_told_and_the_stream_goes_on_from_the_oldest() {
    let hub = TestHub::start().await;
    let first = hub.client.emit("a.b", json!({})).await;
    let epoch = first.rsplit_once('-').unwrap().0.to_owned();
    let long = "x".repeat(129);
    for (id, reason) in [
        ("garbage".to_owned(), "malformed"),
        ("42".to_owned(), "malformed"),
        (long, "malformed"),
        (format!("{epoch}-99"), "unknown_log"),
        ("000000000000-1".to_owned(), "unknown_log"),
    ] {
        let mut events = hub.resume("", &id).await;
        let opened = events.opened("gap").await;
        let data = opened.json();
        assert_eq!(data["reason"], reason, "{id}");
        assert_eq!(data["oldestId"], first);
        assert!(
            opened.id().ends_with("-0"),
            "the place before the oldest: {opened:?}"
        );
        assert_eq!(events.next_event().await.id(), first, "{id}");
    }
    let mut bytes =
        EventStream::open(hub.address, "/events", &[("Last-Event-ID", "\u{e9}\u{e9}")]).await;
    assert_eq!(bytes.opened("gap").await.json()["reason"], "malformed");
}

#[tokio::test]
async fn a_wiped_log_is_recognised_by_an_old_id() {
    let hub = TestHub::start().await;
    let old = hub.client.emit("a.b", json!({})).await;
    let (directory, config) = hub.stop().await;
    drop(directory);
    let fresh = TestHub::start_with(|c| c.heartbeat = config.heartbeat.clone()).await;
    let new = fresh.client.emit("a.c", json!({})).await;
    let mut events = fresh.resume("", &old).await;
    assert_eq!(events.opened("gap").await.json()["reason"], "unknown_log");
    assert_eq!(events.next_event().await.id(), new);
}

#[tokio::test]
async fn a_rolled_back_log_is_recognised_by_an_id_from_after_the_copy() {
    let hub = TestHub::start().await;
    let kept = hub.client.emit("a.b", json!({})).await;
    let (directory, config) = hub.stop().await;
    let directory = directory.unwrap();
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let original = directory.path().to_owned();
    let hub = TestHub::start_with(|c| {
        *c = config.clone();
        c.data_dir = Some(original);
    })
    .await;
    let lost = hub.client.emit("a.lost", json!({})).await;
    hub.stop().await;
    let back = copy.path().to_owned();
    let hub = TestHub::start_with(|c| {
        *c = config.clone();
        c.data_dir = Some(back);
    })
    .await;
    let other = hub.client.emit("a.other", json!({})).await;
    assert_eq!(
        lost.rsplit_once('-').unwrap().1,
        other.rsplit_once('-').unwrap().1,
        "the sequence is used again"
    );
    let mut events = hub.resume("", &lost).await;
    assert_eq!(events.opened("gap").await.json()["reason"], "unknown_log");
    let mut events = hub.resume("", &kept).await;
    events.opened("resumed").await;
    assert_eq!(events.next_event().await.id(), other);
}

#[tokio::test]
async fn a_damaged_event_is_told_by_its_place_and_never_served() {
    let hub = TestHub::start().await;
    let before = hub.client.emit("a.b", json!({"text": "before"})).await;
    let damaged = hub
        .client
        .emit("a.b", json!({"text": "DAMAGE-ME-HERE"}))
        .await;
    let after = hub.client.emit("a.b", json!({"text": "after"})).await;
    let (directory, config) = hub.stop().await;
    let directory = directory.unwrap();
    assert!(
        flip(directory.path(), b"DAMAGE-ME-HERE") > 0,
        "the event is found in the files"
    );

    let path = directory.path().to_owned();
    let hub = TestHub::start_with(|c| {
        *c = config;
        c.data_dir = Some(path);
    })
    .await;
    let mut events = hub.subscribe("lastEventId=earliest").await;
    events.opened("replay").await;
    assert_eq!(events.next().await.id(), before);
    let gap = events.next().await;
    assert!(gap.is("stream_gap"), "{gap:?}");
    assert_eq!(
        gap.json(),
        json!({"reason": "corrupt", "afterId": before, "nextId": after})
    );
    assert_eq!(gap.id(), damaged, "the place just before nextId");
    assert_eq!(events.next().await.id(), after);

    let page = hub.client.get("/events/history").await.json();
    assert_eq!(page["truncated"], true);
    assert_eq!(page["events"].as_array().unwrap().len(), 2);
    let reply = hub.client.get(&format!("/events/{damaged}")).await;
    reply.problem(410, "event-gone");
    let metrics = hub.client.get("/metrics").await.text;
    assert!(
        !metrics.contains("timeback_log_corrupt_total 0"),
        "it is counted"
    );
}

/// Flips one bit in each place where the files hold `wanted`; how many there were.
fn flip(directory: &std::path::Path, wanted: &[u8]) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let places: Vec<usize> = bytes
            .windows(wanted.len())
            .enumerate()
            .filter(|(_, w)| *w == wanted)
            .map(|(at, _)| at)
            .collect();
        for at in &places {
            bytes[*at] ^= 1;
        }
        if !places.is_empty() {
            std::fs::write(&path, bytes).unwrap();
            found += places.len();
        }
    }
    found
}
