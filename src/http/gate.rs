//! The door before every route: who asks, what the route takes, how often they may.
//!
//! The table [`needs`] is the one place that says which route takes which right; what a change takes beyond
//! that follows from its command ([`Access::permits`]). A route that isn't in the table is for `admin` alone.

use std::net::{IpAddr, SocketAddr};

use axum::{
    Json,
    extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State as Shared},
    http::{
        HeaderMap, Method, StatusCode, Uri,
        header::{CACHE_CONTROL, HOST, ORIGIN, SET_COOKIE},
        request::Parts,
    },
    middleware::Next,
    response::{AppendHeaders, IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    extract::Caller,
    guard::{is_loopback_host, is_own_origin},
    problem::Problem,
};
use crate::{
    domain::Limit,
    door::{Access, Denied, Limited, Scope, Shown, Unknown, tls::Encrypted},
};

/// Who a request comes from, as an extension of it.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// What they showed, and what they may do.
    pub(super) shown: Shown,
    /// Where they are.
    pub(super) address: IpAddr,
    /// A limit of theirs is reached; for streams only, which are refused politely.
    pub(super) limited: Option<Limit>,
}

impl std::ops::Deref for Guest {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.shown.access
    }
}

impl FromRequestParts<App> for Guest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if let Some(guest) = parts.extensions.get::<Self>() {
            return Ok(guest.clone());
        }
        // Only a door that has nothing to do may be passed without a word.
        if app.door.is_passive() {
            let peer = parts
                .extensions
                .get::<ConnectInfo<SocketAddr>>()
                .map(|peer| peer.0.ip());
            let address = app.door.address(peer, &parts.headers);
            return Ok(Self {
                shown: Shown::nobody(),
                address,
                limited: None,
            });
        }
        Err(unauthorized(&Unknown::Nothing))
    }
}

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing: anybody may ask.
    Nothing,
    /// Whoever they are, they must be somebody.
    Known,
    /// One of these scopes.
    AnyOf(&'static [Scope]),
    /// To read, and everything: its answer can't be narrowed.
    ReadsEverything,
}

const READ: Need = Need::AnyOf(&[Scope::Read]);
const REPORT: Need = Need::AnyOf(&[Scope::Report]);
const COORDINATE: Need = Need::AnyOf(&[Scope::Coordinate]);
const EITHER: Need = Need::AnyOf(&[Scope::Report, Scope::Coordinate]);
const WORK: Need = Need::AnyOf(&[Scope::Read, Scope::Report]);
const ADMIN: Need = Need::AnyOf(&[Scope::Admin]);

/// Routes that no limit of one client's holds back.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/events/health"];

/// The rights that a route takes.
fn needs(method: &Method, route: &str) -> Need {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match (route, reads) {
        (_, false) if method == Method::OPTIONS => Need::Nothing,
        ("/" | "/healthz" | "/readyz" | "/events/health" | "/openapi.json", true) => Need::Nothing,
        (page, true) if page.starts_with("/assets/") => Need::Nothing,
        ("/session", false) if method == Method::POST => Need::Known,
        // Whoever holds a session that has ended may still be rid of its cookie.
        ("/session", false) => Need::Nothing,
        // What a tool takes follows from the tool.
        ("/mcp", _) => Need::Known,
        ("/metrics", true) => Need::ReadsEverything,
        ("/steps", true) => WORK,
        (
            "/events"
            | "/events/{id}"
            | "/events/history"
            | "/events/stats"
            | "/stats/events"
            | "/servers/{id}/history"
            | "/uptime"
            | "/status"
            | "/snapshot"
            | "/servers"
            | "/servers/{id}"
            | "/workflows"
            | "/workflows/{id}"
            | "/patterns"
            | "/patterns/{name}"
            | "/v0.1/servers"
            | "/v0.1/servers/{name}/versions/latest",
            true,
        ) => READ,
        ("/events" | "/events/broadcast", false) => {
            Need::AnyOf(&[Scope::Report, Scope::Coordinate, Scope::Admin])
        }
        (
            "/servers"
            | "/servers/{id}"
            | "/servers/{id}/heartbeat"
            | "/servers/{id}/probe"
            | "/heartbeats",
            false,
        ) => REPORT,
        ("/workflows/{id}/steps/{step}", false) => EITHER,
        (
            "/workflows"
            | "/workflows/{id}/complete"
            | "/workflows/{id}/fail"
            | "/workflows/{id}/cancel",
            false,
        ) => COORDINATE,
        _ => ADMIN,
    }
}

/// Lets a request in, with its [`Guest`] and [`Caller`], or answers why not.
pub(super) async fn enter(Shared(app): Shared<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(&app, &parts).await {
        Ok(guest) => {
            if app.door.asks() {
                parts.extensions.insert(Caller(guest.caller.to_string()));
            }
            parts.extensions.insert(guest);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => {
            match problem.status {
                StatusCode::UNAUTHORIZED => app.door.refused("unauthorized"),
                StatusCode::FORBIDDEN => app.door.refused("forbidden"),
                _ => {}
            }
            problem.into_response()
        }
    }
}

async fn admit(app: &App, request: &Parts) -> Result<Guest, Problem> {
    let door = &app.door;
    let headers = &request.headers;
    let peer = request
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|peer| peer.0.ip());
    let address = door.address(peer, headers);
    let route = request
        .extensions
        .get::<MatchedPath>()
        .map(MatchedPath::as_str);
    let is_stream = request.method == Method::GET && route == Some("/events");
    let need = match route {
        Some(route) => needs(&request.method, route),
        // Nothing is there: who may know that is whoever may know anything.
        None => Need::Known,
    };
    let nobody = || Guest {
        shown: Shown::nobody(),
        address,
        limited: None,
    };
    let mut limited = None;
    // Probes are how an operator finds out; they are never counted.
    if !route.is_some_and(|route| PROBES.contains(&route)) {
        match door.count_address(address) {
            Err(reached) if is_stream => limited = Some(reached.limit),
            counted => counted.map_err(too_many)?,
        }
    }
    if need == Need::Nothing {
        return Ok(nobody());
    }
    let shown = door
        .identify(headers)
        .await
        .map_err(|unknown| unauthorized(&unknown))?;
    match door.count_caller(&shown) {
        Err(reached) if is_stream => limited = Some(reached.limit),
        counted => counted.map_err(too_many)?,
    }
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    if shown.by_cookie && !reads {
        check_origin(app, request).map_err(|problem| *problem)?;
    }
    let access = &shown.access;
    match need {
        Need::Nothing | Need::Known => {}
        Need::AnyOf(scopes) if access.scopes.any_of(scopes) => {}
        Need::AnyOf(scopes) => {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            let detail = format!("this takes the scope {}", names.join(" or "));
            return Err(Denied {
                scope: scopes.first().copied().unwrap_or(Scope::Admin),
                detail,
            }
            .into());
        }
        Need::ReadsEverything if access.reads_everything() => {}
        Need::ReadsEverything => {
            let detail =
                "this takes the scope read without restrictions: its answer is about everything";
            return Err(Denied {
                scope: Scope::Read,
                detail: detail.to_owned(),
            }
            .into());
        }
    }
    Ok(Guest {
        shown,
        address,
        limited,
    })
}

/// A change by cookie must come from a page of ours, or of an origin that is listed: a browser sends the cookie
/// along whoever asks it to.
fn check_origin(app: &App, request: &Parts) -> Result<(), Box<Problem>> {
    let origin = request
        .headers
        .get(ORIGIN)
        .and_then(|origin| origin.to_str().ok())
        .unwrap_or_default();
    let encrypted = request.extensions.get::<Encrypted>().is_some();
    if is_listed(app, origin)
        || is_own_origin(origin, host(&request.headers, &request.uri), encrypted)
    {
        return Ok(());
    }
    Err(Box::new(Problem::new(
        StatusCode::FORBIDDEN,
        "origin-not-allowed",
        "The door is closed to this request",
        "a change by cookie needs an Origin that is this hub's own, or listed in INTEGRATION_SSE_CORS_ORIGINS",
    )))
}

/// Whether a request comes from a page of ours, or of an origin that is listed.
pub(super) fn is_own_or_listed(app: &App, request: &Request) -> bool {
    let origin = request.headers().get(ORIGIN);
    let origin = origin
        .and_then(|origin| origin.to_str().ok())
        .unwrap_or_default();
    let encrypted = request.extensions().get::<Encrypted>().is_some();
    is_listed(app, origin)
        || is_own_origin(origin, host(request.headers(), request.uri()), encrypted)
}

fn is_listed(app: &App, origin: &str) -> bool {
    let listed = &app.config.web.cors_origins;
    listed
        .iter()
        .any(|known| known.eq_ignore_ascii_case(origin))
}

/// Refuses an answer that took its time to somebody whose rights have ended since.
pub(super) fn recheck(app: &App, guest: &Guest) -> Result<(), Problem> {
    if app.door.stands(&guest.shown) {
        return Ok(());
    }
    let ended = "the credential has ended or was revoked meanwhile".to_owned();
    Err(unauthorized(&Unknown::Invalid(ended)))
}

fn unauthorized(unknown: &Unknown) -> Problem {
    let mut problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "It isn't known who asks",
        unknown.to_string(),
    );
    problem.challenge = Some(match unknown {
        Unknown::Nothing => r#"Bearer realm="timeback-events""#,
        Unknown::Invalid(_) => r#"Bearer realm="timeback-events", error="invalid_token""#,
    });
    problem
}

fn too_many(limited: Limited) -> Problem {
    let detail = format!(
        "the limit {} is reached, which {} sets; other clients are not affected",
        limited.limit,
        limited.limit.setting()
    );
    let mut problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-requests",
        "Too many requests",
        detail,
    )
    .reaching(limited.limit, None);
    problem.retry_after = Some(u32::try_from(limited.retry_after).unwrap_or(u32::MAX));
    problem
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let mut problem = Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "The token doesn't allow this",
            denied.detail,
        )
        .with("scope", denied.scope.as_str());
        problem.challenge = Some(match denied.scope {
            Scope::Read => {
                r#"Bearer realm="timeback-events", error="insufficient_scope", scope="read""#
            }
            Scope::Report => {
                r#"Bearer realm="timeback-events", error="insufficient_scope", scope="report""#
            }
            Scope::Coordinate => {
                r#"Bearer realm="timeback-events", error="insufficient_scope", scope="coordinate""#
            }
            Scope::Admin => {
                r#"Bearer realm="timeback-events", error="insufficient_scope", scope="admin""#
            }
        });
        problem
    }
}

/// `/session`.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(begin, end))
}

/// A session that has begun.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct SessionView {
    /// What it allows.
    #[schema(example = json!(["read"]))]
    scopes: Vec<&'static str>,
    /// When it ends, epoch ms; its streams end then as well.
    expires_at: i64,
}

/// Begin a session
///
/// Swaps the token in `Authorization` for a cookie, since a browser's `EventSource` can send no header. It ends with
/// the token, or after `INTEGRATION_SESSION_AGE`. On a hub that asks for no token there is nothing to begin: `409`.
#[utoipa::path(
    post,
    path = "/session",
    tag = "session",
    responses((
        status = 200,
        body = SessionView,
        headers(("Set-Cookie" = String, description = "The session"))
    ))
)]
async fn begin(
    Shared(app): Shared<App>,
    guest: Guest,
    request: Request,
) -> Result<Response, Problem> {
    if !app.door.asks() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "no-session-needed",
            "No session is needed",
            "this hub asks nobody for a token",
        ));
    }
    let begun = app.door.begin_session(&guest.shown);
    let (cookie, expires_at) = begun.map_err(|why| unauthorized(&Unknown::Invalid(why)))?;
    let begun = Some((cookie.as_str(), expires_at));
    let cookie = app
        .door
        .set_cookie(request.headers(), begun, is_secure(&request));
    let view = SessionView {
        scopes: guest.scopes.names().collect(),
        expires_at,
    };
    Ok((
        [(SET_COOKIE, cookie), (CACHE_CONTROL, "no-store".to_owned())],
        Json(view),
    )
        .into_response())
}

/// End a session
///
/// Its streams end within moments. Without a session nothing happens.
#[utoipa::path(delete, path = "/session", tag = "session", responses((status = 204, description = "It has ended")))]
async fn end(Shared(app): Shared<App>, request: Request) -> Result<impl IntoResponse, Problem> {
    let cookie = app
        .door
        .set_cookie(request.headers(), None, is_secure(&request));
    let (parts, _) = request.into_parts();
    if app.door.has_session(&parts.headers) {
        check_origin(&app, &parts).map_err(|problem| *problem)?;
        app.door.end_session(&parts.headers);
    }
    Ok((
        StatusCode::NO_CONTENT,
        AppendHeaders([(SET_COOKIE, cookie)]),
    ))
}

/// Whether a cookie may be kept to encrypted connections: always but on loopback without TLS. Behind a proxy
/// that speaks TLS the browser's own connection is encrypted, whatever ours is.
fn is_secure(request: &Request) -> bool {
    let is_encrypted = request.extensions().get::<Encrypted>().is_some();
    is_encrypted || !is_loopback_host(host(request.headers(), request.uri()))
}

/// The host that a request is for, which HTTP/2 names in its URI. The guard has checked every place that names one.
fn host<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> &'r str {
    let header = headers.get(HOST).and_then(|host| host.to_str().ok());
    header
        .or_else(|| uri.authority().map(|authority| authority.as_str()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
