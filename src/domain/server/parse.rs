//! Reads a server's description: every mistake at once, by pointer.

use serde::de::DeserializeOwned;

use super::{HEARTBEAT_INTERVAL_MS, Mode, Process};
use crate::domain::{
    command::Register,
    event::{Capabilities, Tags, Transport},
    ids::ServerId,
    input::{FieldError, Fields, IGNORED, Nested, Shape, kept},
    json::{Json, JsonRef},
    probe::Probing,
};

/// Longest name, in bytes.
pub const MAX_NAME_LEN: usize = 256;
/// Longest URL, in bytes.
pub const MAX_URL_LEN: usize = 2048;
/// Longest version, in bytes.
pub const MAX_VERSION_LEN: usize = 128;
/// Longest name of a host, in bytes.
pub const MAX_HOST_LEN: usize = 256;
/// Longest description of whom an instance serves, in bytes of JSON.
pub const MAX_CLIENT_LEN: usize = 1024;
/// Longest key of a tag, in characters.
pub const MAX_TAG_KEY_LEN: usize = 128;
/// Longest value of a tag, in characters.
pub const MAX_TAG_VALUE_LEN: usize = 256;

impl Register {
    /// What a body may hold.
    pub const SHAPE: Shape = Shape {
        members: &[
            "id",
            "name",
            "transport",
            "url",
            "version",
            "protocolVersion",
            "capabilities",
            "tags",
            "metadata",
            "heartbeatIntervalMs",
            "instanceId",
            "instances",
            "host",
            "pid",
            "client",
            "probe",
            "occurredAt",
        ],
        nested: &[
            (
                "capabilities",
                Nested::One(&Shape {
                    members: &["tools", "resources", "prompts"],
                    nested: &[],
                    fate: IGNORED,
                }),
            ),
            ("probe", Nested::One(&Probing::SHAPE)),
        ],
        fate: IGNORED,
    };

    /// Reads `{id?, name, transport, url?, version?, protocolVersion?, capabilities?, tags?, metadata?, heartbeatIntervalMs?,
    /// instanceId?, instances?, host?, pid?, client?, probe?, occurredAt?}`, which stands at `base` in the body. `new_id` is for
    /// one that names none.
    /// Other fields are left alone.
    ///
    /// # Errors
    /// Every mistake, by pointer.
    pub fn parse(
        value: JsonRef<'_>,
        base: &str,
        new_id: impl FnOnce() -> ServerId,
    ) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::among(value, base, &Self::SHAPE)?;
        let id = match fields.get("id") {
            Some(_) => fields.parsed("id"),
            None => Some(new_id()),
        };
        let name = fields.required_text("name", MAX_NAME_LEN);
        if name
            .as_deref()
            .is_some_and(|name| name.contains(char::is_control))
        {
            fields.wrong("name", NO_CONTROL);
        }
        if fields.get("transport").is_none() {
            fields.wrong("transport", format!("is required: {TRANSPORTS}"));
        }
        let transport: Option<Transport> = word(&mut fields, "transport", TRANSPORTS);
        let url = fields.text("url", MAX_URL_LEN);
        if url.as_deref().is_some_and(|url| !is_url(url)) {
            fields.wrong(
                "url",
                "must be an absolute URL, such as http://127.0.0.1:8080/mcp",
            );
        }
        let version = fields.text("version", MAX_VERSION_LEN);
        let protocol_version = fields.text("protocolVersion", MAX_VERSION_LEN);
        let capabilities = capabilities(&mut fields);
        let tags = tags(&mut fields);
        let metadata = fields.value("metadata");
        let heartbeat_interval_ms = fields.number("heartbeatIntervalMs", HEARTBEAT_INTERVAL_MS);
        let instance_id = fields.parsed("instanceId");
        let instances = word(&mut fields, "instances", "one or many").unwrap_or_default();
        let process = process(&mut fields);
        let probe = fields.get("probe").and_then(|probe| {
            let read = Probing::parse(probe, &fields.pointer("probe"), url.as_deref(), transport);
            fields.absorb(read)
        });
        if probe.is_some() && instances == Mode::Many {
            fields.wrong(
                "probe",
                "asks one server, not one of many instances: leave out instances, or the probe",
            );
        }
        let occurred_at = fields.time("occurredAt");
        let read = id
            .zip(name)
            .zip(transport)
            .map(|((id, name), transport)| Self {
                id,
                name,
                transport,
                url,
                version,
                protocol_version,
                capabilities,
                tags,
                metadata,
                heartbeat_interval_ms,
                instance_id,
                instances,
                process,
                probe,
                learnt_of: None,
                last_seen_at: None,
                occurred_at,
            });
        fields.finish(read)
    }
}

/// What an instance tells of its process.
pub(super) fn process(fields: &mut Fields<'_>) -> Process {
    let host = fields.text("host", MAX_HOST_LEN);
    if host
        .as_deref()
        .is_some_and(|host| host.contains(char::is_control))
    {
        fields.wrong("host", NO_CONTROL);
    }
    let pid = fields.number("pid", 0..=u64::from(u32::MAX));
    let client = fields.get("client").and_then(|value| {
        if !(value.is_string() || value.is_object()) {
            fields.wrong(
                "client",
                "must be a name or an object such as MCP's clientInfo",
            );
            return None;
        }
        let client = fields.value("client")?;
        let len = client.as_str().len();
        if len > MAX_CLIENT_LEN {
            fields.wrong(
                "client",
                format!("is {len} bytes long; at most {MAX_CLIENT_LEN} are taken"),
            );
        }
        Some(client)
    });
    Process { host, pid, client }
}

/// An optional word of a small vocabulary, which `expected` spells out.
pub(in crate::domain) fn word<T: DeserializeOwned>(
    fields: &mut Fields<'_>,
    name: &str,
    expected: &str,
) -> Option<T> {
    let value = fields.get(name)?;
    let read = value.read().ok();
    if read.is_none() {
        fields.wrong(name, format!("must be {expected}"));
    }
    read
}

fn capabilities(fields: &mut Fields<'_>) -> Capabilities {
    let Some(value) = fields.get("capabilities") else {
        return Capabilities::default();
    };
    let read = read_capabilities(value, &fields.pointer("capabilities"));
    fields.absorb(read).unwrap_or_default()
}

fn read_capabilities(value: JsonRef<'_>, base: &str) -> Result<Capabilities, Vec<FieldError>> {
    let mut fields = Fields::of(value, base)?;
    let [tools, resources, prompts] =
        ["tools", "resources", "prompts"].map(|name| entries(&mut fields, name));
    fields.finish(Some(Capabilities {
        tools,
        resources,
        prompts,
    }))
}

/// A list of names and MCP description objects.
fn entries(fields: &mut Fields<'_>, name: &str) -> Vec<Json> {
    let Some(value) = fields.get(name) else {
        return Vec::new();
    };
    let Some(list) = value.items() else {
        fields.wrong(name, "must be a list of names or description objects");
        return Vec::new();
    };
    let base = fields.pointer(name);
    let mut read = Vec::with_capacity(list.len());
    for (at, entry) in list.into_iter().enumerate() {
        let pointer = format!("{base}/{at}");
        let entry = if entry.is_string() || entry.is_object() {
            kept(entry, &pointer)
        } else {
            let detail = "must be a name or a description object";
            Err(vec![FieldError::new(pointer, detail)])
        };
        read.extend(fields.absorb(entry));
    }
    read
}

fn tags(fields: &mut Fields<'_>) -> Tags {
    let Some(value) = fields.get("tags") else {
        return Tags::new();
    };
    let read = read_tags(value, &fields.pointer("tags"));
    fields.absorb(read).unwrap_or_default()
}

fn read_tags(value: JsonRef<'_>, base: &str) -> Result<Tags, Vec<FieldError>> {
    let mut fields = Fields::of(value, base)?;
    let mut tags = Tags::new();
    for (key, value) in value.members().into_iter().flatten() {
        let key = key.as_ref();
        let key_len = key.chars().count();
        if !(1..=MAX_TAG_KEY_LEN).contains(&key_len) || key.contains(is_no_key_char) {
            fields.wrong(key, TAG_KEY);
        }
        match value.text() {
            None => fields.wrong(key, "must be a string"),
            Some(text) if text.contains(char::is_control) => fields.wrong(key, NO_CONTROL),
            Some(text) if text.chars().count() > MAX_TAG_VALUE_LEN => {
                fields.wrong(
                    key,
                    format!("must be at most {MAX_TAG_VALUE_LEN} characters"),
                );
            }
            Some(text) => {
                tags.insert(key.to_owned(), text.into_owned());
            }
        }
    }
    fields.finish(Some(tags))
}

fn is_no_key_char(c: char) -> bool {
    c == ':' || c.is_control()
}

/// RFC 3986's `scheme ":" rest`, without white space or control characters; more is the clients' business.
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    scheme
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic())
        && scheme.bytes().all(known)
        && !rest.trim_matches('/').is_empty()
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
}

const TRANSPORTS: &str = "stdio, sse, http (or streamable-http) or websocket";
const TAG_KEY: &str = "a tag's key must be 1 to 128 characters, without ':' or control characters";
const NO_CONTROL: &str = "must not hold control characters or line ends";
