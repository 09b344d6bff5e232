//! Connections of every kind through the accept loop, to a small router that stands for the real one.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{rewind::Rewind, *};
use crate::{
    event_log::memory,
    filter::Filter,
    frame::Format,
    metrics::Metrics,
    streams::{
        Opening, Settings,
        handoff::{DirectSocket, Handoff},
    },
    subscription::Verdict,
    tail::{Tail, WINDOW_BYTES},
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    streams: Arc<Streams>,
    asked: Arc<AtomicUsize>,
    go_on: Arc<Notify>,
    shutdown: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

#[derive(Clone)]
struct Parts {
    streams: Arc<Streams>,
    asked: Arc<AtomicUsize>,
    go_on: Arc<Notify>,
}

/// A stream, by the socket where there is one; `400` where the query says so.
async fn events(State(parts): State<Parts>, request: Request) -> Response {
    assert!(
        request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .is_some()
    );
    parts.asked.fetch_add(1, Ordering::SeqCst);
    if request.uri().query() == Some("bad") {
        return (StatusCode::BAD_REQUEST, "bad").into_response();
    }
    let opening = Opening {
        filter: Filter::all(),
        format: Format::Named,
        after: 0,
        opened: b"event: stream_opened\ndata: {}\n\n".to_vec(),
        prologue: None,
        verdict: Verdict::Live,
        owner: None,
        permit: parts.streams.admit().unwrap(),
    };
    if request.extensions().get::<DirectSocket>().is_none() {
        return Response::new(Body::new(parts.streams.open_body(opening)));
    }
    let mut response = Response::new(Body::empty());
    response
        .headers_mut()
        .insert("x-way", "direct".parse().unwrap());
    response.extensions_mut().insert(Handoff::new(opening));
    response
}

async fn slow(State(parts): State<Parts>) -> &'static str {
    parts.asked.fetch_add(1, Ordering::SeqCst);
    parts.go_on.notified().await;
    "done"
}

impl Server {
    fn start(limits: Limits) -> Self {
        let settings = Settings {
            keepalive: PATIENCE,
            retry: PATIENCE,
            stall_timeout: PATIENCE,
            max_clients: 10,
            shards: Some(1),
        };
        let tail = Arc::new(Tail::new(0, WINDOW_BYTES));
        let log = memory::open().reader;
        let metrics = Metrics::new().unwrap();
        let streams = Streams::start(settings, tail, log, metrics.clone()).unwrap();
        let parts = Parts {
            streams: Arc::new(streams),
            asked: Arc::default(),
            go_on: Arc::default(),
        };
        let router = Router::new()
            .route("/events", get(events))
            .route("/echo", post(async |body: Bytes| body))
            .route("/slow", get(slow))
            .with_state(parts.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(
            listener,
            router,
            parts.streams.clone(),
            limits,
            metrics,
            shutdown.clone(),
        ));
        let Parts {
            streams,
            asked,
            go_on,
        } = parts;
        Self {
            address,
            streams,
            asked,
            go_on,
            shutdown,
            serving,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, text: &str) -> TcpStream {
        let mut socket = self.connect().await;
        socket.write_all(text.as_bytes()).await.unwrap();
        socket
    }
}

/// Reads until the text stands in what came, or to the end where it is empty.
async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut got = Vec::new();
    loop {
        let so_far = String::from_utf8_lossy(&got).into_owned();
        if !text.is_empty() && so_far.contains(text) {
            return so_far;
        }
        let read = timeout(PATIENCE, socket.read_buf(&mut got))
            .await
            .expect("something comes in time");
        if read.unwrap_or(0) == 0 {
            assert!(
                text.is_empty(),
                "{text:?} comes before the end of {so_far:?}"
            );
            return so_far;
        }
    }
}

#[tokio::test]
async fn a_stream_takes_the_short_way_however_its_request_is_cut() {
    let server = Server::start(Limits::default());
    let request = "GET /events?a=b HTTP/1.1\r\nhost: a\r\n\r\n";
    for cut in [request.len(), 1, 3, 11, 12, 30] {
        let mut socket = server.connect().await;
        for piece in request.as_bytes().chunks(cut) {
            socket.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let head = read_until(&mut socket, "data: {}\n\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            head.contains("x-way: direct\r\n") && head.contains("connection: close\r\n"),
            "{head}"
        );
        assert!(
            !head.contains("content-length") && !head.contains("chunked"),
            "{head}"
        );
        assert!(
            head.ends_with("\r\n\r\nevent: stream_opened\ndata: {}\n\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_asked_for_once_and_the_connection_goes_on() {
    let server = Server::start(Limits::default());
    let mut socket = server
        .ask("GET /events?bad HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let refusal = read_until(&mut socket, "\r\n\r\nbad").await;
    assert!(refusal.starts_with("HTTP/1.1 400"), "{refusal}");
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    socket
        .write_all(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let stream = read_until(&mut socket, "data: {}\n\n").await;
    assert!(
        stream.contains("chunked") && !stream.contains("direct"),
        "{stream}"
    );
}

#[tokio::test]
async fn what_was_read_of_other_requests_is_not_lost() {
    let server = Server::start(Limits::default());
    let mut socket = server
        .ask("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        .await;
    assert!(
        read_until(&mut socket, "hello")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn streams_go_over_http_2_as_well() {
    let server = Server::start(Limits::default());
    let io = TokioIo::new(server.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io)
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://{}/events", server.address))
        .body(Empty::new())
        .unwrap();
    let mut response = sender.send_request(request).await.unwrap();
    let frame = timeout(PATIENCE, response.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(
        frame.into_data().unwrap(),
        "event: stream_opened\ndata: {}\n\n"
    );
    drop((response, sender));
    timeout(PATIENCE, server.streams.emptied())
        .await
        .expect("the stream ends with its client");
}

#[tokio::test]
async fn a_head_has_a_limit_on_every_way() {
    let server = Server::start(Limits::default());
    for line in ["GET /events", "POST /echo"] {
        let text = format!(
            "{line} HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
            "x".repeat(Limits::default().head_bytes)
        );
        let mut socket = server.ask(&text).await;
        let answer = read_until(&mut socket, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let limits = Limits {
        head_timeout: Duration::from_millis(20),
        ..Limits::default()
    };
    let server = Server::start(limits);
    let mut silent = server.ask("").await;
    assert_eq!(read_until(&mut silent, "").await, "");
    let mut slow = server.ask("GET /eve").await;
    let answer = read_until(&mut slow, "").await;
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(answer.contains("header_timeout"), "{answer}");
}

#[tokio::test]
async fn a_shutdown_lets_requests_in_flight_finish() {
    let server = Server::start(Limits::default());
    let mut socket = server.ask("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    while server.asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    server.shutdown.cancel();
    // Nobody is let in any more once the listener is gone.
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.go_on.notify_one();
    assert!(read_until(&mut socket, "").await.ends_with("done"));
    timeout(PATIENCE, server.serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_shutdown_cuts_who_takes_too_long() {
    let server = Server::start(Limits {
        grace: Duration::from_millis(20),
        ..Limits::default()
    });
    let mut socket = server.ask("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    while server.asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    server.shutdown.cancel();
    timeout(PATIENCE, server.serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(read_until(&mut socket, "").await, "");
}

/// What every kept connection costs beside its buffers, of which hyper's grow with what is sent.
#[tokio::test]
async fn a_kept_connection_is_small() {
    let server = Server::start(Limits::default());
    let door = Arc::new(Door {
        router: Router::new(),
        streams: server.streams.clone(),
        connections: Connections::new(1),
        limits: Limits::default(),
        metrics: Metrics::new().unwrap(),
        endings: Endings {
            tracker: TaskTracker::new(),
            cut: CancellationToken::new(),
        },
        shutdown: CancellationToken::new(),
    });
    let socket = server.connect().await;
    let Entry::Welcome(seat) = door.connections.enter(server.address) else {
        panic!("there is room")
    };
    let fresh = size_of_val(&door.clone().serve(socket, server.address, seat));
    assert!(fresh <= 800, "{fresh}");
    let Entry::Welcome(seat) = door.connections.enter(server.address) else {
        panic!("there is room")
    };
    let io = Rewind::new(server.connect().await, Vec::new());
    let kept = door.hyper(io, Protocol::Http1, server.address, None, false, seat);
    let kept = size_of_val(&kept);
    assert!(kept <= 1536, "{kept}");
}

/// Frames of HTTP/2 after the preface and the settings.
async fn http2(server: &Server, settings: &[u8], frames: &[&[u8]]) -> TcpStream {
    let mut socket = server.connect().await;
    let length = u8::try_from(settings.len()).unwrap();
    let begin = [&[0, 0, length, 4, 0, 0, 0, 0, 0], settings].concat();
    let all = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        begin.as_slice(),
        &frames.concat(),
    ]
    .concat();
    socket.write_all(&all).await.unwrap();
    socket
}

/// `GET /events`, ended.
const STREAM_OF_HTTP2: &[u8] =
    b"\x00\x00\x16\x01\x05\x00\x00\x00\x01\x82\x86\x44\x07/events\x41\x09127.0.0.1";
/// `GET /none`, ended.
const ASK_OF_HTTP2: &[u8] =
    b"\x00\x00\x14\x01\x05\x00\x00\x00\x01\x82\x86\x44\x05/none\x41\x09127.0.0.1";
const PING_OF_HTTP2: &[u8] = b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678";

#[tokio::test]
async fn over_http_2_pings_alone_keep_no_connection() {
    let server = Server::start(Limits {
        idle_timeout: Duration::from_millis(200),
        ..Limits::default()
    });
    let mut stays = http2(&server, &[], &[STREAM_OF_HTTP2]).await;
    let socket = http2(&server, &[], &[ASK_OF_HTTP2]).await;
    let (mut read, mut write) = socket.into_split();
    let pinging = tokio::spawn(async move {
        while write.write_all(PING_OF_HTTP2).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut got = Vec::new();
    // A reset is an end, too: it may have pinged meanwhile.
    let _ended = timeout(PATIENCE, read.read_to_end(&mut got))
        .await
        .expect("it is closed");
    timeout(PATIENCE, pinging).await.unwrap().unwrap();
    // One that has a stream stays as long as that.
    stays.write_all(PING_OF_HTTP2).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"12345678") {
        assert_ne!(stays.read_buf(&mut got).await.unwrap(), 0);
    }
    assert_eq!(server.streams.count(), 1);
}
