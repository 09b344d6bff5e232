//! A server's instances: the processes behind its name, each with a lease, a health and claims of its own.
//!
//! Invariant: what is counted follows from the connected ones alone. Lost ones stay for a while, to be looked at; they
//! turn nothing red.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use crate::domain::{event::Health, fleet::Policy, health::Condition, ids::InstanceId, json::Json};

/// Lost instances that a server's view shows, at most.
const MOST_LOST: usize = 10;
/// How long it shows them, ms.
const SHOWN_MS: i64 = 60 * 60 * 1000;

/// How many instances a server may have at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One: another one takes its place.
    #[default]
    One,
    /// Any number: the server is connected while one of them is.
    Many,
}

/// What an instance tells of its process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// The machine that it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its number there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// Whom it serves: a name, or MCP's `clientInfo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Json>,
}

/// One connected instance, as the events tell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// What it calls itself; a server has one unnamed instance at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<InstanceId>,
    /// Its process.
    #[serde(default)]
    pub process: Process,
    /// How often it means to send heartbeats.
    pub heartbeat_interval_ms: u64,
    /// When it connected, epoch ms.
    pub connected_at: i64,
    /// The sequence of the event that says so: which connection this is.
    pub connection: u64,
    /// What is known of its health.
    pub condition: Condition,
    /// Its lease's words, when the condition changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_words: Option<String>,
    /// When it was last heard of, as the last event about it said, epoch ms.
    pub last_seen_at: i64,
    /// Missed heartbeats, likewise.
    #[serde(default)]
    pub missed_heartbeats: u32,
}

/// An instance that is gone otherwise than it was expected to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// As it was last known.
    pub instance: Arc<Instance>,
    /// Why it is gone.
    pub reason: String,
    /// Since when, by the time that has really passed, ms.
    pub since: i64,
}

/// The instances of one server. Cloning them is cheap.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Instances {
    connected: RedBlackTreeMapSync<Option<InstanceId>, Arc<Instance>>,
    /// How many of the connected ones are healthy, degraded and unhealthy.
    by_health: [usize; 3],
    lost: Vec<Lost>,
}

/// What a snapshot keeps of them.
#[derive(Serialize, Deserialize)]
struct Saved {
    #[serde(default)]
    connected: Vec<Arc<Instance>>,
    #[serde(default)]
    lost: Vec<Lost>,
}

impl Instances {
    /// The connected instance of exactly this name, or without one.
    #[must_use]
    pub fn get(&self, id: Option<&InstanceId>) -> Option<&Arc<Instance>> {
        self.connected.get(&id.cloned())
    }

    /// The only connected one, where there is no other.
    #[must_use]
    pub fn only(&self) -> Option<&Arc<Instance>> {
        self.connected.values().next().filter(|_| self.len() == 1)
    }

    /// The one that connected last.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Instance>> {
        self.connected
            .values()
            .max_by_key(|instance| instance.connection)
    }

    /// All that are connected, in order of their names.
    pub fn connected(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.connected.values()
    }

    /// Those that were lost lately, oldest first. `lived` is the time that has really passed.
    pub fn lost_at(&self, lived: i64) -> impl Iterator<Item = &Lost> {
        self.lost.iter().filter(move |lost| is_shown(lost, lived))
    }

    /// How many are connected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connected.size()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connected.is_empty()
    }

    /// The best verdict among them.
    #[must_use]
    pub fn best(&self) -> Option<Health> {
        HEALTHS
            .into_iter()
            .zip(self.by_health)
            .find(|(_, count)| *count > 0)
            .map(|(health, _)| health)
    }

    pub(super) fn put(&mut self, instance: Instance) {
        self.take(instance.id.as_ref());
        self.lost.retain(|lost| lost.instance.id != instance.id);
        self.by_health[instance.condition.verdict() as usize] += 1;
        self.connected
            .insert_mut(instance.id.clone(), Arc::new(instance));
    }

    pub(super) fn take(&mut self, id: Option<&InstanceId>) -> Option<Arc<Instance>> {
        let taken = self.get(id)?.clone();
        self.by_health[taken.condition.verdict() as usize] -= 1;
        self.connected.remove_mut(&taken.id);
        Some(taken)
    }

    /// Changes the instance of this name, which may get another one.
    pub(super) fn change(&mut self, id: Option<&InstanceId>, change: impl FnOnce(&mut Instance)) {
        if let Some(taken) = self.take(id) {
            let mut instance = Arc::unwrap_or_clone(taken);
            change(&mut instance);
            self.put(instance);
        }
    }

    /// One is gone: remembered as lost where that wasn't expected. What it was known to be goes with it.
    pub(super) fn leave(
        &mut self,
        gone: Arc<Instance>,
        expected: bool,
        reason: &str,
        seen_at: i64,
        lived: i64,
    ) {
        self.lost.retain(|lost| is_shown(lost, lived));
        if expected {
            return;
        }
        if self.lost.len() >= MOST_LOST {
            self.lost.remove(0);
        }
        self.lost.push(Lost {
            instance: Arc::new(Instance {
                condition: Condition::default(),
                lease_words: None,
                missed_heartbeats: 0,
                last_seen_at: seen_at,
                ..Arc::unwrap_or_clone(gone)
            }),
            reason: reason.to_owned(),
            since: lived,
        });
    }

    /// Only those that were lost.
    pub(super) fn lost_alone(&self) -> Self {
        Self {
            lost: self.lost.clone(),
            ..Self::default()
        }
    }
}

impl From<Saved> for Instances {
    fn from(saved: Saved) -> Self {
        let mut instances = Self {
            lost: saved.lost,
            ..Self::default()
        };
        for instance in saved.connected {
            instances.put(Arc::unwrap_or_clone(instance));
        }
        instances
    }
}

impl From<Instances> for Saved {
    fn from(instances: Instances) -> Self {
        Self {
            connected: instances.connected.values().cloned().collect(),
            lost: instances.lost,
        }
    }
}

impl Policy {
    /// Whether what ended at `since` has left the state by `lived`; both by the time that has really passed, ms.
    #[must_use]
    pub fn is_forgotten(&self, since: i64, lived: i64) -> bool {
        lived.saturating_sub(since) >= self.state_retention_age_ms
    }
}

fn is_shown(lost: &Lost, lived: i64) -> bool {
    lived.saturating_sub(lost.since) < SHOWN_MS
}

const HEALTHS: [Health; 3] = [Health::Healthy, Health::Degraded, Health::Unhealthy];
