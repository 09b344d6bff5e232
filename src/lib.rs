//! timeback-events: a durable, resumable event hub for fleets of MCP servers.

pub mod client;
pub mod clock;
pub mod config;
pub mod domain;
pub mod event_log;
pub mod filter;
pub mod frame;
pub mod health;
pub mod http;
pub mod hub;
pub mod metrics;
pub mod readiness;
pub mod serve;
pub mod streams;
pub mod subscription;
pub mod tail;

pub use config::Config;
