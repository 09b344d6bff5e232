//! Copying what is good out of a damaged log.

use std::{io::Read, ops::ControlFlow, path::Path};

use rusqlite::{Connection, types::Value};

use super::{
    Writer,
    block::{self, Packer},
    notes, reader, recover,
    room::Lock,
    schema::{self, Bounds, sql},
    states,
    told::told,
    writer::{Answers, Standing, Unsealed},
};
use crate::{
    domain::{Epoch, Record},
    event_log::{
        AppendError, Item, LogWriter, OpenError, Order, ReadRange, SNAPSHOT_PART, Visit,
        tools::Report,
    },
    filter::Filter,
};

/// Events copied per commit.
const PAGE: usize = 10_000;

/// Copies every good event, the newest whole snapshot, leases and remembered answers of the log in `from`
/// to a new log in `to`.
///
/// Sequences stay as they are, and what is lost stays a hole that readers are told of. The epochs are left
/// behind: ids of the old log are not known to the new one, so that every client learns that it can't simply
/// go on. `from` is not changed; no hub may have it.
///
/// # Errors
/// [`OpenError`] where one of the directories can't be used, or `to` holds a log already.
pub fn salvage(from: &Path, to: &Path) -> Result<Report, OpenError> {
    let failed = |cause: String| OpenError::Failed {
        directory: from.to_owned(),
        cause,
    };
    let file = from.join(schema::FILE);
    if !file.is_file() {
        return Err(failed(format!("there is no {}", schema::FILE)));
    }
    if to.join(schema::FILE).exists() {
        let cause = format!("there is a {} already", schema::FILE);
        return Err(OpenError::Failed {
            directory: to.to_owned(),
            cause,
        });
    }
    let _lock = Lock::take(from)?;
    let old = schema::open_damaged(&file).map_err(|e| super::refused(from, e))?;
    let (mut new, _) = super::open_parts(to)?;
    let mut report = Report::default();
    let standing = recover::standing(&old).or_else(|_| what_is_left(&old, &mut report));
    let standing = standing.map_err(|e| failed(told(&e)))?;
    copy_events(&old, &standing, &mut new, &mut report)
        .and_then(|()| copy_rest(&old, &standing, &mut new, &mut report))
        .map_err(|e| OpenError::Failed {
            directory: to.to_owned(),
            cause: e.to_string(),
        })?;
    Ok(report)
}

/// Where a log stands whose end can't be read: as far as its blocks can be, oldest first.
fn what_is_left(old: &Connection, report: &mut Report) -> rusqlite::Result<Standing> {
    let mut standing = Standing {
        head: 0,
        ts_max: i64::MIN,
        bounds: Bounds::load(old).unwrap_or(Bounds {
            floor: 0,
            pruned_ts: i64::MIN,
            indexed: 0,
        }),
        unsealed: Unsealed::default(),
        snapshot: 0,
        event_bytes: 0,
        answers: Answers::default(),
    };
    let mut statement = old.prepare("SELECT first, last FROM blocks ORDER BY first")?;
    let mut rows = statement.query([])?;
    // Where a row can't be had, what is left ends.
    while let Ok(Some(row)) = rows.next() {
        if standing.bounds.floor == 0 {
            standing.bounds.floor = schema::sequence(row, 0)?;
        }
        standing.head = schema::sequence(row, 1)?;
    }
    standing.bounds.floor = standing.bounds.floor.max(1);
    report.problems.push(format!(
        "the log's end can't be read: what came after event {} is lost",
        standing.head
    ));
    // Places that were given out, and what a snapshot holds, stay taken.
    let started = old.query_row("SELECT coalesce(max(start), 0) FROM epochs", [], |row| {
        schema::sequence(row, 0)
    });
    for taken in [started, states::newest(old)] {
        standing.head = standing.head.max(taken.unwrap_or(0));
    }
    Ok(standing)
}

fn copy_events(
    old: &Connection,
    standing: &Standing,
    new: &mut Writer,
    report: &mut Report,
) -> Result<(), AppendError> {
    new.standing.bounds.floor = standing.bounds.floor;
    new.standing.bounds.pruned_ts = standing.bounds.pruned_ts;
    new.standing.ts_max = standing.bounds.pruned_ts;
    let mut after = standing.bounds.floor - 1;
    while after < standing.head {
        let range = ReadRange {
            after,
            until: standing.head,
            order: Order::Ascending,
            scan_limit: PAGE,
        };
        after = new.commit(|new| {
            new.packer.begin(after + 1, new.standing.ts_max);
            let mut result = Ok(());
            let scanned = read_page(old, &range, standing.head, &mut |item| {
                match item {
                    Item::Corrupt { first, last } => report.add_damage(first, last),
                    Item::Event(record) => {
                        report.events += 1;
                        result = copy_event(new, &record, report);
                    }
                }
                if result.is_err() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            result?;
            close_block(new, report)?;
            new.standing.bounds.save(&new.connection)?;
            new.seal()?;
            Ok(scanned)
        })?;
    }
    Ok(())
}

/// Reads a page; where SQLite itself can't, one event after the other is given up until it can.
fn read_page(
    old: &Connection,
    range: &ReadRange,
    head: u64,
    visit: Visit<'_>,
) -> rusqlite::Result<u64> {
    let mut reached = range.after;
    let mut note = |item: Item<'_>| {
        reached = match item {
            Item::Event(record) => record.sequence,
            Item::Corrupt { last, .. } => last,
        };
        visit(item)
    };
    match super::read::page(old, range, &Filter::all(), head, &mut note) {
        Ok(scanned) => Ok(scanned.through),
        Err(_) => {
            let lost = reached + 1;
            let _ = visit(Item::Corrupt {
                first: lost,
                last: lost,
            });
            Ok(lost)
        }
    }
}

fn copy_event(new: &mut Writer, record: &Record<'_>, report: &mut Report) -> rusqlite::Result<()> {
    if new.packer.next() != record.sequence || !new.packer.has_room_for(block::encoded_len(record))
    {
        close_block(new, report)?;
        new.packer.begin(record.sequence, new.standing.ts_max);
    }
    new.packer.push(record);
    Ok(())
}

fn close_block(new: &mut Writer, report: &mut Report) -> rusqlite::Result<()> {
    if Packer::is_empty(&new.packer) {
        return Ok(());
    }
    report.blocks += 1;
    new.insert_block()
}

fn copy_rest(
    old: &Connection,
    standing: &Standing,
    new: &mut Writer,
    report: &mut Report,
) -> Result<(), AppendError> {
    let mut result = Ok(true);
    let copied = states::load(old, &mut |at, state| {
        result = copy_snapshot(new, at, state);
        // One that can't be read gives way to the one before; one that can't be written ends it.
        !matches!(result, Ok(false))
    });
    result?;
    if let Err(e) = copied {
        report
            .problems
            .push(format!("no snapshot could be copied: {e}"));
    }
    match reader::load_leases(old) {
        Ok(leases) => new.save_leases(&leases)?,
        Err(e) => report
            .problems
            .push(format!("no leases could be copied: {e}")),
    }
    // A log of an older version has none.
    if let Ok(notes) = notes::load(old) {
        new.append_noting(&[], &[], &notes)?;
    }
    let copied = new.commit(|new| {
        // The head stays where it was, also where the newest events are lost.
        let epoch = Epoch::from_random(uuid::Uuid::new_v4().as_u128());
        new.connection.execute(
            "INSERT INTO epochs VALUES (?1, ?2)",
            (epoch.as_str(), sql(standing.head)),
        )?;
        copy_answers(old, new)
    });
    if let Err(e) = copied {
        report
            .problems
            .push(format!("remembered answers could not be copied: {e}"));
    }
    Ok(())
}

/// Copies a snapshot part by part. `false` where it can't be read whole.
fn copy_snapshot(new: &mut Writer, at: u64, state: &mut dyn Read) -> Result<bool, AppendError> {
    new.begin_snapshot(at)?;
    loop {
        let mut part = Vec::with_capacity(SNAPSHOT_PART);
        if state
            .take(SNAPSHOT_PART as u64)
            .read_to_end(&mut part)
            .is_err()
        {
            return Ok(false);
        }
        if part.len() < SNAPSHOT_PART {
            new.finish_snapshot(&part)?;
            return Ok(true);
        }
        new.add_to_snapshot(&part)?;
    }
}

fn copy_answers(old: &Connection, new: &Writer) -> rusqlite::Result<()> {
    let mut statement =
        old.prepare("SELECT key, request, ts, seq, status, body FROM idempotency")?;
    let mut rows = statement.query([])?;
    let mut insert = new
        .connection
        .prepare("INSERT OR REPLACE INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    while let Some(row) = rows.next()? {
        for column in 0..6 {
            insert.raw_bind_parameter(column + 1, row.get::<_, Value>(column)?)?;
        }
        insert.raw_execute()?;
    }
    Ok(())
}
