//! Patterns: what is switched on, and the switches.

use std::sync::Arc;

use axum::{extract::State as Shared, response::Response};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    answered::Answered,
    extract::{Change, NoQuery, PathId},
    gate::Guest,
    problem::Problem,
    shapes::Warned,
    status::answer,
};
use crate::{
    domain::{Command, command::SwitchPattern, event::Pattern, pattern::PatternName},
    filter::query::Query,
};

/// `/patterns`.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, switch))
}

/// All patterns: there are never more than fit a page.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct PatternsBody {
    /// The patterns, in order of their names.
    #[schema(value_type = Vec<Pattern>)]
    patterns: Vec<Arc<Pattern>>,
    /// Always `null`.
    next_cursor: Option<String>,
}

/// All patterns
#[utoipa::path(get, operation_id = "list_patterns", path = "/patterns", tag = "patterns", responses((status = 200, body = PatternsBody)))]
async fn list(Shared(app): Shared<App>, guest: Guest, query: Query) -> Result<Response, Problem> {
    query.only(&["limit", "cursor"], &[])?;
    let state = app.hub.state();
    let patterns = state.patterns.iter();
    let patterns = patterns.filter_map(|pattern| guest.shows_pattern(pattern));
    let patterns = patterns.collect();
    Ok(answer(&PatternsBody {
        patterns,
        next_cursor: None,
    }))
}

/// One pattern
#[utoipa::path(
    get,
    operation_id = "get_pattern",
    path = "/patterns/{name}",
    tag = "patterns",
    params(("name" = String, Path, description = "The pattern", example = "server_chaining")),
    responses((status = 200, body = Pattern))
)]
async fn one(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(name): PathId<PatternName>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let state = app.hub.state();
    let pattern = state.patterns.get(name.as_str());
    match pattern.and_then(|pattern| guest.shows_pattern(pattern)) {
        Some(pattern) => Ok(answer(&pattern)),
        None => Err(Problem::not_found(
            "pattern-not-found",
            format!("there is no pattern {name}"),
        )),
    }
}

/// Switches a pattern on or off
///
/// One that isn't there yet comes into being. An event only on a change.
#[utoipa::path(
    put,
    path = "/patterns/{name}",
    tag = "patterns",
    params(("name" = String, Path, description = "The pattern", example = "server_chaining")),
    request_body(content = serde_json::Value, description = "`{enabled, description?}`", example = json!({"enabled": true})),
    responses((status = 200, body = Warned<Pattern>))
)]
async fn switch(
    Shared(app): Shared<App>,
    guest: Guest,
    PathId(name): PathId<PatternName>,
    change: Change,
) -> Result<Answered, Problem> {
    let switch = SwitchPattern::parse(change.required()?, "", &name)?;
    let command = Command::SwitchPattern(switch);
    let warnings = change.unknown(&SwitchPattern::SHAPE);
    let answer = app.execute(&guest, command, change.key).await?;
    Ok(answer.with(warnings))
}
