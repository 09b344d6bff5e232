//! What it costs to come back: fills a log, serves it, and takes the time from a request to the first frame and to
//! the first event, from four places, with and without a narrow filter; then replays all of it on one connection.
//!
//! ```text
//! cargo run --release --example resume -- --directory /var/tmp/resume
//! cargo run --release --example resume -- --directory /var/tmp/resume-small --events 1000
//! ```
//!
//! The directory must be empty or new, and holds some 300 MB for a million events; remove it afterwards. Hub and
//! reader share one process here, so the memory is that of both.

#[path = "../benches/support/history.rs"]
mod history;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;
use history::{Failure, NARROW, Places, Reader, Serving};

/// Times what it costs to come back to a long log.
#[derive(Parser)]
struct Options {
    /// An empty or new directory for the log.
    #[arg(long)]
    directory: PathBuf,
    /// Events that the log keeps.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How often each place is tried; the middle one of the times counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.directory)?;
    let began = Instant::now();
    let places = history::fill(&options.directory, options.events.max(100))?;
    let took = began.elapsed().as_secs_f64();
    println!("{} events kept, written in {took:.1} s", places.kept);

    let began = Instant::now();
    let serving = Serving::start(&options.directory)?;
    let hub = serving.hub;
    let measured = tokio::task::spawn_blocking(move || {
        Reader::open(hub, "", "")?.first_frame()?;
        println!("the hub serves after {:.0} ms", millis(began.elapsed()));
        resume(hub, &places, options.rounds.max(1))?;
        replay(hub, &places)
    });
    let measured = measured.await?;
    serving.stop().await?;
    measured
}

/// Prints place × filter → time to the first frame and to the first event.
fn resume(hub: std::net::SocketAddr, places: &Places, rounds: usize) -> Result<(), Failure> {
    println!("\n| from | filter | first frame, ms | first event, ms |");
    println!("| --- | --- | --- | --- |");
    for (filter, query) in [("none", ""), ("narrow", NARROW)] {
        for (place, id) in places.all() {
            let (mut frames, mut events) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let mut reader = Reader::open(hub, query, id)?;
                frames.push(reader.first_frame()?);
                events.push(reader.events(1)?);
            }
            let (frame, event) = (median(&mut frames), median(&mut events));
            println!("| {place} | {filter} | {frame:.2} | {event:.2} |");
        }
    }
    Ok(())
}

/// Reads everything on one connection and watches the process's memory.
fn replay(hub: std::net::SocketAddr, places: &Places) -> Result<(), Failure> {
    let before = resident_mib()?;
    let mut reader = Reader::open(hub, "", &places.oldest)?;
    let (mut most, mut took) = (before, Duration::ZERO);
    for part in 1..=20 {
        took = reader.events(places.kept * part / 20)?;
        most = resident_mib()?.max(most);
    }
    drop(reader);
    let rate = places.kept as f64 / took.as_secs_f64();
    println!("\nfull replay on one connection: {rate:.0} events/s");
    println!(
        "resident memory: {before} MiB before, {most} MiB at most during, {} MiB after",
        resident_mib()?
    );
    Ok(())
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    millis(times[times.len() / 2])
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What the process holds in memory (`VmRSS`, Linux), MiB.
fn resident_mib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no VmRSS in /proc/self/status")?.parse::<u64>()? / 1024)
}
