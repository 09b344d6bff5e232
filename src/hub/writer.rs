//! The thread that owns the log's writer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::{
    Answer, Change, Hub, HubError, Idle, Observer, Request, Trouble, Work,
    clock_watch::ClockWatch,
    draft::{Draft, replayed},
    snapshots::Snapshots,
};
use crate::{
    domain::{Command, Note, Record, State, Told, event::Texts},
    event_log::{AppendError, LogWriter, Retention, SavedNote},
    tail::Tail,
};

/// The writer's side of the hub.
pub(super) struct Writer {
    hub: Hub,
    log: Box<dyn LogWriter>,
    requests: mpsc::Receiver<Request>,
    observers: Vec<Arc<dyn Observer>>,
    tail: Arc<Tail>,
    retention: Retention,
    snapshots: Snapshots,
    watch: ClockWatch,
    more_to_prune: bool,
    pruned_at: Instant,
    /// Notes that belong to nothing any more, to be dropped with the next commit.
    stale: Vec<SavedNote>,
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    /// It was stopped; the state may be kept once more, if that is done by then.
    Stop(Instant),
    /// It isn't known what is durable.
    End,
}

impl Writer {
    pub(super) fn new(idle: Idle, observers: Vec<Arc<dyn Observer>>) -> Self {
        let Idle {
            hub,
            writer,
            receiver,
            retention,
            tail,
            snapshot,
            stale,
            doubted_ms,
        } = idle;
        let snapshots = Snapshots::new(snapshot);
        let watch = ClockWatch::new(&hub, doubted_ms);
        Self {
            hub,
            log: writer,
            requests: receiver,
            observers,
            tail,
            retention,
            snapshots,
            watch,
            more_to_prune: false,
            pruned_at: Instant::now(),
            stale,
        }
    }

    /// Carries out the hub's own first commands, none included: what was due when it died last happens now.
    /// Whether it can go on.
    pub(super) fn begin(&mut self, startup: Vec<Command>) -> bool {
        let mut batch: Vec<Change> = startup.into_iter().map(unasked).collect();
        self.commit(&mut batch) == Next::GoOn
    }

    /// Serves until it is stopped, and says until when it may go on keeping the state; or until it can't know whether a
    /// commit is durable.
    pub(super) fn run(&mut self) -> Option<Instant> {
        let mut batch = Vec::new();
        let deadline = loop {
            match self.turn(&mut batch) {
                Next::GoOn => {}
                Next::Stop(deadline) => break Some(deadline),
                Next::End => break None,
            }
        };
        self.requests.close();
        // Whoever still waits learns that the hub has stopped, the thread of a snapshot included.
        while self.requests.try_recv().is_ok() {}
        deadline
    }

    /// Keeps the state once more, so that the next start has little to fold.
    pub(super) fn keep_the_state(&mut self, deadline: Instant) {
        self.snapshots
            .take_last(&self.hub.state(), &mut *self.log, deadline);
    }

    /// Takes what waits, up to a batch, and commits it.
    fn turn(&mut self, batch: &mut Vec<Change>) -> Next {
        let first = match self.requests.try_recv() {
            Ok(request) => Some(request),
            Err(_) if self.more_to_prune => {
                self.prune();
                return Next::GoOn;
            }
            Err(_) => self.requests.blocking_recv(),
        };
        let Some(first) = first else {
            return Next::End;
        };
        let (mut request, mut ticked, mut next) = (Some(first), false, Next::GoOn);
        let mut commands = 0;
        while let Some(taken) = request.take() {
            match taken {
                Request::Change(change) => {
                    commands += change.work.len();
                    batch.push(change);
                }
                Request::SaveLeases(leases) => {
                    if let Err(cause) = self.log.save_leases(&leases) {
                        self.note_trouble(&cause);
                    }
                }
                Request::Snapshot(piece) => {
                    if let Err(cause) = self.snapshots.take(piece, &mut *self.log) {
                        self.note_trouble(&cause);
                    }
                }
                Request::Tick => ticked = true,
                Request::Stop(deadline) => next = Next::Stop(deadline),
            }
            if commands < BATCH_COMMANDS {
                request = self.requests.try_recv().ok();
            }
        }
        self.hub
            .0
            .metrics
            .commands_waiting
            .set(i64::try_from(self.requests.len()).unwrap_or(i64::MAX));
        if (ticked || !batch.is_empty()) && self.commit(batch) == Next::End {
            return Next::End;
        }
        if ticked {
            self.look_after_the_house();
        } else if self.more_to_prune && self.pruned_at.elapsed() >= PRUNE_PAUSE {
            self.prune();
        }
        next
    }

    /// Decides a batch, makes it durable, tells everyone.
    fn commit(&mut self, batch: &mut Vec<Change>) -> Next {
        let started = Instant::now();
        let shared = self.hub.0.clone();
        let epochs = shared.reader.epochs();
        let now = shared.clock.wall_ms();
        let believed = self.watch.believed_ms(&self.hub);
        let before = shared.state.load_full();
        let offset = shared.age.offset_ms(&shared.clock, before.clock_offset_ms);
        let mut draft = Draft::new(State::clone(&before), &shared.policy, &epochs, now, offset);
        let outcomes: Vec<_> = batch
            .iter()
            .map(|change| decide(&mut *self.log, &mut draft, change, believed))
            .collect();
        draft.let_follow();

        if !draft.is_empty() {
            let texts: Vec<Texts> = draft
                .events
                .iter()
                .map(|event| Texts::of(&event.what))
                .collect();
            let records: Vec<Record<'_>> = texts
                .iter()
                .zip(&draft.events)
                .map(|(texts, event)| texts.record(event))
                .collect();
            let mut notes: Vec<SavedNote> = draft.notes.iter().map(saved).collect();
            notes.extend(self.stale.iter().cloned());
            if let Err(cause) = self.log.append_noting(&records, &draft.answers, &notes) {
                drop(records);
                drop(draft);
                return self.refuse(batch, cause, now);
            }
            self.stale.clear();
            self.note_writable();
            self.count(&records, started.elapsed());
            // First the state, so that who hears of an event finds it there; then the streams, which have
            // the longest way; last those who ask for more.
            shared.state.store(Arc::new(draft.state));
            if !records.is_empty() {
                self.tail.publish(&records, &epochs);
            }
            let state = shared.state.load();
            for observer in &self.observers {
                observer.committed(&state, &draft.events);
                observer.ended(&draft.ended);
            }
            shared.waiters.committed(&state, &draft.events);
        }
        let state = shared.state.load();
        for (server, instance) in &draft.renewed {
            for observer in &self.observers {
                observer.renewed(&state, server, instance.as_ref());
            }
        }
        for (change, outcome) in batch.drain(..).zip(outcomes) {
            // Nobody may be waiting any more.
            let _ = change.answer.send(outcome);
        }
        Next::GoOn
    }

    /// The commit failed and left no trace. Commands that would change something are refused; the others
    /// are answered from the state as it is.
    fn refuse(&mut self, batch: &mut Vec<Change>, cause: AppendError, now: i64) -> Next {
        let fatal = matches!(cause, AppendError::Unknown(_));
        self.note_trouble(&cause);
        let cause = Arc::new(cause);
        let shared = self.hub.0.clone();
        let epochs = shared.reader.epochs();
        let believed = self.watch.believed_ms(&self.hub);
        for change in batch.drain(..) {
            let state = State::clone(&shared.state.load());
            let offset = shared.age.offset_ms(&shared.clock, state.clock_offset_ms);
            let mut draft = Draft::new(state, &shared.policy, &epochs, now, offset);
            let outcome = decide(&mut *self.log, &mut draft, &change, believed);
            let outcome = if draft.is_empty() {
                outcome
            } else {
                Err(HubError::Append(cause.clone()))
            };
            // Nobody may be waiting any more.
            let _ = change.answer.send(outcome);
        }
        if fatal {
            error!(
                "a sync failed, so it isn't known what is durable: ending, for a new start to find out"
            );
            return Next::End;
        }
        Next::GoOn
    }

    fn count(&self, records: &[Record<'_>], took: Duration) {
        let (metrics, info) = (&self.hub.0.metrics, self.hub.0.reader.info());
        for record in records {
            let label = if crate::domain::event::is_custom(record.kind) {
                "custom"
            } else {
                record.kind
            };
            metrics.appended.with_label_values(&[label]).inc();
        }
        metrics.commits.inc();
        metrics.commit_events.observe(records.len() as f64);
        metrics.commit_seconds.observe(took.as_secs_f64());
        metrics
            .log_head
            .set(i64::try_from(info.head).unwrap_or(i64::MAX));
    }

    /// Once a second: does the log take writes again, has the clock jumped, what can go, is a snapshot due.
    fn look_after_the_house(&mut self) {
        if self.hub.0.trouble.load().is_some() {
            match self.log.probe() {
                Ok(()) => self.note_writable(),
                Err(cause) => self.note_trouble(&cause),
            }
        }
        self.snapshots.look(&self.hub);
        self.prune();
        let (metrics, info) = (&self.hub.0.metrics, self.hub.0.reader.info());
        metrics
            .log_bytes
            .set(i64::try_from(info.bytes).unwrap_or(i64::MAX));
        metrics
            .log_floor
            .set(i64::try_from(info.floor).unwrap_or(i64::MAX));
    }

    fn prune(&mut self) {
        // Before anything goes by its age, and not only once a second.
        self.watch.look(&self.hub);
        let retention = match self.hub.clock_jump() {
            Some(_) => Retention {
                age: None,
                ..self.retention.clone()
            },
            None => self.retention.clone(),
        };
        match self
            .log
            .prune(&retention, self.watch.believed_ms(&self.hub))
        {
            Ok(pruned) => {
                self.hub.0.metrics.pruned.inc_by(pruned.events);
                self.more_to_prune = pruned.more;
                self.pruned_at = Instant::now();
            }
            Err(cause) => {
                self.more_to_prune = false;
                self.note_trouble(&cause);
            }
        }
    }

    fn note_trouble(&self, cause: &AppendError) {
        let reason = match cause {
            AppendError::Full(_) => "disk_full",
            AppendError::Unwritable(_) => "unwritable",
            AppendError::Unknown(_) => "unknown",
        };
        let trouble = Trouble {
            reason,
            detail: cause.to_string(),
        };
        let shared = &self.hub.0;
        shared
            .metrics
            .commit_failures
            .with_label_values(&[reason])
            .inc();
        shared.metrics.writable.set(0);
        if shared.trouble.load().as_deref() != Some(&trouble) {
            error!(
                reason,
                "{cause}; reads and streams go on, changes are refused until it can be written again"
            );
            shared.trouble.store(Some(Arc::new(trouble)));
        }
    }

    fn note_writable(&self) {
        self.hub.0.metrics.writable.set(1);
        if self.hub.0.trouble.load().is_some() {
            self.hub.0.trouble.store(None);
            info!("the log can be written again");
        }
    }
}

/// One change of a batch: the first answer again, or carried out. What is remembered is as old as `believed` says, the
/// wall clock without its jumps: a client that repeats itself after one must not do anything twice.
fn decide(
    log: &mut dyn LogWriter,
    draft: &mut Draft<'_>,
    change: &Change,
    believed: i64,
) -> Result<Answer, HubError> {
    if let Some(key) = &change.key {
        if let Some(first) = draft.recall(key) {
            return first;
        }
        match log.recall(&key.key, believed) {
            Ok(Some(first)) => {
                let last = draft.name(first.sequence);
                let answer = Answer {
                    status: first.status,
                    body: first.body.map(Told::Text),
                    last,
                    replayed: false,
                    heard: Vec::new(),
                    warnings: Vec::new(),
                };
                return replayed(first.request == key.request, answer);
            }
            Ok(None) => {}
            // Not knowing whether it is a repeat, the change can't be carried out safely.
            Err(cause) => {
                return Err(HubError::Append(Arc::new(AppendError::Unwritable(
                    cause.to_string(),
                ))));
            }
        }
    }
    if let Work::All(commands) = &change.work {
        for named in commands.iter().filter_map(|(_, named)| named.as_ref()) {
            if draft.knows(&named.key.key) {
                continue;
            }
            match log.recall(&named.key.key, believed) {
                Ok(Some(first)) => draft.came_before(&first),
                Ok(None) => {}
                Err(cause) => {
                    return Err(HubError::Append(Arc::new(AppendError::Unwritable(
                        cause.to_string(),
                    ))));
                }
            }
        }
    }
    draft.carry_out(&change.work, change.key.as_ref(), change.by.as_ref())
}

fn saved(note: &Note) -> SavedNote {
    SavedNote {
        key: note.key(),
        body: note.body(),
    }
}

/// A command of the hub's own, whose answer nobody waits for.
fn unasked(command: Command) -> Change {
    Change {
        work: Work::One(Box::new(command)),
        key: None,
        by: None,
        answer: oneshot::channel().0,
    }
}

impl Work {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::All(commands) => commands.len(),
            Self::Each(commands) => commands.len(),
        }
    }
}

/// Commands decided in one batch, at most, before the next sync.
const BATCH_COMMANDS: usize = 1024;
/// Under load, the time for commits between two slices of pruning.
const PRUNE_PAUSE: Duration = Duration::from_millis(20);
