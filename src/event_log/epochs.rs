//! Which epochs a log has lived through, and where each began.

use crate::domain::{Epoch, Position};

/// The epochs of one log, oldest first, each with the head at which it began. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs(Vec<(Epoch, u64)>);

impl Epochs {
    /// The epochs that a log recorded, and the one that begins now.
    #[must_use]
    pub fn new(mut recorded: Vec<(Epoch, u64)>, current: Epoch, head: u64) -> Self {
        recorded.push((current, head));
        Self(recorded)
    }

    /// The one that is being written.
    #[must_use]
    pub fn current(&self) -> Epoch {
        self.0[self.0.len() - 1].0
    }

    /// Whether this log ever gave out that place: an id outside its epoch's range belongs to another log.
    #[must_use]
    pub fn contains(&self, place: Position, head: u64) -> bool {
        self.0
            .iter()
            .position(|(epoch, _)| *epoch == place.epoch)
            .is_some_and(|at| {
                let end = self.0.get(at + 1).map_or(head, |(_, start)| *start);
                (self.0[at].1..=end).contains(&place.sequence)
            })
    }

    /// The name of a place: the epoch in which its event was appended. The beginning of an empty log is named
    /// by the current epoch.
    #[must_use]
    pub fn name(&self, sequence: u64) -> Position {
        let after = self.0.partition_point(|(_, start)| *start < sequence);
        let epoch = if after == 0 {
            self.at_beginning()
        } else {
            self.0[after - 1].0
        };
        Position { epoch, sequence }
    }

    /// Of several epochs that began at 0, the last is the one that wrote the first event.
    fn at_beginning(&self) -> Epoch {
        let empty = self.0.partition_point(|(_, start)| *start == 0);
        self.0[empty.max(1) - 1].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(n: u128) -> Epoch {
        Epoch::from_random(n)
    }

    fn at(n: u128, sequence: u64) -> Position {
        Position {
            epoch: epoch(n),
            sequence,
        }
    }

    #[test]
    fn a_place_belongs_to_the_epoch_that_wrote_it() {
        let epochs = Epochs::new(
            vec![(epoch(1), 0), (epoch(2), 0), (epoch(3), 5)],
            epoch(4),
            9,
        );
        assert_eq!(epochs.name(0), at(2, 0));
        assert_eq!(epochs.name(1), at(2, 1));
        assert_eq!(epochs.name(5), at(2, 5));
        assert_eq!(epochs.name(6), at(3, 6));
        assert_eq!(epochs.name(9), at(3, 9));
        assert_eq!(epochs.name(10), at(4, 10));
        assert_eq!(epochs.current(), epoch(4));
    }

    #[test]
    fn every_name_given_out_is_known_and_no_other() {
        let epochs = Epochs::new(vec![(epoch(1), 0), (epoch(3), 5)], epoch(4), 9);
        for sequence in 0..=12 {
            assert!(epochs.contains(epochs.name(sequence), 12), "{sequence}");
        }
        for foreign in [at(1, 6), at(3, 4), at(3, 10), at(4, 8), at(4, 13), at(7, 1)] {
            assert!(!epochs.contains(foreign, 12), "{foreign}");
        }
    }
}
