//! Long answers are compressed for clients that take it, a bounded number of them at a time: each that is being
//! compressed takes some 300 KB until its reader has all of it. Beyond that they are sent as they are.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::header::{ACCEPT_ENCODING, CONTENT_ENCODING},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers that are compressed at a time, at most.
const AT_ONCE: usize = 128;

/// How many more answers may be compressed. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Squeezers(Arc<Semaphore>);

impl Default for Squeezers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Lets the layer within see that the client takes compressed answers only where there is room for one more.
pub(super) async fn bounded(
    State(squeezers): State<Squeezers>,
    mut request: Request,
    next: Next,
) -> Response {
    if !request.headers().contains_key(ACCEPT_ENCODING) {
        return next.run(request).await;
    }
    let Ok(permit) = squeezers.0.try_acquire_owned() else {
        request.headers_mut().remove(ACCEPT_ENCODING);
        return next.run(request).await;
    };
    let response = next.run(request).await;
    if !response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    response.map(|body| {
        Body::new(Held {
            body,
            _permit: permit,
        })
    })
}

/// A body and its place among those that are compressed.
struct Held {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, middleware::from_fn_with_state, routing::get};
    use tower::ServiceExt;
    use tower_http::compression::CompressionLayer;

    use super::*;

    #[tokio::test]
    async fn beyond_the_bound_answers_are_sent_as_they_are() {
        let squeezers = Squeezers(Arc::new(Semaphore::new(1)));
        let routes = Router::new()
            .route("/", get(async || "x".repeat(10_000)))
            .layer(CompressionLayer::new())
            .layer(from_fn_with_state(squeezers, bounded));
        let ask = async || {
            let request = Request::builder()
                .uri("/")
                .header(ACCEPT_ENCODING, "gzip")
                .body(Body::empty());
            let reply = routes.clone().oneshot(request.expect("a request")).await;
            reply.expect("infallible")
        };
        let is_compressed = |reply: &Response| reply.headers().contains_key(CONTENT_ENCODING);
        let first = ask().await;
        assert!(is_compressed(&first));
        assert!(!is_compressed(&ask().await), "the first isn't read yet");
        drop(first);
        assert!(is_compressed(&ask().await));
    }
}
