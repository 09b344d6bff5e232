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
    /// [`InvalidJson`] where it is no single JSON value, or nested deeper than [`MAX_DEPTH`].
    pub fn parse(text: &str) -> Result<Self, InvalidJson> {
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|e| InvalidJson::Syntax(e.to_string()))?;
        Self::from_raw(raw)
    }

    /// Takes in a value that is known to be JSON, its white space dropped.
    ///
    /// # Errors
    /// [`InvalidJson::TooDeep`].
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

/// Copies the text without the white space between tokens, in one pass. The text must be valid JSON.
fn compact(text: &str) -> Result<Arc<str>, InvalidJson> {
    let (mut depth, mut in_string, mut escaped, mut spaces) = (0_usize, false, false, 0_usize);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
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
}
