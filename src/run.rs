//! Puts the parts together, runs them, and takes them down in order.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    clock::Clock,
    config::{Config, OPEN_BY_ACCIDENT, PatternFlags},
    domain::{
        Command, Event, EventData, Limit, Policy, State, command::SwitchPattern, health::Rules,
    },
    door::{
        Door, DoorError,
        tls::{Tls, TlsError},
    },
    event_log::{self, OpenError, ReadError, Retention},
    health::{self, Leases},
    http::{self, App, Parts},
    hub::{self, Hub, HubThread, Idle, Observer, RecoveryError},
    metrics::Metrics,
    readiness::Readiness,
    rounds::{self, Rounds},
    serve as accept,
    streams::{self, Closing, Streams},
    tail::{Tail, WINDOW_BYTES},
    timers::{self, Timers},
};

/// Why the server can't start, or ended otherwise than it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The log can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log can't be read.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The door can't be set up.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The certificate can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody was asked who they are, on an address that others reach.
    #[error("INTEGRATION_SSE_HOST: {OPEN_BY_ACCIDENT}")]
    OpenByAccident,
    /// The system refuses something.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A metric's name is doubled: a mistake in this program.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// A sync of the log failed, so that it isn't known what is durable. A new start finds out.
    #[error(
        "the log's writer ended: it isn't known whether the last commit is durable; start again to find out"
    )]
    WriterEnded,
}

/// Serves on the listener until `shutdown` is cancelled, then drains: commands are refused, what was accepted is
/// made durable and delivered, streams are ended, and all of it is over within the drain time-out.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    serve_and_tell(config, listener, shutdown, || ()).await
}

/// The same; `ready` is called once the log is open, its state recovered, and connections are served.
///
/// # Errors
/// [`ServeError`].
pub async fn serve_and_tell(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let server = Server::start(config, listener)?;
    ready();
    server.run(shutdown).await
}

struct Server {
    app: App,
    thread: HubThread,
    /// Ends the monitors: leases, timers, the house.
    stop_monitors: CancellationToken,
    monitors: JoinSet<()>,
    /// Ends the accepting of connections.
    stop_accepting: CancellationToken,
    accepting: tokio::task::JoinHandle<std::io::Result<()>>,
    drain_timeout: Duration,
}

impl Server {
    fn start(mut config: Config, listener: TcpListener) -> Result<Self, ServeError> {
        // The port that it has, where any free one was asked for.
        config.listen.port = listener.local_addr()?.port();
        let metrics = Metrics::new()?;
        // From the start on, so that the first time is a rise.
        for limit in Limit::ALL {
            metrics.limit_reached.with_label_values(&[limit.name()]);
        }
        let clock = Clock::default();
        let door = Door::open(&config, &clock, &metrics)?;
        if !door.asks()
            && !config.auth.open
            && !listener.local_addr()?.ip().to_canonical().is_loopback()
        {
            return Err(ServeError::OpenByAccident);
        }
        let tls = config
            .tls
            .as_ref()
            .map(|files| Tls::open(files, config.limits.header_timeout))
            .transpose()?;
        // Switched off as a whole, nothing on the disk is touched.
        let log = event_log::open(config.data_dir.as_deref().filter(|_| config.enabled))?;
        let saved_leases = log.reader.load_leases()?;
        let tail = Arc::new(Tail::new(log.reader.info().head, WINDOW_BYTES));
        let settings = hub::Settings {
            policy: policy(&config),
            retention: retention(&config),
            clock: clock.clone(),
            metrics: metrics.clone(),
        };
        let (hub, idle): (Hub, Idle) = Hub::open(log, settings, tail.clone())?;
        let state = hub.state();
        let leases = Arc::new(Leases::recover(
            rules(&config),
            clock,
            &state,
            &saved_leases,
        ));
        let timers = Arc::new(Timers::recover(hub.clock().clone(), &state, hub.lived_ms()));
        let streams = Arc::new(Streams::start(
            streams::Settings {
                keepalive: config.stream.keepalive,
                retry: config.stream.retry,
                stall_timeout: config.stream.stall_timeout,
                max_clients: streams_among(config.limits.connections, config.stream.max_clients),
                shards: None,
            },
            tail,
            hub.reader().clone(),
            metrics.clone(),
        )?);
        let gate = Arc::new(Gate {
            streams: streams.clone(),
            patience: config.drain_timeout,
        });
        let startup = if config.enabled {
            switches(config.patterns)
        } else {
            Vec::new()
        };
        let rounds = Arc::new(Rounds::new(
            rounds::Settings {
                allow: Arc::new(config.probe.allow.clone()),
                concurrency: config.probe.concurrency,
                file: config.probe.servers_file.clone().filter(|_| config.enabled),
            },
            hub.clock().clone(),
            leases.clone(),
            metrics.clone(),
        ));
        let observers: Vec<Arc<dyn Observer>> =
            vec![leases.clone(), timers.clone(), rounds.clone(), gate];
        let thread = idle.start(startup, observers)?;

        let stop_monitors = CancellationToken::new();
        let mut monitors = JoinSet::new();
        monitors.spawn(health::monitor::watch(
            leases.clone(),
            hub.clone(),
            stop_monitors.clone(),
        ));
        monitors.spawn(timers::watch(timers, hub.clone(), stop_monitors.clone()));
        monitors.spawn(hub::tick(hub.clone(), stop_monitors.clone()));
        monitors.spawn(rounds.clone().watch(hub.clone(), stop_monitors.clone()));

        let drain_timeout = config.drain_timeout;
        let ends = streams.clone();
        let end = move |owners| {
            ends.end_owners(
                owners,
                Closing::CredentialsExpired,
                Instant::now() + drain_timeout,
            );
        };
        monitors.spawn(door.clone().watch(end, stop_monitors.clone()));
        if let Some(tls) = &tls {
            monitors.spawn(tls.clone().watch(metrics.clone(), stop_monitors.clone()));
        }
        let readiness = Arc::new(Readiness::default());
        readiness.loaded();
        let app = App::new(Parts {
            config,
            hub,
            leases,
            rounds,
            readiness,
            metrics,
            streams: streams.clone(),
            door,
        });
        let stop_accepting = CancellationToken::new();
        let limits = accept::Limits {
            head_timeout: app.config.limits.header_timeout,
            head_bytes: app.config.limits.header_bytes,
            head_lines: app.config.limits.header_lines,
            connections: app.config.limits.connections,
            stall_timeout: app.config.stream.stall_timeout,
            tls,
            ..accept::Limits::default()
        };
        let accepting = accept::serve(
            listener,
            http::router(app.clone()),
            streams,
            limits,
            app.metrics.clone(),
            stop_accepting.clone(),
        );
        let accepting = tokio::spawn(accepting);
        Ok(Self {
            app,
            thread,
            stop_monitors,
            monitors,
            stop_accepting,
            accepting,
            drain_timeout,
        })
    }

    async fn run(mut self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let ended_early = tokio::select! {
            () = shutdown.cancelled() => false,
            () = self.thread.written() => true,
        };
        let deadline = Instant::now() + self.drain_timeout;
        info!("draining: {} streams are open", self.app.streams.count());
        self.app.readiness.draining();
        self.app.hub.refuse();
        // The leases' last act is to save last-seen times, which a hub takes until it is stopped.
        self.stop_monitors.cancel();
        while self.monitors.join_next().await.is_some() {}
        // The state is kept once more while the streams are ended, but never at their cost.
        self.app
            .hub
            .stop(Instant::now() + (deadline - Instant::now()) / 2)
            .await;
        let written = tokio::time::timeout_at(deadline.into(), self.thread.written()).await;
        if written.is_err() {
            warn!(
                "the log still takes its time at the deadline: what waits for it is not acknowledged"
            );
        }
        // Everything accepted is in the log now, and its head stands still: the streams have an end to reach.
        self.app.streams.close(Closing::Draining, deadline);
        let emptied = tokio::time::timeout_at(deadline.into(), self.app.streams.emptied()).await;
        // Until here those who came back at once were told to wait, rather than refused a connection.
        self.stop_accepting.cancel();
        if emptied.is_err() {
            warn!(
                "{} streams were still behind at the deadline; they resume elsewhere",
                self.app.streams.count()
            );
        }
        self.app.streams.stop();
        match tokio::time::timeout_at(deadline.into(), &mut self.accepting).await {
            Ok(Ok(accepted)) => accepted?,
            Ok(Err(panicked)) => warn!("accepting connections ended with {panicked}"),
            Err(_) => self.accepting.abort(),
        }
        let ended = tokio::time::timeout_at(deadline.into(), self.thread.ended()).await;
        let in_order = ended.is_err() || self.thread.join();
        info!("stopped");
        if ended_early || !in_order {
            Err(ServeError::WriterEnded)
        } else {
            Ok(())
        }
    }
}

/// Ends the streams when a pattern that they need is switched off.
struct Gate {
    streams: Arc<Streams>,
    patience: Duration,
}

impl Observer for Gate {
    fn committed(&self, _state: &State, events: &[Event]) {
        for event in events {
            if let EventData::PatternDisabled(data) = &event.what.data
                && ["sse_integration", "event_driven"].contains(&data.pattern.name.as_str())
            {
                self.streams
                    .end_all(Closing::Disabled, Instant::now() + self.patience);
            }
        }
    }
}

/// Streams that there may be among so many connections: they leave some to producers and operators.
fn streams_among(connections: usize, wanted: usize) -> usize {
    wanted.min(connections - (connections / 8).min(128))
}

fn policy(config: &Config) -> Policy {
    Policy {
        heartbeat_interval_ms: millis(config.heartbeat.interval),
        recover_after: config.heartbeat.recover_after,
        state_retention_age_ms: i64::try_from(millis(config.state_retention.age))
            .unwrap_or(i64::MAX),
        state_retention_count: config.state_retention.count,
        max_servers: config.limits.servers,
        max_workflows: config.limits.workflows,
        max_steps: config.limits.steps,
        max_tags: config.limits.tags,
        max_id_length: config.limits.id_length,
        max_patterns: config.limits.patterns,
        max_custom_types: config.limits.custom_types,
    }
}

fn retention(config: &Config) -> Retention {
    Retention {
        age: Some(config.retention.age),
        events: config.retention.events,
        bytes: config.retention.bytes,
        idempotency_keys: config.idempotency_keys,
        idempotency_bytes: config.idempotency_bytes,
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        interval_ms: millis(config.heartbeat.interval),
        unhealthy_after: config.heartbeat.unhealthy_after,
        disconnect_after: config.heartbeat.disconnect_after,
        recover_after: config.heartbeat.recover_after,
    }
}

/// What flags that are set ask for; decided before any client's command, and an event only where it is a change.
fn switches(flags: PatternFlags) -> Vec<Command> {
    [
        ("event_driven", flags.event_driven),
        ("sse_integration", flags.sse_integration),
        ("server_chaining", flags.server_chaining),
        ("tool_composition", flags.tool_composition),
        ("shared_resources", flags.shared_resources),
    ]
    .into_iter()
    .filter_map(|(name, flag)| {
        Some(Command::SwitchPattern(SwitchPattern {
            name: name.to_owned(),
            enabled: flag?,
            description: None,
            source: "startup",
            occurred_at: None,
        }))
    })
    .collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
