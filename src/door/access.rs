//! What a caller may do and see, once it has shown who it is.

use std::{fmt, sync::Arc};

use crate::{
    domain::{Command, EventType, ServerId, WorkflowId, server::Server},
    filter::Selection,
};

/// What a token lets its holder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Read events and state.
    Read,
    /// Report as a server: register, heartbeats, its steps, its events.
    Report,
    /// Start, steer and end workflows.
    Coordinate,
    /// Everything, patterns included.
    Admin,
}

impl Scope {
    /// All of them, with the word that tokens use.
    pub const ALL: [(&'static str, Self); 4] = [
        ("read", Self::Read),
        ("report", Self::Report),
        ("coordinate", Self::Coordinate),
        ("admin", Self::Admin),
    ];

    /// The scope of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, scope)| *scope)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Report => "report",
            Self::Coordinate => "coordinate",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes. `admin` holds all the others.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether one of these is among them.
    #[must_use]
    pub fn any_of(self, wanted: &[Scope]) -> bool {
        self.0 & Scope::Admin.bit() != 0 || wanted.iter().any(|scope| self.0 & scope.bit() != 0)
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn has(self, scope: Scope) -> bool {
        self.any_of(&[scope])
    }

    /// The names of those that were given.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Scope::ALL
            .iter()
            .filter(move |(_, scope)| self.0 & scope.bit() != 0)
            .map(|(name, _)| *name)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// One caller's rights, for the length of one request or one stream. An extension of every request that
/// comes through the door. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Who it is: stable over requests, so that idempotency keys and limits of two callers never meet.
    pub caller: Arc<str>,
    /// The credential that was shown, as streams know it: they end when it does. 0 where none was asked for.
    pub owner: u64,
    /// What it may do.
    pub scopes: Scopes,
    /// As which servers it may report; `None`: as any.
    pub reports_as: Option<Arc<[ServerId]>>,
    /// What it may read; `None`: everything. For [`crate::filter::Filter::grant`].
    pub grant: Option<Arc<Selection>>,
    /// When its rights end, epoch ms; `None`: never.
    pub expires_at: Option<i64>,
}

/// Why something isn't allowed: the scope that it would take, and what happened in a person's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Denied {
    /// The scope that would allow it, or that is held for other things only.
    pub scope: Scope,
    /// What happened.
    pub detail: String,
}

impl Access {
    /// The rights of everybody on a hub that asks nobody.
    #[must_use]
    pub fn open() -> Self {
        Self {
            caller: "anonymous".into(),
            owner: 0,
            scopes: Scopes::from_iter([Scope::Admin]),
            reports_as: None,
            grant: None,
            expires_at: None,
        }
    }

    /// Whether it may read at all, and everything.
    #[must_use]
    pub fn reads_everything(&self) -> bool {
        self.scopes.has(Scope::Read) && self.grant.as_ref().is_none_or(|grant| grant.is_all())
    }

    /// Whether it may carry out a change. The one place that knows which command takes which right.
    ///
    /// # Errors
    /// [`Denied`] with the scope that it takes.
    pub fn permits(&self, command: &Command) -> Result<(), Denied> {
        match command {
            Command::Register(register) => self.report_as(&register.id),
            Command::Deregister(gone) => self.report_as(&gone.server),
            Command::ChangeHealth(change) => self.report_as(&change.server),
            Command::ReportStep(report) if self.scopes.has(Scope::Coordinate) => {
                self.coordinate(&report.workflow)
            }
            Command::ReportStep(report) => match &report.server {
                Some(server) => self.report_as(server),
                None => Err(Denied {
                    scope: Scope::Coordinate,
                    detail: "a report without a serverId comes from whoever coordinates".to_owned(),
                }),
            },
            Command::StartWorkflow(start) => self.coordinate(&start.id),
            Command::EndWorkflow(end) => self.coordinate(&end.workflow),
            Command::Emit(emit) => match (&emit.server, &emit.workflow) {
                (Some(server), _) => self.report_as(server),
                (None, Some(workflow)) if self.scopes.has(Scope::Coordinate) => {
                    self.coordinate(workflow)
                }
                _ if self.reports_as.is_none() || self.scopes.has(Scope::Admin) => {
                    self.need(Scope::Report)
                }
                _ => Err(Denied {
                    scope: Scope::Report,
                    detail: format!(
                        "name one of your servers as serverId: {}",
                        self.own_servers()
                    ),
                }),
            },
            Command::SwitchPattern(_)
            | Command::StepTimedOut { .. }
            | Command::WorkflowTimedOut { .. }
            | Command::React(_) => self.need(Scope::Admin),
        }
    }

    /// Whether it may speak for a server: registers, heartbeats, reports.
    ///
    /// # Errors
    /// [`Denied`] where it lacks the scope or the server isn't its own.
    pub fn report_as(&self, server: &ServerId) -> Result<(), Denied> {
        self.need(Scope::Report)?;
        let admin = self.scopes.has(Scope::Admin);
        if admin
            || self
                .reports_as
                .as_ref()
                .is_none_or(|own| own.contains(server))
        {
            return Ok(());
        }
        Err(Denied {
            scope: Scope::Report,
            detail: format!(
                "this token reports as {} only, not as {server}",
                self.own_servers()
            ),
        })
    }

    /// Whether it may steer a workflow.
    ///
    /// # Errors
    /// [`Denied`] where it lacks the scope or is held to other workflows.
    pub fn coordinate(&self, workflow: &WorkflowId) -> Result<(), Denied> {
        self.need(Scope::Coordinate)?;
        if self.scopes.has(Scope::Admin) || self.is_held_to(workflow) {
            return Ok(());
        }
        Err(Denied {
            scope: Scope::Coordinate,
            detail: format!("this token is held to other workflows than {workflow}"),
        })
    }

    /// Whether a workflow is among those that it names, where it names some.
    #[must_use]
    pub fn is_held_to(&self, workflow: &WorkflowId) -> bool {
        let named = self.grant.as_ref().map(|grant| &grant.workflows);
        named.is_none_or(|named| named.is_empty() || named.contains(workflow))
    }

    /// Whether it has a scope.
    ///
    /// # Errors
    /// [`Denied`] that names it.
    pub fn need(&self, scope: Scope) -> Result<(), Denied> {
        if self.scopes.has(scope) {
            return Ok(());
        }
        Err(Denied {
            scope,
            detail: format!("this takes the scope {}", scope.as_str()),
        })
    }

    /// Whether it may see a server's state.
    #[must_use]
    pub fn sees_server(&self, server: &Server) -> bool {
        self.grant
            .as_ref()
            .is_none_or(|grant| sees_server(grant, server))
    }

    /// Whether it may see a workflow's state.
    #[must_use]
    pub fn sees_workflow(&self, workflow: &WorkflowId) -> bool {
        self.grant
            .as_ref()
            .is_none_or(|grant| sees_workflow(grant, workflow))
    }

    fn own_servers(&self) -> String {
        let own = self.reports_as.as_deref().unwrap_or_default();
        own.iter()
            .map(ServerId::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Whether a grant shows a server's state: it does where it shows the events that the state came from.
#[must_use]
pub fn sees_server(grant: &Selection, server: &Server) -> bool {
    let has = |tag: &String| {
        tag.split_once(':')
            .is_some_and(|(key, value)| server.tags.get(key).is_some_and(|own| own == value))
    };
    grant.workflows.is_empty()
        && (grant.servers.is_empty() || grant.servers.contains(&server.connection.id))
        && grant.tags.iter().all(has)
        && reads_some(grant, "server_")
}

/// Whether a grant shows a workflow's state: it does where it shows the events that the state came from.
#[must_use]
pub fn sees_workflow(grant: &Selection, workflow: &WorkflowId) -> bool {
    grant.servers.is_empty()
        && grant.tags.is_empty()
        && (grant.workflows.is_empty() || grant.workflows.contains(workflow))
        && reads_some(grant, "workflow_")
}

/// Whether some core type that begins like this may be read.
fn reads_some(grant: &Selection, prefix: &str) -> bool {
    grant.types.is_empty()
        || EventType::CORE.iter().any(|(name, _)| {
            name.starts_with(prefix) && grant.types.iter().any(|pattern| pattern.matches(name))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::command::{
            Deregister, Emit, EndWorkflow, Ending, ReportStep, StepReport, SwitchPattern,
        },
        domain::{Json, StepId},
        filter::TypePattern,
    };

    fn server(id: &str) -> ServerId {
        ServerId::parse(id).unwrap()
    }

    fn workflow(id: &str) -> WorkflowId {
        WorkflowId::parse(id).unwrap()
    }

    fn access(scopes: &[Scope], own: Option<&[&str]>) -> Access {
        let own = own.map(|ids| ids.iter().map(|id| server(id)).collect());
        Access {
            scopes: scopes.iter().copied().collect(),
            reports_as: own,
            ..Access::open()
        }
    }

    fn deregister(id: &str) -> Command {
        Command::Deregister(Deregister {
            server: server(id),
            reason: "deregistered".to_owned(),
            connection: None,
            instance_id: None,
            last_seen_at: None,
            occurred_at: None,
        })
    }

    fn step(by: Option<&str>) -> Command {
        Command::ReportStep(Box::new(ReportStep {
            workflow: workflow("w"),
            step: StepId::parse("s").unwrap(),
            report: StepReport::Running,
            server: by.map(server),
            instance_id: None,
            attempt: None,
            occurred_at: None,
        }))
    }

    fn end(id: &str) -> Command {
        Command::EndWorkflow(Box::new(EndWorkflow {
            workflow: workflow(id),
            ending: Ending::Completed { results: None },
            occurred_at: None,
        }))
    }

    fn emit(by: Option<&str>, about: Option<&str>) -> Command {
        Command::Emit(Box::new(Emit {
            kind: "grades.synced".into(),
            server: by.map(server),
            workflow: about.map(workflow),
            data: Json::parse("{}").unwrap(),
            occurred_at: None,
        }))
    }

    fn switch() -> Command {
        Command::SwitchPattern(SwitchPattern {
            name: "sse_integration".to_owned(),
            enabled: false,
            description: None,
            source: "api",
            occurred_at: None,
        })
    }

    #[test]
    fn each_command_takes_its_right() {
        let read = access(&[Scope::Read], None);
        let report = access(&[Scope::Report], None);
        let report_a = access(&[Scope::Report], Some(&["a"]));
        let coordinate = access(&[Scope::Coordinate], None);
        let admin = access(&[Scope::Admin], Some(&["a"]));
        // In the order: read, report, report as a, coordinate, admin.
        for (command, permitted) in [
            (deregister("a"), [false, true, true, false, true]),
            (deregister("b"), [false, true, false, false, true]),
            (step(Some("a")), [false, true, true, true, true]),
            (step(Some("b")), [false, true, false, true, true]),
            (step(None), [false, false, false, true, true]),
            (end("w"), [false, false, false, true, true]),
            (emit(Some("a"), None), [false, true, true, false, true]),
            (emit(Some("b"), None), [false, true, false, false, true]),
            (emit(None, None), [false, true, false, false, true]),
            (emit(None, Some("w")), [false, true, false, true, true]),
            (switch(), [false, false, false, false, true]),
        ] {
            let found = [&read, &report, &report_a, &coordinate, &admin]
                .map(|access| access.permits(&command).is_ok());
            assert_eq!(found, permitted, "{command:?}");
        }
    }

    #[test]
    fn one_that_is_held_to_a_workflow_steers_no_other() {
        let grant = Selection {
            workflows: vec![workflow("w")],
            ..Selection::default()
        };
        let held = Access {
            grant: Some(Arc::new(grant)),
            ..access(&[Scope::Coordinate], None)
        };
        assert!(held.permits(&end("w")).is_ok());
        assert!(held.permits(&end("v")).is_err());
    }

    #[test]
    fn a_workflows_state_is_seen_where_its_events_are() {
        let narrow = |grant: Selection| Access {
            grant: Some(Arc::new(grant)),
            ..access(&[Scope::Read], None)
        };
        let types = |prefix: &str| Selection {
            types: vec![TypePattern::Prefix(prefix.to_owned())],
            ..Selection::default()
        };
        for (access, sees) in [
            (Access::open(), [true, true]),
            (
                narrow(Selection {
                    servers: vec![server("a")],
                    ..Selection::default()
                }),
                [false, false],
            ),
            (
                narrow(Selection {
                    tags: vec!["site:north".to_owned()],
                    ..Selection::default()
                }),
                [false, false],
            ),
            (
                narrow(Selection {
                    workflows: vec![workflow("w")],
                    ..Selection::default()
                }),
                [true, false],
            ),
            (narrow(types("workflow_")), [true, true]),
            (narrow(types("server_")), [false, false]),
        ] {
            let found = ["w", "v"].map(|id| access.sees_workflow(&workflow(id)));
            assert_eq!(found, sees, "{:?}", access.grant);
            assert_eq!(access.reads_everything(), access.grant.is_none());
        }
    }
}
