//! Frames that are due to a stream, one after the other, and where each ends.

use crate::{
    filter::Filter,
    frame::{Format, control::GapReason},
    tail::Page,
};

/// Bytes that a stream gets in one go, for the sake of the others.
pub(super) const PASS_BYTES: usize = 256 << 10;

/// Frames in order. Whoever has taken all of it has read up to `through`.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The frames.
    pub(super) bytes: Vec<u8>,
    /// Where each ends, and the place that has been reached then.
    pub(super) ends: Vec<(u32, u64)>,
    /// Everything up to here was considered.
    pub(super) through: u64,
    /// Why frames of it tell of gaps, in order.
    pub(super) gaps: Vec<GapReason>,
}

/// What is left of a batch after a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Frames that went out whole or in part.
    pub(super) frames: usize,
    /// The place reached once the frame that was cut is out; `None` where not even one began.
    pub(super) reached: Option<u64>,
    /// Where the frame that was cut ends.
    pub(super) end: usize,
}

impl Batch {
    /// Empties it and keeps its room.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.through = 0;
        self.gaps.clear();
    }

    /// Adds the frames of a run of events of one page.
    pub(super) fn add(&mut self, page: &Page, format: Format, from: usize, to: usize) {
        let frames = page.frames(format);
        let start = if from == 0 { 0 } else { frames.ends[from - 1] };
        let stop = frames.ends[to - 1];
        let base = offset(self.bytes.len());
        self.bytes
            .extend_from_slice(&frames.bytes[start as usize..stop as usize]);
        let first = page.first();
        self.ends.extend(
            (from..to).map(|index| (base + frames.ends[index] - start, first + index as u64)),
        );
    }

    /// Adds those events of a page after `after` and up to `until` that the filter wants.
    pub(super) fn add_matching(
        &mut self,
        page: &Page,
        format: Format,
        filter: &Filter,
        after: u64,
        until: u64,
    ) {
        let (from, to) = within(page, after, until);
        if filter.is_all() {
            if from < to {
                self.add(page, format, from, to);
            }
        } else {
            let mut run = from;
            for index in from..to {
                if !filter.matches(&page.facts(index)) {
                    if run < index {
                        self.add(page, format, run, index);
                    }
                    run = index + 1;
                }
            }
            if run < to {
                self.add(page, format, run, to);
            }
        }
        self.through = until.min(page.last()).max(self.through);
    }

    /// Adds one frame, already in `bytes` from `start` on.
    pub(super) fn end_frame(&mut self, reached: u64) {
        self.ends.push((offset(self.bytes.len()), reached));
    }

    /// What a write that took `written` bytes leaves; frames before `offset` went out before.
    pub(super) fn cut(&self, start: usize, written: usize) -> Cut {
        let before = self.ends.partition_point(|(end, _)| *end as usize <= start);
        let whole = self
            .ends
            .partition_point(|(end, _)| *end as usize <= start + written);
        let boundary = if whole == 0 {
            0
        } else {
            self.ends[whole - 1].0 as usize
        };
        let begun = whole + usize::from(start + written > boundary && whole < self.ends.len());
        let last = begun
            .checked_sub(1)
            .filter(|_| begun > before)
            .map(|at| self.ends[at]);
        Cut {
            frames: begun - before,
            reached: last.map(|(_, place)| place),
            end: last.map_or(start, |(end, _)| end as usize),
        }
    }
}

/// The indexes of a page's events after `after` and up to `until`.
pub(super) fn within(page: &Page, after: u64, until: u64) -> (usize, usize) {
    let clamp = |place: u64| {
        usize::try_from(place.saturating_sub(page.first() - 1))
            .unwrap_or(usize::MAX)
            .min(page.count())
    };
    (clamp(after), clamp(until))
}

/// A batch holds one pass and one frame beyond it at most, which request limits bound.
fn offset(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_falls_on_the_frame_that_a_write_ended_in() {
        let batch = Batch {
            bytes: vec![0; 30],
            ends: vec![(10, 1), (20, 2), (30, 3)],
            through: 5,
            gaps: Vec::new(),
        };
        let cut = |start, written| {
            let cut = batch.cut(start, written);
            (cut.frames, cut.reached, cut.end)
        };
        assert_eq!(cut(0, 0), (0, None, 0));
        assert_eq!(cut(0, 1), (1, Some(1), 10));
        assert_eq!(cut(0, 10), (1, Some(1), 10));
        assert_eq!(cut(0, 11), (2, Some(2), 20));
        assert_eq!(cut(0, 30), (3, Some(3), 30));
        assert_eq!(cut(10, 0), (0, None, 10));
        assert_eq!(cut(10, 5), (1, Some(2), 20));
        assert_eq!(cut(20, 10), (1, Some(3), 30));
    }
}
