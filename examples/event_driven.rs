//! Three MCP servers work as one by listening to each other, and a dashboard watches.
//!
//! ```text
//! cargo run --release                          # the hub, in one terminal
//! cargo run --release --example event_driven   # this, in another
//! ```
//!
//! What happens: three servers connect; a workflow runs across them, each waiting for the others' events; the
//! listener loses its connection in the midst of it and misses nothing; one server falls silent and the hub says
//! why its light is red; a second workflow fails, and the listener reacts. `TIMEBACK_EVENTS_URL` names another hub.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use timeback_events::client::{Client, ClientError, Received, StreamItem};
use tokio::sync::{mpsc, oneshot};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let url =
        std::env::var("TIMEBACK_EVENTS_URL").unwrap_or_else(|_| "http://127.0.0.1:3001".to_owned());
    let token = std::env::var("TIMEBACK_EVENTS_TOKEN").ok();
    let hub = Client::new(&url, token.as_deref())?;
    if let Err(error) = hub.get("/status").await {
        eprintln!("{error}\n\nStart the hub first:  cargo run --release");
        std::process::exit(1);
    }
    // Every run has ids of its own, so that the example can be run again on the same log.
    let run = format!("{:x}", std::process::id());
    let story = Story {
        hub,
        run,
        started: Instant::now(),
    };
    story.tell().await
}

struct Story {
    hub: Client,
    run: String,
    started: Instant,
}

impl Story {
    async fn tell(&self) -> Result<()> {
        println!("\n  The hub is {}\n", self.hub.base());
        let (seen, mut told) = mpsc::channel(256);
        let (listening, listens) = oneshot::channel();
        let listener = tokio::spawn(listen(
            self.hub.clone(),
            self.run.clone(),
            self.started,
            seen,
            listening,
        ));
        // Nothing happens before somebody listens.
        listens.await?;

        self.chapter("Three servers connect");
        for (role, tool) in [
            ("roster", "get-class-students"),
            ("timeback", "map-integration"),
            ("analytics", "track"),
        ] {
            self.register(role, tool, 300_000).await?;
        }
        for _ in 0..3 {
            wait_for(&mut told, "server_connected").await?;
        }

        self.chapter("A workflow runs across them: each waits for the others' events");
        let flow = self.id("assessment");
        let workers = [
            tokio::spawn(work(
                self.hub.clone(),
                self.id("roster"),
                flow.clone(),
                json!({"students": 24}),
            )),
            tokio::spawn(work(
                self.hub.clone(),
                self.id("timeback"),
                flow.clone(),
                json!({"assessments": 24}),
            )),
            tokio::spawn(work(
                self.hub.clone(),
                self.id("analytics"),
                flow.clone(),
                json!({"profiles": 24}),
            )),
        ];
        self.hub
            .post("/workflows", &json!({
                "id": flow, "name": "Personalized assessment", "steps": [
                    {"id": "fetch-roster", "server": self.id("roster"), "tool": "get-class-students"},
                    {"id": "create-assessments", "server": self.id("timeback"), "dependsOn": ["fetch-roster"]},
                    {"id": "set-up-tracking", "server": self.id("analytics"), "dependsOn": ["create-assessments"]}
                ]
            }))
            .await?;
        wait_for(&mut told, "workflow_completed").await?;
        for worker in workers {
            worker.await??;
        }

        self.chapter("One server falls silent: its light turns red, and says why");
        self.register("gradebook", "sync-grades", 300).await?;
        wait_for(&mut told, "server_disconnected").await?;

        self.chapter("A workflow fails, and the listener reacts");
        let flow = self.id("grade-sync");
        self.hub
            .post("/workflows", &json!({"id": flow, "name": "Grade sync", "steps": [{"id": "push-grades", "retries": 1}]}))
            .await?;
        for attempt in 1..=2 {
            let claim = json!({"status": "running", "serverId": self.id("timeback")});
            self.hub.report_step(&flow, "push-grades", &claim).await?;
            let failed = json!({
                "status": "failed", "serverId": self.id("timeback"), "attempt": attempt,
                "error": "the gradebook does not answer"
            });
            self.hub.report_step(&flow, "push-grades", &failed).await?;
        }
        wait_for(&mut told, "alert.raised").await?;

        self.chapter("Everybody goes home");
        for role in ["roster", "timeback", "analytics"] {
            self.hub
                .delete(&format!(
                    "/servers/{}?reason=done%20for%20today",
                    self.id(role)
                ))
                .await?;
        }
        self.hub
            .delete(&format!("/servers/{}", self.id("gradebook")))
            .await?;
        for _ in 0..3 {
            wait_for(&mut told, "server_disconnected").await?;
        }
        drop(told);
        let heard = listener.await??;
        println!(
            "\n  The listener heard {heard} events, every one once and in order, across one lost connection.\n"
        );
        Ok(())
    }

    fn chapter(&self, title: &str) {
        println!(
            "\n  {:>6.2} s  ── {title}",
            self.started.elapsed().as_secs_f64()
        );
    }

    fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.run)
    }

    async fn register(&self, role: &str, tool: &str, heartbeat_ms: u64) -> Result<()> {
        let server = json!({
            "id": self.id(role), "name": role, "transport": "http", "version": "1.0.0",
            "capabilities": {"tools": [tool]}, "tags": {"example": self.run}, "heartbeatIntervalMs": heartbeat_ms
        });
        self.hub.register(&server).await?;
        Ok(())
    }
}

/// An MCP server's part: it waits until a step is ready for it, does it, and tells the result.
async fn work(
    hub: Client,
    server: String,
    workflow: String,
    result: Value,
) -> std::result::Result<(), ClientError> {
    loop {
        let path = format!("/steps?serverId={server}&status=ready&workflowId={workflow}&wait=30s");
        let ready = hub.get(&path).await?;
        let Some(step) = ready["steps"][0]["id"].as_str() else {
            continue;
        };
        let claim = hub
            .report_step(
                &workflow,
                step,
                &json!({"status": "running", "serverId": server}),
            )
            .await?;
        let done = json!({"status": "completed", "serverId": server, "attempt": claim["attempt"], "result": result});
        hub.report_step(&workflow, step, &done).await?;
        return Ok(());
    }
}

/// The dashboard's part: it prints what happens, loses its connection once, and raises an alert where a workflow
/// fails. Ends when nobody wants to hear of it any more; tells how many events there were.
async fn listen(
    hub: Client,
    run: String,
    started: Instant,
    seen: mpsc::Sender<Received>,
    listening: oneshot::Sender<()>,
) -> Result<u64> {
    let mut listening = Some(listening);
    let mut events = hub.events("");
    let (mut heard, mut last, mut dropped) = (0, 0, false);
    while !seen.is_closed() {
        let item = tokio::select! {
            item = events.next() => item?,
            () = seen.closed() => break,
        };
        let event = match item {
            StreamItem::Event(event) => event,
            StreamItem::Opened { verdict, .. } => {
                println!(
                    "  {:>6.2} s     · stream: {verdict}",
                    started.elapsed().as_secs_f64()
                );
                if let Some(listening) = listening.take() {
                    // The story may be over.
                    let _ = listening.send(());
                }
                continue;
            }
            StreamItem::Gap(gap) => return Err(format!("events are missing: {gap}").into()),
            StreamItem::Unreadable(frame) => {
                return Err(format!("a frame can't be read: {}", frame.cause).into());
            }
            StreamItem::Interrupted { cause, .. } => {
                println!(
                    "  {:>6.2} s     · stream: {cause}",
                    started.elapsed().as_secs_f64()
                );
                continue;
            }
            _ => continue,
        };
        let sequence = event.envelope["sequence"].as_u64().unwrap_or_default();
        assert!(sequence > last, "in order, and never twice");
        last = sequence;
        if !event.envelope.to_string().contains(&run) {
            continue;
        }
        heard += 1;
        println!(
            "  {:>6.2} s     {}",
            started.elapsed().as_secs_f64(),
            describe(&event)
        );
        if event.kind == "workflow_step_completed" && !dropped {
            dropped = true;
            println!(
                "  {:>6.2} s     · the listener loses its connection",
                started.elapsed().as_secs_f64()
            );
            events.drop_connection();
        }
        if event.kind == "workflow_failed" {
            let alert = json!({"about": event.envelope["data"]["workflowId"], "because": event.envelope["data"]["error"]});
            hub.emit("alert.raised", None, &alert).await?;
        }
        // The story may be over.
        let _ = seen.send(event).await;
    }
    Ok(heard)
}

fn describe(event: &Received) -> String {
    let data = &event.envelope["data"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let server = text(&event.envelope["serverId"]);
    let words = match event.kind.as_str() {
        "server_connected" => {
            format!(
                "{} offers {}",
                text(&data["connection"]["name"]),
                text(&data["connection"]["capabilities"]["tools"][0])
            )
        }
        "server_disconnected" => format!("{server} is gone: {}", text(&data["reason"])),
        "server_health_changed" => format!(
            "{server} is {}: {}",
            text(&data["health"]),
            text(&data["detail"])
        ),
        "workflow_started" => format!("{:?}, ready: {}", text(&data["name"]), data["readySteps"]),
        "workflow_step_started" => format!(
            "{} by {server}, attempt {}",
            text(&data["stepId"]),
            data["attempt"]
        ),
        "workflow_step_completed" => {
            format!(
                "{} → {} ({} of {})",
                text(&data["stepId"]),
                data["result"],
                data["completedSteps"],
                data["totalSteps"]
            )
        }
        "workflow_step_failed" => format!(
            "{}: {}{}",
            text(&data["stepId"]),
            text(&data["error"]),
            if data["willRetry"] == true {
                ", will be tried again"
            } else {
                ""
            }
        ),
        "workflow_completed" => format!("{:?} in {} ms", text(&data["name"]), data["durationMs"]),
        "workflow_failed" => format!("{:?}: {}", text(&data["name"]), text(&data["error"])),
        "integration_status_changed" => format!(
            "{} (was {})",
            text(&data["status"]),
            text(&data["previousStatus"])
        ),
        "alert.raised" => format!(
            "{}, because {}",
            text(&data["about"]),
            text(&data["because"])
        ),
        _ => data.to_string(),
    };
    format!("{:<26} {words}", event.kind)
}

async fn wait_for(told: &mut mpsc::Receiver<Received>, kind: &str) -> Result<()> {
    let found = tokio::time::timeout(Duration::from_secs(30), async {
        while let Some(event) = told.recv().await {
            if event.kind == kind {
                return true;
            }
        }
        false
    });
    if found.await? {
        Ok(())
    } else {
        Err(format!("no {kind} came").into())
    }
}
