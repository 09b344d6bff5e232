//! The one layer around every route: the door, the switch `INTEGRATION_ENABLED`, metrics, the access log,
//! and a panic's problem. One service instead of a stack of them, because every request pays for each.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderValue, Method, StatusCode, header::X_CONTENT_TYPE_OPTIONS},
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{
    guard::{Cors, Door, Verdict},
    problem::Problem,
};
use crate::{config::Config, domain::Limit, metrics::Metrics};

/// Routes that stay where the integration is switched off.
const ALWAYS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Whether what is at this path stays, slashes at its end or not.
fn is_always(path: &str) -> bool {
    ALWAYS.contains(&path.trim_end_matches('/'))
}

/// Wraps routes in [`Entrance`].
#[derive(Clone)]
pub(super) struct EntranceLayer(Arc<Shared>);

struct Shared {
    door: Door,
    enabled: bool,
    metrics: Metrics,
}

impl EntranceLayer {
    /// The layer for one server.
    pub(super) fn new(config: &Config, metrics: &Metrics) -> Self {
        let door = Door::new(&config.web, &config.listen);
        Self(Arc::new(Shared {
            door,
            enabled: config.enabled,
            metrics: metrics.clone(),
        }))
    }
}

impl<S> Layer<S> for EntranceLayer {
    type Service = Entrance<S>;

    fn layer(&self, inner: S) -> Entrance<S> {
        Entrance {
            inner,
            shared: self.0.clone(),
        }
    }
}

/// A route behind the door.
#[derive(Clone)]
pub(super) struct Entrance<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request> for Entrance<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let mut visit = Visit {
            shared: self.shared.clone(),
            began: Instant::now(),
            method: method_label(request.method()),
            route,
            cors: Cors::default(),
        };
        let outcome = match self.shared.door.judge(&request) {
            Verdict::Pass(cors) => {
                visit.cors = cors;
                if self.shared.enabled || is_always(request.uri().path()) {
                    return Answering {
                        step: Step::Asked {
                            future: self.inner.call(request),
                        },
                        visit: Some(visit),
                    };
                }
                disabled().into_response()
            }
            Verdict::Preflight(response) => response,
            Verdict::Refuse(problem) => problem.into_response(),
        };
        Answering {
            step: Step::Known {
                response: Some(outcome),
            },
            visit: Some(visit),
        }
    }
}

pin_project! {
    /// An answer on its way.
    pub(super) struct Answering<F> {
        #[pin]
        step: Step<F>,
        visit: Option<Visit>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F> {
        Asked { #[pin] future: F },
        Known { response: Option<Response> },
    }
}

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match this.step.project() {
            // A handler that panics is never polled again, so nobody sees what it left half done.
            StepProjection::Asked { future } => {
                match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                    Ok(polled) => match ready!(polled) {
                        Ok(response) => response,
                        Err(never) => match never {},
                    },
                    Err(_) => panicked().into_response(),
                }
            }
            StepProjection::Known { response } => response.take().unwrap_or_default(),
        };
        if let Some(visit) = this.visit.take() {
            visit.end(&mut response);
        }
        Poll::Ready(Ok(response))
    }
}

/// What is known of one request from beginning to end.
struct Visit {
    shared: Arc<Shared>,
    began: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    cors: Cors,
}

impl Visit {
    fn route_label(&self) -> &str {
        self.route.as_ref().map_or("unmatched", MatchedPath::as_str)
    }

    fn end(self, response: &mut Response) {
        let (route, method, status) = (self.route_label(), self.method, response.status());
        let seconds = self.began.elapsed().as_secs_f64();
        let metrics = &self.shared.metrics;
        metrics
            .requests
            .with_label_values(&[route, method, status.as_str()])
            .inc();
        metrics
            .request_seconds
            .with_label_values(&[route])
            .observe(seconds);
        tracing::debug!(
            http.method = method,
            http.route = route,
            http.status = status.as_u16(),
            ms = seconds * 1000.0,
            "{method} {route} {}",
            status.as_u16()
        );
        if let Some(limit) = response.extensions().get::<Limit>() {
            metrics
                .limit_reached
                .with_label_values(&[limit.name()])
                .inc();
        }
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        self.cors.apply(headers);
    }
}

/// A client may invent methods; a metric's labels must stay few.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

fn disabled() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "integration-disabled",
        "The integration is switched off",
        "INTEGRATION_ENABLED is false; only /healthz, /readyz and /metrics answer",
    )
}

fn panicked() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal-error",
        "Something went wrong in the hub",
        "the hub met an error of its own while answering; its log has the details",
    )
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;

    fn router(config: &Config) -> (Router, Metrics) {
        async fn broken() -> &'static str {
            panic!("on purpose")
        }
        let metrics = Metrics::new().expect("metrics");
        let router = Router::new()
            .route("/healthz", get(async || "alive"))
            .route("/servers/{id}", get(async || "a server"))
            .route("/broken", get(broken))
            .layer(EntranceLayer::new(config, &metrics));
        (router, metrics)
    }

    async fn ask(router: &Router, method: &str, uri: &str, host: &str) -> Response {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", host);
        let request = request.body(Body::empty()).expect("a request");
        router.clone().oneshot(request).await.expect("infallible")
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_method_and_status() {
        let (router, metrics) = router(&Config::default());
        for (method, uri, host, status) in [
            ("GET", "/servers/a", "localhost", 200),
            ("GET", "/servers/b", "localhost", 200),
            ("GET", "/servers/a", "evil.example", 403),
            ("POST", "/servers/a", "localhost", 405),
            ("BREW", "/nowhere", "localhost", 404),
        ] {
            assert_eq!(
                ask(&router, method, uri, host).await.status(),
                status,
                "{method} {uri} {host}"
            );
        }
        let count = |labels: [&str; 3]| metrics.requests.with_label_values(&labels).get();
        assert_eq!(count(["/servers/{id}", "GET", "200"]), 2);
        assert_eq!(count(["/servers/{id}", "GET", "403"]), 1);
        assert_eq!(count(["/servers/{id}", "POST", "405"]), 1);
        assert_eq!(count(["unmatched", "other", "404"]), 1);
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_and_the_hub_goes_on() {
        let (router, _) = router(&Config::default());
        let response = ask(&router, "GET", "/broken", "localhost").await;
        assert_eq!(response.status(), 500);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let response = ask(&router, "GET", "/healthz", "localhost").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }

    #[tokio::test]
    async fn switched_off_it_answers_probes_only() {
        let (router, _) = router(&Config {
            enabled: false,
            ..Config::default()
        });
        assert_eq!(
            ask(&router, "GET", "/healthz", "localhost").await.status(),
            200
        );
        assert_eq!(
            ask(&router, "GET", "/servers/a", "localhost")
                .await
                .status(),
            503
        );
        assert_eq!(
            ask(&router, "GET", "/nowhere", "localhost").await.status(),
            503
        );
    }
}
