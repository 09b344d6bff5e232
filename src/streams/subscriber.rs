//! One stream as its loop keeps it: small while it has caught up, with a backlog while it hasn't.

use bytes::Bytes;

use super::{Closing, Permit, Prologue, Sink, batch::Batch};

/// One stream.
pub(super) struct Subscriber {
    pub(super) sink: Sink,
    /// Tells it from earlier streams at the same index.
    pub(super) generation: u32,
    /// Where its group is.
    pub(super) group: u32,
    /// Where it stands among its group's live members, while it is one.
    pub(super) live_at: u32,
    /// When it got its last frame, ms of the loop.
    pub(super) told_at: u64,
    /// What there is to do before it has caught up; `None` where it has.
    pub(super) backlog: Option<Box<Backlog>>,
    pub(super) owner: Option<u64>,
    /// Falls with it.
    pub(super) _permit: Permit,
}

/// What a stream that is behind has before it.
#[derive(Default)]
pub(super) struct Backlog {
    /// The place it has read up to, once `rest` is out.
    pub(super) cursor: u64,
    /// What is left of a frame, or of opening frames, that went out in part.
    pub(super) rest: Bytes,
    /// What makes the opening frames that haven't been made.
    pub(super) prologue: Option<Prologue>,
    /// The next of them is being made.
    pub(super) opening: bool,
    /// A page of the log, and how much of it went out.
    pub(super) page: Option<Batch>,
    pub(super) offset: usize,
    /// The page after it, read ahead.
    pub(super) next: Option<Batch>,
    /// The place after which a page is being read.
    pub(super) reading: Option<u64>,
    /// Bytes of pages that are accounted for while the stream is blocked.
    pub(super) held: usize,
    /// The sink took less than it was given, at `moved_at`.
    pub(super) blocked: bool,
    pub(super) moved_at: u64,
    /// It is in the loop's list of those to go on with.
    pub(super) queued: bool,
    /// It is to end.
    pub(super) ending: Option<Ending>,
    /// `stream_closing` is in `rest` or out.
    pub(super) said: bool,
    /// All is said; the socket is kept until then, ms of the loop, or until the client closes it.
    pub(super) lingers_until: Option<u64>,
}

/// How a stream is to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) closing: Closing,
    /// It gets all up to here first.
    pub(super) until: u64,
    /// When it is cut, ms of the loop.
    pub(super) deadline: u64,
}

impl Backlog {
    /// Of a stream that got everything up to a place, but for what is left of a frame.
    pub(super) fn at(cursor: u64, rest: Bytes, now: u64) -> Self {
        Self {
            cursor,
            rest,
            moved_at: now,
            ..Self::default()
        }
    }

    /// Whether all opening frames are out, and every begun frame whole.
    pub(super) fn is_between_frames(&self) -> bool {
        self.rest.is_empty() && self.prologue.is_none() && !self.opening
    }

    /// Bytes of log pages in it.
    pub(super) fn page_bytes(&self) -> usize {
        let weigh = |page: &Option<Batch>| page.as_ref().map_or(0, |page| page.bytes.len());
        weigh(&self.page) + weigh(&self.next)
    }

    /// The place that the next page is to be read after.
    pub(super) fn read_up_to(&self) -> u64 {
        self.page.as_ref().map_or(self.cursor, |page| page.through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_has_caught_up_is_small() {
        assert!(
            size_of::<Subscriber>() <= 112,
            "{}",
            size_of::<Subscriber>()
        );
        assert!(size_of::<Backlog>() <= 384, "{}", size_of::<Backlog>());
    }
}
