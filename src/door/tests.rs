//! The door as a whole: keys, sessions, and rights that end.

use std::path::Path;

use super::{
    keys::{KeyFile, NewKey},
    *,
};

const MINUTE: i64 = 60_000;

struct Site {
    door: Door,
    clock: Clock,
    metrics: Metrics,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        add(&path, "first", None);
        let mut config = Config::default();
        config.auth.api_keys = Some(path);
        config.data_dir = Some(folder.path().join("data"));
        let (clock, metrics) = (Clock::default(), Metrics::new().unwrap());
        let door = Door::open(&config, &clock, &metrics).unwrap();
        Self {
            door,
            clock,
            metrics,
            folder,
        }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("keys.json")
    }

    /// A key that is in force.
    async fn key(&self, name: &str, expires_at: Option<i64>) -> String {
        let key = add(&self.file(), name, expires_at);
        self.door.reload().await;
        key
    }

    async fn by_header(&self, key: &str) -> Result<Shown, Unknown> {
        self.door
            .identify(&headers("authorization", &format!("Bearer {key}")))
            .await
    }

    async fn by_cookie(&self, cookie: &str) -> Result<Shown, Unknown> {
        self.door
            .identify(&headers(
                "cookie",
                &format!("timeback_session_3001={cookie}"),
            ))
            .await
    }

    fn ended(&self) -> Vec<u64> {
        let ended = parking_lot::Mutex::new(Vec::new());
        self.door.end_streams(&|owners| ended.lock().extend(owners));
        ended.into_inner()
    }

    fn stream(&self, shown: &Shown) -> StreamPlace {
        self.door
            .admit_stream("127.0.0.1".parse().unwrap(), shown)
            .unwrap()
    }
}

fn add(path: &Path, name: &str, expires_at: Option<i64>) -> String {
    let scopes = vec!["read".to_owned()];
    let key = NewKey {
        name: name.to_owned(),
        scopes,
        expires_at,
        ..NewKey::default()
    };
    KeyFile::add(path, key, 0).unwrap()
}

fn headers(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
}

#[tokio::test]
async fn a_hub_without_credentials_asks_nobody() {
    let (clock, metrics) = (Clock::default(), Metrics::new().unwrap());
    let door = Door::open(&Config::default(), &clock, &metrics).unwrap();
    assert!(!door.asks() && door.is_passive());
    let shown = door
        .identify(&headers("authorization", "Bearer anything"))
        .await
        .unwrap();
    assert!(shown.access.scopes.has(Scope::Admin));
}

#[tokio::test]
async fn what_is_shown_is_known_or_refused_and_never_nobodys() {
    let site = Site::new();
    let key = site.key("ada", None).await;
    assert!(
        site.by_header(&key)
            .await
            .unwrap()
            .access
            .scopes
            .has(Scope::Read)
    );
    assert_eq!(
        site.door.identify(&HeaderMap::new()).await.unwrap_err(),
        Unknown::Nothing
    );
    for wrong in [
        "",
        "Bearer",
        "Basic abc",
        "Bearer ",
        "Bearer tbk_0000000000000000_x",
        "Bearer a.b.c",
    ] {
        let refused = site.door.identify(&headers("authorization", wrong)).await;
        assert!(
            matches!(refused, Err(Unknown::Invalid(_))),
            "{wrong}: {refused:?}"
        );
    }
    // A header that is no good isn't made good by a cookie.
    let shown = site.by_header(&key).await.unwrap();
    let (cookie, _) = site.door.begin_session(&shown).unwrap();
    let mut both = headers("cookie", &format!("timeback_session_3001={cookie}"));
    assert!(site.door.identify(&both).await.is_ok());
    both.insert("authorization", "Bearer wrong".parse().unwrap());
    assert!(site.door.identify(&both).await.is_err());
}

#[tokio::test]
async fn a_key_ends_at_its_time_and_its_streams_with_it() {
    let site = Site::new();
    let key = site.key("ada", Some(site.clock.wall_ms() + MINUTE)).await;
    let shown = site.by_header(&key).await.unwrap();
    let _stream = site.stream(&shown);
    assert!(site.ended().is_empty());
    site.clock.shift_wall(MINUTE);
    assert_eq!(site.ended(), [shown.access.owner]);
    assert!(
        site.by_header(&key)
            .await
            .unwrap_err()
            .to_string()
            .contains("expired")
    );
}

#[tokio::test]
async fn a_revoked_key_takes_its_streams_and_sessions_along() {
    let site = Site::new();
    let (ada, bob) = (site.key("ada", None).await, site.key("bob", None).await);
    let by_ada = site.by_header(&ada).await.unwrap();
    let (cookie, _) = site.door.begin_session(&by_ada).unwrap();
    let by_session = site.by_cookie(&cookie).await.unwrap();
    assert_eq!(
        by_session.access.caller, by_ada.access.caller,
        "one caller, however it comes"
    );
    let by_bob = site.by_header(&bob).await.unwrap();
    let _streams = [&by_ada, &by_session, &by_bob].map(|shown| site.stream(shown));
    KeyFile::revoke(&site.file(), "ada").unwrap();
    assert!(site.ended().is_empty(), "not before the file is read");
    site.door.reload().await;
    let (mut ended, mut wanted) = (site.ended(), [by_ada.access.owner, by_session.access.owner]);
    ended.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(ended, wanted);
    assert!(site.by_header(&ada).await.is_err() && site.by_cookie(&cookie).await.is_err());
    assert!(site.by_header(&bob).await.is_ok());
}

#[tokio::test]
async fn a_file_that_breaks_leaves_the_keys_in_force() {
    let site = Site::new();
    let key = site.key("ada", None).await;
    let whole = std::fs::read(site.file()).unwrap();
    std::fs::write(site.file(), "{").unwrap();
    site.door.reload().await;
    assert!(site.by_header(&key).await.is_ok());
    assert_eq!(
        site.metrics.stale_credentials(),
        ["api_keys"],
        "and says so"
    );
    std::fs::write(site.file(), whole).unwrap();
    site.door.reload().await;
    assert_eq!(site.metrics.stale_credentials(), [""; 0]);
}

#[tokio::test]
async fn a_file_whose_restrictions_are_misspelt_opens_nothing_while_it_runs() {
    let site = Site::new();
    let key = site.key("ada", None).await;
    let text = std::fs::read_to_string(site.file()).unwrap();
    let with = |more: &str| text.replace(r#""scopes""#, &format!(r#"{more}, "scopes""#));
    std::fs::write(site.file(), with(r#""serverIds": ["a"]"#)).unwrap();
    site.door.reload().await;
    let held = site.by_header(&key).await.unwrap().access;
    assert!(!held.reads_everything());
    for misspelt in [
        r#""servers": ["a"]"#,
        r#""serverIDs": ["a"]"#,
        r#""serverIds": []"#,
    ] {
        std::fs::write(site.file(), with(misspelt)).unwrap();
        site.door.reload().await;
        let still = site.by_header(&key).await.unwrap().access;
        assert_eq!(still.grant, held.grant, "{misspelt}");
    }
}

#[tokio::test]
async fn a_session_is_never_one_that_was_fixed_beforehand() {
    let site = Site::new();
    let (ada, eve) = (site.key("ada", None).await, site.key("eve", None).await);
    let by_eve = site.by_header(&eve).await.unwrap();
    let (planted, _) = site.door.begin_session(&by_eve).unwrap();
    // Whatever cookie comes along, a token begins a session of its own.
    let mut both = headers("cookie", &format!("timeback_session_3001={planted}"));
    both.insert("authorization", format!("Bearer {ada}").parse().unwrap());
    let shown = site.door.identify(&both).await.unwrap();
    let (first, _) = site.door.begin_session(&shown).unwrap();
    let (second, _) = site.door.begin_session(&shown).unwrap();
    assert!(first != planted && first != second);
    let by_session = site.by_cookie(&first).await.unwrap().access;
    assert_eq!(by_session.name.as_deref(), Some("ada"));
    // The session's cookie says nothing by itself: another hub's seal doesn't open here.
    let elsewhere = Site::new();
    assert!(elsewhere.by_cookie(&first).await.is_err());
}

#[tokio::test]
async fn a_session_ends_by_hand_by_age_and_with_its_key() {
    let site = Site::new();
    let soon = site.clock.wall_ms() + MINUTE;
    let (ada, bob) = (
        site.key("ada", None).await,
        site.key("bob", Some(soon)).await,
    );
    let shown = site.by_header(&ada).await.unwrap();
    let (first, end) = site.door.begin_session(&shown).unwrap();
    assert!((end - site.clock.wall_ms() - 12 * 60 * MINUTE).abs() < MINUTE);
    let by_session = site.by_cookie(&first).await.unwrap();
    assert!(by_session.by_cookie);
    assert!(
        site.door.begin_session(&by_session).is_err(),
        "a session can't renew itself"
    );
    let _stream = site.stream(&by_session);
    site.door.end_session(&headers(
        "cookie",
        &format!("timeback_session_3001={first}"),
    ));
    assert_eq!(site.ended(), [by_session.access.owner]);
    assert!(site.by_cookie(&first).await.is_err());
    let by_bob = site.by_header(&bob).await.unwrap();
    assert_eq!(site.door.begin_session(&by_bob).unwrap().1, soon);
}

#[tokio::test]
async fn watching_hears_of_a_changed_file() {
    let site = Site::new();
    let key = site.key("ada", None).await;
    let shown = site.by_header(&key).await.unwrap();
    let _stream = site.stream(&shown);
    let (told, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let stop = tokio_util::sync::CancellationToken::new();
    let end = move |owner| _ = told.send(owner);
    let watching = tokio::spawn(site.door.clone().watch(end, stop.clone()));
    KeyFile::revoke(&site.file(), "ada").unwrap();
    assert_eq!(ended.recv().await, Some([shown.access.owner].into()));
    stop.cancel();
    watching.await.unwrap();
}
