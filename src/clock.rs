//! Time, as an argument. Wall time stamps events and may be set back; monotonic time runs health and time-outs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// The two clocks of one server.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Instant,
    wall_shift_ms: Arc<AtomicI64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            wall_shift_ms: Arc::default(),
        }
    }
}

impl Clock {
    /// Wall time, milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis())
            .unwrap_or(i64::MAX)
            .saturating_add(self.wall_shift_ms.load(Ordering::Relaxed))
    }

    /// Monotonic time, milliseconds since this clock was made.
    #[must_use]
    pub fn mono_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Sets the wall clock forward (or back, where negative), as an operator or NTP would. For tests.
    pub fn shift_wall(&self, by_ms: i64) {
        self.wall_shift_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}
