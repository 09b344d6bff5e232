//! The durable, ordered log: what an acknowledgement means.
//!
//! A log has one writer, owned by the hub's thread, and any number of readers. What [`LogWriter::append`]
//! has answered `Ok` to is on the disk; what it refused left no trace. Readers see only what is durable.
//! No reader holds a transaction open between two calls, so none can pin the log's journal.

pub mod epochs;
pub mod memory;
pub mod sqlite;
pub mod through;
pub mod tools;

use std::{io::Read, ops::ControlFlow, path::PathBuf, sync::Arc, time::Duration};

pub use epochs::Epochs;

use crate::{
    domain::{Json, Position, Record, ServerId},
    filter::Filter,
};

/// The side of a log that changes it. There is one, and the hub's thread owns it.
pub trait LogWriter: Send {
    /// Appends events that follow the head without a hole, and remembers answers, in one commit: all or
    /// nothing, durable when it returns.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended then.
    fn append(
        &mut self,
        records: &[Record<'_>],
        answers: &[Remembered],
    ) -> Result<(), AppendError> {
        self.append_noting(records, answers, &[])
    }

    /// The same, and keeps notes beside the log in that commit: the newest of each key holds.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended or noted then.
    fn append_noting(
        &mut self,
        records: &[Record<'_>],
        answers: &[Remembered],
        notes: &[SavedNote],
    ) -> Result<(), AppendError>;

    /// The answer that was given to an idempotency key within its time, or `None`.
    ///
    /// # Errors
    /// Where the store can't be read.
    fn recall(&mut self, key: &KeyHash, now: i64) -> Result<Option<Remembered>, ReadError>;

    /// Drops a slice of what retention no longer keeps, small enough not to hold up commits, and gives
    /// space back. Never drops an event that is not in the newest snapshot yet.
    ///
    /// # Errors
    /// [`AppendError`].
    fn prune(&mut self, retention: &Retention, now: i64) -> Result<Pruned, AppendError>;

    /// Begins to keep the state as of `sequence`, so that a start folds only what came after. Its bytes come in
    /// parts, between which commits go on; one that was begun before and isn't whole is given up.
    ///
    /// # Errors
    /// [`AppendError`].
    fn begin_snapshot(&mut self, sequence: u64) -> Result<(), AppendError>;

    /// Keeps the next part, of about [`SNAPSHOT_PART`] bytes.
    ///
    /// # Errors
    /// [`AppendError`].
    fn add_to_snapshot(&mut self, part: &[u8]) -> Result<(), AppendError>;

    /// Keeps the last part. From now on the snapshot counts.
    ///
    /// # Errors
    /// [`AppendError`].
    fn finish_snapshot(&mut self, last: &[u8]) -> Result<(), AppendError>;

    /// Keeps a whole state at once, as tools and tests do.
    ///
    /// # Errors
    /// [`AppendError`].
    fn save_snapshot(&mut self, sequence: u64, state: &[u8]) -> Result<(), AppendError> {
        self.begin_snapshot(sequence)?;
        for part in state.chunks(SNAPSHOT_PART) {
            self.add_to_snapshot(part)?;
        }
        self.finish_snapshot(&[])
    }

    /// Keeps when servers were last seen, in one batch; replaces what was kept before.
    ///
    /// # Errors
    /// [`AppendError`].
    fn save_leases(&mut self, leases: &[SavedLease]) -> Result<(), AppendError>;

    /// Tries whether the log can be written (after it was full, say).
    ///
    /// # Errors
    /// [`AppendError`] with the reason why not.
    fn probe(&mut self) -> Result<(), AppendError>;
}

/// What a read calls for each thing that it finds, until it breaks off.
pub type Visit<'a> = &'a mut dyn FnMut(Item<'_>) -> ControlFlow<()>;

/// Takes a snapshot, given the place that it stands at and its bytes. Says whether it could be used; it reads to the end.
pub type TakeSnapshot<'a> = &'a mut dyn FnMut(u64, &mut dyn Read) -> bool;

/// The side of a log that reads it. Calls block on the disk: not for async tasks.
pub trait LogReader: Send + Sync {
    /// Where the log stands. Never touches the disk.
    fn info(&self) -> LogInfo;

    /// The epochs of the log. Never touches the disk.
    fn epochs(&self) -> Arc<Epochs>;

    /// Hands the wanted events between two places to `visit`, in order, at most one page of work; then says
    /// how far it got. Damaged events are visited as [`Item::Corrupt`], whatever the filter.
    ///
    /// # Errors
    /// [`ReadError`].
    fn read(
        &self,
        range: &ReadRange,
        filter: &Filter,
        visit: Visit<'_>,
    ) -> Result<Scanned, ReadError>;

    /// The place before the first event, by sequence, whose timestamp is at or after `time`; the head where
    /// there is none. Also whether events at or after `time` were pruned.
    ///
    /// # Errors
    /// [`ReadError`].
    fn place_at_time(&self, time: i64) -> Result<PlaceAtTime, ReadError>;

    /// Hands snapshots to `take`, newest first, until one is whole and taken; says which.
    ///
    /// # Errors
    /// [`ReadError`].
    fn read_snapshot(&self, take: TakeSnapshot<'_>) -> Result<Option<u64>, ReadError>;

    /// The newest whole snapshot in one piece, as tests want it, and the place that it stands at.
    ///
    /// # Errors
    /// [`ReadError`].
    fn load_snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, ReadError> {
        let mut state = Vec::new();
        let at = self.read_snapshot(&mut |_, bytes| {
            state.clear();
            bytes.read_to_end(&mut state).is_ok()
        })?;
        Ok(at.map(|at| (at, state)))
    }

    /// What [`LogWriter::save_leases`] kept last.
    ///
    /// # Errors
    /// [`ReadError`].
    fn load_leases(&self) -> Result<Vec<SavedLease>, ReadError>;

    /// The notes that are kept beside the log.
    ///
    /// # Errors
    /// [`ReadError`].
    fn load_notes(&self) -> Result<Vec<SavedNote>, ReadError>;
}

/// Where a log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogInfo {
    /// The oldest kept event's sequence; `head + 1` where none is kept.
    pub floor: u64,
    /// The newest event's sequence; 0 in a log that never had one.
    pub head: u64,
    /// Bytes on the disk, of all that is kept.
    pub bytes: u64,
}

/// What became of a place that a client named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Located {
    /// The stream can go on right after this sequence.
    Kept(u64),
    /// An event after it was pruned.
    Expired,
    /// It belongs to another log.
    UnknownLog,
}

impl LogInfo {
    /// Finds a place again.
    #[must_use]
    pub fn locate(&self, epochs: &Epochs, place: Position) -> Located {
        if !epochs.contains(place, self.head) {
            return Located::UnknownLog;
        }
        if place.sequence + 1 < self.floor {
            Located::Expired
        } else {
            Located::Kept(place.sequence)
        }
    }
}

/// What to read: the events after `after`, up to and including `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRange {
    /// The place to start after (ascending), or to stop at (descending).
    pub after: u64,
    /// The last event to consider.
    pub until: u64,
    /// Oldest or newest first.
    pub order: Order,
    /// How many events of the log may be looked at in one call, roughly.
    pub scan_limit: usize,
}

/// The order of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// One thing that a read finds.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// A wanted event.
    Event(Record<'a>),
    /// Events that are stored but damaged, from the first to the last of them.
    Corrupt {
        /// The first unreadable one.
        first: u64,
        /// The last unreadable one.
        last: u64,
    },
}

/// How far a read got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// Ascending: everything up to and including this was considered. Descending: everything from
    /// this + 1 on was.
    pub through: u64,
    /// Ascending: the floor overtook the range's start; the read began at the floor. The place just before it.
    pub overtaken: Option<u64>,
}

/// Where a time lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceAtTime {
    /// The place to start after.
    pub after: u64,
    /// Events at or after that time were pruned.
    pub pruned: bool,
}

/// What is kept, whichever bound is reached first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Oldest age; `None` while pruning by age is suspended.
    pub age: Option<Duration>,
    /// Most events.
    pub events: u64,
    /// Most bytes of events. Snapshots, remembered answers and indices don't count.
    pub bytes: u64,
    /// Most remembered answers.
    pub idempotency_keys: u64,
    /// Most bytes of remembered answers.
    pub idempotency_bytes: u64,
}

/// What a slice of pruning did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events dropped.
    pub events: u64,
    /// Whether more waits to be dropped.
    pub more: bool,
}

/// Bytes of a part of a snapshot: what a commit that waits for one to be kept hardly feels.
pub const SNAPSHOT_PART: usize = 256 * 1024;

/// A hash of caller, path and idempotency key.
pub type KeyHash = [u8; 16];

/// An answer that is kept for the repeat of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Caller, path and key.
    pub key: KeyHash,
    /// The request's body.
    pub request: KeyHash,
    /// When it was given, epoch ms.
    pub timestamp: i64,
    /// The place it was given at: `Last-Event-ID`.
    pub sequence: u64,
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Option<Json>,
}

/// When a server was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedLease {
    /// Who.
    pub server: ServerId,
    /// Which connection, by the sequence of its `server_connected`.
    pub connection: u64,
    /// When, epoch ms.
    pub last_seen_at: i64,
}

/// Something that is kept beside the log and is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedNote {
    /// What it is kept under.
    pub key: String,
    /// Its text; `None` where nothing is to be kept under that key any more.
    pub body: Option<String>,
}

/// Why a commit failed. Nothing of it is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No room on the disk: refused until there is.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The disk can't be written for another reason.
    #[error("the log can't be written: {0}")]
    Unwritable(String),
    /// It isn't known whether the commit is durable (a failed sync): the process must end and open the log anew.
    #[error("the log's state is unknown: {0}")]
    Unknown(String),
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
#[error("the log can't be read: {0}")]
pub struct ReadError(pub String);

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("data directory {} is in use by another process{}", .directory.display(), .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// Which directory.
        directory: PathBuf,
        /// Whose it is, where the lock file says.
        pid: Option<u32>,
    },
    /// Written by a newer version.
    #[error("data directory {} was written by a newer version (schema {found}; this one knows {known})", .directory.display())]
    TooNew {
        /// Which directory.
        directory: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// Anything else.
    #[error("data directory {}: {cause}", .directory.display())]
    Failed {
        /// Which directory.
        directory: PathBuf,
        /// Why.
        cause: String,
    },
}

/// An opened log.
pub struct OpenLog {
    /// Its writer.
    pub writer: Box<dyn LogWriter>,
    /// Its readers.
    pub reader: Arc<dyn LogReader>,
}

/// Opens the log in a directory (made where it is missing), or one in memory, and begins a new epoch.
///
/// # Errors
/// [`OpenError`].
pub fn open(directory: Option<&std::path::Path>) -> Result<OpenLog, OpenError> {
    match directory {
        Some(directory) => sqlite::open(directory),
        None => Ok(memory::open()),
    }
}
