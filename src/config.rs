//! Settings: from the process environment, then `.env`. Every mistake is reported at once, by name.

use std::{path::PathBuf, time::Duration};

/// All settings of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `INTEGRATION_ENABLED`: all of it.
    pub enabled: bool,
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
    /// `INTEGRATION_DATA_DIR`: the log and all state; `None` (`:memory:`) keeps nothing.
    pub data_dir: Option<PathBuf>,
    /// `INTEGRATION_RETENTION_*`.
    pub retention: Retention,
    /// `INTEGRATION_STATE_RETENTION_*`.
    pub state_retention: StateRetention,
    /// `INTEGRATION_IDEMPOTENCY_KEYS`: how many are remembered.
    pub idempotency_keys: u64,
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
            log: Logging {
                level: "info".to_owned(),
                format: LogFormat::Text,
            },
        }
    }
}
