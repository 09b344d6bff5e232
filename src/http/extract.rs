//! What handlers take from a request, each with its own clear refusal.

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};
use serde_json::Value;

use super::{App, problem::Problem};
use crate::hub::IdempotencyKey;

/// A change: its JSON body (`None` where there is none at all) and its `Idempotency-Key`, hashed with caller,
/// path and body. Refuses with `415` (a body without a JSON type), `413`, `408` and `400` (no JSON, with the place).
#[derive(Debug)]
pub struct Change {
    /// The body.
    pub body: Option<Value>,
    /// The key, where the client gave one.
    pub key: Option<IdempotencyKey>,
}

impl Change {
    /// The body of a call that needs one.
    ///
    /// # Errors
    /// `400` where there is none.
    pub fn required(&self) -> Result<&Value, Problem> {
        todo!()
    }
}

impl FromRequest<App> for Change {
    type Rejection = Problem;

    async fn from_request(_request: Request, _app: &App) -> Result<Self, Problem> {
        todo!()
    }
}

/// The query, decoded, in order, repeats kept.
#[derive(Debug, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Refuses parameters that aren't among these, each with the nearest known name.
    ///
    /// # Errors
    /// `400` that names every unknown one.
    pub fn only(&self, _known: &[&str]) -> Result<(), Problem> {
        todo!()
    }

    /// The last value of a parameter, empty ones left out.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All values of a parameter, comma separated or repeated, empty ones left out.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .flat_map(|(_, value)| value.split(','))
            .filter(|value| !value.is_empty())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        todo!()
    }
}

/// An id in the path. `400` where it is malformed, naming the rule.
#[derive(Debug)]
pub struct PathId<T>(pub T);

impl<S, T> FromRequestParts<S> for PathId<T>
where
    S: Send + Sync,
    T: std::str::FromStr + Send,
    T::Err: std::fmt::Display,
{
    type Rejection = Problem;

    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        todo!()
    }
}
