//! From the log to the state: the newest snapshot, and every event since.

use std::ops::ControlFlow;

use tracing::{error, info, warn};

use crate::{
    domain::{Event, Note, Policy, State},
    event_log::{Item, LogReader, Order, ReadError, ReadRange, SavedNote},
    filter::Filter,
};

/// Why the state can't be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log begins after an event that no snapshot holds.
    #[error(
        "the log begins at event {floor}, but the newest readable snapshot ends at event {snapshot}: \
         what lies between can't be known; restore a backup"
    )]
    MissingSnapshot {
        /// The oldest kept event.
        floor: u64,
        /// The last event that is in the newest readable snapshot.
        snapshot: u64,
    },
}

/// The state as the log tells it.
pub(super) struct Recovered {
    pub(super) state: State,
    /// The last event in the snapshot that it was made of.
    pub(super) snapshot: u64,
    /// Notes that belong to nothing in it any more.
    pub(super) stale: Vec<SavedNote>,
}

/// Folds the log, then what is kept beside it. Damaged events are told by their sequence and passed over: they may have changed nothing,
/// and a hub that refuses to start helps nobody.
pub(super) fn recover(reader: &dyn LogReader, policy: &Policy) -> Result<Recovered, RecoveryError> {
    let mut state = State::default();
    reader.read_snapshot(&mut |sequence, bytes| match State::restore_from(bytes) {
        Ok(restored) => {
            state = restored;
            true
        }
        Err(cause) => {
            error!(
                sequence,
                "the snapshot at event {sequence} can't be read ({cause})"
            );
            false
        }
    })?;
    let (info, epochs, from) = (reader.info(), reader.epochs(), state.sequence);
    if from + 1 < info.floor {
        return Err(RecoveryError::MissingSnapshot {
            floor: info.floor,
            snapshot: from,
        });
    }
    let mut after = from;
    while after < info.head {
        let range = ReadRange {
            after,
            until: info.head,
            order: Order::Ascending,
            scan_limit: PAGE,
        };
        let scanned = reader.read(&range, &Filter::all(), &mut |item| {
            match item {
                Item::Event(record) => match Event::from_record(&record, epochs.name(record.sequence)) {
                    Ok(event) => state.evolve(&event, policy),
                    Err(unreadable) => error!(sequence = unreadable.sequence, "{unreadable}"),
                },
                Item::Corrupt { first, last } => {
                    error!(first, last, "events {first} to {last} are damaged: what they changed is not in the state");
                }
            }
            ControlFlow::Continue(())
        })?;
        after = scanned.through;
    }
    state.sequence = info.head;
    info!(
        head = info.head,
        folded = info.head - from,
        "recovered the state at event {}",
        info.head
    );
    let stale = take_notes(reader, &mut state)?;
    Ok(Recovered {
        state,
        snapshot: from,
        stale,
    })
}

/// Takes in what is kept beside the log. What belongs to a connection that is over is to be dropped.
fn take_notes(reader: &dyn LogReader, state: &mut State) -> Result<Vec<SavedNote>, ReadError> {
    let mut stale = Vec::new();
    for saved in reader.load_notes()? {
        let note = saved.body.as_deref().map(Note::read);
        let fits = match note {
            Some(Ok(note)) => state.note(&note),
            Some(Err(cause)) => {
                warn!(
                    "the note {} can't be read ({cause}), and is dropped",
                    saved.key
                );
                false
            }
            None => false,
        };
        if !fits {
            stale.push(SavedNote {
                body: None,
                ..saved
            });
        }
    }
    Ok(stale)
}

/// Events looked at in one read.
const PAGE: usize = 10_000;
