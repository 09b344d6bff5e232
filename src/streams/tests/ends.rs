//! How streams end, what they say before, and that nothing is left behind.

use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http_body::Body;

use super::rig::{Fact, Rig, settings};
use crate::{
    filter::Filter,
    streams::{Closing, Opening, Settings},
    tail::WINDOW_BYTES,
};

fn big() -> Fact {
    Fact {
        data: format!("\"{}\"", "z".repeat(4000)),
        ..Fact::new("a.big")
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn quiet_streams_get_bookmarks_that_say_how_far_they_have_read() {
    let rig = Rig::new(settings(), WINDOW_BYTES);
    let mut client = rig.follow(0);
    assert!(client.next().unwrap().is("stream_opened"));
    let first = client.next().unwrap();
    assert!(first.is("bookmark"));
    assert_eq!(first.id, Some(rig.name(0).to_string()));
    rig.commit(&[Fact::new("a.b")]);
    assert!(client.next_event().unwrap().is("a.b"));
    let second = client.next_named("bookmark");
    assert_eq!(second.id, Some(rig.name(1).to_string()));
    assert_eq!(second.data, format!("{{\"headId\":\"{}\"}}", rig.name(1)));
}

#[test]
fn a_socket_that_takes_nothing_is_closed() {
    let stall_timeout = Duration::from_millis(50);
    for window in [0, WINDOW_BYTES] {
        let rig = Rig::new(
            Settings {
                stall_timeout,
                ..settings()
            },
            window,
        );
        let client = rig.follow(0);
        rig.commit(&vec![big(); 1000]);
        rig.wait_empty();
        assert_eq!(rig.ended("stalled"), 1);
        drop(client);
    }
}

#[test]
fn a_client_that_leaves_is_noticed_without_an_event() {
    let rig = Rig::new(
        Settings {
            keepalive: Duration::from_secs(3600),
            ..settings()
        },
        WINDOW_BYTES,
    );
    let mut client = rig.follow(0);
    assert!(client.next().unwrap().is("stream_opened"));
    assert_eq!(rig.streams.count(), 1);
    assert_eq!(rig.metrics.streams.get(), 1);
    drop(client);
    rig.wait_empty();
    assert_eq!((rig.ended("client"), rig.metrics.streams.get()), (1, 0));
}

#[test]
fn a_drain_delivers_what_was_accepted_then_says_goodbye() {
    for window in [0, WINDOW_BYTES] {
        let rig = Rig::new(settings(), window);
        let mut live = rig.follow(0);
        assert!(live.next().unwrap().is("stream_opened"));
        rig.commit(&vec![big(); 200]);
        rig.streams.close(Closing::Draining, soon());
        for sequence in 1..=200 {
            assert_eq!(
                live.next_event().and_then(|frame| frame.place()),
                Some(sequence)
            );
        }
        let closing = live.next_named("stream_closing");
        assert_eq!(closing.data, r#"{"reason":"draining"}"#);
        assert_eq!(closing.place(), Some(200));
        assert_eq!(live.next(), None);
        drop(live);
        rig.wait_empty();
        assert_eq!(rig.ended("draining"), 1);
        assert!(matches!(rig.streams.admit(), Err(Closing::Draining)));
    }
}

#[test]
fn who_is_still_behind_at_the_deadline_is_cut_between_frames() {
    let rig = Rig::new(settings(), WINDOW_BYTES);
    let mut slow = rig.follow(0);
    rig.commit(&vec![big(); 1000]);
    assert!(slow.next().unwrap().is("stream_opened"));
    rig.streams.close(
        Closing::Draining,
        Instant::now() + Duration::from_millis(50),
    );
    rig.wait_empty();
    assert_eq!(rig.ended("draining"), 1);
    let mut last = 0;
    while let Some(frame) = slow.next() {
        if !frame.is_control() {
            last += 1;
            assert_eq!(frame.place(), Some(last));
        }
    }
    assert!(last < 1000, "it was cut");
}

#[test]
fn one_owners_streams_end_alone() {
    let rig = Rig::new(settings(), WINDOW_BYTES);
    let mut theirs = rig.open(Opening {
        owner: Some(7),
        ..rig.opening(Filter::all(), 0)
    });
    let mut other = rig.follow(0);
    assert!(theirs.next().unwrap().is("stream_opened"));
    // Admitted before the end and opened after it: it ends as well.
    let late = Opening {
        owner: Some(7),
        ..rig.opening(Filter::all(), 0)
    };
    rig.streams
        .end_owners([7].into(), Closing::CredentialsExpired, soon());
    let mut late = rig.open(late);
    for client in [&mut theirs, &mut late] {
        assert_eq!(
            client.next_named("stream_closing").data,
            r#"{"reason":"credentials_expired"}"#
        );
    }
    rig.commit(&[Fact::new("a.b")]);
    assert!(other.next_event().unwrap().is("a.b"));
}

#[test]
fn too_many_are_not_admitted() {
    let rig = Rig::new(
        Settings {
            max_clients: 1,
            ..settings()
        },
        WINDOW_BYTES,
    );
    let first = rig.streams.admit().unwrap();
    assert!(matches!(rig.streams.admit(), Err(Closing::Busy)));
    assert_eq!(rig.streams.count(), 1);
    drop(first);
    assert!(rig.streams.admit().is_ok());
}

#[test]
fn retention_that_overtakes_a_stream_is_told() {
    let rig = Rig::new(settings(), 0);
    let mut client = rig.follow(0);
    rig.commit(&vec![big(); 500]);
    assert!(client.next().unwrap().is("stream_opened"));
    rig.prune_to(10);
    let mut last = 0;
    let gap = loop {
        let frame = client.next().unwrap();
        if frame.is("stream_gap") {
            break frame;
        }
        if !frame.is_control() {
            last += 1;
            assert_eq!(frame.place(), Some(last));
        }
    };
    assert_eq!(
        gap.data,
        format!(
            r#"{{"reason":"expired","afterId":"{}","nextId":"{}"}}"#,
            rig.name(last),
            rig.name(491)
        )
    );
    assert_eq!(gap.place(), Some(490));
    for sequence in 491..=500 {
        assert_eq!(
            client.next_event().and_then(|frame| frame.place()),
            Some(sequence)
        );
    }
    assert_eq!(
        rig.metrics
            .stream_gaps
            .with_label_values(&["expired"])
            .get(),
        1
    );
}

#[test]
fn damaged_events_are_told_and_the_stream_goes_on() {
    let rig = Rig::new(settings(), 0);
    rig.commit(&vec![Fact::new("a.b"); 5]);
    rig.log.damage.lock().push(3);
    let mut client = rig.follow(0);
    assert_eq!(client.next_event().and_then(|frame| frame.place()), Some(1));
    assert_eq!(client.next_event().and_then(|frame| frame.place()), Some(2));
    let gap = client.next_named("stream_gap");
    assert_eq!(gap.place(), Some(3));
    assert_eq!(
        gap.data,
        format!(
            r#"{{"reason":"corrupt","afterId":"{}","nextId":"{}"}}"#,
            rig.name(2),
            rig.name(4)
        )
    );
    assert_eq!(client.next_event().and_then(|frame| frame.place()), Some(4));
}

#[test]
fn a_body_holds_little_and_misses_nothing() {
    let rig = Rig::new(settings(), WINDOW_BYTES);
    let mut body = rig.streams.open_body(rig.opening(Filter::all(), 0));
    for _ in 0..20 {
        rig.commit(&vec![big(); 100]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("\"sequence\":2000,") {
        let piece = runtime.block_on(async {
            let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
            tokio::time::timeout(Duration::from_secs(20), next)
                .await
                .expect("a piece in time")
        });
        let piece = piece.unwrap().unwrap().into_data().unwrap();
        assert!(piece.len() < 512 << 10, "{}", piece.len());
        text.drain(..text.len().saturating_sub(100_000));
        text.extend_from_slice(&piece);
    }
    drop(body);
    rig.wait_empty();
    assert_eq!(rig.metrics.deliveries.get(), 2000);
}

#[test]
fn a_body_ends_after_the_goodbye() {
    let rig = Rig::new(settings(), WINDOW_BYTES);
    let mut body = rig.streams.open_body(rig.opening(Filter::all(), 0));
    rig.streams.end_all(Closing::Disabled, soon());
    rig.wait_empty();
    let mut text = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match std::pin::Pin::new(&mut body).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(piece))) => text.extend_from_slice(&piece.into_data().unwrap()),
            Poll::Ready(None) => break,
            other => panic!("{other:?}"),
        }
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("event: stream_opened\n"), "{text}");
    assert!(
        text.ends_with("retry: 30000\ndata: {\"reason\":\"disabled\"}\n\n"),
        "{text}"
    );
}

#[test]
fn parts_of_a_snapshot_are_made_when_there_is_room() {
    let rig = Rig::new(settings(), WINDOW_BYTES);
    let part = || {
        bytes::Bytes::from(format!(
            "event: snapshot\ndata: \"{}\"\n\n",
            "s".repeat(100_000)
        ))
    };
    let opening = Opening {
        prologue: Some(Box::new((0..30).map(move |_| part()))),
        ..rig.opening(Filter::all(), 0)
    };
    let mut client = rig.open(opening);
    rig.commit(&[Fact::new("a.b")]);
    assert!(client.next().unwrap().is("stream_opened"));
    for _ in 0..30 {
        assert!(client.next().unwrap().is("snapshot"));
    }
    assert!(client.next().unwrap().is("a.b"));
}
