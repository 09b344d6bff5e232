//! Tables for what servers' commands bring about.

mod input;
mod many;
mod properties;

use serde_json::{Value, json};

use super::*;
use crate::domain::Json;
use crate::domain::{
    Epoch, Limit, Moment, Position,
    command::{ChangeHealth, Decision, Deregister, LeaseWord, Register, Rejection, Reply},
    event::Transport,
};
use Health::{Degraded, Healthy, Unhealthy};

fn id(text: &str) -> ServerId {
    ServerId::parse(text).unwrap()
}

fn register(body: Value) -> Register {
    let mut body = body;
    for (name, value) in [("id", "lms"), ("name", "LMS"), ("transport", "http")] {
        body.as_object_mut()
            .unwrap()
            .entry(name)
            .or_insert_with(|| value.into());
    }
    Register::parse(Json::of(&body).root(), "", || unreachable!()).unwrap()
}

fn leave(reason: &str) -> Deregister {
    Deregister {
        server: id("lms"),
        reason: reason.to_owned(),
        connection: None,
        instance_id: None,
        expected: None,
        last_seen_at: None,
        occurred_at: None,
    }
}

fn at(now: i64) -> Moment {
    Moment {
        wall: now,
        lived: now,
    }
}

fn verdict(connection: u64, health: Health) -> ChangeHealth {
    ChangeHealth {
        server: id("lms"),
        instance_id: None,
        connection: Some(connection),
        lease: Some(LeaseWord {
            health,
            missed_heartbeats: 3,
            words: "no heartbeat for 31 s".to_owned(),
        }),
        report: None,
        last_seen_at: Some(77),
        occurred_at: None,
    }
}

/// Servers, the log that made them, and time.
#[derive(Clone, Default)]
struct Fleet {
    servers: Servers,
    log: Vec<Event>,
    notes: Vec<Note>,
    now: i64,
    policy: Policy,
}

impl Fleet {
    fn append(&mut self, decision: Decision) -> (Vec<Value>, Reply) {
        let mut texts = Vec::new();
        for what in decision.events {
            let sequence = self.log.len() as u64 + 1;
            let position = Position {
                epoch: Epoch::from_random(1),
                sequence,
            };
            let mut text: Value = what.data.to_json().read().unwrap();
            text["type"] = what.data.kind().as_str().into();
            texts.push(text);
            let event = Event {
                position,
                timestamp: self.now,
                what,
            };
            self.servers.evolve(&event, self.now);
            self.servers.expire(self.now, &self.policy);
            self.log.push(event);
        }
        if let Some(note) = decision.reply.note() {
            self.servers.note(note);
            self.notes.push(note.clone());
        }
        (texts, decision.reply)
    }

    fn register(&mut self, body: Value) -> (Vec<Value>, Reply) {
        let decision = self
            .servers
            .register(&register(body), &self.policy, at(self.now))
            .unwrap();
        self.append(decision)
    }

    fn leave(&mut self, deregister: &Deregister) -> Vec<Value> {
        let decision = self.servers.deregister(deregister, at(self.now)).unwrap();
        self.append(decision).0
    }

    fn turn(&mut self, change: &ChangeHealth) -> Vec<Value> {
        let decision = self
            .servers
            .change_health(change, &self.policy, self.now)
            .unwrap();
        self.append(decision).0
    }

    fn lms(&self) -> &Server {
        self.servers.get(&id("lms")).unwrap()
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

fn created(reply: &Reply) -> bool {
    matches!(reply, Reply::Server { created: true, .. })
}

#[test]
fn a_new_server_connects_and_one_that_was_gone_reconnects() {
    let mut fleet = Fleet {
        now: 5,
        ..Fleet::default()
    };
    let (events, reply) = fleet.register(json!({"heartbeatIntervalMs": 500, "tags": {"a": "b"}}));
    assert_eq!(kinds(&events), ["server_connected"]);
    assert_eq!(events[0]["reconnected"], false);
    assert!(created(&reply));
    let server = fleet.lms();
    assert_eq!(
        (server.heartbeat_interval_ms, server.health),
        (500, Healthy)
    );
    assert_eq!((server.connected_at, server.connected_sequence), (5, 1));

    assert_eq!(
        kinds(&fleet.leave(&leave("deregistered"))),
        ["server_disconnected"]
    );
    assert!(!fleet.lms().is_connected());
    let (events, reply) = fleet.register(json!({}));
    assert_eq!(events[0]["reconnected"], true);
    assert!(created(&reply));
    assert_eq!(
        fleet.lms().heartbeat_interval_ms,
        fleet.policy.heartbeat_interval_ms
    );
}

#[test]
fn registering_again_tells_only_what_changed() {
    let table = [
        (json!({}), vec![]),
        (json!({"name": "L"}), vec!["name"]),
        (
            json!({"transport": "sse", "url": "http://x/y"}),
            vec!["transport", "url"],
        ),
        (
            json!({"version": "2", "tags": {"k": "v"}}),
            vec!["version", "tags"],
        ),
        (
            json!({"capabilities": {"tools": ["t"]}}),
            vec!["capabilities"],
        ),
        (
            json!({"metadata": [1], "heartbeatIntervalMs": 100}),
            vec!["metadata", "heartbeatIntervalMs"],
        ),
        (json!({"instanceId": "i"}), vec!["instanceId"]),
    ];
    for (body, changed) in table {
        let mut fleet = Fleet::default();
        fleet.register(json!({}));
        let (events, reply) = fleet.register(body.clone());
        assert!(!created(&reply));
        if changed.is_empty() {
            assert!(events.is_empty());
            continue;
        }
        assert_eq!(kinds(&events), ["server_updated"], "{body}");
        assert_eq!(events[0]["changed"], json!(changed), "{body}");
        assert!(
            fleet.register(body).0.is_empty(),
            "the same again changes nothing"
        );
    }
}

#[test]
fn another_instance_replaces_and_none_matches_any() {
    let mut fleet = Fleet::default();
    fleet.register(json!({"instanceId": "one"}));
    assert!(fleet.register(json!({})).0.is_empty(), "none matches any");
    assert_eq!(
        fleet
            .lms()
            .connection
            .instance_id
            .as_ref()
            .unwrap()
            .as_str(),
        "one"
    );

    let mut again = register(json!({"instanceId": "two"}));
    again.last_seen_at = Some(99);
    let decision = fleet
        .servers
        .register(&again, &fleet.policy, at(0))
        .unwrap();
    let (events, reply) = fleet.append(decision);
    assert_eq!(kinds(&events), ["server_disconnected", "server_connected"]);
    assert_eq!(
        (&events[0]["reason"], &events[0]["lastSeenAt"]),
        (&json!("replaced"), &json!(99))
    );
    assert_eq!(events[1]["reconnected"], true);
    assert!(created(&reply));
    assert!(fleet.lms().is_connected());
}

#[test]
fn leaving_twice_is_told_once_and_a_lost_server_can_still_be_deregistered() {
    let mut fleet = Fleet::default();
    let unknown = fleet.servers.deregister(&leave("deregistered"), at(0));
    assert_eq!(unknown, Err(Rejection::ServerNotFound(id("lms"))));

    fleet.register(json!({}));
    fleet.now = 30;
    let lost = Deregister {
        connection: Some(1),
        last_seen_at: Some(10),
        ..leave(HEARTBEAT_TIMEOUT)
    };
    let events = fleet.leave(&lost);
    assert_eq!(events[0]["lastSeenAt"], 10);
    assert_eq!(fleet.servers.counts_at(30, &fleet.policy).lost, 1);
    let server = fleet.lms().view(&[], 30);
    assert_eq!((server.health, server.due_at), (Unhealthy, None));
    assert_eq!(server.detail.as_deref(), Some("no heartbeat for 20 ms"));

    assert!(fleet.leave(&lost).is_empty());
    fleet.now = 40;
    assert_eq!(
        kinds(&fleet.leave(&leave("deregistered"))),
        ["server_disconnected"]
    );
    assert_eq!(
        fleet.servers.counts_at(40, &fleet.policy),
        ServerCounts::default()
    );
    assert_eq!(
        (fleet.lms().gone_at, fleet.lms().health),
        (Some(30), Healthy)
    );
    assert!(fleet.leave(&leave("deregistered")).is_empty());
}

#[test]
fn another_connection_or_instance_is_left_alone() {
    let mut fleet = Fleet::default();
    fleet.register(json!({"instanceId": "one"}));
    let instance = |text: &str| Some(crate::domain::InstanceId::parse(text).unwrap());
    let table = [
        (Some(2), instance("one"), false),
        (None, instance("two"), false),
        (Some(1), instance("one"), true),
        (None, None, true),
    ];
    for (connection, instance_id, goes) in table {
        let mut fleet = fleet.clone();
        let events = fleet.leave(&Deregister {
            connection,
            instance_id,
            ..leave("x")
        });
        assert_eq!(events.len(), usize::from(goes), "{connection:?}");
    }
}

#[test]
fn a_verdict_is_told_where_it_differs_for_the_present_connection() {
    let mut fleet = Fleet::default();
    fleet.register(json!({}));
    assert!(
        fleet.turn(&verdict(9, Degraded)).is_empty(),
        "another connection"
    );
    assert!(
        fleet.turn(&verdict(1, Healthy)).is_empty(),
        "the same verdict"
    );
    let events = fleet.turn(&verdict(1, Degraded));
    assert_eq!(
        (&events[0]["health"], &events[0]["previousHealth"]),
        (&json!("degraded"), &json!("healthy"))
    );
    assert!(fleet.turn(&verdict(1, Degraded)).is_empty());
    let server = fleet.lms();
    let known = &server.instances.only().unwrap().condition;
    assert_eq!((known.lease, known.report.health), (Degraded, Healthy));
    assert_eq!(server.detail.as_deref(), Some("no heartbeat for 31 s"));
    assert_eq!((server.missed_heartbeats, server.last_seen_at), (3, 77));

    fleet.turn(&verdict(1, Healthy));
    assert_eq!((&fleet.lms().reason, &fleet.lms().detail), (&None, &None));
    fleet.leave(&leave("bye"));
    assert!(fleet.turn(&verdict(1, Degraded)).is_empty(), "gone");
}

#[test]
fn gone_servers_are_forgotten_by_age_and_by_number_oldest_first() {
    let mut fleet = Fleet {
        policy: Policy {
            state_retention_age_ms: 100,
            state_retention_count: 2,
            ..Policy::default()
        },
        ..Fleet::default()
    };
    for (now, name) in (1..).zip(["a", "b", "c"]) {
        fleet.now = now;
        fleet.register(json!({"id": name}));
        fleet.leave(&Deregister {
            server: id(name),
            ..leave(HEARTBEAT_TIMEOUT)
        });
    }
    assert!(
        fleet.servers.get(&id("a")).is_none(),
        "the oldest of three goes"
    );
    assert_eq!(fleet.servers.counts_at(101, &fleet.policy).lost, 2);
    assert_eq!(
        fleet.servers.counts_at(102, &fleet.policy).lost,
        1,
        "b is old enough"
    );
    assert_eq!(fleet.servers.counts_at(103, &fleet.policy).lost, 0);
    fleet.servers.expire(102, &fleet.policy);
    assert!(fleet.servers.get(&id("b")).is_none());
    assert!(fleet.servers.get(&id("c")).is_some());
}

#[test]
fn the_limit_is_for_new_servers() {
    let mut fleet = Fleet {
        policy: Policy {
            max_servers: 1,
            ..Policy::default()
        },
        ..Fleet::default()
    };
    fleet.register(json!({}));
    let second = fleet
        .servers
        .register(&register(json!({"id": "b"})), &fleet.policy, at(0));
    assert_eq!(
        second,
        Err(Rejection::LimitReached {
            limit: Limit::Servers,
            most: 1
        })
    );
    assert!(fleet.register(json!({})).0.is_empty());
}

#[test]
fn lists_are_filtered_and_paged() {
    let mut fleet = Fleet::default();
    for (name, transport, tag) in [
        ("a", "sse", "x"),
        ("b", "http", "x"),
        ("c", "http", "y"),
        ("d", "http", "x"),
    ] {
        fleet.register(
            json!({"id": name, "transport": transport, "tags": {"team": tag, "all": "1"}}),
        );
    }
    fleet.leave(&Deregister {
        server: id("d"),
        ..leave(HEARTBEAT_TIMEOUT)
    });
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let table = [
        (ServerQuery::default(), "abcd"),
        (
            ServerQuery {
                connected: Some(true),
                ..ServerQuery::default()
            },
            "abc",
        ),
        (
            ServerQuery {
                health: vec![Unhealthy],
                ..ServerQuery::default()
            },
            "d",
        ),
        (
            ServerQuery {
                transports: vec![Transport::Http],
                ..ServerQuery::default()
            },
            "bcd",
        ),
        (
            ServerQuery {
                tags: vec![tag("team", "x"), tag("all", "1")],
                ..ServerQuery::default()
            },
            "abd",
        ),
        (
            ServerQuery {
                tags: vec![tag("team", "x"), tag("team", "y")],
                ..ServerQuery::default()
            },
            "",
        ),
    ];
    for (query, expected) in table {
        let found: String = fleet
            .servers
            .after(None)
            .filter(|server| query.matches(server, server.shown_health()))
            .map(|server| server.connection.id.as_str())
            .collect();
        assert_eq!(found, expected, "{query:?}");
    }
}
