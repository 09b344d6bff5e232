//! The data directory: whose it is, and room kept back for the day that the disk is full.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
};

use crate::event_log::OpenError;

/// Bytes kept back, enough to checkpoint and prune with on a full disk.
const BALLAST: u64 = 4 * 1024 * 1024;

/// Without the ballast, a disk with less than this free counts as full: what is left is for pruning.
const RESERVE: u64 = 2 * BALLAST;

/// What has to be free before the ballast is taken up.
const PLENTY: u64 = 4 * BALLAST;

/// What is written to find out whether a disk is full.
const TRIED: usize = 64 * 1024;

/// The file that is locked.
pub(super) const LOCK: &str = "lock";

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
        let failed = |e: std::io::Error| OpenError::Failed {
            directory: directory.to_owned(),
            cause: e.to_string(),
        };
        let path = directory.join(LOCK);
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
                let pid = file
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.trim().parse().ok());
                return Err(OpenError::InUse {
                    directory: directory.to_owned(),
                    pid,
                });
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
        let present =
            std::fs::metadata(directory.join("ballast")).is_ok_and(|m| m.len() == BALLAST);
        let mut ballast = Self {
            directory: directory.to_owned(),
            present,
        };
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
        if self.present || free_bytes(&self.directory).is_none_or(|free| free < PLENTY) {
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

    /// Bytes that the disk lacks of what has to be left for pruning. None while the ballast is there.
    pub(super) fn shortage(&self) -> u64 {
        if self.present {
            return 0;
        }
        free_bytes(&self.directory).map_or(0, |free| RESERVE.saturating_sub(free))
    }

    fn path(&self) -> PathBuf {
        self.directory.join("ballast")
    }
}

/// Whether no more can be written in a directory for want of room, which SQLite doesn't always tell from other
/// failures.
pub(super) fn is_exhausted(directory: &Path) -> bool {
    let path = directory.join("room");
    let tried = File::create(&path).and_then(|mut file| file.write_all(&[0; TRIED]));
    let _ = std::fs::remove_file(path);
    tried.is_err_and(|e| matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// Bytes that this process may still write on the disk of a directory, where the system can say.
fn free_bytes(directory: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(directory).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_is_given_back_and_taken_up_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ballast");
        let mut ballast = Ballast::new(directory.path());
        assert_eq!(std::fs::metadata(&file).expect("there").len(), BALLAST);
        ballast.release();
        assert!(!file.exists());
        ballast.restore();
        assert!(file.exists() && ballast.shortage() == 0);
    }

    #[test]
    fn a_disk_with_room_is_not_full() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(!is_exhausted(directory.path()));
        assert_eq!(
            std::fs::read_dir(directory.path())
                .expect("readable")
                .count(),
            0
        );
    }
}
