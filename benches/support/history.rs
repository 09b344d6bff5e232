//! A log of any size, a hub that serves it, and readers that take the time.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use timeback_events::{
    Config,
    clock::Clock,
    domain::{Record, State},
    event_log::{self, OpenLog, Retention},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whatever goes wrong.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A filter that wants one event in about a tenth of the log, the last one included.
pub(crate) const NARROW: &str = "type=history.needle";

/// Stands once in each event and in no control frame, so that a reader can count without parsing, and no read
/// can cut it in two.
pub(crate) const MARK: u8 = b'~';

/// How long a reader waits for bytes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ids to resume from.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Just before the last event.
    pub(crate) newest: String,
    /// Half way.
    pub(crate) middle: String,
    /// Just before the oldest kept event.
    pub(crate) oldest: String,
    /// Of an event that was pruned.
    pub(crate) expired: String,
    /// How many events are kept.
    pub(crate) kept: u64,
}

impl Places {
    /// Each with its name.
    pub(crate) fn all(&self) -> [(&'static str, &str); 4] {
        [
            ("newest", &self.newest),
            ("middle", &self.middle),
            ("oldest", &self.oldest),
            ("expired", &self.expired),
        ]
    }
}

/// Fills an empty directory's log with a tenth more events than that, in arrays of up to 1,000, and prunes it to
/// about `events` of some 150 bytes of data each.
///
/// # Errors
/// Where the log can't be opened or written, or has events already.
pub(crate) fn fill(directory: &Path, events: u64) -> Result<Places, Failure> {
    let OpenLog { mut writer, reader } = event_log::open(Some(directory))?;
    if reader.info().head > 0 {
        return Err(format!("{} holds events already", directory.display()).into());
    }
    let (head, batch) = (events + events / 10, (events / 20).clamp(1, 1000));
    let now = Clock::default().wall_ms();
    let servers: Vec<_> = (0..1000).map(|n| format!("server-{n:04}")).collect();
    let data = format!(r#"{{"mark":"~","text":"{}"}}"#, "x".repeat(130));
    let record = |sequence: u64| Record {
        sequence,
        timestamp: now,
        kind: match sequence.is_multiple_of((head / 11).max(1)) || sequence == head {
            true => "history.needle",
            false => "history.filler",
        },
        server: servers
            .get(sequence as usize % servers.len())
            .map(|id| id.as_str()),
        workflow: None,
        tags: "",
        data: &data,
        private: "",
    };
    for first in (1..=head).step_by(batch as usize) {
        let last = head.min(first + batch - 1);
        writer.append(&(first..=last).map(record).collect::<Vec<_>>(), &[])?;
    }
    let state = State {
        sequence: head,
        ..State::default()
    };
    writer.save_snapshot(head, &state.save()?)?;
    let retention = Retention {
        age: None,
        events,
        bytes: u64::MAX,
        idempotency_keys: 0,
        idempotency_bytes: u64::MAX,
    };
    while writer.prune(&retention, now)?.more {}
    let (epochs, floor) = (reader.epochs(), reader.info().floor);
    let name = |sequence| epochs.name(sequence).to_string();
    Ok(Places {
        newest: name(head - 1),
        middle: name(floor + (head - floor) / 2),
        oldest: name(floor - 1),
        expired: name(1),
        kept: head + 1 - floor,
    })
}

/// A hub on a free port of the loopback address, on the present runtime.
pub(crate) struct Serving {
    /// Where.
    pub(crate) hub: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Failure>>,
}

impl Serving {
    /// Serves a directory's log and prunes nothing of it.
    ///
    /// # Errors
    /// Where there is no free port.
    pub(crate) fn start(directory: &Path) -> io::Result<Self> {
        let mut config = Config {
            data_dir: Some(directory.to_owned()),
            ..Config::default()
        };
        config.retention.events = u64::MAX;
        config.retention.bytes = u64::MAX;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (hub, stop) = (listener.local_addr()?, CancellationToken::new());
        let serve = timeback_events::serve(config, listener, stop.clone());
        let task = tokio::spawn(async { Ok(serve.await?) });
        Ok(Self { hub, stop, task })
    }

    /// Stops in order.
    ///
    /// # Errors
    /// Why it had ended, or couldn't start.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        self.task.await?
    }
}

/// One stream, read without parsing. Blocks.
pub(crate) struct Reader {
    /// Where it reads.
    pub(crate) socket: TcpStream,
    buffer: Vec<u8>,
    asked: Instant,
    events: u64,
}

impl Reader {
    /// Asks for the stream that goes on after `id`.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub(crate) fn open(hub: SocketAddr, query: &str, id: &str) -> io::Result<Self> {
        let asked = Instant::now();
        let mut socket = TcpStream::connect(hub)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let request =
            format!("GET /events?{query} HTTP/1.1\r\nHost: {hub}\r\nLast-Event-ID: {id}\r\n\r\n");
        socket.write_all(request.as_bytes())?;
        Ok(Self {
            socket,
            buffer: vec![0; 256 * 1024],
            asked,
            events: 0,
        })
    }

    /// Reads the first frame, and gives the time from the request until then.
    ///
    /// # Errors
    /// Where the connection breaks, or something else comes.
    pub(crate) fn first_frame(&mut self) -> io::Result<Duration> {
        let mut filled = 0;
        loop {
            let read = self.socket.read(&mut self.buffer[filled..])?;
            filled += read;
            let seen = &self.buffer[..filled];
            if let Some(opened) = memchr::memmem::find(seen, b"event: stream_opened\n")
                && memchr::memmem::find(&seen[opened..], b"\n\n").is_some()
            {
                self.events += memchr::memchr_iter(MARK, seen).count() as u64;
                return Ok(self.asked.elapsed());
            }
            if read == 0 {
                return Err(io::Error::other(String::from_utf8_lossy(seen)));
            }
        }
    }

    /// Reads until so many events have come in all, and gives the time from the request until then.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub(crate) fn events(&mut self, wanted: u64) -> io::Result<Duration> {
        while self.events < wanted {
            let read = self.socket.read(&mut self.buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.events += memchr::memchr_iter(MARK, &self.buffer[..read]).count() as u64;
        }
        Ok(self.asked.elapsed())
    }
}
