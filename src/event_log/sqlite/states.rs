//! Snapshots of the state, in parts: each is a small transaction of its own, so that a state of any size is kept
//! between commits without holding one up. A snapshot counts from the moment that its row in `states` is there,
//! which is written with the last part; what a crash or an error left unfinished has none, and is pruned.
//!
//! Versions before wrote a snapshot as one value in `snapshots`. Those are still read, and dropped once two newer
//! ones are whole.

use std::io::{self, Read};

use rusqlite::{Connection, OptionalExtension};

use super::{
    schema::{sequence, sql},
    told::told,
    writer::Writer,
};
use crate::event_log::{AppendError, TakeSnapshot};

/// Snapshots kept: the newest, and one to fall back on where that is damaged.
const KEPT: i64 = 2;

/// Parts that one transaction drops at most: about as much as one that keeps a part writes.
const DROPPED: i64 = 4;

/// Bits of a part's key that number it within its snapshot.
const PART_BITS: u32 = 32;

/// A snapshot in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Making {
    /// Its own number, never given twice.
    id: i64,
    /// The last event in it.
    sequence: u64,
    /// Parts that are there.
    parts: i64,
}

impl Making {
    fn key(self) -> i64 {
        (self.id << PART_BITS) | self.parts
    }
}

impl Writer {
    pub(super) fn begin_state(&mut self, sequence: u64) -> Result<(), AppendError> {
        let id = next_id(&self.connection).map_err(|e| AppendError::Unwritable(told(&e)))?;
        self.making = Some(Making {
            id,
            sequence,
            parts: 0,
        });
        Ok(())
    }

    pub(super) fn add_to_state(&mut self, part: &[u8]) -> Result<(), AppendError> {
        let mut making = self.making()?;
        self.commit(|writer| insert_part(&writer.connection, making, part))?;
        making.parts += 1;
        self.making = Some(making);
        Ok(())
    }

    pub(super) fn finish_state(&mut self, last: &[u8]) -> Result<(), AppendError> {
        let mut making = self.making()?;
        self.commit(|writer| {
            let connection = &writer.connection;
            if !last.is_empty() {
                insert_part(connection, making, last)?;
                making.parts += 1;
            }
            connection
                .prepare_cached("INSERT INTO states VALUES (?1, ?2, ?3)")?
                .execute((making.id, sql(making.sequence), making.parts))?;
            forget_old(connection)?;
            drop_parts(connection, None)?;
            let newest = &mut writer.standing.snapshot;
            *newest = making.sequence.max(*newest);
            Ok(())
        })?;
        self.making = None;
        Ok(())
    }

    /// Drops parts of snapshots that are not kept, a few; says whether there may be more.
    pub(super) fn drop_old_parts(&mut self) -> Result<bool, AppendError> {
        let making = self.making.map(|making| making.id);
        let gone = has_old_parts(&self.connection, making)
            .map_err(|e| AppendError::Unwritable(told(&e)))?;
        if !gone {
            return Ok(false);
        }
        self.commit(|writer| drop_parts(&writer.connection, making))
    }

    fn making(&self) -> Result<Making, AppendError> {
        self.making
            .ok_or_else(|| AppendError::Unwritable("no snapshot was begun".to_owned()))
    }
}

fn insert_part(connection: &Connection, making: Making, part: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO state_parts VALUES (?1, ?2, ?3)")?
        .execute((making.key(), crc32fast::hash(part), part))
        .map(drop)
}

fn next_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "SELECT 1 + max(coalesce((SELECT max(id) FROM states), 0),
                            coalesce((SELECT max(key) >> ?1 FROM state_parts), 0))",
        )?
        .query_row([PART_BITS], |row| row.get(0))
}

/// Forgets all snapshots but those that are kept. Their parts go bit by bit.
fn forget_old(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM states WHERE id NOT IN (SELECT id FROM states ORDER BY seq DESC, id DESC LIMIT ?1)",
        )?
        .execute([KEPT])?;
    connection
        .prepare_cached("DELETE FROM snapshots WHERE (SELECT count(*) FROM states) >= ?1")?
        .execute([KEPT])
        .map(drop)
}

/// The numbers of snapshots whose parts stay, in order.
fn kept(connection: &Connection, making: Option<i64>) -> rusqlite::Result<Vec<i64>> {
    let mut ids: Vec<i64> = connection
        .prepare_cached("SELECT id FROM states ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    ids.extend(making);
    Ok(ids)
}

/// The stretches of keys between those of the snapshots that stay: from the first key to before the last one.
fn between(kept: &[i64]) -> impl Iterator<Item = (i64, i64)> {
    let starts = std::iter::once(0).chain(kept.iter().map(|id| (id + 1) << PART_BITS));
    let ends = kept
        .iter()
        .map(|id| id << PART_BITS)
        .chain(std::iter::once(i64::MAX));
    starts.zip(ends)
}

fn has_old_parts(connection: &Connection, making: Option<i64>) -> rusqlite::Result<bool> {
    for (from, to) in between(&kept(connection, making)?) {
        let found = connection
            .prepare_cached("SELECT 1 FROM state_parts WHERE key >= ?1 AND key < ?2 LIMIT 1")?
            .exists([from, to])?;
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn drop_parts(connection: &Connection, making: Option<i64>) -> rusqlite::Result<bool> {
    let mut left = DROPPED;
    for (from, to) in between(&kept(connection, making)?) {
        let dropped = connection
            .prepare_cached(
                "DELETE FROM state_parts WHERE key IN
                 (SELECT key FROM state_parts WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3)",
            )?
            .execute([from, to, left])?;
        left -= dropped as i64;
    }
    Ok(left == 0)
}

/// Where the newest whole snapshot stands; 0 for none.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<u64> {
    let blob = connection.query_row("SELECT coalesce(max(seq), 0) FROM snapshots", [], |row| {
        sequence(row, 0)
    })?;
    if !super::schema::has_states(connection)? {
        return Ok(blob);
    }
    connection
        .query_row("SELECT coalesce(max(seq), 0) FROM states", [], |row| {
            sequence(row, 0)
        })
        .map(|newest| newest.max(blob))
}

/// A snapshot as its row has it.
struct Kept {
    sequence: u64,
    /// Its number, and how many parts it has; `None` where it is one value.
    parts: Option<(i64, i64)>,
}

fn all_kept(connection: &Connection) -> rusqlite::Result<Vec<Kept>> {
    let sql = if super::schema::has_states(connection)? {
        "SELECT seq, id, parts FROM states UNION ALL SELECT seq, NULL, NULL FROM snapshots
         ORDER BY seq DESC, id DESC"
    } else {
        "SELECT seq, NULL, NULL FROM snapshots ORDER BY seq DESC"
    };
    connection
        .prepare_cached(sql)?
        .query_map([], |row| {
            let id: Option<i64> = row.get(1)?;
            Ok(Kept {
                sequence: sequence(row, 0)?,
                parts: id.zip(row.get(2)?),
            })
        })?
        .collect()
}

/// Hands the snapshots to `take`, newest first, until it takes one that is whole.
pub(super) fn load(
    connection: &Connection,
    take: TakeSnapshot<'_>,
) -> rusqlite::Result<Option<u64>> {
    for kept in all_kept(connection)? {
        let at = kept.sequence;
        let (taken, whole) = match kept.parts {
            Some((id, parts)) => {
                let mut reader = Parts::new(connection, id, parts);
                let taken = take(at, &mut reader);
                (taken, !reader.damaged)
            }
            None => match load_value(connection, at)? {
                Some(state) => (take(at, &mut &state[..]), true),
                None => (false, false),
            },
        };
        if taken && whole {
            return Ok(Some(at));
        }
        if !whole {
            tracing::warn!(
                sequence = at,
                "the snapshot at {at} is damaged: trying the one before"
            );
        }
    }
    Ok(None)
}

/// What is wrong with the snapshots, in words.
pub(super) fn check(connection: &Connection, head: u64) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    for kept in all_kept(connection)? {
        let at = kept.sequence;
        let whole = match kept.parts {
            Some((id, parts)) => {
                let mut reader = Parts::new(connection, id, parts);
                io::copy(&mut reader, &mut io::sink()).is_ok()
            }
            None => load_value(connection, at)?.is_some(),
        };
        if !whole {
            problems.push(format!("the snapshot at {at} is damaged"));
        }
        if at > head {
            problems.push(format!(
                "the snapshot at {at} is newer than the newest event"
            ));
        }
    }
    Ok(problems)
}

/// A snapshot that is one value; `None` where it is damaged.
fn load_value(connection: &Connection, at: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT crc, state FROM snapshots WHERE seq = ?1")?
        .query_row([sql(at)], |row| {
            let state = row.get_ref(1)?.as_blob()?;
            let sound = i64::from(crc32fast::hash(state)) == row.get::<_, i64>(0)?;
            Ok(sound.then(|| state.to_vec()))
        })
        .optional()
        .map(Option::flatten)
}

/// The bytes of a snapshot, one part in memory at a time. An error where one is missing or damaged.
struct Parts<'a> {
    connection: &'a Connection,
    next: i64,
    end: i64,
    part: Vec<u8>,
    at: usize,
    damaged: bool,
}

impl<'a> Parts<'a> {
    fn new(connection: &'a Connection, id: i64, parts: i64) -> Self {
        let next = id << PART_BITS;
        Self {
            connection,
            next,
            end: next + parts,
            part: Vec::new(),
            at: 0,
            damaged: false,
        }
    }

    /// Reads the next part; `None` where it is missing or damaged.
    fn load_next(&mut self) -> rusqlite::Result<Option<()>> {
        let part = &mut self.part;
        self.connection
            .prepare_cached("SELECT crc, body FROM state_parts WHERE key = ?1")?
            .query_row([self.next], |row| {
                let body = row.get_ref(1)?.as_blob()?;
                part.clear();
                part.extend_from_slice(body);
                Ok(i64::from(crc32fast::hash(body)) == row.get::<_, i64>(0)?)
            })
            .optional()
            .map(|sound| sound.filter(|sound| *sound).map(drop))
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.part.len() {
            if self.next == self.end {
                return Ok(0);
            }
            match self.load_next() {
                Ok(Some(())) => (self.next, self.at) = (self.next + 1, 0),
                found => {
                    self.damaged = true;
                    self.part.clear();
                    self.at = 0;
                    let cause = match found {
                        Err(e) => e.to_string(),
                        Ok(_) => "a part is missing or damaged".to_owned(),
                    };
                    return Err(io::Error::other(cause));
                }
            }
        }
        let read = (&self.part[self.at..]).read(into)?;
        self.at += read;
        Ok(read)
    }
}
