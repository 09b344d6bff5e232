//! A tool's arguments, read by the same rules as a query or a body over HTTP.

use crate::{
    domain::{
        FieldError, Json,
        input::pointer,
        json::{JsonRef, Members},
    },
    event_log::KeyHash,
    filter::query::Query,
    http::{
        extract::hashed,
        mcp::{Asked, message::Call},
        problem::Problem,
    },
    hub::IdempotencyKey,
    words::nearest,
};

/// Longest `idempotencyKey`, in characters.
const MAX_KEY_LEN: usize = 255;

/// A request's id from this length on is its own wherever it comes from, as a UUID is.
const UNIQUE_LEN: usize = 16;

/// Other names of what tools call `serverId` and so on, as models guess them.
const ALIASES: [(&str, &str); 3] = [
    ("id", "serverId"),
    ("id", "workflowId"),
    ("timeout", "timeoutMs"),
];

/// Reads arguments as a query has them: a text, a number, a flag or a list of these under each name.
///
/// # Errors
/// What is unknown, or of another kind, all at once.
pub(super) fn query(
    arguments: Option<JsonRef<'_>>,
    one: &[&str],
    many: &[&str],
) -> Result<Query, Problem> {
    let (mut pairs, mut wrong) = (Vec::new(), Vec::new());
    for (said, value) in arguments.and_then(JsonRef::members).unwrap_or_default() {
        let known: Vec<&str> = one.iter().chain(many).copied().collect();
        let alias = ALIASES
            .iter()
            .find(|(other, name)| *other == said && known.contains(name));
        let name = alias.map_or(&*said, |(_, name)| name);
        let at = pointer("", &said);
        if !known.contains(&name) {
            let mend = match nearest(name, known.iter().copied()) {
                Some(near) => format!("is unknown; did you mean {near}?"),
                None if known.is_empty() => "is unknown; this tool takes no arguments".to_owned(),
                None => format!("is unknown; there are {}", known.join(", ")),
            };
            wrong.push(FieldError::new(at, mend));
            continue;
        }
        let values = match value.items() {
            Some(values) if many.contains(&name) => values,
            _ => vec![value],
        };
        for value in values.into_iter().filter(|value| !value.is_null()) {
            match plain(value) {
                Some(text) => pairs.push((name.to_owned(), text)),
                None if many.contains(&name) => wrong.push(FieldError::new(
                    at.clone(),
                    "must be a string or a list of strings",
                )),
                None => wrong.push(FieldError::new(at.clone(), "must be a string or a number")),
            }
        }
    }
    if !wrong.is_empty() {
        return Err(Problem::invalid(wrong));
    }
    let query = Query(pairs);
    query.only(one, many)?;
    Ok(query)
}

fn plain(value: JsonRef<'_>) -> Option<String> {
    if value.is_object() || value.is_array() {
        return None;
    }
    let whole = || value.whole().map(|whole| whole.to_string());
    let text = value.text().map(std::borrow::Cow::into_owned);
    text.or_else(whole)
        .or_else(|| Some(value.as_str().to_owned()))
}

/// A value that must be there.
pub(super) fn required<'q>(query: &'q Query, name: &str) -> Result<&'q str, Problem> {
    query
        .one(name)
        .ok_or_else(|| Problem::invalid(vec![FieldError::new(pointer("", name), "is required")]))
}

/// The arguments of a change without what is read apart from its body.
pub(super) fn body(arguments: Option<JsonRef<'_>>, apart: &[&str]) -> Json {
    let members = arguments.and_then(JsonRef::members).unwrap_or_default();
    let mut members = Members::of(members);
    members.retain(|name, _| !apart.contains(&name) && name != KEY);
    Json::of(&members)
}

/// The argument that names a change.
const KEY: &str = "idempotencyKey";

/// By what a change is known if it comes again. Its client may say so, as an argument or in the header; otherwise the
/// request's own id does where it can't be another's: in a session, or where it is as long as a UUID.
///
/// # Errors
/// Where the key is none.
pub(super) fn key(
    asked: &Asked,
    call: &Call<'_>,
    tool: &str,
    arguments: Option<JsonRef<'_>>,
) -> Result<Option<IdempotencyKey>, Problem> {
    let body = body(arguments, &[]);
    let request = hashed(&["mcp", tool, body.as_str()]);
    let caller = &*asked.guest.caller;
    let key = |parts: &[&str]| hashed(&[&["mcp", caller, tool], parts].concat());
    let made = |key: KeyHash| Ok(Some(IdempotencyKey { key, request }));
    let said = arguments.and_then(|arguments| arguments.get(KEY));
    if let Some(said) = said.filter(|said| !said.is_null()) {
        let text = said.text().filter(|text| {
            (1..=MAX_KEY_LEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        });
        let Some(text) = text else {
            let detail = format!("must be a string of 1 to {MAX_KEY_LEN} visible ASCII characters");
            let error = FieldError::new(pointer("", KEY), detail);
            return Err(Problem::invalid(vec![error]));
        };
        return made(key(&["argument", &text]));
    }
    if let Some(header) = asked.key {
        let header: String = header
            .key
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        return made(key(&["header", &header]));
    }
    let Some(id) = &call.id else {
        return Ok(None);
    };
    match &asked.session {
        Some(session) => made(key(&["session", session.id(), id.as_str(), body.as_str()])),
        None if id.root().is_string() && id.as_str().len() >= UNIQUE_LEN + 2 => {
            made(key(&["id", id.as_str(), body.as_str()]))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, Vec<String>> {
        let arguments = Json::parse(text).unwrap();
        let read = query(
            Some(arguments.root()),
            &["limit", "serverId"],
            &["tag", "type"],
        );
        match read {
            Ok(Query(pairs)) => Ok(pairs),
            Err(problem) if problem.errors.is_empty() => Err(vec![problem.detail]),
            Err(problem) => Err(problem.errors.iter().map(|it| it.pointer.clone()).collect()),
        }
    }

    #[test]
    fn arguments_are_read_as_a_query_is() {
        let pairs = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().copied();
            Ok(pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect())
        };
        for (text, expected) in [
            ("{}", pairs(&[])),
            (
                r#"{"limit":1e1,"tag":["a:b","c:d"],"type":"x.y","id":"s"}"#,
                pairs(&[
                    ("limit", "10"),
                    ("tag", "a:b"),
                    ("tag", "c:d"),
                    ("type", "x.y"),
                    ("serverId", "s"),
                ]),
            ),
            (r#"{"limit":null}"#, pairs(&[])),
            (
                r#"{"limits":1,"tag":{}}"#,
                Err(vec!["/limits".to_owned(), "/tag".to_owned()]),
            ),
            (
                r#"{"serverId":["a","b"]}"#,
                Err(vec!["/serverId".to_owned()]),
            ),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
