//! The binary as a child process, to be killed without warning.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
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
    log: Log,
}

/// What a child says on standard error, line by line.
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    reading: tokio::task::JoinHandle<()>,
}

impl HubProcess {
    /// Starts the binary on a directory and waits until it serves.
    pub async fn start(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let started = Self::try_start(directory, variables).await;
        started.unwrap_or_else(|refused| panic!("it serves: {refused:?}"))
    }

    /// The same; where it ends instead of serving, what it said.
    pub async fn try_start(directory: &Path, variables: &[(&str, &str)]) -> Result<Self, Output> {
        let command = Command::new(env!("CARGO_BIN_EXE_timeback-events"));
        Self::run(command, directory, variables).await
    }

    /// Starts the binary with so many files that it may open.
    pub async fn start_with_files(directory: &Path, files: usize) -> Self {
        let mut command = Command::new("/bin/sh");
        let binary = env!("CARGO_BIN_EXE_timeback-events");
        command.args(["-c", &format!("ulimit -n {files}; exec '{binary}'")]);
        let started = Self::run(command, directory, &[]).await;
        started.unwrap_or_else(|refused| panic!("it serves: {refused:?}"))
    }

    async fn run(
        mut command: Command,
        directory: &Path,
        variables: &[(&str, &str)],
    ) -> Result<Self, Output> {
        let mut child = command
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
        let log = Log::read(child.stderr.take().expect("its log"));
        let first = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("it says that it serves, or ends");
        let Some(first) = first.expect("its output is text") else {
            let status = child.wait().await.expect("its status");
            return Err(Output {
                status,
                stdout: Vec::new(),
                stderr: log.read_to_end().await.join("\n").into_bytes(),
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
            log,
        })
    }

    /// SIGTERM, and wait until it is gone.
    pub async fn terminate(self) -> std::process::ExitStatus {
        self.signal("TERM").await;
        self.wait().await
    }

    /// Sends a signal, such as `HUP`.
    pub async fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .await;
        assert!(sent.expect("a signal").success());
    }

    /// How many lines of its log hold this text, so far.
    pub fn logged(&self, text: &str) -> usize {
        let lines = self.log.lines.lock().expect("no panic");
        lines.iter().filter(|line| line.contains(text)).count()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// SIGKILL, and wait until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is killed");
    }

    /// The same, and all that it logged.
    pub async fn kill_and_read(mut self) -> Vec<String> {
        self.child.kill().await.expect("it is killed");
        self.log.read_to_end().await
    }

    /// Waits until it ends by itself.
    pub async fn wait(mut self) -> std::process::ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends")
            .expect("its status")
    }
}

impl Log {
    fn read(stderr: tokio::process::ChildStderr) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let reading = tokio::spawn(async move {
            let mut said = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = said.next_line().await {
                eprintln!("{line}");
                log.lock().expect("no panic").push(line);
            }
        });
        Self { lines, reading }
    }

    /// Waits until the process has said its last.
    async fn read_to_end(self) -> Vec<String> {
        self.reading.await.expect("no panic");
        std::mem::take(&mut self.lines.lock().expect("no panic"))
    }
}
