//! The command line: arguments → settings → what was asked for. No logic of the hub's own.
//!
//! Exit codes: 0 done; 1 it failed (or, of `healthcheck`, it isn't ready); 2 wrong arguments or settings. The
//! commands for people in a terminal know a few more.

mod healthcheck;
mod import;
mod key;
mod log;
mod man;
#[cfg(feature = "client")]
mod mcp;
mod pinned;
mod preflight;
mod probe;
mod run;
#[cfg(feature = "client")]
mod terminal;
#[cfg(all(unix, feature = "client"))]
mod wrap;

use std::{io, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use self::preflight::Kind;
use crate::config::{self, Config, Mistakes, Reading, Warning};

/// A durable, resumable event hub for fleets of MCP servers: plain POSTs in, Server-Sent Events out.
#[derive(Debug, Parser)]
#[command(name = "timeback-events", version, about)]
struct Cli {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve until SIGTERM or SIGINT; what happens where nothing else is asked for.
    Serve,
    /// Print the settings in force, or every mistake that a start would stumble over.
    Check,
    /// Ask the hub that these settings describe whether it is ready; for containers.
    Healthcheck,
    #[cfg(feature = "client")]
    Tail(terminal::Tail),
    #[cfg(feature = "client")]
    Status(terminal::Status),
    #[cfg(feature = "client")]
    Report(terminal::Report),
    #[cfg(all(unix, feature = "client"))]
    Wrap(wrap::Wrap),
    Probe(probe::Probe),
    #[cfg(feature = "client")]
    Mcp(mcp::Mcp),
    Import(import::Import),
    /// Make, list and revoke API keys.
    Key {
        #[command(subcommand)]
        action: key::Action,
    },
    /// Look for damage in a log, copy what is good, back it up.
    Log {
        #[command(subcommand)]
        action: log::Action,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or that of a command.
    Man {
        /// The command, such as: report step
        command: Vec<String>,
        /// Write all pages into this directory instead.
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        dir: Option<PathBuf>,
    },
}

/// Does what the process's arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    #[cfg(all(unix, feature = "client"))]
    match std::env::args_os().nth(1) {
        Some(first) if first == crate::wrap::BECOME => {
            return crate::wrap::become_command(std::env::args_os());
        }
        Some(first) if first == "wrap" => crate::wrap::stay_small(),
        _ => {}
    }
    let matches = command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match cli.action.unwrap_or(Action::Serve) {
        Action::Serve => start(),
        Action::Check => check(),
        Action::Healthcheck => with_settings(|config| healthcheck::ask(&config)),
        #[cfg(feature = "client")]
        Action::Tail(tail) => terminal::tail(&tail),
        #[cfg(feature = "client")]
        Action::Status(status) => terminal::status(&status),
        #[cfg(feature = "client")]
        Action::Report(report) => terminal::report(&report),
        #[cfg(all(unix, feature = "client"))]
        Action::Wrap(wrap) => wrap::run(wrap),
        Action::Probe(probe) => probe::run(&probe),
        #[cfg(feature = "client")]
        Action::Mcp(mcp) => mcp::run(&mcp),
        Action::Import(import) => import::run(&import),
        Action::Key { action } => key::run(action),
        Action::Log { action } => log::run(action),
        Action::Completions { shell } => {
            clap_complete::generate(shell, &mut command(), "timeback-events", &mut io::stdout());
            ExitCode::SUCCESS
        }
        Action::Man { command, dir } => match man::print(self::command(), &command, dir.as_deref())
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
    }
}

/// Exit code of wrong arguments and settings.
const USAGE: u8 = 2;

fn command() -> clap::Command {
    Cli::command().after_help(config::help())
}

/// Reads the settings; tells warnings and mistakes on standard error.
fn with_settings(act: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::load() {
        Ok((config, warnings)) => {
            tell(&warnings);
            act(config)
        }
        Err(mistakes) => refuse(&mistakes),
    }
}

/// Serves, unless something stands in the way; whatever does is told at once.
fn start() -> ExitCode {
    let Reading {
        config,
        warnings,
        mut mistakes,
    } = Config::read();
    tell(&warnings);
    let (named, places): (Vec<_>, Vec<_>) = preflight::look(&config, &mistakes)
        .into_iter()
        .partition(|finding| finding.kind == Kind::Setting);
    mistakes.extend(named.into_iter().map(|finding| finding.mistake));
    if mistakes.is_empty() {
        for place in &places {
            eprintln!("error: {}", place.mistake.problem);
        }
        return match places.as_slice() {
            [] => run::serve(config),
            _ => ExitCode::FAILURE,
        };
    }
    mistakes.extend(places.into_iter().map(|finding| finding.mistake));
    refuse(&Mistakes(mistakes))
}

/// Prints the settings in force, or all that a start would stumble over. What is taken by another process is a warning
/// here: it may be this hub, running while its next settings are looked at.
fn check() -> ExitCode {
    let Reading {
        config,
        warnings,
        mut mistakes,
    } = Config::read();
    tell(&warnings);
    let mut is_open = false;
    for finding in preflight::look(&config, &mistakes) {
        match finding.kind {
            Kind::Taken => {
                is_open = true;
                eprintln!(
                    "warning: {}; a start fails as long as it is",
                    finding.mistake
                );
            }
            Kind::Setting | Kind::Place => mistakes.push(finding.mistake),
        }
    }
    if !is_open && mistakes.is_empty() {
        mistakes.extend(preflight::look_into_log(&config));
    }
    if mistakes.is_empty() {
        print!("{}", config::effective(&config));
        ExitCode::SUCCESS
    } else {
        refuse(&Mistakes(mistakes))
    }
}

fn tell(warnings: &[Warning]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

fn refuse(mistakes: &Mistakes) -> ExitCode {
    eprintln!("{mistakes}");
    ExitCode::from(USAGE)
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_hang_together() {
        command().debug_assert();
    }

    #[test]
    fn help_names_every_setting() {
        let help = command().render_help().to_string();
        for setting in config::SETTINGS {
            assert!(help.contains(setting.name), "{}", setting.name);
        }
    }

    #[test]
    fn nothing_asked_for_means_serve() {
        assert!(Cli::parse_from(["timeback-events"]).action.is_none());
    }
}
