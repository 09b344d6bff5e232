//! `key`: makes, lists and revokes API keys. A key is printed once, alone, on standard output.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use super::failed;
use crate::{
    clock::Clock,
    config::{Config, parse_age},
    door::{
        Restrictions,
        keys::{KeyFile, NewKey, StoredKey},
    },
};

/// What to do with a file of keys.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make a key and print it: the only time that anybody sees it. The file keeps its hash.
    New(New),
    /// List the keys, without their hashes.
    List {
        #[command(flatten)]
        file: File,
    },
    /// Take a key out of the file; a running hub ends its streams and sessions within moments.
    Revoke {
        #[command(flatten)]
        file: File,
        /// The key's name or id.
        #[arg(long)]
        name: String,
    },
}

/// Which file.
#[derive(Debug, Args)]
pub(super) struct File {
    /// The file of keys; where it isn't named, INTEGRATION_API_KEYS_FILE.
    #[arg(long)]
    file: Option<PathBuf>,
}

/// What a new key is to be.
#[derive(Debug, Args)]
pub(super) struct New {
    #[command(flatten)]
    file: File,
    /// What people call it; unique in the file.
    #[arg(long)]
    name: String,
    /// What it may do: read, report, coordinate, admin.
    #[arg(long, value_delimiter = ',', required = true)]
    scope: Vec<String>,
    /// The servers that it may read, and report as.
    #[arg(long, value_delimiter = ',')]
    server: Vec<String>,
    /// The workflows that it may read and coordinate.
    #[arg(long, value_delimiter = ',')]
    workflow: Vec<String>,
    /// The event types that it may read; a trailing * is a prefix.
    #[arg(long = "type", value_delimiter = ',')]
    kind: Vec<String>,
    /// The tags, each key:value, that all must be on what it reads.
    #[arg(long, value_delimiter = ',')]
    tag: Vec<String>,
    /// After how long it ends, such as 90d or 12h; never, where it isn't given.
    #[arg(long)]
    expires: Option<String>,
}

/// Does it.
pub(super) fn run(action: Action) -> ExitCode {
    let done = match action {
        Action::New(new) => make(new),
        Action::List { file } => list(&file),
        Action::Revoke { file, name } => file
            .path()
            .and_then(|path| Ok(KeyFile::revoke(&path, &name)?)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

type Done<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn make(new: New) -> Done {
    let path = new.file.path()?;
    let now = Clock::default().wall_ms();
    let expires_at = match &new.expires {
        Some(age) => {
            let age = parse_age(age).map_err(|problem| format!("--expires {problem}"))?;
            Some(now.saturating_add(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
        }
        None => None,
    };
    let restrictions = Restrictions {
        server_ids: ids("--server", &new.server)?,
        workflow_ids: ids("--workflow", &new.workflow)?,
        types: Some(new.kind).filter(|list| !list.is_empty()),
        tags: Some(new.tag).filter(|list| !list.is_empty()),
    };
    let key = NewKey {
        name: new.name,
        scopes: new.scope,
        restrictions,
        expires_at,
    };
    println!("{}", KeyFile::add(&path, key, now)?);
    Ok(())
}

fn list(file: &File) -> Done {
    let file = KeyFile::read(&file.path()?)?;
    println!(
        "{:<24} {:<16} {:<28} {:<20} ONLY",
        "NAME", "ID", "SCOPES", "EXPIRES"
    );
    for key in &file.keys {
        let expires = key.expires_at.map_or_else(|| "never".to_owned(), date);
        println!(
            "{:<24} {:<16} {:<28} {expires:<20} {}",
            key.name,
            key.id,
            key.scopes.join(","),
            only(key)
        );
    }
    Ok(())
}

/// What a key is held to, on one line.
fn only(key: &StoredKey) -> String {
    let Restrictions {
        server_ids,
        workflow_ids,
        types,
        tags,
    } = &key.restrictions;
    fn names<T: ToString>(list: Option<&Vec<T>>) -> Vec<String> {
        list.into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect()
    }
    [
        ("servers", names(server_ids.as_ref())),
        ("workflows", names(workflow_ids.as_ref())),
        ("types", names(types.as_ref())),
        ("tags", names(tags.as_ref())),
    ]
    .into_iter()
    .filter(|(_, list)| !list.is_empty())
    .map(|(what, list)| format!("{what}={}", list.join(",")))
    .collect::<Vec<_>>()
    .join(" ")
}

fn date(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| "never".to_owned(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

fn ids<T: std::str::FromStr>(flag: &str, texts: &[String]) -> Result<Option<Vec<T>>, String>
where
    T::Err: std::fmt::Display,
{
    let parsed = texts.iter().map(|text| {
        text.parse()
            .map_err(|error| format!("{flag} {text:?} {error}"))
    });
    let parsed: Vec<T> = parsed.collect::<Result<_, _>>()?;
    Ok(Some(parsed).filter(|list| !list.is_empty()))
}

impl File {
    fn path(&self) -> Done<PathBuf> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let (config, _) = Config::load()?;
        Ok(config
            .auth
            .api_keys
            .ok_or("name the file of keys: --file, or INTEGRATION_API_KEYS_FILE")?)
    }
}
