//! Section 8: what events tell an operator, so that nobody has to ask what changed, whose it was and how far it came.

use std::time::Duration;

use http::Method;
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

/// What repeats what others said stays short, says what it leaves out, and where all of it is there to be had it comes whole.
#[tokio::test]
async fn large_results_come_whole_where_they_are_asked_for_and_are_cut_elsewhere() {
    let hub = TestHub::start().await;
    let mut ends = hub.subscribe("type=workflow_completed").await;
    ends.opened("live").await;
    let steps: Vec<String> = (0..30).map(|n| format!("s{n}")).collect();
    let flow = json!({"id": "w", "name": "W", "steps": steps});
    hub.client.post("/workflows", &flow).await;
    let result = |n: usize| match n {
        0 => json!({"grade": "A"}),
        _ => json!({"note": format!("{n:02}").repeat(100_000)}),
    };
    for (n, step) in steps.iter().enumerate().skip(1) {
        let path = format!("/workflows/w/steps/{step}");
        let body = json!({"status": "completed", "result": result(n)});
        assert_eq!(hub.client.post(&path, &body).await.status, 200);
    }
    // A stranger to the step is shown it, without what is large.
    let again = json!({"status": "completed", "result": {"another": 1}});
    let conflict = hub.client.post("/workflows/w/steps/s5", &again).await;
    assert_eq!(conflict.status, 409);
    assert!(conflict.text.len() < 20_000, "{}", conflict.text.len());
    let step = &conflict.json()["step"];
    assert_eq!(
        (&step["status"], &step["truncated"]),
        (&json!("completed"), &json!(["result.note"]))
    );

    let body = json!({"status": "completed", "result": result(0), "nobody": "heeds this"});
    let answer = hub.client.post("/workflows/w/steps/s0", &body).await;
    assert_eq!(answer.json()["result"], result(0));
    assert_eq!(answer.json()["warnings"][0]["pointer"], "/nobody");
    let end = ends.next_event().await;
    let line = end.data.as_deref().unwrap_or_default().len();
    assert!(line < 32 << 10, "{line}");
    let data = &end.json()["data"];
    assert_eq!(data["truncated"], json!(["results"]));
    assert_eq!(data["results"].as_array().unwrap().len(), 30);
    assert_eq!(
        data["results"][0],
        json!({"step": "s0", "status": "completed", "result": {"grade": "A"}})
    );
    assert_eq!(
        data["results"][1],
        json!({"step": "s1", "status": "completed"})
    );

    // Answers to changes, and single things, are whole, and go out in pieces.
    let again = hub
        .client
        .post("/workflows/w/complete", &json!({"odd": 1}))
        .await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["warnings"][0]["pointer"], "/odd");
    let workflow = hub.client.get("/workflows/w").await.json();
    for n in 0..30 {
        assert_eq!(workflow["steps"][n]["result"], result(n));
        assert_eq!(again.json()["steps"][n]["result"], result(n));
    }
    let one = hub
        .client
        .get("/events/history?type=workflow_step_completed&limit=1")
        .await
        .json()["events"][0]
        .clone();
    let path = format!("/events/{}", one["id"].as_str().unwrap());
    let found = hub.client.get(&path).await;
    assert!(found.text.len() > 200_000);
    assert_eq!(found.json(), one);
}

/// A repeat of a request whose answer is too large to be kept says what it lacks.
#[tokio::test]
async fn an_answer_that_is_too_large_to_be_kept_comes_back_with_less_and_says_so() {
    let hub = TestHub::start().await;
    let steps: Vec<String> = (0..6).map(|n| format!("s{n}")).collect();
    let flow = json!({"id": "w", "name": "W", "steps": steps});
    hub.client.post("/workflows", &flow).await;
    for step in &steps[1..] {
        let body = json!({"status": "completed", "result": "x".repeat(250_000)});
        let path = format!("/workflows/w/steps/{step}");
        assert_eq!(hub.client.post(&path, &body).await.status, 200);
    }
    let ask = async || {
        let key = [
            ("idempotency-key", "k"),
            ("content-type", "application/json"),
        ];
        hub.client
            .send(Method::POST, "/workflows/w/complete", &key, "{}")
            .await
    };
    let (first, again) = (ask().await, ask().await);
    assert_eq!(first.status, 200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.json()["steps"][1]["result"], "x".repeat(250_000));
    assert_eq!(again.json()["status"], "completed");
    assert_eq!(
        again.json()["truncated"],
        json!(["definition", "steps.result"])
    );
    assert_eq!(again.json()["steps"].as_array().unwrap().len(), 6);
}
