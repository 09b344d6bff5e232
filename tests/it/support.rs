//! A real server on a free port with a directory of its own, and clients that wait for what they expect.

mod client;
mod crowd;
mod disk;
mod preloaded;
mod process;
mod server;
mod stream;
mod tls;

pub use client::{Client, Reply};
pub use crowd::{Crowd, Delays};
pub use disk::{LoopDisk, SmallDisk};
pub use preloaded::Preloaded;
pub use process::HubProcess;
pub use server::TestHub;
pub use stream::{EventStream, Frame};
pub use tls::EncryptedHub;

/// How long a test waits for what must come. Reached only by a test that fails: on a machine that has other work, a sync of
/// its disk alone may take half a minute.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A number from the environment, such as how long a test is to run.
pub fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Bytes of a process that are in memory.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("its size");
    let kilobytes = line.trim().trim_end_matches("kB").trim();
    kilobytes.parse::<u64>().expect("a number") << 10
}

/// Waits until so many streams are open.
pub async fn until_streams(client: &Client, wanted: u64) {
    until(PATIENCE, &format!("{wanted} streams"), async || {
        client.get("/status").await.json()["sseClients"] == wanted
    })
    .await;
}

/// Asks again until it is so, for so long at most; `what` says what was waited for.
pub async fn until(patience: std::time::Duration, what: &str, is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(patience, waiting).await.is_err() {
        panic!("waited {patience:?} for {what}");
    }
}
