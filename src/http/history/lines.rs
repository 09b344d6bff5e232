//! All of history as lines of JSON, at the pace of whoever reads them.

use std::{io, ops::ControlFlow, sync::Arc};

use bytes::Bytes;

use super::{
    Wanted,
    cut::{Cut, Fit},
};
use crate::{
    event_log::{Item, LogReader, Order, ReadError},
    frame::{control::GapReason, write_envelope},
    http::pieces::{ALL, Piece, Source, of_page},
};

/// Roughly how many bytes of lines are made at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// All that is wanted, one event per line: the next lines are read when the connection has taken the last ones.
pub(super) struct Lines {
    reader: Arc<dyn LogReader>,
    /// Whether whoever reads still may.
    may_read: Box<dyn Fn() -> bool + Send>,
    rest: Wanted,
    cut: Cut,
}

impl Lines {
    pub(super) fn new(
        reader: Arc<dyn LogReader>,
        wanted: Wanted,
        may_read: impl Fn() -> bool + Send + 'static,
    ) -> Self {
        Self {
            reader,
            may_read: Box::new(may_read),
            rest: wanted,
            cut: Cut::default(),
        }
    }

    fn has_more(&self) -> bool {
        self.rest.truncated || !(self.rest.is_done() || self.rest.limit == Some(0))
    }
}

impl Source for Lines {
    fn expected(&self) -> u32 {
        self.rest.limit.map_or(ALL, of_page)
    }

    fn next_piece(&mut self) -> io::Result<Piece> {
        if !(self.may_read)() {
            return Err(io::Error::other("the right to read has ended"));
        }
        let bytes = if self.has_more() {
            next_lines(&*self.reader, &mut self.rest, &mut self.cut).map_err(io::Error::other)?
        } else {
            Bytes::new()
        };
        Ok(Piece {
            bytes,
            more: self.has_more(),
        })
    }
}

/// The next lines; moves `rest` behind them.
pub(super) fn next_lines(
    reader: &dyn LogReader,
    rest: &mut Wanted,
    cut: &mut Cut,
) -> Result<Bytes, ReadError> {
    let epochs = reader.epochs();
    let mut out = Vec::new();
    let gap = |out: &mut Vec<u8>, reason: GapReason, after: u64, next: u64| {
        let line = format!(
            "{{\"type\":\"stream_gap\",\"data\":{{\"reason\":\"{}\",\"afterId\":\"{}\",\"nextId\":\"{}\"}}}}\n",
            reason.as_str(),
            epochs.name(after),
            epochs.name(next)
        );
        out.extend_from_slice(line.as_bytes());
    };
    let is_ascending = rest.range.order == Order::Ascending;
    if (is_ascending || rest.is_done()) && std::mem::take(&mut rest.truncated) {
        rest.range.after = rest.range.after.max(reader.info().floor - 1);
        gap(&mut out, GapReason::Expired, 0, rest.range.after + 1);
    }
    let mut left = rest.limit.unwrap_or(usize::MAX);
    if rest.is_done() || left == 0 {
        return Ok(out.into());
    }
    let mut lines = Vec::new();
    // An event that isn't out whole.
    let mut unfinished = None;
    let mut gone = false;
    let scanned = reader.read(&rest.range, &rest.filter, &mut |item| {
        match item {
            Item::Event(record) => {
                let start = lines.len();
                write_envelope(&mut lines, epochs.name(record.sequence), &record);
                lines.push(b'\n');
                match cut.fit(&mut lines, start, record.sequence, CHUNK_BYTES) {
                    Fit::Whole => left -= 1,
                    fit => {
                        gone = fit == Fit::Gone;
                        if fit != Fit::Part {
                            lines.truncate(start);
                        }
                        unfinished = Some(record.sequence);
                        return ControlFlow::Break(());
                    }
                }
            }
            Item::Corrupt { first, last } => {
                gap(&mut lines, GapReason::Corrupt, first - 1, last + 1)
            }
        }
        if left == 0 || lines.len() >= CHUNK_BYTES {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    if let Some(place) = scanned.overtaken {
        gap(&mut out, GapReason::Expired, rest.range.after, place + 1);
    }
    out.append(&mut lines);
    rest.limit = rest.limit.map(|_| left);
    if gone || (cut.is_within() && unfinished.is_none()) {
        return Err(ReadError(
            "an event was pruned while it was sent".to_owned(),
        ));
    }
    match unfinished {
        Some(sequence) => rest.stay_at(sequence),
        None => rest.advance(scanned),
    }
    // Newest first, what was pruned is missed last.
    if !is_ascending && rest.is_done() && rest.lacks_the_oldest(reader) {
        rest.truncated = false;
        gap(
            &mut out,
            GapReason::Expired,
            0,
            reader.info().floor.max(rest.range.after + 1),
        );
    }
    Ok(out.into())
}
