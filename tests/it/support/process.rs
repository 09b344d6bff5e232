//! The binary as a child process, to be killed without warning.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Output, Stdio},
};

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
        let started = Self::try_start(directory, variables).await;
        started.unwrap_or_else(|refused| panic!("it serves: {refused:?}"))
    }

    /// The same; where it ends instead of serving, what it said.
    pub async fn try_start(directory: &Path, variables: &[(&str, &str)]) -> Result<Self, Output> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_timeback-events"))
            .env_clear()
            .env("INTEGRATION_SSE_PORT", "0")
            .env("INTEGRATION_DATA_DIR", directory)
            .env("LOG_LEVEL", "warn")
            .envs(variables.iter().copied())
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut said = BufReader::new(child.stderr.take().expect("its log")).lines();
        let log = tokio::spawn(async move {
            let mut log = Vec::new();
            while let Ok(Some(line)) = said.next_line().await {
                eprintln!("{line}");
                log.extend_from_slice(line.as_bytes());
                log.push(b'\n');
            }
            log
        });
        let first = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("it says that it serves, or ends");
        let Some(first) = first.expect("its output is text") else {
            let status = child.wait().await.expect("its status");
            let stderr = log.await.expect("its log");
            return Err(Output {
                status,
                stdout: Vec::new(),
                stderr,
            });
        };
        let address = first
            .strip_prefix("listening on http://")
            .expect("the contract's first line");
        let address = address.parse().expect("an address");
        Ok(Self {
            address,
            client: Client::new(address),
            child,
        })
    }

    /// SIGTERM, and wait until it is gone.
    pub async fn terminate(self) -> std::process::ExitStatus {
        let sent = Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status()
            .await;
        assert!(sent.expect("a signal").success());
        self.wait().await
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
