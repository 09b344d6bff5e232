//! A stream that comes back by itself, and says what it knows about itself.

use std::{collections::VecDeque, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{Block, Client, ClientError, Exact, Parser, collect, refused};

/// What a stream hands out.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// Connected: the hub's verdict (`live`, `resumed`, `replay`, `gap`) and all that `stream_opened` says.
    Opened {
        /// The verdict.
        verdict: String,
        /// The frame's data.
        data: Exact,
    },
    /// One part of the state; see section 5 of the contract.
    Snapshot(Exact),
    /// An event.
    Event(Received),
    /// Events are missing from here, by what the frame's data says.
    Gap(Exact),
    /// How far the stream has read.
    Bookmark(String),
    /// A frame that isn't what the contract says, such as a line of a proxy's own or data that no reader of JSON takes
    /// whole. The stream goes on after it.
    Unreadable(Unreadable),
    /// The hub ends the stream on purpose; it will be tried again.
    Closing {
        /// `draining`, `busy`, `disabled`, `credentials_expired`.
        reason: String,
    },
    /// The connection is gone or can't be made; it will be tried again after the pause.
    Interrupted {
        /// Why, in words.
        cause: String,
        /// The pause.
        retry_in: Duration,
    },
}

/// An event as received.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// The whole envelope.
    pub envelope: Exact,
}

/// A frame as it came, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its id; empty if it has none.
    pub id: String,
    /// Its `event:`; empty if it has none.
    pub event: String,
    /// Its data.
    pub data: String,
    /// What is wrong with it, in words.
    pub cause: String,
}

/// Follows a hub's events. See [`Client::events`].
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    path: String,
    connection: Option<Connection>,
    ready: VecDeque<Block>,
    last_event_id: String,
    retry: Duration,
    silence: Duration,
    failures: u32,
    pause: Option<Duration>,
}

#[derive(Debug)]
struct Connection {
    body: Incoming,
    parser: Parser,
}

impl EventStream {
    pub(super) fn new(client: Client, query: &str) -> Self {
        let path = if query.is_empty() {
            "/events".to_owned()
        } else {
            format!("/events?{query}")
        };
        Self {
            client,
            path,
            connection: None,
            ready: VecDeque::new(),
            last_event_id: String::new(),
            retry: Duration::from_secs(3),
            silence: Duration::from_secs(60),
            failures: 0,
            pause: None,
        }
    }

    /// The place that the stream has come to: what it resumes after.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Whether [`Self::next`] has something at hand, and so won't wait.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How long the stream pauses after [`StreamItem::Closing`] before it tries again.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// Starts after this id, as a listener that was away.
    #[must_use]
    pub fn after(mut self, id: &str) -> Self {
        id.clone_into(&mut self.last_event_id);
        self
    }

    /// Lets go of the connection, as a lost network would; the next call makes a new one and resumes.
    pub fn drop_connection(&mut self) {
        self.connection = None;
        self.ready.clear();
    }

    /// The next thing that the stream has to tell. Waits as long as it takes. Safe to drop and call again.
    ///
    /// # Errors
    /// Where the hub refuses for good (a bad query, no right to it): trying again would not help.
    pub async fn next(&mut self) -> Result<StreamItem, ClientError> {
        loop {
            if let Some(block) = self.ready.pop_front() {
                if let Some(item) = self.understand(block) {
                    return Ok(item);
                }
                continue;
            }
            if let Some(pause) = self.pause {
                tokio::time::sleep(pause).await;
                self.pause = None;
            }
            if self.connection.is_none() {
                match self.connect().await {
                    Ok(connection) => self.connection = Some(connection),
                    Err(ClientError::Unreachable { cause, .. }) => {
                        return Ok(self.interrupted(cause));
                    }
                    Err(final_word) => return Err(final_word),
                }
            }
            if let Err(cause) = self.fill().await {
                return Ok(self.interrupted(cause));
            }
        }
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        if let Ok(id) = HeaderValue::from_str(&self.last_event_id)
            && !id.is_empty()
        {
            headers.insert("last-event-id", id);
        }
        let (status, body) = self
            .client
            .request(Method::GET, &self.path, headers, bytes::Bytes::new())
            .await?;
        match status {
            StatusCode::OK => Ok(Connection {
                body,
                parser: Parser::default(),
            }),
            status => {
                let refusal = refused(status, &collect(body).await?);
                let passes = status.is_server_error()
                    || matches!(
                        status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    );
                match refusal {
                    ClientError::Refused { detail, .. } if passes => {
                        let base = self.client.base().to_owned();
                        Err(ClientError::Unreachable {
                            base,
                            cause: detail,
                        })
                    }
                    for_good => Err(for_good),
                }
            }
        }
    }

    /// Reads until there is a block.
    async fn fill(&mut self) -> Result<(), String> {
        while self.ready.is_empty() {
            let Some(connection) = &mut self.connection else {
                return Err("not connected".to_owned());
            };
            let frame = timeout(self.silence, connection.body.frame())
                .await
                .map_err(|_| format!("nothing came for {} s", self.silence.as_secs()))?
                .ok_or_else(|| "the hub closed the connection".to_owned())?
                .map_err(|error| format!("the connection broke: {error}"))?;
            if let Ok(data) = frame.into_data() {
                let ready = &mut self.ready;
                connection
                    .parser
                    .push(&data, |block| ready.push_back(block));
            }
        }
        Ok(())
    }

    fn interrupted(&mut self, cause: String) -> StreamItem {
        self.drop_connection();
        let retry_in = self.pause.unwrap_or_else(|| {
            // Half fixed, half random, and longer each time: a hub that comes back isn't met by all at once.
            let full = self
                .retry
                .saturating_mul(1 << self.failures.min(4))
                .min(LONGEST_PAUSE);
            full / 2 + full.mul_f64(random_unit() / 2.0)
        });
        self.failures += 1;
        self.pause = Some(retry_in);
        StreamItem::Interrupted { cause, retry_in }
    }

    /// What a block says; nothing if it has no data and so is none by the standard.
    fn understand(&mut self, block: Block) -> Option<StreamItem> {
        if let Some(retry) = block.retry {
            self.retry = Duration::from_millis(retry);
        }
        if let Some(id) = &block.id {
            self.last_event_id.clone_from(id);
        }
        let (id, event, text) = (block.id.unwrap_or_default(), block.event, block.data?);
        let data = match read(&text, &event) {
            Ok(data) => data,
            Err(cause) => {
                return Some(StreamItem::Unreadable(Unreadable {
                    id,
                    event,
                    data: text,
                    cause,
                }));
            }
        };
        Some(match event.as_str() {
            "stream_opened" => {
                self.failures = 0;
                if let Some(keep_alive) = data["keepAliveMs"].as_u64() {
                    self.silence = Duration::from_millis(keep_alive.saturating_mul(5) / 2)
                        .max(SHORTEST_SILENCE);
                }
                StreamItem::Opened {
                    verdict: data["verdict"].as_str().unwrap_or_default().to_owned(),
                    data,
                }
            }
            "snapshot" => StreamItem::Snapshot(data),
            "bookmark" => StreamItem::Bookmark(self.last_event_id.clone()),
            "stream_gap" => StreamItem::Gap(data),
            "stream_closing" => {
                // The hub chose this pause for this client: no back-off on top.
                self.pause = Some(self.retry);
                self.connection = None;
                StreamItem::Closing {
                    reason: data["reason"].as_str().unwrap_or_default().to_owned(),
                }
            }
            _ => StreamItem::Event(Received {
                id,
                kind: data["type"].as_str().unwrap_or_default().to_owned(),
                envelope: data,
            }),
        })
    }
}

/// Every frame of the hub's has an object as its data, and an event has a type in it.
fn read(text: &str, event: &str) -> Result<Exact, String> {
    let data = Exact::parse(text).map_err(|error| format!("its data can't be read: {error}"))?;
    if !data.is_object() {
        return Err("its data is no object".to_owned());
    }
    if !CONTROL_FRAMES.contains(&event) && !data["type"].is_string() {
        return Err("its data has no type".to_owned());
    }
    Ok(data)
}

/// A number from 0 to 1, from the randomness that keys the standard library's hash maps.
fn random_unit() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// What says something about the stream.
const CONTROL_FRAMES: [&str; 5] = [
    "stream_opened",
    "snapshot",
    "bookmark",
    "stream_gap",
    "stream_closing",
];
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// However often bookmarks come, a stream isn't given up for dead sooner.
const SHORTEST_SILENCE: Duration = Duration::from_secs(2);
