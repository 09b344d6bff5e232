//! One read: a page of wanted events out of one moment's view of the file.
//!
//! Every sequence of the range is accounted for, as an event, as unwanted or as damaged: a missing block is
//! as damaged as an unreadable one.

use std::ops::ControlFlow;

use rusqlite::Connection;

use super::{
    block::Block,
    fetch::{self, Stored},
    schema::Bounds,
    search::Search,
};
use crate::{
    event_log::{Item, Order, ReadRange, Scanned, Visit},
    filter::Filter,
};

/// Reads a page, in the transaction that is open on the connection.
pub(super) fn page(
    connection: &Connection,
    range: &ReadRange,
    filter: &Filter,
    head: u64,
    visit: Visit<'_>,
) -> rusqlite::Result<Scanned> {
    let bounds = Bounds::load(connection)?;
    let read = Read {
        connection,
        low: range.after.saturating_add(1).max(bounds.floor),
        high: range.until.min(head),
        indexed: bounds.indexed,
        filter: (!filter.is_all()).then_some(filter),
        search: Search::new(connection, filter, range.order)?,
        budget: range.scan_limit.max(1),
        visit,
    };
    match range.order {
        Order::Ascending => {
            let overtaken =
                (range.after.saturating_add(1) < bounds.floor).then(|| bounds.floor - 1);
            let high = read.high;
            let next = read.ascend()?;
            let through = (next - 1).min(high).max(overtaken.unwrap_or(range.after));
            Ok(Scanned { through, overtaken })
        }
        Order::Descending => {
            let low = read.low;
            let next = read.descend()?;
            Ok(Scanned {
                through: if next < low { range.after } else { next },
                overtaken: None,
            })
        }
    }
}

struct Read<'a> {
    connection: &'a Connection,
    /// The lowest and the highest sequence of the range that may be kept.
    low: u64,
    high: u64,
    indexed: u64,
    filter: Option<&'a Filter>,
    search: Option<Search<'a>>,
    budget: usize,
    visit: Visit<'a>,
}

impl Read<'_> {
    /// Goes up from `low`; returns the first sequence that wasn't considered.
    fn ascend(mut self) -> rusqlite::Result<u64> {
        let mut next = self.low;
        while next <= self.high && self.budget > 0 {
            next = next.max(self.skip_up(next)?);
            if next > self.high {
                return Ok(self.high + 1);
            }
            let connection = self.connection;
            let step = fetch::at_or_before(connection, next, |stored| match stored {
                Some(Stored::Sound(block)) if block.span.last >= next => {
                    Some(self.up(&block, next))
                }
                _ => None,
            })?;
            let flow = match step {
                Some((reached, flow)) => {
                    next = reached;
                    flow
                }
                None => {
                    let end =
                        fetch::first_after(connection, next)?.map_or(self.high, |first| first - 1);
                    let last = end.min(self.high);
                    let first = std::mem::replace(&mut next, last + 1);
                    self.budget -= 1;
                    (self.visit)(Item::Corrupt { first, last })
                }
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(next)
    }

    /// Where wanted events may be, from `next` up.
    fn skip_up(&mut self, next: u64) -> rusqlite::Result<u64> {
        let Some(search) = &mut self.search else {
            return Ok(next);
        };
        if next > self.indexed {
            return Ok(next);
        }
        let from = fetch::first_at_or_before(self.connection, next)?.unwrap_or(next);
        let before = search.lookups;
        let found = search.nearest(from, self.budget)?;
        self.budget = self.budget.saturating_sub(search.lookups - before).max(1);
        Ok(found.unwrap_or(self.indexed + 1))
    }

    /// Goes through a block from `next` up; returns the first sequence that wasn't considered.
    fn up(&mut self, block: &Block<'_>, mut next: u64) -> (u64, ControlFlow<()>) {
        let last = block.span.last.min(self.high);
        while next <= last && self.budget > 0 {
            let flow = self.consider(block, next);
            next += 1;
            if flow.is_break() {
                return (next, flow);
            }
        }
        (next, ControlFlow::Continue(()))
    }

    /// Goes down from `high`; returns the last sequence that wasn't considered.
    fn descend(mut self) -> rusqlite::Result<u64> {
        let mut next = self.high;
        while next >= self.low && self.budget > 0 {
            let Some(key) = self.skip_down(next)? else {
                return Ok(self.low - 1);
            };
            let connection = self.connection;
            let low = self.low;
            let step = fetch::at_or_before(connection, key, |stored| match stored {
                Some(Stored::Sound(block)) if block.span.last >= key => {
                    Ok(self.down(&block, next.min(block.span.last)))
                }
                Some(Stored::Sound(block)) => Err(block.span.last + 1),
                Some(Stored::Broken { first, .. }) => Err(first),
                None => Err(low),
            })?;
            let flow = match step {
                Ok((reached, flow)) => {
                    next = reached;
                    flow
                }
                Err(first) => {
                    let end = fetch::first_after(connection, key)?.map_or(next, |first| first - 1);
                    let (first, last) = (first.max(self.low), end.min(next));
                    next = first - 1;
                    self.budget -= 1;
                    (self.visit)(Item::Corrupt { first, last })
                }
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(next)
    }

    /// The nearest place at or below `next` that may hold wanted events; `None` where there is none.
    fn skip_down(&mut self, next: u64) -> rusqlite::Result<Option<u64>> {
        let Some(search) = &mut self.search else {
            return Ok(Some(next));
        };
        if next > self.indexed {
            return Ok(Some(next));
        }
        let before = search.lookups;
        let found = search.nearest(next, self.budget)?;
        self.budget = self.budget.saturating_sub(search.lookups - before).max(1);
        Ok(found)
    }

    /// Goes through a block from `next` down; returns the last sequence that wasn't considered.
    fn down(&mut self, block: &Block<'_>, mut next: u64) -> (u64, ControlFlow<()>) {
        let first = block.span.first.max(self.low);
        while next >= first && self.budget > 0 {
            let flow = self.consider(block, next);
            next -= 1;
            if flow.is_break() {
                return (next, flow);
            }
        }
        (next, ControlFlow::Continue(()))
    }

    fn consider(&mut self, block: &Block<'_>, sequence: u64) -> ControlFlow<()> {
        self.budget -= 1;
        match block.get(sequence) {
            None => (self.visit)(Item::Corrupt {
                first: sequence,
                last: sequence,
            }),
            Some(record) if self.filter.is_none_or(|filter| filter.matches(&record)) => {
                (self.visit)(Item::Event(record))
            }
            Some(_) => ControlFlow::Continue(()),
        }
    }
}
