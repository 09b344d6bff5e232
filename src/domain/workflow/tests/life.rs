//! Every report on a step, and what follows for its workflow, as tables.

use serde_json::{Value, json};

use super::support::{ALL_DONE, ALL_OVER, COMPLETED, FAILED, STARTED, World, kinds, refused};
use crate::domain::{Policy, command::Ending, workflow::StepStatus};

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
    assert_eq!(world.steps(), "a=failed b=aborted c=pending d=pending");
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
    let done = world.workflow().view().completed_steps;
    assert_eq!(done, 1, "the one failure too many completes nothing");

    let mut world = World::defined(&definition(json!(0)));
    assert_eq!(world.report("a failed"), kinds(&[FAILED, ALL_OVER]));
    assert_eq!(world.workflow().view().completed_steps, 0);

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
