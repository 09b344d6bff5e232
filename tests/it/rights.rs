//! Section 5 of `docs/security.md`, put to the test: whatever a narrowed token asks, it learns nothing that it may not
//! see. The questions are made from `/openapi.json`: a route that is in it and not in [`asks`] fails the test.

use std::{
    collections::BTreeSet,
    hash::{Hash as _, Hasher as _},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use timeback_events::door::{
    Restrictions,
    keys::{KeyFile, NewKey},
};

use crate::support::{EventStream, TestHub};

/// What everything is called that somebody may not be allowed to see.
const MARK: &str = "canary-";

/// A kind of token.
#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    scopes: &'static [&'static str],
    server: Option<&'static str>,
    workflow: Option<&'static str>,
    types: Option<&'static str>,
    tag: Option<&'static str>,
}

const ADMIN: Kind = Kind {
    scopes: &["admin"],
    server: None,
    workflow: None,
    types: None,
    tag: None,
};

/// Every scope, and every restriction that goes with it.
fn kinds() -> Vec<Kind> {
    let kind = |scopes| Kind { scopes, ..ADMIN };
    let (read, report): (&[&str], &[&str]) = (&["read"], &["report"]);
    let mut kinds = vec![kind(report), kind(&["coordinate"])];
    for scopes in [
        read,
        report,
        &["read", "report"],
        &["coordinate", "report"],
        &["admin"],
    ] {
        let server = Some("a");
        kinds.push(Kind {
            server,
            ..kind(scopes)
        });
        kinds.push(Kind {
            server,
            workflow: Some("w"),
            ..kind(scopes)
        });
    }
    for scopes in [read, &["coordinate"], &["read", "coordinate"], &["admin"]] {
        kinds.push(Kind {
            workflow: Some("w"),
            ..kind(scopes)
        });
    }
    for types in [
        "server_connected",
        "server_health_changed",
        "server_*",
        "workflow_started",
        "workflow_completed",
        "workflow_step_*",
        "workflow_*",
        "pattern_enabled",
        "pattern_*",
        "integration_status_changed",
        "grades.synced",
    ] {
        kinds.push(Kind {
            types: Some(types),
            ..kind(read)
        });
    }
    for scopes in [read, &["read", "report", "coordinate"], &["admin"]] {
        let tag = Some("site:north");
        kinds.push(Kind {
            tag,
            ..kind(scopes)
        });
    }
    kinds
}

impl Kind {
    fn key(self, file: &std::path::Path, name: &str) -> String {
        let one = |text: Option<&str>| text.map(|text| vec![text.to_owned()]);
        let key = NewKey {
            name: name.to_owned(),
            scopes: self
                .scopes
                .iter()
                .map(|scope| (*scope).to_owned())
                .collect(),
            restrictions: Restrictions {
                server_ids: self.server.map(|id| vec![id.parse().unwrap()]),
                workflow_ids: self.workflow.map(|id| vec![id.parse().unwrap()]),
                types: one(self.types),
                tags: one(self.tag),
            },
            expires_at: None,
        };
        format!("Bearer {}", KeyFile::add(file, key, 0).unwrap())
    }

    fn has(self, scope: &str) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&"admin")
    }

    /// Whether a type, or with `_*` all types that begin so, may be read.
    fn reads(self, kind: &str) -> bool {
        self.has("read")
            && self
                .types
                .is_none_or(|types| match types.strip_suffix('*') {
                    Some(prefix) => kind.starts_with(prefix),
                    None => kind == types,
                })
    }

    fn is_of(self, server: Option<&str>, workflow: Option<&str>) -> bool {
        (self.server.is_none() || self.server == server)
            && (self.workflow.is_none() || self.workflow == workflow)
            // Only server a is in the north.
            && (self.tag.is_none() || server == Some("a"))
    }

    /// Whether it may see an event.
    fn sees_event(self, event: &Value) -> bool {
        let server = event["serverId"].as_str();
        let workflow = event["data"]["workflowId"].as_str();
        self.reads(event["type"].as_str().unwrap()) && self.is_of(server, workflow)
    }
}

/// All canaries in a text.
fn canaries(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    text.match_indices(MARK)
        .map(|(at, _)| {
            let rest = &text[at..];
            rest.split(|c| !is_part(c)).next().unwrap().to_owned()
        })
        .collect()
}

/// A hub full of things that are called canaries, and its keys.
struct World {
    hub: TestHub,
    admin: String,
    token: String,
    /// Ids of all events that there were at the beginning.
    events: Vec<Value>,
    /// What the token was told and shouldn't have been.
    leaks: Mutex<Vec<String>>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn of(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        let (admin, token) = (ADMIN.key(&file, "admin"), kind.key(&file, "narrow"));
        let hub = TestHub::start_with(|config| {
            config.auth.api_keys = Some(file.clone());
            config.data_dir = None;
            config.stream.keepalive = std::time::Duration::from_millis(30);
        })
        .await;
        let mut world = Self {
            hub,
            admin,
            token,
            events: Vec::new(),
            leaks: Mutex::default(),
            _folder: folder,
        };
        world.fill().await;
        let history = world
            .by_admin("GET", "/events/history?limit=1000", None)
            .await;
        world.events = history["events"].as_array().unwrap().clone();
        world
    }

    async fn fill(&self) {
        let calls = [
            (
                "POST",
                "/servers",
                json!({"id": "a", "name": "own", "transport": "http", "tags": {"site": "north"},
                "heartbeatIntervalMs": 300_000}),
            ),
            (
                "POST",
                "/servers",
                json!({"id": "canary-server", "name": "canary-name", "transport": "http",
                "url": "http://canary-url/", "version": "canary-version", "tags": {"site": "canary-tag"},
                "capabilities": {"tools": ["canary-tool"]}, "metadata": {"k": "canary-metadata"},
                "instanceId": "canary-instance", "heartbeatIntervalMs": 300_000}),
            ),
            (
                "POST",
                "/servers/canary-server/heartbeat",
                json!({"health": "degraded", "detail": "canary-detail",
                "metrics": {"canary-metric": 1}, "instanceId": "canary-instance"}),
            ),
            (
                "POST",
                "/servers",
                json!({"id": "canary-gone", "name": "canary-name-gone", "transport": "http"}),
            ),
            (
                "DELETE",
                "/servers/canary-gone?reason=canary-reason",
                Value::Null,
            ),
            (
                "POST",
                "/workflows",
                json!({"id": "w", "name": "own", "steps": ["one", "two"]}),
            ),
            (
                "POST",
                "/workflows",
                json!({"id": "canary-workflow", "name": "canary-flow", "description": "canary-about",
                "extra": "canary-extra", "steps": [
                    {"id": "canary-step", "name": "canary-step-name", "tool": "canary-step-tool",
                     "params": {"p": "canary-params"}},
                    {"id": "canary-theirs", "server": "canary-server", "params": {"p": "canary-their-params"}},
                    {"id": "open", "dependsOn": ["canary-step"], "params": {"p": "canary-open-params"}},
                    {"id": "canary-lost", "required": false},
                    {"id": "canary-waits", "dependsOn": ["open"], "params": {"p": "canary-later"}}]}),
            ),
            (
                "POST",
                "/workflows/canary-workflow/steps/canary-step",
                json!({"status": "completed",
                "serverId": "canary-server", "result": {"grade": "canary-result"}}),
            ),
            (
                "POST",
                "/workflows/canary-workflow/steps/canary-lost",
                json!({"status": "failed", "error": "canary-error"}),
            ),
            (
                "POST",
                "/workflows/canary-workflow/steps/canary-theirs",
                json!({"status": "running",
                "serverId": "canary-server"}),
            ),
            (
                "POST",
                "/workflows",
                json!({"id": "canary-done", "name": "canary-flow-done", "steps": ["canary-last"]}),
            ),
            (
                "POST",
                "/workflows/canary-done/steps/canary-last",
                json!({"status": "completed", "result": "canary-end"}),
            ),
            (
                "POST",
                "/workflows",
                json!({"id": "canary-failed", "name": "canary-flow-failed", "steps": ["s"]}),
            ),
            (
                "POST",
                "/workflows/canary-failed/fail",
                json!({"error": "canary-why"}),
            ),
            (
                "PUT",
                "/patterns/canary-pattern",
                json!({"enabled": true, "description": "canary-mine"}),
            ),
            (
                "PUT",
                "/patterns/server_chaining",
                json!({"enabled": true, "description": "canary-theirs"}),
            ),
            (
                "POST",
                "/events",
                json!([
                {"type": "grades.synced", "serverId": "canary-server", "data": {"v": "canary-data"}},
                {"type": "grades.synced", "data": {"v": "canary-free", "workflowId": "canary-workflow"}},
                {"type": "custom_other", "serverId": "a", "data": {"v": "canary-own-data", "workflowId": "w"}}]),
            ),
        ];
        for (method, path, body) in calls {
            let body = Some(body).filter(|body| !body.is_null());
            self.by_admin(method, path, body).await;
        }
    }

    async fn by_admin(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let reply = self
            .send(&self.admin, method, path, body.as_ref(), &[])
            .await;
        assert!(reply.0 < 300, "{method} {path}: {reply:?}");
        serde_json::from_str(&reply.1).unwrap_or_default()
    }

    /// Status, and all that the answer tells, headers included.
    async fn send(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
        more: &[(&str, &str)],
    ) -> (u16, String, String) {
        let mut headers = vec![("authorization", token)];
        headers.extend(more);
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let reply = self.hub.client.send(method, path, &headers, body).await;
        (
            reply.status.as_u16(),
            reply.text,
            format!("{:?}", reply.headers),
        )
    }

    /// A stream up to its first bookmark.
    async fn read_stream(&self, path: &str) -> (u16, String, String) {
        let headers = [("authorization", self.token.as_str())];
        let mut stream = EventStream::open(self.hub.address, path, &headers).await;
        let mut text = String::new();
        while stream.status == 200 {
            let frame = stream.next().await;
            text += &format!("{frame:?}\n");
            if frame.is("bookmark") {
                break;
            }
        }
        (stream.status, text, stream.head.clone())
    }

    /// What a token of this kind may see, by rules of the test's own.
    async fn allowed(&self, kind: Kind) -> BTreeSet<String> {
        let mut allowed = BTreeSet::new();
        let mut allow = |what: &Value| allowed.extend(canaries(&what.to_string()));
        self.events
            .iter()
            .filter(|event| kind.sees_event(event))
            .for_each(&mut allow);
        let all = |prefix: &str| kind.types.is_none() || kind.types == Some(prefix);
        let list = async |path: &str, name: &str| {
            let list = self.by_admin("GET", path, None).await;
            list[name].as_array().unwrap().clone()
        };
        for server in list("/servers", "servers").await {
            let id = server["id"].as_str();
            if kind.has("read")
                && all("server_*")
                && kind.workflow.is_none()
                && kind.is_of(id, None)
            {
                allow(&server);
            }
        }
        for pattern in list("/patterns", "patterns").await {
            let narrowed = kind.server.or(kind.workflow).or(kind.tag).is_some();
            if kind.has("read") && all("pattern_*") && !narrowed {
                allow(&pattern);
            }
        }
        for workflow in list("/workflows", "workflows").await {
            let id = workflow["id"].as_str();
            let whole = self
                .by_admin("GET", &format!("/workflows/{}", id.unwrap()), None)
                .await;
            let held = kind.workflow.is_none() || kind.workflow == id;
            let narrowed = kind.server.or(kind.tag).is_some();
            if kind.has("read") && all("workflow_*") && held && !narrowed {
                allow(&whole);
            }
            let without = |mut thing: Value, names: &[&str]| {
                thing
                    .as_object_mut()
                    .unwrap()
                    .retain(|name, _| !names.contains(&name.as_str()));
                thing
            };
            for step in whole["steps"].as_array().unwrap() {
                // The work of a server: its own, or what it may claim now or once other steps have ended.
                let own = |who: &Value| {
                    let who = who.as_str();
                    who.is_some_and(|who| kind.server.is_none_or(|own| own == who))
                };
                let waits = ["ready", "pending"].contains(&step["status"].as_str().unwrap());
                let work = (waits && step["server"].is_null())
                    || own(&step["server"])
                    || own(&step["serverId"]);
                if kind.has("report") && held && work {
                    allow(&without(step.clone(), &["result", "error"]));
                }
                if kind.has("coordinate") && held {
                    allow(&without(step.clone(), &["result", "error", "params"]));
                }
            }
            if kind.has("coordinate") && held {
                allow(&without(whole, &["definition", "error", "steps"]));
            }
        }
        allowed
    }
}

/// What is asked of each route: queries, and bodies where there is one.
fn asks(operation: &str) -> Option<(&'static [&'static str], Vec<Value>)> {
    let none: &[&str] = &[""];
    let selections: &[&str] = &[
        "",
        "?limit=1",
        "?serverId=canary-server",
        "?workflowId=canary-workflow",
        "?tag=site:canary-tag",
        "?type=server_*",
        "?order=desc&limit=1",
    ];
    let claim = |server: Value| json!({"status": "running", "serverId": server});
    Some(match operation {
        "GET /healthz"
        | "GET /readyz"
        | "GET /events/health"
        | "GET /openapi.json"
        | "GET /metrics"
        | "GET /status"
        | "GET /events/stats"
        | "GET /patterns"
        | "GET /patterns/{name}"
        | "GET /servers/{id}"
        | "GET /workflows/{id}"
        | "GET /events/{id}" => (none, Vec::new()),
        "GET /events" => (
            &[
                "?replay=1000",
                "?snapshot=true",
                "?snapshot=true&tag=site:canary-tag",
                "?lastEventId=earliest",
                "?replay=1000&format=cloudevents",
                "?replay=9&workflowId=canary-workflow",
            ],
            Vec::new(),
        ),
        "GET /events/history" => (selections, Vec::new()),
        "GET /servers/{id}/history" => (&["", "?since=7d"], Vec::new()),
        "GET /uptime" => (
            &[
                "",
                "?since=7d",
                "?tag=site:canary-tag",
                "?serverId=canary-server,a",
            ],
            Vec::new(),
        ),
        "GET /stats/events" => (
            &[
                "",
                "?by=serverId",
                "?by=serverId&tag=site:canary-tag",
                "?workflowId=canary-workflow",
                "?type=server_*&step=1m",
            ],
            Vec::new(),
        ),
        "GET /snapshot" => (
            &[
                "",
                "?serverId=canary-server",
                "?workflowId=canary-workflow",
                "?tag=site:canary-tag",
            ],
            Vec::new(),
        ),
        "GET /servers" => (
            &[
                "",
                "?limit=1",
                "?tag=site:canary-tag&limit=1",
                "?health=degraded",
                "?status=disconnected",
            ],
            Vec::new(),
        ),
        "GET /workflows" => (
            &["", "?limit=1", "?status=failed", "?status=running&limit=1"],
            Vec::new(),
        ),
        "GET /steps" => (
            &[
                "",
                "?limit=1",
                "?status=ready&limit=1",
                "?serverId=a",
                "?serverId=a&status=ready&wait=10ms",
                "?serverId=canary-server",
                "?serverId=canary-server&status=completed",
                "?workflowId=canary-workflow",
                "?serverId=a&workflowId=canary-workflow&limit=1",
            ],
            Vec::new(),
        ),
        // A session's stream is for those who have one: `tests/it/mcp.rs`.
        "GET /mcp" | "DELETE /mcp" => (none, Vec::new()),
        "POST /mcp" => (none, mcp_asks()),
        "GET /v0.1/servers" => (
            &["", "?limit=1", "?search=canary", "?include_deleted=true"],
            Vec::new(),
        ),
        "GET /v0.1/servers/{name}/versions/latest" => (none, Vec::new()),
        "POST /session" | "DELETE /session" => (none, Vec::new()),
        "POST /servers" => (
            none,
            vec![
                json!({"id": "a", "name": "own", "transport": "http"}),
                json!({"id": "canary-server", "name": "mine", "transport": "http"}),
                json!({"id": "canary-server", "name": "mine", "transport": "http", "instanceId": "other"}),
            ],
        ),
        "DELETE /servers/{id}" => (&["?instanceId=other", ""], Vec::new()),
        "POST /servers/{id}/probe" => (none, vec![Value::Null]),
        "POST /servers/{id}/heartbeat" => (
            none,
            vec![
                json!({}),
                json!({"instanceId": "other"}),
                json!({"health": 7}),
            ],
        ),
        "POST /heartbeats" => (
            none,
            vec![json!([{"id": "a"}, {"id": "canary-server", "instanceId": "x"}])],
        ),
        "POST /events" | "POST /events/broadcast" => {
            let event = |kind: &str, server: &str, data: Value| json!({"type": kind, "serverId": server, "data": data});
            let step = |step: &str, workflow: &str| json!({"workflowId": workflow, "stepId": step});
            let flow = "canary-workflow";
            (
                none,
                vec![
                    event("grades.synced", "a", json!({})),
                    event("grades.synced", "a", json!({"workflowId": flow})),
                    event(
                        "workflow_started",
                        "canary-server",
                        json!({"workflowId": flow, "name": "x"}),
                    ),
                    event("workflow_step_started", "a", step("canary-step", flow)),
                    event("workflow_step_started", "a", step("canary-theirs", flow)),
                    json!([event(
                        "workflow_step_completed",
                        "a",
                        step("canary-step", flow)
                    )]),
                    json!([event(
                        "workflow_step_completed",
                        "canary-server",
                        step("canary-step", flow)
                    )]),
                    event(
                        "server_health_changed",
                        "canary-server",
                        json!({"health": "healthy"}),
                    ),
                    event("server_disconnected", "canary-gone", json!({})),
                    json!({"type": "workflow_completed", "data": {"workflowId": "canary-failed"}}),
                    json!({"type": "pattern_disabled", "data": {"pattern": "canary-pattern"}}),
                ],
            )
        }
        "POST /workflows" => (
            none,
            vec![
                json!({"id": "w", "name": "own", "steps": ["one", "two"]}),
                json!({"id": "canary-workflow", "name": "x", "steps": ["s"]}),
                json!({"id": "canary-done", "name": "canary-flow-done", "steps": ["canary-last"]}),
            ],
        ),
        "POST /workflows/{id}/steps/{step}" => (
            none,
            vec![
                claim(json!("a")),
                claim(json!("canary-server")),
                claim(Value::Null),
                json!({"status": "completed", "serverId": "a", "result": 7}),
                json!({"status": "completed", "serverId": "canary-server", "result": 7}),
                json!({"status": "failed", "serverId": "canary-server", "attempt": 1}),
                json!({"status": "failed", "serverId": "a", "attempt": 9, "error": "mine"}),
            ],
        ),
        "POST /workflows/{id}/complete" => (none, vec![json!({}), json!({"results": 1})]),
        "POST /workflows/{id}/fail" => (none, vec![json!({"error": "mine"})]),
        "POST /workflows/{id}/cancel" => (none, vec![json!({}), json!({"reason": "mine"})]),
        "PUT /patterns/{name}" => (none, vec![json!({"enabled": true})]),
        _ => return None,
    })
}

/// What is asked of the hub as an MCP server: every tool, resource and prompt.
fn mcp_asks() -> Vec<Value> {
    let (server, flow) = ("canary-server", "canary-workflow");
    let steps = json!([{"id": "canary-last"}]);
    let tools = [
        ("fleet_status", json!({})),
        ("list_servers", json!({})),
        ("list_servers", json!({"text": "canary", "limit": 1})),
        ("list_servers", json!({"tag": "site:canary-tag"})),
        ("list_servers", json!({"health": "degraded"})),
        ("get_server", json!({"serverId": server})),
        ("get_server", json!({"serverId": "a"})),
        ("find_tool", json!({"name": "tool"})),
        ("list_workflows", json!({})),
        ("list_workflows", json!({"status": "failed", "limit": 1})),
        ("get_workflow", json!({"workflowId": flow})),
        ("search_events", json!({"limit": 100})),
        ("search_events", json!({"workflowId": flow})),
        ("search_events", json!({"tag": "site:canary-tag"})),
        (
            "wait_for_events",
            json!({"cursor": "earliest", "limit": 100, "timeoutMs": 0}),
        ),
        (
            "wait_for_events",
            json!({"cursor": "nowhere", "serverId": server, "timeoutMs": 0}),
        ),
        ("claim_step", json!({"serverId": "a"})),
        (
            "claim_step",
            json!({"workflowId": flow, "serverId": server}),
        ),
        (
            "claim_step",
            json!({"workflowId": flow, "stepId": "canary-theirs", "serverId": "a"}),
        ),
        (
            "report_step",
            json!({"workflowId": flow, "stepId": "canary-step", "serverId": "a", "status": "completed"}),
        ),
        (
            "start_workflow",
            json!({"id": flow, "name": "x", "steps": ["s"]}),
        ),
        (
            "start_workflow",
            json!({"id": "canary-done", "name": "canary-flow-done", "steps": steps}),
        ),
        (
            "publish_event",
            json!({"type": "grades.synced", "serverId": "a"}),
        ),
        (
            "publish_event",
            json!({"type": "workflow_completed", "data": {"workflowId": "canary-failed"}}),
        ),
    ];
    let call = |method: &str, params: Value| {
        let id = method.to_owned() + &params.to_string();
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    };
    let mut asks: Vec<Value> = tools
        .into_iter()
        .map(|(name, arguments)| call("tools/call", json!({"name": name, "arguments": arguments})))
        .collect();
    let uris = [
        "status",
        "servers/a",
        "servers/canary-server",
        "workflows/canary-workflow",
    ];
    asks.extend(uris.map(|uri| {
        call(
            "resources/read",
            json!({"uri": format!("timeback://{uri}")}),
        )
    }));
    asks.push(call("resources/list", json!({})));
    asks.push(call("tools/list", json!({})));
    asks.push(call("prompts/get", json!({"name": "what_is_wrong"})));
    let of = json!({"name": "what_is_wrong", "arguments": {"serverId": server}});
    asks.push(call("prompts/get", of));
    asks
}

/// Paths that a route stands for.
fn paths(route: &str, events: &[Value]) -> Vec<String> {
    let ids: Vec<&str> = match route {
        "/events/{id}" => events
            .iter()
            .map(|event| event["id"].as_str().unwrap())
            .collect(),
        _ if route.starts_with("/servers/{id}") => vec!["a", "canary-server", "canary-gone"],
        _ if route.starts_with("/workflows/{id}") => {
            vec!["w", "canary-workflow", "canary-done", "canary-failed"]
        }
        "/patterns/{name}" => vec!["server_chaining", "canary-pattern"],
        _ if route.starts_with("/v0.1/servers/{name}") => {
            vec!["timeback-events%2Fa", "timeback-events%2Fcanary-server"]
        }
        _ => return vec![route.to_owned()],
    };
    let steps = [
        "one",
        "open",
        "canary-step",
        "canary-theirs",
        "canary-lost",
        "canary-waits",
    ];
    ids.iter()
        .map(|id| route.replace("{id}", id).replace("{name}", id))
        .flat_map(|path| {
            let last = if path.contains("{step}") {
                &steps[..]
            } else {
                &[""]
            };
            last.iter().map(move |step| path.replace("{step}", step))
        })
        .collect()
}

/// Reading first, so that what is read is what there was.
async fn operations(world: &World) -> Vec<(String, String)> {
    let document = world.by_admin("GET", "/openapi.json", None).await;
    let mut operations: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            if ["GET", "POST", "PUT", "DELETE", "PATCH"].contains(&method.as_str()) {
                operations.push((method, path.clone()));
            }
        }
    }
    operations.sort_by_key(|(method, path)| (method != "GET", method == "DELETE", path.clone()));
    operations
}

#[tokio::test]
async fn no_route_shows_a_narrowed_token_what_it_may_not_see() {
    let (mut answered, mut leaks) = (BTreeSet::new(), Vec::new());
    for kind in kinds() {
        let world = World::of(kind).await;
        let allowed = world.allowed(kind).await;
        for (method, route) in operations(&world).await {
            let operation = format!("{method} {route}");
            let (queries, bodies) = asks(&operation).unwrap_or_else(|| {
                panic!("{operation} is new: say in asks() what a narrowed token may try there")
            });
            let bodies: Vec<Option<Value>> = if bodies.is_empty() {
                vec![None]
            } else {
                bodies.into_iter().map(Some).collect()
            };
            for path in paths(&route, &world.events) {
                for query in queries {
                    for body in &bodies {
                        let asked = format!("{path}{query}");
                        let status =
                            ask(&world, &allowed, kind, &method, &asked, body.as_ref()).await;
                        if status < 300 || [404, 409].contains(&status) {
                            answered.insert(operation.clone());
                        }
                    }
                }
            }
        }
        leaks.append(&mut world.leaks.lock());
        world.hub.stop().await;
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    // A question that is refused to everybody proves nothing.
    let world = World::of(ADMIN).await;
    for (method, route) in operations(&world).await {
        let operation = format!("{method} {route}");
        let whole_hub = [
            "GET /metrics",
            "PUT /patterns/{name}",
            "GET /mcp",
            "DELETE /mcp",
        ]
        .contains(&operation.as_str());
        assert!(
            whole_hub || answered.contains(&operation),
            "{operation} was answered to nobody"
        );
    }
}

/// Asks in every way that there is, follows cursors, and looks through the answers.
async fn ask(
    world: &World,
    allowed: &BTreeSet<String>,
    kind: Kind,
    method: &str,
    asked: &str,
    body: Option<&Value>,
) -> u16 {
    let request = format!("{asked} {}", body.unwrap_or(&Value::Null));
    let mut known = canaries(&request);
    known.extend(allowed.iter().cloned());
    let check = |(status, text, headers): &(u16, String, String)| {
        let mut told = format!("{text} {headers}");
        let cursor = serde_json::from_str::<Value>(text).ok();
        let cursor = cursor.and_then(|answer| answer["nextCursor"].as_str().map(str::to_owned));
        if let Some(bytes) = cursor
            .as_ref()
            .and_then(|it| URL_SAFE_NO_PAD.decode(it).ok())
        {
            told += &String::from_utf8_lossy(&bytes);
        }
        let leaked: Vec<_> = canaries(&told).difference(&known).cloned().collect();
        if !leaked.is_empty() {
            let what =
                format!("{kind:?} learns {leaked:?} from {method} {request}: {status} {text}");
            world.leaks.lock().push(what);
        }
        cursor
    };
    if method == "GET" && (asked == "/events" || asked.starts_with("/events?")) {
        let read = world.read_stream(asked).await;
        check(&read);
        return read.0;
    }
    // A repeat is answered from what is remembered.
    let mut hasher = std::hash::DefaultHasher::new();
    request.hash(&mut hasher);
    let key = hasher.finish().to_string();
    let more: &[(&str, &str)] = match method {
        "POST" => &[("idempotency-key", &key)],
        _ => &[],
    };
    let reply = world.send(&world.token, method, asked, body, more).await;
    let mut cursor = check(&reply);
    if method == "POST" {
        check(&world.send(&world.token, method, asked, body, more).await);
    }
    if asked.starts_with("/events/history") {
        let lines = [("accept", "application/x-ndjson")];
        check(&world.send(&world.token, method, asked, None, &lines).await);
    }
    while let Some(place) = cursor {
        let next = format!("{asked}&cursor={place}");
        let page = world.send(&world.token, method, &next, None, &[]).await;
        assert!(page.0 == 200, "{next}: {page:?}");
        cursor = check(&page);
    }
    reply.0
}

#[tokio::test]
async fn a_held_tokens_long_poll_waits_although_others_have_work() {
    let world = World::of(Kind {
        scopes: &["report"],
        server: Some("a"),
        workflow: Some("held"),
        ..ADMIN
    })
    .await;
    let steps = json!(["one", {"id": "two", "dependsOn": ["one"]}]);
    let start = |id: &str| Some(json!({"id": id, "name": "own", "steps": steps}));
    let report = |status: &str| Some(json!({"status": status, "serverId": "canary-server"}));
    world.by_admin("POST", "/workflows", start("held")).await;
    let one = "/workflows/held/steps/one";
    world.by_admin("POST", one, report("running")).await;
    let (client, token) = (world.hub.client.clone(), world.token.clone());
    let poll = tokio::spawn(async move {
        let headers = [("authorization", token.as_str())];
        let path = "/steps?serverId=a&status=ready&wait=60s";
        client.send(Method::GET, path, &headers, "").await
    });
    // Had it been answered for others' work, it would hold nothing.
    world.by_admin("POST", "/workflows", start("another")).await;
    world.by_admin("POST", one, report("completed")).await;
    let found = poll.await.unwrap().json();
    assert_eq!(found["steps"][0]["id"], "two", "{found}");
    assert_eq!(found["steps"].as_array().map(Vec::len), Some(1), "{found}");
}

#[tokio::test]
async fn every_event_of_a_request_says_by_whom() {
    let world = World::of(Kind {
        scopes: &["report", "coordinate"],
        ..ADMIN
    })
    .await;
    let before = world.events.len();
    assert!(
        world
            .events
            .iter()
            .all(|event| event["data"]["by"] == "admin")
    );
    for (method, path, body) in [
        (
            "POST",
            "/servers/canary-server/heartbeat",
            json!({"health": "unhealthy", "instanceId": "canary-instance"}),
        ),
        ("DELETE", "/servers/canary-server", Value::Null),
        (
            "POST",
            "/workflows",
            json!({"id": "mine", "name": "mine", "steps": ["s"]}),
        ),
        (
            "POST",
            "/workflows/mine/steps/s",
            json!({"status": "completed"}),
        ),
        (
            "POST",
            "/events",
            json!([{"type": "grades.synced"}, {"type": "grades.synced", "data": {"n": 1}}]),
        ),
    ] {
        let body = Some(body).filter(|body| !body.is_null());
        let reply = world
            .send(&world.token, method, path, body.as_ref(), &[])
            .await;
        assert!(reply.0 < 300, "{path}: {reply:?}");
    }
    let history = world
        .by_admin("GET", "/events/history?limit=1000", None)
        .await;
    let fresh = &history["events"].as_array().unwrap()[before..];
    let kinds: BTreeSet<&str> = fresh
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    for kind in [
        "server_disconnected",
        "workflow_step_failed",
        "integration_status_changed",
        "grades.synced",
    ] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    for event in fresh {
        assert_eq!(event["data"]["by"], "narrow", "{event}");
        assert!(!event.to_string().contains("tbk_"));
    }
}

#[tokio::test]
async fn two_hubs_on_one_host_do_not_sign_each_other_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut jar: Vec<(String, String)> = Vec::new();
    let mut hubs = Vec::new();
    for name in ["one", "two"] {
        let file = folder.path().join(name);
        let key = ADMIN.key(&file, name);
        let hub = TestHub::start_with(|config| config.auth.api_keys = Some(file)).await;
        let origin = format!("http://{}", hub.address);
        let headers = [("authorization", key.as_str()), ("origin", origin.as_str())];
        let begun = hub
            .client
            .send(Method::POST, "/session", &headers, "")
            .await;
        let set = begun.header("set-cookie").unwrap();
        let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
        jar.retain(|(known, _)| known != name);
        jar.push((name.to_owned(), value.to_owned()));
        hubs.push(hub);
    }
    let cookies = |jar: &[(String, String)]| {
        let pairs = jar.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    };
    for hub in &hubs {
        // One that is no good doesn't spoil the one that is.
        let name = &jar
            .iter()
            .find(|(name, _)| name.ends_with(&hub.address.port().to_string()))
            .unwrap()
            .0;
        for line in [
            cookies(&jar),
            format!("{name}=stale; {}", cookies(&jar)),
            format!("{}; {name}=", cookies(&jar)),
        ] {
            let headers = [("cookie", line.as_str())];
            let reply = hub.client.send(Method::GET, "/status", &headers, "").await;
            assert_eq!(reply.status, 200, "{line}: {}", reply.text);
        }
    }
}
