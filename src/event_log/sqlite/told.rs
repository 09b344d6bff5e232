//! SQLite's errors in words that point the right way. Its own call a damaged file a malformed *disk image*, and one that
//! was cut short a *disk* error, for which people change disks.

use rusqlite::{Error, ErrorCode, ffi::SQLITE_IOERR_SHORT_READ};

use super::schema::FILE;

/// What happened, and what to do about it.
pub(super) fn told(error: &Error) -> String {
    if !is_damage(error) {
        return error.to_string();
    }
    let code = error.sqlite_error().map_or(0, |found| found.extended_code);
    format!(
        "{FILE} is damaged (SQLite's code {code}); `timeback-events log verify` says where, and `log salvage` copies \
         what is good into another directory"
    )
}

/// Whether the file's own bytes are wrong, rather than that they can't be had.
fn is_damage(error: &Error) -> bool {
    let code = error.sqlite_error_code();
    let extended = error.sqlite_error().map(|found| found.extended_code);
    matches!(
        code,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    ) || extended == Some(SQLITE_IOERR_SHORT_READ)
}
