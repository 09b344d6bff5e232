//! Workflows and their steps: readiness, claims, attempts, ends.
//!
//! Invariants: a workflow ends once; a step is held by at most one server at one attempt; it is ready only
//! when all its dependencies ended; of an ended workflow nothing can be claimed. Never runs a step: servers do.

mod claim;
mod decide;
mod definition;
mod from_event;
mod graph;
mod index;
mod query;
mod report;
mod save;
mod state;
mod step;
mod stirred;
#[cfg(test)]
mod tests;
mod view;

use std::{ops::Bound, sync::Arc};

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use self::{decide::Draft, index::Index};
pub use self::{
    query::{FoundStep, StepCursor, StepQuery, StepsPage},
    report::EndKind,
    save::SavedWorkflows,
    state::{Workflow, WorkflowStatus},
    step::{Step, StepStatus},
    stirred::Stirred,
    view::{StepView, WorkflowView},
};
use super::{
    command::{Decision, EndWorkflow, Reaction, Rejection, Reply, ReportStep, StartWorkflow},
    event::{Event, EventData, NewEvent, Private, WorkflowStarted},
    fleet::{Moment, Policy},
    ids::{InstanceId, ServerId, StepId, WorkflowId},
    json::Json,
    limit::Limit,
    server::{Ended, Servers},
};

/// All workflows in the state. Cloning them is cheap.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Workflows {
    by_id: RedBlackTreeMapSync<WorkflowId, Arc<Workflow>>,
    /// Ended ones, oldest first: (when, sequence of the event that says so).
    ended: RedBlackTreeSetSync<(i64, u64, WorkflowId)>,
    index: Index,
    completed: u64,
    failed: u64,
}

impl Workflows {
    /// The workflow of this id, running or ended, where it isn't old enough to be forgotten.
    #[must_use]
    pub fn get_at(&self, id: &WorkflowId, lived: i64, policy: &Policy) -> Option<&Arc<Workflow>> {
        self.get(id)
            .filter(|workflow| !workflow.is_expired(lived, policy))
    }

    /// The workflow of this id, running or ended.
    #[must_use]
    pub fn get(&self, id: &WorkflowId) -> Option<&Arc<Workflow>> {
        self.by_id.get(id)
    }

    /// All workflows, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.by_id.values()
    }

    /// All workflows after this id, in order of their ids.
    pub fn after<'a>(
        &'a self,
        id: Option<&WorkflowId>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Workflow>> + 'a> {
        match id {
            Some(id) => {
                let range = (Bound::Excluded(id.clone()), Bound::Unbounded);
                Box::new(self.by_id.range(range).map(|(_, workflow)| workflow))
            }
            None => Box::new(self.by_id.values()),
        }
    }

    /// The same, of these alone where they are named, which are in order themselves.
    pub fn among<'a>(
        &'a self,
        ids: Option<&'a [WorkflowId]>,
        after: Option<&WorkflowId>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Workflow>> + 'a> {
        let Some(ids) = ids else {
            return self.after(after);
        };
        let first = after.map_or(0, |after| ids.partition_point(|id| id <= after));
        Box::new(ids[first..].iter().filter_map(|id| self.get(id)))
    }

    /// How many run.
    #[must_use]
    pub fn active(&self) -> u64 {
        (self.by_id.size() - self.ended.size()) as u64
    }

    /// How many completed, and how many failed, since the log began.
    #[must_use]
    pub fn ended(&self) -> (u64, u64) {
        (self.completed, self.failed)
    }

    pub(super) fn start(
        &self,
        start: &StartWorkflow,
        servers: &Servers,
        policy: &Policy,
        at: Moment,
    ) -> Result<Decision, Rejection> {
        if let Some(there) = self.get_at(&start.id, at.lived, policy) {
            if !same_json(there.about.definition.as_ref(), Some(&start.definition)) {
                return Err(Rejection::WorkflowExists(start.id.clone()));
            }
            return Ok(Decision::nothing(Reply::Workflow {
                id: start.id.clone(),
                created: false,
            }));
        }
        if start.steps.len() > policy.max_steps {
            return Err(Rejection::LimitReached {
                limit: Limit::Steps,
                most: policy.max_steps,
            });
        }
        if self.active() >= policy.max_workflows as u64 {
            return Err(Rejection::LimitReached {
                limit: Limit::Workflows,
                most: policy.max_workflows,
            });
        }
        let ready = start
            .steps
            .iter()
            .filter(|step| step.depends_on.is_empty())
            .map(|step| step.id.clone());
        let data = WorkflowStarted {
            workflow_id: start.id.clone(),
            name: start.name.clone(),
            description: start.description.clone(),
            steps: start.steps.clone(),
            ready_steps: ready.collect(),
        };
        let event = NewEvent {
            server: start.server.clone(),
            tags: start
                .server
                .as_ref()
                .map(|id| servers.tags_of(id))
                .unwrap_or_default(),
            data: EventData::WorkflowStarted(Box::new(data)),
            occurred_at: start.occurred_at,
            by: None,
            private: Private {
                definition: Some(start.definition.clone()),
                timeout_ms: start.timeout_ms,
                max_failures: start.max_failures,
                ..Private::default()
            },
        };
        Ok(Decision {
            events: vec![event],
            reply: Reply::Workflow {
                id: start.id.clone(),
                created: true,
            },
        })
    }

    pub(super) fn report(
        &self,
        report: &ReportStep,
        servers: &Servers,
        policy: &Policy,
        at: Moment,
    ) -> Result<Decision, Rejection> {
        let workflow = self.known(&report.workflow, policy, at.lived)?;
        let mut draft = Draft::new(workflow, servers, at.wall);
        draft.report(report, policy.max_steps)?;
        let reply = Reply::Step {
            workflow: report.workflow.clone(),
            step: report.step.clone(),
        };
        Ok(Decision {
            events: draft.into_events(),
            reply,
        })
    }

    pub(super) fn end(
        &self,
        end: &EndWorkflow,
        servers: &Servers,
        policy: &Policy,
        at: Moment,
    ) -> Result<Decision, Rejection> {
        let workflow = self.known(&end.workflow, policy, at.lived)?;
        let mut draft = Draft::new(workflow, servers, at.wall);
        draft.end(&end.ending, end.occurred_at)?;
        let reply = Reply::Workflow {
            id: end.workflow.clone(),
            created: false,
        };
        Ok(Decision {
            events: draft.into_events(),
            reply,
        })
    }

    pub(super) fn step_timed_out(
        &self,
        workflow: &WorkflowId,
        step: &StepId,
        attempt: u32,
        servers: &Servers,
        now: i64,
    ) -> Decision {
        self.by_itself(workflow, servers, now, |draft| {
            draft.step_timed_out(step, attempt)
        })
    }

    pub(super) fn timed_out(&self, workflow: &WorkflowId, servers: &Servers, now: i64) -> Decision {
        self.by_itself(workflow, servers, now, |draft| draft.timed_out())
    }

    /// The next release of steps whose holder is gone, if any is due.
    pub(super) fn due_release(&self) -> Option<Reaction> {
        let (workflow, server) = self.index.first_orphan()?;
        Some(Reaction::ReleaseSteps {
            workflow: workflow.clone(),
            server: server.clone(),
        })
    }

    pub(super) fn release(
        &self,
        workflow: &WorkflowId,
        server: &ServerId,
        servers: &Servers,
        now: i64,
    ) -> Decision {
        let places = self.index.orphans_of(workflow, server);
        self.by_itself(workflow, servers, now, |draft| {
            draft.release(server, &places)
        })
    }

    /// `lived` is the time of the event by the time that has really passed, ms; `ended` are the instances that it ends.
    pub(super) fn evolve(&mut self, event: &Event, lived: i64, ended: &[Ended]) {
        let (at, sequence, private) = (
            event.timestamp,
            event.position.sequence,
            &event.what.private,
        );
        match &event.what.data {
            EventData::WorkflowStarted(data) => {
                let mut workflow = Workflow::started(data, private, at, sequence);
                workflow.begins_at(lived);
                self.put(workflow);
            }
            EventData::ServerDisconnected(_) | EventData::InstanceDisconnected(_) => {
                let is_gone = matches!(event.what.data, EventData::ServerDisconnected(_));
                if let Some(server) = &event.what.server {
                    self.orphan_steps_of(server, ended, is_gone);
                }
            }
            data => {
                let Some(before) = data.workflow().and_then(|id| self.get(id)).cloned() else {
                    return;
                };
                let mut after = before.as_ref().clone();
                let touched = after.apply(data, private, at, sequence);
                if matches!(data, EventData::WorkflowStepStarted(_)) && at != lived {
                    after.attempt_begins_at(&touched, lived);
                }
                if before.outcome.is_none() {
                    after.ages_from(lived);
                }
                self.replace(&before, after, &touched);
            }
        }
    }

    pub(super) fn expire(&mut self, lived: i64, policy: &Policy) {
        while let Some((since, _, id)) = self.ended.first().cloned() {
            let too_old = policy.is_forgotten(since, lived);
            if !too_old && self.ended.size() <= policy.state_retention_count {
                return;
            }
            self.remove(&id);
        }
    }

    /// Workflow of a command that may be answered with `404`.
    fn known(&self, id: &WorkflowId, policy: &Policy, lived: i64) -> Result<&Workflow, Rejection> {
        match self.get_at(id, lived, policy) {
            Some(workflow) => Ok(workflow),
            None => Err(Rejection::WorkflowNotFound(id.clone())),
        }
    }

    /// What the hub itself does to a workflow; nothing where there is none.
    fn by_itself(
        &self,
        id: &WorkflowId,
        servers: &Servers,
        now: i64,
        decide: impl FnOnce(&mut Draft<'_>),
    ) -> Decision {
        let Some(workflow) = self.get(id) else {
            return Decision::nothing(Reply::Done);
        };
        let mut draft = Draft::new(workflow, servers, now);
        decide(&mut draft);
        Decision {
            events: draft.into_events(),
            reply: Reply::Done,
        }
    }

    /// Marks what the instances of a server hold that are gone; what another instance of it claimed stays its own.
    /// Claims that name no instance are the server's, and end with it or with the instance that has no name.
    fn orphan_steps_of(&mut self, server: &ServerId, ended: &[Ended], is_gone: bool) {
        let is_over = |holder: &Option<InstanceId>| {
            (is_gone && holder.is_none()) || ended.iter().any(|ended| ended.instance == *holder)
        };
        // One that has no name may have claimed under any.
        let any = is_gone && ended.iter().all(|ended| ended.instance.is_none());
        if ended.is_empty() {
            return;
        }
        let Some(places) = self.index.running_at.get(server).cloned() else {
            return;
        };
        for (id, place) in &places {
            let (Some(before), place) = (self.get(id).cloned(), *place) else {
                continue;
            };
            let Some(run) = before.step_at(place).map(|step| &step.run) else {
                continue;
            };
            let other_instance = !any && !is_over(&run.instance);
            if other_instance || run.server.as_ref() != Some(server) {
                continue;
            }
            let mut after = before.as_ref().clone();
            after.orphan(place);
            self.replace(&before, after, &[place]);
        }
    }

    /// Puts a whole workflow in, in place of one of the same id.
    fn put(&mut self, workflow: Workflow) {
        self.remove(&workflow.id);
        let places: Vec<u32> = (0..workflow.total_steps()).collect();
        self.index.update(None, Some(&workflow), &places);
        if let Some(outcome) = &workflow.outcome {
            self.ended
                .insert_mut((outcome.since(), outcome.sequence, workflow.id.clone()));
        }
        self.by_id
            .insert_mut(workflow.id.clone(), Arc::new(workflow));
    }

    fn replace(&mut self, before: &Workflow, after: Workflow, touched: &[u32]) {
        self.index.update(Some(before), Some(&after), touched);
        if let (None, Some(outcome)) = (&before.outcome, &after.outcome) {
            self.ended
                .insert_mut((outcome.since(), outcome.sequence, after.id.clone()));
            let count = if outcome.completed {
                &mut self.completed
            } else {
                &mut self.failed
            };
            *count += 1;
        }
        self.by_id.insert_mut(after.id.clone(), Arc::new(after));
    }

    fn remove(&mut self, id: &WorkflowId) {
        let Some(workflow) = self.by_id.get(id).cloned() else {
            return;
        };
        let places: Vec<u32> = (0..workflow.total_steps()).collect();
        self.index.update(Some(&workflow), None, &places);
        if let Some(outcome) = &workflow.outcome {
            self.ended
                .remove_mut(&(outcome.since(), outcome.sequence, id.clone()));
        }
        self.by_id.remove_mut(id);
    }
}

impl Workflow {
    /// Whether it ended so long ago that it is forgotten.
    #[must_use]
    pub fn is_expired(&self, lived: i64, policy: &Policy) -> bool {
        self.outcome
            .as_ref()
            .is_some_and(|outcome| policy.is_forgotten(outcome.since(), lived))
    }
}

/// Whether two values are the same, to the last digit of each number; the order of keys doesn't matter, nor does
/// white space.
fn same_json(one: Option<&Json>, other: Option<&Json>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.root().is_same(other.root()),
        (one, other) => one == other,
    }
}
