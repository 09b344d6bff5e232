//! The only writer. Takes all waiting commands, decides each against the state as the ones before leave it,
//! appends the lot in one commit, then publishes and answers. Never waits for a subscriber: they pull.
//!
//! What the rest of the server holds is a [`Hub`], a cheap handle; the work is done by one thread, which
//! owns the log's writer. Alone, a command waits for nobody; under load, batches form by themselves while
//! the disk syncs. If the client goes away meanwhile, its command is carried out all the same.

mod age;
mod clock_watch;
mod draft;
mod recovery;
mod snapshots;
mod waiters;
mod watched;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    clock::Clock,
    domain::{
        Command, Event, FieldError, InstanceId, Json, Policy, Position, Rejection, ServerId, State,
        Told, event::Health,
    },
    event_log::{AppendError, KeyHash, LogReader, OpenLog, Retention, SavedNote},
    metrics::Metrics,
    tail::Tail,
};

pub use crate::event_log::SavedLease;
use age::Age;
pub use recovery::RecoveryError;
use waiters::Waiters;
pub use waiters::{Interest, Waiter};
use watched::Watched;

/// A handle on the writer. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    requests: mpsc::Sender<Request>,
    state: ArcSwap<State>,
    reader: Arc<dyn LogReader>,
    clock: Clock,
    age: Age,
    policy: Policy,
    metrics: Metrics,
    waiters: Arc<Waiters>,
    stopping: AtomicBool,
    trouble: ArcSwapOption<Trouble>,
    clock_jump: ArcSwapOption<ClockJump>,
}

/// What the hub needs to run.
pub struct Settings {
    /// The rules' settings.
    pub policy: Policy,
    /// What the log keeps.
    pub retention: Retention,
    /// Its clocks.
    pub clock: Clock,
    /// What it counts into.
    pub metrics: Metrics,
}

/// A request that may be repeated: the same key and body give the first answer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Caller, path and key.
    pub key: KeyHash,
    /// The body.
    pub request: KeyHash,
}

/// What a carried-out request is answered with.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status: 200, 201, 202 or 204.
    pub status: u16,
    /// The body.
    pub body: Option<Told>,
    /// The last event of the request's own commit, or the head where it appended none: `Last-Event-ID`.
    pub last: Position,
    /// It was given before: `Idempotency-Replayed`.
    pub replayed: bool,
    /// What became of each, where several were carried out each for itself.
    pub heard: Vec<Heard>,
    /// What the request said and nobody heeded: `warnings` beside the body's own members.
    pub warnings: Vec<FieldError>,
}

impl Answer {
    /// With more to tell.
    #[must_use]
    pub fn with(mut self, warnings: Vec<FieldError>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}

/// What an event was called where it came from: the same name again is answered as the first, not appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Caller, source and id; type, attributes and data.
    pub key: IdempotencyKey,
    /// The type of the event that carries the attributes.
    pub kind: String,
    /// The attributes, which its listeners are given back.
    pub attributes: Json,
    /// Where its id stands in the body, as a JSON pointer.
    pub pointer: String,
}

/// What an instance's health is after what was heard of it; or why nothing was taken in.
pub type Heard = Result<Health, Rejection>;

/// Why a request wasn't carried out. Nothing changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HubError {
    /// The rules refuse it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The log can't take it.
    #[error(transparent)]
    Append(#[from] Arc<AppendError>),
    /// The idempotency key came with another body before.
    #[error("the Idempotency-Key was used with another request body")]
    KeyReused,
    /// Too many commands wait.
    #[error("too many commands wait for the log")]
    Overloaded,
    /// The hub drains or has stopped.
    #[error("the hub is shutting down")]
    Stopping,
}

/// Why the log can't be written at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// `disk_full`, `unwritable`, or `unknown` (a failed sync: the process must end).
    pub reason: &'static str,
    /// In words.
    pub detail: String,
}

/// The wall clock jumped forward, so that events seem older than they are: pruning by age waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClockJump {
    /// When it was noticed, epoch ms of the new time.
    pub noticed_at: i64,
    /// By how much the clock jumped, ms.
    pub jumped_ms: i64,
    /// When pruning by age goes on, epoch ms of the new time.
    pub suspended_until: i64,
}

/// Hears of each commit, on the writer's thread, once it is durable and before anyone is answered. Quick, and
/// never asks the hub anything.
pub trait Observer: Send + Sync {
    /// These events happened; `state` is what they led to.
    fn committed(&self, state: &State, events: &[Event]);

    /// Connected instances are no more, by the sequences of the events that brought them.
    fn ended(&self, _connections: &[u64]) {}

    /// A connected instance registered again: its lease is renewed.
    fn renewed(&self, _state: &State, _server: &ServerId, _instance: Option<&InstanceId>) {}
}

/// What is asked of the writer's thread.
enum Request {
    Change(Change),
    SaveLeases(Vec<SavedLease>),
    Snapshot(snapshots::Piece),
    Tick,
    /// What waits is carried out; the last snapshot may take until then.
    Stop(Instant),
}

/// Commands that are carried out together, and whoever waits for the answer.
struct Change {
    work: Work,
    key: Option<IdempotencyKey>,
    /// Who asks, as its events tell: `by`.
    by: Option<Arc<str>>,
    answer: oneshot::Sender<Result<Answer, HubError>>,
}

/// One command with its own answer, or several that succeed together and are answered by ids.
enum Work {
    One(Box<Command>),
    All(Vec<(Command, Option<Named>)>),
    /// Several that are carried out in turn, each for itself: what is heard of instances' health.
    Each(Vec<Command>),
}

/// The writer's thread, to be joined.
pub struct HubThread {
    handle: JoinHandle<()>,
    stage: watch::Receiver<Stage>,
}

/// How far the writer's thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It carries out what it is asked.
    Writing,
    /// All that it took is durable, and nothing more will be.
    Written,
    /// It is about to end.
    Ended,
}

impl Hub {
    /// Recovers the state from the log, switches the patterns that flags say, lets follow what was due, and
    /// starts the writer. Observers hear of nothing that happened before; they begin from [`Hub::state`].
    ///
    /// # Errors
    /// [`RecoveryError`] where the log can't be read.
    pub fn open(
        log: OpenLog,
        settings: Settings,
        tail: Arc<Tail>,
    ) -> Result<(Self, Idle), RecoveryError> {
        let OpenLog { writer, reader } = log;
        let reader: Arc<dyn LogReader> =
            Arc::new(Watched::new(reader, settings.metrics.corrupt.clone()));
        let recovered = recovery::recover(&*reader, &settings.policy)?;
        let state = recovered.state;
        let (age, doubted_ms) = Age::after(&state, &settings.clock);
        let (requests, receiver) = mpsc::channel(QUEUE_LENGTH);
        let shared = Arc::new(Shared {
            requests,
            waiters: Arc::default(),
            state: ArcSwap::from_pointee(state),
            reader,
            clock: settings.clock,
            age,
            policy: settings.policy,
            metrics: settings.metrics,
            stopping: AtomicBool::new(false),
            trouble: ArcSwapOption::empty(),
            clock_jump: ArcSwapOption::empty(),
        });
        let hub = Self(shared);
        Ok((
            hub.clone(),
            Idle {
                hub,
                writer,
                receiver,
                retention: settings.retention,
                tail,
                snapshot: recovered.snapshot,
                stale: recovered.stale,
                doubted_ms,
            },
        ))
    }

    /// Carries out one command of the hub's own, or of somebody who isn't known.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn execute(
        &self,
        command: Command,
        key: Option<IdempotencyKey>,
    ) -> Result<Answer, HubError> {
        self.execute_for(None, command, key).await
    }

    /// Carries out one command for somebody, whose name its events carry as `by`.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn execute_for(
        &self,
        by: Option<Arc<str>>,
        command: Command,
        key: Option<IdempotencyKey>,
    ) -> Result<Answer, HubError> {
        self.submit(Work::One(Box::new(command)), key, by).await
    }

    /// Carries out several, all or nothing, and answers `202 {"ids": […]}`: for each its last event, or `null`.
    ///
    /// # Errors
    /// [`HubError`]; a rejection names the item.
    pub async fn execute_all(
        &self,
        commands: Vec<Command>,
        key: Option<IdempotencyKey>,
    ) -> Result<Answer, HubError> {
        self.execute_all_for(None, commands, key).await
    }

    /// Carries out several in turn for somebody, each for itself: what is heard of instances' health. [`Answer::heard`]
    /// tells what became of each.
    ///
    /// # Errors
    /// [`HubError`], of all of them alike.
    pub async fn hear(
        &self,
        by: Option<Arc<str>>,
        commands: Vec<Command>,
    ) -> Result<Answer, HubError> {
        self.submit(Work::Each(commands), None, by).await
    }

    /// The same for somebody, whose name the events carry as `by`.
    ///
    /// # Errors
    /// [`HubError`]; a rejection names the item.
    pub async fn execute_all_for(
        &self,
        by: Option<Arc<str>>,
        commands: Vec<Command>,
        key: Option<IdempotencyKey>,
    ) -> Result<Answer, HubError> {
        let unnamed = commands.into_iter().map(|command| (command, None));
        self.execute_named_for(by, unnamed.collect(), key).await
    }

    /// The same, where some of them were named elsewhere.
    ///
    /// # Errors
    /// [`HubError`]; a rejection names the item.
    pub async fn execute_named_for(
        &self,
        by: Option<Arc<str>>,
        commands: Vec<(Command, Option<Named>)>,
        key: Option<IdempotencyKey>,
    ) -> Result<Answer, HubError> {
        self.submit(Work::All(commands), key, by).await
    }

    async fn submit(
        &self,
        work: Work,
        key: Option<IdempotencyKey>,
        by: Option<Arc<str>>,
    ) -> Result<Answer, HubError> {
        if self.is_stopping() {
            return Err(HubError::Stopping);
        }
        let (answer, answered) = oneshot::channel();
        let change = Change {
            work,
            key,
            by,
            answer,
        };
        self.send(Request::Change(change)).await?;
        answered.await.unwrap_or(Err(HubError::Stopping))
    }

    /// Keeps when servers were last seen.
    ///
    /// Also while commands are refused: the last batch comes when everything else has ended.
    ///
    /// # Errors
    /// [`HubError::Overloaded`] or [`HubError::Stopping`]: the next batch will do.
    pub async fn save_leases(&self, leases: Vec<SavedLease>) -> Result<(), HubError> {
        self.send(Request::SaveLeases(leases)).await
    }

    async fn send(&self, request: Request) -> Result<(), HubError> {
        let request = match self.0.requests.try_send(request) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(HubError::Stopping),
            Err(mpsc::error::TrySendError::Full(request)) => request,
        };
        self.0
            .requests
            .send_timeout(request, PATIENCE)
            .await
            .map_err(|error| match error {
                mpsc::error::SendTimeoutError::Timeout(_) => HubError::Overloaded,
                mpsc::error::SendTimeoutError::Closed(_) => HubError::Stopping,
            })
    }

    /// The state as of the last commit: one consistent cut.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.0.state.load_full()
    }

    /// A place among those that are woken when what they wait for may have happened. Take it before looking at the
    /// state, so that nothing is missed in between.
    #[must_use]
    pub fn wait_for(&self, interest: Interest) -> Waiter {
        self.0.waiters.join(interest)
    }

    /// The name of a place in the log.
    #[must_use]
    pub fn name(&self, sequence: u64) -> Position {
        self.0.reader.epochs().name(sequence)
    }

    /// The log's readers.
    #[must_use]
    pub fn reader(&self) -> &Arc<dyn LogReader> {
        &self.0.reader
    }

    /// The clocks that the hub goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The time that has really passed, ms: what ages in the state go by.
    #[must_use]
    pub fn lived_ms(&self) -> i64 {
        self.0.age.lived_ms(&self.0.clock)
    }

    /// Counts how late the hub's own timers were.
    pub fn note_late(&self, late_ms: u64) {
        self.0.metrics.timers_late.inc_by(late_ms);
    }

    /// The rules' settings.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// Why the log can't be written at present; `None` where it can.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<Trouble>> {
        self.0.trouble.load_full()
    }

    /// The jump of the wall clock that keeps events from being pruned by age, while it does.
    #[must_use]
    pub fn clock_jump(&self) -> Option<ClockJump> {
        self.0.clock_jump.load_full().map(|jump| *jump)
    }

    /// Refuses every further command with [`HubError::Stopping`]; those that wait are still carried out.
    /// Wakes whoever waits, for no client's command will bring what they wait for.
    pub fn refuse(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.0.waiters.wake_all();
    }

    /// Whether commands are refused for good.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    /// Refuses further commands and ends the writer after those that wait. It may keep the state once more, if that is
    /// done by `deadline`.
    pub async fn stop(&self, deadline: Instant) {
        self.refuse();
        // Closed means that the writer has ended already.
        let _ = self.0.requests.send(Request::Stop(deadline)).await;
    }
}

/// A writer that hasn't started: the time for observers to be made from the recovered state.
pub struct Idle {
    hub: Hub,
    writer: Box<dyn crate::event_log::LogWriter>,
    receiver: mpsc::Receiver<Request>,
    retention: Retention,
    tail: Arc<Tail>,
    /// The last event in the newest snapshot.
    snapshot: u64,
    /// Notes of connections that are over.
    stale: Vec<SavedNote>,
    /// How much of the time since the last event is in doubt.
    doubted_ms: i64,
}

impl Idle {
    /// Carries out `startup` (what flags ask for) and whatever was due when the hub ended last, so that nobody
    /// sees the state before it; then starts the thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(
        self,
        startup: Vec<Command>,
        observers: Vec<Arc<dyn Observer>>,
    ) -> std::io::Result<HubThread> {
        let (reached, stage) = watch::channel(Stage::Writing);
        let mut writer = writer::Writer::new(self, observers);
        let begun = writer.begin(startup);
        let handle = std::thread::Builder::new()
            .name("hub-writer".to_owned())
            .spawn(move || {
                let deadline = if begun { writer.run() } else { None };
                reached.send_replace(Stage::Written);
                if let Some(deadline) = deadline {
                    writer.keep_the_state(deadline);
                }
                drop(writer);
                reached.send_replace(Stage::Ended);
            })?;
        Ok(HubThread { handle, stage })
    }
}

impl HubThread {
    /// Waits until the writer takes nothing more and all that it took is durable: because it was stopped, or because
    /// it can't know whether a commit is durable, which only a new start can settle.
    pub async fn written(&mut self) {
        self.reached(Stage::Written).await;
    }

    /// Waits until it has kept the state, too, or has run out of time for that.
    pub async fn ended(&mut self) {
        self.reached(Stage::Ended).await;
    }

    async fn reached(&mut self, stage: Stage) {
        // An error means that the sender is gone, and so is the thread.
        let _ = self.stage.wait_for(|at| *at >= stage).await;
    }

    /// Waits for the thread. Whether it ended in order.
    #[must_use]
    pub fn join(self) -> bool {
        self.handle.join().is_ok()
    }
}

/// Keeps the writer's house in order, once a second: retention, snapshots, what time alone makes due.
pub async fn tick(hub: Hub, stop: tokio_util::sync::CancellationToken) {
    let mut every = tokio::time::interval(TICK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        // A full queue means that the writer is awake anyway; the next second will do.
        let _ = hub.0.requests.try_send(Request::Tick);
    }
}

/// Requests waiting for the writer. Full for longer than [`PATIENCE`]: `503` with `Retry-After`.
const QUEUE_LENGTH: usize = 4096;
/// How long a request waits for a place in the queue.
const PATIENCE: Duration = Duration::from_millis(250);
/// How often the writer looks after its house.
const TICK: Duration = Duration::from_secs(1);
