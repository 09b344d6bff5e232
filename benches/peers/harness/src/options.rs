//! The command line. clap prints docstrings as help, and those of a flattened struct over the command's own: so structs have plain comments.

use crate::hub;
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(
    version,
    about = "Load harness for SSE hubs: fan-out, connections, publishes, replay, and the machine's own ceiling"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) cmd: Cmd,
}

#[derive(Subcommand)]
pub(crate) enum Cmd {
    /// N subscribers, then M messages: deliveries/s, latency, losses, CPU per delivery
    Fanout(Fanout),
    /// How fast N idle subscribers are accepted, and what each costs in memory
    Connect(Connect),
    /// P keep-alive publishers posting as fast as they are acknowledged
    Publish(Publish),
    /// Connections that send heartbeats of registered servers as fast as they are acknowledged
    Heartbeats(Heartbeats),
    /// Subscribers that ask for history: events/s
    Replay(Replay),
    /// The same fan-out against a minimal single-thread hub: the machine's limit
    Ceiling(Ceiling),
    /// That minimal hub alone, in the foreground
    CeilingServer(CeilingServer),
    /// Median, least and most of every number in a file of --out lines, grouped by label
    Summarize(Summarize),
}

// Which hub, how it is spoken to, and how the harness itself behaves.
#[derive(Args, Clone)]
pub(crate) struct Target {
    /// Profile name (profiles/NAME.toml) or path
    #[arg(long, short)]
    pub(crate) profile: Option<String>,
    /// Subscribe URL; {i} {topic} {run} are filled in
    #[arg(long)]
    pub(crate) sub_url: Option<String>,
    #[arg(long)]
    pub(crate) sub_header: Vec<String>,
    /// Publish URL; {topic} {run} are filled in
    #[arg(long)]
    pub(crate) pub_url: Option<String>,
    #[arg(long)]
    pub(crate) pub_method: Option<String>,
    #[arg(long)]
    pub(crate) pub_header: Vec<String>,
    /// Publish body; {msg} is the whole S-byte payload, or place {seq} {ts_ns} {pad}
    #[arg(long)]
    pub(crate) pub_body: Option<String>,
    /// Subscriber i listens to topic i mod K, message n goes to topic n mod K
    #[arg(long, default_value_t = 1)]
    pub(crate) topics: usize,
    /// Server process; its descendants count too. May be given several times
    #[arg(long)]
    pub(crate) server_pid: Vec<i32>,
    /// Subscriber threads
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Connections in set-up at once
    #[arg(long, default_value_t = 256)]
    pub(crate) ramp: usize,
    /// Connections from each source address (127.0.0.2 on), once there are more than that
    #[arg(long, default_value_t = 20000)]
    pub(crate) per_src: usize,
    /// Core for the subscriber threads and the publisher
    #[arg(long)]
    pub(crate) pin: Option<usize>,
    /// Sleep this long after each pass over ready sockets: a cheaper reader, coarser latency
    #[arg(long, default_value_t = 0)]
    pub(crate) pause_us: u64,
    /// Seconds to wait for all response heads
    #[arg(long, default_value_t = 60)]
    pub(crate) connect_timeout_s: u64,
    /// Wait between the last response head and the first publish
    #[arg(long, default_value_t = 500)]
    pub(crate) settle_ms: u64,
    /// Print JSON, not a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Append the result as one JSON line
    #[arg(long)]
    pub(crate) out: Option<String>,
    /// Name of the run in that line
    #[arg(long, default_value = "")]
    pub(crate) label: String,
}

// What is sent to how many.
#[derive(Args, Clone)]
pub(crate) struct Load {
    /// Subscribers
    #[arg(long, short = 'n', default_value_t = 1000)]
    pub(crate) subs: usize,
    /// Messages (0: until --secs)
    #[arg(long, short, default_value_t = 0)]
    pub(crate) messages: u64,
    /// Seconds of publishing (0: until --messages)
    #[arg(long, default_value_t = 10.0)]
    pub(crate) secs: f64,
    /// Payload bytes
    #[arg(long, short, default_value_t = 200)]
    pub(crate) size: usize,
    /// Messages per second; 0: as fast as acks and the window allow
    #[arg(long, short, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Publisher connections, one request in flight on each
    #[arg(long, short = 'c', default_value_t = 1)]
    pub(crate) publishers: usize,
    /// Most messages in flight, published but not yet with every subscriber; 0: no limit
    #[arg(long, short, default_value_t = 0)]
    pub(crate) window: u64,
    /// Seconds without a delivery after which the rest counts as lost
    #[arg(long, default_value_t = 3)]
    pub(crate) drain_s: u64,
}

// Flags of `fanout`.
#[derive(Args, Clone)]
pub(crate) struct Fanout {
    #[command(flatten)]
    pub(crate) t: Target,
    #[command(flatten)]
    pub(crate) l: Load,
}

// Flags of `connect`.
#[derive(Args, Clone)]
pub(crate) struct Connect {
    #[command(flatten)]
    pub(crate) t: Target,
    #[arg(long, short = 'n', default_value_t = 10000)]
    pub(crate) subs: usize,
    /// Seconds to hold the idle connections
    #[arg(long, default_value_t = 2)]
    pub(crate) hold_s: u64,
}

// Flags of `publish`.
#[derive(Args, Clone)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) t: Target,
    #[arg(long, short = 'c', default_value_t = 64)]
    pub(crate) publishers: usize,
    #[arg(long, default_value_t = 10.0)]
    pub(crate) secs: f64,
    #[arg(long, short, default_value_t = 0)]
    pub(crate) messages: u64,
    #[arg(long, short, default_value_t = 200)]
    pub(crate) size: usize,
    #[arg(long, short, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Events in each request, as a JSON array of bodies
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
}

// Flags of `heartbeats`.
#[derive(Args, Clone)]
pub(crate) struct Heartbeats {
    #[command(flatten)]
    pub(crate) t: Target,
    /// Servers to register; their heartbeats go round robin
    #[arg(long, default_value_t = 1000)]
    pub(crate) servers: usize,
    /// Connections, one request in flight on each
    #[arg(long, short = 'c', default_value_t = 64)]
    pub(crate) connections: usize,
    #[arg(long, default_value_t = 10.0)]
    pub(crate) secs: f64,
}

// Flags of `replay`.
#[derive(Args, Clone)]
pub(crate) struct Replay {
    #[command(flatten)]
    pub(crate) t: Target,
    #[arg(long, short = 'n', default_value_t = 1)]
    pub(crate) subs: usize,
    /// Publish this many messages first
    #[arg(long, default_value_t = 0)]
    pub(crate) preload: u64,
    /// Events each subscriber must get; 0: as many as were preloaded
    #[arg(long, default_value_t = 0)]
    pub(crate) expect: u64,
    #[arg(long, short, default_value_t = 200)]
    pub(crate) size: usize,
    #[arg(long, short = 'c', default_value_t = 1)]
    pub(crate) publishers: usize,
    /// Events in each request while preloading, as a JSON array of bodies
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// Instead of the profile's first position
    #[arg(long)]
    pub(crate) last_id: Option<String>,
    /// Times to read the history
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: usize,
}

// Flags of `ceiling`.
#[derive(Args, Clone)]
pub(crate) struct Ceiling {
    #[command(flatten)]
    pub(crate) t: Target,
    #[command(flatten)]
    pub(crate) l: Load,
    #[arg(long, value_enum, default_value_t = hub::Mode::Send)]
    pub(crate) mode: hub::Mode,
    /// Pause after each broadcast, so that more messages wait for the next (writev, concat)
    #[arg(long, default_value_t = 0)]
    pub(crate) linger_us: u64,
}

// Flags of `ceiling-server`.
#[derive(Args, Clone)]
pub(crate) struct CeilingServer {
    #[arg(long, default_value_t = 7999)]
    pub(crate) port: u16,
    #[arg(long, value_enum, default_value_t = hub::Mode::Send)]
    pub(crate) mode: hub::Mode,
    /// Messages kept for subscribers that send Last-Event-ID
    #[arg(long, default_value_t = 0)]
    pub(crate) history: usize,
    #[arg(long, default_value_t = 0)]
    pub(crate) linger_us: u64,
}

// Flags of `summarize`.
#[derive(Args, Clone)]
pub(crate) struct Summarize {
    pub(crate) file: String,
    /// Only these fields
    #[arg(long, value_delimiter = ',')]
    pub(crate) fields: Vec<String>,
}
