//! The query of a request: names and values as forms encode them, each unknown name with the nearest known one.

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::http::problem::Problem;

/// The query, decoded, in order, repeats kept.
#[derive(Debug, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Decodes a query as forms encode it: `+` for a space, `%` and two hex digits for a byte.
    ///
    /// # Errors
    /// `400` where a `%` stands alone or the bytes aren't UTF-8.
    pub fn parse(query: &str) -> Result<Self, Problem> {
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
            .collect::<Result<_, Problem>>()
            .map(Self)
    }

    /// Refuses parameters that aren't among these, each with the nearest known name.
    ///
    /// # Errors
    /// `400` that names every unknown one.
    pub fn only(&self, known: &[&str]) -> Result<(), Problem> {
        let mut unknown: Vec<&str> = Vec::new();
        for (name, _) in &self.0 {
            let name = clip(name);
            if !known.contains(&name) && !unknown.contains(&name) {
                unknown.push(name);
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = unknown
            .iter()
            .map(|name| match nearest(name, known.iter().copied()) {
                Some(near) => format!("unknown parameter \"{name}\"; did you mean \"{near}\"?"),
                None if known.is_empty() => {
                    format!("unknown parameter \"{name}\"; this call takes none")
                }
                None => {
                    format!(
                        "unknown parameter \"{name}\"; there are {}",
                        known.join(", ")
                    )
                }
            })
            .collect();
        Err(Problem::query(told.join(" ")))
    }

    /// The last value of a parameter, empty ones left out.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All values of a parameter, comma separated or repeated, empty ones left out.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .flat_map(|(_, value)| value.split(','))
            .filter(|value| !value.is_empty())
    }
}

/// The beginning of a name that may be of any length.
pub(super) fn clip(name: &str) -> &str {
    name.char_indices()
        .nth(64)
        .map_or(name, |(at, _)| &name[..at])
}

/// The known name that is most like this one, where one is alike enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = clip(name).to_lowercase();
    known
        .into_iter()
        .map(|near| (strsim::jaro_winkler(&lower, &near.to_lowercase()), near))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, near)| near)
}

fn decode(text: &str) -> Result<String, Problem> {
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
                    return Err(Problem::query(format!(
                        "\"{text}\" holds a % without two hex digits; write a literal % as %25"
                    )));
                }
            },
            other => other,
        });
    }
    String::from_utf8(bytes)
        .map_err(|_| Problem::query(format!("\"{text}\" doesn't decode to UTF-8")))
}

fn hex(byte: Option<u8>) -> Option<u8> {
    match byte? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        letter @ b'a'..=b'f' => Some(letter - b'a' + 10),
        letter @ b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}
