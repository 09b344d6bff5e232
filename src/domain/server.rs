//! Servers: who is connected, who is gone, and why.
//!
//! A server is what others call; its [`Instance`]s are the processes behind it. It is connected while one of them is,
//! and as healthy as the best of them.
//!
//! Invariants: the indices and counts follow from the servers alone; every event costs O(log n); a clone
//! is a few pointers. Never knows a heartbeat: leases do, and tell here only what changes a verdict.

mod decide;
mod drift;
mod farewell;
pub mod from_event;
pub mod instance;
mod judge;
pub mod list;
pub mod note;
pub mod parse;
pub mod view;

use std::{ops::Bound, sync::Arc};

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{
    event::{
        Connection, Event, EventData, Health, HealthSource, InstanceChanged, ServerConnected,
        ServerDisconnected, ServerHealthChanged, ServerUpdated, Tags,
    },
    fleet::Policy,
    health::{Condition, Report},
    ids::{InstanceId, ServerId},
    probe::Probing,
    status::ServerCounts,
};

use farewell::Farewells;
pub use instance::{Instance, Instances, Lost, Mode, Process};
pub use list::ServerQuery;
pub use note::Note;
pub(in crate::domain) use parse::word;
pub use view::{LeaseView, ServerView};

/// The `reason` of a server whose heartbeats stayed out: it counts as unhealthy until it returns, is
/// deregistered or leaves the state.
pub const HEARTBEAT_TIMEOUT: &str = "heartbeat_timeout";
/// The `reason` of a server that went by its own wish.
pub const DEREGISTERED: &str = "deregistered";
/// The `reason` of a server whose place another instance took.
pub const REPLACED: &str = "replaced";
/// The `reason` of a server that a probe found dead.
pub const PROBE_FAILED: &str = "probe_failed";

/// Whether one that goes for this reason was expected to, where nobody says otherwise.
#[must_use]
pub fn is_expected(reason: &str) -> bool {
    ![HEARTBEAT_TIMEOUT, PROBE_FAILED].contains(&reason)
}

/// How often a server may mean to send heartbeats, in milliseconds.
pub const HEARTBEAT_INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=300_000;

/// One server, as the events tell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "SavedServer")]
pub struct Server {
    /// Its description, as last given.
    pub connection: Connection,
    /// The same tags, shared with its events.
    pub tags: Arc<Tags>,
    /// How often it means to send heartbeats.
    pub heartbeat_interval_ms: u64,
    /// The version of the MCP protocol that it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// When it connected last, epoch ms.
    pub connected_at: i64,
    /// The sequence of its last `server_connected`: which connection this is.
    pub connected_sequence: u64,
    /// The verdict; of a server that is gone, the last one.
    pub health: Health,
    /// Why the verdict is what it is, or why the server is gone.
    pub reason: Option<String>,
    /// The evidence, in words.
    pub detail: Option<String>,
    /// When it was last heard of, as the last event about it said, epoch ms.
    pub last_seen_at: i64,
    /// Missed heartbeats, as the last event about it said.
    pub missed_heartbeats: u32,
    /// When it went, by the time that has really passed, ms; `None` while it is connected.
    pub gone_at: Option<i64>,
    /// Whether it went otherwise than expected: then it counts as unhealthy.
    pub lost: bool,
    /// How many instances it may have.
    pub mode: Mode,
    /// Its instances: those that are connected, and those that were lost lately.
    pub instances: Instances,
    /// How the hub asks it itself, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Arc<Probing>>,
}

/// A server as a snapshot keeps it, or kept it before servers had instances.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SavedServer {
    connection: Connection,
    tags: Arc<Tags>,
    heartbeat_interval_ms: u64,
    connected_at: i64,
    connected_sequence: u64,
    health: Health,
    lease_health: Option<Health>,
    reported_health: Option<Health>,
    reason: Option<String>,
    detail: Option<String>,
    last_seen_at: i64,
    missed_heartbeats: u32,
    gone_at: Option<i64>,
    lost: bool,
    protocol_version: Option<String>,
    #[serde(default)]
    mode: Mode,
    instances: Option<Instances>,
    probe: Option<Arc<Probing>>,
}

/// An instance that an event ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its name, if it has one.
    pub instance: Option<InstanceId>,
    /// Which connection it was.
    pub connection: u64,
}

/// All servers in the state.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    by_id: RedBlackTreeMapSync<ServerId, Arc<Server>>,
    /// Gone ones, oldest first: (when, which connection) to id.
    gone: RedBlackTreeMapSync<(i64, u64), ServerId>,
    tally: Tally,
    farewells: Farewells,
}

/// What is counted of the servers, kept up with every event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connected and healthy.
    pub healthy: u64,
    /// Connected and degraded.
    pub degraded: u64,
    /// Connected and unhealthy.
    pub unhealthy: u64,
    /// Gone otherwise than expected, and neither back nor deregistered since.
    pub lost: u64,
    /// Instances of connected servers.
    pub instances: u64,
    /// Tools of connected servers.
    pub tools: u64,
    /// Resources of connected servers.
    pub resources: u64,
}

impl Servers {
    /// The server of this id, connected or gone.
    #[must_use]
    pub fn get(&self, id: &ServerId) -> Option<&Arc<Server>> {
        self.by_id.get(id)
    }

    /// The server of this id, where it is connected.
    #[must_use]
    pub fn connected(&self, id: &ServerId) -> Option<&Arc<Server>> {
        self.get(id).filter(|server| server.is_connected())
    }

    /// How many are in the state, connected and gone.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.size()
    }

    /// Whether the state knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All servers after this id, in order of their ids.
    pub fn after<'a>(
        &'a self,
        id: Option<&ServerId>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Server>> + 'a> {
        match id {
            Some(id) => Box::new(
                self.by_id
                    .range((Bound::Excluded(id.clone()), Bound::Unbounded))
                    .map(|(_, server)| server),
            ),
            None => Box::new(self.by_id.values()),
        }
    }

    /// The server's tags; none where it is unknown.
    #[must_use]
    pub fn tags_of(&self, id: &ServerId) -> Arc<Tags> {
        self.by_id
            .get(id)
            .map(|server| server.tags.clone())
            .unwrap_or_default()
    }

    /// What is counted of them, as of the last event.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How many lost ones are old enough to be forgotten. `lived` is the time that has really passed, ms.
    #[must_use]
    pub fn forgotten_at(&self, lived: i64, policy: &Policy) -> u64 {
        self.gone
            .iter()
            .take_while(|((gone_at, _), _)| policy.is_forgotten(*gone_at, lived))
            .filter(|(_, id)| self.get(id).is_some_and(|server| server.lost))
            .count() as u64
    }

    /// How many there are of each kind at this time, without lost ones that are old enough to be forgotten.
    #[must_use]
    pub fn counts_at(&self, lived: i64, policy: &Policy) -> ServerCounts {
        let forgotten = self.forgotten_at(lived, policy);
        ServerCounts {
            connected: self.tally.healthy + self.tally.degraded + self.tally.unhealthy,
            healthy: self.tally.healthy,
            lost: self.tally.lost.saturating_sub(forgotten),
        }
    }

    /// The status that follows from them, as of the last event.
    pub(super) fn status(&self) -> Health {
        let Tally {
            healthy,
            degraded,
            unhealthy,
            lost,
            ..
        } = self.tally;
        let connected = healthy + degraded + unhealthy;
        let counts = ServerCounts {
            connected,
            healthy,
            lost,
        };
        counts.status()
    }

    /// The first of the lost ones, in the order in which they went.
    pub(super) fn first_lost(&self, lived: i64, policy: &Policy, most: usize) -> Vec<ServerId> {
        self.gone
            .iter()
            .skip_while(|((gone_at, _), _)| policy.is_forgotten(*gone_at, lived))
            .filter(|(_, id)| self.get(id).is_some_and(|server| server.lost))
            .map(|(_, id)| id.clone())
            .take(most)
            .collect()
    }

    /// All that is needed to [`Servers::restore`] them, in order of their ids.
    #[must_use]
    pub fn save(&self) -> Vec<Arc<Server>> {
        self.by_id.values().cloned().collect()
    }

    /// The same servers again, indices and counts rebuilt.
    #[must_use]
    pub fn restore(saved: Vec<Server>) -> Self {
        let mut servers = Self::default();
        for server in saved {
            servers.put(server);
        }
        servers
    }

    /// The connected instances that an event is about to end; none where it ends none.
    #[must_use]
    pub fn ended_by(&self, event: &Event) -> Vec<Ended> {
        let ended = |instance: &Arc<Instance>| Ended {
            instance: instance.id.clone(),
            connection: instance.connection,
        };
        let Some(server) = event.what.server.as_ref().and_then(|id| self.connected(id)) else {
            return Vec::new();
        };
        match &event.what.data {
            EventData::ServerDisconnected(_) | EventData::ServerConnected(_) => {
                server.instances.connected().map(ended).collect()
            }
            EventData::InstanceDisconnected(data) => server
                .instances
                .get(data.instance_id.as_ref())
                .map(ended)
                .into_iter()
                .collect(),
            _ => Vec::new(),
        }
    }

    /// `lived` is the time of the event by the time that has really passed, ms.
    pub(super) fn evolve(&mut self, event: &Event, lived: i64) {
        let Some(id) = &event.what.server else { return };
        match &event.what.data {
            EventData::ServerConnected(data) => {
                let lost = self.get(id).map(|before| before.instances.lost_alone());
                self.put(Server::connect(data, event, lost.unwrap_or_default()));
            }
            EventData::ServerUpdated(data) => self.change(id, |server| server.update(data, event)),
            EventData::ServerDisconnected(data) => {
                self.change(id, |server| server.disconnect(data, event, lived));
            }
            EventData::ServerHealthChanged(data) => {
                self.change(id, |server| server.turn(data, event));
            }
            EventData::InstanceConnected(data) => {
                self.change(id, |server| server.join(data, event));
            }
            EventData::InstanceDisconnected(data) => {
                self.change(id, |server| server.part(data, lived));
            }
            _ => {}
        }
    }

    /// Takes in what is kept beside the log. What doesn't fit is of another time and changes nothing; whether it did.
    pub(super) fn note(&mut self, note: &Note) -> bool {
        match note {
            Note::Condition {
                server,
                instance,
                connection,
                condition,
                lease_words,
            } => {
                // It may have got another name since.
                let meant = self.connected(server).and_then(|server| {
                    let named = server.instances.get(instance.as_ref());
                    named
                        .into_iter()
                        .chain(server.instances.connected())
                        .find(|instance| instance.connection == *connection)
                });
                let Some(name) = meant.map(|instance| instance.id.clone()) else {
                    return false;
                };
                self.change(server, |server| {
                    server.instances.change(name.as_ref(), |instance| {
                        instance.condition = condition.clone();
                        instance.lease_words.clone_from(lease_words);
                    });
                });
            }
            Note::Farewell {
                server,
                instance,
                at,
            } => self.farewells.add(server, instance, *at),
            Note::Forgotten { server, instance } => self.farewells.remove(server, instance),
            Note::Over { .. } => return false,
        }
        true
    }

    /// What there is to forget of farewells at this time, in slices.
    #[must_use]
    pub fn stale_farewell(&self, lived: i64) -> Option<Note> {
        let (server, instance) = self.farewells.stale(lived)?;
        Some(Note::Forgotten { server, instance })
    }

    /// Forgets gone servers that are older than the policy keeps, or more, oldest first.
    pub(super) fn expire(&mut self, lived: i64, policy: &Policy) {
        while let Some((&key, id)) = self.gone.first() {
            if self.gone.size() <= policy.state_retention_count
                && !policy.is_forgotten(key.0, lived)
            {
                return;
            }
            let id = id.clone();
            self.gone.remove_mut(&key);
            if let Some(server) = self.by_id.get(&id) {
                self.tally.remove(server);
            }
            self.by_id.remove_mut(&id);
        }
    }

    fn change(&mut self, id: &ServerId, change: impl FnOnce(&mut Server)) {
        if let Some(server) = self.by_id.get(id) {
            let mut server = Server::clone(server);
            change(&mut server);
            self.put(server);
        }
    }

    fn put(&mut self, server: Server) {
        let id = server.connection.id.clone();
        if let Some(before) = self.by_id.get(&id) {
            self.tally.remove(before);
            if let Some(key) = before.gone_key() {
                self.gone.remove_mut(&key);
            }
        }
        self.tally.add(&server);
        if let Some(key) = server.gone_key() {
            self.gone.insert_mut(key, id.clone());
        }
        self.by_id.insert_mut(id, Arc::new(server));
    }
}

impl Tally {
    /// What isn't well: connected servers that are degraded or unhealthy, and lost ones.
    #[must_use]
    pub fn trouble(&self) -> (u64, u64, u64) {
        (self.degraded, self.unhealthy, self.lost)
    }

    fn add(&mut self, server: &Server) {
        self.each(server, |count, n| *count += n);
    }

    fn remove(&mut self, server: &Server) {
        self.each(server, |count, n| *count -= n);
    }

    fn each(&mut self, server: &Server, step: impl Fn(&mut u64, u64)) {
        if !server.is_connected() {
            step(&mut self.lost, u64::from(server.lost));
            return;
        }
        let health = match server.health {
            Health::Healthy => &mut self.healthy,
            Health::Degraded => &mut self.degraded,
            Health::Unhealthy => &mut self.unhealthy,
        };
        step(health, 1);
        step(&mut self.instances, server.instances.len() as u64);
        step(
            &mut self.tools,
            server.connection.capabilities.tools.len() as u64,
        );
        step(
            &mut self.resources,
            server.connection.capabilities.resources.len() as u64,
        );
    }
}

impl Server {
    /// Whether it is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.gone_at.is_none()
    }

    /// The verdict that others see: of a lost one `unhealthy`, of one that left the last.
    #[must_use]
    pub fn shown_health(&self) -> Health {
        if self.lost {
            Health::Unhealthy
        } else {
            self.health
        }
    }

    /// The connected instance that a client means: the one that it names, or the only one where either side names
    /// none. Of several an unnamed client means the unnamed one.
    #[must_use]
    pub fn instance_of(&self, named: Option<&InstanceId>) -> Option<&Arc<Instance>> {
        self.instances.get(named).or_else(|| match named {
            Some(_) if self.mode == Mode::One => self.instances.get(None),
            Some(_) => None,
            None => self.instances.only(),
        })
    }

    fn connect(data: &ServerConnected, event: &Event, lost: Instances) -> Self {
        let mut server = Self {
            connection: data.connection.clone(),
            tags: shared_tags(&data.connection, event),
            heartbeat_interval_ms: interval_of(event),
            protocol_version: data.protocol_version.clone(),
            connected_at: event.timestamp,
            connected_sequence: event.position.sequence,
            health: Health::Healthy,
            reason: None,
            detail: None,
            last_seen_at: event.timestamp,
            missed_heartbeats: 0,
            gone_at: None,
            lost: false,
            mode: event.what.private.instances.unwrap_or_default(),
            instances: lost,
            probe: event.what.private.probe.clone().map(Arc::new),
        };
        server.instances.put(Instance::of(
            data.connection.instance_id.clone(),
            event.what.private.process.clone().unwrap_or_default(),
            event,
        ));
        server
    }

    fn join(&mut self, data: &InstanceChanged, event: &Event) {
        self.mode = Mode::Many;
        let process = Process {
            host: data.host.clone(),
            pid: data.pid,
            client: data.client.clone(),
        };
        self.instances
            .put(Instance::of(data.instance_id.clone(), process, event));
        self.last_seen_at = event.timestamp;
    }

    fn part(&mut self, data: &InstanceChanged, lived: i64) {
        if let Some(gone) = self.instances.take(data.instance_id.as_ref()) {
            let seen_at = data.last_seen_at.unwrap_or(gone.last_seen_at);
            self.instances
                .leave(gone, data.expected, &data.reason, seen_at, lived);
        }
    }

    fn update(&mut self, data: &ServerUpdated, event: &Event) {
        self.connection = data.connection.clone();
        self.tags = shared_tags(&data.connection, event);
        self.heartbeat_interval_ms = interval_of(event);
        self.protocol_version.clone_from(&data.protocol_version);
        self.last_seen_at = event.timestamp;
        self.missed_heartbeats = 0;
        let private = &event.what.private;
        self.mode = private.instances.unwrap_or(self.mode);
        self.probe = private.probe.clone().map(Arc::new);
        let is_probed = self.probe.is_some();
        // Which one says so is told since there may be several.
        let told = private.instance.as_ref();
        let known = told.or_else(|| self.instances.only().and_then(|only| only.id.as_ref()));
        let known = known.filter(|known| self.instances.get(Some(known)).is_some());
        let named = data.connection.instance_id.clone();
        let renames = self.mode == Mode::One && self.instances.len() == 1;
        self.instances.change(known.cloned().as_ref(), |instance| {
            instance.heartbeat_interval_ms = interval_of(event);
            instance.last_seen_at = event.timestamp;
            instance.missed_heartbeats = 0;
            if renames {
                instance.id = named;
            }
            if !is_probed {
                instance.condition.probe = None;
            }
            if let Some(process) = &private.process {
                instance.process = process.clone();
            }
        });
    }

    /// Told of one that is gone already, it changes why: a lost one that was deregistered is no loss any more.
    fn disconnect(&mut self, data: &ServerDisconnected, event: &Event, lived: i64) {
        let expected = data.expected.unwrap_or_else(|| is_expected(&data.reason));
        self.lost = !expected;
        self.reason = Some(data.reason.clone());
        self.last_seen_at = data.last_seen_at;
        self.detail = self.lost.then(|| {
            let silent = u64::try_from(event.timestamp - data.last_seen_at).unwrap_or_default();
            match data.reason.as_str() {
                HEARTBEAT_TIMEOUT => format!("no heartbeat for {}", super::health::words(silent)),
                PROBE_FAILED => format!("no answer to probes for {}", super::health::words(silent)),
                reason => format!("ended unexpectedly: {reason}"),
            }
        });
        let connected: Vec<_> = self.instances.connected().cloned().collect();
        for gone in connected {
            self.instances.take(gone.id.as_ref());
            let seen_at = data.last_seen_at;
            self.instances
                .leave(gone, expected, &data.reason, seen_at, lived);
        }
        self.gone_at.get_or_insert(lived);
    }

    fn turn(&mut self, data: &ServerHealthChanged, event: &Event) {
        self.health = data.health;
        self.reason = (data.health != Health::Healthy).then(|| data.reason.clone());
        self.detail = data
            .detail
            .clone()
            .filter(|_| data.health != Health::Healthy);
        self.last_seen_at = data.last_seen_at;
        self.missed_heartbeats = data.missed_heartbeats;
        let private = &event.what.private;
        let (whose, condition) = match (&private.condition, private.lease_health) {
            (Some(condition), _) => (private.instance.clone(), condition.clone()),
            // Written before servers had instances: it is about the only one.
            (None, Some(lease)) => {
                let only = self.instances.only().and_then(|only| only.id.clone());
                let said = private.reported_health.unwrap_or(Health::Healthy);
                (
                    only,
                    condition_of(lease, said, data.source, data.detail.as_deref()),
                )
            }
            (None, None) => return,
        };
        self.instances.change(whose.as_ref(), |instance| {
            instance.lease_words = data
                .detail
                .clone()
                .filter(|_| data.source == HealthSource::Lease);
            instance.condition = condition;
            instance.last_seen_at = data.last_seen_at;
            instance.missed_heartbeats = data.missed_heartbeats;
        });
    }

    fn gone_key(&self) -> Option<(i64, u64)> {
        self.gone_at.map(|at| (at, self.connected_sequence))
    }
}

/// The event's own copy where it has one, so that state and events share it; else the connection's.
fn shared_tags(connection: &Connection, event: &Event) -> Arc<Tags> {
    if *event.what.tags == connection.tags {
        event.what.tags.clone()
    } else {
        Arc::new(connection.tags.clone())
    }
}

fn interval_of(event: &Event) -> u64 {
    event
        .what
        .private
        .heartbeat_interval_ms
        .unwrap_or(UNTOLD_INTERVAL_MS)
}

/// What was known of a server's health before servers had instances.
fn condition_of(
    lease: Health,
    said: Health,
    source: HealthSource,
    detail: Option<&str>,
) -> Condition {
    let own_words = detail.filter(|_| source == HealthSource::Itself);
    Condition {
        lease,
        report: Report::standing(said, own_words),
        probe: None,
        cause: source,
    }
}

impl Instance {
    fn of(id: Option<InstanceId>, process: Process, event: &Event) -> Self {
        Self {
            id,
            process,
            heartbeat_interval_ms: interval_of(event),
            connected_at: event.timestamp,
            connection: event.position.sequence,
            condition: Condition::default(),
            lease_words: None,
            last_seen_at: event.timestamp,
            missed_heartbeats: 0,
        }
    }
}

impl From<SavedServer> for Server {
    fn from(saved: SavedServer) -> Self {
        let instances = saved.instances.clone().unwrap_or_else(|| saved.only());
        Self {
            connection: saved.connection,
            tags: saved.tags,
            heartbeat_interval_ms: saved.heartbeat_interval_ms,
            connected_at: saved.connected_at,
            connected_sequence: saved.connected_sequence,
            health: saved.health,
            reason: saved.reason,
            detail: saved.detail,
            last_seen_at: saved.last_seen_at,
            missed_heartbeats: saved.missed_heartbeats,
            gone_at: saved.gone_at,
            lost: saved.lost,
            protocol_version: saved.protocol_version,
            mode: saved.mode,
            instances,
            probe: saved.probe,
        }
    }
}

impl SavedServer {
    /// The only instance of a server that was kept before servers had several.
    fn only(&self) -> Instances {
        let mut instances = Instances::default();
        if self.gone_at.is_some() {
            return instances;
        }
        let source = match self.reason.as_deref() {
            Some("reported") => HealthSource::Itself,
            _ => HealthSource::Lease,
        };
        let condition = condition_of(
            self.lease_health.unwrap_or(self.health),
            self.reported_health.unwrap_or(Health::Healthy),
            source,
            self.detail.as_deref(),
        );
        instances.put(Instance {
            id: self.connection.instance_id.clone(),
            process: Process::default(),
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            connected_at: self.connected_at,
            connection: self.connected_sequence,
            condition,
            lease_words: self
                .detail
                .clone()
                .filter(|_| source == HealthSource::Lease),
            last_seen_at: self.last_seen_at,
            missed_heartbeats: self.missed_heartbeats,
        });
        instances
    }
}

/// For an event that doesn't tell the interval, which every event of this version does.
const UNTOLD_INTERVAL_MS: u64 = 10_000;

#[cfg(test)]
mod tests;
