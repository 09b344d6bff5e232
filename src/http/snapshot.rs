//! The whole state as of one event, page by page from one consistent cut, however large it is.
//!
//! A narrowed snapshot shows what the stream of the same filter keeps up to date: with `serverId` or `tag`
//! those servers, and the workflows that have a step of theirs; with `workflowId` alone those workflows and
//! no servers. Patterns and the numbers are always whole. Types never narrow it.

mod frames;
mod whole;

use std::sync::Arc;

use axum::{extract::State as Shared, response::Response};
use serde::Serialize;

pub use self::frames::Frames;
pub(super) use self::frames::{Plans, within};
use self::whole::Whole;
use super::{
    App,
    gate::Guest,
    pieces::ALL,
    problem::Problem,
    status::StatusView,
    text::{Looked, Text, look},
};
use crate::{
    domain::{
        Position, ServerId, State, WorkflowId,
        event::{Health, Pattern},
        server::{Server, ServerView},
        workflow::{Workflow, WorkflowView},
    },
    door::Access,
    filter::{Selection, query::Query},
};

/// One consistent cut of the state, narrowed by a filter.
pub struct Snapshot {
    app: App,
    state: Arc<State>,
    access: Access,
    query: Selection,
    stats: StatusView,
}

/// The whole state, as `GET /snapshot` answers it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SnapshotView {
    /// The place that it stands at: `/events?lastEventId=` goes on from there.
    #[schema(value_type = String, example = "k3x9q1m2v7za-42")]
    pub id: Position,
    /// The sequence number of the last event that it takes in.
    #[schema(example = 42)]
    pub sequence: u64,
    /// The integration's status.
    pub status: Health,
    /// Servers, in order of their ids.
    pub servers: Vec<ServerView>,
    /// Workflows, in order of their ids.
    pub workflows: Vec<WorkflowView>,
    /// Patterns, in order of their names.
    #[schema(value_type = Vec<Pattern>)]
    pub patterns: Vec<Arc<Pattern>>,
    /// The whole in numbers.
    pub stats: StatusView,
}

impl Snapshot {
    /// Cuts the state as it is now.
    #[must_use]
    pub fn take(app: &App, access: Access, query: Selection) -> Self {
        let state = app.hub.state();
        let stats = StatusView::of(app, &state, &access);
        Self {
            app: app.clone(),
            state,
            access,
            query,
            stats,
        }
    }

    /// The same off the threads that serve others, where it takes a while: what a narrowed reader may count takes a look at
    /// everything.
    pub(super) async fn cut(app: &App, access: Access, query: Selection) -> Result<Self, Problem> {
        if access.reads_everything() {
            return Ok(Self::take(app, access, query));
        }
        let cut = app.clone();
        app.makers()
            .turn(ALL, move || Self::take(&cut, access, query))
            .await
    }

    /// The place that it stands at.
    #[must_use]
    pub fn id(&self) -> Position {
        self.stats.last_event_id
    }

    /// Whether it is the whole state, as everybody sees it who may read everything.
    fn is_whole(&self) -> bool {
        self.access.reads_everything() && self.query == Selection::default()
    }

    fn wants_server(&self, server: &Server) -> bool {
        let selection = &self.query;
        let by_server = !selection.servers.is_empty() || !selection.tags.is_empty();
        (selection.workflows.is_empty() || by_server)
            && self.access.sees_server(server)
            && self.is_selected(&server.connection.id)
    }

    fn wants_workflow(&self, workflow: &Workflow) -> bool {
        let selection = &self.query;
        let by_server = !selection.servers.is_empty() || !selection.tags.is_empty();
        let is_named = selection.workflows.is_empty() || selection.workflows.contains(&workflow.id);
        let is_seen = self.access.sees_workflow(&workflow.id);
        is_named
            && is_seen
            && (!by_server
                || workflow
                    .steps()
                    .any(|step| step.servers().any(|server| self.is_selected(server))))
    }

    /// Whether the query wants this server. Tags of one that may not be seen are no tags: which servers have them
    /// could be asked one by one.
    fn is_selected(&self, id: &ServerId) -> bool {
        let selection = &self.query;
        (selection.servers.is_empty() || selection.servers.contains(id))
            && (selection.tags.is_empty() || {
                let server = self.state.servers.get(id);
                let seen = server.filter(|server| self.access.sees_server(server));
                seen.is_some_and(|server| {
                    selection.tags.iter().all(|tag| {
                        tag.split_once(':').is_some_and(|(key, value)| {
                            server.tags.get(key).is_some_and(|own| own == value)
                        })
                    })
                })
            })
    }
}

/// A thing of the cut.
#[derive(Clone)]
pub(super) enum Item {
    Pattern(Arc<Pattern>),
    Server(Arc<ServerView>),
    Workflow(Arc<Workflow>),
}

/// The lists of a cut, in the order of the walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Patterns,
    Servers,
    Workflows,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            Self::Patterns => "patterns",
            Self::Servers => "servers",
            Self::Workflows => "workflows",
        }
    }

    fn next(self) -> Option<Self> {
        match self {
            Self::Patterns => Some(Self::Servers),
            Self::Servers => Some(Self::Workflows),
            Self::Workflows => None,
        }
    }
}

impl Item {
    fn list(&self) -> List {
        match self {
            Self::Pattern(_) => List::Patterns,
            Self::Server(_) => List::Servers,
            Self::Workflow(_) => List::Workflows,
        }
    }
}

/// A walk through the things of a cut.
struct Walk(Stage);

enum Stage {
    Patterns(std::vec::IntoIter<Arc<Pattern>>),
    Servers(Option<ServerId>),
    Workflows(Option<WorkflowId>),
}

/// What the walk meets.
enum Met {
    /// A thing.
    One(Item),
    /// Nothing yet, after a while.
    Later,
    /// The end.
    End,
}

impl Walk {
    fn through(snapshot: &Snapshot) -> Self {
        let patterns = snapshot.state.patterns.iter();
        let seen = patterns.filter_map(|pattern| snapshot.access.shows_pattern(pattern));
        Self(Stage::Patterns(seen.collect::<Vec<_>>().into_iter()))
    }

    fn meet(&mut self, snapshot: &Snapshot) -> Met {
        if let Stage::Patterns(rest) = &mut self.0 {
            match rest.next() {
                Some(pattern) => return Met::One(Item::Pattern(pattern)),
                None => self.0 = Stage::Servers(None),
            }
        }
        let state = &snapshot.state;
        if let Stage::Servers(after) = &mut self.0 {
            let is_wanted = |server: &Arc<Server>| snapshot.wants_server(server);
            match look(state.servers.after(after.as_ref()), is_wanted) {
                Looked::At(server) => {
                    *after = Some(server.connection.id.clone());
                    let view = super::servers::view(&snapshot.app, server);
                    return Met::One(Item::Server(Arc::new(view)));
                }
                Looked::Tired(server) => {
                    *after = Some(server.connection.id.clone());
                    return Met::Later;
                }
                Looked::Nothing => self.0 = Stage::Workflows(None),
            }
        }
        let Stage::Workflows(after) = &mut self.0 else {
            return Met::End;
        };
        let is_wanted = |workflow: &Arc<Workflow>| snapshot.wants_workflow(workflow);
        match look(state.workflows.after(after.as_ref()), is_wanted) {
            Looked::At(workflow) => {
                *after = Some(workflow.id.clone());
                Met::One(Item::Workflow(workflow.clone()))
            }
            Looked::Tired(workflow) => {
                *after = Some(workflow.id.clone());
                Met::Later
            }
            Looked::Nothing => Met::End,
        }
    }
}

/// The whole state as of one event
///
/// One consistent cut; its `id` can be given to `/events?lastEventId=`, which goes on with the first change after it.
#[utoipa::path(
    get,
    path = "/snapshot",
    tag = "state",
    params(
        ("serverId" = Option<String>, Query, description = "Only these servers, and workflows with steps of theirs"),
        ("workflowId" = Option<String>, Query, description = "Only these workflows"),
        ("tag" = Option<String>, Query, description = "Only servers with this tag, `key:value`; repeated means all"),
    ),
    responses((status = 200, body = SnapshotView))
)]
pub(super) async fn snapshot(
    Shared(app): Shared<App>,
    guest: Guest,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&[], &["serverId", "workflowId", "tag"])?;
    let selection = Selection::parse(&query)?;
    let snapshot = Snapshot::cut(&app, guest.shown.access, selection).await?;
    app.makers().json(Text::of(Whole::of(snapshot))).await
}
