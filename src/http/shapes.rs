//! Shapes that are read or written by hand for speed, described here for `/openapi.json`. Nothing is ever made
//! of these types; a test holds them against real answers.

#![expect(dead_code, reason = "descriptions only")]

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::FieldError;

/// One event to append, or to carry out.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventInput {
    /// A core type, a dotted name (`grades.synced`) or `custom_…`.
    #[serde(rename = "type")]
    #[schema(example = "grades.synced")]
    kind: String,
    /// The server concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "lms-server-001")]
    server_id: Option<String>,
    /// Any JSON, `{}` where it is left out; of a core type, what that type's command takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!({"count": 3}))]
    data: Option<serde_json::Value>,
}

/// One event, or 1 to 1000 of them.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum EventInputs {
    /// One.
    One(EventInput),
    /// Several, all or nothing.
    Many(Vec<EventInput>),
}

/// What `POST /events` answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Appended {
    /// One per item: the id of its last event, or `null` where it changed nothing.
    #[schema(example = json!(["k3x9q1m2v7za-42", null]))]
    ids: Vec<Option<String>>,
    /// Members that mean nothing here, by pointer; and a CloudEvent whose source and id came before in another.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<FieldError>>,
}

/// What a change answers: what was made of it, and what of the request has no effect.
#[derive(Serialize, ToSchema)]
pub(super) struct Warned<T> {
    /// What was made.
    #[serde(flatten)]
    made: T,
    /// Members of the body that mean nothing here, by pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<FieldError>>,
}

/// One event, as it stands everywhere.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(super) struct Envelope {
    /// The SSE id: opaque.
    #[schema(example = "k3x9q1m2v7za-42")]
    id: String,
    /// Rises strictly in one log.
    #[schema(example = 42)]
    sequence: u64,
    /// The type.
    #[serde(rename = "type")]
    #[schema(example = "grades.synced")]
    kind: String,
    /// The hub's time, epoch ms.
    #[schema(example = 1_763_790_000_000_i64)]
    timestamp: i64,
    /// The server concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "lms-server-001")]
    server_id: Option<String>,
    /// The attributes of the CloudEvent that it came as, `source` and `id` among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_event: Option<serde_json::Value>,
    /// What happened. Where credentials are asked for, an object holds `by`: on whose request it came about, the key's name
    /// or the token's subject; what a producer of its own type says there itself stands.
    #[schema(example = json!({"count": 3}))]
    data: serde_json::Value,
}

/// One page of history.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistoryPage {
    /// The events.
    events: Vec<Envelope>,
    /// Gives the next page as `cursor=`; `null` on the last one.
    #[schema(required, example = "asc-k3x9q1m2v7za-42")]
    next_cursor: Option<String>,
    /// Pruned or unreadable events are missing here.
    #[schema(example = false)]
    truncated: bool,
}

/// Events counted over time.
#[derive(Serialize, ToSchema)]
pub(super) struct EventStats {
    /// What `counts` are told apart by: `type` or `serverId`.
    #[schema(example = "type")]
    by: String,
    /// Where the first bucket begins, epoch ms.
    #[schema(example = 1_763_786_400_000_i64)]
    since: i64,
    /// The range's end, which belongs to it, epoch ms.
    #[schema(example = 1_763_790_000_000_i64)]
    until: i64,
    /// How long a bucket is, in milliseconds.
    #[schema(example = 60_000)]
    step: i64,
    /// Events of all buckets.
    #[schema(example = 981)]
    total: u64,
    /// Pruned or unreadable events are missing here.
    #[schema(example = false)]
    truncated: bool,
    /// 1 to 3000 of them, without a hole.
    buckets: Vec<EventBucket>,
}

/// One stretch of time.
#[derive(Serialize, ToSchema)]
pub(super) struct EventBucket {
    /// Where it begins, epoch ms.
    #[schema(example = 1_763_786_400_000_i64)]
    start: i64,
    /// Events in it.
    #[schema(example = 17)]
    count: u64,
    /// Of them, by type or server; what isn't named has none. Events without a server are in `count` alone.
    #[schema(example = json!({"server_health_changed": 16, "grades.synced": 1}))]
    counts: std::collections::BTreeMap<String, u64>,
}

/// An error, as RFC 9457 describes it. Further members tell more, such as the `step` of a conflict.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// A stable slug.
    #[serde(rename = "type")]
    #[schema(example = "server-not-registered")]
    slug: String,
    /// The same in a few words.
    #[schema(example = "There is no such thing")]
    title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What happened here and how to mend it.
    #[schema(example = "server lms-server-001 is not registered; register it with POST /servers")]
    detail: String,
    /// Mistakes in the body, by pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<FieldError>>,
    /// The limit that is reached, where that is what happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "body_bytes")]
    limit: Option<String>,
    /// How much that limit allows, where it is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<usize>,
}
