//! Reads request bodies: every mistake at once, each with the JSON pointer (RFC 6901) of its field.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{ids::InvalidId, limit::Limit};

/// One mistake in a request body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where, as an RFC 6901 JSON pointer into the body.
    pub pointer: String,
    /// What is wrong and how to mend it.
    pub detail: String,
    /// The limit that is passed, where that is what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "json_depth")]
    pub limit: Option<Limit>,
}

impl FieldError {
    /// A mistake in the field at `pointer`.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
            limit: None,
        }
    }

    /// The same where a limit is passed, if one is.
    #[must_use]
    pub fn passing(self, limit: Option<Limit>) -> Self {
        Self { limit, ..self }
    }
}

/// Reads the fields of one JSON object and collects what is wrong with them.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    base: String,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// Begins to read `value`, which stands at `base` in the body (empty for the body itself).
    ///
    /// # Errors
    /// Where it is no object.
    pub fn of(value: &'a Value, base: &str) -> Result<Self, Vec<FieldError>> {
        match value.as_object() {
            Some(object) => Ok(Self {
                object,
                base: base.to_owned(),
                errors: Vec::new(),
            }),
            None => Err(vec![FieldError::new(base, "must be a JSON object")]),
        }
    }

    /// The field's value; `null` counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// The pointer of a field, escaped as RFC 6901 asks.
    #[must_use]
    pub fn pointer(&self, name: &str) -> String {
        format!(
            "{}/{}",
            self.base,
            name.replace('~', "~0").replace('/', "~1")
        )
    }

    /// Notes a mistake in a field.
    pub fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        self.passes(name, None, detail);
    }

    /// Notes that a field passes a limit, where `limit` says so, or else another mistake in it.
    pub fn passes(&mut self, name: &str, limit: Option<Limit>, detail: impl Into<String>) {
        let pointer = self.pointer(name);
        self.errors
            .push(FieldError::new(pointer, detail).passing(limit));
    }

    /// Takes over the mistakes of a nested reader.
    pub fn absorb<T>(&mut self, nested: Result<T, Vec<FieldError>>) -> Option<T> {
        match nested {
            Ok(value) => Some(value),
            Err(errors) => {
                self.errors.extend(errors);
                None
            }
        }
    }

    /// An optional text of at most `max` bytes.
    pub fn text(&mut self, name: &str, max: usize) -> Option<String> {
        match self.get(name)? {
            Value::String(text) if text.len() <= max => Some(text.clone()),
            Value::String(text) => {
                self.wrong(
                    name,
                    format!("is {} bytes long; at most {max} are taken", text.len()),
                );
                None
            }
            _ => {
                self.wrong(name, "must be a string");
                None
            }
        }
    }

    /// A text that must be there and not be empty.
    pub fn required_text(&mut self, name: &str, max: usize) -> Option<String> {
        if self.get(name).is_none() {
            self.wrong(name, "is required: a non-empty string");
            return None;
        }
        let text = self.text(name, max)?;
        if text.trim().is_empty() {
            self.wrong(name, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// An optional id.
    pub fn parsed<T>(&mut self, name: &str) -> Option<T>
    where
        T: std::str::FromStr<Err = InvalidId>,
    {
        match self.get(name)? {
            Value::String(text) => match text.parse() {
                Ok(value) => Some(value),
                Err(error) => {
                    self.passes(name, error.limit(), error.to_string());
                    None
                }
            },
            _ => {
                self.wrong(name, "must be a string");
                None
            }
        }
    }

    /// An optional whole number within bounds.
    pub fn number(&mut self, name: &str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let found = self.get(name)?;
        match found.as_u64().filter(|n| bounds.contains(n)) {
            Some(n) => Some(n),
            None => {
                self.wrong(
                    name,
                    format!(
                        "must be a whole number from {} to {}",
                        bounds.start(),
                        bounds.end()
                    ),
                );
                None
            }
        }
    }

    /// An optional time, epoch milliseconds.
    pub fn time(&mut self, name: &str) -> Option<i64> {
        let found = self.get(name)?;
        if found.as_i64().is_none() {
            self.wrong(name, "must be a whole number of milliseconds since 1970");
        }
        found.as_i64()
    }

    /// An optional `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let found = self.get(name)?;
        if found.as_bool().is_none() {
            self.wrong(name, "must be true or false");
        }
        found.as_bool()
    }

    /// Hands out what was read, if all of it was right.
    ///
    /// # Errors
    /// Every mistake that was noted.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(self.errors),
        }
    }
}
