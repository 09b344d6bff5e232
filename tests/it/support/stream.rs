//! A client of the stream that sees every byte: chunks are unwrapped here, blocks parsed as WHATWG HTML §9.2 says.

use std::{io, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::PATIENCE;

/// One block of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub retry: Option<u64>,
}

/// An open stream.
pub struct EventStream {
    socket: TcpStream,
    raw: Vec<u8>,
    body: Vec<u8>,
    ended: bool,
    pub status: u16,
    pub head: String,
    /// As EventSource keeps it.
    pub last_event_id: String,
}

impl Frame {
    #[track_caller]
    pub fn json(&self) -> Value {
        let data = self.data.as_deref().expect("data");
        serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}"))
    }

    pub fn is(&self, event: &str) -> bool {
        self.event.as_deref() == Some(event)
    }

    pub fn id(&self) -> &str {
        self.id.as_deref().expect("an id")
    }

    /// Whether it is one of the hub's control frames.
    pub fn is_control(&self) -> bool {
        [
            "stream_opened",
            "snapshot",
            "bookmark",
            "stream_gap",
            "stream_closing",
        ]
        .iter()
        .any(|name| self.is(name))
    }
}

impl EventStream {
    /// Sends the request over a fresh connection and waits for the answer's head.
    pub async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let socket = TcpStream::connect(address).await.expect("a connection");
        Self::open_on(socket, path, headers).await
    }

    /// The same over a connection that is there already.
    pub async fn open_on(socket: TcpStream, path: &str, headers: &[(&str, &str)]) -> Self {
        let opened = Self::try_open_on(socket, path, headers).await;
        opened.unwrap_or_else(|e| panic!("the answer's head comes: {e}"))
    }

    /// The answer to a POST, which is a stream.
    pub async fn post(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Self {
        let socket = TcpStream::connect(address).await.expect("a connection");
        let asked = Self::ask(socket, "POST", path, headers, body).await;
        asked.unwrap_or_else(|e| panic!("the answer's head comes: {e}"))
    }

    /// The same where the hub may be gone, or go in the midst of it.
    pub async fn try_open_on(
        socket: TcpStream,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Self> {
        let headers = [&[("accept", "text/event-stream")], headers].concat();
        Self::ask(socket, "GET", path, &headers, "").await
    }

    async fn ask(
        mut socket: TcpStream,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Self> {
        let host = socket.peer_addr()?;
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body);
        socket.write_all(request.as_bytes()).await?;
        let mut stream = Self {
            socket,
            raw: Vec::new(),
            body: Vec::new(),
            ended: false,
            status: 0,
            head: String::new(),
            last_event_id: String::new(),
        };
        let end = loop {
            if let Some(at) = find(&stream.raw, b"\r\n\r\n") {
                break at;
            }
            if !stream.fill().await {
                let there = String::from_utf8_lossy(&stream.raw).into_owned();
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, there));
            }
        };
        stream.head = String::from_utf8(stream.raw[..end].to_vec())
            .expect("a head of text")
            .to_lowercase();
        stream.raw.drain(..end + 4);
        stream.status = stream
            .head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .expect("a status");
        Ok(stream)
    }

    /// The next block, or `None` where the stream ended.
    pub async fn next_or_end(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take_block() {
                return Some(frame);
            }
            if self.ended || !self.fill_body().await {
                return None;
            }
        }
    }

    /// The next block.
    pub async fn next(&mut self) -> Frame {
        self.next_or_end().await.expect("the stream goes on")
    }

    /// The next block that is an event and no control frame.
    pub async fn next_event(&mut self) -> Frame {
        loop {
            let frame = self.next().await;
            if !frame.is_control() {
                return frame;
            }
        }
    }

    /// The next block of this name; others are passed over.
    pub async fn next_named(&mut self, event: &str) -> Frame {
        loop {
            let frame = self.next().await;
            if frame.is(event) {
                return frame;
            }
        }
    }

    /// The next block, which must be `stream_opened` with this verdict.
    pub async fn opened(&mut self, verdict: &str) -> Frame {
        assert_eq!(self.status, 200, "{}", self.head);
        let frame = self.next().await;
        assert!(frame.is("stream_opened"), "{frame:?}");
        assert_eq!(frame.json()["verdict"], verdict, "{frame:?}");
        frame
    }

    async fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = timeout(PATIENCE, self.socket.read(&mut buffer))
            .await
            .expect("something comes in time");
        match read {
            Ok(n) if n > 0 => {
                self.raw.extend_from_slice(&buffer[..n]);
                true
            }
            _ => {
                self.ended = true;
                false
            }
        }
    }

    /// Unwraps what chunks are there; reads on where there is none.
    async fn fill_body(&mut self) -> bool {
        loop {
            if !self.head.contains("transfer-encoding: chunked") {
                let there = !self.raw.is_empty();
                self.body.append(&mut self.raw);
                return there || self.fill().await;
            }
            if let Some(line) = find(&self.raw, b"\r\n") {
                let size = std::str::from_utf8(&self.raw[..line]).expect("a chunk's size");
                let size = usize::from_str_radix(size.split(';').next().unwrap_or(size), 16)
                    .expect("a chunk's size");
                if size == 0 {
                    self.ended = true;
                    return false;
                }
                if self.raw.len() >= line + 2 + size + 2 {
                    self.body
                        .extend_from_slice(&self.raw[line + 2..line + 2 + size]);
                    assert_eq!(
                        &self.raw[line + 2 + size..line + 4 + size],
                        b"\r\n",
                        "a chunk's end"
                    );
                    self.raw.drain(..line + 4 + size);
                    return true;
                }
            }
            if !self.fill().await {
                return false;
            }
        }
    }

    fn take_block(&mut self) -> Option<Frame> {
        let end = find(&self.body, b"\n\n")?;
        // A comment says nothing but that the line lives.
        if self.body.starts_with(b":") {
            self.body.drain(..end + 2);
            return self.take_block();
        }
        let block =
            String::from_utf8(self.body.drain(..end + 2).collect()).expect("the stream is UTF-8");
        let mut frame = Frame {
            id: None,
            event: None,
            data: None,
            retry: None,
        };
        for line in block.lines().filter(|line| !line.is_empty()) {
            assert!(!line.contains('\r'), "{line:?}");
            let (field, value) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("a field: {line:?}"));
            match field {
                "id" => frame.id = Some(value.to_owned()),
                "event" => frame.event = Some(value.to_owned()),
                "data" => {
                    assert!(frame.data.is_none(), "data is one line: {block:?}");
                    frame.data = Some(value.to_owned());
                }
                "retry" => frame.retry = Some(value.parse().expect("retry is a number")),
                _ => panic!("an unknown field: {line:?}"),
            }
        }
        if let Some(id) = &frame.id {
            self.last_event_id.clone_from(id);
        }
        Some(frame)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}
