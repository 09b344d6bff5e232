//! One event that is longer than a piece: it is read again for each.

use std::{io, ops::ControlFlow, sync::Arc};

use super::cut::{Cut, Fit};
use crate::{
    event_log::{Item, LogReader, ReadRange},
    filter::Filter,
    frame::write_envelope,
    http::pieces::{PIECE, Piece, Source},
};

/// An event on its way out.
pub(super) struct One {
    reader: Arc<dyn LogReader>,
    /// The place of that event alone.
    range: ReadRange,
    visible: Filter,
    cut: Cut,
}

impl One {
    pub(super) fn new(reader: Arc<dyn LogReader>, range: ReadRange, visible: Filter) -> Self {
        Self {
            reader,
            range,
            visible,
            cut: Cut::default(),
        }
    }
}

impl Source for One {
    fn next_piece(&mut self) -> io::Result<Piece> {
        let epochs = self.reader.epochs();
        let (mut bytes, mut fit) = (Vec::new(), Fit::Gone);
        let cut = &mut self.cut;
        let read = self.reader.read(&self.range, &self.visible, &mut |item| {
            if let Item::Event(record) = item {
                write_envelope(&mut bytes, epochs.name(record.sequence), &record);
                fit = cut.fit(&mut bytes, 0, record.sequence, PIECE);
            }
            ControlFlow::Continue(())
        });
        read.map_err(|error| io::Error::other(error.to_string()))?;
        match fit {
            Fit::Whole | Fit::Part => Ok(Piece {
                bytes: bytes.into(),
                more: fit == Fit::Part,
            }),
            Fit::Later | Fit::Gone => {
                Err(io::Error::other("the event was pruned while it was sent"))
            }
        }
    }
}
