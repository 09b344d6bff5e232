//! A client of a hub: the same calls that `curl` makes, and a stream that comes back by itself.
//!
//! Used by the examples and the terminal's commands. It knows the hub only by its contract: nothing here touches
//! the rest of the crate.

mod parser;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};

pub use parser::{Block, Parser};
pub use stream::{EventStream, Received, StreamItem};

/// Speaks to one hub. Cheap to clone; connections are shared and kept.
#[derive(Debug, Clone)]
pub struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
}

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The hub's address isn't one.
    #[error("{0:?} is not the address of a hub; it looks like http://127.0.0.1:3001")]
    Address(String),
    /// No answer came.
    #[error("the hub at {base} can't be reached: {cause}")]
    Unreachable {
        /// Its address.
        base: String,
        /// Why.
        cause: String,
    },
    /// The hub refused: its problem (RFC 9457).
    #[error("{} {}: {}", .status.as_u16(), .slug, .detail)]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The problem's stable type.
        slug: String,
        /// In words.
        detail: String,
        /// The whole problem.
        problem: Value,
    },
    /// The answer isn't what the contract says.
    #[error("the hub's answer can't be read: {0}")]
    Answer(String),
}

impl Client {
    /// Speaks to the hub at `base`, such as `http://127.0.0.1:3001`, with a bearer token where it asks for one.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(base: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(base.to_owned());
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            return Err(wrong());
        }
        let authorization = match token {
            Some(token) => {
                let mut value =
                    HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| wrong())?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Self {
            http: HttpClient::builder(TokioExecutor::new()).build_http(),
            base,
            authorization,
        })
    }

    /// The hub's address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `GET path`, the answer as JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::GET, path, None).await
    }

    /// `POST path` with a JSON body and an `Idempotency-Key`, tried again under the same key where no answer came
    /// or the hub asked to: so it is carried out once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// `PUT path` with a JSON body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::DELETE, path, None).await
    }

    /// Registers a server: the body of `POST /servers`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register(&self, server: &Value) -> Result<Value, ClientError> {
        self.post("/servers", server).await
    }

    /// A heartbeat; `body` may be `{}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heartbeat(&self, server: &str, body: &Value) -> Result<Value, ClientError> {
        self.post(&format!("/servers/{server}/heartbeat"), body)
            .await
    }

    /// Appends an event of a producer's own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn emit(
        &self,
        kind: &str,
        server: Option<&str>,
        data: &Value,
    ) -> Result<Value, ClientError> {
        let mut event = json!({"type": kind, "data": data});
        if let Some(server) = server {
            event["serverId"] = json!(server);
        }
        self.post("/events", &event).await
    }

    /// Reports a step: `{status: running|completed|failed, …}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn report_step(
        &self,
        workflow: &str,
        step: &str,
        report: &Value,
    ) -> Result<Value, ClientError> {
        self.post(&format!("/workflows/{workflow}/steps/{step}"), report)
            .await
    }

    /// Follows `GET /events?query`. Comes back by itself, right after the last event that it handed out.
    #[must_use]
    pub fn events(&self, query: &str) -> EventStream {
        EventStream::new(self.clone(), query)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let key = (method == Method::POST).then(|| uuid::Uuid::new_v4().to_string());
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self
                .try_call(method.clone(), path, body, key.as_deref())
                .await
            {
                Err(ClientError::Unreachable { .. }) => {}
                Err(ClientError::Refused {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    ..
                }) => {}
                answered => return answered,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.try_call(method, path, body, key.as_deref()).await
    }

    async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Value, ClientError> {
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }
        if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            headers.insert("idempotency-key", key);
        }
        let body = body
            .map(|body| Bytes::from(body.to_string()))
            .unwrap_or_default();
        let (status, body) = self.request(method, path, headers, body).await?;
        let text = collect(body).await?;
        if !status.is_success() {
            return Err(refused(status, &text));
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&text).map_err(|e| ClientError::Answer(e.to_string()))
    }

    pub(self) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Incoming), ClientError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{path}", self.base)
            .parse()
            .map_err(|e| ClientError::Answer(format!("{path:?}: {e}")))?;
        *request.headers_mut() = headers;
        if let Some(authorization) = &self.authorization {
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, authorization.clone());
        }
        let answer = self.http.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            ClientError::Unreachable {
                base: self.base.clone(),
                cause,
            }
        })?;
        Ok((answer.status(), answer.into_body()))
    }
}

async fn collect(body: Incoming) -> Result<Bytes, ClientError> {
    let collected = Limited::new(body, LARGEST_ANSWER).collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|e| ClientError::Answer(e.to_string()))
}

fn refused(status: StatusCode, text: &[u8]) -> ClientError {
    let problem: Value = serde_json::from_slice(text).unwrap_or(Value::Null);
    let field = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    ClientError::Refused {
        status,
        slug: field("type"),
        detail: field("detail"),
        problem,
    }
}

/// How often a call is tried in all.
const TRIES: usize = 4;
/// The pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The largest answer that is taken, bytes: a snapshot of a large fleet fits.
const LARGEST_ANSWER: usize = 256 << 20;
