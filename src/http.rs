//! The route table, the layer around it, and what handlers share.
//!
//! A handler parses, asks and answers. Errors of every kind, routing's included, are problems (RFC 9457).

mod accept;
mod answered;
mod bodies;
mod cloudevents;
mod dashboard;
pub mod events;
pub mod extract;
mod gate;
mod guard;
mod heartbeats;
mod history;
mod layer;
mod mcp;
pub mod openapi;
mod past;
mod patterns;
mod pieces;
pub mod problem;
mod registry;
mod servers;
mod shapes;
pub mod snapshot;
mod squeeze;
mod sse;
mod stats;
pub mod status;
mod steps;
#[cfg(test)]
mod tests;
mod text;
mod turns;
mod workflows;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{HeaderValue, Method, StatusCode, Uri, header::ALLOW},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tower::Service;
use tower_http::compression::CompressionLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::{
    answered::Answered, bodies::Bodies, layer::EntranceLayer, pieces::Makers, problem::Problem,
    snapshot::Plans, squeeze::Squeezers,
};
use crate::{
    config::Config,
    domain::{Command, Json, Told},
    door::{Access, Door, Sight},
    health::Leases,
    hub::{Answer, Hub, IdempotencyKey},
    metrics::Metrics,
    readiness::Readiness,
    rounds::Rounds,
    streams::Streams,
    words,
};

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// The parts of one server.
pub struct Parts {
    /// The settings.
    pub config: Config,
    /// The only writer.
    pub hub: Hub,
    /// Who is due.
    pub leases: Arc<Leases>,
    /// Who is asked.
    pub rounds: Arc<Rounds>,
    /// Whether it can serve.
    pub readiness: Arc<Readiness>,
    /// What is counted.
    pub metrics: Metrics,
    /// Who may come in.
    pub door: Door,
    /// The fan-out.
    pub streams: Arc<Streams>,
}

/// The parts, and what is made of them once.
pub struct Shared {
    parts: Parts,
    /// The text of `/openapi.json`.
    description: Bytes,
    /// Request bodies that are being read.
    bodies: Bodies,
    /// Where long answers are made.
    makers: Makers,
    /// What readers of one snapshot share.
    plans: Plans,
    /// Sessions of MCP clients.
    sessions: mcp::Sessions,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl App {
    /// Carries out a change that somebody asks for, if they may.
    ///
    /// # Errors
    /// Why not.
    async fn execute(
        &self,
        access: &Access,
        command: Command,
        key: Option<IdempotencyKey>,
    ) -> Result<Answered, Problem> {
        let answer = self.carry_out(access, command, key).await?;
        Ok(Answered::new(answer, self.makers()))
    }

    /// The same, with the answer as it may be shown.
    async fn carry_out(
        &self,
        access: &Access,
        command: Command,
        key: Option<IdempotencyKey>,
    ) -> Result<Answer, Problem> {
        access.permits(&command)?;
        let sight = access.sight_of(&command);
        let done = self
            .hub
            .execute_for(access.name.clone(), command, key)
            .await;
        let answer = done.map_err(|error| Problem::told(error, access))?;
        Ok(match (&sight, &answer.body) {
            (Sight::Part(_), Some(Told::Workflow(_))) => {
                let narrowed = move || Answer {
                    body: answer.body.map(|told| sight.shown(told)),
                    ..answer
                };
                self.makers().turn(0, narrowed).await?
            }
            _ => Answer {
                body: answer.body.map(|told| sight.shown(told)),
                ..answer
            },
        })
    }

    /// Seals `nextCursor` of a list: the place may be one that its reader may not see. `None` where the system gives no
    /// random bytes.
    fn sealer(&self, list: &'static str) -> impl Fn(&str) -> Option<String> + Send + 'static {
        let door = self.door.clone();
        move |place| door.seal_cursor(list, place)
    }

    /// The place that a `cursor` of that list stands for.
    fn opened<T: std::str::FromStr>(
        &self,
        list: &str,
        cursor: Option<&str>,
    ) -> Result<Option<T>, Problem> {
        let open = |cursor: &str| {
            let place = self.door.open_cursor(list, cursor);
            let place = place.and_then(|place| place.parse().ok());
            place.ok_or_else(|| {
                Problem::query("cursor isn't a nextCursor of this list; begin again without it")
            })
        };
        cursor.map(open).transpose()
    }

    /// Where long answers are made.
    fn makers(&self) -> &Makers {
        &self.0.makers
    }

    /// What readers of one snapshot share.
    fn plans(&self) -> &Plans {
        &self.0.plans
    }

    /// Sessions of MCP clients.
    fn sessions(&self) -> &mcp::Sessions {
        &self.0.sessions
    }

    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let description = Json::of(&openapi::document()).as_str().to_owned();
        let bodies = Bodies::new(parts.config.limits.bodies_bytes);
        Self(Arc::new(Shared {
            parts,
            description: description.into(),
            bodies,
            makers: Makers::default(),
            plans: Plans::default(),
            sessions: mcp::Sessions::default(),
        }))
    }

    fn bodies(&self) -> &Bodies {
        &self.0.bodies
    }
}

/// Every route of the API, each room's on one line.
fn table() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(events::routes())
        .merge(sse::routes())
        .merge(steps::routes())
        .merge(patterns::routes())
        .merge(heartbeats::routes())
        .merge(gate::routes())
        .merge(mcp::routes())
        .merge(long_answers())
}

/// Routes whose answers may be long, compressed where the client takes that. Streams never are: it would be done
/// anew for each.
fn long_answers() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(history::routes())
        .merge(stats::routes())
        .merge(past::routes())
        .merge(workflows::routes())
        .merge(servers::routes())
        .merge(registry::routes())
        .merge(status::routes())
        .merge(openapi::routes())
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(Squeezers::default(), squeeze::bounded))
}

/// The whole service of one server.
pub fn router(app: App) -> Router {
    let entrance = EntranceLayer::new(&app.config, &app.metrics);
    let (routes, description) = table().split_for_parts();
    let methods: Arc<BTreeMap<String, HeaderValue>> = methods(&description).into();
    let paths: Arc<[String]> = description.paths.paths.into_keys().collect();
    let routes = routes
        .merge(dashboard::routes())
        .fallback(async move |uri: Uri| no_such_route(&uri, &paths))
        .method_not_allowed_fallback(async move |request: Request| not_taken(&request, &methods));
    // A door that has nothing to do costs a request nothing.
    let guarded = if app.door.is_passive() {
        routes
    } else {
        routes.layer(from_fn_with_state(app.clone(), gate::enter))
    };
    let inner = guarded.clone().with_state(app.clone());
    guarded
        .fallback(async move |request: Request| route_without_slash(inner, request).await)
        .layer(entrance)
        .with_state(app)
}

/// A path that no route matches may have a slash too many at its end; and `OPTIONS *` is about the whole hub.
async fn route_without_slash(mut routes: Router, mut request: Request) -> Response {
    let uri = request.uri();
    if request.method() == Method::OPTIONS && uri.path() == "*" {
        return (
            StatusCode::NO_CONTENT,
            [(ALLOW, "GET,HEAD,POST,PUT,DELETE,OPTIONS")],
        )
            .into_response();
    }
    let path = uri.path().trim_end_matches('/');
    if path.len() < uri.path().len() && !path.is_empty() {
        let target = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = target.parse().ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    let Ok(answer) = routes.call(request).await;
    answer
}

fn no_such_route(uri: &Uri, paths: &[String]) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    let detail = match words::nearest(&path, paths.iter().map(String::as_str)) {
        Some(near) => format!("there is nothing at {path}; did you mean {near}?"),
        None => format!("there is nothing at {path}; /openapi.json lists what there is"),
    };
    Problem::not_found("not-found", detail)
}

/// The methods of each path, as `Allow` has them.
fn methods(description: &OpenApi) -> BTreeMap<String, HeaderValue> {
    let paths = description.paths.paths.iter();
    paths
        .filter_map(|(path, item)| {
            let table = [
                ("GET,HEAD", &item.get),
                ("POST", &item.post),
                ("PUT", &item.put),
                ("DELETE", &item.delete),
            ];
            let named = table.iter().filter(|(_, operation)| operation.is_some());
            let mut methods: Vec<&str> = named.map(|(method, _)| *method).collect();
            methods.push("OPTIONS");
            Some((path.clone(), methods.join(",").parse().ok()?))
        })
        .collect()
}

/// What a path says to a method that it doesn't take: which ones it does. Who asks for just that gets no more.
fn not_taken(request: &Request, methods: &BTreeMap<String, HeaderValue>) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let mut response = if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let detail = format!("{path} doesn't take {method}; the Allow header names what it takes");
        Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "The method isn't allowed here",
            detail,
        )
        .into_response()
    };
    let route = request.extensions().get::<MatchedPath>();
    // What isn't in the description (the dashboard's files) has its `Allow` from the router.
    if let Some(allow) = route.and_then(|route| methods.get(route.as_str())) {
        response.headers_mut().insert(ALLOW, allow.clone());
    }
    response
}
