//! Garbage: what is kept in `tests/corpus` is mutated by a seeded generator and thrown at the hub, at its parsers and
//! at its log. Nothing may panic, no answer may be a server's error, and every refusal is a problem document.
//!
//! `TIMEBACK_GARBAGE_CASES` asks for so many cases of each target, `TIMEBACK_GARBAGE_SEED` for other ones. A case
//! depends on its number alone; a failing one says how to replay it.

#[path = "../simulation/chance.rs"]
mod chance;
mod corpus;
mod mutate;
mod requests;
mod targets;
mod thrown;

use chance::Chance;

/// What one target is thrown: each case has a generator of its own.
pub(crate) fn cases(by_default: u64) -> impl Iterator<Item = (Case, Chance)> {
    let first = variable("TIMEBACK_GARBAGE_SEED").unwrap_or(1);
    let count = variable("TIMEBACK_GARBAGE_CASES").unwrap_or(by_default);
    (first..first + count).map(|seed| {
        let case = Case {
            seed,
            input: String::new(),
        };
        (case, Chance::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    })
}

/// Says what failed, and how to have it again.
pub(crate) struct Case {
    seed: u64,
    input: String,
}

impl Case {
    /// What it is about to try.
    pub(crate) fn note(&mut self, input: String) {
        self.input = input;
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "failed on: {}\nto replay it: TIMEBACK_GARBAGE_SEED={} TIMEBACK_GARBAGE_CASES=1 cargo test --test garbage",
                self.input.escape_debug(),
                self.seed
            );
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
