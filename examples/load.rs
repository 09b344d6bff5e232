//! Loads a hub and says what it bears: deliveries per second, latency, acknowledgements, bytes per connection.
//!
//! ```text
//! cargo run --release                                                   # the hub, in one terminal
//! cargo run --release --example load -- --subscribers 1000 --seconds 5  # this, in another
//! ```
//!
//! Publishers post events one by one (or in arrays, `--batch`) as fast as they are acknowledged, or at a `--rate`;
//! subscribers read the stream and take the time from the moment each event was due, and count what is lost, doubled
//! or out of order. With `--heartbeats` the connections of `--publishers` send heartbeats of registered servers instead,
//! and leave the servers deregistered. On one machine the load takes its share of the same cores: read ratios between
//! runs of one sitting, not absolutes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Barrier,
    task::JoinSet,
};

/// Loads a hub and says what it bears.
#[derive(Parser, Clone)]
struct Options {
    /// Where the hub listens.
    #[arg(long, default_value = "127.0.0.1:3001")]
    hub: SocketAddr,
    /// Streams to open.
    #[arg(short = 'n', long, default_value_t = 100)]
    subscribers: usize,
    /// Connections that publish, each waiting for its acknowledgement.
    #[arg(short = 'c', long, default_value_t = 4)]
    publishers: usize,
    /// Events per second in all; as fast as they are acknowledged where it is not given.
    #[arg(long)]
    rate: Option<f64>,
    /// Events in one POST.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Bytes of padding in each event.
    #[arg(long, default_value_t = 150)]
    size: usize,
    /// How long to publish.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Heartbeats of this many servers, instead of events.
    #[arg(long, value_name = "SERVERS")]
    heartbeats: Option<usize>,
    /// The hub's process, to read its memory.
    #[arg(long)]
    pid: Option<u32>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What all tasks count into.
struct Tally {
    epoch: Instant,
    published: AtomicU64,
    delivered: AtomicU64,
    /// Deliveries whose sequence didn't rise: doubled, or out of order.
    astray: AtomicU64,
    stop: AtomicBool,
    /// From the moment an event was due to its delivery, microseconds.
    latency: Histogram,
    /// From a request to its answer, microseconds.
    acks: Histogram,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let tally = Arc::new(Tally {
        epoch: Instant::now(),
        published: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        astray: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        latency: Histogram::new(),
        acks: Histogram::new(),
    });
    let mut readers = JoinSet::new();
    open_streams(&options, &tally, &mut readers).await?;
    if let Some(servers) = options.heartbeats {
        register(options.hub, servers).await?;
    }
    let began = Instant::now();
    let mut writers = JoinSet::new();
    for index in 0..options.publishers {
        match options.heartbeats {
            Some(_) => writers.spawn(send_heartbeats(options.clone(), index, tally.clone())),
            None => writers.spawn(publish(options.clone(), index, tally.clone())),
        };
    }
    tokio::time::sleep(Duration::from_secs_f64(options.seconds)).await;
    tally.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    let sent = tally.published.load(Ordering::Relaxed);
    let rate = sent as f64 / began.elapsed().as_secs_f64();
    let what = options.heartbeats.map_or("events", |_| "heartbeats");
    println!("{sent:>12}  {what} acknowledged, {rate:.0}/s");
    let acks = tally.acks.summary();
    println!("{:>12}  ack p50, p99, max (µs): {acks}", "");
    if let Some(servers) = options.heartbeats {
        deregister(options.hub, servers).await?;
    } else if options.subscribers > 0 {
        wait_for_deliveries(&options, &tally, began, &mut readers).await?;
    }
    Ok(())
}

/// Opens the streams and waits until each has its first frame. One that the hub refuses or ends is a failure: figures
/// of fewer streams than were asked for would flatter it.
async fn open_streams(
    options: &Options,
    tally: &Arc<Tally>,
    readers: &mut JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    if options.subscribers == 0 {
        return Ok(());
    }
    let before = options.pid.and_then(resident_bytes);
    let connecting = Instant::now();
    let opened = Arc::new(Barrier::new(options.subscribers + 1));
    for _ in 0..options.subscribers {
        readers.spawn(subscribe(options.clone(), tally.clone(), opened.clone()));
    }
    tokio::select! {
        _ = opened.wait() => {}
        Some(ended) = readers.join_next() => ended??,
    }
    let took = connecting.elapsed().as_secs_f64();
    let count = options.subscribers;
    let rate = count as f64 / took;
    println!("{count:>12}  streams opened in {took:.2} s ({rate:.0}/s)");
    if let (Some(before), Some(after)) = (before, options.pid.and_then(resident_bytes)) {
        let each = after.saturating_sub(before) / count as u64;
        println!("{each:>12}  bytes of the hub's memory per stream");
    }
    Ok(())
}

/// Waits until all deliveries have come, or none has for two seconds, and says how many came.
async fn wait_for_deliveries(
    options: &Options,
    tally: &Tally,
    began: Instant,
    readers: &mut JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    let expected = tally.published.load(Ordering::Relaxed) * options.subscribers as u64;
    let mut last = (tally.delivered.load(Ordering::Relaxed), Instant::now());
    while last.0 < expected && last.1.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let delivered = tally.delivered.load(Ordering::Relaxed);
        if delivered != last.0 {
            last = (delivered, Instant::now());
        }
    }
    // One that has ended already has ended too early.
    if let Some(ended) = readers.try_join_next() {
        ended??;
    }
    readers.abort_all();
    let (delivered, until) = last;
    let rate = delivered as f64 / until.duration_since(began).as_secs_f64();
    println!("{delivered:>12}  deliveries, {rate:.0}/s");
    let latency = tally.latency.summary();
    println!("{:>12}  latency p50, p99, max (µs): {latency}", "");
    println!("{:>12}  lost", expected.saturating_sub(delivered));
    let astray = tally.astray.load(Ordering::Relaxed);
    println!("{astray:>12}  doubled or out of order");
    Ok(())
}

async fn subscribe(
    options: Options,
    tally: Arc<Tally>,
    opened: Arc<Barrier>,
) -> Result<(), Failure> {
    let hub = options.hub;
    let mut socket = TcpStream::connect(hub).await?;
    socket
        .write_all(format!("GET /events?type=load.test HTTP/1.1\r\nHost: {hub}\r\n\r\n").as_bytes())
        .await?;
    let mut buffer = vec![0; 64 * 1024 + 4 * options.size];
    let (mut held, mut newest) = (0, 0);
    let mut waiting = Some(opened);
    loop {
        let read = socket.read(&mut buffer[held..]).await?;
        if read == 0 {
            return Err("the hub closed a stream".into());
        }
        let bytes = &buffer[..held + read];
        if let Some(opened) =
            waiting.take_if(|_| memchr::memmem::find(bytes, b"stream_opened").is_some())
        {
            opened.wait().await;
        }
        let now = micros(tally.epoch);
        let mut rest = bytes;
        let mut count = 0;
        while let Some(at) = memchr::memmem::find(rest, MARK) {
            let Some(digits) = rest.get(at + MARK.len()..at + MARK.len() + DIGITS) else {
                break;
            };
            let due: u64 = std::str::from_utf8(digits)?.parse()?;
            tally.latency.add(now.saturating_sub(due));
            let sequence = sequence_before(&rest[..at]).ok_or("an event without a sequence")?;
            if sequence <= newest {
                tally.astray.fetch_add(1, Ordering::Relaxed);
            }
            newest = newest.max(sequence);
            count += 1;
            rest = &rest[at + MARK.len() + DIGITS..];
        }
        tally.delivered.fetch_add(count, Ordering::Relaxed);
        // An event may be cut in two: what follows the last whole one waits for the rest.
        held = rest.len().min(buffer.len() / 2);
        let from = bytes.len() - held;
        let end = bytes.len();
        buffer.copy_within(from..end, 0);
    }
}

/// The envelope's sequence of the event that these bytes end in.
fn sequence_before(bytes: &[u8]) -> Option<u64> {
    let name = b"\"sequence\":";
    let digits = &bytes[memchr::memmem::rfind(bytes, name)? + name.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

async fn publish(options: Options, index: usize, tally: Arc<Tally>) -> Result<(), Failure> {
    let mut connection = Connection::open(options.hub).await?;
    let pad = "x".repeat(options.size);
    let mut pace = Pace::new(&options, index, options.batch);
    while !tally.stop.load(Ordering::Relaxed) {
        let due = pace.next().await;
        let stamp = due.saturating_duration_since(tally.epoch).as_micros();
        let event =
            format!("{{\"type\":\"load.test\",\"data\":{{\"m\":\"~T{stamp:0DIGITS$}{pad}\"}}}}");
        let body = if options.batch == 1 {
            event
        } else {
            format!("[{}]", vec![event; options.batch].join(","))
        };
        let took = connection.post("/events", &body, 202).await?;
        tally.acks.add(took);
        let count = options.batch as u64;
        tally.published.fetch_add(count, Ordering::Relaxed);
    }
    Ok(())
}

/// Sends heartbeats of every server that falls to this connection, in turn.
async fn send_heartbeats(options: Options, index: usize, tally: Arc<Tally>) -> Result<(), Failure> {
    let mut connection = Connection::open(options.hub).await?;
    let mut pace = Pace::new(&options, index, 1);
    let servers = options.heartbeats.unwrap_or(1).max(1);
    let mut number = index % servers;
    while !tally.stop.load(Ordering::Relaxed) {
        pace.next().await;
        let path = format!("/servers/{}/heartbeat", server(number));
        let took = connection.post(&path, "", 200).await?;
        tally.acks.add(took);
        tally.published.fetch_add(1, Ordering::Relaxed);
        number = (number + options.publishers) % servers;
    }
    Ok(())
}

/// Registers servers that won't be missed while this runs.
async fn register(hub: SocketAddr, servers: usize) -> Result<(), Failure> {
    let events = (0..servers).map(|number| {
        let id = server(number);
        format!(
            r#"{{"type":"server_connected","serverId":"{id}","data":{{"connection":{{"id":"{id}","name":"{id}","transport":"http","heartbeatIntervalMs":300000}}}}}}"#
        )
    });
    let began = Instant::now();
    post_all(hub, events).await?;
    let took = began.elapsed().as_secs_f64();
    println!("{servers:>12}  servers registered in {took:.2} s");
    Ok(())
}

/// Leaves no server behind.
async fn deregister(hub: SocketAddr, servers: usize) -> Result<(), Failure> {
    let events = (0..servers).map(|number| {
        let id = server(number);
        format!(r#"{{"type":"server_disconnected","serverId":"{id}","data":{{}}}}"#)
    });
    post_all(hub, events).await
}

/// Posts events in arrays of up to 500, each a few hundred bytes: within the limit of a body.
async fn post_all(
    hub: SocketAddr,
    events: impl Iterator<Item = String> + Send,
) -> Result<(), Failure> {
    let mut connection = Connection::open(hub).await?;
    let events: Vec<_> = events.collect();
    for some in events.chunks(500) {
        let body = format!("[{}]", some.join(","));
        connection.post("/events", &body, 202).await?;
    }
    Ok(())
}

fn server(number: usize) -> String {
    format!("load-{number:06}")
}

/// When a connection's requests are due: at once, or at its share of the rate.
struct Pace {
    gap: Option<Duration>,
    first: Instant,
    turn: u32,
}

impl Pace {
    fn new(options: &Options, index: usize, batch: usize) -> Self {
        let connections = options.publishers as f64;
        let gap = options
            .rate
            .map(|rate| Duration::from_secs_f64(batch as f64 * connections / rate));
        let offset = gap.map(|gap| gap.mul_f64(index as f64 / connections));
        Self {
            gap,
            first: Instant::now() + offset.unwrap_or_default(),
            turn: 0,
        }
    }

    /// Waits until the next request is due, and says when that was: late ones don't move the later ones.
    async fn next(&mut self) -> Instant {
        let Some(gap) = self.gap else {
            return Instant::now();
        };
        let due = self.first + gap * self.turn;
        self.turn += 1;
        tokio::time::sleep_until(due.into()).await;
        due
    }
}

/// A connection that asks one thing at a time.
struct Connection {
    hub: SocketAddr,
    socket: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(hub: SocketAddr) -> Result<Self, Failure> {
        let socket = TcpStream::connect(hub).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            hub,
            socket,
            answer: vec![0; 256 * 1024],
        })
    }

    /// Posts JSON and waits for the answer, which must have this status. Gives the time that it took, µs.
    async fn post(&mut self, path: &str, body: &str, status: u16) -> Result<u64, Failure> {
        let (hub, length) = (self.hub, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {hub}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let asked = Instant::now();
        self.socket.write_all(request.as_bytes()).await?;
        let answered = read_answer(&mut self.socket, &mut self.answer).await?;
        if answered != status {
            return Err(format!("the hub answered {answered} to POST {path}").into());
        }
        Ok(u64::try_from(asked.elapsed().as_micros())?)
    }
}

/// Reads one answer with a length, gives its status.
async fn read_answer(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<u16, Failure> {
    let mut filled = 0;
    loop {
        let read = socket.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err("the hub closed a publisher's connection".into());
        }
        filled += read;
        let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap_or("0");
        if filled >= end + 4 + length.parse::<usize>()? {
            return Ok(head.split(' ').nth(1).unwrap_or_default().parse()?);
        }
    }
}

fn micros(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn resident_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// Counts in buckets that are an eighth of a power of two wide: percentiles to about 9 %.
struct Histogram(Vec<AtomicU64>);

impl Histogram {
    fn new() -> Self {
        Self((0..64 * 8).map(|_| AtomicU64::new(0)).collect())
    }

    fn add(&self, micros: u64) {
        let value = micros.max(8);
        let power = value.ilog2();
        let eighth = (value >> (power - 3)) & 7;
        self.0[(power * 8) as usize + eighth as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn summary(&self) -> String {
        let counts: Vec<u64> = self
            .0
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect();
        let all: u64 = counts.iter().sum();
        let at = |share: f64| {
            let mut left = (all as f64 * share).ceil() as u64;
            let bucket = counts.iter().position(|count| {
                let reached = left <= *count;
                left = left.saturating_sub(*count);
                reached
            });
            bucket.map_or(0, |bucket| (8 + (bucket as u64 % 8)) << (bucket / 8) >> 3)
        };
        format!("{}, {}, {}", at(0.5), at(0.99), at(1.0))
    }
}

const MARK: &[u8] = b"~T";
const DIGITS: usize = 12;
