//! Servers with many instances: who joins, who goes, how well the whole is.

use super::*;
use crate::domain::{InstanceId, command::SelfReport};

fn instance(name: &str) -> Option<InstanceId> {
    Some(InstanceId::parse(name).unwrap())
}

fn many(name: &str) -> Value {
    json!({"instanceId": name, "instances": "many"})
}

fn farewell(name: &str) -> Deregister {
    Deregister {
        instance_id: instance(name),
        ..leave("deregistered")
    }
}

fn said(name: &str, health: Health) -> ChangeHealth {
    ChangeHealth {
        server: id("lms"),
        instance_id: instance(name),
        connection: None,
        lease: None,
        report: Some(SelfReport {
            health,
            detail: Some("so it says".to_owned()),
        }),
        last_seen_at: None,
        occurred_at: None,
    }
}

/// A server with instances `a` and `b`.
fn two() -> Fleet {
    let mut fleet = Fleet::default();
    fleet.register(many("a"));
    fleet.register(many("b"));
    fleet
}

#[test]
fn the_first_connects_the_server_and_the_last_to_go_disconnects_it() {
    let mut fleet = Fleet::default();
    let (events, reply) = fleet.register(many("a"));
    assert_eq!(kinds(&events), ["server_connected"]);
    assert!(created(&reply));
    let (events, reply) = fleet.register(
        json!({"instanceId": "b", "instances": "many", "host": "h", "pid": 7,
            "client": {"name": "Claude"}}),
    );
    assert_eq!(kinds(&events), ["server_instance_connected"]);
    assert!(created(&reply));
    let told = json!({"type": "server_instance_connected", "instanceId": "b", "connectedInstances": 2,
        "reason": "registered", "expected": true, "host": "h", "pid": 7, "client": {"name": "Claude"}});
    assert_eq!(events[0], told);
    let (events, reply) = fleet.register(many("b"));
    assert!(events.is_empty() && !created(&reply));

    let events = fleet.leave(&farewell("a"));
    let told = json!({"type": "server_instance_disconnected", "instanceId": "a", "connectedInstances": 1,
        "reason": "deregistered", "expected": true, "lastSeenAt": 0});
    assert_eq!(events, [told]);
    fleet.now = 50;
    let events = fleet.leave(&farewell("b"));
    assert_eq!(kinds(&events), ["server_disconnected"]);
    assert_eq!(
        (
            &events[0]["expected"],
            &events[0]["connectedForMs"],
            &events[0]["instanceId"]
        ),
        (&json!(true), &json!(50), &json!("b"))
    );
    assert!(!fleet.lms().is_connected() && !fleet.lms().lost);
}

#[test]
fn the_server_is_as_healthy_as_its_best_instance() {
    let mut fleet = two();
    assert!(
        fleet.turn(&said("a", Unhealthy)).is_empty(),
        "b still serves"
    );
    assert_eq!(fleet.lms().health, Healthy);
    let events = fleet.turn(&said("b", Degraded));
    assert_eq!(kinds(&events), ["server_health_changed"]);
    assert_eq!(
        (&events[0]["health"], &events[0]["detail"]),
        (&json!("degraded"), &json!("so it says"))
    );
    let events = fleet.leave(&farewell("b"));
    assert_eq!(
        kinds(&events),
        ["server_instance_disconnected", "server_health_changed"]
    );
    assert_eq!(events[1]["health"], "unhealthy");
    let (events, _) = fleet.register(many("c"));
    assert_eq!(
        kinds(&events),
        ["server_instance_connected", "server_health_changed"]
    );
    assert_eq!(events[1]["health"], "healthy");
}

#[test]
fn a_lost_instance_stays_in_view_and_turns_nothing_red() {
    let mut fleet = two();
    let lost = Deregister {
        connection: Some(1),
        ..Deregister {
            reason: HEARTBEAT_TIMEOUT.to_owned(),
            ..farewell("a")
        }
    };
    let events = fleet.leave(&lost);
    assert_eq!(kinds(&events), ["server_instance_disconnected"]);
    assert_eq!(events[0]["expected"], false);
    assert_eq!((fleet.lms().health, fleet.lms().lost), (Healthy, false));
    let shown = |lived| {
        let view = fleet.lms().view(&[], lived);
        let instances = view.instances;
        instances
            .iter()
            .map(|it| (it.instance_id.clone().unwrap().to_string(), it.status))
            .collect::<Vec<_>>()
    };
    let pair = |name: &str, status| (name.to_owned(), status);
    assert_eq!(shown(0), [pair("b", "connected"), pair("a", "lost")]);
    assert_eq!(shown(3_600_000), [pair("b", "connected")], "for a while");

    fleet.register(many("a"));
    let back = fleet.lms().view(&[], 0).instances;
    assert!(back.iter().all(|instance| instance.status == "connected"));
}

#[test]
fn lost_instances_are_shown_up_to_a_number() {
    let mut fleet = two();
    for name in 0..30 {
        fleet.register(many(&format!("x{name}")));
        fleet.leave(&Deregister {
            expected: Some(false),
            ..farewell(&format!("x{name}"))
        });
    }
    let shown = fleet.lms().view(&[], 0).instances;
    assert_eq!(shown.len(), 12, "two that serve, ten that were lost last");
}

#[test]
fn a_crash_that_is_told_counts_as_lost() {
    let mut fleet = Fleet::default();
    fleet.register(json!({}));
    let crash = Deregister {
        expected: Some(false),
        ..leave("segmentation fault")
    };
    let events = fleet.leave(&crash);
    assert_eq!(
        (&events[0]["reason"], &events[0]["expected"]),
        (&json!("segmentation fault"), &json!(false))
    );
    assert!(fleet.lms().lost);
    assert_eq!(fleet.lms().shown_health(), Unhealthy);
    assert!(fleet.leave(&crash).is_empty(), "told once");
    fleet.leave(&leave("deregistered"));
    assert!(!fleet.lms().lost, "deregistered as expected");

    fleet.register(json!({}));
    let probe = fleet.leave(&leave("probe_failed"));
    assert_eq!(probe[0]["expected"], false);
    fleet.register(json!({}));
    assert!(!fleet.lms().lost, "it is back");
}

#[test]
fn a_farewell_before_the_registration_leaves_no_ghost() {
    let mut fleet = Fleet {
        now: 1000,
        ..Fleet::default()
    };
    assert!(
        fleet.leave(&farewell("a")).is_empty(),
        "of a server that nobody knows"
    );
    let late = |fleet: &Fleet| {
        fleet
            .servers
            .register(&register(many("a")), &fleet.policy, at(fleet.now))
    };
    let gone = Rejection::InstanceGone {
        server: id("lms"),
        instance: instance("a").unwrap(),
    };
    fleet.now = 60_999;
    assert_eq!(late(&fleet), Err(gone.clone()));
    fleet.register(many("b"));
    assert_eq!(late(&fleet), Err(gone));
    fleet.now = 61_000;
    assert!(late(&fleet).is_ok(), "a minute is over");

    assert!(
        fleet.leave(&farewell("z")).is_empty(),
        "of a server that is known"
    );
    assert!(fleet.register(many("a")).1.note().is_none());
    let refused = fleet
        .servers
        .register(&register(many("z")), &fleet.policy, at(fleet.now));
    assert!(matches!(refused, Err(Rejection::InstanceGone { .. })));
}

#[test]
fn one_replaces_all_and_many_joins_one() {
    let mut fleet = two();
    let (events, _) = fleet.register(json!({"instanceId": "c"}));
    assert_eq!(
        kinds(&events),
        [
            "server_instance_disconnected",
            "server_disconnected",
            "server_connected"
        ]
    );
    assert_eq!(events[1]["reason"], "replaced");
    assert_eq!(fleet.lms().instances.len(), 1);
    let (events, _) = fleet.register(many("d"));
    assert_eq!(
        kinds(&events),
        ["server_instance_connected", "server_updated"]
    );
    assert_eq!(events[1]["changed"], json!(["instances"]));
    assert_eq!(fleet.lms().instances.len(), 2);
    assert!(fleet.register(json!({})).0.is_empty(), "none matches any");
}

#[test]
fn an_unnamed_client_means_the_unnamed_instance_or_the_only_one() {
    let mut fleet = Fleet::default();
    fleet.register(many("a"));
    let meant = |fleet: &Fleet| {
        fleet
            .lms()
            .instance_of(None)
            .map(|instance| instance.id.clone())
    };
    assert_eq!(meant(&fleet), Some(instance("a")));
    fleet.register(many("b"));
    assert_eq!(meant(&fleet), None, "which of the two?");
    fleet.register(json!({"instances": "many"}));
    assert_eq!(meant(&fleet), Some(None));
    assert!(fleet.lms().heard_of(instance("x").as_ref()).is_err());
}
