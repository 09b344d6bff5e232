//! A copy of a log in one file, also while a hub writes it.

use std::{fs::File, path::Path};

use super::schema;
use crate::event_log::OpenError;

/// Copies the log in a data directory, as it is at this moment, to a file that doesn't exist yet.
///
/// Put into an empty directory as `hub.db`, the copy is a log; the epoch that its opening begins tells it from
/// the original. A hub that runs meanwhile goes on writing, its journal grows until the copy is done.
/// Copying `hub.db` by other means loses what is in the journal.
///
/// # Errors
/// [`OpenError`] where there is no log, or the copy can't be written.
pub fn backup(directory: &Path, to: &Path) -> Result<(), OpenError> {
    let failed = |cause: String| OpenError::Failed {
        directory: directory.to_owned(),
        cause,
    };
    if to.exists() {
        return Err(failed(format!("{} exists already", to.display())));
    }
    let name = to
        .to_str()
        .ok_or_else(|| failed(format!("{} is not a name in UTF-8", to.display())))?;
    let connection = schema::open_reader(&directory.join(schema::FILE))
        .map_err(|e| super::refused(directory, e))?;
    let copied = connection
        .execute_batch("PRAGMA query_only = OFF")
        .and_then(|()| connection.execute("VACUUM INTO ?1", [name]).map(drop));
    copied.map_err(|e| failed(e.to_string()))?;
    let sync = || -> std::io::Result<()> {
        File::open(to)?.sync_all()?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    sync().map_err(|e| failed(e.to_string()))
}
