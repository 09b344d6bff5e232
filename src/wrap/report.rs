//! The hub's side of a wrapper: registers what was seen, keeps it registered, says farewell. Whatever the hub does
//! or doesn't do, nothing here is ever waited for by the bytes.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    command::{CommandLine, without_secrets},
    pump::Errors,
    watch::{Call, Description, Health, clipped},
};
use crate::client::{Client, ClientError, Exact, Query, segment};

/// What the hub is to be told.
#[derive(Debug)]
pub(super) enum Said {
    /// What the server is.
    Described(Box<Description>),
    /// How it does, with its counts.
    Health(Health, Map<String, Value>),
    /// A tool's call has ended.
    Called(Call),
}

/// The last thing that the hub is told.
#[derive(Debug)]
pub(super) enum Farewell {
    /// The client has closed.
    Closed,
    /// The server ended on its own: how, and whether that was to be expected.
    Ended { reason: String, expected: bool },
}

/// What is the same for as long as the wrapper lives.
#[derive(Debug)]
pub(super) struct About {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) tags: Map<String, Value>,
    pub(super) instance: String,
    pub(super) host: Option<String>,
    pub(super) pid: u32,
    pub(super) command: CommandLine,
    /// Whether each call of a tool is an event.
    pub(super) calls: bool,
}

/// Tells the hub what it is to be told, until the farewell.
pub(super) struct Reporter {
    client: Client,
    about: About,
    errors: Arc<Errors>,
    description: Description,
    /// The registration that the hub has taken.
    registered: Option<Value>,
    /// A registration was sent, whether or not its answer came.
    sent: bool,
    health: Value,
    metrics: Map<String, Value>,
    calls: Vec<Value>,
    calls_dropped: u64,
    interval: Duration,
    pause: Duration,
    next: Option<Instant>,
    complained: bool,
}

impl Reporter {
    pub(super) fn new(client: Client, about: About, errors: Arc<Errors>) -> Self {
        Self {
            client: client.patience(PATIENCE),
            about,
            errors,
            description: Description::default(),
            registered: None,
            sent: false,
            health: json!({"health": "healthy"}),
            metrics: Map::new(),
            calls: Vec::new(),
            calls_dropped: 0,
            interval: INTERVAL,
            pause: FIRST_PAUSE,
            next: None,
            complained: false,
        }
    }

    /// Works until the farewell, which doesn't wait for a hub that hangs: whatever is on its way then is given up.
    pub(super) async fn run(
        mut self,
        mut said: mpsc::UnboundedReceiver<Said>,
        mut farewell: oneshot::Receiver<Farewell>,
    ) {
        let last = loop {
            let next = self.next;
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                last = &mut farewell => break last,
                Some(heard) = said.recv() => self.hear(heard),
                () = due => tokio::select! {
                    last = &mut farewell => break last,
                    () = self.tell() => {}
                },
            }
        };
        // The client waits for the wrapper to end, not for the hub.
        let _ = match last {
            Ok(Farewell::Ended { reason, expected }) => {
                tokio::time::timeout(FAREWELL, self.leave(Some(&reason), expected)).await
            }
            // That nobody is there to say one means that the wrapper ends.
            Ok(Farewell::Closed) | Err(_) => {
                tokio::time::timeout(FAREWELL, self.leave(None, true)).await
            }
        };
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Described(description) => {
                self.description = *description;
                if self.registered.as_ref() != Some(&self.registration()) {
                    self.soon(Duration::ZERO);
                }
            }
            Said::Health(health, metrics) => {
                let health = match health {
                    Health::Healthy => json!({"health": "healthy"}),
                    Health::Slow(words) => json!({"health": "degraded", "detail": words}),
                    Health::Wedged(words) => json!({"health": "unhealthy", "detail": words}),
                };
                self.metrics = metrics;
                if health["health"] != self.health["health"] && self.registered.is_some() {
                    self.soon(Duration::ZERO);
                }
                self.health = health;
            }
            Said::Called(call) if self.about.calls => {
                if self.calls.len() < MOST_CALLS {
                    self.calls.push(self.event(&call));
                } else {
                    self.calls_dropped += 1;
                }
                if self.registered.is_some() && !self.complained {
                    self.soon(CALLS_GATHER);
                }
            }
            Said::Called(_) => {}
        }
    }

    /// Brings the next turn forward to `after` from now.
    fn soon(&mut self, after: Duration) {
        let at = Instant::now() + after;
        if self.next.is_none_or(|next| at < next) {
            self.next = Some(at);
        }
    }

    /// One turn: registers if that is news, else sends a heartbeat; then what calls there were.
    async fn tell(&mut self) {
        self.next = Some(Instant::now() + self.pause);
        let told = self.try_to_tell().await;
        match told {
            Ok(()) => {
                self.pause = FIRST_PAUSE;
                self.next = Some(Instant::now() + self.interval);
                if std::mem::take(&mut self.complained) {
                    self.errors.note("the hub answers again");
                }
            }
            Err(error) => {
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                self.next = Some(Instant::now() + self.pause);
                if !std::mem::replace(&mut self.complained, true) {
                    let error = without_secrets(&error.to_string());
                    self.errors.note(&format!(
                        "{error}; the server runs on, and is reported once the hub answers"
                    ));
                }
            }
        }
    }

    async fn try_to_tell(&mut self) -> Result<(), ClientError> {
        let registration = self.registration();
        if self.registered.as_ref() != Some(&registration) {
            self.register(registration).await?;
        } else {
            match self.heartbeat().await {
                Ok(beat) => self.interval = interval(&beat),
                Err(ClientError::Refused {
                    status: StatusCode::NOT_FOUND,
                    ..
                }) => self.register(registration).await?,
                Err(error) => return Err(error),
            }
        }
        while !self.calls.is_empty() {
            let some = self.calls.len().min(CALLS_AT_ONCE);
            let batch = Value::Array(self.calls[..some].to_vec());
            self.client.post("/events", &batch).await?;
            self.calls.drain(..some);
        }
        Ok(())
    }

    async fn register(&mut self, registration: Value) -> Result<(), ClientError> {
        self.sent = true;
        let answer = self.client.register(&registration).await?;
        self.interval = interval(&answer);
        self.registered = Some(registration);
        if self.health["health"] != "healthy" || !self.metrics.is_empty() {
            self.heartbeat().await?;
        }
        Ok(())
    }

    async fn heartbeat(&self) -> Result<Exact, ClientError> {
        let mut body = self.health.clone();
        body["instanceId"] = json!(self.about.instance);
        let mut metrics = self.metrics.clone();
        if self.calls_dropped > 0 {
            metrics.insert("callsDropped".to_owned(), json!(self.calls_dropped));
        }
        if !metrics.is_empty() {
            body["metrics"] = Value::Object(metrics);
        }
        self.client.heartbeat(&self.about.id, &body).await
    }

    /// Deregisters this instance. One that was never registered and ended by itself is registered first: that it
    /// can't start is what somebody has to know.
    async fn leave(self, reason: Option<&str>, expected: bool) -> Result<(), ClientError> {
        if self.registered.is_some() {
            // What was measured last.
            let _ = self.heartbeat().await;
        } else if !self.sent {
            if expected {
                return Ok(());
            }
            let registration = self.registration();
            self.client.register(&registration).await?;
        }
        let query = Query::default()
            .with_all("instanceId", [&self.about.instance])
            .with_all("expected", [if expected { "true" } else { "false" }])
            .with_all("reason", reason);
        let path = format!("/servers/{}", segment(&self.about.id));
        self.client.delete(&query.on(&path)).await.map(drop)
    }

    fn registration(&self) -> Value {
        let Description {
            title,
            version,
            protocol_version,
            client,
            tools,
            resources,
            prompts,
        } = &self.description;
        let name = self.about.name.as_ref().or(title.as_ref());
        let mut server = json!({
            "id": self.about.id,
            "name": clipped(name.unwrap_or(&self.about.id), 100),
            "transport": "stdio",
            "instances": "many",
            "instanceId": self.about.instance,
            "pid": self.about.pid,
            "capabilities": {"tools": tools, "resources": resources, "prompts": prompts},
            "metadata": {"source": "wrap", "command": self.about.command.shown()},
        });
        let mut put = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                server[name] = json!(clipped(value, 100));
            }
        };
        put("version", version);
        put("protocolVersion", protocol_version);
        put("client", client);
        put("host", &self.about.host);
        if !self.about.tags.is_empty() {
            server["tags"] = Value::Object(self.about.tags.clone());
        }
        fit(&mut server);
        server
    }

    fn event(&self, call: &Call) -> Value {
        json!({
            "type": "mcp.tool_called",
            "serverId": self.about.id,
            "data": {
                "tool": clipped(&call.tool, 120),
                "durationMs": u64::try_from(call.duration.as_millis()).unwrap_or(u64::MAX),
                "outcome": call.outcome.as_str(),
                "bytes": call.bytes,
                "instanceId": self.about.instance,
            },
        })
    }
}

/// Shortens the lists of what the server offers until the hub takes the body: first without descriptions, then
/// fewer of them.
fn fit(server: &mut Value) {
    if server.to_string().len() <= LARGEST_BODY {
        return;
    }
    for list in ["tools", "resources", "prompts"] {
        for entry in server["capabilities"][list]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("description");
            }
        }
    }
    while server.to_string().len() > LARGEST_BODY {
        for list in ["tools", "resources", "prompts"] {
            if let Some(list) = server["capabilities"][list].as_array_mut() {
                list.truncate(list.len() / 2);
            }
        }
    }
}

/// How often the hub expects to hear; a little sooner, so that the way there doesn't make it late.
fn interval(answer: &Value) -> Duration {
    let told = answer["heartbeatIntervalMs"].as_u64().unwrap_or(10_000);
    Duration::from_millis(told.saturating_mul(9) / 10)
}

/// How long an answer of the hub is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between heartbeats, until the hub says how often.
const INTERVAL: Duration = Duration::from_secs(9);
/// Between tries while the hub doesn't answer; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest of these.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long calls gather before they are reported together.
const CALLS_GATHER: Duration = Duration::from_millis(200);
/// Calls in one request.
const CALLS_AT_ONCE: usize = 500;
/// Calls that wait for the hub. More are counted only (`callsDropped`).
const MOST_CALLS: usize = 2_000;
/// The largest registration, in bytes: below what the hub takes.
const LARGEST_BODY: usize = 128 * 1024;
