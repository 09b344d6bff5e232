//! From the listening socket to the router: HTTP/1.1 and HTTP/2 by hyper, and a short way for streams.
//!
//! A fresh connection whose first request is `GET /events` is routed before hyper sees it. Where the answer is
//! a stream, its socket goes to the loops of [`Streams`], which write to it themselves: no task, no buffers,
//! no chunk headers (the stream ends with its connection). Every other connection is hyper's, from its first
//! byte on. All requests pass the same router with the same layers, whichever way they come.
//!
//! One rule for all of them (`docs/security.md` has it as a table): whoever owes something has a time for it, what
//! waits for a client has a bound, and where there is no more room those go on whose behalf nothing is under way.

mod answer;
mod answers;
mod connections;
mod direct;
mod line;
mod linger;
mod rewind;
mod talk;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderValue, Request, header::CONNECTION},
    response::{IntoResponse, Response},
};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use crate::{
    domain::Limit,
    door::tls::{Encrypted, Tls},
    metrics::Metrics,
    streams::{Opening, Sink, Streams},
};
use answer::Answer;
use connections::{Connections, Entry, Seat};
use direct::{Fresh, Read};
use line::{Line, Patience};
use linger::Endings;
use talk::Talk;

/// Connections that the kernel keeps until they are accepted: enough for a storm of reconnects, so that
/// nobody waits for a second SYN. The system's `somaxconn` may allow fewer.
const BACKLOG: i32 = 65_535;

/// How much more hyper reads of a head than may be, before it gives up by itself. It keeps as much of a body that
/// is on its way.
const HYPER_BUFFER: usize = 2;

/// What hyper takes of a head's lines without an allocation.
const HYPER_LINES: usize = 100;

/// Bytes that a client of HTTP/2 may send before they are read: of one request, and of all on a connection.
const HTTP2_WINDOW: u32 = 64 * 1024;

/// Requests that a client of HTTP/2 may have under way on one connection.
const HTTP2_REQUESTS: u32 = 256;

/// How long it waits where no socket can be accepted (no file descriptors are left, say).
const PAUSE: Duration = Duration::from_millis(50);

/// How long it waits where connections are about to go, to make room.
const MOMENT: Duration = Duration::from_millis(5);

/// How often trouble with accepting is told.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// How long a connection that was told to go may take for what it has begun to write.
const PARTING: Duration = Duration::from_secs(1);

/// What connections may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time, streams included.
    pub connections: usize,
    /// How long a head may take: from its first byte on, the first one of a connection from the beginning on.
    pub head_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub stall_timeout: Duration,
    /// Longest request head, in bytes, the request line included.
    pub head_bytes: usize,
    /// Most header lines of a request.
    pub head_lines: usize,
    /// Encrypts connections; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// How long a connection may be idle between two requests.
    pub idle_timeout: Duration,
    /// How long requests may go on after the shutdown began.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            head_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            head_bytes: 16 * 1024,
            head_lines: HYPER_LINES,
            tls: None,
            idle_timeout: Duration::from_secs(75),
            grace: Duration::from_secs(5),
        }
    }
}

/// Accepts connections and serves them until `shutdown`; then takes no more, lets requests in flight finish,
/// and returns when all connections have ended or the grace is over, which cuts the rest. Streams are the
/// caller's to end before ([`Streams::close`]); while it does, refusals and readiness are still answered.
///
/// # Errors
/// Where the socket can't be listened on.
pub async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    streams: Arc<Streams>,
    limits: Limits,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let socket = socket2::SockRef::from(&listener);
    // Whoever bound it may have asked for a short queue.
    socket.listen(BACKLOG)?;
    // Accepted sockets inherit it: a frame leaves when it is written.
    socket.set_tcp_nodelay(true)?;
    let endings = Endings {
        tracker: TaskTracker::new(),
        cut: CancellationToken::new(),
    };
    let grace = limits.grace;
    let door = Arc::new(Door {
        router,
        streams,
        connections: Connections::new(limits.connections),
        limits,
        metrics,
        endings: endings.clone(),
        shutdown,
    });
    door.accept(TcpListener::from_std(listener)?).await;
    endings.tracker.close();
    let _all_ended_in_time = timeout(grace, endings.tracker.wait()).await;
    endings.cut.cancel();
    endings.tracker.wait().await;
    Ok(())
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// What all connections share.
struct Door {
    router: Router,
    streams: Arc<Streams>,
    connections: Arc<Connections>,
    limits: Limits,
    metrics: Metrics,
    endings: Endings,
    shutdown: CancellationToken,
}

impl Door {
    /// Accepts until the shutdown, whatever happens meanwhile.
    async fn accept(self: &Arc<Self>, listener: TcpListener) {
        let mut told: Option<Instant> = None;
        let mut trouble = |error: &io::Error| {
            if told.is_none_or(|at| at.elapsed() >= TELL_AGAIN) {
                told = Some(Instant::now());
                tracing::warn!("no connection can be accepted: {error}");
            }
        };
        let accepting = async {
            loop {
                while self.connections.is_full() {
                    sleep(MOMENT).await;
                }
                match listener.accept().await {
                    Ok((socket, remote)) => self.receive(socket, remote),
                    Err(error) if is_the_clients(&error) => {}
                    Err(error) => {
                        trouble(&error);
                        self.count(Limit::Connections);
                        self.connections.make_room();
                        sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Gives an accepted connection a task of its own.
    fn receive(self: &Arc<Self>, socket: TcpStream, remote: SocketAddr) {
        let cut = self.endings.cut.clone();
        let door = self.clone();
        match self.connections.enter(remote) {
            Entry::Welcome(seat) => self.endings.tracker.spawn(async move {
                tokio::select! {
                    () = door.serve(socket, remote, seat) => {}
                    () = cut.cancelled() => {}
                }
            }),
            Entry::Crowded(seat) => self.endings.tracker.spawn(async move {
                door.count(Limit::Connections);
                if door.limits.tls.is_none() {
                    let problem = answers::crowded(door.limits.connections);
                    // It was never written to, so there is room.
                    let _: io::Result<usize> = socket.try_write(&problem.into_http1());
                    door.endings.hear_out(socket, seat);
                }
            }),
        };
    }

    fn count(&self, limit: Limit) {
        self.metrics
            .limit_reached
            .with_label_values(&[limit.name()])
            .inc();
    }

    /// Serves a connection: a stream by its loop, everything else by hyper.
    async fn serve(self: Arc<Self>, socket: TcpStream, remote: SocketAddr, seat: Seat) {
        if let Some(tls) = &self.limits.tls {
            // Boxed, like the other rarer ways, so that a plain connection doesn't take the room of this one.
            return Box::pin(self.encrypted(tls, socket, remote, seat)).await;
        }
        let mut fresh = Fresh::new(socket, remote);
        let most = self.limits.head_bytes;
        let read = tokio::select! {
            read = timeout(self.limits.head_timeout, fresh.read_request(most)) => read,
            () = seat.talk().sent_away() => {
                self.count(Limit::Connections);
                return self.refuse(fresh, seat, answers::crowded(self.limits.connections));
            }
            () = self.shutdown.cancelled() => return,
        };
        let request = match read {
            Ok(Read::Request(request)) => request,
            Ok(Read::Gone) => return,
            Err(_) => {
                self.count(Limit::HeaderTimeout);
                let late = answers::head_too_late(self.limits.head_timeout);
                return self.refuse(fresh, seat, late);
            }
        };
        let first = match request {
            None => None,
            Some(request) => {
                let answer = direct::route(&self.router, request, remote).await;
                if let Some(opening) = direct::opening(&answer) {
                    return self.open(opening, fresh, seat);
                }
                Some(Box::new(answer))
            }
        };
        let protocol = fresh.protocol();
        // Boxed, so that a fresh connection and a stream's short life here don't take the room of this.
        Box::pin(self.hyper(fresh.into_rewind(), protocol, remote, first, false, seat)).await;
    }

    /// Gives the socket of a stream to its loop.
    fn open(&self, mut opening: Opening, fresh: Fresh, seat: Seat) {
        let remote = fresh.remote;
        match fresh.into_stream() {
            Ok(socket) => {
                opening.permit = opening.permit.holding(seat.into_stream());
                self.streams.open(opening, Sink::Socket(socket));
            }
            Err(error) => tracing::warn!("connection from {remote} can't be served: {error}"),
        }
    }

    /// Refuses a client that has begun a request, and ends the connection.
    fn refuse(&self, fresh: Fresh, seat: Seat, problem: crate::http::problem::Problem) {
        if fresh.has_spoken() {
            let socket = fresh.into_rewind().into_inner();
            // It was never written to, so there is room; who doesn't listen misses it.
            let _: io::Result<usize> = socket.try_write(&problem.into_http1());
            self.endings.hear_out(socket, seat);
        }
    }

    /// Serves a connection after its handshake.
    async fn encrypted(&self, tls: &Tls, socket: TcpStream, remote: SocketAddr, seat: Seat) {
        let accepted = tokio::select! {
            accepted = tls.accept(socket) => accepted,
            () = seat.talk().sent_away() => return self.count(Limit::Connections),
            () = self.shutdown.cancelled() => return,
        };
        match accepted {
            Ok(io) => {
                let protocol = match io.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Protocol::Http2,
                    _ => Protocol::Http1,
                };
                self.hyper(io, protocol, remote, None, true, seat).await;
            }
            Err(error) => {
                if error.kind() == ErrorKind::TimedOut {
                    self.count(Limit::HeaderTimeout);
                }
                tracing::debug!("no TLS with {remote}: {error}");
            }
        }
    }

    /// Serves a connection by hyper; `first` is the answer to its first request, where that is known.
    async fn hyper(
        &self,
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        protocol: Protocol,
        remote: SocketAddr,
        first: Option<Box<Response>>,
        encrypted: bool,
        seat: Seat,
    ) {
        let first = Mutex::new(first);
        let limits = &self.limits;
        let patience = Patience {
            head: limits.head_timeout,
            stall: limits.stall_timeout,
            head_bytes: limits.head_bytes,
            head_lines: limits.head_lines,
        };
        let talk = seat.talk().clone();
        let reached = self.metrics.limit_reached.clone();
        let io = Line::new(io, seat, self.endings.clone(), patience, reached);
        let service = service_fn(|request: Request<Incoming>| {
            let too_much = self.too_much(&request);
            let (asking, mut request) = talk.ask(request);
            let known = first.lock().take();
            let mut router = self.router.clone();
            async move {
                let talk = asking.talk().clone();
                let mut answer = if let Some(answer) = known {
                    *answer
                } else if let Some(answer) = too_much {
                    answer
                } else {
                    request.extensions_mut().insert(ConnectInfo(remote));
                    if encrypted {
                        request.extensions_mut().insert(Encrypted);
                    }
                    let Ok(answer) = router.call(request).await;
                    answer
                };
                if talk.is_mixed() {
                    return Ok::<_, Infallible>(
                        answer.map(|body| Answer::over_http2(body, asking)),
                    );
                }
                if talk.has_unread().await {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(CONNECTION, close);
                    talk.linger();
                }
                Ok(answer.map(|body| Answer::over_http1(body, asking)))
            }
        });
        let io = TokioIo::new(io);
        let ended = match protocol {
            Protocol::Http1 => {
                let mut builder = http1::Builder::new();
                if limits.head_lines != HYPER_LINES {
                    builder.max_headers(limits.head_lines);
                }
                let connection = builder
                    .timer(TokioTimer::new())
                    // Who has sent its request and shut its side still waits for the answer.
                    .half_close(true)
                    .header_read_timeout(limits.idle_timeout)
                    .max_buf_size(HYPER_BUFFER * limits.head_bytes)
                    // Most answers are short: copied behind their head they leave in one plain write.
                    .writev(false)
                    .serve_connection(io, service);
                let connection = pin!(connection);
                self.accompany(connection, &talk, pin!(std::future::pending()))
                    .await
            }
            Protocol::Http2 => {
                let connection = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .keep_alive_interval(Duration::from_secs(20))
                    .max_concurrent_streams(HTTP2_REQUESTS)
                    .initial_stream_window_size(HTTP2_WINDOW)
                    .initial_connection_window_size(HTTP2_WINDOW)
                    .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
                    .serve_connection(io, service);
                let mut connection = Box::pin(connection);
                let mut over = Box::pin(self.http2_is_over(&talk));
                self.accompany(connection.as_mut(), &talk, over.as_mut())
                    .await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("connection from {remote}: {error}");
        }
    }

    /// Goes with a connection to its end, which comes in order when the hub shuts down, when others need the room,
    /// or when it is `over` by itself.
    async fn accompany<C: GracefulConnection>(
        &self,
        mut connection: Pin<&mut C>,
        talk: &Talk,
        over: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), C::Error> {
        let may_finish = tokio::select! {
            ended = connection.as_mut() => return ended,
            () = self.shutdown.cancelled() => true,
            () = talk.sent_away() => {
                self.count(Limit::Connections);
                // It may have begun to ask meanwhile.
                talk.is_asking()
            }
            () = over => false,
        };
        connection.as_mut().graceful_shutdown();
        if may_finish {
            return connection.await;
        }
        timeout(PARTING, connection).await.unwrap_or(Ok(()))
    }

    /// Returns when a connection of HTTP/2 asks for nothing any more: all that it had was let go because the client
    /// took nothing of it, or nothing is under way for too long, however often it says that it is there.
    async fn http2_is_over(&self, talk: &Talk) {
        let Limits {
            stall_timeout,
            idle_timeout,
            ..
        } = self.limits;
        let idle_ms = u64::try_from(idle_timeout.as_millis()).unwrap_or(u64::MAX);
        let look_every =
            (stall_timeout.min(idle_timeout) / 4).clamp(MOMENT, Duration::from_secs(5));
        loop {
            sleep(look_every).await;
            let was_stalled = talk.let_go_of_stalled(stall_timeout);
            if let Some(since) = talk.quiet_since()
                && talk.has_asked()
                && (was_stalled || talk.now().saturating_sub(since) >= idle_ms)
            {
                return;
            }
        }
    }

    /// The refusal of a head that is too large.
    fn too_much(&self, request: &Request<Incoming>) -> Option<Response> {
        let Limits {
            head_bytes,
            head_lines,
            ..
        } = self.limits;
        let problem = if head_size(request) > head_bytes {
            answers::head_too_large(head_bytes)
        } else if request.headers().len() > head_lines {
            answers::too_many_headers(head_lines)
        } else {
            return None;
        };
        problem.limit.iter().for_each(|limit| self.count(*limit));
        Some(problem.into_response())
    }
}

/// Errors of one connection that say nothing about the next.
fn is_the_clients(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Bytes of a request's head, about.
fn head_size<B>(request: &Request<B>) -> usize {
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    let headers = request.headers().iter();
    target
        + headers
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum::<usize>()
}
