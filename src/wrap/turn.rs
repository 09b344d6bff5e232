//! Which id a wrapper without `--id` goes by: wrappers of one command share theirs as instances, and wrappers of
//! different commands that would be called the same get `:2`, `:3` …, for as long as the others live.
//!
//! It is settled by locks in a directory of the user's, so that it also holds while the hub is away, and ends with
//! the process, however that ends.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// An id that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    id: String,
    _held: Option<File>,
}

impl Turn {
    /// Takes `id`, or the first free `id:N`, for the command of that fingerprint. If the machine gives no place for
    /// locks, it is `id`.
    pub(super) fn take(id: &str, fingerprint: &str) -> Self {
        let taken = directory().and_then(|directory| Self::take_in(&directory, id, fingerprint));
        taken.unwrap_or_else(|_| Self {
            id: id.to_owned(),
            _held: None,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn take_in(directory: &Path, id: &str, fingerprint: &str) -> io::Result<Self> {
        // One decides at a time; the decision is a few system calls.
        let deciding = open(&directory.join("deciding"))?;
        deciding.lock()?;
        for number in 1..=MOST {
            let id = match number {
                1 => id.to_owned(),
                _ => format!("{id}:{number}"),
            };
            let mut file = open(&directory.join(format!("{id}.id")))?;
            if file.try_lock().is_ok() {
                // Nobody alive has it.
                file.set_len(0)?;
                file.write_all(fingerprint.as_bytes())?;
                file.unlock()?;
            } else {
                let mut holder = String::new();
                file.rewind()?;
                file.read_to_string(&mut holder)?;
                if holder != fingerprint {
                    continue;
                }
            }
            file.lock_shared()?;
            return Ok(Self {
                id,
                _held: Some(file),
            });
        }
        Err(io::Error::other("too many wrappers of this name"))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// A directory that is this user's alone.
fn directory() -> io::Result<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let directory = match std::env::var_os("XDG_RUNTIME_DIR").filter(|set| !set.is_empty()) {
        Some(runtime) => PathBuf::from(runtime).join("timeback-events"),
        None => std::env::temp_dir().join(format!("timeback-events-{own}")),
    };
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(&directory)?;
    if !found.is_dir() || found.uid() != own {
        return Err(io::Error::other(
            "somebody else made the directory of locks",
        ));
    }
    Ok(directory)
}

/// Wrappers of different commands that go by one name at once, at most.
const MOST: usize = 99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_shares_its_id_and_another_gets_a_number() {
        let directory = tempfile::tempdir().unwrap();
        let take =
            |fingerprint: &str| Turn::take_in(directory.path(), "files", fingerprint).unwrap();
        let (first, twin) = (take("a"), take("a"));
        assert_eq!((first.id(), twin.id()), ("files", "files"));
        let other = take("b");
        assert_eq!(other.id(), "files:2");
        assert_eq!(take("c").id(), "files:3");
        drop(first);
        assert_eq!(take("b").id(), "files:2", "its twin still lives");
        drop(twin);
        assert_eq!(take("d").id(), "files");
    }
}
