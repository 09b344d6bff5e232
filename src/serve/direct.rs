//! The short way of a stream: its request is read and routed here, its answer's head is written with the first
//! frame, and its socket goes to a loop.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{
        HeaderName, HeaderValue, Method, Request, Version,
        header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING, UPGRADE, USER_AGENT},
    },
    response::Response,
};
use tokio::net::TcpStream;
use tower::Service;

use super::{Protocol, rewind::Rewind};
use crate::streams::{
    Opening,
    handoff::{DirectSocket, Handoff},
};

/// How the request line of a stream begins; a space or a question mark follows.
const STREAM: &[u8] = b"GET /events";

/// How a connection of HTTP/2 begins.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Most headers of a request that takes the short way.
const MAX_HEADERS: usize = 64;

/// How the clients call themselves that hand on an answer without chunks in blocks (`requests` in 128 or 512 bytes), so that
/// the last event would wait for the next. Hyper's answers have chunks.
const BLOCK_READERS: [&[u8]; 2] = [b"python-requests/", b"python-urllib3/"];

/// Bytes that are read at first: what a browser's request takes.
const READ: usize = 1024;

/// A whole request for a stream.
pub(super) type StreamRequest = Box<Request<Body>>;

/// A connection that hasn't been served yet.
pub(super) struct Fresh {
    socket: TcpStream,
    pub(super) remote: SocketAddr,
    /// What was read of it.
    read: Vec<u8>,
}

/// What a read led to.
pub(super) enum Read {
    /// A request for a stream, or `None` where the connection is hyper's.
    Request(Option<StreamRequest>),
    /// The client closed it.
    Gone,
}

/// Asks the router.
pub(super) async fn route(
    router: &Router,
    mut request: StreamRequest,
    remote: SocketAddr,
) -> Response {
    request.extensions_mut().insert(ConnectInfo(remote));
    request.extensions_mut().insert(DirectSocket);
    let Ok(answer) = router.clone().call(*request).await;
    answer
}

/// The stream to open, where the answer is one: it has the response's head before its first frame.
pub(super) fn opening(answer: &Response) -> Option<Opening> {
    let mut opening = answer.extensions().get::<Handoff>()?.take()?;
    let mut head = head(answer);
    head.append(&mut opening.opened);
    opening.opened = head;
    Some(opening)
}

impl Fresh {
    /// A connection of which nothing was read.
    pub(super) fn new(socket: TcpStream, remote: SocketAddr) -> Self {
        Self {
            socket,
            remote,
            read: Vec::new(),
        }
    }

    /// Reads on until it is known what the connection is for, and no further than it takes.
    pub(super) async fn read_request(&mut self, most: usize) -> Read {
        loop {
            if let Some(read) = self.read_what_is_there(most) {
                return read;
            }
            if self.socket.readable().await.is_err() {
                return Read::Gone;
            }
        }
    }

    /// `None` where more is to come.
    fn read_what_is_there(&mut self, most: usize) -> Option<Read> {
        let mut buffer = [0; READ];
        loop {
            match self.socket.try_read(&mut buffer) {
                Ok(0) => return Some(Read::Gone),
                Ok(count) => {
                    self.read.extend_from_slice(&buffer[..count]);
                    match parse(&self.read, most) {
                        Parsed::Stream(request) => return Some(Read::Request(Some(request))),
                        Parsed::Other => return Some(Read::Request(None)),
                        Parsed::Partial => {}
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(Read::Gone),
            }
        }
    }

    /// Whether the client has begun a request.
    pub(super) fn has_spoken(&self) -> bool {
        !self.read.is_empty()
    }

    /// What its first bytes say that it speaks: HTTP/2 begins with a preface that no other request has
    /// (RFC 9113, section 3.4).
    pub(super) fn protocol(&self) -> Protocol {
        if self.read.starts_with(HTTP2_PREFACE) {
            Protocol::Http2
        } else {
            Protocol::Http1
        }
    }

    /// The socket as hyper wants it, what was read of it first.
    pub(super) fn into_rewind(self) -> Rewind {
        Rewind::new(self.socket, self.read)
    }

    /// The socket as the loops of streams want it.
    pub(super) fn into_stream(self) -> io::Result<mio::net::TcpStream> {
        self.socket.into_std().map(mio::net::TcpStream::from_std)
    }
}

enum Parsed {
    /// A request for a stream over HTTP/1.1, whole and without a body.
    Stream(StreamRequest),
    /// A head that isn't whole. Hyper's too is awaited here, where it has the time of a head and not that of an
    /// idle connection.
    Partial,
    /// Hyper's.
    Other,
}

fn parse(read: &[u8], most: usize) -> Parsed {
    if read.len() > most {
        return Parsed::Other;
    }
    if read.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(read) {
        return Parsed::Partial;
    }
    let is_stream = read.starts_with(STREAM) && matches!(read.get(STREAM.len()), Some(b' ' | b'?'));
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(read) {
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Ok(httparse::Status::Complete(_)) if is_stream => {
            request(&head).map_or(Parsed::Other, |request| Parsed::Stream(Box::new(request)))
        }
        // Hyper knows how to answer what isn't HTTP.
        Ok(httparse::Status::Complete(_)) | Err(_) => Parsed::Other,
    }
}

/// The request, unless it is one for hyper: HTTP/1.0, with a body, about to change its protocol, or of a client that needs
/// chunks.
fn request(head: &httparse::Request<'_, '_>) -> Option<Request<Body>> {
    if head.version != Some(1) {
        return None;
    }
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = head.path?.parse().ok()?;
    let headers = request.headers_mut();
    headers.reserve(head.headers.len());
    for header in head.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        if [CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].contains(&name) {
            return None;
        }
        let needs_chunks = |client: &&[u8]| header.value.starts_with(client);
        if name == USER_AGENT && BLOCK_READERS.iter().any(needs_chunks) {
            return None;
        }
        headers.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some(request)
}

/// The head of a stream's response. The body has no length and no chunks: it ends with the connection.
fn head(answer: &Response) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(answer.status().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(
        answer
            .status()
            .canonical_reason()
            .unwrap_or_default()
            .as_bytes(),
    );
    out.extend_from_slice(b"\r\n");
    let mut line = |name: &[u8], value: &[u8]| {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    for (name, value) in answer.headers() {
        if ![CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, DATE].contains(name) {
            line(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    line(b"connection", b"close");
    let now = jiff::Timestamp::now();
    if let Ok(date) = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now) {
        line(b"date", date.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 16 * 1024;

    fn way(text: &str) -> &'static str {
        match parse(text.as_bytes(), MOST) {
            Parsed::Stream(_) => "stream",
            Parsed::Partial => "partial",
            Parsed::Other => "other",
        }
    }

    #[test]
    fn only_whole_requests_for_a_stream_take_the_short_way() {
        let table = [
            ("GET /events HTTP/1.1\r\nhost: a\r\n\r\n", "stream"),
            ("GET /events?type=a.b HTTP/1.1\r\nhost: a\r\n\r\n", "stream"),
            ("GET /events HTTP/1.1\r\nhost: a\r\n\r", "partial"),
            ("GE", "partial"),
            ("GET /events", "partial"),
            ("GET /events/history HTTP/1.1\r\n\r\n", "other"),
            ("GET /eventsx", "partial"),
            ("GET /eventsx HTTP/1.1\r\nhost: a\r\n\r\n", "other"),
            ("POST /events HTTP/1.1\r\n", "partial"),
            ("POST /events HTTP/1.1\r\n\r\n{\"type", "other"),
            ("GET /events HTTP/1.0\r\n\r\n", "other"),
            (
                "GET /events HTTP/1.1\r\ncontent-length: 1\r\n\r\nx",
                "other",
            ),
            ("GET /events HTTP/1.1\r\nupgrade: h2c\r\n\r\n", "other"),
            (
                "GET /events HTTP/1.1\r\nuser-agent: curl/8.5\r\n\r\n",
                "stream",
            ),
            (
                "GET /events HTTP/1.1\r\nUser-Agent: python-requests/2.32.5\r\n\r\n",
                "other",
            ),
            ("GET /events HTTP/1.1\r\nbad header\r\n\r\n", "other"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "other"),
            ("PRI * HTTP/2", "partial"),
            ("not http\r\n", "other"),
        ];
        for (text, expected) in table {
            assert_eq!(way(text), expected, "{text:?}");
        }
        assert_eq!(way(&format!("GET /events?{}", "a".repeat(MOST))), "other");
    }

    #[test]
    fn the_request_is_what_the_client_sent() {
        let text = "GET /events?since=1h HTTP/1.1\r\nHost: a\r\nLast-Event-ID: x-1\r\nCookie: a\r\nCookie: b\r\n\r\n";
        let Parsed::Stream(request) = parse(text.as_bytes(), MOST) else {
            panic!("a stream")
        };
        assert_eq!(request.uri(), "/events?since=1h");
        assert_eq!(request.headers()["last-event-id"], "x-1");
        assert_eq!(request.headers().get_all("cookie").iter().count(), 2);
    }
}
