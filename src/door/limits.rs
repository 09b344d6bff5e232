//! How much one client may ask for, so that none takes another's share.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    net::IpAddr,
    sync::Arc,
};

use parking_lot::Mutex;

use super::Credential;
use crate::{config, domain::Limit};

/// Clients that are counted at once. More than that, new ones go uncounted until others have been quiet for two
/// seconds: a flood of addresses must not shut out anybody else.
const MOST_COUNTED: usize = 200_000;

/// How often the quiet ones are looked for at most, where there are too many to be counted.
const TIDY_MS: u64 = 1000;

/// How many requests in a row are let through, in seconds of the steady rate.
const BURST_S: f64 = 2.0;

/// Requests each second, by client: a bucket that holds two seconds' worth.
#[derive(Debug)]
pub(super) struct Rate<K> {
    per_second: u32,
    counted: Mutex<Counted<K>>,
}

#[derive(Debug)]
struct Counted<K> {
    buckets: HashMap<K, Bucket>,
    /// When the quiet ones are looked for next, monotonic ms: not for each new client, since that takes a look at all.
    tidy_at: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Requests that may still pass.
    left: f64,
    /// When that was so, monotonic ms.
    at: u64,
}

impl<K: Eq + Hash> Rate<K> {
    /// So many each second; 0: any number.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            counted: Mutex::new(Counted {
                buckets: HashMap::new(),
                tidy_at: 0,
            }),
        }
    }

    /// Whether any number may pass.
    pub(super) fn is_off(&self) -> bool {
        self.per_second == 0
    }

    /// Whether one more request may pass; where not, after how many whole seconds one may.
    pub(super) fn take(&self, client: K, now: u64) -> Result<(), u64> {
        if self.is_off() {
            return Ok(());
        }
        let rate = f64::from(self.per_second);
        let full = rate * BURST_S;
        let counted = &mut *self.counted.lock();
        let buckets = &mut counted.buckets;
        if buckets.len() >= MOST_COUNTED && !buckets.contains_key(&client) {
            if now >= counted.tidy_at {
                // A bucket that is full again says the same as none.
                buckets.retain(|_, bucket| bucket.refilled(rate, full, now) < full);
                counted.tidy_at = now + TIDY_MS;
            }
            if buckets.len() >= MOST_COUNTED {
                return Ok(());
            }
        }
        let bucket = buckets.entry(client).or_insert(Bucket {
            left: full,
            at: now,
        });
        *bucket = Bucket {
            left: bucket.refilled(rate, full, now),
            at: now,
        };
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        let seconds = ((1.0 - bucket.left) / rate).ceil();
        Err(seconds.max(1.0) as u64)
    }
}

impl Bucket {
    fn refilled(self, rate: f64, full: f64, now: u64) -> f64 {
        let seconds = now.saturating_sub(self.at) as f64 / 1000.0;
        (self.left + seconds * rate).min(full)
    }
}

/// Open streams by address, by caller and by the credential that they live by.
#[derive(Debug)]
pub(super) struct StreamCounts {
    per_address: usize,
    per_token: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    addresses: HashMap<IpAddr, usize>,
    callers: HashMap<Arc<str>, usize>,
    owners: HashMap<u64, (usize, Credential)>,
}

/// One stream's place in the counts, given back when dropped.
#[derive(Debug)]
pub struct StreamPlace {
    counts: Arc<StreamCounts>,
    address: IpAddr,
    caller: Arc<str>,
    owner: u64,
}

impl StreamCounts {
    pub(super) fn new(limits: &config::Limits) -> Arc<Self> {
        Arc::new(Self {
            per_address: limits.streams_per_address,
            per_token: limits.streams_per_token,
            open: Mutex::default(),
        })
    }

    /// A place for one more stream.
    pub(super) fn take(
        self: &Arc<Self>,
        address: IpAddr,
        caller: &Arc<str>,
        owner: u64,
        credential: Option<Credential>,
    ) -> Result<StreamPlace, Limit> {
        let mut open = self.open.lock();
        let reached =
            |limit: usize, count: Option<&usize>| limit > 0 && count.is_some_and(|c| *c >= limit);
        if reached(self.per_address, open.addresses.get(&address)) {
            return Err(Limit::StreamsPerAddress);
        }
        // Where nobody is asked all are one caller, who is held by no limit of its own.
        if credential.is_some() && reached(self.per_token, open.callers.get(caller)) {
            return Err(Limit::StreamsPerToken);
        }
        *open.addresses.entry(address).or_default() += 1;
        *open.callers.entry(caller.clone()).or_default() += 1;
        if let Some(credential) = credential {
            open.owners.entry(owner).or_insert((0, credential)).0 += 1;
        }
        Ok(StreamPlace {
            counts: self.clone(),
            address,
            caller: caller.clone(),
            owner,
        })
    }

    /// The owners of open streams whose credential no longer holds.
    pub(super) fn ended(&self, holds: impl Fn(&Credential) -> bool) -> HashSet<u64> {
        let open = self.open.lock();
        let ended = open
            .owners
            .iter()
            .filter(|(_, (_, credential))| !holds(credential));
        ended.map(|(owner, _)| *owner).collect()
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.counts.open.lock();
        give_back(&mut open.addresses, &self.address, |count| count);
        give_back(&mut open.callers, &self.caller, |count| count);
        give_back(&mut open.owners, &self.owner, |(count, _)| count);
    }
}

fn give_back<K: Eq + Hash, V>(
    counts: &mut HashMap<K, V>,
    key: &K,
    count: impl Fn(&mut V) -> &mut usize,
) {
    if let Some(value) = counts.get_mut(key) {
        let left = count(value);
        *left = left.saturating_sub(1);
        if *left == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_steady_rate() {
        let rate = Rate::new(10);
        assert_eq!((0..30).filter(|_| rate.take("a", 0).is_ok()).count(), 20);
        assert_eq!(rate.take("a", 0), Err(1));
        assert_eq!(
            rate.take("b", 0),
            Ok(()),
            "one client's limit is not another's"
        );
        assert_eq!((0..30).filter(|_| rate.take("a", 500).is_ok()).count(), 5);
        assert_eq!(
            (0..30).filter(|_| rate.take("a", 100_000).is_ok()).count(),
            20
        );
        assert_eq!(Rate::new(0).take("a", 0), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_shuts_out_nobody() {
        let rate = Rate::new(1);
        for client in 0..MOST_COUNTED + 10 {
            assert!(rate.take(client, 0).is_ok());
        }
        assert_eq!(rate.counted.lock().buckets.len(), MOST_COUNTED);
        assert!(rate.take(usize::MAX, 10_000).is_ok());
        assert_eq!(
            rate.counted.lock().buckets.len(),
            1,
            "those that were quiet are forgotten"
        );
    }

    #[test]
    fn streams_are_counted_until_they_are_dropped() {
        let limits = config::Limits {
            streams_per_address: 2,
            streams_per_token: 3,
            ..crate::Config::default().limits
        };
        let counts = StreamCounts::new(&limits);
        let [here, there] = [1, 2].map(|n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)));
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let credential = || Some(Credential::Token { expires_at: 1000 });
        let take = |address, caller, owner| counts.take(address, caller, owner, credential());
        let first = take(here, &a, 1).unwrap();
        let _second = take(here, &a, 1).unwrap();
        assert_eq!(take(here, &b, 2).unwrap_err(), Limit::StreamsPerAddress);
        let _third = take(there, &a, 3).unwrap();
        assert_eq!(take(there, &a, 3).unwrap_err(), Limit::StreamsPerToken);
        drop(first);
        let _fourth = take(here, &a, 1).unwrap();
        assert_eq!(counts.ended(|_| false), HashSet::from([1, 3]));
        assert!(counts.ended(|_| true).is_empty());
    }

    #[test]
    fn nothing_is_left_behind() {
        let counts = StreamCounts::new(&crate::Config::default().limits);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        drop(counts.take(
            address,
            &"a".into(),
            1,
            Some(Credential::Token { expires_at: 1 }),
        ));
        let open = counts.open.lock();
        assert!(open.addresses.is_empty() && open.callers.is_empty() && open.owners.is_empty());
    }
}
