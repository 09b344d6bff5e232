//! Readers that stand before another one and change what a read meets; all else is as it was.

use std::sync::Arc;

use super::{
    Epochs, LogInfo, LogReader, PlaceAtTime, ReadError, ReadRange, SavedLease, SavedNote, Scanned,
    TakeSnapshot, Visit,
};
use crate::filter::Filter;

/// Stands before a log's reader. Whoever implements this is a [`LogReader`].
pub trait ReadThrough: Send + Sync {
    /// The reader behind it.
    fn log(&self) -> &dyn LogReader;

    /// What becomes of [`LogReader::read`].
    ///
    /// # Errors
    /// [`ReadError`].
    fn read_through(
        &self,
        range: &ReadRange,
        filter: &Filter,
        visit: Visit<'_>,
    ) -> Result<Scanned, ReadError>;
}

impl<T: ReadThrough> LogReader for T {
    fn info(&self) -> LogInfo {
        self.log().info()
    }

    fn epochs(&self) -> Arc<Epochs> {
        self.log().epochs()
    }

    fn read(
        &self,
        range: &ReadRange,
        filter: &Filter,
        visit: Visit<'_>,
    ) -> Result<Scanned, ReadError> {
        self.read_through(range, filter, visit)
    }

    fn place_at_time(&self, time: i64) -> Result<PlaceAtTime, ReadError> {
        self.log().place_at_time(time)
    }

    fn read_snapshot(&self, take: TakeSnapshot<'_>) -> Result<Option<u64>, ReadError> {
        self.log().read_snapshot(take)
    }

    fn load_leases(&self) -> Result<Vec<SavedLease>, ReadError> {
        self.log().load_leases()
    }

    fn load_notes(&self) -> Result<Vec<SavedNote>, ReadError> {
        self.log().load_notes()
    }
}
