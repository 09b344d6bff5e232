//! `GET /steps` and `GET /workflows`: what they show, page by page.

use serde_json::json;

use super::support::{World, server_id, start, workflow_id};
use crate::domain::{
    Command,
    command::Ending,
    workflow::{FoundStep, StepCursor, StepQuery, StepStatus},
};

fn world() -> World {
    let mut world = World::new();
    for id in ["v", "w"] {
        let definition = json!({"id": id, "name": id, "steps": [
            {"id": "mine", "server": "s1"},
            {"id": "any"},
            {"id": "yours", "server": "s2"},
            {"id": "late", "server": "s1", "dependsOn": ["mine"]},
        ]});
        world
            .command(&Command::StartWorkflow(Box::new(start(&definition))))
            .expect("a workflow");
    }
    world
}

fn query(words: &str) -> StepQuery {
    let mut query = StepQuery {
        limit: 100,
        ..StepQuery::default()
    };
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        match word.split_once('=').expect("name=value") {
            ("server", id) => query.server = Some(server_id(id)),
            ("status", status) => query.status = StepStatus::parse(status),
            ("workflow", id) => query.workflow = Some(workflow_id(id)),
            ("limit", limit) => query.limit = limit.parse().expect("a number"),
            other => panic!("{other:?}"),
        }
    }
    query
}

/// All pages, joined by ` | `.
fn pages(world: &World, words: &str) -> String {
    let mut query = query(words);
    let mut pages = Vec::new();
    loop {
        let page = world.workflows.steps_page(&query, world.now, &world.policy);
        let steps = page
            .steps
            .iter()
            .filter_map(FoundStep::view)
            .map(|step| format!("{}/{}", step.workflow_id, step.id));
        pages.push(steps.collect::<Vec<_>>().join(" "));
        let Some(next) = page.next else {
            return pages.join(" | ");
        };
        // What a client hands back reads as what was given out.
        query.after = Some(next.to_string().parse::<StepCursor>().expect("a cursor"));
    }
}

#[test]
fn a_server_finds_its_work() {
    let mut world = world();
    world.report("any running by s3").expect("a claim");
    world.report("mine running by s1").expect("a claim");
    world
        .report("yours running")
        .expect("a claim by whoever coordinates");
    let table = [
        ("server=s1 status=ready", "v/mine v/any"),
        ("server=s2 status=ready", "v/any v/yours"),
        ("server=s3 status=ready", "v/any"),
        ("status=ready", "v/mine v/any v/yours"),
        ("status=ready workflow=w", ""),
        ("status=pending workflow=w", "w/late"),
        ("status=pending server=s1", "v/late w/late"),
        ("status=running", "w/mine w/any w/yours"),
        ("server=s1 status=running", "w/mine"),
        ("server=s2 status=running", "w/yours"),
        ("server=s3 status=running", "w/any"),
        ("server=s1", "v/mine v/any v/late w/mine w/late"),
        ("workflow=v", "v/mine v/any v/yours v/late"),
        ("workflow=nothing", ""),
        ("status=failed", ""),
        ("server=s2 status=ready limit=1", "v/any | v/yours"),
        ("status=ready limit=2", "v/mine v/any | v/yours"),
        ("workflow=v limit=3", "v/mine v/any v/yours | v/late"),
        (
            "limit=3",
            "v/mine v/any v/yours | v/late w/mine w/any | w/yours w/late",
        ),
    ];
    for (words, wanted) in table {
        assert_eq!(pages(&world, words), wanted, "{words}");
    }
    world.report("mine completed by s1").expect("an end");
    assert_eq!(
        pages(&world, "server=s1 status=ready"),
        "v/mine v/any w/late"
    );
}

#[test]
fn an_ended_workflow_offers_no_work() {
    let mut world = world();
    world.report("mine running by s1").expect("a claim");
    world
        .end(Ending::Cancelled { reason: None })
        .expect("an end");
    for words in [
        "workflow=w status=ready",
        "server=s1 status=running",
        "workflow=w status=running",
    ] {
        assert_eq!(pages(&world, words), "", "{words}");
    }
    assert_eq!(pages(&world, "server=s1 status=ready"), "v/mine v/any");
}

#[test]
fn a_long_search_goes_on_from_where_it_stopped() {
    let mut world = World::new();
    for id in 0..11 {
        let steps: Vec<String> = (0..1_000).map(|n| format!("s{n}")).collect();
        let definition = json!({"id": format!("w{id:02}"), "name": "big", "steps": steps});
        world
            .command(&Command::StartWorkflow(Box::new(start(&definition))))
            .expect("a workflow");
    }
    let first = world
        .workflows
        .steps_page(&query("status=completed"), world.now, &world.policy);
    assert!(first.steps.is_empty());
    assert_eq!(
        first.next.map(|next| next.to_string()),
        Some("w09/999".to_owned())
    );
    assert_eq!(pages(&world, "status=completed"), " | ");
}
