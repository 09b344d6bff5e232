//! Errors as RFC 9457 problems: the only place that knows which status belongs to which error.
//!
//! A problem is logged here, once, when it becomes a response. It never shows a stack trace, a path of the
//! machine or a body that somebody sent.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::{
    domain::{FieldError, Json, Limit, Rejection, WorkflowId},
    door::{Access, sight::strangers_step},
    event_log::{AppendError, ReadError},
    filter::query::QueryError,
    hub::HubError,
};

const TYPE: &str = "application/problem+json";

/// Seconds after which a refusal that passes by itself within moments is worth another try.
const SOON: u32 = 1;
/// Seconds after which a refusal that needs an operator or a restart is worth another try.
const LATER: u32 = 5;

/// One refusal, as the client sees it: `application/problem+json`.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable slug: the problem's `type`.
    pub slug: &'static str,
    /// The same in a few words, alike for all problems of this type.
    pub title: &'static str,
    /// What happened here and how to mend it.
    pub detail: String,
    /// Mistakes in the body, by pointer.
    pub errors: Vec<FieldError>,
    /// Further members, such as the step's state.
    pub extra: Vec<(&'static str, Json)>,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u32>,
    /// `WWW-Authenticate` (RFC 6750, section 3).
    pub challenge: Option<&'static str>,
    /// The limit that is reached, where that is what happened; an extension of the response, to be counted.
    pub limit: Option<Limit>,
}

impl Problem {
    /// A problem with nothing but a detail.
    #[must_use]
    pub fn new(
        status: StatusCode,
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            slug,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            extra: Vec::new(),
            retry_after: None,
            challenge: None,
            limit: None,
        }
    }

    /// `422 invalid-fields`: the body is JSON, but can't be meant.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [] => "the body can't be carried out as it stands".to_owned(),
            [only] if only.pointer.is_empty() => format!("the body {}", only.detail),
            [only] => format!("{} {}", only.pointer, only.detail),
            several => format!("{} fields are wrong; `errors` names each", several.len()),
        };
        let title = "The body holds invalid fields";
        Self {
            limit: errors.iter().find_map(|error| error.limit),
            errors,
            ..Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-fields",
                title,
                detail,
            )
        }
    }

    /// `400 invalid-query`.
    #[must_use]
    pub fn query(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-query",
            "The query is invalid",
            detail,
        )
    }

    /// `404` of a thing that isn't there.
    #[must_use]
    pub fn not_found(slug: &'static str, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            slug,
            "There is no such thing",
            detail,
        )
    }

    /// A refusal for now: `503` that says when to come back.
    #[must_use]
    pub fn unavailable(
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
        retry_after: u32,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, slug, title, detail).after(retry_after)
    }

    /// The same, with `Retry-After`.
    #[must_use]
    pub fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same, with a further member.
    #[must_use]
    pub fn with<T: Serialize + ?Sized>(mut self, name: &'static str, value: &T) -> Self {
        self.extra.push((name, Json::of(value)));
        self
    }

    /// The same, because a limit is reached: named in the members `limit` and, where it is a number, `max`.
    #[must_use]
    pub fn reaching(mut self, limit: Limit, most: Option<usize>) -> Self {
        self.limit = Some(limit);
        let problem = self.with("limit", limit.name());
        match most {
            Some(most) => problem.with("max", &most),
            None => problem,
        }
    }

    fn conflict(slug: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, slug, title, detail)
    }

    /// Of what one item of a batch did wrong: the pointers begin with its index.
    fn in_batch(mut self, index: usize) -> Self {
        for error in &mut self.errors {
            error.pointer.insert_str(0, &format!("/{index}"));
        }
        if self.errors.is_empty() {
            let detail = self.detail.clone();
            self.errors
                .push(FieldError::new(format!("/{index}"), detail));
        }
        self.detail = format!("item {index}, and so none of the batch: {}", self.detail);
        self.with("index", &index)
    }

    /// A refusal as somebody may be told it. Where no caller is at hand ([`From`]), it is told as to a stranger.
    #[must_use]
    pub fn told(error: HubError, access: &Access) -> Self {
        match error {
            HubError::Rejected(rejection) => Self::of_rejection(rejection, Some(access)),
            other => other.into(),
        }
    }

    /// The step's state is told whole to whoever may read the workflow. Others learn how far the step is, and not what
    /// came of it nor who holds it.
    fn of_conflict(slug: &'static str, why: String, step: &Json, access: Option<&Access>) -> Self {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Whose {
            workflow_id: WorkflowId,
        }
        let is_seen = access.is_some_and(|access| {
            let whose = step.read::<Whose>();
            whose.is_ok_and(|whose| access.sees_workflow(&whose.workflow_id))
        });
        let (why, step) = if is_seen {
            (why, step.clone())
        } else {
            let why = match slug {
                "step-held" => "somebody else holds the step".to_owned(),
                "step-belongs-elsewhere" => "the step is declared for another server".to_owned(),
                _ => why,
            };
            (why, strangers_step(step))
        };
        let title = "The step's state doesn't allow the report";
        Self::conflict(slug, title, why).with("step", &step)
    }

    fn of_rejection(rejection: Rejection, access: Option<&Access>) -> Self {
        let detail = rejection.to_string();
        match rejection {
            Rejection::Invalid(errors) => Self::invalid(errors),
            Rejection::ServerNotRegistered(_) | Rejection::InstanceNotRegistered { .. } => {
                Self::not_found(
                    "server-not-registered",
                    format!("{detail}; register it with POST /servers"),
                )
            }
            Rejection::InstanceNotNamed { .. } => Self::not_found(
                "server-not-registered",
                format!("{detail}; register with an instanceId, and name it in each heartbeat"),
            ),
            Rejection::ServerNotFound(_) => Self::not_found("server-not-found", detail),
            Rejection::InstanceReplaced(_) => Self::conflict(
                "instance-replaced",
                "Another instance has taken the server's place",
                format!(
                    "{detail}; this one should stop, unless several are meant to serve at once: then all of them \
                     register with \"instances\": \"many\""
                ),
            ),
            Rejection::InstanceGone { .. } => Self::conflict(
                "instance-gone",
                "The instance has said that it goes",
                format!("{detail}; one that comes later registers under an instanceId of its own"),
            ),
            Rejection::WorkflowNotFound(_) => Self::not_found("workflow-not-found", detail),
            Rejection::WorkflowExists(_) => Self::conflict(
                "workflow-exists",
                "The workflow exists with another definition",
                detail,
            ),
            Rejection::WorkflowEnded { status, .. } => {
                Self::conflict("workflow-ended", "The workflow has already ended", detail)
                    .with("workflowStatus", status)
            }
            Rejection::StepNotFound { .. } => Self::not_found("step-not-found", detail),
            Rejection::StepConflict { slug, why, step } => {
                Self::of_conflict(slug, why, &step, access)
            }
            Rejection::LimitReached { limit, most } if limit.is_of_one_request() => {
                let error = FieldError::new("", &detail).passing(Some(limit));
                let problem = Self::invalid(vec![error]).reaching(limit, Some(most));
                Self { detail, ..problem }
            }
            // Neither the body's fault (422) nor the hub's trouble (503, which would take it out of rotation):
            // the fleet as a whole sends too much.
            Rejection::LimitReached { limit, most } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "limit-reached",
                "A limit of the hub is reached",
                detail,
            )
            .after(60)
            .reaching(limit, Some(most)),
            Rejection::InBatch { index, cause } => {
                Self::of_rejection(*cause, access).in_batch(index)
            }
        }
    }

    fn of_append(error: &AppendError) -> Self {
        match error {
            AppendError::Full(_) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk-full",
                "The disk is full",
                "the log's disk is full, so nothing was changed; writing resumes by itself when there is room",
            )
            .after(LATER),
            AppendError::Unwritable(_) => Self::unavailable(
                "log-unwritable",
                "The log can't be written",
                "the log can't be written, so nothing was changed; /readyz says why",
                LATER,
            ),
            AppendError::Unknown(_) => Self::unavailable(
                "log-unknown",
                "The outcome is unknown",
                "it isn't known whether the change is durable; the hub restarts from its log. Repeat the request \
                 with the same Idempotency-Key",
                LATER,
            ),
        }
    }

    fn body(&self) -> Json {
        Json::of(&Body {
            r#type: self.slug,
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
            extra: &self.extra,
        })
    }

    /// The whole answer in the words of HTTP/1.1, for a connection that ends with it.
    #[must_use]
    pub fn into_http1(self) -> Bytes {
        let body = self.body();
        let retry = self.retry_after;
        let retry = retry.map_or_else(String::new, |after| format!("retry-after: {after}\r\n"));
        format!(
            "HTTP/1.1 {}\r\ncontent-type: {TYPE}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n\
             {retry}content-length: {}\r\nconnection: close\r\n\r\n{}",
            self.status,
            body.as_str().len(),
            body.as_str()
        )
        .into()
    }

    /// Refusals that an operator chose, that load explains, or whose cause the writer has told once already.
    fn is_routine(&self) -> bool {
        matches!(
            self.slug,
            "overloaded"
                | "disk-full"
                | "log-unwritable"
                | "not-ready"
                | "shutting-down"
                | "pattern-disabled"
                | "integration-disabled"
                | "loading"
        )
    }
}

impl From<HubError> for Problem {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Rejected(rejection) => Self::of_rejection(rejection, None),
            HubError::Append(error) => Self::of_append(&error),
            HubError::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The Idempotency-Key was used for another request",
                "this Idempotency-Key came with another body before; give each request a key of its own",
            ),
            HubError::Overloaded => Self::unavailable(
                "overloaded",
                "Too many commands wait",
                "too many commands wait for the log; nothing was changed",
                SOON,
            ),
            HubError::Stopping => Self::unavailable(
                "shutting-down",
                "The hub is shutting down",
                "the hub is shutting down; nothing was changed",
                LATER,
            ),
        }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        Self::of_rejection(rejection, None)
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        Self::query(error.0)
    }
}

impl From<Vec<FieldError>> for Problem {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::invalid(errors)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        tracing::error!("{error}");
        Self::unavailable(
            "log-unreadable",
            "The log can't be read",
            "the log can't be read just now",
            LATER,
        )
    }
}

/// The body of a problem, in the order that people read it.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(flatten, serialize_with = "as_members")]
    extra: &'a [(&'static str, Json)],
}

fn as_members<S: Serializer>(
    extra: &[(&'static str, Json)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(extra.iter().map(|(name, value)| (name, value)))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, slug) = (self.status, self.slug);
        if status.is_server_error() && !self.is_routine() {
            tracing::error!(
                http.status = status.as_u16(),
                problem = slug,
                "{slug}: {}",
                self.detail
            );
        } else {
            tracing::debug!(
                http.status = status.as_u16(),
                problem = slug,
                "{slug}: {}",
                self.detail
            );
        }
        let body = self.body();
        let mut response = (status, body.as_str().to_owned()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(limit) = self.limit {
            response.extensions_mut().insert(limit);
        }
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// The text of an object with one more member, where there are warnings.
pub(super) fn with_warnings(body: &str, warnings: &[FieldError]) -> String {
    match body.strip_suffix('}') {
        Some(members) if !warnings.is_empty() => {
            let comma = if members == "{" { "" } else { "," };
            let warnings = Json::of(warnings);
            format!("{members}{comma}\"warnings\":{}}}", warnings.as_str())
        }
        _ => body.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{ServerId, StepId, WorkflowId};

    fn server() -> ServerId {
        ServerId::parse("lms").expect("an id")
    }

    fn workflow() -> WorkflowId {
        WorkflowId::parse("w").expect("an id")
    }

    fn step() -> StepId {
        StepId::parse("s").expect("an id")
    }

    async fn body(response: Response) -> Value {
        let bytes = to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a body");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn every_refusal_has_its_status_and_slug() {
        let conflict = Rejection::StepConflict {
            slug: "step-held",
            why: "held".to_owned(),
            step: Json::of(&1),
        };
        let append = |error: AppendError| HubError::Append(Arc::new(error));
        let why = || "why".to_owned();
        let table: Vec<(HubError, u16, &str)> = vec![
            (Rejection::Invalid(Vec::new()).into(), 422, "invalid-fields"),
            (
                Rejection::ServerNotRegistered(server()).into(),
                404,
                "server-not-registered",
            ),
            (
                Rejection::ServerNotFound(server()).into(),
                404,
                "server-not-found",
            ),
            (
                Rejection::InstanceReplaced(server()).into(),
                409,
                "instance-replaced",
            ),
            (
                Rejection::WorkflowNotFound(workflow()).into(),
                404,
                "workflow-not-found",
            ),
            (
                Rejection::WorkflowExists(workflow()).into(),
                409,
                "workflow-exists",
            ),
            (
                Rejection::WorkflowEnded {
                    workflow: workflow(),
                    status: "failed",
                }
                .into(),
                409,
                "workflow-ended",
            ),
            (
                Rejection::StepNotFound {
                    workflow: workflow(),
                    step: step(),
                }
                .into(),
                404,
                "step-not-found",
            ),
            (conflict.into(), 409, "step-held"),
            (
                Rejection::LimitReached {
                    limit: Limit::Servers,
                    most: 1,
                }
                .into(),
                429,
                "limit-reached",
            ),
            (
                Rejection::LimitReached {
                    limit: Limit::Tags,
                    most: 1,
                }
                .into(),
                422,
                "invalid-fields",
            ),
            (append(AppendError::Full(why())), 507, "disk-full"),
            (
                append(AppendError::Unwritable(why())),
                503,
                "log-unwritable",
            ),
            (append(AppendError::Unknown(why())), 503, "log-unknown"),
            (HubError::KeyReused, 422, "idempotency-key-reused"),
            (HubError::Overloaded, 503, "overloaded"),
            (HubError::Stopping, 503, "shutting-down"),
        ];
        for (error, status, slug) in table {
            let told = error.to_string();
            let problem = Problem::from(error);
            assert_eq!(
                (problem.status.as_u16(), problem.slug),
                (status, slug),
                "{told}"
            );
            let waits = matches!(status, 429 | 503 | 507);
            assert_eq!(problem.retry_after.is_some(), waits, "{told}");
            assert_ne!(problem.detail, why(), "the cause stays in the log");
        }
    }

    #[test]
    fn every_limit_has_a_setting_and_a_name_of_its_own() {
        let settings = crate::config::SETTINGS;
        let mut names: Vec<&str> = Limit::ALL.iter().map(|limit| limit.name()).collect();
        for limit in Limit::ALL {
            let setting = limit.setting();
            assert!(
                settings.iter().any(|known| known.name == setting),
                "{setting}"
            );
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Limit::ALL.len());
    }

    #[test]
    fn items_of_a_batch_keep_the_status_and_prefix_the_pointers() {
        let wrong = FieldError::new("/data/name".to_owned(), "is wrong".to_owned());
        let in_batch = |cause: Rejection| Rejection::InBatch {
            index: 3,
            cause: Box::new(cause),
        };
        let problem = Problem::from(in_batch(Rejection::Invalid(vec![wrong])));
        assert_eq!(problem.status, 422);
        assert_eq!(problem.errors[0].pointer, "/3/data/name");
        let problem = Problem::from(in_batch(Rejection::ServerNotRegistered(server())));
        assert_eq!(problem.slug, "server-not-registered");
        assert_eq!(problem.errors[0].pointer, "/3");
        assert_eq!(problem.extra, [("index", Json::of(&3))]);
    }

    #[tokio::test]
    async fn a_conflict_shows_the_step_and_headers_say_when_to_come_back() {
        let conflict = Rejection::StepConflict {
            slug: "step-held",
            why: "s is held by lms".to_owned(),
            step: Json::of(&json!({"id": "s", "workflowId": "w", "attempt": 1, "error": "theirs"})),
        };
        let stranger = Problem::from(conflict.clone()).into_response();
        assert_eq!(
            body(stranger).await,
            json!({"type": "step-held", "title": "The step's state doesn't allow the report", "status": 409,
                "detail": "somebody else holds the step", "step": {"id": "s", "workflowId": "w", "attempt": 1}})
        );
        let response = Problem::told(HubError::Rejected(conflict), &Access::open()).into_response();
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(
            body(response).await,
            json!({"type": "step-held", "title": "The step's state doesn't allow the report", "status": 409,
                "detail": "s is held by lms",
                "step": {"id": "s", "workflowId": "w", "attempt": 1, "error": "theirs"}})
        );
        let response = Problem::from(HubError::Overloaded).into_response();
        assert_eq!(response.headers()["retry-after"], "1");
    }
}
