//! Change notices from the log: `subscriptions/listen` since 2026-07-28, and the stream of a session before. Both follow the
//! hub's own stream, so that whoever listens is told of every change that they may see, and of a gap by being told to look
//! again at everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio::{sync::watch, time::timeout};

use super::{
    Asked, Reply,
    body::{Tell, Told, message},
    follow::{Follow, Item},
    message::{Call, Fault, answer, notification, with_members},
    resources::Uri,
    session::{MOST_WATCHED, Session},
};
use crate::{
    domain::{Json, ServerId, WorkflowId, json::JsonRef},
    door::Scope,
    filter::{Selection, start::Start},
    http::{App, gate::Guest, problem::Problem},
};

/// A comment goes out after so long without a notice.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// The notices that somebody wants.
#[derive(Debug, Clone, Default)]
struct Wanted {
    list_changed: bool,
    /// The resources, and how their URIs were written.
    uris: BTreeMap<Uri, String>,
}

impl Wanted {
    fn watching(watched: &BTreeSet<String>) -> Self {
        let uris = watched.iter();
        Self {
            list_changed: true,
            uris: uris
                .filter_map(|text| Some((Uri::parse(text)?, text.clone())))
                .collect(),
        }
    }

    /// The notices that events lead to, each once.
    fn notices(&self, items: &[Item]) -> Notices<'_> {
        let mut notices = Notices::default();
        for item in items {
            match item {
                Item::Event { kind, envelope, .. } => self.notice(kind, envelope, &mut notices),
                // What is missing may have changed anything.
                Item::Gap { .. } | Item::Opened { gap: Some(_), .. } => {
                    notices.list = self.list_changed;
                    notices.uris.extend(self.uris.values().map(String::as_str));
                }
                _ => {}
            }
        }
        notices
    }

    fn notice<'a>(&'a self, kind: &str, envelope: &Json, notices: &mut Notices<'a>) {
        let comes_or_goes = ["server_connected", "workflow_started"].contains(&kind);
        notices.list |= self.list_changed && comes_or_goes;
        let root = envelope.root();
        let text =
            |value: Option<JsonRef<'_>>| value.and_then(|it| it.text().map(|it| it.into_owned()));
        let server = text(root.get("serverId")).and_then(|id| ServerId::parse(&id).ok());
        let data = root.get("data").filter(|data| data.is_object());
        let workflow = text(data.and_then(|data| data.get("workflowId")));
        let workflow = workflow.and_then(|id| WorkflowId::parse(&id).ok());
        let mut changed = Vec::new();
        if kind.starts_with("server_") {
            changed.extend(server.map(Uri::Server));
        }
        if kind.starts_with("workflow_") {
            changed.extend(workflow.map(Uri::Workflow));
        }
        let moves_status = ["server_", "workflow_", "integration_", "pattern_"]
            .iter()
            .any(|prefix| kind.starts_with(prefix))
            && !kind.starts_with("workflow_step_");
        changed.extend(moves_status.then_some(Uri::Status));
        for uri in changed {
            notices.uris.extend(self.uris.get(&uri).map(String::as_str));
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Notices<'a> {
    list: bool,
    uris: BTreeSet<&'a str>,
}

/// `params._meta` of what goes out on a subscription.
#[derive(Debug, Clone, Serialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/subscriptionId")]
    subscription_id: Json,
}

#[derive(Serialize)]
struct Params<'a> {
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<&'a Meta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
}

/// Writes notices; the last of them with the place that they stand at, so that a client that comes back to it has had all.
fn write(out: &mut BytesMut, notices: &Notices<'_>, meta: Option<&Meta>, place: Option<&str>) {
    let list = notices
        .list
        .then_some(("notifications/resources/list_changed", None));
    let updated = notices
        .uris
        .iter()
        .map(|uri| ("notifications/resources/updated", Some(*uri)));
    let mut all = list.into_iter().chain(updated).peekable();
    while let Some((method, uri)) = all.next() {
        let place = place.filter(|_| all.peek().is_none());
        out.extend_from_slice(&message(
            place,
            &notification(method, &Params { meta, uri }),
        ));
    }
}

/// `subscriptions/listen`.
pub(super) async fn subscribe(asked: &Asked, call: &Call<'_>) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Honoured<'a> {
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        resources_list_changed: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        resource_subscriptions: Option<Vec<&'a String>>,
    }
    #[derive(Serialize)]
    struct Acknowledged<'a> {
        #[serde(rename = "_meta")]
        meta: &'a Meta,
        notifications: Honoured<'a>,
    }
    let filter = call
        .param("notifications")
        .filter(|filter| filter.is_object())
        .ok_or_else(|| Fault::invalid_params("params.notifications must be an object"))?;
    if !asked.takes_stream {
        return Err(Fault::invalid_params(
            "subscriptions/listen answers with a stream: Accept must hold text/event-stream",
        ));
    }
    let mut wanted = Wanted {
        list_changed: filter.get("resourcesListChanged").and_then(JsonRef::flag) == Some(true),
        ..Wanted::default()
    };
    let named = filter
        .get("resourceSubscriptions")
        .filter(|it| !it.is_null());
    if let Some(named) = named {
        let wrong = || Fault::invalid_params("resourceSubscriptions must be a list of URIs");
        for uri in named.items().ok_or_else(wrong)? {
            let text = uri.text().ok_or_else(wrong)?;
            // A URI that isn't ours is left out of what is honoured.
            if let Some(uri) = Uri::parse(&text) {
                wanted.uris.insert(uri, text.into_owned());
            }
        }
        if wanted.uris.len() > MOST_WATCHED {
            return Err(Fault::invalid_params(format!(
                "a subscription watches {MOST_WATCHED} resources at most"
            )));
        }
    }
    if asked.guest.need(Scope::Read).is_err() {
        wanted = Wanted::default();
    }
    let follow = Follow::open(&asked.app, &asked.guest, Selection::default(), Start::Live).await?;
    let id = call.id.clone().unwrap_or_else(|| Json::of(""));
    let meta = Meta {
        subscription_id: id.clone(),
    };
    let acknowledged = notification(
        "notifications/subscriptions/acknowledged",
        &Acknowledged {
            meta: &meta,
            notifications: Honoured {
                resources_list_changed: wanted.list_changed,
                resource_subscriptions: named.map(|_| wanted.uris.values().collect()),
            },
        },
    );
    Ok(Reply::stream(Subscription {
        asked: asked.clone(),
        id,
        meta,
        wanted,
        follow,
        acknowledged: Some(acknowledged),
        is_over: false,
    }))
}

struct Subscription {
    asked: Asked,
    id: Json,
    meta: Meta,
    wanted: Wanted,
    follow: Follow,
    acknowledged: Option<Json>,
    is_over: bool,
}

impl Tell for Subscription {
    async fn tell(&mut self) -> Option<Bytes> {
        if let Some(acknowledged) = self.acknowledged.take() {
            return Some(message(None, &acknowledged));
        }
        if self.is_over {
            return None;
        }
        loop {
            let Ok(next) = timeout(SIGN_OF_LIFE, self.follow.next()).await else {
                return Some(sign_of_life());
            };
            let (items, ended) = gather(next, &mut self.follow);
            let mut out = BytesMut::new();
            write(
                &mut out,
                &self.wanted.notices(&items),
                Some(&self.meta),
                None,
            );
            if ended {
                self.is_over = true;
                let result =
                    with_members(&Json::empty_object(), &[("_meta", Json::of(&self.meta))]);
                let end = answer(&self.id, &self.asked.dressed(result, None));
                out.extend_from_slice(&message(None, &end));
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
        }
    }
}

/// An item and all that has come with it, and whether the stream has ended.
fn gather(next: Option<Item>, follow: &mut Follow) -> (Vec<Item>, bool) {
    let mut items = Vec::new();
    let mut next = next;
    let mut ended = next.is_none();
    while let Some(item) = next {
        ended = matches!(item, Item::Closing(_));
        items.push(item);
        if ended {
            break;
        }
        next = follow.ready();
    }
    (items, ended)
}

fn sign_of_life() -> Bytes {
    Bytes::from_static(b": nothing new\n\n")
}

/// The stream of a session: what it subscribed to, from now on or from the place that it had reached.
pub(super) async fn session_stream(
    app: &App,
    guest: &Guest,
    session: &Session,
    last: Option<String>,
) -> Result<Body, Problem> {
    guest.need(Scope::Read)?;
    let start = last.map_or(Start::Live, Start::After);
    let follow = Follow::open(app, guest, Selection::default(), start).await?;
    Ok(Body::new(Told::by(SessionStream {
        app: app.clone(),
        caller: guest.caller.clone(),
        id: session.id().to_owned(),
        watched: session.watched(),
        follow,
        is_over: false,
    })))
}

struct SessionStream {
    app: App,
    caller: std::sync::Arc<str>,
    id: String,
    /// Its other side is the session, so that its end is known.
    watched: watch::Receiver<BTreeSet<String>>,
    follow: Follow,
    is_over: bool,
}

impl Tell for SessionStream {
    async fn tell(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        loop {
            let next = tokio::select! {
                next = timeout(SIGN_OF_LIFE, self.follow.next()) => next,
                changed = self.watched.changed() => match changed {
                    Ok(()) => continue,
                    // The session has ended.
                    Err(_) => return None,
                },
            };
            let Ok(next) = next else {
                // A session that is listened to is in use.
                self.app.sessions().find(&self.id, &self.caller)?;
                return Some(sign_of_life());
            };
            let (items, ended) = gather(next, &mut self.follow);
            self.is_over = ended;
            let wanted = Wanted::watching(&self.watched.borrow());
            let place = items.iter().rev().find_map(|item| match item {
                Item::Event { id, .. } | Item::Read(id) | Item::Gap { at: id, .. } => Some(id),
                Item::Opened { at, .. } => Some(at),
                Item::Closing(_) => None,
            });
            let mut out = BytesMut::new();
            let notices = wanted.notices(&items);
            write(&mut out, &notices, None, place.map(String::as_str));
            if out.is_empty()
                && let Some(place) = place.filter(|place| !place.is_empty())
                && items.iter().any(|item| matches!(item, Item::Read(_)))
            {
                // Moves the client's place without a notice: a block without data is no event.
                out.extend_from_slice(format!("id: {place}\n\n").as_bytes());
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
            if ended {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Item {
        let envelope = Json::parse(text).unwrap();
        let kind = envelope
            .root()
            .get("type")
            .unwrap()
            .text()
            .unwrap()
            .into_owned();
        Item::Event {
            id: "e-1".to_owned(),
            kind,
            envelope,
        }
    }

    #[test]
    fn events_lead_to_notices_of_what_they_changed() {
        let watched = [
            "timeback://status",
            "timeback://servers/a",
            "timeback://workflows/w",
        ];
        let wanted = Wanted::watching(&watched.map(str::to_owned).into_iter().collect());
        let notices = |list, uris: &[&'static str]| Notices {
            list,
            uris: uris.iter().copied().collect(),
        };
        let [status, a, w] = watched;
        for (item, expected) in [
            (
                event(r#"{"type":"server_connected","serverId":"a"}"#),
                notices(true, &[status, a]),
            ),
            (
                event(r#"{"type":"server_health_changed","serverId":"b"}"#),
                notices(false, &[status]),
            ),
            (
                event(
                    r#"{"type":"workflow_step_completed","serverId":"a","data":{"workflowId":"w"}}"#,
                ),
                notices(false, &[w]),
            ),
            (
                event(r#"{"type":"grades.synced","serverId":"a","data":{"workflowId":"w"}}"#),
                notices(false, &[]),
            ),
            (
                Item::Gap {
                    at: "e-2".to_owned(),
                    reason: "expired".to_owned(),
                },
                notices(true, &[status, a, w]),
            ),
            (Item::Read("e-2".to_owned()), notices(false, &[])),
        ] {
            assert_eq!(
                wanted.notices(std::slice::from_ref(&item)),
                expected,
                "{item:?}"
            );
        }
    }
}
