//! What request bodies mean: the normal form, and every mistake at once.

use serde_json::{Value, json};

use super::support::{step_id, workflow_id};
use crate::domain::{
    FieldError, Json,
    command::{EndWorkflow, Ending, ReportStep, StartWorkflow, StepReport},
    workflow::EndKind,
};

fn parse(body: &Value) -> Result<StartWorkflow, Vec<FieldError>> {
    StartWorkflow::parse(Json::of(body).root(), "", || workflow_id("fresh"))
}

fn mistakes<T: std::fmt::Debug>(result: Result<T, Vec<FieldError>>) -> Vec<(String, String)> {
    result
        .expect_err("mistakes")
        .into_iter()
        .map(|error| (error.pointer, error.detail))
        .collect()
}

fn pointers<T: std::fmt::Debug>(result: Result<T, Vec<FieldError>>) -> Vec<String> {
    mistakes(result)
        .into_iter()
        .map(|(pointer, _)| pointer)
        .collect()
}

/// A definition of the shape that people have: other names, parameters, and fields that mean nothing here.
fn of_old() -> Value {
    json!({
        "name": "report-cards",
        "description": "Print all report cards",
        "version": "2.1.0",
        "workflow": [
            {"id": "load", "server": "roster", "tool": "list", "description": "All pupils",
             "params": {"class": "6b", "deep": {"x": [1, 2.5, null]}}, "timeout": 10000, "retries": 2},
            {"id": "print", "serverId": "printer", "timeoutMs": 15000, "required": false,
             "params": {"from": "${load.result.pupils}"}, "dependsOn": ["load", "load"]},
            "file",
        ],
        "errorHandling": {"strategy": "continue-on-error", "maxFailures": 2, "rollbackOnFailure": false},
        "notifications": {"onStart": true},
        "metadata": {"author": "the office", "tags": ["a", "b"]},
    })
}

#[test]
fn other_names_have_one_normal_form_and_nothing_is_lost() {
    let start = parse(&of_old()).expect("a definition");
    assert_eq!(start.id.as_str(), "fresh");
    assert_eq!((start.max_failures, start.timeout_ms), (Some(2), None));
    let steps: Value = serde_json::to_value(&start.steps).expect("JSON");
    assert_eq!(
        steps,
        json!([
            {"id": "load", "server": "roster", "tool": "list", "description": "All pupils",
             "params": {"class": "6b", "deep": {"x": [1, 2.5, null]}}, "timeout": 10000, "retries": 2},
            {"id": "print", "server": "printer", "timeout": 15000, "required": false,
             "params": {"from": "${load.result.pupils}"}, "dependsOn": ["load"]},
            {"id": "file"},
        ])
    );
    assert_eq!(start.definition.read::<Value>().expect("JSON"), of_old());
}

#[test]
fn error_handling_counts_only_where_it_says_continue() {
    let table = [
        (json!(null), None),
        (json!({}), None),
        (json!({"strategy": "stop-on-error", "maxFailures": 2}), None),
        (json!({"strategy": "continue-on-error"}), Some(u32::MAX)),
        (
            json!({"strategy": "continue-on-error", "maxFailures": 0}),
            Some(0),
        ),
    ];
    for (handling, wanted) in table {
        let start = parse(&json!({"name": "T", "steps": ["a"], "errorHandling": handling}))
            .expect("a definition");
        assert_eq!(start.max_failures, wanted, "{handling}");
    }
}

#[test]
fn every_mistake_is_named_at_once() {
    let found = pointers(parse(&json!({
        "id": "no spaces",
        "timeoutMs": 0,
        "steps": [
            {"id": "a", "timeout": -1, "retries": 1.5, "required": "yes"},
            {"name": "nameless"},
            {"id": "c", "server": "s1", "serverId": "s2", "dependsOn": ["a", 7, "b b"]},
            8,
            "what ever",
        ],
        "errorHandling": {"strategy": "continue-on-error", "maxFailures": -1},
        "occurredAt": "yesterday",
    })));
    for pointer in [
        "/id",
        "/name",
        "/timeoutMs",
        "/steps/0/timeout",
        "/steps/0/retries",
        "/steps/0/required",
        "/steps/1/id",
        "/steps/2/serverId",
        "/steps/2/dependsOn/1",
        "/steps/2/dependsOn/2",
        "/steps/3",
        "/steps/4",
        "/errorHandling/maxFailures",
        "/occurredAt",
    ] {
        assert!(
            found.iter().any(|found| found == pointer),
            "{pointer} in {found:?}"
        );
    }
    assert_eq!(
        pointers(parse(&json!({"name": "T", "workflow": "a, b"}))),
        ["/workflow"]
    );
    assert_eq!(pointers(parse(&json!([]))), [""]);
}

#[test]
fn cycles_unknown_dependencies_and_double_ids_are_named() {
    let found = mistakes(parse(&json!({"name": "T", "workflow": [
        {"id": "a", "dependsOn": ["c"]},
        {"id": "b", "dependsOn": ["a"]},
        {"id": "c", "dependsOn": ["b"]},
        {"id": "d", "dependsOn": ["d", "a"]},
        {"id": "e", "dependsOn": ["ghost"]},
        {"id": "e"},
    ]})));
    assert_eq!(
        found,
        [
            (
                "/workflow/5/id".to_owned(),
                "step e is declared twice: also at /workflow/4".to_owned()
            ),
            (
                "/workflow/4/dependsOn".to_owned(),
                "step e depends on ghost, which is not a step of this workflow".to_owned()
            ),
            (
                "/workflow/0/dependsOn".to_owned(),
                "these steps wait for each other: a -> c -> b -> a".to_owned()
            ),
            (
                "/workflow/3/dependsOn".to_owned(),
                "these steps wait for each other: d -> d".to_owned()
            ),
        ]
    );
}

#[test]
fn a_long_chain_is_no_cycle() {
    let steps: Vec<Value> = (0..10_000)
        .map(|n: u32| json!({"id": format!("s{n}"), "dependsOn": n.checked_sub(1).map(|n| vec![format!("s{n}")]).unwrap_or_default()}))
        .collect();
    assert_eq!(
        parse(&json!({"name": "T", "steps": steps}))
            .expect("a definition")
            .steps
            .len(),
        10_000
    );
}

#[test]
fn a_value_nested_too_deep_is_refused_before_it_is_stored() {
    let deep = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([inner]));
    let report = |levels: usize| {
        let body = json!({"status": "completed", "result": deep(levels)});
        ReportStep::parse(Json::of(&body).root(), "", workflow_id("w"), step_id("a"))
    };
    assert!(report(60).is_ok());
    assert_eq!(pointers(report(61)), ["/result"]);
    assert_eq!(
        pointers(parse(&json!({"name": "T", "steps": [], "note": deep(60)}))),
        [""]
    );
}

#[test]
fn reports_are_read_whole() {
    let read =
        |body: &Value| ReportStep::parse(Json::of(body).root(), "", workflow_id("w"), step_id("a"));
    let full = read(
        &json!({"status": "completed", "serverId": "s1", "instanceId": "i1", "attempt": 2,
                            "result": {"b": 1, "a": 2}, "occurredAt": 5}),
    )
    .expect("a report");
    assert_eq!((full.attempt, full.occurred_at), (Some(2), Some(5)));
    let StepReport::Completed {
        result: Some(result),
    } = full.report
    else {
        panic!("another report")
    };
    assert_eq!(result.as_str(), r#"{"b":1,"a":2}"#, "as it was sent");
    assert_eq!(
        read(&json!({"status": "running", "result": null}))
            .expect("a claim")
            .report,
        StepReport::Running
    );
    let silent = read(&json!({"status": "failed"})).expect("a failure");
    assert_eq!(
        silent.report,
        StepReport::Failed {
            error: "no reason was given".to_owned()
        }
    );
    let table = [
        (json!({}), vec!["/status"]),
        (json!({"status": "done"}), vec!["/status"]),
        (
            json!({"status": "running", "result": 1, "error": "x"}),
            vec!["/result", "/error"],
        ),
        (
            json!({"status": "completed", "error": "x", "attempt": 0}),
            vec!["/error", "/attempt"],
        ),
        (
            json!({"status": "failed", "result": 1, "serverId": "a b", "instanceId": 3}),
            vec!["/result", "/serverId", "/instanceId"],
        ),
        (
            json!({"status": "failed", "error": {"message": "x"}}),
            vec!["/error"],
        ),
    ];
    for (body, wanted) in table {
        assert_eq!(pointers(read(&body)), wanted, "{body}");
    }
}

#[test]
fn endings_are_read_whole() {
    let read = |kind: EndKind, body: Option<&Value>| {
        let body = body.map(Json::of);
        let body = body.as_ref().map(Json::root);
        EndWorkflow::parse(kind, body, "", workflow_id("w"))
    };
    let ending = |kind: EndKind, body: &Value| read(kind, Some(body)).expect("an ending").ending;
    assert_eq!(
        read(EndKind::Complete, None).expect("an ending").ending,
        Ending::Completed { results: None }
    );
    assert_eq!(
        read(EndKind::Cancel, None).expect("an ending").ending,
        Ending::Cancelled { reason: None }
    );
    assert_eq!(
        ending(EndKind::Fail, &json!({"error": "e", "failedStep": "a"})),
        Ending::Failed {
            error: "e".to_owned(),
            failed_step: Some(step_id("a"))
        }
    );
    assert_eq!(pointers(read(EndKind::Fail, None)), ["/error"]);
    assert_eq!(
        pointers(read(
            EndKind::Fail,
            Some(&json!({"error": "", "failedStep": "a b"}))
        )),
        ["/failedStep", "/error"]
    );
    assert_eq!(pointers(read(EndKind::Complete, Some(&json!([])))), [""]);
}
