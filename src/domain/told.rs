//! What a change is answered with.

use std::sync::Arc;

use super::{
    Json,
    lighter::{bounded, lighter_workflow},
    server::ServerView,
    workflow::{StepView, Workflow, WorkflowView},
};

/// Bytes of an answer that is kept for repeats, at most: what is longer comes back without its largest members, which
/// `truncated` names.
const KEPT: usize = 1 << 20;

/// What a change is answered with. A thing is shared with the state, and written out as it is read: a workflow's results
/// together may be a hundred times what one request may say.
#[derive(Debug, Clone)]
pub enum Told {
    /// A text.
    Text(Json),
    /// A server.
    Server(Arc<ServerView>),
    /// A workflow with its definition.
    Workflow(Arc<Workflow>),
    /// A step.
    Step(Arc<StepView>),
}

impl Told {
    /// The text that is kept for repeats of the request.
    #[must_use]
    pub fn kept(&self) -> Json {
        match self {
            Self::Text(text) => text.clone(),
            Self::Server(server) => Json::of(&**server),
            Self::Step(step) => Json::of(&**step),
            Self::Workflow(workflow) => {
                let whole = bounded(&workflow.view(), KEPT);
                Json::trusted(whole.unwrap_or_else(|| lighter_workflow(workflow, KEPT)))
            }
        }
    }

    /// The text without what came of a workflow's steps, which is by far the most of it.
    #[must_use]
    pub fn without_results(&self) -> Json {
        let Self::Workflow(workflow) = self else {
            return self.kept();
        };
        let steps = workflow.steps().map(|step| StepView {
            result: None,
            error: None,
            ..step.view(&workflow.id)
        });
        Json::of(&WorkflowView {
            steps: steps.collect(),
            definition: workflow.definition().cloned(),
            ..workflow.outline()
        })
    }
}
