//! Everybody who is connected, and who has to go when there is no more room.
//!
//! A connection on which nothing is under way can go at any time: one that never asked for anything first, then by
//! whose address has the most, then by how long it has been quiet. So whoever fills the house with silent connections
//! loses their own, and a new client is let in at once. To come, to ask and to go cost O(1); to make room looks at
//! all, and then sends a sixteenth of them away.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use slab::Slab;

use super::talk::Talk;
use crate::door::site;

/// Connections over the limit that are let in: to be told so, or because others are about to go. More of them wait in
/// the kernel.
const OVER: usize = 64;

/// How long it is taken for granted that all are busy once they were found so, ms: finding out takes a look at all.
const BUSY_MS: u64 = 20;

/// The part of all connections that goes when there is no more room, so that a look at all of them is rare.
const PART: usize = 16;

/// All connections of one server.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    born: Instant,
    seats: Mutex<Seats>,
    /// Sockets that became streams: they count, and never go to make room.
    streams: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Seats {
    all: Slab<Arc<Talk>>,
    /// Those that were told to go and haven't gone yet.
    leaving: usize,
    /// All were busy, until then, ms.
    busy_until: u64,
}

/// A connection's place among all, given up when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    connections: Arc<Connections>,
    key: usize,
    talk: Arc<Talk>,
}

/// A stream's place among all connections, given up when dropped.
#[derive(Debug)]
pub(super) struct StreamSeat(Arc<AtomicUsize>);

/// How a new connection is met.
#[derive(Debug)]
pub(super) enum Entry {
    /// It is served.
    Welcome(Seat),
    /// All others are busy: it is told so.
    Crowded(Seat),
}

impl Connections {
    /// So many at a time.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            born: Instant::now(),
            seats: Mutex::default(),
            streams: Arc::default(),
        })
    }

    /// Takes a new connection in, in the place of others where that must be.
    pub(super) fn enter(self: &Arc<Self>, remote: SocketAddr) -> Entry {
        let talk = Arc::new(Talk::new(site(remote.ip()), self.born));
        let mut seats = self.seats.lock();
        let staying = seats.all.len() - seats.leaving + self.streams.load(Ordering::Relaxed);
        let is_crowded = staying >= self.most && seats.make_room(talk.now()) == 0;
        let seat = Seat {
            connections: self.clone(),
            key: seats.all.insert(talk.clone()),
            talk,
        };
        if is_crowded {
            Entry::Crowded(seat)
        } else {
            Entry::Welcome(seat)
        }
    }

    /// Whether nobody may come in before others have gone.
    pub(super) fn is_full(&self) -> bool {
        let seats = self.seats.lock().all.len();
        seats + self.streams.load(Ordering::Relaxed) >= self.most + OVER
    }

    /// Tells some that aren't busy to go; how many.
    pub(super) fn make_room(&self) -> usize {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.seats.lock().make_room(now)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.seats.lock().all.len()
    }
}

impl Seat {
    /// What is known of the connection.
    pub(super) fn talk(&self) -> &Arc<Talk> {
        &self.talk
    }

    /// The place of a stream, in exchange for this one.
    pub(super) fn into_stream(self) -> StreamSeat {
        let streams = self.connections.streams.clone();
        streams.fetch_add(1, Ordering::Relaxed);
        StreamSeat(streams)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.connections.seats.lock();
        let talk = seats.all.remove(self.key);
        seats.leaving -= usize::from(talk.is_leaving());
    }
}

impl Drop for StreamSeat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Seats {
    /// Tells those to go that can go first; how many.
    fn make_room(&mut self, now: u64) -> usize {
        if now < self.busy_until {
            return 0;
        }
        let mut by_site = HashMap::<IpAddr, usize>::new();
        for (_, talk) in &self.all {
            *by_site.entry(talk.site()).or_default() += 1;
        }
        let staying = self.all.iter().filter(|(_, talk)| !talk.is_leaving());
        let mut quiet: Vec<_> = staying
            .filter_map(|(_, talk)| {
                let since = talk.quiet_since()?;
                let siblings = by_site.get(&talk.site()).copied().unwrap_or(1);
                Some(((talk.has_asked(), Reverse(siblings), since), talk))
            })
            .collect();
        let many = (self.all.len() / PART).max(1);
        if many < quiet.len() {
            quiet.select_nth_unstable_by_key(many, |(rank, _)| *rank);
            quiet.truncate(many);
        }
        quiet.iter().for_each(|(_, talk)| talk.send_away());
        let told = quiet.len();
        self.leaving += told;
        if told == 0 {
            self.busy_until = now + BUSY_MS;
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(connections: &Arc<Connections>, site: u8) -> Seat {
        match connections.enter(SocketAddr::from(([192, 0, 2, site], 1000))) {
            Entry::Welcome(seat) => seat,
            Entry::Crowded(_) => panic!("somebody could go"),
        }
    }

    #[test]
    fn who_never_asked_goes_first_then_whose_address_has_the_most() {
        let connections = Connections::new(5);
        let [busy, kept, greedy, other, silent] = [1, 2, 3, 3, 4].map(|at| enter(&connections, at));
        let _asking = busy.talk().ask_for_test();
        drop([&kept, &greedy, &other].map(|seat| seat.talk().ask_for_test()));
        let leaving = |seats: &[&Seat]| {
            seats
                .iter()
                .map(|seat| seat.talk().is_leaving())
                .collect::<Vec<_>>()
        };
        let sixth = enter(&connections, 5);
        assert_eq!(
            leaving(&[&busy, &kept, &greedy, &other, &silent]),
            [false, false, false, false, true]
        );
        drop((silent, sixth));
        let seventh = enter(&connections, 6);
        let _asking_too = seventh.talk().ask_for_test();
        let _eighth = enter(&connections, 7);
        assert_eq!(
            leaving(&[&busy, &kept, &greedy, &other]),
            [false, false, true, false],
            "of the address that has two, the one that was quiet for longer"
        );
    }

    #[test]
    fn where_all_are_busy_a_new_one_is_told_so_and_streams_count() {
        let connections = Connections::new(2);
        let stream = enter(&connections, 1).into_stream();
        let busy = enter(&connections, 1);
        let asking = busy.talk().ask_for_test();
        let over = match connections.enter(SocketAddr::from(([192, 0, 2, 2], 1))) {
            Entry::Crowded(seat) => seat,
            Entry::Welcome(_) => panic!("nobody could go"),
        };
        drop((asking, over, busy));
        drop(enter(&connections, 3));
        drop(stream);
        assert_eq!(connections.len(), 0);
        assert_eq!(connections.streams.load(Ordering::Relaxed), 0);
    }
}
