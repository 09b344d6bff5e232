//! JSON that isn't rewritten on its way through a client.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Value, value::RawValue};

/// JSON as it came, or as it will be sent: its text, exact to the last digit, and a reading of it to look into.
///
/// It is written, shown and compared by its text. In the reading, which it dereferences to, a number with more digits
/// than a double has is rounded.
#[derive(Clone)]
pub struct Exact {
    text: Box<RawValue>,
    value: Value,
}

impl Exact {
    /// Reads a text.
    ///
    /// # Errors
    /// Where it is no JSON, or holds what no reader can be expected to take: half a character, a number beyond a
    /// double.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let value = serde_json::from_str(text)?;
        let text = RawValue::from_string(text.to_owned())?;
        Ok(Self { text, value })
    }

    /// What a value is written as.
    ///
    /// # Errors
    /// Where it can't be written as JSON.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Self::parse(&serde_json::to_string(value)?)
    }

    /// The same object with this member in place of one of its name. What is no object stays as it is.
    ///
    /// # Errors
    /// Where the value can't be written as JSON.
    pub fn with<T: Serialize + ?Sized>(
        &self,
        name: &str,
        value: &T,
    ) -> Result<Self, serde_json::Error> {
        let Ok(Members(mut members)) = serde_json::from_str(self.as_str()) else {
            return Ok(self.clone());
        };
        members.retain(|(found, _)| found != name);
        members.push((name.to_owned(), serde_json::value::to_raw_value(value)?));
        Self::of(&Members(members))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.get()
    }

    /// The text of an object's member.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<String> {
        let Members(members) = serde_json::from_str(self.as_str()).ok()?;
        let mut named = members.into_iter().filter(|(found, _)| found == name);
        named.next_back().map(|(_, value)| value.get().to_owned())
    }
}

impl Deref for Exact {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl From<Value> for Exact {
    fn from(value: Value) -> Self {
        let text = serde_json::value::to_raw_value(&value);
        Self {
            text: text.expect("a value is JSON"),
            value,
        }
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let value = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        Ok(Self { text, value })
    }
}

/// Members of an object in their order, each value as it was written.
struct Members(Vec<(String, Box<RawValue>)>);

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> serde::de::Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_digit_changes_on_the_way_through() {
        let text = r#"{"n":123456789012345678901234567890,"x":1.50,"id":"a"}"#;
        let exact = Exact::parse(text).unwrap();
        assert_eq!(exact["id"], "a");
        assert_eq!(exact.to_string(), text);
        assert_eq!(serde_json::to_string(&exact).unwrap(), text);
        assert_eq!(exact.text_of("x").as_deref(), Some("1.50"));
        assert_eq!(
            exact.with("id", "b").unwrap().as_str(),
            r#"{"n":123456789012345678901234567890,"x":1.50,"id":"b"}"#
        );
        let read: Vec<Exact> = serde_json::from_str("[1.0,1e2]").unwrap();
        assert_eq!(read[0].to_string() + " " + read[1].as_str(), "1.0 1e2");
    }
}
