//! Times for people: the clock on the wall, and how long something took or is ago.

use std::time::Duration;

use jiff::{Timestamp, Zoned, tz::TimeZone};

/// Epoch milliseconds by the clock of this machine's time zone.
pub(super) fn local(epoch_ms: i64) -> Zoned {
    Timestamp::from_millisecond(epoch_ms)
        .unwrap_or_default()
        .to_zoned(TimeZone::system())
}

/// Now, epoch milliseconds.
pub(super) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A time of day.
pub(super) fn clock(at: &Zoned) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// A length of time in the unit that says the most: `340 ms`, `1.2 s`, `41 s`, `7 min`, `3 h`, `2 d`.
pub(super) fn span(ms: i64) -> String {
    let ms = ms.max(0);
    let (second, minute, hour, day) = (1000, 60_000, 3_600_000, 86_400_000);
    match ms {
        _ if ms < second => format!("{ms} ms"),
        _ if ms < 10 * second => format!("{}.{} s", ms / second, ms % second / 100),
        _ if ms < 2 * minute => format!("{} s", ms / second),
        _ if ms < 2 * hour => format!("{} min", ms / minute),
        _ if ms < 2 * day => format!("{} h", ms / hour),
        _ => format!("{} d", ms / day),
    }
}

/// The same of a duration.
pub(super) fn lasting(time: Duration) -> String {
    span(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// How long before `now` something was.
pub(super) fn ago(now: i64, then: i64) -> String {
    match now - then {
        // Clocks of two machines differ by as much, and nobody cares.
        past if past < 2000 => "just now".to_owned(),
        past if past < 10_000 => format!("{} s ago", past / 1000),
        past => format!("{} ago", span(past)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_say_the_most() {
        for (ms, words) in [
            (-5, "0 ms"),
            (340, "340 ms"),
            (1260, "1.2 s"),
            (41_900, "41 s"),
            (7 * 60_000, "7 min"),
            (3 * 3_600_000, "3 h"),
            (49 * 3_600_000, "2 d"),
        ] {
            assert_eq!(span(ms), words);
        }
        assert_eq!(ago(10_000, 9_000), "just now");
        assert_eq!(ago(10_000, 11_000), "just now");
        assert_eq!(ago(10_000, 4_500), "5 s ago");
        assert_eq!(ago(100_000, 40_000), "60 s ago");
    }
}
