//! Streams live by the right that they were opened with; a hub off loopback is never open by accident.

use bytes::Bytes;
use http::{Method, Request, header::HeaderMap};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use timeback_events::{
    Config, ServeError,
    door::{
        Restrictions,
        keys::{KeyFile, NewKey},
    },
    serve,
};
use tokio_util::sync::CancellationToken;

use crate::support::{EncryptedHub, EventStream, TestHub};

fn key(name: &str, scopes: &[&str], server: Option<&str>) -> NewKey {
    NewKey {
        name: name.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        restrictions: Restrictions {
            server_ids: server.map(|id| vec![id.parse().expect("an id")]),
            ..Restrictions::default()
        },
        expires_at: None,
    }
}

#[tokio::test]
async fn a_stream_shows_what_its_key_may_read_and_ends_when_the_key_is_revoked() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("keys.json");
    let narrow = KeyFile::add(&file, key("narrow", &["read"], Some("a")), 0).expect("a key");
    let admin = KeyFile::add(&file, key("admin", &["admin"], None), 0).expect("a key");
    let hub = TestHub::start_with(|config| config.auth.api_keys = Some(file.clone())).await;
    assert_eq!(hub.client.get("/status").await.status, 401);

    let [narrow, admin] = [narrow, admin].map(|key| format!("Bearer {key}"));
    let mut stream = EventStream::open(hub.address, "/events", &[("authorization", &narrow)]).await;
    stream.opened("live").await;
    for id in ["b", "a"] {
        let body = json!({"id": id, "name": id, "transport": "http"}).to_string();
        let headers = [
            ("authorization", admin.as_str()),
            ("content-type", "application/json"),
        ];
        let reply = hub
            .client
            .send(Method::POST, "/servers", &headers, body)
            .await;
        assert_eq!(reply.status, 201);
    }
    assert_eq!(stream.next_event().await.json()["serverId"], "a");

    KeyFile::revoke(&file, "narrow").expect("it is there");
    let closing = stream.next_named("stream_closing").await;
    assert_eq!(closing.json()["reason"], "credentials_expired");
    assert!(stream.next_or_end().await.is_none());
    let refused = hub
        .client
        .send(
            Method::GET,
            "/events",
            &[("authorization", narrow.as_str())],
            "",
        )
        .await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn a_hub_that_others_reach_does_not_start_without_a_word_about_who_may() {
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let listener = || std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let mut config = Config {
        data_dir: None,
        ..Config::default()
    };
    let refused = serve(config.clone(), listener(), shutdown.clone()).await;
    assert!(
        matches!(refused, Err(ServeError::OpenByAccident)),
        "{refused:?}"
    );
    config.auth.open = true;
    serve(config, listener(), shutdown)
        .await
        .expect("it was said plainly");
}

#[tokio::test]
async fn over_http_2_a_session_changes_from_its_own_pages_only() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("keys.json");
    let admin = KeyFile::add(&file, key("admin", &["admin"], None), 0).expect("a key");
    let server = EncryptedHub::start_with(|config| config.auth.api_keys = Some(file)).await;
    let io = TokioIo::new(server.connect("h2").await);
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io)
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    let own = format!("https://localhost:{}", server.hub.address.port());
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{own}{path}"))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::from(body.to_owned()))
            .expect("a request");
        let answer = sender
            .clone()
            .send_request(request)
            .await
            .expect("an answer");
        let headers: HeaderMap = answer.headers().clone();
        (answer.status().as_u16(), headers)
    };
    let bearer = format!("Bearer {admin}");
    let (status, headers) = ask("POST", "/session", &[("authorization", &bearer)], "").await;
    let set = headers["set-cookie"].to_str().expect("text").to_owned();
    assert_eq!(status, 200);
    assert!(set.ends_with("HttpOnly; SameSite=Strict; Secure"), "{set}");
    let cookie = set.split(';').next().expect("a cookie");
    let plain = own.replacen("https", "http", 1);
    for (origin, status) in [
        (own.as_str(), 200),
        (plain.as_str(), 403),
        ("https://evil.example", 403),
    ] {
        let headers = [("cookie", cookie), ("origin", origin)];
        let switched = ask("PUT", "/patterns/mine", &headers, r#"{"enabled":true}"#).await;
        assert_eq!(switched.0, status, "{origin}");
    }
    let headers = [("cookie", cookie), ("origin", own.as_str())];
    assert_eq!(ask("DELETE", "/session", &headers, "").await.0, 204);
    assert_eq!(ask("GET", "/status", &headers, "").await.0, 401);
}

#[tokio::test]
async fn whoever_waits_for_work_gets_none_once_the_key_is_revoked() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("keys.json");
    let worker = KeyFile::add(&file, key("worker", &["read", "report"], None), 0).expect("a key");
    let admin = KeyFile::add(&file, key("admin", &["admin"], None), 0).expect("a key");
    let hub = TestHub::start_with(|config| config.auth.api_keys = Some(file.clone())).await;
    let [worker, admin] = [worker, admin].map(|key| format!("Bearer {key}"));
    let headers = [("authorization", worker.as_str())];
    let mut stream = EventStream::open(hub.address, "/events", &headers).await;
    stream.opened("live").await;
    // Whether it is in before the key is revoked or not, it gets no work.
    let client = hub.client.clone();
    let asking = worker.clone();
    let waiting = tokio::spawn(async move {
        let headers = [("authorization", asking.as_str())];
        let path = "/steps?serverId=w&status=ready&wait=60s";
        client.send(Method::GET, path, &headers, "").await
    });
    KeyFile::revoke(&file, "worker").expect("it is there");
    stream.next_named("stream_closing").await;
    let headers = [
        ("authorization", admin.as_str()),
        ("content-type", "application/json"),
    ];
    let body = json!({"id": "w", "name": "w", "steps": ["s"]}).to_string();
    let started = hub.client.send(Method::POST, "/workflows", &headers, body);
    assert_eq!(started.await.status, 201);
    let refused = waiting.await.expect("it is answered");
    refused.problem(401, "unauthorized");
}

#[tokio::test]
async fn only_the_hub_says_that_a_server_was_lost_or_replaced() {
    let hub = TestHub::start().await;
    for reason in ["heartbeat_timeout", "replaced"] {
        hub.client.register("lms").await;
        let path = format!("/servers/lms?reason={reason}");
        let problem = hub.client.delete(&path).await.problem(400, "invalid-query");
        let told = problem["detail"].as_str().expect("a text");
        assert!(
            told.starts_with("reason ") && told.contains(reason),
            "{told}"
        );
        let event =
            json!({"type": "server_disconnected", "serverId": "lms", "data": {"reason": reason}});
        let reply = hub.client.post("/events", &event).await;
        let problem = reply.problem(422, "invalid-fields");
        assert_eq!(problem["errors"][0]["pointer"], "/data/reason");
        let server = hub.client.get("/servers/lms").await.json();
        assert_eq!(server["status"], "connected");
    }
    assert_eq!(hub.client.delete("/servers/lms").await.status, 204);
}
