//! 1,000 running workflows of 50 steps each, with their time-outs: what a report costs, and what a server pays
//! to find its work. Both must not grow with the number of workflows or steps.

#![expect(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use timeback_events::domain::{
    Command, Event, Json, Policy, State,
    command::{ReportStep, StartWorkflow},
    position::{Epoch, Position},
    workflow::{StepQuery, StepStatus},
};

const NOW: i64 = 1_763_790_000_000;

fn carry_out(state: &mut State, policy: &Policy, command: &Command) {
    for what in state.decide(command, policy, NOW).unwrap().events {
        let position = Position {
            epoch: Epoch::from_random(1),
            sequence: state.sequence + 1,
        };
        state.evolve(
            &Event {
                position,
                timestamp: NOW,
                what,
            },
            policy,
        );
    }
}

/// Ten chains of five steps each; every tenth step belongs to one of ten servers.
fn definition(workflow: usize, steps: usize) -> Value {
    let step = |n: usize| {
        let mut step = json!({"id": format!("step-{n}"), "timeout": 30_000, "retries": 2});
        if n >= 10 {
            step["dependsOn"] = json!([format!("step-{}", n - 10)]);
        }
        if n.is_multiple_of(10) {
            step["server"] = json!(format!("server-{}", workflow % 10));
        }
        step
    };
    let steps: Vec<Value> = (0..steps).map(step).collect();
    json!({"id": format!("workflow-{workflow:05}"), "name": "bench", "steps": steps, "timeoutMs": 3_600_000})
}

fn fleet(workflows: usize, steps: usize) -> (State, Policy) {
    let (mut state, policy) = (State::default(), Policy::default());
    for workflow in 0..workflows {
        let fresh = || "unused".parse().unwrap();
        let start =
            StartWorkflow::parse(Json::of(&definition(workflow, steps)).root(), "", fresh).unwrap();
        carry_out(
            &mut state,
            &policy,
            &Command::StartWorkflow(Box::new(start)),
        );
    }
    (state, policy)
}

fn report(workflow: usize, step: usize, status: &str) -> Command {
    let (workflow, step) = (format!("workflow-{workflow:05}"), format!("step-{step}"));
    let body = json!({"status": status, "serverId": "server-7"});
    let report = ReportStep::parse(
        Json::of(&body).root(),
        "",
        workflow.parse().unwrap(),
        step.parse().unwrap(),
    );
    Command::ReportStep(Box::new(report.unwrap()))
}

fn reports(c: &mut Criterion) {
    let mut group = c.benchmark_group("report");
    for (workflows, steps) in [(1, 50), (1_000, 50), (1, 5_000)] {
        let (state, policy) = fleet(workflows, steps);
        let (claim, end) = (
            report(workflows / 2, 7, "running"),
            report(workflows / 2, 7, "completed"),
        );
        group.bench_function(format!("claim and complete, {workflows} x {steps}"), |b| {
            b.iter_batched_ref(
                || state.clone(),
                |state| {
                    carry_out(state, &policy, &claim);
                    carry_out(state, &policy, &end);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn work(c: &mut Criterion) {
    let mut group = c.benchmark_group("GET /steps");
    for (workflows, steps) in [(1, 50), (1_000, 50)] {
        let (state, policy) = fleet(workflows, steps);
        for (what, status) in [
            ("10 ready", StepStatus::Ready),
            ("none running", StepStatus::Running),
        ] {
            let server = Some("server-0".parse().unwrap());
            let query = StepQuery {
                server,
                status: Some(status),
                limit: 10,
                ..StepQuery::default()
            };
            group.bench_function(format!("{what}, {workflows} x {steps}"), |b| {
                b.iter(|| black_box(state.workflows.steps_page(&query, NOW, &policy)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, reports, work);
criterion_main!(benches);
