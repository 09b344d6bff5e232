//! Looking at everything: each record, each block, each posting, and SQLite's own structure.

use std::{collections::BTreeSet, ops::ControlFlow, path::Path};

use rusqlite::Connection;

use super::{
    fetch::{self, Stored},
    read, recover, schema, states,
    terms::{self, Kind},
    told::told,
    writer::Standing,
};
use crate::{
    event_log::{Item, OpenError, Order, ReadRange, tools::Report},
    filter::Filter,
};

/// Problems of SQLite's own that are listed.
const LISTED: usize = 20;

/// Reads the whole log in a data directory, without changing it.
///
/// It may run beside a hub, as of the moment that it began, but the hub's journal grows meanwhile.
///
/// # Errors
/// [`OpenError`] where there is no log, or nothing of it can be read. Damage is no error, but in the report.
pub fn verify(directory: &Path) -> Result<Report, OpenError> {
    let failed = |cause: String| OpenError::Failed {
        directory: directory.to_owned(),
        cause,
    };
    let connection = schema::open_damaged(&directory.join(schema::FILE))
        .map_err(|e| super::refused(directory, e))?;
    inspect(&connection).map_err(|e| failed(told(&e)))
}

fn inspect(connection: &Connection) -> rusqlite::Result<Report> {
    let _view = connection.unchecked_transaction()?;
    let mut report = Report::default();
    check_structure(connection, &mut report)?;
    let standing = recover::standing(connection)?;
    check_events(connection, &standing, &mut report)?;
    check_postings(connection, &standing, &mut report)?;
    report
        .problems
        .extend(states::check(connection, standing.head)?);
    Ok(report)
}

fn check_structure(connection: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({LISTED})"))?;
    let mut rows = statement.query([])?;
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let text: String = row.get(0)?;
                if text != "ok" {
                    report.problems.push(format!("SQLite: {text}"));
                }
            }
            Ok(None) => return Ok(()),
            Err(e) => {
                report.problems.push(format!("SQLite: {e}"));
                return Ok(());
            }
        }
    }
}

fn check_events(
    connection: &Connection,
    standing: &Standing,
    report: &mut Report,
) -> rusqlite::Result<()> {
    let range = ReadRange {
        after: standing.bounds.floor - 1,
        until: standing.head,
        order: Order::Ascending,
        scan_limit: usize::MAX,
    };
    read::page(
        connection,
        &range,
        &Filter::all(),
        standing.head,
        &mut |item| {
            match item {
                Item::Event(_) => report.events += 1,
                Item::Corrupt { first, last } => report.add_damage(first, last),
            }
            ControlFlow::Continue(())
        },
    )
    .map(drop)
}

/// Holds the postings of every sealed block against what its records say.
fn check_postings(
    connection: &Connection,
    standing: &Standing,
    report: &mut Report,
) -> rusqlite::Result<()> {
    let (mut expected, mut missing) = (0_u64, Vec::new());
    let mut key = standing.bounds.floor - 1;
    while let Some(first) = fetch::first_after(connection, key)? {
        key = first;
        report.blocks += 1;
        if first > standing.bounds.indexed {
            continue;
        }
        let names = fetch::at_or_before(connection, first, |stored| match stored {
            Some(Stored::Sound(block)) => block
                .iter()
                .flat_map(|record| {
                    terms::names(&record)
                        .map(|(kind, name)| (kind as i64, name.to_owned()))
                        .collect::<Vec<_>>()
                })
                .collect(),
            _ => BTreeSet::new(),
        })?;
        for (kind, name) in names {
            expected += 1;
            if !has_posting(connection, kind, &name, first)? {
                missing.push(first);
                expected -= 1;
            }
        }
    }
    let stored: u64 = connection.query_row(
        "SELECT count(*) FROM postings WHERE block >= ?1
         AND term NOT IN (SELECT id FROM terms WHERE kind = ?2)",
        [schema::sql(standing.bounds.floor), Kind::Damaged as i64],
        |row| schema::sequence(row, 0),
    )?;
    if !missing.is_empty() {
        report.problems.push(format!(
            "{} postings are missing, the first for the block of event {}: filtered reads pass over it",
            missing.len(),
            missing[0]
        ));
    }
    // A damaged record hides its names, so its postings can't be held against it.
    if stored > expected && report.damaged.is_empty() {
        report
            .problems
            .push(format!("{} postings lead to nothing", stored - expected));
    }
    Ok(())
}

fn has_posting(
    connection: &Connection,
    kind: i64,
    name: &str,
    block: u64,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 FROM postings WHERE block = ?3
             AND term = (SELECT id FROM terms WHERE kind = ?1 AND name = ?2)",
        )?
        .exists((kind, name, schema::sql(block)))
}
