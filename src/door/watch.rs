//! What changes while the hub runs: files of keys, and the rights that open streams live by.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Door, keys::Keys};
use crate::config::{Auth, JwksSource};

/// How often files and open streams are looked at: a revoked key's streams end within so long.
const EVERY: Duration = Duration::from_secs(1);

/// What tells one state of a file from another, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(Option<(SystemTime, u64, u64)>);

impl Stamp {
    /// The file as it is now; one that can't be looked at is a state of its own.
    pub(super) fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        let stamp =
            fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len(), file.ino())));
        Self(stamp.ok())
    }
}

impl Door {
    /// Reads keys again when their files change and on SIGHUP, and tells `end` of the owners of open streams
    /// whose right to them has ended, until `shutdown`. From this call on, and not only once the future is polled,
    /// SIGHUP ends no process. Must be called within a runtime.
    pub fn watch(
        self,
        end: impl Fn(HashSet<u64>) + Send + Sync,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send {
        let hangup = signal(SignalKind::hangup())
            .inspect_err(|error| warn!("SIGHUP is not heard; files are still watched: {error}"))
            .ok();
        self.watch_with(hangup, end, shutdown)
    }

    async fn watch_with(
        self,
        mut hangup: Option<Signal>,
        end: impl Fn(HashSet<u64>) + Send + Sync,
        shutdown: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = self.0.stamps.clone();
        loop {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => false,
                Some(()) = heard(hangup.as_mut()) => true,
            };
            let now = stamps(&self.0.auth);
            if asked || now != known {
                known = now;
                self.reload().await;
            } else {
                self.refresh_tokens(false).await;
            }
            self.end_streams(&end);
        }
    }

    /// Reads all keys again. What can't be read leaves the old ones in force.
    pub async fn reload(&self) {
        if let Some(store) = &self.0.keys {
            match Keys::load(&store.path) {
                Ok(keys) => {
                    info!("{} API keys are known", keys.len());
                    store.keys.store(Arc::new(keys));
                    self.0.metrics.note_stale("api_keys", false);
                }
                Err(problem) => {
                    error!("the old API keys stay in force: {problem}");
                    self.0.metrics.note_stale("api_keys", true);
                }
            }
        }
        self.refresh_tokens(true).await;
    }

    async fn refresh_tokens(&self, file_changed: bool) {
        if let Some(tokens) = &self.0.tokens {
            tokens.refresh(file_changed).await;
            self.0.metrics.note_stale("jwks", tokens.is_stale());
        }
    }

    /// Tells `end` of the owners of open streams whose right to them has ended, where there are any.
    pub fn end_streams(&self, end: &impl Fn(HashSet<u64>)) {
        let now = self.0.clock.wall_ms();
        let ended = self
            .0
            .streams
            .ended(|credential| self.holds(credential, now));
        if !ended.is_empty() {
            end(ended);
        }
    }
}

/// The files of keys as they are now.
pub(super) fn stamps(auth: &Auth) -> Vec<Stamp> {
    let keys = auth.api_keys.as_deref();
    let tokens = auth.jwks.as_ref().and_then(|source| match source {
        JwksSource::File(path) => Some(path.as_path()),
        JwksSource::Url(_) => None,
    });
    keys.into_iter().chain(tokens).map(Stamp::of).collect()
}

/// The next signal; never, where signals can't be heard.
async fn heard(signals: Option<&mut Signal>) -> Option<()> {
    match signals {
        Some(signals) => signals.recv().await,
        None => std::future::pending().await,
    }
}
