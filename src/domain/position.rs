//! Places in the log, and the SSE ids that name them: `<epoch>-<sequence>`.

use std::fmt;

/// Characters of an epoch.
const EPOCH_LEN: usize = 12;

/// One run of one log. A new epoch begins at every start and after a restore, so that an id of a wiped,
/// replaced or rolled-back log is recognised. Twelve characters of `0-9 a-z`, chosen at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch([u8; EPOCH_LEN]);

impl Epoch {
    /// Makes an epoch of 128 random bits; 62 of them survive, so that two logs never share one in practice.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        let mut rest = bits;
        Self(std::array::from_fn(|_| {
            let digit = (rest % 36) as u8;
            rest /= 36;
            if digit < 10 {
                b'0' + digit
            } else {
                b'a' + digit - 10
            }
        }))
    }

    /// Reads an epoch back; `None` where the text isn't one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; EPOCH_LEN] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
            .then_some(Self(bytes))
    }

    /// The epoch as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in the log: right after the event with this sequence number. `sequence` 0 is the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    /// The epoch in which the place was named.
    pub epoch: Epoch,
    /// The sequence number of the last event before the place.
    pub sequence: u64,
}

impl Position {
    /// Reads an id that the hub may have given out; `None` where it can't be one of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, sequence) = text.rsplit_once('-')?;
        let canonical = !sequence.is_empty()
            && sequence.bytes().all(|b| b.is_ascii_digit())
            && (sequence.len() == 1 || !sequence.starts_with('0'));
        canonical.then_some(())?;
        Some(Self {
            epoch: Epoch::parse(epoch)?,
            sequence: sequence.parse().ok()?,
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

impl serde::Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself() {
        let place = Position {
            epoch: Epoch::from_random(0x1234_5678_9abc_def0_1234_5678_9abc_def0),
            sequence: 42,
        };
        assert_eq!(Position::parse(&place.to_string()), Some(place));
    }

    #[test]
    fn what_the_hub_never_wrote_is_not_an_id() {
        for text in [
            "",
            "-",
            "42",
            "abc-42",
            "000000000000-",
            "000000000000-042",
            "000000000000--1",
            "00000000000A-1",
            "000000000000-99999999999999999999",
            "000000000000-1\n",
            "000000000000-+1",
        ] {
            assert_eq!(Position::parse(text), None, "{text:?}");
        }
    }
}
