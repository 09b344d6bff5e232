//! Sealing: from time to time what was appended lately gets its postings, all at once.
//!
//! A posting per commit would dirty a page per term and commit; this way it is a page per term and some
//! thousand events. Readers look through the unsealed end of the log themselves, so its size is bounded
//! ([`BLOCKS`], [`BYTES`]). On the way small blocks, of commits of few events, are packed into larger ones, record by
//! record as they are.

use rusqlite::{OptionalExtension, params};

use super::{
    block::{Block, FULL, Span},
    schema::{sequence, sql},
    terms::Kind,
    writer::{Unsealed, Writer},
};

/// Unsealed blocks at most.
const BLOCKS: usize = 256;

/// Unsealed bytes at most, but for one commit.
const BYTES: usize = 1024 * 1024;

/// Records of at least so many bytes are worth a block of their own.
const LARGE: usize = FULL / 8;

/// Neighbouring blocks that are to become one.
#[derive(Default)]
struct Run {
    firsts: Vec<u64>,
    /// Bytes of their bodies as they are stored.
    bytes: usize,
    terms: Vec<i64>,
}

impl Writer {
    /// Whether the unsealed end has grown long.
    pub(super) fn is_seal_due(&self) -> bool {
        self.standing.unsealed.blocks >= BLOCKS || self.standing.unsealed.bytes >= BYTES
    }

    /// Seals all that isn't, within the current transaction.
    pub(super) fn seal(&mut self) -> rusqlite::Result<()> {
        let mut postings = Vec::new();
        let mut run = Run::default();
        let mut cursor = self.standing.bounds.indexed;
        let mut body = Vec::new();
        while let Some(span) = self.next_block(cursor, &mut body)? {
            cursor = span.first;
            let Some(block) = Block::parse(span, &body) else {
                self.close(&mut run, &mut postings)?;
                let damaged = self.terms.intern(&self.connection, Kind::Damaged, "")?;
                postings.push((damaged, span.first));
                continue;
            };
            cursor = span.last;
            let small = block.size() < LARGE;
            if !small || !self.packer.has_room_for(block.size()) {
                self.close(&mut run, &mut postings)?;
            }
            if run.firsts.is_empty() {
                self.packer.begin(span.first, span.ts_max);
            }
            if small {
                self.packer.push_block(&block);
            }
            run.firsts.push(span.first);
            run.bytes += body.len();
            self.collect_terms(&block, &mut run.terms)?;
            if !small {
                self.close(&mut run, &mut postings)?;
            }
        }
        self.close(&mut run, &mut postings)?;
        postings.sort_unstable();
        for (term, block) in postings {
            self.connection
                .prepare_cached("INSERT OR IGNORE INTO postings VALUES (?1, ?2)")?
                .execute([term, sql(block)])?;
        }
        self.standing.bounds.indexed = self.standing.head;
        self.standing.unsealed = Unsealed::default();
        self.standing.bounds.save(&self.connection)
    }

    /// The first block after a sequence, its body copied so that nothing stays open while blocks move.
    fn next_block(&self, after: u64, body: &mut Vec<u8>) -> rusqlite::Result<Option<Span>> {
        self.connection
            .prepare_cached(
                "SELECT first, last, ts_max, body FROM blocks WHERE first > ?1 ORDER BY first LIMIT 1",
            )?
            .query_row([sql(after)], |row| {
                body.clear();
                body.extend_from_slice(row.get_ref(3)?.as_blob()?);
                Ok(Span { first: sequence(row, 0)?, last: sequence(row, 1)?, ts_max: row.get(2)? })
            })
            .optional()
    }

    /// Adds the terms of a block's records, each once.
    pub(super) fn collect_terms(
        &mut self,
        block: &Block<'_>,
        terms: &mut Vec<i64>,
    ) -> rusqlite::Result<()> {
        for at in block.span.first..=block.span.last {
            match block.get(at) {
                Some(record) => self.terms.intern_record(&self.connection, &record, terms)?,
                None => terms.push(self.terms.intern(&self.connection, Kind::Damaged, "")?),
            }
        }
        terms.sort_unstable();
        terms.dedup();
        Ok(())
    }

    /// Replaces the blocks of a run by one, where they are several, and notes its postings.
    fn close(&mut self, run: &mut Run, postings: &mut Vec<(i64, u64)>) -> rusqlite::Result<()> {
        let Some(first) = run.firsts.first().copied() else {
            return Ok(());
        };
        postings.extend(run.terms.iter().map(|term| (*term, first)));
        if let [_, rest @ ..] = &run.firsts[..]
            && !rest.is_empty()
        {
            for first in rest {
                self.connection
                    .prepare_cached("DELETE FROM blocks WHERE first = ?1")?
                    .execute([sql(*first)])?;
            }
            let (span, body) = self.packer.finish();
            self.connection
                .prepare_cached(
                    "UPDATE blocks SET last = ?2, ts_max = ?3, body = ?4 WHERE first = ?1",
                )?
                .execute(params![sql(span.first), sql(span.last), span.ts_max, body])?;
            let bytes = &mut self.standing.event_bytes;
            *bytes = (*bytes + body.len() as u64).saturating_sub(run.bytes as u64);
        }
        run.firsts.clear();
        run.bytes = 0;
        run.terms.clear();
        Ok(())
    }
}
