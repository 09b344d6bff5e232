//! How long a loop rests between passes.

use std::time::Duration;

/// A pass that took at least this long is followed by a pause, so that what comes meanwhile shares its writes
/// and the next pass is a longer one instead of two. At low rates passes are short, and nothing ever waits.
const LONG_PASS: Duration = Duration::from_millis(4);

/// The pause after a long pass: this part of the time that the pass took, and [`MAX_PAUSE`] at most.
const PAUSE_PART: u32 = 4;
const MAX_PAUSE: Duration = Duration::from_millis(4);

/// How long a loop pauses after a pass that took so long; `None` where the next may follow at once.
pub(super) fn pause_after(took: Duration) -> Option<Duration> {
    (took >= LONG_PASS).then(|| (took / PAUSE_PART).min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_pass_is_followed_by_a_pause_and_that_is_short() {
        let ms = Duration::from_millis;
        for (took, pause) in [
            (ms(0), None),
            (ms(3), None),
            (ms(4), Some(ms(1))),
            (ms(12), Some(ms(3))),
            (ms(16), Some(ms(4))),
            (ms(500), Some(ms(4))),
        ] {
            assert_eq!(pause_after(took), pause, "{took:?}");
        }
    }
}
