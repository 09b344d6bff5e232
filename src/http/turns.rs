//! Whose turn it is, where many want a few threads' time: who has had the least of it first, so that a short answer is made at
//! once beside a thousand long ones; and of every few turns one is for whoever has waited longest, so that the long ones come
//! to their end beside a flood of short ones, too.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Of so many turns, one goes to whoever has waited longest.
const OLDEST_OF: u64 = 8;

/// A few turns at a time. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    /// Turns that nobody has.
    free: usize,
    /// Those who wait, by how much they have had and since when.
    waiting: BTreeMap<Place, oneshot::Sender<Turn>>,
    /// The same by their tickets alone.
    by_age: BTreeMap<u64, u32>,
    /// The next ticket.
    ticket: u64,
    /// Turns given to those who waited.
    given: u64,
}

/// A place among those who wait: the rank, then the ticket.
type Place = (u32, u64);

/// One turn, over when dropped.
#[derive(Debug)]
pub(super) struct Turn(Turns);

impl Turns {
    /// So many at a time.
    pub(super) fn new(many: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue {
            free: many,
            waiting: BTreeMap::new(),
            by_age: BTreeMap::new(),
            ticket: 0,
            given: 0,
        })))
    }

    /// Waits for a turn, as somebody who has had this many already. Who has had twice as many waits behind.
    pub(super) async fn take(&self, had: u32) -> Turn {
        let (waiting, given) = {
            let mut queue = self.0.lock();
            if queue.free > 0 {
                queue.free -= 1;
                return Turn(self.clone());
            }
            let rank = u32::BITS - had.leading_zeros();
            let place = (rank, queue.ticket);
            queue.ticket += 1;
            let (give, given) = oneshot::channel();
            queue.waiting.insert(place, give);
            queue.by_age.insert(place.1, rank);
            let turns = self.clone();
            (Waiting { turns, place }, given)
        };
        let turn = given.await;
        drop(waiting);
        turn.expect("a place is held until it is given a turn")
    }
}

impl Queue {
    /// Who is next.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.given += 1;
        let place = if self.given.is_multiple_of(OLDEST_OF) {
            let (ticket, rank) = self.by_age.first_key_value()?;
            (*rank, *ticket)
        } else {
            *self.waiting.first_key_value()?.0
        };
        self.leave(place)
    }

    fn leave(&mut self, place: Place) -> Option<oneshot::Sender<Turn>> {
        self.by_age.remove(&place.1);
        self.waiting.remove(&place)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.0.0.lock();
            let next = queue.next();
            queue.free += usize::from(next.is_none());
            next
        };
        if let Some(next) = next {
            // Somebody who left in this moment drops it, which gives it on.
            drop(next.send(Self(self.0.clone())));
        }
    }
}

/// A place in the queue, left when dropped.
struct Waiting {
    turns: Turns,
    place: Place,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.turns.0.lock().leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::*;

    type Asking<'a> = Pin<Box<dyn Future<Output = Turn> + 'a>>;

    fn poll<F: Future + ?Sized>(asking: Pin<&mut F>) -> Poll<F::Output> {
        asking.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn taken(turns: &Turns) -> Turn {
        match poll(pin!(turns.take(0))) {
            Poll::Ready(turn) => turn,
            Poll::Pending => panic!("a turn is free"),
        }
    }

    /// Gives the turn on, again and again, and tells in which order the askers had it.
    fn order(first: Turn, asking: &mut [Asking<'_>]) -> Vec<usize> {
        let mut had = Vec::new();
        let mut turn = Some(first);
        while let Some(over) = turn.take() {
            drop(over);
            for (who, asking) in asking.iter_mut().enumerate() {
                if had.contains(&who) {
                    continue;
                }
                if let Poll::Ready(given) = poll(asking.as_mut()) {
                    had.push(who);
                    turn = Some(given);
                }
            }
        }
        had
    }

    fn ask<'a>(turns: &'a Turns, had: &[u32]) -> Vec<Asking<'a>> {
        let mut asking: Vec<Asking<'_>> = Vec::new();
        for &had in had {
            let mut one: Asking<'_> = Box::pin(turns.take(had));
            assert!(poll(one.as_mut()).is_pending());
            asking.push(one);
        }
        asking
    }

    #[test]
    fn who_has_had_least_is_next_and_equals_take_turns() {
        let turns = Turns::new(1);
        let first = taken(&turns);
        let mut asking = ask(&turns, &[200, 100, 0, 3, 2, 0]);
        assert_eq!(order(first, &mut asking), [2, 5, 3, 4, 1, 0]);
        drop(taken(&turns));
    }

    #[test]
    fn who_waited_longest_has_its_turn_beside_any_number_of_short_ones() {
        let turns = Turns::new(1);
        let first = taken(&turns);
        let mut asking = ask(&turns, &[&[1000][..], &[0; 50]].concat());
        let order = order(first, &mut asking);
        assert_eq!(order[usize::try_from(OLDEST_OF).unwrap() - 1], 0);
    }

    #[test]
    fn who_leaves_takes_no_turn_along() {
        let turns = Turns::new(1);
        let first = taken(&turns);
        let mut asking = ask(&turns, &[0, 0, 0]);
        drop(asking.remove(1));
        drop(first);
        // The first has been given the turn and goes without having looked.
        drop(asking.remove(0));
        assert!(poll(asking[0].as_mut()).is_ready());
        assert!(turns.0.lock().waiting.is_empty() && turns.0.lock().by_age.is_empty());
    }
}
