//! Single blocks, as found: sound, broken, or not there.

use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::{
    block::{Block, FULL, Span},
    schema::{sequence, sql},
};

/// A row of `blocks`.
pub(super) enum Stored<'a> {
    /// Its directory is sound; its records vouch for themselves.
    Sound(Block<'a>),
    /// Nothing in it can be told apart; it begins here.
    Broken {
        /// Its first sequence.
        first: u64,
        /// Its last, as far as its columns can be believed.
        last: u64,
    },
}

/// Hands the block that begins at or before `key`, the nearest one, to `look`; `None` where there is none.
pub(super) fn at_or_before<T>(
    connection: &Connection,
    key: u64,
    look: impl FnOnce(Option<Stored<'_>>) -> T,
) -> rusqlite::Result<T> {
    let mut statement = connection.prepare_cached(
        "SELECT first, last, ts_max, body FROM blocks WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
    )?;
    let mut rows = statement.query([sql(key)])?;
    let row = match rows.next() {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(look(None)),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            drop(rows);
            drop(statement);
            let first = first_at_or_before(connection, key)?;
            return Ok(look(
                first.map(|first| Stored::Broken { first, last: first }),
            ));
        }
        Err(e) => return Err(e),
    };
    let first = sequence(row, 0)?;
    let parts = row
        .get(1)
        .and_then(|last: i64| Ok((last, row.get(2)?, row.get_ref(3)?.as_blob()?)));
    let Ok((last, ts_max, body)) = parts else {
        return Ok(look(Some(Stored::Broken { first, last: first })));
    };
    let last = u64::try_from(last).unwrap_or(0);
    Ok(look(Some(
        match Block::parse(
            Span {
                first,
                last,
                ts_max,
            },
            body,
        ) {
            Some(block) => Stored::Sound(block),
            // A block never holds more records than bytes; an end beyond that is damaged itself.
            None if (first..first + FULL as u64).contains(&last) => Stored::Broken { first, last },
            None => Stored::Broken { first, last: first },
        },
    )))
}

/// Where the nearest block at or before `key` begins.
pub(super) fn first_at_or_before(
    connection: &Connection,
    key: u64,
) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT first FROM blocks WHERE first <= ?1 ORDER BY first DESC LIMIT 1")?
        .query_row([sql(key)], |row| sequence(row, 0))
        .optional()
}

/// Where the next block after `key` begins.
pub(super) fn first_after(connection: &Connection, key: u64) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT first FROM blocks WHERE first > ?1 ORDER BY first LIMIT 1")?
        .query_row([sql(key)], |row| sequence(row, 0))
        .optional()
}
