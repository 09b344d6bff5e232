//! Who may find other steps after an event than before: the ones to be woken, and nobody else.

use std::collections::BTreeSet;

use super::{
    Workflows,
    step::{Step, StepStatus},
};
use crate::domain::{
    event::EventData,
    ids::{ServerId, StepId, WorkflowId},
};

/// Whose steps one or more events touched.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stirred {
    /// Workflows of which any step may have changed.
    pub workflows: BTreeSet<WorkflowId>,
    /// Servers that may claim, hold or did one of the steps.
    pub servers: BTreeSet<ServerId>,
    /// A step that declares no server became ready: every server may claim it.
    pub any_server: bool,
}

impl Stirred {
    /// Whether nobody is concerned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workflows.is_empty()
    }
}

impl Workflows {
    /// Adds whom an event concerns to `stirred`. `self` is the state after the event, or after later ones. Costs as much
    /// as the event tells of: the steps that it names, or all of a workflow that begins or ends.
    pub fn stirred_by(&self, data: &EventData, stirred: &mut Stirred) {
        let Some(id) = data.workflow() else { return };
        let Some(workflow) = self.get(id) else {
            return;
        };
        let (step, made_ready): (&StepId, &[StepId]) = match data {
            EventData::WorkflowStepStarted(data) => (&data.step_id, &[]),
            EventData::WorkflowStepCompleted(data) => (&data.step_id, &data.ready_steps),
            EventData::WorkflowStepFailed(data) => (&data.step_id, &data.ready_steps),
            EventData::WorkflowStarted(_)
            | EventData::WorkflowCompleted(_)
            | EventData::WorkflowFailed(_) => {
                stirred.workflows.insert(id.clone());
                workflow.steps().for_each(|step| stirred.add(step));
                return;
            }
            _ => return,
        };
        stirred.workflows.insert(id.clone());
        [step]
            .into_iter()
            .chain(made_ready)
            .filter_map(|id| workflow.step(id))
            .for_each(|step| stirred.add(step));
    }
}

impl Stirred {
    fn add(&mut self, step: &Step) {
        let concerned = match step.run.status {
            StepStatus::Ready => {
                let declared = step.plan.declaration.server.as_ref();
                self.any_server |= declared.is_none();
                declared
            }
            _ => step.at_work(),
        };
        self.servers.extend(concerned.cloned());
    }
}
