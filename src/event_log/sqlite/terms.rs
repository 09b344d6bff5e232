//! Interned names: what postings point from.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use crate::domain::Record;

/// What a term names. The numbers are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Blocks that were damaged when they were indexed: every reader has to see them.
    Damaged = 0,
    Type = 1,
    Server = 2,
    Workflow = 3,
    Tag = 4,
}

/// Names remembered by the writer. Beyond this many it forgets them all and asks the file again.
const REMEMBERED: usize = 65_536;

/// The ids of names, as of the writer's transaction.
#[derive(Debug, Default)]
pub(super) struct TermIds {
    ids: [HashMap<Box<str>, i64>; 5],
}

impl TermIds {
    /// The id of a name, made where there is none.
    pub(super) fn intern(
        &mut self,
        connection: &Connection,
        kind: Kind,
        name: &str,
    ) -> rusqlite::Result<i64> {
        if let Some(id) = self.ids[kind as usize].get(name) {
            return Ok(*id);
        }
        let id = match find(connection, kind, name)? {
            Some(id) => id,
            None => connection
                .prepare_cached("INSERT INTO terms(kind, name) VALUES (?1, ?2)")?
                .insert((kind as i64, name))?,
        };
        if self.ids.iter().map(HashMap::len).sum::<usize>() >= REMEMBERED {
            self.forget();
        }
        self.ids[kind as usize].insert(name.into(), id);
        Ok(id)
    }

    /// Adds the ids of all that a record can be found by.
    pub(super) fn intern_record(
        &mut self,
        connection: &Connection,
        record: &Record<'_>,
        ids: &mut Vec<i64>,
    ) -> rusqlite::Result<()> {
        for (kind, name) in names(record) {
            ids.push(self.intern(connection, kind, name)?);
        }
        Ok(())
    }

    /// Forgets all: after a rollback, or where terms were dropped.
    pub(super) fn forget(&mut self) {
        self.ids.iter_mut().for_each(HashMap::clear);
    }
}

/// What a record can be found by.
pub(super) fn names<'a>(record: &Record<'a>) -> impl Iterator<Item = (Kind, &'a str)> {
    let tags = record.tags().map(|tag| (Kind::Tag, tag));
    std::iter::once((Kind::Type, record.kind))
        .chain(record.server.map(|server| (Kind::Server, server)))
        .chain(record.workflow.map(|workflow| (Kind::Workflow, workflow)))
        .chain(tags)
}

/// The id of a name, if it has one.
pub(super) fn find(
    connection: &Connection,
    kind: Kind,
    name: &str,
) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM terms WHERE kind = ?1 AND name = ?2")?
        .query_row((kind as i64, name), |row| row.get(0))
        .optional()
}

/// The ids of names that begin with a prefix, `limit` of them at most.
pub(super) fn find_prefix(
    connection: &Connection,
    kind: Kind,
    prefix: &str,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let end = format!("{prefix}{}", char::MAX);
    connection
        .prepare_cached(
            "SELECT id FROM terms WHERE kind = ?1 AND name >= ?2 AND name < ?3 LIMIT ?4",
        )?
        .query_map((kind as i64, prefix, end, limit as i64), |row| row.get(0))?
        .collect()
}
