//! Section 3: workflows, how they run and how they end.

use serde_json::{Value, json};

use crate::support::{Reply, TestHub};

pub async fn report(hub: &TestHub, step: &str, body: Value) -> Reply {
    hub.client
        .post(&format!("/workflows/wf/steps/{step}"), &body)
        .await
}

pub fn chain() -> Value {
    json!({"id": "wf", "name": "chain", "steps": [
        {"id": "a", "server": "alpha", "retries": 1, "timeout": 60000, "params": {"x": 1}, "note": "kept"},
        {"id": "b", "dependsOn": ["a"]},
        {"id": "c", "dependsOn": ["a"], "required": false},
        {"id": "d", "dependsOn": ["b", "c"]}
    ], "owner": "grades"})
}

#[tokio::test]
async fn a_workflow_runs_to_its_end_and_everybody_can_watch() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("workflowId=wf").await;
    events.opened("live").await;
    let reply = hub.client.post("/workflows", &chain()).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let workflow = reply.json();
    assert_eq!(
        (
            workflow["status"].as_str(),
            workflow["totalSteps"].as_u64(),
            workflow["completedSteps"].as_u64()
        ),
        (Some("running"), Some(4), Some(0))
    );
    assert_eq!(workflow["definition"]["owner"], "grades");
    assert_eq!(workflow["definition"]["steps"][0]["note"], "kept");
    assert_eq!(workflow["steps"][0]["status"], "ready");
    assert_eq!(workflow["steps"][1]["status"], "pending");
    let started = events.next_event().await.json();
    assert_eq!(started["type"], "workflow_started");
    assert_eq!(started["data"]["readySteps"], json!(["a"]));

    let claim = report(&hub, "a", json!({"status": "running", "serverId": "alpha"})).await;
    assert_eq!(claim.status, 200, "{}", claim.text);
    assert_eq!(
        (
            claim.json()["status"].as_str(),
            claim.json()["attempt"].as_u64()
        ),
        (Some("running"), Some(1))
    );
    assert!(events.next_event().await.is("workflow_step_started"));
    assert_eq!(
        report(
            &hub,
            "a",
            json!({"status": "completed", "serverId": "alpha", "result": {"n": 1}})
        )
        .await
        .status,
        200
    );
    let done = events.next_event().await.json();
    assert_eq!(done["type"], "workflow_step_completed");
    assert_eq!(done["data"]["readySteps"], json!(["b", "c"]));
    assert_eq!(
        (
            done["data"]["completedSteps"].as_u64(),
            done["data"]["totalSteps"].as_u64(),
            done["data"]["attempt"].as_u64()
        ),
        (Some(1), Some(4), Some(1))
    );
    assert_eq!(done["data"]["result"], json!({"n": 1}));
    assert!(done["data"]["durationMs"].is_u64());

    assert_eq!(
        report(&hub, "b", json!({"status": "completed"}))
            .await
            .status,
        200,
        "an end on a ready step without a claim"
    );
    assert_eq!(
        report(&hub, "c", json!({"status": "failed", "error": "boom"}))
            .await
            .status,
        200
    );
    assert!(events.next_event().await.is("workflow_step_completed"));
    let failed = events.next_event().await.json();
    assert_eq!(failed["type"], "workflow_step_failed");
    assert_eq!(
        (
            failed["data"]["error"].as_str(),
            failed["data"]["willRetry"].as_bool(),
            failed["data"]["reason"].as_str()
        ),
        (Some("boom"), Some(false), Some("reported"))
    );
    let last = report(&hub, "d", json!({"status": "completed"})).await;
    assert!(events.next_event().await.is("workflow_step_completed"));
    let completed = events.next_event().await;
    assert!(completed.is("workflow_completed"), "in the same commit");
    assert_eq!(last.header("last-event-id"), Some(completed.id()));
    let data = completed.json()["data"].clone();
    assert_eq!(
        data["results"][0],
        json!({"step": "a", "status": "completed", "result": {"n": 1}})
    );
    assert_eq!(data["results"][2]["status"], "failed");
    assert!(data["durationMs"].is_u64());
    let ended = hub.client.get("/workflows/wf").await.json();
    assert_eq!(
        (ended["status"].as_str(), ended["completedSteps"].as_u64()),
        (Some("completed"), Some(4))
    );
    assert!(ended["endedAt"].is_i64());
}

#[tokio::test]
async fn the_same_definition_again_is_no_error_and_another_is() {
    let hub = TestHub::start().await;
    assert_eq!(hub.client.post("/workflows", &chain()).await.status, 201);
    assert_eq!(hub.client.post("/workflows", &chain()).await.status, 200);
    let mut other = chain();
    other["name"] = json!("other");
    hub.client
        .post("/workflows", &other)
        .await
        .problem(409, "workflow-exists");
    hub.client
        .get("/workflows/none")
        .await
        .problem(404, "workflow-not-found");
}

#[tokio::test]
async fn bad_definitions_name_what_is_wrong() {
    let hub = TestHub::start().await;
    for (steps, names) in [
        (
            json!([{"id": "a", "dependsOn": ["b"]}, {"id": "b", "dependsOn": ["c"]}, {"id": "c", "dependsOn": ["a"]}]),
            vec!["a", "b", "c"],
        ),
        (json!([{"id": "a", "dependsOn": ["ghost"]}]), vec!["ghost"]),
        (json!(["a", "b", "a"]), vec!["a"]),
        (
            json!([{"id": "a", "timeout": -1}]),
            vec!["/steps/0/timeout"],
        ),
        (json!([{"name": "no id"}]), vec!["/steps/0/id"]),
    ] {
        let reply = hub
            .client
            .post(
                "/workflows",
                &json!({"id": "wf", "name": "w", "steps": steps}),
            )
            .await;
        let problem = reply.problem(422, "invalid-fields");
        for name in names {
            assert!(
                problem["errors"].to_string().contains(name),
                "{name}: {problem}"
            );
        }
    }
    assert_eq!(
        hub.client.get("/workflows").await.json()["workflows"],
        json!([])
    );
}

#[tokio::test]
async fn a_required_step_that_fails_takes_the_workflow_with_it() {
    let hub = TestHub::start().await;
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf", "name": "w", "steps": ["a", "b"]}),
        )
        .await;
    let mut events = hub.subscribe("type=workflow_failed").await;
    assert_eq!(
        report(&hub, "a", json!({"status": "failed", "error": "boom"}))
            .await
            .status,
        200
    );
    let failed = events.next_event().await.json();
    assert_eq!(
        (
            failed["data"]["reason"].as_str(),
            failed["data"]["failedStep"].as_str(),
            failed["data"]["error"].as_str(),
            failed["data"]["retryAttempts"].as_u64()
        ),
        (Some("step_failed"), Some("a"), Some("boom"), Some(0))
    );
    assert_eq!(
        report(&hub, "b", json!({"status": "running", "serverId": "x"}))
            .await
            .status,
        409,
        "it has ended"
    );
    let ready = hub.client.get("/steps?status=ready").await.json();
    assert_eq!(ready["steps"], json!([]));
}

#[tokio::test]
async fn time_outs_count_as_failed_attempts_once() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("type=workflow_*").await;
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf", "name": "w", "steps": [{"id": "a", "timeout": 50, "retries": 1}]}),
        )
        .await;
    report(&hub, "a", json!({"status": "running", "serverId": "x"})).await;
    let first = events.next_named("workflow_step_failed").await.json();
    assert_eq!(
        (
            first["data"]["reason"].as_str(),
            first["data"]["attempt"].as_u64(),
            first["data"]["willRetry"].as_bool()
        ),
        (Some("timeout"), Some(1), Some(true))
    );
    report(&hub, "a", json!({"status": "running", "serverId": "x"})).await;
    let second = events.next_named("workflow_step_failed").await.json();
    assert_eq!(
        (
            second["data"]["attempt"].as_u64(),
            second["data"]["willRetry"].as_bool()
        ),
        (Some(2), Some(false))
    );
    assert_eq!(events.next().await.json()["data"]["reason"], "step_failed");

    hub.client
        .post(
            "/workflows",
            &json!({"id": "slow", "name": "w", "steps": ["a"], "timeoutMs": 50}),
        )
        .await;
    let failed = events.next_named("workflow_failed").await.json();
    assert_eq!(
        (
            failed["data"]["workflowId"].as_str(),
            failed["data"]["reason"].as_str()
        ),
        (Some("slow"), Some("timeout"))
    );
}

#[tokio::test]
async fn a_time_out_that_passed_while_the_hub_was_down_happens_after_the_restart_once() {
    let hub = TestHub::start().await;
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf", "name": "w", "steps": [{"id": "a", "timeout": 1}]}),
        )
        .await;
    hub.client
        .post(
            "/workflows",
            &json!({"id": "late", "name": "w", "steps": ["a"], "timeoutMs": 30}),
        )
        .await;
    report(&hub, "a", json!({"status": "running", "serverId": "x"})).await;
    let hub = hub.restart().await;
    let mut events = hub
        .subscribe("type=workflow_failed&lastEventId=earliest")
        .await;
    let mut ended = [
        events.next_event().await.json(),
        events.next_event().await.json(),
    ];
    ended.sort_by_key(|event| event["data"]["workflowId"].to_string());
    assert_eq!(ended[0]["data"]["reason"], "timeout");
    assert_eq!(ended[1]["data"]["reason"], "step_failed");
    let hub = hub.restart().await;
    let all = hub
        .client
        .get("/events/history?type=workflow_failed")
        .await
        .json();
    assert_eq!(all["events"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_definition_of_the_missions_shape_is_accepted_as_it_stands() {
    let hub = TestHub::start().await;
    let definition = json!({
        "name": "assessment", "description": "several servers", "version": "1.0.0",
        "workflow": [
            {"id": "fetch", "server": "roster", "tool": "get", "params": {"classId": "c"}, "timeout": 10000, "retries": 2},
            {"id": "analyze", "serverId": "timeback", "params": {"source": "${fetch.result.students}"}, "dependsOn": ["fetch"], "timeoutMs": 15000}
        ],
        "errorHandling": {"strategy": "continue-on-error", "maxFailures": 1, "rollbackOnFailure": false},
        "notifications": {"onStart": true}, "metadata": {"author": "someone"}
    });
    let reply = hub.client.post("/workflows", &definition).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let workflow = reply.json();
    assert_eq!(workflow["definition"], definition);
    assert_eq!(
        (
            workflow["steps"][1]["server"].as_str(),
            workflow["steps"][1]["timeout"].as_u64()
        ),
        (Some("timeback"), Some(15000))
    );
    let id = workflow["id"].as_str().unwrap();
    for attempt in 1..=3 {
        let path = format!("/workflows/{id}/steps/fetch");
        let claim = hub
            .client
            .post(&path, &json!({"status": "running", "serverId": "roster"}))
            .await;
        assert_eq!(claim.json()["attempt"], attempt);
        hub.client.post(&path, &json!({"status": "failed", "serverId": "roster", "error": "down", "attempt": attempt})).await;
    }
    let workflow = hub.client.get(&format!("/workflows/{id}")).await.json();
    assert_eq!(workflow["status"], "running", "one failure is borne");
    assert_eq!(workflow["steps"][1]["status"], "ready");
    hub.client
        .post(
            &format!("/workflows/{id}/steps/analyze"),
            &json!({"status": "failed", "error": "too"}),
        )
        .await;
    let workflow = hub.client.get(&format!("/workflows/{id}")).await.json();
    assert_eq!(
        (workflow["status"].as_str(), workflow["reason"].as_str()),
        (Some("failed"), Some("step_failed")),
        "a second isn't"
    );
}
