//! The one connection that writes.
//!
//! A call is one transaction: it is durable when the call returns `Ok`, and gone when it returns an error,
//! except [`AppendError::Unknown`], after which the process must end. Readers learn of a new head only after
//! the commit that brought it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rusqlite::{Connection, ErrorCode, OptionalExtension, ffi};

use super::{
    Shared,
    block::{self, Packer},
    leases, notes,
    room::{self, Ballast, Lock},
    schema::{self, Bounds, sequence, sql},
    states::Making,
    terms::TermIds,
    told::told,
};
use crate::{
    domain::{Json, Record},
    event_log::{
        AppendError, KeyHash, LogWriter, Pruned, ReadError, Remembered, Retention, SavedLease,
        SavedNote,
    },
};

/// Pages in the journal after which it is written back.
const CHECKPOINT_PAGES: u64 = 1000;

/// Appends, and bytes of them, after which the log is measured again. Asking SQLite takes as long as a small
/// commit does, so in between the bytes are added up. Few enough that the journal never grows much longer than
/// [`CHECKPOINT_PAGES`].
const MEASURE_APPENDS: u32 = 32;
const MEASURE_BYTES: u64 = 512 * 1024;

/// How long answers are remembered, ms.
pub(super) const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;

/// How long the end waits for readers.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// What a probe writes, and takes back.
const PROBE_BYTES: i64 = 64 * 1024;

/// The writer of a log in a directory.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) directory: PathBuf,
    pub(super) packer: Packer,
    pub(super) terms: TermIds,
    pub(super) standing: Standing,
    pub(super) ballast: Ballast,
    pub(super) measured: Measured,
    /// The snapshot in the making.
    pub(super) making: Option<Making>,
    pub(super) _lock: Lock,
}

/// How large the log was when it was last measured, and what was appended since.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measured {
    bytes: u64,
    appends: u32,
    appended: u64,
}

/// What the writer knows by heart. Restored when a transaction fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// The newest sequence.
    pub(super) head: u64,
    /// The highest timestamp there ever was; [`i64::MIN`] for none.
    pub(super) ts_max: i64,
    /// As in the file.
    pub(super) bounds: Bounds,
    /// What is not in the postings yet.
    pub(super) unsealed: Unsealed,
    /// Where the newest snapshot stands.
    pub(super) snapshot: u64,
    /// Bytes of events: the bodies of all blocks.
    pub(super) event_bytes: u64,
    /// The answers remembered.
    pub(super) answers: Answers,
}

/// The remembered answers in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Answers {
    /// How many.
    pub(super) count: u64,
    /// Bytes of their bodies.
    pub(super) bytes: u64,
}

impl Answers {
    /// Takes one in.
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    /// Lets one go.
    pub(super) fn remove(&mut self, bytes: u64) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// How much of the log has no postings yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unsealed {
    pub(super) blocks: usize,
    pub(super) bytes: usize,
}

impl Writer {
    /// Runs `work` in a transaction, makes it durable, and measures the log.
    pub(super) fn commit<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, AppendError> {
        let done = self.transact(work)?;
        self.settle().map(|()| done)
    }

    /// Runs `work` in a transaction and makes it durable.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, AppendError> {
        let before = (self.standing, self.measured);
        let result = self.run("BEGIN IMMEDIATE").and_then(|()| work(self));
        let (result, committing) = match result {
            Ok(done) => (self.run("COMMIT").map(|()| done), true),
            Err(e) => (Err(e), false),
        };
        match result {
            Ok(done) => Ok(done),
            Err(error) => {
                (self.standing, self.measured) = before;
                self.terms.forget();
                Err(self.refusal(&error, committing))
            }
        }
    }

    /// What follows a commit: the journal is kept short, the log is measured, and readers hear of it.
    pub(super) fn settle(&mut self) -> Result<(), AppendError> {
        let journal = self.checkpoint_if_due();
        self.measure(*journal.as_ref().unwrap_or(&0));
        journal.map(drop)
    }

    /// Finds out how large the log is, and tells readers where it stands.
    pub(super) fn measure(&mut self, journal_pages: u64) {
        self.measured = Measured {
            bytes: self.live_bytes().unwrap_or(0) + journal_pages * schema::PAGE,
            ..Measured::default()
        };
        self.publish();
    }

    /// What follows an append: the same, but only now and then.
    fn settle_append(&mut self) -> Result<(), AppendError> {
        self.measured.appends += 1;
        if self.measured.appends >= MEASURE_APPENDS || self.measured.appended >= MEASURE_BYTES {
            return self.settle();
        }
        self.publish();
        Ok(())
    }

    fn run(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(statement)?
            .execute([])
            .map(drop)
    }

    /// Takes back what is left of a failed transaction, and says what its error means.
    pub(super) fn refusal(&mut self, error: &rusqlite::Error, committing: bool) -> AppendError {
        if is_failed_sync(error) {
            return AppendError::Unknown(error.to_string());
        }
        if !self.connection.is_autocommit()
            && let Err(e) = self.connection.execute_batch("ROLLBACK")
        {
            return AppendError::Unknown(format!("{error}; then, undoing it: {e}"));
        }
        if committing && !matches!(newest(&self.connection), Ok(head) if head <= self.standing.head)
        {
            return AppendError::Unknown(error.to_string());
        }
        if self.is_full(error) {
            self.ballast.release();
            // Now there is room to write the journal back, and to begin it anew.
            let _ = self.journal_pages("PRAGMA wal_checkpoint(PASSIVE)");
            return AppendError::Full(error.to_string());
        }
        AppendError::Unwritable(told(error))
    }

    fn is_full(&self, error: &rusqlite::Error) -> bool {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => true,
            Some(ErrorCode::SystemIoFailure) => room::is_exhausted(&self.directory),
            _ => false,
        }
    }

    /// Writes the journal back once it is long, and says how many pages are in it. A failure leaves it as it
    /// is, and commits stay durable in it; only a failed sync may have lost pages that the next one wouldn't miss.
    fn checkpoint_if_due(&self) -> Result<u64, AppendError> {
        let pages = match self.journal_pages("PRAGMA wal_checkpoint(NOOP)") {
            Ok(pages) if pages >= CHECKPOINT_PAGES => {
                self.journal_pages("PRAGMA wal_checkpoint(PASSIVE)")
            }
            pages => pages,
        };
        match pages {
            Ok(pages) => Ok(pages),
            Err(e) if is_failed_sync(&e) => Err(AppendError::Unknown(e.to_string())),
            Err(e) => {
                tracing::warn!("the log's journal can't be written back: {e}");
                Ok(0)
            }
        }
    }

    /// Runs a checkpoint; says how many pages the journal has.
    pub(super) fn journal_pages(&self, pragma: &str) -> rusqlite::Result<u64> {
        self.connection
            .prepare_cached(pragma)?
            .query_row([], |row| sequence(row, 1))
    }

    /// Tells readers where the log stands.
    fn publish(&self) {
        let bytes = self.measured.bytes + self.measured.appended;
        let mut info = self.shared.info.write();
        (info.floor, info.head, info.bytes) =
            (self.standing.bounds.floor, self.standing.head, bytes);
    }

    /// Bytes of pages in use.
    pub(super) fn live_bytes(&self) -> rusqlite::Result<u64> {
        let count = |pragma: &str| -> rusqlite::Result<u64> {
            self.connection
                .prepare_cached(pragma)?
                .query_row([], |row| sequence(row, 0))
        };
        let pages = count("PRAGMA page_count")?.saturating_sub(count("PRAGMA freelist_count")?);
        Ok(pages * schema::PAGE)
    }

    /// Refuses events while what room there is, on the disk and in the file, has to be left for pruning.
    fn check_room(&self) -> Result<(), AppendError> {
        let short = self.ballast.shortage();
        if short > 0 && self.free_pages().unwrap_or(0) * schema::PAGE < short {
            return Err(AppendError::Full(
                "what is left is kept for pruning".to_owned(),
            ));
        }
        Ok(())
    }

    /// Pages of the file that hold nothing.
    pub(super) fn free_pages(&self) -> rusqlite::Result<u64> {
        self.connection
            .prepare_cached("PRAGMA freelist_count")?
            .query_row([], |row| sequence(row, 0))
    }

    fn insert(&mut self, records: &[Record<'_>], answers: &[Remembered]) -> rusqlite::Result<()> {
        for record in records {
            if !self.packer.has_room_for(block::encoded_len(record)) {
                self.insert_block()?;
            }
            if self.packer.is_empty() {
                self.packer.begin(record.sequence, self.standing.ts_max);
            }
            self.packer.push(record);
        }
        if !self.packer.is_empty() {
            self.insert_block()?;
        }
        for answer in answers {
            // One that is too old to be given again may still be there.
            let replaced = self
                .connection
                .prepare_cached("DELETE FROM idempotency WHERE key = ?1 RETURNING coalesce(octet_length(body), 0)")?
                .query_row([&answer.key[..]], |row| sequence(row, 0))
                .optional()?;
            if let Some(bytes) = replaced {
                self.standing.answers.remove(bytes);
            }
            let bytes = answer.body.as_ref().map_or(0, |body| body.as_str().len());
            self.standing.answers.add(bytes as u64);
            self.connection
                .prepare_cached("INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute((
                    &answer.key[..],
                    &answer.request[..],
                    answer.timestamp,
                    sql(answer.sequence),
                    answer.status,
                    answer.body.as_ref().map(Json::as_str),
                ))?;
        }
        if self.is_seal_due() {
            self.seal()
        } else {
            Ok(())
        }
    }

    /// Stores the block that was packed.
    pub(super) fn insert_block(&mut self) -> rusqlite::Result<()> {
        let (span, body) = self.packer.finish();
        self.connection
            .prepare_cached("INSERT INTO blocks VALUES (?1, ?2, ?3, ?4)")?
            .execute((sql(span.first), sql(span.last), span.ts_max, body))?;
        self.standing.head = span.last;
        self.standing.ts_max = span.ts_max;
        self.standing.unsealed.blocks += 1;
        self.standing.unsealed.bytes += body.len();
        self.standing.event_bytes += body.len() as u64;
        self.measured.appended += body.len() as u64;
        self.packer.begin(span.last + 1, span.ts_max);
        Ok(())
    }
}

impl Drop for Writer {
    /// Leaves the file whole without its journal, where no reader is in the way. Not needed for safety.
    fn drop(&mut self) {
        let _ = self.connection.busy_timeout(LAST_WAIT);
        let _ = self.journal_pages("PRAGMA wal_checkpoint(TRUNCATE)");
    }
}

impl LogWriter for Writer {
    fn append_noting(
        &mut self,
        records: &[Record<'_>],
        answers: &[Remembered],
        notes: &[SavedNote],
    ) -> Result<(), AppendError> {
        let next = self.standing.head + 1;
        if let Some(stray) = (next..)
            .zip(records)
            .find(|(n, record)| record.sequence != *n)
        {
            let cause = format!(
                "event {} doesn't follow the log's head {}",
                stray.1.sequence,
                stray.0 - 1
            );
            return Err(AppendError::Unwritable(cause));
        }
        if records.is_empty() && answers.is_empty() && notes.is_empty() {
            return Ok(());
        }
        self.check_room()?;
        self.packer.begin(next, self.standing.ts_max);
        self.transact(|writer| {
            notes::keep(&writer.connection, notes)?;
            writer.insert(records, answers)
        })?;
        self.settle_append()
    }

    fn recall(&mut self, key: &KeyHash, now: i64) -> Result<Option<Remembered>, ReadError> {
        let sql =
            "SELECT request, ts, seq, status, body FROM idempotency WHERE key = ?1 AND ts > ?2";
        let oldest = now.saturating_sub(REMEMBERED_MS);
        let recall = || -> rusqlite::Result<Option<Remembered>> {
            self.connection
                .prepare_cached(sql)?
                .query_row((&key[..], oldest), |row| {
                    Ok(Remembered {
                        key: *key,
                        request: row.get(0)?,
                        timestamp: row.get(1)?,
                        sequence: sequence(row, 2)?,
                        status: row.get(3)?,
                        body: row
                            .get_ref(4)?
                            .as_str_or_null()?
                            .and_then(|text| Json::stored(text).ok()),
                    })
                })
                .optional()
        };
        recall().map_err(|e| ReadError(told(&e)))
    }

    fn prune(&mut self, retention: &Retention, now: i64) -> Result<Pruned, AppendError> {
        self.prune_slice(retention, now)
    }

    fn begin_snapshot(&mut self, sequence: u64) -> Result<(), AppendError> {
        self.begin_state(sequence)
    }

    fn add_to_snapshot(&mut self, part: &[u8]) -> Result<(), AppendError> {
        self.add_to_state(part)
    }

    fn finish_snapshot(&mut self, last: &[u8]) -> Result<(), AppendError> {
        self.finish_state(last)
    }

    fn save_leases(&mut self, leases: &[SavedLease]) -> Result<(), AppendError> {
        let body = leases::encode(leases);
        let crc = crc32fast::hash(&body);
        self.commit(|writer| {
            writer
                .connection
                .prepare_cached("INSERT OR REPLACE INTO leases VALUES (1, ?1, ?2)")?
                .execute((crc, body))
                .map(drop)
        })
    }

    fn probe(&mut self) -> Result<(), AppendError> {
        self.ballast.restore();
        self.check_room()?;
        self.commit(|writer| {
            let connection = &writer.connection;
            connection
                .prepare_cached("INSERT INTO scratch VALUES (zeroblob(?1))")?
                .execute([PROBE_BYTES])?;
            connection
                .prepare_cached("DELETE FROM scratch")?
                .execute([])
                .map(drop)
        })
    }
}

/// The newest sequence in the file, as its columns have it.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT last FROM blocks ORDER BY first DESC LIMIT 1")?
        .query_row([], |row| sequence(row, 0))
        .optional()
        .map(|newest| newest.unwrap_or(0))
}

fn is_failed_sync(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_extended_error_code(),
        Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
    )
}
