//! Section 8: numbers and text come back as they came, wherever a producer may put them.

use http::Method;
use serde_json::json;

use crate::support::{Reply, TestHub};

/// More digits than a double has, more digits than 64 bits have, and forms that a reader would tidy up.
const NUMBERS: &str = r#"{"int":123456789012345678901234567890,"id":9007199254740993,"dec":0.1234567890123456789012345,"zero":1.50,"exp":1E+2,"tiny":1e-400,"neg":-0,"text":"\u00e9\/"}"#;

async fn post(hub: &TestHub, path: &str, body: &str) -> Reply {
    let json = [("content-type", "application/json")];
    let body = body.replace("NUMBERS", NUMBERS);
    hub.client.send(Method::POST, path, &json, body).await
}

#[tokio::test]
async fn numbers_come_back_as_they_came_from_everywhere() {
    let hub = TestHub::start().await;
    let mut live = hub.subscribe("").await;
    let mut other = hub.subscribe("format=cloudevents").await;
    live.opened("live").await;
    other.opened("live").await;
    for (path, body, status) in [
        (
            "/events",
            r#"{"type": "lesson.done", "data": NUMBERS}"#,
            202,
        ),
        (
            "/servers",
            r#"{"id": "s", "name": "S", "transport": "http", "metadata": NUMBERS,
                "capabilities": {"tools": [{"name": "t", "inputSchema": NUMBERS}]}}"#,
            201,
        ),
        (
            "/servers/s/heartbeat",
            r#"{"metrics": {"big": 123456789012345678901234567890, "load": 0.50}}"#,
            200,
        ),
        (
            "/workflows",
            r#"{"id": "w", "name": "W", "note": NUMBERS, "steps": [{"id": "a", "params": NUMBERS, "own": NUMBERS}, "b"]}"#,
            201,
        ),
        (
            "/workflows/w/steps/a",
            r#"{"status": "completed", "result": NUMBERS}"#,
            200,
        ),
        ("/workflows/w/complete", r#"{"results": NUMBERS}"#, 200),
        (
            "/events",
            r#"[{"type": "workflow_started", "data": {"workflowId": "v", "steps": [{"id": "a", "params": NUMBERS}]}},
                {"type": "workflow_step_completed", "data": {"workflowId": "v", "stepId": "a", "result": NUMBERS}}]"#,
            202,
        ),
    ] {
        let reply = post(&hub, path, body).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
    }
    let again = post(
        &hub,
        "/workflows/w/steps/a",
        r#"{"status": "completed", "result": NUMBERS}"#,
    )
    .await;
    assert_eq!(again.status, 200, "the same again: {}", again.text);
    let changed = NUMBERS.replace("567890,", "567891,");
    let changed = format!(r#"{{"status": "completed", "result": {changed}}}"#);
    let changed = post(&hub, "/workflows/w/steps/a", &changed).await;
    let problem = changed.problem(409, "workflow-ended");
    assert!(problem["step"].is_object());
    assert_eq!(
        changed.text.matches(NUMBERS).count(),
        2,
        "the step as it is: {}",
        changed.text
    );

    for (query, times) in [
        ("lesson.done", 1),
        ("server_connected", 2),
        ("workflow_started", 3),
        ("workflow_step_completed", 2),
        ("workflow_completed", 2),
    ] {
        let path = format!("/events/history?type={query}");
        let page = hub.client.get(&path).await.text;
        assert_eq!(page.matches(NUMBERS).count(), times, "{query}: {page}");
        let lines = [("accept", "application/x-ndjson")];
        let lines = hub.client.send(Method::GET, &path, &lines, "").await.text;
        assert_eq!(lines.matches(NUMBERS).count(), times, "{query}: {lines}");
    }
    for stream in [&mut live, &mut other] {
        let frame = stream.next_named("lesson.done").await;
        let data = frame.data.unwrap_or_default();
        assert!(data.contains(NUMBERS), "{data}");
    }

    let (mut hub, mut run) = (hub, 0);
    loop {
        for (path, times) in [
            ("/servers/s", 2),
            ("/servers", 2),
            ("/workflows/w", 5),
            ("/workflows/v", 3),
            ("/workflows", 4),
            ("/snapshot", 10),
        ] {
            let text = hub.client.get(path).await.text;
            assert_eq!(
                text.matches(NUMBERS).count(),
                times,
                "run {run}, {path}: {text}"
            );
        }
        if run == 0 {
            let text = hub.client.get("/servers/s").await.text;
            let metrics = r#""metrics":{"big":123456789012345678901234567890,"load":0.50}"#;
            assert!(text.contains(metrics), "{text}");
        }
        run += 1;
        if run == 3 {
            return;
        }
        hub = hub.restart().await;
    }
}

#[tokio::test]
async fn whole_numbers_may_be_written_in_any_way() {
    let hub = TestHub::start().await;
    let server = r#"{"id": "s", "name": "S", "transport": "http", "heartbeatIntervalMs": 3e4}"#;
    let reply = post(&hub, "/servers", server).await;
    assert_eq!(
        reply.json()["heartbeatIntervalMs"],
        30_000,
        "{}",
        reply.text
    );
    let flow = r#"{"id": "w", "name": "W", "timeoutMs": 36e5, "steps": [{"id": "a", "timeout": 30000.0, "timeoutMs": 3e4, "retries": 1.0}]}"#;
    let step = post(&hub, "/workflows", flow).await.json()["steps"][0].clone();
    assert_eq!(
        (&step["timeout"], &step["retries"]),
        (&json!(30_000), &json!(1))
    );
    let beat = post(&hub, "/servers/s/heartbeat", r#"{"occurredAt": 1.7e12}"#).await;
    assert_eq!(beat.status, 200, "{}", beat.text);
    let claim = r#"{"status": "running", "attempt": 1.0}"#;
    let claim = post(&hub, "/workflows/w/steps/a", claim).await;
    assert_eq!(claim.json()["attempt"], 1, "{}", claim.text);
    let broken = post(
        &hub,
        "/workflows/w/steps/a",
        r#"{"status": "running", "attempt": 1.5}"#,
    )
    .await;
    assert_eq!(
        broken.problem(422, "invalid-fields")["errors"][0]["pointer"],
        "/attempt"
    );
}

#[tokio::test]
async fn what_no_listener_could_read_is_refused_everywhere_by_its_place() {
    let hub = TestHub::start().await;
    hub.client.register("s").await;
    post(
        &hub,
        "/workflows",
        r#"{"id": "w", "name": "W", "steps": ["a"]}"#,
    )
    .await;
    for (path, body, place) in [
        (
            "/events",
            r#"{"type": "a.b", "data": {"x": [0, BAD]}}"#,
            "/data/x/1",
        ),
        (
            "/servers",
            r#"{"name": "S", "transport": "http", "metadata": {"a/b": BAD}}"#,
            "/metadata/a~1b",
        ),
        ("/servers/s/heartbeat", r#"{"note": BAD}"#, "/note"),
        ("/heartbeats", r#"[{"id": "s", "note": BAD}]"#, "/0/note"),
        (
            "/workflows",
            r#"{"name": "W", "steps": [{"id": "a", "params": BAD}]}"#,
            "/steps/0/params",
        ),
        (
            "/workflows/w/steps/a",
            r#"{"status": "completed", "result": BAD}"#,
            "/result",
        ),
        ("/workflows/w/complete", r#"{"results": BAD}"#, "/results"),
    ] {
        for bad in ["1e400", r#""\ud800""#] {
            let reply = post(&hub, path, &body.replace("BAD", bad)).await;
            let problem = reply.problem(422, "invalid-fields");
            assert_eq!(
                problem["errors"][0]["pointer"], place,
                "{path} {bad}: {problem}"
            );
        }
    }
    let twice = r#"{"name": "S", "transport": "http", "name": "T"}"#;
    let problem = post(&hub, "/servers", twice)
        .await
        .problem(422, "invalid-fields");
    assert_eq!(problem["errors"][0]["pointer"], "/name", "{problem}");
}
