//! Workflows as a snapshot keeps them. What follows from the rest isn't kept but found again.

use serde::{Deserialize, Serialize, Serializer};

use super::{
    Workflow, Workflows,
    state::{About, Counts, Outcome, plan},
    step::{Run, Step},
};
use crate::domain::{event::StepDeclaration, ids::WorkflowId};

/// All workflows, as a snapshot keeps them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedWorkflows {
    completed: u64,
    failed: u64,
    workflows: Vec<SavedWorkflow>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SavedWorkflow {
    id: WorkflowId,
    about: About,
    counts: Counts,
    #[serde(default)]
    outcome: Option<Outcome>,
    declarations: Vec<StepDeclaration>,
    runs: Vec<Run>,
}

/// The same on the way out: looked up as it is written, so that nothing is copied.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Saving<W> {
    completed: u64,
    failed: u64,
    workflows: W,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SavingWorkflow<'a, D, R> {
    id: &'a WorkflowId,
    about: &'a About,
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
    declarations: D,
    runs: R,
}

/// A workflow, saved as it is reached.
struct Whole<'a>(&'a Workflow);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(workflow) = self;
        let saving = SavingWorkflow {
            id: &workflow.id,
            about: &workflow.about,
            counts: workflow.counts,
            outcome: workflow.outcome.as_deref(),
            declarations: Each(|| workflow.steps().map(|step| &step.plan.declaration)),
            runs: Each(|| workflow.steps().map(|step| &step.run)),
        };
        saving.serialize(serializer)
    }
}

/// A list whose items are made one at a time.
struct Each<F>(F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

impl Workflows {
    /// What a snapshot keeps.
    #[must_use]
    pub fn save(&self) -> impl Serialize {
        Saving {
            completed: self.completed,
            failed: self.failed,
            workflows: Each(|| self.iter().map(|workflow| Whole(workflow.as_ref()))),
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
