//! The operator's file of servers: what stands in it is asked, what went is deregistered.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use tracing::{error, info, warn};

use super::Rounds;
use crate::{
    domain::{
        Command, ServerId, State,
        command::{Deregister, Register},
        event::{Capabilities, Tags, Transport},
        probe::{INTERVAL_MS, Probing, SLOW_MS, TIMEOUT_MS},
        server::{Mode, Process, Server},
    },
    hub::Hub,
    probe::Target,
    servers_file::{self, Kind},
};

/// The `reason` of a server whose entry went.
const REMOVED: &str = "removed";

/// What was last read.
#[derive(Debug, Default)]
pub(super) struct File {
    stamp: Option<(SystemTime, u64, u64)>,
    unreadable: bool,
    entries: HashMap<ServerId, Entry>,
    /// Entries that can't be asked as they stand: they aren't gone either.
    held: HashSet<ServerId>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    target: Target,
}

impl File {
    /// Where the file says that a server is asked, and how.
    pub(super) fn target(&self, id: &ServerId) -> Option<&Target> {
        self.entries.get(id).map(|entry| &entry.target)
    }
}

impl Rounds {
    /// Reads the file if it changed, and brings the state in line with it.
    pub(super) async fn look_at_file(&self, hub: &Hub) {
        let Some(path) = self.settings.file.as_deref() else {
            return;
        };
        let asked = std::mem::take(&mut self.inner.lock().look_at_file);
        if !self.read_again(path) && !asked {
            return;
        }
        for command in self.due_of_file(&hub.state()) {
            self.tell(hub, command).await;
        }
    }

    /// Whether there is something new in it. What can't be read leaves the old in force.
    fn read_again(&self, path: &Path) -> bool {
        let stamp = fs::metadata(path)
            .and_then(|file| Ok((file.modified()?, file.len(), file.ino())))
            .ok();
        let mut inner = self.inner.lock();
        if stamp == inner.file.stamp && (stamp.is_some() || inner.file.unreadable) {
            return false;
        }
        inner.file.stamp = stamp;
        let read = fs::read_to_string(path).map_err(|error| error.to_string());
        let read =
            read.and_then(|text| servers_file::read(&text).map_err(|error| error.to_string()));
        let entries = match read {
            Ok(entries) => entries,
            Err(why) => {
                inner.file.unreadable = true;
                error!("the servers of {} stay as they were: {why}", path.display());
                return false;
            }
        };
        inner.file.unreadable = false;
        let before = std::mem::take(&mut inner.file.entries);
        inner.file.held.clear();
        let mut commands = Vec::new();
        for entry in entries {
            let taken =
                |id: &ServerId| inner.file.entries.contains_key(id) || inner.file.held.contains(id);
            let Some(id) = id_of(&entry.name, taken) else {
                warn!(
                    "the server {:?} of {} has no name that can be an id",
                    entry.name,
                    path.display()
                );
                continue;
            };
            let endpoint = match entry.kind {
                Kind::Http(endpoint) => endpoint.filled(&|name| std::env::var(name).ok()),
                Kind::Command { .. } => {
                    commands.push(entry.name);
                    continue;
                }
                Kind::Wrong(why) => Err(why),
            };
            let target = endpoint.and_then(|endpoint| {
                Target::parse(&endpoint.url)
                    .map_err(|why| format!("\"url\" {why}"))?
                    .over_sse(endpoint.sse)
                    .with_headers(endpoint.headers)
            });
            match target {
                Ok(target) => {
                    let name = entry.name;
                    inner.file.entries.insert(id, Entry { name, target });
                }
                Err(why) => {
                    warn!(
                        "the server {:?} of {} isn't asked: {why}",
                        entry.name,
                        path.display()
                    );
                    inner.file.held.insert(id);
                }
            }
        }
        if !commands.is_empty() {
            info!(
                "servers of {} that are started by a command can't be asked; put `timeback-events wrap --` before it: {}",
                path.display(),
                commands.join(", ")
            );
        }
        info!(
            "{} servers of {} are asked",
            inner.file.entries.len(),
            path.display()
        );
        // Another address or other headers: what was kept of the old ones is of no use.
        let changed: Vec<ServerId> = inner
            .file
            .entries
            .iter()
            .filter(|(id, entry)| {
                before
                    .get(*id)
                    .is_some_and(|old| old.target != entry.target)
            })
            .map(|(id, _)| id.clone())
            .collect();
        let now = self.clock.mono_ms();
        for id in changed {
            if let Some(asked) = inner.by_id.get_mut(&id) {
                asked.kept = Arc::default();
                inner.plan(&id, now);
            }
        }
        true
    }

    /// What has to be registered, and what has to go.
    fn due_of_file(&self, state: &State) -> Vec<Command> {
        let inner = self.inner.lock();
        let file = &inner.file;
        let gone = state.servers.after(None).filter(|server| {
            let id = &server.connection.id;
            let of_file = server.probe.as_ref().is_some_and(|probe| probe.of_file);
            let is_here = server.is_connected() || server.lost;
            of_file && is_here && !file.entries.contains_key(id) && !file.held.contains(id)
        });
        let mut commands: Vec<Command> = gone
            .map(|server| {
                Command::Deregister(Deregister {
                    server: server.connection.id.clone(),
                    reason: REMOVED.to_owned(),
                    connection: None,
                    instance_id: None,
                    expected: Some(true),
                    last_seen_at: None,
                    occurred_at: None,
                })
            })
            .collect();
        for (id, entry) in &file.entries {
            let server = state.servers.get(id);
            let is_there = server.is_some_and(|server| {
                (server.is_connected() || server.lost)
                    && server
                        .probe
                        .as_ref()
                        .is_some_and(|probe| probe.asks_as(&probing(entry)))
            });
            if !is_there {
                let register = register(id, entry, server.map(Arc::as_ref));
                commands.push(Command::Register(Box::new(register)));
            }
        }
        commands
    }
}

/// How an entry is asked. Its query and its headers may hold secrets, and stay in the file.
fn probing(entry: &Entry) -> Probing {
    Probing {
        url: entry.target.to_string(),
        interval_ms: INTERVAL_MS,
        timeout_ms: TIMEOUT_MS,
        slow_ms: SLOW_MS,
        of_file: true,
        given: None,
    }
}

/// The entry as a server; of one that is known, what is known of it stays.
fn register(id: &ServerId, entry: &Entry, known: Option<&Server>) -> Register {
    let before = known.map(|server| &server.connection);
    let given = known
        .and_then(|server| server.probe.as_ref())
        .and_then(|probe| probe.given.clone());
    Register {
        id: id.clone(),
        name: before.map_or_else(|| entry.name.clone(), |before| before.name.clone()),
        transport: before.map_or(Transport::Http, |before| before.transport),
        url: Some(entry.target.to_string()),
        version: before.and_then(|before| before.version.clone()),
        protocol_version: known.and_then(|server| server.protocol_version.clone()),
        capabilities: before
            .map_or_else(Capabilities::default, |before| before.capabilities.clone()),
        tags: before.map_or_else(Tags::new, |before| before.tags.clone()),
        metadata: before.and_then(|before| before.metadata.clone()),
        heartbeat_interval_ms: known.map(|server| server.heartbeat_interval_ms),
        instance_id: before.and_then(|before| before.instance_id.clone()),
        instances: known.map_or(Mode::One, |server| server.mode),
        process: Process::default(),
        probe: Some(Probing {
            given,
            ..probing(entry)
        }),
        learnt_of: None,
        last_seen_at: None,
        occurred_at: None,
    }
}

/// An id that is made of a name; another one of the same gets `:2` and so on.
fn id_of(name: &str, taken: impl Fn(&ServerId) -> bool) -> Option<ServerId> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    let plain: String = name
        .trim()
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(LONGEST_ID)
        .collect();
    (1..100)
        .filter_map(|count| match count {
            1 => ServerId::parse(&plain).ok(),
            count => ServerId::parse(&format!("{plain}:{count}")).ok(),
        })
        .find(|id| !taken(id))
}

/// Longest id that is made, in characters; 128 are taken.
const LONGEST_ID: usize = 120;
