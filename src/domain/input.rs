//! Reads request bodies: every mistake at once, each with the JSON pointer (RFC 6901) of its field.

use std::{borrow::Cow, collections::HashSet};

use serde::Serialize;

use super::{
    ids::InvalidId,
    json::{Json, JsonRef, MAX_VALUE_DEPTH},
    limit::Limit,
};
use crate::words::nearest;

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

/// The members that an object of a body may have, as far as they mean something to the hub. What else it holds is
/// told, so that nothing that a client says vanishes without a word.
#[derive(Debug)]
pub struct Shape {
    /// The members that are read.
    pub members: &'static [&'static str],
    /// Those that hold objects of a known shape themselves. Of all others, what is within them is the client's own.
    pub nested: &'static [(&'static str, Nested)],
    /// What becomes of unknown ones.
    pub fate: &'static str,
}

/// What a member holds.
#[derive(Debug, Clone, Copy)]
pub enum Nested {
    /// One object.
    One(&'static Shape),
    /// A list of them.
    Each(&'static Shape),
}

/// What becomes of unknown members that nobody keeps.
pub const IGNORED: &str = "is unknown and has no effect";

/// What becomes of unknown members of what is handed back as it came.
pub const KEPT: &str = "is unknown and has no effect; it is kept and handed back";

impl Shape {
    /// The unknown members of a value that stands at `base` in the body, each with the nearest known name.
    #[must_use]
    pub fn unknown(&self, value: JsonRef<'_>, base: &str) -> Vec<FieldError> {
        let mut found = Vec::new();
        self.look(value, base, &mut found);
        found
    }

    fn look(&self, value: JsonRef<'_>, base: &str, found: &mut Vec<FieldError>) {
        for (name, value) in value.members().into_iter().flatten() {
            let pointer = pointer(base, &name);
            if !self.members.contains(&&*name) {
                found.push(unknown_member(pointer, &name, self.members, self.fate));
                continue;
            }
            let nested = self.nested.iter().find(|(nested, _)| *nested == name);
            match nested.map(|(_, nested)| *nested) {
                Some(Nested::One(shape)) => shape.look(value, &pointer, found),
                Some(Nested::Each(shape)) => {
                    for (at, value) in value.items().into_iter().flatten().enumerate() {
                        shape.look(value, &format!("{pointer}/{at}"), found);
                    }
                }
                None => {}
            }
        }
    }
}

/// The warning of one unknown member.
#[must_use]
pub fn unknown_member(pointer: String, name: &str, known: &[&str], fate: &str) -> FieldError {
    let detail = match nearest(name, known.iter().copied()) {
        Some(near) => format!("{fate}; did you mean {near}?"),
        None => fate.to_owned(),
    };
    FieldError::new(pointer, detail)
}

/// The pointer of a member, escaped as RFC 6901 asks.
#[must_use]
pub fn pointer(base: &str, name: &str) -> String {
    format!("{base}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Reads the fields of one JSON object and collects what is wrong with them.
#[derive(Debug)]
pub struct Fields<'a> {
    members: Vec<(Cow<'a, str>, JsonRef<'a>)>,
    base: String,
    errors: Vec<FieldError>,
    shape: Option<&'static Shape>,
}

impl<'a> Fields<'a> {
    /// The same as [`Fields::of`] of an object whose unknown members are told: in tests, reading a member that its shape
    /// doesn't list is a mistake of ours.
    ///
    /// # Errors
    /// Where it is no object.
    pub fn among(
        value: JsonRef<'a>,
        base: &str,
        shape: &'static Shape,
    ) -> Result<Self, Vec<FieldError>> {
        Self::of(value, base).map(|fields| Self {
            shape: Some(shape),
            ..fields
        })
    }

    /// Begins to read `value`, which stands at `base` in the body (empty for the body itself). A member that
    /// comes twice is a mistake: whichever was taken, the other would be lost without a word.
    ///
    /// # Errors
    /// Where it is no object.
    pub fn of(value: JsonRef<'a>, base: &str) -> Result<Self, Vec<FieldError>> {
        let Some(members) = value.members() else {
            return Err(vec![FieldError::new(base, "must be a JSON object")]);
        };
        let mut fields = Self {
            members,
            base: base.to_owned(),
            errors: Vec::new(),
            shape: None,
        };
        for name in fields.doubled() {
            fields.wrong(&name, "comes twice; say it once");
        }
        Ok(fields)
    }

    /// The field's value; `null` counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<JsonRef<'a>> {
        debug_assert!(
            self.shape.is_none_or(|shape| shape.members.contains(&name)),
            "{name} is read and not among the members of its Shape, so that clients are told that it has no effect"
        );
        let found = self.members.iter().find(|(found, _)| found == name);
        found
            .map(|(_, value)| *value)
            .filter(|value| !value.is_null())
    }

    /// All members, in their order.
    pub fn members(&self) -> impl Iterator<Item = &(Cow<'a, str>, JsonRef<'a>)> {
        self.members.iter()
    }

    /// The pointer of a field, escaped as RFC 6901 asks.
    #[must_use]
    pub fn pointer(&self, name: &str) -> String {
        pointer(&self.base, name)
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
        match self.get(name)?.text() {
            Some(text) if text.len() <= max => Some(text.into_owned()),
            Some(text) => {
                self.wrong(
                    name,
                    format!("is {} bytes long; at most {max} are taken", text.len()),
                );
                None
            }
            None => {
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
        let Some(text) = self.get(name)?.text() else {
            self.wrong(name, "must be a string");
            return None;
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.passes(name, error.limit(), error.to_string());
                None
            }
        }
    }

    /// An optional value of any kind, kept as it was written.
    pub fn value(&mut self, name: &str) -> Option<Json> {
        let value = self.get(name)?;
        let kept = kept(value, &self.pointer(name));
        self.absorb(kept)
    }

    /// An optional whole number within bounds, however it is written: `30000`, `3e4`, `30000.0`.
    pub fn number(&mut self, name: &str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let found = self.get(name)?.whole();
        let found = found.and_then(|number| u64::try_from(number).ok());
        match found.filter(|number| bounds.contains(number)) {
            Some(number) => Some(number),
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
        let found = self.get(name)?.whole();
        let time = found.and_then(|number| i64::try_from(number).ok());
        if time.is_none() {
            self.wrong(name, "must be a whole number of milliseconds since 1970");
        }
        time
    }

    /// An optional `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let found = self.get(name)?.flag();
        if found.is_none() {
            self.wrong(name, "must be true or false");
        }
        found
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

    /// Names that more than one member has.
    fn doubled(&self) -> Vec<String> {
        let mut seen = HashSet::with_capacity(self.members.len());
        let names = self.members.iter().map(|(name, _)| name.as_ref());
        let doubled = names.filter(|name: &&str| !seen.insert(*name));
        doubled.map(str::to_owned).collect()
    }
}

/// Takes in a value that stands at `pointer`, unless it is nested too deep to be read again from within an event.
///
/// # Errors
/// Where it is nested deeper than [`MAX_VALUE_DEPTH`].
pub fn kept(value: JsonRef<'_>, pointer: &str) -> Result<Json, Vec<FieldError>> {
    if value.depth() <= MAX_VALUE_DEPTH {
        return Ok(value.to_json());
    }
    let detail = format!("is nested deeper than {MAX_VALUE_DEPTH} levels");
    Err(vec![
        FieldError::new(pointer, detail).passing(Some(Limit::JsonDepth)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_may_be_written_in_any_way() {
        let body =
            Json::parse(r#"{"a":3e4,"b":30000.0,"c":1.5,"d":-1,"e":"1","at":1.7e12}"#).unwrap();
        let mut fields = Fields::of(body.root(), "").unwrap();
        assert_eq!(fields.number("a", 1..=30_000), Some(30_000));
        assert_eq!(fields.number("b", 1..=30_000), Some(30_000));
        assert_eq!(fields.time("at"), Some(1_700_000_000_000));
        for wrong in ["c", "d", "e"] {
            assert_eq!(fields.number(wrong, 0..=9), None);
        }
        let wrong = fields.finish(Some(())).unwrap_err();
        let places: Vec<_> = wrong.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(places, ["/c", "/d", "/e"]);
    }

    #[test]
    fn a_member_that_comes_twice_is_named() {
        let body = Json::parse(r#"{"name":"a","x":1,"n\u0061me":"b"}"#).unwrap();
        let fields = Fields::of(body.root(), "/0").unwrap();
        let wrong = fields.finish(Some(())).unwrap_err();
        assert_eq!(
            wrong,
            [FieldError::new("/0/name", "comes twice; say it once")]
        );
    }
}
