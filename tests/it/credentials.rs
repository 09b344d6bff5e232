//! Streams live by the right that they were opened with; a hub off loopback is never open by accident.

use http::Method;
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

use crate::support::{EventStream, TestHub};

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
