//! The door before real routes: what each right opens, and nothing beyond it.

use axum::body::Body;
use serde_json::{Value, json};

use super::*;
use crate::{
    config::Config,
    domain::ServerId,
    door::{
        Restrictions,
        keys::{KeyFile, NewKey},
    },
    http::tests::{Reply, Site},
};

/// A hub whose door asks for keys, and those keys.
struct Guarded {
    site: Site,
    reader: String,
    /// Reads and reports as server `a` alone.
    only_a: String,
    reporter: String,
    coordinator: String,
    admin: String,
    _folder: tempfile::TempDir,
}

impl Guarded {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(mut config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let add = |name: &str, scopes: &[&str], own: Option<&str>| {
            let key = NewKey {
                name: name.to_owned(),
                scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
                restrictions: Restrictions {
                    server_ids: own.map(|id| vec![ServerId::parse(id).unwrap()]),
                    ..Restrictions::default()
                },
                expires_at: None,
            };
            KeyFile::add(&path, key, 0).unwrap()
        };
        let reader = add("reader", &["read"], None);
        let only_a = add("only a", &["read", "report"], Some("a"));
        let reporter = add("reporter", &["report"], None);
        let coordinator = add("coordinator", &["coordinate"], None);
        let admin = add("admin", &["admin"], None);
        config.auth.api_keys = Some(path);
        config.data_dir = None;
        let site = Site::with(config);
        Self {
            site,
            reader,
            only_a,
            reporter,
            coordinator,
            admin,
            _folder: folder,
        }
    }

    async fn ask(&self, key: &str, method: &str, uri: &str, body: Option<Value>) -> Reply {
        let bearer = format!("Bearer {key}");
        let mut headers = Vec::new();
        if !key.is_empty() {
            headers.push(("authorization", bearer.as_str()));
        }
        self.raw(method, uri, &headers, body).await
    }

    async fn raw(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Reply {
        let mut headers = headers.to_vec();
        let body = match body {
            Some(body) => {
                headers.push(("content-type", "application/json"));
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.site.ask(method, uri, &headers, body).await
    }

    async fn register(&self, key: &str, id: &str) -> u16 {
        let body = json!({"id": id, "name": id, "transport": "http"});
        self.ask(key, "POST", "/servers", Some(body)).await.status
    }
}

#[tokio::test]
async fn each_route_takes_its_right() {
    let hub = Guarded::new();
    let keys = ["", &hub.reader, &hub.reporter, &hub.coordinator, &hub.admin];
    let server = json!({"id": "s", "name": "s", "transport": "http"});
    let workflow = json!({"id": "w", "name": "w", "steps": ["one"]});
    let event = json!({"type": "grades.synced", "data": {}});
    // In the order: nobody, reader, reporter, coordinator, admin. Only whether it is let in is asked here.
    for (method, uri, body, lets_in) in [
        ("GET", "/healthz", None, [true; 5]),
        ("GET", "/readyz", None, [true; 5]),
        ("GET", "/openapi.json", None, [true; 5]),
        ("GET", "/", None, [true; 5]),
        ("GET", "/metrics", None, [false, true, false, false, true]),
        ("GET", "/status", None, [false, true, false, false, true]),
        ("GET", "/snapshot", None, [false, true, false, false, true]),
        ("GET", "/servers", None, [false, true, false, false, true]),
        ("GET", "/workflows", None, [false, true, false, false, true]),
        ("GET", "/patterns", None, [false, true, false, false, true]),
        (
            "GET",
            "/events/history",
            None,
            [false, true, false, false, true],
        ),
        ("HEAD", "/events", None, [false, true, false, false, true]),
        ("GET", "/steps", None, [false, true, false, false, true]),
        (
            "GET",
            "/steps?serverId=s",
            None,
            [false, true, true, false, true],
        ),
        (
            "POST",
            "/servers",
            Some(server),
            [false, false, true, false, true],
        ),
        (
            "POST",
            "/servers/s/heartbeat",
            None,
            [false, false, true, false, true],
        ),
        (
            "POST",
            "/heartbeats",
            Some(json!([{"id": "s"}])),
            [false, false, true, false, true],
        ),
        (
            "POST",
            "/events",
            Some(event),
            [false, false, true, false, true],
        ),
        (
            "POST",
            "/workflows",
            Some(workflow),
            [false, false, false, true, true],
        ),
        (
            "POST",
            "/workflows/w/cancel",
            None,
            [false, false, false, true, true],
        ),
        (
            "PUT",
            "/patterns/x",
            Some(json!({"enabled": true})),
            [false, false, false, false, true],
        ),
        (
            "DELETE",
            "/servers/s",
            None,
            [false, false, true, false, true],
        ),
        ("GET", "/nowhere", None, [false, true, true, true, true]),
    ] {
        for (key, wanted) in keys.iter().zip(lets_in) {
            let reply = hub.ask(key, method, uri, body.clone()).await;
            let found = ![401, 403].contains(&reply.status);
            assert_eq!(
                found, wanted,
                "{method} {uri} by {key:?}: {} {}",
                reply.status, reply.text
            );
            if !found {
                let challenge = reply.headers["www-authenticate"].to_str().unwrap();
                let says_why = if key.is_empty() {
                    "Bearer realm"
                } else {
                    "insufficient_scope"
                };
                assert!(challenge.contains(says_why), "{challenge}");
            }
        }
    }
}

#[test]
fn every_route_of_the_description_is_in_the_table() {
    let document = serde_json::to_value(crate::http::openapi::document()).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters")
        {
            let method: Method = method.to_uppercase().parse().unwrap();
            let need = needs(&method, path);
            let patterns = method == Method::PUT && path == "/patterns/{name}";
            assert!(
                need != ADMIN || patterns,
                "{method} {path} falls through to admin"
            );
        }
    }
}

#[tokio::test]
async fn a_token_of_one_server_neither_reads_nor_speaks_for_another() {
    let hub = Guarded::new();
    assert_eq!(hub.register(&hub.only_a, "a").await, 201);
    assert_eq!(hub.register(&hub.only_a, "b").await, 403);
    assert_eq!(hub.register(&hub.reporter, "b").await, 201);
    let event = |id: &str| json!({"type": "grades.synced", "serverId": id, "data": {}});
    assert_eq!(
        hub.ask(&hub.only_a, "POST", "/events", Some(event("a")))
            .await
            .status,
        202
    );
    let both = json!([event("a"), event("b")]);
    assert_eq!(
        hub.ask(&hub.only_a, "POST", "/events", Some(both))
            .await
            .status,
        403
    );
    let beats = json!([{"id": "a"}, {"id": "b"}]);
    let beats = hub
        .ask(&hub.only_a, "POST", "/heartbeats", Some(beats))
        .await
        .json();
    assert_eq!(
        (
            &beats["results"][0]["status"],
            &beats["results"][1]["status"]
        ),
        (&json!(200), &json!(403))
    );

    let ids = |list: &Value| -> Vec<String> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let servers = hub.ask(&hub.only_a, "GET", "/servers", None).await.json();
    assert_eq!(ids(&servers["servers"]), ["a"]);
    assert_eq!(
        hub.ask(&hub.only_a, "GET", "/servers/b", None).await.status,
        404
    );
    let snapshot = hub.ask(&hub.only_a, "GET", "/snapshot", None).await.json();
    assert_eq!(ids(&snapshot["servers"]), ["a"]);
    assert_eq!(snapshot["stats"]["connectedServers"], 1);
    let status = hub.ask(&hub.only_a, "GET", "/status", None).await.json();
    assert_eq!(status["connectedServers"], 1);
    let history = hub
        .ask(&hub.only_a, "GET", "/events/history", None)
        .await
        .json();
    let events = history["events"].as_array().unwrap();
    assert!(
        !events.is_empty() && events.iter().all(|event| event["serverId"] == "a"),
        "{history}"
    );
    assert_eq!(
        hub.ask(&hub.only_a, "GET", "/metrics", None).await.status,
        403
    );
    let all = hub
        .ask(&hub.reader, "GET", "/events/history?serverId=b", None)
        .await
        .json();
    let hidden = all["events"][0]["id"].as_str().unwrap();
    assert_eq!(
        hub.ask(&hub.reader, "GET", &format!("/events/{hidden}"), None)
            .await
            .status,
        200
    );
    assert_eq!(
        hub.ask(&hub.only_a, "GET", &format!("/events/{hidden}"), None)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_session_reads_by_cookie_and_changes_from_its_own_pages_only() {
    let hub = Guarded::new();
    let begun = hub.ask(&hub.admin, "POST", "/session", None).await;
    assert_eq!(begun.status, 200, "{}", begun.text);
    let set = begun.headers["set-cookie"].to_str().unwrap();
    assert!(
        set.contains("HttpOnly; SameSite=Strict") && !set.contains("Secure"),
        "plain on loopback: {set}"
    );
    assert!(!set.contains(&hub.admin));
    let cookie = set.split(';').next().unwrap();
    assert_eq!(
        hub.raw("GET", "/status", &[("cookie", cookie)], None)
            .await
            .status,
        200
    );
    let body = || Some(json!({"enabled": true}));
    for (origin, status) in [
        (None, 403),
        (Some("http://evil.example"), 403),
        (Some("http://localhost:1"), 403),
        (Some("http://localhost"), 200),
    ] {
        let mut headers = vec![("cookie", cookie)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let reply = hub.raw("PUT", "/patterns/x", &headers, body()).await;
        assert_eq!(reply.status, status, "{origin:?}: {}", reply.text);
    }
    let elsewhere = hub
        .raw("DELETE", "/session", &[("cookie", cookie)], None)
        .await;
    assert_eq!(elsewhere.status, 403);
    let own = [("cookie", cookie), ("origin", "http://localhost")];
    let ended = hub.raw("DELETE", "/session", &own, None).await;
    assert_eq!(ended.status, 204);
    assert!(
        ended.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(
        hub.raw("GET", "/status", &[("cookie", cookie)], None)
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_limit_is_named_and_is_one_clients_alone() {
    let mut config = Config::default();
    config.limits.requests_per_token = 1;
    config.limits.streams_per_token = 1;
    let hub = Guarded::with(config);
    for _ in 0..2 {
        assert_eq!(
            hub.ask(&hub.reader, "GET", "/status", None).await.status,
            200
        );
    }
    let refused = hub.ask(&hub.reader, "GET", "/status", None).await;
    assert_eq!(
        (refused.status, &refused.json()["limit"]),
        (429, &json!("requests_per_token"))
    );
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(
        hub.ask(&hub.admin, "GET", "/status", None).await.status,
        200
    );
    // A stream is refused politely.
    let stream = hub.ask(&hub.reader, "GET", "/events", None).await;
    assert_eq!(stream.status, 200);
    assert!(
        stream.text.contains("event: stream_closing") && stream.text.contains("busy"),
        "{}",
        stream.text
    );
}

#[tokio::test]
async fn a_hub_that_asks_nobody_needs_no_session() {
    let site = Site::with(Config::default());
    let reply = site.ask("POST", "/session", &[], Body::empty()).await;
    assert_eq!(reply.status, 409);
    assert_eq!(
        site.ask("DELETE", "/session", &[], Body::empty())
            .await
            .status,
        204
    );
    assert!(site.app.door.is_passive());
}
