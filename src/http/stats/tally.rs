//! Counts in buckets of time, and how they are written.

use std::{
    collections::HashMap,
    io::{self, Write as _},
};

use crate::{
    domain::Json,
    http::pieces::{PIECE, Piece, Source},
};

/// Most buckets of one answer.
pub(super) const MAX_BUCKETS: usize = 3000;
/// Most counts of one answer, of all buckets together: so many numbers and names it holds at most.
pub(super) const MAX_COUNTS: usize = 100_000;
/// Buckets at most where the client names no step.
const DEFAULT_BUCKETS: i64 = 120;

/// Lengths that people read easily, for a step that isn't named.
const EASY_STEPS: [i64; 14] = [
    1_000,
    5_000,
    10_000,
    30_000,
    60_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    604_800_000,
];

/// Buckets that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bins {
    pub(super) since: i64,
    pub(super) until: i64,
    pub(super) step: i64,
    pub(super) len: usize,
}

impl Bins {
    /// Buckets of this length, or of an easy one, from `since` to `until`; `None` where they are too many.
    pub(super) fn over(since: i64, until: i64, step: Option<i64>) -> Option<Self> {
        let span = until.saturating_sub(since).max(1);
        let step = step.unwrap_or_else(|| {
            let easy = EASY_STEPS
                .into_iter()
                .find(|step| span / step < DEFAULT_BUCKETS || span == step * DEFAULT_BUCKETS);
            easy.unwrap_or_else(|| ceil(span, DEFAULT_BUCKETS))
        });
        let len = usize::try_from(ceil(span, step)).ok()?;
        (len <= MAX_BUCKETS).then_some(Self {
            since,
            until,
            step,
            len,
        })
    }

    /// The smallest step that such a range may have, in milliseconds.
    pub(super) fn least_step(since: i64, until: i64) -> i64 {
        ceil(until.saturating_sub(since).max(1), MAX_BUCKETS as i64)
    }

    /// The bucket that a time is in, or is nearest to.
    fn of(&self, time: i64) -> usize {
        let at = time.saturating_sub(self.since).max(0) / self.step;
        usize::try_from(at).map_or(self.len - 1, |at| at.min(self.len - 1))
    }
}

fn ceil(span: i64, step: i64) -> i64 {
    span / step + i64::from(span % step != 0)
}

/// One bucket.
#[derive(Debug, Clone, Default)]
struct Bucket {
    count: u64,
    /// By the name's number.
    counts: HashMap<u32, u64>,
}

/// Events counted so far.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    bins: Bins,
    names: HashMap<String, u32>,
    buckets: Vec<Bucket>,
    /// Counts in all buckets.
    held: usize,
}

impl Tally {
    pub(super) fn new(bins: Bins) -> Self {
        Self {
            bins,
            names: HashMap::new(),
            buckets: vec![Bucket::default(); bins.len],
            held: 0,
        }
    }

    /// Counts an event. One without a name counts in the bucket's sum alone.
    pub(super) fn count(&mut self, time: i64, name: Option<&str>) {
        let bucket = &mut self.buckets[self.bins.of(time)];
        bucket.count += 1;
        let Some(name) = name else { return };
        let number = match self.names.get(name) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
                self.names.insert(name.to_owned(), number);
                number
            }
        };
        let count = bucket.counts.entry(number).or_insert_with(|| {
            self.held += 1;
            0
        });
        *count += 1;
    }

    /// Whether it holds more counts than an answer may.
    pub(super) fn is_over(&self) -> bool {
        self.held > MAX_COUNTS
    }

    /// The answer, in pieces.
    pub(super) fn told(self, by: &'static str, truncated: bool) -> Told {
        let mut names: Vec<(String, u32)> = self.names.into_iter().collect();
        names.sort_unstable();
        let total = self.buckets.iter().map(|bucket| bucket.count).sum();
        Told {
            by,
            truncated,
            bins: self.bins,
            total,
            rank: {
                let mut rank = vec![0; names.len()];
                for (place, (_, number)) in names.iter().enumerate() {
                    rank[*number as usize] = place;
                }
                rank
            },
            names: names
                .into_iter()
                .map(|(name, _)| Json::of(&name).as_str().to_owned())
                .collect(),
            buckets: self.buckets,
            next: 0,
            is_open: false,
            counts: Vec::new(),
        }
    }
}

/// Counts on their way out.
pub(super) struct Told {
    by: &'static str,
    truncated: bool,
    bins: Bins,
    total: u64,
    /// Names as JSON, in order, and each number's place among them.
    names: Vec<String>,
    rank: Vec<usize>,
    buckets: Vec<Bucket>,
    /// The next bucket.
    next: usize,
    /// The one before it isn't out whole.
    is_open: bool,
    /// What is left of that one.
    counts: Vec<(usize, u64)>,
}

impl Told {
    /// Opens the next bucket.
    fn open(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let bucket = &self.buckets[self.next];
        let comma = if self.next > 0 { "," } else { "" };
        let start = self.bins.since + self.bins.step * self.next as i64;
        write!(
            out,
            r#"{comma}{{"start":{start},"count":{},"counts":{{"#,
            bucket.count
        )?;
        let counts = bucket.counts.iter();
        self.counts = counts
            .map(|(number, count)| (self.rank[*number as usize], *count))
            .collect();
        // The first in order is the last here, to be taken from the end.
        self.counts.sort_unstable_by(|a, b| b.cmp(a));
        self.next += 1;
        self.is_open = true;
        Ok(())
    }

    /// Writes what is open, as far as there is room.
    fn fill(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while out.len() < PIECE {
            let Some((place, count)) = self.counts.pop() else {
                out.extend_from_slice(b"}}");
                self.is_open = false;
                break;
            };
            let comma = if self.counts.is_empty() { "" } else { "," };
            write!(out, "{}:{count}{comma}", self.names[place])?;
        }
        Ok(())
    }
}

impl Source for Told {
    fn next_piece(&mut self) -> io::Result<Piece> {
        let mut out = Vec::with_capacity(PIECE);
        if self.next == 0 {
            let Bins {
                since, until, step, ..
            } = self.bins;
            write!(
                out,
                r#"{{"by":"{}","since":{since},"until":{until},"step":{step},"total":{},"truncated":{},"buckets":["#,
                self.by, self.total, self.truncated
            )?;
        }
        while out.len() < PIECE && (self.is_open || self.next < self.buckets.len()) {
            if !self.is_open {
                self.open(&mut out)?;
            }
            self.fill(&mut out)?;
        }
        let more = self.is_open || self.next < self.buckets.len();
        if !more {
            out.extend_from_slice(b"]}");
        }
        Ok(Piece {
            bytes: out.into(),
            more,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(tally: Tally) -> serde_json::Value {
        let (mut told, mut text) = (tally.told("type", false), Vec::new());
        loop {
            let piece = told.next_piece().unwrap();
            text.extend_from_slice(&piece.bytes);
            if !piece.more {
                return serde_json::from_slice(&text).unwrap();
            }
        }
    }

    #[test]
    fn an_event_counts_in_its_bucket_or_the_nearest() {
        let mut tally = Tally::new(Bins::over(1_000, 4_000, Some(1_000)).unwrap());
        for (time, name) in [
            (1_000, Some("a")),
            (1_999, Some("b")),
            (2_000, Some("a")),
            // The range's end belongs to it, and to the last bucket.
            (4_000, Some("a")),
            // The clock was set back, and came back later.
            (10, Some("a")),
            (9_000, None),
        ] {
            tally.count(time, name);
        }
        let told = answer(tally);
        assert_eq!(told["total"], 6);
        assert_eq!(
            told["buckets"],
            serde_json::json!([
                {"start": 1_000, "count": 3, "counts": {"a": 2, "b": 1}},
                {"start": 2_000, "count": 1, "counts": {"a": 1}},
                {"start": 3_000, "count": 2, "counts": {"a": 1}},
            ])
        );
    }

    #[test]
    fn buckets_are_bounded_and_an_easy_step_is_taken() {
        for (span, step, len) in [
            (3_600_000, 30_000, 120),
            (3_600_001, 60_000, 61),
            (300_000, 5_000, 60),
            (86_400_000, 1_800_000, 48),
            (7 * 86_400_000, 10_800_000, 56),
            (0, 1_000, 1),
        ] {
            let bins = Bins::over(0, span, None).unwrap();
            assert_eq!((bins.step, bins.len), (step, len), "{span}");
        }
        let most = MAX_BUCKETS as i64;
        assert_eq!(
            Bins::over(0, most, Some(1)).map(|bins| bins.len),
            Some(MAX_BUCKETS)
        );
        assert_eq!(Bins::over(0, most + 1, Some(1)), None);
        assert_eq!(Bins::least_step(0, most + 1), 2);
    }

    #[test]
    fn a_bucket_of_many_names_goes_out_over_several_pieces() {
        let mut tally = Tally::new(Bins::over(0, 2_000, Some(1_000)).unwrap());
        for n in 0..5_000 {
            tally.count(0, Some(&format!("t.{n:04}")));
        }
        tally.count(1_500, Some("t.last"));
        let mut told = tally.clone().told("type", false);
        while let Ok(piece) = told.next_piece() {
            assert!(piece.bytes.len() < PIECE + 300);
            if !piece.more {
                break;
            }
        }
        let told = answer(tally);
        let counts = told["buckets"][0]["counts"].as_object().unwrap();
        assert!(counts.len() == 5_000 && counts.values().all(|count| count == 1));
        assert_eq!(
            told["buckets"][1]["counts"],
            serde_json::json!({"t.last": 1})
        );
    }

    #[test]
    fn more_counts_than_an_answer_holds_are_noticed() {
        let mut tally = Tally::new(Bins::over(0, 1, None).unwrap());
        for n in 0..=MAX_COUNTS {
            assert!(!tally.is_over(), "{n}");
            tally.count(0, Some(&n.to_string()));
        }
        assert!(tally.is_over());
    }
}
