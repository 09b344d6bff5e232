//! Snapshots are kept in parts, and count only as a whole.

use std::path::Path;

use super::{KEEP, append_some, damage::tamper, opened};
use crate::event_log::{OpenLog, SNAPSHOT_PART, sqlite::verify::verify};

#[test]
fn a_damaged_snapshot_gives_way_to_the_one_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    append_some(&mut log, 9);
    for at in [3, 6, 9] {
        log.writer
            .save_snapshot(at, format!("at {at}").as_bytes())
            .expect("saved");
    }
    assert_eq!(
        log.reader.load_snapshot().expect("read"),
        Some((9, b"at 9".to_vec()))
    );
    tamper(
        directory.path(),
        "UPDATE state_parts SET body = x'00' WHERE key = (SELECT max(key) FROM state_parts)",
    );
    assert_eq!(
        log.reader.load_snapshot().expect("read"),
        Some((6, b"at 6".to_vec()))
    );
    tamper(
        directory.path(),
        "UPDATE state_parts SET body = x'00'; UPDATE leases SET crc = 1",
    );
    assert_eq!(log.reader.load_snapshot().expect("read"), None);
}

#[test]
fn a_snapshot_counts_only_once_it_is_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    append_some(&mut log, 9);
    let state: Vec<u8> = (0..3 * SNAPSHOT_PART + 5).map(|n| n as u8).collect();
    log.writer.save_snapshot(3, &state).expect("saved");
    log.writer.begin_snapshot(9).expect("begun");
    log.writer.add_to_snapshot(b"half of it").expect("added");
    let newest = |log: &OpenLog| log.reader.load_snapshot().expect("read");
    assert_eq!(newest(&log), Some((3, state.clone())));

    // A crash later, what was left unfinished is no snapshot and takes no room.
    drop(log);
    let mut log = opened(directory.path());
    assert_eq!(newest(&log), Some((3, state.clone())));
    assert!(
        log.writer.add_to_snapshot(b"more").is_err(),
        "nothing was begun"
    );
    while log.writer.prune(&KEEP, 1).expect("pruned").more {}
    assert_eq!(
        count(directory.path(), "SELECT count(*) FROM state_parts"),
        4
    );

    // One part that is gone spoils all of it.
    log.writer.save_snapshot(9, &state).expect("saved");
    assert_eq!(newest(&log), Some((9, state.clone())));
    tamper(
        directory.path(),
        "DELETE FROM state_parts WHERE key = (SELECT max(key) - 1 FROM state_parts)",
    );
    assert_eq!(newest(&log), Some((3, state)));
}

#[test]
fn only_two_snapshots_are_kept_and_the_rest_goes_bit_by_bit() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    append_some(&mut log, 9);
    for at in 1..=9 {
        let state = vec![at as u8; 12 * SNAPSHOT_PART];
        log.writer.save_snapshot(at, &state).expect("saved");
    }
    while log.writer.prune(&KEEP, 1).expect("pruned").more {}
    assert_eq!(
        count(directory.path(), "SELECT count(*) FROM state_parts"),
        24
    );
    assert_eq!(count(directory.path(), "SELECT min(seq) FROM states"), 8);
}

#[test]
fn a_log_of_version_1_opens_with_its_snapshot() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    append_some(&mut log, 9);
    drop(log);
    let old = format!(
        "DROP TABLE states; DROP TABLE state_parts; UPDATE meta SET value = 1;
         INSERT INTO snapshots VALUES (7, {}, CAST('the state' AS BLOB))",
        crc32fast::hash(b"the state")
    );
    tamper(directory.path(), &old);
    let sound = verify(directory.path()).expect("readable");
    assert!(sound.is_sound(), "also before it is opened: {sound:?}");

    let mut log = opened(directory.path());
    let newest = |log: &OpenLog| log.reader.load_snapshot().expect("read");
    assert_eq!(newest(&log), Some((7, b"the state".to_vec())));
    log.writer.save_snapshot(8, b"newer").expect("saved");
    assert_eq!(newest(&log), Some((8, b"newer".to_vec())));
    assert_eq!(count(directory.path(), "SELECT count(*) FROM snapshots"), 1);
    log.writer.save_snapshot(9, b"newest").expect("saved");
    assert_eq!(count(directory.path(), "SELECT count(*) FROM snapshots"), 0);
}

fn count(directory: &Path, sql: &str) -> u64 {
    rusqlite::Connection::open(directory.join("hub.db"))
        .and_then(|file| file.query_row(sql, [], |row| row.get::<_, u32>(0)))
        .map(u64::from)
        .expect("readable")
}
