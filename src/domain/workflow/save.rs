//! Workflows as a snapshot keeps them. What follows from the rest isn't kept but found again.

use serde::{Deserialize, Serialize};

use super::{
    Workflow, Workflows,
    state::{About, Counts, Outcome, plan},
    step::{Run, Step},
};
use crate::domain::{event::StepDeclaration, ids::WorkflowId};

/// All workflows, as a snapshot keeps them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedWorkflows {
    completed: u64,
    failed: u64,
    workflows: Vec<SavedWorkflow>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SavedWorkflow {
    id: WorkflowId,
    about: About,
    counts: Counts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    declarations: Vec<StepDeclaration>,
    runs: Vec<Run>,
}

impl Workflows {
    /// What a snapshot keeps.
    #[must_use]
    pub fn save(&self) -> SavedWorkflows {
        let save = |workflow: &Workflow| SavedWorkflow {
            id: workflow.id.clone(),
            about: workflow.about.as_ref().clone(),
            counts: workflow.counts,
            outcome: workflow.outcome.as_deref().cloned(),
            declarations: workflow
                .steps()
                .map(|step| step.plan.declaration.clone())
                .collect(),
            runs: workflow.steps().map(|step| step.run.clone()).collect(),
        };
        let workflows = self.iter().map(|workflow| save(workflow)).collect();
        SavedWorkflows {
            completed: self.completed,
            failed: self.failed,
            workflows,
        }
    }

    /// The workflows as they were when they were saved.
    #[must_use]
    pub fn restore(saved: SavedWorkflows) -> Self {
        let mut workflows = Self {
            completed: saved.completed,
            failed: saved.failed,
            ..Self::default()
        };
        for saved in saved.workflows {
            let plans = plan(&saved.declarations, saved.about.max_failures);
            let steps = plans
                .into_iter()
                .zip(saved.runs)
                .map(|((plan, _), run)| Step {
                    plan: std::sync::Arc::new(plan),
                    run,
                });
            workflows.put(Workflow::assemble(
                saved.id,
                saved.about,
                steps,
                saved.counts,
                saved.outcome,
            ));
        }
        workflows
    }
}
