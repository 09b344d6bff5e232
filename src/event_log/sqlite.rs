//! The embedded log.

use std::path::Path;

use super::{OpenError, OpenLog};

/// Opens or makes the log in a directory.
///
/// # Errors
/// [`OpenError`].
pub fn open(_directory: &Path) -> Result<OpenLog, OpenError> {
    todo!()
}
