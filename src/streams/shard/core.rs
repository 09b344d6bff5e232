//! What a loop works with beside its streams: its poll, its groups, its place in the tail, its scratch room.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    event_log::LogReader,
    streams::{
        Closing, Shared, batch::Batch, groups::Groups, port::Port, reading::Pool,
        subscriber::Ending,
    },
    tail::{Page, Tail},
};

/// What a loop has beside its streams.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) tail: Arc<Tail>,
    pub(super) log: Arc<dyn LogReader>,
    pub(super) readers: Arc<Pool>,
    pub(super) openers: Arc<Pool>,
    pub(super) port: Arc<Port>,
    pub(super) poll: mio::Poll,
    pub(super) groups: Groups,
    /// All live streams have got everything up to here.
    pub(super) cursor: u64,
    /// Milliseconds since `started`, as of this turn of the loop.
    pub(super) now: u64,
    pub(super) started: Instant,
    /// Which loop it is.
    pub(super) number: usize,
    /// Scratch: frames and pages of the present pass.
    pub(super) batch: Batch,
    pub(super) pages: Vec<Arc<Page>>,
    /// Event frames handed over in this turn.
    pub(super) deliveries: u64,
    /// Bytes of log pages that blocked streams keep.
    pub(super) held: usize,
    pub(super) random: u64,
}

impl Core {
    pub(super) fn tick(&mut self) {
        self.now = millis(self.started.elapsed());
    }

    pub(super) fn keepalive(&self) -> u64 {
        millis(self.shared.settings.keepalive).max(1)
    }

    pub(super) fn stall_timeout(&self) -> u64 {
        millis(self.shared.settings.stall_timeout).max(1)
    }

    /// An end that leaves time for everything up to the present head.
    pub(super) fn ending(&self, closing: Closing, deadline: Instant) -> Ending {
        let deadline = millis(deadline.saturating_duration_since(self.started));
        Ending {
            closing,
            until: self.tail.head(),
            deadline,
        }
    }

    pub(super) fn count_deliveries(&mut self) {
        if self.deliveries > 0 {
            self.shared
                .metrics
                .deliveries
                .inc_by(mem::take(&mut self.deliveries));
        }
    }

    pub(super) fn count_gaps(&self, gaps: &[crate::frame::control::GapReason]) {
        for gap in gaps {
            self.shared
                .metrics
                .stream_gaps
                .with_label_values(&[gap.as_str()])
                .inc();
        }
    }

    /// The next of a row of random numbers (xorshift64): enough to scatter reconnects.
    pub(super) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
