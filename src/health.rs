//! Leases of connected servers: who is due, who is late, who is gone.
//!
//! A heartbeat renews a lease in memory and costs no commit; only a changed verdict and a lost server
//! become commands. What is in here follows from the committed events (as the hub's [`Observer`]) and
//! from heartbeats; whenever a lease's verdict and the announced one differ, somebody is asking the hub, or
//! a timer is set that will. Locks are taken in one order (a shard, then the timers), and none is held
//! across an await.

pub mod monitor;
mod suspicion;
#[cfg(test)]
mod tests;
mod timers;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    clock::Clock,
    domain::{
        Command, Event, EventData, InstanceId, Rejection, ServerId, State,
        command::ChangeHealth,
        event::Health,
        health::{Heartbeat, Lease, Rules},
        server::{
            LeaseView, Server,
            view::{Grounds, Metrics},
        },
    },
    hub::{Observer, SavedLease},
};

pub use suspicion::SelfSuspect;
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
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    connected: AtomicUsize,
    timers: Mutex<Timers>,
    /// Whether anyone was heard of since last-seen times were saved.
    unsaved: AtomicBool,
}

type Shard = HashMap<ServerId, Entry>;

/// One connected server.
#[derive(Debug)]
struct Entry {
    /// The sequence of its `server_connected`.
    connection: u64,
    instance: Option<InstanceId>,
    lease: Lease,
    /// When it was last heard of, epoch ms.
    seen_at: i64,
    /// What its next heartbeat is due an interval after, epoch ms: last seen, or the hub's restart.
    due_from: i64,
    /// The verdict that the state has.
    announced: Health,
    /// Whether the monitor has asked the hub and not heard yet.
    asking: bool,
    /// Whether it counts as silent: its first heartbeat is missed, and none has come since.
    silent: bool,
    /// When its timer goes off, lease time.
    timer: u64,
    metrics: Option<Metrics>,
}

/// What a heartbeat is answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// The verdict now.
    pub health: Health,
    /// How often heartbeats are expected.
    pub heartbeat_interval_ms: u64,
    /// When the next is due, epoch ms.
    pub due_at: i64,
    /// What must be committed before the answer: the heartbeat changed the verdict.
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
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            connected: AtomicUsize::new(0),
            timers: Mutex::default(),
            unsaved: AtomicBool::new(false),
        }
    }

    /// The leases of the servers that are connected in a recovered state: verdicts as they were, and time as
    /// if each had just been heard of. `saved` are the last-seen times that were kept.
    #[must_use]
    pub fn recover(rules: Rules, clock: Clock, state: &State, saved: &[SavedLease]) -> Self {
        let leases = Self::new(rules, clock);
        let now = leases.now();
        let restarted: Arc<str> = jiff::Timestamp::from_second(now.wall.div_euclid(1000))
            .map_or_else(|_| now.wall.to_string(), |time| time.to_string())
            .into();
        let seen: HashMap<(&ServerId, u64), i64> = saved
            .iter()
            .map(|lease| ((&lease.server, lease.connection), lease.last_seen_at))
            .collect();
        for server in state
            .servers
            .after(None)
            .filter(|server| server.is_connected())
        {
            let id = &server.connection.id;
            let kept = seen.get(&(id, server.connected_sequence)).copied();
            let lease = Lease::restored(
                server.heartbeat_interval_ms,
                now.lease,
                server.lease_health,
                server.reported_health,
                restarted.clone(),
            );
            let lease = if server.reason.as_deref() == Some("reported") {
                lease.with_report(server.detail.as_deref())
            } else {
                lease
            };
            let seen_at = kept.map_or(server.last_seen_at, |kept| kept.max(server.last_seen_at));
            leases.insert(
                server,
                Entry {
                    seen_at,
                    ..Entry::new(server, lease, now)
                },
            );
        }
        leases
    }

    /// Takes in a heartbeat: no commit, unless it changes the verdict.
    ///
    /// # Errors
    /// [`Rejection::ServerNotRegistered`], [`Rejection::InstanceReplaced`].
    pub fn heartbeat(&self, server: &ServerId, heartbeat: &Heartbeat) -> Result<Beat, Rejection> {
        let now = self.now();
        let mut shard = self.shard(server);
        let entry = find(&mut shard, server, heartbeat)?;
        self.renew(entry, heartbeat, now);
        let change = (entry.lease.verdict() != entry.announced).then(|| {
            let change = change_health(
                server,
                entry.connection,
                &entry.lease,
                now,
                entry.seen_at,
                &self.rules,
            );
            Box::new(ChangeHealth {
                occurred_at: heartbeat.occurred_at,
                ..change
            })
        });
        Ok(Beat {
            health: entry.lease.verdict(),
            heartbeat_interval_ms: entry.lease.interval_ms(),
            due_at: entry.due_at(),
            change,
        })
    }

    /// The command that a heartbeat would lead to, without taking it in: where it is one item of many that
    /// succeed together. Decided, it is an event only if the verdict changes. Once it is committed,
    /// [`Leases::heartbeat`] takes the heartbeat in.
    ///
    /// # Errors
    /// [`Rejection::ServerNotRegistered`], [`Rejection::InstanceReplaced`].
    pub fn preview(&self, server: &ServerId, heartbeat: &Heartbeat) -> Result<Command, Rejection> {
        let now = self.now();
        let mut shard = self.shard(server);
        let entry = find(&mut shard, server, heartbeat)?;
        let mut lease = entry.lease.clone();
        lease.heartbeat(now.lease, heartbeat.report(), &self.rules);
        let change = change_health(server, entry.connection, &lease, now, now.wall, &self.rules);
        Ok(Command::ChangeHealth(ChangeHealth {
            occurred_at: heartbeat.occurred_at,
            ..change
        }))
    }

    /// What the lease of a connected server says.
    #[must_use]
    pub fn view(&self, server: &ServerId) -> Option<LeaseView> {
        let now = self.now();
        let shard = self.shard(server);
        let entry = shard.get(server)?;
        // Between a verdict and its commit, the last event is what is true.
        let verdict = entry.lease.verdict();
        let told = verdict != Health::Healthy && verdict == entry.announced;
        let grounds = told.then(|| entry.lease.evidence(now.lease, &self.rules));
        Some(LeaseView {
            last_seen_at: entry.seen_at,
            due_at: entry.due_at(),
            missed_heartbeats: entry.lease.missed(),
            metrics: entry.metrics.clone(),
            grounds: grounds.map(|evidence| Grounds {
                reason: evidence.reason,
                detail: evidence.detail,
            }),
        })
    }

    /// When a connected server was last heard of, epoch ms.
    #[must_use]
    pub fn last_seen_at(&self, server: &ServerId) -> Option<i64> {
        self.shard(server).get(server).map(|entry| entry.seen_at)
    }

    /// The hub's doubt about itself, where it has one.
    #[must_use]
    pub fn suspect(&self) -> Option<SelfSuspect> {
        self.timers.lock().suspicion.suspect()
    }

    /// Last-seen times, to be kept over a restart; `None` where nobody was heard of since the last call.
    #[must_use]
    pub fn save(&self) -> Option<Vec<SavedLease>> {
        self.unsaved.swap(false, Ordering::Relaxed).then(|| {
            let mut saved = Vec::with_capacity(self.connected.load(Ordering::Relaxed));
            for shard in &self.shards {
                saved.extend(shard.lock().iter().map(|(server, entry)| SavedLease {
                    server: server.clone(),
                    connection: entry.connection,
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

    fn shard(&self, server: &ServerId) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(server) as usize;
        self.shards[hash % SHARDS].lock()
    }

    fn renew(&self, entry: &mut Entry, heartbeat: &Heartbeat, now: Now) {
        entry
            .lease
            .heartbeat(now.lease, heartbeat.report(), &self.rules);
        (entry.seen_at, entry.due_from) = (now.wall, now.wall);
        if heartbeat.metrics.is_some() {
            entry.metrics.clone_from(&heartbeat.metrics);
        }
        if entry.silent {
            entry.silent = false;
            self.timers.lock().suspicion.heard(entry.connection);
        }
        if !self.unsaved.load(Ordering::Relaxed) {
            self.unsaved.store(true, Ordering::Relaxed);
        }
    }

    fn insert(&self, server: &Server, mut entry: Entry) {
        let id = &server.connection.id;
        let mut shard = self.shard(id);
        self.drop_entry(shard.remove(id));
        entry.timer = entry.lease.next_miss();
        self.timers.lock().arm(&entry, id);
        shard.insert(id.clone(), entry);
        self.connected.fetch_add(1, Ordering::Relaxed);
        self.unsaved.store(true, Ordering::Relaxed);
    }

    fn remove(&self, server: &ServerId) {
        let mut shard = self.shard(server);
        self.drop_entry(shard.remove(server));
    }

    fn drop_entry(&self, entry: Option<Entry>) {
        if let Some(entry) = entry {
            let mut timers = self.timers.lock();
            timers.disarm(&entry);
            timers.suspicion.heard(entry.connection);
            self.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Sets the server's timer to this time.
    fn set_timer(&self, entry: &mut Entry, server: &ServerId, at: u64) {
        let mut timers = self.timers.lock();
        timers.disarm(entry);
        entry.timer = at;
        timers.arm(entry, server);
    }

    /// A connected server registered again, perhaps with another description.
    fn registered_again(&self, server: &ServerId, described: Option<&Server>) {
        let now = self.now();
        let mut shard = self.shard(server);
        let Some(entry) = shard.get_mut(server) else {
            return;
        };
        if let Some(described) = described {
            entry.instance.clone_from(&described.connection.instance_id);
            entry.lease.set_interval(described.heartbeat_interval_ms);
        }
        self.renew(entry, &Heartbeat::default(), now);
        let healed = entry.lease.verdict() != entry.announced;
        let next = if healed {
            now.lease
        } else {
            entry.lease.next_miss()
        };
        // A later time is left to the timer that is set: when it goes off, it looks again.
        if next < entry.timer {
            self.set_timer(entry, server, next);
        }
    }
}

impl Observer for Leases {
    fn committed(&self, state: &State, events: &[Event]) {
        for event in events {
            let Some(id) = &event.what.server else {
                continue;
            };
            match &event.what.data {
                EventData::ServerConnected(_) => {
                    // A later event of the same batch may already have ended this connection.
                    let sequence = event.position.sequence;
                    let server = state.servers.connected(id);
                    if let Some(server) = server.filter(|s| s.connected_sequence == sequence) {
                        let now = self.now();
                        let lease = Lease::new(server.heartbeat_interval_ms, now.lease);
                        self.insert(server, Entry::new(server, lease, now));
                    }
                }
                EventData::ServerUpdated(_) => {
                    self.registered_again(id, state.servers.connected(id).map(|s| &**s));
                }
                EventData::ServerDisconnected(_) => self.remove(id),
                EventData::ServerHealthChanged(data) => {
                    if let Some(entry) = self.shard(id).get_mut(id) {
                        entry.announced = data.health;
                    }
                }
                _ => {}
            }
        }
    }

    fn renewed(&self, server: &ServerId) {
        self.registered_again(server, None);
    }
}

impl Entry {
    fn new(server: &Server, lease: Lease, now: Now) -> Self {
        Self {
            connection: server.connected_sequence,
            instance: server.connection.instance_id.clone(),
            seen_at: now.wall,
            due_from: now.wall,
            announced: server.health,
            asking: false,
            silent: false,
            timer: 0,
            metrics: None,
            lease,
        }
    }

    fn due_at(&self) -> i64 {
        self.due_from
            .saturating_add_unsigned(self.lease.interval_ms())
    }
}

fn change_health(
    server: &ServerId,
    connection: u64,
    lease: &Lease,
    now: Now,
    seen_at: i64,
    rules: &Rules,
) -> ChangeHealth {
    let evidence = lease.evidence(now.lease, rules);
    ChangeHealth {
        server: server.clone(),
        connection,
        health: lease.verdict(),
        lease_health: lease.lease_health(),
        reported_health: lease.reported(),
        reason: evidence.reason.to_owned(),
        source: evidence.source,
        missed_heartbeats: lease.missed(),
        last_seen_at: seen_at,
        detail: Some(evidence.detail),
        occurred_at: None,
    }
}

fn find<'s>(
    shard: &'s mut Shard,
    server: &ServerId,
    heartbeat: &Heartbeat,
) -> Result<&'s mut Entry, Rejection> {
    let entry = shard
        .get_mut(server)
        .ok_or_else(|| Rejection::ServerNotRegistered(server.clone()))?;
    match (&entry.instance, &heartbeat.instance_id) {
        (Some(present), Some(named)) if present != named => {
            Err(Rejection::InstanceReplaced(server.clone()))
        }
        _ => Ok(entry),
    }
}

/// Enough that 64 connections rarely meet in one.
const SHARDS: usize = 64;
