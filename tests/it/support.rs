//! A real server on a free port with a directory of its own, and clients that wait for what they expect.

mod client;
mod process;
mod server;
mod stream;
mod tls;

pub use client::{Client, Reply};
pub use process::HubProcess;
pub use server::TestHub;
pub use stream::EventStream;
pub use tls::EncryptedHub;

/// How long a test waits for what must come. Reached only by a test that fails.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
