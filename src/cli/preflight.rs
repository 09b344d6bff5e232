//! What a start would stumble over beyond the settings' own words: files that aren't there or can't be read, a data
//! directory that can't be written, an address that can't be had. `check` and a start look at all of it, so that
//! nobody mends one mistake only to meet the next.
//!
//! Looking leaves nothing behind: no directory is made, no log is opened for writing.

use std::path::Path;

use super::run::bind;
use crate::{
    config::{Config, Mistake},
    door, event_log, servers_file,
};

/// One thing that stands in a start's way.
#[derive(Debug)]
pub(super) struct Finding {
    /// The setting that names it, and what is wrong.
    pub(super) mistake: Mistake,
    /// Whose it is to mend.
    pub(super) kind: Kind,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file that a setting names.
    Setting,
    /// The place that the hub is to run at: its address or its data directory.
    Place,
    /// The same, taken by another process, which may be this hub running already.
    Taken,
}

/// Looks at everything that settings name, but for those in `blamed`, which couldn't be read themselves.
pub(super) fn look(config: &Config, blamed: &[Mistake]) -> Vec<Finding> {
    let is_blamed = |name: &str| blamed.iter().any(|mistake| mistake.name == name);
    let mut findings: Vec<Finding> = door::mistakes(config)
        .into_iter()
        .filter(|(name, _)| !is_blamed(name))
        .map(|(name, problem)| Finding {
            mistake: Mistake::new(name, None, problem),
            kind: Kind::Setting,
        })
        .collect();
    if let Some(path) = config
        .probe
        .servers_file
        .as_deref()
        .filter(|_| config.enabled)
        && !is_blamed(SERVERS_FILE)
    {
        findings.extend(servers_file(path));
    }
    // Switched off as a whole, nothing on the disk is touched.
    if let Some(directory) = config.data_dir.as_deref().filter(|_| config.enabled)
        && !is_blamed(DATA_DIR)
    {
        findings.extend(data_dir(directory));
    }
    if !is_blamed(HOST) && !is_blamed("INTEGRATION_SSE_PORT") {
        findings.extend(address(config));
    }
    findings
}

/// What is wrong with the log in the data directory itself, as far as it can be read; for `check` alone, since a
/// start opens it anyway.
pub(super) fn look_into_log(config: &Config) -> Option<Mistake> {
    let directory = config.data_dir.as_deref().filter(|_| config.enabled)?;
    let wrong = event_log::tools::is_readable(directory).err()?;
    Some(Mistake::new(DATA_DIR, None, wrong.to_string()))
}

fn servers_file(path: &Path) -> Option<Finding> {
    let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let read = read.and_then(|text| servers_file::read(&text).map_err(|error| error.to_string()));
    let wrong = format!("{}: {}", path.display(), read.err()?);
    Some(Finding {
        mistake: Mistake::new(SERVERS_FILE, None, wrong),
        kind: Kind::Setting,
    })
}

fn data_dir(directory: &Path) -> Option<Finding> {
    let wrong = event_log::tools::may_open(directory).err()?;
    let kind = match wrong {
        event_log::OpenError::InUse { .. } => Kind::Taken,
        _ => Kind::Place,
    };
    Some(Finding {
        mistake: Mistake::new(DATA_DIR, None, wrong.to_string()),
        kind,
    })
}

fn address(config: &Config) -> Option<Finding> {
    let error = bind(&config.listen.host, config.listen.port).err()?;
    let kind = match error.kind() {
        std::io::ErrorKind::AddrInUse => Kind::Taken,
        _ => Kind::Place,
    };
    Some(Finding {
        mistake: Mistake::new(HOST, None, error.to_string()),
        kind,
    })
}

const HOST: &str = "INTEGRATION_SSE_HOST";
const DATA_DIR: &str = "INTEGRATION_DATA_DIR";
const SERVERS_FILE: &str = "INTEGRATION_SERVERS_FILE";
