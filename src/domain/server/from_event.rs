//! What a core event of a server, posted to `/events`, asks for: the command that owns it, so that the
//! stream can never say what the state does not.

use super::{
    DEREGISTERED, HEARTBEAT_INTERVAL_MS, HEARTBEAT_TIMEOUT, REPLACED, parse::MAX_VERSION_LEN,
};
use crate::domain::{
    command::{Deregister, Register},
    event::EventType,
    health::Heartbeat,
    ids::ServerId,
    input::{FieldError, Fields},
    json::JsonRef,
};

/// Longest reason to go, in bytes.
pub const MAX_REASON_LEN: usize = 256;

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerRequest {
    /// `server_connected`, `server_updated`, `server_instance_connected`.
    Register(Box<Register>),
    /// `server_disconnected`, `server_instance_disconnected`.
    Deregister(Deregister),
    /// `server_health_changed`: a heartbeat with that health.
    Heartbeat {
        /// Whose.
        server: ServerId,
        /// Always names a health.
        heartbeat: Heartbeat,
    },
}

impl ServerRequest {
    /// Reads the item `{type, serverId?, data}` that stands at `base` in the body (empty for the body
    /// itself). `server` is its `serverId`. `None` where the type isn't one of a server.
    ///
    /// # Errors
    /// Every mistake, by pointer.
    pub fn from_event(
        kind: &EventType,
        server: Option<ServerId>,
        data: JsonRef<'_>,
        base: &str,
    ) -> Option<Result<Self, Vec<FieldError>>> {
        match kind {
            EventType::ServerConnected | EventType::ServerUpdated => Some(
                register(server, data, base).map(|register| Self::Register(Box::new(register))),
            ),
            EventType::InstanceConnected => {
                Some(join(server, data, base).map(|register| Self::Register(Box::new(register))))
            }
            EventType::InstanceDisconnected => Some(part(server, data, base).map(Self::Deregister)),
            EventType::ServerDisconnected => Some(leave(server, data, base).map(Self::Deregister)),
            EventType::ServerHealthChanged => Some(
                report(server, data, base)
                    .map(|(server, heartbeat)| Self::Heartbeat { server, heartbeat }),
            ),
            _ => None,
        }
    }
}

/// `data.connection` is the description; the server's id may stand there, or in `serverId` alone. What the hub's own event
/// has beside it may stand there, too.
fn register(
    server: Option<ServerId>,
    data: JsonRef<'_>,
    base: &str,
) -> Result<Register, Vec<FieldError>> {
    let mut fields = Fields::of(data, &format!("{base}/data"))?;
    let occurred_at = fields.time("occurredAt");
    let interval_ms = fields.number("heartbeatIntervalMs", HEARTBEAT_INTERVAL_MS);
    let protocol_version = fields.text("protocolVersion", MAX_VERSION_LEN);
    let Some(connection) = fields.get("connection") else {
        fields.wrong("connection", "is required: the server's description");
        return fields.finish(None);
    };
    let pointer = fields.pointer("connection");
    let id = connection.get("id").filter(|id| !id.is_null());
    let inner = id.and_then(JsonRef::text);
    match (&server, inner) {
        (None, None) if id.is_none() => {
            let read = missing_id(base);
            fields.absorb::<()>(read);
        }
        (Some(outer), Some(inner)) if outer.as_str() != inner => {
            let detail = format!("must be {outer}, as serverId says, or be left out");
            let pointer = format!("{pointer}/id");
            fields.absorb::<()>(Err(vec![FieldError::new(pointer, detail)]));
        }
        _ => {}
    }
    // Where neither place names it, the mistake is noted above and this id is never used.
    let id = server.unwrap_or_else(|| ServerId::from_uuid(uuid::Uuid::nil()));
    if connection
        .get("probe")
        .is_some_and(|probe| !probe.is_null())
    {
        let detail = "is taken by POST /servers alone, which checks whether it may be asked";
        let pointer = format!("{pointer}/probe");
        fields.absorb::<()>(Err(vec![FieldError::new(pointer, detail)]));
    }
    let read = fields.absorb(Register::parse(connection, &pointer, || id));
    let register = read.map(|register| Register {
        occurred_at: occurred_at.or(register.occurred_at),
        heartbeat_interval_ms: register.heartbeat_interval_ms.or(interval_ms),
        protocol_version: register.protocol_version.or(protocol_version),
        ..register
    });
    fields.finish(register)
}

/// `{reason?, instanceId?, expected?}`; the server in `serverId`, or in `data.connection.id` as the hub's own events
/// have it.
fn leave(
    server: Option<ServerId>,
    data: JsonRef<'_>,
    base: &str,
) -> Result<Deregister, Vec<FieldError>> {
    let mut fields = Fields::of(data, &format!("{base}/data"))?;
    let connection = fields.get("connection");
    let named = connection.and_then(|connection| connection.get("id")?.text());
    let server = server.or_else(|| named.and_then(|id| ServerId::parse(&id).ok()));
    if server.is_none() {
        fields.absorb::<()>(missing_id(base));
    }
    let reason = reason(&mut fields, "reason");
    let instance_id = fields.parsed("instanceId");
    let expected = fields.flag("expected");
    let occurred_at = fields.time("occurredAt");
    let read = server.map(|server| Deregister {
        server,
        reason,
        connection: None,
        instance_id,
        expected,
        last_seen_at: None,
        occurred_at,
    });
    fields.finish(read)
}

/// As [`register`]; the instance's own members may stand beside `connection`, as the hub's own event has them, and the
/// server has many instances.
fn join(
    server: Option<ServerId>,
    data: JsonRef<'_>,
    base: &str,
) -> Result<Register, Vec<FieldError>> {
    let mut fields = Fields::of(data, &format!("{base}/data"))?;
    let instance_id = fields.parsed("instanceId");
    let beside = super::parse::process(&mut fields);
    let register = fields.absorb(register(server, data, base));
    fields.finish(register.map(|register| Register {
        instance_id: register.instance_id.or(instance_id),
        process: super::Process {
            host: register.process.host.or(beside.host),
            pid: register.process.pid.or(beside.pid),
            client: register.process.client.or(beside.client),
        },
        instances: super::Mode::Many,
        ..register
    }))
}

/// As [`leave`], of one instance, which must be named.
fn part(
    server: Option<ServerId>,
    data: JsonRef<'_>,
    base: &str,
) -> Result<Deregister, Vec<FieldError>> {
    let leave = leave(server, data, base)?;
    if leave.instance_id.is_none() {
        let detail = "is required: which instance goes";
        let pointer = format!("{base}/data/instanceId");
        return Err(vec![FieldError::new(pointer, detail)]);
    }
    Ok(leave)
}

/// `{health, detail?, instanceId?, metrics?}`.
fn report(
    server: Option<ServerId>,
    data: JsonRef<'_>,
    base: &str,
) -> Result<(ServerId, Heartbeat), Vec<FieldError>> {
    let data_base = format!("{base}/data");
    let mut fields = Fields::of(data, &data_base)?;
    if server.is_none() {
        fields.absorb::<()>(missing_id(base));
    }
    if fields.get("health").is_none() {
        fields.wrong("health", "is required: healthy, degraded or unhealthy");
    }
    let heartbeat = fields.absorb(Heartbeat::parse(data, &data_base));
    fields.finish(server.zip(heartbeat))
}

/// Why a server goes: the producer's own text, `deregistered` where there is none.
fn reason(fields: &mut Fields<'_>, name: &str) -> String {
    let text = fields.text(name, MAX_REASON_LEN).unwrap_or_default();
    match check_reason(&text) {
        Ok(reason) => reason.to_owned(),
        Err(detail) => {
            fields.wrong(name, detail);
            String::new()
        }
    }
}

/// Checks a client's reason to go; an empty one is `deregistered`. What only the hub can know it can't say: a server
/// that goes by `heartbeat_timeout` counts as lost, and one that is `replaced` has a successor.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check_reason(text: &str) -> Result<&str, String> {
    match text.trim() {
        "" => Ok(DEREGISTERED),
        own @ (HEARTBEAT_TIMEOUT | REPLACED) => Err(format!(
            "can't be {own}, which is the hub's own to say; use words of your own, or leave it out"
        )),
        text if text.len() > MAX_REASON_LEN => Err(format!(
            "is {} bytes long; at most {MAX_REASON_LEN} are taken",
            text.len()
        )),
        text if text.contains(char::is_control) => {
            Err("must not hold control characters or line ends".to_owned())
        }
        text => Ok(text),
    }
}

fn missing_id<T>(base: &str) -> Result<T, Vec<FieldError>> {
    let detail = "is required for this type: the server concerned".to_owned();
    Err(vec![FieldError::new(format!("{base}/serverId"), detail)])
}
