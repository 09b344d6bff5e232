//! Long polls: who waits for steps, filed by what they wait for. A commit wakes those that may find something,
//! in the order in which they came; what concerns nobody costs nobody anything.
//!
//! To wait, to leave and to be woken cost O(log n) each, whatever the others wait for.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::{Event, ServerId, State, WorkflowId, workflow::Stirred};

/// What somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interest {
    /// Any step of a workflow.
    Workflow(WorkflowId),
    /// Steps that a server may claim, holds or did.
    Server(ServerId),
    /// Any step.
    AnyStep,
}

/// Everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<Filed>);

#[derive(Debug, Default)]
struct Filed {
    /// How many have come so far: the next one's number.
    came: u64,
    workflows: HashMap<WorkflowId, Row>,
    servers: HashMap<ServerId, Row>,
    any_step: Row,
}

/// Waiters by number, which is the order in which they came.
type Row = BTreeMap<u64, Arc<Notify>>;

/// A place among those that wait, given up when dropped.
#[derive(Debug)]
pub struct Waiter {
    waiters: Arc<Waiters>,
    interest: Interest,
    number: u64,
    woken: Arc<Notify>,
}

impl Waiter {
    /// Returns once something happened that may concern this waiter, at once where it did since the last time.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.0.lock().remove(&self.interest, self.number);
    }
}

impl Waiters {
    /// A place for one more. Take it before looking at the state, so that nothing is missed in between.
    pub(super) fn join(self: &Arc<Self>, interest: Interest) -> Waiter {
        let woken = Arc::new(Notify::new());
        let number = self.0.lock().add(&interest, woken.clone());
        Waiter {
            waiters: self.clone(),
            interest,
            number,
            woken,
        }
    }

    /// Wakes whoever may find something after these events; `state` is what they led to.
    pub(super) fn committed(&self, state: &State, events: &[Event]) {
        if self.0.lock().is_empty() {
            return;
        }
        let mut stirred = Stirred::default();
        for event in events {
            state.workflows.stirred_by(&event.what.data, &mut stirred);
        }
        if stirred.is_empty() {
            return;
        }
        let concerned = self.0.lock().concerned(&stirred);
        concerned.values().for_each(|woken| woken.notify_one());
    }

    /// Wakes everybody: what they wait for won't come.
    pub(super) fn wake_all(&self) {
        let filed = self.0.lock();
        let rows = filed.workflows.values().chain(filed.servers.values());
        for woken in rows.chain([&filed.any_step]).flat_map(BTreeMap::values) {
            woken.notify_one();
        }
    }
}

impl Filed {
    fn is_empty(&self) -> bool {
        self.any_step.is_empty() && self.servers.is_empty() && self.workflows.is_empty()
    }

    fn add(&mut self, interest: &Interest, woken: Arc<Notify>) -> u64 {
        self.came += 1;
        let row = match interest {
            Interest::Workflow(id) => self.workflows.entry(id.clone()).or_default(),
            Interest::Server(id) => self.servers.entry(id.clone()).or_default(),
            Interest::AnyStep => &mut self.any_step,
        };
        row.insert(self.came, woken);
        self.came
    }

    fn remove(&mut self, interest: &Interest, number: u64) {
        match interest {
            Interest::Workflow(id) => take(&mut self.workflows, id, number),
            Interest::Server(id) => take(&mut self.servers, id, number),
            Interest::AnyStep => {
                self.any_step.remove(&number);
            }
        }
    }

    /// Those that may find something, by the order in which they came.
    fn concerned(&self, stirred: &Stirred) -> Row {
        let mut concerned = self.any_step.clone();
        let rows = stirred
            .workflows
            .iter()
            .filter_map(|id| self.workflows.get(id));
        concerned.extend(rows.flatten().map(|(at, woken)| (*at, woken.clone())));
        let mut add = |row: &Row| {
            concerned.extend(row.iter().map(|(at, woken)| (*at, woken.clone())));
        };
        if stirred.any_server {
            self.servers.values().for_each(&mut add);
        } else {
            let rows = stirred.servers.iter();
            rows.filter_map(|id| self.servers.get(id)).for_each(add);
        }
        concerned
    }
}

fn take<K: Eq + Hash>(rows: &mut HashMap<K, Row>, key: &K, number: u64) {
    if let Some(row) = rows.get_mut(key) {
        row.remove(&number);
        if row.is_empty() {
            rows.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: &str) -> ServerId {
        id.parse().expect("an id")
    }

    fn workflow(id: &str) -> WorkflowId {
        id.parse().expect("an id")
    }

    #[test]
    fn only_those_are_concerned_who_may_find_something_first_come_first() {
        let waiters = Arc::new(Waiters::default());
        let interests = [
            Interest::Server(server("a")),
            Interest::AnyStep,
            Interest::Workflow(workflow("w")),
            Interest::Server(server("b")),
            Interest::Server(server("a")),
        ];
        let places = interests.map(|interest| waiters.join(interest));
        let concerned = |workflows: &[&str], servers: &[&str], any_server| {
            let stirred = Stirred {
                workflows: workflows.iter().map(|id| workflow(id)).collect(),
                servers: servers.iter().map(|id| server(id)).collect(),
                any_server,
            };
            let filed = waiters.0.lock();
            filed.concerned(&stirred).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(concerned(&["x"], &["a"], false), [1, 2, 5]);
        assert_eq!(concerned(&["w"], &["b", "c"], false), [2, 3, 4]);
        assert_eq!(concerned(&["x"], &[], true), [1, 2, 4, 5]);
        drop(places);
        assert!(waiters.0.lock().is_empty());
        assert!(waiters.0.lock().servers.is_empty());
    }

    #[tokio::test]
    async fn what_happens_before_the_wait_is_not_missed() {
        let waiters = Arc::new(Waiters::default());
        let place = waiters.join(Interest::AnyStep);
        waiters.wake_all();
        place.woken().await;
    }
}
