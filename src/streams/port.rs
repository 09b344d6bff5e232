//! How the rest of the server speaks to a loop.

use std::{collections::HashSet, sync::Arc, time::Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Closing, Opening, Sink, batch::Batch, reading::Making};
use crate::{event_log::ReadError, tail::Wake};

/// A stream within its loop; never given to another stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Key {
    pub(super) fn token(self) -> mio::Token {
        mio::Token((self.generation as usize) << 32 | self.index as usize)
    }

    pub(super) fn of(token: mio::Token) -> Self {
        Self {
            index: token.0 as u32,
            generation: (token.0 >> 32) as u32,
        }
    }
}

/// What a loop is told.
#[derive(Debug)]
pub(super) enum Command {
    /// A new stream.
    Open(Box<Opening>, Sink),
    /// All streams, or those of some owners, are to end.
    End {
        /// Whose.
        whose: Whose,
        /// Why.
        closing: Closing,
        /// When those that are still behind are cut.
        deadline: Instant,
        /// The how manieth end this is.
        number: u64,
    },
    /// A body that was full has room again.
    Room(Key),
    /// A body's reader is gone.
    Gone(Key),
    /// A page of the log that a stream asked for.
    Read(Key, Result<Batch, ReadError>),
    /// The next of a stream's opening frames, and what makes the others; `None`: it has all of them.
    Made(Key, Option<(Bytes, Making)>),
    /// The loop is to end.
    Stop,
}

/// Whose streams are to end.
#[derive(Debug, Clone)]
pub(super) enum Whose {
    All,
    Owners(Arc<HashSet<u64>>),
}

impl Whose {
    pub(super) fn includes(&self, owner: Option<u64>) -> bool {
        match self {
            Self::All => true,
            Self::Owners(owners) => owner.is_some_and(|owner| owners.contains(&owner)),
        }
    }
}

/// A loop's letter box. Each stream has at most one page or opening frame, one note of room and one of its end in it, so
/// it is bounded by the number of streams.
#[derive(Debug)]
pub(super) struct Port {
    commands: Mutex<Vec<Command>>,
    wake: Arc<Wake>,
}

impl Port {
    pub(super) fn new(wake: Arc<Wake>) -> Self {
        Self {
            commands: Mutex::default(),
            wake,
        }
    }

    pub(super) fn send(&self, command: Command) {
        self.commands.lock().push(command);
        self.wake.wake();
    }

    /// Takes what has arrived; `into` must be empty and is swapped in.
    pub(super) fn take(&self, into: &mut Vec<Command>) {
        std::mem::swap(&mut *self.commands.lock(), into);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.lock().is_empty()
    }

    pub(super) fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }
}
