//! Settings: from the process environment, then `.env`. Every mistake is reported at once, by name.
//!
//! One table ([`SETTINGS`]) names each variable, says what it does, reads it and shows it; `--help`, `check`,
//! `configurations/.env.integration` and the README's table all follow from it. Reading is pure
//! ([`Config::from_vars`]); only [`Config::load`] looks at the process and the disk. Nothing here is ever
//! written back into the process environment.

mod cross;
mod docs;
mod report;
mod table;
mod value;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use ipnet::IpNet;

use crate::probe::Allow;
pub(crate) use cross::OPEN_BY_ACCIDENT;
pub use docs::{effective, env_file, env_file_minimal, help, markdown};

pub use report::{Mistake, Mistakes, Warning};
pub use table::{SETTINGS, Setting};

/// All settings of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `INTEGRATION_ENABLED`: all of it.
    pub enabled: bool,
    /// `INTEGRATION_MCP`: the hub as an MCP server.
    pub mcp: bool,
    /// Flags of patterns, where set: `INTEGRATION_EVENT_DRIVEN` and its like. `None`: not set.
    pub patterns: PatternFlags,
    /// Where it listens.
    pub listen: Listen,
    /// Who may ask from a browser.
    pub web: Web,
    /// The stream.
    pub stream: Stream,
    /// `INTEGRATION_DRAIN_TIMEOUT_MS`: how long a shutdown may take.
    pub drain_timeout: Duration,
    /// Health.
    pub heartbeat: Heartbeat,
    /// Servers that the hub asks itself.
    pub probe: Probes,
    /// `INTEGRATION_DATA_DIR`: the log and all state; `None` (`:memory:`) keeps nothing.
    pub data_dir: Option<PathBuf>,
    /// `INTEGRATION_RETENTION_*`.
    pub retention: Retention,
    /// `INTEGRATION_STATE_RETENTION_*`.
    pub state_retention: StateRetention,
    /// `INTEGRATION_IDEMPOTENCY_KEYS`: how many are remembered.
    pub idempotency_keys: u64,
    /// `INTEGRATION_IDEMPOTENCY_BYTES`: how many bytes of them.
    pub idempotency_bytes: u64,
    /// Who may come in.
    pub auth: Auth,
    /// `INTEGRATION_TLS_*`; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// How much one client may ask for.
    pub limits: Limits,
    /// Logging.
    pub log: Logging,
}

/// `INTEGRATION_*` flags of the built-in patterns; `None` where the variable isn't set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PatternFlags {
    /// `INTEGRATION_EVENT_DRIVEN`
    pub event_driven: Option<bool>,
    /// `INTEGRATION_SSE`
    pub sse_integration: Option<bool>,
    /// `INTEGRATION_SERVER_CHAINING`
    pub server_chaining: Option<bool>,
    /// `INTEGRATION_TOOL_COMPOSITION`
    pub tool_composition: Option<bool>,
    /// `INTEGRATION_SHARED_RESOURCES`
    pub shared_resources: Option<bool>,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `INTEGRATION_SSE_HOST`
    pub host: String,
    /// `INTEGRATION_SSE_PORT`; 0 takes a free one.
    pub port: u16,
}

/// Who may ask from a browser, and under which names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Web {
    /// `INTEGRATION_SSE_CORS_ORIGINS`: exact origins, or `*`, which opens reading only.
    pub cors_origins: Vec<String>,
    /// `INTEGRATION_ALLOWED_HOSTS`: names beside the loopback ones.
    pub allowed_hosts: Vec<String>,
}

/// The stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// `INTEGRATION_SSE_KEEPALIVE_MS`: a bookmark after this long without a frame.
    pub keepalive: Duration,
    /// `INTEGRATION_SSE_RETRY_MS`: what `retry:` says.
    pub retry: Duration,
    /// `INTEGRATION_SSE_STALL_TIMEOUT_MS`: a socket that takes nothing for this long is closed.
    pub stall_timeout: Duration,
    /// `INTEGRATION_SSE_MAX_CLIENTS`
    pub max_clients: usize,
}

/// Health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// `INTEGRATION_HEARTBEAT_INTERVAL_MS`
    pub interval: Duration,
    /// `INTEGRATION_HEARTBEAT_UNHEALTHY_AFTER`: missed heartbeats.
    pub unhealthy_after: u32,
    /// `INTEGRATION_HEARTBEAT_DISCONNECT_AFTER`: missed heartbeats.
    pub disconnect_after: u32,
    /// `INTEGRATION_HEARTBEAT_RECOVER_AFTER`: heartbeats in a row.
    pub recover_after: u32,
}

/// Servers that the hub asks itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probes {
    /// `INTEGRATION_SERVERS_FILE`: a file of servers as MCP clients have it.
    pub servers_file: Option<PathBuf>,
    /// `INTEGRATION_PROBE_ALLOW`: hosts that registrations may have asked.
    pub allow: Allow,
    /// `INTEGRATION_PROBE_CONCURRENCY`: probes at a time.
    pub concurrency: usize,
}

/// What the log keeps, whichever bound is reached first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// `INTEGRATION_RETENTION_AGE`
    pub age: Duration,
    /// `INTEGRATION_RETENTION_EVENTS`
    pub events: u64,
    /// `INTEGRATION_RETENTION_BYTES`
    pub bytes: u64,
}

/// How long ended workflows and gone servers stay in the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRetention {
    /// `INTEGRATION_STATE_RETENTION_AGE`
    pub age: Duration,
    /// `INTEGRATION_STATE_RETENTION_COUNT`
    pub count: usize,
}

/// Who may come in, and how they show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// `INTEGRATION_AUTH=none`: said plainly that whoever reaches the port may do everything.
    pub open: bool,
    /// `INTEGRATION_API_KEYS_FILE`
    pub api_keys: Option<PathBuf>,
    /// `INTEGRATION_JWT_SECRET`, for HS256.
    pub jwt_secret: Option<Secret>,
    /// `INTEGRATION_JWKS`, for the other algorithms.
    pub jwks: Option<JwksSource>,
    /// `INTEGRATION_JWT_ISSUER`
    pub issuer: Option<String>,
    /// `INTEGRATION_JWT_AUDIENCE`
    pub audience: Option<String>,
    /// `INTEGRATION_JWT_ALGORITHMS`
    pub algorithms: Vec<SigningAlgorithm>,
    /// `INTEGRATION_SESSION_AGE`: how long a browser's session lasts at most.
    pub session_age: Duration,
    /// `INTEGRATION_SESSION_SECRET`: seals sessions; `None` takes one kept in the data directory.
    pub session_secret: Option<Secret>,
    /// `INTEGRATION_SESSION_COOKIE`: what the session's cookie is called; `None`: by the port, and the path behind a proxy.
    pub session_cookie: Option<String>,
    /// `INTEGRATION_TRUSTED_PROXIES`: whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Auth {
    /// Whether anything is configured by which a client could show who it is.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.api_keys.is_some() || self.jwt_secret.is_some() || self.jwks.is_some()
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Not for logs.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Where the keys are that tokens are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// A file, read again when it changes.
    File(PathBuf),
    /// An address, asked now and then.
    Url(String),
}

/// How a token may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    /// HMAC with SHA-256, by the shared secret only.
    Hs256,
    /// RSA PKCS #1 1.5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// The server's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `INTEGRATION_TLS_CERT`: the chain, PEM, the server's own first.
    pub cert: PathBuf,
    /// `INTEGRATION_TLS_KEY`: its private key, PEM.
    pub key: PathBuf,
}

/// How much one client may ask for, and how much there may be of anything. 0 where it says so: no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `INTEGRATION_HEADER_TIMEOUT_MS`: how long a request's head may take.
    pub header_timeout: Duration,
    /// `INTEGRATION_BODY_TIMEOUT_MS`: how long a request's body may take.
    pub body_timeout: Duration,
    /// `INTEGRATION_MAX_HEADER_BYTES`: most of a request's head.
    pub header_bytes: usize,
    /// `INTEGRATION_MAX_HEADER_LINES`: of one request.
    pub header_lines: usize,
    /// `INTEGRATION_MAX_CONNECTIONS`: streams included.
    pub connections: usize,
    /// `INTEGRATION_MAX_BODIES_BYTES`: of all bodies that are being read.
    pub bodies_bytes: usize,
    /// `INTEGRATION_MAX_STREAMS_PER_ADDRESS`; 0: no limit of its own.
    pub streams_per_address: usize,
    /// `INTEGRATION_MAX_STREAMS_PER_TOKEN`; 0: no limit of its own.
    pub streams_per_token: usize,
    /// `INTEGRATION_MAX_REQUESTS_PER_ADDRESS`: each second; 0: no limit.
    pub requests_per_address: u32,
    /// `INTEGRATION_MAX_REQUESTS_PER_TOKEN`: each second; 0: no limit.
    pub requests_per_token: u32,
    /// `INTEGRATION_MAX_SERVERS`: in the state.
    pub servers: usize,
    /// `INTEGRATION_MAX_WORKFLOWS`: running ones.
    pub workflows: usize,
    /// `INTEGRATION_MAX_STEPS`: of one workflow.
    pub steps: usize,
    /// `INTEGRATION_MAX_BODY_BYTES`: most of a request's body.
    pub body_bytes: usize,
    /// `INTEGRATION_MAX_JSON_DEPTH`: levels of arrays and objects in a body.
    pub json_depth: usize,
    /// `INTEGRATION_MAX_ID_LENGTH`: characters of an id that is new.
    pub id_length: usize,
    /// `INTEGRATION_MAX_TAGS`: of one server.
    pub tags: usize,
    /// `INTEGRATION_MAX_PATTERNS`: built-in and custom.
    pub patterns: usize,
    /// `INTEGRATION_MAX_CUSTOM_TYPES`: event types of producers' own in use.
    pub custom_types: usize,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// `LOG_LEVEL`: a level or a `tracing` filter.
    pub level: String,
    /// `LOG_FORMAT`
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            mcp: true,
            patterns: PatternFlags::default(),
            listen: Listen {
                host: "127.0.0.1".to_owned(),
                port: 3001,
            },
            web: Web::default(),
            stream: Stream {
                keepalive: Duration::from_secs(15),
                retry: Duration::from_secs(3),
                stall_timeout: Duration::from_secs(60),
                max_clients: 100_000,
            },
            drain_timeout: Duration::from_secs(5),
            heartbeat: Heartbeat {
                interval: Duration::from_secs(10),
                unhealthy_after: 3,
                disconnect_after: 10,
                recover_after: 2,
            },
            probe: Probes {
                servers_file: None,
                allow: Allow::default(),
                concurrency: 64,
            },
            data_dir: Some(PathBuf::from("data")),
            retention: Retention {
                age: Duration::from_secs(7 * 24 * 3600),
                events: 1_000_000,
                bytes: 1 << 30,
            },
            state_retention: StateRetention {
                age: Duration::from_secs(24 * 3600),
                count: 10_000,
            },
            idempotency_keys: 200_000,
            idempotency_bytes: 256 << 20,
            auth: Auth {
                open: false,
                api_keys: None,
                jwt_secret: None,
                jwks: None,
                issuer: None,
                audience: None,
                algorithms: vec![
                    SigningAlgorithm::Hs256,
                    SigningAlgorithm::Rs256,
                    SigningAlgorithm::Es256,
                    SigningAlgorithm::EdDsa,
                ],
                session_age: Duration::from_secs(12 * 3600),
                session_secret: None,
                session_cookie: None,
                trusted_proxies: Vec::new(),
            },
            tls: None,
            limits: Limits {
                header_timeout: Duration::from_secs(10),
                body_timeout: Duration::from_secs(30),
                header_bytes: 16 * 1024,
                header_lines: 100,
                connections: 100_000,
                bodies_bytes: 32 << 20,
                streams_per_address: 0,
                streams_per_token: 0,
                requests_per_address: 0,
                requests_per_token: 0,
                servers: 1_000_000,
                workflows: 1_000_000,
                steps: 10_000,
                body_bytes: 256 * 1024,
                json_depth: 64,
                id_length: 128,
                tags: 64,
                patterns: 1000,
                custom_types: 10_000,
            },
            log: Logging {
                level: "info".to_owned(),
                format: LogFormat::Text,
            },
        }
    }
}

/// An age as settings are written: `90d`, `24h`, `15m`, `30s`, or a number of milliseconds; a century at most.
///
/// # Errors
/// What would be right.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    value::age(text, 1..=100 * 365 * 24 * 3_600_000)
}

impl Config {
    /// Reads the process environment, and for what isn't set there `.env` in the working directory.
    ///
    /// # Errors
    /// Every mistake at once: values out of bounds, values that contradict each other, text that isn't
    /// UTF-8, lines of `.env` that can't be read.
    pub fn load() -> Result<(Self, Vec<Warning>), Mistakes> {
        Self::read().into_result()
    }

    /// The same, to be looked at further: what couldn't be read stands at its default.
    #[must_use]
    pub fn read() -> Reading {
        let mut mistakes = Vec::new();
        let mut vars = BTreeMap::new();
        read_dotenv(&mut vars, &mut mistakes);
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                // An empty variable is an unset one, so that of .env counts.
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => _ = vars.insert(name, value),
                Err(_) if table::is_ours(&name) => {
                    mistakes.push(Mistake::new(name, None, "must be text in UTF-8"));
                }
                Err(_) => {}
            }
        }
        let mut reading = Reading::of(vars);
        mistakes.append(&mut reading.mistakes);
        Reading {
            mistakes,
            ..reading
        }
    }

    /// Reads settings from names and values; where a name comes twice the last one counts. A value of
    /// nothing but white space is as good as none. Names that aren't ours are passed over.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<Warning>), Mistakes> {
        Reading::of(vars).into_result()
    }
}

/// What was read, mistakes and all.
#[derive(Debug)]
pub struct Reading {
    /// The settings; what couldn't be read stands at its default.
    pub config: Config,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
    /// What can't be used.
    pub mistakes: Vec<Mistake>,
}

impl Reading {
    fn of(vars: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut config = Config::default();
        let (mut warnings, mut mistakes) = (Vec::new(), Vec::new());
        let vars: BTreeMap<String, String> = vars.into_iter().collect();
        for (name, value) in &vars {
            let value = value.trim();
            match table::find(name) {
                Some(setting) if !value.is_empty() => {
                    if let Err(problem) = (setting.set)(&mut config, value) {
                        let shown = (!setting.secret).then(|| value.to_owned());
                        mistakes.push(Mistake::new(name, shown, problem));
                    }
                }
                None if table::is_ours(name) => warnings.push(Warning::unknown(name)),
                _ => {}
            }
        }
        warnings.extend(cross::check(&config, &mut mistakes));
        Self {
            config,
            warnings,
            mistakes,
        }
    }

    fn into_result(self) -> Result<(Config, Vec<Warning>), Mistakes> {
        if self.mistakes.is_empty() {
            Ok((self.config, self.warnings))
        } else {
            Err(Mistakes(self.mistakes))
        }
    }
}

/// Where `.env` is looked for: the working directory, and nowhere above it.
const DOTENV: &str = ".env";

fn read_dotenv(vars: &mut BTreeMap<String, String>, mistakes: &mut Vec<Mistake>) {
    let text = match std::fs::read(DOTENV) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            mistakes.push(Mistake::new(
                DOTENV,
                None,
                format!("can't be read: {error}"),
            ));
            return;
        }
    };
    // A byte order mark says nothing in UTF-8.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let lines = dotenvy::from_read_iter(text);
    for line in lines {
        match line {
            Ok((_, value)) if value.trim().is_empty() => {}
            Ok((name, value)) => _ = vars.insert(name, value),
            Err(dotenvy::Error::LineParse(line, at)) => {
                // The line may hold a secret: only what stands before its `=` is told.
                let start: String = line
                    .split('=')
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(64)
                    .collect();
                let problem = format!(
                    "the line that begins with {start:?} can't be read at character {at}; \
                     write NAME=value, in quotes where the value holds spaces, quotes or #"
                );
                mistakes.push(Mistake::new(DOTENV, None, problem));
            }
            Err(error) => {
                // Such as bytes that aren't UTF-8: the reader can't go on after it.
                mistakes.push(Mistake::new(
                    DOTENV,
                    None,
                    format!("can't be read: {error}"),
                ));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
