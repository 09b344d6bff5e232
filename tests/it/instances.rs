//! Section 3, "Instances": a server is what others call, its instances are the processes.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, TestHub};

/// What an instance says of itself; it needs no heartbeat for as long as a test runs.
fn described(instance: &str) -> Value {
    json!({"id": "alpha", "name": "a", "transport": "stdio", "instances": "many",
        "instanceId": instance, "heartbeatIntervalMs": 300_000})
}

async fn register(hub: &TestHub, instance: &str) -> Reply {
    hub.client.post("/servers", &described(instance)).await
}

async fn two(hub: &TestHub) {
    for instance in ["i-1", "i-2"] {
        assert_eq!(register(hub, instance).await.status, 201);
    }
}

async fn beat(hub: &TestHub, body: Value) -> Reply {
    hub.client.post("/servers/alpha/heartbeat", &body).await
}

async fn leave(hub: &TestHub, query: &str) -> Reply {
    hub.client.delete(&format!("/servers/alpha?{query}")).await
}

async fn server(hub: &TestHub) -> Value {
    hub.client.get("/servers/alpha").await.json()
}

/// What is shown of one instance.
async fn shown(hub: &TestHub, instance: &str) -> Value {
    let server = server(hub).await;
    let instances = server["instances"].as_array().unwrap();
    let found = instances.iter().find(|it| it["instanceId"] == instance);
    found
        .unwrap_or_else(|| panic!("{instance}: {server}"))
        .clone()
}

/// The kinds of all that was told, oldest first, the hub's own switches aside.
async fn told(hub: &TestHub) -> Vec<String> {
    let page = hub.client.get("/events/history?limit=1000").await.json();
    let kinds = page["events"].as_array().unwrap().iter();
    kinds
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_first_connects_the_server_and_the_last_disconnects_it() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("type=server_*").await;
    assert_eq!(register(&hub, "i-1").await.status, 201);
    let first = events.next_event().await.json();
    assert_eq!(first["type"], "server_connected");
    assert_eq!(first["data"]["connection"]["instanceId"], "i-1");
    let process = json!({"host": "h", "pid": 7, "client": {"name": "Claude", "version": "1.0"}});
    let mut body = described("i-2");
    body.as_object_mut()
        .unwrap()
        .extend(process.as_object().unwrap().clone());
    assert_eq!(hub.client.post("/servers", &body).await.status, 201);
    let second = events.next_event().await.json();
    assert_eq!(second["type"], "server_instance_connected");
    assert_eq!(
        second["data"],
        json!({"instanceId": "i-2", "connectedInstances": 2, "reason": "registered", "expected": true,
            "host": "h", "pid": 7, "client": {"name": "Claude", "version": "1.0"}})
    );
    assert_eq!(hub.client.post("/servers", &body).await.status, 200);

    assert_eq!(leave(&hub, "instanceId=i-1").await.status, 204);
    let gone = events.next_event().await.json();
    assert_eq!(gone["type"], "server_instance_disconnected");
    let data = &gone["data"];
    assert_eq!(
        (&data["instanceId"], &data["connectedInstances"]),
        (&json!("i-1"), &json!(1))
    );
    assert_eq!(
        (&data["reason"], &data["expected"]),
        (&json!("deregistered"), &json!(true))
    );
    assert_eq!(server(&hub).await["status"], "connected");
    assert_eq!(leave(&hub, "instanceId=i-2").await.status, 204);
    let last = events.next_event().await.json();
    assert_eq!(last["type"], "server_disconnected");
    assert_eq!(last["data"]["expected"], true);
    assert!(last["data"]["connectedForMs"].is_u64(), "{last}");
    assert_eq!(server(&hub).await["status"], "disconnected");
}

#[tokio::test]
async fn the_view_has_each_instance_and_an_unnamed_one_for_who_names_none() {
    let hub = TestHub::start().await;
    let mut body = described("i-1");
    body["host"] = json!("h");
    body["pid"] = json!(7);
    body["client"] = json!("Claude");
    hub.client.post("/servers", &body).await;
    let metrics = json!({"instanceId": "i-1", "metrics": {"calls": 3}});
    assert_eq!(beat(&hub, metrics).await.status, 200);
    let found = shown(&hub, "i-1").await;
    assert_eq!(
        (&found["health"], &found["host"], &found["pid"]),
        (&json!("healthy"), &json!("h"), &json!(7))
    );
    assert_eq!(
        (&found["client"], &found["metrics"]),
        (&json!("Claude"), &json!({"calls": 3}))
    );
    assert!(found.get("reason").is_none(), "{found}");
    for time in ["lastSeenAt", "dueAt", "connectedAt"] {
        assert!(found[time].is_i64(), "{time}: {found}");
    }

    hub.client.register("beta").await;
    let beta = hub.client.get("/servers/beta").await.json();
    let instances = beta["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 1, "{beta}");
    assert!(instances[0].get("instanceId").is_none(), "{beta}");
    assert_eq!(instances[0]["health"], "healthy");
}

#[tokio::test]
async fn of_one_another_instance_takes_the_place_and_the_old_one_learns_the_mend() {
    let hub = TestHub::start().await;
    let one = |instance: &str| {
        let mut body = described(instance);
        body.as_object_mut().unwrap().remove("instances");
        body
    };
    hub.client.post("/servers", &one("i-1")).await;
    assert_eq!(hub.client.post("/servers", &one("i-2")).await.status, 201);
    let problem = beat(&hub, json!({"instanceId": "i-1"})).await;
    let problem = problem.problem(409, "instance-replaced");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("\"instances\": \"many\""), "{detail}");
    assert_eq!(
        told(&hub).await,
        [
            "server_connected",
            "server_disconnected",
            "server_connected"
        ]
    );
    // A nameless registration is either's, and takes nobody's place.
    let mut nameless = one("i-2");
    nameless.as_object_mut().unwrap().remove("instanceId");
    assert_eq!(hub.client.post("/servers", &nameless).await.status, 200);
    assert_eq!(told(&hub).await.len(), 3);
}

#[tokio::test]
async fn a_servers_health_is_that_of_its_best_instance_also_after_a_restart() {
    let hub = TestHub::start().await;
    two(&hub).await;
    let ill = json!({"instanceId": "i-1", "health": "unhealthy", "detail": "no disk"});
    assert_eq!(beat(&hub, ill).await.json()["health"], "unhealthy");
    let hub = hub.restart().await;
    let whole = server(&hub).await;
    assert_eq!(whole["health"], "healthy", "{whole}");
    assert_eq!(whole["connectedInstances"], 2, "{whole}");
    assert_eq!(hub.client.get("/status").await.json()["status"], "healthy");
    let first = shown(&hub, "i-1").await;
    assert_eq!(first["health"], "unhealthy");
    assert!(
        first["detail"].as_str().unwrap().contains("no disk"),
        "{first}"
    );
    assert_eq!(
        told(&hub).await,
        ["server_connected", "server_instance_connected"],
        "one that is ill turns nothing red, and a restart is no event"
    );

    let mut events = hub.subscribe("type=server_*").await;
    events.opened("live").await;
    let worse = json!({"instanceId": "i-2", "health": "degraded", "detail": "slow"});
    beat(&hub, worse).await;
    let turned = events.next_event().await.json();
    assert_eq!(turned["type"], "server_health_changed");
    let data = &turned["data"];
    assert_eq!(
        (&data["health"], &data["previousHealth"], &data["name"]),
        (&json!("degraded"), &json!("healthy"), &json!("a"))
    );
    leave(&hub, "instanceId=i-2").await;
    assert!(events.next_event().await.is("server_instance_disconnected"));
    let turned = events.next_event().await.json();
    assert_eq!(turned["data"]["health"], "unhealthy", "{turned}");
}

#[tokio::test]
async fn a_lost_instance_is_an_event_and_in_view_and_turns_nothing_red() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    register(&hub, "i-1").await;
    let mut short = described("i-2");
    short["heartbeatIntervalMs"] = json!(100);
    hub.client.post("/servers", &short).await;
    let gone = events.next_named("server_instance_disconnected").await;
    let gone = gone.json()["data"].clone();
    assert_eq!(
        (&gone["instanceId"], &gone["reason"], &gone["expected"]),
        (&json!("i-2"), &json!("heartbeat_timeout"), &json!(false))
    );
    let lost = shown(&hub, "i-2").await;
    assert_eq!(
        (&lost["status"], &lost["reason"], &lost["dueAt"]),
        (&json!("lost"), &json!("heartbeat_timeout"), &Value::Null)
    );
    assert_eq!(server(&hub).await["health"], "healthy");
    let status = hub.client.get("/status").await.json();
    assert_eq!(
        (&status["status"], &status["lostServers"]),
        (&json!("healthy"), &json!(0))
    );
    let hub = hub.restart().await;
    assert_eq!(shown(&hub, "i-2").await["status"], "lost");
    assert!(
        !told(&hub)
            .await
            .iter()
            .any(|kind| kind == "server_health_changed" || kind == "integration_status_changed"),
        "while another serves"
    );
}

#[tokio::test]
async fn deregistering_one_instance_leaves_the_others_and_their_claims() {
    let hub = TestHub::start().await;
    two(&hub).await;
    let flow = json!({"id": "w", "name": "w",
        "steps": [{"id": "s-1", "retries": 1}, {"id": "s-2", "retries": 1}]});
    hub.client.post("/workflows", &flow).await;
    for n in [1, 2] {
        let claim =
            json!({"status": "running", "serverId": "alpha", "instanceId": format!("i-{n}")});
        let path = format!("/workflows/w/steps/s-{n}");
        assert_eq!(hub.client.post(&path, &claim).await.status, 200);
    }
    let mut events = hub.subscribe("type=workflow_step_failed").await;
    events.opened("live").await;
    assert_eq!(leave(&hub, "instanceId=i-1").await.status, 204);
    let failed = events.next_event().await.json();
    assert_eq!(
        (&failed["data"]["stepId"], &failed["data"]["willRetry"]),
        (&json!("s-1"), &json!(true))
    );
    let steps = hub.client.get("/workflows/w").await.json()["steps"].clone();
    assert_eq!(
        (&steps[0]["status"], &steps[1]["status"]),
        (&json!("ready"), &json!("running"))
    );
    assert_eq!(beat(&hub, json!({"instanceId": "i-2"})).await.status, 200);
    let gone = beat(&hub, json!({"instanceId": "i-1"})).await;
    let gone = gone.problem(404, "server-not-registered");
    assert!(gone["detail"].as_str().unwrap().contains("i-1"), "{gone}");

    // Without an instance, all of it goes.
    register(&hub, "i-3").await;
    assert_eq!(leave(&hub, "").await.status, 204);
    assert_eq!(server(&hub).await["connectedInstances"], 0);
    let steps = hub.client.get("/workflows/w").await.json()["steps"].clone();
    assert_eq!(steps[1]["status"], "ready");
}

#[tokio::test]
async fn a_farewell_that_came_first_is_remembered_across_a_restart() {
    let hub = TestHub::start().await;
    assert_eq!(leave(&hub, "instanceId=i-1").await.status, 204);
    hub.client
        .get("/servers/alpha")
        .await
        .problem(404, "server-not-found");
    let refused = register(&hub, "i-1").await;
    let refused = refused.problem(409, "instance-gone");
    assert!(
        refused["detail"].as_str().unwrap().contains("i-1"),
        "{refused}"
    );
    let hub = hub.restart().await;
    register(&hub, "i-1").await.problem(409, "instance-gone");
    assert_eq!(register(&hub, "i-2").await.status, 201);
    // And of a server that is known, while another of its instances serves.
    assert_eq!(leave(&hub, "instanceId=i-3").await.status, 204);
    register(&hub, "i-3").await.problem(409, "instance-gone");
    assert_eq!(server(&hub).await["connectedInstances"], 1);
    assert_eq!(
        told(&hub).await,
        ["server_connected"],
        "a farewell is no event"
    );
}

#[tokio::test]
async fn the_calls_of_a_short_session_leave_no_ghost_in_any_order() {
    let orders = ["RHF", "RFH", "HRF", "HFR", "FRH", "FHR"];
    let hub = TestHub::start().await;
    register(&hub, "living").await;
    for order in orders {
        let instance = json!({"instanceId": order});
        for call in order.chars() {
            let status = match call {
                'R' => register(&hub, order).await.status,
                'H' => beat(&hub, instance.clone()).await.status,
                _ => leave(&hub, &format!("instanceId={order}")).await.status,
            };
            let came_before = |other| order.find(other) < order.find(call);
            let expected = match call {
                'R' if came_before('F') => 409,
                'R' => 201,
                'H' if came_before('R') && !came_before('F') => 200,
                'H' => 404,
                _ => 204,
            };
            assert_eq!(status, expected, "{call} of {order}");
        }
        let server = server(&hub).await;
        assert_eq!(server["connectedInstances"], 1, "{order}: {server}");
    }
    let mut events = hub.subscribe("replay=1000&type=server_*").await;
    events.opened("replay").await;
    assert!(events.next_event().await.is("server_connected"));
    for order in orders
        .into_iter()
        .filter(|order| order.find('R') < order.find('F'))
    {
        for kind in ["server_instance_connected", "server_instance_disconnected"] {
            let event = events.next_event().await.json();
            assert_eq!(
                (&event["type"], &event["data"]["instanceId"]),
                (&json!(kind), &json!(order))
            );
        }
    }
}

#[tokio::test]
async fn a_crash_that_a_supervisor_reports_counts_until_it_is_mended() {
    let hub = TestHub::start().await;
    let status = async || {
        let status = hub.client.get("/status").await.json();
        (status["status"].clone(), status["lostServers"].clone())
    };
    let crash = "reason=killed%20by%20signal%209&expected=false";
    let mut events = hub.subscribe("").await;
    two(&hub).await;
    // Of one of two it is told, and turns nothing red.
    leave(&hub, &format!("instanceId=i-1&{crash}")).await;
    let one = events.next_named("server_instance_disconnected").await;
    assert_eq!(
        (
            &one.json()["data"]["reason"],
            &one.json()["data"]["expected"]
        ),
        (&json!("killed by signal 9"), &json!(false))
    );
    assert_eq!(status().await, (json!("healthy"), json!(0)));
    assert_eq!(shown(&hub, "i-1").await["status"], "lost");

    leave(&hub, &format!("instanceId=i-2&{crash}")).await;
    let last = events.next_named("server_disconnected").await.json();
    assert_eq!(
        (&last["data"]["reason"], &last["data"]["expected"]),
        (&json!("killed by signal 9"), &json!(false))
    );
    let turned = events.next_named("integration_status_changed").await.json();
    assert_eq!(
        (&turned["data"]["status"], &turned["data"]["lost"]),
        (&json!("unhealthy"), &json!(["alpha"]))
    );
    assert_eq!(status().await, (json!("unhealthy"), json!(1)));
    let lost = server(&hub).await;
    assert_eq!(
        (&lost["health"], &lost["expected"]),
        (&json!("unhealthy"), &json!(false))
    );
    let listed = hub.client.get("/snapshot").await.json()["servers"][0].clone();
    assert_eq!(listed, lost, "one view everywhere");

    // It returns; it crashes again, and is deregistered as expected.
    register(&hub, "i-4").await;
    assert_eq!(status().await, (json!("healthy"), json!(0)));
    leave(&hub, crash).await;
    assert_eq!(status().await, (json!("unhealthy"), json!(1)));
    leave(&hub, "").await;
    assert_eq!(status().await, (json!("healthy"), json!(0)));
    // A reason of the hub's own vocabulary says what is expected by itself.
    register(&hub, "i-5").await;
    leave(&hub, "reason=probe_failed").await;
    assert_eq!(status().await, (json!("unhealthy"), json!(1)));
    leave(&hub, "reason=removed").await;
    assert_eq!(status().await, (json!("healthy"), json!(0)));
    assert_eq!(server(&hub).await["expected"], true);
}

#[tokio::test]
async fn a_heartbeat_that_could_be_anyones_is_nobodys() {
    let hub = TestHub::start().await;
    register(&hub, "i-1").await;
    assert_eq!(beat(&hub, json!({})).await.status, 200, "there is but one");
    register(&hub, "i-2").await;
    let problem = beat(&hub, json!({"health": "unhealthy"})).await;
    let problem = problem.problem(404, "server-not-registered");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("2 instances") && detail.contains("instanceId"),
        "{detail}"
    );
    let batch = json!([{"id": "alpha"}, {"id": "alpha", "instanceId": "i-2", "health": "degraded"},
        {"id": "alpha", "instanceId": "i-1"}]);
    let results = hub.client.post("/heartbeats", &batch).await.json()["results"].clone();
    assert_eq!(
        (&results[0]["status"], &results[0]["type"]),
        (&json!(404), &json!("server-not-registered"))
    );
    assert_eq!(
        (&results[1]["health"], &results[2]["health"]),
        (&json!("degraded"), &json!("healthy"))
    );
    // One that has no name is an instance of its own, and is meant by who names none.
    let mut nameless = described("i-1");
    nameless.as_object_mut().unwrap().remove("instanceId");
    assert_eq!(hub.client.post("/servers", &nameless).await.status, 201);
    assert_eq!(beat(&hub, json!({})).await.status, 200);
    assert_eq!(server(&hub).await["connectedInstances"], 3);
    assert_eq!(shown(&hub, "i-1").await["health"], "healthy");
}

#[tokio::test]
async fn a_restart_with_many_instances_raises_no_storm() {
    let hub = TestHub::start().await;
    for n in 0..60 {
        let mut body = described(&format!("i-{}", n / 20));
        body["id"] = json!(format!("s-{}", n % 20));
        assert_eq!(hub.client.post("/servers", &body).await.status, 201);
    }
    let head = hub.client.get("/status").await.json()["lastEventId"].clone();
    let hub = hub.restart().await;
    let mut events = hub.subscribe("snapshot").await;
    events.opened("live").await;
    let snapshot = events.next().await.json();
    let servers = snapshot["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 20);
    for instance in servers
        .iter()
        .flat_map(|server| server["instances"].as_array().unwrap())
    {
        assert_eq!(
            (&instance["health"], &instance["missedHeartbeats"]),
            (&json!("healthy"), &json!(0))
        );
    }
    assert_eq!(
        hub.client.get("/status").await.json()["lastEventId"],
        head,
        "nothing was told"
    );
    // Each of them goes on, and nothing is told by that either.
    let beats: Vec<_> = (0..60)
        .map(|n| json!({"id": format!("s-{}", n % 20), "instanceId": format!("i-{}", n / 20)}))
        .collect();
    let reply = hub.client.post("/heartbeats", &json!(beats)).await.json();
    assert!(
        reply["results"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["status"] == 200),
        "{reply}"
    );
    let bye = hub
        .client
        .send(Method::DELETE, "/servers/s-7?instanceId=i-1", &[], "")
        .await;
    assert_eq!(bye.status, 204);
    assert!(events.next_event().await.is("server_instance_disconnected"));
}
