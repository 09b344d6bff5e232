//! The whole state as of one event, page by page from one consistent cut, however large it is.
//!
//! A narrowed snapshot shows what the stream of the same filter keeps up to date: with `serverId` or `tag`
//! those servers, and the workflows that have a step of theirs; with `workflowId` alone those workflows and
//! no servers. Patterns and the numbers are always whole. Types never narrow it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State as Shared,
    http::{HeaderValue, header::CACHE_CONTROL, header::CONTENT_TYPE},
    response::Response,
};
use bytes::Bytes;
use serde::Serialize;

use super::{App, gate::Guest, problem::Problem, status::StatusView};
use crate::{
    domain::{
        Json, Position, ServerId, State, WorkflowId,
        event::{Health, Pattern},
        server::{Server, ServerView},
        workflow::{Workflow, WorkflowView},
    },
    door::Access,
    filter::{Selection, query::Query},
};

/// Servers or workflows per page: about as much JSON as is worth one write.
const PAGE: usize = 200;

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

    /// The place that it stands at.
    #[must_use]
    pub fn id(&self) -> Position {
        self.stats.last_event_id
    }

    /// The snapshot as the data of one or more `snapshot` frames, `{part, parts, id, sequence, servers, workflows,
    /// patterns, …}`: lists are to be joined, what isn't a list stands in the first part (`id` and `sequence`
    /// in each). Made lazily: at most one part is in memory.
    pub fn parts(self) -> impl Iterator<Item = Bytes> + Send {
        let servers = self
            .state
            .servers
            .after(None)
            .filter(|server| self.wants_server(server));
        let workflows = self
            .state
            .workflows
            .after(None)
            .filter(|workflow| self.wants_workflow(workflow));
        let parts = (servers.count().div_ceil(PAGE) + workflows.count().div_ceil(PAGE)).max(1);
        let mut pages = Pages {
            snapshot: self,
            stage: Stage::Servers(None),
        };
        (1..=parts).map(move |part| {
            let (servers, workflows) = loop {
                match pages.next_page() {
                    Some(Page::Servers(servers)) if !servers.is_empty() => {
                        break (servers, Vec::new());
                    }
                    Some(Page::Workflows(workflows)) if !workflows.is_empty() => {
                        break (Vec::new(), workflows);
                    }
                    Some(_) => {}
                    None => break (Vec::new(), Vec::new()),
                }
            };
            let snapshot = &pages.snapshot;
            let first = part == 1;
            let part = Part {
                part,
                parts,
                id: snapshot.id(),
                sequence: snapshot.state.sequence,
                status: first.then_some(snapshot.stats.status),
                servers,
                workflows,
                patterns: if first {
                    snapshot.patterns()
                } else {
                    Vec::new()
                },
                stats: first.then_some(&snapshot.stats),
            };
            Bytes::from(Json::of(&part).as_str().to_owned())
        })
    }

    /// The snapshot as one JSON object, in pieces.
    fn pieces(self) -> impl Iterator<Item = Bytes> + Send {
        let head = format!(
            r#"{{"id":"{}","sequence":{},"status":{},"patterns":{},"stats":{},"servers":["#,
            self.id(),
            self.state.sequence,
            Json::of(&self.stats.status).as_str(),
            Json::of(&self.patterns()).as_str(),
            Json::of(&self.stats).as_str(),
        );
        let mut pages = Pages {
            snapshot: self,
            stage: Stage::Servers(None),
        };
        let (mut in_workflows, mut first) = (false, true);
        let body = std::iter::from_fn(move || {
            let page = pages.next_page()?;
            let mut out = String::new();
            if matches!(page, Page::Workflows(_)) && !in_workflows {
                (in_workflows, first) = (true, true);
                out.push_str("],\"workflows\":[");
            }
            match page {
                Page::Servers(servers) => push_all(&mut out, &servers, &mut first),
                Page::Workflows(workflows) => push_all(&mut out, &workflows, &mut first),
            }
            Some(Bytes::from(out))
        });
        std::iter::once(Bytes::from(head))
            .chain(body)
            .chain(std::iter::once(Bytes::from_static(b"]}")))
    }

    fn patterns(&self) -> Vec<Arc<Pattern>> {
        let patterns = self.state.patterns.iter();
        let seen = patterns.filter_map(|pattern| self.access.shows_pattern(pattern));
        seen.collect()
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
                || workflow.view().steps.iter().any(|step| {
                    [&step.server, &step.server_id]
                        .into_iter()
                        .flatten()
                        .any(|server| self.is_selected(server))
                }))
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

fn push_all<T: Serialize>(out: &mut String, things: &[T], first: &mut bool) {
    for thing in things {
        if !std::mem::take(first) {
            out.push(',');
        }
        out.push_str(Json::of(thing).as_str());
    }
}

/// One frame's data.
#[derive(Serialize)]
struct Part<'a> {
    part: usize,
    parts: usize,
    id: Position,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Health>,
    servers: Vec<ServerView>,
    workflows: Vec<WorkflowView>,
    patterns: Vec<Arc<Pattern>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<&'a StatusView>,
}

/// Walks through the cut.
struct Pages {
    snapshot: Snapshot,
    stage: Stage,
}

enum Stage {
    Servers(Option<ServerId>),
    Workflows(Option<WorkflowId>),
    Done,
}

enum Page {
    Servers(Vec<ServerView>),
    Workflows(Vec<WorkflowView>),
}

impl Pages {
    /// The next page; there is at least one of each kind, empty where there is nothing.
    fn next_page(&mut self) -> Option<Page> {
        let Snapshot { app, state, .. } = &self.snapshot;
        match &self.stage {
            Stage::Servers(after) => {
                let page: Vec<&Arc<Server>> = state
                    .servers
                    .after(after.as_ref())
                    .filter(|server| self.snapshot.wants_server(server))
                    .take(PAGE)
                    .collect();
                let last = page.last().filter(|_| page.len() == PAGE);
                let next = last.map(|server| server.connection.id.clone());
                let views = page
                    .iter()
                    .map(|server| server.view(app.leases.view(&server.connection.id).as_ref()))
                    .collect();
                self.stage = match next {
                    Some(id) => Stage::Servers(Some(id)),
                    None => Stage::Workflows(None),
                };
                Some(Page::Servers(views))
            }
            Stage::Workflows(after) => {
                let page: Vec<&Arc<Workflow>> = state
                    .workflows
                    .after(after.as_ref())
                    .filter(|workflow| self.snapshot.wants_workflow(workflow))
                    .take(PAGE)
                    .collect();
                let next = page
                    .last()
                    .filter(|_| page.len() == PAGE)
                    .map(|workflow| workflow.id.clone());
                let views = page.iter().map(|workflow| workflow.view()).collect();
                self.stage = match next {
                    Some(id) => Stage::Workflows(Some(id)),
                    None => Stage::Done,
                };
                Some(Page::Workflows(views))
            }
            Stage::Done => None,
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
    let snapshot = Snapshot::take(&app, guest.shown.access, selection);
    let pieces = snapshot.pieces().map(Ok::<_, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(tokio_stream::iter(pieces)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
