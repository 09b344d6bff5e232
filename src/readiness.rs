//! Where the process is in its life: loading, serving, draining. Set by whoever runs it, shown at `/readyz`.
//! Whether the log can be written is the hub's to tell.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// Shared by the parts that know and the probes that ask. Begins as loading.
#[derive(Debug, Default)]
pub struct Readiness {
    loaded: AtomicBool,
    draining: AtomicBool,
}

/// One reason why the hub isn't ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Reason {
    /// `loading`, `draining`, or why the log can't be written: `disk_full`, `unwritable`, `unknown`.
    #[schema(example = "disk_full")]
    pub reason: &'static str,
    /// The same in a person's words.
    #[schema(example = "the disk is full")]
    pub detail: String,
}

impl Readiness {
    /// The log is open and the state is folded from it.
    pub fn loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// The hub shuts down: no way back.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the hub shuts down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Why the hub isn't ready; empty where it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if !self.loaded.load(Ordering::Acquire) {
            let detail = "the state is being read from the log".to_owned();
            reasons.push(Reason {
                reason: "loading",
                detail,
            });
        }
        if self.is_draining() {
            let detail = "the hub is shutting down".to_owned();
            reasons.push(Reason {
                reason: "draining",
                detail,
            });
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(readiness: &Readiness) -> Vec<&'static str> {
        readiness
            .reasons()
            .iter()
            .map(|reason| reason.reason)
            .collect()
    }

    #[test]
    fn every_reason_is_told_until_it_has_passed() {
        let readiness = Readiness::default();
        assert_eq!(told(&readiness), ["loading"]);
        readiness.loaded();
        assert!(readiness.reasons().is_empty());
        readiness.draining();
        assert_eq!(told(&readiness), ["draining"]);
    }
}
