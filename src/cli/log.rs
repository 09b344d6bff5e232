//! `log`: what an operator does to a log by hand. Exit code 1 where damage is found.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use super::failed;
use crate::{
    config::Config,
    event_log::tools::{self, Report},
};

/// What to do with a log.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Read all of it and tell what is damaged. Changes nothing; a hub may run.
    Verify {
        #[command(flatten)]
        data: Data,
    },
    /// Copy all that is good to a new data directory. No hub may run on the old one.
    Salvage {
        #[command(flatten)]
        data: Data,
        /// The new data directory; it must not hold a log.
        #[arg(long)]
        to: PathBuf,
    },
    /// Copy the log, as it is at this moment, to a new file. A hub may run.
    /// Put into an empty data directory as hub.db, the copy is a log.
    Backup {
        #[command(flatten)]
        data: Data,
        /// The file to write; it must not exist.
        #[arg(long)]
        to: PathBuf,
    },
}

/// Which log.
#[derive(Debug, Args)]
pub(super) struct Data {
    /// The data directory; where it isn't named, INTEGRATION_DATA_DIR.
    #[arg(long = "data")]
    directory: Option<PathBuf>,
}

/// Does it.
pub(super) fn run(action: Action) -> ExitCode {
    let done = match action {
        Action::Verify { data } => data
            .path()
            .and_then(|path| Ok(told(&tools::verify(&path)?))),
        Action::Salvage { data, to } => data.path().and_then(|path| {
            let report = tools::salvage(&path, &to)?;
            println!("{} events are in {} now", report.events, to.display());
            Ok(told(&report))
        }),
        Action::Backup { data, to } => data.path().and_then(|path| {
            tools::backup(&path, &to)?;
            println!("{} holds the log as it was", to.display());
            Ok(ExitCode::SUCCESS)
        }),
    };
    done.unwrap_or_else(|error| failed(error.as_ref()))
}

/// Says what was found.
fn told(report: &Report) -> ExitCode {
    println!("{} good events in {} blocks", report.events, report.blocks);
    for (first, last) in &report.damaged {
        println!("damaged or missing: {first} to {last}");
    }
    for problem in &report.problems {
        println!("{problem}");
    }
    if report.is_sound() {
        println!("nothing is wrong");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Data {
    fn path(&self) -> Result<PathBuf, Box<dyn std::error::Error>> {
        if let Some(directory) = &self.directory {
            return Ok(directory.clone());
        }
        let (config, _) = Config::load()?;
        Ok(config
            .data_dir
            .ok_or("name the data directory: --data, or INTEGRATION_DATA_DIR")?)
    }
}
