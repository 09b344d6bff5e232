//! Errors as RFC 9457 problems: the only place that knows which status belongs to which error.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    domain::{FieldError, Rejection},
    hub::{Answer, HubError},
};

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
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u64>,
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
            extra: serde_json::Map::new(),
            retry_after: None,
        }
    }

    /// `422 invalid-fields`: the body is JSON, but can't be meant.
    #[must_use]
    pub fn invalid(_errors: Vec<FieldError>) -> Self {
        todo!()
    }

    /// `400 invalid-query`.
    #[must_use]
    pub fn query(_detail: impl Into<String>) -> Self {
        todo!()
    }

    /// `404` of a thing that isn't there.
    #[must_use]
    pub fn not_found(_slug: &'static str, _detail: impl Into<String>) -> Self {
        todo!()
    }
}

impl From<HubError> for Problem {
    fn from(_error: HubError) -> Self {
        todo!()
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        HubError::Rejected(rejection).into()
    }
}

impl From<Vec<FieldError>> for Problem {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::invalid(errors)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        todo!()
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        todo!()
    }
}
