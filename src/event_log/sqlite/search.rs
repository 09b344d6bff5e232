//! Which blocks may hold wanted events: an intersection of postings that leaps from match to match, so that
//! a narrow filter costs what it finds and not what it skips.

use rusqlite::{Connection, OptionalExtension};

use super::{
    schema::{sequence, sql},
    terms::{Kind, find, find_prefix},
};
use crate::{
    event_log::Order,
    filter::{Filter, Selection, TypePattern},
};

/// Terms joined by OR that are worth looking up; a wider condition is tested event by event.
const TERMS: usize = 64;

/// A filter as postings.
pub(super) struct Search<'a> {
    connection: &'a Connection,
    order: Order,
    conditions: Vec<Condition>,
    damaged: Condition,
    /// Lookups made, for the caller's budget.
    pub(super) lookups: usize,
}

/// The blocks of any of some terms.
#[derive(Default)]
struct Condition(Vec<Cursor>);

/// Where one term was found last.
struct Cursor {
    term: i64,
    seen: Option<(u64, Option<u64>)>,
}

impl<'a> Search<'a> {
    /// Looks the filter's terms up; `None` where it has no condition that postings can narrow.
    pub(super) fn new(
        connection: &'a Connection,
        filter: &Filter,
        order: Order,
    ) -> rusqlite::Result<Option<Self>> {
        let mut conditions = Vec::new();
        for selection in filter.selections() {
            add_conditions(connection, selection, &mut conditions)?;
        }
        if conditions.is_empty() {
            return Ok(None);
        }
        let damaged = Condition::of(find(connection, Kind::Damaged, "")?);
        Ok(Some(Self {
            connection,
            order,
            conditions,
            damaged,
            lookups: 0,
        }))
    }

    /// The nearest block from `from` on, itself included, that may hold wanted events; `None` where there is
    /// no more. After `budget` lookups it settles for one that holds none, but skips no wanted one.
    pub(super) fn nearest(&mut self, from: u64, budget: usize) -> rusqlite::Result<Option<u64>> {
        let damaged = self
            .damaged
            .nearest(self.connection, self.order, from, &mut self.lookups)?;
        let wanted = self.leap(from, self.lookups.saturating_add(budget))?;
        Ok(match (wanted, damaged) {
            (Some(a), Some(b)) => Some(if self.order == Order::Ascending {
                a.min(b)
            } else {
                a.max(b)
            }),
            (a, b) => a.or(b),
        })
    }

    fn leap(&mut self, from: u64, limit: usize) -> rusqlite::Result<Option<u64>> {
        let mut at = from;
        loop {
            let start = at;
            for condition in &mut self.conditions {
                match condition.nearest(self.connection, self.order, at, &mut self.lookups)? {
                    Some(block) => at = block,
                    None => return Ok(None),
                }
            }
            if at == start || self.lookups >= limit {
                return Ok(Some(at));
            }
        }
    }
}

impl Condition {
    fn of(terms: impl IntoIterator<Item = i64>) -> Self {
        Self(
            terms
                .into_iter()
                .map(|term| Cursor { term, seen: None })
                .collect(),
        )
    }

    fn nearest(
        &mut self,
        connection: &Connection,
        order: Order,
        from: u64,
        lookups: &mut usize,
    ) -> rusqlite::Result<Option<u64>> {
        let mut best = None;
        for cursor in &mut self.0 {
            let found = cursor.nearest(connection, order, from, lookups)?;
            best = match (best, found) {
                (Some(a), Some(b)) if order == Order::Ascending => Some(u64::min(a, b)),
                (Some(a), Some(b)) => Some(u64::max(a, b)),
                (a, b) => a.or(b),
            };
        }
        Ok(best)
    }
}

impl Cursor {
    fn nearest(
        &mut self,
        connection: &Connection,
        order: Order,
        from: u64,
        lookups: &mut usize,
    ) -> rusqlite::Result<Option<u64>> {
        let still_valid = |found: &Option<u64>| match (order, *found) {
            (_, None) => true,
            (Order::Ascending, Some(block)) => block >= from,
            (Order::Descending, Some(block)) => block <= from,
        };
        if let Some((_, found)) = self.seen.as_ref().filter(|(_, found)| still_valid(found)) {
            return Ok(*found);
        }
        *lookups += 1;
        let statement = match order {
            Order::Ascending => {
                "SELECT block FROM postings WHERE term = ?1 AND block >= ?2 ORDER BY block LIMIT 1"
            }
            Order::Descending => {
                "SELECT block FROM postings WHERE term = ?1 AND block <= ?2 ORDER BY block DESC LIMIT 1"
            }
        };
        let found = connection
            .prepare_cached(statement)?
            .query_row([self.term, sql(from)], |row| sequence(row, 0))
            .optional()?;
        self.seen = Some((from, found));
        Ok(found)
    }
}

fn add_conditions(
    connection: &Connection,
    selection: &Selection,
    conditions: &mut Vec<Condition>,
) -> rusqlite::Result<()> {
    let mut types = Vec::new();
    for pattern in &selection.types {
        match pattern {
            TypePattern::Exact(name) => types.extend(find(connection, Kind::Type, name)?),
            TypePattern::Prefix(prefix) => {
                types.extend(find_prefix(connection, Kind::Type, prefix, TERMS + 1)?);
            }
        }
        if types.len() > TERMS {
            break;
        }
    }
    if !selection.types.is_empty() && types.len() <= TERMS {
        conditions.push(Condition::of(types));
    }
    let servers = selection.servers.iter().map(|id| id.as_str());
    add_names(connection, Kind::Server, servers, conditions)?;
    let workflows = selection.workflows.iter().map(|id| id.as_str());
    add_names(connection, Kind::Workflow, workflows, conditions)?;
    for tag in &selection.tags {
        conditions.push(Condition::of(find(connection, Kind::Tag, tag)?));
    }
    Ok(())
}

fn add_names<'a>(
    connection: &Connection,
    kind: Kind,
    names: impl ExactSizeIterator<Item = &'a str>,
    conditions: &mut Vec<Condition>,
) -> rusqlite::Result<()> {
    if !(1..=TERMS).contains(&names.len()) {
        return Ok(());
    }
    let mut terms = Vec::new();
    for name in names {
        terms.extend(find(connection, kind, name)?);
    }
    conditions.push(Condition::of(terms));
    Ok(())
}
