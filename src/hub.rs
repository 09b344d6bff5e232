//! The only writer. Takes all waiting commands, decides each against the state as the ones before leave it,
//! appends the lot in one commit, then publishes and answers. Never waits for a subscriber: they pull.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    clock::Clock,
    domain::{Command, Event, Json, Policy, Position, Rejection, ServerId, State},
    event_log::{AppendError, KeyHash, LogReader},
};

/// A handle on the writer. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    state: Arc<ArcSwap<State>>,
    reader: Arc<dyn LogReader>,
    clock: Clock,
    policy: Arc<Policy>,
}

/// A request that may be repeated: the same key and body give the first answer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Caller, path and key.
    pub key: KeyHash,
    /// The body.
    pub request: KeyHash,
}

/// What a carried-out request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status: 200, 201, 202 or 204.
    pub status: u16,
    /// The body.
    pub body: Option<Json>,
    /// The last event of the request's own commit, or the head where it appended none: `Last-Event-ID`.
    pub last: Position,
    /// It was given before: `Idempotency-Replayed`.
    pub replayed: bool,
}

/// Why a request wasn't carried out. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The rules refuse it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The log can't take it.
    #[error(transparent)]
    Append(#[from] Arc<AppendError>),
    /// The idempotency key came with another body before.
    #[error("the Idempotency-Key was used with another request body")]
    KeyReused,
    /// Too many commands wait.
    #[error("too many commands wait for the log")]
    Overloaded,
    /// The hub drains or has stopped.
    #[error("the hub is shutting down")]
    Stopping,
}

/// Hears of each commit, on the writer's thread, once it is durable and before anyone is answered. Quick, and
/// never asks the hub anything.
pub trait Observer: Send + Sync {
    /// These events happened; `state` is what they led to.
    fn committed(&self, state: &State, events: &[Event]);

    /// A connected server registered again: its lease is renewed.
    fn renewed(&self, server: &ServerId);
}

impl Hub {
    /// Carries out one command.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn execute(
        &self,
        _command: Command,
        _key: Option<IdempotencyKey>,
    ) -> Result<Answer, HubError> {
        todo!()
    }

    /// Carries out several, all or nothing, and answers `202 {"ids": […]}`.
    ///
    /// # Errors
    /// [`HubError`]; a rejection names the item.
    pub async fn execute_all(
        &self,
        _commands: Vec<Command>,
        _key: Option<IdempotencyKey>,
    ) -> Result<Answer, HubError> {
        todo!()
    }

    /// The state as of the last commit: one consistent cut.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// The log's readers.
    #[must_use]
    pub fn reader(&self) -> &Arc<dyn LogReader> {
        &self.reader
    }

    /// The clocks that the hub goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The rules' settings.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}
