//! Section 2: `snapshot=true`: first the state, then every change after it, none missing, none twice.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{EventStream, TestHub};

/// Reads all parts and joins their lists; gives the joined snapshot and the id it stands at.
async fn join(events: &mut EventStream) -> (Value, String) {
    let mut whole = json!({});
    loop {
        let frame = events.next().await;
        assert!(frame.is("snapshot"), "{frame:?}");
        let part = frame.json();
        for (name, value) in part.as_object().unwrap() {
            match (whole.get_mut(name).and_then(Value::as_array_mut), value) {
                (Some(list), Value::Array(more)) => list.extend(more.iter().cloned()),
                _ => whole[name] = value.clone(),
            }
        }
        if part["part"] == part["parts"] {
            return (whole, frame.id().to_owned());
        }
        assert_eq!(frame.id, None, "the id comes on the last part");
    }
}

#[tokio::test]
async fn the_state_comes_second_and_the_stream_goes_on_from_it() {
    let hub = TestHub::start().await;
    hub.client.register("alpha").await;
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf", "name": "w", "steps": ["one"]}),
        )
        .await;
    let mut events = hub.subscribe("snapshot=true").await;
    let opened = events.opened("live").await;
    assert_eq!(opened.id, None, "the snapshot brings its own");
    let (snapshot, id) = join(&mut events).await;
    assert_eq!(snapshot["servers"][0]["id"], "alpha");
    assert_eq!(snapshot["workflows"][0]["id"], "wf");
    assert_eq!(snapshot["patterns"].as_array().unwrap().len(), 5);
    assert_eq!(snapshot["id"], id);
    let next = hub.client.emit("a.b", json!({})).await;
    assert_eq!(events.next_event().await.id(), next);
}

#[tokio::test]
async fn it_is_narrowed_by_server_workflow_and_tag_but_not_by_type() {
    let hub = TestHub::start().await;
    for (id, env) in [("alpha", "prod"), ("beta", "test")] {
        let body = json!({"id": id, "name": id, "transport": "http", "tags": {"env": env}, "heartbeatIntervalMs": 300_000});
        hub.client.post("/servers", &body).await;
    }
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf", "name": "w", "steps": ["one"]}),
        )
        .await;
    for (query, servers, workflows) in [
        ("type=server_connected", vec!["alpha", "beta"], 1),
        ("serverId=beta", vec!["beta"], 0),
        ("tag=env:prod", vec!["alpha"], 0),
        ("workflowId=wf", vec![], 1),
    ] {
        let mut events = hub.subscribe(&format!("snapshot=true&{query}")).await;
        events.opened("live").await;
        let (snapshot, _) = join(&mut events).await;
        let ids: Vec<_> = snapshot["servers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, servers, "{query}");
        assert_eq!(
            snapshot["workflows"].as_array().unwrap().len(),
            workflows,
            "{query}"
        );
    }
}

#[tokio::test]
async fn snapshot_and_changes_join_without_hole_or_double_under_load() {
    let hub = TestHub::start().await;
    let client = hub.client.clone();
    let load = tokio::spawn(async move {
        for n in 0..300 {
            client.register(&format!("server-{n:04}")).await;
        }
    });
    for _ in 0..12 {
        let mut events = hub.subscribe("snapshot=true").await;
        events.opened("live").await;
        let (snapshot, _) = join(&mut events).await;
        let mut known: BTreeSet<String> = snapshot["servers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(known.len(), snapshot["servers"].as_array().unwrap().len());
        let mut expected = snapshot["sequence"].as_u64().unwrap();
        for _ in 0..10 {
            if known.len() == 300 {
                break;
            }
            let event = events.next_event().await.json();
            expected += 1;
            assert_eq!(event["sequence"], expected);
            assert!(
                known.insert(event["serverId"].as_str().unwrap().to_owned()),
                "not twice"
            );
        }
    }
    load.await.unwrap();
}

#[tokio::test]
async fn a_big_state_comes_in_parts() {
    let hub = TestHub::start().await;
    for chunk in 0..4 {
        let items: Vec<_> = (0..500)
            .map(|n| json!({"type": "server_connected", "serverId": format!("s-{chunk}-{n:03}"), "data": {"connection":
                {"name": "a server with a name of some length", "transport": "http", "metadata": {"text": "x".repeat(100)}}}}))
            .collect();
        let reply = hub.client.post("/events", &json!(items)).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
    }
    let mut events = hub.subscribe("snapshot=true").await;
    events.opened("live").await;
    let (snapshot, _) = join(&mut events).await;
    assert!(snapshot["parts"].as_u64().unwrap() > 1);
    assert_eq!(snapshot["servers"].as_array().unwrap().len(), 2000);
}

#[tokio::test]
async fn where_the_place_is_gone_a_new_snapshot_comes() {
    let hub = TestHub::start().await;
    hub.client.register("alpha").await;
    let mut events = hub.resume("snapshot=true", "000000000000-7").await;
    let opened = events.opened("gap").await;
    assert_eq!(opened.id, None);
    assert_eq!(opened.json()["reason"], "unknown_log");
    let (snapshot, id) = join(&mut events).await;
    assert_eq!(snapshot["servers"][0]["id"], "alpha");
    let next = hub.client.emit("a.b", json!({})).await;
    assert_eq!(events.next_event().await.id(), next);
    let mut back = hub.resume("snapshot=true", &id).await;
    back.opened("resumed").await;
    assert_eq!(
        back.next_event().await.id(),
        next,
        "no snapshot where the place is there"
    );
}

/// The longest line of a stream's frames up to the end of its snapshot, and the snapshot itself.
async fn longest_line(hub: &TestHub, query: &str, last_event_id: Option<&str>) -> (usize, Value) {
    let mut events = match last_event_id {
        Some(id) => hub.resume(query, id).await,
        None => hub.subscribe(query).await,
    };
    let opened = events.next().await;
    let mut longest = opened.json().to_string().len();
    let mut whole = json!({});
    loop {
        let frame = events.next().await;
        assert!(frame.is("snapshot"), "{frame:?}");
        longest = longest.max("data: ".len() + frame.data.as_ref().map_or(0, String::len));
        let part = frame.json();
        for (name, value) in part.as_object().unwrap() {
            match (whole.get_mut(name).and_then(Value::as_array_mut), value) {
                (Some(list), Value::Array(more)) => list.extend(more.iter().cloned()),
                _ => whole[name] = value.clone(),
            }
        }
        if part["part"] == part["parts"] {
            return (longest, whole);
        }
    }
}

#[tokio::test]
async fn no_line_is_longer_than_32_kib_and_what_is_too_large_says_so() {
    let hub = TestHub::start().await;
    for n in 0..300 {
        let body = json!({"id": format!("s{n:03}"), "name": "a server with a name", "transport": "http",
            "metadata": {"note": "x".repeat(1 + n * 7)}});
        hub.client.post("/servers", &body).await;
    }
    let large = json!({"id": "large", "name": "large", "transport": "http", "metadata": {"note": "x".repeat(200_000)}});
    hub.client.post("/servers", &large).await;
    let steps: Vec<_> = (0..3000).map(|n| format!("step-{n}")).collect();
    for (id, steps, note) in [
        ("many", json!(steps), 1),
        (
            "few",
            json!(["a", {"id": "b", "params": {"p": "y".repeat(60_000)}}]),
            1,
        ),
        ("noted", json!(["a"]), 100_000),
    ] {
        let body = json!({"id": id, "name": id, "steps": steps, "note": "z".repeat(note)});
        let reply = hub.client.post("/workflows", &body).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
    }

    let malformed = "?".repeat(10_000);
    for id in [None, Some(malformed.as_str())] {
        let (longest, snapshot) = longest_line(&hub, "snapshot=true", id).await;
        assert!(longest <= 32 * 1024, "{longest}");
        let servers = snapshot["servers"].as_array().unwrap();
        assert_eq!(servers.len(), 301);
        let cut: Vec<_> = servers
            .iter()
            .filter(|it| it.get("truncated").is_some())
            .collect();
        assert_eq!(cut.len(), 1, "only what doesn't fit");
        assert_eq!(cut[0]["id"], "large");
        assert_eq!(cut[0]["truncated"], json!(["connection.metadata.note"]));
        let workflow = |id: &str| {
            let all = snapshot["workflows"].as_array().unwrap();
            all.iter().find(|it| it["id"] == id).unwrap().clone()
        };
        assert_eq!(
            workflow("many")["truncated"],
            json!(["definition", "steps"])
        );
        assert_eq!(workflow("many")["totalSteps"], 3000);
        assert_eq!(
            workflow("few")["truncated"],
            json!(["definition", "steps.params"])
        );
        assert_eq!(workflow("few")["steps"][1]["id"], "b");
        assert_eq!(workflow("noted")["truncated"], json!(["definition"]));
    }
    // What was left out is there for whoever asks.
    let whole = hub.client.get("/servers/large").await.json();
    assert_eq!(whole["connection"]["metadata"], large["metadata"]);
    let whole = hub.client.get("/workflows/many").await.json();
    assert_eq!(whole["steps"].as_array().unwrap().len(), 3000);
    assert_eq!(whole["definition"]["steps"][2999], "step-2999");
    let whole = hub.client.get("/snapshot").await.json();
    assert_eq!(whole["servers"].as_array().unwrap().len(), 301);
    assert_eq!(
        whole["workflows"][1]["steps"].as_array().unwrap().len(),
        3000
    );
    assert_eq!(whole["patterns"].as_array().unwrap().len(), 5);
    assert_eq!(
        whole["servers"][0]["connection"]["metadata"],
        large["metadata"]
    );
}

#[tokio::test]
async fn a_page_of_large_things_ends_early_and_goes_on() {
    let hub = TestHub::start().await;
    for n in 0..30 {
        let note = "x".repeat(200_000);
        let body = json!({"id": format!("s{n:02}"), "name": "n", "transport": "http", "metadata": {"note": note}});
        hub.client.post("/servers", &body).await;
        let body = json!({"id": format!("w{n:02}"), "name": "n", "steps": [{"id": "a", "params": {"note": note}}]});
        hub.client.post("/workflows", &body).await;
    }
    for list in ["servers", "workflows", "steps"] {
        let (mut seen, mut cursor, mut pages) = (0, String::new(), 0);
        loop {
            let reply = hub.client.get(&format!("/{list}?limit=1000{cursor}")).await;
            assert!(reply.text.len() < 5 << 20, "{} bytes", reply.text.len());
            let page = reply.json();
            seen += page[list].as_array().unwrap().len();
            pages += 1;
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!((seen, pages), (30, 2), "{list}");
    }
}
