//! An event as the disk keeps it, so that a fold reads what a start would read.

use timeback_events::domain::{Event, event::Texts};

pub(crate) struct Stored {
    event: Event,
    texts: Texts,
}

impl Stored {
    pub(crate) fn of(event: Event) -> Self {
        Self {
            texts: Texts::of(&event.what),
            event,
        }
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.event.position.sequence
    }

    pub(crate) fn read(&self) -> Event {
        let record = self.texts.record(&self.event);
        Event::from_record(&record, self.event.position).expect("what was stored can be read")
    }
}
