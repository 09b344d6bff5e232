use axum::{
    Router,
    body::to_bytes,
    http::{HeaderValue, Request as HttpRequest},
    routing::get,
};
use tower::ServiceExt;

use super::*;
use crate::domain::{StepId, WorkflowId};

fn limits() -> Limits {
    crate::Config::default().limits
}

#[test]
fn media_types_are_read_without_their_parameters() {
    let other = |text: &str| MediaType::Other(text.to_owned());
    let table = [
        ("application/json", MediaType::Json),
        ("Application/JSON; charset=utf-8", MediaType::Json),
        ("application/vnd.example+json", MediaType::Json),
        ("application/cloudevents+json", MediaType::CloudEvent),
        (
            "application/cloudevents-batch+json;charset=UTF-8",
            MediaType::CloudEventBatch,
        ),
        ("text/plain", other("text/plain")),
        ("+json", other("+json")),
        (
            "application/x-www-form-urlencoded",
            other("application/x-www-form-urlencoded"),
        ),
    ];
    for (text, expected) in table {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
        assert_eq!(MediaType::of(&headers), expected, "{text}");
    }
    assert_eq!(MediaType::of(&HeaderMap::new()), other(""));
}

async fn change(
    headers: &[(&str, &str)],
    path: &str,
    caller: Option<&str>,
    body: &str,
) -> Result<RawChange, Problem> {
    let mut request = HttpRequest::builder().method("POST").uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request
        .body(Body::from(body.to_owned()))
        .expect("a request");
    if let Some(caller) = caller {
        request.extensions_mut().insert(Caller(caller.to_owned()));
    }
    let site = crate::http::tests::Site::with(crate::Config::default());
    RawChange::from_request(request, &site.app).await
}

#[tokio::test]
async fn keys_are_of_a_caller_a_path_and_a_body() {
    let key = [("idempotency-key", "k")];
    let of = async |path: &str, caller: Option<&str>, body: &str| {
        change(&key, path, caller, body)
            .await
            .expect("a change")
            .key
            .expect("a key")
    };
    let first = of("/events", None, "{}").await;
    assert_eq!(of("/events", None, "{}").await, first);
    let other_body = of("/events", None, "[]").await;
    assert_eq!(other_body.key, first.key);
    assert_ne!(other_body.request, first.request);
    assert_ne!(of("/servers", None, "{}").await.key, first.key);
    assert_ne!(of("/events", Some("ann"), "{}").await.key, first.key);
    assert!(
        change(&[], "/events", None, "{}")
            .await
            .expect("a change")
            .key
            .is_none()
    );
}

#[tokio::test]
async fn the_headers_of_a_cloud_event_are_part_of_its_request() {
    let of = async |kind: &str| {
        let headers = [
            ("idempotency-key", "k"),
            ("ce-specversion", "1.0"),
            ("ce-type", kind),
        ];
        change(&headers, "/events", None, "{}")
            .await
            .expect("a change")
            .key
            .expect("a key")
    };
    assert_eq!(of("a.b").await, of("a.b").await);
    assert_ne!(of("a.b").await.request, of("a.c").await.request);
}

#[tokio::test]
async fn keys_are_visible_ascii_and_given_once() {
    let long = "x".repeat(256);
    for bad in [
        vec![""],
        vec!["a b"],
        vec!["ä"],
        vec![&long],
        vec!["a", "b"],
    ] {
        let headers: Vec<(&str, &str)> = bad.iter().map(|key| ("idempotency-key", *key)).collect();
        let problem = change(&headers, "/events", None, "")
            .await
            .expect_err("refused");
        assert_eq!(problem.slug, "invalid-idempotency-key", "{bad:?}");
    }
    assert!(
        change(&[("idempotency-key", &long[..255])], "/events", None, "")
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_times_out() {
    let stream = tokio_stream::pending::<Result<Bytes, std::io::Error>>();
    let problem = read_body(Body::from_stream(stream), &limits(), &Bodies::new(1 << 20))
        .await
        .expect_err("refused");
    assert_eq!(problem.status, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let chunk = Bytes::from(vec![b' '; limits().body_bytes / 2 + 1]);
    let chunks = [Ok::<_, std::io::Error>(chunk.clone()), Ok(chunk)];
    let problem = read_body(
        Body::from_stream(tokio_stream::iter(chunks)),
        &limits(),
        &Bodies::new(1 << 20),
    )
    .await
    .expect_err("refused");
    assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
    let broken = [
        Ok(Bytes::from_static(b"{")),
        Err(std::io::Error::other("gone")),
    ];
    let problem = read_body(
        Body::from_stream(tokio_stream::iter(broken)),
        &limits(),
        &Bodies::new(1 << 20),
    )
    .await
    .expect_err("refused");
    assert_eq!(problem.slug, "incomplete-body");
}

#[test]
fn depth_counts_brackets_outside_of_strings() {
    for (text, expected) in [
        ("1", 0),
        ("[]", 1),
        (r#"{"a":[{}]}"#, 3),
        (r#"["[[","\"[["]"#, 1),
        (r#"["\\",[]]"#, 2),
    ] {
        assert_eq!(depth(text.as_bytes()), expected, "{text}");
    }
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(parse_json(nested(MAX_DEPTH).as_bytes()).is_ok());
    let problem = parse_json(nested(MAX_DEPTH + 1).as_bytes()).expect_err("refused");
    assert_eq!(
        (problem.slug, problem.limit),
        ("malformed-json", Some(Limit::JsonDepth))
    );
    // The parser gives up there.
    let problem = parse_json(nested(10_000).as_bytes()).expect_err("refused");
    assert_eq!(problem.limit, Some(Limit::JsonDepth));
}

#[tokio::test]
async fn ids_of_the_path_are_taken_in_order() {
    async fn both(PathId(workflow): PathId<WorkflowId>, PathId(step): PathId<StepId>) -> String {
        format!("{workflow} {step}")
    }
    let router: Router = Router::new().route("/workflows/{id}/steps/{step}", get(both));
    let ask = async |path: &str| {
        let request = HttpRequest::builder()
            .uri(path)
            .body(Body::empty())
            .expect("a request");
        let response = router.clone().oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 4096).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
    };
    assert_eq!(
        ask("/workflows/w%2E1/steps/s:2").await,
        (200, "w.1 s:2".to_owned())
    );
    for bad in ["/workflows/w/steps/a%20b", "/workflows/%ff/steps/s"] {
        let (status, body) = ask(bad).await;
        assert!(
            status == 400 && body.contains("invalid-path"),
            "{bad}: {body}"
        );
    }
}
