//! What a caller may see of an answer: the one place that lists, single things, answers to changes and problems ask.
//!
//! A thing's state is shown to whoever may read every event that it comes from, and is as good as not there for
//! others. Whoever can't read a thing that it changes gets back what it said itself, and the bare bones that it needs
//! to go on: ids, how far it is, the attempt, warnings about its own body. What isn't listed here as a bone is held back,
//! new members included.

use std::sync::Arc;

use super::access::{Access, Scope};
use crate::{
    domain::{
        Command, EventType, Json, ServerId, Told, WorkflowId,
        command::{Ending, StepReport},
        event::{Pattern, Tags},
        json::{JsonRef, Members},
        pattern::BUILT_IN,
        server::Server,
        workflow::StepView,
    },
    filter::Selection,
};

/// Of a step that somebody may not read, where its state stands in the way.
const STRANGERS_STEP: [&str; 4] = ["id", "workflowId", "status", "attempt"];

/// Of a step that somebody reports on or steers.
const STEP: [&str; 15] = [
    "warnings",
    "id",
    "workflowId",
    "name",
    "server",
    "serverId",
    "tool",
    "dependsOn",
    "required",
    "timeout",
    "retries",
    "status",
    "attempt",
    "startedAt",
    "endedAt",
];

/// Of a workflow that somebody steers.
const WORKFLOW: [&str; 11] = [
    "warnings",
    "id",
    "name",
    "description",
    "status",
    "reason",
    "startedAt",
    "endedAt",
    "completedSteps",
    "totalSteps",
    "steps",
];

/// Of a server that somebody speaks for: what it says of itself, and whether it is watched.
const SERVER: [&str; 12] = [
    "warnings",
    "id",
    "name",
    "status",
    "health",
    "lastSeenAt",
    "dueAt",
    "missedHeartbeats",
    "heartbeatIntervalMs",
    "connectedAt",
    "connection",
    "tags",
];

impl Access {
    /// Whether it may read at all, and everything.
    #[must_use]
    pub fn reads_everything(&self) -> bool {
        self.scopes.has(Scope::Read) && self.grant.as_ref().is_none_or(|grant| grant.is_all())
    }

    /// Whether it may see a server's state.
    #[must_use]
    pub fn sees_server(&self, server: &Server) -> bool {
        self.sees_server_of(&server.connection.id, &server.tags)
    }

    fn sees_server_of(&self, id: &ServerId, tags: &Tags) -> bool {
        self.reads(|grant| shows_server(grant, id, tags))
    }

    /// Whether it may see a workflow's state.
    #[must_use]
    pub fn sees_workflow(&self, workflow: &WorkflowId) -> bool {
        self.reads(|grant| shows_workflow(grant, workflow))
    }

    /// The workflows whose state it may see; `None`: all.
    #[must_use]
    pub fn seen_workflows(&self) -> Option<&[WorkflowId]> {
        let Some(grant) = self.grant.as_deref() else {
            return if self.scopes.has(Scope::Read) {
                None
            } else {
                Some(&[])
            };
        };
        if !(self.scopes.has(Scope::Read) && shows_workflows(grant)) {
            return Some(&[]);
        }
        self.held_to()
    }

    /// A pattern as it may be seen. Which of the built-in ones are on is everybody's affair; others, and what somebody
    /// wrote of one, are as visible as the events that tell of them.
    #[must_use]
    pub fn shows_pattern(&self, pattern: &Arc<Pattern>) -> Option<Arc<Pattern>> {
        if self.reads(shows_patterns) {
            return Some(pattern.clone());
        }
        let (name, description, _) = BUILT_IN.iter().find(|built| built.0 == pattern.name)?;
        Some(Arc::new(Pattern {
            name: (*name).to_owned(),
            description: (*description).to_owned(),
            enabled: pattern.enabled,
        }))
    }

    /// A step that waits for a server, or is its own, as somebody may see it who may speak for that server: the work,
    /// without what came of it.
    #[must_use]
    pub fn shows_work(&self, step: StepView) -> StepView {
        if self.sees_workflow(&step.workflow_id) {
            return step;
        }
        StepView {
            result: None,
            error: None,
            ..step
        }
    }

    /// What the answer to a change may show.
    #[must_use]
    pub fn sight_of(&self, command: &Command) -> Sight {
        if self.reads_everything() {
            return Sight::Whole;
        }
        let (whole, part) = match command {
            Command::Register(register) => (
                self.sees_server_of(&register.id, &register.tags),
                Part::Server {
                    instance: register.instance_id.is_some(),
                },
            ),
            Command::StartWorkflow(start) => (
                self.sees_workflow(&start.id),
                Part::Workflow {
                    started: true,
                    error: None,
                },
            ),
            Command::EndWorkflow(end) => {
                let error = match &end.ending {
                    Ending::Failed { error, .. } => Some(error.clone()),
                    Ending::Cancelled { reason } => reason.clone(),
                    Ending::Completed { .. } => None,
                };
                let started = false;
                (
                    self.sees_workflow(&end.workflow),
                    Part::Workflow { started, error },
                )
            }
            Command::ReportStep(report) => (
                self.sees_workflow(&report.workflow),
                Part::Step(report.report.clone()),
            ),
            // These answer with ids, or nothing; patterns are for those who hold the whole hub.
            _ => return Sight::Whole,
        };
        if whole {
            Sight::Whole
        } else {
            Sight::Part(Box::new(part))
        }
    }

    fn reads(&self, shows: impl FnOnce(&Selection) -> bool) -> bool {
        self.scopes.has(Scope::Read) && self.grant.as_deref().is_none_or(shows)
    }
}

/// What one caller sees of what a change is answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    /// All of it.
    Whole,
    /// What it said itself, and bones.
    Part(Box<Part>),
}

/// What a change was about, and what its caller said in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A server that described itself.
    Server {
        /// It said which run of it this is.
        instance: bool,
    },
    /// A workflow, with its definition where it was started, and the error that was told.
    Workflow {
        /// It was started, so that the definition is the caller's own.
        started: bool,
        /// What the caller said of its end.
        error: Option<String>,
    },
    /// A step, and what was said of it.
    Step(StepReport),
}

impl Sight {
    /// What a change is answered with, as it may be shown.
    #[must_use]
    pub fn shown(&self, told: Told) -> Told {
        match self {
            Self::Whole => told,
            // What came of a workflow's steps is in no part.
            Self::Part(_) => Told::Text(self.narrow(told.without_results())),
        }
    }

    /// The answer's body as it may be shown. One that can't be read is held back.
    fn narrow(&self, body: Json) -> Json {
        let Self::Part(part) = self else {
            return body;
        };
        let Some(members) = body.root().members() else {
            return Json::empty_object();
        };
        let mut body = Members::of(members);
        part.narrow(&mut body);
        Json::of(&body)
    }
}

impl Part {
    fn narrow(&self, body: &mut Members) {
        match self {
            Self::Server { instance } => {
                body.retain(|name, _| SERVER.contains(&name));
                body.change("connection", |connection| {
                    let mut connection = Members::of(connection.members().unwrap_or_default());
                    connection.retain(|name, _| *instance || name != "instanceId");
                    Json::of(&connection)
                });
            }
            Self::Workflow { started, error } => {
                body.retain(|name, value| match name {
                    "definition" => *started,
                    "error" => is_said(value, error.as_deref()),
                    _ => WORKFLOW.contains(&name),
                });
                body.change("steps", |steps| {
                    let steps = steps.items().into_iter().flatten();
                    let narrowed = steps.map(|step| {
                        let mut step = Members::of(step.members().unwrap_or_default());
                        step.retain(|name, _| {
                            STEP.contains(&name) || (*started && name == "params")
                        });
                        step
                    });
                    Json::of(&narrowed.collect::<Vec<_>>())
                });
            }
            Self::Step(report) => body.retain(|name, value| match (name, report) {
                // What is to be done, and what was said.
                ("params", StepReport::Running) | ("result", StepReport::Completed { .. }) => true,
                ("error", StepReport::Failed { error }) => is_said(value, Some(error)),
                _ => STEP.contains(&name),
            }),
        }
    }
}

/// What a step's state may show to somebody whose report it stands against, and who may not read it.
#[must_use]
pub fn strangers_step(step: &Json) -> Json {
    let mut step = Members::of(step.root().members().unwrap_or_default());
    step.retain(|name, _| STRANGERS_STEP.contains(&name));
    Json::of(&step)
}

fn is_said(value: JsonRef<'_>, said: Option<&str>) -> bool {
    said.is_some() && value.text().as_deref() == said
}

/// Whether a grant shows a server's state: it does where it shows every event that the state comes from.
fn shows_server(grant: &Selection, id: &ServerId, tags: &Tags) -> bool {
    let has = |tag: &String| {
        tag.split_once(':')
            .is_some_and(|(key, value)| tags.get(key).is_some_and(|own| own == value))
    };
    grant.workflows.is_empty()
        && (grant.servers.is_empty() || grant.servers.contains(id))
        && grant.tags.iter().all(has)
        && reads_all(grant, "server_")
}

/// Whether a grant shows a workflow's state: it does where it shows every event that the state comes from.
fn shows_workflow(grant: &Selection, workflow: &WorkflowId) -> bool {
    shows_workflows(grant) && (grant.workflows.is_empty() || grant.workflows.contains(workflow))
}

fn shows_workflows(grant: &Selection) -> bool {
    grant.servers.is_empty() && grant.tags.is_empty() && reads_all(grant, "workflow_")
}

fn shows_patterns(grant: &Selection) -> bool {
    grant.servers.is_empty()
        && grant.tags.is_empty()
        && grant.workflows.is_empty()
        && reads_all(grant, "pattern_")
}

/// Whether every core type that begins like this may be read. One is not enough: a server's URL is told by
/// `server_connected`, and not for a reader of `server_health_changed`.
fn reads_all(grant: &Selection, prefix: &str) -> bool {
    let mut kinds = EventType::CORE
        .iter()
        .filter(|(name, _)| name.starts_with(prefix));
    grant.types.is_empty()
        || kinds.all(|(name, _)| grant.types.iter().any(|pattern| pattern.matches(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{door::access::Scopes, filter::TypePattern};

    fn workflow(id: &str) -> WorkflowId {
        WorkflowId::parse(id).unwrap()
    }

    fn narrow(scope: Scope, grant: Selection) -> Access {
        Access {
            scopes: Scopes::from_iter([scope]),
            grant: Some(Arc::new(grant)),
            ..Access::open()
        }
    }

    fn types(names: &[&str]) -> Selection {
        let pattern = |name: &&str| match name.strip_suffix('*') {
            Some(prefix) => TypePattern::Prefix(prefix.to_owned()),
            None => TypePattern::Exact((*name).to_owned()),
        };
        Selection {
            types: names.iter().map(pattern).collect(),
            ..Selection::default()
        }
    }

    #[test]
    fn a_things_state_is_seen_where_all_of_its_events_are() {
        let by_server = Selection {
            servers: vec![ServerId::parse("a").unwrap()],
            ..Selection::default()
        };
        let by_tag = Selection {
            tags: vec!["site:north".to_owned()],
            ..Selection::default()
        };
        let by_workflow = Selection {
            workflows: vec![workflow("w")],
            ..Selection::default()
        };
        let north = Tags::from_iter([("site".to_owned(), "north".to_owned())]);
        // In the order: workflow w, workflow v, server a without tags, server b in the north.
        for (access, sees) in [
            (Access::open(), [true; 4]),
            (narrow(Scope::Read, by_server), [false, false, true, false]),
            (narrow(Scope::Read, by_tag), [false, false, false, true]),
            (
                narrow(Scope::Read, by_workflow.clone()),
                [true, false, false, false],
            ),
            (
                narrow(Scope::Read, types(&["workflow_*"])),
                [true, true, false, false],
            ),
            (
                narrow(Scope::Read, types(&["workflow_completed"])),
                [false; 4],
            ),
            (
                narrow(Scope::Read, types(&["server_health_changed"])),
                [false; 4],
            ),
            (
                narrow(Scope::Read, types(&["server_*"])),
                [false, false, true, true],
            ),
            (narrow(Scope::Report, by_workflow), [false; 4]),
        ] {
            let workflows = ["w", "v"].map(|id| access.sees_workflow(&workflow(id)));
            let a = access.sees_server_of(&ServerId::parse("a").unwrap(), &Tags::default());
            let b = access.sees_server_of(&ServerId::parse("b").unwrap(), &north);
            let found = [workflows[0], workflows[1], a, b];
            assert_eq!(found, sees, "{:?} {:?}", access.scopes, access.grant);
            let listed = ["w", "v"].map(|id| {
                let seen = access.seen_workflows();
                seen.is_none_or(|seen| seen.contains(&workflow(id)))
            });
            assert_eq!(listed, workflows, "{:?} {:?}", access.scopes, access.grant);
        }
    }

    #[test]
    fn whoever_cant_read_gets_back_what_it_said() {
        let step = json!({
            "id": "s", "workflowId": "w", "status": "completed", "attempt": 2, "params": {"x": 1}, "result": 7,
            "error": "theirs", "fresh": "held back",
        });
        let narrowed = |report: StepReport| {
            let sight = Sight::Part(Box::new(Part::Step(report)));
            sight.narrow(Json::of(&step)).read::<Value>().unwrap()
        };
        let bones = json!({"id": "s", "workflowId": "w", "status": "completed", "attempt": 2});
        let with = |name: &str, value: Value| {
            let mut whole = bones.clone();
            whole[name] = value;
            whole
        };
        let failed = |error: &str| StepReport::Failed {
            error: error.to_owned(),
        };
        assert_eq!(
            narrowed(StepReport::Running),
            with("params", json!({"x": 1}))
        );
        assert_eq!(
            narrowed(StepReport::Completed { result: None }),
            with("result", json!(7))
        );
        assert_eq!(narrowed(failed("mine")), bones);
        assert_eq!(narrowed(failed("theirs")), with("error", json!("theirs")));
        assert_eq!(strangers_step(&Json::of(&step)), Json::of(&bones));
    }

    #[test]
    fn what_somebody_wrote_of_a_pattern_is_as_visible_as_its_events() {
        let pattern = |name: &str| {
            Arc::new(Pattern {
                name: name.to_owned(),
                description: "secret".to_owned(),
                enabled: true,
            })
        };
        let held = narrow(Scope::Read, types(&["server_*"]));
        assert_eq!(held.shows_pattern(&pattern("mine")), None);
        let built_in = held.shows_pattern(&pattern("server_chaining")).unwrap();
        assert!(built_in.enabled && built_in.description != "secret");
        let reader = narrow(Scope::Read, types(&["pattern_*"]));
        assert!(reader.shows_pattern(&pattern("mine")).is_some());
    }
}
