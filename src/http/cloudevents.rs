//! CloudEvents 1.0 as items of `POST /events`: structured JSON, batches of it, and the binary mode of the HTTP
//! binding, whose attributes travel as `ce-` headers and whose body is JSON.
//!
//! `type` is the event's type, the extension `serverid` its server (as in what the stream gives out), `time` the
//! producer's own time. All attributes are kept and come back as they were; `source` and `id` together name the event,
//! so that the same again is the first one's repeat.

use std::{borrow::Cow, fmt};

use axum::http::{HeaderMap, header::CONTENT_TYPE};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    events::read::Item,
    extract::{MediaType, hashed},
    problem::Problem,
};
use crate::{
    domain::{FieldError, Json},
    event_log::KeyHash,
};

/// What a CloudEvent is called where it comes from, and all that it says beside its type and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Where it comes from.
    pub source: String,
    /// Its name there.
    pub id: String,
    /// The type of the event.
    pub kind: String,
    /// A hash of all that it says, so that another one of the same name is told from a repeat.
    pub said: KeyHash,
    /// Its attributes as one object, `data_base64` included where that is what it has for data.
    pub attributes: Json,
}

/// One CloudEvent in its structured JSON form: its members in order, each name once.
#[derive(Debug)]
pub(super) struct CloudEvent<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for CloudEvent<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = CloudEvent<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, &'de RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    members.push((name, value));
                }
                Ok(CloudEvent(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl<'a> CloudEvent<'a> {
    /// The same as an item. A CloudEvent may come without data, which is `null` then. `base` is its JSON
    /// pointer in the body.
    ///
    /// # Errors
    /// Every attribute that isn't what the specification asks for.
    pub(super) fn into_item(self, base: &str) -> Result<Item<'a>, Vec<FieldError>> {
        let mut reader = Reader {
            base,
            errors: Vec::new(),
        };
        let (mut item, mut attributes) = (Item::default(), Vec::new());
        let (mut version, mut id, mut source) = (None, None, None);
        let mut base64 = false;
        for (name, value) in self.0 {
            match name.as_str() {
                "data" => {
                    item.data = Some(value);
                    continue;
                }
                // An attribute of null is one that isn't there.
                _ if value.get() == "null" => continue,
                "specversion" => version = reader.text(&name, value),
                "type" => item.kind = reader.text(&name, value),
                "serverid" => item.server_id = reader.text(&name, value),
                "id" => id = reader.text(&name, value),
                "source" => source = reader.text(&name, value),
                "time" => item.occurred_at = reader.time(value),
                "data_base64" => {
                    base64 = true;
                    reader.base64(value);
                }
                "subject" | "dataschema" | "datacontenttype" => _ = reader.text(&name, value),
                _ if !is_attribute(&name) => {
                    item.unknown.push(name);
                    continue;
                }
                _ if value.get().starts_with(['{', '[']) => {
                    reader.wrong(&name, "must be a string, a number, true or false");
                }
                _ => {}
            }
            if !matches!(name.as_str(), "specversion" | "type" | "serverid") {
                attributes.push((name, Cow::Borrowed(value.get())));
            }
        }
        if let Some(detail) = wrong_version(version.as_deref()) {
            reader.wrong("specversion", detail);
        }
        for (name, value) in [("id", &id), ("source", &source)] {
            if value.as_deref().is_none_or(str::is_empty) && !reader.blamed(name) {
                reader.wrong(name, "is required by CloudEvents 1.0: a non-empty string");
            }
        }
        if base64 && item.data.is_some() {
            reader.wrong("data_base64", "contradicts data: an event has one of them");
        }
        item.data = item.data.or(Some(RawValue::NULL));
        let origin = origin(source, id, item.kind.as_deref(), item.data, &attributes);
        match (reader.errors.is_empty(), origin) {
            (true, Ok(origin)) => {
                item.origin = Some(origin);
                Ok(item)
            }
            (true, Err(detail)) => Err(vec![FieldError::new(base, detail)]),
            (false, _) => Err(reader.errors),
        }
    }
}

/// Reads single attributes and notes what is wrong with them.
struct Reader<'b> {
    base: &'b str,
    errors: Vec<FieldError>,
}

impl Reader<'_> {
    fn wrong(&mut self, name: &str, detail: &str) {
        let pointer = format!("{}/{name}", self.base);
        self.errors.push(FieldError::new(pointer, detail));
    }

    fn blamed(&self, name: &str) -> bool {
        let pointer = format!("{}/{name}", self.base);
        self.errors.iter().any(|error| error.pointer == pointer)
    }

    fn text<'a>(&mut self, name: &str, value: &'a RawValue) -> Option<Cow<'a, str>> {
        let text = text(value);
        if text.is_none() {
            self.wrong(name, "must be a string");
        }
        text
    }

    fn time(&mut self, value: &RawValue) -> Option<i64> {
        let text = self.text("time", value)?;
        read_time(Some(&text)).unwrap_or_else(|detail| {
            self.wrong("time", detail);
            None
        })
    }

    fn base64(&mut self, value: &RawValue) {
        let is_base64 = text(value).is_some_and(|text| STANDARD.decode(&*text).is_ok());
        if !is_base64 {
            self.wrong(
                "data_base64",
                "must be a string of base64 (RFC 4648, section 4)",
            );
        }
    }
}

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let text = serde_json::from_str::<Text<'_>>(value.get());
    text.ok().map(|Text(text)| text)
}

/// Whether CloudEvents 1.0 lets an attribute be called so.
fn is_attribute(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Puts the attributes together, each with its value as JSON text.
fn origin(
    source: Option<Cow<'_, str>>,
    id: Option<Cow<'_, str>>,
    kind: Option<&str>,
    data: Option<&RawValue>,
    attributes: &[(String, Cow<'_, str>)],
) -> Result<Origin, String> {
    let members: Vec<String> = attributes
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    let attributes = Json::parse(&format!("{{{}}}", members.join(",")));
    let attributes = attributes.map_err(|error| error.to_string())?;
    let data = data.map_or("null", RawValue::get);
    let kind = kind.unwrap_or_default();
    Ok(Origin {
        source: source.unwrap_or_default().into_owned(),
        id: id.unwrap_or_default().into_owned(),
        said: hashed(&[kind, attributes.as_str(), data]),
        kind: kind.to_owned(),
        attributes,
    })
}

/// The attributes of a CloudEvent in binary mode; the body is its data.
#[derive(Debug)]
pub(super) struct Binary {
    kind: String,
    server_id: Option<String>,
    occurred_at: Option<i64>,
    origin: Origin,
}

/// Whether the request is a CloudEvent in binary mode.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion")
}

/// Data that isn't JSON isn't taken in binary mode.
///
/// # Errors
/// `415`.
pub(super) fn has_json(media_type: &MediaType) -> Result<(), Problem> {
    match media_type {
        MediaType::Json => Ok(()),
        MediaType::Other(none) if none.is_empty() => Ok(()),
        other => Err(other.refused("a CloudEvent in binary mode with JSON data")),
    }
}

impl Binary {
    /// Reads the attributes.
    ///
    /// # Errors
    /// `400` where a header isn't what the specification asks for.
    pub(super) fn of(headers: &HeaderMap, data: &RawValue) -> Result<Self, Problem> {
        let wrong = |name: &str, detail: &str| {
            Problem::new(
                axum::http::StatusCode::BAD_REQUEST,
                "invalid-cloudevent",
                "The CloudEvent's headers are invalid",
                format!("{name} {detail}"),
            )
        };
        let mut attributes: Vec<(String, String)> = Vec::new();
        for (header, value) in headers {
            let Some(name) = header.as_str().strip_prefix("ce-") else {
                continue;
            };
            if !is_attribute(name) {
                return Err(wrong(
                    header.as_str(),
                    "is no attribute's name: a-z and 0-9",
                ));
            }
            if attributes.iter().any(|(known, _)| known == name) {
                return Err(wrong(header.as_str(), "is given more than once"));
            }
            // Section 3.1.3.2 of the HTTP binding: what isn't printable ASCII is percent-encoded UTF-8.
            let text = percent_decode_str(value.to_str().unwrap_or("\u{fffd}")).decode_utf8();
            match text {
                Ok(text) if text != "\u{fffd}" => attributes.push((name.to_owned(), text.into())),
                _ => return Err(wrong(header.as_str(), "isn't percent-encoded UTF-8")),
            }
        }
        let mut take = |name: &str| {
            let at = attributes.iter().position(|(known, _)| known == name)?;
            Some(attributes.remove(at).1).filter(|text| !text.is_empty())
        };
        if let Some(detail) = wrong_version(take("specversion").as_deref()) {
            return Err(wrong("ce-specversion", detail));
        }
        let (kind, server_id) = (take("type"), take("serverid"));
        let find = |name: &str| {
            let found = attributes.iter().find(|(known, _)| known == name);
            found
                .map(|(_, text)| text.clone())
                .filter(|text| !text.is_empty())
        };
        let (id, source) = (find("id"), find("source"));
        for (name, value) in [("ce-id", &id), ("ce-source", &source), ("ce-type", &kind)] {
            if value.is_none() {
                return Err(wrong(name, "is required by CloudEvents 1.0"));
            }
        }
        let occurred_at =
            read_time(find("time").as_deref()).map_err(|detail| wrong("ce-time", detail))?;
        if let Some(kind) = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
        {
            attributes.push(("datacontenttype".to_owned(), kind.to_owned()));
        }
        let attributes: Vec<_> = attributes
            .into_iter()
            .map(|(name, text)| (name, Cow::Owned(Json::of(&text).as_str().to_owned())))
            .collect();
        let origin = origin(
            source.map(Cow::Owned),
            id.map(Cow::Owned),
            kind.as_deref(),
            Some(data),
            &attributes,
        )
        .map_err(|detail| wrong("ce-", &detail))?;
        Ok(Self {
            kind: kind.unwrap_or_default(),
            server_id,
            occurred_at,
            origin,
        })
    }

    /// The same as an item, with the body as its data.
    pub(super) fn item(self, data: &RawValue) -> Item<'_> {
        Item {
            kind: Some(Cow::Owned(self.kind)),
            server_id: self.server_id.map(Cow::Owned),
            data: Some(data),
            occurred_at: self.occurred_at,
            origin: Some(self.origin),
            unknown: Vec::new(),
        }
    }
}

fn wrong_version(version: Option<&str>) -> Option<&'static str> {
    (version != Some("1.0")).then_some("must be \"1.0\"")
}

fn read_time(time: Option<&str>) -> Result<Option<i64>, &'static str> {
    time.map(str::parse::<Timestamp>)
        .transpose()
        .map(|time| time.map(Timestamp::as_millisecond))
        .map_err(|_| "must be an RFC 3339 time")
}
