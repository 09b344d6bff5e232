//! What an operator does to a log by hand: look for damage, copy what is good, back up.

pub use super::sqlite::{
    backup::backup,
    look::{is_readable, may_open},
    salvage::salvage,
    verify::verify,
};

/// What [`verify`] found, or [`salvage`] left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Good events.
    pub events: u64,
    /// Blocks, the rows that hold them.
    pub blocks: u64,
    /// Damaged or missing events, from the first to the last, in order.
    pub damaged: Vec<(u64, u64)>,
    /// Whatever else is wrong, a sentence each.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.problems.is_empty()
    }

    /// Adds damage, joined to what it follows.
    pub(super) fn add_damage(&mut self, first: u64, last: u64) {
        match self.damaged.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => self.damaged.push((first, last)),
        }
    }
}
