//! Connections for readers: made on demand, at most [`MOST`] in use at once.

use std::path::PathBuf;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::{schema, told::told};
use crate::event_log::ReadError;

/// Reads that run at once; more wait for one of them. SQLite gains nothing from more than cores.
const MOST: usize = 8;

/// The read-only connections of one log.
#[derive(Debug)]
pub(super) struct Pool {
    path: PathBuf,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Connection>,
    busy: usize,
}

/// One of the [`MOST`], given back when dropped, also by a panic.
struct Slot<'a>(&'a Pool);

impl Pool {
    /// Connections to this file; none is made yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Lends a connection, with one transaction open on it: all that is read in it is of one moment.
    ///
    /// # Errors
    /// Where no connection can be made, or what `work` says.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        let mut state = self.state.lock();
        while state.busy == MOST {
            self.freed.wait(&mut state);
        }
        state.busy += 1;
        let idle = state.idle.pop();
        drop(state);
        let _slot = Slot(self);
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.path).map_err(|e| ReadError(e.to_string()))?,
        };
        let result = in_transaction(&connection, work).map_err(|e| ReadError(told(&e)));
        if connection.is_autocommit() {
            self.state.lock().idle.push(connection);
        }
        result
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.state.lock().busy -= 1;
        self.0.freed.notify_one();
    }
}

fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    let result = work(connection)?;
    transaction.finish()?;
    Ok(result)
}
