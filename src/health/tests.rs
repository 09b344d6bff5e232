//! Leases, the monitor's step and the rules of the state together, in frozen time: no hub, no sleeping.

mod fleet;
mod property;

use serde_json::json;

use super::{monitor::Ask, *};
use crate::domain::{
    Command, Epoch, EventType, Policy, Position,
    command::{Deregister, Register},
};
use crate::domain::{Json, json::Number};
use Health::{Degraded, Healthy, Unhealthy};

const RULES: Rules = Rules {
    interval_ms: 1000,
    unhealthy_after: 3,
    disconnect_after: 5,
    recover_after: 2,
};

/// A hub without a thread: decides, evolves and tells the leases, at once.
struct World {
    state: State,
    leases: Leases,
    clock: Clock,
    told: Vec<(EventType, String)>,
    notes: Vec<crate::domain::Note>,
    /// Whether the log can't be written.
    is_full: bool,
}

impl World {
    fn new() -> Self {
        let clock = Clock::frozen(5_000_000, 1_790_000_000_000);
        Self {
            state: State::default(),
            leases: Leases::new(RULES, clock.clone()),
            clock,
            told: Vec::new(),
            notes: Vec::new(),
            is_full: false,
        }
    }

    /// A world with these servers, all connected.
    fn with(names: &[&str]) -> Self {
        let mut world = Self::new();
        for name in names {
            world.register(name, &json!({}));
        }
        world.told.clear();
        world
    }

    fn execute(&mut self, command: &Command) -> bool {
        let (policy, now) = (Policy::default(), self.clock.wall_ms());
        let decision = self.state.decide(command, &policy, now).unwrap();
        if self.is_full && !decision.events.is_empty() {
            return false;
        }
        if let Some(note) = decision.reply.note() {
            if self.is_full {
                return false;
            }
            self.state.note(note);
            self.notes.push(note.clone());
        }
        let (mut events, mut ended) = (Vec::new(), Vec::new());
        for what in decision.events {
            let position = Position {
                epoch: Epoch::from_random(1),
                sequence: self.state.sequence + 1,
            };
            let event = Event {
                position,
                timestamp: now,
                what,
            };
            let over = self.state.servers.ended_by(&event);
            ended.extend(over.iter().map(|over| over.connection));
            self.state.evolve(&event, &policy);
            let data = event.what.data.to_json();
            self.told
                .push((event.what.data.kind(), data.as_str().to_owned()));
            events.push(event);
        }
        self.leases.committed(&self.state, &events);
        self.leases.ended(&ended);
        if let crate::domain::Reply::Server {
            id,
            instance,
            created: false,
        } = &decision.reply
        {
            self.leases.renewed(&self.state, id, instance.as_ref());
        }
        true
    }

    fn register(&mut self, name: &str, more: &serde_json::Value) {
        let mut body =
            json!({"id": name, "name": name, "transport": "http", "heartbeatIntervalMs": 1000});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let register = Register::parse(Json::of(&body).root(), "", || unreachable!()).unwrap();
        self.execute(&Command::Register(Box::new(register)));
    }

    /// Lets time pass in steps of the monitor's, and carries out what it asks.
    fn pass(&mut self, ms: u32) {
        for _ in 0..ms / 50 {
            self.clock.advance(50);
            self.tick();
        }
    }

    fn tick(&mut self) -> Vec<Ask> {
        let asks = self.leases.tick(&self.state);
        for ask in &asks {
            let done = self.execute(&ask.command);
            self.leases.settle(ask, done, &self.state);
        }
        asks
    }

    fn beat(&mut self, name: &str) -> Beat {
        self.beat_with(name, &Heartbeat::default()).unwrap()
    }

    fn beat_with(&mut self, name: &str, heartbeat: &Heartbeat) -> Result<Beat, Rejection> {
        let mut beat = self.leases.heartbeat(&self.state, &id(name), heartbeat)?;
        if let Some(change) = &beat.change {
            let done = self.execute(&Command::ChangeHealth(ChangeHealth::clone(change)));
            if !done {
                beat.health = self.health(name);
            }
        }
        Ok(beat)
    }

    /// Passes time while these servers send heartbeats every 500 ms.
    fn live(&mut self, ms: u32, names: &[&str]) {
        for _ in 0..ms / 500 {
            self.pass(500);
            for name in names {
                self.beat(name);
            }
        }
    }

    fn health(&self, name: &str) -> Health {
        self.state.servers.get(&id(name)).unwrap().health
    }

    /// What the lease of a server's only instance says.
    fn lease(&self, name: &str) -> Option<LeaseView> {
        let server = self.state.servers.connected(&id(name))?;
        let mut views = self.leases.views(server, self.is_full);
        views.pop().map(|(_, view)| view)
    }

    /// The server as it is shown.
    fn view(&self, name: &str) -> crate::domain::server::ServerView {
        let server = self.state.servers.get(&id(name)).unwrap();
        let leases = self.leases.views(server, self.is_full);
        server.view(&leases, self.clock.wall_ms())
    }

    fn is_connected(&self, name: &str) -> bool {
        self.state.servers.connected(&id(name)).is_some()
    }

    fn kinds(&self) -> Vec<&str> {
        self.told.iter().map(|(kind, _)| kind.as_str()).collect()
    }
}

fn id(name: &str) -> ServerId {
    ServerId::parse(name).unwrap()
}

fn report(health: Health) -> Heartbeat {
    Heartbeat {
        health: Some(health),
        ..Heartbeat::default()
    }
}

#[test]
fn silence_is_told_step_by_step_and_ends_in_a_disconnect() {
    let mut world = World::with(&["a"]);
    world.pass(1450);
    assert_eq!(world.health("a"), Healthy);
    world.pass(50);
    assert_eq!(world.health("a"), Degraded);
    world.pass(2000);
    assert_eq!(world.health("a"), Unhealthy);
    world.pass(1950);
    assert!(world.is_connected("a"));
    world.pass(50);
    assert!(!world.is_connected("a"));
    let kinds = [
        "server_health_changed",
        "server_health_changed",
        "server_disconnected",
    ];
    assert_eq!(world.kinds(), kinds);
    let lost = world.state.servers.get(&id("a")).unwrap();
    assert!(lost.lost);
    assert_eq!(lost.last_seen_at, 1_790_000_000_000);
    assert_eq!(world.lease("a"), None);
    assert_eq!(world.leases.until_due(), None, "no timer is left behind");
}

#[test]
fn heartbeats_cost_no_commit_and_move_what_is_due() {
    let mut world = World::with(&["a"]);
    world.live(20_000, &["a"]);
    assert!(world.told.is_empty());
    let view = world.lease("a").unwrap();
    assert_eq!(view.last_seen_at, world.clock.wall_ms());
    assert_eq!(view.due_at, view.last_seen_at + 1000);
    let beat = world.beat("a");
    assert_eq!((beat.health, beat.change), (Healthy, None));
    assert_eq!(
        (beat.heartbeat_interval_ms, beat.due_at),
        (1000, view.due_at)
    );
}

#[test]
fn a_heartbeat_that_changes_the_verdict_says_so() {
    let mut world = World::with(&["a"]);
    world.pass(1500);
    assert_eq!(world.beat("a").health, Degraded);
    assert_eq!(world.lease("a").unwrap().missed_heartbeats, 0);
    world.pass(500);
    let beat = world.beat("a");
    assert!(beat.change.is_some());
    assert_eq!((beat.health, world.health("a")), (Healthy, Healthy));
    let (_, data) = world.told.last().unwrap();
    assert!(data.contains(r#""reason":"heartbeats_resumed""#), "{data}");
}

#[test]
fn whoever_is_not_connected_or_replaced_is_told() {
    let mut world = World::with(&[]);
    let unknown = world.beat_with("a", &Heartbeat::default());
    assert_eq!(unknown, Err(Rejection::ServerNotRegistered(id("a"))));

    world.register("a", &json!({"instanceId": "one"}));
    world.register("a", &json!({"instanceId": "two"}));
    let named = |text: &str| Heartbeat {
        instance_id: Some(InstanceId::parse(text).unwrap()),
        ..Heartbeat::default()
    };
    let replaced = world.beat_with("a", &named("one"));
    assert_eq!(replaced, Err(Rejection::InstanceReplaced(id("a"))));
    assert!(world.beat_with("a", &named("two")).is_ok());
    assert!(world.beat_with("a", &Heartbeat::default()).is_ok());

    world.execute(&Command::Deregister(Deregister {
        server: id("a"),
        reason: "deregistered".to_owned(),
        connection: None,
        instance_id: None,
        expected: None,
        last_seen_at: None,
        occurred_at: None,
    }));
    let gone = world.beat_with("a", &named("two"));
    assert_eq!(gone, Err(Rejection::ServerNotRegistered(id("a"))));
}

#[test]
fn registering_again_renews_and_takes_over_a_new_interval() {
    let mut world = World::with(&["a"]);
    world.pass(1450);
    world.register("a", &json!({}));
    world.pass(1450);
    assert_eq!(world.health("a"), Healthy, "renewed");
    world.register("a", &json!({"heartbeatIntervalMs": 100}));
    world.pass(150);
    assert_eq!(world.health("a"), Degraded, "by the shorter interval");
    let view = world.lease("a").unwrap();
    assert_eq!(view.due_at, view.last_seen_at + 100);
}

#[test]
fn a_verdict_that_could_not_be_committed_is_asked_again() {
    let mut world = World::with(&["a"]);
    world.is_full = true;
    world.pass(2000);
    assert_eq!(world.health("a"), Healthy);
    world.is_full = false;
    world.pass(1000);
    assert_eq!(world.health("a"), Degraded);

    world.is_full = true;
    world.pass(10_000);
    assert!(world.is_connected("a"));
    world.is_full = false;
    world.pass(1000);
    assert!(!world.is_connected("a"));
}

#[test]
fn one_question_per_lease_is_open_at_a_time() {
    let mut world = World::with(&["a"]);
    world.clock.advance(1500);
    let asks = world.leases.tick(&world.state);
    assert_eq!(asks.len(), 1);
    world.clock.advance(2000);
    assert!(
        world.leases.tick(&world.state).is_empty(),
        "not answered yet"
    );
    world.execute(&asks[0].command);
    world.leases.settle(&asks[0], true, &world.state);
    assert_eq!(world.health("a"), Degraded);
    world.tick();
    assert_eq!(world.health("a"), Unhealthy, "what has changed meanwhile");
}

#[test]
fn an_answer_about_a_former_connection_touches_nothing() {
    let mut world = World::with(&["a"]);
    world.clock.advance(1500);
    let asks = world.leases.tick(&world.state);
    world.register("a", &json!({"instanceId": "one"}));
    world.register("a", &json!({"instanceId": "two"}));
    world.execute(&asks[0].command);
    world.leases.settle(&asks[0], true, &world.state);
    assert_eq!(world.health("a"), Healthy);
}

#[test]
fn a_red_light_tells_its_present_grounds() {
    let mut world = World::with(&["a"]);
    world.pass(2500);
    let view = world.view("a");
    assert_eq!((view.health, view.missed_heartbeats), (Degraded, 2));
    assert_eq!(view.reason.as_deref(), Some("missed_heartbeats"));
    assert_eq!(
        view.detail.as_deref(),
        Some("no heartbeat for 2.5 s; 2 missed, expected every 1 s")
    );
}

#[test]
fn a_report_has_no_effect_before_it_is_committed() {
    let mut world = World::with(&["a"]);
    world.is_full = true;
    let beat = world.beat_with("a", &report(Unhealthy)).unwrap();
    assert!(beat.change.is_some());
    world.is_full = false;
    assert_eq!(world.beat("a").health, Healthy, "refused is refused");
    assert_eq!(world.health("a"), Healthy);
}

#[test]
fn a_report_that_changes_no_verdict_is_kept_and_the_same_again_is_not() {
    let mut world = World::with(&["a"]);
    let slow = |detail: &str| Heartbeat {
        detail: Some(detail.to_owned()),
        ..report(Degraded)
    };
    world.beat_with("a", &slow("slow")).unwrap();
    let gone = world.beat_with("a", &slow("the database is gone")).unwrap();
    assert!(gone.change.is_some());
    assert_eq!(world.told.len(), 1, "one verdict");
    let again = world.beat_with("a", &slow("the database is gone")).unwrap();
    assert_eq!(again.change, None);
    assert_eq!(
        world.view("a").detail.as_deref(),
        Some("the database is gone")
    );
}

#[test]
fn while_the_log_cannot_be_written_silence_shows_unsaved() {
    let mut world = World::with(&["a"]);
    world.is_full = true;
    world.pass(3500);
    let view = world.view("a");
    assert_eq!((view.health, view.unsaved), (Unhealthy, true));
    assert_eq!(view.reason.as_deref(), Some("missed_heartbeats"));
    assert_eq!(
        view.detail.as_deref(),
        Some("no heartbeat for 3.5 s; 3 missed, expected every 1 s")
    );
    world.is_full = false;
    world.pass(1000);
    let view = world.view("a");
    assert_eq!((view.health, view.unsaved), (Unhealthy, false));
}

#[test]
fn each_instance_has_a_lease_and_the_best_one_counts() {
    let mut world = World::new();
    for name in ["one", "two"] {
        world.register("a", &json!({"instanceId": name, "instances": "many"}));
    }
    world.told.clear();
    let alive = |name: &str| Heartbeat {
        instance_id: Some(InstanceId::parse(name).unwrap()),
        ..Heartbeat::default()
    };
    for _ in 0..6 {
        world.pass(500);
        world.beat_with("a", &alive("two")).unwrap();
    }
    let view = world.view("a");
    assert_eq!(view.health, Healthy);
    let healths: Vec<_> = view.instances.iter().map(|it| it.health).collect();
    assert_eq!(healths, [Degraded, Healthy]);
    assert!(world.told.is_empty(), "{:?}", world.told);
    for _ in 0..6 {
        world.pass(500);
        world.beat_with("a", &alive("two")).unwrap();
    }
    assert_eq!(world.kinds(), ["server_instance_disconnected"]);
    assert!(world.is_connected("a"));
    let unknown = world.beat_with("a", &alive("one"));
    let one = Rejection::InstanceNotRegistered {
        server: id("a"),
        instance: InstanceId::parse("one").unwrap(),
    };
    assert_eq!(unknown, Err(one));
}

#[test]
fn what_it_measured_last_is_shown() {
    let mut world = World::with(&["a"]);
    let heartbeat = Heartbeat::from_slice(br#"{"metrics":{"queue":3}}"#).unwrap();
    world.beat_with("a", &heartbeat).unwrap();
    world.beat("a");
    let metrics = world.lease("a").unwrap().metrics.unwrap();
    assert_eq!(metrics.get("queue").map(Number::to_f64), Some(3.0));
}
