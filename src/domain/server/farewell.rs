//! Farewells that came before their registration: a short session leaves no ghost, in whatever order its calls arrive.

use rpds::{HashTrieMapSync, RedBlackTreeSetSync};

use crate::domain::ids::{InstanceId, ServerId};

/// How long a farewell is remembered, ms.
const REMEMBERED_MS: i64 = 60_000;
/// How many are, at most: the oldest make room.
const MOST: usize = 10_000;

/// Instances that said that they go before they were known. Times are those that have really passed, ms.
#[derive(Debug, Clone, Default)]
pub(super) struct Farewells {
    at: HashTrieMapSync<(ServerId, InstanceId), i64>,
    by_age: RedBlackTreeSetSync<(i64, ServerId, InstanceId)>,
}

impl Farewells {
    /// Whether this instance has said that it goes, lately.
    pub(super) fn holds(&self, server: &ServerId, instance: &InstanceId, lived: i64) -> bool {
        // Looked up only where there are any: every registration passes here.
        !self.at.is_empty()
            && self
                .at
                .get(&(server.clone(), instance.clone()))
                .is_some_and(|at| !is_over(*at, lived))
    }

    pub(super) fn add(&mut self, server: &ServerId, instance: &InstanceId, at: i64) {
        self.remove(server, instance);
        self.at.insert_mut((server.clone(), instance.clone()), at);
        self.by_age
            .insert_mut((at, server.clone(), instance.clone()));
    }

    pub(super) fn remove(&mut self, server: &ServerId, instance: &InstanceId) {
        let key = (server.clone(), instance.clone());
        if let Some(at) = self.at.get(&key).copied() {
            self.at.remove_mut(&key);
            let (server, instance) = key;
            self.by_age.remove_mut(&(at, server, instance));
        }
    }

    /// The oldest, where it is to be forgotten: its time is over, or there are too many.
    pub(super) fn stale(&self, lived: i64) -> Option<(ServerId, InstanceId)> {
        let (at, server, instance) = self.by_age.first()?;
        let goes = is_over(*at, lived) || self.by_age.size() > MOST;
        goes.then(|| (server.clone(), instance.clone()))
    }
}

fn is_over(at: i64, lived: i64) -> bool {
    lived.saturating_sub(at) >= REMEMBERED_MS
}
