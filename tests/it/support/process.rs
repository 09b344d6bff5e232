//! The binary as a child process, to be killed without warning.

use std::{net::SocketAddr, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{Client, PATIENCE};

/// A running child, killed when dropped.
pub struct HubProcess {
    pub address: SocketAddr,
    pub client: Client,
    child: Child,
}

impl HubProcess {
    /// Starts the binary on a directory and waits until it serves.
    pub async fn start(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_timeback-events"))
            .env_clear()
            .env("INTEGRATION_SSE_PORT", "0")
            .env("INTEGRATION_DATA_DIR", directory)
            .env("LOG_LEVEL", "warn")
            .envs(variables.iter().copied())
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("it says that it serves");
        let first = first.expect("its output is text").expect("it serves");
        let address = first
            .strip_prefix("listening on http://")
            .expect("the contract's first line");
        let address = address.parse().expect("an address");
        Self {
            address,
            client: Client::new(address),
            child,
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// SIGKILL, and wait until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is killed");
    }

    /// Waits until it ends by itself.
    pub async fn wait(mut self) -> std::process::ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends")
            .expect("its status")
    }
}
