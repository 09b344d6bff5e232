//! `mcp`: the hub as an MCP server on standard input and output, for clients that start their servers.
//!
//! A bridge: each line goes to the hub's `/mcp` and what comes back is a line each, so that whatever the hub offers over HTTP is
//! here as well, in both eras. Nothing but messages is ever written to standard output.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, Read as _, Write as _},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout_at},
};

use super::{failed, terminal::Connection};
use crate::client::Client;

/// Serve MCP on standard input and output, for an MCP client that starts its servers; the hub answers.
#[derive(Debug, Args)]
#[command(after_help = "In an MCP client's configuration:\n\n  \
{\"mcpServers\": {\"hub\": {\"command\": \"timeback-events\", \"args\": [\"mcp\", \"--url\", \"http://127.0.0.1:3001\"]}}}\n\n\
TIMEBACK_EVENTS_TOKEN holds the token of a hub that asks for one.")]
pub(super) struct Mcp {
    #[command(flatten)]
    connection: Connection,
}

/// The longest message of a client's.
const LONGEST: usize = 16 << 20;
/// Messages that wait to be written. Full: the answers wait.
const WAITING: usize = 64;
/// How long answers may take that are due when the client has closed the input: clients wait two seconds.
const FAREWELL: Duration = Duration::from_millis(1500);
/// How long a stream that broke is not opened again.
const PAUSE: Duration = Duration::from_secs(1);

const MODERN: &str = "2026-07-28";

pub(super) fn run(mcp: &Mcp) -> ExitCode {
    let client = match mcp.connection.client() {
        Ok(client) => client,
        Err(error) => return failed(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(serve(client)),
        Err(error) => Err(error),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// What the tasks share.
struct Bridge {
    client: Client,
    out: mpsc::Sender<String>,
    session: Mutex<Option<Session>>,
    /// One task at a time begins a session again.
    renewing: tokio::sync::Mutex<()>,
    running: Mutex<HashMap<String, AbortHandle>>,
}

/// A session of the hub's, and how it was begun.
#[derive(Clone)]
struct Session {
    id: HeaderValue,
    version: String,
    initialize: String,
    /// The requests by which resources were subscribed to, by URI.
    subscribed: HashMap<String, String>,
}

/// Standard input and output have threads of their own: reading and writing them waits, and can't be cancelled.
async fn serve(client: Client) -> io::Result<()> {
    let (out, lines) = mpsc::channel::<String>(WAITING);
    let (unread, mut written) = oneshot::channel();
    thread::spawn(move || {
        // Nobody hears of it only where everything has ended already.
        let _unheard = unread.send(write(lines));
    });
    let (read, mut input) = mpsc::channel::<Vec<u8>>(1);
    thread::spawn(move || read_lines(&read));
    let bridge = Arc::new(Bridge {
        client,
        out,
        session: Mutex::default(),
        renewing: tokio::sync::Mutex::default(),
        running: Mutex::default(),
    });
    let (mut tasks, mut streams) = (JoinSet::new(), JoinSet::new());
    loop {
        let line = tokio::select! {
            line = input.recv() => line,
            // Nobody reads what is written: there is nothing more to do.
            ended = &mut written => return ended.map_err(io::Error::other)?,
        };
        let Some(line) = line else {
            break;
        };
        while tasks.try_join_next().is_some() {}
        if line.len() > LONGEST {
            let told = fault(
                &Value::Null,
                -32600,
                "the message is longer than 16 MiB",
                None,
            );
            bridge.tell(&told).await;
            break;
        }
        match std::str::from_utf8(&line).map(str::trim) {
            Ok("") => {}
            Ok(text) => bridge.take(text, &mut tasks, &mut streams).await,
            Err(_) => {
                let told = fault(&Value::Null, -32700, "the message isn't UTF-8", None);
                bridge.tell(&told).await;
            }
        }
    }
    let end = Instant::now() + FAREWELL;
    while let Ok(Some(_)) = timeout_at(end, tasks.join_next()).await {}
    tasks.shutdown().await;
    streams.shutdown().await;
    // A session that isn't ended is forgotten by itself; this is only tidier.
    let _ended_or_forgotten = timeout_at(end, bridge.end()).await;
    drop(bridge);
    written.await.map_err(io::Error::other)?
}

fn write(mut lines: mpsc::Receiver<String>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    while let Some(line) = lines.blocking_recv() {
        stdout.write_all(line.as_bytes())?;
        stdout.flush()?;
    }
    Ok(())
}

/// Hands on each line, until there are no more or nobody wants them.
fn read_lines(lines: &mpsc::Sender<Vec<u8>>) {
    let mut stdin = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut stdin).take(LONGEST as u64 + 1);
        match bounded.read_until(b'\n', &mut line) {
            Ok(read) if read > 0 => {}
            _ => return,
        }
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}

impl Bridge {
    /// Takes a message, and answers it in a task of its own. Only `initialize` is waited for: what follows needs its session.
    async fn take(
        self: &Arc<Self>,
        text: &str,
        tasks: &mut JoinSet<()>,
        streams: &mut JoinSet<()>,
    ) {
        let body: Value = match serde_json::from_str(text) {
            Ok(body) => body,
            Err(error) => {
                let told = fault(
                    &Value::Null,
                    -32700,
                    &format!("the message isn't JSON: {error}"),
                    None,
                );
                return self.tell(&told).await;
            }
        };
        let method = body["method"].as_str().unwrap_or_default();
        if method == "notifications/cancelled" {
            let id = body["params"]["requestId"].to_string();
            if let Some(running) = self.running.lock().remove(&id) {
                running.abort();
            }
            return;
        }
        let text = text.to_owned();
        if method == "initialize" && said_version(&body).is_none() {
            return self.answer(body, text).await;
        }
        let starts = method == "notifications/initialized" && self.session.lock().is_some();
        let id = body.get("id").map(Value::to_string);
        let bridge = self.clone();
        let own = id.clone();
        let task = tasks.spawn(async move {
            bridge.answer(body, text).await;
            if let Some(id) = own {
                bridge.running.lock().remove(&id);
            }
        });
        if let Some(id) = id {
            self.running.lock().insert(id, task);
        }
        if starts && streams.is_empty() {
            streams.spawn(self.clone().listen());
        }
    }

    /// Asks the hub and hands on what it says.
    async fn answer(&self, body: Value, text: String) {
        let id = body.get("id").cloned();
        let said = match self.ask(&body, &text).await {
            Ok(said) => said,
            Err(why) => {
                if let Some(id) = id {
                    self.tell(&fault(&id, -32603, &why, None)).await;
                }
                return;
            }
        };
        if body["method"] == "resources/subscribe" && said.status().is_success() {
            let uri = body["params"]["uri"].as_str().unwrap_or_default();
            if let Some(session) = &mut *self.session.lock() {
                session.subscribed.insert(uri.to_owned(), text.clone());
            }
        }
        if body["method"] == "resources/unsubscribe" {
            let uri = body["params"]["uri"].as_str().unwrap_or_default();
            if let Some(session) = &mut *self.session.lock() {
                session.subscribed.remove(uri);
            }
        }
        let is_initialize = body["method"] == "initialize" && said_version(&body).is_none();
        let session = said.headers().get("mcp-session-id").cloned();
        let is_stream = has_type(&said, "text/event-stream");
        let status = said.status();
        if is_stream {
            let mut place = None;
            if let Err(why) = self.hand_on(said.into_body(), &mut place).await
                && let Some(id) = id
            {
                self.tell(&fault(&id, -32603, &why, None)).await;
            }
            return;
        }
        let answer = match said.into_body().collect().await {
            Ok(answer) => answer.to_bytes(),
            Err(error) => {
                if let Some(id) = id {
                    let why = format!("the hub's answer broke off: {error}");
                    self.tell(&fault(&id, -32603, &why, None)).await;
                }
                return;
            }
        };
        if is_initialize && let Some(session) = session {
            let told: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let version = told["result"]["protocolVersion"].as_str();
            *self.session.lock() = version.map(|version| Session {
                id: session,
                version: version.to_owned(),
                initialize: text,
                subscribed: HashMap::new(),
            });
        }
        let Some(id) = id.or_else(|| body.is_array().then_some(Value::Null)) else {
            return;
        };
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let told: Value = serde_json::from_str(&answer).unwrap_or_default();
        if told["jsonrpc"] == "2.0" || told.is_array() {
            self.tell(&answer).await;
        } else if !status.is_success() {
            // The door's own words: a problem.
            let why = told["detail"].as_str();
            let why = why.map_or_else(|| format!("the hub answers {status}"), str::to_owned);
            self.tell(&fault(&id, -32603, &why, Some(&told))).await;
        }
    }

    /// One exchange; a session that the hub has forgotten is begun again, once.
    async fn ask(&self, body: &Value, text: &str) -> Result<Response<Incoming>, String> {
        let before = self.session.lock().clone();
        let said = self.post(body, text, before.as_ref()).await?;
        let is_lost = said.status() == StatusCode::NOT_FOUND
            && before.is_some()
            && said_version(body).is_none()
            && body["method"] != "initialize";
        let Some(lost) = before.filter(|_| is_lost) else {
            return Ok(said);
        };
        let turn = self.renewing.lock().await;
        let known = self.session.lock().clone();
        if known.as_ref().is_some_and(|known| known.id == lost.id) {
            self.renew(&lost).await?;
        }
        drop(turn);
        let now = self.session.lock().clone();
        self.post(body, text, now.as_ref()).await
    }

    /// Begins a session again as the client did, and subscribes to what it had subscribed to.
    async fn renew(&self, lost: &Session) -> Result<(), String> {
        let initialize: Value = serde_json::from_str(&lost.initialize).unwrap_or_default();
        let said = self.post(&initialize, &lost.initialize, None).await?;
        let id = said.headers().get("mcp-session-id").cloned();
        let id = id.ok_or("the hub begins no session")?;
        let session = Session { id, ..lost.clone() };
        *self.session.lock() = Some(session.clone());
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.post(&initialized, &initialized.to_string(), Some(&session))
            .await?;
        for request in session.subscribed.values() {
            let body: Value = serde_json::from_str(request).unwrap_or_default();
            self.post(&body, request, Some(&session)).await?;
        }
        Ok(())
    }

    async fn post(
        &self,
        body: &Value,
        text: &str,
        session: Option<&Session>,
    ) -> Result<Response<Incoming>, String> {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(header::ACCEPT, both);
        match said_version(body) {
            Some(version) => modern_headers(&mut headers, body, version),
            None => {
                if let Some(session) = session.filter(|_| body["method"] != "initialize") {
                    session_headers(&mut headers, session);
                }
            }
        }
        let body = Bytes::from(text.to_owned());
        let said = self.client.exchange(Method::POST, "/mcp", headers, body);
        said.await.map_err(|error| error.to_string())
    }

    /// Hands on what the session is told between requests, for as long as there is a session.
    async fn listen(self: Arc<Self>) {
        let mut place: Option<String> = None;
        loop {
            let Some(session) = self.session.lock().clone() else {
                return;
            };
            let mut headers = HeaderMap::new();
            let stream = HeaderValue::from_static("text/event-stream");
            headers.insert(header::ACCEPT, stream);
            session_headers(&mut headers, &session);
            if let Some(last) = place
                .as_deref()
                .and_then(|id| HeaderValue::from_str(id).ok())
            {
                headers.insert("last-event-id", last);
            }
            let said = self
                .client
                .exchange(Method::GET, "/mcp", headers, Bytes::new())
                .await;
            match said {
                Ok(said) if has_type(&said, "text/event-stream") => {
                    // One that breaks is opened again.
                    let _broken_or_ended = self.hand_on(said.into_body(), &mut place).await;
                }
                Ok(said) if said.status() == StatusCode::NOT_FOUND => {
                    let turn = self.renewing.lock().await;
                    let known = self.session.lock().clone();
                    if known.is_some_and(|known| known.id == session.id) {
                        let _tried_again_soon = self.renew(&session).await;
                    }
                    drop(turn);
                }
                // No right to read, or an older hub: there is nothing to hear.
                Ok(said) if said.status().is_client_error() => return,
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Hands on the messages of a stream; `place` is the last id.
    async fn hand_on(&self, mut body: Incoming, place: &mut Option<String>) -> Result<(), String> {
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("the hub's answer broke off: {error}"))?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            rest.extend_from_slice(&bytes);
            let mut from = 0;
            while let Some(length) = memchr::memchr(b'\n', &rest[from..]) {
                let line = String::from_utf8_lossy(&rest[from..from + length]);
                let line = line.trim_end_matches('\r');
                if let Some(id) = line.strip_prefix("id: ") {
                    *place = Some(id.to_owned());
                } else if let Some(data) = line.strip_prefix("data: ") {
                    self.tell(data).await;
                }
                from += length + 1;
            }
            rest.drain(..from);
        }
        Ok(())
    }

    /// Ends the session.
    async fn end(&self) {
        let Some(session) = self.session.lock().take() else {
            return;
        };
        let mut headers = HeaderMap::new();
        session_headers(&mut headers, &session);
        let ended = self
            .client
            .exchange(Method::DELETE, "/mcp", headers, Bytes::new());
        // The hub forgets it by itself, too.
        let _ended_or_forgotten = ended.await;
    }

    /// Writes a message. Where nobody reads any more, the input ends as well.
    async fn tell(&self, message: &str) {
        let line = format!("{}\n", message.replace(['\n', '\r'], " "));
        let _sent_or_unread = self.out.send(line).await;
    }
}

/// The version that a request says for itself.
fn said_version(body: &Value) -> Option<&str> {
    body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str()
}

/// The headers that repeat what a request says.
fn modern_headers(headers: &mut HeaderMap, body: &Value, version: &str) {
    let mut add = |name: &'static str, value: &str| {
        let is_plain = value.bytes().all(|b| (0x20..0x7f).contains(&b))
            && value.trim() == value
            && !(value.starts_with("=?base64?") && value.ends_with("?="));
        let value = if is_plain {
            value.to_owned()
        } else {
            format!("=?base64?{}?=", STANDARD.encode(value))
        };
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add("mcp-protocol-version", version);
    add("mcp-method", body["method"].as_str().unwrap_or_default());
    let params = &body["params"];
    if let Some(name) = params["name"].as_str().or(params["uri"].as_str())
        && version == MODERN
    {
        add("mcp-name", name);
    }
}

fn session_headers(headers: &mut HeaderMap, session: &Session) {
    headers.insert("mcp-session-id", session.id.clone());
    if let Ok(version) = HeaderValue::from_str(&session.version) {
        headers.insert("mcp-protocol-version", version);
    }
}

fn has_type(said: &Response<Incoming>, media: &str) -> bool {
    let found = said.headers().get(header::CONTENT_TYPE);
    found.is_some_and(|found| found.as_bytes().starts_with(media.as_bytes()))
}

fn fault(id: &Value, code: i32, message: &str, data: Option<&Value>) -> String {
    let mut error = json!({"code": code, "message": message});
    if let Some(data) = data.filter(|data| data.is_object()) {
        error["data"] = data.clone();
    }
    json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_repeat_what_a_request_says() {
        let body = json!({"method": "tools/call", "params": {"name": "ä", "_meta":
            {"io.modelcontextprotocol/protocolVersion": MODERN}}});
        let mut headers = HeaderMap::new();
        modern_headers(&mut headers, &body, said_version(&body).unwrap());
        assert_eq!(headers["mcp-protocol-version"], MODERN);
        assert_eq!(headers["mcp-method"], "tools/call");
        assert_eq!(headers["mcp-name"], "=?base64?w6Q=?=");
    }
}
