//! The binary as somebody at a terminal runs it, and what it says.

use std::{net::SocketAddr, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

use crate::support::PATIENCE;

pub(super) fn command(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_timeback-events"));
    command
        .env_clear()
        .env("TIMEBACK_EVENTS_URL", format!("http://{address}"))
        .env("TZ", "UTC")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What a command that ends by itself has left.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

pub(super) async fn run(address: SocketAddr, arguments: &[&str]) -> Ended {
    end_of(command(address, arguments)).await
}

pub(super) async fn end_of(mut command: Command) -> Ended {
    let output = timeout(PATIENCE, command.output())
        .await
        .expect("it ends")
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended {
        code: output.status.code().expect("no signal ended it"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A command that goes on.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) out: Lines<BufReader<ChildStdout>>,
    pub(super) err: Lines<BufReader<ChildStderr>>,
}

impl Running {
    pub(super) fn start(address: SocketAddr, arguments: &[&str]) -> Self {
        let mut child = command(address, arguments).spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("its output")).lines();
        let err = BufReader::new(child.stderr.take().expect("its notes")).lines();
        Self { child, out, err }
    }

    pub(super) async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.out.next_line());
        line.await.expect("in time").expect("text").expect("a line")
    }

    pub(super) async fn json(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }

    /// Waits for a note with these words.
    pub(super) async fn note(&mut self, words: &str) -> String {
        loop {
            let line = timeout(PATIENCE, self.err.next_line()).await;
            let line = line
                .unwrap_or_else(|_| panic!("a note with {words:?}"))
                .expect("text")
                .unwrap_or_else(|| panic!("it ended without a note of {words:?}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(super) async fn interrupt(mut self) -> i32 {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().await;
        assert!(sent.expect("kill runs").success());
        self.code().await
    }

    pub(super) async fn code(&mut self) -> i32 {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends");
        status.expect("a status").code().expect("an exit code")
    }
}
