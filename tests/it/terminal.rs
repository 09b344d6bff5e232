//! The terminal's commands: the real binary against a real hub, as a person or a shell script runs it.

mod binary;

use std::{net::SocketAddr, process::Stdio};

use base64::Engine as _;
use http::Method;
use serde_json::{Value, json};
use timeback_events::config::Tls;
use tokio::{io::AsyncWriteExt, time::timeout};

use self::binary::{Running, command, end_of, run};
use crate::support::{HubProcess, PATIENCE, TestHub};

#[tokio::test]
async fn tail_tells_events_in_words_and_ends_with_0() {
    let hub = TestHub::start().await;
    let mut tail = Running::start(hub.address, &["tail"]);
    tail.note("-- live at http://127.0.0.1:").await;
    hub.client.register("alpha").await;
    let line = tail.line().await;
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words[1..],
        ["server_connected", "alpha", "alpha,", "http"],
        "{line}"
    );
    assert_eq!(words[0].len(), "12:34:56".len(), "{line}");
    assert!(!line.contains('\u{1b}'), "no colours where no one looks");
    assert_eq!(tail.interrupt().await, 0);
}

#[tokio::test]
async fn what_others_sent_never_drives_the_terminal() {
    let hub = TestHub::start().await;
    let nasty = "\u{1b}]0;owned\u{7}Words\u{1b}[2J\nsecond\u{9b}2J";
    hub.client.register("x").await;
    let health = json!({"health": "degraded", "detail": nasty});
    hub.client.post("/servers/x/heartbeat", &health).await;
    hub.client.emit("a.b", json!({"c1": nasty})).await;
    let flow = json!({"id": "wf", "name": "W", "steps": ["one"]});
    hub.client.post("/workflows", &flow).await;
    let failed = json!({"status": "failed", "error": nasty});
    let reply = hub.client.post("/workflows/wf/steps/one", &failed).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let tail = [
        "tail",
        "--after",
        "earliest",
        "--type",
        "a.b,workflow_*",
        "--count",
        "4",
    ];
    for arguments in [
        &tail[..],
        &[&tail[..], &["--json"]].concat(),
        &["status"],
        &["status", "--json"],
    ] {
        let ended = run(hub.address, arguments).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let obeyed = |c: char| c.is_control() && c != '\n';
        assert!(!ended.out.contains(obeyed), "{arguments:?}: {ended:?}");
        if arguments[0] == "tail" {
            assert_eq!(ended.out.lines().count(), 4, "{ended:?}");
            assert!(ended.out.contains("Words"), "{ended:?}");
        }
    }
}

/// Events that are odd but legal; a line each.
const ODD: &str = include_str!("../odd-events.jsonl");

#[tokio::test]
async fn every_odd_event_has_its_lines_and_drives_nothing() {
    let hub = TestHub::start().await;
    for id in ["lms", "sis"] {
        hub.client.register(id).await;
    }
    let flow = json!({"id": "w", "name": "\u{202e}W", "steps": ["a", "b"]});
    hub.client.post("/workflows", &flow).await;
    for line in ODD.lines() {
        let json = [("content-type", "application/json")];
        // Some are refused by now: what only an older log could hold.
        hub.client.send(Method::POST, "/events", &json, line).await;
    }
    hub.client
        .emit("odd.huge", json!({"text": "x\u{1b}".repeat(30_000)}))
        .await;
    let last = hub.client.emit("odd.last", json!({"seen": true})).await;
    let status = hub.client.get("/status").await.json();
    assert_eq!(status["lastEventId"], last.as_str());
    let place = last.rsplit_once('-').expect("a place").1;
    let count: usize = place.parse().expect("a number");
    assert!(count > 100, "{count} were taken");

    let number = count.to_string();
    let tail = ["tail", "--after", "earliest", "--count", &number];
    let plain = run(hub.address, &tail).await;
    let json = run(hub.address, &[&tail[..], &["--json"]].concat()).await;
    let status = run(hub.address, &["status"]).await;
    let whole = run(hub.address, &["status", "--json"]).await;
    for ended in [&plain, &json, &status, &whole] {
        assert_eq!(ended.code, 0, "{}", ended.err);
        let obeyed = |c: char| {
            let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            turns || (c.is_control() && c != '\n')
        };
        let line = ended.out.lines().find(|line| line.contains(obeyed));
        assert_eq!(line, None);
    }
    assert_eq!(plain.out.lines().count(), count);
    assert_eq!(json.out.lines().count(), count);
    for digits in ["4634343214213523454", "123456789012345678901234567890"] {
        for ended in [&plain, &json] {
            assert!(ended.out.contains(&format!("\"orderId\":{digits},")));
        }
    }
    assert!(plain.out.contains("\"all pupils are in\""));
    assert!(plain.out.lines().last().expect("one").contains("odd.last"));
    assert!(status.out.contains("sis"), "{}", status.out);
}

#[tokio::test]
async fn tail_takes_the_filters_of_the_stream() {
    let hub = TestHub::start().await;
    hub.client.register("alpha").await;
    hub.client.register("beta").await;
    hub.client.emit("a.b", json!({"n": 1})).await;
    hub.client.emit("a.c", json!({"n": 2})).await;
    for (arguments, types) in [
        (
            &["--after", "earliest", "--type", "a.*", "--count", "2"][..],
            vec!["a.b", "a.c"],
        ),
        (
            &["--since", "1h", "--type", "a.b", "--count", "1"],
            vec!["a.b"],
        ),
        (
            &["--since", "1h", "--server", "beta", "--count", "1"],
            vec!["server_connected"],
        ),
        (&["--replay", "1", "--count", "1"], vec!["a.c"]),
    ] {
        let ended = run(hub.address, &[&["tail", "--json"], arguments].concat()).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let seen: Vec<String> = ended
            .out
            .lines()
            .map(|line| {
                let envelope: Value = serde_json::from_str(line).expect("JSON");
                envelope["type"].as_str().expect("a type").to_owned()
            })
            .collect();
        assert_eq!(seen, types, "{arguments:?}");
    }
}

#[tokio::test]
async fn tail_goes_on_after_a_crash_with_nothing_lost_and_nothing_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let retry = ("INTEGRATION_SSE_RETRY_MS", "100");
    let hub = HubProcess::start(directory.path(), &[retry]).await;
    let port = hub.address.port().to_string();
    let mut tail = Running::start(hub.address, &["tail", "--json", "--type", "n.*"]);
    tail.note("live at").await;
    hub.client.emit("n.one", json!({})).await;
    assert_eq!(tail.json().await["type"], "n.one");
    hub.kill().await;
    tail.note("interrupted").await;

    let again = [retry, ("INTEGRATION_SSE_PORT", port.as_str())];
    let hub = HubProcess::start(directory.path(), &again).await;
    let mut sent = Vec::new();
    for name in ["n.two", "n.three", "n.four"] {
        sent.push(hub.client.emit(name, json!({})).await);
    }
    for id in sent {
        assert_eq!(tail.json().await["id"], id);
    }
    tail.note("back: nothing was missed").await;
    assert_eq!(tail.interrupt().await, 0);
}

#[tokio::test]
async fn tail_says_why_the_hub_closes_and_what_is_missing() {
    let hub = TestHub::start().await;
    let mut tail = Running::start(hub.address, &["tail"]);
    tail.note("live at").await;
    hub.drain();
    let note = tail.note("closes the stream").await;
    assert!(
        note.contains("it is shutting down; trying again in"),
        "{note}"
    );

    let hub = TestHub::start().await;
    let mut tail = Running::start(hub.address, &["tail", "--after", "000000000000-7"]);
    tail.note("gap: this hub has another log").await;
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_tail_quietly() {
    let hub = TestHub::start().await;
    let mut tail = Running::start(hub.address, &["tail", "--json"]);
    tail.note("live at").await;
    let Running {
        mut child,
        out,
        mut err,
    } = tail;
    drop(out);
    hub.client.emit("a.b", json!({})).await;
    let status = timeout(PATIENCE, child.wait()).await.expect("it ends");
    assert_eq!(status.expect("a status").code(), Some(0));
    assert_eq!(err.next_line().await.expect("text"), None);
}

#[tokio::test]
async fn status_shows_the_fleet_and_its_exit_codes_tell_scripts() {
    let hub = TestHub::start().await;
    let ended = run(hub.address, &["status"]).await;
    assert!(ended.out.contains("No server is registered"), "{ended:?}");

    hub.client.register("alpha").await;
    hub.client.register("beta").await;
    let ill = json!({"health": "unhealthy", "detail": "the disk is full"});
    hub.client.post("/servers/beta/heartbeat", &ill).await;
    let flow = json!({"id": "wf", "name": "W", "steps": ["one", "two"]});
    hub.client.post("/workflows", &flow).await;
    for (step, status) in [("one", "completed"), ("two", "running")] {
        let report = json!({"status": status, "serverId": "alpha"});
        hub.client
            .post(&format!("/workflows/wf/steps/{step}"), &report)
            .await;
    }
    let mut watched = hub
        .subscribe("type=integration_status_changed&replay=1")
        .await;
    watched.next_named("integration_status_changed").await;

    let ended = run(hub.address, &["status"]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let find = |start: &str| {
        let line = ended.out.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("{start}: {}", ended.out));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(ended.out.starts_with("● degraded  http://127.0.0.1:"));
    assert_eq!(
        find("beta"),
        "beta unhealthy just now http 0 the disk is full"
    );
    assert_eq!(find("alpha"), "alpha healthy just now http 0");
    assert!(find("wf").starts_with("wf ██████████░░░░░░░░░░ 1/2 "));
    assert!(find("wf").ends_with(" two on alpha"), "{}", find("wf"));

    assert_eq!(run(hub.address, &["status", "--exit-code"]).await.code, 1);
    let ended = run(hub.address, &["status", "--json"]).await;
    let snapshot: Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(snapshot["status"], "degraded");
    assert_eq!(run(hub.address, &["status", "--colour"]).await.code, 2);
}

#[tokio::test]
async fn status_watches_without_a_clock() {
    let hub = TestHub::start().await;
    let mut watch = Running::start(hub.address, &["status", "--watch", "--json"]);
    assert_eq!(watch.json().await["servers"], json!([]));
    hub.client.register("alpha").await;
    loop {
        let snapshot = watch.json().await;
        if snapshot["servers"][0]["id"] == "alpha" {
            break;
        }
    }
    assert_eq!(watch.interrupt().await, 0);
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_3() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    for arguments in [&["status"][..], &["report", "heartbeat", "a"]] {
        let ended = run(address, arguments).await;
        assert_eq!((ended.code, ended.out.as_str()), (3, ""), "{ended:?}");
        let line =
            format!("error: the hub at http://{address} can't be reached: connection refused\n");
        assert_eq!(ended.err, line);
    }
    let ended = run(address, &["status", "--url", "ftp://x"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
}

#[tokio::test]
async fn a_shell_script_runs_a_workflow() {
    let hub = TestHub::start().await;
    let report = async |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let ended = run(hub.address, &[&["report"], arguments.as_slice()].concat()).await;
        (ended.code, ended.out.trim_end().to_owned(), ended.err)
    };
    for (arguments, out) in [
        (
            "server --id alpha --name Alpha --transport http --tag env=prod --tool map --heartbeat-ms 300000",
            "alpha",
        ),
        ("heartbeat alpha", "healthy"),
        (
            "heartbeat alpha --health degraded --detail slow",
            "degraded",
        ),
        (
            "workflow --id wf --name W --step one --step two,after=one,server=alpha,retries=1",
            "wf",
        ),
        ("step wf one completed --result {\"n\":3}", "completed"),
        ("step wf two running --server alpha", "1"),
        (
            "step wf two failed --server alpha --attempt 1 --error tired",
            "ready",
        ),
        ("step wf two running --server alpha", "2"),
        (
            "step wf two completed --server alpha --attempt 2",
            "completed",
        ),
        ("gone alpha --reason maintenance&more", ""),
    ] {
        assert_eq!(
            report(arguments).await,
            (0, out.to_owned(), String::new()),
            "{arguments}"
        );
    }
    let server = hub.client.get("/servers/alpha").await.json();
    assert_eq!(server["tags"], json!({"env": "prod"}));
    assert_eq!(server["reason"], "maintenance&more");
    let flow = hub.client.get("/workflows/wf").await.json();
    assert_eq!(flow["status"], "completed");
    assert_eq!(flow["steps"][0]["result"], json!({"n": 3}));
    let (_, id, _) = report("event grades.synced --data {\"n\":3}").await;
    assert_eq!(
        hub.client.get(&format!("/events/{id}")).await.json()["data"],
        json!({"n": 3})
    );
    let (_, whole, _) = report("event grades.synced --json").await;
    assert!(serde_json::from_str::<Value>(&whole).expect("JSON")["ids"][0].is_string());

    for (arguments, code, words) in [
        ("heartbeat nobody", 4, "server nobody is not registered"),
        ("step wf none completed", 4, "none"),
        ("step wf one failed --error x", 5, ""),
        (
            "server --id alpha --name Alpha --heartbeat-ms 1",
            2,
            "/heartbeatIntervalMs must be",
        ),
        ("workflow --name W --step a,after=b", 2, "b"),
        ("event nonsense", 2, "/type is no known type"),
        ("event a.b --data {", 2, "--data: no JSON"),
        ("step wf one finished", 2, "running, completed, failed"),
        ("heartbeat ../status", 2, "id"),
    ] {
        let (got, out, err) = report(arguments).await;
        assert_eq!((got, out.as_str()), (code, ""), "{arguments}: {err}");
        assert!(
            err.starts_with("error: ") && err.contains(words),
            "{arguments}: {err}"
        );
    }
}

#[tokio::test]
async fn a_workflow_comes_from_a_file_or_standard_input() {
    let hub = TestHub::start().await;
    let mut report = command(hub.address, &["report", "workflow", "-", "--id", "mine"]);
    let mut child = report.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("its input");
    input
        .write_all(br#"{"name": "W", "steps": [{"id": "a"}]}"#)
        .await
        .expect("it reads");
    drop(input);
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("it ends").expect("it runs");
    assert_eq!(output.stdout, b"mine\n");
    let flow = hub.client.get("/workflows/mine").await.json();
    assert_eq!(flow["steps"][0]["id"], "a");
}

#[tokio::test]
async fn a_token_opens_the_door_and_is_never_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (keys, token) = (file("keys.json"), file("token"));
    let new = [
        "key", "new", "--name", "a", "--scope", "read", "--file", &keys,
    ];
    let made = run(nowhere, &new).await;
    assert_eq!(made.code, 0, "{made:?}");
    std::fs::write(&token, &made.out).expect("it is written");
    let hub = TestHub::start_with(|config| config.auth.api_keys = Some(keys.into())).await;

    let ended = run(hub.address, &["status", "--token-file", &token]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let mut right = command(hub.address, &["status", "--json"]);
    right.env("TIMEBACK_EVENTS_TOKEN", made.out.trim());
    assert_eq!(end_of(right).await.code, 0);
    let mut wrong = command(hub.address, &["status"]);
    wrong.env("TIMEBACK_EVENTS_TOKEN", "not-the-token");
    let ended = end_of(wrong).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("--token-file"), "{ended:?}");
    assert!(!ended.err.contains("not-the-token"), "{ended:?}");
    let missing = run(hub.address, &["status", "--token-file", "nowhere"]).await;
    assert_eq!(missing.code, 2, "{missing:?}");
}

#[tokio::test]
async fn a_hub_behind_tls_is_followed_alike() {
    let directory = tempfile::tempdir().expect("a directory");
    let (cert, key) = (
        directory.path().join("cert.pem"),
        directory.path().join("key.pem"),
    );
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(&cert, pem("CERTIFICATE", made.cert.der())).expect("it is written");
    std::fs::write(&key, pem("PRIVATE KEY", &made.signing_key.serialize_der()))
        .expect("it is written");
    let trusted = cert.clone();
    let hub = TestHub::start_with(|config| config.tls = Some(Tls { cert, key })).await;
    let url = format!("https://{}", hub.address);

    let mut status = command(hub.address, &["status", "--url", &url]);
    status.env("SSL_CERT_FILE", &trusted);
    let ended = end_of(status).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(
        ended.out.starts_with(&format!("● healthy  {url}")),
        "{ended:?}"
    );
    let ended = run(hub.address, &["status", "--url", &url]).await;
    assert_ne!(ended.code, 0, "nobody vouches for it: {ended:?}");
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

#[tokio::test]
async fn completions_and_manual_pages_know_every_command() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let bash = run(nowhere, &["completions", "bash"]).await.out;
    let man = run(nowhere, &["man"]).await.out;
    for command in ["tail", "status", "report"] {
        assert!(
            bash.contains(&format!("timeback__events__subcmd__{command}"))
                || bash.contains(&format!("timeback__events__{command}"))
        );
        assert!(
            man.contains(&format!("timeback\\-events\\-{command}")),
            "{man}"
        );
    }
    let page = run(nowhere, &["man", "report", "step"]).await.out;
    assert!(page.contains("\\-\\-attempt"), "{page}");
    assert_eq!(run(nowhere, &["man", "nothing"]).await.code, 1);
}

#[tokio::test]
async fn numbers_pass_through_the_terminal_unchanged() {
    const DATA: &str = r#"{"n":123456789012345678901234567890,"x":1.50}"#;
    let hub = TestHub::start().await;
    let sent = run(hub.address, &["report", "event", "a.b", "--data", DATA]).await;
    assert_eq!(sent.code, 0, "{}", sent.err);
    let flow = [
        "report", "workflow", "--id", "w", "--name", "W", "--step", "a",
    ];
    run(hub.address, &flow).await;
    let step = [
        "report",
        "step",
        "w",
        "a",
        "completed",
        "--result",
        DATA,
        "--json",
    ];
    let step = run(hub.address, &step).await;
    let replay = ["tail", "--replay", "1", "--type", "a.b", "--count", "1"];
    let words = run(hub.address, &replay).await;
    let json = run(hub.address, &[&replay[..], &["--json"]].concat()).await;
    let status = run(hub.address, &["status", "--json"]).await;
    for shown in [step, words, json, status] {
        assert!(shown.out.contains(DATA), "{} {}", shown.out, shown.err);
    }
}
