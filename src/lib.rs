//! timeback-events: a durable, resumable event hub for fleets of MCP servers.

pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod event_log;
pub mod filter;
pub mod health;
pub mod http;
pub mod hub;
pub mod metrics;
pub mod subscription;
pub mod tail;

pub use config::Config;

/// Why a server ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {}

/// Serves on `listener` until `shutdown` is cancelled, then drains.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    _config: Config,
    _listener: std::net::TcpListener,
    shutdown: tokio_util::sync::CancellationToken,
) -> Result<(), ServeError> {
    shutdown.cancelled().await;
    Ok(())
}
