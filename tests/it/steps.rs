//! Section 3: steps, and how several servers work as one: claims, and who gives a step back.

use std::time::Duration;

use serde_json::json;

use crate::{
    support::TestHub,
    workflows::{chain, report},
};

#[tokio::test]
async fn claims_are_fenced_and_contradictions_refused_with_the_state() {
    let hub = TestHub::start().await;
    hub.client.post("/workflows", &chain()).await;
    report(&hub, "a", json!({"status": "running", "serverId": "beta"}))
        .await
        .problem(409, "step-belongs-elsewhere");
    let early = report(&hub, "b", json!({"status": "running", "serverId": "beta"})).await;
    assert_eq!(
        early.problem(409, "step-not-ready")["step"]["status"],
        "pending"
    );
    assert_eq!(
        report(&hub, "a", json!({"status": "running", "serverId": "alpha"}))
            .await
            .json()["attempt"],
        1
    );
    assert_eq!(
        report(&hub, "a", json!({"status": "running", "serverId": "alpha"}))
            .await
            .json()["attempt"],
        1,
        "the holder's repeat"
    );
    let failed = report(
        &hub,
        "a",
        json!({"status": "failed", "serverId": "alpha", "error": "first"}),
    )
    .await;
    assert_eq!(
        (failed.status.as_u16(), failed.json()["status"].as_str()),
        (200, Some("ready")),
        "a retry is left"
    );
    assert_eq!(
        report(&hub, "a", json!({"status": "running", "serverId": "alpha"}))
            .await
            .json()["attempt"],
        2
    );
    assert_eq!(
        report(
            &hub,
            "a",
            json!({"status": "failed", "serverId": "alpha", "error": "first", "attempt": 1})
        )
        .await
        .status,
        200,
        "a past attempt's own report again"
    );
    assert_eq!(
        report(
            &hub,
            "a",
            json!({"status": "completed", "serverId": "alpha"})
        )
        .await
        .status,
        409,
        "from attempt 2 on it is named"
    );
    assert_eq!(
        report(
            &hub,
            "a",
            json!({"status": "completed", "serverId": "alpha", "attempt": 1})
        )
        .await
        .status,
        409,
        "a contradiction"
    );
    assert_eq!(
        report(
            &hub,
            "a",
            json!({"status": "completed", "serverId": "alpha", "attempt": 2})
        )
        .await
        .status,
        200
    );
    assert_eq!(
        report(
            &hub,
            "a",
            json!({"status": "completed", "serverId": "alpha", "attempt": 2})
        )
        .await
        .status,
        200,
        "the same again"
    );
    let contradiction = report(
        &hub,
        "a",
        json!({"status": "failed", "serverId": "alpha", "error": "x", "attempt": 2}),
    )
    .await;
    assert_eq!(contradiction.status, 409);
    assert_eq!(contradiction.json()["step"]["status"], "completed");
    report(&hub, "b", json!({"status": "running", "serverId": "beta"})).await;
    let second = report(&hub, "b", json!({"status": "running", "serverId": "gamma"}))
        .await
        .problem(409, "step-held");
    assert_eq!(second["step"]["serverId"], "beta");
    report(&hub, "ghost", json!({"status": "running"}))
        .await
        .problem(404, "step-not-found");
}

#[tokio::test]
async fn a_lost_servers_steps_are_given_back() {
    let hub = TestHub::start_with(|c| {
        c.heartbeat.interval = Duration::from_millis(100);
        c.heartbeat.unhealthy_after = 2;
        c.heartbeat.disconnect_after = 3;
    })
    .await;
    let mut events = hub
        .subscribe("type=workflow_step_*,server_disconnected")
        .await;
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf", "name": "w", "steps": [{"id": "a", "retries": 2}]}),
        )
        .await;
    hub.client
        .post(
            "/servers",
            &json!({"id": "alpha", "name": "a", "transport": "http", "instanceId": "i-1"}),
        )
        .await;
    report(
        &hub,
        "a",
        json!({"status": "running", "serverId": "alpha", "instanceId": "i-1"}),
    )
    .await;
    assert!(events.next_event().await.is("workflow_step_started"));
    assert!(events.next_event().await.is("server_disconnected"));
    let lost = events.next_event().await.json();
    assert_eq!(
        (
            lost["type"].as_str(),
            lost["data"]["willRetry"].as_bool(),
            lost["data"]["attempt"].as_u64()
        ),
        (Some("workflow_step_failed"), Some(true), Some(1))
    );
    assert_eq!(
        report(&hub, "a", json!({"status": "running", "serverId": "beta"}))
            .await
            .json()["attempt"],
        2
    );
    let late = report(
        &hub,
        "a",
        json!({"status": "completed", "serverId": "alpha", "instanceId": "i-1", "attempt": 1}),
    )
    .await;
    assert_eq!(
        late.status, 409,
        "one given up for dead can't overwrite its successor's work"
    );
}

#[tokio::test]
async fn a_replaced_instances_steps_are_given_back_too() {
    let hub = TestHub::start().await;
    let body = |instance: &str| json!({"id": "alpha", "name": "a", "transport": "http", "instanceId": instance, "heartbeatIntervalMs": 300_000});
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf", "name": "w", "steps": [{"id": "a", "retries": 1}]}),
        )
        .await;
    hub.client.post("/servers", &body("i-1")).await;
    report(
        &hub,
        "a",
        json!({"status": "running", "serverId": "alpha", "instanceId": "i-1"}),
    )
    .await;
    hub.client.post("/servers", &body("i-2")).await;
    let step = hub.client.get("/workflows/wf").await.json()["steps"][0].clone();
    assert_eq!(
        (step["status"].as_str(), step["attempt"].as_u64()),
        (Some("ready"), Some(1))
    );
    assert_eq!(
        report(
            &hub,
            "a",
            json!({"status": "running", "serverId": "alpha", "instanceId": "i-2"})
        )
        .await
        .json()["attempt"],
        2
    );
}

#[tokio::test]
async fn steps_wait_for_a_server_with_filters_and_a_long_poll() {
    let hub = TestHub::start().await;
    let client = hub.client.clone();
    let poll = tokio::spawn(async move {
        client
            .get("/steps?serverId=alpha&status=ready&wait=30s")
            .await
    });
    hub.client.post("/workflows", &chain()).await;
    let found = poll.await.unwrap().json();
    assert_eq!(
        (
            found["steps"][0]["id"].as_str(),
            found["steps"][0]["workflowId"].as_str()
        ),
        (Some("a"), Some("wf"))
    );
    assert_eq!(
        hub.client
            .get("/steps?serverId=beta&status=ready")
            .await
            .json()["steps"],
        json!([])
    );
    report(&hub, "a", json!({"status": "completed"})).await;
    let any = hub
        .client
        .get("/steps?serverId=beta&status=ready")
        .await
        .json();
    let ids: Vec<_> = any["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["b", "c"], "steps that declare no server are included");
    let empty = hub
        .client
        .get("/steps?serverId=nobody&status=running&wait=10ms")
        .await;
    assert_eq!(
        (empty.status.as_u16(), empty.json()["steps"].clone()),
        (200, json!([]))
    );
    hub.client
        .get("/steps?wait=61s")
        .await
        .problem(400, "invalid-query");
}

#[tokio::test]
async fn ad_hoc_steps_come_into_being_as_they_are_reported() {
    let hub = TestHub::start().await;
    assert_eq!(
        hub.client
            .post("/workflows", &json!({"id": "wf", "name": "w"}))
            .await
            .status,
        201
    );
    assert_eq!(
        report(&hub, "x", json!({"status": "running", "serverId": "alpha"}))
            .await
            .json()["attempt"],
        1
    );
    assert_eq!(
        report(
            &hub,
            "x",
            json!({"status": "completed", "serverId": "alpha", "result": 5})
        )
        .await
        .status,
        200
    );
    assert_eq!(
        report(&hub, "y", json!({"status": "completed"}))
            .await
            .status,
        200
    );
    let workflow = hub.client.get("/workflows/wf").await.json();
    assert_eq!(
        (
            workflow["status"].as_str(),
            workflow["totalSteps"].as_u64(),
            workflow["completedSteps"].as_u64()
        ),
        (Some("running"), Some(2), Some(2))
    );
    assert_eq!(
        hub.client
            .post("/workflows/wf/complete", &json!({"results": {"ok": true}}))
            .await
            .status,
        200
    );
    assert_eq!(
        hub.client.get("/workflows/wf").await.json()["status"],
        "completed"
    );
    assert_eq!(
        hub.client
            .post("/workflows/wf/complete", &json!({"results": {"ok": true}}))
            .await
            .status,
        200,
        "the same again"
    );
    assert_eq!(
        hub.client
            .post("/workflows/wf/fail", &json!({"error": "no"}))
            .await
            .status,
        409
    );
}

#[tokio::test]
async fn a_long_poll_is_answered_by_what_concerns_it_and_by_nothing_else() {
    let hub = TestHub::start().await;
    let poll = |query: &str| {
        let (client, path) = (hub.client.clone(), format!("/steps?{query}&wait=60s"));
        tokio::spawn(async move { client.get(&path).await.json() })
    };
    let polls = [
        ("serverId=alpha&status=ready", "w1/declared"),
        ("serverId=beta&status=ready", "w2/anyones"),
        ("workflowId=w2&status=completed", "w2/other"),
        ("status=completed", "w2/other"),
        ("serverId=gamma&status=failed", "w3/lost"),
    ]
    .map(|(query, found)| (poll(query), query, found));
    // One that is answered too early has found something else or nothing; one that isn't woken finds it too late.
    hub.client.emit("a.a", json!({"workflowId": "w1"})).await;
    hub.client.register("alpha").await;
    let [lost, kept] = [
        json!({"id": "lost", "server": "gamma", "required": false}),
        json!({"id": "kept", "server": "gamma"}),
    ];
    for (id, steps) in [
        ("w1", json!([{"id": "declared", "server": "alpha"}])),
        ("w3", json!([lost, kept])),
        ("w2", json!(["anyones", "other"])),
    ] {
        let body = json!({"id": id, "name": id, "steps": steps});
        assert_eq!(hub.client.post("/workflows", &body).await.status, 201);
    }
    for (path, body) in [
        ("w2/steps/other", json!({"status": "completed"})),
        (
            "w3/steps/lost",
            json!({"status": "failed", "serverId": "gamma", "error": "gone"}),
        ),
    ] {
        let reply = hub.client.post(&format!("/workflows/{path}"), &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    for (poll, query, found) in polls {
        let page = poll.await.expect("an answer");
        let step = &page["steps"][0];
        let place = format!("{}/{}", step["workflowId"], step["id"]).replace('"', "");
        assert_eq!(place, found, "{query}");
    }
}
