//! Every setting, once: its name, what it does, how it is read and shown.

use std::path::PathBuf;

use crate::probe::Allow;

use super::{
    Config, JwksSource, LogFormat, Tls,
    value::{
        age, algorithms, cookie_name, flag, host, host_and_port, jwks, list, log_level, millis,
        net, number, origin, path, secret, show_age, show_algorithms, show_size, size, text,
    },
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
const DOOR: &str = "Who may come in";
const LIMITS: &str = "Limits";
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

/// A row for a secret: whether it is set is all that is ever shown.
macro_rules! secret {
    ($concern:ident, $name:literal, $about:literal, $($field:ident).+) => {
        Setting {
            name: $name,
            concern: $concern,
            about: $about,
            secret: true,
            set: |config, text| {
                config.$($field).+ = secret(text)?;
                Ok(())
            },
            show: |config| match &config.$($field).+ {
                Some(_) => SET.to_owned(),
                None => String::new(),
            },
        }
    };
}

/// A row for one of the two files of TLS, which make sense together only; the other stands empty meanwhile.
macro_rules! tls {
    ($name:literal, $about:literal, $field:ident) => {
        Setting {
            name: $name,
            concern: DOOR,
            about: $about,
            secret: false,
            set: |config, text| {
                let nothing = || Tls {
                    cert: PathBuf::new(),
                    key: PathBuf::new(),
                };
                config.tls.get_or_insert_with(nothing).$field = path(text)?;
                Ok(())
            },
            show: |config| match &config.tls {
                Some(tls) => tls.$field.display().to_string(),
                None => String::new(),
            },
        }
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
    row!(
        GATES,
        "INTEGRATION_MCP",
        "The hub as an MCP server at /mcp, for agents.",
        mcp,
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
        "Names beside the loopback ones under which it may be asked, comma separated, such as hub.example.",
        web.allowed_hosts,
        |text| list(text, host_and_port),
        |hosts: &Vec<String>| hosts.join(",")
    ),
    row!(
        DOOR,
        "INTEGRATION_AUTH",
        "none says plainly that whoever reaches the port may do everything. Otherwise it listens off \
         loopback only where credentials are configured, and then asks everybody for them.",
        auth.open,
        |text: &str| match text.to_ascii_lowercase().as_str() {
            "none" => Ok(true),
            _ => Err("must be none or unset".to_owned()),
        },
        |open: &bool| if *open {
            "none".to_owned()
        } else {
            String::new()
        }
    ),
    row!(
        DOOR,
        "INTEGRATION_API_KEYS_FILE",
        "The file of API keys, hashes only; see timeback-events key. Read again when it changes and on \
         SIGHUP.",
        auth.api_keys,
        |text| path(text).map(Some),
        |file: &Option<PathBuf>| file
            .as_ref()
            .map(|f| f.display().to_string())
            .unwrap_or_default()
    ),
    secret!(
        DOOR,
        "INTEGRATION_JWT_SECRET",
        "The secret of tokens signed with HS256, 32 bytes or more.",
        auth.jwt_secret
    ),
    row!(
        DOOR,
        "INTEGRATION_JWKS",
        "A file or https address of the keys of tokens signed with RS256, ES256 or EdDSA (a JWK set).",
        auth.jwks,
        jwks,
        |source: &Option<JwksSource>| match source {
            Some(JwksSource::File(file)) => file.display().to_string(),
            Some(JwksSource::Url(url)) => crate::words::without_passwords(url).into_owned(),
            None => String::new(),
        }
    ),
    row!(
        DOOR,
        "INTEGRATION_JWT_ISSUER",
        "What a token's iss must be.",
        auth.issuer,
        text,
        show_text
    ),
    row!(
        DOOR,
        "INTEGRATION_JWT_AUDIENCE",
        "What a token's aud must be or hold.",
        auth.audience,
        text,
        show_text
    ),
    row!(
        DOOR,
        "INTEGRATION_JWT_ALGORITHMS",
        "How tokens may be signed, comma separated.",
        auth.algorithms,
        algorithms,
        |list: &Vec<_>| show_algorithms(list)
    ),
    row!(
        DOOR,
        "INTEGRATION_SESSION_AGE",
        "How long a browser's session lasts at most; never longer than the token it was opened with.",
        auth.session_age,
        |text| age(text, 60_000..=365 * 24 * HOUR_MS),
        |age: &_| show_age(*age)
    ),
    secret!(
        DOOR,
        "INTEGRATION_SESSION_SECRET",
        "Seals browsers' sessions, 32 bytes or more. Unset: one that is kept in the data directory.",
        auth.session_secret
    ),
    row!(
        DOOR,
        "INTEGRATION_SESSION_COOKIE",
        "What the session's cookie is called. Unset: timeback_session_, the port and, where a proxy tells a path by \
         X-Forwarded-Prefix, a mark of it. __Host- in front keeps neighbouring domains from planting one (TLS only).",
        auth.session_cookie,
        cookie_name,
        show_text
    ),
    row!(
        DOOR,
        "INTEGRATION_TRUSTED_PROXIES",
        "Addresses or nets of proxies whose X-Forwarded-For is believed, comma separated.",
        auth.trusted_proxies,
        |text| list(text, net),
        |nets: &Vec<ipnet::IpNet>| nets
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    ),
    tls!(
        "INTEGRATION_TLS_CERT",
        "The server's certificate chain, PEM; with INTEGRATION_TLS_KEY it speaks HTTPS. Both are read again \
         when they change.",
        cert
    ),
    tls!(
        "INTEGRATION_TLS_KEY",
        "The certificate's private key, PEM.",
        key
    ),
    row!(
        LIMITS,
        "INTEGRATION_HEADER_TIMEOUT_MS",
        "How long a client may take for a request's head, and a TLS handshake.",
        limits.header_timeout,
        |text| millis(text, 100..=HOUR_MS),
        show_millis
    ),
    row!(
        LIMITS,
        "INTEGRATION_BODY_TIMEOUT_MS",
        "How long a client may take for a request's body.",
        limits.body_timeout,
        |text| millis(text, 100..=HOUR_MS),
        show_millis
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_HEADER_BYTES",
        "The longest head of a request.",
        limits.header_bytes,
        |text| size(text, 8 << 10..=1 << 20)
            .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        |bytes: &usize| show_size(*bytes as u64)
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_HEADER_LINES",
        "The most header lines of a request.",
        limits.header_lines,
        |text| number(text, 16..=1000),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_CONNECTIONS",
        "Connections at a time, streams included; at most the limit of open files less 128. Where there are more, those on which \
         nothing is under way make room.",
        limits.connections,
        |text| number(text, 1..=10_000_000),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_BODIES_BYTES",
        "Bytes of all bodies that are being read. Where there are more, the body that was begun first is refused.",
        limits.bodies_bytes,
        |text| size(text, 1 << 20..=1 << 40)
            .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        |bytes: &usize| show_size(*bytes as u64)
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_STREAMS_PER_ADDRESS",
        "Open streams of one address (an IPv6 net of 64 bits counts as one). 0: no limit of its own.",
        limits.streams_per_address,
        |text| number(text, 0..=10_000_000),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_STREAMS_PER_TOKEN",
        "Open streams of one token or key. 0: no limit of its own.",
        limits.streams_per_token,
        |text| number(text, 0..=10_000_000),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_REQUESTS_PER_ADDRESS",
        "Requests of one address each second; twice as many in a burst. 0: no limit.",
        limits.requests_per_address,
        |text| number(text, 0..=10_000_000),
        u32::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_REQUESTS_PER_TOKEN",
        "Requests of one token or key each second; twice as many in a burst. 0: no limit.",
        limits.requests_per_token,
        |text| number(text, 0..=10_000_000),
        u32::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_SERVERS",
        "Servers in the state.",
        limits.servers,
        |text| number(text, 1..=100_000_000),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_WORKFLOWS",
        "Running workflows.",
        limits.workflows,
        |text| number(text, 1..=100_000_000),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_STEPS",
        "Steps of one workflow.",
        limits.steps,
        |text| number(text, 1..=100_000),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_BODY_BYTES",
        "Longest body of a request.",
        limits.body_bytes,
        |text| size(text, 1024..=16 << 20).map(|bytes| bytes as usize),
        |bytes: &usize| show_size(*bytes as u64)
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_JSON_DEPTH",
        "Levels of arrays and objects within each other in a body; at 64 what wraps an event's data doesn't count.",
        limits.json_depth,
        |text| number(text, 4..=64),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_ID_LENGTH",
        "Characters of a new id; those that are there may stay.",
        limits.id_length,
        |text| number(text, 40..=128),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_TAGS",
        "Tags of one server, which its events carry.",
        limits.tags,
        |text| number(text, 0..=1000),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_PATTERNS",
        "Patterns, the five built-in ones included.",
        limits.patterns,
        |text| number(text, 5..=100_000),
        usize::to_string
    ),
    row!(
        LIMITS,
        "INTEGRATION_MAX_CUSTOM_TYPES",
        "Event types of producers' own. One is counted until none came for INTEGRATION_STATE_RETENTION_AGE.",
        limits.custom_types,
        |text| number(text, 1..=1_000_000),
        usize::to_string
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
        HEALTH,
        "INTEGRATION_SERVERS_FILE",
        "A file of MCP servers as MCP clients have it ({\"mcpServers\": …}), whose HTTP servers the hub asks itself. It is \
         read again when it changes.",
        probe.servers_file,
        |text| path(text).map(Some),
        |file: &Option<PathBuf>| file
            .as_ref()
            .map_or_else(String::new, |file| file.display().to_string())
    ),
    row!(
        HEALTH,
        "INTEGRATION_PROBE_ALLOW",
        "Hosts, host:port or nets, comma separated, that a registration's probe may ask. Empty: none.",
        probe.allow,
        Allow::parse,
        Allow::to_string
    ),
    row!(
        HEALTH,
        "INTEGRATION_PROBE_CONCURRENCY",
        "How many servers are asked at a time.",
        probe.concurrency,
        |text| number(text, 1..=10_000),
        usize::to_string
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
        "How many bytes of events are kept, such as 1GiB, 512MiB. The state and remembered answers don't count.",
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
        STORE,
        "INTEGRATION_IDEMPOTENCY_BYTES",
        "How many bytes of such answers are remembered; beyond it the oldest are forgotten first.",
        idempotency_bytes,
        |text| size(text, 1 << 16..=1 << 50),
        |bytes: &u64| show_size(*bytes)
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

/// What stands for a secret that is set.
const SET: &str = "(set)";

fn show_millis(time: &std::time::Duration) -> String {
    time.as_millis().to_string()
}

fn show_text(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}
