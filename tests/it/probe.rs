//! Probes, against scripted MCP servers over real sockets: every verdict, each era, sessions, and the public bug reports
//! of other people's probes.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::StatusCode,
    response::Response,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use timeback_events::{
    domain::probe::{Era, Verdict},
    probe::{Allow, Found, Kept, Patience, Permit, Prober, Target},
};
use tokio::net::TcpListener;

/// What a scripted server was asked: method of HTTP, method of MCP, session.
type Seen = Arc<Mutex<Vec<(String, String, Option<String>)>>>;

/// A request as a script sees it.
pub struct Asked {
    pub http: String,
    pub path: String,
    pub method: String,
    pub id: Value,
    pub params: Value,
    pub session: Option<String>,
    pub headers: http::HeaderMap,
}

/// A scripted MCP server.
pub struct Scripted {
    pub address: SocketAddr,
    pub seen: Seen,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// Serves what the script says; `None` never answers.
    pub async fn start(script: impl Fn(Asked) -> Option<Response> + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", script).await
    }

    pub async fn start_on(
        place: &str,
        script: impl Fn(Asked) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(place).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        let (script, noted) = (Arc::new(script), seen.clone());
        let router = Router::new().fallback(move |request: Request| {
            let (script, noted) = (script.clone(), noted.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.unwrap();
                let message: Value = serde_json::from_slice(&body).unwrap_or_default();
                let session = head.headers.get("mcp-session-id");
                let asked = Asked {
                    http: head.method.to_string(),
                    path: head.uri.path().to_owned(),
                    method: message["method"].as_str().unwrap_or_default().to_owned(),
                    id: message["id"].clone(),
                    params: message["params"].clone(),
                    session: session.map(|id| id.to_str().unwrap().to_owned()),
                    headers: head.headers,
                };
                let entry = (
                    asked.http.clone(),
                    asked.method.clone(),
                    asked.session.clone(),
                );
                noted.lock().push(entry);
                match script(asked) {
                    Some(response) => response,
                    None => std::future::pending().await,
                }
            }
        });
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            seen,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub fn count(&self, method: &str) -> usize {
        self.seen
            .lock()
            .iter()
            .filter(|(_, asked, _)| asked == method)
            .count()
    }

    fn https(&self) -> Vec<String> {
        self.seen
            .lock()
            .iter()
            .map(|(http, ..)| http.clone())
            .collect()
    }
}

pub fn text(status: u16, body: &str) -> Option<Response> {
    let body = Body::from(body.to_owned());
    Some(Response::builder().status(status).body(body).unwrap())
}

pub fn head(status: u16, name: &str, value: &str) -> Option<Response> {
    Some(
        Response::builder()
            .status(status)
            .header(name, value)
            .body(Body::empty())
            .unwrap(),
    )
}

pub fn json_answer(status: u16, body: &Value) -> Option<Response> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    Some(response.body(Body::from(body.to_string())).unwrap())
}

pub fn result(asked: &Asked, result: &Value) -> Option<Response> {
    json_answer(
        200,
        &json!({"jsonrpc": "2.0", "id": asked.id, "result": result}),
    )
}

pub fn error(status: u16, id: &Value, code: i64) -> Option<Response> {
    json_answer(
        status,
        &json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no"}}),
    )
}

pub fn tools(names: &[&str]) -> Value {
    let tool = |name: &&str| json!({"name": name, "description": "does", "inputSchema": {"type": "object"}});
    json!({"tools": names.iter().map(tool).collect::<Vec<_>>()})
}

/// A server of the newer era.
pub fn modern(asked: &Asked) -> Option<Response> {
    if asked.http != "POST" {
        return head(405, "allow", "POST");
    }
    match asked.method.as_str() {
        "server/discover" => result(
            asked,
            &json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}}, "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "Modern", "version": "2.1"}}}),
        ),
        "tools/list" if asked.params["cursor"].is_null() => {
            let mut page = tools(&["a"]);
            page["nextCursor"] = json!("more");
            result(asked, &page)
        }
        "tools/list" => result(asked, &tools(&["b"])),
        _ => error(404, &asked.id, -32601),
    }
}

/// A server of the older era, with sessions; those in `alive` are known.
pub fn legacy(asked: &Asked, alive: &Mutex<Vec<String>>) -> Option<Response> {
    match (asked.http.as_str(), asked.method.as_str(), &asked.session) {
        ("DELETE", _, Some(session)) => {
            alive.lock().retain(|known| known != session);
            text(204, "")
        }
        ("POST", "initialize", None) => {
            let mut alive = alive.lock();
            let session = format!("s{}", alive.len());
            alive.push(session.clone());
            let said = json!({"jsonrpc": "2.0", "id": asked.id, "result": {"protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}}, "serverInfo": {"name": "Legacy", "version": "1.0"}}});
            let mut response = json_answer(200, &said)?;
            response
                .headers_mut()
                .insert("mcp-session-id", session.parse().unwrap());
            Some(response)
        }
        ("POST", _, None) => error(400, &json!("server-error"), -32600),
        ("POST", _, Some(session)) if !alive.lock().contains(session) => {
            error(404, &Value::Null, -32001)
        }
        ("POST", "ping", _) => result(asked, &json!({})),
        ("POST", "tools/list", _) => result(asked, &tools(&["old"])),
        ("POST", "notifications/initialized", _) => text(202, ""),
        _ => text(405, ""),
    }
}

const QUICK: Patience = Patience {
    timeout: Duration::from_millis(400),
    slow: Duration::from_secs(60),
};

async fn probe(url: &str, kept: &mut Kept) -> Found {
    probe_as(&Target::parse(url).unwrap(), kept, Patience::default()).await
}

async fn probe_as(target: &Target, kept: &mut Kept, patience: Patience) -> Found {
    Prober::new()
        .probe(target, kept, &Permit::Anyone, patience)
        .await
}

/// The verdict on a server that answers everything in the same way.
async fn verdict(
    script: impl Fn(Asked) -> Option<Response> + Send + Sync + 'static,
) -> (Verdict, Scripted) {
    let server = Scripted::start(script).await;
    let target = Target::parse(&server.url()).unwrap();
    let found = probe_as(&target, &mut Kept::default(), QUICK).await;
    (found.verdict, server)
}

#[tokio::test]
async fn the_newer_era_is_one_request_and_its_lists() {
    let server = Scripted::start(|asked| modern(&asked)).await;
    let found = probe(&server.url(), &mut Kept::default()).await;
    assert_eq!(
        (found.verdict, found.era),
        (Verdict::Healthy, Some(Era::Modern)),
        "{found:?}"
    );
    let learned = found.learned.unwrap();
    assert_eq!(
        (learned.name.as_deref(), learned.version.as_deref()),
        (Some("Modern"), Some("2.1"))
    );
    assert_eq!(learned.protocol_version.as_deref(), Some("2026-07-28"));
    let tools = learned.tools.unwrap();
    let names: Vec<_> = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert!(
        tools
            .iter()
            .all(|tool| tool["hash"].as_str().is_some_and(|hash| hash.len() == 16))
    );
    assert_eq!(
        (learned.resources, learned.prompts),
        (Some(vec![]), Some(vec![]))
    );
    assert_eq!(server.count("server/discover"), 1);
    assert!(server.https().iter().all(|http| http == "POST"));
}

#[tokio::test]
async fn one_session_is_kept_and_one_that_is_lost_is_opened_once() {
    let alive = Arc::new(Mutex::new(Vec::new()));
    let known = alive.clone();
    let server = Scripted::start(move |asked| legacy(&asked, &known)).await;
    let mut kept = Kept::default();
    for round in 0..20 {
        let found = probe(&server.url(), &mut kept).await;
        assert_eq!(
            (found.verdict, found.session_kept),
            (Verdict::Healthy, round > 0),
            "{found:?}"
        );
        assert_eq!(found.era, Some(Era::Legacy));
    }
    assert_eq!((server.count("initialize"), server.count("ping")), (1, 19));
    assert_eq!(server.count("server/discover"), 1);
    // It starts again and knows nobody.
    alive.lock().clear();
    let found = probe(&server.url(), &mut kept).await;
    assert_eq!(
        (found.verdict, found.session_kept),
        (Verdict::Healthy, false),
        "{found:?}"
    );
    assert_eq!(found.learned.unwrap().name.as_deref(), Some("Legacy"));
    assert_eq!((server.count("initialize"), alive.lock().len()), (2, 1));
    assert!(
        !server
            .https()
            .iter()
            .any(|http| http == "GET" || http == "HEAD")
    );
}

/// server-everything says 400 to a session that it doesn't know.
#[tokio::test]
async fn a_400_to_the_kept_session_is_a_lost_session_too() {
    let forgets = Arc::new(Mutex::new(false));
    let (alive, asks) = (Mutex::new(Vec::new()), forgets.clone());
    let server = Scripted::start(move |asked| {
        if *asks.lock() && asked.method == "ping" {
            *asks.lock() = false;
            return error(400, &Value::Null, -32000);
        }
        legacy(&asked, &alive)
    })
    .await;
    let mut kept = Kept::default();
    probe(&server.url(), &mut kept).await;
    *forgets.lock() = true;
    let found = probe(&server.url(), &mut kept).await;
    assert_eq!(found.verdict, Verdict::Healthy, "{found:?}");
    assert_eq!(server.count("initialize"), 2);
}

/// modelcontextprotocol/python-sdk#3228: a refused discover makes a session, which nobody ends.
#[tokio::test]
async fn a_hundred_probes_leave_two_sessions_at_most() {
    let made = Arc::new(Mutex::new(0));
    let (alive, counted) = (Mutex::new(Vec::new()), made.clone());
    let server = Scripted::start(move |asked| {
        if asked.session.is_none() && asked.method != "initialize" {
            *counted.lock() += 1;
            let mut refused = error(400, &json!("server-error"), -32600)?;
            refused
                .headers_mut()
                .insert("mcp-session-id", "leak".parse().unwrap());
            return Some(refused);
        }
        legacy(&asked, &alive)
    })
    .await;
    let mut kept = Kept::default();
    for _ in 0..100 {
        assert_eq!(
            probe(&server.url(), &mut kept).await.verdict,
            Verdict::Healthy
        );
    }
    assert_eq!((*made.lock(), server.count("initialize")), (1, 1));
}

/// affaan-m/ECC#1315: a server that asks for credentials is there.
#[tokio::test]
async fn whoever_asks_for_credentials_is_there() {
    let (found, _) = verdict(|_| text(401, "who?")).await;
    assert_eq!(found, Verdict::AuthRequired);
    let (found, server) = verdict(|_| head(403, "www-authenticate", "Bearer scope=x")).await;
    assert_eq!(
        (found, server.seen.lock().len()),
        (Verdict::AuthRequired, 1)
    );
}

/// NousResearch/hermes-agent#97245: a ping that nobody answers is confirmed by tools/list, and not asked again.
#[tokio::test]
async fn a_mute_ping_is_no_dead_server() {
    let alive = Mutex::new(Vec::new());
    let server = Scripted::start(move |asked| match asked.method.as_str() {
        "ping" => None,
        _ => legacy(&asked, &alive),
    })
    .await;
    let (target, mut kept) = (Target::parse(&server.url()).unwrap(), Kept::default());
    for _ in 0..4 {
        let found = probe_as(&target, &mut kept, QUICK).await;
        assert_eq!(found.verdict, Verdict::Healthy, "{found:?}");
    }
    assert_eq!((server.count("ping"), server.count("initialize")), (1, 1));
}

/// GCWing/OpenBitFun#2871: any JSON-RPC answer means alive.
#[tokio::test]
async fn a_refused_ping_is_an_answer() {
    let alive = Mutex::new(Vec::new());
    let server = Scripted::start(move |asked| match asked.method.as_str() {
        "ping" => error(200, &asked.id, -32601),
        _ => legacy(&asked, &alive),
    })
    .await;
    let mut kept = Kept::default();
    for _ in 0..3 {
        assert_eq!(
            probe(&server.url(), &mut kept).await.verdict,
            Verdict::Healthy
        );
    }
    assert_eq!(server.count("initialize"), 1);
}

/// rust-sdk#468: the first frame of a stream needn't be the answer.
#[tokio::test]
async fn an_answer_may_come_behind_other_frames() {
    let (found, _) = verdict(|asked| {
        if asked.method != "server/discover" {
            return modern(&asked);
        }
        let answer = json!({"jsonrpc": "2.0", "id": asked.id, "result": {"supportedVersions": ["2026-07-28"], "capabilities": {}}});
        let body = format!(
            ": hello\n\nid: 1\ndata:\n\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}}\n\n\
             data: {{\"jsonrpc\":\"2.0\",\"id\":\"tbe-0\",\"method\":\"ping\"}}\r\n\r\nevent: message\ndata: {answer}\n\n"
        );
        let response = Response::builder().header("content-type", "text/event-stream; charset=utf-8");
        Some(response.body(Body::from(body)).unwrap())
    })
    .await;
    assert_eq!(found, Verdict::Healthy);
}

#[tokio::test]
async fn each_answer_has_its_verdict() {
    for (status, expected) in [
        (403, Verdict::Misconfigured),
        (421, Verdict::Misconfigured),
        (406, Verdict::Misconfigured),
        (415, Verdict::Misconfigured),
        (301, Verdict::Misconfigured),
        (200, Verdict::WrongProtocol),
        (410, Verdict::WrongProtocol),
        (500, Verdict::ServerError),
        (503, Verdict::ServerError),
    ] {
        let (found, server) = verdict(move |_| text(status, "<html>hello</html>")).await;
        assert_eq!(found, expected, "{status}");
        assert!(server.https().iter().all(|http| http == "POST"), "{status}");
    }
    let (found, server) = verdict(|_| text(404, "nothing here")).await;
    assert_eq!(found, Verdict::WrongProtocol);
    assert_eq!(server.https(), ["POST", "POST", "GET"]);
    let (found, _) = verdict(|_| text(503, "Too many open sessions")).await;
    assert_eq!(found, Verdict::Misconfigured);
    let (found, server) = verdict(|_| None).await;
    assert_eq!(found, Verdict::Wedged);
    assert_eq!(server.count("tools/list"), 1);
}

#[tokio::test]
async fn whoever_asks_to_be_left_alone_is_heard() {
    let server = Scripted::start(|_| head(429, "retry-after", "7")).await;
    let found = probe(&server.url(), &mut Kept::default()).await;
    assert_eq!(
        (found.verdict, found.retry_after),
        (Verdict::Misconfigured, Some(Duration::from_secs(7)))
    );
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let inside = Scripted::start(|asked| modern(&asked)).await;
    let place = inside.url();
    let (found, _) = verdict(move |_| head(307, "location", &place)).await;
    assert_eq!(
        (found, inside.seen.lock().len()),
        (Verdict::Misconfigured, 0)
    );
}

#[tokio::test]
async fn a_cached_answer_is_no_life() {
    let (found, _) = verdict(|_| {
        json_answer(
            200,
            &json!({"jsonrpc": "2.0", "id": "tbe-old-1", "result": {}}),
        )
    })
    .await;
    assert_eq!(found, Verdict::WrongProtocol);
}

#[tokio::test]
async fn long_and_deep_answers_are_cut_off() {
    let (found, _) = verdict(|_| text(200, &"x".repeat(3 << 20))).await;
    assert_eq!(found, Verdict::WrongProtocol);
    let (found, _) = verdict(|asked| {
        let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
        text(
            200,
            &format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{deep}}}",
                asked.id
            ),
        )
    })
    .await;
    assert_eq!(found, Verdict::WrongProtocol);
}

#[tokio::test]
async fn whoever_cannot_be_reached_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let found = probe(&format!("http://{address}/"), &mut Kept::default()).await;
    assert_eq!(found.verdict, Verdict::Refused, "{found:?}");
    let found = probe("http://nobody.invalid/", &mut Kept::default()).await;
    assert_eq!(found.verdict, Verdict::Unresolved, "{found:?}");
    let plain = Scripted::start(|asked| modern(&asked)).await;
    let found = probe(
        &plain.url().replace("http:", "https:"),
        &mut Kept::default(),
    )
    .await;
    assert_eq!(found.verdict, Verdict::Tls, "{found:?}");
}

#[tokio::test]
async fn an_address_that_is_not_covered_is_never_connected_to() {
    let server = Scripted::start(|asked| modern(&asked)).await;
    let target = Target::parse(&server.url()).unwrap();
    let allow = Permit::Listed(Arc::new(Allow::parse("10.0.0.0/8,mcp.example").unwrap()));
    let found = Prober::new()
        .probe(&target, &mut Kept::default(), &allow, QUICK)
        .await;
    assert_eq!(
        (found.verdict, server.seen.lock().len()),
        (Verdict::Unresolved, 0)
    );
    assert!(!found.detail.contains("answer"), "{found:?}");
}

#[tokio::test]
async fn http_with_sse_is_spoken_where_nothing_else_is() {
    let (send, receive) = tokio::sync::mpsc::channel::<String>(8);
    let receive = Mutex::new(Some(receive));
    let server = Scripted::start(move |asked| match (asked.http.as_str(), asked.path.as_str()) {
        ("GET", "/mcp") => {
            let mut receive = receive.lock().take()?;
            let stream = async_stream(move |out| async move {
                out.send("event: endpoint\ndata: /messages?id=1\n\n".to_owned()).await.ok();
                while let Some(frame) = receive.recv().await {
                    out.send(frame).await.ok();
                }
            });
            let response = Response::builder().header("content-type", "text/event-stream");
            Some(response.body(stream).unwrap())
        }
        ("POST", "/messages") => {
            let said = match asked.method.as_str() {
                "initialize" => json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "Old", "version": "0"}}),
                "tools/list" => tools(&["x"]),
                _ => return text(202, ""),
            };
            let message = json!({"jsonrpc": "2.0", "id": asked.id, "result": said});
            send.try_send(format!("event: message\ndata: {message}\n\n")).unwrap();
            text(202, "Accepted")
        }
        _ => text(404, "Not Found"),
    })
    .await;
    let found = probe(&server.url(), &mut Kept::default()).await;
    assert_eq!(
        (found.verdict, found.era),
        (Verdict::Healthy, Some(Era::Sse)),
        "{found:?}"
    );
    let learned = found.learned.unwrap();
    assert_eq!(
        (learned.name.as_deref(), learned.tools.unwrap().len()),
        (Some("Old"), 1)
    );
}

/// A body that is written as it goes.
fn async_stream<F: Future<Output = ()> + Send + 'static>(
    write: impl FnOnce(tokio::sync::mpsc::Sender<String>) -> F,
) -> Body {
    let (send, receive) = tokio::sync::mpsc::channel(8);
    tokio::spawn(write(send));
    let stream = tokio_stream::wrappers::ReceiverStream::new(receive);
    Body::from_stream(tokio_stream::StreamExt::map(
        stream,
        Ok::<_, std::convert::Infallible>,
    ))
}

#[tokio::test]
async fn an_endpoint_elsewhere_is_not_followed() {
    let inside = Scripted::start(|asked| modern(&asked)).await;
    let place = inside.url();
    let (found, _) = verdict(move |asked| match asked.http.as_str() {
        "GET" => {
            let body = format!("event: endpoint\ndata: {place}\n\n");
            let response = Response::builder().header("content-type", "text/event-stream");
            Some(response.body(Body::from(body)).unwrap())
        }
        _ => text(405, ""),
    })
    .await;
    assert_eq!(
        (found, inside.seen.lock().len()),
        (Verdict::WrongProtocol, 0)
    );
}

#[tokio::test]
async fn what_a_header_holds_comes_back_in_nothing() {
    let server = Scripted::start(|asked| {
        let sent = asked.headers["authorization"].to_str().unwrap().to_owned();
        match asked.method.as_str() {
            "server/discover" => result(
                &asked,
                &json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": sent}}}),
            ),
            _ => result(
                &asked,
                &json!({"tools": [{"name": "a", "description": format!("x {sent}")}]}),
            ),
        }
    })
    .await;
    let output = tokio::task::spawn_blocking({
        let url = server.url();
        move || {
            Command::new(env!("CARGO_BIN_EXE_timeback-events"))
                .args([
                    "probe",
                    &url,
                    "--json",
                    "--header",
                    "Authorization: Bearer hunter2hunter2",
                ])
                .stdin(Stdio::null())
                .output()
                .unwrap()
        }
    })
    .await
    .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&found["verdict"], &found["era"]),
        (&json!("healthy"), &json!("modern"))
    );
    assert_eq!(found["capabilities"]["tools"][0]["name"], "a");
}

#[tokio::test]
async fn the_terminals_exit_code_tells_healthy_from_not() {
    let run = |args: &'static [&'static str], url: String| {
        tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_timeback-events"));
            command.arg("probe").arg(url).args(args).output().unwrap()
        })
    };
    let asks = Scripted::start(|_| text(401, "")).await;
    let output = run(&[], asks.url()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("auth_required"), "{text}");
    let output = run(&["--header", "nonsense"], asks.url()).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = run(&[], "ftp://a/".to_owned()).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let well = Scripted::start(|asked| modern(&asked)).await;
    let output = run(&["--timeout", "10s"], well.url()).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn a_status_is_what_it_is_whatever_the_body() {
    let (found, _) = verdict(|asked| {
        error(
            StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
            &asked.id,
            -32603,
        )
    })
    .await;
    assert_eq!(found, Verdict::ServerError);
}
