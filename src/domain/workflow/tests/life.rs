//! Every transition of a step and of a workflow, as tables.

use serde_json::{Value, json};

use super::support::{World, kinds, refused, start, step_id, workflow_id};
use crate::domain::{
    Command, Json, Policy,
    command::Ending,
    workflow::{StepStatus, WorkflowStatus},
};

const STARTED: &str = "workflow_step_started";
const COMPLETED: &str = "workflow_step_completed";
const FAILED: &str = "workflow_step_failed";
const ALL_DONE: &str = "workflow_completed";
const ALL_OVER: &str = "workflow_failed";

/// Carries out the first reports, which must be taken, then expects an outcome of the last one.
fn after(world: &mut World, before: &[&str], last: &str, appended: &[&str]) {
    for line in before {
        assert!(
            world.report(line).is_ok_and(|kinds| !kinds.is_empty()),
            "{line} of {before:?}"
        );
    }
    let outcome = world.report(last);
    let wanted = match appended {
        [slug] if slug.contains('-') => refused(slug),
        appended => kinds(appended),
    };
    assert_eq!(
        outcome,
        wanted,
        "{before:?}, then {last}: {}",
        world.steps()
    );
}

#[test]
fn every_report_on_every_state_of_a_step() {
    // Step `a` is first and may be tried twice; `b` waits for it; `c` belongs to server `s9`.
    let steps = json!([
        {"id": "a", "retries": 1, "required": false},
        {"id": "b", "dependsOn": ["a"]},
        {"id": "c", "server": "s9"},
    ]);
    let table: &[(&[&str], &str, &[&str])] = &[
        // pending
        (&[], "b running by s1", &["step-not-ready"]),
        (&[], "b completed", &["step-not-ready"]),
        (&[], "b failed", &["step-not-ready"]),
        // ready
        (&[], "a running by s1", &[STARTED]),
        (&[], "a running", &[STARTED]),
        (&[], "a running by s1 #1", &[STARTED]),
        (&[], "a running by s1 #2", &["attempt-unknown"]),
        (&[], "a completed by s1", &[COMPLETED]),
        (&[], "a failed by s1", &[FAILED]),
        (&[], "a completed #2", &["attempt-unknown"]),
        (&[], "c running by s1", &["step-belongs-elsewhere"]),
        (&[], "c completed by s1", &["step-belongs-elsewhere"]),
        (&[], "c running by s9", &[STARTED]),
        (&[], "c running", &[STARTED]),
        (&[], "c completed", &[COMPLETED]),
        // running
        (&["a running by s1"], "a running by s1", &[]),
        (&["a running by s1"], "a running by s1 #1", &[]),
        (&["a running by s1"], "a running by s2", &["step-held"]),
        (&["a running by s1"], "a running", &[]),
        (&["a running"], "a running", &[]),
        (&["a running"], "a running by s1", &["step-held"]),
        (&["a running by s1 /i1"], "a running by s1 /i1", &[]),
        (&["a running by s1 /i1"], "a running by s1", &[]),
        (
            &["a running by s1 /i1"],
            "a running by s1 /i2",
            &["step-held"],
        ),
        (
            &["a running by s1 /i1"],
            "a completed by s1 /i2",
            &["step-held"],
        ),
        (&["a running by s1"], "a completed by s2", &["step-held"]),
        (&["a running by s1"], "a failed by s2", &["step-held"]),
        (&["a running by s1"], "a completed by s1", &[COMPLETED]),
        (&["a running by s1"], "a completed by s1 #1", &[COMPLETED]),
        (
            &["a running by s1"],
            "a completed by s1 #2",
            &["attempt-unknown"],
        ),
        (&["a running by s1"], "a completed", &[COMPLETED]),
        (&["a running"], "a completed by s1", &[COMPLETED]),
        (&["a running by s1"], "a failed by s1", &[FAILED]),
        (
            &["c running"],
            "c completed by s1",
            &["step-belongs-elsewhere"],
        ),
        // ready again after a failed attempt
        (&["a failed by s1"], "a failed by s1", &["attempt-missing"]),
        (
            &["a failed by s1"],
            "a completed by s1",
            &["attempt-missing"],
        ),
        (&["a failed by s1"], "a failed by s1 #1", &[]),
        (&["a failed by s1"], "a failed #1", &[]),
        (
            &["a failed by s1"],
            "a failed:otherwise by s1 #1",
            &["attempt-stale"],
        ),
        (&["a failed by s1"], "a failed by s2 #1", &["attempt-stale"]),
        (
            &["a failed by s1"],
            "a completed by s1 #1",
            &["attempt-stale"],
        ),
        (
            &["a failed by s1"],
            "a running by s1 #1",
            &["attempt-stale"],
        ),
        (&["a failed by s1"], "a running by s2", &[STARTED]),
        (&["a failed by s1"], "a completed by s2 #2", &[COMPLETED]),
        (
            &["a failed by s1"],
            "a failed by s2 #3",
            &["attempt-unknown"],
        ),
        // the second attempt
        (
            &["a failed by s1", "a running by s2"],
            "a running by s2",
            &[],
        ),
        (
            &["a failed by s1", "a running by s2"],
            "a completed by s2",
            &["attempt-missing"],
        ),
        (
            &["a failed by s1", "a running by s2"],
            "a completed by s2 #2",
            &[COMPLETED],
        ),
        (
            &["a failed by s1", "a running by s2"],
            "a completed by s1 #1",
            &["attempt-stale"],
        ),
        (
            &["a failed by s1", "a running by s2"],
            "a completed by s1 #2",
            &["step-held"],
        ),
        (
            &["a failed by s1", "a running by s2"],
            "a failed by s1 #1",
            &[],
        ),
        (
            &["a failed by s1", "a running by s2"],
            "a failed by s2 #2",
            &[FAILED],
        ),
        // completed
        (&["a completed:1 by s1"], "a completed:1 by s1", &[]),
        (&["a completed:1 by s1"], "a completed:1", &[]),
        (
            &["a completed:1 by s1"],
            "a completed:2 by s1",
            &["step-ended"],
        ),
        (
            &["a completed:1 by s1"],
            "a completed:1 by s2",
            &["step-ended"],
        ),
        (&["a completed:1 by s1"], "a failed by s1", &["step-ended"]),
        (&["a completed:1 by s1"], "a running by s1", &["step-ended"]),
        (
            &["a completed:{\"x\":1,\"y\":2}"],
            "a completed:{\"y\":2,\"x\":1}",
            &[],
        ),
        (
            &["a failed by s1", "a completed by s2 #2"],
            "a completed by s2 #2",
            &[],
        ),
        (
            &["a failed by s1", "a completed by s2 #2"],
            "a completed by s2",
            &["attempt-missing"],
        ),
        (
            &["a failed by s1", "a completed by s2 #2"],
            "a failed by s1 #1",
            &[],
        ),
        (
            &["a failed by s1", "a completed by s2 #2"],
            "a completed by s1 #1",
            &["attempt-stale"],
        ),
        // failed for good
        (
            &["a failed by s1", "a failed by s1 #2"],
            "a failed by s1 #2",
            &[],
        ),
        (
            &["a failed by s1", "a failed by s1 #2"],
            "a failed by s1 #1",
            &[],
        ),
        (
            &["a failed by s1", "a failed by s1 #2"],
            "a failed:otherwise by s1 #2",
            &["step-ended"],
        ),
        (
            &["a failed by s1", "a failed by s1 #2"],
            "a completed by s1 #2",
            &["step-ended"],
        ),
        (
            &["a failed by s1", "a failed by s1 #2"],
            "a running by s1",
            &["step-ended"],
        ),
        (
            &["a failed by s1", "a failed by s1 #2"],
            "a failed by s1 #3",
            &["attempt-unknown"],
        ),
        // not there
        (&[], "d running", &["step-not-found"]),
    ];
    for (before, last, appended) in table {
        after(&mut World::with(&steps), before, last, appended);
    }
}

#[test]
fn a_step_is_ready_when_all_its_dependencies_ended() {
    let mut world = World::with(&json!([
        {"id": "d", "dependsOn": ["b", "c", "b"]},
        {"id": "b", "dependsOn": ["a"]},
        {"id": "c", "dependsOn": ["a"], "required": false},
        "a",
    ]));
    assert_eq!(world.last()["readySteps"], json!(["a"]));
    assert_eq!(world.steps(), "d=pending b=pending c=pending a=ready");
    assert_eq!(world.report("a completed"), kinds(&[COMPLETED]));
    assert_eq!(world.last()["readySteps"], json!(["b", "c"]));
    assert_eq!(
        (&world.last()["completedSteps"], &world.last()["totalSteps"]),
        (&json!(1), &json!(4))
    );
    assert_eq!(world.report("b completed"), kinds(&[COMPLETED]));
    assert_eq!(world.steps(), "d=pending b=completed c=ready a=completed");
    assert_eq!(
        world.report("c failed"),
        kinds(&[FAILED]),
        "a step that isn't required lets its dependents go on"
    );
    assert_eq!(world.last()["readySteps"], json!(["d"]));
    assert_eq!(
        world.report("d completed:{\"grade\":7}"),
        kinds(&[COMPLETED, ALL_DONE]),
        "in one commit"
    );
    assert_eq!(
        world.last()["results"],
        json!([
            {"step": "d", "status": "completed", "result": {"grade": 7}},
            {"step": "b", "status": "completed"},
            {"step": "c", "status": "failed"},
            {"step": "a", "status": "completed"},
        ])
    );
    assert_eq!(world.workflow().view().completed_steps, 4);
}

#[test]
fn a_claims_answer_holds_an_attempt_that_rises() {
    let mut world = World::with(&json!([{"id": "a", "retries": 2}]));
    world.report("a running by s1").expect("a claim");
    assert!(world.is("a", StepStatus::Running, 1));
    world.report("a failed by s1").expect("a failure");
    assert!(world.is("a", StepStatus::Ready, 1));
    world.report("a running by s2").expect("a claim");
    assert!(world.is("a", StepStatus::Running, 2));
    world.now += 500;
    world.report("a completed by s2 #2").expect("an end");
    assert_eq!(
        world
            .log
            .iter()
            .rev()
            .nth(1)
            .expect("two")
            .what
            .data
            .to_json()
            .read::<Value>()
            .expect("JSON")["durationMs"],
        500
    );
}

#[test]
fn a_doubled_failure_burns_one_retry() {
    let mut world = World::with(&json!([{"id": "a", "retries": 1}, "b"]));
    world.report("a running by s1").expect("a claim");
    assert_eq!(world.report("a failed by s1 #1"), kinds(&[FAILED]));
    assert_eq!(world.report("a failed by s1 #1"), kinds(&[]));
    assert_eq!(world.report("a failed by s1"), refused("attempt-missing"));
    assert!(world.is("a", StepStatus::Ready, 1));
}

#[test]
fn a_workflow_fails_with_its_required_step_in_one_commit() {
    let mut world =
        World::with(&json!([{"id": "a", "retries": 1}, "b", "c", {"id": "d", "dependsOn": ["a"]}]));
    world.report("b running by s1").expect("a claim");
    world.report("a failed").expect("a failure");
    assert_eq!(world.report("a failed #2"), kinds(&[FAILED, ALL_OVER]));
    let said = world.last();
    assert_eq!(
        (&said["reason"], &said["failedStep"], &said["retryAttempts"]),
        (&json!("step_failed"), &json!("a"), &json!(1))
    );
    assert_eq!(said["error"], "broke");
    // What was left can't be claimed; what was running has failed.
    assert_eq!(world.steps(), "a=failed b=failed c=pending d=pending");
    assert_eq!(
        world.report("a failed #2"),
        kinds(&[]),
        "its own report again"
    );
    for line in [
        "b completed by s1",
        "b running by s1",
        "c running by s1",
        "d completed",
        "a completed #2",
    ] {
        assert_eq!(world.report(line), refused("workflow-ended"), "{line}");
    }
    assert_eq!(world.workflows.ended(), (0, 1));
    assert_eq!(world.workflows.active(), 0);
}

#[test]
fn continue_on_error_bears_so_many_failures() {
    let definition = |max: Value| {
        json!({"name": "T", "steps": ["a", "b", "c", {"id": "d", "required": true}],
               "errorHandling": {"strategy": "continue-on-error", "maxFailures": max}})
    };
    let mut world = World::defined(&definition(json!(1)));
    assert_eq!(world.report("a failed"), kinds(&[FAILED]));
    assert_eq!(world.report("b failed"), kinds(&[FAILED, ALL_OVER]));

    let mut world = World::defined(&definition(json!(0)));
    assert_eq!(world.report("a failed"), kinds(&[FAILED, ALL_OVER]));

    let mut world = World::defined(&definition(Value::Null));
    for step in ["a", "b", "c"] {
        assert_eq!(world.report(&format!("{step} failed")), kinds(&[FAILED]));
    }
    assert_eq!(
        world.report("d failed"),
        kinds(&[FAILED, ALL_OVER]),
        "what says required is required"
    );

    let mut world = World::defined(&definition(json!(3)));
    for step in ["a", "b", "c"] {
        world.report(&format!("{step} failed")).expect("a failure");
    }
    assert_eq!(world.report("d completed"), kinds(&[COMPLETED, ALL_DONE]));
}

#[test]
fn steps_come_into_being_as_they_are_reported_where_none_is_declared() {
    let mut world = World::defined(&json!({"name": "Ad hoc"}));
    world.policy = Policy {
        max_steps: 2,
        ..Policy::default()
    };
    assert_eq!(world.report("x running by s1"), kinds(&[STARTED]));
    assert_eq!(world.report("y completed"), kinds(&[COMPLETED]));
    assert_eq!(
        world.report("x completed by s1"),
        kinds(&[COMPLETED]),
        "only a hand knows the last step"
    );
    assert_eq!(world.report("z completed"), refused("limit-reached"));
    assert_eq!(
        world.end(Ending::Completed { results: None }),
        kinds(&[ALL_DONE])
    );
    assert_eq!(world.report("z completed"), refused("workflow-ended"));
    assert_eq!(world.report("y completed"), kinds(&[]));

    let mut world = World::defined(&json!({"name": "Ad hoc", "steps": []}));
    assert_eq!(world.report("x failed by s1"), kinds(&[FAILED, ALL_OVER]));
}

#[test]
fn an_end_by_hand_once() {
    let done = |results: Option<&str>| Ending::Completed {
        results: results.map(Json::trusted),
    };
    let fail = |error: &str, step: Option<&str>| Ending::Failed {
        error: error.to_owned(),
        failed_step: step.map(step_id),
    };
    let cancel = |reason: Option<&str>| Ending::Cancelled {
        reason: reason.map(str::to_owned),
    };
    let table = [
        (done(None), done(None), true),
        (done(None), done(Some("[1]")), true),
        (
            done(Some("{\"a\":1,\"b\":2}")),
            done(Some("{\"b\":2,\"a\":1}")),
            true,
        ),
        (done(Some("[1]")), done(None), true),
        (done(Some("[1]")), done(Some("[2]")), false),
        (done(None), fail("e", None), false),
        (done(None), cancel(None), false),
        (fail("e", Some("a")), fail("e", Some("a")), true),
        (fail("e", Some("a")), fail("f", Some("a")), false),
        (fail("e", Some("a")), fail("e", None), false),
        (fail("e", None), done(None), false),
        (fail("e", None), cancel(None), false),
        (cancel(None), cancel(None), true),
        (cancel(Some("why")), cancel(None), true),
        (cancel(Some("why")), cancel(Some("why")), true),
        (cancel(Some("why")), cancel(Some("else")), false),
        (cancel(None), done(None), false),
        (cancel(None), fail("e", None), false),
    ];
    for (first, second, same) in table {
        let mut world = World::with(&json!(["a", "b"]));
        world.report("a running by s1").expect("a claim");
        let kind = if matches!(first, Ending::Completed { .. }) {
            ALL_DONE
        } else {
            ALL_OVER
        };
        assert_eq!(world.end(first.clone()), kinds(&[kind]));
        let wanted = if same {
            kinds(&[])
        } else {
            refused("workflow-ended")
        };
        assert_eq!(
            world.end(second.clone()),
            wanted,
            "{first:?}, then {second:?}"
        );
        assert_eq!(world.steps(), "a=failed b=pending");
    }
}

#[test]
fn an_end_that_the_hub_found_is_not_contradicted_by_the_same_from_a_hand() {
    let mut world = World::with(&json!(["a"]));
    world.report("a completed:1").expect("an end");
    assert_eq!(
        world.end(Ending::Completed {
            results: Some(Json::trusted("[]"))
        }),
        kinds(&[])
    );
    assert_eq!(
        world.end(Ending::Cancelled { reason: None }),
        refused("workflow-ended")
    );

    let mut world = World::with(&json!(["a"]));
    world.report("a failed").expect("an end");
    assert_eq!(
        world.end(Ending::Failed {
            error: "all is lost".to_owned(),
            failed_step: None
        }),
        kinds(&[])
    );
    assert_eq!(
        world.end(Ending::Cancelled { reason: None }),
        refused("workflow-ended")
    );
}

#[test]
fn a_step_whose_time_is_up_has_failed_an_attempt_once() {
    let mut world = World::with(&json!([{"id": "a", "timeout": 50, "retries": 1}, "b"]));
    assert_eq!(
        world.step_timed_out("a", 1),
        kinds(&[]),
        "nobody claimed it"
    );
    world.report("a running by s1").expect("a claim");
    assert_eq!(world.step_timed_out("a", 2), kinds(&[]), "another attempt");
    assert_eq!(world.step_timed_out("a", 1), kinds(&[FAILED]));
    let said = world.last();
    assert_eq!(
        (&said["reason"], &said["willRetry"], &said["serverId"]),
        (&json!("timeout"), &json!(true), &json!("s1"))
    );
    assert_eq!(world.step_timed_out("a", 1), kinds(&[]), "once");
    world.report("a running by s2").expect("a claim");
    assert_eq!(
        world.step_timed_out("a", 1),
        kinds(&[]),
        "a past attempt's timer"
    );
    assert_eq!(
        world.report("a completed by s1 #1"),
        refused("attempt-stale")
    );
    assert_eq!(
        world.report("a failed:late by s1 #1"),
        kinds(&[]),
        "which is known, if not in these words"
    );
    assert_eq!(world.step_timed_out("a", 2), kinds(&[FAILED, ALL_OVER]));
    assert_eq!(world.step_timed_out("zzz", 1), kinds(&[]));
}

#[test]
fn a_workflow_whose_time_is_up_fails_once() {
    let mut world = World::defined(&json!({"name": "T", "timeoutMs": 60, "steps": ["a"]}));
    world.report("a running by s1").expect("a claim");
    assert_eq!(world.timed_out(), kinds(&[ALL_OVER]));
    assert_eq!(world.last()["reason"], "timeout");
    assert_eq!(world.timed_out(), kinds(&[]));
    let mut world = World::with(&json!(["a"]));
    assert_eq!(world.timed_out(), kinds(&[]), "it has no time-out");
    assert_eq!(world.workflow().status(), WorkflowStatus::Running);
}

#[test]
fn the_same_start_again_changes_nothing() {
    let first = json!({"name": "T", "steps": ["a", {"id": "b", "params": {"x": 1, "y": [2]}}], "color": "red"});
    let again = json!({"color": "red", "steps": ["a", {"params": {"y": [2], "x": 1}, "id": "b"}], "name": "T"});
    let other = json!({"name": "T", "steps": ["a", {"id": "b", "params": {"x": 1, "y": [3]}}], "color": "red"});
    let mut world = World::defined(&first);
    let mut begin =
        |definition: &Value| world.command(&Command::StartWorkflow(Box::new(start(definition))));
    assert_eq!(begin(&again), kinds(&[]));
    assert_eq!(begin(&other), refused("workflow-exists"));
    let definition: Value = world
        .workflow()
        .view()
        .definition
        .expect("kept")
        .read()
        .expect("JSON");
    assert_eq!(definition, first);
}

#[test]
fn limits_are_told() {
    let mut world = World::new();
    world.policy = Policy {
        max_workflows: 1,
        max_steps: 1,
        ..Policy::default()
    };
    let begin = |id: &str, steps: Value| {
        Command::StartWorkflow(Box::new(start(
            &json!({"id": id, "name": "T", "steps": steps}),
        )))
    };
    assert_eq!(
        world.command(&begin("one", json!(["a", "b"]))),
        refused("limit-reached")
    );
    assert_eq!(
        world.command(&begin("one", json!(["a"]))),
        kinds(&["workflow_started"])
    );
    assert_eq!(
        world.command(&begin("two", json!(["a"]))),
        refused("limit-reached")
    );
    assert_eq!(world.command(&begin("one", json!(["a"]))), kinds(&[]));
}

#[test]
fn ended_workflows_leave_by_age_and_count() {
    let mut world = World::new();
    world.policy = Policy {
        state_retention_age_ms: 100,
        state_retention_count: 2,
        ..Policy::default()
    };
    let begin = |id: &str| {
        Command::StartWorkflow(Box::new(start(
            &json!({"id": id, "name": "T", "steps": ["a"]}),
        )))
    };
    let cancel = |id: &str| {
        Command::EndWorkflow(Box::new(crate::domain::command::EndWorkflow {
            workflow: workflow_id(id),
            ending: Ending::Cancelled { reason: None },
            occurred_at: None,
        }))
    };
    for id in ["one", "two", "three", "four"] {
        world.command(&begin(id)).expect("a workflow");
        world.now += 10;
    }
    for id in ["three", "one", "two"] {
        world.command(&cancel(id)).expect("an end");
    }
    let ids = |world: &World| {
        world
            .workflows
            .iter()
            .map(|it| it.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&world), ["four", "one", "two"], "oldest first");
    world.now += 101;
    assert!(
        world
            .workflows
            .get_at(&workflow_id("one"), world.now, &world.policy)
            .is_none(),
        "hidden by age"
    );
    assert_eq!(world.command(&cancel("one")), refused("workflow-not-found"));
    assert_eq!(
        world.command(&begin("one")),
        kinds(&["workflow_started"]),
        "the id is free again"
    );
    assert_eq!(ids(&world), ["four", "one"]);
    assert_eq!(world.workflows.active(), 2);
    assert_eq!(world.workflows.ended(), (0, 3), "since the log began");
}
