//! How workflows end, by hand and by time, and when ended ones leave, as tables.

use serde_json::{Value, json};

use super::support::{
    ALL_DONE, ALL_OVER, FAILED, World, kinds, refused, start, step_id, workflow_id,
};
use crate::domain::{Command, Json, Policy, command::Ending, workflow::WorkflowStatus};

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
        assert_eq!(world.steps(), "a=aborted b=pending");
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
