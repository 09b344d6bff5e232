//! Every setting, once: its name, what it does, how it is read and shown.

use std::path::PathBuf;

use super::{
    Config, LogFormat,
    value::{age, flag, host, list, log_level, millis, number, origin, show_age, show_size, size},
};

/// One variable of the environment.
#[derive(Debug)]
pub struct Setting {
    /// Its name, such as `INTEGRATION_SSE_PORT`.
    pub name: &'static str,
    /// The heading that it stands under.
    pub concern: &'static str,
    /// What it gates or sets, in one or two sentences.
    pub about: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Reads the value into the settings, or says what would be right.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    /// Shows the value in force, as it could be given; empty where nothing is set.
    pub(super) show: fn(&Config) -> String,
}

impl Setting {
    /// Its default, as it could be given; empty where there is none.
    #[must_use]
    pub fn default_text(&self) -> String {
        (self.show)(&Config::default())
    }
}

/// The setting of that name.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Whether a name is in our space, so that an unknown one is worth a warning.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("INTEGRATION_") || find(name).is_some()
}

const HOUR_MS: u64 = 3_600_000;
const CENTURY_MS: u64 = 36_500 * 24 * HOUR_MS;

const GATES: &str = "What is switched on";
const LISTEN: &str = "Where it listens, and which web pages may ask";
const STREAM: &str = "The stream";
const HEALTH: &str = "Health of servers";
const STORE: &str = "The log and the state";
const LOGS: &str = "Logs";

/// A row whose value is what `$read` makes of the text, kept in `$field`.
macro_rules! row {
    ($concern:ident, $name:literal, $about:literal, $($field:ident).+, $read:expr, $show:expr) => {
        Setting {
            name: $name,
            concern: $concern,
            about: $about,
            secret: false,
            set: |config, text| {
                let read = $read;
                config.$($field).+ = read(text)?;
                Ok(())
            },
            show: |config| {
                let show = $show;
                show(&config.$($field).+)
            },
        }
    };
}

/// A row for the flag of a built-in pattern, whose default is `$default`.
macro_rules! pattern {
    ($name:literal, $about:literal, $field:ident, $default:literal) => {
        row!(
            GATES,
            $name,
            $about,
            patterns.$field,
            |text| flag(text).map(Some),
            |set: &Option<bool>| set.unwrap_or($default).to_string()
        )
    };
}

/// Every setting, in the order in which they are documented.
pub const SETTINGS: &[Setting] = &[
    row!(
        GATES,
        "INTEGRATION_ENABLED",
        "All of it. Off leaves /healthz, /readyz and /metrics; the rest answers 503.",
        enabled,
        flag,
        bool::to_string
    ),
    pattern!(
        "INTEGRATION_EVENT_DRIVEN",
        "The pattern event_driven, events as a whole. Off: servers and workflows are still tracked and \
         logged, while the stream, history and POST /events are refused.",
        event_driven,
        true
    ),
    pattern!(
        "INTEGRATION_SSE",
        "The pattern sse_integration, the stream alone. Off: the stream is refused, history stays.",
        sse_integration,
        true
    ),
    pattern!(
        "INTEGRATION_SERVER_CHAINING",
        "The pattern server_chaining, as /patterns shows it. A pattern's flag that is set overwrites at \
         start what was switched by PUT /patterns.",
        server_chaining,
        false
    ),
    pattern!(
        "INTEGRATION_TOOL_COMPOSITION",
        "The pattern tool_composition, as /patterns shows it.",
        tool_composition,
        false
    ),
    pattern!(
        "INTEGRATION_SHARED_RESOURCES",
        "The pattern shared_resources, as /patterns shows it.",
        shared_resources,
        false
    ),
    row!(
        LISTEN,
        "INTEGRATION_SSE_HOST",
        "The name or address that it listens on.",
        listen.host,
        host,
        String::clone
    ),
    row!(
        LISTEN,
        "INTEGRATION_SSE_PORT",
        "The port that it listens on. 0 takes a free one and prints it.",
        listen.port,
        |text| number(text, 0..=u16::MAX),
        u16::to_string
    ),
    row!(
        LISTEN,
        "INTEGRATION_SSE_CORS_ORIGINS",
        "Origins of web pages that may ask, comma separated, such as https://board.example. * opens \
         reading only.",
        web.cors_origins,
        |text| list(text, origin),
        |origins: &Vec<String>| origins.join(",")
    ),
    row!(
        LISTEN,
        "INTEGRATION_ALLOWED_HOSTS",
        "Names beside the loopback ones under which it may be asked, comma separated, without ports.",
        web.allowed_hosts,
        |text| list(text, host),
        |hosts: &Vec<String>| hosts.join(",")
    ),
    row!(
        STREAM,
        "INTEGRATION_SSE_KEEPALIVE_MS",
        "A stream without a frame for this long gets a bookmark.",
        stream.keepalive,
        |text| millis(text, 50..=HOUR_MS),
        show_millis
    ),
    row!(
        STREAM,
        "INTEGRATION_SSE_RETRY_MS",
        "How long a client waits before it connects again; 1 to 10 times as long where it is refused.",
        stream.retry,
        |text| millis(text, 1..=HOUR_MS),
        show_millis
    ),
    row!(
        STREAM,
        "INTEGRATION_SSE_STALL_TIMEOUT_MS",
        "A stream's socket that takes nothing for this long is closed.",
        stream.stall_timeout,
        |text| millis(text, 100..=24 * HOUR_MS),
        show_millis
    ),
    row!(
        STREAM,
        "INTEGRATION_SSE_MAX_CLIENTS",
        "Open streams, at most the limit of open files less 256. More are asked to come back later.",
        stream.max_clients,
        |text| number(text, 1..=10_000_000),
        usize::to_string
    ),
    row!(
        STREAM,
        "INTEGRATION_DRAIN_TIMEOUT_MS",
        "How long a shutdown may take, streams open or not.",
        drain_timeout,
        |text| millis(text, 0..=HOUR_MS),
        show_millis
    ),
    row!(
        HEALTH,
        "INTEGRATION_HEARTBEAT_INTERVAL_MS",
        "How often a server that names no interval of its own is to send a heartbeat.",
        heartbeat.interval,
        |text| millis(text, 100..=300_000),
        show_millis
    ),
    row!(
        HEALTH,
        "INTEGRATION_HEARTBEAT_UNHEALTHY_AFTER",
        "Missed heartbeats that make a server unhealthy. The first one makes it degraded.",
        heartbeat.unhealthy_after,
        |text| number(text, 2..=10_000),
        u32::to_string
    ),
    row!(
        HEALTH,
        "INTEGRATION_HEARTBEAT_DISCONNECT_AFTER",
        "Missed heartbeats that disconnect a server; more than those that make it unhealthy.",
        heartbeat.disconnect_after,
        |text| number(text, 3..=100_000),
        u32::to_string
    ),
    row!(
        HEALTH,
        "INTEGRATION_HEARTBEAT_RECOVER_AFTER",
        "Heartbeats in a row that make a server healthy again.",
        heartbeat.recover_after,
        |text| number(text, 1..=10_000),
        u32::to_string
    ),
    row!(
        STORE,
        "INTEGRATION_DATA_DIR",
        "The directory of the log and all state. :memory: keeps nothing.",
        data_dir,
        |text: &str| Ok::<_, String>((text != MEMORY).then(|| PathBuf::from(text))),
        |dir: &Option<PathBuf>| match dir {
            Some(dir) => dir.display().to_string(),
            None => MEMORY.to_owned(),
        }
    ),
    row!(
        STORE,
        "INTEGRATION_RETENTION_AGE",
        "How long events are kept, such as 7d, 24h, 15m. Of the three bounds the first reached counts.",
        retention.age,
        |text| age(text, 1_000..=CENTURY_MS),
        |age: &_| show_age(*age)
    ),
    row!(
        STORE,
        "INTEGRATION_RETENTION_EVENTS",
        "How many events are kept.",
        retention.events,
        |text| number(text, 1..=1_000_000_000_000),
        u64::to_string
    ),
    row!(
        STORE,
        "INTEGRATION_RETENTION_BYTES",
        "How many bytes of events are kept, such as 1GiB, 512MiB.",
        retention.bytes,
        |text| size(text, 1 << 16..=1 << 50),
        |bytes: &u64| show_size(*bytes)
    ),
    row!(
        STORE,
        "INTEGRATION_STATE_RETENTION_AGE",
        "How long ended workflows and gone servers stay in the state.",
        state_retention.age,
        |text| age(text, 1..=CENTURY_MS),
        |age: &_| show_age(*age)
    ),
    row!(
        STORE,
        "INTEGRATION_STATE_RETENTION_COUNT",
        "How many ended workflows and gone servers stay in the state, the oldest leave first.",
        state_retention.count,
        |text| number(text, 0..=10_000_000),
        usize::to_string
    ),
    row!(
        STORE,
        "INTEGRATION_IDEMPOTENCY_KEYS",
        "How many answers to calls with an Idempotency-Key are remembered, for 24 h at most.",
        idempotency_keys,
        |text| number(text, 1..=1_000_000_000),
        u64::to_string
    ),
    row!(
        LOGS,
        "LOG_LEVEL",
        "off, error, warn, info, debug or trace, or directives such as info,timeback_events::hub=debug.",
        log.level,
        log_level,
        String::clone
    ),
    row!(
        LOGS,
        "LOG_FORMAT",
        "text for people, json for machines.",
        log.format,
        |text: &str| match text.to_ascii_lowercase().as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be text or json".to_owned()),
        },
        |format: &LogFormat| match format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        }
    ),
];

const MEMORY: &str = ":memory:";

fn show_millis(time: &std::time::Duration) -> String {
    time.as_millis().to_string()
}
