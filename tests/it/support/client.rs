//! Plain HTTP requests, answers as values.

use std::io::Read;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::Value;

/// Asks one server.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<legacy::connect::HttpConnector, Full<Bytes>>,
    base: String,
}

/// What it answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Client {
    pub fn new(address: std::net::SocketAddr) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new()).build_http();
        Self {
            http,
            base: format!("http://{address}"),
        }
    }

    /// Sends a request as it is; `Err` where the connection broke.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, legacy::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self
            .http
            .request(request.body(Full::new(body.into())).expect("a request"))
            .await?;
        let (head, body) = answer.into_parts();
        let bytes = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let mut text = String::new();
        if head.headers.get("content-encoding").is_some() {
            let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
            decoder.read_to_string(&mut text).expect("gzip of UTF-8");
        } else {
            text.push_str(std::str::from_utf8(&bytes).expect("answers are UTF-8"));
        }
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            text,
        })
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        self.try_send(method, path, headers, body)
            .await
            .expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, &[JSON], body.to_string())
            .await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PUT, path, &[JSON], body.to_string())
            .await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], "").await
    }

    /// Registers a server that needs no heartbeat for as long as a test runs.
    pub async fn register(&self, id: &str) -> Reply {
        self.post(
            "/servers",
            &serde_json::json!({
                "id": id, "name": id, "transport": "http", "heartbeatIntervalMs": 300_000
            }),
        )
        .await
    }

    /// Appends one event of a producer's own and gives its id.
    pub async fn emit(&self, kind: &str, data: Value) -> String {
        let reply = self
            .post("/events", &serde_json::json!({"type": kind, "data": data}))
            .await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        reply.json()["ids"][0].as_str().expect("an id").to_owned()
    }
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("a header of ASCII"))
    }

    /// Checks that it is a problem of this status and type, and gives it.
    #[track_caller]
    pub fn problem(&self, status: u16, slug: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["type"], slug, "{problem}");
        assert_eq!(problem["status"], status);
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
        problem
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");
