//! Events in a person's words: whom one concerns, what happened, and how bad that is.

use serde_json::Value;

use crate::client::Exact;

use super::{
    text::{Tone, plain},
    text_of as text,
    when::{ago, span},
};

/// An event, told. All of it is clean text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) tone: Tone,
    /// The workflow or server concerned; may be empty.
    pub(super) subject: String,
    pub(super) words: String,
}

/// Tells an event.
pub(super) fn tell(envelope: &Exact) -> Told {
    let data = &envelope["data"];
    let kind = text(envelope, "type");
    let (tone, mut words) = words(kind, envelope, data);
    // What has no words of its own is shown as it came, `by` included.
    if let Some((who, words)) = data["by"].as_str().zip(words.as_mut()) {
        words.push_str(&format!(" (by {who})"));
    }
    let words = words
        .or_else(|| {
            envelope
                .text_of("data")
                .filter(|text| text != "{}" && text != "null")
        })
        .unwrap_or_default();
    let subject = match text(data, "workflowId") {
        "" => text(envelope, "serverId"),
        workflow => workflow,
    };
    Told {
        tone,
        subject: plain(subject),
        words: plain(&words),
    }
}

/// What an event means, and in whose words; `None` where the hub's own words would say nothing.
fn words(kind: &str, envelope: &Value, data: &Value) -> (Tone, Option<String>) {
    if !data.is_object() {
        return (Tone::Own, None);
    }
    let (tone, words) = match kind {
        "server_connected" => (Tone::Good, format!("{}{}", connected(data), drift(data))),
        "server_updated" => {
            let changed = data["changed"].as_array().map(|names| list(names));
            let changed = changed.unwrap_or_else(|| "its description".to_owned());
            (Tone::Busy, format!("changed {changed}{}", drift(data)))
        }
        "server_disconnected" => disconnected(envelope, data),
        "server_instance_connected" => (Tone::Good, instance_connected(data)),
        "server_instance_disconnected" => {
            let (tone, how) = disconnected(envelope, data);
            let words = format!("{} {how}{}", instance(data), instances(data));
            (tone, words)
        }
        "server_health_changed" => {
            let health = text(data, "health");
            let why = match text(data, "detail") {
                "" => reason(text(data, "reason")),
                detail => detail.to_owned(),
            };
            let words = format!("{} → {health}: {why}", text(data, "previousHealth"));
            (Tone::of_health(health), words)
        }
        "integration_status_changed" => match text(data, "status") {
            "" => return (Tone::Own, None),
            status => (Tone::of_health(status), status_changed(status, data)),
        },
        "pattern_enabled" | "pattern_disabled" => {
            let on = kind == "pattern_enabled";
            let pattern = text(&data["pattern"], "name");
            let words = format!("{pattern} is {}", if on { "on" } else { "off" });
            (if on { Tone::Busy } else { Tone::Odd }, words)
        }
        _ if kind.starts_with("workflow_") => match workflow(kind, data) {
            Some(told) => told,
            None => return (Tone::Plain, None),
        },
        _ => return (Tone::Own, None),
    };
    (tone, Some(words))
}

fn connected(data: &Value) -> String {
    let connection = &data["connection"];
    let mut words = text(connection, "name").to_owned();
    match text(connection, "version") {
        "" => {}
        version => words.push_str(&format!(" {version}")),
    }
    if data["reconnected"] == true {
        words.push_str(", back again");
    }
    words.push_str(&format!(", {}", text(connection, "transport")));
    for (name, one) in [
        ("tools", "tool"),
        ("resources", "resource"),
        ("prompts", "prompt"),
    ] {
        let count = connection["capabilities"][name]
            .as_array()
            .map_or(0, Vec::len);
        if count > 0 {
            words.push_str(&format!(", {}", counted(count as u64, one)));
        }
    }
    words
}

fn disconnected(envelope: &Value, data: &Value) -> (Tone, String) {
    let seen = match (envelope["timestamp"].as_i64(), data["lastSeenAt"].as_i64()) {
        (Some(now), Some(then)) => format!(", last seen {}", ago(now, then)),
        _ => String::new(),
    };
    // Before servers could say that one was not expected to go, only silence meant a loss.
    let lost = match data["expected"].as_bool() {
        Some(expected) => !expected,
        None => text(data, "reason") == "heartbeat_timeout",
    };
    match text(data, "reason") {
        word if lost => (Tone::Bad, format!("lost: {}{seen}", reason(word))),
        "deregistered" => (Tone::Odd, "deregistered".to_owned()),
        "replaced" => (
            Tone::Odd,
            "replaced by another instance of itself".to_owned(),
        ),
        own => (Tone::Odd, format!("gone: {own}")),
    }
}

fn instance_connected(data: &Value) -> String {
    let mut about: Vec<String> = Vec::new();
    match &data["pid"] {
        Value::Null => {}
        pid => about.push(format!("process {pid}")),
    }
    match text(data, "host") {
        "" => {}
        host => about.push(format!("on {host}")),
    }
    let client = &data["client"];
    match client.as_str().unwrap_or_else(|| text(client, "name")) {
        "" => {}
        name => about.push(format!("for {name}")),
    }
    let about = match about.join(" ") {
        about if about.is_empty() => about,
        about => format!(" ({about})"),
    };
    format!("{} connected{about}{}", instance(data), instances(data))
}

fn instance(data: &Value) -> String {
    match text(data, "instanceId") {
        "" => "an instance".to_owned(),
        id => format!("instance {id}"),
    }
}

/// How many instances there are now.
fn instances(data: &Value) -> String {
    match data["connectedInstances"].as_u64() {
        None => String::new(),
        Some(0) => ", none is left".to_owned(),
        Some(count) => format!(", {} now", counted(count, "instance")),
    }
}

/// What differs from before in what a server offers: `; tools +new -gone ~changed (description)`.
fn drift(data: &Value) -> String {
    let mut told = Vec::new();
    for (kind, change) in data["drift"].as_object().into_iter().flatten() {
        let mut names = Vec::new();
        for (list, mark) in [("added", '+'), ("removed", '-'), ("changed", '~')] {
            for entry in change[list].as_array().into_iter().flatten() {
                let name = entry.as_str().unwrap_or_else(|| text(entry, "name"));
                let fields = entry["fields"].as_array().map(|fields| self::list(fields));
                let fields = fields.map_or_else(String::new, |fields| format!(" ({fields})"));
                names.push(format!("{mark}{name}{fields}"));
            }
        }
        if !names.is_empty() {
            told.push(format!("{kind} {}", names.join(" ")));
        }
    }
    match told.join(", ") {
        told if told.is_empty() => told,
        told => format!("; {told}"),
    }
}

fn status_changed(status: &str, data: &Value) -> String {
    let mut words = match text(data, "previousStatus") {
        "" => status.to_owned(),
        before => format!("{before} → {status}"),
    };
    if let Some(connected) = data["connectedServers"].as_u64() {
        let healthy = data["healthyServers"].as_u64().unwrap_or_default();
        words.push_str(&format!(
            ": {healthy} of {} healthy",
            counted(connected, "server")
        ));
    }
    let named = data["lost"].as_array().map(|ids| list(ids));
    match (data["lostServers"].as_u64().unwrap_or_default(), named) {
        (0, _) => {}
        (lost, Some(ids)) if !ids.is_empty() => words.push_str(&format!(", {lost} lost ({ids})")),
        (lost, _) => words.push_str(&format!(", {lost} lost")),
    }
    let because = &data["because"];
    match text(because, "serverId") {
        "" => {}
        server => words.push_str(&format!("; {server} {}", deed(text(because, "type")))),
    }
    words
}

/// What a server did, by the type of its event.
fn deed(kind: &str) -> &str {
    match kind {
        "server_connected" => "connected",
        "server_disconnected" => "left",
        "server_health_changed" => "changed its health",
        _ => "changed",
    }
}

fn workflow(kind: &str, data: &Value) -> Option<(Tone, String)> {
    let step = text(data, "stepId");
    let by = |mark: &str| match text(data, "serverId") {
        "" => String::new(),
        server => format!(" {mark} {server}"),
    };
    let attempt = match data["attempt"].as_u64() {
        Some(attempt) if attempt > 1 => format!(", attempt {attempt}"),
        _ => String::new(),
    };
    let took = data["durationMs"]
        .as_i64()
        .map_or_else(String::new, |ms| format!(" in {}", span(ms)));
    let told = match kind {
        "workflow_started" => {
            let steps = data["steps"].as_array().map_or(0, Vec::len) as u64;
            let words = format!("{}: {}", text(data, "name"), counted(steps, "step"));
            (Tone::Busy, with_ready(words, data))
        }
        "workflow_step_started" => (Tone::Busy, format!("{step} runs{}{attempt}", by("on"))),
        "workflow_step_completed" => {
            let progress = match (data["completedSteps"].as_u64(), data["totalSteps"].as_u64()) {
                (Some(done), Some(total)) => format!(" ({done}/{total})"),
                _ => String::new(),
            };
            let words = format!("{step} done{}{took}{progress}{attempt}", by("by"));
            (Tone::Good, with_ready(words, data))
        }
        "workflow_step_failed" => {
            let again = if data["willRetry"] == true {
                "; it will be tried again"
            } else {
                ""
            };
            let words = format!("{step} failed{attempt}: {}{again}", text(data, "error"));
            (Tone::Odd, words)
        }
        "workflow_completed" => (Tone::Good, format!("{} is done{took}", text(data, "name"))),
        "workflow_failed" if text(data, "reason") == "cancelled" => {
            let why = match text(data, "error") {
                "" | "cancelled" => String::new(),
                why => format!(": {why}"),
            };
            (
                Tone::Odd,
                format!("{} was cancelled{why}", text(data, "name")),
            )
        }
        "workflow_failed" => {
            let at = match text(data, "failedStep") {
                "" => String::new(),
                step => format!(" at {step}"),
            };
            let why = match text(data, "error") {
                "" => reason(text(data, "reason")),
                error => error.to_owned(),
            };
            (
                Tone::Bad,
                format!("{} failed{at}: {why}", text(data, "name")),
            )
        }
        _ => return None,
    };
    Some(told)
}

fn with_ready(words: String, data: &Value) -> String {
    match data["readySteps"].as_array().map(|steps| list(steps)) {
        Some(ready) if !ready.is_empty() => format!("{words}, ready: {ready}"),
        _ => words,
    }
}

fn list(names: &[Value]) -> String {
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    names.join(", ")
}

/// A reason's word as words.
pub(super) fn reason(word: &str) -> String {
    match word {
        "" => "no reason given".to_owned(),
        "heartbeat_timeout" => "no heartbeat".to_owned(),
        "heartbeats_resumed" => "heartbeats have resumed".to_owned(),
        word => word.replace('_', " "),
    }
}

/// Why a hub closes a stream.
pub(super) fn closing(reason: &str) -> String {
    match reason {
        "draining" => "it is shutting down".to_owned(),
        "busy" => "too many listeners".to_owned(),
        "disabled" => "streaming is switched off".to_owned(),
        "credentials_expired" => "the token has ended".to_owned(),
        other => plain(other),
    }
}

/// A number of things: `1 step`, `2 steps`.
pub(super) fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_told_in_words() {
        for (kind, data, told) in [
            (
                "server_connected",
                json!({"connection": {"name": "LMS", "transport": "http", "version": "1.2",
                       "capabilities": {"tools": ["a"], "resources": [], "prompts": ["b", "c"]}}, "reconnected": true}),
                "LMS 1.2, back again, http, 1 tool, 2 prompts",
            ),
            (
                "server_disconnected",
                json!({"reason": "heartbeat_timeout", "lastSeenAt": 0}),
                "lost: no heartbeat, last seen 100 s ago",
            ),
            (
                "server_health_changed",
                json!({"previousHealth": "healthy", "health": "degraded", "reason": "missed_heartbeats"}),
                "healthy → degraded: missed heartbeats",
            ),
            (
                "workflow_step_completed",
                json!({"workflowId": "w", "stepId": "s", "serverId": "a", "durationMs": 1500, "completedSteps": 1,
                       "totalSteps": 3, "attempt": 2, "readySteps": ["t", "u"]}),
                "s done by a in 1.5 s (1/3), attempt 2, ready: t, u",
            ),
            (
                "workflow_step_failed",
                json!({"stepId": "s", "error": "no\nroute", "attempt": 1, "willRetry": true}),
                "s failed: no route; it will be tried again",
            ),
            (
                "workflow_failed",
                json!({"name": "W", "reason": "timeout", "failedStep": "s"}),
                "W failed at s: timeout",
            ),
            (
                "integration_status_changed",
                json!({"previousStatus": "healthy", "status": "degraded", "healthyServers": 1, "connectedServers": 2, "lostServers": 1}),
                "healthy → degraded: 1 of 2 servers healthy, 1 lost",
            ),
            (
                "server_disconnected",
                json!({"reason": "out of memory", "expected": false, "lastSeenAt": 99_000}),
                "lost: out of memory, last seen just now",
            ),
            (
                "server_instance_connected",
                json!({"instanceId": "a1", "connectedInstances": 2, "host": "mac", "pid": 71, "client": {"name": "Claude"}}),
                "instance a1 connected (process 71 on mac for Claude), 2 instances now",
            ),
            (
                "server_instance_disconnected",
                json!({"instanceId": "a1", "connectedInstances": 1, "reason": "deregistered", "expected": true}),
                "instance a1 deregistered, 1 instance now",
            ),
            (
                "server_updated",
                json!({"changed": ["capabilities"], "drift": {"tools": {"added": ["new"], "removed": ["old"],
                       "changed": [{"name": "grade", "fields": ["description"]}]}, "prompts": {"added": []}}}),
                "changed capabilities; tools +new -old ~grade (description)",
            ),
            (
                "integration_status_changed",
                json!({"previousStatus": "healthy", "status": "degraded", "healthyServers": 1, "connectedServers": 1,
                       "lostServers": 1, "lost": ["lms"], "because": {"serverId": "lms", "type": "server_disconnected"}}),
                "healthy → degraded: 1 of 1 server healthy, 1 lost (lms); lms left",
            ),
            (
                "integration_status_changed",
                json!({"status": "degraded"}),
                "degraded",
            ),
            (
                "integration_status_changed",
                json!({"status": 7}),
                r#"{"status":7}"#,
            ),
            (
                "workflow_failed",
                json!({"name": "W", "reason": "cancelled", "error": "not today", "by": "board"}),
                "W was cancelled: not today (by board)",
            ),
            ("workflow_failed", json!("no object"), r#""no object""#),
            (
                "grades.synced",
                json!("all pupils are in"),
                r#""all pupils are in""#,
            ),
            ("grades.synced", json!([1, 2]), "[1,2]"),
            ("grades.synced", json!(42), "42"),
            ("grades.synced", json!(null), ""),
            ("grades.synced", json!({"by": "me"}), r#"{"by":"me"}"#),
            ("grades.synced", json!({"count": 3}), r#"{"count":3}"#),
            ("grades.synced", json!({}), ""),
        ] {
            let envelope = json!({"type": kind, "timestamp": 100_000, "data": data}).into();
            assert_eq!(tell(&envelope).words, told, "{kind}");
        }
    }
}
