//! A producer that only emits events leaves the same state as one that calls the endpoints.

use std::sync::Arc;

use serde_json::{Value, json};

use super::support::{World, kinds, refused, start, step_id, workflow_id};
use crate::domain::{
    Command, EventData, EventType, FieldError, Json, NewEvent,
    command::{Ending, SwitchPattern},
    event::{Private, WorkflowCompleted, WorkflowStepCompleted},
};

fn read(kind: &str, server: Option<&str>, data: &Value) -> Result<Command, Vec<FieldError>> {
    let server = server.map(|id| id.parse().expect("an id"));
    let kind = EventType::parse(kind).expect("a type");
    Command::from_workflow_event(&kind, server.as_ref(), Json::of(data).root(), "/2/data")
        .expect("one of workflows and patterns")
}

fn command(kind: &str, server: Option<&str>, data: &Value) -> Command {
    read(kind, server, data).expect("a command")
}

/// What the API shows, without what differs by nature: who told it first.
fn shown(world: &World) -> Value {
    let mut shown = serde_json::to_value(world.workflow().summary()).expect("JSON");
    shown["startedAt"].take();
    shown
}

#[test]
fn the_same_state_by_events_and_by_calls() {
    let mut called = World::new();
    called
        .command(&Command::StartWorkflow(Box::new(start(
            &json!({"id": "w", "name": "Sync", "steps": ["a", "b"]}),
        ))))
        .expect("a workflow");
    called.report("a running by s1").expect("a claim");
    called
        .report("a completed:{\"n\":1} by s1")
        .expect("an end");
    called.report("b completed by s2").expect("an end");

    let mut emitted = World::new();
    let told = json!({"workflowId": "w", "name": "Sync", "steps": ["a", "b"], "occurredAt": 77});
    for (kind, server, data, appended) in [
        (
            "workflow_started",
            None,
            told.clone(),
            vec!["workflow_started"],
        ),
        ("workflow_started", None, told, vec![]),
        (
            "workflow_step_started",
            Some("s1"),
            json!({"workflowId": "w", "stepId": "a", "attempt": 1}),
            vec!["workflow_step_started"],
        ),
        (
            "workflow_step_completed",
            None,
            json!({"workflowId": "w", "stepId": "a", "serverId": "s1", "result": {"n": 1}}),
            vec!["workflow_step_completed"],
        ),
        (
            "workflow_step_completed",
            Some("s2"),
            json!({"workflowId": "w", "stepId": "b"}),
            vec!["workflow_step_completed", "workflow_completed"],
        ),
        (
            "workflow_completed",
            None,
            json!({"workflowId": "w", "results": [{"step": "b"}]}),
            vec![],
        ),
    ] {
        assert_eq!(
            emitted.command(&command(kind, server, &data)),
            kinds(&appended),
            "{kind} {data}"
        );
    }
    assert_eq!(emitted.log[0].what.occurred_at, Some(77));
    assert_eq!(shown(&emitted), shown(&called));
    // Either may come second.
    let again = Command::StartWorkflow(Box::new(start(
        &json!({"id": "w", "name": "Sync", "steps": ["a", "b"]}),
    )));
    assert_eq!(emitted.command(&again), kinds(&[]));
}

#[test]
fn the_missions_example_needs_no_step_reports() {
    let mut world = World::new();
    let mut emit = |kind: &str, data: Value| world.command(&command(kind, None, &data));
    assert_eq!(
        emit(
            "workflow_started",
            json!({"workflowId": "w", "name": "Assessment", "steps": ["fetch", "grade"]})
        ),
        kinds(&["workflow_started"])
    );
    let done = json!({"workflowId": "w", "results": {"graded": 31}, "duration": 1500});
    assert_eq!(
        emit("workflow_completed", done.clone()),
        kinds(&["workflow_completed"])
    );
    assert_eq!(emit("workflow_completed", done), kinds(&[]));
    assert_eq!(
        emit("workflow_failed", json!({"workflowId": "w", "error": "no"})),
        refused("workflow-ended")
    );
    assert_eq!(
        world.last()["results"],
        json!({"graded": 31}),
        "as it was given"
    );

    let mut world = World::with(&json!(["a"]));
    let failed =
        json!({"workflowId": "w", "error": "out of paper", "failedStep": "a", "retryAttempts": 3});
    assert_eq!(
        world.command(&command("workflow_failed", None, &failed)),
        kinds(&["workflow_failed"])
    );
    assert_eq!(
        (&world.last()["reason"], &world.last()["error"]),
        (&json!("reported"), &json!("out of paper"))
    );
}

#[test]
fn a_cancellation_is_known_by_its_reason() {
    let cancelled = json!({"workflowId": "w", "reason": "cancelled", "error": "not needed"});
    let Command::EndWorkflow(end) = command("workflow_failed", None, &cancelled) else {
        panic!("another command")
    };
    assert_eq!(
        end.ending,
        Ending::Cancelled {
            reason: Some("not needed".to_owned())
        }
    );
}

#[test]
fn a_workflow_that_has_only_an_id_is_called_by_it() {
    let Command::StartWorkflow(start) =
        command("workflow_started", Some("s1"), &json!({"workflowId": "w"}))
    else {
        panic!("another command")
    };
    assert_eq!((start.name.as_str(), start.steps.len()), ("w", 0));
    assert_eq!(start.server.as_ref().map(|id| id.as_str()), Some("s1"));
}

#[test]
fn patterns_are_switched_in_any_shape() {
    for data in [
        json!({"pattern": {"name": "server_chaining", "enabled": true, "description": "d"}, "source": "x"}),
        json!({"name": "server_chaining", "description": "d"}),
        json!({"pattern": "server_chaining", "description": "d"}),
    ] {
        let Command::SwitchPattern(switch) = command("pattern_enabled", None, &data) else {
            panic!("another command")
        };
        let wanted = SwitchPattern {
            name: "server_chaining".to_owned(),
            enabled: true,
            description: Some("d".to_owned()),
            source: "api",
            occurred_at: None,
        };
        assert_eq!(switch, wanted, "{data}");
    }
}

#[test]
fn mistakes_are_named_where_they_stand() {
    let table = [
        (
            "workflow_started",
            json!({"steps": ["a"]}),
            vec!["/2/data/workflowId"],
        ),
        (
            "workflow_started",
            json!({"workflowId": "w", "steps": ["a", "a"]}),
            vec!["/2/data/steps/1/id"],
        ),
        (
            "workflow_step_completed",
            json!({"stepId": 7}),
            vec!["/2/data/workflowId", "/2/data/stepId"],
        ),
        (
            "workflow_step_failed",
            json!({"workflowId": "w", "stepId": "a", "serverId": "s2"}),
            vec!["/2/data/serverId"],
        ),
        (
            "workflow_failed",
            json!({"workflowId": "w"}),
            vec!["/2/data/error"],
        ),
        (
            "pattern_disabled",
            json!({"pattern": {"name": "x", "enabled": true}}),
            vec!["/2/data/pattern/enabled"],
        ),
        (
            "pattern_disabled",
            json!({"pattern": {}}),
            vec!["/2/data/pattern/name"],
        ),
        ("pattern_disabled", json!({}), vec!["/2/data/name"]),
        ("workflow_completed", json!("done"), vec!["/2/data"]),
    ];
    for (kind, data, wanted) in table {
        let errors = read(kind, Some("s1"), &data).expect_err("mistakes");
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, wanted, "{kind} {data}");
    }
}

#[test]
fn the_end_that_an_older_version_wrote_is_the_workflows_own() {
    let mut world = World::with(&json!(["a"]));
    let result = Json::of(&"x".repeat(100_000));
    let step = EventData::WorkflowStepCompleted(Box::new(WorkflowStepCompleted {
        workflow_id: workflow_id("w"),
        step_id: step_id("a"),
        server_id: None,
        result: Some(result.clone()),
        attempt: 1,
        duration_ms: None,
        completed_steps: 1,
        total_steps: 1,
        ready_steps: Vec::new(),
    }));
    let end = EventData::WorkflowCompleted(WorkflowCompleted {
        workflow_id: workflow_id("w"),
        name: "Test".to_owned(),
        duration_ms: 1,
        results: Json::of(&json!([{"step": "a", "status": "completed", "result": result}])),
        truncated: Vec::new(),
    });
    for data in [step, end] {
        world.append(NewEvent {
            server: None,
            tags: Arc::default(),
            data,
            occurred_at: None,
            by: None,
            private: Private::default(),
        });
    }
    // Nobody stated the results, so that whatever is stated now contradicts nothing.
    let again = Ending::Completed {
        results: Some(Json::of(&json!({"other": 1}))),
    };
    assert_eq!(world.end(again), kinds(&[]));
}
