//! The examples run against the real binary, and print what they promise.

use std::{path::PathBuf, process::Stdio};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::support::{HubProcess, PATIENCE};

#[tokio::test]
async fn the_missions_story_is_told_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(directory.path(), &[]).await;
    for run in 1..=2 {
        let told = Command::new(example("event_driven"))
            .env("TIMEBACK_EVENTS_URL", format!("http://{}", hub.address))
            .kill_on_drop(true)
            .output();
        let told = timeout(3 * PATIENCE, told)
            .await
            .expect("it ends")
            .expect("it starts");
        let (text, complaint) = (
            String::from_utf8_lossy(&told.stdout),
            String::from_utf8_lossy(&told.stderr),
        );
        assert!(told.status.success(), "run {run}: {text}{complaint}");
        for line in [
            "roster offers get-class-students",
            "fetch-roster → {\"students\":24} (1 of 3)",
            "the listener loses its connection",
            "stream: resumed",
            "\"Personalized assessment\" in ",
            "is degraded: no heartbeat for",
            "is gone: heartbeat_timeout",
            "the gradebook does not answer, will be tried again",
            "alert.raised",
            "every one once and in order, across one lost connection",
        ] {
            assert!(text.contains(line), "run {run}: {line}\n{text}");
        }
    }
    hub.kill().await;
}

#[tokio::test]
async fn the_missions_snippet_hears_everything_across_a_crash_of_the_hub() {
    if std::process::Command::new("node")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: node is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let variables = [
        ("INTEGRATION_SSE_PORT", port.as_str()),
        ("INTEGRATION_SSE_RETRY_MS", "100"),
    ];
    let hub = HubProcess::start(directory.path(), &variables).await;
    let (_manager, mut lines) = integration_manager(&hub);
    while hub.client.get("/status").await.json()["sseClients"] != 1 {
        tokio::task::yield_now().await;
    }
    let lms =
        json!({"id": "lms-1", "name": "LMS", "transport": "http", "heartbeatIntervalMs": 300_000});
    assert_eq!(hub.client.post("/servers", &lms).await.status, 201);
    assert_eq!(next(&mut lines).await, "New server connected: LMS");
    hub.kill().await;

    let hub = HubProcess::start(directory.path(), &variables).await;
    hub.client
        .post(
            "/workflows",
            &json!({"id": "wf-1", "name": "w", "steps": ["only"]}),
        )
        .await;
    hub.client
        .post(
            "/workflows/wf-1/steps/only",
            &json!({"status": "completed"}),
        )
        .await;
    assert_eq!(hub.client.delete("/servers/lms-1").await.status, 204);
    assert_eq!(
        next(&mut lines).await,
        "Workflow wf-1 completed successfully"
    );
    assert_eq!(next(&mut lines).await, "Server disconnected: lms-1");
    hub.kill().await;
}

fn integration_manager(hub: &HubProcess) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new("node")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/integration-manager.mjs"
        ))
        .env("TIMEBACK_EVENTS_URL", format!("http://{}", hub.address))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node starts");
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = timeout(PATIENCE, lines.next_line())
        .await
        .expect("it prints in time");
    line.expect("text").expect("it goes on")
}

/// Where cargo puts an example, beside the binary.
fn example(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_timeback-events"))
        .with_file_name("examples")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo test` or `cargo build --examples` makes it",
        path.display()
    );
    path
}
