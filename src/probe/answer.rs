//! What a target answers, read with care: at most so many bytes, so many levels, and only the message that is meant.

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use super::wire::Line;

/// What a JSON-RPC message says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rpc {
    Result(Value),
    Error { code: i64, data: Value },
}

/// What stands in an answer's body.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// The answer that was waited for.
    Rpc(Rpc),
    /// Another request's answer: whoever sent it isn't listening.
    Foreign,
    /// Nothing of JSON-RPC.
    Nothing,
    /// More than is taken.
    TooLong,
}

/// An answer, its head boiled down.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) said: Said,
    pub(super) session: Option<HeaderValue>,
    /// It asks for credentials, and says which.
    pub(super) authenticate: bool,
    pub(super) retry_after: Option<u64>,
    /// The body speaks of too many sessions.
    pub(super) crowded: bool,
    /// The body was read to its end, so that the connection is free.
    pub(super) whole: bool,
}

impl Answer {
    pub(super) fn rpc(&self) -> Option<&Rpc> {
        match &self.said {
            Said::Rpc(rpc) => Some(rpc),
            _ => None,
        }
    }

    pub(super) fn result(&self) -> Option<&Value> {
        match self.rpc() {
            Some(Rpc::Result(result)) => Some(result),
            _ => None,
        }
    }
}

/// Reads an answer until the message with this id has come, or its end.
pub(super) async fn read(response: Response<Incoming>, id: &str) -> Answer {
    let status = response.status().as_u16();
    let headers = response.headers();
    let session = headers.get("mcp-session-id").cloned();
    let authenticate = headers.contains_key(header::WWW_AUTHENTICATE);
    let retry_after = seconds(headers);
    let streamed = is_event_stream(headers);
    let mut answer = Answer {
        status,
        said: Said::Nothing,
        session,
        authenticate,
        retry_after,
        crowded: false,
        whole: false,
    };
    if streamed {
        let mut events = Events::of(response.into_body());
        answer.said = events.answer(id).await;
        return answer;
    }
    let mut body = response.into_body();
    let mut text = Vec::new();
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if text.len() + data.len() > LONGEST {
                    answer.said = Said::TooLong;
                    return answer;
                }
                text.extend_from_slice(&data);
            }
            Some(Err(_)) => break,
            None => {
                answer.whole = true;
                break;
            }
        }
    }
    answer.crowded =
        status == 503 && memchr::memmem::find(&text, b"oo many open sessions").is_some();
    answer.said = message(&text, id).unwrap_or(Said::Nothing);
    answer
}

/// Whether it is a stream of events.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| {
            kind.trim_start()
                .to_ascii_lowercase()
                .starts_with("text/event-stream")
        })
}

/// A `Retry-After` in seconds. One that is a date isn't read: clocks differ.
fn seconds(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// What a text says to the request of this id; `None`: nothing that answers anything.
fn message(text: &[u8], id: &str) -> Option<Said> {
    if !is_shallow(text) {
        return None;
    }
    match serde_json::from_slice(text).ok()? {
        // As 2025-03-26 has it.
        Value::Array(messages) => {
            let mut said = None;
            for message in messages {
                match one(message, id) {
                    Some(answer @ Said::Rpc(_)) => return Some(answer),
                    other => said = said.or(other),
                }
            }
            said
        }
        message => one(message, id),
    }
}

fn one(message: Value, id: &str) -> Option<Said> {
    let Value::Object(mut message) = message else {
        return None;
    };
    if message.contains_key("method") {
        return None;
    }
    let own = message.get("id").and_then(Value::as_str) == Some(id);
    if let Some(error) = message.remove("error") {
        // Whoever couldn't read the request can't say its id: `null`, none, or words of its own.
        let code = error.get("code")?.as_i64()?;
        let theirs = match message.get("id") {
            None | Some(Value::Null) => true,
            Some(Value::String(other)) => own || !other.starts_with(PREFIX),
            Some(_) => false,
        };
        let data = error.get("data").cloned().unwrap_or_default();
        return Some(if theirs {
            Said::Rpc(Rpc::Error { code, data })
        } else {
            Said::Foreign
        });
    }
    let result = message.remove("result")?;
    Some(if own {
        Said::Rpc(Rpc::Result(result))
    } else {
        Said::Foreign
    })
}

/// Whether a text's brackets are nested no deeper than any input's may be; those in strings don't count.
fn is_shallow(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > DEEPEST {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Server-Sent Events of a body, at most 1 MiB of them.
pub(super) struct Events {
    body: Incoming,
    piece: Bytes,
    taken: usize,
    ended: bool,
    last_was_cr: bool,
    /// The connection that it comes over, if nobody else keeps it open.
    line: Option<Line>,
}

/// An event: its name, and its data.
pub(super) struct SseEvent {
    pub(super) name: String,
    pub(super) data: String,
}

impl Events {
    pub(super) fn of(body: Incoming) -> Self {
        Self {
            body,
            piece: Bytes::new(),
            taken: 0,
            ended: false,
            last_was_cr: false,
            line: None,
        }
    }

    /// The same, keeping the connection open that it comes over.
    pub(super) fn held_by(mut self, line: Option<Line>) -> Self {
        self.line = line;
        self
    }

    /// The message with this id, whatever comes before it: comments, priming, notifications, the server's own requests.
    pub(super) async fn answer(&mut self, id: &str) -> Said {
        let mut foreign = false;
        while let Some(event) = self.next().await {
            if !event.name.is_empty() && event.name != "message" {
                continue;
            }
            match message(event.data.as_bytes(), id) {
                Some(said @ Said::Rpc(_)) => return said,
                Some(Said::Foreign) => foreign = true,
                _ => {}
            }
        }
        match (self.taken > LONGEST, foreign) {
            (true, _) => Said::TooLong,
            (false, true) => Said::Foreign,
            (false, false) => Said::Nothing,
        }
    }

    /// The next event with data.
    pub(super) async fn next(&mut self) -> Option<SseEvent> {
        let (mut name, mut data, mut some) = (String::new(), String::new(), false);
        while let Some(line) = self.line().await {
            if line.is_empty() {
                if some {
                    return Some(SseEvent { name, data });
                }
                name.clear();
                continue;
            }
            let line = String::from_utf8_lossy(&line);
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut name),
                "data" => {
                    if some {
                        data.push('\n');
                    }
                    some = true;
                    data.push_str(value);
                }
                _ => {}
            }
        }
        None
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            while let Some(byte) = (!self.piece.is_empty()).then(|| self.piece.get_u8()) {
                let after_cr = std::mem::replace(&mut self.last_was_cr, byte == b'\r');
                match byte {
                    b'\n' if after_cr => {}
                    b'\n' | b'\r' => return Some(line),
                    byte => line.push(byte),
                }
            }
            if self.ended || self.taken > LONGEST {
                return None;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.taken += data.len();
                        self.piece = data;
                    }
                }
                _ => self.ended = true,
            }
        }
    }
}

/// Replaces whatever the target's headers hold: a server may send back what it was sent.
pub(super) fn without(secrets: &[String], value: &mut Value) {
    match value {
        _ if secrets.is_empty() => {}
        Value::String(text) => {
            for secret in secrets {
                if text.contains(secret.as_str()) {
                    *text = text.replace(secret.as_str(), "***");
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| without(secrets, value)),
        Value::Object(object) => {
            let hidden =
                |name: &String| secrets.iter().any(|secret| name.contains(secret.as_str()));
            object.retain(|name, _| !hidden(name));
            object
                .values_mut()
                .for_each(|value| without(secrets, value));
        }
        _ => {}
    }
}

/// What the ids of all probes' requests begin with.
pub(super) const PREFIX: &str = "tbe-";
/// Longest answer, bytes.
const LONGEST: usize = 1 << 20;
/// Levels of arrays and objects in an answer.
const DEEPEST: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_answer_that_is_meant_counts() {
        let of = |text: &str| message(text.as_bytes(), "tbe-1");
        let result = |value| Some(Said::Rpc(Rpc::Result(value)));
        let error = |code| {
            Some(Said::Rpc(Rpc::Error {
                code,
                data: Value::Null,
            }))
        };
        assert_eq!(
            of(r#"{"jsonrpc":"2.0","id":"tbe-1","result":{}}"#),
            result(json!({}))
        );
        assert_eq!(of(r#"{"id":"tbe-2","result":{}}"#), Some(Said::Foreign));
        assert_eq!(of(r#"{"id":1,"result":{}}"#), Some(Said::Foreign));
        for id in ["null", "\"server-error\"", "\"tbe-1\""] {
            assert_eq!(
                of(&format!(r#"{{"id":{id},"error":{{"code":-32600}}}}"#)),
                error(-32600)
            );
        }
        assert_eq!(of(r#"{"error":{"code":-1}}"#), error(-1));
        assert_eq!(
            of(r#"{"id":"tbe-2","error":{"code":-1}}"#),
            Some(Said::Foreign)
        );
        assert_eq!(of(r#"{"id":"tbe-1","method":"ping"}"#), None);
        assert_eq!(
            of(r#"[{"method":"x"},{"id":"tbe-1","result":1}]"#),
            result(json!(1))
        );
        for nothing in [
            "",
            "<html>",
            "{}",
            "[]",
            "1",
            r#"{"error":"no"}"#,
            r#"{"id":"tbe-1","result":"\ud800"}"#,
        ] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
        let deep = format!(
            r#"{{"id":"tbe-1","result":{}{}}}"#,
            "[".repeat(64),
            "]".repeat(64)
        );
        assert_eq!(of(&deep), None);
    }

    #[test]
    fn what_is_sent_back_is_hidden() {
        let mut value = json!({"a": ["x hunter2hunter2 y"], "hunter2hunter2": 1});
        without(&["hunter2hunter2".to_owned()], &mut value);
        assert_eq!(value, json!({"a": ["x *** y"]}));
    }
}
