//! What tools take and answer, as JSON Schema 2020-12. An answer may hold more than its schema names.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a schema is written as one expression, of parts that are made for it"
)]

use serde_json::{Value, json};

/// An object of these properties, these required.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

/// What a call takes: nothing but this.
fn input(properties: Value, required: &[&str]) -> Value {
    let mut schema = object(properties, required);
    schema["additionalProperties"] = json!(false);
    schema
}

fn text(about: &str) -> Value {
    json!({"type": "string", "description": about})
}

/// One or more texts.
fn texts(about: &str) -> Value {
    json!({
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": about,
    })
}

fn number(about: &str, least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most, "description": about})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn time() -> Value {
    json!({"type": "integer", "description": "Epoch milliseconds"})
}

fn list(item: Value) -> Value {
    json!({"type": "array", "items": item})
}

fn health() -> Value {
    json!({"enum": ["healthy", "degraded", "unhealthy"]})
}

fn connected() -> Value {
    json!({"enum": ["connected", "disconnected"]})
}

fn cursor() -> Value {
    json!({"type": ["string", "null"], "description": "cursor of the next page; null on the last"})
}

pub(super) fn nothing() -> Value {
    input(json!({}), &[])
}

fn server() -> Value {
    object(
        json!({
            "id": {"type": "string"},
            "name": {"type": "string"},
            "status": connected(),
            "health": health(),
            "reason": {"type": "string"},
            "detail": text("The evidence, in words"),
            "transport": {"type": "string"},
            "url": {"type": "string"},
            "version": {"type": "string"},
            "lastSeenAt": time(),
            "tools": count(),
            "instances": count(),
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        }),
        &[
            "id",
            "name",
            "status",
            "health",
            "transport",
            "lastSeenAt",
            "tools",
            "instances",
        ],
    )
}

pub(super) fn fleet_status() -> Value {
    object(
        json!({
            "status": health(),
            "connectedServers": count(),
            "healthyServers": count(),
            "lostServers": count(),
            "totalTools": count(),
            "totalResources": count(),
            "activeWorkflows": count(),
            "completedWorkflows": count(),
            "failedWorkflows": count(),
            "selfSuspect": {"type": "object"},
            "lastEventId": text("cursor for wait_for_events: what happens after this status"),
            "worst": list(server()),
            "worstLeftOut": count(),
        }),
        &[
            "status",
            "connectedServers",
            "healthyServers",
            "lostServers",
            "activeWorkflows",
            "lastEventId",
            "worst",
            "worstLeftOut",
        ],
    )
}

pub(super) fn list_servers_input() -> Value {
    input(
        json!({
            "health": texts("healthy, degraded, unhealthy; one or more"),
            "status": texts("connected or disconnected"),
            "transport": texts("stdio, sse, http, websocket; one or more"),
            "tag": texts("key:value; several: all of them"),
            "text": text("Occurs in the id, name, URL, version, tags or the reason of its health"),
            "limit": number("Servers on a page; 50 by default", 1, 200),
            "cursor": text("nextCursor of the page before, with the same filters"),
        }),
        &[],
    )
}

pub(super) fn list_servers() -> Value {
    object(
        json!({
            "servers": list(server()),
            "total": count(),
            "leftOut": count(),
            "nextCursor": cursor(),
        }),
        &["servers", "total", "leftOut", "nextCursor"],
    )
}

pub(super) fn get_server_input() -> Value {
    input(json!({"serverId": text("The server's id")}), &["serverId"])
}

fn event() -> Value {
    object(
        json!({
            "id": {"type": "string"},
            "sequence": count(),
            "type": {"type": "string"},
            "timestamp": time(),
            "serverId": {"type": "string"},
            "data": {},
            "dataLeftOut": {"type": "boolean", "description": "The data is large: GET /events/{id} has it"},
            "bytes": count(),
        }),
        &["id", "sequence", "type", "timestamp"],
    )
}

pub(super) fn get_server() -> Value {
    object(
        json!({
            "server": object(
                json!({
                    "id": {"type": "string"},
                    "health": health(),
                    "status": connected(),
                    "instances": {"type": "array"},
                    "connection": {"type": "object"},
                    "truncated": list(json!({"type": "string"})),
                }),
                &["id", "health", "status"],
            ),
            "drift": {"type": "object", "description": "{tools, resources, prompts}, each {added, removed, changed}"},
            "recentEvents": list(event()),
            "moreEvents": {"type": "boolean"},
        }),
        &["server", "recentEvents", "moreEvents"],
    )
}

pub(super) fn find_tool_input() -> Value {
    input(
        json!({"name": text("The tool's name, or a word of its name or description")}),
        &["name"],
    )
}

pub(super) fn find_tool() -> Value {
    let offer = object(
        json!({
            "serverId": {"type": "string"},
            "tool": {"type": "string"},
            "description": {"type": "string"},
            "status": connected(),
            "health": health(),
            "reason": {"type": "string"},
            "url": {"type": "string"},
            "exact": {"type": "boolean"},
        }),
        &["serverId", "tool", "status", "health", "exact"],
    );
    object(
        json!({"offers": list(offer), "total": count(), "leftOut": count()}),
        &["offers", "total", "leftOut"],
    )
}

pub(super) fn list_workflows_input() -> Value {
    input(
        json!({
            "status": text("running, completed, failed (the cancelled ones included) or cancelled"),
            "limit": number("Workflows on a page; 50 by default", 1, 200),
            "cursor": text("nextCursor of the page before, with the same status"),
        }),
        &[],
    )
}

/// The properties of where a workflow's steps are.
fn progress() -> Value {
    let step = object(
        json!({
            "stepId": {"type": "string"},
            "server": text("The only server that may claim it"),
            "serverId": text("Who holds it or did it"),
            "attempt": count(),
            "error": {"type": "string"},
        }),
        &["stepId", "attempt"],
    );
    json!({
        "ready": list(step.clone()),
        "running": list(step.clone()),
        "failed": list(step),
        "pending": count(),
        "stepsLeftOut": count(),
    })
}

const PROGRESS: [&str; 5] = ["ready", "running", "failed", "pending", "stepsLeftOut"];

fn joined(mut one: Value, other: &Value) -> Value {
    if let (Some(one), Some(other)) = (one.as_object_mut(), other.as_object()) {
        one.extend(other.clone());
    }
    one
}

pub(super) fn list_workflows() -> Value {
    let own = json!({
        "id": {"type": "string"},
        "name": {"type": "string"},
        "status": {"enum": ["running", "completed", "failed", "cancelled"]},
        "reason": {"type": "string"},
        "error": {"type": "string"},
        "startedAt": time(),
        "endedAt": time(),
        "completedSteps": count(),
        "totalSteps": count(),
    });
    let required = [
        "id",
        "name",
        "status",
        "startedAt",
        "completedSteps",
        "totalSteps",
    ];
    let workflow = object(
        joined(own, &progress()),
        &[&required[..], &PROGRESS[..]].concat(),
    );
    object(
        json!({
            "workflows": list(workflow),
            "total": count(),
            "leftOut": count(),
            "nextCursor": cursor(),
        }),
        &["workflows", "total", "leftOut", "nextCursor"],
    )
}

pub(super) fn get_workflow_input() -> Value {
    input(
        json!({"workflowId": text("The workflow's id")}),
        &["workflowId"],
    )
}

pub(super) fn get_workflow() -> Value {
    let workflow = object(
        json!({
            "id": {"type": "string"},
            "status": {"type": "string"},
            "completedSteps": count(),
            "totalSteps": count(),
            "steps": {"type": "array"},
            "truncated": list(json!({"type": "string"})),
        }),
        &["id", "status"],
    );
    object(
        joined(json!({"workflow": workflow}), &progress()),
        &[&["workflow"][..], &PROGRESS[..]].concat(),
    )
}

/// The properties by which events are selected.
fn selection() -> Value {
    json!({
        "type": texts("Types; a trailing * is a prefix, such as workflow_*; one or more"),
        "serverId": texts("Events of these servers"),
        "workflowId": texts("Events of these workflows"),
        "tag": texts("key:value of the server concerned; several: all of them"),
    })
}

pub(super) fn search_events_input() -> Value {
    let own = json!({
        "since": text("From this time on: an age (15m, 2h, 7d), RFC 3339 or epoch milliseconds"),
        "until": text("Up to this time"),
        "order": {"enum": ["desc", "asc"], "description": "desc, the newest first, by default"},
        "limit": number("Events on a page; 20 by default", 1, 100),
        "cursor": text("nextCursor of the page before, with the same filters"),
    });
    input(joined(selection(), &own), &[])
}

pub(super) fn search_events() -> Value {
    object(
        json!({
            "events": list(event()),
            "nextCursor": cursor(),
            "truncated": {"type": "boolean", "description": "Events that belong in here are gone from the log"},
            "dataLeftOut": count(),
        }),
        &["events", "nextCursor", "truncated", "dataLeftOut"],
    )
}

pub(super) fn wait_for_events_input() -> Value {
    let own = json!({
        "cursor": text("Go on right after this: cursor of the last answer, or any event's id"),
        "since": text("Or begin at this time: an age (15m), RFC 3339 or epoch milliseconds"),
        "timeoutMs": number("How long to wait; 25000 by default", 0, 50_000),
        "limit": number("Events of one answer; 20 by default", 1, 100),
    });
    input(joined(selection(), &own), &[])
}

pub(super) fn wait_for_events() -> Value {
    object(
        json!({
            "events": list(event()),
            "cursor": text("Give it to the next call"),
            "timedOut": {"type": "boolean"},
            "gap": object(
                json!({"reason": {"enum": ["expired", "unknown_log", "malformed", "corrupt"]}}),
                &["reason"],
            ),
            "more": {"type": "boolean", "description": "Call again at once"},
            "dataLeftOut": count(),
        }),
        &["events", "cursor", "timedOut", "more", "dataLeftOut"],
    )
}

fn idempotency_key() -> Value {
    text("The same key and arguments give the first answer again")
}

pub(super) fn claim_step_input() -> Value {
    input(
        json!({
            "workflowId": text("The workflow; without stepId, only steps of this one"),
            "stepId": text("The step; without it, the first that the server may claim"),
            "serverId": text("The server that does the step"),
            "instanceId": text("Which process of it"),
            "idempotencyKey": idempotency_key(),
        }),
        &[],
    )
}

/// What every answer to a change tells.
fn told() -> Value {
    json!({
        "replayed": {"type": "boolean"},
        "cursor": text("cursor for wait_for_events: what happens after this change"),
        "warnings": list(object(
            json!({"pointer": {"type": "string"}, "detail": {"type": "string"}}),
            &["pointer", "detail"],
        )),
    })
}

fn a_step() -> Value {
    object(
        json!({
            "id": {"type": "string"},
            "workflowId": {"type": "string"},
            "status": {"type": "string"},
            "attempt": count(),
            "params": {},
            "result": {},
        }),
        &["id", "workflowId", "status", "attempt"],
    )
}

pub(super) fn claim_step() -> Value {
    object(
        joined(json!({"step": a_step()}), &told()),
        &["replayed", "cursor"],
    )
}

pub(super) fn step() -> Value {
    object(
        joined(json!({"step": a_step()}), &told()),
        &["step", "replayed", "cursor"],
    )
}

pub(super) fn report_step_input() -> Value {
    input(
        json!({
            "workflowId": text("The workflow"),
            "stepId": text("The step"),
            "status": {"enum": ["completed", "failed", "running"]},
            "serverId": text("The server that did it; without it, the report comes from whoever coordinates"),
            "instanceId": text("Which process of it"),
            "attempt": {"type": "integer", "minimum": 1, "description": "As claim_step told; needed from 2 on"},
            "result": {"description": "What came of it, any JSON"},
            "error": text("What went wrong"),
            "idempotencyKey": idempotency_key(),
        }),
        &["workflowId", "stepId", "status"],
    )
}

pub(super) fn start_workflow_input() -> Value {
    let step = object(
        json!({
            "id": {"type": "string"},
            "name": {"type": "string"},
            "server": text("The only server that may claim it"),
            "tool": text("What to call there"),
            "params": {"description": "What to do, any JSON"},
            "dependsOn": list(json!({"type": "string"})),
            "timeout": {"type": "integer", "minimum": 1, "description": "Milliseconds from the claim on"},
            "retries": count(),
            "required": {"type": "boolean"},
        }),
        &["id"],
    );
    object(
        json!({
            "id": text("1 to 128 of A-Z a-z 0-9 . _ : -; made up where it is left out"),
            "name": {"type": "string"},
            "description": {"type": "string"},
            "steps": list(json!({"anyOf": [{"type": "string"}, step]})),
            "timeoutMs": {"type": "integer", "minimum": 1},
            "idempotencyKey": idempotency_key(),
        }),
        &["name"],
    )
}

pub(super) fn start_workflow() -> Value {
    object(
        joined(
            json!({"workflow": {"type": "object"}, "created": {"type": "boolean"}}),
            &told(),
        ),
        &["workflow", "created", "replayed", "cursor"],
    )
}

pub(super) fn publish_event_input() -> Value {
    input(
        json!({
            "type": text("A dotted name such as grades.synced, or custom_ and a word"),
            "serverId": text("The server that it is about"),
            "data": {"description": "Any JSON; workflowId in it says which workflow it is about"},
            "idempotencyKey": idempotency_key(),
        }),
        &["type"],
    )
}

pub(super) fn publish_event() -> Value {
    object(
        joined(json!({"id": {"type": ["string", "null"]}}), &told()),
        &["id", "replayed", "cursor"],
    )
}
