//! The steps' dependencies as declared: every name known once, and no way round in a circle.

use std::collections::HashMap;

use crate::domain::{event::StepDeclaration, ids::StepId, input::FieldError};

/// Circles that are named at once.
const MAX_CYCLES: usize = 20;

/// What is wrong with how the steps depend on each other. `pointer` names a step's place in the body.
pub(super) fn check(
    steps: &[(usize, StepDeclaration)],
    pointer: impl Fn(usize) -> String,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut places: HashMap<&StepId, usize> = HashMap::new();
    for (place, (number, step)) in steps.iter().enumerate() {
        if let Some(&first) = places.get(&step.id) {
            let detail = format!(
                "step {} is declared twice: also at {}",
                step.id,
                pointer(steps[first].0)
            );
            errors.push(FieldError::new(format!("{}/id", pointer(*number)), detail));
        } else {
            places.insert(&step.id, place);
        }
    }
    let mut edges: Vec<Vec<usize>> = Vec::with_capacity(steps.len());
    for (number, step) in steps {
        let mut found = Vec::with_capacity(step.depends_on.len());
        for dependency in &step.depends_on {
            match places.get(dependency) {
                Some(&place) => found.push(place),
                None => errors.push(FieldError::new(
                    format!("{}/dependsOn", pointer(*number)),
                    format!(
                        "step {} depends on {dependency}, which is not a step of this workflow",
                        step.id
                    ),
                )),
            }
        }
        edges.push(found);
    }
    for cycle in cycles(&edges) {
        let names: Vec<&str> = cycle
            .iter()
            .chain(cycle.first())
            .map(|&place| steps[place].1.id.as_str())
            .collect();
        errors.push(FieldError::new(
            format!("{}/dependsOn", pointer(steps[cycle[0]].0)),
            format!("these steps wait for each other: {}", names.join(" -> ")),
        ));
    }
    errors
}

/// Circles in a graph, each as the nodes along it. Walks without recursion, for a chain may be long.
fn cycles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let mut marks = vec![Mark::New; edges.len()];
    let mut found = Vec::new();
    for start in 0..edges.len() {
        let mut path: Vec<(usize, usize)> = Vec::new();
        if marks[start] == Mark::New {
            marks[start] = Mark::OnPath;
            path.push((start, 0));
        }
        while let Some((node, next)) = path.last_mut() {
            let Some(&target) = edges[*node].get(*next) else {
                marks[*node] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[target] {
                Mark::New => {
                    marks[target] = Mark::OnPath;
                    path.push((target, 0));
                }
                Mark::OnPath if found.len() < MAX_CYCLES => {
                    let first = path
                        .iter()
                        .position(|(node, _)| *node == target)
                        .unwrap_or(0);
                    found.push(path[first..].iter().map(|(node, _)| *node).collect());
                }
                Mark::OnPath | Mark::Done => {}
            }
        }
    }
    found
}
