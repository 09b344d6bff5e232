//! The contract, held against a real server on a real socket: a file per promise.

mod crash;
mod door;
mod envelope;
mod filters;
mod gaps;
mod gates;
mod health;
mod history;
mod idempotency;
mod opening;
mod patterns;
mod problems;
mod produce;
mod resume;
mod retention;
mod servers;
mod snapshot;
mod state;
mod support;
#[cfg(feature = "client")]
mod terminal;
mod workflows;
