//! Dropping what retention no longer keeps, oldest first, a slice at a time.
//!
//! A slice is one short transaction. It takes whole blocks, so a bound on events may leave up to a block
//! more, never less, than it allows. It never passes the newest snapshot. Bounds in bytes are about what they name,
//! events or remembered answers, and never about the size of the file.

use std::collections::BTreeSet;

use super::{
    block::{Block, Span},
    schema::{sequence, sql},
    told::told,
    writer::{REMEMBERED_MS, Standing, Writer},
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

/// A block that may go.
#[derive(Debug, Clone, Copy)]
struct Old {
    /// Its columns.
    span: Span,
    /// The last sequence before the next block: what is missing between goes with it.
    end: u64,
    /// Bytes of its body.
    bytes: u64,
}

/// A remembered answer that goes.
#[derive(Debug)]
struct OldAnswer {
    key: Vec<u8>,
    bytes: u64,
}

impl Writer {
    pub(super) fn prune_slice(
        &mut self,
        retention: &Retention,
        now: i64,
    ) -> Result<Pruned, AppendError> {
        self.ballast.restore();
        let (blocks, more_blocks) = self.old_blocks(retention, now).map_err(|e| unread(&e))?;
        let (answers, more_answers) = self.old_answers(retention, now).map_err(|e| unread(&e))?;
        let floor = self.standing.bounds.floor;
        if !blocks.is_empty() || !answers.is_empty() {
            self.commit(|writer| {
                writer.drop_blocks(&blocks)?;
                writer.drop_answers(&answers)
            })?;
        }
        let more_parts = self.drop_old_parts()?;
        let more = self.give_back()? || more_blocks || more_answers || more_parts;
        Ok(Pruned {
            events: self.standing.bounds.floor - floor,
            more,
        })
    }

    /// Finds the oldest blocks that any bound drops, a slice of them; and whether there are more.
    fn old_blocks(&self, retention: &Retention, now: i64) -> rusqlite::Result<(Vec<Old>, bool)> {
        let Standing { head, snapshot, .. } = self.standing;
        let oldest_ts = retention
            .age
            .map(|age| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        let first_kept = (head + 1).saturating_sub(retention.events);
        let mut excess_bytes = self.standing.event_bytes.saturating_sub(retention.bytes);
        let rows = self.oldest_rows()?;
        let (mut old, mut taken) = (Vec::new(), 0);
        for (at, (span, bytes)) in rows.iter().copied().enumerate() {
            // The next block knows better than a damaged one.
            let next = rows.get(at + 1).map(|(next, _)| next);
            let end = next.map_or(head, |next| next.first - 1);
            let ts_max = next.map_or(span.ts_max, |next| next.ts_max.min(span.ts_max));
            let dropped = end < first_kept
                || excess_bytes > 0
                || oldest_ts.is_some_and(|oldest| ts_max < oldest);
            if !dropped || end > snapshot {
                break;
            }
            if old.len() == ROWS || taken >= BYTES {
                return Ok((old, true));
            }
            taken += bytes;
            excess_bytes = excess_bytes.saturating_sub(bytes);
            old.push(Old {
                span: Span { ts_max, ..span },
                end,
                bytes,
            });
        }
        Ok((old, false))
    }

    /// The columns of the oldest blocks, and the bytes of each: a slice, and what follows it.
    fn oldest_rows(&self) -> rusqlite::Result<Vec<(Span, u64)>> {
        self.connection
            .prepare_cached(
                "SELECT first, last, ts_max, length(body) FROM blocks ORDER BY first LIMIT ?1",
            )?
            .query_map([ROWS as i64 + 2], |row| {
                let span = Span {
                    first: sequence(row, 0)?,
                    last: sequence(row, 1)?,
                    ts_max: row.get(2)?,
                };
                Ok((span, sequence(row, 3)?))
            })?
            .collect()
    }

    fn drop_blocks(&mut self, blocks: &[Old]) -> rusqlite::Result<()> {
        let Some(Old {
            span: last, end, ..
        }) = blocks.last().copied()
        else {
            return Ok(());
        };
        let mut terms = BTreeSet::new();
        let indexed = self.standing.bounds.indexed;
        for Old { span, .. } in blocks.iter().filter(|old| old.span.first <= indexed) {
            terms.extend(self.terms_of(*span)?);
        }
        self.connection
            .prepare_cached("DELETE FROM blocks WHERE first <= ?1")?
            .execute([sql(last.first)])?;
        let gone: u64 = blocks.iter().map(|old| old.bytes).sum();
        self.standing.event_bytes = self.standing.event_bytes.saturating_sub(gone);
        let bounds = &mut self.standing.bounds;
        bounds.floor = end + 1;
        bounds.pruned_ts = bounds.pruned_ts.max(last.ts_max);
        bounds.indexed = bounds.indexed.max(end);
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

    /// Finds the oldest remembered answers that any bound drops, a slice of them, with the bytes of each; and whether
    /// there are more.
    fn old_answers(
        &self,
        retention: &Retention,
        now: i64,
    ) -> rusqlite::Result<(Vec<OldAnswer>, bool)> {
        let expired = now.saturating_sub(REMEMBERED_MS);
        let mut left = self.standing.answers;
        let mut statement = self.connection.prepare_cached(
            "SELECT key, ts, coalesce(octet_length(body), 0) FROM idempotency ORDER BY ts LIMIT ?1",
        )?;
        let mut rows = statement.query([ROWS as i64 + 1])?;
        let (mut old, mut taken) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let is_old = row.get::<_, i64>(1)? <= expired
                || left.count > retention.idempotency_keys
                || left.bytes > retention.idempotency_bytes;
            if !is_old {
                return Ok((old, false));
            }
            if old.len() == ROWS || taken >= BYTES {
                return Ok((old, true));
            }
            let bytes = sequence(row, 2)?;
            taken += bytes;
            left.remove(bytes);
            old.push(OldAnswer {
                key: row.get(0)?,
                bytes,
            });
        }
        Ok((old, false))
    }

    fn drop_answers(&mut self, old: &[OldAnswer]) -> rusqlite::Result<()> {
        for answer in old {
            self.connection
                .prepare_cached("DELETE FROM idempotency WHERE key = ?1")?
                .execute([&answer.key[..]])?;
            self.standing.answers.remove(answer.bytes);
        }
        Ok(())
    }

    /// Gives free pages back to the disk; says whether there are more to give.
    fn give_back(&mut self) -> Result<bool, AppendError> {
        let free = self.free_pages().map_err(|e| unread(&e))?;
        if free < SPARE_PAGES + VACUUM_PAGES {
            if self.ballast.shortage() > 0 {
                // Elsewhere the journal may stay long; here its room is needed.
                let _ = self.journal_pages("PRAGMA wal_checkpoint(TRUNCATE)");
                self.ballast.restore();
            }
            return Ok(false);
        }
        let vacuum = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
        let done = self
            .connection
            .prepare_cached(&vacuum)
            .and_then(|mut statement| {
                let mut rows = statement.query([])?;
                while rows.next()?.is_some() {}
                Ok(())
            });
        match done {
            Ok(()) => {
                self.settle()?;
                let left = free - VACUUM_PAGES >= SPARE_PAGES + VACUUM_PAGES;
                Ok(left || self.ballast.shortage() > 0)
            }
            Err(e) => Err(self.refusal(&e, true)),
        }
    }
}

fn unread(error: &rusqlite::Error) -> AppendError {
    AppendError::Unwritable(told(error))
}
