//! What a start finds out, and puts down.

use rusqlite::Connection;

use super::{
    block::Span,
    fetch::{self, Stored},
    schema::{Bounds, sequence, sql},
    states,
    writer::{Answers, Standing, Unsealed},
};
use crate::{domain::Epoch, event_log::Epochs};

/// Events that are looked through for damage at a start, newest first.
const CHECKED: u64 = 10_000;

/// Epochs kept. Beyond this many, those that ended before the oldest kept event are dropped.
const EPOCHS: usize = 1024;

/// Finds where the log stands, and says which of its newest events are damaged.
pub(super) fn standing(connection: &Connection) -> rusqlite::Result<Standing> {
    let bounds = Bounds::load(connection)?;
    let started: u64 =
        connection.query_row("SELECT coalesce(max(start), 0) FROM epochs", [], |row| {
            sequence(row, 0)
        })?;
    let mut head = started.max(bounds.floor - 1);
    let mut ts_max = None;
    let mut next = sql(u64::MAX).unsigned_abs();
    let mut checked = 0;
    while checked < CHECKED || ts_max.is_none() {
        let found = fetch::at_or_before(connection, next, |stored| match stored? {
            Stored::Sound(block) => {
                let Span { first, last, .. } = block.span;
                let damaged = last - first + 1 - block.iter().count() as u64;
                ts_max = ts_max.or(Some(block.span.ts_max));
                Some((first, last, damaged))
            }
            Stored::Broken { first, last } => Some((first, last, last - first + 1)),
        })?;
        let Some((first, last, damaged)) = found else {
            break;
        };
        if damaged > 0 {
            tracing::warn!(
                sequence = first,
                "{damaged} of the events {first} to {last} are damaged; `log verify` says which"
            );
        }
        head = head.max(last);
        checked += last - first + 1;
        let Some(before) = first.checked_sub(1) else {
            break;
        };
        next = before;
    }
    let snapshot = states::newest(connection)?;
    Ok(Standing {
        head,
        ts_max: ts_max.unwrap_or(i64::MIN).max(bounds.pruned_ts),
        bounds,
        unsealed: Unsealed::default(),
        snapshot,
        event_bytes: 0,
        answers: Answers::default(),
    })
}

/// Counts what bounds in bytes are held against. It looks at the rows' heads alone, not at their bodies.
pub(super) fn count(connection: &Connection, standing: &mut Standing) -> rusqlite::Result<()> {
    standing.event_bytes = connection.query_row(
        "SELECT coalesce(sum(length(body)), 0) FROM blocks",
        [],
        |row| sequence(row, 0),
    )?;
    standing.answers = connection.query_row(
        "SELECT count(*), coalesce(sum(octet_length(body)), 0) FROM idempotency",
        [],
        |row| {
            Ok(Answers {
                count: sequence(row, 0)?,
                bytes: sequence(row, 1)?,
            })
        },
    )?;
    Ok(())
}

/// Records a new epoch that begins at the head, before anything is written in it.
pub(super) fn begin_epoch(
    connection: &Connection,
    standing: &Standing,
) -> rusqlite::Result<Epochs> {
    let mut recorded = load_epochs(connection)?;
    // An epoch that wrote nothing has named no place, unless it is the beginning.
    recorded.retain({
        let starts: Vec<u64> = recorded
            .iter()
            .map(|(_, start)| *start)
            .chain([standing.head])
            .collect();
        let mut at = 0;
        move |(_, start)| {
            at += 1;
            *start == 0 || *start < starts[at]
        }
    });
    let floor = standing.bounds.floor;
    let surplus = recorded.len().saturating_sub(EPOCHS);
    let ended = recorded
        .iter()
        .skip(1)
        .take_while(|(_, start)| *start < floor)
        .count();
    recorded.drain(..surplus.min(ended));
    let current = Epoch::from_random(uuid::Uuid::new_v4().as_u128());
    let change = connection.unchecked_transaction()?;
    change.execute("DELETE FROM epochs", [])?;
    for (epoch, start) in recorded.iter().chain([&(current, standing.head)]) {
        change.execute(
            "INSERT INTO epochs VALUES (?1, ?2)",
            (epoch.as_str(), sql(*start)),
        )?;
    }
    change.commit()?;
    Ok(Epochs::new(recorded, current, standing.head))
}

pub(super) fn load_epochs(connection: &Connection) -> rusqlite::Result<Vec<(Epoch, u64)>> {
    let mut statement = connection.prepare("SELECT epoch, start FROM epochs ORDER BY rowid")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, sequence(row, 1)?)))?;
    rows.filter_map(|row| {
        row.map(|(text, start)| Epoch::parse(&text).map(|epoch| (epoch, start)))
            .transpose()
    })
    .collect()
}
