//! timeback-events: a durable, resumable event hub for fleets of MCP servers. Plain POSTs in, Server-Sent Events
//! out, and a listener is never silently wrong.
//!
//! # The life of an event
//!
//! ```text
//! POST ── http ── Command ──▶ hub (the only writer) ──▶ domain::decide ──▶ events ──▶ event_log.append (durable) ──┐
//!                                                                                                                  ▼
//! GET /events ◀── http::sse ◀── streams (cursors + filters) ◀── tail (newest frames, encoded once) ◀── domain::evolve
//!                                     └── behind the tail? reads event_log in pages until it has caught up
//! ```
//!
//! # What holds it together
//!
//! * **State changes only by `evolve` on committed events.** [`domain`] is pure: no I/O, no clock, no randomness. A
//!   restart, a replay and a test in virtual time arrive at the same state.
//! * **An acknowledgement means durable.** [`hub`] decides all waiting commands on a copy of the state (a few
//!   pointers: its maps are persistent), commits them with one sync, and only then tells anyone. If the commit fails,
//!   the copy is dropped and nothing has happened.
//! * **A subscriber is a cursor, not a queue.** [`streams`] reads the [`tail`], or the log where it is behind; a slow
//!   reader costs the others nothing and loses nothing that is kept.
//! * **Every frame is encoded once**, and what a socket gets is a range of shared bytes.
//! * **What one thing does to another is a reaction** that follows from state ([`domain::State::due_reaction`]), is safe
//!   to repeat, and so happens also when the hub died in between.
//!
//! Where this house differs from the first sketch of it: a row of the log holds a whole commit rather than one event
//! (see [`event_log`]), which is what makes a commit of a thousand events cost hardly more than one of a single event;
//! and subscriptions are not tasks but entries in a few loops ([`streams`]), which is what makes ten thousand of them
//! cheap.
//!
//! # Rooms
//!
//! A test reads this table and holds every import against it.
//!
//! | module | job | may import |
//! | --- | --- | --- |
//! | [`words`] | what people write: near misses, lengths of time | nothing |
//! | [`domain`] | what is true of a fleet, and how it may change | `words` |
//! | [`clock`] | wall time and monotonic time, to be moved in tests | nothing |
//! | [`metrics`] | every metric's name | nothing |
//! | [`config`] | the settings | `words`, `probe` |
//! | [`readiness`] | whether it takes work | nothing |
//! | [`filter`] | what a reader wants | `words`, `domain` |
//! | [`frame`] | an event as bytes on the wire | `domain` |
//! | [`event_log`] | the durable, ordered log | `domain`, `filter` |
//! | [`tail`] | the newest frames | `domain`, `filter`, `frame`, `event_log` (its epochs) |
//! | [`subscription`] | where a reader starts | `domain`, `filter`, `event_log` |
//! | [`streams`] | the fan-out | `domain`, `filter`, `frame`, `event_log`, `tail`, `subscription`, `metrics` |
//! | [`hub`] | the only writer | `domain`, `filter`, `event_log`, `tail`, `clock`, `metrics` |
//! | [`health`], [`timers`] | what time alone makes due | `domain`, `hub`, `clock` |
//! | [`rounds`] | asks every probed server in its time | `domain`, `hub`, `health`, `clock`, `metrics`, `probe`, `servers_file` |
//! | [`door`] | who may come in, and how much they may ask for | `words`, `config`, `domain`, `filter`, `clock`, `metrics` |
//! | [`http`], [`serve`](mod@serve) | requests and answers | `http`, all above |
//! | [`client`] | the other side of the contract | nothing |
//! | [`probe`] | asks an MCP server over HTTP | `domain` |
//! | [`servers_file`] | MCP clients' files of servers | nothing |
//! | [`wrap`] | stands in front of a stdio server, and reports it | `client` |
//! | [`cli`] | the command line | `config`, `domain`, `probe`, `clock`, `event_log`, `door`, `serve`, `client`, `wrap`, `servers_file`, `words` |
//!
//! Only this module sees everything; it gives birth to every task and joins it.

pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod config;
pub mod domain;
pub mod door;
pub mod event_log;
pub mod filter;
pub mod frame;
pub mod health;
pub mod http;
pub mod hub;
pub mod metrics;
pub mod probe;
pub mod readiness;
pub mod rounds;
pub mod serve;
pub mod servers_file;
pub mod streams;
pub mod subscription;
pub mod tail;
pub mod timers;
pub mod words;
#[cfg(all(unix, feature = "client"))]
pub mod wrap;

mod run;

pub use config::Config;
pub use run::{ServeError, serve, serve_and_tell};
