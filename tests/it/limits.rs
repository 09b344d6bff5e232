//! Issue 5's limits: each has a setting, an answer that says which one is reached, and a count.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Client, EventStream, Reply, TestHub};

/// How often a limit was reached, as the metrics tell.
pub async fn reached(client: &Client, limit: &str) -> u64 {
    let metrics = client.get("/metrics").await.text;
    let name = format!("timeback_limit_reached_total{{limit=\"{limit}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} is there from the start: {metrics}"))
        .parse()
        .expect("a number")
}

fn server(id: &str, tags: &Value) -> Value {
    json!({"id": id, "name": id, "transport": "http", "tags": tags})
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

#[tokio::test]
async fn each_limit_of_the_hub_is_named_where_it_is_reached_and_counted() {
    let hub = TestHub::start_with(|config| {
        let limits = &mut config.limits;
        (limits.servers, limits.workflows, limits.steps) = (1, 1, 2);
        (limits.tags, limits.patterns, limits.custom_types) = (1, 5, 1);
        (limits.id_length, limits.json_depth) = (40, 5);
        (limits.body_bytes, limits.header_bytes) = (1024, 8 << 10);
    })
    .await;
    let client = &hub.client;
    for (path, body) in [
        ("/servers", server("a", &json!({"a": "1"}))),
        (
            "/workflows",
            json!({"id": "w", "name": "W", "steps": ["s", "t"]}),
        ),
        ("/events", json!({"type": "a.a"})),
    ] {
        let reply = client.post(path, &body).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text);
    }
    let id = |length| "x".repeat(length);
    let many_tags = json!({"a": "1", "b": "2"});
    let steps = json!(["a", "b", "c"]);
    let table: Vec<(&str, Value, &str, u16)> = vec![
        ("/servers", server("b", &json!({})), "servers", 429),
        ("/servers", server("a", &many_tags), "tags", 422),
        ("/servers", server(&id(41), &json!({})), "id_length", 422),
        ("/servers", server(&id(129), &json!({})), "id_length", 422),
        (
            "/workflows",
            json!({"name": "W", "steps": ["s"]}),
            "workflows",
            429,
        ),
        (
            "/workflows",
            json!({"name": "W", "steps": steps}),
            "steps",
            422,
        ),
        ("/events", json!({"type": "b.b"}), "custom_types", 429),
        (
            "/events",
            json!([{"type": "a.a"}, {"type": "b.b"}]),
            "custom_types",
            429,
        ),
        (
            "/events",
            json!({"type": "a.a", "serverId": id(41)}),
            "id_length",
            422,
        ),
        (
            "/events",
            json!({"type": "a.a", "data": nested(5)}),
            "json_depth",
            400,
        ),
        (
            "/events",
            json!({"type": "a.a", "data": id(1024)}),
            "body_bytes",
            413,
        ),
    ];
    for (path, body, limit, status) in table {
        let before = reached(client, limit).await;
        named(&client.post(path, &body).await, limit, status);
        assert_eq!(reached(client, limit).await, before + 1, "{limit}");
    }
    let mine = json!({"enabled": true});
    named(&client.put("/patterns/mine", &mine).await, "patterns", 429);
    let long = format!("/servers/{}/heartbeat", id(129));
    named(&client.post(&long, &json!({})).await, "id_length", 400);
    let head = client
        .send(Method::GET, "/status", &[("x", &id(8 << 10))], "")
        .await;
    named(&head, "header_bytes", 431);
    for limit in ["patterns", "header_bytes"] {
        assert_eq!(reached(client, limit).await, 1, "{limit}");
    }
    // What is there goes on.
    let known = server("a", &json!({"a": "2"}));
    assert_eq!(client.post("/servers", &known).await.status, 200);
    client.emit("a.a", json!({})).await;
}

#[track_caller]
fn named(reply: &Reply, limit: &str, status: u16) {
    assert_eq!(reply.status, status, "{limit}: {}", reply.text);
    let problem = reply.json();
    let in_errors = problem["errors"].as_array().into_iter().flatten();
    let named = std::iter::once(&problem["limit"]).chain(in_errors.map(|error| &error["limit"]));
    assert!(
        named.clone().any(|name| name == limit),
        "{limit}: {problem}"
    );
    assert_eq!(
        reply.header("retry-after").is_some(),
        status == 429,
        "{problem}"
    );
}

#[tokio::test]
async fn json_is_never_taken_in_deeper_than_listeners_can_read() {
    let hub = TestHub::start().await;
    let deepest = json!({"type": "a.a", "data": nested(64)});
    assert_eq!(hub.client.post("/events", &deepest).await.status, 202);
    for (path, body, status) in [
        (
            "/events",
            json!({"type": "a.a", "data": nested(65)}).to_string(),
            422,
        ),
        ("/events", json!({"type": "a.a"}).to_string(), 202),
        (
            "/servers",
            json!({"id": "a", "name": "a", "transport": "http", "metadata": nested(64)})
                .to_string(),
            400,
        ),
        ("/servers", "[".repeat(100_000), 400),
    ] {
        let headers = [("content-type", "application/json")];
        let reply = hub
            .client
            .send(Method::POST, path, &headers, body.clone())
            .await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
        if status != 202 {
            named(&reply, "json_depth", status);
        }
    }
    assert_eq!(reached(&hub.client, "json_depth").await, 3);
}

#[tokio::test]
async fn which_types_are_in_use_outlives_a_restart() {
    let hub = TestHub::start_with(|config| config.limits.custom_types = 2).await;
    hub.client.emit("first.type", json!({})).await;
    hub.client.emit("custom_second", json!({})).await;
    let hub = hub.restart().await;
    let third = json!({"type": "third.type"});
    named(
        &hub.client.post("/events", &third).await,
        "custom_types",
        429,
    );
    hub.client.emit("first.type", json!({})).await;
    // Core types are not producers' own.
    assert_eq!(hub.client.register("a").await.status, 201);
    let hub = hub
        .restart_with(|config| config.limits.custom_types = 3)
        .await;
    assert_eq!(hub.client.post("/events", &third).await.status, 202);
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_operator_says() {
    let hub = TestHub::start_with(|config| config.limits.body_bytes = 1 << 20).await;
    let text = "x".repeat((1 << 20) - 64);
    let mut stream = hub.subscribe("").await;
    stream.opened("live").await;
    let id = hub.client.emit("a.a", json!({"text": text})).await;
    assert_eq!(
        stream.next_event().await.json()["data"]["text"],
        text.as_str()
    );
    let hub = hub.restart().await;
    let mut replay = hub.subscribe("replay=1").await;
    replay.opened("replay").await;
    assert_eq!(replay.next_event().await.id(), id);
    let stored = hub.client.get(&format!("/events/{id}")).await;
    assert_eq!(stored.json()["data"]["text"], text.as_str());
}

#[tokio::test]
async fn one_address_that_asks_too_much_is_told_so_and_nobody_else() {
    let hub = TestHub::start_with(|config| {
        config.limits.requests_per_address = 1;
        config.limits.streams_per_address = 1;
        config.auth.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a net")];
    })
    .await;
    let from = |address: &'static str| [("x-forwarded-for", address)];
    let ask = async |address: &'static str| {
        hub.client
            .send(Method::GET, "/servers", &from(address), "")
            .await
    };
    let mut stream = EventStream::open(hub.address, "/events", &from("192.0.2.1")).await;
    stream.opened("live").await;
    let mut second = EventStream::open(hub.address, "/events", &from("192.0.2.1")).await;
    is_busy(&mut second, "streams_per_address").await;
    named(
        &until_refused(&ask, "192.0.2.1").await,
        "requests_per_address",
        429,
    );
    // What a client writes there itself stands further left.
    assert_eq!(ask("192.0.2.2").await.status, 200);
    assert_eq!(ask("192.0.2.1, 192.0.2.2").await.status, 200);
    named(
        &until_refused(&ask, "192.0.2.3, 192.0.2.2").await,
        "requests_per_address",
        429,
    );
    assert_eq!(ask("192.0.2.3").await.status, 200);
    let quiet = [("x-forwarded-for", "192.0.2.4")];
    let metrics = hub.client.send(Method::GET, "/metrics", &quiet, "").await;
    for (limit, times) in [("streams_per_address", 1), ("requests_per_address", 2)] {
        let line = format!("timeback_limit_reached_total{{limit=\"{limit}\"}} {times}\n");
        assert!(metrics.text.contains(&line), "{}", metrics.text);
    }
}

async fn is_busy(refused: &mut EventStream, limit: &str) {
    let closing = refused.next().await;
    assert!(closing.is("stream_closing"), "{closing:?}");
    assert_eq!(closing.json(), json!({"reason": "busy"}));
    let header = format!("limit-reached: {limit}\r\n");
    assert!(
        format!("{}\r\n", refused.head).contains(&header),
        "{}",
        refused.head
    );
}

/// Asks faster than one may until the hub says so; on a slow machine that may take more than two requests.
async fn until_refused(ask: &impl AsyncFn(&'static str) -> Reply, address: &'static str) -> Reply {
    for _ in 0..1000 {
        let reply = ask(address).await;
        if reply.status != 200 {
            return reply;
        }
    }
    panic!("a thousand requests of {address} in a row were let in")
}

#[tokio::test]
async fn a_stream_too_many_is_told_to_come_back() {
    let hub = TestHub::start_with(|config| config.stream.max_clients = 1).await;
    let mut stream = hub.subscribe("").await;
    stream.opened("live").await;
    let mut second = hub.subscribe("").await;
    is_busy(&mut second, "streams").await;
    assert_eq!(reached(&hub.client, "streams").await, 1);
}
