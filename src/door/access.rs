//! What a caller may do and see, once it has shown who it is.

use std::{fmt, sync::Arc};

use crate::{
    domain::{Command, ServerId, WorkflowId},
    filter::Selection,
};

/// Own servers that a refusal names: a token may have a thousand.
const TOLD: usize = 10;

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
    /// What people call it: the key's name or the token's subject, which its changes carry as `by`; never a secret.
    /// `None` where nobody is asked.
    pub name: Option<Arc<str>>,
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
            name: None,
            owner: 0,
            scopes: Scopes::from_iter([Scope::Admin]),
            reports_as: None,
            grant: None,
            expires_at: None,
        }
    }

    /// Whether it may carry out a change. The one place that knows which command takes which right. Whatever a
    /// command names must be among what the caller is held to, whatever its scopes.
    ///
    /// # Errors
    /// [`Denied`] with the scope that it takes.
    pub fn permits(&self, command: &Command) -> Result<(), Denied> {
        match command {
            Command::Register(register) => self.report_as(&register.id),
            Command::Deregister(gone) => self.report_as(&gone.server),
            Command::ChangeHealth(change) => self.report_as(&change.server),
            Command::HearProbe(heard) => self.report_as(&heard.server),
            Command::ReportStep(report) => match &report.server {
                // Whoever coordinates reports steps for anybody that it may name.
                Some(server) if self.scopes.has(Scope::Coordinate) => {
                    self.coordinate(&report.workflow)?;
                    self.speaks_for(server, Scope::Coordinate)
                }
                Some(server) => {
                    self.report_as(server)?;
                    self.within(&report.workflow, Scope::Report)
                }
                None if self.scopes.has(Scope::Coordinate) => self.coordinate(&report.workflow),
                None => Err(Denied {
                    scope: Scope::Coordinate,
                    detail: "a report without a serverId comes from whoever coordinates".to_owned(),
                }),
            },
            Command::StartWorkflow(start) => {
                self.coordinate(&start.id)?;
                // Its event would stand in the server's name.
                match &start.server {
                    Some(server) => self.report_as(server),
                    None => Ok(()),
                }
            }
            Command::EndWorkflow(end) => self.coordinate(&end.workflow),
            Command::Emit(emit) => {
                if let Some(workflow) = &emit.workflow {
                    self.within(workflow, Scope::Report)?;
                }
                match (&emit.server, &emit.workflow) {
                    (Some(server), _) => self.report_as(server),
                    (None, Some(workflow)) if self.scopes.has(Scope::Coordinate) => {
                        self.coordinate(workflow)
                    }
                    _ if self.reports_as.is_none() => self.need(Scope::Report),
                    _ => Err(Denied {
                        scope: Scope::Report,
                        detail: format!(
                            "name one of your servers as serverId: {}",
                            self.own_servers()
                        ),
                    }),
                }
            }
            Command::SwitchPattern(_)
            | Command::StepTimedOut { .. }
            | Command::WorkflowTimedOut { .. }
            | Command::React(_) => {
                self.need(Scope::Admin)?;
                if self.reports_as.is_none() && self.grant.is_none() {
                    return Ok(());
                }
                Err(Denied {
                    scope: Scope::Admin,
                    detail: "this is about the whole hub, and the token is held to a part of it"
                        .to_owned(),
                })
            }
        }
    }

    /// Whether it may speak for a server: registers, heartbeats, reports.
    ///
    /// # Errors
    /// [`Denied`] where it lacks the scope or the server isn't its own.
    pub fn report_as(&self, server: &ServerId) -> Result<(), Denied> {
        self.need(Scope::Report)?;
        self.speaks_for(server, Scope::Report)
    }

    /// Whether it may steer a workflow.
    ///
    /// # Errors
    /// [`Denied`] where it lacks the scope or is held to other workflows.
    pub fn coordinate(&self, workflow: &WorkflowId) -> Result<(), Denied> {
        self.need(Scope::Coordinate)?;
        self.within(workflow, Scope::Coordinate)
    }

    /// The workflows that it is held to; `None`: none in particular.
    #[must_use]
    pub fn held_to(&self) -> Option<&[WorkflowId]> {
        let named = self.grant.as_ref().map(|grant| grant.workflows.as_slice());
        named.filter(|named| !named.is_empty())
    }

    /// Whether a workflow is among those that it names, where it names some.
    #[must_use]
    pub fn is_held_to(&self, workflow: &WorkflowId) -> bool {
        self.held_to().is_none_or(|own| own.contains(workflow))
    }

    fn within(&self, workflow: &WorkflowId, scope: Scope) -> Result<(), Denied> {
        if self.is_held_to(workflow) {
            return Ok(());
        }
        Err(Denied {
            scope,
            detail: format!("this token is held to other workflows than {workflow}"),
        })
    }

    fn speaks_for(&self, server: &ServerId, scope: Scope) -> Result<(), Denied> {
        if self
            .reports_as
            .as_ref()
            .is_none_or(|own| own.contains(server))
        {
            return Ok(());
        }
        Err(Denied {
            scope,
            detail: format!(
                "this token reports as {} only, not as {server}",
                self.own_servers()
            ),
        })
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

    fn own_servers(&self) -> String {
        let own = self.reports_as.as_deref().unwrap_or_default();
        let told = own.iter().take(TOLD).map(ServerId::as_str);
        let told = told.collect::<Vec<_>>().join(", ");
        match own.len().saturating_sub(TOLD) {
            0 => told,
            more => format!("{told} and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::command::{
            Deregister, Emit, EndWorkflow, Ending, ReportStep, StartWorkflow, StepReport,
            SwitchPattern,
        },
        domain::{Json, StepId},
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
            expected: None,
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

    fn start(by: Option<&str>) -> Command {
        let body = serde_json::json!({"id": "w", "name": "w", "steps": ["s"]});
        let start = StartWorkflow::parse(Json::of(&body).root(), "", || workflow("w")).unwrap();
        Command::StartWorkflow(Box::new(StartWorkflow {
            server: by.map(server),
            ..start
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
        let admin = access(&[Scope::Admin], None);
        let admin_a = access(&[Scope::Admin], Some(&["a"]));
        // In the order: read, report, report as a, coordinate, admin, admin held to a.
        for (command, permitted) in [
            (deregister("a"), [false, true, true, false, true, true]),
            (deregister("b"), [false, true, false, false, true, false]),
            (step(Some("a")), [false, true, true, true, true, true]),
            (step(Some("b")), [false, true, false, true, true, false]),
            (step(None), [false, false, false, true, true, true]),
            (end("w"), [false, false, false, true, true, true]),
            (start(None), [false, false, false, true, true, true]),
            (start(Some("a")), [false, false, false, false, true, true]),
            (start(Some("b")), [false, false, false, false, true, false]),
            (
                emit(Some("a"), None),
                [false, true, true, false, true, true],
            ),
            (
                emit(Some("b"), None),
                [false, true, false, false, true, false],
            ),
            (emit(None, None), [false, true, false, false, true, false]),
            (
                emit(None, Some("w")),
                [false, true, false, true, true, true],
            ),
            (switch(), [false, false, false, false, true, false]),
        ] {
            let found = [&read, &report, &report_a, &coordinate, &admin, &admin_a]
                .map(|access| access.permits(&command).is_ok());
            assert_eq!(found, permitted, "{command:?}");
        }
    }

    #[test]
    fn a_refusal_names_a_few_of_many_servers() {
        let ids: Vec<String> = (0..1000).map(|n| format!("s{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let refused = access(&[Scope::Report], Some(&ids)).permits(&deregister("b"));
        let told = refused.unwrap_err().detail;
        assert!(
            told.contains("s9 and 990 more") && told.len() < 200,
            "{told}"
        );
    }

    #[test]
    fn one_that_is_held_to_a_workflow_touches_no_other() {
        let grant = Selection {
            workflows: vec![workflow("w")],
            ..Selection::default()
        };
        let held = |scope| Access {
            grant: Some(Arc::new(grant.clone())),
            ..access(&[scope], None)
        };
        for scope in [Scope::Coordinate, Scope::Admin] {
            assert!(held(scope).permits(&end("w")).is_ok());
            assert!(held(scope).permits(&end("v")).is_err());
        }
        let reporter = held(Scope::Report);
        let claim = |id: &str| match step(Some("a")) {
            Command::ReportStep(report) => Command::ReportStep(Box::new(ReportStep {
                workflow: workflow(id),
                ..*report
            })),
            other => other,
        };
        assert!(reporter.permits(&claim("w")).is_ok());
        assert!(reporter.permits(&claim("v")).is_err());
        assert!(reporter.permits(&emit(Some("a"), Some("w"))).is_ok());
        assert!(reporter.permits(&emit(Some("a"), Some("v"))).is_err());
        assert!(reporter.permits(&emit(None, Some("v"))).is_err());
        assert!(reporter.permits(&deregister("a")).is_ok());
    }
}
