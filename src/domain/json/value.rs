//! A value to look into: a view of its text, read only as far as somebody asks.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Json, check, number};

/// A value within a [`Json`], as its text.
#[derive(Clone, Copy)]
pub struct JsonRef<'a>(&'a RawValue);

impl<'a> JsonRef<'a> {
    pub(super) fn of(raw: &'a RawValue) -> Self {
        Self(raw)
    }

    /// The text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0.get()
    }

    /// A copy of its own.
    #[must_use]
    pub fn to_json(self) -> Json {
        Json(self.0.to_owned().into())
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.as_str() == "null"
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.as_str().starts_with('{')
    }

    /// Whether it is an array.
    #[must_use]
    pub fn is_array(self) -> bool {
        self.as_str().starts_with('[')
    }

    /// Whether it is a string.
    #[must_use]
    pub fn is_string(self) -> bool {
        self.as_str().starts_with('"')
    }

    /// Whether it is a number.
    #[must_use]
    pub fn is_number(self) -> bool {
        self.as_str()
            .starts_with(|c: char| c == '-' || c.is_ascii_digit())
    }

    /// The text that a string means.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        let quoted = self.as_str();
        let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            self.read().ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inner))
        }
    }

    /// `true` or `false`.
    #[must_use]
    pub fn flag(self) -> Option<bool> {
        self.read().ok()
    }

    /// A whole number, however it is written: `30000`, `3e4` and `30000.0` are one.
    #[must_use]
    pub fn whole(self) -> Option<i128> {
        number::whole(self.as_str())
    }

    /// The items of an array.
    #[must_use]
    pub fn items(self) -> Option<Vec<Self>> {
        let items: Vec<&'a RawValue> = self.is_array().then(|| self.read().ok())??;
        Some(items.into_iter().map(Self).collect())
    }

    /// The members of an object in their order, doubled ones included.
    #[must_use]
    pub fn members(self) -> Option<Vec<(Cow<'a, str>, Self)>> {
        let All(members) = self.is_object().then(|| self.read().ok())??;
        Some(members)
    }

    /// The member of this name, the last one where it is doubled.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Self> {
        let mut members = self.members()?.into_iter().rev();
        members
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    }

    /// What is right within it, by name or index.
    pub(super) fn inner(self) -> Vec<(Cow<'a, str>, Self)> {
        let items = self.items().unwrap_or_default().into_iter().enumerate();
        let items = items.map(|(at, item)| (Cow::Owned(at.to_string()), item));
        items.chain(self.members().unwrap_or_default()).collect()
    }

    /// How deep arrays and objects nest in it.
    #[must_use]
    pub fn depth(self) -> usize {
        check::depth(self.as_str().as_bytes())
    }

    /// Reads it as `T`.
    ///
    /// # Errors
    /// Where it doesn't have that shape.
    pub fn read<T: Deserialize<'a>>(self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// Whether two values are the same: members in any order, strings however they are escaped, and each number in
    /// the same digits.
    #[must_use]
    pub fn is_same(self, other: Self) -> bool {
        if self.as_str() == other.as_str() {
            return true;
        }
        if let (Some(one), Some(two)) = (self.text(), other.text()) {
            return one == two;
        }
        if let (Some(one), Some(two)) = (self.items(), other.items()) {
            return one.len() == two.len()
                && one.iter().zip(&two).all(|(one, two)| one.is_same(*two));
        }
        if let (Some(mut one), Some(mut two)) = (self.members(), other.members()) {
            one.sort_by(|(one, _), (two, _)| one.cmp(two));
            two.sort_by(|(one, _), (two, _)| one.cmp(two));
            return one.len() == two.len()
                && one
                    .iter()
                    .zip(&two)
                    .all(|((name, one), (other, two))| name == other && one.is_same(*two));
        }
        false
    }
}

impl fmt::Debug for JsonRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All members of an object as they stand.
struct All<'a>(Vec<(Cow<'a, str>, JsonRef<'a>)>);

impl<'de> Deserialize<'de> for All<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = All<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<All<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'_>, &RawValue>()? {
                    members.push((name, JsonRef(value)));
                }
                Ok(All(members))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Members of an object in the order in which they came, each value as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members(Vec<(String, Json)>);

impl Members {
    /// Copies of members that were looked at.
    #[must_use]
    pub fn of<'a>(members: impl IntoIterator<Item = (Cow<'a, str>, JsonRef<'a>)>) -> Self {
        let members = members.into_iter();
        Self(
            members
                .map(|(name, value)| (name.into_owned(), value.to_json()))
                .collect(),
        )
    }

    /// Leaves out what isn't to be kept.
    pub fn retain(&mut self, keep: impl Fn(&str, JsonRef<'_>) -> bool) {
        self.0.retain(|(name, value)| keep(name, value.root()));
    }

    /// Puts something else in place of a member's value, if there is one of this name.
    pub fn change(&mut self, name: &str, change: impl Fn(JsonRef<'_>) -> Json) {
        for (found, value) in &mut self.0 {
            if found == name {
                *value = change(value.root());
            }
        }
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, two: &str) -> bool {
        let [one, two] = [one, two].map(|text| Json::parse(text).unwrap());
        one.root().is_same(two.root())
    }

    #[test]
    fn the_same_is_the_same_to_the_last_digit() {
        for (one, two) in [
            (r#"{"a":1,"b":[1,2]}"#, r#"{ "b": [1, 2], "a": 1 }"#),
            (r#"{"\u0061":"\u00e9"}"#, r#"{"a":"é"}"#),
            (r#"[{"x":{"y":null}}]"#, r#"[{"x":{"y":null}}]"#),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
        ] {
            assert!(same(one, two), "{one} {two}");
        }
        for (one, two) in [
            (
                "123456789012345678901234567890",
                "123456789012345678901234567891",
            ),
            ("9007199254740993", "9007199254740992"),
            ("1", "1.0"),
            ("1", "\"1\""),
            ("[1]", "[1,1]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#),
            (r#"{"a":1}"#, r#"{"a":1,"a":1}"#),
            ("[]", "{}"),
            ("null", "false"),
        ] {
            assert!(!same(one, two), "{one} {two}");
        }
    }

    #[test]
    fn a_value_is_looked_into_without_being_rewritten() {
        let json =
            Json::parse(r#"{"n": 1.50, "t": "a\nb", "l": [1e2, {}], "f": true, "n": 2}"#).unwrap();
        let value = json.root();
        assert_eq!(value.get("n").unwrap().as_str(), "2");
        assert_eq!(value.members().unwrap()[0].1.as_str(), "1.50");
        assert_eq!(value.get("t").unwrap().text().as_deref(), Some("a\nb"));
        assert_eq!(
            value.get("l").unwrap().items().unwrap()[0].whole(),
            Some(100)
        );
        assert_eq!(value.get("f").unwrap().flag(), Some(true));
        assert!(value.get("x").is_none() && value.items().is_none() && value.text().is_none());
        assert_eq!(value.depth(), 3);
    }
}
