//! CloudEvents 1.0 as items of `POST /events`: structured JSON, batches of it, and the binary mode of the HTTP
//! binding, whose attributes travel as `ce-` headers.
//!
//! `type` is the event's type, the extension `serverid` its server (as in what the stream gives out), `time` the
//! producer's own time. `id`, `source` and the rest name the event elsewhere and aren't kept.

use std::borrow::Cow;

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    events::read::{Item, present},
    extract::MediaType,
    problem::Problem,
};
use crate::domain::FieldError;

/// One CloudEvent in its structured JSON form.
#[derive(Debug, Deserialize)]
pub(super) struct CloudEvent<'a> {
    #[serde(borrow, default)]
    specversion: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    serverid: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data_base64: Option<&'a RawValue>,
}

impl<'a> CloudEvent<'a> {
    /// The same as an item. A CloudEvent may come without data, which is `null` then. `base` is its JSON
    /// pointer in the body.
    ///
    /// # Errors
    /// Every attribute that the specification asks for and isn't right.
    pub(super) fn into_item(self, base: &str) -> Result<Item<'a>, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut wrong = |name: &str, detail: &str| {
            errors.push(FieldError::new(format!("{base}/{name}"), detail.to_owned()));
        };
        if let Some(detail) = wrong_version(self.specversion.as_deref()) {
            wrong("specversion", detail);
        }
        for (name, value) in [("id", &self.id), ("source", &self.source)] {
            if value.as_deref().is_none_or(str::is_empty) {
                wrong(name, "is required by CloudEvents 1.0: a non-empty string");
            }
        }
        let occurred_at = read_time(self.time.as_deref()).unwrap_or_else(|detail| {
            wrong("time", detail);
            None
        });
        if self.data_base64.is_some() {
            wrong("data_base64", "isn't taken; send JSON in data");
        }
        if errors.is_empty() {
            let data = self.data.or(Some(RawValue::NULL));
            Ok(Item {
                kind: self.kind,
                server_id: self.serverid,
                data,
                occurred_at,
            })
        } else {
            Err(errors)
        }
    }
}

/// The attributes of a CloudEvent in binary mode; the body is its data.
#[derive(Debug)]
pub(super) struct Binary<'a> {
    kind: &'a str,
    server_id: Option<&'a str>,
    occurred_at: Option<i64>,
}

/// Whether the request is a CloudEvent in binary mode.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion")
}

impl<'a> Binary<'a> {
    /// Reads the attributes.
    ///
    /// # Errors
    /// `415` where the data isn't JSON, `400` where a header isn't what the specification asks for.
    pub(super) fn of(headers: &'a HeaderMap, media_type: &MediaType) -> Result<Self, Problem> {
        match media_type {
            MediaType::Json => {}
            MediaType::Other(none) if none.is_empty() => {}
            other => return Err(other.refused("a CloudEvent in binary mode with JSON data")),
        }
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .filter(|text| !text.is_empty())
        };
        let wrong = |name: &str, detail: &str| {
            Problem::new(
                axum::http::StatusCode::BAD_REQUEST,
                "invalid-cloudevent",
                "The CloudEvent's headers are invalid",
                format!("{name} {detail}"),
            )
        };
        if let Some(detail) = wrong_version(header("ce-specversion")) {
            return Err(wrong("ce-specversion", detail));
        }
        for name in ["ce-id", "ce-source", "ce-type"] {
            if header(name).is_none() {
                return Err(wrong(name, "is required by CloudEvents 1.0"));
            }
        }
        let occurred_at =
            read_time(header("ce-time")).map_err(|detail| wrong("ce-time", detail))?;
        let kind = header("ce-type").unwrap_or_default();
        Ok(Self {
            kind,
            server_id: header("ce-serverid"),
            occurred_at,
        })
    }

    /// The same as an item, with the body as its data.
    pub(super) fn item(self, data: &'a RawValue) -> Item<'a> {
        Item {
            kind: Some(Cow::Borrowed(self.kind)),
            server_id: self.server_id.map(Cow::Borrowed),
            data: Some(data),
            occurred_at: self.occurred_at,
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
