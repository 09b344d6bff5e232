//! One workflow and how events change it. Can't fail: what doesn't fit changes nothing.
//!
//! A report costs the depth of two small trees and the step's dependents, never a look at all steps; only
//! the workflow's end looks at them all, once.

use std::sync::Arc;

use rpds::{HashTrieMapSync, VectorSync};
use serde::{Deserialize, Serialize};

use super::{
    decide::CANCELLED,
    step::{Past, Plan, Run, Step, StepStatus},
};
use crate::domain::{
    event::{
        EventData, Private, StepDeclaration, WorkflowCompleted, WorkflowFailed, WorkflowStarted,
        WorkflowStepCompleted, WorkflowStepFailed, WorkflowStepStarted,
    },
    ids::{StepId, WorkflowId},
    json::{Json, Members},
};

/// How far a workflow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkflowStatus {
    /// It runs.
    Running,
    /// It is done.
    Completed,
    /// It failed or ran out of time.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl WorkflowStatus {
    /// The status as the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it is meant by whoever asks for that status: a cancelled workflow counts among the failed ones, too.
    #[must_use]
    pub fn is_among(self, asked: Self) -> bool {
        self == asked || (asked == Self::Failed && self == Self::Cancelled)
    }

    /// Reads a status as the API writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Running,
            Self::Completed,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
    }
}

/// What never changes about a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) definition: Option<Json>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) max_failures: Option<u32>,
    /// Whether its steps were declared; otherwise they come into being as they are reported.
    pub(super) declared: bool,
    pub(super) started_at: i64,
    /// The same by the time that has really passed, where the two differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) started_lived: Option<i64>,
    /// The sequence of its `workflow_started`: which workflow of this id it is.
    pub(super) started_sequence: u64,
}

/// How a workflow ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) completed: bool,
    pub(super) reason: Option<String>,
    pub(super) error: Option<String>,
    pub(super) failed_step: Option<StepId>,
    /// Results that somebody gave by hand, where they aren't the steps' own.
    pub(super) results: Option<Json>,
    pub(super) ended_at: i64,
    /// The same by the time that has really passed, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lived: Option<i64>,
    /// The sequence of the event that says so.
    pub(super) sequence: u64,
}

impl Outcome {
    /// What its age counts from, by the time that has really passed, ms.
    pub(super) fn since(&self) -> i64 {
        self.lived.unwrap_or(self.ended_at)
    }
}

/// Counts that a report keeps up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Steps that completed, or failed and weren't required: those behind which the workflow goes on.
    pub(super) ended: u32,
    /// Steps that failed for good.
    pub(super) failed: u32,
    /// Attempts beyond the first, over all steps.
    pub(super) retry_attempts: u32,
}

/// One workflow, as the events tell it. Cloning it is cheap, whatever the number of its steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Workflow {
    /// Its id.
    pub id: WorkflowId,
    pub(super) about: Arc<About>,
    pub(super) steps: VectorSync<Arc<Step>>,
    pub(super) places: HashTrieMapSync<StepId, u32>,
    pub(super) counts: Counts,
    pub(super) outcome: Option<Arc<Outcome>>,
}

/// Places of the steps that an event changed.
pub(super) type Touched = Vec<u32>;

impl Workflow {
    /// The workflow that an event began.
    pub(super) fn started(
        data: &WorkflowStarted,
        private: &Private,
        at: i64,
        sequence: u64,
    ) -> Self {
        let about = About {
            name: data.name.clone(),
            description: data.description.clone(),
            definition: private.definition.clone(),
            timeout_ms: private.timeout_ms,
            max_failures: private.max_failures,
            declared: !data.steps.is_empty(),
            started_at: at,
            started_lived: None,
            started_sequence: sequence,
        };
        let plans = plan(&data.steps, about.max_failures);
        let steps = plans.into_iter().map(|(plan, waiting)| Step {
            plan: Arc::new(plan),
            run: Run::waiting_for(waiting),
        });
        Self::assemble(
            data.workflow_id.clone(),
            about,
            steps,
            Counts::default(),
            None,
        )
    }

    /// Puts a workflow together from its parts.
    pub(super) fn assemble(
        id: WorkflowId,
        about: About,
        steps: impl Iterator<Item = Step>,
        counts: Counts,
        outcome: Option<Outcome>,
    ) -> Self {
        let mut workflow = Self {
            id,
            about: Arc::new(about),
            steps: VectorSync::new_sync(),
            places: HashTrieMapSync::new_sync(),
            counts,
            outcome: outcome.map(Arc::new),
        };
        steps.for_each(|step| workflow.push(step));
        workflow
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> WorkflowStatus {
        match &self.outcome {
            None => WorkflowStatus::Running,
            Some(outcome) if outcome.completed => WorkflowStatus::Completed,
            Some(outcome) if outcome.reason.as_deref() == Some(CANCELLED) => {
                WorkflowStatus::Cancelled
            }
            Some(_) => WorkflowStatus::Failed,
        }
    }

    /// The step of this id.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.place(id).and_then(|place| self.step_at(place))
    }

    /// Its steps, in order of declaration.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().map(Arc::as_ref)
    }

    /// Milliseconds from its start until it fails with `timeout`.
    #[must_use]
    pub fn timeout_ms(&self) -> Option<u64> {
        self.about.timeout_ms
    }

    /// When it began, epoch ms.
    #[must_use]
    pub fn started_at(&self) -> i64 {
        self.about.started_at
    }

    /// The same by the time that has really passed.
    #[must_use]
    pub fn started_lived(&self) -> i64 {
        self.about.started_lived.unwrap_or(self.about.started_at)
    }

    /// The sequence of its `workflow_started`, which tells it from an earlier one of the same id.
    #[must_use]
    pub fn started_sequence(&self) -> u64 {
        self.about.started_sequence
    }

    pub(super) fn place(&self, id: &StepId) -> Option<u32> {
        self.places.get(id).copied()
    }

    pub(super) fn step_at(&self, place: u32) -> Option<&Step> {
        self.steps.get(place as usize).map(Arc::as_ref)
    }

    /// How many steps it has.
    #[must_use]
    pub fn total_steps(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    /// A step that nobody declared, as it comes into being with its first report.
    pub(super) fn undeclared(&self, id: &StepId) -> Step {
        let plan = Plan {
            declaration: StepDeclaration::bare(id.clone()),
            required: self.about.max_failures.is_none(),
            dependents: Vec::new(),
        };
        Step {
            plan: Arc::new(plan),
            run: Run::waiting_for(0),
        }
    }

    /// Takes an event in. An ended workflow is immutable, and the beginning of one is [`Self::started`].
    pub(super) fn apply(
        &mut self,
        data: &EventData,
        private: &Private,
        at: i64,
        sequence: u64,
    ) -> Touched {
        if self.outcome.is_some() {
            return Touched::new();
        }
        match data {
            EventData::WorkflowStepStarted(data) => self.on_step_started(data, private, at),
            EventData::WorkflowStepCompleted(data) => self.on_step_completed(data, private, at),
            EventData::WorkflowStepFailed(data) => self.on_step_failed(data, private, at),
            EventData::WorkflowCompleted(data) => self.on_completed(data, at, sequence),
            EventData::WorkflowFailed(data) => self.on_failed(data, at, sequence),
            _ => Touched::new(),
        }
    }

    fn on_step_started(
        &mut self,
        data: &WorkflowStepStarted,
        private: &Private,
        at: i64,
    ) -> Touched {
        self.change(&data.step_id, data.attempt, |run| {
            run.status = StepStatus::Running;
            run.server.clone_from(&data.server_id);
            run.instance.clone_from(&private.instance);
            run.started_at = Some(at);
            run.started_lived = None;
            run.ended_at = None;
        })
    }

    pub(super) fn on_step_completed(
        &mut self,
        data: &WorkflowStepCompleted,
        private: &Private,
        at: i64,
    ) -> Touched {
        let mut touched = self.change(&data.step_id, data.attempt, |run| {
            if run.status == StepStatus::Ready {
                run.started_at = None;
            }
            run.status = StepStatus::Completed;
            run.server.clone_from(&data.server_id);
            run.instance.clone_from(&private.instance);
            run.ended_at = Some(at);
            run.result.clone_from(&data.result);
            run.error = None;
            run.orphaned = false;
        });
        if let Some(&place) = touched.first() {
            self.counts.ended += 1;
            self.let_dependents_go_on(place, &mut touched);
        }
        touched
    }

    pub(super) fn on_step_failed(
        &mut self,
        data: &WorkflowStepFailed,
        private: &Private,
        at: i64,
    ) -> Touched {
        let mut touched = self.change(&data.step_id, data.attempt, |run| {
            if run.status == StepStatus::Ready {
                run.started_at = None;
            }
            let error: Arc<str> = data.error.as_str().into();
            run.past.push_back_mut(Past {
                server: data.server_id.clone(),
                error: error.clone(),
                reported: data.reason == super::decide::REPORTED,
            });
            run.status = if data.will_retry {
                StepStatus::Ready
            } else {
                StepStatus::Failed
            };
            run.server = data.server_id.clone().filter(|_| !data.will_retry);
            run.instance = private.instance.clone().filter(|_| !data.will_retry);
            run.ended_at = Some(at);
            run.error = Some(error);
            run.orphaned = false;
        });
        let Some(&place) = touched.first() else {
            return touched;
        };
        if !data.will_retry {
            self.counts.failed += 1;
            // The one failure too many isn't borne: it fails the workflow, and nothing goes on.
            let too_many = self.about.max_failures;
            let too_many = too_many.is_some_and(|most| self.counts.failed > most);
            if !too_many && self.step_at(place).is_some_and(|step| !step.plan.required) {
                self.counts.ended += 1;
                self.let_dependents_go_on(place, &mut touched);
            }
        }
        touched
    }

    fn on_completed(&mut self, data: &WorkflowCompleted, at: i64, sequence: u64) -> Touched {
        let results = (!self.is_own(&data.results)).then(|| data.results.clone());
        let (reason, error, failed_step) = (None, None, None);
        self.ended(Outcome {
            completed: true,
            reason,
            error,
            failed_step,
            results,
            ended_at: at,
            lived: None,
            sequence,
        })
    }

    fn on_failed(&mut self, data: &WorkflowFailed, at: i64, sequence: u64) -> Touched {
        self.ended(Outcome {
            completed: false,
            reason: Some(data.reason.clone()),
            error: Some(data.error.clone()),
            failed_step: data.failed_step.clone(),
            results: None,
            ended_at: at,
            lived: None,
            sequence,
        })
    }

    /// It began at this time by the time that has really passed.
    pub(super) fn begins_at(&mut self, lived: i64) {
        if self.about.started_at != lived {
            Arc::make_mut(&mut self.about).started_lived = Some(lived);
        }
    }

    /// The attempt that has just begun did so at this time by the time that has really passed.
    pub(super) fn attempt_begins_at(&mut self, touched: &[u32], lived: i64) {
        for &place in touched {
            self.change_at(place, |run| {
                run.started_lived = run.started_at.filter(|at| *at != lived).map(|_| lived);
            });
        }
    }

    /// The end that the workflow has just come to, if it has, was at this time by the time that has really passed.
    pub(super) fn ages_from(&mut self, lived: i64) {
        if let Some(outcome) = &mut self.outcome
            && outcome.ended_at != lived
        {
            Arc::make_mut(outcome).lived = Some(lived);
        }
    }

    /// Marks a step's holder as gone: the attempt is due to be failed.
    pub(super) fn orphan(&mut self, place: u32) {
        self.change_at(place, |run| {
            run.orphaned = run.status == StepStatus::Running
        });
    }

    /// What is left unfinished never runs: what could be claimed is not to be had any more, and what was
    /// running is aborted.
    fn ended(&mut self, outcome: Outcome) -> Touched {
        let at = outcome.ended_at;
        self.outcome = Some(Arc::new(outcome));
        let open = |step: &Step| matches!(step.run.status, StepStatus::Ready | StepStatus::Running);
        let places: Touched = (0_u32..)
            .zip(self.steps())
            .filter(|(_, step)| open(step))
            .map(|(place, _)| place)
            .collect();
        for &place in &places {
            self.change_at(place, |run| {
                if run.status == StepStatus::Running {
                    run.status = StepStatus::Aborted;
                    run.error = Some("the workflow ended first".into());
                    run.ended_at = Some(at);
                    run.orphaned = false;
                } else {
                    run.status = StepStatus::Pending;
                }
            });
        }
        places
    }

    /// Changes one step, made where nobody declared it, and counts its attempts.
    fn change(&mut self, id: &StepId, attempt: u32, change: impl FnOnce(&mut Run)) -> Touched {
        if self.place(id).is_none() {
            self.push(self.undeclared(id));
        }
        let Some(place) = self.place(id) else {
            return Touched::new();
        };
        let before = self.step_at(place).map_or(0, |step| step.run.attempt);
        self.counts.retry_attempts += attempt
            .saturating_sub(1)
            .saturating_sub(before.saturating_sub(1));
        self.change_at(place, |run| {
            run.attempt = attempt;
            change(run);
        });
        vec![place]
    }

    fn change_at(&mut self, place: u32, change: impl FnOnce(&mut Run)) {
        if let Some(step) = self.steps.get_mut(place as usize) {
            change(&mut Arc::make_mut(step).run);
        }
    }

    fn let_dependents_go_on(&mut self, place: u32, touched: &mut Touched) {
        let Some(plan) = self.step_at(place).map(|step| step.plan.clone()) else {
            return;
        };
        for &dependent in &plan.dependents {
            self.change_at(dependent, |run| {
                run.waiting = run.waiting.saturating_sub(1);
                if run.waiting == 0 && run.status == StepStatus::Pending {
                    run.status = StepStatus::Ready;
                }
            });
            touched.push(dependent);
        }
    }

    fn push(&mut self, step: Step) {
        self.places
            .insert_mut(step.plan.declaration.id.clone(), self.total_steps());
        self.steps.push_back_mut(Arc::new(step));
    }
}

/// The steps as planned, each with the number of steps that it waits for. Dependencies that don't exist
/// count for nothing: they can't be declared.
pub(super) fn plan(
    declarations: &[StepDeclaration],
    max_failures: Option<u32>,
) -> Vec<(Plan, u32)> {
    let places: std::collections::HashMap<&StepId, usize> = declarations
        .iter()
        .enumerate()
        .map(|(place, step)| (&step.id, place))
        .collect();
    let mut plans: Vec<(Plan, u32)> = declarations
        .iter()
        .map(|declaration| {
            let declaration = StepDeclaration {
                extra: Members::default(),
                ..declaration.clone()
            };
            let required = declaration.required.unwrap_or(max_failures.is_none());
            (
                Plan {
                    declaration,
                    required,
                    dependents: Vec::new(),
                },
                0,
            )
        })
        .collect();
    for (place, declaration) in (0_u32..).zip(declarations) {
        for dependency in declaration
            .depends_on
            .iter()
            .filter_map(|id| places.get(id))
        {
            plans[*dependency].0.dependents.push(place);
            plans[place as usize].1 += 1;
        }
    }
    plans
}
