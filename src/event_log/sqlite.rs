//! The embedded log: one SQLite file in WAL mode, synced at every commit.
//!
//! A row is a *block* of records that were appended together, each with its own checksum, because SQLite has
//! none for its pages. Postings say which blocks hold which types, servers, workflows and tags. Every start
//! begins a new epoch, on the disk before anything else is written; so a crash, a restored copy or a lost
//! journal can re-use sequences, but never a position, and no side file with the last acknowledged sequence is
//! needed.

pub(super) mod backup;
pub mod block;
mod fetch;
mod leases;
pub(super) mod look;
mod notes;
mod pool;
mod prune;
mod read;
mod reader;
mod recover;
mod room;
pub(super) mod salvage;
mod schema;
mod seal;
mod search;
mod states;
mod terms;
mod told;
pub(super) mod verify;
mod writer;

use std::{fs::File, path::Path, sync::Arc};

use parking_lot::RwLock;

use self::{
    block::Packer,
    pool::Pool,
    reader::Reader,
    recover::{begin_epoch, standing},
    room::{Ballast, Lock},
    schema::Unusable,
    terms::TermIds,
    told::told,
    writer::{Measured, Writer},
};
use super::{Epochs, LogInfo, OpenError, OpenLog};

/// What the writer tells the readers.
#[derive(Debug)]
struct Shared {
    info: RwLock<LogInfo>,
    epochs: Arc<Epochs>,
}

/// Opens or makes the log in a directory, which is taken for this process alone.
///
/// # Errors
/// [`OpenError`].
pub fn open(directory: &Path) -> Result<OpenLog, OpenError> {
    let (writer, reader) = open_parts(directory)?;
    Ok(OpenLog {
        writer: Box::new(writer),
        reader: Arc::new(reader),
    })
}

fn open_parts(directory: &Path) -> Result<(Writer, Reader), OpenError> {
    let failed = |cause: String| OpenError::Failed {
        directory: directory.to_owned(),
        cause,
    };
    make_directory(directory).map_err(|e| failed(e.to_string()))?;
    let lock = Lock::take(directory)?;
    let mut ballast = Ballast::new(directory);
    let path = directory.join(schema::FILE);
    let connection = schema::open_writer(&path).map_err(|e| refused(directory, e))?;
    let unread = |e: rusqlite::Error| failed(told(&e));
    let mut standing = standing(&connection).map_err(unread)?;
    if let Err(e) = recover::count(&connection, &mut standing) {
        // A damaged page: more is kept than the settings say, rather than less.
        tracing::warn!("what the log holds can't be counted whole: {e}");
    }
    let epochs = begin_epoch(&connection, &standing).or_else(|_| {
        // On a full disk there is room for this at least.
        ballast.release();
        begin_epoch(&connection, &standing)
    });
    let epochs = Arc::new(epochs.map_err(unread)?);
    let info = LogInfo {
        floor: standing.bounds.floor,
        head: standing.head,
        bytes: 0,
    };
    let shared = Arc::new(Shared {
        info: RwLock::new(info),
        epochs,
    });
    let mut writer = Writer {
        connection,
        shared: shared.clone(),
        directory: directory.to_owned(),
        packer: Packer::default(),
        terms: TermIds::default(),
        standing,
        ballast,
        measured: Measured::default(),
        making: None,
        _lock: lock,
    };
    if let Err(e) = writer.commit(Writer::seal) {
        tracing::warn!("the log was opened, but can't be written: {e}");
        writer.measure(0);
    }
    Ok((
        writer,
        Reader {
            shared,
            pool: Pool::new(path),
        },
    ))
}

fn refused(directory: &Path, why: Unusable) -> OpenError {
    let directory = directory.to_owned();
    match why {
        Unusable::TooNew(found) => OpenError::TooNew {
            directory,
            found,
            known: schema::VERSION,
        },
        why => OpenError::Failed {
            directory,
            cause: why.to_string(),
        },
    }
}

/// Makes the directory, and makes sure that it is still there after a power cut.
fn make_directory(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(directory)?;
    match directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
