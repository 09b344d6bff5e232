//! How a handler gives an accepted stream to whoever holds the client's socket, instead of a body.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Opening;

/// In a request's extensions: the socket can be handed over, if the answer is a stream.
#[derive(Debug, Clone, Copy)]
pub struct DirectSocket;

/// In a response's extensions: the stream that the socket is to be handed over for. The response's head is
/// to be written before it, and its (empty) body to be dropped.
#[derive(Debug, Clone)]
pub struct Handoff(Arc<Mutex<Option<Opening>>>);

impl Handoff {
    /// Of a stream to open.
    #[must_use]
    pub fn new(opening: Opening) -> Self {
        Self(Arc::new(Mutex::new(Some(opening))))
    }

    /// Takes the stream out; `None` where somebody has.
    #[must_use]
    pub fn take(&self) -> Option<Opening> {
        self.0.lock().take()
    }
}
