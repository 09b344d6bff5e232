//! Requests over a real socket: path, query, headers and body of each kind of request, mutated.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::Value;
use timeback_events::Config;
use tokio_util::sync::CancellationToken;

use super::{cases, mutate::mutated};

const CASES: u64 = 3_000;

/// A request that makes sense.
struct Seed {
    method: String,
    target: Vec<u8>,
    kind: String,
    body: Vec<u8>,
}

type Http = legacy::Client<legacy::connect::HttpConnector, Full<Bytes>>;

#[tokio::test]
async fn every_refusal_is_a_problem_and_no_answer_is_a_servers_error() {
    let mut config = Config {
        data_dir: None,
        ..Config::default()
    };
    config.limits.requests_per_address = 0;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(timeback_events::serve(config, listener, shutdown.clone()));
    let http: Http = legacy::Client::builder(TokioExecutor::new()).build_http();

    let seeds = seeds();
    let bodies = bodies();
    let targets: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.target.clone()).collect();
    let mut taken = 0;
    let mut refused = 0;
    for (mut case, mut chance) in cases(CASES) {
        let seed = chance.pick(&seeds);
        let target = if chance.one_in(2) {
            mutated(&mut chance, &seed.target, &targets)
        } else {
            seed.target.clone()
        };
        let body = if seed.body.is_empty() || chance.one_in(3) {
            seed.body.clone()
        } else {
            mutated(&mut chance, &seed.body, &bodies)
        };
        let method = if chance.one_in(30) {
            chance.word(&["PATCH", "HEAD", "OPTIONS", "PUT", "GET", "POST"])
        } else {
            &seed.method
        };
        let uri = format!("{base}{}", encoded(&target));
        case.note(format!(
            "{method} {uri}\n{}",
            String::from_utf8_lossy(&body)
        ));
        let mut request = Request::builder().method(method).uri(&uri);
        if !seed.kind.is_empty() {
            request = request.header(CONTENT_TYPE, &seed.kind);
        }
        // What can't be sent can't do harm.
        let Ok(request) = request.body(Full::new(Bytes::from(body))) else {
            continue;
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), http.request(request))
            .await
            .expect("an answer in time")
            .expect("an answer");
        let (head, body) = answer.into_parts();
        assert!(!head.status.is_server_error(), "{}", head.status);
        let kind = head.headers.get(CONTENT_TYPE).cloned();
        if kind
            .as_ref()
            .is_some_and(|kind| kind == "text/event-stream")
        {
            assert_eq!(head.status, StatusCode::OK);
            continue;
        }
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        if head.status.is_client_error() && method != "HEAD" {
            refused += 1;
            assert_eq!(kind.expect("a type"), "application/problem+json");
            let problem: Value = serde_json::from_slice(&bytes).expect("a problem is JSON");
            assert_eq!(problem["status"], head.status.as_u16(), "{problem}");
            for member in ["type", "title", "detail"] {
                let text = problem[member].as_str().expect("a text");
                assert!(!text.is_empty(), "{problem}");
            }
        } else {
            taken += 1;
        }
    }
    println!("{taken} taken, {refused} refused");
    let alive = http
        .get(format!("{base}/readyz").parse().expect("a URI"))
        .await;
    assert_eq!(alive.expect("an answer").status(), StatusCode::OK);
    shutdown.cancel();
    serving.await.expect("no panic").expect("it stops in order");
}

/// All seeds, sorted by name.
fn seeds() -> Vec<Seed> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/requests");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("the corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("text");
            let (head, body) = text.split_once("\n\n").expect("a head and a body");
            let mut lines = head.lines();
            let line = lines.next().expect("a request line");
            let (method, target) = line.split_once(' ').expect("a method and a target");
            Seed {
                method: method.to_owned(),
                target: target.as_bytes().to_vec(),
                kind: lines.next().unwrap_or_default().to_owned(),
                body: body.as_bytes().to_vec(),
            }
        })
        .collect()
}

/// The bodies of all seeds.
pub(crate) fn bodies() -> Vec<Vec<u8>> {
    let bodies = seeds().into_iter().map(|seed| seed.body);
    bodies.filter(|body| !body.is_empty()).collect()
}

/// Percent-encodes what no URI may hold.
fn encoded(target: &[u8]) -> String {
    let mut out = String::new();
    for byte in target {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if out.starts_with('/') {
        out
    } else {
        format!("/{out}")
    }
}
