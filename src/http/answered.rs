//! The answer to a change: its status, its place in the log, and what it left.

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use super::{
    pieces::Makers,
    problem::{Problem, with_warnings},
    text::{Single, Thing},
};
use crate::{
    domain::{FieldError, Json, Told},
    hub::Answer,
};

/// An answer on its way out.
pub(super) struct Answered {
    answer: Answer,
    makers: Makers,
}

impl Answered {
    /// What is long of it is made there.
    pub(super) fn new(answer: Answer, makers: &Makers) -> Self {
        Self {
            answer,
            makers: makers.clone(),
        }
    }

    /// With more to tell.
    pub(super) fn with(self, warnings: Vec<FieldError>) -> Self {
        Self {
            answer: self.answer.with(warnings),
            ..self
        }
    }

    fn body(makers: &Makers, told: Told, warnings: &[FieldError]) -> Result<Body, Problem> {
        let thing = match told {
            Told::Text(text) => return Ok(with_warnings(text.as_str(), warnings).into()),
            Told::Server(server) => Thing::Server(server),
            Told::Workflow(workflow) => Thing::Defined(workflow),
            Told::Step(step) => Thing::Reported(step),
        };
        let mut beside = Vec::new();
        if !warnings.is_empty() {
            beside.push(("warnings", Json::of(warnings)));
        }
        makers.begun(Single::with(thing, beside))
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        let Self { answer, makers } = self;
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        let mut response = status.into_response();
        if let Some(told) = answer.body {
            match Self::body(&makers, told, &answer.warnings) {
                Ok(body) => *response.body_mut() = body,
                Err(problem) => return problem.into_response(),
            }
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
        }
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::try_from(answer.last.to_string()) {
            headers.insert("last-event-id", id);
        }
        if answer.replayed {
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{Epoch, Position};

    #[tokio::test]
    async fn answers_carry_their_place_and_whether_they_were_given_before() {
        let last = Position {
            epoch: Epoch::from_random(0),
            sequence: 7,
        };
        let answered = |answer| Answered::new(answer, &Makers::default()).into_response();
        let answer = Answer {
            status: 201,
            body: Some(Told::Text(Json::of(&json!({"id": "lms"})))),
            last,
            replayed: true,
            heard: Vec::new(),
            warnings: Vec::new(),
        };
        let response = answered(answer);
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["last-event-id"], "000000000000-7");
        assert_eq!(response.headers()["idempotency-replayed"], "true");
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = to_bytes(response.into_body(), 4096).await.expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body, json!({"id": "lms"}));
        let response = answered(Answer {
            status: 204,
            body: None,
            last,
            replayed: false,
            heard: Vec::new(),
            warnings: Vec::new(),
        });
        assert_eq!(response.status(), 204);
        assert!(!response.headers().contains_key("content-type"));
        assert!(!response.headers().contains_key("idempotency-replayed"));
    }
}
