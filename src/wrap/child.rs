//! The wrapped process: started so that it doesn't outlive the wrapper, and ended as its client asks.

use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::command::{CHAIN, CommandLine};

/// Starts the command with pipes for its three streams. On Linux it is this program again that starts first, asks
/// the system to be killed with the wrapper, and then becomes the command.
///
/// The calling thread must live as long as the wrapper: the system takes its end for the wrapper's.
///
/// # Errors
/// If the system starts no process.
pub(super) fn start(command: &CommandLine, chain: &str) -> io::Result<Child> {
    let words = command.words();
    let mut process = if cfg!(target_os = "linux") {
        let mut process = Command::new(std::env::current_exe()?);
        process
            .arg(BECOME)
            .arg(std::process::id().to_string())
            .args(words);
        process
    } else {
        let mut process = Command::new(&words[0]);
        process.args(&words[1..]);
        process
    };
    process
        .env(CHAIN, command.link(chain))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Asks the system for pages of the usual size from here on: the allocator's huge ones, which make a hub fast, would
/// be most of what a wrapper takes. The command gets them back ([`become_command`]).
pub(crate) fn stay_small() {
    // If it can't be had, the wrapper is larger and as good.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// The first argument of this program that means [`become_command`].
pub(crate) const BECOME: &str = "wrap-become";

/// Dies with the parent from here on, and becomes the command: `PARENT PROGRAM [ARGUMENT…]`. Comes back only if
/// that fails, with the exit code that shells use for it.
pub(crate) fn become_command(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.skip(2);
    let parent = arguments.next().unwrap_or_default();
    let Some(program) = arguments.next() else {
        return ExitCode::from(2);
    };
    #[cfg(target_os = "linux")]
    {
        // If it fails, the end of standard input is still there to end the command.
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let _ = rustix::thread::disable_transparent_huge_pages(false);
        let alive = rustix::process::getppid()
            .is_some_and(|pid| parent.to_str() == Some(&*pid.as_raw_nonzero().to_string()));
        if !alive {
            // The wrapper was killed before the system was asked.
            return ExitCode::FAILURE;
        }
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!(
        "timeback-events wrap: {} can't be run: {error}",
        program.display()
    );
    ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    })
}

/// Sends signals to the child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handle(Option<Pid>);

impl Handle {
    pub(super) fn of(child: &Child) -> Self {
        Self(i32::try_from(child.id()).ok().and_then(Pid::from_raw))
    }

    /// That it is gone already is no error.
    pub(super) fn signal(self, signal: Signal) {
        if let Some(pid) = self.0 {
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it with all that it has started: a runner such as `npx` passes no kill on.
    pub(super) fn kill_all(self) {
        if let Some(pid) = self.0 {
            let family = descendants(pid.as_raw_nonzero().get());
            self.signal(Signal::KILL);
            for pid in family.into_iter().filter_map(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The processes that stem from one, as far as the system tells.
fn descendants(of: i32) -> Vec<i32> {
    let mut found = vec![of];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        at += 1;
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            found.extend(
                children
                    .unwrap_or_default()
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            );
        }
        if found.len() > MOST_DESCENDANTS {
            break;
        }
    }
    found.split_off(1)
}

/// How it ended, in words: the reason of its farewell.
pub(super) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The exit code that says the same: its own, or 128 and the signal's number, as shells have it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}

/// Processes below one that are looked for, at most.
const MOST_DESCENDANTS: usize = 1024;
