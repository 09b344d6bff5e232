//! timeback-events: a durable, resumable event hub for fleets of MCP servers.

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
pub mod subscription;
pub mod tail;
pub mod timers;

pub use config::Config;
