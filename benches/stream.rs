//! The stream over real loopback sockets: replay, fan-out, and what it costs to come back.
//!
//! `cargo bench --bench stream`. Builds a log of a million events once, under `target/tmp`. Hub and readers share one
//! process and the same cores: read ratios between runs of one sitting, not absolutes.

#[path = "support/history.rs"]
mod history;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use history::{MARK, NARROW, Places, Reader, Serving, fill};
use mio::{Events, Interest, Poll, Token};
use tempfile::TempDir;
use tokio::runtime::Runtime;

// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events in the long log.
const LONG: u64 = 1_000_000;

/// Events in the short log.
const SHORT: u64 = 1_000;

/// Events that are replayed from memory.
const IN_MEMORY: u64 = 100_000;

/// Streams of the fan-out.
const STREAMS: usize = 1_000;

/// Events of one POST.
const ARRAY: u64 = 1_000;

/// Events that each stream is sent at a time.
const FANNED: u64 = 100;

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

fn serve(runtime: &Runtime, directory: &Path) -> Serving {
    let _entered = runtime.enter();
    Serving::start(directory).expect("it serves")
}

/// Publishes arrays over one connection.
struct Publisher {
    socket: TcpStream,
    request: Vec<u8>,
}

impl Publisher {
    fn new(hub: SocketAddr, events: u64) -> Self {
        let text = "x".repeat(130);
        let event = format!(r#"{{"type":"history.live","data":{{"mark":"~","text":"{text}"}}}}"#);
        let body = format!("[{}]", vec![event; events as usize].join(","));
        let head = format!(
            "POST /events HTTP/1.1\r\nHost: {hub}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let socket = TcpStream::connect(hub).expect("a connection");
        socket.set_nodelay(true).expect("a socket");
        Self {
            socket,
            request: (head + &body).into_bytes(),
        }
    }

    /// Sends the array and waits for `202`.
    fn publish(&mut self) {
        self.socket.write_all(&self.request).expect("it is sent");
        let (mut answer, mut buffer) = (Vec::new(), [0; 64 * 1024]);
        // The answer's body ends with the list of ids.
        while !answer.ends_with(b"]}") {
            let read = self.socket.read(&mut buffer).expect("an answer");
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 202"));
    }
}

fn replay(c: &mut Criterion, name: &str, hub: SocketAddr, id: &str, events: u64) {
    let mut group = c.benchmark_group("replay");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(events));
    group.bench_function(name, |b| {
        b.iter_custom(|times| {
            let replays = (0..times).map(|_| {
                let mut reader = Reader::open(hub, "", id).expect("a stream");
                reader.events(events).expect("all events")
            });
            replays.sum()
        });
    });
    group.finish();
}

fn from_memory(c: &mut Criterion) {
    let (runtime, directory) = (Runtime::new().expect("a runtime"), directory());
    let serving = serve(&runtime, directory.path());
    let mut publisher = Publisher::new(serving.hub, ARRAY);
    for _ in 0..IN_MEMORY / ARRAY {
        publisher.publish();
    }
    drop(publisher);
    replay(
        c,
        "100,000 from the window",
        serving.hub,
        "earliest",
        IN_MEMORY,
    );
    runtime.block_on(serving.stop()).expect("it stops");
}

fn fan_out(c: &mut Criterion) {
    // Both ends of each stream are in this process; where so many files can't be open the streams fail loudly.
    let _as_many_as_there_may_be = rlimit::increase_nofile_limit(u64::MAX);
    let (runtime, directory) = (Runtime::new().expect("a runtime"), directory());
    let serving = serve(&runtime, directory.path());
    let mut poll = Poll::new().expect("a poll");
    let mut sockets: Vec<_> = (0..STREAMS)
        .map(|number| {
            let mut reader = Reader::open(serving.hub, "type=history.live", "").expect("a stream");
            reader.first_frame().expect("it opens");
            let socket = reader.socket;
            socket.set_nonblocking(true).expect("a socket");
            let mut socket = mio::net::TcpStream::from_std(socket);
            poll.registry()
                .register(&mut socket, Token(number), Interest::READABLE)
                .expect("it is watched");
            socket
        })
        .collect();
    let mut publisher = Publisher::new(serving.hub, FANNED);
    let deliveries = FANNED * STREAMS as u64;
    let mut group = c.benchmark_group("fan-out");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(deliveries));
    group.bench_function("100 events to 1,000 streams", |b| {
        b.iter(|| {
            publisher.publish();
            collect(&mut poll, &mut sockets, deliveries);
        });
    });
    group.finish();
    drop(sockets);
    runtime.block_on(serving.stop()).expect("it stops");
}

/// Reads from all sockets until so many events have come.
fn collect(poll: &mut Poll, sockets: &mut [mio::net::TcpStream], wanted: u64) {
    let (mut ready, mut buffer) = (Events::with_capacity(1024), vec![0; 256 * 1024]);
    let mut seen = 0;
    while seen < wanted {
        poll.poll(&mut ready, Some(Duration::from_secs(60)))
            .expect("a poll");
        assert!(!ready.is_empty(), "{seen} of {wanted} deliveries came");
        for event in &ready {
            // Until it would block: only then does the poll tell of it again.
            while let Ok(read) = sockets[event.token().0].read(&mut buffer) {
                assert_ne!(read, 0, "a stream ended");
                seen += memchr::memchr_iter(MARK, &buffer[..read]).count() as u64;
            }
        }
    }
}

fn from_disk(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    for (events, name) in [(SHORT, "1,000"), (LONG, "1,000,000")] {
        let directory = directory();
        let places = fill(directory.path(), events).expect("a log");
        let serving = serve(&runtime, directory.path());
        resume(c, name, serving.hub, &places);
        if events == LONG {
            let name = "1,000,000 from the disk";
            replay(c, name, serving.hub, &places.oldest, places.kept);
        }
        runtime.block_on(serving.stop()).expect("it stops");
    }
}

fn resume(c: &mut Criterion, events: &str, hub: SocketAddr, places: &Places) {
    for (what, to_event) in [("first frame", false), ("first event", true)] {
        let mut group = c.benchmark_group(format!("resume in {events} events, {what}"));
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_secs(1));
        for (filter, query) in [("all", ""), ("narrow", NARROW)] {
            for (place, id) in places.all() {
                group.bench_function(format!("{place}, {filter}"), |b| {
                    b.iter_custom(|times| {
                        let resumes = (0..times).map(|_| {
                            let mut reader = Reader::open(hub, query, id).expect("a stream");
                            let opened = reader.first_frame().expect("a frame");
                            match to_event {
                                true => reader.events(1).expect("an event"),
                                false => opened,
                            }
                        });
                        resumes.sum()
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, from_memory, fan_out, from_disk);
criterion_main!(benches);
