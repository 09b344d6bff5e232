//! What holds after any sequence of commands, retries, losses and crashes.

use std::collections::{HashMap, HashSet};

use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::support::{World, ended_by, report, start, workflow_id};
use crate::domain::{
    Command, EventData, Json, ServerId, StepId, WorkflowId,
    command::{EndWorkflow, Ending, ReportStep, StartWorkflow},
    workflow::{SavedWorkflows, StepQuery, StepStatus, Stirred, WorkflowStatus, Workflows},
};

const WORKFLOWS: [&str; 3] = ["declared", "lenient", "adhoc"];
const STEPS: [&str; 5] = ["a", "b", "c", "d", "e"];
const SERVERS: [&str; 3] = ["s1", "s2", "s3"];

/// What happens to the world.
#[derive(Debug, Clone)]
enum Act {
    Report(ReportStep),
    End(EndWorkflow),
    StepTimedOut(WorkflowId, StepId, u32),
    WorkflowTimedOut(WorkflowId),
    Disconnect(&'static str),
    /// The hub gets to its reactions.
    React,
    /// The hub dies and starts from a snapshot, or from the log alone.
    Crash {
        from_snapshot: bool,
    },
}

fn definitions() -> [StartWorkflow; 3] {
    [
        start(
            &json!({"id": "declared", "name": "D", "timeoutMs": 9, "steps": [
                {"id": "a", "retries": 1, "timeout": 5},
                {"id": "b", "dependsOn": ["a"], "required": false},
                {"id": "c", "dependsOn": ["a"], "server": "s1", "retries": 2, "timeout": 5},
                {"id": "d", "dependsOn": ["b", "c"]},
                "e",
            ]}),
        ),
        start(&json!({"id": "lenient", "name": "L",
            "steps": ["a", {"id": "b", "dependsOn": ["a"]}, {"id": "c", "timeout": 1}, {"id": "d", "dependsOn": ["c"]}, "e"],
            "errorHandling": {"strategy": "continue-on-error", "maxFailures": 2}})),
        start(&json!({"id": "adhoc", "name": "A", "timeoutMs": 9})),
    ]
}

fn a_report() -> impl Strategy<Value = ReportStep> {
    let status = select(vec![
        "running",
        "completed",
        "completed:1",
        "failed",
        "failed:other",
    ]);
    let server = prop::option::of(select(&SERVERS[..]));
    let instance = prop::option::of(select(vec!["i1", "i2"]));
    let attempt = prop::option::of(1_u32..4);
    (
        select(&WORKFLOWS[..]),
        select(&STEPS[..]),
        status,
        server,
        instance,
        attempt,
    )
        .prop_map(|(workflow, step, status, server, instance, attempt)| {
            let words = [
                server.map(|server| format!(" by {server}")),
                instance.map(|instance| format!(" /{instance}")),
                attempt.map(|attempt| format!(" #{attempt}")),
            ];
            let line = format!(
                "{step} {status}{}",
                words.into_iter().flatten().collect::<String>()
            );
            ReportStep {
                workflow: workflow_id(workflow),
                ..report(&line)
            }
        })
}

fn an_act() -> impl Strategy<Value = Act> {
    let ending = prop_oneof![
        Just(Ending::Completed { results: None }),
        Just(Ending::Completed {
            results: Some(Json::trusted("[1]"))
        }),
        Just(Ending::Failed {
            error: "e".to_owned(),
            failed_step: None
        }),
        Just(Ending::Cancelled { reason: None }),
    ];
    let workflow = || select(&WORKFLOWS[..]).prop_map(workflow_id);
    let step = select(&STEPS[..]).prop_map(|id| id.parse::<StepId>().expect("an id"));
    prop_oneof![
        40 => a_report().prop_map(Act::Report),
        1 => (workflow(), ending).prop_map(|(workflow, ending)| Act::End(EndWorkflow { workflow, ending, occurred_at: None })),
        4 => (workflow(), step, 1_u32..4).prop_map(|(workflow, step, attempt)| Act::StepTimedOut(workflow, step, attempt)),
        1 => workflow().prop_map(Act::WorkflowTimedOut),
        4 => select(&SERVERS[..]).prop_map(Act::Disconnect),
        4 => Just(Act::React),
        3 => any::<bool>().prop_map(|from_snapshot| Act::Crash { from_snapshot }),
    ]
}

fn act(world: &mut World, act: &Act) {
    let command = match act {
        Act::Report(report) => Command::ReportStep(Box::new(report.clone())),
        Act::End(end) => Command::EndWorkflow(Box::new(end.clone())),
        Act::StepTimedOut(workflow, step, attempt) => Command::StepTimedOut {
            workflow: workflow.clone(),
            step: step.clone(),
            attempt: *attempt,
        },
        Act::WorkflowTimedOut(workflow) => Command::WorkflowTimedOut {
            workflow: workflow.clone(),
        },
        Act::Disconnect(server) => return world.disconnect(server),
        Act::React => {
            world.react();
            return;
        }
        Act::Crash {
            from_snapshot: true,
        } => {
            world.workflows = restored(&world.workflows);
            return;
        }
        Act::Crash {
            from_snapshot: false,
        } => {
            world.workflows = folded(world, 0, Workflows::default());
            return;
        }
    };
    let first = world.command(&command);
    // Deciding twice does no harm: a repeat finds nothing left to do, or is refused.
    let doubled = world.decide(&command);
    if let (Ok(first), Ok(doubled)) = (first, doubled) {
        assert!(
            first.is_empty() || doubled.is_empty(),
            "carried out twice: {command:?}: {first:?}, {doubled:?}"
        );
    }
}

/// The state after the events from this one on.
fn folded(world: &World, from: usize, mut workflows: Workflows) -> Workflows {
    for event in &world.log[from..] {
        workflows.evolve(event, event.timestamp, &ended_by(event));
        workflows.expire(event.timestamp, &world.policy);
    }
    workflows
}

fn restored(workflows: &Workflows) -> Workflows {
    let text = serde_json::to_string(&workflows.save()).expect("JSON");
    Workflows::restore(serde_json::from_str::<SavedWorkflows>(&text).expect("what was saved"))
}

/// What must hold at any time.
fn check(world: &World) {
    for workflow in world.workflows.iter() {
        let running = workflow.status() == WorkflowStatus::Running;
        for step in workflow.steps() {
            let has_ended = |id: &StepId| {
                let dependency = workflow.step(id).expect("declared");
                match dependency.status() {
                    StepStatus::Completed => true,
                    StepStatus::Failed => !dependency.plan.required,
                    _ => false,
                }
            };
            let all_ended = step.declaration().depends_on.iter().all(has_ended);
            match step.status() {
                StepStatus::Pending => assert!(
                    !running || !all_ended,
                    "pending though all its dependencies ended"
                ),
                StepStatus::Ready => assert!(running && all_ended, "ready too early, or too late"),
                StepStatus::Running => assert!(running && all_ended && step.attempt() > 0),
                StepStatus::Completed => assert!(all_ended && step.attempt() > 0),
                StepStatus::Failed => assert!(step.attempt() > 0),
                StepStatus::Aborted => assert!(!running && step.attempt() > 0),
            }
            assert!(
                step.attempt() <= step.plan.retries() + 1,
                "more attempts than retries allow"
            );
        }
        let view = workflow.summary();
        let failed_it = workflow
            .outcome
            .as_ref()
            .filter(|outcome| outcome.reason.as_deref() == Some("step_failed"))
            .and_then(|outcome| outcome.failed_step.as_ref());
        let ended = workflow.steps().filter(|step| {
            step.status() == StepStatus::Completed
                || (step.status() == StepStatus::Failed
                    && !step.plan.required
                    && failed_it != Some(&step.plan.declaration.id)
                    && step.run.past.len() == step.attempt() as usize)
        });
        assert_eq!(view.completed_steps as usize, ended.count());
        assert!(
            !running || !workflow.about.declared || view.completed_steps < view.total_steps,
            "done, but not ended"
        );
    }
}

/// Every choice of steps that gained one is among those that the new events concern.
fn check_stirred(world: &World, before: &Workflows, events: usize) {
    if world.log.len() == events {
        return;
    }
    let mut stirred = Stirred::default();
    for event in &world.log[events..] {
        world.workflows.stirred_by(&event.what.data, &mut stirred);
    }
    let all = |workflows: &Workflows, query: &StepQuery| {
        let page = workflows.steps_page(query, world.now, &world.policy);
        let steps = page
            .steps
            .iter()
            .filter_map(crate::domain::workflow::FoundStep::view);
        steps
            .map(|step| {
                (
                    step.workflow_id.clone(),
                    step.id.clone(),
                    format!("{:?}", step.status),
                )
            })
            .collect::<HashSet<_>>()
    };
    for status in [None, Some(StepStatus::Ready), Some(StepStatus::Failed)] {
        let query = StepQuery {
            status,
            limit: 1000,
            ..StepQuery::default()
        };
        for server in SERVERS.into_iter().chain(["stranger"]) {
            let server = server.parse::<ServerId>().expect("an id");
            let query = StepQuery {
                server: Some(server.clone()),
                ..query.clone()
            };
            if !all(&world.workflows, &query).is_subset(&all(before, &query)) {
                assert!(
                    stirred.any_server || stirred.servers.contains(&server),
                    "{query:?} gained a step, {stirred:?}"
                );
            }
        }
        for workflow in WORKFLOWS.map(workflow_id) {
            let query = StepQuery {
                workflow: Some(workflow.clone()),
                ..query.clone()
            };
            if !all(&world.workflows, &query).is_subset(&all(before, &query)) {
                assert!(stirred.workflows.contains(&workflow), "{query:?}");
            }
        }
    }
}

/// What must hold of the whole history.
fn check_log(world: &World) {
    let mut ended: HashSet<WorkflowId> = HashSet::new();
    let mut holders: HashMap<(WorkflowId, StepId, u32), Option<String>> = HashMap::new();
    let mut over: HashSet<(WorkflowId, StepId, u32)> = HashSet::new();
    for event in &world.log {
        let data = &event.what.data;
        if let Some(workflow) = data.workflow() {
            assert!(
                !ended.contains(workflow),
                "something happened to an ended workflow: {data:?}"
            );
        }
        match data {
            EventData::WorkflowCompleted(data) => assert!(ended.insert(data.workflow_id.clone())),
            EventData::WorkflowFailed(data) => assert!(ended.insert(data.workflow_id.clone())),
            EventData::WorkflowStepStarted(data) => {
                let claim = (data.workflow_id.clone(), data.step_id.clone(), data.attempt);
                let holder = data.server_id.as_ref().map(ToString::to_string);
                assert!(
                    holders.insert(claim, holder).is_none(),
                    "two claims of one attempt: {data:?}"
                );
            }
            EventData::WorkflowStepCompleted(data) => {
                assert!(
                    over.insert((data.workflow_id.clone(), data.step_id.clone(), data.attempt)),
                    "ended twice"
                );
            }
            EventData::WorkflowStepFailed(data) => {
                assert!(
                    over.insert((data.workflow_id.clone(), data.step_id.clone(), data.attempt)),
                    "failed twice"
                );
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_whatever_happens(acts in prop::collection::vec(an_act(), 1..120), split in any::<prop::sample::Index>()) {
        let mut world = World::new();
        for definition in definitions() {
            world.command(&Command::StartWorkflow(Box::new(definition))).expect("a workflow");
        }
        for step in &acts {
            let (before, events) = (world.workflows.clone(), world.log.len());
            act(&mut world, step);
            check(&world);
            check_stirred(&world, &before, events);
        }
        world.react();
        check(&world);
        prop_assert_eq!(world.workflows.due_release(), None, "reactions come to an end");
        check_log(&world);
        // The state is a fold of the log, wherever a snapshot cuts it.
        let split = split.index(world.log.len() + 1);
        let early: Vec<_> = world.log[..split].to_vec();
        let mut first = Workflows::default();
        for event in &early {
            first.evolve(event, event.timestamp, &ended_by(event));
            first.expire(event.timestamp, &world.policy);
        }
        prop_assert_eq!(&folded(&world, split, restored(&first)), &world.workflows);
        prop_assert_eq!(&restored(&world.workflows), &world.workflows);
    }
}
