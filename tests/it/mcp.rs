//! The hub as an MCP server, spoken to in both eras as its clients do.

use http::Method;
use serde_json::{Value, json};

use timeback_events::door::{
    Restrictions,
    keys::{KeyFile, NewKey},
};

use crate::support::{EventStream, Reply, TestHub, until_streams};

const MODERN: &str = "2026-07-28";
const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A request that stands for itself.
pub fn modern(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

/// The headers that repeat what a request says.
fn headers_of(body: &Value) -> Vec<(String, String)> {
    let mut headers = vec![
        ("mcp-protocol-version".to_owned(), MODERN.to_owned()),
        (
            "mcp-method".to_owned(),
            body["method"].as_str().unwrap().to_owned(),
        ),
    ];
    let name = body["params"]["name"]
        .as_str()
        .or(body["params"]["uri"].as_str());
    headers.extend(name.map(|name| ("mcp-name".to_owned(), name.to_owned())));
    headers
}

async fn send(hub: &TestHub, body: &Value, more: &[(&str, &str)]) -> Reply {
    let own = headers_of(body);
    let mut headers: Vec<(&str, &str)> = own
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    headers.extend([BOTH, JSON]);
    headers.extend(more);
    let client = &hub.client;
    client
        .send(Method::POST, "/mcp", &headers, body.to_string())
        .await
}

/// The last message of an answer, whether it came as JSON or as a stream.
fn last_message(reply: &Reply) -> Value {
    if reply.header("content-type") == Some("text/event-stream") {
        let mut messages = reply
            .text
            .lines()
            .filter_map(|it| it.strip_prefix("data: "));
        return serde_json::from_str(messages.next_back().expect("a message")).expect("JSON");
    }
    reply.json()
}

async fn result(hub: &TestHub, method: &str, params: Value) -> Value {
    let reply = send(hub, &modern(method, params), &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let message = last_message(&reply);
    assert!(message["error"].is_null(), "{message}");
    message["result"].clone()
}

/// What a tool answers; its structured content fits the schema that is listed.
async fn call(hub: &TestHub, tool: &str, arguments: Value) -> Value {
    let tools = result(hub, "tools/list", json!({})).await;
    let found = tools["tools"].as_array().unwrap().iter();
    let described = found.clone().find(|it| it["name"] == tool).unwrap();
    let result = result(
        hub,
        "tools/call",
        json!({"name": tool, "arguments": arguments}),
    )
    .await;
    assert_eq!(result["isError"], false, "{tool}: {result}");
    assert!(!result["content"][0]["text"].as_str().unwrap().is_empty());
    let input = jsonschema::validator_for(&described["inputSchema"]).unwrap();
    assert!(input.is_valid(&arguments), "{tool}: {arguments}");
    let output = jsonschema::validator_for(&described["outputSchema"]).unwrap();
    let content = &result["structuredContent"];
    if let Err(wrong) = output.validate(content) {
        panic!("{tool}: {wrong} in {content}");
    }
    content.clone()
}

/// The text of a tool's refusal.
async fn refusal(hub: &TestHub, tool: &str, arguments: Value) -> String {
    let params = json!({"name": tool, "arguments": arguments});
    let result = result(hub, "tools/call", params).await;
    assert_eq!(result["isError"], true, "{result}");
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

async fn fleet(hub: &TestHub) {
    for (id, health) in [
        ("a", None),
        ("b", Some("degraded")),
        ("c", Some("unhealthy")),
    ] {
        let body = json!({
            "id": id, "name": id.to_uppercase(), "transport": "http", "heartbeatIntervalMs": 300_000,
            "tags": {"site": if id == "a" { "north" } else { "south" }},
            "capabilities": {"tools": [{"name": "grade", "description": "Grades an essay"}, format!("only_{id}")]},
        });
        assert_eq!(hub.client.post("/servers", &body).await.status, 201);
        if let Some(health) = health {
            let beat = json!({"health": health, "detail": format!("{id} is ill")});
            let path = format!("/servers/{id}/heartbeat");
            assert_eq!(hub.client.post(&path, &beat).await.status, 200);
        }
    }
}

#[tokio::test]
async fn every_reading_tool_answers_what_its_schema_says() {
    let hub = TestHub::start().await;
    fleet(&hub).await;
    let steps = json!(["one", {"id": "two", "dependsOn": ["one"]}, "three"]);
    let workflow = json!({"id": "w", "name": "W", "steps": steps});
    hub.client.post("/workflows", &workflow).await;
    let failed = json!({"status": "failed", "error": "it broke"});
    hub.client.post("/workflows/w/steps/three", &failed).await;

    let status = call(&hub, "fleet_status", json!({})).await;
    assert_eq!(status["status"], "degraded");
    assert_eq!(status["connectedServers"], 3);
    assert_eq!(status["worst"][0]["id"], "c", "the worst first");
    assert_eq!(status["worst"][0]["detail"], "c is ill");

    let ill = json!({"health": ["degraded", "unhealthy"], "limit": 1});
    let page = call(&hub, "list_servers", ill.clone()).await;
    assert_eq!(page["servers"][0]["id"], "b");
    assert_eq!((&page["total"], &page["leftOut"]), (&json!(2), &json!(1)));
    let mut next = ill;
    next["cursor"] = page["nextCursor"].clone();
    let page = call(&hub, "list_servers", next).await;
    assert_eq!(page["servers"][0]["id"], "c");
    assert_eq!(page["nextCursor"], Value::Null);
    for (filter, found) in [
        (json!({"tag": "site:north"}), "a"),
        (json!({"text": "B IS ILL"}), "b"),
    ] {
        let page = call(&hub, "list_servers", filter).await;
        assert_eq!(page["servers"][0]["id"], found);
        assert_eq!(page["total"], 1);
    }

    let one = call(&hub, "get_server", json!({"serverId": "b"})).await;
    assert_eq!(one["server"]["detail"], "b is ill");
    assert_eq!(one["recentEvents"][0]["type"], "server_health_changed");
    let changed =
        json!({"id": "b", "name": "B", "transport": "http", "capabilities": {"tools": ["new"]}});
    hub.client.post("/servers", &changed).await;
    let one = call(&hub, "get_server", json!({"serverId": "b"})).await;
    assert_eq!(one["drift"]["tools"]["added"], json!(["new"]));

    let offers = call(&hub, "find_tool", json!({"name": "grade"})).await;
    let who = offers["offers"].as_array().unwrap().iter();
    let who: Vec<&str> = who.map(|it| it["serverId"].as_str().unwrap()).collect();
    assert_eq!(who, ["a", "c"], "healthy ones first");
    let offers = call(&hub, "find_tool", json!({"name": "essay"})).await;
    assert_eq!(offers["offers"][0]["exact"], false);

    let list = call(&hub, "list_workflows", json!({"status": "failed"})).await;
    let line = &list["workflows"][0];
    assert_eq!(line["failed"][0]["stepId"], "three");
    assert_eq!(line["failed"][0]["error"], "it broke");
    let one = call(&hub, "get_workflow", json!({"workflowId": "w"})).await;
    assert_eq!(one["workflow"]["steps"][2]["status"], "failed");

    let page = call(
        &hub,
        "search_events",
        json!({"type": "server_*", "limit": 2}),
    )
    .await;
    assert_eq!(page["events"].as_array().unwrap().len(), 2);
    assert_eq!(page["events"][0]["type"], "server_updated", "newest first");
    let next = json!({"type": "server_*", "limit": 100, "cursor": page["nextCursor"]});
    let page = call(&hub, "search_events", next).await;
    assert_eq!(page["nextCursor"], Value::Null);
    let types = |page: &Value| {
        let events = page["events"].as_array().unwrap().clone();
        events
            .into_iter()
            .map(|it| it["type"].clone())
            .collect::<Vec<_>>()
    };
    assert!(types(&page).contains(&json!("server_connected")));
    let none = call(
        &hub,
        "search_events",
        json!({"since": "1ms", "type": "a.b"}),
    )
    .await;
    assert_eq!(none["events"], json!([]));
}

#[tokio::test]
async fn what_cant_be_meant_is_told_with_the_mend() {
    let hub = TestHub::start().await;
    for (tool, arguments, told) in [
        (
            "list_servers",
            json!({"helth": "degraded"}),
            "did you mean health?",
        ),
        (
            "list_servers",
            json!({"health": "fine"}),
            "healthy, degraded or unhealthy",
        ),
        ("get_server", json!({}), "/serverId"),
        (
            "get_server",
            json!({"serverId": "nobody"}),
            "server-not-found",
        ),
        ("fleet_status", json!({"x": 1}), "takes no arguments"),
        (
            "search_events",
            json!({"type": "server_conected"}),
            "server_connected",
        ),
        ("wait_for_events", json!({"timeoutMs": 60_000}), "50000"),
        ("claim_step", json!({}), "serverId"),
        (
            "report_step",
            json!({"workflowId": "w", "stepId": "s", "status": "completed"}),
            "workflow-not-found",
        ),
        ("start_workflow", json!({"steps": []}), "/name"),
        ("publish_event", json!({"type": "nope"}), "grades.synced"),
    ] {
        let text = refusal(&hub, tool, arguments).await;
        assert!(text.contains(told), "{tool}: {text}");
    }
    let unknown = modern("tools/call", json!({"name": "fleet_statuss"}));
    let reply = send(&hub, &unknown, &[]).await.json();
    assert_eq!(reply["error"]["code"], -32602);
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("fleet_status?"), "{message}");
}

#[tokio::test]
async fn a_workflow_is_carried_out_by_tools_alone() {
    let hub = TestHub::start().await;
    hub.client.register("worker").await;
    let steps = json!([{"id": "one", "params": {"n": 1}}, {"id": "two", "dependsOn": ["one"]}]);
    let definition = json!({"id": "w", "name": "W", "steps": steps});
    let started = call(&hub, "start_workflow", definition.clone()).await;
    assert_eq!(started["created"], true);
    let again = call(&hub, "start_workflow", definition).await;
    assert_eq!(again["created"], false);
    let worker = json!({"serverId": "worker"});
    for step in ["one", "two"] {
        let claimed = call(&hub, "claim_step", worker.clone()).await;
        assert_eq!(claimed["step"]["id"], step);
        let named = json!({"workflowId": "w", "stepId": step, "serverId": "worker"});
        let same = call(&hub, "claim_step", named.clone()).await;
        assert_eq!(same["step"]["attempt"], claimed["step"]["attempt"]);
        let mut report = named;
        report["status"] = json!("completed");
        report["result"] = json!({"of": step});
        let reported = call(&hub, "report_step", report.clone()).await;
        assert_eq!(reported["step"]["status"], "completed");
        let before = hub.client.get("/status").await.json();
        call(&hub, "report_step", report).await;
        let after = hub.client.get("/status").await.json();
        assert_eq!(
            before["lastEventId"], after["lastEventId"],
            "the same again"
        );
    }
    let nothing = call(&hub, "claim_step", worker).await;
    assert!(nothing["step"].is_null());
    let one = call(&hub, "get_workflow", json!({"workflowId": "w"})).await;
    assert_eq!(one["workflow"]["status"], "completed");
}

#[tokio::test]
async fn a_change_that_comes_again_is_made_once() {
    let hub = TestHub::start().await;
    let publish = |id: Value, data: Value| {
        let mut body = modern(
            "tools/call",
            json!({"name": "publish_event", "arguments": data}),
        );
        body["id"] = id;
        body
    };
    let event = json!({"type": "a.b", "data": {"n": 1}});
    let mut keyed = event.clone();
    keyed["idempotencyKey"] = json!("k1");
    let long = json!("5f0c8a4e-6a7e-4b64-9d2a-c0f2a1f7a8b1");
    let session = initialize(&hub, "2025-11-25").await.0;
    let own = [("mcp-session-id", session.as_str())];
    let header = [("idempotency-key", "k2")];
    let legacy = |id: u64| {
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": "publish_event", "arguments": event}})
    };
    for (twice, more, appended) in [
        (publish(json!(1), keyed), &[][..], 1),
        (publish(long, event.clone()), &[][..], 1),
        (publish(json!(1), event.clone()), &header[..], 1),
        // Another client's first request may look just the same.
        (publish(json!(1), event.clone()), &[][..], 2),
    ] {
        let before = sequence(&hub).await;
        for _ in 0..2 {
            let reply = send(&hub, &twice, more).await;
            assert_eq!(reply.json()["result"]["isError"], false, "{}", reply.text);
        }
        assert_eq!(sequence(&hub).await - before, appended, "{twice} {more:?}");
    }
    for (ids, appended) in [([3, 3], 1), ([4, 5], 2)] {
        let before = sequence(&hub).await;
        for id in ids {
            post(&hub, &legacy(id), &own).await;
        }
        assert_eq!(sequence(&hub).await - before, appended, "{ids:?}");
    }
}

async fn sequence(hub: &TestHub) -> u64 {
    hub.client.get("/snapshot").await.json()["sequence"]
        .as_u64()
        .unwrap()
}

/// Posts a message as a client of before.
async fn post(hub: &TestHub, body: &Value, more: &[(&str, &str)]) -> Reply {
    let headers = [&[BOTH, JSON][..], more].concat();
    let client = &hub.client;
    client
        .send(Method::POST, "/mcp", &headers, body.to_string())
        .await
}

/// Begins a session: its id, and what the hub says.
async fn initialize(hub: &TestHub, version: &str) -> (String, Value) {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let reply = post(hub, &body, &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let session = reply.header("mcp-session-id").unwrap().to_owned();
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let own = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    assert_eq!(post(hub, &told, &own).await.status, 202);
    (session, reply.json()["result"].clone())
}

#[tokio::test]
async fn a_session_lives_from_initialize_to_delete() {
    let hub = TestHub::start().await;
    for (wanted, spoken) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-03-26", "2025-03-26"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let (_, result) = initialize(&hub, wanted).await;
        assert_eq!(result["protocolVersion"], spoken);
        assert_eq!(result["serverInfo"]["name"], "timeback-events");
    }
    let (session, _) = initialize(&hub, "2025-11-25").await;
    let own = [("mcp-session-id", session.as_str())];
    let ask = |method: &str| json!({"jsonrpc": "2.0", "id": 2, "method": method});
    assert_eq!(
        post(&hub, &ask("ping"), &own).await.json()["result"],
        json!({})
    );
    let tools = post(&hub, &ask("tools/list"), &own).await.json();
    assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 12);
    assert!(tools["result"]["resultType"].is_null());
    let unknown = post(&hub, &ask("logging/setLevel"), &own).await;
    assert_eq!(
        (unknown.status.as_u16(), &unknown.json()["error"]["code"]),
        (200, &json!(-32601))
    );
    let batch = json!([ask("ping"), {"jsonrpc": "2.0", "method": "notifications/x"}, ask("nope")]);
    let answers = post(&hub, &batch, &own).await.json();
    assert_eq!(answers.as_array().unwrap().len(), 2, "{answers}");
    let gone = hub.client.send(Method::DELETE, "/mcp", &own, "").await;
    assert_eq!(gone.status, 204);
    let after = post(&hub, &ask("ping"), &own).await;
    assert_eq!(
        (after.status.as_u16(), &after.json()["error"]["code"]),
        (404, &json!(-32001))
    );
    assert_eq!(
        hub.client
            .send(Method::DELETE, "/mcp", &own, "")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_request_of_now_stands_for_itself() {
    let hub = TestHub::start().await;
    let found = result(&hub, "server/discover", json!({})).await;
    assert_eq!(found["supportedVersions"], json!([MODERN]));
    assert_eq!(found["resultType"], "complete");
    assert_eq!(found["cacheScope"], "private");
    assert!(found["ttlMs"].is_u64());
    let info = &found["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(info["name"], "timeback-events");
    for method in ["initialize", "ping", "resources/subscribe", "no/such"] {
        let reply = send(&hub, &modern(method, json!({})), &[]).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["code"]),
            (404, &json!(-32601)),
            "{method}"
        );
        assert_eq!(reply.json()["id"], 7);
    }
    for method in [Method::GET, Method::DELETE] {
        let reply = hub.client.send(method, "/mcp", &[BOTH], "").await;
        assert_eq!(reply.status, 405);
        assert_eq!(reply.header("allow"), Some("POST"));
    }
    let reply = post(&hub, &json!([1]), &[("mcp-protocol-version", MODERN)]).await;
    assert_eq!(reply.json()[0]["error"]["code"], -32600);
    let headers = [BOTH, JSON];
    let broken = hub.client.send(Method::POST, "/mcp", &headers, "{").await;
    assert_eq!(
        (broken.status.as_u16(), &broken.json()["error"]["code"]),
        (400, &json!(-32700))
    );
    let plain = hub.client.send(Method::POST, "/mcp", &[BOTH], "{}").await;
    plain.problem(415, "unsupported-media-type");
    let other = [("accept", "text/html"), JSON];
    let other = hub.client.send(Method::POST, "/mcp", &other, "{}").await;
    other.problem(406, "not-acceptable");
}

#[tokio::test]
async fn the_door_is_the_same() {
    let hub = TestHub::start().await;
    let discover = modern("server/discover", json!({}));
    for (more, status) in [
        (("origin", "http://evil.example"), 403),
        (("host", "evil.example"), 403),
    ] {
        assert_eq!(send(&hub, &discover, &[more]).await.status, status);
    }
    let own = format!("http://{}", hub.address);
    assert_eq!(send(&hub, &discover, &[("origin", &own)]).await.status, 200);
    let page = [
        BOTH,
        ("origin", "http://evil.example"),
        ("mcp-session-id", "x"),
    ];
    let stream = hub.client.send(Method::GET, "/mcp", &page, "").await;
    stream.problem(403, "origin-not-allowed");
    let off = TestHub::start_with(|config| config.mcp = false).await;
    send(&off, &discover, &[])
        .await
        .problem(404, "mcp-disabled");
}

#[tokio::test]
async fn a_token_is_listed_what_it_may_use_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let key = |scope: &str| {
        let key = NewKey {
            name: scope.to_owned(),
            scopes: vec![scope.to_owned()],
            restrictions: Restrictions::default(),
            expires_at: None,
        };
        format!("Bearer {}", KeyFile::add(&file, key, 0).unwrap())
    };
    let keys = ["read", "report", "coordinate", "admin"].map(|scope| (scope, key(scope)));
    let hub = TestHub::start_with(|config| config.auth.api_keys = Some(file.clone())).await;
    let list = modern("tools/list", json!({}));
    let refused = send(&hub, &list, &[]).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").is_some());
    let changes = [
        "claim_step",
        "report_step",
        "start_workflow",
        "publish_event",
    ];
    let mut session = String::new();
    for (scope, key) in &keys {
        let own = [("authorization", key.as_str())];
        let tools = send(&hub, &list, &own).await.json()["result"]["tools"].clone();
        let names: Vec<&str> = tools
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        let expected: (usize, &[&str]) = match *scope {
            "read" => (8, &[]),
            "report" => (0, &["claim_step", "report_step", "publish_event"]),
            "coordinate" => (0, &changes),
            _ => (8, &changes),
        };
        assert_eq!(
            names.len(),
            expected.0 + expected.1.len(),
            "{scope}: {names:?}"
        );
        assert!(
            expected.1.iter().all(|name| names.contains(name)),
            "{scope}: {names:?}"
        );
        let start = modern(
            "tools/call",
            json!({"name": "start_workflow", "arguments": {"name": "x"}}),
        );
        let told = send(&hub, &start, &own).await.json();
        assert_eq!(
            told["error"].is_object(),
            !names.contains(&"start_workflow"),
            "{told}"
        );
        // Another caller's session is nobody's.
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}});
        if session.is_empty() {
            session = post(&hub, &body, &own)
                .await
                .header("mcp-session-id")
                .unwrap()
                .to_owned();
        } else {
            let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
            let theirs = [own[0], ("mcp-session-id", session.as_str())];
            assert_eq!(post(&hub, &ping, &theirs).await.status, 404);
        }
    }
}

#[tokio::test]
async fn the_servers_are_listed_as_a_registry_lists_them() {
    let hub = TestHub::start().await;
    fleet(&hub).await;
    let own = json!({"id": "d:2", "name": "D", "transport": "http", "url": "http://127.0.0.1:1/mcp", "version": "1.2"});
    hub.client.post("/servers", &own).await;
    let page = hub.client.get("/v0.1/servers?limit=3").await.json();
    assert_eq!(page["metadata"]["count"], 3);
    let first = &page["servers"][0];
    assert_eq!(first["server"]["name"], "timeback-events/a");
    assert_eq!(
        first["_meta"]["dev.timeback.events/health"]["health"],
        "healthy"
    );
    assert_eq!(
        first["_meta"]["io.modelcontextprotocol.registry/official"]["isLatest"],
        true
    );
    let next = page["metadata"]["nextCursor"].as_str().unwrap();
    let page = hub
        .client
        .get(&format!("/v0.1/servers?limit=3&cursor={next}"))
        .await
        .json();
    let last = &page["servers"][0]["server"];
    assert_eq!(last["name"], "timeback-events/d.2");
    assert_eq!(last["version"], "1.2");
    assert_eq!(
        last["remotes"],
        json!([{"type": "streamable-http", "url": "http://127.0.0.1:1/mcp"}])
    );
    assert!(page["metadata"]["nextCursor"].is_null());
    let one = hub
        .client
        .get("/v0.1/servers/timeback-events%2Fd.2/versions/latest")
        .await
        .json();
    assert_eq!(one["server"], *last);
    let none = hub
        .client
        .get("/v0.1/servers/timeback-events%2Fz/versions/latest")
        .await;
    none.problem(404, "server-not-found");
    hub.client.delete("/servers/a").await;
    let page = hub.client.get("/v0.1/servers?search=events/a").await.json();
    assert_eq!(page["metadata"]["count"], 0);
    let page = hub
        .client
        .get("/v0.1/servers?search=events/a&include_deleted=true")
        .await
        .json();
    assert_eq!(
        page["servers"][0]["_meta"]["io.modelcontextprotocol.registry/official"]["status"],
        "deleted"
    );
}

#[tokio::test]
async fn a_wait_loses_nothing_between_two_calls() {
    let hub = TestHub::start().await;
    let wait = |cursor: Value, ms: u64| json!({"type": "a.b", "cursor": cursor, "timeoutMs": ms});
    let now = json!({"type": "a.b", "timeoutMs": 0});
    let first = call(&hub, "wait_for_events", now).await;
    assert_eq!(first["timedOut"], true);
    for n in 0..30 {
        hub.client.emit("a.b", json!({"n": n})).await;
        hub.client.emit("other.type", json!({})).await;
    }
    let mut cursor = first["cursor"].clone();
    let mut seen = Vec::new();
    loop {
        let answer = call(&hub, "wait_for_events", wait(cursor, 0)).await;
        for event in answer["events"].as_array().unwrap() {
            seen.push(event["data"]["n"].as_u64().unwrap());
        }
        cursor = answer["cursor"].clone();
        if answer["timedOut"] == true {
            break;
        }
    }
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    // What comes while it waits ends the wait.
    let client = hub.client.clone();
    let body = modern(
        "tools/call",
        json!({"name": "wait_for_events", "arguments": wait(cursor.clone(), 50_000)}),
    );
    let headers: Vec<(String, String)> = headers_of(&body);
    let waiting = tokio::spawn(async move {
        let mut headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        headers.extend([BOTH, JSON]);
        client
            .send(Method::POST, "/mcp", &headers, body.to_string())
            .await
    });
    until_streams(&hub.client, 1).await;
    hub.client.emit("other.type", json!({})).await;
    let id = hub.client.emit("a.b", json!({"n": 30})).await;
    let reply = waiting.await.unwrap();
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let content = last_message(&reply)["result"]["structuredContent"].clone();
    assert_eq!(content["events"][0]["data"]["n"], 30);
    assert_eq!(content["cursor"], id.as_str());
    // Without a stream the answer is held.
    let held = modern(
        "tools/call",
        json!({"name": "wait_for_events", "arguments": wait(cursor, 50_000)}),
    );
    let reply = send(&hub, &held, &[("accept", "application/json")]).await;
    assert_eq!(
        last_message(&reply)["result"]["structuredContent"]["events"][0]["id"],
        id.as_str()
    );
}

#[tokio::test]
async fn a_gap_is_said_in_the_answer() {
    let hub = TestHub::start().await;
    let id = hub.client.emit("a.b", json!({})).await;
    let wait = json!({"cursor": "zzzzzzzzzzzz-7", "type": "a.b"});
    let answer = call(&hub, "wait_for_events", wait).await;
    assert_eq!(answer["gap"]["reason"], "unknown_log");
    assert_eq!(answer["events"][0]["id"], id.as_str());
    let answer = call(&hub, "wait_for_events", json!({"cursor": "no id at all"})).await;
    assert_eq!(answer["gap"]["reason"], "malformed");
}

#[tokio::test]
async fn numbers_keep_every_digit_and_large_data_is_left_out_by_name() {
    let hub = TestHub::start().await;
    let exact = "123456789012345678901234567890.10";
    let body = format!(
        r#"[{{"type":"a.b","data":{{"n":{exact}}}}},{{"type":"a.b","data":"{}"}}]"#,
        "x".repeat(100_000)
    );
    hub.client
        .send(Method::POST, "/events", &[JSON], body)
        .await;
    let body = modern(
        "tools/call",
        json!({"name": "search_events", "arguments": {"type": "a.b"}}),
    );
    let reply = send(&hub, &body, &[]).await;
    assert!(reply.text.contains(exact), "{}", reply.text);
    assert!(reply.text.len() < 20_000);
    let content = &reply.json()["result"]["structuredContent"];
    assert_eq!(content["events"][0]["dataLeftOut"], true);
    assert_eq!(content["dataLeftOut"], 1);
}

#[tokio::test]
async fn resources_show_the_state() {
    let hub = TestHub::start().await;
    fleet(&hub).await;
    hub.client
        .post(
            "/workflows",
            &json!({"id": "w", "name": "W", "steps": ["s"]}),
        )
        .await;
    let list = result(&hub, "resources/list", json!({})).await;
    let uris: Vec<&str> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["uri"].as_str().unwrap())
        .collect();
    assert_eq!(
        uris,
        [
            "timeback://status",
            "timeback://servers/a",
            "timeback://servers/b",
            "timeback://servers/c",
            "timeback://workflows/w"
        ]
    );
    for uri in uris {
        let read = result(&hub, "resources/read", json!({"uri": uri})).await;
        let content = &read["contents"][0];
        assert_eq!(
            (&content["uri"], &content["mimeType"]),
            (&json!(uri), &json!("application/json"))
        );
        let value: Value = serde_json::from_str(content["text"].as_str().unwrap()).unwrap();
        assert!(value.is_object());
        assert_eq!(read["ttlMs"], 0);
    }
    for uri in ["timeback://servers/nobody", "test://else"] {
        let reply = send(&hub, &modern("resources/read", json!({"uri": uri})), &[])
            .await
            .json();
        assert_eq!(reply["error"]["code"], -32602);
        assert_eq!(reply["error"]["data"]["uri"], uri);
    }
    for n in 0..150 {
        hub.client.register(&format!("s{n:03}")).await;
    }
    let (mut cursor, mut count) = (Value::Null, 0);
    loop {
        let page = result(&hub, "resources/list", json!({"cursor": cursor})).await;
        count += page["resources"].as_array().unwrap().len();
        cursor = page["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(count, 155);
    let prompts = result(&hub, "prompts/list", json!({})).await;
    assert_eq!(prompts["prompts"][0]["name"], "what_is_wrong");
    let got = result(&hub, "prompts/get", json!({"name": "what_is_wrong"})).await;
    let text = got["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.contains("c is ill"), "{text}");
}

#[tokio::test]
async fn a_subscription_tells_of_what_changed() {
    let hub = TestHub::start().await;
    fleet(&hub).await;
    let body = modern(
        "subscriptions/listen",
        json!({"notifications": {
        "toolsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": ["timeback://servers/a", "test://x"]}}),
    );
    let own = headers_of(&body);
    let mut headers: Vec<(&str, &str)> =
        own.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    headers.extend([BOTH, JSON]);
    let mut stream = EventStream::post(hub.address, "/mcp", &headers, &body.to_string()).await;
    let told = stream.next().await.json();
    assert_eq!(told["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(
        told["params"]["notifications"],
        json!({"resourcesListChanged": true, "resourceSubscriptions": ["timeback://servers/a"]})
    );
    let id = &told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!(id, 7);
    hub.client
        .post("/servers/b/heartbeat", &json!({"health": "unhealthy"}))
        .await;
    hub.client
        .post("/servers/a/heartbeat", &json!({"health": "degraded"}))
        .await;
    let told = stream.next().await.json();
    assert_eq!(told["method"], "notifications/resources/updated");
    assert_eq!(told["params"]["uri"], "timeback://servers/a");
    assert_eq!(
        told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        7
    );
    hub.client.register("d").await;
    assert_eq!(
        stream.next().await.json()["method"],
        "notifications/resources/list_changed"
    );
    hub.drain();
    let end = stream.next().await.json();
    assert_eq!(
        (&end["id"], &end["result"]["resultType"]),
        (&json!(7), &json!("complete"))
    );
}

#[tokio::test]
async fn a_sessions_stream_resumes_by_the_logs_id() {
    let hub = TestHub::start().await;
    fleet(&hub).await;
    let (session, _) = initialize(&hub, "2025-11-25").await;
    let own = [("mcp-session-id", session.as_str())];
    let subscribe = |uri: &str| json!({"jsonrpc": "2.0", "id": 3, "method": "resources/subscribe", "params": {"uri": uri}});
    assert_eq!(
        post(&hub, &subscribe("timeback://servers/a"), &own)
            .await
            .json()["result"],
        json!({})
    );
    assert_eq!(
        post(&hub, &subscribe("test://x"), &own).await.json()["error"]["code"],
        -32002
    );
    let alone = post(&hub, &subscribe("timeback://servers/a"), &[])
        .await
        .json();
    assert_eq!(alone["error"]["code"], -32602);
    let before = hub.client.get("/status").await.json()["lastEventId"]
        .as_str()
        .unwrap()
        .to_owned();
    let headers = [("mcp-session-id", session.as_str())];
    let mut stream = EventStream::open(hub.address, "/mcp", &headers).await;
    hub.client
        .post("/servers/a/heartbeat", &json!({"health": "degraded"}))
        .await;
    let frame = stream.next().await;
    assert_eq!(frame.json()["params"]["uri"], "timeback://servers/a");
    drop(stream);
    hub.client
        .post("/servers/a/heartbeat", &json!({"health": "unhealthy"}))
        .await;
    let place = frame.id.unwrap();
    let resumed = [&headers[..], &[("last-event-id", place.as_str())]].concat();
    let mut stream = EventStream::open(hub.address, "/mcp", &resumed).await;
    let next = stream.next().await;
    assert_eq!(next.json()["params"]["uri"], "timeback://servers/a");
    assert_ne!(next.id.as_deref(), Some(place.as_str()));
    let again = [&headers[..], &[("last-event-id", before.as_str())]].concat();
    let mut stream = EventStream::open(hub.address, "/mcp", &again).await;
    assert_eq!(
        stream.next().await.json()["params"]["uri"],
        "timeback://servers/a"
    );
    let gone = hub.client.send(Method::DELETE, "/mcp", &own, "").await;
    assert_eq!(gone.status, 204);
    while stream.next_or_end().await.is_some() {}
}

#[tokio::test]
async fn thousands_of_sessions_leave_the_newest() {
    let hub = TestHub::start().await;
    let (first, _) = initialize(&hub, "2025-11-25").await;
    for _ in 0..1100 {
        initialize(&hub, "2025-11-25").await;
    }
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    assert_eq!(
        post(&hub, &ping, &[("mcp-session-id", &first)])
            .await
            .status,
        404
    );
}
