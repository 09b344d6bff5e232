//! A request's query: names and values as forms encode them. What it holds is done or refused: a name that the call
//! doesn't know, and a second value where there can be one only, are told rather than passed over.

use crate::words::{clip, nearest};

/// What is wrong with a query, in a person's words; names the parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(pub String);

/// The query, decoded, in order, repeats kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Decodes a query as forms encode it: `+` for a space, `%` and two hex digits for a byte.
    ///
    /// # Errors
    /// Where a `%` stands alone or the bytes aren't UTF-8.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let name = decode(name)?;
                // An id that isn't one is a gap to tell, and never an error.
                let value = match name.as_str() {
                    "lastEventId" | "last_event_id" => {
                        decode(value).unwrap_or_else(|_| value.to_owned())
                    }
                    _ => decode(value)?,
                };
                Ok((name, value))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Refuses what the call doesn't take: `one` are the parameters of one value, `many` those that may be repeated.
    ///
    /// # Errors
    /// [`QueryError`] that names every unknown parameter with the nearest known one, and every one that has to stand
    /// alone and doesn't.
    pub fn only(&self, one: &[&str], many: &[&str]) -> Result<(), QueryError> {
        let mut wrong: Vec<String> = Vec::new();
        let mut tell = |text: String| {
            if !wrong.contains(&text) {
                wrong.push(text);
            }
        };
        for (at, (name, value)) in self.0.iter().enumerate() {
            let name = clip(name);
            if many.contains(&name) {
                continue;
            }
            if !one.contains(&name) {
                tell(unknown(name, one, many));
            } else if says_something(name, value)
                && self.0[..at]
                    .iter()
                    .any(|(other, value)| other == name && says_something(name, value))
            {
                tell(format!(
                    "{name} is given more than once and has one value: say which is meant"
                ));
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(QueryError(wrong.join(" ")))
        }
    }

    /// The value of a parameter, where it has one. Which are given once only is for [`Query::only`] to check.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All values of a parameter, repeated, empty ones left out.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All values of a parameter, comma separated or repeated, empty ones left out.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name)
            .flat_map(|value| value.split(','))
            .filter(|value| !value.is_empty())
    }

    /// A switch: `true` or `false`, and its bare name is `true`. `false` where it isn't there.
    ///
    /// # Errors
    /// [`QueryError`] where it is neither.
    pub fn flag(&self, name: &str) -> Result<bool, QueryError> {
        match self.0.iter().find(|(key, _)| key == name) {
            None => Ok(false),
            Some((_, value)) => match value.as_str() {
                "" | "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(QueryError(format!("{name} must be true or false"))),
            },
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// [`QueryError`] that says the bounds.
    pub fn number(
        &self,
        name: &str,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, QueryError> {
        let Some(text) = self.one(name) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.map(Some).ok_or_else(|| {
            QueryError(format!(
                "{name} is \"{}\"; it must be a whole number from {} to {}",
                clip(text),
                bounds.start(),
                bounds.end()
            ))
        })
    }
}

/// The switches, whose bare name is their value. Of every other parameter an empty value is as good as none.
const SWITCHES: [&str; 1] = ["snapshot"];

fn says_something(name: &str, value: &str) -> bool {
    !value.is_empty() || SWITCHES.contains(&name)
}

fn unknown(name: &str, one: &[&str], many: &[&str]) -> String {
    let known: Vec<&str> = many.iter().chain(one).copied().collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown parameter \"{name}\"; did you mean \"{near}\"?"),
        None if known.is_empty() => {
            format!("unknown parameter \"{name}\"; this call takes none")
        }
        None => format!(
            "unknown parameter \"{name}\"; there are {}",
            known.join(", ")
        ),
    }
}

fn decode(text: &str) -> Result<String, QueryError> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match (hex(rest.next()), hex(rest.next())) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => {
                    return Err(QueryError(format!(
                        "\"{text}\" holds a % without two hex digits; write a literal % as %25"
                    )));
                }
            },
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| QueryError(format!("\"{text}\" doesn't decode to UTF-8")))
}

fn hex(byte: Option<u8>) -> Option<u8> {
    match byte? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        letter @ b'a'..=b'f' => Some(letter - b'a' + 10),
        letter @ b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    #[test]
    fn queries_are_decoded_as_forms_encode_them() {
        let table = [
            ("", vec![]),
            ("a=1&b=2&a=3", vec![("a", "1"), ("b", "2"), ("a", "3")]),
            ("a", vec![("a", "")]),
            ("a=b=c&&d=", vec![("a", "b=c"), ("d", "")]),
            ("tag=env%3Aprod+x", vec![("tag", "env:prod x")]),
            ("%C3%A4=%e2%82%ac", vec![("ä", "€")]),
            ("a=%2B%25", vec![("a", "+%")]),
        ];
        for (text, expected) in table {
            let expected: Vec<(String, String)> = expected
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(query(text).0, expected, "{text}");
        }
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff", "%c3=1"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_parameter_has_one_value_or_several() {
        let query = query("a=1,2&b=x&a=&a=3&c=");
        assert_eq!(query.one("b"), Some("x"));
        assert_eq!(query.one("c"), None);
        assert_eq!(query.values("a").collect::<Vec<_>>(), ["1", "2", "3"]);
    }

    #[test]
    fn every_unknown_parameter_is_named_with_its_nearest() {
        let asked = query("serverid=a&limit=1&zzzz=2&serverid=b");
        assert!(asked.only(&["limit", "zzzz"], &["serverid"]).is_ok());
        assert_eq!(
            asked.only(&["limit"], &["serverId"]).unwrap_err().0,
            "unknown parameter \"serverid\"; did you mean \"serverId\"? \
             unknown parameter \"zzzz\"; there are serverId, limit"
        );
        let long = Query(vec![("x".repeat(5000), String::new())]);
        assert!(long.only(&[], &[]).unwrap_err().0.len() < 200);
    }

    #[test]
    fn a_second_value_where_there_is_one_only_is_named() {
        for (text, named) in [
            ("format=a&format=b", Some("format")),
            ("format=a&format=a", Some("format")),
            ("snapshot&snapshot=true", Some("snapshot")),
            ("format=&format=a", None),
            ("tag=a:b&tag=a:c", None),
        ] {
            let read = query(text).only(&["format", "snapshot"], &["tag"]);
            assert_eq!(
                read.as_ref()
                    .err()
                    .map(|wrong| wrong.0.split(' ').next().unwrap()),
                named,
                "{text}"
            );
        }
    }

    #[test]
    fn a_bare_switch_is_on() {
        for (text, on) in [
            ("snapshot", Ok(true)),
            ("snapshot=", Ok(true)),
            ("snapshot=true", Ok(true)),
            ("snapshot=false", Ok(false)),
            ("", Ok(false)),
            ("snapshot=1", Err(())),
        ] {
            assert_eq!(query(text).flag("snapshot").map_err(drop), on, "{text}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        for (text, number) in [
            ("", Ok(None)),
            ("limit=1", Ok(Some(1))),
            ("limit=1000", Ok(Some(1000))),
            ("limit=0", Err(())),
            ("limit=1001", Err(())),
            ("limit=x", Err(())),
        ] {
            let read = query(text).number("limit", 1..=1000).map_err(drop);
            assert_eq!(read, number, "{text}");
        }
    }
}
