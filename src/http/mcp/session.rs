//! Sessions of clients that begin with `initialize`. A session holds what its client subscribed to, and nothing else;
//! there are [`MOST`] of them at most. Where there would be more, the one that was used least lately goes, of the
//! caller that has most: its client is told `404` and begins again, as after a restart of the hub.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::watch;

/// Sessions at a time.
const MOST: usize = 1000;

/// Resources that one session may watch.
pub(super) const MOST_WATCHED: usize = 100;

/// All sessions of one hub.
#[derive(Debug, Default)]
pub(in crate::http) struct Sessions {
    by_id: Mutex<HashMap<Arc<str>, Arc<Session>>>,
    uses: AtomicU64,
}

/// One client's.
#[derive(Debug)]
pub(super) struct Session {
    id: Arc<str>,
    caller: Arc<str>,
    /// When it was used last, in order of uses.
    used: AtomicU64,
    /// The URIs that it subscribed to, for its stream to see.
    watched: watch::Sender<BTreeSet<String>>,
}

impl Sessions {
    /// Begins one.
    pub(super) fn begin(&self, caller: &Arc<str>) -> Arc<Session> {
        let session = Arc::new(Session {
            id: uuid::Uuid::new_v4().to_string().into(),
            caller: caller.clone(),
            used: AtomicU64::new(self.next_use()),
            watched: watch::Sender::default(),
        });
        let mut by_id = self.by_id.lock();
        if by_id.len() >= MOST
            && let Some(id) = victim(&by_id)
        {
            by_id.remove(&id);
        }
        by_id.insert(session.id.clone(), session.clone());
        session
    }

    /// The one of that id, for the caller that began it.
    pub(super) fn find(&self, id: &str, caller: &str) -> Option<Arc<Session>> {
        let found = self.by_id.lock().get(id).cloned()?;
        if *found.caller != *caller {
            return None;
        }
        found.used.store(self.next_use(), Ordering::Relaxed);
        Some(found)
    }

    /// Ends one. `false` where there is none.
    pub(super) fn end(&self, id: &str, caller: &str) -> bool {
        let mut by_id = self.by_id.lock();
        let is_theirs = by_id.get(id).is_some_and(|found| *found.caller == *caller);
        is_theirs && by_id.remove(id).is_some()
    }

    fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }
}

impl Session {
    /// Its id, as the header has it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Watches a resource. `false` where it watches as many as it may.
    pub(super) fn watch(&self, uri: &str) -> bool {
        let mut fits = true;
        self.watched.send_if_modified(|watched| {
            if watched.len() >= MOST_WATCHED && !watched.contains(uri) {
                fits = false;
                return false;
            }
            watched.insert(uri.to_owned())
        });
        fits
    }

    /// Watches a resource no longer.
    pub(super) fn unwatch(&self, uri: &str) {
        self.watched.send_if_modified(|watched| watched.remove(uri));
    }

    /// What it watches, now and later. Its end is the session's, once nothing else holds it.
    pub(super) fn watched(&self) -> watch::Receiver<BTreeSet<String>> {
        self.watched.subscribe()
    }
}

/// The least lately used session of the caller that has most.
fn victim(by_id: &HashMap<Arc<str>, Arc<Session>>) -> Option<Arc<str>> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for session in by_id.values() {
        *counts.entry(&session.caller).or_default() += 1;
    }
    let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let theirs = by_id.values().filter(|session| *session.caller == *most);
    let oldest = theirs.min_by_key(|session| session.used.load(Ordering::Relaxed))?;
    Some(oldest.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_and_nobody_loses_theirs_to_a_flood_of_anothers() {
        let sessions = Sessions::default();
        let [quiet, flood]: [Arc<str>; 2] = ["quiet".into(), "flood".into()];
        let own = sessions.begin(&quiet);
        let first = sessions.begin(&flood);
        for _ in 0..10 * MOST {
            sessions.begin(&flood);
        }
        assert_eq!(sessions.by_id.lock().len(), MOST);
        assert!(sessions.find(own.id(), &quiet).is_some());
        assert!(sessions.find(first.id(), &flood).is_none());
    }

    #[test]
    fn a_session_is_its_callers_alone() {
        let sessions = Sessions::default();
        let session = sessions.begin(&"a".into());
        assert!(sessions.find(session.id(), "b").is_none());
        assert!(!sessions.end(session.id(), "b"));
        assert!(sessions.end(session.id(), "a"));
        assert!(sessions.find(session.id(), "a").is_none());
    }

    #[test]
    fn what_a_session_watches_is_bounded() {
        let sessions = Sessions::default();
        let session = sessions.begin(&"a".into());
        for n in 0..MOST_WATCHED {
            assert!(session.watch(&n.to_string()));
        }
        assert!(!session.watch("one more"));
        assert!(session.watch("0"), "watched already");
        session.unwatch("0");
        assert!(session.watch("one more"));
        assert_eq!(session.watched().borrow().len(), MOST_WATCHED);
    }
}
