//! JSON kept as its text: what producers send is handed on, not rewritten. The only way through JSON for whatever a
//! producer may fill in: no number becomes a double on the way, however many digits it has.
//!
//! What is compared is the text of each value: `1` and `1.0` differ, white space, escapes and the order of members
//! don't count.

mod check;
mod number;
mod value;

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use super::limit::Limit;

pub use check::depth;
pub use number::Number;
pub use value::{JsonRef, Members};

/// Deepest nesting that is ever taken in: parsers of listeners stop at about this depth too. The operator may
/// allow less.
pub const MAX_DEPTH: usize = 64;

/// Deepest nesting of a value that the hub's own events and answers wrap: they must be readable as a whole, too.
pub const MAX_VALUE_DEPTH: usize = MAX_DEPTH - 4;

/// One JSON value as text on one line, cheap to clone. That it is JSON is part of its type, so that to write it
/// can't fail.
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

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

    /// Where it stands within the value that was refused for it: the RFC 6901 pointer of the innermost value that
    /// would be refused by itself.
    #[must_use]
    pub fn place(&self, refused: &RawValue) -> String {
        let mut place = String::new();
        let mut value = JsonRef::of(refused);
        let is_refused =
            |value: &JsonRef<'_>| check::check(value.as_str()).as_ref().err() == Some(self);
        while let Some((name, inner)) = value
            .inner()
            .into_iter()
            .find(|(_, value)| is_refused(value))
        {
            place.push('/');
            place.push_str(&name.replace('~', "~0").replace('/', "~1"));
            value = inner;
        }
        place
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
        let spaces = check::check(raw.get())?;
        Ok(if spaces == 0 {
            Self(raw.to_owned().into())
        } else {
            Self::trusted(check::compact(raw.get(), spaces))
        })
    }

    /// The text of anything that serializes, which all of the hub's own types do: their keys are strings, and
    /// nothing in them refuses to be written.
    ///
    /// # Panics
    /// Where a type can't be written as JSON, which is a mistake in that type. Better to stop than to write
    /// something else into the log.
    #[must_use]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let text = serde_json::value::to_raw_value(value);
        Self(
            text.expect("the hub's own types can be written as JSON")
                .into(),
        )
    }

    /// Text that the log gives back: checked when it came in, and so only looked over for damage.
    ///
    /// # Errors
    /// Where it is no JSON.
    pub fn stored(text: &str) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text.to_owned()).map(|raw| Self(raw.into()))
    }

    /// Text that is JSON by the way in which it was made.
    ///
    /// # Panics
    /// Where it is not.
    #[must_use]
    pub fn trusted(text: impl Into<String>) -> Self {
        let raw = RawValue::from_string(text.into());
        Self(raw.expect("the text was made to be JSON").into())
    }

    /// `{}`.
    #[must_use]
    pub fn empty_object() -> Self {
        Self::trusted("{}")
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The value, to look into.
    #[must_use]
    pub fn root(&self) -> JsonRef<'_> {
        JsonRef::of(&self.0)
    }

    /// Reads the text as `T`.
    ///
    /// # Errors
    /// Where it doesn't have that shape.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

/// As texts. Whether two texts mean the same is asked by [`JsonRef::is_same`].
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw(&raw).map_err(D::Error::custom)
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
