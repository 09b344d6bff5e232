//! An event that is larger than a piece goes out over several: it is read again for each, so that no reader holds it
//! whole.

/// An event's next piece may have one part in so many of what is out of it, so that the work stays in proportion.
const GROWTH: usize = 8;

/// The event that is out in part, and how much of it.
#[derive(Debug, Default)]
pub(super) struct Cut(Option<(u64, usize)>);

/// What became of an event in a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// All that was left of it is in.
    Whole,
    /// Part of it is in: it comes again in the next piece.
    Part,
    /// It is for the next piece.
    Later,
    /// One that is out in part is gone: the answer can't be finished.
    Gone,
}

impl Cut {
    /// Whether the next piece goes on within an event.
    pub(super) fn is_within(&self) -> bool {
        self.0.is_some()
    }

    /// Leaves of an event's text, which begins at `start` of `out`, what belongs into a piece of about that size.
    pub(super) fn fit(
        &mut self,
        out: &mut Vec<u8>,
        start: usize,
        sequence: u64,
        piece: usize,
    ) -> Fit {
        let sent = match self.0 {
            Some((of, sent)) if of == sequence => sent,
            Some(_) => return Fit::Gone,
            None => 0,
        };
        // Where hardly anything stands before it, there is nothing to wait for.
        if sent == 0 && start > piece / 8 && out.len() > 2 * piece {
            return Fit::Later;
        }
        out.drain(start..start + sent);
        let room = piece.max(sent / GROWTH);
        if out.len() - start <= 2 * room {
            self.0 = None;
            return Fit::Whole;
        }
        out.truncate(start + room);
        self.0 = Some((sequence, sent + room));
        Fit::Part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_event_goes_out_in_parts_that_join() {
        let event: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let (mut cut, mut joined, mut parts) = (Cut::default(), Vec::new(), 0);
        loop {
            let mut out = event.clone();
            let fit = cut.fit(&mut out, 0, 7, 1000);
            assert!(out.len() <= 2 * 100_000 / GROWTH);
            joined.extend_from_slice(&out);
            parts += 1;
            match fit {
                Fit::Whole => break,
                other => assert_eq!(other, Fit::Part),
            }
            assert!(cut.is_within());
        }
        assert_eq!(joined, event);
        assert!((10..60).contains(&parts), "{parts}");
        let mut out = b"small".to_vec();
        assert_eq!(cut.fit(&mut out, 0, 8, 1000), Fit::Whole);
    }

    #[test]
    fn one_that_follows_others_waits_and_one_that_is_gone_ends_it() {
        let mut cut = Cut::default();
        let mut out = vec![1; 500];
        out.extend_from_slice(&[2; 5000]);
        assert_eq!(cut.fit(&mut out, 500, 7, 1000), Fit::Later);
        let mut out = vec![2; 5000];
        assert_eq!(cut.fit(&mut out, 1, 7, 1000), Fit::Part, "behind a comma");
        assert_eq!(cut.fit(&mut vec![3; 50], 0, 8, 1000), Fit::Gone);
    }
}
