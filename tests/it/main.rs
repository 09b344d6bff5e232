//! The contract, held against a real server on a real socket: a file per promise.

#![expect(
    unreachable_pub,
    reason = "a test binary has no outside; pub says what the support offers its tests"
)]
#![expect(
    clippy::unwrap_used,
    reason = "in a test an unwrap is a check like any other"
)]

mod client;
mod clocks;
mod connections;
mod crash;
mod credentials;
mod crowd;
mod door;
mod drain;
mod envelope;
mod examples;
mod faults;
mod filters;
mod gaps;
mod gates;
mod health;
mod history;
mod idempotency;
mod instances;
mod limits;
mod manners;
mod mcp;
mod million;
mod numbers;
mod old_log;
mod opening;
mod past;
mod patience;
mod patterns;
mod payloads;
mod probe;
mod problems;
mod process;
mod produce;
#[cfg(feature = "client")]
mod readme;
mod resume;
mod retention;
mod rights;
mod rounds;
mod said;
mod servers;
mod snapshot;
mod soak;
mod state;
mod stats;
mod steps;
mod storm;
mod support;
#[cfg(feature = "client")]
mod terminal;
mod unread;
mod workflows;
mod wrap;
