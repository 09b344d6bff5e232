//! The newest frames, encoded once and shared, and "the head moved".

use crate::domain::Record;
use crate::event_log::Epochs;

/// The window over the newest events. Bounded in bytes; readers that fall out of it read the log.
#[derive(Debug)]
pub struct Tail {}

impl Tail {
    /// Adds durable events to the window, encoded once, and wakes whoever waits for them.
    pub fn publish(&self, _records: &[Record<'_>], _epochs: &Epochs) {
        todo!()
    }
}
