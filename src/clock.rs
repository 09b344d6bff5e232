//! Time, as an argument. Wall time stamps events and may be set back; monotonic time runs health and time-outs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// The two clocks of one server. Clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    /// `None` where the clocks stand still until they are moved.
    started: Option<Instant>,
    mono_shift_ms: Arc<AtomicU64>,
    wall_shift_ms: Arc<AtomicI64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            started: Some(Instant::now()),
            mono_shift_ms: Arc::default(),
            wall_shift_ms: Arc::default(),
        }
    }
}

impl Clock {
    /// Clocks that stand still at these times until [`Clock::advance`] moves them. For tests.
    #[must_use]
    pub fn frozen(mono_ms: u64, wall_ms: i64) -> Self {
        Self {
            started: None,
            mono_shift_ms: Arc::new(mono_ms.into()),
            wall_shift_ms: Arc::new(wall_ms.into()),
        }
    }

    /// Wall time, milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        let shift = self.wall_shift_ms.load(Ordering::Relaxed);
        if self.started.is_none() {
            return shift;
        }
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis())
            .unwrap_or(i64::MAX)
            .saturating_add(shift)
    }

    /// Monotonic time, milliseconds since this clock was made.
    #[must_use]
    pub fn mono_ms(&self) -> u64 {
        let since = self.started.map(|at| at.elapsed().as_millis());
        u64::try_from(since.unwrap_or_default())
            .unwrap_or(u64::MAX)
            .saturating_add(self.mono_shift_ms.load(Ordering::Relaxed))
    }

    /// Lets time pass on both clocks. For tests.
    pub fn advance(&self, by_ms: u32) {
        self.mono_shift_ms
            .fetch_add(u64::from(by_ms), Ordering::Relaxed);
        self.shift_wall(i64::from(by_ms));
    }

    /// Sets the wall clock forward (or back, where negative), as an operator or NTP would. For tests.
    pub fn shift_wall(&self, by_ms: i64) {
        self.wall_shift_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}
