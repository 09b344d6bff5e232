//! A world of workflows in virtual time, told what to do in few words.

use serde_json::{Value, json};

use crate::domain::{
    Command, Event, EventData, Json, Moment, Policy, Rejection, ServerId, StepId, WorkflowId,
    command::{EndWorkflow, Ending, ReportStep, StartWorkflow, StepReport},
    event::{ConnectionName, NewEvent, ServerDisconnected},
    position::{Epoch, Position},
    server::{Ended, Servers},
    workflow::{Step, StepStatus, Workflow, Workflows},
};

pub(super) const STARTED: &str = "workflow_step_started";
pub(super) const COMPLETED: &str = "workflow_step_completed";
pub(super) const FAILED: &str = "workflow_step_failed";
pub(super) const ALL_DONE: &str = "workflow_completed";
pub(super) const ALL_OVER: &str = "workflow_failed";

pub(super) struct World {
    pub(super) workflows: Workflows,
    pub(super) servers: Servers,
    pub(super) policy: Policy,
    pub(super) now: i64,
    pub(super) log: Vec<Event>,
}

/// What a command brought about: the types of its events, or the slug of its refusal.
pub(super) type Outcome = Result<Vec<String>, String>;

pub(super) fn workflow_id(id: &str) -> WorkflowId {
    id.parse().expect("an id")
}

pub(super) fn step_id(id: &str) -> StepId {
    id.parse().expect("an id")
}

pub(super) fn server_id(id: &str) -> ServerId {
    id.parse().expect("an id")
}

pub(super) fn start(definition: &Value) -> StartWorkflow {
    StartWorkflow::parse(Json::of(definition).root(), "", || workflow_id("w"))
        .expect("a definition")
}

/// A report in one line: `"a completed by s1 #2"`: step, status, `by` server, `/` instance, `#` attempt.
pub(super) fn report(line: &str) -> ReportStep {
    let mut words = line.split(' ');
    let step = step_id(words.next().expect("a step"));
    let report = match words.next().expect("a status") {
        "running" => StepReport::Running,
        "completed" => StepReport::Completed { result: None },
        "failed" => StepReport::Failed {
            error: "broke".to_owned(),
        },
        other => match other
            .split_once(':')
            .expect("completed:RESULT or failed:ERROR")
        {
            ("completed", result) => StepReport::Completed {
                result: Some(Json::trusted(result)),
            },
            (_, error) => StepReport::Failed {
                error: error.to_owned(),
            },
        },
    };
    let workflow = workflow_id("w");
    let mut told = ReportStep {
        workflow,
        step,
        report,
        server: None,
        instance_id: None,
        attempt: None,
        occurred_at: None,
    };
    for word in words {
        match word.split_at(1) {
            ("#", attempt) => told.attempt = attempt.parse().ok(),
            ("/", instance) => told.instance_id = instance.parse().ok(),
            _ if word == "by" => {}
            _ => told.server = word.parse().ok(),
        }
    }
    told
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            workflows: Workflows::default(),
            servers: Servers::default(),
            policy: Policy::default(),
            now: 1_000,
            log: Vec::new(),
        }
    }

    /// With one workflow, `w`, of these steps.
    pub(super) fn with(steps: &Value) -> Self {
        Self::defined(&json!({"name": "Test", "steps": steps}))
    }

    pub(super) fn defined(definition: &Value) -> Self {
        let mut world = Self::new();
        world
            .command(&Command::StartWorkflow(Box::new(start(definition))))
            .expect("a workflow");
        world
    }

    pub(super) fn decide(&self, command: &Command) -> Result<Vec<NewEvent>, Rejection> {
        let (it, servers, policy, now) = (&self.workflows, &self.servers, &self.policy, self.now);
        let at = Moment {
            wall: now,
            lived: now,
        };
        let decision = match command {
            Command::StartWorkflow(start) => it.start(start, servers, policy, at)?,
            Command::ReportStep(report) => it.report(report, servers, policy, at)?,
            Command::EndWorkflow(end) => it.end(end, servers, policy, at)?,
            Command::StepTimedOut {
                workflow,
                step,
                attempt,
            } => it.step_timed_out(workflow, step, *attempt, servers, now),
            Command::WorkflowTimedOut { workflow } => it.timed_out(workflow, servers, now),
            Command::React(crate::domain::command::Reaction::ReleaseSteps { workflow, server }) => {
                it.release(workflow, server, servers, now)
            }
            other => panic!("no affair of workflows: {other:?}"),
        };
        Ok(decision.events)
    }

    /// Decides, evolves, and says what was appended.
    pub(super) fn command(&mut self, command: &Command) -> Outcome {
        let events = self.decide(command).map_err(|rejection| slug(&rejection))?;
        let kinds = events
            .iter()
            .map(|event| event.data.kind().as_str().to_owned())
            .collect();
        events.into_iter().for_each(|event| self.append(event));
        Ok(kinds)
    }

    pub(super) fn append(&mut self, what: NewEvent) {
        let position = Position {
            epoch: Epoch::from_random(7),
            sequence: self.log.len() as u64 + 1,
        };
        let event = Event {
            position,
            timestamp: self.now,
            what,
        };
        self.workflows
            .evolve(&event, event.timestamp, &ended_by(&event));
        self.workflows.expire(event.timestamp, &self.policy);
        self.log.push(event);
    }

    pub(super) fn report(&mut self, line: &str) -> Outcome {
        self.command(&Command::ReportStep(Box::new(report(line))))
    }

    pub(super) fn end(&mut self, ending: Ending) -> Outcome {
        let end = EndWorkflow {
            workflow: workflow_id("w"),
            ending,
            occurred_at: None,
        };
        self.command(&Command::EndWorkflow(Box::new(end)))
    }

    pub(super) fn step_timed_out(&mut self, step: &str, attempt: u32) -> Outcome {
        self.command(&Command::StepTimedOut {
            workflow: workflow_id("w"),
            step: step_id(step),
            attempt,
        })
    }

    pub(super) fn timed_out(&mut self) -> Outcome {
        self.command(&Command::WorkflowTimedOut {
            workflow: workflow_id("w"),
        })
    }

    /// A server is gone; nothing reacts yet.
    pub(super) fn disconnect(&mut self, server: &str) {
        let id = server_id(server);
        let connection = ConnectionName {
            id: id.clone(),
            name: server.to_owned(),
        };
        let data = ServerDisconnected {
            reason: "deregistered".to_owned(),
            connection,
            last_seen_at: self.now,
            expected: Some(true),
            connected_for_ms: Some(0),
            instance_id: None,
        };
        let data = EventData::ServerDisconnected(data);
        self.append(NewEvent {
            server: Some(id),
            ..NewEvent::new(data)
        });
    }

    /// Carries out what is due because of others, and says what was appended.
    pub(super) fn react(&mut self) -> Vec<String> {
        let mut appended = Vec::new();
        while let Some(reaction) = self.workflows.due_release() {
            appended.extend(
                self.command(&Command::React(reaction))
                    .expect("reactions aren't refused"),
            );
            assert!(appended.len() < 10_000, "a reaction that is always due");
        }
        appended
    }

    pub(super) fn workflow(&self) -> &Workflow {
        self.workflows.get(&workflow_id("w")).expect("the workflow")
    }

    pub(super) fn step(&self, id: &str) -> &Step {
        self.workflow().step(&step_id(id)).expect("the step")
    }

    /// `"a=ready b=pending"`.
    pub(super) fn steps(&self) -> String {
        let words = self
            .workflow()
            .steps()
            .map(|step| format!("{}={}", step.declaration().id, step.status().as_str()));
        words.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn is(&self, id: &str, status: StepStatus, attempt: u32) -> bool {
        (self.step(id).status(), self.step(id).attempt()) == (status, attempt)
    }

    /// The data of the newest event.
    pub(super) fn last(&self) -> Value {
        self.log
            .last()
            .expect("an event")
            .what
            .data
            .to_json()
            .read()
            .expect("JSON")
    }
}

pub(super) fn kinds(words: &[&str]) -> Outcome {
    Ok(words.iter().map(|&word| word.to_owned()).collect())
}

pub(super) fn refused(slug: &str) -> Outcome {
    Err(slug.to_owned())
}

fn slug(rejection: &Rejection) -> String {
    match rejection {
        Rejection::StepConflict { slug, step, .. } => {
            let shown: Value = step.read().expect("JSON");
            assert!(
                shown["status"].is_string(),
                "the problem shows the step: {shown}"
            );
            (*slug).to_owned()
        }
        Rejection::WorkflowExists(_) => "workflow-exists".to_owned(),
        Rejection::WorkflowNotFound(_) => "workflow-not-found".to_owned(),
        Rejection::StepNotFound { .. } => "step-not-found".to_owned(),
        Rejection::WorkflowEnded { .. } => "workflow-ended".to_owned(),
        Rejection::LimitReached { .. } => "limit-reached".to_owned(),
        other => panic!("unexpected: {other:?}"),
    }
}

/// The instance that an event ends: one without a name, as these tests have no others.
pub(super) fn ended_by(event: &Event) -> Vec<Ended> {
    let ends = matches!(event.what.data, EventData::ServerDisconnected(_));
    let ended = Ended {
        instance: None,
        connection: 0,
    };
    ends.then_some(ended).into_iter().collect()
}
