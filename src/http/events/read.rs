//! Reads what is posted to `/events`.
//!
//! The hot path is a custom event: its envelope is read in one pass and its data stays the text that it was.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    domain::{
        Command, EventType, FieldError, Json, ServerId, WorkflowId,
        command::Emit,
        event::PostedShape,
        health::Heartbeat,
        input::{IGNORED, pointer, unknown_member},
        json::JsonRef,
        server::from_event::ServerRequest,
    },
    http::{
        cloudevents::{self, Origin},
        extract::{MediaType, RawChange, malformed_at, missing_body, utf8},
        problem::Problem,
    },
    words::nearest,
};

/// Most items of one array.
const MAX_ITEMS: usize = 1000;

const TAKEN: &str =
    "application/json, application/cloudevents+json or application/cloudevents-batch+json";

/// One item of a body, as it came.
#[derive(Debug, Default)]
pub(in crate::http) struct Item<'a> {
    pub(in crate::http) kind: Option<Cow<'a, str>>,
    pub(in crate::http) server_id: Option<Cow<'a, str>>,
    pub(in crate::http) data: Option<&'a RawValue>,
    /// The producer's own time, where it doesn't stand in `data`: epoch ms.
    pub(in crate::http) occurred_at: Option<i64>,
    /// What it was called where it came from.
    pub(in crate::http) origin: Option<Origin>,
    /// Members that mean nothing.
    pub(in crate::http) unknown: Vec<String>,
}

/// The members that an item may have.
const MEMBERS: [&str; 3] = ["type", "serverId", "data"];

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "camelCase")]
        enum Field {
            Type,
            ServerId,
            Data,
            #[serde(untagged)]
            Other(String),
        }

        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Item<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item<'de>, A::Error> {
                let (mut item, mut seen) = (Item::default(), [false; 3]);
                let mut once = |at: usize| {
                    if std::mem::replace(&mut seen[at], true) {
                        return Err(A::Error::duplicate_field(MEMBERS[at]));
                    }
                    Ok(())
                };
                while let Some(field) = map.next_key()? {
                    match field {
                        Field::Type => {
                            once(0)?;
                            item.kind = map.next_value::<Option<Text<'_>>>()?.map(|text| text.0);
                        }
                        Field::ServerId => {
                            once(1)?;
                            item.server_id =
                                map.next_value::<Option<Text<'_>>>()?.map(|text| text.0);
                        }
                        Field::Data => {
                            once(2)?;
                            item.data = Some(map.next_value()?);
                        }
                        Field::Other(name) => {
                            map.next_value::<IgnoredAny>()?;
                            item.unknown.push(name);
                        }
                    }
                }
                Ok(item)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// What a body asks for.
#[derive(Debug)]
pub struct Body {
    /// Its items, in order; at least one.
    pub asked: Vec<Asked>,
    /// Whether it came as an array, so that a refusal names the item.
    pub is_batch: bool,
    /// What each was called where it came from; shorter than `asked` where none of the last came from elsewhere.
    pub origins: Vec<Option<Origin>>,
    /// Members that mean nothing, by pointer.
    pub warnings: Vec<FieldError>,
}

/// What one item asks for.
#[derive(Debug, PartialEq)]
pub enum Asked {
    /// A command.
    Command(Command),
    /// A heartbeat, which only the leases can tell the consequence of.
    Heartbeat(ServerId, Heartbeat),
}

/// Reads a body of any of the forms that are taken.
///
/// # Errors
/// `400`, `415`, `422`.
pub fn read(change: &RawChange) -> Result<Body, Problem> {
    if cloudevents::is_binary(&change.headers) {
        cloudevents::has_json(&change.media_type)?;
        let text = utf8(&change.body)?;
        let data = parsed(if text.is_empty() { "null" } else { text })?;
        return one(cloudevents::Binary::of(&change.headers, data)?.item(data));
    }
    if change.body.is_empty() {
        return Err(missing_body());
    }
    let text = utf8(&change.body)?;
    match &change.media_type {
        MediaType::Json if text.trim_start().starts_with('[') => {
            let items: Vec<Item<'_>> = parsed(text)?;
            several(items.into_iter().map(Ok))
        }
        MediaType::Json => one(parsed(text)?),
        MediaType::CloudEvent => {
            let event: cloudevents::CloudEvent<'_> = parsed(text)?;
            one(event.into_item("")?)
        }
        MediaType::CloudEventBatch => {
            let events: Vec<cloudevents::CloudEvent<'_>> = parsed(text)?;
            let items = events.into_iter().enumerate();
            several(items.map(|(at, event)| event.into_item(&format!("/{at}"))))
        }
        other @ MediaType::Other(_) => Err(other.refused(TAKEN)),
    }
}

/// Reads the only item.
fn one(mut item: Item<'_>) -> Result<Body, Problem> {
    let (asked, without_effect) = ask(&item, "")?;
    let mut warnings = unknown(&item, "");
    warnings.extend(without_effect);
    Ok(Body {
        asked: vec![asked],
        is_batch: false,
        warnings,
        origins: vec![item.origin.take()],
    })
}

/// Reads all items, or tells every mistake of each.
fn several<'a>(
    items: impl ExactSizeIterator<Item = Result<Item<'a>, Vec<FieldError>>>,
) -> Result<Body, Problem> {
    if items.len() == 0 || items.len() > MAX_ITEMS {
        let detail = format!("holds {} events; 1 to {MAX_ITEMS} are taken", items.len());
        return Err(Problem::invalid(vec![FieldError::new("", detail)]));
    }
    let mut body = Body {
        asked: Vec::with_capacity(items.len()),
        is_batch: true,
        origins: Vec::new(),
        warnings: Vec::new(),
    };
    let mut errors = Vec::new();
    for (at, item) in items.enumerate() {
        let base = format!("/{at}");
        let read = item.and_then(|item| ask(&item, &base).map(|asked| (item, asked)));
        match read {
            Ok((item, (asked, without_effect))) => {
                body.warnings.extend(unknown(&item, &base));
                body.warnings.extend(without_effect);
                body.asked.push(asked);
                if item.origin.is_some() {
                    body.origins.resize(at, None);
                    body.origins.push(item.origin);
                }
            }
            Err(wrong) => errors.extend(wrong),
        }
    }
    if errors.is_empty() {
        Ok(body)
    } else {
        Err(Problem::invalid(errors))
    }
}

/// The warnings of an item.
fn unknown(item: &Item<'_>, base: &str) -> Vec<FieldError> {
    let names = item.unknown.iter();
    let warnings = names.map(|name| match &item.origin {
        Some(_) => {
            let fate = "is no attribute's name in CloudEvents 1.0 (a-z and 0-9) and isn't kept";
            let known = [
                "serverid",
                "datacontenttype",
                "dataschema",
                "subject",
                "time",
            ];
            unknown_member(pointer(base, name), name, &known, fate)
        }
        None => unknown_member(pointer(base, name), name, &MEMBERS, IGNORED),
    });
    warnings.collect()
}

/// Reads JSON of a known shape. Text that is no JSON is `400` with the place; JSON of another shape `422`
/// with the field.
fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            Problem::invalid(misshapen(text, &error))
        } else {
            malformed_at(&error)
        }
    })
}

/// Looks again, at leisure, for what isn't an object or not a string.
fn misshapen(text: &str, error: &serde_json::Error) -> Vec<FieldError> {
    let wrong = |pointer: String, detail: &str| FieldError::new(pointer, detail.to_owned());
    let look = |value: JsonRef<'_>, base: &str, errors: &mut Vec<FieldError>| {
        let Some(members) = value.members() else {
            errors.push(wrong(
                base.to_owned(),
                "must be an object {type, serverId?, data?}",
            ));
            return;
        };
        for (name, value) in members {
            let is_text = matches!(name.as_ref(), "type" | "serverId");
            if is_text && !(value.is_string() || value.is_null()) {
                errors.push(wrong(format!("{base}/{name}"), "must be a string"));
            }
        }
    };
    let mut errors = Vec::new();
    if let Ok(body) = Json::stored(text) {
        match body.root().items() {
            Some(items) => {
                for (at, item) in items.into_iter().enumerate() {
                    look(item, &format!("/{at}"), &mut errors);
                }
            }
            None => look(body.root(), "", &mut errors),
        }
    }
    if errors.is_empty() {
        errors.push(wrong(
            String::new(),
            &format!("doesn't have the shape of an event: {error}"),
        ));
    }
    errors
}

/// What one item asks for, and what of its data has no effect. `base` is its JSON pointer in the body.
fn ask(item: &Item<'_>, base: &str) -> Result<(Asked, Vec<FieldError>), Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut wrong = |name: &str, detail: String, limit| {
        errors.push(FieldError::new(format!("{base}/{name}"), detail).passing(limit));
    };
    let kind = match item.kind.as_deref() {
        Some(name) => EventType::parse(name).or_else(|| {
            wrong("type", unknown_type(name), None);
            None
        }),
        None => {
            wrong("type", "is required: a string".to_owned(), None);
            None
        }
    };
    let server = item
        .server_id
        .as_deref()
        .map(ServerId::parse)
        .transpose()
        .unwrap_or_else(|error| {
            wrong("serverId", error.to_string(), error.limit());
            None
        });
    if kind == Some(EventType::IntegrationStatusChanged) && item.server_id.is_none() {
        wrong(
            "serverId",
            "is required: whose statement this is; the hub states its own".to_owned(),
            None,
        );
    }
    let data = match item.data.map(|raw| (raw, Json::from_raw(raw))) {
        Some((_, Ok(data))) => Some(data),
        Some((raw, Err(error))) => {
            let place = format!("data{}", error.place(raw));
            wrong(&place, error.to_string(), error.limit());
            None
        }
        None => Some(Json::empty_object()),
    };
    let (Some(kind), Some(data), true) = (kind, data, errors.is_empty()) else {
        return Err(errors);
    };
    match kind {
        EventType::Custom(kind) => Ok((emit(kind, server, data, item.occurred_at), Vec::new())),
        EventType::IntegrationStatusChanged => {
            let kind = kind.as_str().into();
            Ok((emit(kind, server, data, item.occurred_at), Vec::new()))
        }
        core => {
            let asked = core_event(&core, server.as_ref(), &data, base)?;
            let shape = PostedShape::of(&core);
            let without_effect = shape.map_or_else(Vec::new, |shape| {
                shape.without_effect(data.root(), &format!("{base}/data"))
            });
            Ok((asked, without_effect))
        }
    }
}

/// What the command that owns a core type makes of an item.
fn core_event(
    kind: &EventType,
    server: Option<&ServerId>,
    data: &Json,
    base: &str,
) -> Result<Asked, Vec<FieldError>> {
    let of_server = ServerRequest::from_event(kind, server.cloned(), data.root(), base);
    if let Some(request) = of_server {
        return request.map(|request| match request {
            ServerRequest::Register(register) => Asked::Command(Command::Register(register)),
            ServerRequest::Deregister(leave) => Asked::Command(Command::Deregister(leave)),
            ServerRequest::Heartbeat { server, heartbeat } => Asked::Heartbeat(server, heartbeat),
        });
    }
    let data_base = format!("{base}/data");
    let of_workflow = Command::from_workflow_event(kind, server, data.root(), &data_base);
    of_workflow.map_or_else(
        || {
            let detail = "is the hub's own to say".to_owned();
            Err(vec![FieldError::new(format!("{base}/type"), detail)])
        },
        |command| command.map(Asked::Command),
    )
}

fn emit(kind: Arc<str>, server: Option<ServerId>, data: Json, occurred_at: Option<i64>) -> Asked {
    let workflow = workflow_of(data.as_str());
    Asked::Command(Command::Emit(Box::new(Emit {
        kind,
        server,
        workflow,
        data,
        occurred_at,
    })))
}

/// `data.workflowId`, where that is a valid id. Most data doesn't hold the word at all.
fn workflow_of(data: &str) -> Option<WorkflowId> {
    // The name may be written with escapes, too.
    let bytes = data.as_bytes();
    if !data.starts_with('{')
        || (memchr::memmem::find(bytes, b"workflowId").is_none()
            && memchr::memchr(b'\\', bytes).is_none())
    {
        return None;
    }
    let Named(named) = serde_json::from_str(data).ok()?;
    let id: Cow<'_, str> = serde_json::from_str(named?.get()).ok()?;
    WorkflowId::parse(&id).ok()
}

/// The member `workflowId` of an object; of several, the last, as every reader of JSON that keeps one keeps it.
struct Named<'a>(Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
            type Value = Named<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut named = None;
                while let Some(name) = members.next_key::<Cow<'_, str>>()? {
                    if name == "workflowId" {
                        named = Some(members.next_value()?);
                    } else {
                        members.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Named(named))
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

fn unknown_type(name: &str) -> String {
    let rule = "a producer's own type is a dotted name such as grades.synced ([a-z][a-z0-9_]*(\\.[a-z0-9_]+)+), \
                or custom_ and a word, 128 characters at most";
    match nearest(name, EventType::CORE.iter().map(|(name, _)| *name)) {
        Some(near) => format!("is no known type; did you mean {near}? Otherwise, {rule}"),
        None => format!("is no known type; {rule}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workflow_that_data_names_is_found_however_it_is_written() {
        let table = [
            (r#"{"workflowId":"wf-1","x":1}"#, Some("wf-1")),
            (r#"{"workflow\u0049d":"w\u0066"}"#, Some("wf")),
            (r#"{"workflowId":"not an id"}"#, None),
            (r#"{"workflowId":7}"#, None),
            (r#"{"nested":{"workflowId":"wf"}}"#, None),
            (r#"["workflowId"]"#, None),
            (r#""workflowId""#, None),
            ("{}", None),
            (r#"{"workflowId":"wa","workflowId":"wb"}"#, Some("wb")),
            (r#"{"workflowId":"wa","workflow\u0049d":"wb"}"#, Some("wb")),
            (r#"{"workflowId":"wa","workflowId":7}"#, None),
        ];
        for (data, expected) in table {
            let found = workflow_of(data);
            assert_eq!(found.as_ref().map(WorkflowId::as_str), expected, "{data}");
        }
    }
}
