//! JSON-RPC 2.0 as MCP has it: what comes in a body, and what goes back.
//!
//! Values that others made stay the text that they were, so that no number loses a digit on the way.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde::Serialize;

use crate::{
    domain::{Json, json::JsonRef},
    http::problem::Problem,
};

/// One message of a client's.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// A request, or a notification where it has no id.
    Call(Call<'a>),
    /// An answer to a request. The hub makes none, so nobody waits for it.
    Answer,
}

/// A request or a notification.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// What the answer is to be called; `None`: a notification.
    pub(super) id: Option<Json>,
    pub(super) method: Cow<'a, str>,
    /// An object, or nothing.
    pub(super) params: Option<JsonRef<'a>>,
}

impl<'a> Message<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// Where it is none, with its id as far as that can be told.
    pub(super) fn read(body: JsonRef<'a>) -> Result<Self, (Option<Json>, Fault)> {
        let refuse = |id: Option<Json>, detail: &str| Err((id, Fault::invalid_request(detail)));
        if !body.is_object() {
            return refuse(
                None,
                "the body must be a JSON-RPC message, which is an object",
            );
        }
        let id = match body.get("id") {
            None => None,
            Some(id) if id.is_string() || id.whole().is_some() => Some(id.to_json()),
            Some(_) => return refuse(None, "id must be a string or a whole number"),
        };
        if body.get("jsonrpc").and_then(JsonRef::text).as_deref() != Some("2.0") {
            return refuse(id, "jsonrpc must be \"2.0\"");
        }
        let Some(method) = body.get("method") else {
            if body.get("result").or(body.get("error")).is_some() {
                return Ok(Self::Answer);
            }
            return refuse(id, "method is missing");
        };
        let Some(method) = method.text() else {
            return refuse(id, "method must be a string");
        };
        let params = body.get("params").filter(|params| !params.is_null());
        if params.is_some_and(|params| !params.is_object()) {
            return refuse(id, "params must be an object");
        }
        Ok(Self::Call(Call { id, method, params }))
    }
}

impl<'a> Call<'a> {
    /// A parameter; `null` counts as absent.
    pub(super) fn param(&self, name: &str) -> Option<JsonRef<'a>> {
        let value = self.params?.get(name)?;
        Some(value).filter(|value| !value.is_null())
    }

    /// A parameter that must be a text.
    ///
    /// # Errors
    /// Where it isn't.
    pub(super) fn text(&self, name: &str) -> Result<Cow<'a, str>, Fault> {
        let text = self.param(name).and_then(JsonRef::text);
        text.ok_or_else(|| Fault::invalid_params(format!("params.{name} must be a string")))
    }

    /// What `params._meta` says under a name.
    pub(super) fn meta(&self, name: &str) -> Option<JsonRef<'a>> {
        let value = self.param("_meta")?.get(name)?;
        Some(value).filter(|value| !value.is_null())
    }
}

/// Why a request isn't answered with a result.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// The status of the whole answer, where it is one of its own.
    pub(super) status: StatusCode,
    code: i32,
    message: String,
    data: Option<Json>,
}

impl Fault {
    fn new(status: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The body is no JSON.
    pub(super) fn parse(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32700, message)
    }

    /// The body is no message.
    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32600, message)
    }

    /// There is no such method.
    pub(super) fn no_method(status: StatusCode, method: &str) -> Self {
        let message = format!("this server has no method {}", crate::words::clip(method));
        Self::new(status, -32601, message)
    }

    /// The parameters can't be meant.
    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, -32602, message)
    }

    /// The request lacks what every request has.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32602, message)
    }

    /// A header says something else than the body.
    pub(super) fn header_mismatch(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32020, message)
    }

    /// A version of the protocol that isn't spoken here.
    pub(super) fn unsupported_version(requested: &str, supported: &[&str]) -> Self {
        #[derive(Serialize)]
        struct Versions<'a> {
            supported: &'a [&'a str],
            requested: &'a str,
        }
        let requested = crate::words::clip(requested);
        let message = format!("protocol version {requested} isn't supported");
        Self::new(StatusCode::BAD_REQUEST, -32022, message).with(&Versions {
            supported,
            requested,
        })
    }

    /// The session is over, or was never begun here: the client begins a new one.
    pub(super) fn no_session() -> Self {
        let message = "there is no such session; begin one with initialize";
        Self::new(StatusCode::NOT_FOUND, -32001, message)
    }

    /// The same with something to tell beside.
    pub(super) fn with<T: Serialize + ?Sized>(self, data: &T) -> Self {
        Self {
            data: Some(Json::of(data)),
            ..self
        }
    }

    /// The same under another code.
    pub(super) fn coded(self, code: i32) -> Self {
        Self { code, ..self }
    }

    /// The answer.
    pub(super) fn answer(&self, id: Option<&Json>) -> Json {
        #[derive(Serialize)]
        struct Answer<'a> {
            jsonrpc: &'static str,
            id: Option<&'a Json>,
            error: Told<'a>,
        }
        #[derive(Serialize)]
        struct Told<'a> {
            code: i32,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a Json>,
        }
        Json::of(&Answer {
            jsonrpc: "2.0",
            id,
            error: Told {
                code: self.code,
                message: &self.message,
                data: self.data.as_ref(),
            },
        })
    }
}

impl From<Problem> for Fault {
    /// What HTTP answers with a status of its own is an error with the problem's slug.
    fn from(problem: Problem) -> Self {
        #[derive(Serialize)]
        struct Data {
            r#type: &'static str,
            status: u16,
        }
        let code = match problem.status {
            status if status.is_server_error() => -32603,
            StatusCode::TOO_MANY_REQUESTS => -32603,
            _ => -32602,
        };
        let data = Data {
            r#type: problem.slug,
            status: problem.status.as_u16(),
        };
        Self::new(StatusCode::OK, code, problem.detail).with(&data)
    }
}

/// The answer to a request that was carried out.
pub(super) fn answer(id: &Json, result: &Json) -> Json {
    let (id, result) = (id.as_str(), result.as_str());
    Json::trusted(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
    ))
}

/// A message that nobody answers.
pub(super) fn notification<T: Serialize + ?Sized>(method: &str, params: &T) -> Json {
    #[derive(Serialize)]
    struct Notification<'a, T: ?Sized> {
        jsonrpc: &'static str,
        method: &'a str,
        params: &'a T,
    }
    Json::of(&Notification {
        jsonrpc: "2.0",
        method,
        params,
    })
}

/// An object with more members behind its own.
pub(super) fn with_members(object: &Json, more: &[(&str, Json)]) -> Json {
    let members = object.as_str().strip_suffix('}').unwrap_or("{");
    let mut text = members.to_owned();
    for (name, value) in more {
        if text != "{" {
            text.push(',');
        }
        text.push_str(&format!("\"{name}\":{}", value.as_str()));
    }
    text.push('}');
    Json::trusted(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &str) -> Result<(Option<String>, String), (Option<String>, i32)> {
        let body = Json::parse(body).unwrap();
        match Message::read(body.root()) {
            Ok(Message::Call(call)) => Ok((
                call.id.map(|id| id.as_str().to_owned()),
                call.method.into_owned(),
            )),
            Ok(Message::Answer) => Ok((None, String::new())),
            Err((id, fault)) => Err((id.map(|id| id.as_str().to_owned()), fault.code)),
        }
    }

    #[test]
    fn messages_are_read_or_refused_with_their_id() {
        let call = |id: Option<&str>| Ok((id.map(str::to_owned), "m".to_owned()));
        let refused = |id: Option<&str>| Err((id.map(str::to_owned), -32600));
        for (body, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#, call(Some("1"))),
            (
                r#"{"jsonrpc":"2.0","id":"a","method":"m","params":{}}"#,
                call(Some("\"a\"")),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"m","params":null}"#,
                call(None),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
                Ok((None, String::new())),
            ),
            (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, refused(None)),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, refused(None)),
            (
                r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
                refused(Some("1")),
            ),
            (r#"{"id":1,"method":"m"}"#, refused(Some("1"))),
            (r#"{"jsonrpc":"2.0","id":1}"#, refused(Some("1"))),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, refused(Some("1"))),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}"#,
                refused(Some("1")),
            ),
            ("[]", refused(None)),
            ("7", refused(None)),
        ] {
            assert_eq!(read(body), expected, "{body}");
        }
    }

    #[test]
    fn answers_keep_what_they_are_given() {
        let id = Json::parse("\"a\"").unwrap();
        let result = Json::parse(r#"{"n":123456789012345678901234567890}"#).unwrap();
        let told = with_members(&result, &[("resultType", Json::of("complete"))]);
        assert_eq!(
            answer(&id, &told).as_str(),
            r#"{"jsonrpc":"2.0","id":"a","result":{"n":123456789012345678901234567890,"resultType":"complete"}}"#
        );
        let empty = with_members(&Json::empty_object(), &[("a", Json::of(&1))]);
        assert_eq!(empty.as_str(), r#"{"a":1}"#);
        let fault: Value = Fault::unsupported_version("x", &["y"])
            .answer(None)
            .read()
            .unwrap();
        assert_eq!(fault["id"], Value::Null);
        assert_eq!(
            fault["error"]["data"],
            json!({"supported": ["y"], "requested": "x"})
        );
    }
}
