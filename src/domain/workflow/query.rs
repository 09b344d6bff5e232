//! `GET /steps`: the work that waits, and any other choice of steps, a page at a time.
//!
//! What a server asks for most, the steps that it may claim and those that it holds, is read off an index.
//! Any other choice looks at a bounded number of steps a page; a short page with a cursor means "ask on".

use std::{fmt, ops::Bound, str::FromStr, sync::Arc};

use super::{
    StepView, Workflow, Workflows,
    index::{Place, Places},
    step::{Step, StepStatus},
};
use crate::domain::{
    fleet::Policy,
    ids::{ServerId, WorkflowId},
};

/// Steps that one page may look at.
const MAX_LOOK: usize = 10_000;

/// Which steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepQuery {
    /// Steps of this server: that it holds or did, or may claim, ready ones that declare no server included.
    pub server: Option<ServerId>,
    /// Steps that are this far.
    pub status: Option<StepStatus>,
    /// Steps of this workflow.
    pub workflow: Option<WorkflowId>,
    /// Only steps of these, in order of their ids; `None`: of any.
    pub within: Option<Vec<WorkflowId>>,
    /// Steps after this place.
    pub after: Option<StepCursor>,
    /// At most so many.
    pub limit: usize,
}

/// A place among all steps, in order of their workflows' ids and their declaration. Opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepCursor(Place);

impl fmt::Display for StepCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.0, self.0.1)
    }
}

impl FromStr for StepCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "is not a cursor that a page of steps gave out";
        let (workflow, number) = text.rsplit_once('/').ok_or(wrong)?;
        Ok(Self((
            workflow.parse().map_err(|_| wrong)?,
            number.parse().map_err(|_| wrong)?,
        )))
    }
}

/// A step that a query found, in its workflow as of then.
#[derive(Debug, Clone)]
pub struct FoundStep {
    /// Its workflow.
    pub workflow: Arc<Workflow>,
    /// Its place in the order of declaration.
    pub place: u32,
}

impl FoundStep {
    /// The place right after it.
    #[must_use]
    pub fn cursor(&self) -> StepCursor {
        StepCursor((self.workflow.id.clone(), self.place))
    }

    /// The step as the API shows it; `None` where its workflow has no such place.
    #[must_use]
    pub fn view(&self) -> Option<StepView> {
        self.workflow.step_view_at(self.place)
    }
}

/// A page of steps.
#[derive(Debug, Clone)]
pub struct StepsPage {
    /// The steps.
    pub steps: Vec<FoundStep>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<StepCursor>,
}

impl Workflows {
    /// One page of the steps that a query asks for.
    #[must_use]
    pub fn steps_page(&self, query: &StepQuery, now: i64, policy: &Policy) -> StepsPage {
        let mut page = StepsPage {
            steps: Vec::new(),
            next: None,
        };
        let mut last = None;
        for (looked, (id, number)) in self.places(query).enumerate() {
            if looked == MAX_LOOK || page.steps.len() == query.limit.max(1) {
                page.next = last.map(StepCursor);
                break;
            }
            let workflow = self.get_at(&id, now, policy).filter(|workflow| {
                let step = workflow.step_at(number);
                step.is_some_and(|step| query.matches(step))
            });
            if let Some(workflow) = workflow {
                page.steps.push(FoundStep {
                    workflow: workflow.clone(),
                    place: number,
                });
            }
            last = Some((id, number));
        }
        page
    }

    /// Places among which the query's steps are, in order, after its cursor.
    fn places<'a>(&'a self, query: &'a StepQuery) -> Box<dyn Iterator<Item = Place> + 'a> {
        let after = query.after.as_ref().map(|cursor| cursor.0.clone());
        let is_within = |id| query.within.as_ref().is_none_or(|ids| ids.contains(id));
        match (&query.workflow, &query.within) {
            (Some(id), _) if is_within(id) => {
                return Box::new(self.places_of(id.clone(), after));
            }
            (Some(_), _) => return Box::new(std::iter::empty()),
            // What isn't within is never looked at, so that no page ends there.
            (None, Some(within)) => {
                let places = move |id: &WorkflowId| self.places_of(id.clone(), after.clone());
                return Box::new(within.iter().flat_map(places));
            }
            (None, None) => {}
        }
        match (query.status, &query.server) {
            (Some(StepStatus::Ready), None) => Box::new(from(Some(&self.index.ready), after)),
            (Some(StepStatus::Ready), Some(server)) => {
                let own = from(
                    self.index.ready_for.get(&Some(server.clone())),
                    after.clone(),
                );
                let anyones = from(self.index.ready_for.get(&None), after);
                Box::new(merge(own, anyones))
            }
            (Some(StepStatus::Running), Some(server)) => {
                Box::new(from(self.index.running_at.get(server), after))
            }
            _ => {
                let start = after
                    .as_ref()
                    .map_or(Bound::Unbounded, |(id, _)| Bound::Included(id.clone()));
                let workflows = self.by_id.range((start, Bound::Unbounded));
                Box::new(
                    workflows.flat_map(move |(id, _)| self.places_of(id.clone(), after.clone())),
                )
            }
        }
    }

    fn places_of(
        &self,
        id: WorkflowId,
        after: Option<Place>,
    ) -> impl Iterator<Item = Place> + use<> {
        let steps = self.get(&id).map_or(0, |workflow| workflow.total_steps());
        let first = match after {
            Some((other, number)) if other == id => number.saturating_add(1),
            Some((other, _)) if other > id => steps,
            _ => 0,
        };
        (first..steps).map(move |number| (id.clone(), number))
    }
}

impl StepQuery {
    fn matches(&self, step: &Step) -> bool {
        self.status.is_none_or(|status| status == step.run.status)
            && self
                .server
                .as_ref()
                .is_none_or(|server| match step.run.status {
                    StepStatus::Ready => step
                        .plan
                        .declaration
                        .server
                        .as_ref()
                        .is_none_or(|declared| declared == server),
                    _ => step.at_work() == Some(server),
                })
    }
}

impl Step {
    /// Who is or was at it: the holder, or the declared server.
    pub(super) fn at_work(&self) -> Option<&ServerId> {
        self.run
            .server
            .as_ref()
            .or(self.plan.declaration.server.as_ref())
    }
}

fn from(places: Option<&Places>, after: Option<Place>) -> Box<dyn Iterator<Item = Place> + '_> {
    match (places, after) {
        (None, _) => Box::new(std::iter::empty()),
        (Some(places), None) => Box::new(places.iter().cloned()),
        (Some(places), Some(after)) => Box::new(
            places
                .range((Bound::Excluded(after), Bound::Unbounded))
                .cloned(),
        ),
    }
}

/// Two ordered rows of places as one.
fn merge<'a>(
    one: impl Iterator<Item = Place> + 'a,
    other: impl Iterator<Item = Place> + 'a,
) -> impl Iterator<Item = Place> + 'a {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(a), Some(b)) if a > b => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}
