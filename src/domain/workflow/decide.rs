//! What a command brings about in one workflow: its events, all that one command causes in one commit.
//!
//! Consequences are found by letting a scratch copy (a few pointers) take in each event as it is decided,
//! so that deciding and evolving can't come to differ.

use super::{
    Workflow,
    claim::{Verdict, judge},
    state::WorkflowStatus,
    step::{Step, StepStatus},
};
use crate::domain::{
    command::{Ending, Rejection, ReportStep, StepReport},
    event::{
        EventData, NewEvent, Private, StepResult, WorkflowCompleted, WorkflowFailed,
        WorkflowStepCompleted, WorkflowStepFailed, WorkflowStepStarted,
    },
    ids::{ServerId, StepId},
    json::Json,
    lighter::lighter,
    limit::Limit,
    server::Servers,
};

/// Why an attempt or a workflow failed: somebody said so.
pub(super) const REPORTED: &str = "reported";
pub(super) const TIMEOUT: &str = "timeout";
pub(super) const CANCELLED: &str = "cancelled";
const STEP_FAILED: &str = "step_failed";
const SERVER_DISCONNECTED: &str = "server_disconnected";

/// Bytes of the list of all steps' ends that `workflow_completed` repeats, so that its line is no longer than others that the
/// hub makes. What has no room is left out: it stands in the steps' own events and in the workflow.
const MAX_RESULTS_LEN: usize = 24 * 1024;

/// The same in versions that counted the results alone.
const FORMER_RESULTS_LEN: usize = 1 << 20;

/// Bytes of a step as it is shown to whoever may not report that on it: beyond, its largest members are cut.
const MAX_SHOWN_LEN: usize = 16 * 1024;

/// One decision in the making: the workflow as its events so far leave it.
pub(super) struct Draft<'a> {
    workflow: Workflow,
    servers: &'a Servers,
    now: i64,
    events: Vec<NewEvent>,
}

/// How an attempt came to its end.
struct Failure<'a> {
    step: &'a StepId,
    attempt: u32,
    server: Option<ServerId>,
    error: String,
    reason: &'static str,
    private: Private,
    occurred_at: Option<i64>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(workflow: &Workflow, servers: &'a Servers, now: i64) -> Self {
        Self {
            workflow: workflow.clone(),
            servers,
            now,
            events: Vec::new(),
        }
    }

    pub(super) fn into_events(self) -> Vec<NewEvent> {
        self.events
    }

    /// Takes a report in.
    pub(super) fn report(
        &mut self,
        report: &ReportStep,
        max_steps: usize,
    ) -> Result<(), Rejection> {
        let step = self.reported_step(report, max_steps)?;
        let attempt = match judge(&step, report) {
            Verdict::Take(attempt) if self.workflow.status() == WorkflowStatus::Running => attempt,
            Verdict::Known => return Ok(()),
            Verdict::Refuse(slug, why) if self.workflow.status() == WorkflowStatus::Running => {
                return Err(self.conflict(slug, why, &step));
            }
            Verdict::Take(_) | Verdict::Refuse(..) => {
                let status = self.workflow.status().as_str();
                let why = format!(
                    "workflow {} has already ended: it is {status}",
                    self.workflow.id
                );
                return Err(self.conflict("workflow-ended", why, &step));
            }
        };
        let holds = step.run.status == StepStatus::Running;
        let server = report
            .server
            .clone()
            .or_else(|| step.run.server.clone().filter(|_| holds));
        let instance = report
            .instance_id
            .clone()
            .or_else(|| step.run.instance.clone().filter(|_| holds));
        let private = Private {
            instance,
            ..Private::default()
        };
        match &report.report {
            StepReport::Running => self.step_started(report, attempt, server, private),
            StepReport::Completed { result } => {
                self.step_completed(report, attempt, server, private, &step, result.clone());
            }
            StepReport::Failed { error } => self.attempt_failed(Failure {
                step: &report.step,
                attempt,
                server,
                error: error.clone(),
                reason: REPORTED,
                private,
                occurred_at: report.occurred_at,
            }),
        }
        Ok(())
    }

    /// A claim's time is up.
    pub(super) fn step_timed_out(&mut self, id: &StepId, attempt: u32) {
        let Some(step) = self.workflow.step(id) else {
            return;
        };
        if step.run.status != StepStatus::Running || step.run.attempt != attempt {
            return;
        }
        let Some(timeout) = step.plan.declaration.timeout else {
            return;
        };
        let server = step.run.server.clone();
        let private = Private {
            instance: step.run.instance.clone(),
            ..Private::default()
        };
        let error = format!("no end was reported within {timeout} ms of the claim");
        self.attempt_failed(Failure {
            step: id,
            attempt,
            server,
            error,
            reason: TIMEOUT,
            private,
            occurred_at: None,
        });
    }

    /// The workflow's time is up.
    pub(super) fn timed_out(&mut self) {
        let Some(timeout) = self.workflow.about.timeout_ms else {
            return;
        };
        if self.workflow.status() == WorkflowStatus::Running {
            self.fail(
                TIMEOUT,
                format!("the workflow did not end within {timeout} ms"),
                None,
                None,
            );
        }
    }

    /// The holder of these steps is gone.
    pub(super) fn release(&mut self, server: &ServerId, places: &[u32]) {
        for &place in places {
            let Some(step) = self.workflow.step_at(place).cloned() else {
                continue;
            };
            if self.workflow.status() != WorkflowStatus::Running || !step.run.orphaned {
                continue;
            }
            self.attempt_failed(Failure {
                step: &step.plan.declaration.id,
                attempt: step.run.attempt,
                server: Some(server.clone()),
                error: format!("server {server} disconnected while it held the step"),
                reason: SERVER_DISCONNECTED,
                private: Private {
                    instance: step.run.instance.clone(),
                    ..Private::default()
                },
                occurred_at: None,
            });
        }
    }

    /// Ends it by hand, or finds that it has ended so.
    pub(super) fn end(
        &mut self,
        ending: &Ending,
        occurred_at: Option<i64>,
    ) -> Result<(), Rejection> {
        if let Some(outcome) = &self.workflow.outcome {
            // What the hub found by itself is no contradiction to a hand that asks for the same.
            let by_hand = outcome.reason.as_deref() == Some(REPORTED);
            let same = match ending {
                Ending::Completed { results } => {
                    outcome.completed
                        && (results.is_none()
                            || outcome.results.is_none()
                            || super::same_json(results.as_ref(), outcome.results.as_ref()))
                }
                Ending::Failed { error, failed_step } => {
                    let found = matches!(outcome.reason.as_deref(), Some(STEP_FAILED | TIMEOUT));
                    let told = outcome.error.as_ref() == Some(error)
                        && outcome.failed_step == *failed_step;
                    found || (by_hand && told)
                }
                Ending::Cancelled { reason } => {
                    outcome.reason.as_deref() == Some(CANCELLED)
                        && (reason.is_none() || outcome.error.as_ref() == reason.as_ref())
                }
            };
            let (workflow, status) = (self.workflow.id.clone(), self.workflow.status().as_str());
            return if same {
                Ok(())
            } else {
                Err(Rejection::WorkflowEnded { workflow, status })
            };
        }
        match ending {
            Ending::Completed { results } => self.complete(results.clone(), occurred_at),
            Ending::Failed { error, failed_step } => {
                self.fail(REPORTED, error.clone(), failed_step.clone(), occurred_at);
            }
            Ending::Cancelled { reason } => {
                self.fail(
                    CANCELLED,
                    reason.clone().unwrap_or_else(|| CANCELLED.to_owned()),
                    None,
                    occurred_at,
                );
            }
        }
        Ok(())
    }

    /// The step that a report is about: declared, or new in a workflow whose steps come as they are reported.
    fn reported_step(&self, report: &ReportStep, max_steps: usize) -> Result<Step, Rejection> {
        if let Some(step) = self.workflow.step(&report.step) {
            return Ok(step.clone());
        }
        let workflow = report.workflow.clone();
        if self.workflow.about.declared {
            return Err(Rejection::StepNotFound {
                workflow,
                step: report.step.clone(),
            });
        }
        if self.workflow.status() != WorkflowStatus::Running {
            return Err(Rejection::WorkflowEnded {
                workflow,
                status: self.workflow.status().as_str(),
            });
        }
        if self.workflow.steps.len() >= max_steps {
            return Err(Rejection::LimitReached {
                limit: Limit::Steps,
                most: max_steps,
            });
        }
        Ok(self.workflow.undeclared(&report.step))
    }

    fn step_started(
        &mut self,
        report: &ReportStep,
        attempt: u32,
        server: Option<ServerId>,
        private: Private,
    ) {
        let data = EventData::WorkflowStepStarted(WorkflowStepStarted {
            workflow_id: self.workflow.id.clone(),
            step_id: report.step.clone(),
            server_id: server.clone(),
            attempt,
        });
        self.push(server, data, private, report.occurred_at);
    }

    fn step_completed(
        &mut self,
        report: &ReportStep,
        attempt: u32,
        server: Option<ServerId>,
        private: Private,
        step: &Step,
        result: Option<Json>,
    ) {
        let started_at = step
            .run
            .started_at
            .filter(|_| step.run.status == StepStatus::Running);
        let mut data = WorkflowStepCompleted {
            workflow_id: self.workflow.id.clone(),
            step_id: report.step.clone(),
            server_id: server.clone(),
            result,
            attempt,
            duration_ms: started_at.map(|at| elapsed_ms(at, self.now)),
            completed_steps: 0,
            total_steps: 0,
            ready_steps: Vec::new(),
        };
        let mut after = self.workflow.clone();
        let touched = after.on_step_completed(&data, &private, self.now);
        data.completed_steps = after.counts.ended;
        data.total_steps = after.total_steps();
        data.ready_steps = after.ready_among(&touched);
        self.push(
            server,
            EventData::WorkflowStepCompleted(Box::new(data)),
            private,
            report.occurred_at,
        );
        self.complete_if_all_ended(report.occurred_at);
    }

    fn attempt_failed(&mut self, failure: Failure<'_>) {
        let known = self
            .workflow
            .step(failure.step)
            .map(|step| step.plan.clone());
        let plan = known.unwrap_or_else(|| self.workflow.undeclared(failure.step).plan);
        let will_retry = failure.attempt <= plan.retries();
        let too_many = self
            .workflow
            .about
            .max_failures
            .is_some_and(|max| self.workflow.counts.failed >= max);
        let fatal = !will_retry && (plan.required || too_many);
        let mut data = WorkflowStepFailed {
            workflow_id: self.workflow.id.clone(),
            step_id: failure.step.clone(),
            server_id: failure.server.clone(),
            error: failure.error,
            attempt: failure.attempt,
            will_retry,
            reason: failure.reason.to_owned(),
            ready_steps: Vec::new(),
        };
        let error = data.error.clone();
        if !will_retry && !fatal {
            let mut after = self.workflow.clone();
            let touched = after.on_step_failed(&data, &failure.private, self.now);
            data.ready_steps = after.ready_among(&touched);
        }
        let data = EventData::WorkflowStepFailed(Box::new(data));
        self.push(failure.server, data, failure.private, failure.occurred_at);
        if fatal {
            self.fail(
                STEP_FAILED,
                error,
                Some(failure.step.clone()),
                failure.occurred_at,
            );
        } else {
            self.complete_if_all_ended(failure.occurred_at);
        }
    }

    /// Where steps come as they are reported, only a hand knows the last.
    fn complete_if_all_ended(&mut self, occurred_at: Option<i64>) {
        if self.workflow.about.declared && self.workflow.counts.ended == self.workflow.total_steps()
        {
            self.complete(None, occurred_at);
        }
    }

    fn complete(&mut self, results: Option<Json>, occurred_at: Option<i64>) {
        let (results, is_whole) = match results {
            Some(stated) => (stated, true),
            None => self.workflow.results(),
        };
        let truncated = if is_whole { &[][..] } else { &["results"] };
        let data = WorkflowCompleted {
            workflow_id: self.workflow.id.clone(),
            name: self.workflow.about.name.clone(),
            duration_ms: elapsed_ms(self.workflow.about.started_at, self.now),
            results,
            truncated: truncated.iter().map(|&name| name.to_owned()).collect(),
        };
        self.push(
            None,
            EventData::WorkflowCompleted(data),
            Private::default(),
            occurred_at,
        );
    }

    fn fail(
        &mut self,
        reason: &str,
        error: String,
        failed_step: Option<StepId>,
        occurred_at: Option<i64>,
    ) {
        let step = failed_step.as_ref().and_then(|id| self.workflow.step(id));
        let data = WorkflowFailed {
            workflow_id: self.workflow.id.clone(),
            name: self.workflow.about.name.clone(),
            reason: reason.to_owned(),
            error,
            server_id: step.and_then(Step::at_work).cloned(),
            tool: step.and_then(|step| step.plan.declaration.tool.clone()),
            failed_step,
            retry_attempts: self.workflow.counts.retry_attempts,
            completed_steps: self.workflow.counts.ended,
            total_steps: self.workflow.total_steps(),
        };
        self.push(
            None,
            EventData::WorkflowFailed(data),
            Private::default(),
            occurred_at,
        );
    }

    fn push(
        &mut self,
        server: Option<ServerId>,
        data: EventData,
        private: Private,
        occurred_at: Option<i64>,
    ) {
        self.workflow.apply(&data, &private, self.now, 0);
        let tags = server
            .as_ref()
            .map(|id| self.servers.tags_of(id))
            .unwrap_or_default();
        self.events.push(NewEvent {
            server,
            tags,
            data,
            occurred_at,
            by: None,
            private,
        });
    }

    fn conflict(&self, slug: &'static str, why: String, step: &Step) -> Rejection {
        Rejection::StepConflict {
            slug,
            why,
            step: Json::trusted(lighter(
                Json::of(&step.view(&self.workflow.id)).as_str(),
                Vec::new(),
                MAX_SHOWN_LEN,
            )),
        }
    }
}

impl Workflow {
    /// Each step's end, in order of declaration, and whether all of them are there with all that came of them.
    fn results(&self) -> (Json, bool) {
        let bytes = |end: &StepResult| Json::of(end).as_str().len() + ",".len();
        let mut room = MAX_RESULTS_LEN;
        let mut ends = Vec::new();
        for step in self.steps() {
            let end = step.end(None);
            let Some(left) = room.checked_sub(bytes(&end)) else {
                return (Json::of(&ends), false);
            };
            room = left;
            ends.push(end);
        }
        let mut is_whole = true;
        for (end, step) in ends.iter_mut().zip(self.steps()) {
            let Some(result) = &step.run.result else {
                continue;
            };
            match room.checked_sub(result.as_str().len() + ",\"result\":".len()) {
                Some(left) => (room, end.result) = (left, Some(result.clone())),
                None => is_whole = false,
            }
        }
        (Json::of(&ends), is_whole)
    }

    /// Whether a list of the steps' ends is the workflow's own, rather than what somebody stated.
    pub(super) fn is_own(&self, results: &Json) -> bool {
        self.results().0 == *results
            || (results.as_str().len() > MAX_RESULTS_LEN && self.former_results() == *results)
    }

    /// The list as versions made it that counted the results alone.
    fn former_results(&self) -> Json {
        let mut room = FORMER_RESULTS_LEN;
        let ends: Vec<StepResult> = self
            .steps()
            .map(|step| {
                let result = step.run.result.as_ref().filter(|result| {
                    let fits = result.as_str().len() <= room;
                    room -= if fits { result.as_str().len() } else { 0 };
                    fits
                });
                step.end(result.cloned())
            })
            .collect();
        Json::of(&ends)
    }

    fn ready_among(&self, touched: &[u32]) -> Vec<StepId> {
        let ready = |step: &&Step| step.run.status == StepStatus::Ready;
        touched
            .iter()
            .skip(1)
            .filter_map(|&place| self.step_at(place).filter(ready))
            .map(|step| step.plan.declaration.id.clone())
            .collect()
    }
}

impl Step {
    fn end(&self, result: Option<Json>) -> StepResult {
        StepResult {
            step: self.plan.declaration.id.clone(),
            status: self.run.status.as_str().to_owned(),
            result,
        }
    }
}

fn elapsed_ms(from: i64, now: i64) -> u64 {
    u64::try_from(now.saturating_sub(from)).unwrap_or(0)
}
