//! Looking for damage, salvage and backup.

use super::{Found, append_some, opened, read_all};
use crate::{
    domain::Json,
    event_log::{
        Located, OpenError, Remembered, Retention,
        tools::{Report, backup, salvage, verify},
    },
};

fn tamper(directory: &std::path::Path, sql: &str) {
    let connection = rusqlite::Connection::open(directory.join("hub.db")).expect("opens");
    connection.execute_batch(sql).expect("changed");
}

#[test]
fn verify_finds_nothing_wrong_with_a_sound_log_even_while_it_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    assert!(matches!(
        verify(directory.path()),
        Err(OpenError::Failed { .. })
    ));
    let mut log = opened(directory.path());
    append_some(&mut log, 300);
    let report = verify(directory.path()).expect("readable");
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.events, 300);
    log.writer.save_snapshot(280, b"state").expect("saved");
    let bound = Retention {
        age: None,
        events: 30,
        bytes: u64::MAX,
        idempotency_keys: 9,
        idempotency_bytes: u64::MAX,
    };
    while log.writer.prune(&bound, 1).expect("pruned").more {}
    let report = verify(directory.path()).expect("readable");
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.events, 301 - log.reader.info().floor);
}

#[test]
fn verify_finds_each_kind_of_damage() {
    let kinds = [
        (
            "UPDATE blocks SET body = zeroblob(100) WHERE first = 1",
            true,
        ),
        (
            "DELETE FROM blocks WHERE first = (SELECT max(first) FROM blocks WHERE first < 60)",
            true,
        ),
        ("DELETE FROM postings WHERE term = 2", false),
        ("INSERT INTO postings VALUES (1, 2)", false),
        ("UPDATE postings SET block = block + 1", false),
        ("UPDATE terms SET name = 'other' WHERE id = 2", false),
        ("UPDATE state_parts SET body = x'00'", false),
        ("DELETE FROM state_parts", false),
    ];
    for (sql, events) in kinds {
        let directory = tempfile::tempdir().expect("a directory");
        let mut log = opened(directory.path());
        append_some(&mut log, 90);
        log.writer.save_snapshot(50, b"state").expect("saved");
        drop(log);
        drop(opened(directory.path()));
        tamper(directory.path(), sql);
        let report = verify(directory.path()).expect("readable");
        assert!(!report.is_sound(), "{sql}");
        assert_eq!(!report.damaged.is_empty(), events, "{sql}: {report:?}");
    }
}

#[test]
fn salvage_copies_what_is_good_and_keeps_sequences() {
    let (from, to) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let mut log = opened(from.path());
    append_some(&mut log, 270);
    let answer = Remembered {
        key: [1; 16],
        request: [2; 16],
        timestamp: 5,
        sequence: 270,
        status: 201,
        body: Some(Json::empty_object()),
    };
    log.writer
        .append(&[], std::slice::from_ref(&answer))
        .expect("appended");
    log.writer.save_snapshot(260, b"state").expect("saved");
    let truth = read_all(&log);
    let place = log.reader.epochs().name(270);
    assert!(matches!(
        salvage(from.path(), to.path()),
        Err(OpenError::InUse { .. })
    ));
    drop(log);
    tamper(
        from.path(),
        "UPDATE blocks SET body = x'00' WHERE first IN (1, (SELECT max(first) FROM blocks))",
    );

    let report = salvage(from.path(), to.path()).expect("salvaged");
    assert_eq!(report.damaged.len(), 2, "{report:?}");
    assert!(
        salvage(from.path(), to.path()).is_err(),
        "never onto another log"
    );
    let mut log = opened(to.path());
    let info = log.reader.info();
    assert_eq!((info.floor, info.head), (1, 270));
    let all = read_all(&log);
    let mut good = 0;
    for item in &all {
        match item {
            Found::Event(sequence, _) => {
                good += 1;
                assert_eq!(*item, truth[*sequence as usize - 1]);
            }
            Found::Corrupt(first, last) => assert!(report.damaged.contains(&(*first, *last))),
        }
    }
    assert_eq!(good, report.events);
    assert_eq!(
        info.locate(&log.reader.epochs(), place),
        Located::UnknownLog
    );
    let epochs = log.reader.epochs();
    assert!((0..=270).all(|at| info.locate(&epochs, epochs.name(at)) == Located::Kept(at)));
    assert_eq!(
        log.reader.load_snapshot().expect("read"),
        Some((260, b"state".to_vec()))
    );
    assert_eq!(log.writer.recall(&[1; 16], 6).expect("read"), Some(answer));
    append_some(&mut log, 3);
    assert_eq!(log.reader.info().head, 273);
    let again = verify(to.path()).expect("readable");
    assert_eq!(again.damaged, report.damaged);
    assert_eq!(again.problems, Report::default().problems);
}

#[test]
fn a_backup_of_a_running_log_is_a_log() {
    let (from, to) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let mut log = opened(from.path());
    append_some(&mut log, 60);
    backup(from.path(), &to.path().join("hub.db")).expect("copied");
    assert!(
        backup(from.path(), &to.path().join("hub.db")).is_err(),
        "never over a file"
    );
    let known = log.reader.epochs().name(60);
    append_some(&mut log, 10);
    let later = log.reader.epochs().name(70);
    let copy = opened(to.path());
    assert_eq!(read_all(&copy), read_all(&log)[..60]);
    let (info, epochs) = (copy.reader.info(), copy.reader.epochs());
    assert_eq!(info.locate(&epochs, known), Located::Kept(60));
    assert_eq!(info.locate(&epochs, later), Located::UnknownLog);
    assert!(verify(to.path()).expect("readable").is_sound());
}
