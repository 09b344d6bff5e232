//! What must hold, whatever the bytes are: one function a target, which takes any bytes and panics where a promise is
//! broken. Two that throw bytes share them: the tests beside this one, and the coverage-guided fuzzer in `tests/fuzz` (which
//! finds them by their path, and so this file needs its name).
//!
//! Text that isn't UTF-8 is read as far as it makes sense, so that no target spends its time on refusing it.

pub(crate) mod blocks;
pub(crate) mod bodies;
pub(crate) mod events;
pub(crate) mod filters;
mod fleet;
pub(crate) mod ids;
pub(crate) mod queries;
pub(crate) mod records;
pub(crate) mod rows;

/// Takes any bytes; panics where a promise is broken.
pub(crate) type Target = fn(&[u8]);

/// The wall clock of all targets, epoch ms.
const NOW: i64 = 1_763_790_000_000;

fn text(input: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(input)
}
