//! Leases of connected instances: who is due, who is late, who is gone.
//!
//! A heartbeat renews a lease in memory and costs no commit; only a changed verdict, a report of the instance itself
//! and a lost one become commands. What is in here follows from the committed events (as the hub's [`Observer`]) and
//! from heartbeats; what an instance says of itself isn't, for that is part of the state. Whenever a lease's word and
//! the one that the state has differ, somebody is asking the hub, or a timer is set that will. Locks are taken in one
//! order (a shard, then the timers), and none is held across an await.

pub mod monitor;
mod starvation;
mod suspicion;
#[cfg(test)]
mod tests;
mod timers;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    clock::Clock,
    domain::{
        Event, EventData, InstanceId, Rejection, ServerId, State,
        command::{ChangeHealth, LeaseWord, SelfReport},
        event::Health,
        health::{Heartbeat, Lease, Rules},
        server::{Instance, LeaseView, Server, view::Metrics},
    },
    hub::{Observer, SavedLease},
};

pub use starvation::Starved;
pub use suspicion::SelfSuspect;

use starvation::Starvation;
use timers::Timers;

/// Shared by the parts that ask.
pub type SharedLeases = Arc<Leases>;

/// All leases.
#[derive(Debug)]
pub struct Leases {
    rules: Rules,
    clock: Clock,
    /// How long the hub's own timers stood still so far, ms: time that counts for nobody.
    stalled_ms: AtomicU64,
    shards: Box<[Mutex<Shard>]>,
    connected: AtomicUsize,
    timers: Mutex<Timers>,
    starvation: Mutex<Starvation>,
    /// Whether anyone was heard of since last-seen times were saved.
    unsaved: AtomicBool,
}

/// Leases by connection.
type Shard = HashMap<u64, Entry>;

/// One connected instance.
#[derive(Debug)]
struct Entry {
    server: ServerId,
    instance: Option<InstanceId>,
    lease: Lease,
    /// When it was last heard of, epoch ms.
    seen_at: i64,
    /// What its next heartbeat is due an interval after, epoch ms: last seen, or the hub's restart.
    due_from: i64,
    /// Whether the monitor has asked the hub and not heard yet.
    asking: bool,
    /// Whether it counts as silent: its first heartbeat is missed, and none has come since.
    silent: bool,
    /// It is probed and has sent no heartbeat of its own: none is missed.
    quiet: bool,
    /// When its timer goes off, lease time.
    timer: u64,
    metrics: Option<Metrics>,
}

/// What became of a heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// The instance's verdict, as far as nothing has to be committed for it.
    pub health: Health,
    /// How often heartbeats are expected.
    pub heartbeat_interval_ms: u64,
    /// When the next is due, epoch ms.
    pub due_at: i64,
    /// What must be committed before the answer: the heartbeat changes what the state says.
    pub change: Option<Box<ChangeHealth>>,
}

/// Both clocks, read once. Lease time stands still while the hub's own timers do.
#[derive(Debug, Clone, Copy)]
struct Now {
    lease: u64,
    wall: i64,
}

impl Leases {
    /// No leases yet.
    #[must_use]
    pub fn new(rules: Rules, clock: Clock) -> Self {
        Self {
            rules,
            clock,
            stalled_ms: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            connected: AtomicUsize::new(0),
            timers: Mutex::default(),
            starvation: Mutex::default(),
            unsaved: AtomicBool::new(false),
        }
    }

    /// The leases of the instances that are connected in a recovered state: verdicts as they were, and time as
    /// if each had just been heard of. `saved` are the last-seen times that were kept.
    #[must_use]
    pub fn recover(rules: Rules, clock: Clock, state: &State, saved: &[SavedLease]) -> Self {
        let leases = Self::new(rules, clock);
        let now = leases.now();
        let restarted: Arc<str> = jiff::Timestamp::from_second(now.wall.div_euclid(1000))
            .map_or_else(|_| now.wall.to_string(), |time| time.to_string())
            .into();
        let seen: HashMap<u64, i64> = saved
            .iter()
            .map(|lease| (lease.connection, lease.last_seen_at))
            .collect();
        for server in state.servers.after(None) {
            for instance in server.instances.connected() {
                let lease = Lease::restored(
                    instance.heartbeat_interval_ms,
                    now.lease,
                    instance.condition.lease,
                    restarted.clone(),
                );
                let kept = seen.get(&instance.connection).copied().unwrap_or(i64::MIN);
                let entry = Entry {
                    seen_at: kept.max(instance.last_seen_at),
                    ..Entry::new(server, instance, lease, now)
                };
                leases.insert(instance.connection, entry);
            }
        }
        leases
    }

    /// Takes in that an instance is alive: no commit. What else the heartbeat says, or brings about, is the answer's
    /// `change`, which has no effect until it is committed.
    ///
    /// # Errors
    /// [`Rejection::ServerNotRegistered`], and those of [`Server::heard_of`].
    pub fn heartbeat(
        &self,
        state: &State,
        id: &ServerId,
        heartbeat: &Heartbeat,
    ) -> Result<Beat, Rejection> {
        let server = state
            .servers
            .connected(id)
            .ok_or_else(|| Rejection::ServerNotRegistered(id.clone()))?;
        let instance = server.heard_of(heartbeat.instance_id.as_ref())?;
        let now = self.now();
        let mut shard = self.shard(instance.connection);
        let (word, due_at) = match shard.get_mut(&instance.connection) {
            Some(entry) => {
                self.renew(instance.connection, entry, heartbeat.metrics.as_ref(), now);
                if std::mem::take(&mut entry.quiet) {
                    let next = entry.lease.next_miss();
                    self.set_timer(instance.connection, entry, next);
                }
                let differs = entry.lease.health() != instance.condition.lease;
                let word = differs.then(|| self.word(&entry.lease, now));
                (word, entry.due_at())
            }
            // It is in the state, and within moments will be in here.
            None => (
                None,
                now.wall
                    .saturating_add_unsigned(instance.heartbeat_interval_ms),
            ),
        };
        drop(shard);
        let report = heartbeat.health.map(|health| SelfReport {
            health,
            detail: heartbeat.detail.clone(),
        });
        let mut condition = instance.condition.clone();
        if let Some(word) = &word {
            condition.hear_lease(word.health);
        }
        if let Some(SelfReport { health, detail }) = &report {
            condition.hear_report(*health, detail.as_deref(), self.rules.recover_after);
        }
        let change = (condition != instance.condition).then(|| {
            Box::new(ChangeHealth {
                server: id.clone(),
                instance_id: heartbeat.instance_id.clone(),
                connection: None,
                lease: word,
                report,
                last_seen_at: Some(now.wall),
                occurred_at: heartbeat.occurred_at,
            })
        });
        Ok(Beat {
            health: condition.verdict(),
            heartbeat_interval_ms: instance.heartbeat_interval_ms,
            due_at,
            change,
        })
    }

    /// What the lease of a connected instance says now.
    fn word(&self, lease: &Lease, now: Now) -> LeaseWord {
        LeaseWord {
            health: lease.health(),
            missed_heartbeats: lease.missed(),
            words: lease.words(now.lease, &self.rules),
        }
    }

    /// What the leases of a server's instances say, by connection. `unsaved`: the log can't be written, so that they
    /// may know what the state doesn't.
    #[must_use]
    pub fn views(&self, server: &Server, unsaved: bool) -> Vec<(u64, LeaseView)> {
        let now = self.now();
        let view = |instance: &Arc<Instance>| {
            let shard = self.shard(instance.connection);
            let entry = shard.get(&instance.connection)?;
            let lease = &entry.lease;
            let view = LeaseView {
                last_seen_at: entry.seen_at,
                due_at: entry.due_at(),
                missed_heartbeats: lease.missed(),
                metrics: entry.metrics.clone(),
                health: if unsaved {
                    lease.health()
                } else {
                    // Between a verdict and its commit, the last event is what is true.
                    instance.condition.lease
                },
                words: (lease.health() != Health::Healthy
                    && (unsaved || lease.health() == instance.condition.lease))
                    .then(|| lease.words(now.lease, &self.rules)),
            };
            Some((instance.connection, view))
        };
        server.instances.connected().filter_map(view).collect()
    }

    /// When the instance that a client means was last heard of, epoch ms; where it means the server, any of them.
    #[must_use]
    pub fn last_seen_at(
        &self,
        state: &State,
        server: &ServerId,
        named: Option<&InstanceId>,
    ) -> Option<i64> {
        let server = state.servers.connected(server)?;
        let seen = |instance: &Arc<Instance>| {
            let shard = self.shard(instance.connection);
            shard.get(&instance.connection).map(|entry| entry.seen_at)
        };
        match server.instance_of(named) {
            Some(instance) => seen(instance),
            None => server.instances.connected().filter_map(seen).max(),
        }
    }

    /// A probe of this instance was answered, which is as good as a heartbeat.
    pub fn answered(&self, instance: &Instance) {
        let now = self.now();
        let mut shard = self.shard(instance.connection);
        let Some(entry) = shard.get_mut(&instance.connection) else {
            return;
        };
        self.renew(instance.connection, entry, None, now);
        if entry.lease.health() != instance.condition.lease && now.lease < entry.timer {
            self.set_timer(instance.connection, entry, now.lease);
        }
    }

    /// Whether the instance of this connection sends heartbeats of its own, and none is missed.
    #[must_use]
    pub fn beats(&self, connection: u64) -> bool {
        let shard = self.shard(connection);
        let entry = shard.get(&connection);
        entry.is_some_and(|entry| !entry.quiet && entry.lease.missed() == 0)
    }

    /// A probe of this connection reached nobody: it counts among those that fell silent, as one that is asked every
    /// `interval_ms`.
    pub fn unreached(&self, connection: u64, interval_ms: u64) {
        let now = self.now();
        let mut shard = self.shard(connection);
        let Some(entry) = shard.get_mut(&connection) else {
            return;
        };
        if !entry.silent {
            entry.silent = true;
            // Those that are asked more rarely than heartbeats come fall silent over a longer time.
            let grace = interval_ms.saturating_sub(self.rules.interval_ms);
            let at = now.lease.saturating_add(grace);
            self.timers.lock().suspicion.fell_silent(connection, at);
        }
    }

    /// What the operator set that health depends on.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The hub's doubt about itself, where it has one.
    #[must_use]
    pub fn suspect(&self) -> Option<SelfSuspect> {
        self.timers.lock().suspicion.suspect()
    }

    /// Whether the hub gets too little CPU time.
    #[must_use]
    pub fn starved(&self) -> Option<Starved> {
        self.starvation.lock().starved()
    }

    /// Last-seen times, to be kept over a restart; `None` where nobody was heard of since the last call.
    #[must_use]
    pub fn save(&self) -> Option<Vec<SavedLease>> {
        self.unsaved.swap(false, Ordering::Relaxed).then(|| {
            let mut saved = Vec::with_capacity(self.connected.load(Ordering::Relaxed));
            for shard in &self.shards {
                saved.extend(shard.lock().iter().map(|(connection, entry)| SavedLease {
                    server: entry.server.clone(),
                    connection: *connection,
                    last_seen_at: entry.seen_at,
                }));
            }
            saved
        })
    }

    fn now(&self) -> Now {
        let stalled = self.stalled_ms.load(Ordering::Relaxed);
        Now {
            lease: self.clock.mono_ms().saturating_sub(stalled),
            wall: self.clock.wall_ms(),
        }
    }

    fn shard(&self, connection: u64) -> MutexGuard<'_, Shard> {
        self.shards[connection as usize % SHARDS].lock()
    }

    fn renew(&self, connection: u64, entry: &mut Entry, metrics: Option<&Metrics>, now: Now) {
        entry.lease.heartbeat(now.lease, &self.rules);
        (entry.seen_at, entry.due_from) = (now.wall, now.wall);
        if let Some(metrics) = metrics {
            entry.metrics = Some(metrics.clone());
        }
        if entry.silent {
            entry.silent = false;
            self.timers.lock().suspicion.heard(connection);
        }
        if !self.unsaved.load(Ordering::Relaxed) {
            self.unsaved.store(true, Ordering::Relaxed);
        }
    }

    fn insert(&self, connection: u64, mut entry: Entry) {
        let mut shard = self.shard(connection);
        self.drop_entry(connection, shard.remove(&connection));
        entry.timer = if entry.quiet {
            NEVER
        } else {
            entry.lease.next_miss()
        };
        self.timers.lock().arm(connection, entry.timer);
        shard.insert(connection, entry);
        self.connected.fetch_add(1, Ordering::Relaxed);
        self.unsaved.store(true, Ordering::Relaxed);
    }

    fn drop_entry(&self, connection: u64, entry: Option<Entry>) {
        if let Some(entry) = entry {
            let mut timers = self.timers.lock();
            timers.disarm(connection, entry.timer);
            timers.suspicion.heard(connection);
            self.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Sets a lease's timer to this time.
    fn set_timer(&self, connection: u64, entry: &mut Entry, at: u64) {
        let mut timers = self.timers.lock();
        timers.disarm(connection, entry.timer);
        entry.timer = at;
        timers.arm(connection, at);
    }

    /// A connected instance registered again, perhaps under another name or with another interval.
    fn registered_again(&self, instance: &Instance, is_probed: bool) {
        let now = self.now();
        let mut shard = self.shard(instance.connection);
        let Some(entry) = shard.get_mut(&instance.connection) else {
            return;
        };
        entry.instance.clone_from(&instance.id);
        entry.lease.set_interval(instance.heartbeat_interval_ms);
        self.renew(instance.connection, entry, None, now);
        let healed = entry.lease.health() != instance.condition.lease;
        entry.quiet &= is_probed;
        let next = if healed {
            now.lease
        } else if entry.quiet {
            NEVER
        } else {
            entry.lease.next_miss()
        };
        // A later time is left to the timer that is set: when it goes off, it looks again.
        if next < entry.timer {
            self.set_timer(instance.connection, entry, next);
        }
    }
}

impl Observer for Leases {
    fn committed(&self, state: &State, events: &[Event]) {
        for event in events {
            let named = match &event.what.data {
                EventData::ServerConnected(data) => data.connection.instance_id.as_ref(),
                EventData::InstanceConnected(data) => data.instance_id.as_ref(),
                _ => continue,
            };
            // A later event of the same batch may already have ended this connection, or given it another name.
            let connection = event.position.sequence;
            let server = event.what.server.as_ref();
            let Some(server) = server.and_then(|id| state.servers.connected(id)) else {
                continue;
            };
            let exact = server.instances.get(named);
            let found = exact
                .into_iter()
                .chain(server.instances.only())
                .find(|instance| instance.connection == connection);
            if let Some(instance) = found {
                let now = self.now();
                let lease = Lease::new(instance.heartbeat_interval_ms, now.lease);
                let entry = Entry::new(server, instance, lease, now);
                self.insert(connection, entry);
            }
        }
    }

    fn ended(&self, connections: &[u64]) {
        for connection in connections {
            let mut shard = self.shard(*connection);
            self.drop_entry(*connection, shard.remove(connection));
        }
    }

    fn renewed(&self, state: &State, server: &ServerId, instance: Option<&InstanceId>) {
        let server = state.servers.connected(server);
        if let Some(server) = server
            && let Some(instance) = server.instances.get(instance)
        {
            self.registered_again(instance, server.probe.is_some());
        }
    }
}

impl Entry {
    fn new(server: &Server, instance: &Instance, lease: Lease, now: Now) -> Self {
        Self {
            server: server.connection.id.clone(),
            instance: instance.id.clone(),
            seen_at: now.wall,
            due_from: now.wall,
            asking: false,
            silent: false,
            quiet: server.probe.is_some(),
            timer: 0,
            metrics: None,
            lease,
        }
    }

    fn due_at(&self) -> i64 {
        self.due_from
            .saturating_add_unsigned(self.lease.interval_ms())
    }

    /// The instance that it is the lease of, where the state still has it.
    fn instance_in<'s>(&self, state: &'s State, connection: u64) -> Option<&'s Arc<Instance>> {
        let server = state.servers.connected(&self.server)?;
        server
            .instances
            .get(self.instance.as_ref())
            .filter(|instance| instance.connection == connection)
    }
}

/// When the timer of an instance goes off that owes no heartbeats.
const NEVER: u64 = u64::MAX;
/// Enough that 64 connections rarely meet in one.
const SHARDS: usize = 64;
