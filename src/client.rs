//! A client of a hub: the same calls that `curl` makes, and a stream that comes back by itself.
//!
//! Used by the examples and the terminal's commands. It knows the hub only by its contract: nothing here touches
//! the rest of the crate.

mod exact;
mod parser;
mod presence;
mod query;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::{self, crypto::ring};

pub use exact::Exact;
pub use parser::{Block, Parser};
pub use presence::Presence;
pub use query::{Query, segment};
pub use stream::{EventStream, Received, StreamItem, Unreadable};

/// Speaks to one hub. Cheap to clone; connections are shared and kept.
#[derive(Debug, Clone)]
pub struct Client {
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
    patience: Duration,
}

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The hub's address isn't one.
    #[error("{0:?} is not the address of a hub; it looks like http://127.0.0.1:3001")]
    Address(String),
    /// The token holds what can't stand in a header. It is not repeated here.
    #[error("the token holds characters that no token has")]
    Token,
    /// What was to be sent can't be written as JSON.
    #[error("the body can't be written as JSON: {0}")]
    Body(String),
    /// The system's certificates, by which a hub's own is checked, can't be read.
    #[error("the system's certificates can't be read: {0}")]
    Certificates(String),
    /// No answer came, though it was tried several times.
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
        problem: Box<Exact>,
    },
    /// The answer isn't what the contract says.
    #[error("the hub's answer can't be read: {0}")]
    Answer(String),
}

impl Client {
    /// Speaks to the hub at `base`, such as `http://127.0.0.1:3001` or `https://hub.example`, with a bearer token
    /// where it asks for one. A hub's certificate is checked against the system's (or those of `SSL_CERT_FILE`).
    ///
    /// # Errors
    /// [`ClientError::Address`], [`ClientError::Token`], [`ClientError::Certificates`].
    pub fn new(base: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(base.to_owned());
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        if uri.authority().is_none() || uri.query().is_some() {
            return Err(wrong());
        }
        let authorization = match token {
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| ClientError::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Self {
            http: HttpClient::builder(TokioExecutor::new()).build(connector(tls)?),
            base,
            authorization,
            patience: LONGEST_WAIT,
        })
    }

    /// Waits at most so long for the whole of each answer (90 s where nothing else is said); streams are not held
    /// to it.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
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
    pub async fn get(&self, path: &str) -> Result<Exact, ClientError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// `POST path` with a JSON body and an `Idempotency-Key`, tried again under the same key where no answer came
    /// or the hub asked to: so it is carried out once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<B: Serialize + ?Sized>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Exact, ClientError> {
        self.call(Method::POST, path, written(body)?).await
    }

    /// `PUT path` with a JSON body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put<B: Serialize + ?Sized>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Exact, ClientError> {
        self.call(Method::PUT, path, written(body)?).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(&self, path: &str) -> Result<Exact, ClientError> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    /// Registers a server: the body of `POST /servers`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register<B: Serialize + ?Sized>(&self, server: &B) -> Result<Exact, ClientError> {
        self.post("/servers", server).await
    }

    /// Registers a server and keeps it registered: heartbeats by themselves, and a registration again whenever the
    /// hub has lost it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn present<B: Serialize>(&self, server: B) -> Result<Presence, ClientError> {
        let server = Exact::of(&server).map_err(|error| ClientError::Body(error.to_string()))?;
        Presence::begin(self.clone(), server).await
    }

    /// All events that match, oldest first: `GET /events/history?query`, page by page; `each` is handed every
    /// envelope.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history(
        &self,
        query: &str,
        mut each: impl FnMut(Exact),
    ) -> Result<(), ClientError> {
        let mut cursor = String::new();
        loop {
            let page = self
                .get(&format!("/events/history?limit=1000&{query}{cursor}"))
                .await?;
            let page: Page = serde_json::from_str(page.as_str())
                .map_err(|error| ClientError::Answer(error.to_string()))?;
            page.events.into_iter().for_each(&mut each);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={}", segment(&next)),
                None => return Ok(()),
            }
        }
    }

    /// A heartbeat; `body` may be `{}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heartbeat<B: Serialize + ?Sized>(
        &self,
        server: &str,
        body: &B,
    ) -> Result<Exact, ClientError> {
        self.post(&format!("/servers/{}/heartbeat", segment(server)), body)
            .await
    }

    /// Deregisters a server, with a reason for people.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn deregister(&self, server: &str, reason: Option<&str>) -> Result<(), ClientError> {
        let query = Query::default().with_all("reason", reason);
        self.delete(&query.on(&format!("/servers/{}", segment(server))))
            .await
            .map(drop)
    }

    /// Starts a workflow: the body of `POST /workflows`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_workflow<B: Serialize + ?Sized>(
        &self,
        workflow: &B,
    ) -> Result<Exact, ClientError> {
        self.post("/workflows", workflow).await
    }

    /// Appends an event of a producer's own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn emit<D: Serialize + ?Sized>(
        &self,
        kind: &str,
        server: Option<&str>,
        data: &D,
    ) -> Result<Exact, ClientError> {
        let event = Emitted {
            r#type: kind,
            server_id: server,
            data,
        };
        self.post("/events", &event).await
    }

    /// Reports a step: `{status: running|completed|failed, …}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn report_step<B: Serialize + ?Sized>(
        &self,
        workflow: &str,
        step: &str,
        report: &B,
    ) -> Result<Exact, ClientError> {
        let path = format!("/workflows/{}/steps/{}", segment(workflow), segment(step));
        self.post(&path, report).await
    }

    /// Follows `GET /events?query`. Comes back by itself, right after the last event that it handed out.
    #[must_use]
    pub fn events(&self, query: &str) -> EventStream {
        EventStream::new(self.clone(), query)
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Exact, ClientError> {
        let key = (method == Method::POST).then(|| uuid::Uuid::new_v4().to_string());
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self
                .try_call(method.clone(), path, body.clone(), key.as_deref())
                .await
            {
                Err(ClientError::Unreachable { .. }) => {}
                Err(ClientError::Refused {
                    status: StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS,
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
        body: Bytes,
        key: Option<&str>,
    ) -> Result<Exact, ClientError> {
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }
        if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            headers.insert("idempotency-key", key);
        }
        let answer = async {
            let (status, body) = self.request(method, path, headers, body).await?;
            Ok((status, collect(body).await?))
        };
        let (status, text) = tokio::time::timeout(self.patience, answer)
            .await
            .unwrap_or_else(|_| {
                let cause = format!("no answer within {} s", self.patience.as_secs());
                Err(self.unreachable(cause))
            })?;
        if !status.is_success() {
            return Err(refused(status, &text));
        }
        let text = if text.is_empty() { &b"null"[..] } else { &text };
        serde_json::from_slice(text).map_err(|e| ClientError::Answer(e.to_string()))
    }

    pub(self) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Incoming), ClientError> {
        let answer = self.exchange(method, path, headers, body).await?;
        Ok((answer.status(), answer.into_body()))
    }

    /// One request as it is, and whatever comes back.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<http::Response<Incoming>, ClientError> {
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
        self.http
            .request(request)
            .await
            .map_err(|error| self.unreachable(root_cause(&error)))
    }

    fn unreachable(&self, cause: String) -> ClientError {
        ClientError::Unreachable {
            base: self.base.clone(),
            cause,
        }
    }
}

/// A page of history.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    events: Vec<Exact>,
    next_cursor: Option<String>,
}

/// An event of a producer's own, as it is sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Emitted<'a, D: ?Sized> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_id: Option<&'a str>,
    data: &'a D,
}

fn written<B: Serialize + ?Sized>(body: &B) -> Result<Bytes, ClientError> {
    let text = serde_json::to_vec(body).map_err(|error| ClientError::Body(error.to_string()))?;
    Ok(text.into())
}

/// Plain HTTP needs no certificates, and so doesn't fail where there are none.
fn connector(tls: bool) -> Result<HttpsConnector<HttpConnector>, ClientError> {
    let provider = ring::default_provider();
    let with_roots = if tls {
        HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)
    } else {
        let plain = rustls::RootCertStore::empty();
        rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map(|config| config.with_root_certificates(plain).with_no_client_auth())
            .map(|config| HttpsConnectorBuilder::new().with_tls_config(config))
            .map_err(std::io::Error::other)
    };
    let builder = with_roots.map_err(|error| ClientError::Certificates(error.to_string()))?;
    Ok(builder.https_or_http().enable_http1().build())
}

/// What lies at the bottom of an error: that no one listens, rather than that a request failed.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let text = deepest.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

async fn collect(body: Incoming) -> Result<Bytes, ClientError> {
    let collected = Limited::new(body, LARGEST_ANSWER).collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|e| ClientError::Answer(e.to_string()))
}

fn refused(status: StatusCode, text: &[u8]) -> ClientError {
    let problem: Exact =
        serde_json::from_slice(text).unwrap_or_else(|_| serde_json::Value::Null.into());
    let field = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let mut detail = field("detail");
    if detail.is_empty() {
        // Not the hub's own words: a proxy's, perhaps.
        detail = format!("the answer is {status}");
    }
    ClientError::Refused {
        status,
        slug: field("type"),
        detail,
        problem: Box::new(problem),
    }
}

/// How often a call is tried in all.
const TRIES: usize = 4;
/// The pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long a call waits for its answer unless told otherwise: longer than the longest long poll.
const LONGEST_WAIT: Duration = Duration::from_secs(90);
/// The largest answer that is taken, bytes: a snapshot of a large fleet fits.
const LARGEST_ANSWER: usize = 256 << 20;
