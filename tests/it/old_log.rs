//! A log from before servers had instances opens, says the same as it did, and goes on.

use std::{fs, io::Write as _, path::Path};

use http::Method;
use serde_json::{Value, json};

use crate::support::TestHub;

const DATABASE: &[u8] = include_bytes!("../fixtures/before-instances/hub.db.gz");
const VIEWS: &str = include_str!("../fixtures/before-instances/views.json");
const HISTORY: &str = include_str!("../fixtures/before-instances/history.ndjson");

/// What a start changes of a connected server's view.
const PASSING: [&str; 4] = ["dueAt", "lastSeenAt", "metrics", "detail"];

fn unpack(directory: &Path) {
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(DATABASE).unwrap();
    fs::write(directory.join("hub.db"), decoder.finish().unwrap()).unwrap();
}

/// A hub on a copy of it, which keeps what is old.
async fn open() -> TestHub {
    TestHub::start_with(|config| {
        unpack(config.data_dir.as_deref().unwrap());
        config.retention.age = std::time::Duration::from_secs(3600 * 24 * 36_500);
        config.state_retention.age = config.retention.age;
    })
    .await
}

async fn history(hub: &TestHub) -> String {
    let headers = [("accept", "application/x-ndjson")];
    let path = "/events/history?limit=1000";
    hub.client.send(Method::GET, path, &headers, "").await.text
}

/// Checks that all members of the old view are in the new one with the same values, but for those that are said
/// otherwise today.
#[track_caller]
fn says_all_of(new: &Value, old: &Value, but: &[&str], path: &str) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            for (name, value) in old {
                let path = format!("{path}/{name}");
                if but.contains(&path.as_str()) {
                    continue;
                }
                let found = new.get(name).unwrap_or_else(|| panic!("{path} is gone"));
                says_all_of(found, value, but, &path);
            }
        }
        (Value::Array(new), Value::Array(old)) => {
            assert_eq!(new.len(), old.len(), "{path}");
            for (at, (new, old)) in new.iter().zip(old).enumerate() {
                says_all_of(new, old, but, &format!("{path}/{at}"));
            }
        }
        _ => assert_eq!(new, old, "{path}"),
    }
}

#[tokio::test]
async fn every_view_of_an_old_log_says_what_it_said() {
    let hub = open().await;
    let old: Value = serde_json::from_str(VIEWS).unwrap();
    assert_eq!(history(&hub).await, HISTORY);
    for server in old["servers"].as_array().unwrap() {
        let id = server["id"].as_str().unwrap();
        let new = hub.client.get(&format!("/servers/{id}")).await.json();
        // A connected one has a fresh interval after a start, what it measured is asked for again, and words about its silence
        // say since when the hub can know.
        let mut but = Vec::new();
        if server["status"] == "connected" {
            but.extend(["/dueAt", "/lastSeenAt", "/metrics"]);
        }
        if server["reason"] == "missed_heartbeats" {
            but.push("/detail");
        }
        says_all_of(&new, server, &but, "");
        let instances = new["instances"].as_array().unwrap();
        if server["status"] == "connected" {
            assert_eq!(instances.len(), 1, "{new}");
            assert_eq!(
                instances[0]["instanceId"],
                server["connection"]["instanceId"]
            );
            assert_eq!(instances[0]["health"], server["health"]);
        } else {
            assert!(instances.is_empty(), "{new}");
        }
    }
    for workflow in old["workflows"].as_array().unwrap() {
        let id = workflow["id"].as_str().unwrap();
        let new = hub.client.get(&format!("/workflows/{id}")).await.json();
        let but: &[&str] = if id == "stopped" { &["/status"] } else { &[] };
        says_all_of(&new, workflow, but, "");
    }
    let stopped = hub.client.get("/workflows/stopped").await.json();
    assert_eq!(
        (&stopped["status"], &stopped["reason"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    let patterns = hub.client.get("/patterns").await.json();
    says_all_of(&patterns["patterns"], &old["patterns"], &[], "");
    let status = hub.client.get("/status").await.json();
    let but = ["/uptimeMs", "/sseClients", "/lastEventId"];
    says_all_of(&status, &old["status"], &but, "");
    let sequence = |status: &Value| {
        let id = status["lastEventId"].as_str().unwrap();
        id.rsplit_once('-').unwrap().1.to_owned()
    };
    assert_eq!(sequence(&status), sequence(&old["status"]));
    let found = hub.client.get("/workflows?status=failed").await.json();
    assert_eq!(found["workflows"].as_array().unwrap().len(), 2, "{found}");
}

#[tokio::test]
async fn an_old_log_goes_on_and_its_servers_may_have_instances() {
    let hub = open().await;
    let last: Value = serde_json::from_str(HISTORY.lines().last().unwrap()).unwrap();
    let mut events = hub.resume("", last["id"].as_str().unwrap()).await;
    events.opened("resumed").await;
    let alpha = |instance: &str, version: &str| {
        json!({"id": "alpha", "name": "Alpha", "transport": "http", "version": version, "instanceId": instance,
            "instances": "many", "tags": {"env": "prod"}, "capabilities": {"tools": ["grade", "submit"]},
            "heartbeatIntervalMs": 300_000})
    };
    // The instance that was there is known, and another joins it.
    let known = hub.client.post("/servers", &alpha("i-2", "2.0")).await;
    assert_eq!(known.status, 200, "{}", known.text);
    let updated = events.next_event().await.json();
    assert_eq!(updated["data"]["changed"], json!(["instances"]));
    assert_eq!(
        updated["sequence"],
        json!(last["sequence"].as_u64().unwrap() + 1)
    );
    let joined = hub.client.post("/servers", &alpha("i-3", "2.0")).await;
    assert_eq!(joined.status, 201, "{}", joined.text);
    assert!(events.next_event().await.is("server_instance_connected"));
    // The claim that the old version took belongs to its instance.
    hub.client.delete("/servers/alpha?instanceId=i-2").await;
    assert!(events.next_event().await.is("server_instance_disconnected"));
    let given_back = events.next_event().await.json();
    assert_eq!(
        (&given_back["type"], &given_back["data"]["willRetry"]),
        (&json!("workflow_step_failed"), &json!(true))
    );
    // What was ill gets well by as many reports as ever, and what was lost returns.
    for _ in 0..2 {
        let well = json!({"health": "healthy"});
        hub.client.post("/servers/ill/heartbeat", &well).await;
    }
    assert_eq!(
        events.next_event().await.json()["data"]["health"],
        "healthy"
    );
    hub.client.register("lost").await;
    let back = events.next_named("server_connected").await.json();
    assert_eq!(back["data"]["reconnected"], true, "{back}");

    let told = history(&hub).await;
    assert!(told.starts_with(HISTORY));
    let snapshot = async |hub: &TestHub| {
        let mut whole = hub.client.get("/snapshot").await.json();
        for passing in ["id", "status", "stats"] {
            whole.as_object_mut().unwrap().remove(passing);
        }
        for server in whole["servers"].as_array_mut().unwrap() {
            let is_connected = server["status"] == "connected";
            let view = server.as_object_mut().unwrap();
            view.remove("instances");
            if is_connected {
                view.retain(|name, _| !PASSING.contains(&name.as_str()));
            }
        }
        whole
    };
    let before = snapshot(&hub).await;
    let hub = hub.restart().await;
    assert_eq!(snapshot(&hub).await, before);
    assert_eq!(history(&hub).await, told);
}
