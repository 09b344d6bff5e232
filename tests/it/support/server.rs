//! The server inside the test's own process.

use std::net::{SocketAddr, TcpListener};

use tempfile::TempDir;
use timeback_events::Config;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Client, EventStream};

/// A running server. Stopped with [`TestHub::stop`]; a test that drops it leaves it to the runtime's end.
pub struct TestHub {
    pub address: SocketAddr,
    pub client: Client,
    directory: Option<TempDir>,
    config: Config,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

/// The defaults, on a free port, in memory.
pub fn config() -> Config {
    let mut config = Config::default();
    config.listen.port = 0;
    config.data_dir = None;
    config
}

impl TestHub {
    /// With the defaults and a directory of its own.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With changed settings and a directory of its own.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = config();
        config.data_dir = Some(directory.path().to_owned());
        change(&mut config);
        Self::start_in(Some(directory), config)
    }

    fn start_in(directory: Option<TempDir>, config: Config) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let serve = timeback_events::serve(config.clone(), listener, shutdown.clone());
        let serving =
            tokio::spawn(async move { serve.await.expect("it serves and stops in order") });
        Self {
            address,
            client: Client::new(address),
            directory,
            config,
            shutdown,
            serving,
        }
    }

    /// Stops in order, as SIGTERM does, and keeps the directory.
    pub async fn stop(self) -> (Option<TempDir>, Config) {
        self.shutdown.cancel();
        tokio::time::timeout(super::PATIENCE, self.serving)
            .await
            .expect("it stops")
            .expect("it stops in order");
        (self.directory, self.config)
    }

    /// Stops and starts again on the same directory (and another port).
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same with changed settings.
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let (directory, mut config) = self.stop().await;
        change(&mut config);
        Self::start_in(directory, config)
    }

    /// Begins to drain, without waiting.
    pub fn drain(&self) {
        self.shutdown.cancel();
    }

    /// Opens `/events?query`.
    pub async fn subscribe(&self, query: &str) -> EventStream {
        EventStream::open(self.address, &format!("/events?{query}"), &[]).await
    }

    /// Opens `/events?query` as a browser that comes back.
    pub async fn resume(&self, query: &str, last_event_id: &str) -> EventStream {
        EventStream::open(
            self.address,
            &format!("/events?{query}"),
            &[("Last-Event-ID", last_event_id)],
        )
        .await
    }
}
