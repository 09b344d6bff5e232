//! The thread that accepts connections. Its sockets stay outside of tokio's poll: one that becomes a stream never
//! enters it.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use mio::{
    Events, Interest, Poll, Token, Waker,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(0);
const STOP: Token = Token(1);

/// How long it waits where no socket can be accepted (no file descriptors are left, say).
const PAUSE: Duration = Duration::from_millis(50);

/// The accepting thread; told to stop when dropped.
pub(super) struct Acceptor {
    stopped: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<thread::JoinHandle<()>>,
}

impl Acceptor {
    /// Hands each connection to `take`, which may wait and so hold back the next.
    pub(super) fn start(
        listener: std::net::TcpListener,
        take: impl FnMut(TcpStream, SocketAddr) + Send + 'static,
    ) -> io::Result<Self> {
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        let thread = thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || run(&listener, poll, &stop, take))?;
        Ok(Self {
            stopped,
            waker,
            thread: Some(thread),
        })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Fails only where the thread has ended by itself.
        let _: io::Result<()> = self.waker.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the accepting thread had panicked");
        }
    }
}

fn run(
    listener: &TcpListener,
    mut poll: Poll,
    stopped: &AtomicBool,
    mut take: impl FnMut(TcpStream, SocketAddr),
) {
    let mut events = Events::with_capacity(2);
    loop {
        while !stopped.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((socket, remote)) => take(socket, remote),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!("no connection can be accepted: {error}");
                    thread::sleep(PAUSE);
                }
            }
        }
        if stopped.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = poll.poll(&mut events, None)
            && error.kind() != ErrorKind::Interrupted
        {
            tracing::error!("connections can't be waited for: {error}");
            return;
        }
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
