//! The data directory: whose it is, and room kept back for the day that the disk is full.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use crate::event_log::OpenError;

/// Bytes kept back, enough to checkpoint and prune with on a full disk.
const BALLAST: u64 = 4 * 1024 * 1024;

/// A disk with less than this free is full.
const FULL_BELOW: u64 = 256 * 1024;

/// Holds the directory for this process until dropped. The system lets go of it when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory.
    ///
    /// # Errors
    /// [`OpenError::InUse`] where another process has it, [`OpenError::Failed`] where it can't be written.
    pub(super) fn take(directory: &Path) -> Result<Self, OpenError> {
        let failed =
            |e: std::io::Error| OpenError::Failed { directory: directory.to_owned(), cause: e.to_string() };
        let path = directory.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(OpenError::InUse { directory: directory.to_owned(), pid });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        // A lock file that can't be written (a full disk) still locks.
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }
}

/// A file that takes up room until it is needed.
#[derive(Debug)]
pub(super) struct Ballast {
    directory: PathBuf,
    present: bool,
}

impl Ballast {
    /// Takes up the room in a directory, unless the disk has little left.
    pub(super) fn new(directory: &Path) -> Self {
        let present = std::fs::metadata(directory.join("ballast")).is_ok_and(|m| m.len() == BALLAST);
        let mut ballast = Self { directory: directory.to_owned(), present };
        ballast.restore();
        ballast
    }

    /// Gives the room back.
    pub(super) fn release(&mut self) {
        if self.present && std::fs::remove_file(self.path()).is_ok() {
            self.present = false;
            tracing::warn!("the disk is full: gave back {BALLAST} bytes kept for this case");
        }
    }

    /// Takes the room up again once there is plenty.
    pub(super) fn restore(&mut self) {
        if self.present || free_bytes(&self.directory).is_none_or(|free| free < 8 * BALLAST) {
            return;
        }
        let zeros = vec![0_u8; 1024 * 1024];
        let fill = || -> std::io::Result<()> {
            let mut file = File::create(self.path())?;
            (0..BALLAST / zeros.len() as u64).try_for_each(|_| file.write_all(&zeros))
        };
        match fill() {
            Ok(()) => self.present = true,
            Err(_) => drop(std::fs::remove_file(self.path())),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("ballast")
    }
}

/// Whether the disk of a directory has nothing left.
pub(super) fn is_exhausted(directory: &Path) -> bool {
    free_bytes(directory).is_some_and(|free| free < FULL_BELOW)
}

/// Bytes that this process may still write on the disk of a directory, where the system can say.
fn free_bytes(directory: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(directory).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
