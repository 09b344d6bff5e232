//! The file: its settings, its tables, and how connections to it are made.
//!
//! Commits are checkpointed by the writer itself and not by SQLite's automatic checkpoint, because that one
//! swallows a failed sync; otherwise the settings are SQLite's for a durable log in WAL mode.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::{notes, told::told};

/// The database within the data directory.
pub(super) const FILE: &str = "hub.db";

/// The schema that this version writes. 2 keeps snapshots in parts.
pub(super) const VERSION: i64 = 2;

/// Below 3.51.3 two connections that write and checkpoint at once can lose committed pages.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;

/// What the writer keeps of the file. It appends at the end and reads little: commits of 64 events with an answer to be
/// remembered each, 200,000 answers kept, took as long with 8 MiB as with 64.
const WRITER_CACHE_KIB: i64 = 16 << 10;

/// Prepared statements kept per connection: all that there are.
const STATEMENTS: usize = 64;

const TABLES: &str = "
    CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    -- Where each epoch began: the head at that time.
    CREATE TABLE epochs(epoch TEXT NOT NULL, start INTEGER NOT NULL) STRICT;
    -- One row: the oldest kept sequence; the highest timestamp that was pruned; the last sequence in postings.
    CREATE TABLE bounds(id INTEGER PRIMARY KEY CHECK (id = 1), floor INTEGER NOT NULL,
        pruned_ts INTEGER NOT NULL, indexed INTEGER NOT NULL) STRICT;
    CREATE TABLE blocks(first INTEGER PRIMARY KEY, last INTEGER NOT NULL, ts_max INTEGER NOT NULL,
        body BLOB NOT NULL) STRICT;
    -- Types (1), servers (2), workflows (3) and tags (4); 0 marks blocks that were damaged when indexed.
    CREATE TABLE terms(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL,
        UNIQUE(kind, name)) STRICT;
    CREATE TABLE postings(term INTEGER NOT NULL, block INTEGER NOT NULL,
        PRIMARY KEY(term, block)) STRICT, WITHOUT ROWID;
    CREATE TABLE idempotency(key BLOB PRIMARY KEY, request BLOB NOT NULL, ts INTEGER NOT NULL,
        seq INTEGER NOT NULL, status INTEGER NOT NULL, body TEXT) STRICT, WITHOUT ROWID;
    CREATE INDEX idempotency_ts ON idempotency(ts);
    -- Snapshots of version 1, each one value.
    CREATE TABLE snapshots(seq INTEGER PRIMARY KEY, crc INTEGER NOT NULL, state BLOB NOT NULL) STRICT;
    -- What probes of a full disk write.
    CREATE TABLE scratch(body BLOB NOT NULL) STRICT;
    CREATE TABLE leases(id INTEGER PRIMARY KEY CHECK (id = 1), crc INTEGER NOT NULL,
        body BLOB NOT NULL) STRICT;
    INSERT INTO bounds VALUES (1, 1, -9223372036854775808, 0);
";

/// What version 2 added. A snapshot counts once it has its row in `states`; `key` is its number there in the upper half,
/// and that of the part in the lower.
const STATE_TABLES: &str = "
    CREATE TABLE states(id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, parts INTEGER NOT NULL) STRICT;
    CREATE TABLE state_parts(key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
";

/// Why a file isn't a log that this version can use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("SQLite {found} is linked, which can lose commits; 3.51.3 is the oldest that doesn't")]
    OldSqlite { found: &'static str },
    #[error("{FILE} is a database, but not an event log")]
    Foreign,
    #[error("{FILE} has schema {0}")]
    TooNew(i64),
    #[error("the file system can't keep a write-ahead log (journal mode stays {0})")]
    NoWal(String),
    #[error("{FILE} can't be read: {}", told(.0))]
    Sqlite(#[from] rusqlite::Error),
}

/// Opens the connection that writes; makes the tables where there are none.
///
/// # Errors
/// [`Unusable`].
pub(super) fn open_writer(path: &Path) -> Result<Connection, Unusable> {
    check_linked()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;")?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Unusable::NoWal(mode));
    }
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;
         PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON;",
    )?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    if !has_tables(&connection)? {
        let found: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if found > 0 {
            return Err(Unusable::Foreign);
        }
        let make = connection.unchecked_transaction()?;
        make.execute_batch(TABLES)?;
        make.execute_batch(STATE_TABLES)?;
        make.execute("INSERT INTO meta VALUES ('schema', ?1)", [VERSION])?;
        make.commit()?;
    }
    check_version(&connection)?;
    if !has_states(&connection)? {
        let raise = connection.unchecked_transaction()?;
        raise.execute_batch(STATE_TABLES)?;
        raise.execute("UPDATE meta SET value = ?1 WHERE key = 'schema'", [VERSION])?;
        raise.commit()?;
    }
    connection.execute_batch(notes::TABLE)?;
    Ok(connection)
}

/// Opens a connection that only reads.
///
/// # Errors
/// [`Unusable`].
pub(super) fn open_reader(path: &Path) -> Result<Connection, Unusable> {
    open_to_read(path, "")
}

/// The same for a file that may be damaged: SQLite refuses one that is shorter than its header says, unless the
/// schema may be written, which it isn't.
///
/// # Errors
/// [`Unusable`].
pub(super) fn open_damaged(path: &Path) -> Result<Connection, Unusable> {
    open_to_read(path, "PRAGMA writable_schema = ON;")
}

fn open_to_read(path: &Path, first: &str) -> Result<Connection, Unusable> {
    check_linked()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(first)?;
    connection.execute_batch(
        "PRAGMA query_only = ON; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY;",
    )?;
    if !has_tables(&connection)? {
        return Err(Unusable::Foreign);
    }
    check_version(&connection)?;
    Ok(connection)
}

fn check_linked() -> Result<(), Unusable> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(Unusable::OldSqlite {
            found: rusqlite::version(),
        });
    }
    Ok(())
}

fn has_tables(connection: &Connection) -> Result<bool, Unusable> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name IN ('meta', 'bounds', 'blocks')";
    Ok(connection.query_row(sql, [], |row| row.get::<_, i64>(0))? == 3)
}

/// Whether snapshots are kept in parts: a file of version 1 that is only read has no tables for that.
pub(super) fn has_states(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = 'states'")?
        .exists([])
}

fn check_version(connection: &Connection) -> Result<(), Unusable> {
    let sql = "SELECT value FROM meta WHERE key = 'schema'";
    match connection.query_row(sql, [], |row| row.get(0))? {
        found if found > VERSION => Err(Unusable::TooNew(found)),
        _ => Ok(()),
    }
}

/// The row of `bounds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The oldest kept sequence.
    pub(super) floor: u64,
    /// The highest timestamp that was pruned; [`i64::MIN`] for none.
    pub(super) pruned_ts: i64,
    /// The last sequence whose block is in `postings`.
    pub(super) indexed: u64,
}

impl Bounds {
    /// Reads them as of the connection's transaction.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        connection
            .prepare_cached("SELECT floor, pruned_ts, indexed FROM bounds WHERE id = 1")?
            .query_row([], |row| {
                Ok(Self {
                    floor: sequence(row, 0)?,
                    pruned_ts: row.get(1)?,
                    indexed: sequence(row, 2)?,
                })
            })
    }

    /// Writes them within the connection's transaction.
    pub(super) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "UPDATE bounds SET floor = ?1, pruned_ts = ?2, indexed = ?3 WHERE id = 1",
            )?
            .execute((sql(self.floor), self.pruned_ts, sql(self.indexed)))
            .map(drop)
    }
}

/// A sequence as SQLite's integer. Sequences stay far below `i64::MAX`; a larger bound means the same.
pub(super) fn sql(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// A sequence from a column. A negative one is damage, and 0 is no event's.
pub(super) fn sequence(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column)
        .map(|value| u64::try_from(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_linked_sqlite_keeps_what_it_commits() {
        assert!(
            rusqlite::version_number() >= super::OLDEST_SQLITE,
            "{}",
            rusqlite::version()
        );
    }
}
