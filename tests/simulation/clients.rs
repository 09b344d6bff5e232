//! What clients ask for: mostly what makes sense in the state as it is, sometimes anything.

use std::sync::Arc;

use serde_json::{Value, json};
use timeback_events::domain::{
    Command, InstanceId, Json, ServerId, State, WorkflowId,
    command::{
        Deregister, Emit, EndWorkflow, Ending, Register, ReportStep, StartWorkflow, StepReport,
        SwitchPattern,
    },
    event::Transport,
    server::{Mode, Process},
    workflow::{Step, StepStatus, WorkflowStatus},
};

use super::chance::Chance;

const SERVERS: usize = 8;
const WORKFLOWS: usize = 14;
const STEPS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const INSTANCES: [&str; 3] = ["i1", "i2", "i3"];
const PATTERNS: [&str; 3] = ["event_driven", "tool_composition", "nightly"];

pub(crate) struct Clients {
    servers: Vec<ServerId>,
    /// Definitions that are sent, several for each id.
    definitions: Vec<StartWorkflow>,
}

impl Clients {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let servers: Vec<ServerId> = (0..SERVERS).map(|n| id(&format!("s{n}"))).collect();
        let definitions = (0..WORKFLOWS * 2)
            .map(|n| {
                let body = definition(chance, &format!("w{}", n / 2));
                StartWorkflow::parse(Json::of(&body).root(), "", || id("unnamed"))
                    .expect("a definition")
            })
            .collect();
        Self {
            servers,
            definitions,
        }
    }

    pub(crate) fn command(&self, chance: &mut Chance, state: &State) -> Command {
        match chance.below(100) {
            0..=14 => Command::Register(Box::new(self.register(chance))),
            15..=19 => Command::Deregister(self.deregister(chance, state)),
            20..=29 => Command::StartWorkflow(Box::new(chance.pick(&self.definitions).clone())),
            30..=86 => Command::ReportStep(Box::new(self.report(chance, state))),
            87..=88 => Command::EndWorkflow(Box::new(self.end(chance))),
            89..=92 => Command::SwitchPattern(switch(chance)),
            93..=94 => self.time_out(chance, state),
            _ => Command::Emit(Box::new(self.emit(chance))),
        }
    }

    /// A time-out that comes at any time, for any attempt: too late, or for a step that nobody runs.
    fn time_out(&self, chance: &mut Chance, state: &State) -> Command {
        let workflow = self.workflow(chance, state);
        if chance.one_in(6) {
            return Command::WorkflowTimedOut { workflow };
        }
        Command::StepTimedOut {
            workflow,
            step: id(chance.word(&STEPS)),
            attempt: u32::try_from(chance.below(4)).expect("small"),
        }
    }

    fn server(&self, chance: &mut Chance) -> ServerId {
        chance.pick(&self.servers).clone()
    }

    fn workflow(&self, chance: &mut Chance, state: &State) -> WorkflowId {
        let running: Vec<_> = state
            .workflows
            .iter()
            .filter(|workflow| workflow.status() == WorkflowStatus::Running)
            .collect();
        if running.is_empty() || chance.one_in(12) {
            return chance.pick(&self.definitions).id.clone();
        }
        chance.pick(&running).id.clone()
    }

    fn register(&self, chance: &mut Chance) -> Register {
        let tags = match chance.below(3) {
            0 => json!({}),
            1 => json!({"region": "eu"}),
            _ => json!({"region": "us", "tier": "gold"}),
        };
        Register {
            id: self.server(chance),
            name: chance.word(&["LMS", "Grades", "Quiz"]).to_owned(),
            transport: *chance.pick(&[Transport::Http, Transport::Stdio]),
            url: None,
            version: chance.one_in(3).then(|| "1.2.3".to_owned()),
            protocol_version: None,
            capabilities: serde_json::from_value(
                json!({"tools": ["t1", "t2"], "resources": ["r"]}),
            )
            .expect("capabilities"),
            tags: serde_json::from_value(tags).expect("tags"),
            metadata: None,
            heartbeat_interval_ms: *chance.pick(&[None, Some(1000), Some(5000)]),
            instance_id: self.instance(chance),
            instances: if chance.one_in(2) {
                Mode::Many
            } else {
                Mode::One
            },
            process: Process::default(),
            probe: None,
            learnt_of: None,
            last_seen_at: None,
            occurred_at: None,
        }
    }

    fn instance(&self, chance: &mut Chance) -> Option<InstanceId> {
        (!chance.one_in(4)).then(|| id(chance.word(&INSTANCES)))
    }

    fn deregister(&self, chance: &mut Chance, state: &State) -> Deregister {
        let server = self.server(chance);
        let connection = chance.one_in(4).then(|| {
            let present = state.servers.get(&server);
            present.map_or(1, |server| server.connected_sequence)
        });
        Deregister {
            server,
            reason: chance
                .word(&["deregistered", "heartbeat_timeout", "moved house"])
                .to_owned(),
            connection,
            instance_id: (!chance.one_in(3)).then(|| id(chance.word(&INSTANCES))),
            expected: *chance.pick(&[None, None, Some(true), Some(false)]),
            last_seen_at: None,
            occurred_at: None,
        }
    }

    fn report(&self, chance: &mut Chance, state: &State) -> ReportStep {
        let workflow = self.workflow(chance, state);
        let steps: Vec<&Step> = state
            .workflows
            .get(&workflow)
            .map_or_else(Vec::new, |found| found.steps().collect());
        if steps.is_empty() || chance.one_in(8) {
            return self.any_report(chance, workflow);
        }
        let open: Vec<&Step> = steps
            .iter()
            .copied()
            .filter(|step| matches!(step.status(), StepStatus::Ready | StepStatus::Running))
            .collect();
        let step = *chance.pick(if open.is_empty() { &steps } else { &open });
        let declared = step.declaration().server.clone();
        let mut told = ReportStep {
            step: step.declaration().id.clone(),
            ..self.any_report(chance, workflow)
        };
        match step.status() {
            StepStatus::Ready => {
                told.server = declared.or(told.server);
                told.attempt = (step.attempt() > 0 || chance.one_in(3)).then(|| step.attempt() + 1);
                if !chance.one_in(4) {
                    told.report = StepReport::Running;
                }
            }
            StepStatus::Running if !chance.one_in(4) => {
                told.server = step.holder().cloned();
                told.instance_id = None;
                told.attempt = Some(step.attempt());
            }
            _ => {}
        }
        told
    }

    fn any_report(&self, chance: &mut Chance, workflow: WorkflowId) -> ReportStep {
        let report = match chance.below(8) {
            0 | 1 => StepReport::Running,
            2..=5 => StepReport::Completed {
                result: chance
                    .one_in(2)
                    .then(|| Json::trusted(chance.word(&["1", "{\"n\":2}"]))),
            },
            _ => StepReport::Failed {
                error: chance.word(&["broke", "no such course"]).to_owned(),
            },
        };
        ReportStep {
            workflow,
            step: id(chance.word(&STEPS)),
            report,
            server: (!chance.one_in(5)).then(|| self.server(chance)),
            instance_id: self.instance(chance),
            attempt: chance
                .one_in(3)
                .then(|| u32::try_from(chance.below(4)).expect("small")),
            occurred_at: None,
        }
    }

    fn end(&self, chance: &mut Chance) -> EndWorkflow {
        let ending = match chance.below(3) {
            0 => Ending::Completed {
                results: chance.one_in(2).then(|| Json::trusted("[7]")),
            },
            1 => Ending::Failed {
                error: "given up".to_owned(),
                failed_step: None,
            },
            _ => Ending::Cancelled { reason: None },
        };
        EndWorkflow {
            workflow: chance.pick(&self.definitions).id.clone(),
            ending,
            occurred_at: None,
        }
    }

    fn emit(&self, chance: &mut Chance) -> Emit {
        let stated = chance.one_in(4);
        let kind = if stated {
            "integration_status_changed"
        } else {
            "grades.synced"
        };
        Emit {
            kind: Arc::from(kind),
            server: (stated || chance.one_in(2)).then(|| self.server(chance)),
            workflow: (!stated && chance.one_in(2))
                .then(|| chance.pick(&self.definitions).id.clone()),
            data: Json::trusted("{\"n\":1}"),
            occurred_at: None,
        }
    }
}

fn switch(chance: &mut Chance) -> SwitchPattern {
    SwitchPattern {
        name: chance.word(&PATTERNS).to_owned(),
        enabled: chance.one_in(2),
        description: chance.one_in(4).then(|| "Another.".to_owned()),
        source: "api",
        occurred_at: None,
    }
}

/// A workflow whose steps depend on some of those before them; one in four declares none.
fn definition(chance: &mut Chance, workflow: &str) -> Value {
    let mut body = json!({"id": workflow, "name": "W"});
    if !chance.one_in(4) {
        let steps: Vec<Value> = (0..=chance.below(STEPS.len()))
            .map(|n| step(chance, n))
            .collect();
        body["steps"] = steps.into();
    }
    if chance.one_in(3) {
        body["timeoutMs"] = chance.between(20_000, 200_000).into();
    }
    if chance.one_in(4) {
        body["errorHandling"] =
            json!({"strategy": "continue-on-error", "maxFailures": chance.below(3)});
    }
    body
}

fn step(chance: &mut Chance, n: usize) -> Value {
    let before = STEPS[..n].iter();
    let mut step = json!({"id": STEPS[n], "retries": chance.below(3)});
    let depends_on: Vec<&str> = before.copied().filter(|_| chance.one_in(3)).collect();
    step["dependsOn"] = json!(depends_on);
    if chance.one_in(3) {
        step["timeout"] = chance.between(500, 8_000).into();
    }
    if chance.one_in(4) {
        step["required"] = false.into();
    }
    if chance.one_in(3) {
        step["server"] = format!("s{}", chance.below(SERVERS)).into();
    }
    step
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("an id")
}
