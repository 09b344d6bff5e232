//! What the passing of time makes of leases: the one task that watches them all, and the step it repeats.
//!
//! Asks the hub only where a verdict changes or a lease ends, one question per lease at a time, and asks
//! again later where the hub couldn't. Time in which its own timers stood still counts for nobody.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Leases, Now, suspicion::Turn, timers::Due};
use crate::{
    domain::{
        Command, State,
        command::{ChangeHealth, Deregister},
        server::HEARTBEAT_TIMEOUT,
    },
    hub::{Hub, HubError},
};

/// A question to the hub on behalf of one lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Of which connection.
    pub connection: u64,
    /// The question.
    pub command: Command,
}

impl Leases {
    /// Looks at every lease that is due now, and tells what to ask the hub. Each question must be brought
    /// to an end by [`Leases::settle`].
    #[must_use]
    pub fn tick(&self, state: &State) -> Vec<Ask> {
        let now = self.now();
        let due = self.timers.lock().take_due(now.lease);
        // First everyone's misses, then the whole, then the consequences: nobody may be given up for lost
        // by the very look that shows the hub to be suspect.
        due.iter().for_each(|due| self.count_misses(due, now));
        let suspect = self.judge(now);
        due.iter()
            .filter_map(|due| self.conclude(due, now, suspect, state))
            .collect()
    }

    /// A question was answered: carried out (`Ok`, the state being what it led to), or not, for now.
    pub fn settle(&self, ask: &Ask, carried_out: bool, state: &State) {
        let now = self.now();
        let mut shard = self.shard(ask.connection);
        let Some(entry) = shard.get_mut(&ask.connection) else {
            return;
        };
        entry.asking = false;
        let retry_at = if carried_out {
            now.lease
        } else {
            now.lease.saturating_add(RETRY_MS)
        };
        let ended = now.lease >= entry.lease.ends_at(&self.rules, false);
        let differs = entry
            .instance_in(state, ask.connection)
            .is_some_and(|instance| instance.condition.lease != entry.lease.health());
        if (differs || (ended && !carried_out)) && retry_at < entry.timer {
            self.set_timer(ask.connection, entry, retry_at);
        }
    }

    /// Takes this much time out of everybody's count: the hub's own timers stood still.
    pub fn forgive(&self, stalled_ms: u64) {
        self.stalled_ms.fetch_add(stalled_ms, Ordering::Relaxed);
        let now = self.now();
        for shard in &self.shards {
            for (connection, entry) in shard.lock().iter_mut() {
                entry.lease.rewind(now.lease);
                if entry.quiet {
                    continue;
                }
                let next = entry.lease.next_miss();
                if next < entry.timer {
                    self.set_timer(*connection, entry, next);
                }
            }
        }
    }

    /// Notes how late the monitor's own timer was: late enough, the hub is starved, and says so.
    fn note_lateness(&self, late_ms: u64) {
        let now = self.clock.mono_ms();
        let mut starvation = self.starvation.lock();
        if late_ms < STALL_MS {
            if starvation.in_time(now) {
                info!("the hub's timers are in time again");
            }
        } else if starvation.late(now, self.clock.wall_ms(), late_ms) {
            warn!(
                late_ms,
                "the hub's own timers are late: it is starved of CPU, and so is everything that it does"
            );
        }
    }

    /// How long until the next lease is due, ms.
    #[must_use]
    pub fn until_due(&self) -> Option<u64> {
        let next = self.timers.lock().next();
        next.map(|next| next.saturating_sub(self.now().lease))
    }

    fn count_misses(&self, due: &Due, now: Now) {
        let mut shard = self.shard(due.connection);
        let entry = shard.get_mut(&due.connection);
        let Some(entry) = entry.filter(|entry| due.is_of(entry)) else {
            return;
        };
        entry.lease.elapse(now.lease, &self.rules);
        if entry.lease.missed() > 0 && !entry.silent {
            entry.silent = true;
            self.timers
                .lock()
                .suspicion
                .fell_silent(due.connection, now.lease);
        }
    }

    fn judge(&self, now: Now) -> bool {
        let connected = self.connected.load(Ordering::Relaxed);
        let mut timers = self.timers.lock();
        let turn = timers
            .suspicion
            .judge(now.lease, now.wall, self.rules.interval_ms, connected);
        let suspect = timers.suspicion.suspect();
        drop(timers);
        let silent = suspect.map_or(0, |suspect| suspect.silent);
        match turn {
            Some(Turn::Begins) => warn!(
                silent,
                connected,
                "{silent} of {connected} servers fell silent at once: suspecting the hub itself, nobody is \
                 disconnected for now"
            ),
            Some(Turn::Ends) => info!(connected, "half of the silent servers are back"),
            None => {}
        }
        suspect.is_some()
    }

    fn conclude(&self, due: &Due, now: Now, suspect: bool, state: &State) -> Option<Ask> {
        let mut shard = self.shard(due.connection);
        let entry = shard
            .get_mut(&due.connection)
            .filter(|entry| due.is_of(entry))?;
        let (lease, rules) = (&entry.lease, &self.rules);
        let ends_at = lease.ends_at(rules, suspect);
        let next_miss = lease.next_miss();
        let next = if ends_at > now.lease {
            next_miss.min(ends_at)
        } else {
            next_miss
        };
        self.set_timer(due.connection, entry, next);
        if entry.asking {
            return None;
        }
        let (server, instance) = (&entry.server, &entry.instance);
        let command = if ends_at <= now.lease {
            match instance {
                Some(instance) => {
                    info!(server.id = %server, "instance {instance} of server {server} went silent");
                }
                None => info!(server.id = %server, "server {server} went silent"),
            }
            Command::Deregister(Deregister {
                server: server.clone(),
                reason: HEARTBEAT_TIMEOUT.to_owned(),
                connection: Some(due.connection),
                instance_id: instance.clone(),
                expected: None,
                last_seen_at: Some(entry.seen_at),
                occurred_at: None,
            })
        } else {
            let known = entry.instance_in(state, due.connection)?;
            if known.condition.lease == entry.lease.health() {
                return None;
            }
            Command::ChangeHealth(ChangeHealth {
                server: server.clone(),
                instance_id: instance.clone(),
                connection: Some(due.connection),
                lease: Some(self.word(&entry.lease, now)),
                report: None,
                last_seen_at: Some(entry.seen_at),
                occurred_at: None,
            })
        };
        entry.asking = true;
        Some(Ask {
            connection: due.connection,
            command,
        })
    }
}

/// Watches the leases until it is told to stop; then saves last-seen times once more.
pub async fn watch(leases: Arc<Leases>, hub: Hub, stop: CancellationToken) {
    let clock = hub.clock().clone();
    let mut asks: VecDeque<Ask> = VecDeque::new();
    let mut asked: JoinSet<(Ask, Result<(), HubError>)> = JoinSet::new();
    let mut save_at = clock.mono_ms() + SAVE_EVERY_MS;
    let mut planned = clock.mono_ms();
    loop {
        let started = clock.mono_ms();
        let late = started.saturating_sub(planned);
        if late >= STALL_MS {
            leases.forgive(late);
            hub.note_late(late);
        }
        leases.note_lateness(late);
        asks.extend(leases.tick(&hub.state()));
        if started >= save_at {
            save_at = started + SAVE_EVERY_MS;
            save(&leases, &hub).await;
        }
        let nap = leases.until_due().unwrap_or(LONGEST_NAP_MS);
        let nap = nap.clamp(SHORTEST_NAP_MS, LONGEST_NAP_MS);
        planned = clock.mono_ms() + nap;
        let rest = tokio::time::sleep(Duration::from_millis(nap));
        tokio::pin!(rest);
        loop {
            while asked.len() < MOST_ASKED
                && let Some(ask) = asks.pop_front()
            {
                let hub = hub.clone();
                asked.spawn(async move {
                    let outcome = hub.execute(ask.command.clone(), None).await;
                    (ask, outcome.map(drop))
                });
            }
            tokio::select! {
                () = stop.cancelled() => {
                    save(&leases, &hub).await;
                    return;
                }
                () = &mut rest => break,
                Some(answered) = asked.join_next() => {
                    let Ok((ask, outcome)) = answered else { continue };
                    if let Err(cause) = &outcome {
                        // The hub itself tells of its trouble, once.
                        debug!("{:?} has to wait: {cause}", ask.command);
                    }
                    leases.settle(&ask, outcome.is_ok(), &hub.state());
                }
            }
        }
    }
}

async fn save(leases: &Leases, hub: &Hub) {
    if let Some(saved) = leases.save()
        && let Err(cause) = hub.save_leases(saved).await
    {
        // What is kept is only older for it: after a restart, last-seen times are that much less exact.
        warn!("last-seen times were not saved: {cause}");
    }
}

/// Questions under way at once; further ones wait, at most one per lease.
const MOST_ASKED: usize = 256;
/// After a question that the hub couldn't carry out.
const RETRY_MS: u64 = 1000;
/// How often last-seen times are saved.
const SAVE_EVERY_MS: u64 = 10_000;
/// Lateness of the monitor's own timer that counts as a stall: half of the shortest interval.
const STALL_MS: u64 = 50;
/// The monitor looks at least this often, so that it notices its own stalls.
const LONGEST_NAP_MS: u64 = 100;
/// And no more often than this.
const SHORTEST_NAP_MS: u64 = 5;
