//! What people write, read in one place: the known word that one nearly is, and lengths of time.

use std::borrow::Cow;

/// The known word that is nearest to this one, where one is near enough to be meant: a third of its letters may
/// differ. How a name joins its parts (`serverId`, `server_id`, `SERVER-ID`) doesn't count.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bare = bare(word);
    known
        .into_iter()
        .map(|known| {
            let other = self::bare(known);
            let apart = strsim::damerau_levenshtein(&bare, &other);
            (
                apart,
                bare.chars().count().max(other.chars().count()),
                known,
            )
        })
        .filter(|(apart, length, _)| apart * 3 <= *length)
        .min_by_key(|(apart, ..)| *apart)
        .map(|(.., known)| known)
}

/// The beginning of a word that may be of any length: as much as a message repeats of it.
#[must_use]
pub fn clip(word: &str) -> &str {
    word.char_indices()
        .nth(MOST_CHARS)
        .map_or(word, |(at, _)| &word[..at])
}

/// Characters of a word that are looked at: comparing takes the square of them.
const MOST_CHARS: usize = 64;

fn bare(word: &str) -> String {
    clip(word)
        .chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// The text with what stands before the `@` of an address left out: a name and a password are nobody's business. What
/// merely looks like one goes too.
#[must_use]
pub fn without_passwords(text: &str) -> Cow<'_, str> {
    let Some(at) = text.find("://").map(|at| at + 3) else {
        return Cow::Borrowed(text);
    };
    let (before, rest) = text.split_at(at);
    let end = rest.find(|c: char| c.is_whitespace() || c == ',');
    let (address, after) = rest.split_at(end.unwrap_or(rest.len()));
    let after = without_passwords(after);
    match (address.rfind('@'), after) {
        (None, Cow::Borrowed(_)) => Cow::Borrowed(text),
        (None, after) => Cow::Owned(format!("{before}{address}{after}")),
        (Some(at), after) => Cow::Owned(format!("{before}***{}{after}", &address[at..])),
    }
}

/// Units of time in milliseconds, the largest first.
pub const UNITS_OF_TIME: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A length of time as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// With its unit (`7d`, `24h`, `15m`, `30s`, `500ms`), in milliseconds.
    Millis(u64),
    /// A number without a unit. What it counts is for the caller to say, or to ask.
    Bare(u64),
}

impl Span {
    /// Reads one. `None` where it is none, or longer than can be counted.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, scale) = with_unit(text, &UNITS_OF_TIME)?;
        match scale {
            None => Some(Self::Bare(number)),
            Some(scale) => number.checked_mul(scale).map(Self::Millis),
        }
    }
}

/// A whole number, and what its unit stands for where it has one.
#[must_use]
pub fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<(u64, Option<u64>)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = number.parse().ok()?;
    match unit.trim_start() {
        "" => Some((number, None)),
        unit => {
            let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
            Some((number, Some(*scale)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_near_where_a_third_of_it_differs_at_most() {
        let known = ["serverId", "server_connected", "since", "status"];
        for (word, near) in [
            ("serverid", Some("serverId")),
            ("server_id", Some("serverId")),
            ("serverConnected", Some("server_connected")),
            ("SERVER_CONECTED", Some("server_connected")),
            ("sicne", Some("since")),
            ("state", Some("status")),
            ("when", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), near, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
        assert_eq!(nearest("a", []), None);
    }

    #[test]
    fn what_stands_before_the_at_of_an_address_is_left_out() {
        for (text, shown) in [
            ("https://u:p@host/x", "https://***@host/x"),
            ("https://u:p/w@host:1", "https://***@host:1"),
            (
                "at https://token@a, https://b:c@d",
                "at https://***@a, https://***@d",
            ),
            ("https://host/jwks and a@b", "https://host/jwks and a@b"),
            ("https://a, https://b:c@d", "https://a, https://***@d"),
            ("keys.json", "keys.json"),
        ] {
            assert_eq!(without_passwords(text), shown);
        }
    }

    #[test]
    fn a_length_of_time_keeps_whether_it_had_a_unit() {
        for (text, span) in [
            ("7d", Some(Span::Millis(604_800_000))),
            ("24h", Some(Span::Millis(86_400_000))),
            ("15m", Some(Span::Millis(900_000))),
            ("30 s", Some(Span::Millis(30_000))),
            ("500ms", Some(Span::Millis(500))),
            ("30", Some(Span::Bare(30))),
            ("0", Some(Span::Bare(0))),
            ("", None),
            ("s", None),
            ("-5m", None),
            ("1.5h", None),
            ("7 weeks", None),
            ("5é", None),
            ("18446744073709551615d", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(Span::parse(text), span, "{text}");
        }
    }
}
