//! Many streams for the price of a thread: sockets of one poll, frames counted in passing and never kept.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

/// What of a line is looked at: names, ids, and the begin of the data. Longer ones are text to be skipped.
const LINE: usize = 512;

/// How often the reading thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Streams that all expect the same events: `{"n": …, "at": …}`, numbered from 0, `at` in microseconds since the origin
/// that they were opened with.
pub struct Crowd {
    members: Vec<Member>,
    origin: Instant,
}

/// One stream.
struct Member {
    socket: TcpStream,
    /// The begin of the line that is being read.
    line: Vec<u8>,
    /// What the present block says.
    block: Block,
    last_event_id: String,
    verdict: Option<String>,
    /// The number that the next event must have.
    next: u64,
    ended: bool,
}

#[derive(Default)]
struct Block {
    id: Option<String>,
    event: String,
    data: Vec<u8>,
}

/// A crowd that reads.
pub struct Reading {
    thread: JoinHandle<(Crowd, Delays)>,
    stop: Arc<AtomicBool>,
    taken: watch::Receiver<u64>,
    ended: watch::Receiver<usize>,
}

/// From the publisher's call to each stream, in microseconds.
#[derive(Default)]
pub struct Delays(Vec<u32>);

impl Crowd {
    /// Opens so many streams, each with a small receive buffer where `narrow`, and sends their requests; answers are not
    /// waited for.
    pub fn open(address: SocketAddr, count: usize, origin: Instant, narrow: bool) -> Self {
        let members = (0..count)
            .map(|_| Member::open(address, narrow, "", 0))
            .collect();
        Self { members, origin }
    }

    /// Opens them all again after the last id that each has seen.
    pub fn resume(self, address: SocketAddr) -> Self {
        let again = |old: Member| Member::open(address, false, &old.last_event_id, old.next);
        Self {
            members: self.members.into_iter().map(again).collect(),
            origin: self.origin,
        }
    }

    /// Reads from now on.
    ///
    /// # Panics
    /// The thread does where an event is missing, doubled or out of order.
    pub fn read(self) -> Reading {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell_taken, taken) = watch::channel(0);
        let (tell_ended, ended) = watch::channel(0);
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || self.run(&stopped, &tell_taken, &tell_ended));
        Reading {
            thread,
            stop,
            taken,
            ended,
        }
    }

    /// How many streams there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// How many events they all have still to get, where each is to get so many.
    pub fn left(&self, each: u64) -> u64 {
        self.members.iter().map(|member| each - member.next).sum()
    }

    /// How many events each has got, the least and the most.
    pub fn reached(&self) -> (u64, u64) {
        let each = || self.members.iter().map(|member| member.next);
        (each().min().unwrap_or(0), each().max().unwrap_or(0))
    }

    /// What they were told when they were opened, each verdict once.
    pub fn verdicts(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self
            .members
            .iter()
            .map(|member| member.verdict.as_deref().unwrap_or("none"))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn run(
        mut self,
        stop: &AtomicBool,
        taken: &watch::Sender<u64>,
        ended: &watch::Sender<usize>,
    ) -> (Self, Delays) {
        let mut poll = mio::Poll::new().expect("a poll");
        for (index, member) in self.members.iter_mut().enumerate() {
            poll.registry()
                .register(
                    &mut member.socket,
                    mio::Token(index),
                    mio::Interest::READABLE,
                )
                .expect("registered");
        }
        let mut events = mio::Events::with_capacity(1024);
        let mut buffer = vec![0; 256 << 10];
        let (mut delays, mut gone) = (Delays::default(), 0);
        while !stop.load(Ordering::Relaxed) {
            match poll.poll(&mut events, Some(LOOK)) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                polled => polled.expect("polled"),
            }
            for event in &events {
                let member = &mut self.members[event.token().0];
                member.drain(&mut buffer, self.origin, &mut delays);
                gone += usize::from(member.ended);
            }
            taken.send_replace(delays.0.len() as u64);
            ended.send_replace(gone);
        }
        for member in &mut self.members {
            // Registered again by whoever reads on.
            let _: std::io::Result<()> = poll.registry().deregister(&mut member.socket);
        }
        (self, delays)
    }
}

impl Reading {
    /// Waits until the crowd has got so many events, all together.
    pub async fn until_taken(&mut self, events: u64, patience: Duration) {
        let waiting = self.taken.wait_for(|taken| *taken >= events);
        let outcome = tokio::time::timeout(patience, waiting).await;
        let taken = outcome.map(|taken| taken.map(|taken| *taken).is_ok());
        assert!(
            taken == Ok(true),
            "{events} events, {} came",
            *self.taken.borrow()
        );
    }

    /// Waits until so many of them have come to their end.
    pub async fn until_ended(&mut self, streams: usize, patience: Duration) {
        let waiting = self.ended.wait_for(|ended| *ended >= streams);
        let outcome = tokio::time::timeout(patience, waiting).await;
        let ended = outcome.map(|ended| ended.map(|ended| *ended).is_ok());
        assert!(
            ended == Ok(true),
            "{streams} ends, {} came",
            *self.ended.borrow()
        );
    }

    /// Reads no more; the crowd, and how long each event took to each of it.
    pub fn stop(self) -> (Crowd, Delays) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .expect("each got each event once, in order")
    }
}

impl Member {
    fn open(address: SocketAddr, narrow: bool, last_event_id: &str, next: u64) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let mut socket = socket.expect("a socket");
        if narrow {
            socket.set_recv_buffer_size(4_096).expect("a small window");
        }
        socket.connect(&address.into()).expect("a connection");
        let mut request = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n");
        if !last_event_id.is_empty() {
            request.push_str(&format!("Last-Event-ID: {last_event_id}\r\n"));
        }
        request.push_str("\r\n");
        socket.write_all(request.as_bytes()).expect("sent");
        socket.set_nonblocking(true).expect("non-blocking");
        Self {
            socket: TcpStream::from_std(socket.into()),
            line: Vec::new(),
            block: Block::default(),
            last_event_id: last_event_id.to_owned(),
            verdict: None,
            next,
            ended: false,
        }
    }

    /// Takes what is there.
    fn drain(&mut self, buffer: &mut [u8], origin: Instant, delays: &mut Delays) {
        while !self.ended {
            match self.socket.read(buffer) {
                Ok(0) => self.ended = true,
                Ok(read) => self.take(&buffer[..read], origin, delays),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // A reset is an end, too.
                Err(_) => self.ended = true,
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], origin: Instant, delays: &mut Delays) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.begin_of_line(&bytes[..end]);
            self.end_of_line(origin, delays);
            bytes = &bytes[end + 1..];
        }
        self.begin_of_line(bytes);
    }

    fn begin_of_line(&mut self, bytes: &[u8]) {
        let room = LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_of_line(&mut self, origin: Instant, delays: &mut Delays) {
        let mut line = std::mem::take(&mut self.line);
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        if let Some(id) = line.strip_prefix(b"id: ") {
            self.block.id = Some(text(id));
        } else if let Some(event) = line.strip_prefix(b"event: ") {
            self.block.event = text(event);
        } else if let Some(data) = line.strip_prefix(b"data: ") {
            self.block.data = data.to_owned();
        } else if line.is_empty() {
            let block = std::mem::take(&mut self.block);
            self.dispatch(block, origin, delays);
        }
        line.clear();
        self.line = line;
    }

    fn dispatch(&mut self, block: Block, origin: Instant, delays: &mut Delays) {
        if let Some(id) = block.id {
            self.last_event_id = id;
        }
        match block.event.as_str() {
            "stream_opened" => {
                let data: serde_json::Value =
                    serde_json::from_slice(&block.data).expect("a short frame");
                self.verdict = data["verdict"].as_str().map(str::to_owned);
            }
            "crowd.test" => {
                let n = number(&block.data, b"\"n\":");
                assert_eq!(n, self.next, "each event once, in order");
                self.next += 1;
                let at = Duration::from_micros(number(&block.data, b"\"at\":"));
                let took = origin.elapsed().saturating_sub(at).as_micros();
                delays.0.push(u32::try_from(took).unwrap_or(u32::MAX));
            }
            _ => {}
        }
    }
}

impl Delays {
    /// How long the given part of them took at most: 0.5 for the median, 1.0 for all.
    pub fn quantile(&mut self, part: f64) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let at = (last as f64 * part).round() as usize;
        Duration::from_micros(self.0.get(at).copied().unwrap_or(0).into())
    }
}

/// The number after a name in the begin of an event.
fn number(data: &[u8], name: &[u8]) -> u64 {
    let at = memchr::memmem::find(data, name).expect("it is in the begin of the data");
    let digits = data[at + name.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |n, digit| n * 10 + u64::from(digit - b'0'))
}
