//! Looks whether a log could be opened, and leaves nothing behind: no directory, no log, no lock.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _},
    path::Path,
};

use super::{refused, room::LOCK, schema};
use crate::event_log::OpenError;

/// Whether a directory can be taken: it is there, or can be made; it can be written; no other process has it.
///
/// # Errors
/// [`OpenError`].
pub fn may_open(directory: &Path) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::Failed {
        directory: directory.to_owned(),
        cause: error.to_string(),
    };
    let there = directory
        .ancestors()
        .find(|folder| folder.exists())
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(failed(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} is not a directory", there.display()),
        )));
    }
    try_writing(there).map_err(failed)?;
    let lock = directory.join(LOCK);
    let mut lock = match OpenOptions::new().read(true).write(true).open(lock) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = lock.read_to_string(&mut text);
            Err(OpenError::InUse {
                directory: directory.to_owned(),
                pid: read.ok().and_then(|_| text.trim().parse().ok()),
            })
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Whether the log in a directory, if there is one, is of a version that this one reads.
///
/// # Errors
/// [`OpenError`].
pub fn is_readable(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(schema::FILE);
    if !path.exists() {
        return Ok(());
    }
    schema::open_reader(&path)
        .map(drop)
        .map_err(|why| refused(directory, why))
}

/// What a mode or a mount allows is found out by trying only.
fn try_writing(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".writable-{}", std::process::id()));
    File::create(&path)?;
    std::fs::remove_file(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        assert!(may_open(&directory).is_ok());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
        std::fs::write(home.path().join("a"), "a file").unwrap();
        let told = may_open(&directory).unwrap_err().to_string();
        assert!(told.contains("not a directory"), "{told}");
    }

    #[test]
    fn a_log_that_is_open_is_in_use_and_stays_so() {
        let home = tempfile::tempdir().unwrap();
        let log = super::super::open(home.path()).unwrap();
        assert!(matches!(
            may_open(home.path()),
            Err(OpenError::InUse { pid: Some(_), .. })
        ));
        assert!(is_readable(home.path()).is_ok());
        drop(log);
        assert!(may_open(home.path()).is_ok());
        std::fs::write(home.path().join(schema::FILE), "no log").unwrap();
        assert!(is_readable(home.path()).is_err());
    }
}
