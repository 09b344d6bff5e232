//! Time-outs of steps and workflows: one structure and one task for all of them.
//!
//! Time runs on the monotonic clock, so that a wall clock that is set changes nothing. What is in here follows
//! from the committed events (as the hub's [`Observer`]) and, after a restart, from the state: a time that
//! has really passed meanwhile is up at once, and a wall clock that is ahead uses up none. Entries whose claim or workflow has ended are dropped when they come due,
//! or when there are too many of them. Only the hub decides what a time-out means; asking twice does no harm.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    clock::Clock,
    domain::{
        Command, Event, EventData, State, StepId, WorkflowId,
        workflow::{StepStatus, Workflow, WorkflowStatus},
    },
    hub::{Hub, HubError, Observer},
};

/// All time-outs that are to come.
#[derive(Debug)]
pub struct Timers {
    clock: Clock,
    schedule: Mutex<Schedule>,
    /// Told when something became due earlier than all before.
    sooner: Notify,
}

impl Timers {
    /// The time-outs of a recovered state: what is left of each, never more than the whole, at this time by the time that has
    /// really passed.
    #[must_use]
    pub fn recover(clock: Clock, state: &State, lived: i64) -> Self {
        let mono = clock.mono_ms();
        let mut schedule = Schedule::default();
        for workflow in state.workflows.iter() {
            for (deadline, timeout, since) in deadlines(workflow) {
                let passed = u64::try_from(lived.saturating_sub(since)).unwrap_or(0);
                schedule.push(
                    mono.saturating_add(timeout.saturating_sub(passed)),
                    deadline,
                );
            }
        }
        Self {
            clock,
            schedule: Mutex::new(schedule),
            sooner: Notify::new(),
        }
    }

    /// How many entries wait, stale ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.schedule.lock().heap.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&self, due: u64, deadline: Deadline) {
        if self.schedule.lock().push(due, deadline) {
            self.sooner.notify_one();
        }
    }
}

impl Observer for Timers {
    fn committed(&self, state: &State, events: &[Event]) {
        let now = self.clock.mono_ms();
        for event in events {
            let Some(workflow) = event
                .what
                .data
                .workflow()
                .and_then(|id| state.workflows.get(id))
            else {
                continue;
            };
            let found = match &event.what.data {
                EventData::WorkflowStarted(_) => of_workflow(workflow),
                EventData::WorkflowStepStarted(data) => of_step(workflow, &data.step_id),
                _ => None,
            };
            if let Some((deadline, timeout, _)) = found {
                self.push(now.saturating_add(timeout), deadline);
            }
        }
        self.schedule.lock().drop_stale(state);
    }
}

/// Tells the hub of every time-out as it comes due, until it is stopped.
pub async fn watch(timers: Arc<Timers>, hub: Hub, stop: CancellationToken) {
    let mut asked: JoinSet<(Deadline, Result<(), HubError>)> = JoinSet::new();
    loop {
        let now = timers.clock.mono_ms();
        let (due, next) = timers
            .schedule
            .lock()
            .take_due(now, MOST_ASKED - asked.len());
        let state = hub.state();
        for deadline in due.into_iter().filter(|deadline| deadline.is_live(&state)) {
            let hub = hub.clone();
            asked.spawn(async move {
                let outcome = hub.execute(deadline.command(), None).await;
                (deadline, outcome.map(drop))
            });
        }
        let has_room = asked.len() < MOST_ASKED;
        let nap = next.map_or(LONGEST_NAP, |due| {
            Duration::from_millis(due.saturating_sub(now))
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(nap.min(LONGEST_NAP)), if has_room => {}
            () = timers.sooner.notified(), if has_room => {}
            Some(answered) = asked.join_next() => match answered {
                Ok((_, Err(HubError::Stopping))) => return,
                Ok((deadline, Err(cause @ (HubError::Append(_) | HubError::Overloaded)))) => {
                    warn!(workflow.id = %deadline.workflow, "a time-out has to wait: {cause}");
                    timers.push(timers.clock.mono_ms() + RETRY_MS, deadline);
                }
                // Carried out, or refused by the rules, which asking again wouldn't change.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Questions under way at once; further ones wait in the schedule.
const MOST_ASKED: usize = 256;
/// After a question that the hub couldn't carry out.
const RETRY_MS: u64 = 1000;
/// Without anything due, the task looks this often.
const LONGEST_NAP: Duration = Duration::from_secs(3600);
/// Entries that are never too many.
const FEW: usize = 1024;

/// What a time-out is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Deadline {
    workflow: WorkflowId,
    /// Which workflow of this id: the sequence of its `workflow_started`.
    started: u64,
    /// A claim; `None`: the workflow as a whole.
    claim: Option<(StepId, u32)>,
}

impl Deadline {
    /// Whether what it is about still runs.
    fn is_live(&self, state: &State) -> bool {
        let workflow = state.workflows.get(&self.workflow);
        let Some(workflow) = workflow.filter(|it| it.started_sequence() == self.started) else {
            return false;
        };
        match &self.claim {
            None => workflow.status() == WorkflowStatus::Running,
            Some((step, attempt)) => workflow.step(step).is_some_and(|step| {
                step.status() == StepStatus::Running && step.attempt() == *attempt
            }),
        }
    }

    fn command(&self) -> Command {
        let workflow = self.workflow.clone();
        match self.claim.clone() {
            None => Command::WorkflowTimedOut { workflow },
            Some((step, attempt)) => Command::StepTimedOut {
                workflow,
                step,
                attempt,
            },
        }
    }
}

/// A deadline with its time-out, ms, and what it runs from by the time that has really passed, ms.
type Found = (Deadline, u64, i64);

fn deadlines(workflow: &Workflow) -> impl Iterator<Item = Found> {
    let claims = workflow
        .steps()
        .filter_map(|step| of_step(workflow, &step.declaration().id));
    of_workflow(workflow).into_iter().chain(claims)
}

fn of_workflow(workflow: &Workflow) -> Option<Found> {
    let timeout = workflow
        .timeout_ms()
        .filter(|_| workflow.status() == WorkflowStatus::Running)?;
    let deadline = Deadline {
        workflow: workflow.id.clone(),
        started: workflow.started_sequence(),
        claim: None,
    };
    Some((deadline, timeout, workflow.started_lived()))
}

fn of_step(workflow: &Workflow, id: &StepId) -> Option<Found> {
    let step = workflow
        .step(id)
        .filter(|step| step.status() == StepStatus::Running)?;
    let deadline = Deadline {
        workflow: workflow.id.clone(),
        started: workflow.started_sequence(),
        claim: Some((id.clone(), step.attempt())),
    };
    Some((deadline, step.declaration().timeout?, step.started_lived()?))
}

/// Deadlines in order of the time that they are due.
#[derive(Debug, Default)]
struct Schedule {
    heap: BinaryHeap<Reverse<Entry>>,
    /// As many entries as there may be before stale ones are looked for.
    many: usize,
}

#[derive(Debug)]
struct Entry {
    due: u64,
    deadline: Deadline,
}

impl Schedule {
    /// Whether it is due before all others.
    fn push(&mut self, due: u64, deadline: Deadline) -> bool {
        let first = self
            .heap
            .peek()
            .is_none_or(|Reverse(entry)| due < entry.due);
        self.heap.push(Reverse(Entry { due, deadline }));
        first
    }

    /// At most so many that are due, and when the next is.
    fn take_due(&mut self, now: u64, most: usize) -> (Vec<Deadline>, Option<u64>) {
        let mut due = Vec::new();
        while due.len() < most
            && self
                .heap
                .peek()
                .is_some_and(|Reverse(entry)| entry.due <= now)
            && let Some(Reverse(entry)) = self.heap.pop()
        {
            due.push(entry.deadline);
        }
        (due, self.heap.peek().map(|Reverse(entry)| entry.due))
    }

    /// Looks at all entries whenever they have doubled: so the stale ones never outnumber the live ones by
    /// much, at a constant cost an entry.
    fn drop_stale(&mut self, state: &State) {
        if self.heap.len() > self.many.max(FEW) {
            self.heap
                .retain(|Reverse(entry)| entry.deadline.is_live(state));
            self.many = self.heap.len() * 2;
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due)
    }
}

#[cfg(test)]
mod tests;
