//! `/mcp`: the hub as an MCP server (Streamable HTTP), for agents. By hand, over the hub's own rooms: an answer shows what
//! [`crate::door`] lets the same token see over HTTP, and whoever waits is a subscriber like all others.
//!
//! Both eras are served: since 2026-07-28 each request stands for itself, before there are sessions ([`era`]).

mod body;
mod era;
mod follow;
mod listen;
mod message;
mod prompts;
mod resources;
mod session;
mod tools;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequest, Request, State as Shared},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ORIGIN},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::session::Sessions;
use self::{
    body::{Tell, Told},
    era::{Era, MODERN, SESSION},
    message::{Call, Fault, Message, answer, with_members},
    session::Session,
};
use super::{
    App,
    accept::accepts,
    extract::{RawChange, parse_json},
    gate::{Guest, is_own_or_listed},
    problem::Problem,
};
use crate::{domain::Json, hub::IdempotencyKey};

/// Messages of one batch, which 2025-03-26 knows.
const MAX_BATCH: usize = 50;

/// How long a client may keep what lists and descriptions say, in milliseconds: they follow from the token.
const TTL_MS: u64 = 60_000;

/// What the hub says of itself to a model.
const INSTRUCTIONS: &str = "This hub watches a fleet of MCP servers and the workflows that run over them. Begin with fleet_status; \
    get_server and get_workflow say why something is wrong; wait_for_events waits for what happens next, and its cursor \
    loses nothing between two calls.";

/// `/mcp`.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post, get, delete))
}

/// A request, and who makes it.
#[derive(Clone)]
struct Asked {
    app: App,
    guest: Guest,
    era: Era,
    /// The session that it belongs to.
    session: Option<Arc<Session>>,
    /// `Idempotency-Key`.
    key: Option<IdempotencyKey>,
    /// The client takes an answer as a stream.
    takes_stream: bool,
}

/// What a request is answered with.
enum Reply {
    /// The result.
    Result(Json),
    /// A result that holds for a while.
    Kept(Json),
    /// A stream that ends with the result.
    Stream(Body),
    /// A result that begins a session.
    Begun(Json, Arc<Session>),
}

impl Reply {
    fn stream<T: Tell + Unpin>(teller: T) -> Self {
        Self::Stream(Body::new(Told::by(teller)))
    }
}

impl Asked {
    /// A result as its era has it.
    fn dressed(&self, result: Json, ttl_ms: Option<u64>) -> Json {
        #[derive(Serialize)]
        struct Meta {
            #[serde(rename = "io.modelcontextprotocol/serverInfo")]
            server_info: Implementation,
        }
        if self.era == Era::Legacy {
            return result;
        }
        let mut more = vec![("resultType", Json::of("complete"))];
        if let Some(ttl_ms) = ttl_ms {
            more.push(("ttlMs", Json::of(&ttl_ms)));
            more.push(("cacheScope", Json::of("private")));
        }
        if result.root().get("_meta").is_none() {
            let meta = Meta {
                server_info: Implementation::own(),
            };
            more.push(("_meta", Json::of(&meta)));
        }
        with_members(&result, &more)
    }

    /// The result as the last message of a stream.
    fn last_message(&self, id: &Json, result: Json) -> Bytes {
        body::message(None, &answer(id, &self.dressed(result, None)))
    }
}

/// Who somebody is.
#[derive(Serialize)]
struct Implementation {
    name: &'static str,
    title: &'static str,
    version: &'static str,
}

impl Implementation {
    fn own() -> Self {
        Self {
            name: "timeback-events",
            title: "timeback-events",
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// Ask the hub as an MCP server
///
/// Model Context Protocol over Streamable HTTP: one JSON-RPC message, in the era of 2026-07-28 or of sessions. The answer is
/// JSON, or a stream where it takes its time.
#[utoipa::path(
    post,
    path = "/mcp",
    tag = "mcp",
    request_body(content = serde_json::Value, example = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "curl", "version": "8"}}
    })),
    responses(
        (status = 200, description = "The answer", content(
            (serde_json::Value = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 202, description = "A notification was taken"),
    )
)]
async fn post(
    Shared(app): Shared<App>,
    guest: Guest,
    request: Request,
) -> Result<Response, Problem> {
    enter(&app, &request)?;
    let raw = RawChange::from_request(request, &app).await?;
    if raw.body.is_empty() {
        return Err(super::extract::missing_body());
    }
    if raw.media_type != super::extract::MediaType::Json {
        return Err(raw.media_type.refused("application/json"));
    }
    let takes = |media| accepts(&raw.headers, media);
    let takes_stream = takes("text/event-stream");
    if !takes_stream && !takes("application/json") {
        return Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "not-acceptable",
            "The answer's types aren't accepted",
            "Accept must hold application/json or text/event-stream; MCP clients send both",
        ));
    }
    let visit = Visit {
        app,
        guest,
        headers: &raw.headers,
        key: raw.key,
        takes_stream,
    };
    let body = match parse_json(&raw.body) {
        Ok(body) => body,
        Err(problem) => return Ok(fault(None, &Fault::parse(problem.detail))),
    };
    match body.root().items() {
        Some(items) => Ok(visit.batch(&items).await),
        None => Ok(visit.one(body.root()).await),
    }
}

/// A message's way through the hub.
struct Visit<'h> {
    app: App,
    guest: Guest,
    headers: &'h HeaderMap,
    key: Option<IdempotencyKey>,
    takes_stream: bool,
}

impl Visit<'_> {
    async fn one(&self, body: crate::domain::json::JsonRef<'_>) -> Response {
        let call = match Message::read(body) {
            Ok(Message::Call(call)) => call,
            Ok(Message::Answer) => return StatusCode::ACCEPTED.into_response(),
            Err((id, wrong)) => return fault(id.as_ref(), &wrong),
        };
        let asked = match self.asked(&call, self.takes_stream) {
            Ok(asked) => asked,
            Err(wrong) => return fault(call.id.as_ref(), &wrong),
        };
        let Some(id) = &call.id else {
            return StatusCode::ACCEPTED.into_response();
        };
        match dispatch(&asked, &call).await {
            Err(wrong) => fault(Some(id), &wrong),
            Ok(Reply::Stream(body)) => stream(body),
            Ok(reply) => {
                let (result, ttl_ms, session) = match reply {
                    Reply::Kept(result) => (result, Some(TTL_MS), None),
                    Reply::Begun(result, session) => (result, None, Some(session)),
                    Reply::Result(result) => (
                        result,
                        (*call.method == *"resources/read").then_some(0),
                        None,
                    ),
                    Reply::Stream(_) => (Json::empty_object(), None, None),
                };
                let mut response =
                    json(StatusCode::OK, &answer(id, &asked.dressed(result, ttl_ms)));
                if let Some(id) = session.and_then(|it| HeaderValue::from_str(it.id()).ok()) {
                    response.headers_mut().insert(SESSION, id);
                }
                response
            }
        }
    }

    /// Several messages, each answered for itself. Only sessions know them.
    async fn batch(&self, items: &[crate::domain::json::JsonRef<'_>]) -> Response {
        if items.is_empty() || items.len() > MAX_BATCH {
            let wrong = format!("a batch holds 1 to {MAX_BATCH} messages");
            return fault(None, &Fault::invalid_request(wrong));
        }
        let mut answers = Vec::new();
        for item in items {
            let call = match Message::read(*item) {
                Ok(Message::Call(call)) => call,
                Ok(Message::Answer) => continue,
                Err((id, wrong)) => {
                    answers.push(wrong.answer(id.as_ref()));
                    continue;
                }
            };
            let asked = self.asked(&call, false);
            let outcome = match (&call.id, asked) {
                (_, Ok(asked)) if asked.era == Era::Modern => {
                    let wrong = format!("version {MODERN} knows no batches");
                    return fault(None, &Fault::invalid_request(wrong));
                }
                (None, _) => continue,
                (Some(id), Ok(asked)) => match dispatch(&asked, &call).await {
                    Ok(Reply::Result(result) | Reply::Kept(result) | Reply::Begun(result, _)) => {
                        answer(id, &result)
                    }
                    Ok(Reply::Stream(_)) => {
                        Fault::invalid_request("this call isn't for a batch").answer(Some(id))
                    }
                    Err(wrong) => wrong.answer(Some(id)),
                },
                (Some(_), Err(wrong)) if wrong.status == StatusCode::NOT_FOUND => {
                    return fault(None, &wrong);
                }
                (Some(id), Err(wrong)) => wrong.answer(Some(id)),
            };
            answers.push(outcome);
        }
        if answers.is_empty() {
            return StatusCode::ACCEPTED.into_response();
        }
        json(StatusCode::OK, &Json::of(&answers))
    }

    fn asked(&self, call: &Call<'_>, takes_stream: bool) -> Result<Asked, Fault> {
        let era = Era::of(call, self.headers)?;
        let id = self.headers.get(SESSION).filter(|_| era == Era::Legacy);
        let session = match id {
            Some(id) if call.method != "initialize" => {
                Some(find_session(&self.app, &self.guest, id).ok_or_else(Fault::no_session)?)
            }
            _ => None,
        };
        Ok(Asked {
            app: self.app.clone(),
            guest: self.guest.clone(),
            era,
            session,
            key: self.key,
            takes_stream,
        })
    }
}

fn find_session(app: &App, guest: &Guest, id: &HeaderValue) -> Option<Arc<Session>> {
    app.sessions().find(id.to_str().ok()?, &guest.caller)
}

async fn dispatch(asked: &Asked, call: &Call<'_>) -> Result<Reply, Fault> {
    let modern = asked.era == Era::Modern;
    match &*call.method {
        "initialize" if !modern => Ok(initialize(asked, call)),
        "ping" if !modern => Ok(Reply::Result(Json::empty_object())),
        "server/discover" if modern => Ok(Reply::Kept(discover(asked))),
        "tools/list" => Ok(Reply::Kept(tools::list(&asked.guest))),
        "tools/call" => tools::call(asked, call).await,
        "resources/list" => resources::list(asked, call).await,
        "resources/templates/list" => Ok(Reply::Kept(resources::templates(asked))),
        "resources/read" => resources::read(asked, call).await,
        "resources/subscribe" if !modern => resources::subscribe(asked, call, true),
        "resources/unsubscribe" if !modern => resources::subscribe(asked, call, false),
        "prompts/list" => Ok(Reply::Kept(prompts::list(asked))),
        "prompts/get" => prompts::get(asked, call).await.map(Reply::Result),
        "subscriptions/listen" if modern => listen::subscribe(asked, call).await,
        other if modern => Err(Fault::no_method(StatusCode::NOT_FOUND, other)),
        other => Err(Fault::no_method(StatusCode::OK, other)),
    }
}

/// What the hub can do, by era.
#[derive(Serialize)]
struct Capabilities {
    tools: Empty,
    prompts: Empty,
    resources: Resources,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    subscribe: bool,
    list_changed: bool,
}

fn capabilities() -> Capabilities {
    Capabilities {
        tools: Empty {},
        prompts: Empty {},
        resources: Resources {
            subscribe: true,
            list_changed: true,
        },
    }
}

fn initialize(asked: &Asked, call: &Call<'_>) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialized {
        protocol_version: &'static str,
        capabilities: Capabilities,
        server_info: Implementation,
        instructions: &'static str,
    }
    let wanted = call.text("protocolVersion").ok();
    let result = Initialized {
        protocol_version: era::negotiated(wanted.as_deref()),
        capabilities: capabilities(),
        server_info: Implementation::own(),
        instructions: INSTRUCTIONS,
    };
    let session = asked.app.sessions().begin(&asked.guest.caller);
    Reply::Begun(Json::of(&result), session)
}

fn discover(_: &Asked) -> Json {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Discovered {
        supported_versions: [&'static str; 1],
        capabilities: Capabilities,
        instructions: &'static str,
    }
    Json::of(&Discovered {
        supported_versions: [MODERN],
        capabilities: capabilities(),
        instructions: INSTRUCTIONS,
    })
}

/// Follow a session's changes
///
/// Of a session (the header `Mcp-Session-Id`) before 2026-07-28: notifications of the resources that it subscribed to, as
/// Server-Sent Events whose ids are the log's, so that `Last-Event-ID` goes on without a loss. Without a session: `405`.
#[utoipa::path(
    get,
    path = "/mcp",
    tag = "mcp",
    params(
        ("Mcp-Session-Id" = Option<String>, Header, description = "The session"),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on right after this"),
    ),
    responses(
        (status = 200, description = "Notifications", content_type = "text/event-stream", body = String),
        (status = 405, description = "Without a session there is nothing to follow"),
    )
)]
async fn get(
    Shared(app): Shared<App>,
    guest: Guest,
    request: Request,
) -> Result<Response, Problem> {
    enter(&app, &request)?;
    let headers = request.headers();
    let Some(id) = headers.get(SESSION) else {
        return Ok(post_only());
    };
    if !accepts(headers, "text/event-stream") {
        return Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "not-acceptable",
            "The answer's types aren't accepted",
            "a session's stream is text/event-stream, which Accept must hold",
        ));
    }
    let Some(session) = find_session(&app, &guest, id) else {
        return Ok(fault(None, &Fault::no_session()));
    };
    let last = headers.get_all("last-event-id").iter();
    let mut last = last.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    let last = last.rfind(|id| !id.is_empty());
    if request.method() == axum::http::Method::HEAD {
        return Ok(stream(Body::empty()));
    }
    Ok(stream(
        listen::session_stream(&app, &guest, &session, last).await?,
    ))
}

/// End a session
///
/// Its stream ends as well.
#[utoipa::path(
    delete,
    path = "/mcp",
    tag = "mcp",
    params(("Mcp-Session-Id" = Option<String>, Header, description = "The session")),
    responses(
        (status = 204, description = "It has ended"),
        (status = 404, description = "There is none"),
        (status = 405, description = "No session is named"),
    )
)]
async fn delete(
    Shared(app): Shared<App>,
    guest: Guest,
    request: Request,
) -> Result<Response, Problem> {
    enter(&app, &request)?;
    let Some(id) = request.headers().get(SESSION) else {
        return Ok(post_only());
    };
    let ended = id
        .to_str()
        .is_ok_and(|id| app.sessions().end(id, &guest.caller));
    if ended {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(fault(None, &Fault::no_session()))
}

/// Whether it may be asked here at all: switched on, and by no page from elsewhere.
fn enter(app: &App, request: &Request) -> Result<(), Problem> {
    if !app.config.mcp {
        return Err(Problem::not_found(
            "mcp-disabled",
            "the hub is no MCP server: INTEGRATION_MCP is false",
        ));
    }
    // Reading by a page from elsewhere is no read here: a POST may do anything, and a stream belongs to a session.
    if request.headers().contains_key(ORIGIN) && !is_own_or_listed(app, request) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "origin-not-allowed",
            "The door is closed to this request",
            "a page from elsewhere may not ask here; list its origin in INTEGRATION_SSE_CORS_ORIGINS",
        ));
    }
    Ok(())
}

fn post_only() -> Response {
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "The method isn't allowed here",
        "without a session (the header Mcp-Session-Id, which initialize gives) MCP clients POST here",
    );
    let mut response = problem.into_response();
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

fn fault(id: Option<&Json>, wrong: &Fault) -> Response {
    json(wrong.status, &wrong.answer(id))
}

fn json(status: StatusCode, body: &Json) -> Response {
    super::status::json_response(status, body.as_str().to_owned())
}

fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
