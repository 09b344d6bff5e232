//! Which event types of producers' own are in use, so that there can't be any number of them: each is a word in the
//! log's index, and a mistake in a producer could make a new one with every event.
//!
//! A type is in use until no event of it has come for as long as ended workflows stay in the state, give or take
//! a sixteenth: so a log full of old mistakes mends itself. It follows from events like all state, and outlives a
//! restart with it.

use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeSetSync};

use super::{
    command::Rejection,
    event::{Event, EventData},
    fleet::Policy,
    limit::Limit,
};

/// The types in use.
#[derive(Debug, Clone, Default)]
pub struct CustomTypes {
    /// By name: when an event of it came last, about, epoch ms.
    seen: HashTrieMapSync<Arc<str>, i64>,
    /// The same, oldest first.
    by_age: RedBlackTreeSetSync<(i64, Arc<str>)>,
}

impl CustomTypes {
    /// How many are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.size()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Whether an event of this type may be appended.
    pub(super) fn admit(&self, kind: &str, policy: &Policy, now: i64) -> Result<(), Rejection> {
        let most = policy.max_custom_types;
        // Looked up only where it matters: a publisher's every event passes here.
        let passes = self.len() < most
            || self.seen.contains_key(kind)
            || self
                .by_age
                .first()
                .is_some_and(|(seen, _)| is_old(*seen, policy, now));
        if passes {
            return Ok(());
        }
        Err(Rejection::LimitReached {
            limit: Limit::CustomTypes,
            most,
        })
    }

    pub(super) fn evolve(&mut self, event: &Event, lived: i64, policy: &Policy) {
        let EventData::Custom { kind, .. } = &event.what.data else {
            return;
        };
        let now = lived;
        let known = self.seen.get(kind).copied();
        let fresh = policy.state_retention_age_ms / 16;
        if known.is_some_and(|seen| now.saturating_sub(seen) <= fresh) {
            return;
        }
        if let Some(seen) = known {
            self.by_age.remove_mut(&(seen, kind.clone()));
        }
        self.put(kind.clone(), now);
        while let Some((seen, oldest)) = self.by_age.first().cloned()
            && is_old(seen, policy, now)
        {
            self.seen.remove_mut(&oldest);
            self.by_age.remove_mut(&(seen, oldest));
        }
    }

    /// All that is needed to [`CustomTypes::restore`] them, oldest first.
    #[must_use]
    pub fn save(&self) -> Vec<(i64, Arc<str>)> {
        self.by_age.iter().cloned().collect()
    }

    /// The same again.
    #[must_use]
    pub fn restore(saved: Vec<(i64, Arc<str>)>) -> Self {
        let mut types = Self::default();
        for (seen, kind) in saved {
            types.put(kind, seen);
        }
        types
    }

    fn put(&mut self, kind: Arc<str>, seen: i64) {
        self.seen.insert_mut(kind.clone(), seen);
        self.by_age.insert_mut((seen, kind));
    }
}

fn is_old(seen: i64, policy: &Policy, now: i64) -> bool {
    policy.is_forgotten(seen, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Json, NewEvent,
        position::{Epoch, Position},
    };

    const DAY_MS: i64 = 24 * 3_600_000;

    fn policy(most: usize) -> Policy {
        Policy {
            max_custom_types: most,
            state_retention_age_ms: DAY_MS,
            ..Policy::default()
        }
    }

    fn emit(types: &mut CustomTypes, kind: &str, now: i64, policy: &Policy) -> bool {
        let admitted = types.admit(kind, policy, now).is_ok();
        if admitted {
            let data = EventData::Custom {
                kind: kind.into(),
                data: Json::empty_object(),
                workflow: None,
            };
            let position = Position {
                epoch: Epoch::from_random(0),
                sequence: 1,
            };
            let event = Event {
                position,
                timestamp: now,
                what: NewEvent::new(data),
            };
            types.evolve(&event, now, policy);
        }
        admitted
    }

    #[test]
    fn a_new_type_beyond_the_limit_is_refused_and_known_ones_are_not() {
        let (mut types, policy) = (CustomTypes::default(), policy(2));
        assert!(emit(&mut types, "a.a", 0, &policy) && emit(&mut types, "b.b", 0, &policy));
        assert_eq!(
            types.admit("c.c", &policy, 0),
            Err(Rejection::LimitReached {
                limit: Limit::CustomTypes,
                most: 2
            })
        );
        assert!(emit(&mut types, "a.a", 1, &policy));
        let again = CustomTypes::restore(types.save());
        assert!(again.admit("c.c", &policy, 1).is_err() && again.admit("b.b", &policy, 1).is_ok());
    }

    #[test]
    fn one_that_nobody_sends_any_more_makes_room() {
        let (mut types, policy) = (CustomTypes::default(), policy(2));
        for hour in 0..30 {
            assert!(emit(&mut types, "often.sent", hour * 3_600_000, &policy));
        }
        assert!(emit(&mut types, "sent.once", DAY_MS, &policy));
        assert!(!emit(&mut types, "new.one", 2 * DAY_MS - 1, &policy));
        assert!(emit(&mut types, "often.sent", 2 * DAY_MS, &policy));
        assert!(emit(&mut types, "new.one", 2 * DAY_MS + 1, &policy));
        assert_eq!(types.len(), 2);
        assert!(!emit(&mut types, "sent.once", 2 * DAY_MS + 1, &policy));
    }

    #[test]
    fn a_clock_that_was_set_back_forgets_nothing() {
        let (mut types, policy) = (CustomTypes::default(), policy(1));
        assert!(emit(&mut types, "a.a", 10 * DAY_MS, &policy));
        assert!(emit(&mut types, "a.a", 0, &policy));
        assert!(!emit(&mut types, "b.b", 0, &policy));
        assert_eq!(types.save().len(), types.len());
    }
}
