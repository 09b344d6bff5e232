//! Every metric's name, in one place. Each server has its own registry: two live in one test process.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// What is read again while the hub runs: the file of API keys, the set of tokens' keys, the certificate with its key.
pub const CREDENTIALS: [&str; 3] = ["api_keys", "jwks", "certificate"];

/// The hub's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// `timeback_events_appended_total{type}`; producers' own types count together as `custom`.
    pub appended: IntCounterVec,
    /// `timeback_commits_total`.
    pub commits: IntCounter,
    /// `timeback_commit_events`: events per commit.
    pub commit_events: Histogram,
    /// `timeback_commit_seconds`: from the first decision to the sync's return.
    pub commit_seconds: Histogram,
    /// `timeback_commit_failures_total{reason}`.
    pub commit_failures: IntCounterVec,
    /// `timeback_deliveries_total`: event frames handed to sockets.
    pub deliveries: IntCounter,
    /// `timeback_streams`: open now.
    pub streams: IntGauge,
    /// `timeback_streams_opened_total{verdict}`.
    pub streams_opened: IntCounterVec,
    /// `timeback_streams_ended_total{reason}`: `client`, `stalled`, `draining`, `busy`, `disabled`, `credentials_expired`, `error`.
    pub streams_ended: IntCounterVec,
    /// `timeback_stream_gaps_total{reason}`: told in mid-stream.
    pub stream_gaps: IntCounterVec,
    /// `timeback_stream_lag_events`: how far the slowest open stream is behind the head.
    pub stream_lag: IntGauge,
    /// `timeback_log_bytes`.
    pub log_bytes: IntGauge,
    /// `timeback_log_floor_sequence`: the oldest kept event.
    pub log_floor: IntGauge,
    /// `timeback_log_head_sequence`: the newest event.
    pub log_head: IntGauge,
    /// `timeback_log_pruned_total`.
    pub pruned: IntCounter,
    /// `timeback_log_corrupt_total`: damaged events that a read met.
    pub corrupt: IntCounter,
    /// `timeback_log_writable`: 1, or 0 while the log refuses to be written.
    pub writable: IntGauge,
    /// `timeback_servers{health}`: connected ones by health, and `lost`.
    pub servers: IntGaugeVec,
    /// `timeback_workflows_running`.
    pub workflows_running: IntGauge,
    /// `timeback_heartbeats_total`.
    pub heartbeats: IntCounter,
    /// `timeback_commands_waiting`: in the writer's queue.
    pub commands_waiting: IntGauge,
    /// `timeback_door_refused_total{reason}`: `unauthorized` or `forbidden`.
    pub refused: IntCounterVec,
    /// `timeback_credentials_stale{source}`: 1 while what [`CREDENTIALS`] names can't be read and what was read before stays in
    /// force.
    pub credentials_stale: IntGaugeVec,
    /// `timeback_timers_late_milliseconds_total`: how late the hub's own timers were: starved of CPU, it grows.
    pub timers_late: IntCounter,
    /// `timeback_limit_reached_total{limit}`: requests, streams and connections refused because a limit is reached.
    pub limit_reached: IntCounterVec,
    /// `timeback_probe_seconds{server,verdict}`: how long servers took to answer a probe, or weren't waited for any longer.
    pub probe_seconds: HistogramVec,
    /// `timeback_http_requests_total{route,method,status}`.
    pub requests: IntCounterVec,
    /// `timeback_http_request_seconds{route}`; streams count until their head.
    pub request_seconds: HistogramVec,
}

impl Metrics {
    /// A registry of its own, every metric at zero.
    ///
    /// # Errors
    /// Where a name is doubled or malformed: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = Maker {
            registry: &registry,
        };
        Ok(Self {
            appended: make.counters(
                "events_appended_total",
                "Events appended to the log",
                &["type"],
            )?,
            commits: make.counter("commits_total", "Commits to the log")?,
            commit_events: make.histogram(
                "commit_events",
                "Events per commit",
                POWERS_OF_TWO.to_vec(),
            )?,
            commit_seconds: make.histogram(
                "commit_seconds",
                "Seconds from decision to durable",
                LATENCIES.to_vec(),
            )?,
            commit_failures: make.counters(
                "commit_failures_total",
                "Commits that failed",
                &["reason"],
            )?,
            deliveries: make.counter("deliveries_total", "Event frames handed to sockets")?,
            streams: make.gauge("streams", "Open streams")?,
            streams_opened: make.counters(
                "streams_opened_total",
                "Streams accepted, by verdict",
                &["verdict"],
            )?,
            streams_ended: make.counters(
                "streams_ended_total",
                "Streams ended or refused, by reason",
                &["reason"],
            )?,
            stream_gaps: make.counters(
                "stream_gaps_total",
                "Gaps told in mid-stream",
                &["reason"],
            )?,
            stream_lag: make.gauge(
                "stream_lag_events",
                "Events that the slowest open stream is behind the head",
            )?,
            log_bytes: make.gauge("log_bytes", "Bytes of the log on the disk")?,
            log_floor: make.gauge("log_floor_sequence", "Sequence of the oldest kept event")?,
            log_head: make.gauge("log_head_sequence", "Sequence of the newest event")?,
            pruned: make.counter("log_pruned_total", "Events dropped by retention")?,
            corrupt: make.counter("log_corrupt_total", "Damaged events met by reads")?,
            writable: make.gauge("log_writable", "1 where the log can be written")?,
            servers: make.gauges(
                "servers",
                "Connected servers by health, and lost ones",
                &["health"],
            )?,
            workflows_running: make.gauge("workflows_running", "Workflows that run")?,
            heartbeats: make.counter("heartbeats_total", "Heartbeats taken in")?,
            commands_waiting: make.gauge("commands_waiting", "Commands waiting for the writer")?,
            refused: make.counters(
                "door_refused_total",
                "Requests refused at the door",
                &["reason"],
            )?,
            credentials_stale: make.gauges(
                "credentials_stale",
                "1 while new keys or certificates can't be read and the old ones stay in force",
                &["source"],
            )?,
            timers_late: make.counter(
                "timers_late_milliseconds_total",
                "How late the hub's own timers were: starved of CPU, it grows",
            )?,
            limit_reached: make.counters(
                "limit_reached_total",
                "Requests, streams and connections refused because a limit is reached",
                &["limit"],
            )?,
            probe_seconds: make.histograms_of(
                "probe_seconds",
                "Seconds that servers took to answer a probe",
                &["server", "verdict"],
                PROBES.to_vec(),
            )?,
            requests: make.counters(
                "http_requests_total",
                "HTTP requests",
                &["route", "method", "status"],
            )?,
            request_seconds: make.histograms(
                "http_request_seconds",
                "Seconds to an answer's head",
                &["route"],
            )?,
            registry,
        })
    }

    /// Tells whether what was read before stays in force, since what is there now can't be read.
    pub fn note_stale(&self, source: &str, stale: bool) {
        let gauge = self.credentials_stale.with_label_values(&[source]);
        gauge.set(i64::from(stale));
    }

    /// The sources of which that is so.
    #[must_use]
    pub fn stale_credentials(&self) -> Vec<&'static str> {
        let is_stale = |source: &&str| {
            let gauge = self.credentials_stale.with_label_values(&[*source]);
            gauge.get() != 0
        };
        CREDENTIALS.into_iter().filter(is_stale).collect()
    }

    /// All of them in Prometheus's text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let metric = IntCounter::with_opts(options(name, help))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(options(name, help), labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let metric = IntGauge::with_opts(options(name, help))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(options(name, help), labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
    ) -> Result<Histogram, prometheus::Error> {
        let metric =
            Histogram::with_opts(HistogramOpts::from(options(name, help)).buckets(buckets))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        self.histograms_of(name, help, labels, LATENCIES.to_vec())
    }

    fn histograms_of(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Result<HistogramVec, prometheus::Error> {
        let metric = HistogramVec::new(
            HistogramOpts::from(options(name, help)).buckets(buckets),
            labels,
        )?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("timeback")
}

const POWERS_OF_TWO: [f64; 11] = [1., 2., 4., 8., 16., 32., 64., 128., 256., 512., 1024.];
/// Few: there are as many of each as there are servers.
const PROBES: [f64; 4] = [0.01, 0.1, 1., 10.];
const LATENCIES: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5,
];
