//! A log's readers under watch: damage that any read meets is counted, and told once for each place.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use prometheus::IntCounter;
use tracing::error;

use crate::{
    event_log::{Item, LogReader, ReadError, ReadRange, Scanned, Visit, through::ReadThrough},
    filter::Filter,
};

/// Reads through to a log.
pub(super) struct Watched {
    log: Arc<dyn LogReader>,
    met: IntCounter,
    told: Mutex<BTreeSet<u64>>,
}

impl Watched {
    pub(super) fn new(log: Arc<dyn LogReader>, met: IntCounter) -> Self {
        Self {
            log,
            met,
            told: Mutex::default(),
        }
    }

    fn note(&self, first: u64, last: u64) {
        self.met.inc_by(last - first + 1);
        let mut told = self.told.lock();
        if told.len() < MOST_TOLD && told.insert(first) {
            error!(
                first,
                last, "events {first} to {last} are stored but damaged: readers are told of a gap"
            );
        }
    }
}

impl ReadThrough for Watched {
    fn log(&self) -> &dyn LogReader {
        &*self.log
    }

    fn read_through(
        &self,
        range: &ReadRange,
        filter: &Filter,
        visit: Visit<'_>,
    ) -> Result<Scanned, ReadError> {
        self.log.read(range, filter, &mut |item| {
            if let Item::Corrupt { first, last } = item {
                self.note(first, last);
            }
            visit(item)
        })
    }
}

/// Places that are told in the journal, at most: further ones are only counted.
const MOST_TOLD: usize = 1000;
