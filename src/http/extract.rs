//! What handlers take from a request, each with its own clear refusal.
//!
//! Nothing here reads more or waits longer than the settings allow.

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
};
use bytes::Bytes;
use http_body::Body as _;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    App,
    bodies::{Bodies, Incomplete},
    problem::Problem,
};
use crate::{
    config::Limits,
    domain::{
        FieldError, Json, Limit,
        ids::{InvalidId, MAX_ID_LEN},
        input::Shape,
        json::{InvalidJson, JsonRef, MAX_DEPTH, depth},
    },
    event_log::KeyHash,
    filter::query::Query,
    hub::IdempotencyKey,
    words::clip,
};

/// Longest `Idempotency-Key`, in characters.
const MAX_KEY_LEN: usize = 255;

/// Who asks, where somebody found out: an extension of the request. Idempotency keys of different callers
/// never meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(pub String);

/// A change: its JSON body (`None` where there is none at all) and its `Idempotency-Key`, hashed with caller,
/// path and body. Refuses with `415` (a body without a JSON type), `413`, `408` and `400` (no JSON, with the place).
#[derive(Debug)]
pub struct Change {
    /// The body.
    pub body: Option<Json>,
    /// The key, where the client gave one.
    pub key: Option<IdempotencyKey>,
}

impl Change {
    /// The body of a call that needs one.
    ///
    /// # Errors
    /// `400` where there is none.
    pub fn required(&self) -> Result<JsonRef<'_>, Problem> {
        self.body.as_ref().map(Json::root).ok_or_else(missing_body)
    }

    /// The members that mean nothing there, to be told beside what comes of the others.
    #[must_use]
    pub fn unknown(&self, shape: &Shape) -> Vec<FieldError> {
        let body = self.body.as_ref();
        body.map(|body| shape.unknown(body.root(), ""))
            .unwrap_or_default()
    }
}

impl FromRequest<App> for Change {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let raw = RawChange::from_request(request, app).await?;
        let body = if raw.body.is_empty() {
            None
        } else {
            if raw.media_type != MediaType::Json {
                return Err(raw.media_type.refused("application/json"));
            }
            Some(parse_json(&raw.body)?)
        };
        Ok(Self { body, key: raw.key })
    }
}

/// A change whose handler reads the body itself. Refuses with `413`, `408` and `400`.
#[derive(Debug)]
pub struct RawChange {
    /// The body as it came; empty where there was none.
    pub body: Bytes,
    /// What the client calls it.
    pub media_type: MediaType,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The key, where the client gave one.
    pub key: Option<IdempotencyKey>,
}

impl FromRequest<App> for RawChange {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        // What a change says stands in its path and its body.
        Query::parse(parts.uri.query().unwrap_or_default())?.only(&[], &[])?;
        let media_type = MediaType::of(&parts.headers);
        refuse_encoded(&parts.headers)?;
        let given = given_key(&parts.headers)?.map(str::to_owned);
        let limits = &app.config.limits;
        let body = without_mark(read_body(body, limits, app.bodies()).await?);
        // Where nothing less is allowed, whoever reads the body finds out by itself.
        if limits.json_depth < MAX_DEPTH && depth(&body) > limits.json_depth {
            return Err(too_deep(limits.json_depth));
        }
        let key = given.map(|key| IdempotencyKey {
            key: hash_key(&parts, &key),
            request: hash_request(&parts.headers, &body),
        });
        Ok(Self {
            body,
            media_type,
            headers: parts.headers,
            key,
        })
    }
}

/// What a body says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json` or another `+json`.
    Json,
    /// `application/cloudevents+json`.
    CloudEvent,
    /// `application/cloudevents-batch+json`.
    CloudEventBatch,
    /// Something else; empty where it doesn't say.
    Other(String),
}

impl MediaType {
    /// What the `Content-Type` says, parameters left out.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(CONTENT_TYPE).iter();
        let Some(value) = lines.next() else {
            return Self::Other(String::new());
        };
        if lines.any(|other| other != value) {
            return Self::Other("given twice, each time another".to_owned());
        }
        // The form that nearly every request has; the others are worth a closer look.
        if value == "application/json" {
            return Self::Json;
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        let essence = text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Self::Json,
            "application/cloudevents+json" => Self::CloudEvent,
            "application/cloudevents-batch+json" => Self::CloudEventBatch,
            other if other.ends_with("+json") && other.contains('/') => Self::Json,
            _ => Self::Other(essence),
        }
    }

    /// `415`: this isn't among what the call takes.
    #[must_use]
    pub fn refused(&self, taken: &str) -> Problem {
        let found = match self {
            Self::Json => "application/json",
            Self::CloudEvent => "application/cloudevents+json",
            Self::CloudEventBatch => "application/cloudevents-batch+json",
            Self::Other(text) if text.is_empty() => "nothing",
            Self::Other(text) => text,
        };
        unsupported(format!(
            "the body's Content-Type is {found}; this call takes {taken}. With curl, add \
             -H 'content-type: application/json'"
        ))
    }
}

fn unsupported(detail: impl Into<String>) -> Problem {
    let title = "The body's type isn't taken";
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        title,
        detail,
    )
}

/// `400`: a call that needs a body came without.
#[must_use]
pub fn missing_body() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "body-missing",
        "The call needs a body",
        "this call needs a JSON body and came without one",
    )
}

/// `400 malformed-json`.
#[must_use]
pub fn malformed_json(detail: impl Into<String>) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "malformed-json",
        "The body isn't JSON",
        detail,
    )
}

/// Says where a body stops being JSON.
#[must_use]
pub fn malformed_at(error: &serde_json::Error) -> Problem {
    malformed_json(format!("the body isn't JSON: {error}"))
        .with("line", &error.line())
        .with("column", &error.column())
}

/// The body as text.
///
/// # Errors
/// `400` where it isn't UTF-8.
pub fn utf8(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|error| {
        malformed_json(format!(
            "the body isn't UTF-8: byte {} doesn't belong",
            error.valid_up_to()
        ))
    })
}

/// The body as a value that is checked once and then trusted.
///
/// # Errors
/// `400` where it is no JSON, `422` where listeners couldn't be expected to read it.
pub(super) fn parse_json(body: &[u8]) -> Result<Json, Problem> {
    let raw: &RawValue = serde_json::from_str(utf8(body)?).map_err(|error| {
        // What never ends may have gone too deep before.
        if depth(body) > MAX_DEPTH {
            too_deep(MAX_DEPTH)
        } else {
            malformed_at(&error)
        }
    })?;
    Json::from_raw(raw).map_err(|error| match error {
        InvalidJson::TooDeep => too_deep(MAX_DEPTH),
        error => Problem::invalid(vec![FieldError::new(error.place(raw), error.to_string())]),
    })
}

fn too_deep(most: usize) -> Problem {
    malformed_json(format!(
        "the body is nested deeper than {most} levels, which {} sets",
        Limit::JsonDepth.setting()
    ))
    .reaching(Limit::JsonDepth, Some(most))
}

async fn read_body(body: Body, limits: &Limits, bodies: &Bodies) -> Result<Bytes, Problem> {
    let (most, patience) = (limits.body_bytes, limits.body_timeout);
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > most as u64 {
        return Err(too_large(most));
    }
    match tokio::time::timeout(patience, bodies.read(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Incomplete::TooLarge)) => Err(too_large(most)),
        Ok(Err(Incomplete::Broken)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "incomplete-body",
            "The body is incomplete",
            "the body ended before its announced length, or its framing is broken",
        )),
        Ok(Err(Incomplete::GivenUp)) => Err(too_many_bodies(limits.bodies_bytes)),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "The body took too long",
            format!(
                "the body didn't arrive within {} ms, which {} sets",
                patience.as_millis(),
                Limit::BodyTimeout.setting()
            ),
        )
        .reaching(
            Limit::BodyTimeout,
            usize::try_from(patience.as_millis()).ok(),
        )),
    }
}

/// A byte order mark says nothing in UTF-8 (RFC 8259, section 8.1), and some editors and shells begin with one.
fn without_mark(body: Bytes) -> Bytes {
    if body.starts_with(b"\xef\xbb\xbf") {
        body.slice(3..)
    } else {
        body
    }
}

fn too_many_bodies(most: usize) -> Problem {
    Problem::unavailable(
        "overloaded",
        "Too many bodies arrive at once",
        format!(
            "the bodies that are arriving hold more than {most} bytes, which {} sets, and this one was begun first; \
             nothing was changed",
            Limit::BodiesBytes.setting()
        ),
        1,
    )
    .reaching(Limit::BodiesBytes, Some(most))
}

fn too_large(most: usize) -> Problem {
    let detail = format!(
        "the body is larger than {most} bytes, which {} sets; send large data elsewhere and a link to it here",
        Limit::BodyBytes.setting()
    );
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-too-large",
        "The body is too large",
        detail,
    )
    .reaching(Limit::BodyBytes, Some(most))
}

fn refuse_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all("content-encoding").iter();
    if encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Ok(())
    } else {
        Err(unsupported(
            "the body has a Content-Encoding; send it as it is",
        ))
    }
}

fn given_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let several = headers.get_all("idempotency-key").iter().nth(1).is_some();
    match value.to_str() {
        Ok(key)
            if !several
                && (1..=MAX_KEY_LEN).contains(&key.len())
                && key.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            Ok(Some(key))
        }
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid-idempotency-key",
            "The Idempotency-Key is invalid",
            format!(
                "Idempotency-Key must be given once, as 1 to {MAX_KEY_LEN} visible ASCII characters"
            ),
        )),
    }
}

/// Each part is preceded by its length, so that no two different requests make one hash.
fn hash_key(parts: &Parts, key: &str) -> KeyHash {
    let caller = parts
        .extensions
        .get::<Caller>()
        .map_or("", |caller| &caller.0);
    hashed(&[caller, parts.method.as_str(), parts.uri.path(), key])
}

/// A hash of several texts, each preceded by its length.
pub(super) fn hashed(parts: &[&str]) -> KeyHash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    truncated(hash)
}

/// The body, and where a CloudEvent spreads over the headers, those too.
fn hash_request(headers: &HeaderMap, body: &[u8]) -> KeyHash {
    let mut hash = Sha256::new();
    if headers.contains_key("ce-specversion") {
        let mut lines: Vec<(&str, &[u8])> = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("ce-"))
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        lines.sort_unstable();
        for (name, value) in lines {
            hash.update(name);
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
    }
    hash.update(body);
    truncated(hash)
}

fn truncated(hash: Sha256) -> KeyHash {
    let digest = hash.finalize();
    std::array::from_fn(|at| digest[at])
}

/// An id in the path. `400` where it is malformed, naming the rule. A handler that takes several gets the
/// path's ids in order: the first `PathId` the first one, the second the second.
#[derive(Debug)]
pub struct PathId<T>(pub T);

/// How many ids of the path have been taken.
#[derive(Debug, Clone, Copy, Default)]
struct Taken(usize);

impl<S, T> FromRequestParts<S> for PathId<T>
where
    S: Send + Sync,
    T: std::str::FromStr<Err = InvalidId> + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| bad_path("the path doesn't decode to UTF-8"))?;
        let Taken(at) = parts.extensions.get::<Taken>().copied().unwrap_or_default();
        let (name, text) = params
            .iter()
            .nth(at)
            .ok_or_else(|| bad_path("the path lacks an id"))?;
        let id = text.parse().map_err(|error: InvalidId| {
            let problem = bad_path(format!("{name} \"{}\" {error}", clip(text)));
            match error.limit() {
                Some(limit) => problem.reaching(limit, Some(MAX_ID_LEN)),
                None => problem,
            }
        })?;
        parts.extensions.insert(Taken(at + 1));
        Ok(Self(id))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default())?)
    }
}

/// A call that takes no query: what it doesn't read it refuses.
#[derive(Debug)]
pub struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Query::parse(parts.uri.query().unwrap_or_default())?.only(&[], &[])?;
        Ok(Self)
    }
}

fn bad_path(detail: impl Into<String>) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-path",
        "The path is invalid",
        detail,
    )
}

#[cfg(test)]
mod tests;
