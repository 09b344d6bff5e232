//! JSON kept as its text: what producers send is handed on, not rewritten.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use super::limit::Limit;

/// Deepest nesting that is ever taken in: parsers of listeners stop at about this depth too. The operator may
/// allow less.
pub const MAX_DEPTH: usize = 64;

/// One JSON value as text on one line, cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

/// Why a text is not taken in as a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJson {
    /// Not JSON.
    #[error("is not JSON: {0}")]
    Syntax(String),
    /// Nested too deep.
    #[error("is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A string holds half a character: grammatical, but many parsers of listeners refuse it.
    #[error(
        "holds {0}, which is half a character: escapes from \\ud800 to \\udfff stand in pairs, a high and a low one"
    )]
    HalfCharacter(String),
    /// A number is grammatical and fits nowhere.
    #[error("holds a number beyond what a double holds (1.8e308), about {0}: send it as a string")]
    HugeNumber(String),
}

impl InvalidJson {
    /// The limit that it passes, where that is what is wrong.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        (*self == Self::TooDeep).then_some(Limit::JsonDepth)
    }
}

impl Json {
    /// Checks a text and drops the white space between its tokens, line ends included.
    ///
    /// # Errors
    /// [`InvalidJson`] where it is no single JSON value, nested deeper than [`MAX_DEPTH`], or holds what listeners
    /// can't be expected to read although its grammar allows it (RFC 7493, sections 2.1 and 2.2).
    pub fn parse(text: &str) -> Result<Self, InvalidJson> {
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|e| InvalidJson::Syntax(e.to_string()))?;
        Self::from_raw(raw)
    }

    /// Takes in a value that is known to be JSON, its white space dropped.
    ///
    /// # Errors
    /// [`InvalidJson`], but never `Syntax`.
    pub fn from_raw(raw: &RawValue) -> Result<Self, InvalidJson> {
        compact(raw.get()).map(Self)
    }

    /// The text of anything that serializes, which all of the hub's own types do.
    #[must_use]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(
            serde_json::to_string(value)
                .unwrap_or_else(|_| "null".to_owned())
                .into(),
        )
    }

    /// Text that the log gives back, which was checked when it came in.
    #[must_use]
    pub fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// `{}`.
    #[must_use]
    pub fn empty_object() -> Self {
        Self("{}".into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the text as `T`.
    ///
    /// # Errors
    /// Where it doesn't have that shape.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

/// A `T` that is read from an object alone. What serde derives for a struct also reads an array, each member at its
/// place, which no client can mean.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Copies the text without the white space between tokens. The text must be valid JSON.
fn compact(text: &str) -> Result<Arc<str>, InvalidJson> {
    let (mut depth, mut in_string, mut escaped, mut spaces) = (0_usize, false, false, 0_usize);
    let (mut escapes, mut digits) = (false, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            match byte {
                b'u' if escaped => (escaped, escapes) = (false, true),
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        let after_digit = digits > 0;
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        match byte {
            b'"' => in_string = true,
            b'e' | b'E' if after_digit => check_number(text, at)?,
            b'0'..=b'9' if digits == DOUBLE_DIGITS => check_number(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(InvalidJson::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\n' | b'\r' => spaces += 1,
            _ => {}
        }
    }
    // Few texts hold any, so the others don't pay for the look.
    if escapes {
        check_pairs(text)?;
    }
    if spaces == 0 {
        return Ok(text.into());
    }
    let mut out = String::with_capacity(text.len() - spaces);
    let (mut in_string, mut escaped) = (false, false);
    out.extend(text.chars().filter(|&c| {
        if in_string {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
            return true;
        }
        in_string = c == '"';
        !matches!(c, ' ' | '\t' | '\n' | '\r')
    }));
    Ok(out.into())
}

/// Digits in a row from which on a number may be too large for a double.
const DOUBLE_DIGITS: usize = 309;

/// Refuses escapes of half a character: a high surrogate without a low one right behind it, a low one without.
fn check_pairs(text: &str) -> Result<(), InvalidJson> {
    let mut rest = text;
    // In valid JSON a backslash begins an escape, of a unit or of one character.
    while let Some(at) = rest.find('\\') {
        rest = &rest[at..];
        let length = match escaped_unit(rest) {
            None => 2,
            Some(0xD800..=0xDBFF) if is_low(&rest[6..]) => 12,
            Some(0xD800..=0xDFFF) => return Err(InvalidJson::HalfCharacter(rest[..6].to_owned())),
            Some(_) => 6,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(())
}

fn is_low(text: &str) -> bool {
    matches!(escaped_unit(text), Some(0xDC00..=0xDFFF))
}

/// The UTF-16 unit that a text begins with as an escape.
fn escaped_unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

/// Refuses the number around a place where it is too large for a double.
fn check_number(text: &str, at: usize) -> Result<(), InvalidJson> {
    let is_part = |c: char| matches!(c, '0'..='9' | '.' | '+' | '-' | 'e' | 'E');
    let start = text[..at].trim_end_matches(is_part).len();
    let end = text.len() - text[at..].trim_start_matches(is_part).len();
    let number = &text[start..end];
    if number.parse::<f64>().is_ok_and(f64::is_finite) {
        return Ok(());
    }
    Err(InvalidJson::HugeNumber(number.chars().take(20).collect()))
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw(&raw).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_between_tokens_goes_and_strings_stay() {
        let json = Json::parse(" { \"a b\" :\n [ 1 ,\r\n \"x \\\" y\" ] } ");
        assert_eq!(
            json.map(|j| j.as_str().to_owned()),
            Ok(r#"{"a b":[1,"x \" y"]}"#.to_owned())
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(Json::parse(&deep(MAX_DEPTH)).is_ok());
        assert_eq!(Json::parse(&deep(MAX_DEPTH + 1)), Err(InvalidJson::TooDeep));
    }

    #[test]
    fn what_the_grammar_allows_and_listeners_cannot_read_is_refused() {
        for good in [
            r#""\ud83d\ude00""#,
            r#""\uD83D\uDE00 and \u00e9""#,
            r#""\\ud800""#,
            r#"{"\ud83d\ude00":["\ud83d\ude00\ud83d\ude00"]}"#,
            "[1e308,-1e308,1e-999,12e3,true,false]",
            r#""1e999""#,
        ] {
            assert!(Json::parse(good).is_ok(), "{good}");
            assert!(
                serde_json::from_str::<serde_json::Value>(good).is_ok(),
                "{good}"
            );
        }
        for (bad, half) in [
            (r#""\ud800""#, "\\ud800"),
            (r#""x\udc00""#, "\\udc00"),
            (r#""\ud83dx\ude00""#, "\\ud83d"),
            (r#""\ud83d\n""#, "\\ud83d"),
            (r#""\ud83d\ud83d\ude00""#, "\\ud83d"),
            (r#""\ud83d\u0041""#, "\\ud83d"),
            (r#"{"\udfff":1}"#, "\\udfff"),
        ] {
            assert_eq!(
                Json::parse(bad),
                Err(InvalidJson::HalfCharacter(half.to_owned())),
                "{bad}"
            );
        }
        let long = "9".repeat(400);
        for bad in ["1e999", "[-1E+400]", "1.5e309", long.as_str()] {
            assert!(
                matches!(Json::parse(bad), Err(InvalidJson::HugeNumber(_))),
                "{bad}"
            );
        }
    }
}
