//! Queries and path segments from arbitrary text: whatever a person types stays one value.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A query under construction; an empty one adds nothing to a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(String);

impl Query {
    /// With one more `name=value` for each value.
    #[must_use]
    pub fn with_all<V: AsRef<str>>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        for value in values {
            let mark = if self.0.is_empty() { "" } else { "&" };
            let value = utf8_percent_encode(value.as_ref(), RESERVED);
            // Writing to a string can't fail.
            let _ = write!(self.0, "{mark}{name}={value}");
        }
        self
    }

    /// The query without a question mark, as [`Client::events`](super::Client::events) takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A path with this query.
    #[must_use]
    pub fn on(&self, path: &str) -> String {
        if self.0.is_empty() {
            return path.to_owned();
        }
        format!("{path}?{}", self.0)
    }
}

/// One segment of a path, whatever characters it holds.
#[must_use]
pub fn segment(text: &str) -> String {
    match text {
        // A path's own words for here and one up.
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => utf8_percent_encode(text, RESERVED).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_typed_stays_one_value() {
        let query = Query::default()
            .with_all("type", ["workflow_*", "a.b"])
            .with_all("tag", ["env:a&b=c d"]);
        assert_eq!(
            query.on("/events"),
            "/events?type=workflow_%2A&type=a.b&tag=env%3Aa%26b%3Dc%20d"
        );
        assert_eq!(Query::default().on("/events"), "/events");
        assert_eq!(segment("../x?y#z"), "..%2Fx%3Fy%23z");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
