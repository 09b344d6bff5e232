//! The readers of a log: each call borrows a connection for one short transaction.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::{
    Shared,
    fetch::{self, Stored},
    leases, notes,
    pool::Pool,
    read,
    schema::{Bounds, sequence, sql},
    states,
};
use crate::{
    event_log::{
        Epochs, LogInfo, LogReader, PlaceAtTime, ReadError, ReadRange, SavedLease, SavedNote,
        Scanned, TakeSnapshot, Visit,
    },
    filter::Filter,
};

/// The readers of a log in a directory.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) pool: Pool,
}

impl LogReader for Reader {
    fn info(&self) -> LogInfo {
        *self.shared.info.read()
    }

    fn epochs(&self) -> Arc<Epochs> {
        self.shared.epochs.clone()
    }

    fn read(
        &self,
        range: &ReadRange,
        filter: &Filter,
        visit: Visit<'_>,
    ) -> Result<Scanned, ReadError> {
        let head = self.info().head;
        self.pool
            .read(|connection| read::page(connection, range, filter, head, visit))
    }

    fn place_at_time(&self, time: i64) -> Result<PlaceAtTime, ReadError> {
        let head = self.info().head;
        self.pool
            .read(|connection| place_at_time(connection, time, head))
    }

    fn read_snapshot(&self, take: TakeSnapshot<'_>) -> Result<Option<u64>, ReadError> {
        self.pool.read(|connection| states::load(connection, take))
    }

    fn load_leases(&self) -> Result<Vec<SavedLease>, ReadError> {
        self.pool.read(load_leases)
    }

    fn load_notes(&self) -> Result<Vec<SavedNote>, ReadError> {
        self.pool.read(notes::load)
    }
}

/// Halves the log until the block is found in which the highest timestamp so far reaches `time`.
fn place_at_time(connection: &Connection, time: i64, head: u64) -> rusqlite::Result<PlaceAtTime> {
    let bounds = Bounds::load(connection)?;
    if bounds.pruned_ts >= time {
        return Ok(PlaceAtTime {
            after: bounds.floor - 1,
            pruned: true,
        });
    }
    let (mut low, mut high) = (bounds.floor, head + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let (first, next, reached) = stretch(connection, middle, time, head)?;
        if reached {
            high = first.clamp(low, middle)
        } else {
            low = next.max(middle + 1)
        }
    }
    let after = fetch::at_or_before(connection, low, |stored| match stored {
        Some(Stored::Sound(block)) => block
            .iter()
            .find(|record| record.timestamp >= time)
            .map(|record| record.sequence - 1),
        _ => None,
    })?;
    Ok(PlaceAtTime {
        after: after.unwrap_or(low.min(head + 1) - 1).min(head),
        pruned: false,
    })
}

/// The block around a sequence: where it begins, where the next one does, and whether the log's highest
/// timestamp up to its end is at or after `time`.
fn stretch(
    connection: &Connection,
    middle: u64,
    time: i64,
    head: u64,
) -> rusqlite::Result<(u64, u64, bool)> {
    let found = connection
        .prepare_cached(
            "SELECT first, ts_max FROM blocks WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
        )?
        .query_row([sql(middle)], |row| {
            Ok((sequence(row, 0)?, row.get::<_, i64>(1)?))
        })
        .optional()?;
    let next = fetch::first_after(connection, middle)?.unwrap_or(head + 1);
    Ok(found.map_or((middle, next, false), |(first, ts_max)| {
        (first, next, ts_max >= time)
    }))
}

pub(super) fn load_leases(connection: &Connection) -> rusqlite::Result<Vec<SavedLease>> {
    let leases = connection
        .prepare_cached("SELECT crc, body FROM leases")?
        .query_row([], |row| {
            let body = row.get_ref(1)?.as_blob()?;
            let sound = i64::from(crc32fast::hash(body)) == row.get::<_, i64>(0)?;
            Ok(sound.then(|| leases::decode(body)).flatten())
        })
        .optional()?;
    if leases == Some(None) {
        tracing::warn!("the saved leases are damaged: every server gets a fresh interval");
    }
    Ok(leases.flatten().unwrap_or_default())
}
