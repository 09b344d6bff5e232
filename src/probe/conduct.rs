//! One probe from beginning to end: which question in which era, and what its answer means.
//!
//! The newer era is one request. The older one is `initialize`, once, and then `ping` on the session that is kept. Only
//! an endpoint that refuses both as if there were nothing to post to is asked for HTTP+SSE. Silence says nothing about
//! the era.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::{
    Allow, Found, Learned, Patience, Permit, Target,
    answer::{self, Answer, Events, PREFIX, Rpc, Said},
    offers,
    wire::{self, Stop, Tls, Wire},
};
use crate::domain::{
    event::Transport,
    health::words,
    probe::{Era, Verdict},
};

/// Asks servers. Cheap to clone.
#[derive(Clone)]
pub struct Prober {
    tls: Tls,
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prober")
    }
}

/// What is remembered of a server from one probe to the next.
#[derive(Default)]
pub struct Kept {
    /// Only an older era is worth remembering: the newer one is asked for first anyway.
    era: Option<Era>,
    session: Option<HeaderValue>,
    /// What `initialize` answered.
    initialized: Value,
    /// It doesn't answer `ping`, but answers `tools/list`.
    mute: bool,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({:?})", self.era)
    }
}

impl Default for Prober {
    fn default() -> Self {
        Self::new()
    }
}

impl Prober {
    /// Reads the system's certificates.
    #[must_use]
    pub fn new() -> Self {
        Self { tls: Tls::new() }
    }

    /// Whether the list covers a target as its name is now.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn judge(&self, target: &Target, allow: &Allow) -> Result<(), String> {
        let resolved = wire::resolve(target, RESOLVE_TIMEOUT).await;
        let is_covered = match &resolved {
            Ok(addresses) => allow.covers(target, addresses),
            // It has no address yet; when it has, it is judged again.
            Err(_) => allow.names(target),
        };
        if is_covered {
            return Ok(());
        }
        Err(format!(
            "{} is not covered by INTEGRATION_PROBE_ALLOW: name its host, host:port or net there",
            target.host
        ))
    }

    /// Asks once.
    pub async fn probe(
        &self,
        target: &Target,
        kept: &mut Kept,
        permit: &Permit,
        patience: Patience,
    ) -> Found {
        let begun = Instant::now();
        let secrets = target.secrets();
        let wire = Wire::open(target, permit, &self.tls, patience.timeout).await;
        let mut conduct = match wire {
            Ok(wire) => Conduct {
                wire,
                kept,
                patience,
                count: 0,
                seed: uuid::Uuid::new_v4().simple().to_string(),
                latency: None,
                session_kept: false,
                era: None,
                slow_lists: false,
            },
            Err(stop) => return stopped(stop, None, None, false),
        };
        // Each answer has its time; all together have a bound too, for lists may have many pages.
        let whole = patience.timeout * MOST_TIMEOUTS;
        let alive = match tokio::time::timeout(whole, conduct.alive()).await {
            Ok(Ok(alive)) => alive,
            Ok(Err(stop)) => {
                return stopped(stop, conduct.latency, conduct.era, conduct.session_kept);
            }
            Err(_) => {
                let stop = Stop::new(
                    Verdict::Wedged,
                    format!("no answer within {}", words(ms(begun.elapsed()))),
                );
                return stopped(stop, None, conduct.era, conduct.session_kept);
            }
        };
        let left = whole.saturating_sub(begun.elapsed()).max(patience.timeout);
        let learned = match alive {
            Some(about) => {
                let listed = tokio::time::timeout(left, conduct.learn(about)).await;
                listed.unwrap_or_else(|_| {
                    conduct.slow_lists = true;
                    None
                })
            }
            None => None,
        };
        let mut found = conduct.found(learned);
        if let Some(learned) = &mut found.learned {
            learned.hide(&secrets);
        }
        found
    }

    /// Ends the session that is kept: nobody will ask again.
    pub async fn forget(
        &self,
        target: &Target,
        kept: &mut Kept,
        permit: &Permit,
        patience: Patience,
    ) {
        let Some(session) = kept.session.take() else {
            return;
        };
        if let Ok(mut wire) = Wire::open(target, permit, &self.tls, patience.timeout).await {
            end_session(&mut wire, session, patience.timeout).await;
        }
    }
}

fn stopped(stop: Stop, latency: Option<Duration>, era: Option<Era>, session_kept: bool) -> Found {
    Found {
        verdict: stop.verdict,
        detail: stop.detail,
        latency,
        era,
        session_kept,
        retry_after: stop.retry_after,
        learned: None,
    }
}

/// What a live server said of itself when it was asked, and how to ask it further.
struct About {
    said: Value,
    transport: Transport,
    stream: Option<Stream>,
}

/// An open HTTP+SSE session: where to post, and where the answers come.
struct Stream {
    events: Events,
    post: String,
}

struct Conduct<'a, 't> {
    wire: Wire<'t>,
    kept: &'a mut Kept,
    patience: Patience,
    count: u32,
    seed: String,
    latency: Option<Duration>,
    session_kept: bool,
    era: Option<Era>,
    slow_lists: bool,
}

/// A question's answer, or that there was none in time.
type Asked = Result<Option<Answer>, Stop>;

impl Conduct<'_, '_> {
    /// Finds out whether the server is there: what it said of itself, if it did; or why not.
    async fn alive(&mut self) -> Result<Option<About>, Stop> {
        match self.kept.era {
            Some(Era::Legacy) => {
                if let Some(alive) = self.ping().await? {
                    return Ok(alive);
                }
                // It isn't what it was.
                *self.kept = Kept::default();
                self.session_kept = false;
                self.detect().await
            }
            Some(Era::Sse) => self.over_sse().await,
            _ if self.wire.target.sse => match self.over_sse().await {
                // What is called SSE may have become the newer transport since.
                Err(stop) if stop.verdict == Verdict::WrongProtocol => {
                    self.wire.hang_up();
                    self.detect().await.map_err(|_| stop)
                }
                found => found,
            },
            _ => self.detect().await,
        }
    }

    async fn detect(&mut self) -> Result<Option<About>, Stop> {
        let (modern, took) = self
            .timed("server/discover", modern_params(json!({})))
            .await?;
        let Some(modern) = modern else {
            return Err(self.confirm_silence("server/discover", true).await);
        };
        stops(&modern)?;
        match modern.rpc() {
            Some(Rpc::Result(said)) if speaks_modern(&said["supportedVersions"]) => {
                self.latency = Some(took);
                self.era = Some(Era::Modern);
                return Ok(Some(About {
                    said: said.clone(),
                    transport: Transport::Http,
                    stream: None,
                }));
            }
            Some(Rpc::Error { code, data })
                if matches!(code, -32020 | -32021)
                    || (*code == -32022 && speaks_modern(&data["supported"])) =>
            {
                self.latency = Some(took);
                self.era = Some(Era::Modern);
                return Ok(None);
            }
            _ => {}
        }
        // Some make a session for whatever comes without one, and refuse it then.
        if let Some(session) = modern.session.clone() {
            end_session(&mut self.wire, session, self.patience.timeout).await;
        }
        match self.initialize().await? {
            Ok(alive) => Ok(alive),
            // It speaks JSON-RPC, so it is there.
            Err(_) if modern.rpc().is_some() => {
                self.latency = Some(took);
                Ok(None)
            }
            Err(legacy)
                if [&modern, &legacy]
                    .iter()
                    .all(|answer| takes_no_post(answer)) =>
            {
                self.over_sse().await
            }
            Err(legacy) => Err(no_protocol(&legacy)),
        }
    }

    /// Opens a session. The inner error is an answer without JSON-RPC.
    async fn initialize(&mut self) -> Result<Result<Option<About>, Answer>, Stop> {
        let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client()});
        let (answer, took) = self.timed("initialize", params).await?;
        let Some(answer) = answer else {
            return Err(self.confirm_silence("initialize", false).await);
        };
        stops(&answer)?;
        let said = match answer.rpc() {
            None => return Ok(Err(answer)),
            Some(Rpc::Error { .. }) => {
                if let Some(session) = answer.session.clone() {
                    end_session(&mut self.wire, session, self.patience.timeout).await;
                }
                self.latency = Some(took);
                return Ok(Ok(None));
            }
            Some(Rpc::Result(said)) => said.clone(),
        };
        self.latency = Some(took);
        self.era = Some(Era::Legacy);
        self.kept.era = Some(Era::Legacy);
        self.kept.session.clone_from(&answer.session);
        self.kept.initialized = said.clone();
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        _ = self.post(&done, "").await;
        Ok(Ok(Some(About {
            said,
            transport: Transport::Http,
            stream: None,
        })))
    }

    /// Asks on the session that is kept, or opens one. `None`: it isn't of this era any more.
    async fn ping(&mut self) -> Result<Option<Option<About>>, Stop> {
        self.era = Some(Era::Legacy);
        if self.kept.session.is_some() {
            self.session_kept = true;
            let method = if self.kept.mute { "tools/list" } else { "ping" };
            let (mut answer, mut took) = self.timed(method, json!({})).await?;
            if answer.is_none() && !self.kept.mute {
                (answer, took) = self.timed("tools/list", json!({})).await?;
                self.kept.mute = answer.as_ref().is_some_and(|answer| answer.rpc().is_some());
            }
            let Some(answer) = answer else {
                return Err(self.silence(method, true));
            };
            // Whoever doesn't know the session any more has started again, or has let it go: no fault of anybody's.
            if !matches!(answer.status, 400 | 404) {
                stops(&answer)?;
                if answer.rpc().is_none() {
                    return Ok(None);
                }
                self.latency = Some(took);
                return Ok(Some(Some(About {
                    said: self.kept.initialized.clone(),
                    transport: Transport::Http,
                    stream: None,
                })));
            }
            self.kept.session = None;
            self.session_kept = false;
        }
        match self.initialize().await? {
            Ok(Some(alive)) => Ok(Some(Some(alive))),
            // No session, no reason: perhaps it speaks the newer era alone now.
            Ok(None) | Err(_) => Ok(None),
        }
    }

    async fn over_sse(&mut self) -> Result<Option<About>, Stop> {
        self.era = None;
        let timeout = self.patience.timeout;
        let begun = Instant::now();
        let opened = tokio::time::timeout(timeout, self.open_stream()).await;
        let mut stream =
            opened.unwrap_or_else(|_| Err(self.silence("a GET of its events", false)))?;
        self.era = Some(Era::Sse);
        self.kept.era = Some(Era::Sse);
        let params =
            json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": client()});
        let said = self.ask_stream(&mut stream, "initialize", params).await?;
        self.latency = Some(begun.elapsed());
        let Some(said) = said else { return Ok(None) };
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        _ = self.post_to(&stream.post.clone(), &done).await;
        Ok(Some(About {
            said,
            transport: Transport::Sse,
            stream: Some(stream),
        }))
    }

    async fn open_stream(&mut self) -> Result<Stream, Stop> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        let mut line = self.wire.beside();
        let path = self.wire.target.path.clone();
        let response = line.send(Method::GET, &path, headers, Bytes::new()).await?;
        let wrong = |detail: &str| Stop::new(Verdict::WrongProtocol, detail);
        if response.status() != http::StatusCode::OK || !answer::is_event_stream(response.headers())
        {
            let answer = answer::read(response, "").await;
            stops(&answer)?;
            self.kept.era = None;
            return Err(no_protocol(&answer));
        }
        let mut events = Events::of(response.into_body()).held_by(line.into_line());
        while let Some(event) = events.next().await {
            if event.name == "endpoint" {
                let post = self.same_origin(event.data.trim()).ok_or_else(|| {
                    wrong("its event endpoint leads to another place than itself, which isn't followed")
                })?;
                return Ok(Stream { events, post });
            }
        }
        self.kept.era = None;
        Err(wrong("it streams events, but never says where to post"))
    }

    /// The path that an endpoint names, if it is on the target itself.
    fn same_origin(&self, endpoint: &str) -> Option<String> {
        let target = self.wire.target;
        if endpoint.contains("://") {
            let other = Target::parse(endpoint).ok()?;
            let is_same =
                (other.tls, &other.host, other.port) == (target.tls, &target.host, target.port);
            return is_same.then_some(other.path);
        }
        if endpoint.starts_with("//") {
            return None;
        }
        let path = if endpoint.starts_with('/') {
            endpoint.to_owned()
        } else {
            let own = target.path.split('?').next().unwrap_or_default();
            let directory = own.rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{directory}/{endpoint}")
        };
        path.parse::<http::uri::PathAndQuery>().ok().map(|_| path)
    }

    /// Posts a request whose answer comes in the stream: its result, `None` where it was an error.
    async fn ask_stream(
        &mut self,
        stream: &mut Stream,
        method: &str,
        params: Value,
    ) -> Result<Option<Value>, Stop> {
        let id = self.next_id();
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let post = stream.post.clone();
        let timeout = self.patience.timeout;
        let asked = async {
            let posted = self.post_to(&post, &request).await?;
            stops(&posted)?;
            Ok(stream.events.answer(&id).await)
        };
        let said: Result<Said, Stop> = match tokio::time::timeout(timeout, asked).await {
            Ok(said) => said,
            Err(_) => return Err(self.silence(method, false)),
        };
        match said? {
            Said::Rpc(Rpc::Result(result)) => Ok(Some(result)),
            Said::Rpc(Rpc::Error { .. }) => Ok(None),
            _ => Err(Stop::new(
                Verdict::WrongProtocol,
                format!("it streams events, but no answer to {method}"),
            )),
        }
    }

    async fn post_to(&mut self, path: &str, message: &Value) -> Result<Answer, Stop> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let body = Bytes::from(message.to_string());
        let response = self.wire.send(Method::POST, path, headers, body).await?;
        let answer = answer::read(response, "").await;
        if !answer.whole {
            self.wire.hang_up();
        }
        Ok(answer)
    }

    /// A request, and how long its answer took; no answer in time is `None`.
    async fn timed(
        &mut self,
        method: &str,
        params: Value,
    ) -> Result<(Option<Answer>, Duration), Stop> {
        let begun = Instant::now();
        let answer = self.ask(method, params).await?;
        Ok((answer, begun.elapsed()))
    }

    async fn ask(&mut self, method: &str, params: Value) -> Asked {
        let id = self.next_id();
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer = self.post(&request, &id).await?;
        if let Some(answer) = &answer {
            match answer.said {
                Said::TooLong => {
                    let detail = format!("its answer to {method} is longer than 1 MiB");
                    return Err(Stop::new(Verdict::WrongProtocol, detail));
                }
                Said::Foreign => {
                    let detail = format!(
                        "it answers {method} with another request's answer, as a cache does"
                    );
                    return Err(Stop::new(Verdict::WrongProtocol, detail));
                }
                Said::Rpc(_) | Said::Nothing => {}
            }
        }
        Ok(answer)
    }

    async fn post(&mut self, message: &Value, id: &str) -> Asked {
        let method = message["method"].as_str().unwrap_or_default();
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("content-type", "application/json");
        put("accept", "application/json, text/event-stream");
        if message["params"]["_meta"].is_object() {
            put("mcp-protocol-version", MODERN);
            put("mcp-method", method);
        } else if method != "initialize" {
            let version = self.kept.initialized["protocolVersion"].as_str();
            put("mcp-protocol-version", version.unwrap_or(LEGACY));
            if let Some(session) = &self.kept.session {
                headers.insert(SESSION, session.clone());
            }
        }
        let body = Bytes::from(message.to_string());
        let path = self.wire.target.path.clone();
        let asked = async {
            let response = self.wire.send(Method::POST, &path, headers, body).await?;
            Ok(answer::read(response, id).await)
        };
        let answer = match tokio::time::timeout(self.patience.timeout, asked).await {
            Ok(answer) => answer?,
            Err(_) => {
                self.wire.hang_up();
                return if self.wire.reached {
                    Ok(None)
                } else {
                    Err(Stop::new(
                        Verdict::Refused,
                        format!(
                            "no connection to {} within {}",
                            self.wire.target,
                            words(ms(self.patience.timeout))
                        ),
                    ))
                };
            }
        };
        if !answer.whole {
            self.wire.hang_up();
        }
        Ok(Some(answer))
    }

    /// Nothing came: asks once more for something else, so that one mute method isn't taken for a dead server.
    async fn confirm_silence(&mut self, method: &str, modern: bool) -> Stop {
        let params = if modern {
            modern_params(json!({}))
        } else {
            json!({})
        };
        match self.ask("tools/list", params).await {
            Ok(Some(answer)) if answer.rpc().is_some() => Stop::new(
                Verdict::ProbeSlow,
                format!(
                    "no answer to {method} within {}, but one to tools/list",
                    words(ms(self.patience.timeout))
                ),
            ),
            Ok(Some(answer)) => match stops(&answer) {
                Err(stop) => stop,
                Ok(()) => self.silence(method, true),
            },
            Ok(None) => self.silence(method, true),
            Err(stop) => stop,
        }
    }

    fn silence(&self, method: &str, confirmed: bool) -> Stop {
        let time = words(ms(self.patience.timeout));
        let too = if confirmed && method != "tools/list" {
            ", nor to tools/list"
        } else {
            ""
        };
        Stop::new(
            Verdict::Wedged,
            format!("it takes connections, but gave no answer to {method} within {time}{too}"),
        )
    }

    /// Reads what the server offers.
    async fn learn(&mut self, about: About) -> Option<Box<Learned>> {
        let About {
            said,
            transport,
            mut stream,
        } = about;
        let modern = self.era == Some(Era::Modern);
        let capabilities = said["capabilities"].clone();
        let info = match &said["_meta"]["io.modelcontextprotocol/serverInfo"] {
            Value::Null => &said["serverInfo"],
            info => info,
        };
        let text = |value: &Value, most: usize| {
            let text = value.as_str()?.trim();
            let kept: String = text
                .chars()
                .filter(|c| !c.is_control())
                .take(most)
                .collect();
            (!kept.is_empty()).then_some(kept)
        };
        let own = text(&said["protocolVersion"], LONGEST_VERSION);
        let versions: Vec<String> = said["supportedVersions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|version| text(version, LONGEST_VERSION))
            .take(MOST_VERSIONS)
            .collect();
        let mut room = offers::ROOM;
        let mut lists = [const { None }; 3];
        for (at, (name, method)) in LISTS.into_iter().enumerate() {
            // A server that says nothing of it doesn't offer it.
            if !capabilities[name].is_object() {
                lists[at] = Some(Vec::new());
                continue;
            }
            let listed = self.list(name, method, modern, stream.as_mut()).await;
            lists[at] = listed.map(|listed| offers::kept(&listed, &mut room));
        }
        let [tools, resources, prompts] = lists;
        Some(Box::new(Learned {
            name: text(&info["title"], LONGEST_NAME).or_else(|| text(&info["name"], LONGEST_NAME)),
            version: text(&info["version"], LONGEST_VERSION),
            protocol_version: match modern {
                true => Some(MODERN.to_owned()),
                false => own.clone(),
            },
            protocol_versions: match modern {
                true => versions,
                false => own.into_iter().collect(),
            },
            transport,
            tools,
            resources,
            prompts,
        }))
    }

    /// A whole list, page by page; `None` if it can't be had.
    async fn list(
        &mut self,
        name: &str,
        method: &str,
        modern: bool,
        mut stream: Option<&mut Stream>,
    ) -> Option<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor = Value::Null;
        for _ in 0..MOST_PAGES {
            let mut params = match &cursor {
                Value::Null => json!({}),
                cursor => json!({"cursor": cursor}),
            };
            if modern {
                params = modern_params(params);
            }
            let page = match &mut stream {
                Some(stream) => self.ask_stream(stream, method, params).await.ok()??,
                None => match self.ask(method, params).await {
                    Ok(Some(answer)) => answer.result()?.clone(),
                    Ok(None) => {
                        self.slow_lists |= method == "tools/list";
                        return None;
                    }
                    Err(_) => return None,
                },
            };
            all.extend(page[name].as_array()?.iter().cloned());
            cursor = page["nextCursor"].clone();
            if !cursor.is_string() || all.len() >= MOST_OFFERED {
                all.truncate(MOST_OFFERED);
                return Some(all);
            }
        }
        Some(all)
    }

    fn found(&self, learned: Option<Box<Learned>>) -> Found {
        let took = self.latency.unwrap_or_default();
        let slow = self.patience.slow;
        let (verdict, detail) = if self.slow_lists {
            (
                Verdict::ProbeSlow,
                format!(
                    "it is there, but gave no answer to tools/list within {}",
                    words(ms(self.patience.timeout))
                ),
            )
        } else if took > slow {
            (
                Verdict::ProbeSlow,
                format!(
                    "answered after {}, slow from {} on",
                    words(ms(took)),
                    words(ms(slow))
                ),
            )
        } else {
            (
                Verdict::Healthy,
                format!("answered after {}", words(ms(took))),
            )
        };
        Found {
            verdict,
            detail,
            latency: self.latency,
            era: self.era,
            session_kept: self.session_kept,
            retry_after: None,
            learned,
        }
    }

    fn next_id(&mut self) -> String {
        self.count += 1;
        format!("{PREFIX}{}-{}", self.seed, self.count)
    }
}

impl Learned {
    fn hide(&mut self, secrets: &[String]) {
        let texts = [
            &mut self.name,
            &mut self.version,
            &mut self.protocol_version,
        ];
        let versions = self.protocol_versions.iter_mut();
        for text in texts.into_iter().flatten().chain(versions) {
            let mut value = Value::String(std::mem::take(text));
            answer::without(secrets, &mut value);
            value.as_str().unwrap_or_default().clone_into(text);
        }
        for list in [&mut self.tools, &mut self.resources, &mut self.prompts] {
            for entry in list.iter_mut().flatten() {
                answer::without(secrets, entry);
            }
        }
    }
}

/// What a status says by itself, whatever the body.
fn stops(answer: &Answer) -> Result<(), Stop> {
    let status = answer.status;
    let retry_after = answer.retry_after.map(Duration::from_secs);
    let (verdict, detail) = match status {
        401 => (
            Verdict::AuthRequired,
            "it asks for credentials (401)".to_owned(),
        ),
        403 if answer.authenticate => (
            Verdict::AuthRequired,
            "it asks for other credentials (403)".to_owned(),
        ),
        403 => (
            Verdict::Misconfigured,
            "it refuses the request (403): its allowed hosts or origins may lack this name"
                .to_owned(),
        ),
        407 => (
            Verdict::Misconfigured,
            "a proxy asks for credentials (407)".to_owned(),
        ),
        421 => (
            Verdict::Misconfigured,
            "it doesn't answer to this name (421): its allowed hosts lack it".to_owned(),
        ),
        429 => (
            Verdict::Misconfigured,
            "it is asked too often (429)".to_owned(),
        ),
        300..=399 => (
            Verdict::Misconfigured,
            format!(
                "it redirects ({status}), which isn't followed: give the address that it leads to"
            ),
        ),
        503 if answer.crowded => (
            Verdict::Misconfigured,
            "it has too many open sessions (503)".to_owned(),
        ),
        500.. => (Verdict::ServerError, format!("it fails ({status})")),
        _ => return Ok(()),
    };
    Err(Stop {
        verdict,
        detail,
        retry_after: retry_after.filter(|_| matches!(status, 429 | 503)),
    })
}

/// An answer that holds nothing of MCP, in whichever way it was asked.
fn no_protocol(answer: &Answer) -> Stop {
    let status = answer.status;
    match status {
        406 | 413 | 415 => Stop::new(
            Verdict::Misconfigured,
            format!("it refuses this kind of request ({status})"),
        ),
        _ => Stop::new(
            Verdict::WrongProtocol,
            format!("it answers ({status}), but not in MCP"),
        ),
    }
}

/// Whether it answered as an endpoint does that nothing can be posted to.
fn takes_no_post(answer: &Answer) -> bool {
    matches!(answer.status, 400 | 404 | 405) && answer.rpc().is_none()
}

/// Whether a list of versions holds the newer era's.
fn speaks_modern(versions: &Value) -> bool {
    let versions = versions.as_array().into_iter().flatten();
    versions
        .filter_map(Value::as_str)
        .any(|version| version >= MODERN)
}

fn modern_params(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": client(),
    });
    params
}

fn client() -> Value {
    json!({"name": "timeback-events", "version": env!("CARGO_PKG_VERSION")})
}

async fn end_session(wire: &mut Wire<'_>, session: HeaderValue, timeout: Duration) {
    let mut headers = HeaderMap::new();
    headers.insert(SESSION, session);
    let path = wire.target.path.clone();
    let asked = async {
        let response = wire
            .send(Method::DELETE, &path, headers, Bytes::new())
            .await?;
        Ok::<_, Stop>(answer::read(response, "").await.whole)
    };
    // Whatever it says to that is fine.
    if !matches!(tokio::time::timeout(timeout, asked).await, Ok(Ok(true))) {
        wire.hang_up();
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const LISTS: [(&str, &str); 3] = [
    ("tools", "tools/list"),
    ("resources", "resources/list"),
    ("prompts", "prompts/list"),
];
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The newer era's version.
const MODERN: &str = "2026-07-28";
/// The older era's last one.
const LEGACY: &str = "2025-11-25";
/// All answers of one probe together may take so many times what one may.
const MOST_TIMEOUTS: u32 = 4;
/// How long a name may take to be resolved where somebody waits for it.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of one list.
const MOST_PAGES: usize = 100;
/// Entries of one list.
const MOST_OFFERED: usize = 5000;
const MOST_VERSIONS: usize = 16;
const LONGEST_NAME: usize = 200;
const LONGEST_VERSION: usize = 100;
