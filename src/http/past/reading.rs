//! How pasts are read from the log.

use std::{collections::HashMap, io, ops::ControlFlow, sync::Arc};

use super::KEPT;
use crate::{
    domain::{
        Record, ServerId,
        past::{Past, Standing, TYPES, Turn},
    },
    event_log::{Item, LogReader, Order, ReadError, ReadRange},
    filter::{Filter, Selection, TypePattern},
};

/// Events looked at in one turn.
const SCAN: usize = 10_000;
/// Reads that the search for how a server was may take.
const LOOKS: usize = 20;
/// Such searches in one turn.
const SEARCHES: usize = 100;
/// Servers at most for which the index is asked one by one.
const NAMED: usize = 20;

/// A range of time, epoch ms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) since: i64,
    pub(super) until: i64,
}

/// Of whom, and how they are by the state.
#[derive(Debug)]
pub(super) enum Whose {
    /// Of one, with its causes.
    One(ServerId, Standing),
    /// Of these, with the sums alone.
    Many(Vec<(ServerId, Standing)>),
}

/// What is known of one server.
#[derive(Debug)]
enum Known {
    /// No event of the range so far; how it is by the state.
    Nothing(Standing),
    /// Its past so far.
    Begun(Box<Past>),
}

/// Pasts on their way through the log.
pub(super) struct Reading {
    reader: Arc<dyn LogReader>,
    grant: Option<Arc<Selection>>,
    asked: Asked,
    range: ReadRange,
    /// The place before the first event of the range.
    before: u64,
    filter: Filter,
    keep: usize,
    servers: HashMap<ServerId, Known>,
    /// From when on the log says something, where events of the range were pruned.
    kept_since: Option<i64>,
    truncated: bool,
}

/// The first event of a server in the range doesn't say how it was before.
struct Unsaid {
    server: ServerId,
    sequence: u64,
}

impl Reading {
    pub(super) fn begin(
        reader: Arc<dyn LogReader>,
        grant: Option<Arc<Selection>>,
        asked: Asked,
        whose: Whose,
    ) -> Result<Self, ReadError> {
        let (keep, servers) = match whose {
            Whose::One(id, standing) => (KEPT, vec![(id, standing)]),
            Whose::Many(servers) => (0, servers),
        };
        let place = reader.place_at_time(asked.since)?;
        let range = ReadRange {
            after: place.after,
            until: reader.info().head,
            order: Order::Ascending,
            scan_limit: SCAN,
        };
        let kept_since = if place.pruned {
            first_time(&*reader, range)?
        } else {
            None
        };
        let named = if servers.len() <= NAMED {
            servers.iter().map(|(id, _)| id.clone()).collect()
        } else {
            Vec::new()
        };
        let servers = servers.into_iter();
        Ok(Self {
            reader,
            grant,
            asked,
            range,
            before: place.after,
            filter: turns_of(named),
            keep,
            servers: servers
                .map(|(id, standing)| (id, Known::Nothing(standing)))
                .collect(),
            kept_since,
            truncated: place.pruned,
        })
    }

    /// Goes on for a turn; says whether there is more.
    pub(super) fn go_on(&mut self) -> io::Result<bool> {
        for _ in 0..SEARCHES {
            if self.range.after >= self.range.until {
                return Ok(false);
            }
            let Some(unsaid) = self.read_on().map_err(io::Error::other)? else {
                break;
            };
            let first = self.search(&unsaid.server).map_err(io::Error::other)?;
            let past = Box::new(self.begin_past(first));
            self.servers.insert(unsaid.server, Known::Begun(past));
            self.range.after = unsaid.sequence - 1;
        }
        Ok(self.range.after < self.range.until)
    }

    /// The pasts, and whether something of them is missing.
    pub(super) fn pasts(mut self) -> (bool, HashMap<ServerId, Past>) {
        let servers = std::mem::take(&mut self.servers);
        let ended = servers.into_iter().map(|(id, known)| {
            let mut past = match known {
                Known::Nothing(standing) => self.begin_past(standing),
                Known::Begun(past) => *past,
            };
            past.end(self.asked.until);
            (id, past)
        });
        let ended = ended.collect();
        (self.truncated, ended)
    }

    fn read_on(&mut self) -> Result<Option<Unsaid>, ReadError> {
        let reader = self.reader.clone();
        let (range, filter, epochs) = (self.range, self.filter.clone(), reader.epochs());
        let mut unsaid = None;
        let scanned = reader.read(&range, &filter, &mut |item| {
            match item {
                Item::Event(record) => {
                    let name = || epochs.name(record.sequence).to_string();
                    unsaid = self.take(&record, name);
                }
                Item::Corrupt { .. } => self.truncated = true,
            }
            if unsaid.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        self.truncated |= scanned.overtaken.is_some();
        self.range.after = if scanned.through > range.after {
            scanned.through
        } else {
            range.until
        };
        Ok(unsaid)
    }

    fn take(&mut self, record: &Record<'_>, name: impl FnOnce() -> String) -> Option<Unsaid> {
        let server: ServerId = record.server?.parse().ok()?;
        let known = self.servers.get(&server)?;
        let Some(turn) = Turn::of(record, name()) else {
            self.truncated = true;
            return None;
        };
        if let Known::Nothing(_) = known {
            let Some(before) = turn.before else {
                let sequence = record.sequence;
                return Some(Unsaid { server, sequence });
            };
            let past = Box::new(self.begin_past(before));
            self.servers.insert(server.clone(), Known::Begun(past));
        }
        let Some(Known::Begun(past)) = self.servers.get_mut(&server) else {
            return None;
        };
        let grant = self.grant.as_ref();
        let seen = grant.is_none_or(|grant| grant.matches(record));
        // A clock may have been set back, and something may have come since the question.
        let at = turn.at.clamp(self.asked.since, self.asked.until);
        past.turn(at, turn.after, seen.then_some(turn.cause));
        None
    }

    /// How a server was when the range began, by the last event before it.
    fn search(&self, server: &ServerId) -> Result<Standing, ReadError> {
        let filter = turns_of(vec![server.clone()]);
        let mut range = ReadRange {
            after: 0,
            until: self.before,
            order: Order::Descending,
            scan_limit: SCAN,
        };
        let mut found = None;
        for _ in 0..LOOKS {
            let scanned = self.reader.read(&range, &filter, &mut |item| {
                if let Item::Event(record) = item {
                    found = Turn::of(&record, String::new());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            if found.is_some() || scanned.through == 0 || scanned.through >= range.until {
                break;
            }
            range.until = scanned.through;
        }
        Ok(found.map_or(Standing::Unknown, |turn| turn.after))
    }

    /// A past that begins with the range. What was pruned of that isn't known.
    fn begin_past(&self, first: Standing) -> Past {
        let Some(kept_since) = self.kept_since else {
            return Past::begin(self.asked.since, first, self.keep);
        };
        let mut past = Past::begin(self.asked.since, Standing::Unknown, self.keep);
        past.turn(kept_since.min(self.asked.until), first, None);
        past
    }
}

/// The events that change how these servers are; of all where none is named.
fn turns_of(servers: Vec<ServerId>) -> Filter {
    let types = TYPES.map(|name| TypePattern::Exact(name.to_owned()));
    Filter {
        query: Selection {
            types: types.into(),
            servers,
            ..Selection::default()
        },
        grant: None,
    }
}

/// When the oldest kept event of a range happened.
fn first_time(reader: &dyn LogReader, range: ReadRange) -> Result<Option<i64>, ReadError> {
    let mut time = None;
    let range = ReadRange {
        scan_limit: 1,
        ..range
    };
    reader.read(&range, &Filter::all(), &mut |item| {
        if let Item::Event(record) = item {
            time = Some(record.timestamp);
        }
        ControlFlow::Break(())
    })?;
    Ok(time)
}
