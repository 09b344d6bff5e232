//! Where steps are found without looking at all of them: who may claim what, who holds what, what is due to
//! be given back. Derived from the workflows, kept up step by step, rebuilt after a restore.

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use super::{
    Workflow,
    step::{Step, StepStatus},
};
use crate::domain::ids::{ServerId, WorkflowId};

/// A step's place: its workflow, and its number in the order of declaration.
pub(super) type Place = (WorkflowId, u32);
pub(super) type Places = RedBlackTreeSetSync<Place>;

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Index {
    /// Steps that can be claimed.
    pub(super) ready: Places,
    /// The same by the server that they are declared for; `None`: any.
    pub(super) ready_for: RedBlackTreeMapSync<Option<ServerId>, Places>,
    /// Running steps by who is at them: the holder, or the declared server where whoever coordinates claimed them.
    pub(super) running_at: RedBlackTreeMapSync<ServerId, Places>,
    /// Claimed steps whose holder is gone.
    orphans: RedBlackTreeSetSync<(WorkflowId, ServerId, u32)>,
}

impl Index {
    /// Takes in that these steps of a workflow are no longer as `before` has them but as `after` does.
    pub(super) fn update(
        &mut self,
        before: Option<&Workflow>,
        after: Option<&Workflow>,
        places: &[u32],
    ) {
        for &place in places {
            if let Some((workflow, step)) = before.and_then(|it| Some((it, it.step_at(place)?))) {
                self.remove(&workflow.id, place, step);
            }
            if let Some((workflow, step)) = after.and_then(|it| Some((it, it.step_at(place)?))) {
                self.insert(&workflow.id, place, step);
            }
        }
    }

    /// The first step by workflow whose holder is gone, and that holder.
    pub(super) fn first_orphan(&self) -> Option<(&WorkflowId, &ServerId)> {
        self.orphans
            .first()
            .map(|(workflow, server, _)| (workflow, server))
    }

    /// The steps of a workflow whose holder, this server, is gone.
    pub(super) fn orphans_of(&self, workflow: &WorkflowId, server: &ServerId) -> Vec<u32> {
        let place = |number| (workflow.clone(), server.clone(), number);
        self.orphans
            .range(place(0)..=place(u32::MAX))
            .map(|(_, _, number)| *number)
            .collect()
    }

    fn insert(&mut self, workflow: &WorkflowId, number: u32, step: &Step) {
        let place = (workflow.clone(), number);
        match step.run.status {
            StepStatus::Ready => {
                self.ready.insert_mut(place.clone());
                add(
                    &mut self.ready_for,
                    step.plan.declaration.server.clone(),
                    place,
                );
            }
            StepStatus::Running => {
                if let Some(server) = step.at_work() {
                    add(&mut self.running_at, server.clone(), place);
                }
                if let Some(server) = step.run.server.as_ref().filter(|_| step.run.orphaned) {
                    self.orphans
                        .insert_mut((workflow.clone(), server.clone(), number));
                }
            }
            StepStatus::Pending
            | StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::Aborted => {}
        }
    }

    fn remove(&mut self, workflow: &WorkflowId, number: u32, step: &Step) {
        let place = (workflow.clone(), number);
        match step.run.status {
            StepStatus::Ready => {
                self.ready.remove_mut(&place);
                take(&mut self.ready_for, &step.plan.declaration.server, &place);
            }
            StepStatus::Running => {
                if let Some(server) = step.at_work() {
                    take(&mut self.running_at, server, &place);
                }
                if let Some(server) = step.run.server.as_ref().filter(|_| step.run.orphaned) {
                    self.orphans
                        .remove_mut(&(workflow.clone(), server.clone(), number));
                }
            }
            StepStatus::Pending
            | StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::Aborted => {}
        }
    }
}

fn add<K: Ord + Clone>(map: &mut RedBlackTreeMapSync<K, Places>, key: K, place: Place) {
    let mut places = map.get(&key).cloned().unwrap_or_default();
    places.insert_mut(place);
    map.insert_mut(key, places);
}

fn take<K: Ord + Clone>(map: &mut RedBlackTreeMapSync<K, Places>, key: &K, place: &Place) {
    let Some(mut places) = map.get(key).cloned() else {
        return;
    };
    places.remove_mut(place);
    if places.is_empty() {
        map.remove_mut(key);
    } else {
        map.insert_mut(key.clone(), places);
    }
}
