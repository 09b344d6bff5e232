//! The routes over a real hub and a log in memory.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{App, Parts, router};
use crate::{
    clock::Clock,
    config::Config,
    domain::{Policy, health::Rules},
    door::Door,
    event_log::{self, Retention},
    health::Leases,
    hub::{Hub, Settings},
    metrics::Metrics,
    readiness::Readiness,
    streams::{self, Streams},
    tail::Tail,
};

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: axum::http::HeaderMap,
    pub(super) text: String,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    #[track_caller]
    fn problem(&self, status: u16, slug: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], slug, "{problem}");
        assert_eq!(problem["status"], status);
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
        problem
    }
}

pub(super) struct Site {
    router: Router,
    pub(super) app: App,
}

impl Site {
    fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        let log = event_log::open(None).expect("a log in memory");
        let (clock, metrics) = (Clock::default(), Metrics::new().expect("metrics"));
        let retention = Retention {
            age: None,
            events: 1_000_000,
            bytes: 1 << 30,
            idempotency_keys: 1000,
            idempotency_bytes: u64::MAX,
        };
        let settings = Settings {
            policy: Policy::default(),
            retention,
            clock: clock.clone(),
            metrics: metrics.clone(),
        };
        let tail = Arc::new(Tail::new(0, 1 << 20));
        let (hub, idle) = Hub::open(log, settings, tail.clone()).expect("a hub");
        let leases = Arc::new(Leases::new(Rules::default(), clock));
        idle.start(Vec::new(), vec![leases.clone()])
            .expect("a thread");
        let readiness = Arc::new(Readiness::default());
        readiness.loaded();
        let streams = streams::Settings {
            keepalive: config.stream.keepalive,
            retry: config.stream.retry,
            stall_timeout: config.stream.stall_timeout,
            max_clients: config.stream.max_clients,
            shards: Some(1),
        };
        let streams = Streams::start(streams, tail, hub.reader().clone(), metrics.clone());
        let door = Door::open(&config, hub.clock(), &metrics).expect("a door");
        let rounds = crate::rounds::Rounds::new(
            crate::rounds::Settings {
                allow: Arc::default(),
                concurrency: 1,
                file: None,
            },
            hub.clock().clone(),
            leases.clone(),
            metrics.clone(),
        );
        let app = App::new(Parts {
            config,
            hub,
            leases,
            rounds: Arc::new(rounds),
            readiness,
            metrics,
            streams: Arc::new(streams.expect("threads")),
            door,
        });
        Self {
            router: router(app.clone()),
            app,
        }
    }

    pub(super) async fn ask(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("infallible");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text,
        }
    }

    async fn get(&self, uri: &str) -> Reply {
        self.ask("GET", uri, &[], Body::empty()).await
    }

    async fn publish(&self, body: Value) -> Reply {
        self.ask("POST", "/events", &[JSON], body.to_string()).await
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn kinds(page: &Value) -> Vec<&str> {
    let events = page["events"].as_array().expect("events");
    events
        .iter()
        .map(|event| event["type"].as_str().expect("a type"))
        .collect()
}

#[tokio::test]
async fn custom_events_are_appended_as_they_are() {
    let site = Site::new();
    let reply = site
        .ask(
            "POST",
            "/events",
            &[JSON],
            r#" {"type":"a.b","data":{"n": 1.50, "workflowId":"wf"},"serverId":"s"}"#,
        )
        .await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let id = reply.json()["ids"][0].as_str().expect("an id").to_owned();
    assert_eq!(reply.headers["last-event-id"], id.as_str());
    let event = site.get(&format!("/events/{id}")).await;
    assert!(
        event
            .text
            .ends_with(r#""serverId":"s","data":{"n":1.50,"workflowId":"wf"}}"#),
        "{}",
        event.text
    );
    assert_eq!(
        kinds(&site.get("/events/history?workflowId=wf").await.json()),
        ["a.b"]
    );
    assert_eq!(site.publish(json!({"type": "a.b"})).await.status, 202);
    assert_eq!(
        site.publish(json!({"type": "a.b", "data": null}))
            .await
            .status,
        202
    );
}

#[tokio::test]
async fn mistakes_are_named_by_pointer_all_at_once_and_nothing_is_appended() {
    let site = Site::new();
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let deep: Value = serde_json::from_str(&deep).expect("JSON");
    let table = [
        (json!([]), vec![""]),
        (json!({"type": "nope"}), vec!["/type"]),
        (json!({"data": 1}), vec!["/type"]),
        (
            json!({"type": 5, "serverId": {}}),
            vec!["/type", "/serverId"],
        ),
        (
            json!([{"type": "a.b"}, 7, {"type": "a.b", "serverId": "a b"}]),
            vec!["/1"],
        ),
        (
            json!([{"type": "a.b"}, {"type": "x"}, {"type": "a.b", "serverId": "a b"}]),
            vec!["/1/type", "/2/serverId"],
        ),
        (json!({"type": "a.b", "data": deep}), vec!["/data"]),
        (
            json!({"type": "integration_status_changed", "data": {}}),
            vec!["/serverId"],
        ),
        (
            json!({"type": "server_connected", "serverId": "s", "data": {"connection": {"name": 1}}}),
            vec!["/data/connection/name", "/data/connection/transport"],
        ),
        (
            json!([{"type": "workflow_started", "data": {"workflowId": "w", "name": 3, "steps": []}}]),
            vec!["/0/data/name"],
        ),
        (json!("text"), vec![""]),
    ];
    for (body, pointers) in table {
        let problem = site
            .publish(body.clone())
            .await
            .problem(422, "invalid-fields");
        let errors = problem["errors"].as_array().expect("errors");
        let found: Vec<&str> = errors
            .iter()
            .filter_map(|error| error["pointer"].as_str())
            .collect();
        assert_eq!(found, pointers, "{body}");
    }
    let many: Vec<Value> = (0..1001).map(|_| json!({"type": "a.b"})).collect();
    site.publish(json!(many))
        .await
        .problem(422, "invalid-fields");
    assert_eq!(site.app.hub.reader().info().head, 0);
}

#[tokio::test]
async fn unknown_types_get_the_nearest_and_the_rule() {
    let site = Site::new();
    let problem = site
        .publish(json!({"type": "server_conected"}))
        .await
        .problem(422, "invalid-fields");
    let detail = problem["errors"][0]["detail"]
        .as_str()
        .expect("text")
        .to_owned();
    assert!(
        detail.contains("server_connected") && detail.contains("grades.synced"),
        "{detail}"
    );
}

#[tokio::test]
async fn core_events_go_through_their_commands() {
    let site = Site::new();
    let connect = json!({"type": "server_connected", "serverId": "s", "data": {"connection": {"name": "S", "transport": "http"}}});
    assert_eq!(site.publish(connect.clone()).await.status, 202);
    assert_eq!(site.publish(connect).await.json(), json!({"ids": [null]}));
    let ill =
        json!({"type": "server_health_changed", "serverId": "s", "data": {"health": "degraded"}});
    assert!(site.publish(ill.clone()).await.json()["ids"][0].is_string());
    assert_eq!(
        site.publish(ill).await.json(),
        json!({"ids": [null]}),
        "the same health again"
    );
    let stranger =
        json!({"type": "server_health_changed", "serverId": "who", "data": {"health": "degraded"}});
    site.publish(stranger.clone())
        .await
        .problem(404, "server-not-registered");
    let problem = site
        .publish(json!([{"type": "a.b"}, stranger]))
        .await
        .problem(404, "server-not-registered");
    assert_eq!(problem["errors"][0]["pointer"], "/1");
    let status = site.get("/status").await.json();
    assert_eq!(status["connectedServers"], 1);
    assert_eq!(status["status"], "unhealthy");
}

#[tokio::test]
async fn cloud_events_come_structured_in_batches_and_in_headers() {
    let site = Site::new();
    let event = json!({"specversion": "1.0", "id": "1", "source": "/x", "type": "a.b", "serverid": "s",
        "time": "2026-11-22T08:00:00Z", "data": {"n": 1}});
    let named = |id: &str| {
        let mut event = event.clone();
        event["id"] = id.into();
        event
    };
    let single = [(
        "content-type",
        "application/cloudevents+json; charset=utf-8",
    )];
    let reply = site
        .ask("POST", "/events", &single, event.to_string())
        .await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let reply = site
        .ask(
            "POST",
            "/events",
            &batch,
            json!([named("2"), named("3")]).to_string(),
        )
        .await;
    assert_eq!(
        reply.json()["ids"].as_array().map(Vec::len),
        Some(2),
        "{}",
        reply.text
    );
    let binary = [
        JSON,
        ("ce-specversion", "1.0"),
        ("ce-id", "4"),
        ("ce-source", "/x"),
        ("ce-type", "a.b"),
        ("ce-serverid", "s"),
        ("ce-time", "2026-11-22T08:00:00Z"),
    ];
    let reply = site.ask("POST", "/events", &binary, r#"{"n":1}"#).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let page = site.get("/events/history?serverId=s").await.json();
    let events = page["events"].as_array().expect("events");
    assert_eq!(events.len(), 4);
    for event in events {
        assert_eq!(
            event["data"],
            json!({"n": 1, "occurredAt": 1_795_334_400_000_i64})
        );
    }
    let old =
        json!([{"specversion": "0.3", "id": "1", "source": "/x", "type": "a.b", "time": "noon"}]);
    let problem = site
        .ask("POST", "/events", &batch, old.to_string())
        .await
        .problem(422, "invalid-fields");
    assert_eq!(problem["errors"][0]["pointer"], "/0/time");
    assert_eq!(problem["errors"][1]["pointer"], "/0/specversion");
    site.ask("POST", "/events", &[JSON, ("ce-specversion", "1.0")], "1")
        .await
        .problem(400, "invalid-cloudevent");
}

#[tokio::test]
async fn bodies_are_refused_by_kind() {
    let site = Site::new();
    let form = ("content-type", "application/x-www-form-urlencoded");
    let big = format!(r#"{{"type":"a.b","data":"{}"}}"#, "x".repeat(256 * 1024));
    let problem = site
        .ask("POST", "/events", &[form], "{}")
        .await
        .problem(415, "unsupported-media-type");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|text| text.contains("-H 'content-type: application/json'"))
    );
    site.ask("POST", "/events", &[], "{}")
        .await
        .problem(415, "unsupported-media-type");
    site.ask(
        "POST",
        "/events",
        &[JSON, ("content-encoding", "gzip")],
        "{}",
    )
    .await
    .problem(415, "unsupported-media-type");
    site.ask("POST", "/events", &[JSON], "")
        .await
        .problem(400, "body-missing");
    site.ask("POST", "/events", &[JSON], big)
        .await
        .problem(413, "body-too-large");
    site.ask("POST", "/events", &[JSON], &b"{\"type\":\"\xff\"}"[..])
        .await
        .problem(400, "malformed-json");
    let problem = site
        .ask("POST", "/events", &[JSON], "{\"type\":\n oops")
        .await
        .problem(400, "malformed-json");
    assert_eq!(
        (problem["line"].as_u64(), problem["column"].as_u64()),
        (Some(2), Some(2))
    );
    for key in ["", "a b", &"x".repeat(256)] {
        let headers = [JSON, ("idempotency-key", key)];
        site.ask("POST", "/events", &headers, "{}")
            .await
            .problem(400, "invalid-idempotency-key");
    }
}

#[tokio::test]
async fn a_repeated_key_gives_the_first_answer() {
    let site = Site::new();
    let headers = [JSON, ("idempotency-key", "k")];
    let first = site
        .ask("POST", "/events", &headers, r#"{"type":"a.b"}"#)
        .await;
    let again = site
        .ask("POST", "/events", &headers, r#"{"type":"a.b"}"#)
        .await;
    assert_eq!((again.status, &again.text), (202, &first.text));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    site.ask("POST", "/events", &headers, r#"{"type":"a.c"}"#)
        .await
        .problem(422, "idempotency-key-reused");
    let elsewhere = site
        .ask("POST", "/events/broadcast", &headers, r#"{"type":"a.b"}"#)
        .await;
    assert!(!elsewhere.headers.contains_key("idempotency-replayed"));
}

#[tokio::test]
async fn pages_join_to_the_whole_in_both_orders() {
    let site = Site::new();
    let items: Vec<Value> = (0..25).map(|n| json!({"type": "a.b", "data": n})).collect();
    site.publish(json!(items)).await;
    for (order, expected) in [
        ("asc", (0..25).collect::<Vec<i64>>()),
        ("desc", (0..25).rev().collect()),
    ] {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = site
                .get(&format!("/events/history?order={order}&limit=6{cursor}"))
                .await
                .json();
            assert_eq!(page["truncated"], false);
            all.extend(
                page["events"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|e| e["data"].as_i64()),
            );
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(all, expected, "{order}");
    }
    let lines = [("accept", "application/x-ndjson")];
    for (query, count) in [
        ("", 25),
        ("?limit=3", 3),
        ("?order=desc", 25),
        ("?type=c.d", 0),
    ] {
        let reply = site
            .ask(
                "GET",
                &format!("/events/history{query}"),
                &lines,
                Body::empty(),
            )
            .await;
        assert_eq!(reply.headers["content-type"], "application/x-ndjson");
        assert_eq!(reply.text.lines().count(), count, "{query}");
    }
    for query in [
        "limit=0",
        "limit=1001",
        "order=up",
        "cursor=x",
        "until=x",
        "fro=1",
        "type=wrkflow_started",
        "since=%ff",
    ] {
        site.get(&format!("/events/history?{query}"))
            .await
            .problem(400, "invalid-query");
    }
    let cursor = "cursor=asc-000000000000-3";
    site.get(&format!("/events/history?{cursor}"))
        .await
        .problem(410, "cursor-gone");
}

#[tokio::test]
async fn events_that_never_were_are_not_found() {
    let site = Site::new();
    site.publish(json!({"type": "a.b"})).await;
    let epoch = site.app.hub.name(0).epoch;
    for id in [
        format!("{epoch}-0"),
        format!("{epoch}-2"),
        "000000000000-1".to_owned(),
        "garbage".to_owned(),
    ] {
        site.get(&format!("/events/{id}"))
            .await
            .problem(404, "event-not-found");
    }
}

#[tokio::test]
async fn routing_errors_are_problems() {
    let site = Site::new();
    let problem = site.get("/event/history").await.problem(404, "not-found");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|text| text.contains("/events/history")),
        "{problem}"
    );
    let reply = site.ask("DELETE", "/status", &[], Body::empty()).await;
    reply.problem(405, "method-not-allowed");
    assert_eq!(reply.headers["allow"], "GET,HEAD,OPTIONS");
    assert_eq!(reply.headers["x-content-type-options"], "nosniff");
    site.get("/status?x=1").await.problem(400, "invalid-query");
    site.ask("GET", "/status", &[("host", "evil.example")], Body::empty())
        .await
        .problem(400, "invalid-host");
}

#[tokio::test]
async fn the_snapshot_is_one_object_and_joins_from_its_parts() {
    let site = Site::new();
    let items: Vec<Value> = (0..450)
        .map(|n| json!({"type": "server_connected", "serverId": format!("s{n:03}"),
            "data": {"connection": {"name": "S", "transport": "http", "tags": {"env": if n < 10 { "prod" } else { "test" }}}}}))
        .collect();
    assert_eq!(site.publish(json!(items)).await.status, 202);
    let workflow = json!({"type": "workflow_started", "data": {"workflowId": "w", "name": "W", "steps": [{"id": "a", "server": "s001"}]}});
    assert_eq!(site.publish(workflow).await.status, 202);
    let whole = site.get("/snapshot").await.json();
    assert_eq!(whole["servers"].as_array().map(Vec::len), Some(450));
    assert_eq!(whole["workflows"][0]["id"], "w");
    assert_eq!(
        (whole["sequence"].as_u64(), whole["status"].as_str()),
        (Some(451), Some("healthy"))
    );
    for (query, servers, workflows) in [
        ("tag=env:prod", 10, 1),
        ("serverId=s001,s002", 2, 1),
        ("serverId=s003", 1, 0),
        ("workflowId=w", 0, 1),
    ] {
        let narrow = site.get(&format!("/snapshot?{query}")).await.json();
        assert_eq!(
            narrow["servers"].as_array().map(Vec::len),
            Some(servers),
            "{query}"
        );
        assert_eq!(
            narrow["workflows"].as_array().map(Vec::len),
            Some(workflows),
            "{query}"
        );
    }
    let snapshot = super::snapshot::Snapshot::take(
        &site.app,
        crate::door::Access::open(),
        crate::filter::Selection::default(),
    );
    let parts: Vec<Value> = super::snapshot::Frames::of(snapshot)
        .filter(|frame| !frame.is_empty())
        .map(|frame| {
            let frame = std::str::from_utf8(&frame).expect("UTF-8");
            let line = frame.lines().find_map(|line| line.strip_prefix("data: "));
            serde_json::from_str(line.expect("data")).expect("JSON")
        })
        .collect();
    assert!(parts.len() > 3, "{}", parts.len());
    for (at, part) in parts.iter().enumerate() {
        assert_eq!(
            (part["part"].as_u64(), part["parts"].as_u64()),
            (Some(at as u64 + 1), Some(parts.len() as u64))
        );
    }
    let servers: Vec<&Value> = parts
        .iter()
        .flat_map(|part| part["servers"].as_array())
        .flatten()
        .collect();
    assert_eq!(servers.len(), 450);
    assert_eq!(parts[0]["patterns"].as_array().map(Vec::len), Some(5));
    assert_eq!(parts[0]["stats"]["connectedServers"], 450);
}

#[tokio::test]
async fn probes_and_metrics() {
    let site = Site::new();
    assert_eq!(
        site.get("/readyz").await.json(),
        json!({"ready": true, "reasons": []})
    );
    site.publish(json!({"type": "a.b"})).await;
    let metrics = site.get("/metrics").await.text;
    for line in [
        "timeback_log_head_sequence 1",
        "timeback_http_requests_total{method=\"POST\",route=\"/events\",status=\"202\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    site.app.readiness.draining();
    let problem = site.get("/events/health").await.problem(503, "not-ready");
    assert_eq!(problem["reasons"][0]["reason"], "draining");
}

/// Checks an answer against what the description says of it.
fn check(document: &Value, method: &str, path: &str, reply: &Reply) {
    let operation = &document["paths"][path][method.to_lowercase()];
    assert!(operation.is_object(), "{method} {path} is described");
    let responses = &operation["responses"];
    let described = responses
        .get(reply.status.to_string())
        .unwrap_or(&responses["default"]);
    let media_type = reply.headers["content-type"].to_str().expect("ASCII");
    let schema = &described["content"][media_type]["schema"];
    assert!(
        schema.is_object(),
        "{method} {path}: {} {media_type} is described",
        reply.status
    );
    let mut root = schema.clone();
    root["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::new(&root).expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(&reply.json())
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        errors.is_empty(),
        "{method} {path}: {errors:?}\n{}",
        reply.text
    );
}

#[tokio::test]
async fn answers_are_what_the_description_says() {
    let site = Site::new();
    let document = site.get("/openapi.json").await.json();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    let connect = json!({"type": "server_connected", "serverId": "s", "data": {"connection": {"name": "S", "transport": "http"}}});
    let workflow = json!({"type": "workflow_started", "data": {"workflowId": "w", "name": "W", "steps": ["a"]}});
    let posted = site.publish(json!([connect, workflow, connect])).await;
    check(&document, "POST", "/events", &posted);
    let id = posted.json()["ids"][0].as_str().expect("an id").to_owned();
    check(
        &document,
        "GET",
        "/events/{id}",
        &site.get(&format!("/events/{id}")).await,
    );
    check(
        &document,
        "GET",
        "/events/{id}",
        &site.get("/events/none").await,
    );
    for path in [
        "/status",
        "/events/stats",
        "/snapshot",
        "/healthz",
        "/readyz",
        "/events/health",
        "/events/history",
        "/stats/events",
        "/stats/events?by=serverId&since=1d",
        "/stats/events?step=1ms",
        "/uptime",
        "/uptime?since=2999-01-01T00:00:00Z",
    ] {
        let described = path.split('?').next().unwrap_or(path);
        check(&document, "GET", described, &site.get(path).await);
    }
    check(
        &document,
        "GET",
        "/servers/{id}/history",
        &site.get("/servers/s/history").await,
    );
    check(
        &document,
        "GET",
        "/events/history",
        &site.get("/events/history?limit=1").await,
    );
    check(
        &document,
        "POST",
        "/events",
        &site.publish(json!({"type": "nope"})).await,
    );
    site.app.readiness.draining();
    check(&document, "GET", "/readyz", &site.get("/readyz").await);
}

#[test]
fn every_operation_is_tagged_described_and_may_fail_as_a_problem() {
    let document = serde_json::to_value(super::openapi::document()).expect("JSON");
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            assert!(
                operation["summary"].is_string(),
                "{method} {path} has a summary"
            );
            assert_eq!(
                operation["tags"].as_array().map(Vec::len),
                Some(1),
                "{method} {path}"
            );
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"];
            assert!(problem.is_object(), "{method} {path}");
        }
    }
}

#[test]
fn every_change_with_a_body_is_described_with_the_warnings_that_it_may_answer() {
    let document = serde_json::to_value(super::openapi::document()).expect("JSON");
    let mut changes = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            // What a tool's call may say beside its result is in that result, as MCP has it.
            let other = ["/session", "/mcp"].contains(&path.as_str());
            if operation.get("requestBody").is_none() || other {
                continue;
            }
            changes += 1;
            let responses = operation["responses"].as_object().expect("responses");
            for (status, response) in responses
                .iter()
                .filter(|(status, _)| status.starts_with('2'))
            {
                let schema = &response["content"]["application/json"]["schema"];
                let name = schema["$ref"]
                    .as_str()
                    .and_then(|name| name.rsplit('/').next());
                let schema = name.map_or(schema, |name| &document["components"]["schemas"][name]);
                let told = schema.to_string().contains("\"warnings\"");
                assert!(told, "{method} {path} {status}: {schema}");
            }
        }
    }
    assert!(changes > 8, "{changes}");
}
