//! The wrapper in front of stdio servers: the real binary, between a client and a server that know nothing of it.
//! The servers are shell scripts, so that the tests need nothing beside the hub.

use std::{
    io::{Read, Write as _},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::support::{EventStream, PATIENCE, TestHub, until};

/// A server of the older era: it answers what it is asked, one line at a time, and dies when it is told to.
const SERVER: &str = r#"
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id": *\([0-9]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"Grades","version":"1.2"}}}\n' "$id" ;;
    *'"tools/list"'*) printf '{"result":{"tools":[{"name":"read","description":"%s","inputSchema":{}}]},"jsonrpc":"2.0","id":%s}\n' "${LIST:-reads}" "$id" ;;
    *'"die"'*) printf 'Error: API_KEY is not set\n' >&2; exit 7 ;;
    *'"tools/call"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"secret"}]}}\n' "$id" ;;
  esac
done
"#;

fn wrapper(url: &str, options: &[&str], server: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_timeback-events"));
    command
        .arg("wrap")
        .args(["--url", url])
        .args(options)
        .arg("--")
        .args(server)
        .env_remove("TIMEBACK_EVENTS_WRAPPED")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A client's side of a wrapped server.
struct Talk {
    process: Child,
}

impl Talk {
    fn start(address: SocketAddr, options: &[&str]) -> Self {
        Self::start_as(&mut wrapper(&url(address), options, &["sh", "-c", SERVER]))
    }

    fn start_as(command: &mut Command) -> Self {
        Self {
            process: command.spawn().expect("it starts"),
        }
    }

    fn send(&mut self, message: &Value) {
        let stdin = self.process.stdin.as_mut().expect("open");
        writeln!(stdin, "{message}").expect("it is taken");
    }

    async fn ask(mut self, id: u32, method: &str, params: Value) -> (Self, Value) {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        spawn_blocking(move || {
            let line = self.line();
            let answer: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(answer["id"], id);
            (self, answer)
        })
        .await
        .expect("an answer")
    }

    fn line(&mut self) -> String {
        read_line(self.process.stdout.as_mut().expect("open"))
    }

    async fn initialize(self) -> Self {
        let client = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "desk", "version": "2"}});
        self.ask(0, "initialize", client).await.0
    }

    /// Closes the client's side and waits for the end.
    async fn close(mut self) -> Output {
        drop(self.process.stdin.take());
        self.end().await
    }

    /// Waits for the end, the client's side still open.
    async fn end(mut self) -> Output {
        let stdin = self.process.stdin.take();
        spawn_blocking(|| {
            let ended = self.process.wait_with_output().expect("it ends");
            drop(stdin);
            ended
        })
        .await
        .expect("it ends")
    }

    /// Waits for a line that the server says by itself.
    async fn said(mut self) -> (Self, String) {
        spawn_blocking(move || {
            let line = self.line();
            (self, line)
        })
        .await
        .expect("a line")
    }

    /// Waits for a line on standard error.
    async fn noted(mut self) -> (Self, String) {
        spawn_blocking(move || {
            let stderr = self.process.stderr.as_mut().expect("open");
            let line = read_line(stderr);
            (self, line)
        })
        .await
        .expect("a line")
    }
}

fn read_line(from: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read(&mut byte).expect("readable") == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("UTF-8")
}

async fn connected(events: &mut EventStream, id: &str) -> Value {
    let event = events.next_named("server_connected").await.json();
    assert_eq!(event["serverId"], id);
    event["data"].clone()
}

#[tokio::test]
async fn a_wrapped_server_is_on_the_hub_as_its_client_sees_it() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    let options = ["--id", "grades", "--tag", "env:test", "--calls"];
    let talk = Talk::start(hub.address, &options).initialize().await;
    let data = connected(&mut events, "grades").await;
    assert_eq!(data["connection"]["name"], "Grades");
    assert_eq!(data["connection"]["version"], "1.2");
    assert_eq!(data["connection"]["transport"], "stdio");
    assert_eq!(data["connection"]["tags"], json!({"env": "test"}));
    assert_eq!(data["protocolVersion"], "2025-11-25");

    let (talk, _) = talk.ask(1, "tools/list", json!({})).await;
    let updated = events.next_named("server_updated").await.json();
    assert_eq!(
        updated["data"]["connection"]["capabilities"]["tools"][0]["name"],
        "read"
    );

    let call = json!({"name": "read", "arguments": {"path": "/private"}});
    let (talk, _) = talk.ask(2, "tools/call", call).await;
    let called = events.next_named("mcp.tool_called").await.json();
    assert_eq!(called["serverId"], "grades");
    assert_eq!(called["data"]["tool"], "read");
    assert_eq!(called["data"]["outcome"], "ok");
    assert!(!called.to_string().contains("private") && !called.to_string().contains("secret"));

    let ended = talk.close().await;
    assert_eq!(ended.status.code(), Some(0));
    let gone = events.next_named("server_disconnected").await.json();
    assert_eq!(
        (&gone["data"]["reason"], &gone["data"]["expected"]),
        (&json!("deregistered"), &json!(true))
    );
}

#[tokio::test]
async fn a_server_that_dies_says_why_and_ends_its_wrapper_alike() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    let mut talk = Talk::start(hub.address, &["--id", "grades"])
        .initialize()
        .await;
    connected(&mut events, "grades").await;
    talk.send(&json!({"id": 3, "method": "tools/call", "params": {"name": "die"}}));
    let ended = talk.end().await;
    assert_eq!(ended.status.code(), Some(7));
    assert_eq!(
        String::from_utf8_lossy(&ended.stderr),
        "Error: API_KEY is not set\n"
    );
    let gone = events.next_named("server_disconnected").await.json();
    assert_eq!(
        gone["data"]["reason"],
        "exited with 7: Error: API_KEY is not set"
    );
    assert_eq!(gone["data"]["expected"], false);
    assert_eq!(hub.client.get("/status").await.json()["lostServers"], 1);
}

#[tokio::test]
async fn a_server_that_cannot_even_start_is_told() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    let server = ["sh", "-c", "echo 'no such database' >&2; exit 3"];
    let talk = Talk::start_as(&mut wrapper(
        &url(hub.address),
        &["--id", "roster"],
        &server,
    ));
    assert_eq!(talk.end().await.status.code(), Some(3));
    connected(&mut events, "roster").await;
    let gone = events.next_named("server_disconnected").await.json();
    assert_eq!(gone["data"]["reason"], "exited with 3: no such database");
}

#[tokio::test]
async fn two_processes_of_one_id_are_instances_and_the_first_to_go_takes_nobody_along() {
    let hub = TestHub::start().await;
    let mut events = hub.subscribe("").await;
    let first = Talk::start(hub.address, &["--id", "grades"])
        .initialize()
        .await;
    connected(&mut events, "grades").await;
    let second = Talk::start(hub.address, &["--id", "grades"])
        .initialize()
        .await;
    let joined = events.next_named("server_instance_connected").await.json();
    assert_eq!(joined["data"]["connectedInstances"], 2);
    first.close().await;
    let left = events
        .next_named("server_instance_disconnected")
        .await
        .json();
    assert_eq!(left["data"]["connectedInstances"], 1);
    let server = hub.client.get("/servers/grades").await.json();
    assert_eq!(
        (&server["status"], &server["health"]),
        (&json!("connected"), &json!("healthy"))
    );
    second.close().await;
    events.next_named("server_disconnected").await;
}

#[tokio::test]
async fn bytes_pass_as_they_are_whatever_they_are() {
    let nobody = "http://127.0.0.1:9";
    let mut bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    bytes.extend(b"{\"id\":1,\r\n\n\xff\xfe not JSON, and no end");
    let mut cat = wrapper(nobody, &[], &["cat"]).spawn().expect("it starts");
    let mut stdin = cat.stdin.take().expect("open");
    let sent = bytes.clone();
    // Both ways at once, more than any pipe holds.
    let writing = std::thread::spawn(move || stdin.write_all(&sent).expect("it is taken"));
    let ended = spawn_blocking(|| cat.wait_with_output().expect("it ends"))
        .await
        .expect("it ends");
    writing.join().expect("written");
    assert!(
        ended.stdout == bytes,
        "{} of {} bytes",
        ended.stdout.len(),
        bytes.len()
    );
    assert_eq!(ended.status.code(), Some(0));
}

#[tokio::test]
async fn standard_error_passes_and_a_client_that_does_not_read_it_blocks_nobody() {
    let server = [
        "sh",
        "-c",
        "head -c 3000000 /dev/zero >&2; echo 'the last' >&2; echo done",
    ];
    let talk = Talk::start_as(&mut wrapper("http://127.0.0.1:9", &[], &server));
    // Standard error is not read before standard output has come.
    let (talk, line) = talk.said().await;
    assert_eq!(line, "done");
    let ended = talk.end().await;
    assert_eq!(ended.status.code(), Some(0));
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(text.contains("bytes of standard error were dropped"));
}

#[tokio::test]
async fn a_hub_that_is_away_is_said_once_and_met_when_it_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let talk = Talk::start(address, &["--id", "grades"]).initialize().await;
    let (talk, first) = talk.noted().await;
    assert!(first.contains("can't be reached"), "{first}");
    let port = address.port().to_string();
    let variables = [("INTEGRATION_SSE_PORT", port.as_str())];
    let hub = crate::support::HubProcess::start(directory.path(), &variables).await;
    until(PATIENCE, "the server to join", async || {
        hub.client.get("/servers/grades").await.status == 200
    })
    .await;
    let (talk, second) = talk.noted().await;
    assert!(second.contains("answers again"), "{second}");
    let ended = talk.close().await;
    assert!(ended.stderr.is_empty(), "{ended:?}");
    hub.kill().await;
}

#[tokio::test]
async fn a_hub_that_takes_calls_and_never_answers_delays_nothing() {
    // It accepts by its backlog alone.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = hanging.local_addr().expect("an address");
    let talk = Talk::start(address, &["--id", "grades"]).initialize().await;
    let (talk, _) = talk.ask(1, "tools/list", json!({})).await;
    assert_eq!(talk.close().await.status.code(), Some(0));
}

#[tokio::test]
async fn a_server_that_ignores_the_end_of_its_input_is_ended() {
    let server = [
        "sh",
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 1; done",
    ];
    let talk = Talk::start_as(&mut wrapper("http://127.0.0.1:9", &[], &server));
    let (talk, line) = talk.said().await;
    assert_eq!(line, "ready");
    let ended = talk.close().await;
    assert_eq!(ended.status.code(), Some(128 + 9));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_wrapper_that_is_killed_leaves_no_server_behind() {
    let server = [
        "sh",
        "-c",
        "trap '' HUP TERM; echo $$; while :; do sleep 1; done",
    ];
    let talk = Talk::start_as(&mut wrapper("http://127.0.0.1:9", &[], &server));
    let (mut talk, line) = talk.said().await;
    talk.process.kill().expect("killed");
    talk.process.wait().expect("gone");
    let stat = format!("/proc/{line}/stat");
    until(PATIENCE, "the server to die", async || {
        // A zombie has ended; somebody else has yet to take note.
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    })
    .await;
}

#[test]
fn a_wrapper_refuses_to_wrap_itself_directly_or_through_a_shim() {
    let own = env!("CARGO_BIN_EXE_timeback-events");
    let direct = wrapper("http://127.0.0.1:9", &[], &[own, "wrap", "--", "cat"]);
    // A shim that starts the wrapper of itself; the limit on processes is for the day that this test finds a bug.
    let shim = "ulimit -u 4000; exec \"$0\" wrap -- sh -c \"$1\" \"$0\" \"$1\"";
    let through = wrapper("http://127.0.0.1:9", &[], &["sh", "-c", shim, own, shim]);
    for mut command in [direct, through] {
        let ended = command.stdin(Stdio::null()).output().expect("it ends");
        assert_ne!(ended.status.code(), Some(0));
        let complaint = String::from_utf8_lossy(&ended.stderr);
        assert!(complaint.contains("wrap"), "{complaint}");
        assert!(
            complaint.contains("itself") || complaint.contains("again"),
            "{complaint}"
        );
    }
}

#[test]
fn what_cannot_be_run_ends_as_in_a_shell() {
    for (program, code) in [("no-such-program-anywhere", 127), ("/", 126)] {
        let ended = wrapper("http://127.0.0.1:9", &[], &[program])
            .stdin(Stdio::null())
            .output()
            .expect("it ends");
        assert_eq!(ended.status.code(), Some(code), "{program}");
        let complaint = String::from_utf8_lossy(&ended.stderr);
        assert!(complaint.contains("can't be run"), "{complaint}");
    }
}

#[tokio::test]
async fn a_signal_is_passed_on() {
    let server = [
        "sh",
        "-c",
        "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done",
    ];
    let talk = Talk::start_as(&mut wrapper("http://127.0.0.1:9", &[], &server));
    let (talk, line) = talk.said().await;
    assert_eq!(line, "ready");
    let id = talk.process.id().to_string();
    let sent = Command::new("kill")
        .args(["-TERM", &id])
        .status()
        .expect("kill");
    assert!(sent.success());
    assert_eq!(talk.end().await.status.code(), Some(5));
}
