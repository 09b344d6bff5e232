//! What a disk can do to a hub: whatever it is, the operator is told, and no wrong event is served as right.

use std::{
    collections::BTreeMap,
    os::unix::fs::FileExt,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    Client, EventStream, HubProcess, LoopDisk, PATIENCE, Preloaded, SmallDisk, until,
};

/// Damaged copies of one log that are tried, each with a byte flipped elsewhere. `TIMEBACK_FAULT_ROUNDS` asks for
/// more.
const ROUNDS: usize = 8;

/// What was acknowledged: the event's number to its id.
type Told = BTreeMap<u64, String>;

#[tokio::test]
async fn a_full_disk_refuses_changes_and_nothing_else_and_heals_by_itself() {
    let Some(disk) = SmallDisk::mount(40) else {
        return;
    };
    let data = disk.path.join("data");
    std::fs::create_dir(&data).expect("a directory");
    let hub = HubProcess::start(&data, &[("INTEGRATION_SSE_KEEPALIVE_MS", "1000")]).await;
    let mut told = write(&hub.client, 0..20).await;
    let mut stream = EventStream::open(hub.address, "/events?lastEventId=earliest", &[]).await;
    for _ in 0..20 {
        stream.next_named("disk.test").await;
    }

    disk.fill();
    let mut n = 20;
    let refused = loop {
        match try_write(&hub.client, n).await {
            Ok(id) => drop(told.insert(n, id)),
            Err(reply) => break reply,
        }
        n += 1;
    };
    refused.problem(507, "disk-full");
    let ready = hub.client.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("disk_full"), "{}", ready.text);
    for _ in 0..20 {
        let again = try_write(&hub.client, 1_000_000).await;
        again.expect_err("still full").problem(507, "disk-full");
    }
    // Reads go on, from the log and from the state, and streams live.
    check(&hub.client, &told).await;
    assert_eq!(hub.client.get("/snapshot").await.status, 200);
    assert_eq!(hub.client.get("/healthz").await.status, 200);
    stream.next_named("bookmark").await;

    // Killed and started on the full disk, it serves what it has.
    hub.kill().await;
    let hub = HubProcess::start(&data, &[]).await;
    check(&hub.client, &told).await;
    let full = try_write(&hub.client, 1_000_000).await;
    full.expect_err("still full").problem(507, "disk-full");

    disk.make_room();
    until(PATIENCE, "the hub to be ready", async || {
        hub.client.get("/readyz").await.status == 200
    })
    .await;
    told.extend(write(&hub.client, 2_000_000..2_000_010).await);
    check(&hub.client, &told).await;
    hub.kill().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_refused_at_the_start() {
    let Some(disk) = SmallDisk::mount(8) else {
        return;
    };
    disk.remount_read_only();
    let refused = start(&disk.path).await;
    assert_eq!(refused.status.code(), Some(1));
    let text = told_on_stderr(&refused);
    assert!(text.contains("Read-only file system"), "{text}");
    assert!(text.contains(&disk.path.display().to_string()), "{text}");
}

#[tokio::test]
async fn while_the_log_cannot_be_written_silence_shows_and_what_is_refused_has_no_effect() {
    let Some(disk) = Preloaded::compile() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let [library, faults] = disk.variables();
    let interval = ("INTEGRATION_HEARTBEAT_INTERVAL_MS", "500");
    let hub = HubProcess::start(directory.path(), &[library, faults, interval]).await;
    for (id, interval) in [("silent", 500), ("steady", 300_000)] {
        let body =
            json!({"id": id, "name": id, "transport": "http", "heartbeatIntervalMs": interval});
        assert_eq!(hub.client.post("/servers", &body).await.status, 201);
    }
    disk.set("readonly");
    let ill = json!({"health": "unhealthy", "detail": "broken"});
    let refused = hub.client.post("/servers/steady/heartbeat", &ill).await;
    refused.problem(503, "log-unwritable");
    until(PATIENCE, "silence to show", async || {
        hub.client.get("/servers/silent").await.json()["health"] == "unhealthy"
    })
    .await;
    let server = hub.client.get("/servers/silent").await.json();
    assert_eq!(server["unsaved"], true, "{server}");
    assert_eq!(hub.client.get("/status").await.json()["unsaved"], true);
    let listed = async |health: &str| {
        let page = hub.client.get(&format!("/servers?health={health}")).await;
        let servers = page.json()["servers"].clone();
        let servers = servers.as_array().expect("a list").iter();
        servers
            .map(|server| server["id"].as_str().expect("an id").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed("unhealthy").await, ["silent"]);
    assert_eq!(listed("healthy").await, ["steady"], "it was refused");

    disk.unset("readonly");
    until(PATIENCE, "the log to tell it", async || {
        let path = "/events/history?type=server_health_changed&serverId=silent&order=desc";
        hub.client.get(path).await.json()["events"][0]["data"]["health"] == "unhealthy"
    })
    .await;
    let server = hub.client.get("/servers/silent").await.json();
    assert_eq!(server.get("unsaved"), None, "{server}");
    let steady = hub
        .client
        .post("/servers/steady/heartbeat", &json!({}))
        .await;
    assert_eq!(steady.json()["health"], "healthy");
    hub.kill().await;
}

#[tokio::test]
async fn a_disk_that_becomes_read_only_refuses_changes_until_it_can_be_written_again() {
    let Some(disk) = Preloaded::compile() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let [library, faults] = disk.variables();
    let keepalive = ("INTEGRATION_SSE_KEEPALIVE_MS", "1000");
    let hub = HubProcess::start(directory.path(), &[library, faults, keepalive]).await;
    let mut told = write(&hub.client, 0..20).await;
    let mut stream = EventStream::open(hub.address, "/events?lastEventId=earliest", &[]).await;
    disk.set("readonly");
    refuses_changes_and_nothing_else(&hub, &told).await;
    for _ in 0..20 {
        stream.next_named("disk.test").await;
    }
    stream.next_named("bookmark").await;
    assert_eq!(hub.logged("reads and streams go on"), 1, "said once");

    disk.unset("readonly");
    until(PATIENCE, "the hub to be ready", async || {
        hub.client.get("/readyz").await.status == 200
    })
    .await;
    told.extend(write(&hub.client, 20..40).await);
    check(&hub.client, &told).await;
    hub.kill().await;
    let hub = HubProcess::start(directory.path(), &[]).await;
    check(&hub.client, &told).await;
    hub.kill().await;
}

#[tokio::test]
async fn a_file_system_that_fails_under_the_hub_costs_nothing_acknowledged() {
    let Some(disk) = LoopDisk::mount(48) else {
        return;
    };
    let data = disk.path.join("data");
    std::fs::create_dir(&data).expect("a directory");
    let hub = HubProcess::start(&data, &[]).await;
    let mut told = write(&hub.client, 0..40).await;
    disk.fail();
    let refused = try_write(&hub.client, 1_000_000).await;
    let refused = refused.expect_err("not acknowledged");
    println!("the first change: {} {}", refused.status, refused.text);
    if refused.json()["type"] == "log-unknown" {
        // It was the sync that failed.
        assert_eq!(hub.wait().await.code(), Some(1));
    } else {
        refuses_changes_and_nothing_else(&hub, &told).await;
        hub.kill().await;
    }
    let refused = start(&data).await;
    assert_eq!(refused.status.code(), Some(1));
    println!("a start on it: {}", told_on_stderr(&refused).trim());
    assert!(told_on_stderr(&refused).contains("Read-only file system"));

    disk.repair();
    let hub = HubProcess::start(&data, &[]).await;
    check(&hub.client, &told).await;
    told.extend(write(&hub.client, 2_000_000..2_000_010).await);
    check(&hub.client, &told).await;
    hub.kill().await;
}

/// Changes are refused, again and again; what was acknowledged is served, and operators and probes see why.
async fn refuses_changes_and_nothing_else(hub: &HubProcess, told: &Told) {
    for _ in 0..10 {
        let refused = try_write(&hub.client, 1_000_000).await;
        let refused = refused.expect_err("not acknowledged");
        refused.problem(503, "log-unwritable");
    }
    let ready = hub.client.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("unwritable"), "{}", ready.text);
    check(&hub.client, told).await;
    assert_eq!(hub.client.get("/snapshot").await.status, 200);
    assert_eq!(hub.client.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_second_process_on_the_directory_is_refused_with_a_clear_message() {
    let directory = tempfile::tempdir().expect("a directory");
    let hub = HubProcess::start(directory.path(), &[]).await;
    let refused = start(directory.path()).await;
    assert_eq!(refused.status.code(), Some(1));
    let text = told_on_stderr(&refused);
    let clear = format!("is in use by another process (pid {})", hub.id());
    assert!(text.contains(&clear), "{text}");
    // The first one doesn't mind.
    check(&hub.client, &write(&hub.client, 0..3).await).await;
    hub.kill().await;
    // And a dead one's lock holds nobody up.
    HubProcess::start(directory.path(), &[]).await.kill().await;
}

#[tokio::test]
async fn a_byte_flipped_anywhere_is_never_served_as_right() {
    let directory = tempfile::tempdir().expect("a directory");
    let told = filled(directory.path()).await;
    let size = std::fs::metadata(directory.path().join("hub.db"))
        .expect("a log")
        .len();
    let mut outcomes = BTreeMap::new();
    for round in 0..rounds() {
        let copy = copied(directory.path(), &["hub.db"]);
        // Spread over the file, never twice at the same place of a page.
        let at = (round * size / rounds() + (round * 1_009) % 4_096).min(size - 1);
        flip(&copy.path().join("hub.db"), at);
        *outcomes
            .entry(honest(copy.path(), &told).await)
            .or_insert(0) += 1;
    }
    println!("hub.db, a flipped byte: {outcomes:?}");
}

#[tokio::test]
async fn a_byte_flipped_in_the_journal_is_never_served_as_right() {
    let directory = tempfile::tempdir().expect("a directory");
    let told = killed(directory.path()).await;
    let size = std::fs::metadata(directory.path().join("hub.db-wal"))
        .expect("a journal")
        .len();
    let mut outcomes = BTreeMap::new();
    for round in 0..rounds() {
        let copy = copied(directory.path(), &["hub.db", "hub.db-wal"]);
        let at = (round * size / rounds() + (round * 1_009) % 4_096).min(size - 1);
        flip(&copy.path().join("hub.db-wal"), at);
        *outcomes
            .entry(honest(copy.path(), &told).await)
            .or_insert(0) += 1;
    }
    println!("hub.db-wal, a flipped byte: {outcomes:?}");
}

#[tokio::test]
async fn a_truncated_log_is_told_and_what_is_left_of_it_is_saved() {
    let directory = tempfile::tempdir().expect("a directory");
    let told = filled(directory.path()).await;
    let size = std::fs::metadata(directory.path().join("hub.db"))
        .expect("a log")
        .len();
    for length in [size - 4_096, size / 2 + 100, 4_096, 100] {
        let copy = copied(directory.path(), &["hub.db"]);
        let file = std::fs::File::options()
            .write(true)
            .open(copy.path().join("hub.db"))
            .expect("the log");
        file.set_len(length).expect("shorter");
        let outcome = honest(copy.path(), &told).await;
        println!("hub.db of {size} bytes cut to {length}: {outcome:?}");
        let verified = log(&["verify"], copy.path(), None).await;
        assert_eq!(verified.status.code(), Some(1), "{length}: {verified:?}");
        let elsewhere = tempfile::tempdir().expect("a directory");
        let saved = log(&["salvage"], copy.path(), Some(elsewhere.path())).await;
        assert_eq!(saved.status.code(), Some(1), "{length}: {saved:?}");
        let said = String::from_utf8_lossy(&saved.stdout);
        println!("salvaged: {said}{}", told_on_stderr(&saved));
        if length + 4_096 < size {
            continue;
        }
        // Its last page alone is lost: what stood before it is served, under new ids, and nothing else.
        let hub = HubProcess::start(elsewhere.path(), &[]).await;
        let kept = numbers(&hub.client).await;
        assert!(
            !kept.is_empty() && kept.iter().all(|n| told.contains_key(n)),
            "{kept:?}"
        );
        is_unknown(&hub, told.values().last().expect("the newest")).await;
        hub.kill().await;
    }
}

#[tokio::test]
async fn a_deleted_journal_rolls_the_log_back_and_a_client_from_the_future_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let told = killed(directory.path()).await;
    let newest = told.values().last().expect("the newest").clone();
    std::fs::remove_file(directory.path().join("hub.db-wal")).expect("deleted");
    let hub = HubProcess::start(directory.path(), &[]).await;
    let kept = served(&hub.client).await;
    assert!(
        kept.iter().all(|(n, id)| told.get(n) == Some(id)),
        "what is left is true"
    );
    assert!(kept.len() < told.len(), "the journal held something");
    is_unknown(&hub, &newest).await;
    is_never_doubled(&hub.client, &told).await;
    hub.kill().await;
}

#[tokio::test]
async fn an_old_copy_restored_is_known_as_such() {
    let directory = tempfile::tempdir().expect("a directory");
    let hub = HubProcess::start(directory.path(), &[]).await;
    let mut told = write(&hub.client, 0..30).await;
    hub.kill().await;
    let old = copied(directory.path(), &["hub.db", "hub.db-wal"]);
    let hub = HubProcess::start(directory.path(), &[]).await;
    told.extend(write(&hub.client, 30..60).await);
    let newest = told[&59].clone();
    hub.kill().await;

    let hub = HubProcess::start(old.path(), &[]).await;
    let kept = served(&hub.client).await;
    assert_eq!(
        kept,
        told.range(..30).map(|(n, id)| (*n, id.clone())).collect()
    );
    is_unknown(&hub, &newest).await;
    is_never_doubled(&hub.client, &told).await;
    // A place that the copy has in common with the lost log is still good.
    let mut stream = EventStream::open(
        hub.address,
        "/events",
        &[("Last-Event-ID", told[&10].as_str())],
    )
    .await;
    stream.opened("resumed").await;
    hub.kill().await;
}

#[tokio::test]
async fn a_backup_of_a_running_hub_is_a_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let hub = HubProcess::start(directory.path(), &[]).await;
    let before = write(&hub.client, 0..40).await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let file = elsewhere.path().join("hub.db");
    let client = hub.client.clone();
    let load = tokio::spawn(async move { write(&client, 40..140).await });
    let backed_up = log(&["backup"], directory.path(), Some(&file)).await;
    assert_eq!(backed_up.status.code(), Some(0), "{backed_up:?}");
    let mut told = before.clone();
    told.extend(load.await.expect("producers aren't disturbed"));
    check(&hub.client, &told).await;
    // Not over a file that is there.
    let twice = log(&["backup"], directory.path(), Some(&file)).await;
    assert_eq!(twice.status.code(), Some(1), "{twice:?}");
    for place in [directory.path(), elsewhere.path()] {
        let verified = log(&["verify"], place, None).await;
        assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    }
    hub.kill().await;

    let hub = HubProcess::start(elsewhere.path(), &[]).await;
    let kept = served(&hub.client).await;
    assert!(before.iter().all(|(n, id)| kept.get(n) == Some(id)));
    assert!(kept.iter().all(|(n, id)| told.get(n) == Some(id)));
    hub.kill().await;
}

#[tokio::test]
async fn salvage_copies_what_is_good_and_the_copy_serves_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let told = filled(directory.path()).await;
    let path = directory.path().join("hub.db");
    let bytes = std::fs::read(&path).expect("the log");
    // The text of one event, wherever it lies.
    let needle = br#""n":7,"#;
    for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle)) {
        flip(&path, at as u64 + 4);
    }
    let verified = log(&["verify"], directory.path(), None).await;
    let said = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert!(said.contains("damaged or missing: "), "{said}");

    let elsewhere = tempfile::tempdir().expect("a directory");
    let saved = log(&["salvage"], directory.path(), Some(elsewhere.path())).await;
    assert_eq!(
        saved.status.code(),
        Some(1),
        "it says that something is lost: {saved:?}"
    );
    let hub = HubProcess::start(elsewhere.path(), &[]).await;
    let kept = numbers(&hub.client).await;
    let whole: Vec<u64> = told.keys().copied().filter(|n| *n != 7).collect();
    assert_eq!(kept, whole);
    is_unknown(&hub, &told[&3]).await;
    hub.kill().await;
}

#[tokio::test]
async fn a_failed_sync_acknowledges_nothing_and_ends_the_hub_for_a_new_start_to_find_out() {
    let Some(disk) = Preloaded::compile() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let hub = HubProcess::start(directory.path(), &disk.variables()).await;
    let told = write(&hub.client, 0..20).await;
    disk.set("fail");
    let unknown = try_write(&hub.client, 20).await;
    unknown
        .expect_err("not acknowledged")
        .problem(503, "log-unknown");
    assert_eq!(hub.wait().await.code(), Some(1));
    // While syncs fail, it doesn't even begin.
    let refused = HubProcess::try_start(directory.path(), &disk.variables()).await;
    let refused = refused.err().expect("it refuses");
    assert_eq!(refused.status.code(), Some(1));
    println!("a start on it: {}", told_on_stderr(&refused).trim());
    disk.unset("fail");
    let hub = HubProcess::start(directory.path(), &disk.variables()).await;
    let mut kept = served(&hub.client).await;
    // It wasn't known whether it is there.
    kept.remove(&20);
    assert_eq!(kept, told);
    hub.kill().await;
}

#[tokio::test]
async fn a_slow_disk_makes_changes_wait_and_nothing_else() {
    let Some(disk) = Preloaded::compile() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let hub = HubProcess::start(directory.path(), &disk.variables()).await;
    let mut told = write(&hub.client, 0..5).await;
    disk.set("slow");
    let client = hub.client.clone();
    let writing = tokio::spawn(async move {
        let began = std::time::Instant::now();
        (write(&client, 5..9).await, began.elapsed())
    });
    let mut slowest = Duration::ZERO;
    while !writing.is_finished() {
        let asked = std::time::Instant::now();
        let reply = hub.client.get("/snapshot").await;
        assert_eq!(reply.status, 200);
        slowest = slowest.max(asked.elapsed());
    }
    let (new, took) = writing.await.expect("written");
    assert!(took >= 4 * Duration::from_millis(300), "{took:?}");
    assert!(
        slowest < took / 2,
        "reads don't wait for syncs: {slowest:?}"
    );
    told.extend(new);
    check(&hub.client, &told).await;
    println!("4 changes took {took:?}, a read beside them {slowest:?} at most");
    hub.kill().await;
}

/// A log of a hub that was stopped in order, so that all of it is in one file.
async fn filled(directory: &Path) -> Told {
    let hub = HubProcess::start(directory, &[]).await;
    let told = write(&hub.client, 0..120).await;
    hub.terminate().await;
    told
}

/// A log of a hub that was killed, so that its end is in the journal.
async fn killed(directory: &Path) -> Told {
    let hub = HubProcess::start(directory, &[]).await;
    let mut told = write(&hub.client, 0..40).await;
    hub.terminate().await;
    let hub = HubProcess::start(directory, &[]).await;
    told.extend(write(&hub.client, 40..80).await);
    hub.kill().await;
    told
}

async fn write(client: &Client, numbers: std::ops::Range<u64>) -> Told {
    let mut told = Told::new();
    for n in numbers {
        let id = try_write(client, n).await;
        told.insert(n, id.unwrap_or_else(|reply| panic!("{reply:?}")));
    }
    told
}

async fn try_write(client: &Client, n: u64) -> Result<String, crate::support::Reply> {
    let body = json!({"type": "disk.test", "data": {"n": n, "text": "x".repeat(200)}});
    let reply = client.post("/events", &body).await;
    if reply.status != 202 {
        return Err(reply);
    }
    Ok(reply.json()["ids"][0].as_str().expect("an id").to_owned())
}

/// All that a hub serves as its history, each number with its id. A number that was never written, or twice,
/// is a wrong event.
async fn served(client: &Client) -> Told {
    let reply = client
        .send(
            Method::GET,
            "/events/history?type=disk.test",
            &[("accept", "application/x-ndjson")],
            "",
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let mut found = Told::new();
    for line in reply.text.lines() {
        let event: Value = serde_json::from_str(line).expect("an event");
        if event["type"] != "disk.test" {
            continue;
        }
        let n = event["data"]["n"].as_u64().expect("its number");
        assert_eq!(event["data"]["text"], "x".repeat(200), "event {n}");
        let id = event["id"].as_str().expect("its id").to_owned();
        assert_eq!(found.insert(n, id), None, "event {n} twice");
    }
    found
}

async fn numbers(client: &Client) -> Vec<u64> {
    served(client).await.into_keys().collect()
}

async fn check(client: &Client, told: &Told) {
    assert_eq!(&served(client).await, told);
}

/// Starts a hub on a damaged log: either it refuses, or what it serves is true. Which of them.
async fn honest(directory: &Path, told: &Told) -> String {
    let port_of = start_or_refusal(directory).await;
    let hub = match port_of {
        Ok(hub) => hub,
        Err(refused) => {
            let text = told_on_stderr(&refused);
            assert_eq!(refused.status.code(), Some(1), "{text}");
            assert!(text.contains("error: "), "{text}");
            return "refused to start".to_owned();
        }
    };
    let reply = hub
        .client
        .get("/events/history?type=disk.test&limit=1000")
        .await;
    if reply.status != 200 {
        assert_eq!(reply.status, 503, "{}", reply.text);
        hub.kill().await;
        return "served no history".to_owned();
    }
    let page = reply.json();
    let events = page["events"].as_array().expect("events");
    for event in events {
        let n = event["data"]["n"].as_u64().expect("a number");
        assert_eq!(told.get(&n).map(String::as_str), event["id"].as_str());
        assert_eq!(event["data"]["text"], "x".repeat(200));
    }
    hub.kill().await;
    if events.len() == told.len() {
        return "all events are right".to_owned();
    }
    // What is missing in the middle is said; what is missing at the end was never there, for all that is left.
    let has_end = told.last_key_value().is_some_and(|(_, id)| {
        events
            .last()
            .is_some_and(|event| event["id"] == id.as_str())
    });
    assert!(
        !has_end || page["truncated"] == true,
        "{} of {}",
        events.len(),
        told.len()
    );
    "some events are missing, and none is wrong".to_owned()
}

/// An id of a log that this one is not the continuation of.
async fn is_unknown(hub: &HubProcess, id: &str) {
    let mut stream = EventStream::open(hub.address, "/events", &[("Last-Event-ID", id)]).await;
    let opened = stream.opened("gap").await.json();
    assert_eq!(opened["reason"], "unknown_log", "{opened}");
}

/// New events get ids that no lost one had, though their sequences are used again.
async fn is_never_doubled(client: &Client, told: &Told) {
    let new = write(client, 5_000_000..5_000_100).await;
    assert!(new.values().all(|id| told.values().all(|old| old != id)));
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("the file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[byte[0] ^ 0x20], at).expect("flipped");
}

fn copied(from: &Path, files: &[&str]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for file in files {
        std::fs::copy(from.join(file), copy.path().join(file)).expect("copied");
    }
    copy
}

fn rounds() -> u64 {
    std::env::var("TIMEBACK_FAULT_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(ROUNDS as u64)
}

fn binary(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_timeback-events"));
    command
        .env_clear()
        .env("INTEGRATION_SSE_PORT", "0")
        .env("INTEGRATION_DATA_DIR", directory)
        .env("LOG_LEVEL", "warn")
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Starts a hub that must not come up, and waits until it has said why.
async fn start(directory: &Path) -> Output {
    let output = tokio::time::timeout(PATIENCE, binary(directory).output()).await;
    output.expect("it ends").expect("it starts")
}

/// A running hub, or what one that refused has said.
async fn start_or_refusal(directory: &Path) -> Result<HubProcess, Output> {
    HubProcess::try_start(directory, &[]).await
}

async fn log(action: &[&str], data: &Path, to: Option<&Path>) -> Output {
    let mut command = binary(data);
    command.arg("log").args(action).arg("--data").arg(data);
    if let Some(to) = to {
        command.arg("--to").arg(to);
    }
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    output.expect("it ends").expect("it starts")
}

fn told_on_stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
