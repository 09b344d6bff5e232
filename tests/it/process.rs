//! The binary as an operator meets it: signals, exit codes, first line, commands.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{EventStream, HubProcess};

fn command(arguments: &[&str], directory: &std::path::Path) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_timeback-events"))
        .args(arguments)
        .env_clear()
        .env("INTEGRATION_DATA_DIR", directory)
        .env("INTEGRATION_SSE_PORT", "0")
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

#[tokio::test]
async fn sigterm_drains_and_ends_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(directory.path(), &[]).await;
    let mut events = EventStream::open(hub.address, "/events", &[]).await;
    events.opened("live").await;
    let last = hub.client.emit("a.b", json!({})).await;
    let killed = Command::new("kill")
        .args(["-TERM", &hub.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(events.next_event().await.id(), last);
    let closing = events.next_named("stream_closing").await;
    assert_eq!(
        (closing.json(), closing.id()),
        (json!({"reason": "draining"}), last.as_str())
    );
    assert_eq!(events.next_or_end().await, None);
    assert!(hub.wait().await.success());
}

#[tokio::test]
async fn a_second_process_on_the_same_directory_is_refused_and_never_says_that_it_listens() {
    let directory = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(directory.path(), &[]).await;
    let second = command(&[], directory.path());
    assert!(!second.status.success());
    assert_eq!(String::from_utf8_lossy(&second.stdout), "");
    let complaint = String::from_utf8_lossy(&second.stderr);
    assert!(
        complaint.contains("in use by another process")
            && complaint.contains(&hub.id().to_string()),
        "{complaint}"
    );
    assert_eq!(
        hub.client.register("alpha").await.status,
        201,
        "the first is unharmed"
    );
    hub.kill().await;
}

#[test]
fn every_mistake_in_the_settings_is_told_at_once_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_timeback-events"))
        .env_clear()
        .env("INTEGRATION_SSE_PORT", "seventy")
        .env("INTEGRATION_HEARTBEAT_UNHEALTHY_AFTER", "20")
        .env("INTEGRATION_RETENTION_AGE", "-1d")
        .current_dir(directory.path())
        .output()
        .expect("it runs");
    assert!(!refused.status.success());
    let complaint = String::from_utf8_lossy(&refused.stderr);
    for name in [
        "INTEGRATION_SSE_PORT",
        "INTEGRATION_HEARTBEAT_UNHEALTHY_AFTER",
        "INTEGRATION_RETENTION_AGE",
    ] {
        assert!(complaint.contains(name), "{name}: {complaint}");
    }
}

#[test]
fn check_prints_what_is_in_effect() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join(".env"),
        "INTEGRATION_RETENTION_EVENTS=1234\nINTEGRATION_SSE_KEEPALIV_MS=5\n",
    )
    .unwrap();
    let checked = command(&["check"], directory.path());
    let warning = String::from_utf8_lossy(&checked.stderr);
    assert!(
        warning.contains("INTEGRATION_SSE_KEEPALIV_MS")
            && warning.contains("INTEGRATION_SSE_KEEPALIVE_MS"),
        "{warning}"
    );
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{text}");
    assert!(
        text.lines()
            .any(|line| line.contains("INTEGRATION_RETENTION_EVENTS") && line.contains("1234")),
        "{text}"
    );
}

/// The binary with these variables alone, in a directory.
fn with(
    arguments: &[&str],
    variables: &[(&str, &str)],
    directory: &std::path::Path,
) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_timeback-events"))
        .args(arguments)
        .env_clear()
        .env("INTEGRATION_SSE_PORT", "0")
        .envs(variables.iter().copied())
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

#[test]
fn check_and_a_start_name_every_mistake_at_once_missing_files_included() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "not a directory").unwrap();
    let variables = [
        ("INTEGRATION_API_KEYS_FILE", "/no/keys.json"),
        ("INTEGRATION_JWKS", "/no/jwks.json"),
        ("INTEGRATION_TLS_CERT", "/no/cert.pem"),
        ("INTEGRATION_TLS_KEY", "/no/key.pem"),
        ("INTEGRATION_DATA_DIR", "file/data"),
        ("INTEGRATION_RETENTION_AGE", "-1d"),
    ];
    for arguments in [&["check"][..], &[]] {
        let refused = with(arguments, &variables, directory.path());
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(refused.stdout.is_empty());
        for (name, _) in variables {
            assert!(told.contains(name), "{arguments:?} {name}: {told}");
        }
    }
    // Looking leaves nothing behind.
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn check_beside_a_running_hub_says_what_is_taken_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(directory.path(), &[]).await;
    let port = hub.address.port().to_string();
    let data = directory.path().display().to_string();
    let variables = [
        ("INTEGRATION_SSE_PORT", &*port),
        ("INTEGRATION_DATA_DIR", &*data),
    ];
    let checked = with(&["check"], &variables, directory.path());
    let told = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{told}");
    assert!(
        told.contains("in use by another process") && told.contains(&port),
        "{told}"
    );
    let refused = with(&[], &variables, directory.path());
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(
        told.contains("in use by another process") && told.contains(&port),
        "{told}"
    );
    hub.kill().await;
}

#[test]
fn an_empty_variable_is_an_unset_one_and_a_mark_before_env_says_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let env = "\u{feff}INTEGRATION_RETENTION_EVENTS=1234\nINTEGRATION_RETENTION_EVENTS=\n";
    std::fs::write(directory.path().join(".env"), env).unwrap();
    let empty = [
        ("INTEGRATION_RETENTION_EVENTS", ""),
        ("INTEGRATION_TLS_KEY", " "),
    ];
    let checked = with(&["check"], &empty, directory.path());
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{checked:?}"
    );
    assert!(text.contains("INTEGRATION_RETENTION_EVENTS=1234"), "{text}");
}

#[test]
fn passwords_in_addresses_are_never_printed() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, variables) in [
        (
            vec!["check"],
            [
                ("INTEGRATION_JWKS", "https://me:sesame@id.example/jwks"),
                ("INTEGRATION_JWT_AUDIENCE", "hub"),
            ],
        ),
        (
            vec!["check"],
            [
                ("INTEGRATION_JWKS", "http://me:sesame@id.example/jwks"),
                ("LOG_LEVEL", ""),
            ],
        ),
        (
            vec!["check"],
            [
                (
                    "INTEGRATION_SSE_CORS_ORIGINS",
                    "https://me:sesame@board.example",
                ),
                ("LOG_LEVEL", ""),
            ],
        ),
        (
            vec!["check"],
            [
                ("INTEGRATION_SSE_HOST", "http://me:sesame@localhost"),
                ("LOG_LEVEL", ""),
            ],
        ),
        (
            vec![],
            [
                ("INTEGRATION_ALLOWED_HOSTS", "https://me:sesame@a"),
                ("LOG_LEVEL", ""),
            ],
        ),
    ] {
        let output = with(&arguments, &variables, directory.path());
        let all = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&all);
        assert!(
            !text.contains("sesame") && text.contains("***@"),
            "{variables:?}: {text}"
        );
    }
}
