//! Loads a hub and says what it bears: deliveries per second, latency, acknowledgements, bytes per connection.
//!
//! ```text
//! cargo run --release                                                   # the hub, in one terminal
//! cargo run --release --example load -- --subscribers 1000 --seconds 5  # this, in another
//! ```
//!
//! Publishers post events one by one (or in arrays, `--batch`) as fast as they are acknowledged, or at a `--rate`;
//! subscribers read the stream and take the time from the moment each event was due. On one machine the load takes
//! its share of the same cores: read ratios between runs of one sitting, not absolutes.

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
    stop: AtomicBool,
    /// Latencies by power-of-two-ish bucket, microseconds.
    latency: Histogram,
    acks: Histogram,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let tally = Arc::new(Tally {
        epoch: Instant::now(),
        published: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        latency: Histogram::new(),
        acks: Histogram::new(),
    });
    let before = options.pid.and_then(resident_bytes);
    let connecting = Instant::now();
    let opened = Arc::new(Barrier::new(options.subscribers + 1));
    let mut readers = JoinSet::new();
    for _ in 0..options.subscribers {
        readers.spawn(subscribe(options.hub, tally.clone(), opened.clone()));
    }
    if options.subscribers > 0 {
        opened.wait().await;
        let took = connecting.elapsed().as_secs_f64();
        println!(
            "{:>12}  streams opened in {took:.2} s ({:.0}/s)",
            options.subscribers,
            options.subscribers as f64 / took
        );
        if let (Some(before), Some(after)) = (before, options.pid.and_then(resident_bytes)) {
            println!(
                "{:>12}  bytes of the hub's memory per stream",
                after.saturating_sub(before) / options.subscribers as u64
            );
        }
    }

    let began = Instant::now();
    let mut writers = JoinSet::new();
    for index in 0..options.publishers {
        writers.spawn(publish(options.clone(), index, tally.clone()));
    }
    tokio::time::sleep(Duration::from_secs_f64(options.seconds)).await;
    tally.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    let published = tally.published.load(Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let expected = published * options.subscribers as u64;
    let mut last = (tally.delivered.load(Ordering::Relaxed), Instant::now());
    while last.0 < expected && last.1.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let delivered = tally.delivered.load(Ordering::Relaxed);
        if delivered != last.0 {
            last = (delivered, Instant::now());
        }
    }
    let delivering = last.1.duration_since(began).as_secs_f64();
    readers.abort_all();

    println!(
        "{published:>12}  events acknowledged, {:.0}/s",
        published as f64 / seconds
    );
    println!(
        "{:>12}  ack p50, p99, max (µs): {}",
        "",
        tally.acks.summary()
    );
    if options.subscribers > 0 {
        println!(
            "{:>12}  deliveries, {:.0}/s",
            last.0,
            last.0 as f64 / delivering
        );
        println!(
            "{:>12}  latency p50, p99, max (µs): {}",
            "",
            tally.latency.summary()
        );
        println!("{:>12}  lost", expected.saturating_sub(last.0));
    }
    Ok(())
}

async fn subscribe(
    hub: SocketAddr,
    tally: Arc<Tally>,
    opened: Arc<Barrier>,
) -> Result<(), Failure> {
    let mut socket = TcpStream::connect(hub).await?;
    socket
        .write_all(format!("GET /events?type=load.test HTTP/1.1\r\nHost: {hub}\r\n\r\n").as_bytes())
        .await?;
    let mut buffer = vec![0; 64 * 1024];
    let mut held = 0;
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
            count += 1;
            rest = &rest[at + MARK.len() + DIGITS..];
        }
        tally.delivered.fetch_add(count, Ordering::Relaxed);
        // A mark may be cut in two: what could be the beginning of one waits for the rest.
        held = rest.len().min(MARK.len() + DIGITS - 1);
        let from = bytes.len() - held;
        let end = bytes.len();
        buffer.copy_within(from..end, 0);
    }
}

async fn publish(options: Options, index: usize, tally: Arc<Tally>) -> Result<(), Failure> {
    let mut socket = TcpStream::connect(options.hub).await?;
    socket.set_nodelay(true)?;
    let pad = "x".repeat(options.size);
    let mut answer = vec![0; 256 * 1024];
    let gap = options.rate.map(|rate| {
        Duration::from_secs_f64(options.batch as f64 * options.publishers as f64 / rate)
    });
    let first = Instant::now()
        + gap.map_or(Duration::ZERO, |gap| {
            gap.mul_f64(index as f64 / options.publishers as f64)
        });
    let mut turn = 0_u32;
    while !tally.stop.load(Ordering::Relaxed) {
        let due = gap.map_or_else(Instant::now, |gap| first + gap * turn);
        turn += 1;
        tokio::time::sleep_until(due.into()).await;
        let stamp = due.saturating_duration_since(tally.epoch).as_micros();
        let event =
            format!("{{\"type\":\"load.test\",\"data\":{{\"m\":\"~T{stamp:0DIGITS$}{pad}\"}}}}");
        let body = if options.batch == 1 {
            event
        } else {
            format!("[{}]", vec![event; options.batch].join(","))
        };
        let request = format!(
            "POST /events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            options.hub,
            body.len()
        );
        let asked = Instant::now();
        socket.write_all(request.as_bytes()).await?;
        let status = read_answer(&mut socket, &mut answer).await?;
        if status != 202 {
            return Err(format!("the hub answered {status}").into());
        }
        tally.acks.add(u64::try_from(asked.elapsed().as_micros())?);
        tally
            .published
            .fetch_add(options.batch as u64, Ordering::Relaxed);
    }
    Ok(())
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
