//! The two eras of MCP, by request. Since 2026-07-28 every request says for itself which version it speaks, and its
//! headers repeat what its body says; before, `initialize` settles the version for a session.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::message::{Call, Fault};
use crate::domain::json::JsonRef;

/// The version in which each request stands for itself.
pub(super) const MODERN: &str = "2026-07-28";

/// The versions with sessions, the newest first.
pub(super) const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// What is told to whoever speaks none of them.
const SUPPORTED: [&str; 4] = [MODERN, LEGACY[0], LEGACY[1], LEGACY[2]];

pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Where a request says its version.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Where it says what its client can do.
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// By which rules a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// It stands for itself.
    Modern,
    /// It belongs to a session, or to none where the client keeps none.
    Legacy,
}

impl Era {
    /// Finds out, and holds a modern request against its headers.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn of(call: &Call<'_>, headers: &HeaderMap) -> Result<Self, Fault> {
        let header = one(headers, &VERSION)?;
        let said = call.meta(META_VERSION);
        if said.is_none() && header.is_none_or(|version| LEGACY.contains(&version)) {
            return Ok(Self::Legacy);
        }
        // A notification is carried by the rules of its header.
        if call.id.is_none() && said.is_none() {
            return match header {
                Some(version) if version != MODERN => Err(unsupported(version)),
                _ => Ok(Self::Modern),
            };
        }
        let Some(header) = header else {
            return Err(Fault::header_mismatch(
                "the header MCP-Protocol-Version is missing, which repeats the version in params._meta",
            ));
        };
        let Some(said) = said else {
            return Err(if header == MODERN {
                Fault::malformed(format!("params._meta lacks {META_VERSION}"))
            } else {
                unsupported(header)
            });
        };
        let said = said
            .text()
            .ok_or_else(|| Fault::malformed(format!("{META_VERSION} must be a string")))?;
        if said != header {
            return Err(mismatch(&VERSION, header, &said));
        }
        if said != MODERN {
            return Err(unsupported(&said));
        }
        if !call.meta(META_CAPABILITIES).is_some_and(JsonRef::is_object) {
            return Err(Fault::malformed(format!(
                "params._meta lacks {META_CAPABILITIES}, an object"
            )));
        }
        check_headers(call, headers)?;
        Ok(Self::Modern)
    }
}

/// The version that a session speaks, given the one that its client would like best.
pub(super) fn negotiated(wanted: Option<&str>) -> &'static str {
    let spoken = LEGACY.into_iter();
    let found = spoken.clone().find(|version| Some(*version) == wanted);
    found.unwrap_or(LEGACY[0])
}

/// Holds the headers that repeat what is in the body against it.
fn check_headers(call: &Call<'_>, headers: &HeaderMap) -> Result<(), Fault> {
    let method = required(headers, &METHOD)?;
    if method != call.method {
        return Err(mismatch(&METHOD, method, &call.method));
    }
    let source = match &*call.method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return Ok(()),
    };
    let said = call.text(source)?;
    let name = required(headers, &NAME)?;
    let found = decoded(name)?;
    if found != said {
        return Err(mismatch(&NAME, name, &said));
    }
    Ok(())
}

fn required<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, Fault> {
    one(headers, name)?
        .ok_or_else(|| Fault::header_mismatch(format!("the header {name} is missing")))
}

/// The value of a header that may come once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Fault> {
    let mut lines = headers.get_all(name).iter();
    let Some(first) = lines.next() else {
        return Ok(None);
    };
    if lines.any(|other| other != first) {
        return Err(Fault::header_mismatch(format!(
            "the header {name} comes twice and says two things"
        )));
    }
    let readable = |value: &'h HeaderValue| value.to_str().ok().map(str::trim);
    readable(first).map(Some).ok_or_else(|| {
        Fault::header_mismatch(format!(
            "the header {name} holds characters that don't belong"
        ))
    })
}

/// A header's value as it was before it was made fit for one: `=?base64?…?=`.
fn decoded(value: &str) -> Result<String, Fault> {
    let inner = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    let Some(inner) = inner else {
        return Ok(value.to_owned());
    };
    let bytes = STANDARD.decode(inner).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            Fault::header_mismatch(format!("the header {NAME} isn't valid Base64 of UTF-8"))
        })
}

fn mismatch(name: &HeaderName, header: &str, body: &str) -> Fault {
    let [header, body] = [header, body].map(crate::words::clip);
    Fault::header_mismatch(format!(
        "the header {name} says \"{header}\", and the body \"{body}\""
    ))
}

fn unsupported(version: &str) -> Fault {
    Fault::unsupported_version(version, &SUPPORTED)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{domain::Json, http::mcp::message::Message};

    /// What becomes of a request: its era, or the code and status of its refusal.
    fn era(body: &Value, headers: &[(&str, &str)]) -> Result<Era, (i64, u16)> {
        let body = Json::of(body);
        let Ok(Message::Call(call)) = Message::read(body.root()) else {
            panic!("{body:?}");
        };
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        Era::of(&call, &headers).map_err(|fault| {
            let told: Value = fault.answer(None).read().unwrap();
            (
                told["error"]["code"].as_i64().unwrap(),
                fault.status.as_u16(),
            )
        })
    }

    fn call(method: &str, mut params: Value, meta: &[(&str, Value)]) -> Value {
        for (name, value) in meta {
            params["_meta"][name] = value.clone();
        }
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    }

    #[test]
    fn a_request_is_of_the_era_that_it_says() {
        let full = [
            (META_VERSION, json!(MODERN)),
            (META_CAPABILITIES, json!({})),
        ];
        let list = call("tools/list", json!({}), &full);
        let modern = ("mcp-protocol-version", MODERN);
        let method = ("mcp-method", "tools/list");
        let bare = call("tools/list", json!({}), &[]);
        for (body, headers, expected) in [
            (&bare, vec![], Ok(Era::Legacy)),
            (
                &bare,
                vec![("mcp-protocol-version", "2025-06-18")],
                Ok(Era::Legacy),
            ),
            (
                &bare,
                vec![("mcp-protocol-version", "1999-01-01")],
                Err((-32022, 400)),
            ),
            (&bare, vec![modern], Err((-32602, 400))),
            (&list, vec![modern, method], Ok(Era::Modern)),
            (&list, vec![method], Err((-32020, 400))),
            (&list, vec![modern], Err((-32020, 400))),
            (
                &list,
                vec![("mcp-protocol-version", "2025-11-25"), method],
                Err((-32020, 400)),
            ),
            (
                &list,
                vec![modern, ("mcp-method", "Tools/list")],
                Err((-32020, 400)),
            ),
            (
                &call("tools/list", json!({}), &full[..1]),
                vec![modern, method],
                Err((-32602, 400)),
            ),
            (
                &call(
                    "tools/list",
                    json!({}),
                    &[(META_VERSION, json!("2030-01-01"))],
                ),
                vec![("mcp-protocol-version", "2030-01-01")],
                Err((-32022, 400)),
            ),
        ] {
            assert_eq!(era(body, &headers), expected, "{body} {headers:?}");
        }
    }

    #[test]
    fn the_names_header_says_what_the_body_says() {
        let full = [
            (META_VERSION, json!(MODERN)),
            (META_CAPABILITIES, json!({})),
        ];
        for (method, params, name, expected) in [
            ("tools/call", json!({"name": "a"}), "a", Ok(Era::Modern)),
            ("tools/call", json!({"name": "a"}), "  a  ", Ok(Era::Modern)),
            ("tools/call", json!({"name": "a"}), "b", Err((-32020, 400))),
            (
                "prompts/get",
                json!({"name": "ä"}),
                "=?base64?w6Q=?=",
                Ok(Era::Modern),
            ),
            (
                "prompts/get",
                json!({"name": "ä"}),
                "=?base64?w6?=",
                Err((-32020, 400)),
            ),
            (
                "resources/read",
                json!({"uri": "timeback://status"}),
                "timeback://status",
                Ok(Era::Modern),
            ),
        ] {
            let headers = [
                ("mcp-protocol-version", MODERN),
                ("mcp-method", method),
                ("mcp-name", name),
            ];
            let body = call(method, params, &full);
            assert_eq!(era(&body, &headers), expected, "{body} {name}");
        }
    }

    #[test]
    fn a_session_speaks_what_its_client_likes_or_the_newest() {
        assert_eq!(negotiated(Some("2025-03-26")), "2025-03-26");
        assert_eq!(negotiated(Some(MODERN)), "2025-11-25");
        assert_eq!(negotiated(None), "2025-11-25");
    }
}
