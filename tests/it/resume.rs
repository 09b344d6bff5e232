//! Section 2: reconnects. No gap, no duplicate, no reordering between history and live.

use serde_json::json;

use crate::support::TestHub;

async fn emit_many(hub: &TestHub, kind: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for chunk in (0..count).collect::<Vec<_>>().chunks(500) {
        let items: Vec<_> = chunk
            .iter()
            .map(|n| json!({"type": kind, "data": {"n": n}}))
            .collect();
        let reply = hub.client.post("/events", &json!(items)).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        ids.extend(
            reply.json()["ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap().to_owned()),
        );
    }
    ids
}

#[tokio::test]
async fn with_an_id_the_stream_goes_on_right_after_that_event() {
    let hub = TestHub::start().await;
    let ids = emit_many(&hub, "a.b", 20).await;
    for (from, id) in ids.iter().enumerate() {
        let mut events = hub.resume("", id).await;
        let opened = events.opened("resumed").await;
        assert_eq!(opened.id(), id);
        assert_eq!(opened.json()["requestedId"], *id);
        assert_eq!(opened.json()["headId"], ids[19]);
        for expected in &ids[from + 1..] {
            assert_eq!(events.next_event().await.id(), expected);
        }
        let mut by_query = hub.subscribe(&format!("lastEventId={id}")).await;
        by_query.opened("resumed").await;
        let mut snake = hub.subscribe(&format!("last_event_id={id}")).await;
        snake.opened("resumed").await;
    }
}

#[tokio::test]
async fn the_id_of_an_empty_log_is_a_place_too() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    let id = events.opened("live").await.id().to_owned();
    drop(events);
    let first = hub.client.emit("a.b", json!({})).await;
    let mut events = hub.resume("", &id).await;
    events.opened("resumed").await;
    assert_eq!(events.next_event().await.id(), first);
    let hub = hub.restart().await;
    let mut events = hub.resume("", &id).await;
    events.opened("resumed").await;
    assert_eq!(events.next_event().await.id(), first);
}

#[tokio::test]
async fn the_header_overrides_the_query() {
    let hub = TestHub::start().await;
    let ids = emit_many(&hub, "a.b", 5).await;
    for query in [
        "lastEventId=earliest",
        "since=1h",
        "replay=5",
        "snapshot=true",
        "",
    ] {
        let mut events = hub.resume(query, &ids[2]).await;
        assert_eq!(events.opened("resumed").await.id(), ids[2], "{query}");
        assert_eq!(events.next().await.id(), ids[3], "{query}");
    }
    let mut events = hub.resume("replay=2", "").await;
    events.opened("replay").await;
    assert_eq!(events.next_event().await.id(), ids[3]);
}

#[tokio::test]
async fn earliest_is_the_oldest_kept() {
    let hub = TestHub::start().await;
    let ids = emit_many(&hub, "a.b", 3).await;
    let mut events = hub.subscribe("lastEventId=earliest").await;
    let opened = events.opened("replay").await;
    assert!(opened.id().ends_with("-0"));
    assert_eq!(opened.json()["oldestId"], ids[0]);
    for id in &ids {
        assert_eq!(events.next_event().await.id(), id);
    }
}

#[tokio::test]
async fn replay_starts_with_the_last_that_match() {
    let hub = TestHub::start().await;
    let wanted = emit_many(&hub, "a.wanted", 5).await;
    emit_many(&hub, "a.other", 700).await;
    let mut events = hub.subscribe("type=a.wanted&replay=3").await;
    events.opened("replay").await;
    for id in &wanted[2..] {
        assert_eq!(events.next_event().await.id(), id);
    }
    let live = hub.client.emit("a.wanted", json!({})).await;
    assert_eq!(events.next_event().await.id(), live);
    let mut all = hub.subscribe("type=a.wanted&replay=100").await;
    all.opened("replay").await;
    assert_eq!(all.next_event().await.id(), wanted[0]);
}

#[tokio::test]
async fn since_takes_ages_epoch_milliseconds_and_rfc_3339() {
    let hub = TestHub::start().await;
    let ids = emit_many(&hub, "a.b", 3).await;
    let at = hub.client.get(&format!("/events/{}", ids[0])).await.json()["timestamp"]
        .as_i64()
        .unwrap();
    let rfc = jiff_text(at);
    for since in [
        "15m".to_owned(),
        "2h".to_owned(),
        "7d".to_owned(),
        at.to_string(),
        rfc,
    ] {
        let mut events = hub.subscribe(&format!("since={since}")).await;
        events.opened("replay").await;
        assert_eq!(events.next_event().await.id(), ids[0], "{since}");
    }
    let mut events = hub.subscribe(&format!("since={}", at + 3_600_000)).await;
    events.opened("replay").await;
    let live = hub.client.emit("a.b", json!({})).await;
    assert_eq!(
        events.next_event().await.id(),
        live,
        "from the head on, where nothing is that young"
    );
}

fn jiff_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

#[tokio::test]
async fn a_resume_survives_restarts_of_the_hub() {
    let hub = TestHub::start().await;
    let ids = emit_many(&hub, "a.b", 10).await;
    let hub = hub.restart().await;
    let more = emit_many(&hub, "a.b", 10).await;
    let hub = hub.restart().await;
    for (all, from) in [(&ids, 4), (&more, 4)] {
        let mut events = hub.resume("", &all[from]).await;
        events.opened("resumed").await;
        assert_eq!(events.next_event().await.id(), all[from + 1]);
    }
}

#[tokio::test]
async fn a_replay_of_any_length_runs_on_one_connection_into_live() {
    let hub = TestHub::start().await;
    let ids = emit_many(&hub, "a.b", 20_000).await;
    let mut events = hub.subscribe("lastEventId=earliest").await;
    events.opened("replay").await;
    let publisher = hub.client.clone();
    let live = tokio::spawn(async move {
        let mut live = Vec::new();
        for n in 0..200 {
            live.push(publisher.emit("a.b", json!({"live": n})).await);
        }
        live
    });
    for id in &ids {
        assert_eq!(events.next_event().await.id(), id);
    }
    for id in live.await.unwrap() {
        assert_eq!(events.next_event().await.id(), id);
    }
}

#[tokio::test]
async fn any_pattern_of_drops_under_load_gives_every_event_once_and_in_order() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("lastEventId=earliest&type=load.a").await;
    let publisher = hub.client.clone();
    let load = tokio::spawn(async move {
        for n in 0..150 {
            let items: Vec<_> = (0..20)
                .map(
                    |k| json!({"type": if k % 2 == 0 {"load.a"} else {"load.b"}, "data": {"n": n}}),
                )
                .collect();
            publisher.post("/events", &json!(items)).await;
        }
        publisher.emit("load.a", json!({"last": true})).await
    });
    let mut seen: Vec<u64> = Vec::new();
    let mut drops = 0;
    loop {
        let frame = events.next().await;
        if frame.is_control() {
            assert!(!frame.is("stream_gap"), "{frame:?}");
            if frame.is("stream_opened") {
                assert_ne!(frame.json()["verdict"], "gap");
            }
        } else {
            let event = frame.json();
            seen.push(event["sequence"].as_u64().unwrap());
            if event["data"]["last"] == true {
                break;
            }
        }
        // Somewhere in the middle of whatever is on its way, the first frame included.
        if drops < 60 && (seen.len() + drops).is_multiple_of(13) {
            drops += 1;
            let id = events.last_event_id.clone();
            drop(events);
            events = hub.resume("lastEventId=earliest&type=load.a", &id).await;
        }
    }
    load.await.unwrap();
    assert_eq!(seen.len(), 150 * 10 + 1);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(drops > 20);
}
