//! Dropping what retention no longer keeps, oldest first, a slice at a time.
//!
//! A slice is one short transaction. It takes whole blocks, so a bound on events may leave up to a block
//! more, never less, than it allows. It never passes the newest snapshot.

use std::collections::BTreeSet;

use super::{
    block::{Block, Span},
    room,
    schema::{sequence, sql},
    writer::{REMEMBERED_MS, Writer},
};
use crate::event_log::{AppendError, Pruned, Retention};

/// Rows that a slice drops at most: 2,000 would hold up commits for some 50 ms.
const ROWS: usize = 200;

/// Bytes that a slice drops at most, but for one block.
const BYTES: u64 = 1024 * 1024;

/// Free pages that stay in the file for what comes next.
const SPARE_PAGES: u64 = 256;

/// Free pages given back to the disk at once.
const VACUUM_PAGES: u64 = 64;

/// What a slice may drop.
struct Slice {
    /// The last sequence of each block, oldest first.
    spans: Vec<Span>,
    /// Whether the slice ended before the droppable did.
    more: bool,
}

impl Writer {
    pub(super) fn prune_slice(
        &mut self,
        retention: &Retention,
        now: i64,
    ) -> Result<Pruned, AppendError> {
        if !room::is_exhausted(&self.directory) {
            self.ballast.restore();
        }
        let slice = self.droppable(retention, now).map_err(unread)?;
        let keys = self.droppable_keys(retention, now).map_err(unread)?;
        let mut pruned = Pruned { events: 0, more: slice.more };
        if !slice.spans.is_empty() || keys > 0 {
            let floor = self.standing.bounds.floor;
            pruned.more |= self.commit(|writer| {
                writer.drop_blocks(&slice.spans)?;
                writer.drop_keys(keys)
            })?;
            pruned.events = self.standing.bounds.floor - floor;
        }
        pruned.more |= self.give_back()?;
        Ok(pruned)
    }

    /// Finds the oldest blocks that any bound drops.
    fn droppable(&self, retention: &Retention, now: i64) -> rusqlite::Result<Slice> {
        let standing = &self.standing;
        let oldest = retention.age.map(|age| {
            now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
        });
        let mut excess_bytes = self.live_bytes()?.saturating_sub(retention.bytes);
        let newest = oldest_of_newest(standing.head, retention.events);
        let mut slice = Slice { spans: Vec::new(), more: false };
        let mut statement = self.connection.prepare_cached(
            "SELECT first, last, ts_max, length(body) FROM blocks ORDER BY first",
        )?;
        let mut rows = statement.query([])?;
        let mut taken = 0;
        while let Some(row) = rows.next()? {
            let span =
                Span { first: sequence(row, 0)?, last: sequence(row, 1)?, ts_max: row.get(2)? };
            let bytes = sequence(row, 3)?;
            let dropped = span.last < newest
                || excess_bytes > 0
                || oldest.is_some_and(|oldest| span.ts_max < oldest);
            if !dropped || span.last > standing.snapshot || span.last > standing.head {
                break;
            }
            if slice.spans.len() == ROWS || taken >= BYTES {
                slice.more = true;
                break;
            }
            taken += bytes;
            excess_bytes = excess_bytes.saturating_sub(bytes);
            slice.spans.push(span);
        }
        Ok(slice)
    }

    fn drop_blocks(&mut self, spans: &[Span]) -> rusqlite::Result<()> {
        let Some(last) = spans.last() else { return Ok(()) };
        let mut terms = BTreeSet::new();
        let indexed = self.standing.bounds.indexed;
        for span in spans.iter().filter(|span| span.first <= indexed) {
            terms.extend(self.terms_of(*span)?);
        }
        self.connection
            .prepare_cached("DELETE FROM blocks WHERE first <= ?1")?
            .execute([sql(last.first)])?;
        let bounds = &mut self.standing.bounds;
        bounds.floor = last.last + 1;
        bounds.pruned_ts = bounds.pruned_ts.max(last.ts_max);
        bounds.indexed = bounds.indexed.max(last.last);
        bounds.save(&self.connection)?;
        let floor = bounds.floor;
        for term in terms {
            self.connection
                .prepare_cached("DELETE FROM postings WHERE term = ?1 AND block < ?2")?
                .execute([term, sql(floor)])?;
            let orphaned = self
                .connection
                .prepare_cached(
                    "DELETE FROM terms WHERE id = ?1
                     AND NOT EXISTS (SELECT 1 FROM postings WHERE term = ?1)",
                )?
                .execute([term])?;
            if orphaned > 0 {
                self.terms.forget();
            }
        }
        Ok(())
    }

    fn terms_of(&mut self, span: Span) -> rusqlite::Result<Vec<i64>> {
        let body: Vec<u8> = self
            .connection
            .prepare_cached("SELECT body FROM blocks WHERE first = ?1")?
            .query_row([sql(span.first)], |row| row.get(0))?;
        let mut terms = Vec::new();
        if let Some(block) = Block::parse(span, &body) {
            self.collect_terms(&block, &mut terms)?;
        }
        Ok(terms)
    }

    /// How many idempotency keys are too old or too many, a slice of them at most.
    fn droppable_keys(&self, retention: &Retention, now: i64) -> rusqlite::Result<usize> {
        let count = |sql: &str, cutoff: i64| -> rusqlite::Result<u64> {
            self.connection.prepare_cached(sql)?.query_row([cutoff], |row| sequence(row, 0))
        };
        let expired = count(
            "SELECT count(*) FROM (SELECT 1 FROM idempotency WHERE ts <= ?1 LIMIT 201)",
            now.saturating_sub(REMEMBERED_MS),
        )?;
        let kept = i64::try_from(retention.idempotency_keys).unwrap_or(i64::MAX);
        let surplus = count("SELECT max(0, count(*) - ?1) FROM idempotency", kept)?;
        Ok(usize::try_from(expired.max(surplus)).unwrap_or(usize::MAX))
    }

    /// Drops the oldest idempotency keys, a slice of them; says whether some are left to drop.
    fn drop_keys(&mut self, keys: usize) -> rusqlite::Result<bool> {
        if keys > 0 {
            self.connection
                .prepare_cached(
                    "DELETE FROM idempotency WHERE key IN
                     (SELECT key FROM idempotency ORDER BY ts LIMIT ?1)",
                )?
                .execute([keys.min(ROWS) as i64])?;
        }
        Ok(keys > ROWS)
    }

    /// Gives free pages back to the disk; says whether there are more to give.
    fn give_back(&mut self) -> Result<bool, AppendError> {
        let free = self.free_pages().map_err(unread)?;
        if free < SPARE_PAGES + VACUUM_PAGES {
            return Ok(false);
        }
        let vacuum = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
        let done = self.connection.prepare_cached(&vacuum).and_then(|mut statement| {
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        });
        match done {
            Ok(()) => self.settle().map(|()| free - VACUUM_PAGES >= SPARE_PAGES + VACUUM_PAGES),
            Err(e) => Err(self.refusal(&e, true)),
        }
    }

    fn free_pages(&self) -> rusqlite::Result<u64> {
        self.connection
            .prepare_cached("PRAGMA freelist_count")?
            .query_row([], |row| sequence(row, 0))
    }
}

/// The oldest sequence that a bound on events keeps.
fn oldest_of_newest(head: u64, events: u64) -> u64 {
    (head + 1).saturating_sub(events)
}

fn unread(error: rusqlite::Error) -> AppendError {
    AppendError::Unwritable(error.to_string())
}
