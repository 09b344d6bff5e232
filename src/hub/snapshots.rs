//! Snapshots of the state: when one is due, and how it is made beside the writer.

use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::{Hub, Request};
use crate::domain::State;

/// A state that is ready to be kept.
pub(super) struct Snapshot {
    /// The last event in it.
    pub(super) sequence: u64,
    /// What [`State::restore`] reads.
    pub(super) bytes: Vec<u8>,
    took: Duration,
}

impl Snapshot {
    /// Writes the state down; `None`, and a line in the journal, where that can't be.
    pub(super) fn take(state: &State) -> Option<Self> {
        let started = Instant::now();
        match state.save() {
            Ok(bytes) => Some(Self {
                sequence: state.sequence,
                bytes,
                took: started.elapsed(),
            }),
            Err(cause) => {
                error!("the state can't be kept: {cause}");
                None
            }
        }
    }
}

/// When to keep the state: often enough that pruning never waits long and a start folds little, seldom enough
/// that it costs about one hundredth of the time.
pub(super) struct Snapshots {
    kept: u64,
    due: Instant,
    in_the_making: bool,
}

impl Snapshots {
    /// With a first one due in a while; `kept` is the state that was.
    pub(super) fn new(kept: u64) -> Self {
        Self {
            kept,
            due: Instant::now() + SNAPSHOT_EVERY,
            in_the_making: false,
        }
    }

    /// Begins a snapshot where one is due, on a thread of its own: the state is shared, not copied.
    pub(super) fn look(&mut self, hub: &Hub) {
        let state = hub.state();
        if self.in_the_making || state.sequence == self.kept || Instant::now() < self.due {
            return;
        }
        let requests = hub.0.requests.clone();
        let spawned = std::thread::Builder::new()
            .name("hub-snapshot".to_owned())
            .spawn(move || {
                if let Some(snapshot) = Snapshot::take(&state) {
                    // Closed means that the writer has ended, and kept a newer one.
                    let _ = requests.blocking_send(Request::Snapshot(snapshot));
                }
            });
        match spawned {
            Ok(_) => self.in_the_making = true,
            Err(cause) => warn!("no thread for a snapshot: {cause}"),
        }
    }

    /// One was kept.
    pub(super) fn kept(&mut self, snapshot: &Snapshot) {
        self.kept = snapshot.sequence;
        self.in_the_making = false;
        self.due = Instant::now() + SNAPSHOT_EVERY.max(snapshot.took * SNAPSHOT_SHARE);
    }

    /// One couldn't be kept.
    pub(super) fn failed(&mut self) {
        self.in_the_making = false;
        self.due = Instant::now() + SNAPSHOT_EVERY;
    }
}

/// A snapshot at most this often,
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);
/// and at most one part in so many of the time spent on them.
const SNAPSHOT_SHARE: u32 = 100;
