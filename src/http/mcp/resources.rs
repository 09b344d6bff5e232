//! Resources: the state as documents, `timeback://status`, `timeback://servers/{id}` and `timeback://workflows/{id}`. What a
//! token may not see isn't there, and isn't told apart from what never was.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Serialize;

use super::{
    Asked, Reply,
    era::Era,
    message::{Call, Fault},
    session::MOST_WATCHED,
    tools::{fleet_status, one_server, one_workflow},
};
use crate::{
    domain::{Json, ServerId, WorkflowId, server::Server, workflow::Workflow},
    door::Scope,
    http::problem::Problem,
};

/// Resources on a page of the list.
const PAGE: usize = 100;
/// The list that cursors of resources are of.
const CURSORS: &str = "mcp resources";

const STATUS: &str = "timeback://status";
const SERVERS: &str = "timeback://servers/";
const WORKFLOWS: &str = "timeback://workflows/";

/// What a URI names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Uri {
    /// The whole in numbers.
    Status,
    Server(ServerId),
    Workflow(WorkflowId),
}

impl Uri {
    /// Reads one of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == STATUS {
            return Some(Self::Status);
        }
        if let Some(id) = text.strip_prefix(SERVERS) {
            return ServerId::parse(id).ok().map(Self::Server);
        }
        let id = text.strip_prefix(WORKFLOWS)?;
        WorkflowId::parse(id).ok().map(Self::Workflow)
    }

    /// As it is written.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Status => STATUS.to_owned(),
            Self::Server(id) => format!("{SERVERS}{id}"),
            Self::Workflow(id) => format!("{WORKFLOWS}{id}"),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    uri: String,
    name: String,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'static str>,
    mime_type: &'static str,
}

impl Resource {
    fn of(uri: &Uri, title: &str) -> Self {
        let (name, description) = match uri {
            Uri::Status => ("status".to_owned(), Some("How the whole fleet does")),
            Uri::Server(id) => (format!("server {id}"), None),
            Uri::Workflow(id) => (format!("workflow {id}"), None),
        };
        Self {
            uri: uri.text(),
            name,
            title: super::tools::cut(title, 200),
            description,
            mime_type: "application/json",
        }
    }
}

/// Where a page of the list goes on: after a server, or after a workflow.
fn place(cursor: &str) -> Option<Uri> {
    Uri::parse(cursor).filter(|uri| *uri != Uri::Status)
}

/// `resources/list`: the status, then servers, then workflows, each in order of their ids.
pub(super) async fn list(asked: &Asked, call: &Call<'_>) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        resources: Vec<Resource>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    }
    let cursor = match call.param("cursor") {
        Some(_) => Some(call.text("cursor")?),
        None => None,
    };
    let after: Option<String> = asked.app.opened(CURSORS, cursor.as_deref())?;
    let after = match after {
        Some(text) => Some(
            place(&text)
                .ok_or_else(|| Fault::invalid_params("cursor is no nextCursor of this list"))?,
        ),
        None => None,
    };
    if asked.guest.need(Scope::Read).is_err() {
        let nothing = Page {
            resources: Vec::new(),
            next_cursor: None,
        };
        return Ok(Reply::Kept(Json::of(&nothing)));
    }
    let (app, guest) = (asked.app.clone(), asked.guest.clone());
    let find = move || {
        let (state, now) = (app.hub.state(), app.hub.lived_ms());
        let mut found: Vec<(Uri, String)> = Vec::new();
        if after.is_none() {
            found.push((Uri::Status, "Fleet status".to_owned()));
        }
        let is_seen = |server: &&Arc<Server>| guest.sees_server(server);
        let after_server = match &after {
            Some(Uri::Server(id)) => Some(id),
            _ => None,
        };
        if !matches!(after, Some(Uri::Workflow(_))) {
            let servers = state.servers.after(after_server).filter(is_seen);
            let room = PAGE + 1 - found.len();
            found.extend(servers.take(room).map(|server| {
                let connection = &server.connection;
                (Uri::Server(connection.id.clone()), connection.name.clone())
            }));
        }
        let after_workflow = match &after {
            Some(Uri::Workflow(id)) => Some(id),
            _ => None,
        };
        let lives = |workflow: &&Arc<Workflow>| !workflow.is_expired(now, app.hub.policy());
        let workflows = state
            .workflows
            .among(guest.seen_workflows(), after_workflow)
            .filter(lives);
        let room = PAGE + 1 - found.len().min(PAGE + 1);
        found.extend(workflows.take(room).map(|workflow| {
            let name = workflow.outline().name;
            (Uri::Workflow(workflow.id.clone()), name)
        }));
        found
    };
    let mut found = asked.app.makers().turn(0, find).await?;
    let is_last = found.len() <= PAGE;
    found.truncate(PAGE);
    let next_cursor = match found.last() {
        Some((uri, _)) if !is_last => asked.app.sealer(CURSORS)(&uri.text()),
        _ => None,
    };
    let resources = found.iter();
    Ok(Reply::Kept(Json::of(&Page {
        resources: resources
            .map(|(uri, title)| Resource::of(uri, title))
            .collect(),
        next_cursor,
    })))
}

/// `resources/templates/list`.
pub(super) fn templates(asked: &Asked) -> Json {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Templates {
        resource_templates: Vec<Template>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Template {
        uri_template: &'static str,
        name: &'static str,
        title: &'static str,
        description: &'static str,
        mime_type: &'static str,
    }
    let template = |uri_template, name, title, description| Template {
        uri_template,
        name,
        title,
        description,
        mime_type: "application/json",
    };
    let all = vec![
        template(
            "timeback://servers/{id}",
            "server",
            "A server",
            "An MCP server: its health with the evidence, its instances, what it offers",
        ),
        template(
            "timeback://workflows/{id}",
            "workflow",
            "A workflow",
            "A workflow and its steps",
        ),
    ];
    let reads = asked.guest.need(Scope::Read).is_ok();
    Json::of(&Templates {
        resource_templates: if reads { all } else { Vec::new() },
    })
}

/// `resources/read`.
pub(super) async fn read(asked: &Asked, call: &Call<'_>) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    struct Contents {
        contents: [Content; 1],
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content {
        uri: String,
        mime_type: &'static str,
        text: String,
    }
    let text = call.text("uri")?;
    let uri = Uri::parse(&text).filter(|_| asked.guest.need(Scope::Read).is_ok());
    let (app, guest) = (&asked.app, &asked.guest);
    let found = match &uri {
        None => return Err(not_found(asked, &text)),
        Some(Uri::Status) => fleet_status(app, guest).await.map(|done| done.content),
        Some(Uri::Server(id)) => one_server(app, guest, id).map(|(_, server)| server),
        Some(Uri::Workflow(id)) => one_workflow(app, guest, id),
    };
    let found = match found {
        Ok(found) => found,
        Err(Problem { status, .. }) if status == StatusCode::NOT_FOUND => {
            return Err(not_found(asked, &text));
        }
        Err(problem) => return Err(problem.into()),
    };
    Ok(Reply::Result(Json::of(&Contents {
        contents: [Content {
            uri: text.into_owned(),
            mime_type: "application/json",
            text: found.as_str().to_owned(),
        }],
    })))
}

fn not_found(asked: &Asked, uri: &str) -> Fault {
    #[derive(Serialize)]
    struct Data<'a> {
        uri: &'a str,
    }
    let uri = uri.get(..500).unwrap_or(uri);
    let fault = Fault::invalid_params("Resource not found").with(&Data { uri });
    match asked.era {
        Era::Modern => fault,
        Era::Legacy => fault.coded(-32002),
    }
}

/// `resources/subscribe` and `resources/unsubscribe`, in a session.
pub(super) fn subscribe(asked: &Asked, call: &Call<'_>, begins: bool) -> Result<Reply, Fault> {
    let text = call.text("uri")?;
    let uri = Uri::parse(&text).ok_or_else(|| not_found(asked, &text))?;
    let Some(session) = &asked.session else {
        return Err(Fault::invalid_params(
            "a subscription belongs to a session: send the Mcp-Session-Id that initialize gave",
        ));
    };
    asked.guest.need(Scope::Read).map_err(Problem::from)?;
    if !begins {
        session.unwatch(&uri.text());
    } else if !session.watch(&uri.text()) {
        return Err(Fault::invalid_params(format!(
            "a session watches {MOST_WATCHED} resources at most"
        )));
    }
    Ok(Reply::Result(Json::empty_object()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_ours_or_nothing() {
        for text in [
            "timeback://status",
            "timeback://servers/a",
            "timeback://workflows/w:1",
        ] {
            let read = Uri::parse(text).map(|uri| uri.text());
            assert_eq!(read.as_deref(), Some(text));
        }
        for text in [
            "timeback://servers/",
            "timeback://servers/a/b",
            "timeback://servers/..",
            "timeback://status/",
            "test://watched-resource",
            "",
        ] {
            assert_eq!(Uri::parse(text), None, "{text}");
        }
    }
}
