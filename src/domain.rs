//! What is true of a fleet, and how it may change. Pure: no I/O, no clock, no randomness.
//!
//! [`State`] changes only by [`State::evolve`] on events that are decided by [`State::decide`]; so a
//! restart, a replay and a second node all arrive at the same state. Deciding may refuse; evolving
//! may not, for what it is told has already happened. Time and ids come in as arguments.
//!
//! Invariants that hold after any sequence of decided events:
//! * a server is connected at most once; between two `server_connected` of one id stands a `server_disconnected`;
//! * a step is held by at most one server at one attempt, and is ready only when all its dependencies ended;
//! * a workflow ends once;
//! * the integration's last announced status follows from the servers, as soon as the due reactions ran.

pub mod command;
pub mod custom_types;
pub mod event;
pub mod fleet;
pub mod health;
pub mod ids;
pub mod input;
pub mod json;
pub mod lighter;
pub mod limit;
pub mod past;
pub mod pattern;
pub mod position;
pub mod probe;
pub mod server;
pub mod status;
pub mod told;
pub mod workflow;

pub use command::{Command, Decision, Rejection, Reply};
pub use event::{Event, EventData, EventType, NewEvent, Record};
pub use fleet::{Moment, Policy, State};
pub use ids::{InstanceId, ServerId, StepId, WorkflowId};
pub use input::FieldError;
pub use json::Json;
pub use limit::Limit;
pub use position::{Epoch, Position};
pub use server::Note;
pub use told::Told;
