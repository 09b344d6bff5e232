//! Where a stream's bytes go: a socket of its own, or a response body that hyper writes (TLS, HTTP/2, a
//! connection that had other requests before).

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use mio::net::TcpStream;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::port::{Command, Key, Port};

/// Pieces of up to [`super::batch::PASS_BYTES`] bytes that wait in a body for hyper. Full: the stream falls
/// behind, as it would on a full socket.
const BODY_SLOTS: usize = 2;

/// Bytes that a client sends on its stream and nobody wants, read at a time.
const WASTE: usize = 4096;

/// Where a stream's bytes go.
#[derive(Debug)]
pub enum Sink {
    /// A non-blocking socket, the response's head not yet written.
    Socket(TcpStream),
    /// A response body.
    Body(Box<BodySink>),
}

/// The sending side of a [`StreamBody`].
#[derive(Debug)]
pub struct BodySink {
    sender: mpsc::Sender<Bytes>,
    link: Arc<Link>,
}

/// A response body that gives a stream's frames.
#[derive(Debug)]
pub struct StreamBody {
    receiver: mpsc::Receiver<Bytes>,
    link: Arc<Link>,
}

/// How a body tells the loop that it has room, or is gone.
#[derive(Debug, Default)]
struct Link {
    full: AtomicBool,
    stream: OnceLock<(Arc<Port>, Key)>,
}

/// The other side is gone.
#[derive(Debug)]
pub(super) struct Dead;

/// A body and the sink that fills it.
#[must_use]
pub fn body() -> (Sink, StreamBody) {
    let (sender, receiver) = mpsc::channel(BODY_SLOTS);
    let link = Arc::new(Link::default());
    (
        Sink::Body(Box::new(BodySink {
            sender,
            link: link.clone(),
        })),
        StreamBody { receiver, link },
    )
}

impl Sink {
    /// Makes the sink speak to its loop.
    pub(super) fn attach(
        &mut self,
        key: Key,
        port: &Arc<Port>,
        registry: &mio::Registry,
    ) -> Result<(), Dead> {
        match self {
            Self::Socket(socket) => {
                let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
                registry
                    .register(socket, key.token(), interest)
                    .map_err(|_| Dead)
            }
            Self::Body(body) => {
                let _already_attached: Result<(), _> = body.link.stream.set((port.clone(), key));
                if body.sender.is_closed() {
                    Err(Dead)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Writes what goes without waiting and says how much that was; less than all means that there is no
    /// more room. `owned` keeps the bytes where a body needs them shared.
    pub(super) fn send(&mut self, bytes: &[u8], owned: &mut Option<Bytes>) -> Result<usize, Dead> {
        match self {
            Self::Socket(socket) => loop {
                return match socket.write(bytes) {
                    Ok(0) => Err(Dead),
                    Ok(written) => Ok(written),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => Err(Dead),
                };
            },
            Self::Body(body) => {
                let bytes = owned
                    .get_or_insert_with(|| Bytes::copy_from_slice(bytes))
                    .clone();
                let len = bytes.len();
                match body.sender.try_send(bytes) {
                    Ok(()) => Ok(len),
                    Err(TrySendError::Closed(_)) => Err(Dead),
                    Err(TrySendError::Full(bytes)) => {
                        body.link.full.store(true, Ordering::SeqCst);
                        // The reader may have taken something before it could see that.
                        match body.sender.try_send(bytes) {
                            Ok(()) => Ok(len),
                            Err(TrySendError::Full(_)) => Ok(0),
                            Err(TrySendError::Closed(_)) => Err(Dead),
                        }
                    }
                }
            }
        }
    }

    /// Reads and drops what the client sent. `false` where it is gone.
    pub(super) fn drain(&mut self) -> bool {
        let Self::Socket(socket) = self else {
            return true;
        };
        let mut waste = [0; WASTE];
        // A client that sends without end gets no more than this at a time; new bytes wake the loop again.
        for _ in 0..16 {
            match socket.read(&mut waste) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Says that nothing follows. `true` where the client's own end is worth waiting for, so that a reset
    /// doesn't overtake the last frame.
    pub(super) fn finish(&mut self) -> bool {
        match self {
            Self::Socket(socket) => socket.shutdown(Shutdown::Write).is_ok(),
            Self::Body(_) => false,
        }
    }

    /// Makes the system drop what it keeps for the client when the sink goes: of one that takes nothing that may be
    /// megabytes, for minutes.
    pub(super) fn give_up(&self) {
        if let Self::Socket(socket) = self {
            // Where it fails, the system gives up by itself, later.
            let _: std::io::Result<()> =
                socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// Forgets the socket in the loop's poll.
    pub(super) fn detach(&mut self, registry: &mio::Registry) {
        if let Self::Socket(socket) = self {
            // Closing it does the same; this only keeps the poll's books in order.
            let _: std::io::Result<()> = registry.deregister(socket);
        }
    }
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let taken = std::task::ready!(self.receiver.poll_recv(context));
        if taken.is_some() && self.link.full.swap(false, Ordering::SeqCst) {
            self.link.tell(Command::Room);
        }
        Poll::Ready(taken.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Link {
    fn tell(&self, command: impl FnOnce(Key) -> Command) {
        if let Some((port, key)) = self.stream.get() {
            port.send(command(*key));
        }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        // Closed first: where the loop attaches its end only now, it sees that.
        self.receiver.close();
        self.link.tell(Command::Gone);
    }
}
