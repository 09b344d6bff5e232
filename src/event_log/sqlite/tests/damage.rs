//! A damaged log never serves a wrong event as right, and says what it can't serve.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{Found, Written, append_some, opened, read, whole};
use crate::{
    domain::ServerId,
    event_log::{OpenLog, Order},
    filter::{Filter, Selection},
};

/// Makes a closed log of sealed and unsealed blocks, and says what is in it.
fn closed_log(directory: &Path) -> Vec<Found> {
    let mut log = opened(directory);
    append_some(&mut log, 95);
    drop(log);
    let mut log = opened(directory);
    append_some(&mut log, 25);
    let all = super::read_all(&log);
    drop(log);
    all
}

fn file(directory: &Path) -> PathBuf {
    directory.join("hub.db")
}

/// Changes rows behind the log's back.
pub(super) fn tamper(directory: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(file(directory)).expect("opens");
    connection.execute_batch(sql).expect("changed");
}

/// What is found is true, in order, and leaves nothing out.
fn assert_honest(found: &[Found], truth: &[Found]) -> usize {
    let mut next = 1;
    let mut corrupt = 0;
    for item in found {
        let range = item.sequences();
        assert_eq!(*range.start(), next, "nothing is left out or doubled");
        next = range.end() + 1;
        match item {
            Found::Event(sequence, _) => assert_eq!(*item, truth[*sequence as usize - 1]),
            Found::Corrupt(first, last) => corrupt += (last - first + 1) as usize,
        }
    }
    corrupt
}

fn both_ways(log: &OpenLog) -> [Vec<Found>; 2] {
    let mut down = read(&*log.reader, whole(Order::Descending), &Filter::all());
    down.reverse();
    [
        read(&*log.reader, whole(Order::Ascending), &Filter::all()),
        down,
    ]
}

#[test]
fn a_flipped_byte_in_a_record_damages_that_record_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    append_some(&mut log, 20);
    let marked = Written {
        data: "\"needle\"".to_owned(),
        ..Written::of("custom_x", None, 1)
    };
    super::append(&mut log, &[marked]);
    append_some(&mut log, 20);
    drop(log);
    let log = opened(directory.path());
    let truth = super::read_all(&log);
    drop(log);
    // Its text is changed wherever it lies in the file: in its block, and where that was before sealing.
    let path = file(directory.path());
    let bytes = std::fs::read(&path).expect("read");
    let raw = OpenOptions::new().write(true).open(&path).expect("opens");
    for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"needle")) {
        raw.write_all_at(b"w", at as u64).expect("written");
    }
    let log = opened(directory.path());
    for found in both_ways(&log) {
        assert_eq!(assert_honest(&found, &truth), 1);
    }
}

#[test]
fn a_damaged_directory_or_column_damages_its_block_and_a_missing_row_is_damage_too() {
    let damage = [
        (
            "UPDATE blocks SET last = last + 1 WHERE first = (SELECT max(first) FROM blocks WHERE first < 110)",
            true,
        ),
        ("UPDATE blocks SET ts_max = 0 WHERE first = 1", true),
        (
            "UPDATE blocks SET body = zeroblob(length(body)) WHERE first = 1",
            true,
        ),
        (
            "UPDATE blocks SET body = substr(body, 1, length(body) - 9) WHERE first = 1",
            true,
        ),
        ("DELETE FROM blocks WHERE first = 1", true),
        (
            "DELETE FROM blocks WHERE first = (SELECT max(first) FROM blocks WHERE first < 110)",
            true,
        ),
        (
            "UPDATE blocks SET body = x'' WHERE first = (SELECT max(first) FROM blocks)",
            true,
        ),
        ("DELETE FROM postings; DELETE FROM terms", false),
    ];
    for (sql, damaged) in damage {
        let directory = tempfile::tempdir().expect("a directory");
        let truth = closed_log(directory.path());
        tamper(directory.path(), sql);
        let log = opened(directory.path());
        for found in both_ways(&log) {
            assert_eq!(assert_honest(&found, &truth) > 0, damaged, "{sql}");
        }
    }
}

#[test]
fn filtered_reads_meet_damage_too() {
    let directory = tempfile::tempdir().expect("a directory");
    closed_log(directory.path());
    tamper(
        directory.path(),
        "UPDATE blocks SET body = zeroblob(100) WHERE first = 1",
    );
    let log = opened(directory.path());
    let servers = vec![ServerId::parse("s3").expect("an id")];
    let filter = Filter {
        query: Selection {
            servers,
            ..Selection::default()
        },
        grant: None,
    };
    for order in [Order::Ascending, Order::Descending] {
        let found = read(&*log.reader, whole(order), &filter);
        assert!(
            found
                .iter()
                .any(|item| matches!(item, Found::Corrupt(1, _))),
            "{found:?}"
        );
    }
}

#[test]
fn damage_that_was_there_when_postings_were_made_is_met_by_every_reader() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = opened(directory.path());
    append_some(&mut log, 20);
    // A change to an unsealed row, as a bad disk would make it.
    tamper(
        directory.path(),
        "UPDATE blocks SET body = zeroblob(100) WHERE first = 7",
    );
    drop(log);
    let mut log = opened(directory.path());
    append_some(&mut log, 20);
    let servers = vec![ServerId::parse("s1").expect("an id")];
    let filter = Filter {
        query: Selection {
            servers,
            ..Selection::default()
        },
        grant: None,
    };
    for order in [Order::Ascending, Order::Descending] {
        let found = read(&*log.reader, whole(order), &filter);
        assert!(found.contains(&Found::Corrupt(7, 7)), "{found:?}");
    }
}

#[test]
fn damaged_postings_never_bring_a_wrong_event() {
    let directory = tempfile::tempdir().expect("a directory");
    let truth = closed_log(directory.path());
    let servers = vec![ServerId::parse("s3").expect("an id")];
    let filter = Filter {
        query: Selection {
            servers,
            ..Selection::default()
        },
        grant: None,
    };
    let changes = [
        "UPDATE postings SET block = block + 1",
        "UPDATE postings SET block = block + 100000",
        "UPDATE terms SET name = name || 'x'",
        "DELETE FROM postings WHERE block > 1",
    ];
    for sql in changes {
        tamper(directory.path(), sql);
        let log = opened(directory.path());
        for order in [Order::Ascending, Order::Descending] {
            for item in read(&*log.reader, whole(order), &filter) {
                if let Found::Event(sequence, Written { server, .. }) = &item {
                    assert_eq!(item, truth[*sequence as usize - 1], "{sql}");
                    assert_eq!(server.as_deref(), Some("s3"), "{sql}");
                }
            }
        }
    }
}

#[test]
fn whatever_byte_of_the_file_flips_no_wrong_event_is_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let truth = closed_log(directory.path());
    let sound = std::fs::read(file(directory.path())).expect("read");
    // Every page, at places that walk through headers, cells and contents.
    for at in (0..sound.len()).step_by(sound.len() / 150 + 1) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut bytes = sound.clone();
        bytes[at] ^= 0x55;
        std::fs::write(file(directory.path()), bytes).expect("written");
        let Ok(log) = super::super::open(directory.path()) else {
            continue;
        };
        let mut found = Vec::new();
        let result = log
            .reader
            .read(&whole(Order::Ascending), &Filter::all(), &mut |item| {
                found.push(Found::of(item));
                std::ops::ControlFlow::Continue(())
            });
        for item in &found {
            if let Found::Event(sequence, _) = item {
                assert_eq!(Some(item), truth.get(*sequence as usize - 1), "byte {at}");
            }
        }
        if let Ok(scanned) = result {
            let through = found.last().map_or(0, |item| *item.sequences().end());
            assert!(
                through >= scanned.through.min(120),
                "byte {at} hid events: {scanned:?}"
            );
        }
    }
}

#[test]
fn a_truncated_file_serves_no_wrong_event() {
    let directory = tempfile::tempdir().expect("a directory");
    let truth = closed_log(directory.path());
    let sound = std::fs::read(file(directory.path())).expect("read");
    for len in (0..sound.len()).step_by(4096) {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(file(directory.path()), &sound[..len]).expect("written");
        let Ok(log) = super::super::open(directory.path()) else {
            continue;
        };
        let range = whole(Order::Ascending);
        let _ = log.reader.read(&range, &Filter::all(), &mut |item| {
            if let Found::Event(sequence, _) = Found::of(item) {
                assert_eq!(
                    Found::of(item),
                    truth[sequence as usize - 1],
                    "cut at {len}"
                );
            }
            std::ops::ControlFlow::Continue(())
        });
    }
}

#[test]
fn damage_does_not_stop_pruning() {
    for sql in [
        "UPDATE blocks SET last = 1000000, ts_max = 1000000 WHERE first = 1",
        "UPDATE blocks SET last = 0 WHERE first = 1",
        "DELETE FROM blocks WHERE first = 1",
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        closed_log(directory.path());
        tamper(directory.path(), sql);
        let mut log = opened(directory.path());
        log.writer.save_snapshot(120, b"").expect("saved");
        let age = Some(std::time::Duration::from_millis(1000));
        let bound = crate::event_log::Retention { age, ..super::KEEP };
        while log.writer.prune(&bound, 2000).expect("pruned").more {}
        let info = log.reader.info();
        assert_eq!((info.floor, info.head), (121, 120), "{sql}");
    }
}

#[test]
fn a_damaged_file_is_no_error_of_the_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    closed_log(directory.path());
    let path = file(directory.path());
    let whole = std::fs::read(&path).expect("a file");
    let wrong_first_pages = [&b"garbage"[..]; 4096].concat();
    let half = &whole[..whole.len() / 8192 * 4096];
    for bytes in [half, &whole[..100], &wrong_first_pages] {
        std::fs::write(&path, bytes).expect("written");
        for left_over in ["hub.db-wal", "hub.db-shm"] {
            let _ = std::fs::remove_file(directory.path().join(left_over));
        }
        let told = crate::event_log::open(Some(directory.path()))
            .err()
            .map(|error| error.to_string())
            .expect("it can't be opened");
        assert!(
            told.contains("damaged") && told.contains("log salvage"),
            "{told}"
        );
        assert!(!told.contains("disk"), "{told}");
    }
}
