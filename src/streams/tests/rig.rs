//! A log, a window and streams; clients that parse what they get as WHATWG HTML section 9.2.6 says.

use std::{
    io::{ErrorKind, Read},
    net::{TcpListener, TcpStream},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    domain::{Position, Record},
    event_log::{
        Item, LogReader, LogWriter, OpenLog, ReadError, ReadRange, Retention, Scanned, Visit,
        memory, through::ReadThrough,
    },
    filter::Filter,
    frame::Format,
    metrics::Metrics,
    streams::{Opening, Settings, Sink, Streams},
    subscription::Verdict,
    tail::Tail,
};

/// What never happens within this time doesn't happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Rig {
    pub(super) streams: Arc<Streams>,
    pub(super) metrics: Metrics,
    pub(super) log: Arc<Damaged>,
    tail: Arc<Tail>,
    writer: Mutex<Box<dyn LogWriter>>,
}

/// One event, as a test writes it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) kind: &'static str,
    pub(super) server: Option<&'static str>,
    pub(super) workflow: Option<&'static str>,
    pub(super) tags: &'static str,
    pub(super) data: String,
}

impl Fact {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            server: None,
            workflow: None,
            tags: "",
            data: "{}".to_owned(),
        }
    }

    pub(super) fn record(&self, sequence: u64) -> Record<'_> {
        Record {
            sequence,
            timestamp: 1,
            kind: self.kind,
            server: self.server,
            workflow: self.workflow,
            tags: self.tags,
            data: &self.data,
            private: "",
        }
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        keepalive: Duration::from_millis(20),
        retry: Duration::from_millis(100),
        stall_timeout: PATIENCE,
        max_clients: 1000,
        shards: Some(1),
    }
}

impl Rig {
    pub(super) fn new(settings: Settings, window: usize) -> Self {
        let OpenLog { writer, reader } = memory::open();
        let log = Arc::new(Damaged {
            log: reader,
            damage: Mutex::default(),
        });
        let tail = Arc::new(Tail::new(0, window));
        let metrics = Metrics::new().unwrap();
        let streams = Streams::start(settings, tail.clone(), log.clone(), metrics.clone()).unwrap();
        Self {
            streams: Arc::new(streams),
            metrics,
            log,
            tail,
            writer: Mutex::new(writer),
        }
    }

    /// Appends and publishes one commit.
    pub(super) fn commit(&self, facts: &[Fact]) {
        let mut writer = self.writer.lock();
        let head = self.log.info().head;
        let records: Vec<_> = facts
            .iter()
            .zip(head + 1..)
            .map(|(fact, at)| fact.record(at))
            .collect();
        writer.append(&records, &[]).unwrap();
        self.tail.publish(&records, &self.log.epochs());
    }

    pub(super) fn prune_to(&self, events: u64) {
        let mut writer = self.writer.lock();
        writer.save_snapshot(self.log.info().head, &[]).unwrap();
        let retention = Retention {
            age: None,
            events,
            bytes: u64::MAX,
            idempotency_keys: 0,
            idempotency_bytes: u64::MAX,
        };
        while writer.prune(&retention, 0).unwrap().more {}
    }

    pub(super) fn opening(&self, filter: Filter, after: u64) -> Opening {
        Opening {
            filter,
            format: Format::Named,
            after,
            opened: b"event: stream_opened\ndata: {}\n\n".to_vec(),
            prologue: None,
            verdict: Verdict::Live,
            owner: None,
            permit: self.streams.admit().unwrap(),
        }
    }

    pub(super) fn open(&self, opening: Opening) -> Client {
        let (client, server) = pair();
        self.streams.open(opening, Sink::Socket(server));
        client
    }

    pub(super) fn follow(&self, after: u64) -> Client {
        self.open(self.opening(Filter::all(), after))
    }

    pub(super) fn name(&self, sequence: u64) -> Position {
        self.log.epochs().name(sequence)
    }

    pub(super) fn ended(&self, reason: &str) -> u64 {
        self.metrics
            .streams_ended
            .with_label_values(&[reason])
            .get()
    }

    /// Waits until no stream is open.
    pub(super) fn wait_empty(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, self.streams.emptied())
                .await
                .expect("all streams end");
        });
    }
}

/// Two ends of a connection with small buffers.
pub(super) fn pair() -> (Client, mio::net::TcpStream) {
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.set_recv_buffer_size(4096).unwrap();
    listener
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    listener.listen(1).unwrap();
    let listener: TcpListener = listener.into();
    // The client listens and the hub's end connects: so the small buffers are set before the handshake.
    let server = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    socket2::SockRef::from(&server)
        .set_send_buffer_size(4096)
        .unwrap();
    server.set_nonblocking(true).unwrap();
    let (client, _) = listener.accept().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    (
        Client {
            socket: client,
            bytes: Vec::new(),
            parsed: 0,
        },
        mio::net::TcpStream::from_std(server),
    )
}

/// One end of a stream.
pub(super) struct Client {
    socket: TcpStream,
    bytes: Vec<u8>,
    parsed: usize,
}

/// One frame, as an `EventSource` would dispatch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) id: Option<String>,
    pub(super) event: Option<String>,
    pub(super) data: String,
}

impl Frame {
    /// The place that the id names.
    pub(super) fn place(&self) -> Option<u64> {
        self.id
            .as_deref()
            .and_then(Position::parse)
            .map(|place| place.sequence)
    }

    pub(super) fn is(&self, event: &str) -> bool {
        self.event.as_deref() == Some(event)
    }

    pub(super) fn is_control(&self) -> bool {
        [
            "stream_opened",
            "bookmark",
            "stream_gap",
            "stream_closing",
            "snapshot",
        ]
        .iter()
        .any(|name| self.is(name))
    }
}

impl Client {
    /// The next frame; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.bytes[self.parsed..]
                .windows(2)
                .position(|two| two == b"\n\n")
            {
                let text = &self.bytes[self.parsed..self.parsed + end];
                let frame = parse(std::str::from_utf8(text).unwrap());
                self.parsed += end + 2;
                return Some(frame);
            }
            if self.read(16 * 1024) == 0 {
                return None;
            }
        }
    }

    /// Reads some bytes at most, which must come in time, and says how many.
    pub(super) fn read(&mut self, most: usize) -> usize {
        let mut buffer = vec![0; most];
        match self.socket.read(&mut buffer) {
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                count
            }
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset) => 0,
            Err(e) => panic!("nothing came in time: {e}"),
        }
    }

    /// The frames that are there whole.
    pub(super) fn whole_frames(&mut self) -> Vec<Frame> {
        let text = String::from_utf8_lossy(&self.bytes[self.parsed..]).into_owned();
        let Some(end) = text.rfind("\n\n") else {
            return Vec::new();
        };
        self.parsed += end + 2;
        text[..end].split("\n\n").map(parse).collect()
    }

    /// The next frame that is an event; `None` at the end.
    pub(super) fn next_event(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if !frame.is_control() {
                return Some(frame);
            }
        }
    }

    pub(super) fn next_named(&mut self, name: &str) -> Frame {
        loop {
            let frame = self
                .next()
                .unwrap_or_else(|| panic!("{name} comes before the end"));
            if frame.is(name) {
                return frame;
            }
        }
    }
}

fn parse(block: &str) -> Frame {
    let mut frame = Frame {
        id: None,
        event: None,
        data: String::new(),
    };
    for line in block.split('\n') {
        assert!(!line.contains('\r'), "{line:?}");
        let (field, value) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("a field: {line:?}"));
        match field {
            "id" => frame.id = Some(value.to_owned()),
            "event" => frame.event = Some(value.to_owned()),
            "data" => frame.data.push_str(value),
            "retry" => assert!(value.parse::<u64>().is_ok(), "{value:?}"),
            other => panic!("an unknown field {other:?}"),
        }
    }
    frame
}

/// A log some of whose events are damaged.
pub(super) struct Damaged {
    log: Arc<dyn LogReader>,
    pub(super) damage: Mutex<Vec<u64>>,
}

impl ReadThrough for Damaged {
    fn log(&self) -> &dyn LogReader {
        &*self.log
    }

    fn read_through(
        &self,
        range: &ReadRange,
        filter: &Filter,
        visit: Visit<'_>,
    ) -> Result<Scanned, ReadError> {
        let damage = self.damage.lock().clone();
        let mut stopped = None;
        let scanned = self.log.read(range, &Filter::all(), &mut |item| {
            let Item::Event(record) = item else {
                return visit(item);
            };
            let flow = if damage.contains(&record.sequence) {
                visit(Item::Corrupt {
                    first: record.sequence,
                    last: record.sequence,
                })
            } else if filter.matches(&record) {
                visit(item)
            } else {
                ControlFlow::Continue(())
            };
            if flow.is_break() {
                stopped = Some(record.sequence);
            }
            flow
        })?;
        Ok(Scanned {
            through: stopped.unwrap_or(scanned.through),
            ..scanned
        })
    }
}
