//! From the listening socket to the router: HTTP/1.1 and HTTP/2 by hyper, and a short way for streams.
//!
//! A fresh connection whose first request is `GET /events` is routed before hyper sees it. Where the answer is
//! a stream, its socket goes to the loops of [`Streams`], which write to it themselves: no task, no buffers,
//! no chunk headers (the stream ends with its connection). Every other connection is hyper's, from its first
//! byte on. All requests pass the same router with the same layers, whichever way they come.

mod accept;
mod answers;
mod direct;
mod line;
mod rewind;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::Request,
    response::{IntoResponse, Response},
};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use crate::{
    domain::Limit,
    door::tls::{Encrypted, Tls},
    metrics::Metrics,
    streams::{Sink, Streams},
};
use accept::{Acceptor, Reception};
use direct::{Fresh, StreamRequest};
use line::{Line, Patience, Talk};

/// Connections that the kernel keeps until they are accepted: enough for a storm of reconnects, so that
/// nobody waits for a second SYN. The system's `somaxconn` may allow fewer.
const BACKLOG: i32 = 65_535;

/// How much more hyper reads of a head than may be, before it gives up by itself.
const HYPER_BUFFER: usize = 4;

/// What connections may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Fresh connections whose first head is awaited at a time. More of them wait in the kernel.
    pub heads: usize,
    /// How long a head may take: from its first byte on, the first one of a connection from the beginning on.
    pub head_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub stall_timeout: Duration,
    /// Longest request head, in bytes, the request line included.
    pub head_bytes: usize,
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
            heads: 16 * 1024,
            head_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            head_bytes: 16 * 1024,
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
    let graceful = Arc::new(GracefulShutdown::new());
    let tracker = TaskTracker::new();
    let cut = CancellationToken::new();
    let grace = limits.grace;
    let desk = Desk {
        door: Arc::new(Door {
            router,
            streams,
            limits: limits.clone(),
            metrics,
        }),
        graceful: graceful.clone(),
        tracker: tracker.clone(),
        cut: cut.clone(),
        runtime: Handle::current(),
    };
    let acceptor = Acceptor::start(listener, &limits, desk)?;
    shutdown.cancelled().await;
    drop(acceptor);
    tracker.close();
    let _all_ended_in_time = timeout(grace, async {
        if let Some(graceful) = Arc::into_inner(graceful) {
            graceful.shutdown().await;
        }
        tracker.wait().await;
    })
    .await;
    cut.cancel();
    tracker.wait().await;
    Ok(())
}

/// Where accepted connections are sent their way, on the accepting thread.
struct Desk {
    door: Arc<Door>,
    graceful: Arc<GracefulShutdown>,
    tracker: TaskTracker,
    cut: CancellationToken,
    runtime: Handle,
}

impl Reception for Desk {
    fn asked(&mut self, fresh: Fresh, request: Option<StreamRequest>) {
        let Some(request) = request else {
            return self.spawn(
                self.door
                    .clone()
                    .serve(fresh, None, self.graceful.watcher()),
            );
        };
        let mut answered = Box::pin(self.door.clone().answer(
            fresh,
            request,
            self.graceful.watcher(),
        ));
        // Most streams know their place without waiting for anything, and need no task.
        let _inside = self.runtime.enter();
        if answered
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            self.spawn(answered);
        }
    }

    fn late(&mut self, mut fresh: Fresh) {
        self.door.count(Limit::HeaderTimeout);
        fresh.refuse(answers::head_too_late(self.door.limits.head_timeout));
    }
}

impl Desk {
    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        let connection = async move {
            tokio::select! {
                () = connection => {}
                () = cut.cancelled() => {}
            }
        };
        self.tracker.spawn_on(connection, &self.runtime);
    }
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
    limits: Limits,
    metrics: Metrics,
}

impl Door {
    fn count(&self, limit: Limit) {
        self.metrics
            .limit_reached
            .with_label_values(&[limit.name()])
            .inc();
    }

    /// Answers a request for a stream, by a stream or by whatever else the router says.
    async fn answer(self: Arc<Self>, fresh: Fresh, request: StreamRequest, watcher: Watcher) {
        let answer = direct::route(&self.router, request, fresh.remote).await;
        match direct::opening(&answer) {
            Some(opening) => self.streams.open(opening, Sink::Socket(fresh.socket)),
            // Boxed, so that a stream's short life here doesn't take the room of hyper's connection.
            None => Box::pin(self.serve(fresh, Some(Box::new(answer)), watcher)).await,
        }
    }

    /// Serves a connection by hyper, after a handshake where it is encrypted; `first` is the answer to its first
    /// request, where that is known.
    async fn serve(self: Arc<Self>, fresh: Fresh, first: Option<Box<Response>>, watcher: Watcher) {
        let remote = fresh.remote;
        let protocol = fresh.protocol();
        let io = match fresh.into_tokio() {
            Ok(io) => io,
            Err(error) => {
                return tracing::warn!("connection from {remote} can't be served: {error}");
            }
        };
        let Some(tls) = &self.limits.tls else {
            return self
                .hyper(io, protocol, remote, first, false, watcher)
                .await;
        };
        // Boxed, like the other rarer ways, so that a plain connection doesn't take the room of this one.
        Box::pin(async {
            match tls.accept(io.into_inner()).await {
                Ok(io) => {
                    let protocol = match io.get_ref().1.alpn_protocol() {
                        Some(b"h2") => Protocol::Http2,
                        _ => Protocol::Http1,
                    };
                    self.hyper(io, protocol, remote, first, true, watcher).await;
                }
                Err(error) => {
                    if error.kind() == io::ErrorKind::TimedOut {
                        self.count(Limit::HeaderTimeout);
                    }
                    tracing::debug!("no TLS with {remote}: {error}");
                }
            }
        })
        .await;
    }

    /// Serves a connection by hyper; `first` is the answer to its first request, where that is known.
    async fn hyper(
        &self,
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        protocol: Protocol,
        remote: SocketAddr,
        first: Option<Box<Response>>,
        encrypted: bool,
        watcher: Watcher,
    ) {
        let first = Mutex::new(first);
        let most = self.limits.head_bytes;
        let talk = Arc::new(Talk::default());
        let patience = Patience {
            head: self.limits.head_timeout,
            stall: self.limits.stall_timeout,
            head_bytes: most,
        };
        let reached = self.metrics.limit_reached.clone();
        let io = Line::new(io, talk.clone(), patience, reached);
        let service = service_fn(|request: Request<Incoming>| {
            let asking = talk.ask(request.version());
            let known = first.lock().take();
            let is_large = known.is_none() && head_size(&request) > most;
            if is_large {
                self.count(Limit::HeaderBytes);
            }
            let mut router = self.router.clone();
            async move {
                let _asking = asking;
                if let Some(answer) = known {
                    return Ok::<_, Infallible>(*answer);
                }
                if is_large {
                    return Ok(answers::head_too_large(most).into_response());
                }
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(remote));
                if encrypted {
                    request.extensions_mut().insert(Encrypted);
                }
                router.call(request).await
            }
        });
        let io = TokioIo::new(io);
        let ended = match protocol {
            Protocol::Http1 => {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    // Who has sent its request and shut its side still waits for the answer.
                    .half_close(true)
                    .header_read_timeout(self.limits.idle_timeout)
                    .max_buf_size(HYPER_BUFFER * most)
                    // Most answers are short: copied behind their head they leave in one plain write.
                    .writev(false)
                    .serve_connection(io, service);
                watcher.watch(connection).await
            }
            Protocol::Http2 => {
                let connection = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .keep_alive_interval(Duration::from_secs(20))
                    .max_concurrent_streams(1000)
                    .max_header_list_size(u32::try_from(most).unwrap_or(u32::MAX))
                    .serve_connection(io, service);
                Box::pin(watcher.watch(connection)).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("connection from {remote}: {error}");
        }
    }
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
