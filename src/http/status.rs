//! Reading the whole: probes, metrics, the status in numbers.

use axum::{
    extract::State as Shared,
    http::{HeaderName, HeaderValue, StatusCode, header::CACHE_CONTROL, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{App, extract::NoQuery, gate::Guest, problem::Problem, snapshot};
use crate::{
    domain::{
        Json, Position, State, event::Health, status::ServerCounts, workflow::WorkflowStatus,
    },
    door::Access,
    health::{SelfSuspect, Starved},
    hub::ClockJump,
    readiness::Reason,
};

/// `/status`, `/snapshot`, `/healthz`, `/readyz`, `/metrics`, and what they are called below `/events`.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(stats))
        .routes(routes!(snapshot::snapshot))
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(events_health))
        .routes(routes!(metrics))
}

/// The whole in numbers.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// `healthy` when all servers are, `unhealthy` when none is, `degraded` between.
    pub status: Health,
    /// Servers connected.
    #[schema(example = 12)]
    pub connected_servers: u64,
    /// Of them, healthy.
    #[schema(example = 11)]
    pub healthy_servers: u64,
    /// Servers lost by `heartbeat_timeout` and not yet back.
    #[schema(example = 0)]
    pub lost_servers: u64,
    /// Tools of connected servers.
    #[schema(example = 48)]
    pub total_tools: u64,
    /// Resources of connected servers.
    #[schema(example = 9)]
    pub total_resources: u64,
    /// Workflows that run.
    #[schema(example = 2)]
    pub active_workflows: u64,
    /// Workflows that completed since the log began.
    #[schema(example = 107)]
    pub completed_workflows: u64,
    /// Workflows that failed since the log began.
    #[schema(example = 3)]
    pub failed_workflows: u64,
    /// Streams open now.
    #[schema(example = 4)]
    pub sse_clients: u64,
    /// Names of the patterns that are switched on.
    #[schema(example = json!(["event_driven", "sse_integration"]))]
    pub enabled_patterns: Vec<String>,
    /// The hub doubts itself: most of the fleet fell silent at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_suspect: Option<SelfSuspect>,
    /// The hub gets too little CPU time: its own timers are late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starved: Option<Starved>,
    /// The log can't be written, so that no event says this yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub unsaved: bool,
    /// Of keys and certificates, those whose new files can't be read, so that the old ones stay in force: `api_keys`, `jwks`,
    /// `certificate`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, value_type = Vec<String>, example = json!(["api_keys"]))]
    pub stale_credentials: Vec<&'static str>,
    /// The wall clock jumped forward, so pruning by age rests for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_jump: Option<ClockJump>,
    /// The last event that these numbers take in.
    #[schema(value_type = String, example = "k3x9q1m2v7za-42")]
    pub last_event_id: Position,
    /// Milliseconds since the hub started.
    #[schema(example = 86_400_000)]
    pub uptime_ms: u64,
}

impl StatusView {
    /// The numbers of one cut of the state, or of what somebody may see of it.
    #[must_use]
    pub fn of(app: &App, state: &State, access: &Access) -> Self {
        let whole = Self::whole(app, state);
        if access.reads_everything() {
            return whole;
        }
        whole.narrowed(state, access)
    }

    /// The same numbers for what somebody may see. What says how the hub itself is stays.
    fn narrowed(self, state: &State, access: &Access) -> Self {
        let (mut counts, mut tools, mut resources) = (ServerCounts::default(), 0, 0);
        for server in state
            .servers
            .after(None)
            .filter(|server| access.sees_server(server))
        {
            counts.lost += u64::from(server.lost);
            if server.gone_at.is_none() {
                counts.connected += 1;
                counts.healthy += u64::from(server.health == Health::Healthy);
                tools += server.connection.capabilities.tools.len() as u64;
                resources += server.connection.capabilities.resources.len() as u64;
            }
        }
        let (mut active, mut completed, mut failed) = (0, 0, 0);
        for workflow in state
            .workflows
            .after(None)
            .filter(|workflow| access.sees_workflow(&workflow.id))
        {
            match workflow.status() {
                WorkflowStatus::Running => active += 1,
                WorkflowStatus::Completed => completed += 1,
                WorkflowStatus::Failed | WorkflowStatus::Cancelled => failed += 1,
            }
        }
        Self {
            status: counts.status(),
            connected_servers: counts.connected,
            healthy_servers: counts.healthy,
            lost_servers: counts.lost,
            total_tools: tools,
            total_resources: resources,
            active_workflows: active,
            completed_workflows: completed,
            failed_workflows: failed,
            enabled_patterns: state
                .patterns
                .iter()
                .filter_map(|pattern| access.shows_pattern(pattern))
                .filter(|pattern| pattern.enabled)
                .map(|pattern| pattern.name.clone())
                .collect(),
            ..self
        }
    }

    fn whole(app: &App, state: &State) -> Self {
        let lived = app.hub.lived_ms();
        let mut counts = state.servers.counts_at(lived, app.hub.policy());
        let mut status = state.status_at(lived, app.hub.policy());
        let turned = unsaved_turns(app, state);
        let unsaved = turned != 0;
        if unsaved {
            counts.healthy = counts.healthy.saturating_add_signed(turned);
            status = counts.status();
        }
        let tally = state.servers.tally();
        let (completed_workflows, failed_workflows) = state.workflows.ended();
        Self {
            status,
            connected_servers: counts.connected,
            healthy_servers: counts.healthy,
            lost_servers: counts.lost,
            total_tools: tally.tools,
            total_resources: tally.resources,
            active_workflows: state.workflows.active(),
            completed_workflows,
            failed_workflows,
            sse_clients: u64::try_from(app.metrics.streams.get()).unwrap_or_default(),
            enabled_patterns: state
                .patterns
                .iter()
                .filter(|pattern| pattern.enabled)
                .map(|pattern| pattern.name.clone())
                .collect(),
            self_suspect: app.leases.suspect(),
            starved: app.leases.starved(),
            unsaved,
            stale_credentials: app.metrics.stale_credentials(),
            clock_jump: app.hub.clock_jump(),
            last_event_id: app.hub.name(state.sequence),
            uptime_ms: app.hub.clock().mono_ms(),
        }
    }
}

/// How many servers more (or fewer) are healthy than the state says, for the log can't be written. Nobody is asked while
/// it can.
fn unsaved_turns(app: &App, state: &State) -> i64 {
    if app.hub.trouble().is_none() {
        return 0;
    }
    let connected = state
        .servers
        .after(None)
        .filter(|server| server.is_connected());
    connected
        .map(|server| {
            let shown = super::servers::view(app, server).health;
            i64::from(shown == Health::Healthy) - i64::from(server.health == Health::Healthy)
        })
        .sum()
}

/// The whole in numbers
#[utoipa::path(get, path = "/status", tag = "state", responses((status = 200, body = StatusView)))]
async fn status(Shared(app): Shared<App>, guest: Guest, _: NoQuery) -> Result<Response, Problem> {
    let view = StatusView::of(&app, &app.hub.state(), &guest);
    Ok(answer(&view))
}

/// The same as `/status`
#[utoipa::path(get, path = "/events/stats", tag = "state", responses((status = 200, body = StatusView)))]
async fn stats(app: Shared<App>, guest: Guest, none: NoQuery) -> Result<Response, Problem> {
    status(app, guest, none).await
}

/// Whether the process is alive.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Alive {
    /// `alive`.
    #[schema(example = "alive")]
    pub status: &'static str,
}

/// Whether the process is alive
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, body = Alive)))]
async fn healthz() -> Response {
    answer(&Alive { status: "alive" })
}

/// Whether the hub can do its work.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Ready {
    /// Whether it can.
    pub ready: bool,
    /// Why it can't; empty where it can.
    pub reasons: Vec<Reason>,
}

/// Whether the hub can do its work
///
/// `503` while it loads, drains or can't write, with the reasons.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses((status = 200, body = Ready)))]
async fn readyz(Shared(app): Shared<App>) -> Response {
    readiness(reasons(&app))
}

/// The same as `/readyz`
#[utoipa::path(get, path = "/events/health", tag = "operation", responses((status = 200, body = Ready)))]
async fn events_health(app: Shared<App>) -> Response {
    readyz(app).await
}

fn reasons(app: &App) -> Vec<Reason> {
    let mut reasons = app.readiness.reasons();
    if let Some(trouble) = app.hub.trouble() {
        reasons.push(Reason {
            reason: trouble.reason,
            detail: trouble.detail.clone(),
        });
    }
    reasons
}

fn readiness(reasons: Vec<Reason>) -> Response {
    if reasons.is_empty() {
        return answer(&Ready {
            ready: true,
            reasons,
        });
    }
    let told: Vec<&str> = reasons
        .iter()
        .map(|reason| reason.detail.as_str())
        .collect();
    let problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not-ready",
        "The hub isn't ready",
        told.join("; "),
    );
    problem
        .with("ready", &false)
        .with("reasons", &reasons)
        .into_response()
}

/// Metrics in Prometheus's text format
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4"))
)]
async fn metrics(Shared(app): Shared<App>) -> Response {
    measure(&app);
    let headers: [(HeaderName, &str); 2] = [
        (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, app.metrics.render()).into_response()
}

/// Brings the gauges up to date that follow from what the log and the state are at this moment.
fn measure(app: &App) {
    let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let (info, state, metrics) = (app.hub.reader().info(), app.hub.state(), &app.metrics);
    metrics.log_bytes.set(gauge(info.bytes));
    metrics.log_floor.set(gauge(info.floor));
    metrics.log_head.set(gauge(info.head));
    metrics
        .workflows_running
        .set(gauge(state.workflows.active()));
    let tally = state.servers.tally();
    let lost = state
        .servers
        .counts_at(app.hub.lived_ms(), app.hub.policy())
        .lost;
    let by_health = [
        ("healthy", tally.healthy),
        ("degraded", tally.degraded),
        ("unhealthy", tally.unhealthy),
        ("lost", lost),
    ];
    for (health, count) in by_health {
        metrics
            .servers
            .with_label_values(&[health])
            .set(gauge(count));
    }
}

/// `200` with a body that is true at this moment only.
pub(super) fn answer<T: Serialize + ?Sized>(body: &T) -> Response {
    json_response(StatusCode::OK, Json::of(body).as_str().to_owned())
}

/// JSON text as a response that nobody keeps.
pub(super) fn json_response(status: StatusCode, body: String) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readiness_says_why_not() {
        assert_eq!(readiness(Vec::new()).status(), 200);
        let reason = Reason {
            reason: "disk_full",
            detail: "the disk is full".to_owned(),
        };
        let response = readiness(vec![reason]);
        assert_eq!(response.status(), 503);
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .expect("a body");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["type"], "not-ready");
        assert_eq!(body["ready"], false);
        assert_eq!(body["reasons"][0]["reason"], "disk_full");
        assert_eq!(body["detail"], "the disk is full");
    }
}
