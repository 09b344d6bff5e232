//! One page of events, in pieces.

use std::{io, ops::ControlFlow, sync::Arc};

use super::{
    DEFAULT_LIMIT, PAGE_BYTES, READS_PER_PAGE, Wanted,
    cut::{Cut, Fit},
    order_name,
};
use crate::{
    event_log::{Item, LogReader, Order, ReadError},
    frame::write_envelope,
    http::pieces::{PIECE, Piece, Source, of_page},
};

/// A page that is being written.
pub(super) struct Page {
    reader: Arc<dyn LogReader>,
    rest: Wanted,
    /// Whether events before the range were pruned already when it was asked for.
    began_truncated: bool,
    begun: bool,
    count: usize,
    bytes: usize,
    /// Reads that found the page not full yet.
    reads: usize,
    /// The last event on it.
    last: u64,
    /// There is another event that has no room on it.
    full: bool,
    truncated: bool,
    cut: Cut,
}

impl Page {
    pub(super) fn new(reader: Arc<dyn LogReader>, wanted: Wanted) -> Self {
        Self {
            reader,
            began_truncated: wanted.truncated,
            rest: wanted,
            begun: false,
            count: 0,
            bytes: 0,
            reads: 0,
            last: 0,
            full: false,
            truncated: false,
            cut: Cut::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.rest.is_done() || self.full || self.reads >= READS_PER_PAGE
    }

    /// Reads on until the piece or the page is full.
    fn read(&mut self, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let epochs = self.reader.epochs();
        let limit = self.rest.limit.unwrap_or(DEFAULT_LIMIT);
        let mut piece_is_full = false;
        let (count, last, full, truncated, cut) = (
            &mut self.count,
            &mut self.last,
            &mut self.full,
            &mut self.truncated,
            &mut self.cut,
        );
        // An event that isn't out whole.
        let mut unfinished = None;
        let mut gone = false;
        let bytes = self.bytes;
        let scanned = self
            .reader
            .read(&self.rest.range, &self.rest.filter, &mut |item| {
                match item {
                    Item::Event(_)
                        if !cut.is_within()
                            && (*count == limit || bytes + out.len() >= PAGE_BYTES) =>
                    {
                        *full = true;
                        return ControlFlow::Break(());
                    }
                    Item::Event(record) => {
                        let before = out.len();
                        if *count > 0 && !cut.is_within() {
                            out.push(b',');
                        }
                        let start = out.len();
                        write_envelope(out, epochs.name(record.sequence), &record);
                        match cut.fit(out, start, record.sequence, PIECE) {
                            Fit::Whole => (*count, *last) = (*count + 1, record.sequence),
                            fit => {
                                gone = fit == Fit::Gone;
                                if fit != Fit::Part {
                                    out.truncate(before);
                                }
                                unfinished = Some(record.sequence);
                                return ControlFlow::Break(());
                            }
                        }
                    }
                    Item::Corrupt { .. } => *truncated = true,
                }
                piece_is_full = out.len() >= PIECE;
                if piece_is_full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
        self.truncated |= scanned.overtaken.is_some();
        if gone || (self.cut.is_within() && unfinished.is_none()) {
            return Err(ReadError(
                "an event was pruned while it was sent".to_owned(),
            ));
        }
        if let Some(sequence) = unfinished {
            self.rest.stay_at(sequence);
            return Ok(());
        }
        self.reads += usize::from(!piece_is_full);
        self.rest.advance(scanned);
        if self.full {
            match self.rest.range.order {
                Order::Ascending => self.rest.range.after = self.last,
                Order::Descending => self.rest.range.until = self.last - 1,
            }
        }
        Ok(())
    }

    fn end(&self, out: &mut Vec<u8>) {
        let range = &self.rest.range;
        let truncated = self.truncated
            || match range.order {
                Order::Ascending => self.began_truncated,
                Order::Descending => {
                    self.rest.is_done() && self.rest.lacks_the_oldest(&*self.reader)
                }
            };
        out.extend_from_slice(br#"],"nextCursor":"#);
        if self.rest.is_done() && !self.full {
            out.extend_from_slice(b"null");
        } else {
            let at = match range.order {
                Order::Ascending => range.after,
                Order::Descending => range.until,
            };
            let name = self.reader.epochs().name(at);
            let cursor = format!("\"{}-{name}\"", order_name(range.order));
            out.extend_from_slice(cursor.as_bytes());
        }
        out.extend_from_slice(if truncated {
            br#","truncated":true}"#
        } else {
            br#","truncated":false}"#
        });
    }
}

impl Source for Page {
    fn expected(&self) -> u32 {
        of_page(self.rest.limit.unwrap_or(DEFAULT_LIMIT))
    }

    fn next_piece(&mut self) -> io::Result<Piece> {
        let mut out = Vec::with_capacity(PIECE);
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(br#"{"events":["#);
        }
        if !self.is_over() {
            self.read(&mut out).map_err(io::Error::other)?;
        }
        let more = !self.is_over();
        if !more {
            self.end(&mut out);
        }
        self.bytes += out.len();
        Ok(Piece {
            bytes: out.into(),
            more,
        })
    }
}
