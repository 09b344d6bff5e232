//! What becomes of steps whose holder is gone, in a whole state with servers.

use serde_json::{Value, json};

use super::support::{report, start, step_id, workflow_id};
use crate::domain::Json;
use crate::domain::{
    Command, Event, EventData, Policy, State,
    command::{Deregister, Register, ReportStep},
    position::{Epoch, Position},
};

/// A whole state in virtual time.
struct Fleet {
    state: State,
    policy: Policy,
    log: Vec<Event>,
}

impl Fleet {
    fn with(steps: &Value) -> Self {
        let mut fleet = Self {
            state: State::default(),
            policy: Policy::default(),
            log: Vec::new(),
        };
        fleet.command(&Command::StartWorkflow(Box::new(start(
            &json!({"name": "Test", "steps": steps}),
        ))));
        fleet
    }

    /// Decides and evolves; reactions wait until they are asked for.
    fn command(&mut self, command: &Command) -> Vec<String> {
        let decision = self
            .state
            .decide(command, &self.policy, 1_000)
            .expect("accepted");
        let kinds = decision
            .events
            .iter()
            .map(|event| event.data.kind().as_str().to_owned())
            .collect();
        for what in decision.events {
            let position = Position {
                epoch: Epoch::from_random(7),
                sequence: self.state.sequence + 1,
            };
            let event = Event {
                position,
                timestamp: 1_000,
                what,
            };
            self.state.evolve(&event, &self.policy);
            self.log.push(event);
        }
        kinds
    }

    fn register(&mut self, instance: Option<&str>) {
        let mut body = json!({"id": "s1", "name": "S", "transport": "http"});
        body["instanceId"] = instance.map_or(Value::Null, Value::from);
        let register = Register::parse(Json::of(&body).root(), "", || unreachable!("it has an id"))
            .expect("a server");
        self.command(&Command::Register(Box::new(register)));
    }

    fn deregister(&mut self) {
        self.command(&Command::Deregister(Deregister {
            server: "s1".parse().expect("an id"),
            reason: "deregistered".to_owned(),
            connection: None,
            instance_id: None,
            expected: None,
            last_seen_at: None,
            occurred_at: None,
        }));
    }

    fn report(&mut self, line: &str) -> Vec<String> {
        self.command(&Command::ReportStep(Box::new(report(line))))
    }

    /// Carries out what is due, and says what became of steps and workflows.
    fn react(&mut self) -> Vec<String> {
        let mut appended = Vec::new();
        while let Some(reaction) = self.state.due_reaction(1_000, &self.policy) {
            appended.extend(self.command(&Command::React(reaction)));
            assert!(appended.len() < 1_000, "a reaction that is always due");
        }
        appended.retain(|kind| kind.starts_with("workflow"));
        appended
    }

    /// What the log alone leads to: the hub died and was started again.
    fn restart(&mut self) {
        self.state = State::default();
        self.log
            .iter()
            .for_each(|event| self.state.evolve(event, &self.policy));
    }

    fn is(&self, step: &str) -> String {
        let workflow = self
            .state
            .workflows
            .get(&workflow_id("w"))
            .expect("the workflow");
        let step = workflow.step(&step_id(step)).expect("the step");
        format!("{} #{}", step.status().as_str(), step.attempt())
    }
}

const RETRIED: &str = r#"[{"id": "a", "retries": 3}, {"id": "b", "retries": 3}, "c"]"#;

fn retried() -> Value {
    serde_json::from_str(RETRIED).expect("JSON")
}

#[test]
fn a_gone_servers_steps_are_given_back_once_and_after_a_crash_too() {
    let mut fleet = Fleet::with(&retried());
    fleet.register(None);
    fleet.report("a running by s1");
    fleet.report("b running by s1");
    fleet.report("c running by s2");
    fleet.deregister();
    assert_eq!(fleet.is("a"), "running #1", "nothing reacted yet");
    fleet.restart();
    assert_eq!(
        fleet.react(),
        ["workflow_step_failed", "workflow_step_failed"]
    );
    assert_eq!(
        (fleet.is("a"), fleet.is("b"), fleet.is("c")),
        ("ready #1".into(), "ready #1".into(), "running #1".into())
    );
    let EventData::WorkflowStepFailed(data) = &fleet
        .log
        .iter()
        .rev()
        .find(|e| e.what.data.workflow().is_some())
        .expect("one")
        .what
        .data
    else {
        panic!("another event")
    };
    assert_eq!(
        (data.reason.as_str(), data.will_retry),
        ("server_disconnected", true)
    );
    fleet.restart();
    assert_eq!(fleet.react(), [""; 0], "once");
}

#[test]
fn a_replaced_instances_steps_are_given_back_and_its_successors_stay() {
    let mut fleet = Fleet::with(&retried());
    fleet.register(Some("i1"));
    fleet.report("a running by s1 /i1");
    // The new run's process works before it registers.
    fleet.report("b running by s1 /i2");
    fleet.register(Some("i2"));
    assert_eq!(fleet.react(), ["workflow_step_failed"]);
    assert_eq!(
        (fleet.is("a"), fleet.is("b")),
        ("ready #1".into(), "running #1".into())
    );
    fleet.report("a running by s1 /i2");
    assert_eq!(fleet.is("a"), "running #2");
}

#[test]
fn between_loss_and_reaction_nobody_gets_the_attempt() {
    let mut fleet = Fleet::with(&retried());
    fleet.register(None);
    fleet.report("a running by s1");
    fleet.deregister();
    let refused = |fleet: &Fleet, line: &str| {
        let command = Command::ReportStep(Box::<ReportStep>::new(report(line)));
        fleet.state.decide(&command, &fleet.policy, 1_000).is_err()
    };
    for line in ["a running by s1", "a running by s2", "a completed by s1 #1"] {
        assert!(refused(&fleet, line), "{line}");
    }
    fleet.react();
    assert_eq!(
        fleet.report("a failed:I fell by s1 #1"),
        [""; 0],
        "known already"
    );
}

#[test]
fn a_loss_without_a_retry_left_fails_the_workflow_and_frees_its_steps() {
    let mut fleet = Fleet::with(&json!(["a", "b"]));
    fleet.register(None);
    fleet.report("a running by s1");
    fleet.report("b running by s1");
    fleet.deregister();
    assert_eq!(fleet.react(), ["workflow_step_failed", "workflow_failed"]);
    assert_eq!(
        (fleet.is("a"), fleet.is("b")),
        ("failed #1".into(), "aborted #1".into())
    );
}

#[test]
fn an_end_that_came_before_the_loss_stands() {
    let mut fleet = Fleet::with(&retried());
    fleet.register(None);
    fleet.report("a running by s1");
    fleet.report("a completed by s1");
    fleet.deregister();
    assert_eq!(fleet.react(), [""; 0]);
    assert_eq!(fleet.is("a"), "completed #1");
}
