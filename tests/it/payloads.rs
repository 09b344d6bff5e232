//! Section 8: what events tell an operator, so that nobody has to ask what changed, whose it was and how far it came.

use std::time::Duration;

use serde_json::json;

use crate::support::TestHub;

#[tokio::test]
async fn servers_say_what_changed_and_what_drifted() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("type=server_*").await;
    events.opened("live").await;
    let described = |version: &str, tools: serde_json::Value| {
        json!({"id": "s", "name": "LMS", "transport": "http", "version": version, "protocolVersion": "2025-06-18",
            "heartbeatIntervalMs": 5000, "capabilities": {"tools": tools, "resources": [{"uri": "file:///a", "hash": "1"}]}})
    };
    let tool = |description: &str| json!({"name": "grade", "description": description});
    hub.client
        .post("/servers", &described("1", json!([tool("old"), "list"])))
        .await;
    let first = events.next_event().await.json()["data"].clone();
    assert_eq!(
        (&first["heartbeatIntervalMs"], &first["protocolVersion"]),
        (&json!(5000), &json!("2025-06-18"))
    );
    assert!(
        first.get("changes").is_none() && first.get("drift").is_none(),
        "{first}"
    );

    hub.client
        .post("/servers", &described("1", json!([tool("new"), "list"])))
        .await;
    let updated = events.next_event().await.json()["data"].clone();
    assert_eq!(updated["changed"], json!(["capabilities"]));
    let changed = json!([{"name": "grade", "fields": ["description"]}]);
    assert_eq!(
        updated["drift"]["tools"],
        json!({"added": [], "removed": [], "changed": changed})
    );

    let degraded = json!({"health": "degraded"});
    hub.client.post("/servers/s/heartbeat", &degraded).await;
    assert_eq!(events.next_event().await.json()["data"]["name"], "LMS");

    hub.client.delete("/servers/s").await;
    events.next_event().await;
    hub.client
        .post("/servers", &described("2", json!([tool("new"), "submit"])))
        .await;
    let back = events.next_event().await.json()["data"].clone();
    assert_eq!(
        (&back["reconnected"], &back["changes"]),
        (&json!(true), &json!(["version", "capabilities"]))
    );
    assert_eq!(back["drift"]["tools"]["added"], json!(["submit"]));
    assert_eq!(back["drift"]["tools"]["removed"], json!(["list"]));
    assert_eq!(
        back["connection"]["capabilities"]["tools"],
        json!([tool("new"), "submit"])
    );
    let view = hub.client.get("/servers/s").await.json();
    assert_eq!(view["protocolVersion"], "2025-06-18", "{view}");
}

#[tokio::test]
async fn a_failed_workflow_names_server_tool_and_progress() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("type=workflow_failed").await;
    events.opened("live").await;
    let flow = json!({"id": "w", "name": "W", "steps": [
        "a", {"id": "b", "server": "lms", "tool": "grade", "dependsOn": ["a"]}, "c"]});
    hub.client.post("/workflows", &flow).await;
    hub.client
        .post("/workflows/w/steps/c", &json!({"status": "running"}))
        .await;
    hub.client
        .post("/workflows/w/steps/a", &json!({"status": "completed"}))
        .await;
    let failed = json!({"status": "failed", "error": "no roster", "serverId": "lms"});
    hub.client.post("/workflows/w/steps/b", &failed).await;
    let data = events.next_event().await.json()["data"].clone();
    assert_eq!(
        data,
        json!({"workflowId": "w", "name": "W", "reason": "step_failed", "error": "no roster", "failedStep": "b",
            "serverId": "lms", "tool": "grade", "retryAttempts": 0, "completedSteps": 1, "totalSteps": 3})
    );
    let view = hub.client.get("/workflows/w").await.json();
    let c = &view["steps"][2];
    assert_eq!(
        (&c["status"], &c["error"]),
        (&json!("aborted"), &json!("the workflow ended first"))
    );
}

#[tokio::test]
async fn a_cancelled_workflow_is_cancelled_and_found_among_the_failed() {
    let hub = TestHub::start().await;
    for id in ["broken", "cancelled", "running"] {
        let flow = json!({"id": id, "name": id, "steps": ["a"]});
        hub.client.post("/workflows", &flow).await;
    }
    hub.client
        .post("/workflows/broken/fail", &json!({"error": "e"}))
        .await;
    let answer = hub
        .client
        .post("/workflows/cancelled/cancel", &json!({}))
        .await;
    let answer = answer.json();
    assert_eq!(
        (&answer["status"], &answer["reason"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    let hub = hub.restart().await;
    for (status, expected) in [
        ("failed", &["broken", "cancelled"][..]),
        ("cancelled", &["cancelled"]),
        ("running", &["running"]),
        ("completed", &[]),
    ] {
        let page = hub
            .client
            .get(&format!("/workflows?status={status}"))
            .await
            .json();
        let found: Vec<_> = page["workflows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{status}");
    }
    let problem = hub
        .client
        .post("/workflows/cancelled/complete", &json!({}))
        .await;
    assert_eq!(
        problem.problem(409, "workflow-ended")["workflowStatus"],
        "cancelled"
    );
    assert_eq!(hub.client.get("/status").await.json()["failedWorkflows"], 2);
}

#[tokio::test]
async fn a_change_of_status_says_because_of_whom_and_who_is_lost() {
    let hub = TestHub::start_with(|config| {
        config.heartbeat.disconnect_after = 4;
    })
    .await;
    let mut events = hub.subscribe("type=integration_status_changed").await;
    events.opened("live").await;
    hub.client.register("well").await;
    hub.client.register("ill").await;
    hub.client
        .post("/servers/ill/heartbeat", &json!({"health": "unhealthy"}))
        .await;
    let data = events.next_event().await.json()["data"].clone();
    assert_eq!(
        data["because"],
        json!({"serverId": "ill", "type": "server_health_changed"}),
        "{data}"
    );
    hub.client.delete("/servers/ill").await;
    let data = events.next_event().await.json()["data"].clone();
    assert_eq!(
        data["because"],
        json!({"serverId": "ill", "type": "server_disconnected"}),
        "{data}"
    );
    assert!(data.get("lost").is_none(), "{data}");
    let silent =
        json!({"id": "silent", "name": "S", "transport": "http", "heartbeatIntervalMs": 100});
    hub.client.post("/servers", &silent).await;
    let data = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let data = events.next_event().await.json()["data"].clone();
            if data["status"] == "degraded" {
                return data;
            }
        }
    });
    assert_eq!(data.await.unwrap()["because"]["serverId"], "silent");
    let mut gone = hub.subscribe("type=server_disconnected&replay=1").await;
    while gone.next_event().await.json()["serverId"] != "silent" {}
    hub.client.register("worse").await;
    hub.client
        .post("/servers/worse/heartbeat", &json!({"health": "unhealthy"}))
        .await;
    hub.client
        .post("/servers/well/heartbeat", &json!({"health": "unhealthy"}))
        .await;
    let data = events.next_event().await.json()["data"].clone();
    assert_eq!(
        (&data["status"], &data["lostServers"], &data["lost"]),
        (&json!("unhealthy"), &json!(1), &json!(["silent"])),
        "{data}"
    );
}
