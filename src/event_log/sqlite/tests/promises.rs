//! The log's promises one by one.

use std::time::Duration;

use super::{Found, KEEP, Written, append, append_some, opened, read, read_all, whole};
use crate::{
    domain::{Json, Position, ServerId},
    event_log::{
        AppendError, Located, OpenError, Order, PlaceAtTime, Remembered, Retention, SavedLease,
    },
    filter::{Filter, Selection, TypePattern},
};

fn of_server(id: &str) -> Filter {
    let servers = vec![ServerId::parse(id).expect("an id")];
    Filter {
        query: Selection {
            servers,
            ..Selection::default()
        },
        grant: None,
    }
}

#[test]
fn reopening_changes_nothing_but_the_epoch() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    append_some(&mut log, 300);
    log.writer.save_snapshot(5, b"state").expect("saved");
    let leases = [SavedLease {
        server: ServerId::parse("s1").expect("an id"),
        connection: 3,
        last_seen_at: -7,
    }];
    log.writer.save_leases(&leases).expect("saved");
    let (info, all) = (log.reader.info(), read_all(&log));
    let epoch = log.reader.epochs().current();
    drop(log);
    let log = opened(directory.path());
    let again = log.reader.info();
    assert_eq!((again.floor, again.head), (info.floor, info.head));
    assert_eq!(read_all(&log), all);
    assert_eq!(
        log.reader.load_snapshot().expect("read"),
        Some((5, b"state".to_vec()))
    );
    assert_eq!(log.reader.load_leases().expect("read"), leases);
    assert_ne!(log.reader.epochs().current(), epoch);
    assert_eq!(
        log.reader.info().locate(
            &log.reader.epochs(),
            Position {
                epoch,
                sequence: 300
            }
        ),
        Located::Kept(300)
    );
}

#[test]
fn a_second_opener_is_refused_and_told_who_has_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = opened(directory.path());
    match super::super::open(directory.path()).map(drop) {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(log);
    opened(directory.path());
}

#[test]
fn a_newer_schema_and_a_foreign_file_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(opened(directory.path()));
    let file = directory.path().join("hub.db");
    let connection = rusqlite::Connection::open(&file).expect("opens");
    connection
        .execute("UPDATE meta SET value = 99 WHERE key = 'schema'", [])
        .expect("updated");
    drop(connection);
    let refused = super::super::open(directory.path()).map(drop);
    assert!(
        matches!(
            refused,
            Err(OpenError::TooNew {
                found: 99,
                known: 2,
                ..
            })
        ),
        "{refused:?}"
    );

    let other = tempfile::tempdir().expect("a directory");
    let connection = rusqlite::Connection::open(other.path().join("hub.db")).expect("opens");
    connection
        .execute_batch("CREATE TABLE mine(x)")
        .expect("made");
    drop(connection);
    assert!(matches!(
        super::super::open(other.path()).map(drop),
        Err(OpenError::Failed { .. })
    ));
}

#[test]
fn events_that_do_not_follow_the_head_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    let event = Written::of("grades.synced", None, 1);
    let refused = log.writer.append(&[event.record(1), event.record(3)], &[]);
    assert!(
        matches!(refused, Err(AppendError::Unwritable(_))),
        "{refused:?}"
    );
    assert_eq!(log.reader.info().head, 0);
    append(&mut log, &[event]);
    assert_eq!(read_all(&log).len(), 1);
}

#[test]
fn an_old_copy_put_back_is_recognised_by_later_ids() {
    let (original, copy) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let mut log = opened(original.path());
    append_some(&mut log, 10);
    drop(log);
    std::fs::copy(original.path().join("hub.db"), copy.path().join("hub.db")).expect("copied");

    let mut log = opened(original.path());
    let shared = log.reader.epochs().name(10);
    append_some(&mut log, 10);
    let later = log.reader.epochs().name(15);

    let mut restored = opened(copy.path());
    append_some(&mut restored, 20);
    let (info, epochs) = (restored.reader.info(), restored.reader.epochs());
    assert_eq!(info.locate(&epochs, shared), Located::Kept(10));
    assert_eq!(info.locate(&epochs, later), Located::UnknownLog);
}

#[test]
fn a_deleted_journal_loses_commits_but_never_confuses_places() {
    let (original, copy) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let mut log = opened(original.path());
    append_some(&mut log, 10);
    drop(log);
    let mut log = opened(original.path());
    append_some(&mut log, 10);
    let lost = log.reader.epochs().name(20);
    // The journal of a running hub is in its own file: a copy of the database alone misses it.
    std::fs::copy(original.path().join("hub.db"), copy.path().join("hub.db")).expect("copied");
    drop(log);
    let mut log = opened(copy.path());
    assert_eq!(log.reader.info().head, 10);
    append_some(&mut log, 30);
    assert_eq!(
        log.reader.info().locate(&log.reader.epochs(), lost),
        Located::UnknownLog
    );
    assert_eq!(read_all(&log).len(), 40);
}

#[test]
fn answers_are_recalled_for_a_day_and_only_if_committed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    let answer = |key: u8| Remembered {
        key: [key; 16],
        request: [1; 16],
        timestamp: 1000,
        sequence: 1,
        status: 201,
        body: Some(Json::trusted(r#"{"id":"a"}"#)),
    };
    let event = Written::of("server_connected", Some("a"), 1);
    log.writer
        .append(&[event.record(1)], &[answer(1)])
        .expect("appended");
    log.writer
        .append(&[event.record(9)], &[answer(2)])
        .expect_err("not the next");
    let day = 24 * 60 * 60 * 1000;
    assert_eq!(
        log.writer.recall(&[1; 16], 1000 + day - 1).expect("read"),
        Some(answer(1))
    );
    assert_eq!(log.writer.recall(&[1; 16], 1000 + day).expect("read"), None);
    assert_eq!(log.writer.recall(&[2; 16], 1000).expect("read"), None);
    drop(log);
    let mut log = opened(directory.path());
    assert_eq!(
        log.writer.recall(&[1; 16], 1000).expect("read"),
        Some(answer(1))
    );
    let few = Retention {
        idempotency_keys: 0,
        idempotency_bytes: u64::MAX,
        ..KEEP
    };
    while log.writer.prune(&few, 1000).expect("pruned").more {}
    assert_eq!(log.writer.recall(&[1; 16], 1000).expect("read"), None);
}

#[test]
fn answers_are_bounded_in_bytes_and_the_oldest_go_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    let answer = |key: u8, timestamp: i64, bytes: usize| Remembered {
        key: [key; 16],
        request: [key; 16],
        timestamp,
        sequence: 0,
        status: 200,
        body: Some(Json::trusted("1".repeat(bytes))),
    };
    for key in 0..10 {
        let answers = [answer(key, i64::from(key), 1000)];
        log.writer.append(&[], &answers).expect("appended");
    }
    // Given again under its key, one counts once.
    log.writer
        .append(&[], &[answer(9, 9, 3000)])
        .expect("appended");
    let bound = Retention {
        idempotency_bytes: 5000,
        ..KEEP
    };
    let kept = |log: &mut crate::event_log::OpenLog| -> Vec<u8> {
        while log.writer.prune(&bound, 10).expect("pruned").more {}
        let there = |key: &u8| log.writer.recall(&[*key; 16], 10).expect("read").is_some();
        (0..10).filter(there).collect()
    };
    assert_eq!(kept(&mut log), [7, 8, 9]);
    drop(log);
    let mut log = opened(directory.path());
    log.writer
        .append(&[], &[answer(0, 10, 1000)])
        .expect("appended");
    assert_eq!(kept(&mut log), [0, 8, 9], "counted anew at a start");
}

#[test]
fn bytes_of_events_are_bounded_whatever_else_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    append_some(&mut log, 300);
    log.writer
        .save_snapshot(300, &vec![7; 2_000_000])
        .expect("saved");
    let answer = Remembered {
        key: [1; 16],
        request: [1; 16],
        timestamp: 1,
        sequence: 0,
        status: 200,
        body: Some(Json::trusted("1".repeat(2_000_000))),
    };
    log.writer.append(&[], &[answer]).expect("appended");
    let bound = Retention {
        bytes: 1_000_000,
        ..KEEP
    };
    while log.writer.prune(&bound, 1).expect("pruned").more {}
    assert_eq!(log.reader.info().floor, 1, "the events themselves are few");
    assert_eq!(read_all(&log).len(), 300);
}

#[test]
fn pruning_keeps_its_bounds_and_never_passes_the_snapshot() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    append_some(&mut log, 320);
    let none = Retention {
        age: Some(Duration::ZERO),
        events: 0,
        bytes: 0,
        idempotency_keys: 0,
        idempotency_bytes: u64::MAX,
    };
    let prune = |log: &mut crate::event_log::OpenLog, retention: &Retention| {
        while log.writer.prune(retention, i64::MAX).expect("pruned").more {}
    };
    prune(&mut log, &none);
    assert_eq!(log.reader.info().floor, 1, "nothing is in a snapshot yet");

    log.writer.save_snapshot(290, b"").expect("saved");
    prune(&mut log, &none);
    let floor = log.reader.info().floor;
    assert!((200..=291).contains(&floor), "{floor}");
    assert_eq!(read_all(&log).len() as u64, 321 - floor);
    let place = log.reader.place_at_time(0).expect("read");
    assert_eq!(
        place,
        PlaceAtTime {
            after: floor - 1,
            pruned: true
        }
    );

    log.writer.save_snapshot(320, b"").expect("saved");
    prune(&mut log, &Retention { events: 20, ..KEEP });
    let kept = read_all(&log).len();
    assert!((20..=20 + 64).contains(&kept), "{kept}");
    prune(&mut log, &none);
    assert_eq!(read_all(&log), []);
    let info = log.reader.info();
    assert_eq!((info.floor, info.head), (321, 320));
    drop(log);
    let mut log = opened(directory.path());
    let info = log.reader.info();
    assert_eq!(
        (info.floor, info.head),
        (321, 320),
        "an empty log keeps its head"
    );
    append_some(&mut log, 1);
    assert_eq!(log.reader.info().head, 321);
}

#[test]
fn pruning_by_bytes_gives_room_back_and_takes_terms_along() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    for n in 0..300_u64 {
        let event = Written {
            data: format!("\"{}\"", "x".repeat(20_000)),
            ..Written::of(&format!("custom_{n}"), Some(&format!("s{n}")), 1)
        };
        append(&mut log, &[event]);
    }
    let before = log.reader.info().bytes;
    log.writer.save_snapshot(300, b"").expect("saved");
    let bound = Retention {
        bytes: 1_000_000,
        ..KEEP
    };
    while log.writer.prune(&bound, 1).expect("pruned").more {}
    let info = log.reader.info();
    assert!(
        before > 6_000_000 && info.floor > 200 && info.floor < 300,
        "{before} {info:?}"
    );
    assert_eq!(
        read(&*log.reader, whole(Order::Ascending), &of_server("s299")).len(),
        1
    );
    drop(log);
    let file = directory.path().join("hub.db");
    assert!(std::fs::metadata(&file).expect("there").len() < 3_500_000);
    let connection = rusqlite::Connection::open(&file).expect("opens");
    let count = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, u32>(0))
            .expect("read")
    };
    let terms = count("SELECT count(*) FROM terms");
    assert!(u64::from(terms) <= 2 * (301 - info.floor), "{terms} terms");
    let dangling = count("SELECT count(*) FROM postings WHERE block < (SELECT floor FROM bounds)");
    assert_eq!(dangling, 0);
}

#[test]
fn a_narrow_filter_is_found_without_a_scan() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    append(
        &mut log,
        &[Written::of("server_connected", Some("needle"), 1)],
    );
    let hay = Written::of("grades.synced", Some("hay"), 1);
    let hay = vec![hay; 1000];
    (0..20).for_each(|_| append(&mut log, &hay));
    append(
        &mut log,
        &[Written::of("server_connected", Some("needle"), 1)],
    );
    drop(log);
    let log = opened(directory.path());
    let narrow = Filter {
        query: Selection {
            types: vec![TypePattern::Prefix("server_".to_owned())],
            ..of_server("needle").query
        },
        grant: None,
    };
    for order in [Order::Ascending, Order::Descending] {
        // One call that may look at no more events than two blocks hold finds both ends.
        let range = crate::event_log::ReadRange {
            scan_limit: 2500,
            ..whole(order)
        };
        let mut found = Vec::new();
        let scanned = log.reader.read(&range, &narrow, &mut |item| {
            found.push(Found::of(item).sequences());
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(found.len(), 2, "{scanned:?}");
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_in_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = super::super::open_parts(directory.path()).expect("opens");
    let big = Written {
        data: format!("\"{}\"", "x".repeat(60_000)),
        ..Written::of("custom_x", Some("s"), 1)
    };
    let pages: u32 = log
        .0
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .expect("read");
    let limit = |log: &super::super::Writer, pages: u32| {
        log.connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
            .expect("limited");
    };
    limit(&log.0, pages + 100);
    use crate::event_log::{LogReader, LogWriter};
    let mut appended = 0;
    let refused = loop {
        match log.0.append(&[big.record(appended + 1)], &[]) {
            Ok(()) => appended += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, AppendError::Full(_)), "{refused}");
    assert!(appended > 3);
    assert!(matches!(log.0.probe(), Err(AppendError::Full(_))));
    assert_eq!(
        read(&log.1, whole(Order::Ascending), &Filter::all()).len() as u64,
        appended
    );
    assert_eq!(log.1.info().head, appended);
    limit(&log.0, pages + 1000);
    log.0.probe().expect("there is room");
    log.0
        .append(&[big.record(appended + 1)], &[])
        .expect("there is room");
    assert_eq!(
        read(&log.1, whole(Order::Ascending), &Filter::all()).len() as u64,
        appended + 1
    );
}

#[test]
fn no_reader_pins_the_journal() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    let event = Written {
        data: "x".repeat(30_000),
        ..Written::of("custom_x", None, 1)
    };
    let journal = directory.path().join("hub.db-wal");
    let mut longest = 0;
    for n in 0..600_u64 {
        append(&mut log, std::slice::from_ref(&event));
        let page = crate::event_log::ReadRange {
            after: n / 2,
            until: u64::MAX,
            order: Order::Ascending,
            scan_limit: 5,
        };
        log.reader
            .read(&page, &Filter::all(), &mut |_| {
                std::ops::ControlFlow::Break(())
            })
            .expect("readable");
        longest = longest.max(std::fs::metadata(&journal).expect("there").len());
    }
    assert!(longest < 8 * 1024 * 1024, "the journal grew to {longest}");
}

/// `mount -t tmpfs -o size=24m none /some/where`, then
/// `SMALL_DISK=/some/where cargo test --lib small_disk -- --ignored`.
#[test]
#[ignore = "needs a small file system of its own, named by SMALL_DISK"]
fn a_small_disk_fills_up_and_pruning_makes_room() {
    let disk = std::path::PathBuf::from(std::env::var("SMALL_DISK").expect("SMALL_DISK is set"));
    let directory = tempfile::tempdir_in(&disk).expect("a directory");
    let mut log = opened(directory.path());
    let event = Written {
        data: "x".repeat(10_000),
        ..Written::of("custom_x", Some("s"), 1)
    };
    for round in 0..3 {
        let filler = disk.join("filler");
        // Something else on the disk takes what is left: the log's own ballast is all there is.
        if round == 1 {
            let mut file = std::fs::File::create(&filler).expect("made");
            while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
        }
        let refused = loop {
            let next = log.reader.info().head + 1;
            if let Err(e) = log.writer.append(&[event.record(next)], &[]) {
                break e;
            }
        };
        assert!(matches!(refused, AppendError::Full(_)), "{refused}");
        let head = log.reader.info().head;
        let kept = (head + 1 - log.reader.info().floor) as usize;
        assert_eq!(read_all(&log).len(), kept, "reads go on");
        assert!(matches!(log.writer.probe(), Err(AppendError::Full(_))));
        log.writer
            .save_snapshot(head, b"state")
            .expect("there is room for this");
        let few = Retention { events: 10, ..KEEP };
        while log.writer.prune(&few, 1).expect("pruned").more {}
        if round == 1 {
            std::fs::remove_file(filler).expect("removed");
        }
        log.writer.probe().expect("there is room again");
    }
    assert!(
        super::super::verify::verify(directory.path())
            .expect("readable")
            .is_sound()
    );
}
