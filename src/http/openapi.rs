//! The API's own description, made from the handlers: OpenAPI 3.1 at `/openapi.json`.

use axum::{
    extract::State as Shared,
    http::{HeaderName, header::CACHE_CONTROL, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use utoipa::{
    OpenApi,
    openapi::{Content, HttpMethod, PathItem, Ref, RefOr, ResponseBuilder, path::Operation},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{App, shapes::ProblemBody};

/// `/openapi.json`.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(openapi))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "timeback-events",
        description = "A durable, resumable event hub for fleets of MCP servers: plain POSTs in, Server-Sent Events out.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(ProblemBody)),
    tags(
        (name = "events", description = "Append, follow and read events"),
        (name = "servers", description = "Register MCP servers and keep them alive"),
        (name = "workflows", description = "Start workflows, claim and report their steps"),
        (name = "patterns", description = "Switch ways of working together on and off"),
        (name = "state", description = "Read the whole"),
        (name = "mcp", description = "The hub as an MCP server, and as a registry of them"),
        (name = "operation", description = "Probes and metrics"),
    )
)]
struct Base;

/// What stands in the description before any route is added.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// The description of the whole API.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    finish(super::table().into_openapi())
}

/// Adds to every operation what all of them share: errors are problems.
fn finish(mut api: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for item in api.paths.paths.values_mut() {
        for (_, operation) in operations(item) {
            let problem = || {
                let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
                ResponseBuilder::new()
                    .description("A problem (RFC 9457)")
                    .content("application/problem+json", Content::new(Some(schema)))
                    .build()
            };
            let responses = &mut operation.responses.responses;
            responses
                .entry("default".to_owned())
                .or_insert_with(|| problem().into());
        }
    }
    api
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Delete, &mut item.delete),
        (HttpMethod::Patch, &mut item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// The API's description
#[utoipa::path(get, path = "/openapi.json", tag = "operation", responses((status = 200, body = serde_json::Value)))]
async fn openapi(Shared(app): Shared<App>) -> Response {
    let headers: [(HeaderName, &str); 2] = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, app.0.description.clone()).into_response()
}
